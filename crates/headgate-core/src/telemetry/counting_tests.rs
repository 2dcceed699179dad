//! Whether requests are counted now, as metrics.

use super::*;

fn result(by: CountedBy, verdict: Option<Verdict>) -> LimitResult {
    LimitResult {
        limit: 0,
        enforced: true,
        verdict,
        by,
        on_error: OnError::Local,
    }
}

#[test]
fn the_last_counted_and_the_last_uncounted_request_are_reported() {
    let (mut metrics, memory) = metrics(vec![]);
    let (start, unix) = (Instant::now(), 1_800_000_000_000);
    let last = |memory: &TestMeter| {
        let values = memory.values();
        let value = |name: &str| {
            let name = format!("headgate_{name};instance=main");
            values.get(&name).copied().unwrap_or(0)
        };
        let times =
            ["last_counted", "last_uncounted"].map(|name| value(&format!("{name}_timestamp_milliseconds")));
        (times, value("workers_counting"))
    };
    metrics.hand_on(at(start), Gauges::default());
    assert_eq!(last(&memory), ([0, 0], 0));
    // Counted in Envoy's memory in place of Redis, and then not at all: 200 ms and 150 ms before they are handed on.
    metrics.counted(start, &result(CountedBy::Local, verdict(true, 9)));
    let then = start + Duration::from_millis(50);
    metrics.counted(then, &result(CountedBy::Redis, None));
    metrics.hand_on(at(start + Duration::from_millis(200)), Gauges::default());
    assert_eq!(last(&memory), ([0, unix - 150], 0));
    metrics.counted(start, &result(CountedBy::Redis, verdict(false, 0)));
    metrics.hand_on(at(start), Gauges::default());
    assert_eq!(last(&memory), ([unix, unix - 150], 1));
    metrics.hand_on(at(start), Gauges::default());
    assert_eq!(last(&memory).1, 1, "a worker is one, however often it counts");
    drop(metrics);
    assert_eq!(last(&memory), ([unix, unix - 150], 0));
}

#[test]
fn with_a_local_store_counting_in_memory_is_counted() {
    let mut policy = policy(vec![header("x-api-key")], vec![limit("a", &[])]);
    policy.store = crate::model::Store::Local;
    let memory = TestMeter::default();
    let mut metrics = Metrics::new(&policy, &Hasher::new(Some(b"k")), memory.clone(), 7);
    metrics.counted(Instant::now(), &result(CountedBy::Local, verdict(true, 9)));
    metrics.hand_on(at(Instant::now()), Gauges::default());
    let values = memory.values();
    assert!(values.contains_key("headgate_last_counted_timestamp_milliseconds;instance=main"));
    assert!(!values.contains_key("headgate_last_uncounted_timestamp_milliseconds;instance=main"));
    let fingerprint = values["headgate_hash_key_fingerprint;instance=main"];
    assert_eq!(fingerprint as u64, Hasher::new(Some(b"k")).key_fingerprint());
}

#[test]
fn error_replies_and_redis_clock_are_reported_once_each() {
    let (mut metrics, memory) = metrics(vec![]);
    let now = Instant::now();
    metrics.called("error", Some("noauth"));
    metrics.called("error", Some("noauth"));
    metrics.called("timed_out", None);
    metrics.clock(now, -3_000);
    metrics.hand_on(at(now), Gauges::default());
    let values = memory.values();
    assert_eq!(
        values["headgate_redis_errors_total;instance=main;outcome=noauth"],
        2
    );
    assert_eq!(
        values["headgate_redis_clock_behind_milliseconds;instance=main"],
        3_000
    );
    assert!(!values.contains_key("headgate_redis_clock_ahead_milliseconds;instance=main"));
    metrics.clock(now, 5);
    metrics.hand_on(at(now), Gauges::default());
    let values = memory.values();
    assert_eq!(values["headgate_redis_clock_ahead_milliseconds;instance=main"], 5);
    assert!(!values.contains_key("headgate_redis_clock_behind_milliseconds;instance=main"));
    assert_eq!(
        values["headgate_redis_errors_total;instance=main;outcome=noauth"],
        2
    );
}
