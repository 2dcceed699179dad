//! What planning adds to a request natively: a policy of 100 limits is to stay under 10 µs; and what an answer from
//! memory adds to it, a known denial's or a lease's. `cargo bench`.

use criterion::{criterion_group, criterion_main, Criterion};
use headgate::config::*;
use headgate::identify::{Attributes, Hasher, Lookup, Source, SourceKind, TlsField};
use headgate::lease::LeaseBook;
use headgate::limit::*;
use headgate::redis::resp::Value;
use headgate::verdict_cache::VerdictCache;
use std::hint::black_box;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// `POST /api/v1/users/7` with an API key.
struct Call;

impl Attributes for Call {
    fn header(&self, name: &str) -> Lookup<'_> {
        let value = match name {
            ":method" => "POST",
            ":path" => "/api/v1/users/7?x=y",
            ":authority" => "api.example.com",
            "x-api-key" => "6f1ed002ab5595859014ebf0951522d9",
            _ => return Lookup::Absent,
        };
        Lookup::One(value.as_bytes().into())
    }

    fn address(&self) -> Option<IpAddr> {
        Some([10, 0, 0, 1].into())
    }

    fn metadata(&self, _: &[String]) -> Option<Vec<u8>> {
        None
    }

    fn tls(&self, _: TlsField) -> Option<Vec<u8>> {
        None
    }

    fn route(&self) -> Option<Vec<u8>> {
        None
    }
}

fn limit(name: usize, template: &str, key: &[KeyPart]) -> Limit {
    let condition = Match {
        methods: vec!["POST".to_owned()],
        path: Some(PathPattern::template(template).expect("a template")),
        ..Match::default()
    };
    Limit {
        name: format!("limit-{name}"),
        quota: Quota::parse("1000/minute").expect("a rate"),
        algorithm: Algorithm::SlidingWindowCounter,
        matches: vec![condition],
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

fn policy(limits: Vec<Limit>) -> Policy {
    let api_key = Source {
        name: "api_key".to_owned(),
        kind: SourceKind::Header("x-api-key".to_owned()),
        extract: None,
        plain: false,
    };
    Policy {
        enabled: true,
        instance: "main".to_owned(),
        store: Store::Redis,
        redis: RedisSettings {
            cluster: "redis_call".to_owned(),
            key_prefix: "ratelimit".to_owned(),
            timeout: Duration::from_millis(100),
            max_in_flight: 4096,
            #[cfg(feature = "higress")]
            native: None,
        },
        local: LocalSettings {
            share: Percent::FULL,
            max_counters: 65_536,
        },
        identify: vec![api_key],
        on_no_client: OnNoClient::Allow,
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
            retry_after_jitter: Percent::FULL,
            upstream_headers: UpstreamHeaders::Replace,
        },
        verdict_cache: VerdictCacheSettings {
            max_age: Duration::from_secs(1),
            entries: 65_536,
        },
        log: LogSettings {
            denials_per_second: 10,
        },
        metrics: MetricsSettings {
            enabled: true,
            clients: vec![],
        },
    }
}

fn plan(c: &mut Criterion) {
    use KeyPart::{Client, Method, Path};
    let hundred = |limit: &dyn Fn(usize) -> Limit| (0..100).map(limit).collect::<Vec<_>>();
    for (name, limits) in [
        ("no limit", vec![]),
        ("1 limit", vec![limit(0, "/**", &[Client])]),
        (
            "100 limits, 3 hold",
            hundred(&|i| match i % 40 {
                0 => limit(i, "/api/**", &[Client, Path]),
                _ => limit(i, &format!("/api/v1/{{kind}}/{i}"), &[Client]),
            }),
        ),
        (
            "100 limits, all hold, one hash",
            hundred(&|i| limit(i, "/api/{version}/users/*", &[Client])),
        ),
        (
            "100 limits, all hold, a key each",
            hundred(&|i| limit(i, "/api/{version}/users/*", &[Client, Path, Method])),
        ),
    ] {
        let planner = Planner::new(&policy(limits), Hasher::new(Some(b"key")));
        c.bench_function(name, |b| {
            b.iter(|| {
                let client = planner.identify(black_box(&Call));
                planner.plan(black_box(&Call), client.as_ref())
            })
        });
    }
}

/// One limit's answer without Redis: what is denied until later, and a pass from permits in hand with all that is done
/// to have the next in time.
fn memory(c: &mut Criterion) {
    let leased = Limit {
        quota: Quota::parse("100000000/day").expect("a rate"),
        lease: Percent::from_basis_points(1_000),
        ..limit(0, "/**", &[KeyPart::Client])
    };
    let policy = policy(vec![leased]);
    let planner = Planner::new(&policy, Hasher::new(Some(b"key")));
    let client = planner.identify(&Call);
    let Plan::Count { groups, .. } = planner.plan(&Call, client.as_ref()) else {
        panic!("exempt")
    };
    let (now, group) = (Instant::now(), &groups[0]);
    let mut cache = VerdictCache::new(&policy.verdict_cache);
    let denied = Verdict {
        allowed: false,
        limit: Some(1),
        remaining: 0,
        reset_ms: 500,
        wait_ms: 500,
    };
    cache.note(now, group, &group.charges[0], &denied);
    c.bench_function("a known denial", |b| {
        b.iter(|| cache.denied(now, black_box(group), &group.charges[0]).is_some());
    });
    let mut book = LeaseBook::new(&policy);
    let mut call = 0;
    let reply = [1, 1, 100_000_000, 90_000_000, 86_400_000, 0, 7].map(Value::Int);
    c.bench_function("a pass from leases", |b| {
        b.iter(|| {
            let verdicts = book.spend(now, black_box(&groups));
            if verdicts.is_none() {
                book.note(now, &groups);
            }
            for taking in book.takings(now, &groups) {
                call += 1;
                book.sent(now, call, taking);
                book.settle(now, call, Ok(Value::Array(Some(reply.to_vec()))));
            }
            verdicts
        });
    });
}

criterion_group!(benches, plan, memory);
criterion_main!(benches);
