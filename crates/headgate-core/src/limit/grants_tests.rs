//! What a client is granted: overrides, `replaces`, shares, costs, phases.

use crate::identify::{Digest, FakeRequest, Hasher};
use crate::limit::fixtures::*;
use crate::limit::{
    Algorithm, Align, Charge, Cost, CostRange, Enforce, KeyPart, Limit, Override, Percent, Planner, Quota,
};

const TEST: &str = "9f86d081884c7d659a2feaa0c55ad015";

fn charges(limits: Vec<Limit>, request: &FakeRequest) -> Vec<Charge> {
    let (groups, _) = counted(&planner(sources(), limits), request);
    groups.into_iter().flat_map(|group| group.charges).collect()
}

#[test]
fn a_log_with_leases_counts_its_calls_for_a_lease_longer() {
    let kept = |algorithm, lease| {
        let limit = Limit {
            algorithm,
            lease,
            ..by_address("l")
        };
        charges(vec![limit], &FakeRequest::new("10.0.0.1", &[]))[0]
            .rate
            .period
            .as_millis()
    };
    let share = Percent::from_basis_points(1_000);
    assert_eq!(kept(Algorithm::SlidingWindowLog, share), 61_000);
    assert_eq!(kept(Algorithm::SlidingWindowLog, None), 60_000);
    assert_eq!(kept(Algorithm::SlidingWindowCounter, share), 60_000);
}

/// N, or `unlimited` if nothing is counted; with `live` if a live override may change it.
fn granted(overrides: Vec<Override>, request: &FakeRequest) -> String {
    let limit = Limit {
        overrides,
        ..by_client("l")
    };
    let charges = charges(vec![limit], request);
    let Some(charge) = charges.first() else {
        return "unlimited".into();
    };
    match &charge.live {
        None => charge.rate.limit.to_string(),
        Some(live) if live.unlimited => "live or unlimited".into(),
        Some(_) => format!("live or {}", charge.rate.limit),
    }
}

fn value(source: &str, value: &str, quota: Quota) -> Override {
    Override::Value {
        source: source.into(),
        value: value.into(),
        quota,
    }
}

fn hash(source: &str, hash: &str, quota: Quota) -> Override {
    Override::Hash {
        source: source.into(),
        hash: hash.parse::<Digest>().unwrap(),
        quota,
    }
}

pub(super) fn cidr(net: &str, quota: Quota) -> Override {
    Override::Cidr {
        net: net.parse().unwrap(),
        quota,
    }
}

#[test]
fn an_override_fits_by_value_hash_or_address() {
    let by_key = FakeRequest::new("10.0.0.1", &[("x-api-key", "test")]);
    let by_app = FakeRequest::new("10.0.0.1", &[("x-app", "a:b")]);
    let by_ip = FakeRequest::new("::ffff:10.0.0.1", &[]);
    for (one, key, app, ip) in [
        (value("api_key", "test", rate(7)), "7", "100", "100"),
        (hash("api_key", TEST, rate(7)), "7", "100", "100"),
        (hash("api_key", TEST, Quota::Unlimited), "unlimited", "100", "100"),
        (value("app", "a:b", rate(7)), "100", "7", "100"),
        (value("app", "test", rate(7)), "100", "100", "100"),
        (value("address", "10.0.0.1", rate(7)), "100", "100", "7"),
        (cidr("10.0.0.0/8", rate(7)), "7", "7", "7"),
        (cidr("::ffff:10.0.0.0/104", rate(7)), "7", "7", "7"),
        (cidr("::/0", rate(7)), "100", "100", "100"),
        (cidr("11.0.0.0/8", rate(7)), "100", "100", "100"),
        (Override::Redis, "live or 100", "live or 100", "live or 100"),
        (value("unknown", "test", rate(7)), "100", "100", "100"),
    ] {
        let all = [&by_key, &by_app, &by_ip].map(|request| granted(vec![one.clone()], request));
        assert_eq!(all, [key, app, ip], "{one:?}");
    }
}

