use super::super::rejections::MOST;
use super::*;
use crate::identify::{FakeRequest, Source};
use crate::limit::fixtures::{header, limit, policy};
use crate::limit::{Match, OnError, PathPattern, Plan, Planner, Verdict};
use crate::model::{NamedClient, NamedClientValue};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Name and value of every series.
#[derive(Clone, Default)]
struct TestMeter(Rc<RefCell<Vec<(String, i64)>>>);

impl Meter for TestMeter {
    fn define(&self, _: MetricKind, name: &str) -> Option<u32> {
        let mut all = self.0.borrow_mut();
        let known = all.iter().position(|(known, _)| known == name);
        let at = known.unwrap_or_else(|| {
            all.push((name.to_owned(), 0));
            all.len() - 1
        });
        u32::try_from(at).ok()
    }

    fn add(&self, id: u32, by: i64) {
        self.0.borrow_mut()[id as usize].1 += by;
    }

    fn record(&self, id: u32, value: u64) {
        self.0.borrow_mut()[id as usize].1 = value as i64;
    }
}

impl TestMeter {
    /// The series that are not zero.
    fn values(&self) -> BTreeMap<String, i64> {
        self.0
            .borrow()
            .iter()
            .filter(|(_, value)| *value != 0)
            .cloned()
            .collect()
    }

    fn len(&self) -> usize {
        self.0.borrow().len()
    }
}

/// This moment by both clocks.
fn at(monotonic: Instant) -> Now {
    Now {
        monotonic,
        unix: Duration::from_secs(1_800_000_000),
    }
}

fn metrics(clients: Vec<NamedClient>) -> (Metrics<TestMeter>, TestMeter) {
    let mut policy = policy(
        vec![header("x-api-key")],
        vec![limit("a", &[]), limit("100/minute", &[])],
    );
    policy.metrics.clients = clients;
    let memory = TestMeter::default();
    (
        Metrics::new(&policy, &Hasher::new(None), memory.clone(), 7),
        memory,
    )
}

fn verdict(allowed: bool, remaining: u64) -> Option<Verdict> {
    Some(Verdict {
        allowed,
        limit: Some(100),
        remaining,
        reset_ms: 0,
        wait_ms: 0,
    })
}

#[test]
fn each_limit_reports_verdicts_source_and_usage() {
    let (mut metrics, memory) = metrics(vec![]);
    for (limit, enforced, verdict, by, on_error) in [
        (0, true, verdict(true, 20), CountedBy::Redis, OnError::Deny),
        (0, true, verdict(true, 19), CountedBy::Local, OnError::Deny),
        (0, true, verdict(false, 0), CountedBy::Cache, OnError::Deny),
        (1, true, verdict(true, 100), CountedBy::Lease, OnError::Deny),
        (0, false, verdict(false, 0), CountedBy::Redis, OnError::Deny),
        (0, true, None, CountedBy::Redis, OnError::Deny),
        (1, true, None, CountedBy::Redis, OnError::Allow),
        (1, false, None, CountedBy::Redis, OnError::Deny),
    ] {
        metrics.counted(
            Instant::now(),
            &LimitResult {
                limit,
                enforced,
                verdict,
                by,
                on_error,
            },
        );
    }
    let (limit, now) = (1, Instant::now());
    metrics.leased(now, LeaseEvent::Taken { limit, permits: 40 });
    metrics.leased(now, LeaseEvent::Taken { limit, permits: 2 });
    metrics.leased(now, LeaseEvent::Unspent { limit, permits: 5 });
    metrics.hand_on(at(Instant::now()), Gauges::default());
    let values = memory.values();
    let said = |limit: &str, outcome: &str, by: &str| {
        let name = format!("headgate_decisions_total;instance=main;limit={limit};outcome={outcome};by={by}");
        values.get(&name).copied().unwrap_or(0)
    };
    assert_eq!(said("a", "allowed", "redis"), 1);
    assert_eq!(said("a", "allowed", "local"), 1);
    assert_eq!(said("a", "denied", "cache"), 1);
    assert_eq!(said("a", "shadow_denied", "redis"), 1);
    assert_eq!(said("100/minute", "allowed", "lease"), 1);
    for (metric, value) in [("leases", 2), ("lease_permits", 42), ("lease_permits_unspent", 5)] {
        assert_eq!(
            values[&format!("headgate_{metric}_total;instance=main;limit=100/minute")],
            value
        );
    }
    assert_eq!(said("a", "failed_closed", "none"), 1);
    assert_eq!(
        said("100/minute", "failed_open", "none"),
        2,
        "a shadow never refuses"
    );
    assert_eq!(
        values["headgate_near_limit_total;instance=main;limit=a"], 1,
        "80 is not over 80"
    );
    assert_eq!(
        values["headgate_quota_used_percent_total;instance=main;limit=a"],
        80 + 81 + 100 + 100
    );
}

