//! What callers observe must not depend on the transport to Redis: each behaviour is checked once over streams in Envoy and
//! once over the native transport.

use crate::drivers::{Answer, Call, Driver, Native, Streams};
use crate::harness::{wait_for, SingleRedis};
use std::time::Duration;

const POLICY: &str = r#"
    redis: {timeout: 5s}
    verdict_cache: {max_age: 10s}
    response: {headers: [x-ratelimit, ietf]}
    limits:
    - {name: few, rate: 3/minute, match: {path: /few}}
    - {name: wide, rate: 200/minute, match: {path: /few}}
    - {name: fixed, rate: 2/minute, algorithm: fixed_window, match: {path: /fixed}}
    - {name: counter, rate: 2/minute, algorithm: sliding_window_counter, match: {path: /counter}}
    - {name: bucket, rate: 60/minute, algorithm: gcra, burst: 2, match: {path: /gcra}}
    - {name: dark, rate: 1/minute, match: {path: /shadow}, enforce: false}
    - {name: seen, rate: 50/minute, match: {path: /shadow}}
    - {name: live, rate: 2/hour, algorithm: sliding_window_counter, match: {path: /live}, overrides: [{from: redis}]}
    - {name: costly, rate: 10/hour, match: {path: /cost}, cost: 3}
    - {name: tokens, rate: 100/hour, algorithm: sliding_window_counter, match: {path: /tokens}, cost: {response_header: x-tokens, max: 100}}
    - {name: own, rate: 40/hour, match: [{path: /tags}, {path: /own}]}
    - {name: shared, rate: 2/hour, match: {path: /tags}, key: [path]}
    - {name: burst, rate: 20/hour, match: {path: /burst}}
    - {name: hot, rate: 1000000/hour, algorithm: fixed_window, match: {path: /hot}, lease: 10%}
    - {name: script, rate: 500/hour, match: {path: /script}}
    - {name: shut, rate: 50/hour, match: {path: /deny}, on_error: deny}
    - {name: open, rate: 50/hour, match: {path: /allow}, on_error: allow}
    - {name: local, rate: 2/hour, match: {path: /local}, on_error: local}
"#;

struct Bench<'a> {
    driver: &'a mut dyn Driver,
    redis: &'a SingleRedis,
}

impl Bench<'_> {
    fn call(&mut self, path: &str, key: &str) -> Answer {
        self.send(Call {
            path: path.into(),
            key: key.into(),
            ..Call::default()
        })
    }

    fn send(&mut self, call: Call) -> Answer {
        self.driver.send(&[call]).remove(0)
    }

    /// Sends `count` calls one after another. Returns their statuses and the remaining quotas.
    fn calls(&mut self, path: &str, count: usize) -> Vec<(u32, Option<i64>)> {
        let mut seen = Vec::new();
        for _ in 0..count {
            let answer = self.call(path, "a");
            seen.push((answer.status, answer.number("x-ratelimit-remaining")));
        }
        seen
    }
}

type Behaviour = fn(&mut Bench);

/// In this order, because the last ones stop Redis.
const BEHAVIOURS: &[(&str, Behaviour)] = &[
    (
        "a limit grants its rate and denies the rest, each algorithm",
        each_algorithm,
    ),
    (
        "the tightest of several limits is shown, on the response and to the upstream",
        several_limits,
    ),
    ("a denial contains the time to wait", a_denial),
    ("a known denial is answered without Redis", verdict_cache),
    ("clients are counted separately", clients_apart),
    (
        "a limit in shadow denies nothing and is reported upstream",
        shadow,
    ),
    ("a live override holds from the next call on", live_override),
    ("a cost is charged completely or not at all", cost),
    ("a cost of the response is charged afterwards", response_cost),
    (
        "what a denied call charged to other limits is refunded",
        give_back,
    ),
    ("concurrent calls are counted exactly", at_once),
    ("a gRPC caller gets a gRPC status", grpc),
    ("a hot key costs a fraction of a call", leases),
    ("after SCRIPT FLUSH one call sends the script again", script_flush),
    (
        "each limit's failure policy applies while Redis is down, and counting resumes afterwards",
        failures,
    ),
];

fn run(driver: &mut dyn Driver, redis: &SingleRedis) {
    for (name, behaviour) in BEHAVIOURS {
        eprintln!("- {name}");
        behaviour(&mut Bench { driver, redis });
    }
}

