//! The longest periods, and forged counters in Redis.

use crate::harness::*;

/// The longest wait that a period of 366 d can mean, in seconds.
const YEAR: i64 = 366 * 86_400;

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_is_in_range_for_any_period_and_any_content_of_redis() {
    let redis = SingleRedis::start();
    let limits = [
        "rate: 1/366d, algorithm: fixed_window",
        "rate: 1/366d, algorithm: fixed_window, align: client",
        "rate: 1/366d, algorithm: sliding_window_log",
        "rate: 1/366d, algorithm: sliding_window_counter",
        "rate: 1/366d, algorithm: gcra",
        "rate: 0/366d",
        "rate: 284836/366d, cost: 284836, algorithm: gcra",
    ];
    let limits: Vec<String> = limits
        .iter()
        .enumerate()
        .map(|(n, limit)| format!("{{name: l{n}, match: {{path: /{n}}}, {limit}}}"))
        .collect();
    let policy = format!(
        "{{limits: [{}], verdict_cache: {{max_age: 0s}}, response: {{headers: [x-ratelimit, ietf]}}}}",
        limits.join(", ")
    );
    let envoy = Envoy::with(&redis).policy(&policy).start();
    let call = async |n: usize, what: &str| {
        let response = envoy.get(&format!("/{n}")).header("x-api-key", "a").send().await;
        if response.status == 429 {
            let wait = response.number("retry-after").unwrap_or(-1);
            // A sliding counter remembers the window before.
            assert!((1..=2 * YEAR).contains(&wait), "{what}, limit {n}: {wait}");
        }
        if let Some(reset) = response.number("x-ratelimit-reset") {
            let now = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap();
            let reset = reset - now.as_secs() as i64;
            assert!((-1..=2 * YEAR + 1).contains(&reset), "{what}, limit {n}: {reset}");
        }
        response.status
    };
    for n in 0..limits.len() {
        let first = call(n, "first").await;
        assert_eq!(first, if n == 5 { 429 } else { 200 });
        assert_eq!(call(n, "second").await, 429);
    }
    // Others write in Redis what they like: the counters' own form with times far off, and no form at all.
    let hash = redis
        .keys("*")
        .into_iter()
        .find(|key| key.ends_with('}'))
        .expect("the client's hash");
    let fields: Vec<String> = redis.call(&["HKEYS", &hash]);
    let log = redis
        .keys("*")
        .into_iter()
        .find(|key| key.contains(":ring:"))
        .expect("a log");
    for value in [
        "",
        "garbage",
        "-1",
        "-1 -1 -1",
        "nan",
        "inf",
        "1e308 1e308",
        "9007199254740993",
        "4102444800000 1",
        "1 4102444800000",
        "4102444800000 4102444800000 4102444800000",
        "0x10",
        "\u{0}\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}\u{7}",
    ] {
        for field in &fields {
            let _set: i64 = redis.call(&["HSET", &hash, field, value]);
        }
        let _set: String = redis.call(&["SET", &log, value]);
        for n in 0..limits.len() {
            let status = call(n, value).await;
            assert!([200, 429].contains(&status), "{value:?}, limit {n}: {status}");
        }
    }
}