#[test]
fn metrics_report_requests_and_a_dropped_worker_clears_gauges() {
    let (mut metrics, memory) = metrics(vec![]);
    let now = Instant::now();
    assert_eq!(metrics.due(), None);
    metrics.decided(now, Outcome::Exempt, None);
    let due = Some(now + HAND_ON);
    assert_eq!(metrics.due(), due);
    metrics.decided(now + HAND_ON / 2, Outcome::NoClient { refused: true }, None);
    assert_eq!(metrics.due(), due, "the first that is counted says when");
    for outcome in ["timed_out", "lost", "timed_out"] {
        metrics.called(outcome, None);
    }
    metrics.waited(now, 1_234);
    metrics.hand_on(
        at(now),
        Gauges {
            streams_open: 3,
            calls_in_flight: 9,
            breakers_open: 1,
        },
    );
    metrics.hand_on(
        at(now),
        Gauges {
            streams_open: 3,
            calls_in_flight: 2,
            breakers_open: 0,
        },
    );
    assert_eq!(metrics.due(), None);
    let values = memory.values();
    assert_eq!(
        values["headgate_requests_total;instance=main;decision=exempt;by=none"],
        1
    );
    assert_eq!(
        values["headgate_requests_total;instance=main;decision=no_client;by=none"],
        1
    );
    assert_eq!(
        values["headgate_redis_calls_total;instance=main;outcome=timed_out"],
        2
    );
    assert_eq!(values["headgate_redis_calls_total;instance=main;outcome=lost"], 1);
    assert_eq!(values["headgate_redis_wait_microseconds;instance=main"], 1_234);
    assert_eq!(values["headgate_configuration_version;instance=main"], 7);
    assert_eq!(values["headgate_streams_open;instance=main"], 3);
    assert_eq!(values["headgate_calls_in_flight;instance=main"], 2);
    drop(metrics);
    let values = memory.values();
    assert!(
        values
            .keys()
            .all(|name| !name.contains("open") && !name.contains("in_flight")),
        "{values:?}"
    );
}

#[test]
fn a_client_with_a_name_has_a_series_and_everyone_else_is_other() {
    let named = |name: &str, value: &str| NamedClient {
        name: name.into(),
        source: "api_key".into(),
        value: NamedClientValue::Value(value.into()),
    };
    let (mut metrics, memory) = metrics(vec![named("partner-7", "secret")]);
    let hash = format!("api_key:{}", Hasher::new(None).digest(b"secret"));
    metrics.rejected(0, "/v1/{id}", Some(&hash));
    metrics.rejected(0, "/v1/{id}", Some("api_key:anyone"));
    metrics.rejected(0, "/v1/{id}", None);
    metrics.hand_on(at(Instant::now()), Gauges::default());
    let values = memory.values();
    assert_eq!(
        values["api_throttle_rejected_total;limit=a;endpoint=/v1/{id};client=partner-7"],
        1
    );
    assert_eq!(
        values["api_throttle_rejected_total;limit=a;endpoint=/v1/{id};client=other"],
        2
    );
}