#[test]
fn every_behaviour_holds_over_the_native_transport() {
    let redis = SingleRedis::start();
    run(&mut Native::start(&redis, POLICY), &redis);
}

#[test]
fn every_behaviour_holds_over_streams_in_envoy() {
    let redis = SingleRedis::start();
    run(&mut Streams::start(&redis, POLICY), &redis);
}

fn each_algorithm(bench: &mut Bench) {
    for path in ["/fixed", "/counter", "/gcra"] {
        let expected = [(200, Some(1)), (200, Some(0)), (429, Some(0))];
        assert_eq!(bench.calls(path, 3), expected, "{path}");
    }
}

fn several_limits(bench: &mut Bench) {
    let answer = bench.call("/few", "a");
    assert_eq!(answer.number("x-ratelimit-limit"), Some(3));
    let draft = answer.header("ratelimit").unwrap();
    assert!(
        draft.contains("\"few\";r=2;t=") && draft.contains("\"wide\";r=199;t="),
        "{draft}"
    );
    for name in ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"] {
        assert!(answer.header(name).is_some(), "{name}");
        assert_eq!(answer.upstream(name), answer.header(name), "{name}");
    }
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64;
    let reset = answer.number("x-ratelimit-reset").unwrap() - now;
    assert!((58..=61).contains(&reset), "{reset}");
    assert_eq!(bench.driver.latest("ratelimit_decision"), "allowed");
    assert_eq!(
        bench.calls("/few", 3),
        [(200, Some(1)), (200, Some(0)), (429, Some(0))]
    );
}

fn a_denial(bench: &mut Bench) {
    let answer = bench.call("/few", "a");
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (429, "Rate limit exceeded")
    );
    let wait = answer.number("retry-after").unwrap();
    assert!((50..=60).contains(&wait), "{wait}");
    assert!(answer.header("x-envoy-ratelimited").is_some());
    assert!(answer.upstream.is_none());
}

fn verdict_cache(bench: &mut Bench) {
    bench.redis.reset_stats();
    assert_eq!(bench.call("/few", "a").status, 429);
    assert_eq!(bench.driver.latest("ratelimit_by"), "cache");
    assert_eq!(bench.redis.calls("evalsha") + bench.redis.calls("eval"), 0);
}

fn clients_apart(bench: &mut Bench) {
    assert_eq!(bench.call("/few", "b").number("x-ratelimit-remaining"), Some(2));
}

fn shadow(bench: &mut Bench) {
    let seen: Vec<_> = (0..2).map(|_| bench.call("/shadow", "a")).collect();
    let limited = |answer: &Answer| answer.upstream("x-ratelimit-limited").map(str::to_owned);
    assert_eq!([seen[0].status, seen[1].status], [200, 200]);
    assert_eq!(
        [limited(&seen[0]), limited(&seen[1])],
        [None, Some("true".to_owned())]
    );
    assert_eq!(seen[1].number("x-ratelimit-limit"), Some(50));
    assert_eq!(bench.driver.latest("ratelimit_shadow"), "dark");
}

fn live_override(bench: &mut Bench) {
    assert_eq!(
        bench.call("/live", "partner").number("x-ratelimit-limit"),
        Some(2)
    );
    let hash = bench.redis.keys("*:{api_key:*}").into_iter();
    let of_live = |key: &String| {
        !bench
            .redis
            .call::<Vec<String>>(&["HKEYS", key])
            .iter()
            .all(|f| !f.starts_with("live:"))
    };
    let hash = hash
        .filter(|key| key.ends_with('}'))
        .find(of_live)
        .expect("the client's hash");
    bench.redis.call::<()>(&["HSET", &hash, "live:override", "9"]);
    let answer = bench.call("/live", "partner");
    assert_eq!(
        (
            answer.number("x-ratelimit-limit"),
            answer.number("x-ratelimit-remaining")
        ),
        (Some(9), Some(7))
    );
}

fn cost(bench: &mut Bench) {
    assert_eq!(
        bench.calls("/cost", 4),
        [(200, Some(7)), (200, Some(4)), (200, Some(1)), (429, Some(1))]
    );
}

