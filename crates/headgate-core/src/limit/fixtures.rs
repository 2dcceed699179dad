//! Policies and requests for tests.

use super::*;
use crate::identify::{FakeRequest, Hasher, Source, SourceKind};
use crate::model::*;
use std::time::Duration;

pub(crate) fn source(kind: SourceKind, name: &str) -> Source {
    Source {
        name: name.into(),
        kind,
        extract: None,
        plain: false,
    }
}

pub(crate) fn header(name: &str) -> Source {
    source(
        SourceKind::Header(name.into()),
        &name.trim_start_matches("x-").replace('-', "_"),
    )
}

pub(crate) fn address(ipv4_prefix: u8, ipv6_prefix: u8) -> Source {
    source(
        SourceKind::Address {
            ipv4_prefix,
            ipv6_prefix,
        },
        "address",
    )
}

pub(crate) fn policy(identify: Vec<Source>, limits: Vec<Limit>) -> Policy {
    Policy {
        enabled: true,
        instance: "main".into(),
        store: Store::Redis,
        redis: RedisSettings {
            cluster: "redis_call".into(),
            key_prefix: "ratelimit".into(),
            timeout: Duration::from_millis(100),
            max_in_flight: 4096,
            native: None,
        },
        local: LocalSettings {
            share: Percent::FULL,
            max_counters: 65_536,
        },
        identify,
        on_no_client: OnNoClient::Allow,
        on_ambiguous_client: OnAmbiguousClient::Next,
        exempt: vec![],
        limits,
        response: ResponseSettings {
            status: 429,
            error_status: 503,
            body: String::new(),
            format: BodyFormat::Text,
            x_ratelimit: true,
            ietf: false,
            reset: ResetForm::Unix,
            retry_after_jitter: Percent::from_basis_points(0).unwrap(),
            upstream_headers: UpstreamHeaders::Replace,
            content_type: None,
        },
        verdict_cache: VerdictCacheSettings {
            max_age: Duration::ZERO,
            entries: 0,
        },
        log: LogSettings {
            denials_per_second: 0,
        },
        metrics: MetricsSettings {
            enabled: false,
            clients: vec![],
        },
        filter_state: FilterState::ALL,
    }
}

pub(crate) fn rate(limit: u64) -> Quota {
    Quota::Limited(Rate {
        limit,
        period: Period::from_millis(60_000).unwrap(),
    })
}

/// A limit of 100 a minute, counted in two windows.
pub(crate) fn limit(name: &str, key: &[KeyPart]) -> Limit {
    Limit {
        name: name.into(),
        quota: rate(100),
        algorithm: Algorithm::SlidingWindowCounter,
        matches: vec![],
        key: key.to_vec(),
        overrides: vec![],
        enforce: Enforce::Always,
        on_error: OnError::Local,
        replaces: vec![],
        expose: true,
        cost: Cost::Fixed(1),
        lease: None,
    }
}

pub(crate) fn planner(identify: Vec<Source>, limits: Vec<Limit>) -> Planner {
    Planner::new(&policy(identify, limits), Hasher::new(None))
}

pub(crate) fn counted(planner: &Planner, request: &FakeRequest) -> (Vec<Group>, Option<NoClient>) {
    let identity = planner.identify(request);
    match planner.plan(request, &identity) {
        Plan::Count {
            groups, no_client, ..
        } => (groups, no_client),
        Plan::Exempt => panic!("exempt"),
    }
}

/// Each charge as `key field`, in groups.
pub(crate) fn shown(groups: &[Group]) -> Vec<Vec<String>> {
    let charge = |group: &Group, charge: &Charge| {
        format!(
            "{} {}",
            String::from_utf8_lossy(&group.keys[charge.key]),
            charge.field
        )
    };
    groups
        .iter()
        .map(|g| g.charges.iter().map(|c| charge(g, c)).collect())
        .collect()
}

/// The names of the limits that are counted.
pub(crate) fn names(planner: &Planner, policy: &[Limit], request: &FakeRequest) -> Vec<String> {
    let (groups, _) = counted(planner, request);
    let mut indices: Vec<usize> = groups.iter().flat_map(|g| &g.charges).map(|c| c.limit).collect();
    indices.sort();
    indices.into_iter().map(|i| policy[i].name.clone()).collect()
}

pub(crate) fn by_client(name: &str) -> Limit {
    limit(name, &[KeyPart::Client])
}

pub(crate) fn by_address(name: &str) -> Limit {
    limit(name, &[KeyPart::Address])
}

pub(crate) fn sources() -> Vec<Source> {
    let app = Source {
        plain: true,
        ..header("x-app")
    };
    vec![header("x-api-key"), app, address(32, 64)]
}