#[test]
fn the_first_matching_override_wins_and_redis_comes_first() {
    let request = FakeRequest::new("10.0.0.1", &[("x-api-key", "test")]);
    let fits = || value("api_key", "test", rate(7));
    let also = || cidr("10.0.0.0/8", Quota::Unlimited);
    let not = || value("api_key", "other", rate(9));
    assert_eq!(granted(vec![fits(), also()], &request), "7");
    assert_eq!(granted(vec![also(), fits()], &request), "unlimited");
    assert_eq!(granted(vec![not(), fits()], &request), "7");
    assert_eq!(granted(vec![Override::Redis, fits()], &request), "live or 7");
    assert_eq!(granted(vec![fits(), Override::Redis], &request), "7");
    assert_eq!(
        granted(vec![Override::Redis, also()], &request),
        "live or unlimited"
    );
    assert_eq!(granted(vec![not(), Override::Redis], &request), "live or 100");
}

#[test]
fn a_live_override_is_always_a_field_of_the_clients_hash() {
    let request = FakeRequest::new("10.0.0.1", &[("x-api-key", "test"), (":method", "GET")]);
    let live = |key: &[KeyPart]| Limit {
        overrides: vec![Override::Redis],
        ..limit("l", key)
    };
    let limits = vec![
        limit("beside", &[KeyPart::Client, KeyPart::Method]),
        live(&[KeyPart::Client, KeyPart::Method]),
    ];
    let (groups, _) = counted(&planner(sources(), limits), &request);
    let keys: Vec<String> = groups[0]
        .keys
        .iter()
        .map(|k| String::from_utf8(k.clone()).unwrap())
        .collect();
    let hash = format!("ratelimit:main:{{api_key:{TEST}}}");
    let expected = [
        hash.clone(),
        format!("{hash}:beside:counter:60000:GET"),
        format!("{hash}:l:counter:60000:GET"),
    ];
    assert_eq!(keys, expected);
    let live = groups[0].charges[1].live.as_ref().unwrap();
    assert_eq!(
        (groups[0].charges[1].key, live.key, &*live.field),
        (2, 0, "l:override")
    );
    assert_eq!(groups[0].charges[0].key, 1);
}

#[test]
fn unlimited_is_not_counted_and_still_applies() {
    let partner = Limit {
        quota: Quota::Unlimited,
        replaces: vec![1],
        ..by_client("partner")
    };
    let request = FakeRequest::new("10.0.0.1", &[]);
    assert_eq!(charges(vec![partner.clone(), by_client("user")], &request), []);
    let shadow = Limit {
        enforce: Enforce::Never,
        ..partner
    };
    assert_eq!(charges(vec![shadow, by_client("user")], &request).len(), 1);
}

#[test]
fn an_unlimited_limit_without_a_period_is_not_counted() {
    let limit = Limit {
        quota: Quota::Unlimited,
        overrides: vec![Override::Redis],
        ..by_client("l")
    };
    assert_eq!(
        charges(vec![limit.clone()], &FakeRequest::new("10.0.0.1", &[])),
        []
    );
    let with_period = Limit {
        overrides: vec![Override::Redis, value("app", "x", rate(5))],
        ..limit
    };
    let charges = charges(vec![with_period], &FakeRequest::new("10.0.0.1", &[]));
    assert!(charges[0].live.as_ref().unwrap().unlimited);
    assert_eq!(
        (charges[0].rate.period.as_millis(), &*charges[0].field),
        (60_000, "l:counter:60000")
    );
}

/// Whether the limit is enforced, for 10,000 callers of the source.
fn enforced(share: u16, limit: Limit, request: impl Fn(u32) -> FakeRequest) -> Vec<bool> {
    let limit = Limit {
        enforce: Enforce::Share(Percent::from_basis_points(share).unwrap()),
        ..limit
    };
    let planner = planner(sources(), vec![limit]);
    let one = |i| counted(&planner, &request(i)).0[0].charges[0].enforced;
    (0..10_000).map(one).collect()
}

fn key_of(i: u32) -> FakeRequest {
    FakeRequest::new("10.0.0.1", &[("x-api-key", &i.to_string())])
}

#[test]
fn a_share_is_of_clients_always_the_same_and_grows_by_adding() {
    let count = |list: &[bool]| list.iter().filter(|yes| **yes).count();
    let tenth = enforced(1_000, by_client("a"), key_of);
    assert!((900..1_100).contains(&count(&tenth)), "{}", count(&tenth));
    assert_eq!(
        tenth,
        enforced(1_000, by_client("b"), key_of),
        "whatever the limit"
    );
    let quarter = enforced(2_500, by_client("a"), key_of);
    assert!((2_350..2_650).contains(&count(&quarter)), "{}", count(&quarter));
    assert!(tenth.iter().zip(&quarter).all(|(small, large)| !small || *large));
    assert_eq!(count(&enforced(0, by_client("a"), key_of)), 0);
    assert_eq!(count(&enforced(10_000, by_client("a"), key_of)), 10_000);
}