fn response_cost(bench: &mut Bench) {
    let call = |tokens: &str| Call {
        path: "/tokens".into(),
        key: "a".into(),
        answer: vec![("x-tokens".into(), tokens.into())],
        ..Call::default()
    };
    bench.send(call("60"));
    let left = |bench: &mut Bench| bench.send(call("0")).number("x-ratelimit-remaining");
    let mut last = None;
    for _ in 0..200 {
        last = left(bench);
        if last == Some(40) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(last, Some(40));
    bench.send(call("70"));
    for _ in 0..200 {
        if bench.send(call("0")).status == 429 {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("spent, and not denied");
}

fn give_back(bench: &mut Bench) {
    assert_eq!(bench.calls("/tags", 2), [(200, Some(1)), (200, Some(0))]);
    assert_eq!(
        bench.call("/tags", "other").status,
        429,
        "the key is the path, for every caller"
    );
    // before the denial is cached, the third call was charged to its own limit too
    let mut left = None;
    for _ in 0..100 {
        left = bench.call("/own", "other").number("x-ratelimit-remaining");
        if left.is_some() {
            break;
        }
    }
    assert_eq!(left, Some(39), "40, less this one");
}

fn at_once(bench: &mut Bench) {
    let call = Call {
        path: "/burst".into(),
        key: "a".into(),
        ..Call::default()
    };
    let answers = bench.driver.send(&vec![call; 50]);
    let passed = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(passed, 20);
    assert!(answers.iter().all(|answer| [200, 429].contains(&answer.status)));
}

fn grpc(bench: &mut Bench) {
    let call = |_| Call {
        path: "/fixed".into(),
        key: "rpc".into(),
        headers: vec![("content-type".into(), "application/grpc".into())],
        ..Call::default()
    };
    let answers: Vec<Answer> = (0..3).map(call).map(|call| bench.send(call)).collect();
    let denied = &answers[2];
    assert_eq!(
        (denied.status, denied.header("grpc-status")),
        (200, Some("8")),
        "{denied:?}"
    );
    assert!(denied.header("retry-after").is_some());
}

fn leases(bench: &mut Bench) {
    bench.redis.reset_stats();
    let call = Call {
        path: "/hot".into(),
        key: "a".into(),
        ..Call::default()
    };
    for _ in 0..20 {
        let answers = bench.driver.send(&vec![call.clone(); 20]);
        assert!(answers.iter().all(|answer| answer.status == 200));
    }
    let calls = bench.redis.calls("evalsha") + bench.redis.calls("eval");
    assert!(calls < 200, "{calls} for 400 requests");
}

fn script_flush(bench: &mut Bench) {
    let calls = |count: usize| -> Vec<Call> {
        let call = |n: usize| Call {
            path: "/script".into(),
            key: format!("k{n}"),
            ..Call::default()
        };
        (0..count).map(call).collect()
    };
    bench.driver.send(&calls(20));
    bench.redis.flush_scripts();
    bench.redis.reset_stats();
    let answers = bench.driver.send(&calls(20));
    assert!(
        answers
            .iter()
            .all(|answer| answer.number("x-ratelimit-remaining") == Some(498)),
        "{answers:?}"
    );
    let bodies = bench.redis.calls("eval");
    assert!((1..=3).contains(&bodies), "{bodies} bodies for 20 calls at once");
}

fn failures(bench: &mut Bench) {
    assert_eq!(bench.call("/local", "a").number("x-ratelimit-limit"), Some(2));
    bench.redis.kill();
    let shut = bench.call("/deny", "a");
    assert_eq!((shut.status, shut.header("retry-after")), (503, Some("1")));
    assert_eq!(bench.driver.latest("ratelimit_decision"), "failed_closed");
    let open = bench.call("/allow", "a");
    assert_eq!((open.status, open.header("x-ratelimit-limit")), (200, None));
    assert_eq!(bench.driver.latest("ratelimit_decision"), "failed_open");
    assert_eq!(
        bench.calls("/local", 3),
        [(200, Some(1)), (200, Some(0)), (429, Some(0))]
    );
    for _ in 0..10 {
        bench.call("/deny", "a");
    }
    let start = std::time::Instant::now();
    assert_eq!(bench.call("/deny", "a").status, 503);
    assert!(
        start.elapsed() < Duration::from_millis(500),
        "the breaker is open: no request waits"
    );
    bench.redis.restart();
    wait_for("counting", Duration::from_secs(10), || {
        (bench.call("/deny", "a").status == 200).then_some(())
    });
    assert_eq!(bench.driver.latest("ratelimit_by"), "redis");
}