/// Counts requests as the engine does. Clients and paths are chosen by callers, and must not create series.
fn clients_and_paths_add_no_series(requests: u32) {
    let template = Match {
        path: Some(PathPattern::template("/v1/{id}/items").unwrap()),
        ..Match::default()
    };
    // plain names, so that a million of them are not hashed
    let source = Source {
        plain: true,
        ..header("x-api-key")
    };
    let mut items = limit("items", &[]);
    items.matches = vec![template];
    let policy = policy(vec![source], vec![items, limit("all", &[])]);
    let planner = Planner::new(&policy, Hasher::new(None));
    let memory = TestMeter::default();
    let mut metrics = Metrics::new(&policy, planner.hasher(), memory.clone(), 7);
    let mut before = 0;
    for n in 0..requests {
        let request = FakeRequest::new(
            "192.0.2.1",
            &[
                (":path", &format!("/v1/{n}/items?token={n}")),
                (":method", "GET"),
                ("x-api-key", &format!("client-{n}")),
            ],
        );
        let identity = planner.identify(&request);
        let Plan::Count { groups, .. } = planner.plan(&request, &identity) else {
            panic!()
        };
        let shown = identity.client().map(ToString::to_string);
        for charge in groups.iter().flat_map(|group| &group.charges) {
            metrics.counted(
                Instant::now(),
                &LimitResult {
                    limit: charge.limit,
                    enforced: charge.enforced,
                    verdict: verdict(false, 0),
                    by: CountedBy::Redis,
                    on_error: OnError::Deny,
                },
            );
            let pattern = charge.path_pattern(&policy.limits).unwrap_or("the route");
            metrics.rejected(charge.limit, pattern, shown.as_deref());
        }
        if n == 0 {
            metrics.hand_on(at(Instant::now()), Gauges::default());
            before = memory.len();
        }
    }
    metrics.hand_on(at(Instant::now()), Gauges::default());
    assert_eq!(memory.len(), before);
    let values = memory.values();
    for (limit, endpoint) in [("items", "/v1/{id}/items"), ("all", "the%20route")] {
        let name = format!("api_throttle_rejected_total;limit={limit};endpoint={endpoint};client=other");
        assert_eq!(values[&name], i64::from(requests));
    }
}

#[test]
fn fifty_thousand_clients_and_paths_add_no_series() {
    clients_and_paths_add_no_series(50_000);
}

#[test]
#[ignore = "slow"]
fn a_million_clients_and_paths_add_no_series() {
    clients_and_paths_add_no_series(1_000_000);
}

#[test]
fn the_number_of_series_by_client_and_endpoint_is_bounded() {
    let (mut metrics, memory) = metrics(vec![]);
    metrics.rejected(0, "/a", Some("api_key:0"));
    metrics.hand_on(at(Instant::now()), Gauges::default());
    let before = memory.len();
    for n in 0..1_000_000_u32 {
        metrics.rejected(0, "/a", Some(&format!("api_key:{n}")));
    }
    metrics.hand_on(at(Instant::now()), Gauges::default());
    assert_eq!(memory.len(), before, "clients make no series");
    for n in 0..100_000_u32 {
        metrics.rejected(n as usize % 2, &format!("/{n}"), None);
    }
    metrics.hand_on(at(Instant::now()), Gauges::default());
    assert!(
        memory.len() <= before + MOST + 2,
        "even a route made for each request"
    );
    let total: i64 = memory
        .values()
        .iter()
        .filter(|(name, _)| name.starts_with("api_"))
        .map(|(_, n)| n)
        .sum();
    assert_eq!(total, 1_100_001, "none is lost");
}

#[path = "counting_tests.rs"]
mod counting;
