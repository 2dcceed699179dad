//! Leases: a hot key costs a fraction of a Redis call, and no limit is ever exceeded for it.

use crate::harness::*;
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The sum of a metric's series with these labels.
fn sum(envoy: &Envoy, metric: &str, labels: &[&str]) -> u64 {
    let text = envoy.admin("/stats/prometheus");
    let lines = text
        .lines()
        .filter(|line| line.starts_with(&format!("{metric}{{")));
    let wanted = lines.filter(|line| labels.iter().all(|label| line.contains(label)));
    let value = |line: &str| {
        line.rsplit(' ')
            .next()
            .and_then(|value| value.parse::<f64>().ok())
    };
    wanted.filter_map(value).sum::<f64>() as u64
}

fn script_calls(redis: &SingleRedis) -> u64 {
    redis.calls("evalsha") + redis.calls("eval")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_key_costs_a_fraction_of_a_call_and_is_fully_counted() {
    let redis = SingleRedis::start();
    let policy = "limits: [\
        {name: hot, rate: 9000000/hour, algorithm: fixed_window, align: first_call, cost: 3, lease: 10%}, \
        {name: bare, rate: 1000000/hour, match: {path: /both}}]";
    let envoy = Envoy::with(&redis).concurrency(1).policy(policy).start();
    let load = |path: &'static str, requests: usize| {
        let load = Load::on(envoy.port)
            .connections(4)
            .duration(Duration::from_secs(30));
        let left = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(requests));
        let done = left.clone();
        load.until(move || done.load(std::sync::atomic::Ordering::Relaxed) == 0)
            .source(move |_, _| {
                let _ = left.fetch_update(
                    std::sync::atomic::Ordering::Relaxed,
                    std::sync::atomic::Ordering::Relaxed,
                    |left| left.checked_sub(1),
                );
                Load::get(path, &[("x-api-key", "a")])
            })
            .run()
    };
    let report = load("/", 4_000).await;
    let passed = report.status(200);
    assert_eq!((passed >= 4_000, report.errors), (true, 0), "{report:?}");
    let calls = script_calls(&redis);
    assert!(calls < passed / 10, "{calls} calls for {passed} requests");

    // What the caller sees: N, and what is left less what was spent here since.
    let [one, two] = [
        envoy.get("/").header("x-api-key", "a"),
        envoy.get("/").header("x-api-key", "a"),
    ];
    let [one, two] = [one.send().await, two.send().await];
    assert_eq!(one.number("x-ratelimit-limit"), Some(9_000_000));
    let [first, second] = [&one, &two].map(|response| response.number("x-ratelimit-remaining").unwrap());
    assert_eq!(first - second, 3);
    assert!(9_000_000 - first >= 3 * passed as i64, "{first} after {passed}");
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let reset = two.number("x-ratelimit-reset").unwrap() - unix;
    assert!((3_500..=3_600).contains(&reset), "{reset}");
    let log = envoy.access_log(passed as usize + 2);
    let by_lease = log.iter().filter(|line| line["ratelimit_by"] == "lease").count() as u64;
    assert!(by_lease > passed / 2, "{by_lease} of {passed}");
    assert_eq!(log[passed as usize]["ratelimit_decision"], "allowed");

    // Every permit is accounted for: spent or ended unspent, and Redis has counted each.
    let metric = |name: &str, labels: &[&str]| sum(&envoy, name, labels);
    eventually("the last lease to end", Duration::from_secs(10), || {
        let taken = metric("headgate_lease_permits_total", &["limit=\"hot\""]);
        let spent = metric("headgate_decisions_total", &["limit=\"hot\"", "by=\"lease\""]);
        let unspent = metric("headgate_lease_permits_unspent_total", &["limit=\"hot\""]);
        (taken > 0 && taken == 3 * spent + unspent && spent == by_lease).then_some(())
    })
    .await;
    assert!(metric("headgate_leases_total", &["limit=\"hot\""]) > 0);
    assert_eq!(metric("headgate_requests_total", &["by=\"lease\""]), by_lease);
    let plain = passed + 2 - by_lease;
    let taken = metric("headgate_lease_permits_total", &[]);
    let next = envoy.get("/").header("x-api-key", "a").send().await;
    let counted = 9_000_000 - next.number("x-ratelimit-remaining").unwrap() as u64;
    assert_eq!(counted, taken + 3 * (plain + 1));

    // A request with a limit without leases asks Redis, and takes no lease in vain.
    redis.reset_stats();
    let report = load("/both", 200).await;
    assert_eq!(script_calls(&redis), report.status(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn permits_in_hand_are_spent_while_redis_is_away() {
    let redis = SingleRedis::start();
    let policy = "{redis: {timeout: 100ms}, on_error: deny, \
                  limits: [{name: hot, rate: 9000000/hour, algorithm: fixed_window, lease: 10%}]}";
    let envoy = Envoy::with(&redis).concurrency(1).policy(policy).start();
    let load = Load::on(envoy.port)
        .connections(4)
        .duration(Duration::from_millis(1_500));
    let report = load.run().await;
    assert!(report.status(200) > 200, "{report:?}");
    redis.freeze();
    let frozen = Instant::now();
    let mut raw = RawConnection::open(envoy.port).await;
    let mut statuses = Vec::new();
    while frozen.elapsed() < Duration::from_secs(3) && statuses.last() != Some(&503) {
        raw.write(Load::get("/", &[])).await.unwrap();
        statuses.push(raw.receive().await.unwrap().0);
    }
    redis.thaw();
    let passed = statuses.iter().filter(|status| **status == 200).count();
    assert!(passed > 10, "what is in hand was counted: {passed}");
    assert_eq!(statuses.last(), Some(&503), "and no more than that");
}

/// A pass, in µs since 1970: when it was asked for, and when the answer was there.
type Pass = (u64, u64);

fn unix_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

const N: u64 = 600;
const PERIOD_US: u64 = 3_000_000;

/// Some Envoys on one Redis, hot keys of every algorithm, more load than there is quota in bursts and pauses.
async fn hammer(
    envoys: usize,
    workers: u32,
    connections: usize,
    time: Duration,
) -> (BTreeMap<&'static str, Vec<Pass>>, u64) {
    let redis = SingleRedis::start();
    let limits = ALGORITHMS.map(|algorithm| {
        format!("{{name: {algorithm}, rate: {N}/3s, algorithm: {algorithm}, lease: 25%, match: {{path: /{algorithm}}}}}")
    });
    let policy = format!(
        "{{verdict_cache: {{max_age: 20ms}}, limits: [{}]}}",
        limits.join(", ")
    );
    let builder = Envoy::with(&redis).concurrency(workers).policy(&policy);
    let envoys: Vec<Envoy> = (0..envoys).map(|_| builder.clone().start()).collect();
    let end = Instant::now() + time;
    let tasks: Vec<_> = (0..envoys.len() * connections)
        .map(|n| {
            let port = envoys[n % envoys.len()].port;
            tokio::spawn(async move {
                let mut raw = RawConnection::open(port).await;
                let mut passes = Vec::new();
                let mut turn = n;
                while Instant::now() < end {
                    turn += 1;
                    // Most of the time each key is within its rate; then comes a burst of all connections.
                    let calm = !(unix_us() / 700_000).is_multiple_of(4);
                    if calm {
                        tokio::time::sleep(Duration::from_millis(8 + n as u64 % 5)).await;
                    }
                    let algorithm = ALGORITHMS[turn % 4];
                    let sent = unix_us();
                    raw.write(Load::get(&format!("/{algorithm}"), &[("x-api-key", "hot")]))
                        .await
                        .unwrap();
                    let (status, ..) = raw.receive().await.unwrap();
                    match status {
                        200 => passes.push((algorithm, (sent, unix_us()))),
                        429 => {}
                        other => panic!("{other}"),
                    }
                }
                passes
            })
        })
        .collect();
    let mut passes: BTreeMap<&'static str, Vec<Pass>> = BTreeMap::new();
    for task in tasks {
        for (algorithm, pass) in task.await.unwrap() {
            passes.entry(algorithm).or_default().push(pass);
        }
    }
    for list in passes.values_mut() {
        list.sort_unstable();
    }
    tokio::time::sleep(Duration::from_millis(400)).await; // metrics are handed on
    let leased = |algorithm: &str| -> u64 {
        let labels = [&*format!("limit=\"{algorithm}\""), "by=\"lease\""];
        envoys
            .iter()
            .map(|envoy| sum(envoy, "headgate_decisions_total", &labels))
            .sum()
    };
    let least = ALGORITHMS.map(|algorithm| {
        println!(
            "{algorithm}: {} passed, {} from leases",
            passes[algorithm].len(),
            leased(algorithm)
        );
        leased(algorithm)
    });
    (passes, least.into_iter().min().unwrap_or(0))
}

/// The number of calls that certainly passed from `from` on within this many µs.
fn within(passes: &[Pass], from: u64, us: u64) -> u64 {
    let begin = passes.partition_point(|pass| pass.0 < from);
    let later = passes[begin..].iter().take_while(|pass| pass.0 < from + us);
    later.filter(|pass| pass.1 < from + us).count() as u64
}

/// What the caller can be certain of, against each algorithm's law.
fn no_law_is_broken(passes: &BTreeMap<&'static str, Vec<Pass>>) {
    let log = &passes["sliding_window_log"];
    let peak = log
        .iter()
        .map(|pass| within(log, pass.0, PERIOD_US))
        .max()
        .unwrap_or(0);
    println!("log: {peak} of {N} at most in any 3 s");
    assert!(peak <= N, "{peak} in one span");

    let windows = |list: &[Pass]| -> BTreeMap<u64, u64> {
        let starts = list.iter().map(|pass| pass.0 / PERIOD_US);
        starts
            .map(|window| (window, within(list, window * PERIOD_US, PERIOD_US)))
            .collect()
    };
    let fixed = windows(&passes["fixed_window"]);
    println!("fixed: {fixed:?}");
    assert!(fixed.values().all(|count| *count <= N), "{fixed:?}");

    let counter = &passes["sliding_window_counter"];
    let counts = windows(counter);
    println!("counter: {counts:?}");
    for (sent, received) in counter {
        let start = received / PERIOD_US * PERIOD_US;
        if *sent >= start {
            let current = within(counter, start, sent - start) + 1;
            let previous = counts.get(&(start / PERIOD_US - 1)).copied().unwrap_or(0);
            let weight = previous * (start + PERIOD_US - received) / PERIOD_US;
            assert!(current + weight <= N, "{current} and {weight}");
        }
    }

    let bucket = &passes["gcra"];
    let mut most = 0;
    for (at, (from, _)) in bucket.iter().enumerate() {
        let mut ends: Vec<u64> = bucket[at..].iter().map(|pass| pass.1).collect();
        ends.sort_unstable();
        for (count, end) in (1..).zip(ends) {
            // one ms of tolerance, as the bucket counts whole ms
            let drained = N * (end - from + 1_000) / PERIOD_US;
            assert!(count <= N + drained, "{count} in {} us", end - from);
            most = most.max(count - drained.min(count));
        }
    }
    println!("bucket: at most {most} of {N} in it");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_envoys_of_two_workers_exceed_no_limit_anywhere() {
    let (passes, leased) = hammer(2, 2, 6, Duration::from_secs(7)).await;
    assert!(leased > 20, "{leased} of a limit's passes came from leases");
    no_law_is_broken(&passes);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow"]
async fn five_envoys_of_four_workers_exceed_no_limit_anywhere() {
    let (passes, leased) = hammer(5, 4, 8, Duration::from_secs(40)).await;
    assert!(leased > 20, "{leased} of a limit's passes came from leases");
    no_law_is_broken(&passes);
}