#[test]
fn another_api_key_does_not_leave_an_enforced_share_by_address() {
    let ceiling = enforced(5_000, by_address("ceiling"), key_of);
    assert!(ceiling.iter().all(|yes| *yes == ceiling[0]));
    let by_path = enforced(5_000, limit("l", &[KeyPart::Path]), key_of);
    assert!(
        by_path.contains(&true) && by_path.contains(&false),
        "a limit without a caller in its key goes by client"
    );
    let octets = |i: u32| FakeRequest::new(&format!("10.1.{}.{}", i / 256, i % 256), &[]);
    assert_eq!(
        enforced(5_000, by_client("a"), octets),
        enforced(5_000, by_address("b"), octets)
    );
}

#[test]
fn a_limit_replaces_only_for_clients_it_is_enforced_for() {
    let canary = Limit {
        enforce: Enforce::Share(Percent::from_basis_points(5_000).unwrap()),
        replaces: vec![0],
        ..by_client("canary")
    };
    let limits = vec![by_client("a"), canary];
    let planner = planner(sources(), limits.clone());
    for i in 0..50 {
        let (groups, _) = counted(&planner, &key_of(i));
        let canary = groups[0].charges.iter().find(|charge| charge.limit == 1).unwrap();
        let expected: &[&str] = if canary.enforced {
            &["canary"]
        } else {
            &["a", "canary"]
        };
        assert_eq!(names(&planner, &limits, &key_of(i)), expected);
    }
}

#[test]
fn a_cost_is_fixed_or_from_the_request_or_from_the_response() {
    let cost = |cost: Cost, value: &str| {
        let limit = Limit {
            cost,
            ..by_client("l")
        };
        let request = FakeRequest::new("10.0.0.1", &[("x-cost", value)]);
        let charge = charges(vec![limit], &request).remove(0);
        (charge.cost, charge.charged_on_response)
    };
    let from = |name: &str| Cost::Header {
        name: name.into(),
        range: CostRange { min: 2, max: 50 },
    };
    assert_eq!(cost(Cost::Fixed(3), "7"), (3, false));
    assert_eq!(cost(from("x-cost"), "7"), (7, false));
    assert_eq!(cost(from("x-cost"), "70"), (50, false));
    assert_eq!(cost(from("x-cost"), "0"), (2, false));
    assert_eq!(cost(from("x-cost"), "-7"), (2, false));
    assert_eq!(cost(from("x-none"), "7"), (2, false));
    let later = Cost::ResponseHeader {
        name: "x-tokens".into(),
        range: CostRange { min: 0, max: 50 },
    };
    assert_eq!(cost(later, "7"), (1, true));
}

#[test]
fn a_window_aligned_by_client_has_a_phase_of_its_own_for_each() {
    let phase = |align: Align, request: &FakeRequest| {
        let algorithm = Algorithm::FixedWindow { align };
        let limit = |name| Limit {
            algorithm,
            ..by_client(name)
        };
        let charges = charges(vec![limit("a"), limit("b")], request);
        assert_eq!(charges[0].phase_ms, charges[1].phase_ms);
        assert!(charges[0].phase_ms < 60_000);
        charges[0].phase_ms
    };
    let phases: std::collections::HashSet<u64> = (0..100).map(|i| phase(Align::Client, &key_of(i))).collect();
    assert!(phases.len() > 90, "{}", phases.len());
    assert_eq!(phase(Align::Client, &key_of(1)), phase(Align::Client, &key_of(1)));
    assert_eq!(phase(Align::Epoch, &key_of(1)), 0);
    assert_eq!(phase(Align::FirstCall, &key_of(1)), 0);
}

#[test]
fn the_hash_key_changes_every_secret_in_a_key() {
    let policy = policy(sources(), vec![by_client("l")]);
    let slot = |key: Option<&[u8]>| {
        let planner = Planner::new(&policy, Hasher::new(key));
        counted(&planner, &key_of(1)).0[0].keys[0].clone()
    };
    assert_ne!(slot(None), slot(Some(b"k")));
    assert_ne!(slot(Some(b"l")), slot(Some(b"k")));
}
