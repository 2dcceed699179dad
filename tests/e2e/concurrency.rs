//! Exact counts under concurrency: over workers, over Envoys, over nodes, and whatever callers do.

use crate::harness::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn of_five_hundred_over_four_workers_exactly_a_hundred_pass() {
    for (algorithm, builder) in ALGORITHMS
        .into_iter()
        .flat_map(|algorithm| Envoy::of_each_store().map(|builder| (algorithm, builder)))
    {
        let policy = format!("{{limits: [{{name: x, rate: 100/hour, algorithm: {algorithm}}}]}}");
        let store = builder.store();
        let envoy = builder.concurrency(4).policy(&policy).start();
        let responses = envoy
            .at_once(500, |_| {
                Client::http1(envoy.port).get("/").header("x-api-key", "a")
            })
            .await;
        assert_eq!(passes(&responses), 100, "{algorithm} in {store}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_envoys_on_one_cluster_pass_exactly_the_limit_together() {
    let builder =
        Envoy::with(RedisCluster::shared()).policy("{redis: {timeout: 5s}, limits: [{rate: 100/hour}]}");
    let [one, two] = [builder.clone().start(), builder.start()];
    let send = |envoy: &Envoy| {
        let port = envoy.port;
        move |_: usize| Client::http1(port).get("/").header("x-api-key", "a")
    };
    let (a, b) = tokio::join!(one.at_once(250, send(&one)), two.at_once(250, send(&two)));
    assert_eq!(passes(&a) + passes(&b), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_keys_from_one_address_meet_the_ceiling() {
    let policy = "limits: [{rate: 100/minute}, {name: ceiling, rate: 3000/hour, key: [address]}]";
    let envoy = Envoy::with(RedisCluster::shared())
        .policy(&format!("{{redis: {{timeout: 5s}}, {policy}}}"))
        .start();
    let next = Arc::new(AtomicU64::new(0));
    let numbers = next.clone();
    let load = Load::on(envoy.port)
        .connections(16)
        .duration(Duration::from_secs(60));
    let source = move |_: usize, _: usize| {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        Load::get("/", &[("x-api-key", &format!("key-{number}"))])
    };
    let load = tokio::spawn(
        load.source(source)
            .until(move || next.load(Ordering::Relaxed) >= 10_000)
            .run(),
    );
    let report = load.await.unwrap();
    assert_eq!((report.status(200), report.errors), (3_000, 0), "{report:?}");
    assert!(report.status(429) >= 7_000, "{report:?}");
}

/// Calls that are given up half way, between others that are not: every one that stays gets its own reply.
#[tokio::test(flavor = "multi_thread")]
async fn callers_that_hang_up_do_not_affect_other_replies() {
    let kinds = [("small", 1_000_003), ("middle", 1_000_033), ("large", 1_000_037)];
    let limits: Vec<String> = kinds
        .iter()
        .map(|(name, n)| format!("{{name: {name}, rate: {n}/hour, match: {{source: [{name}]}}}}"))
        .collect();
    let sources: Vec<String> = kinds
        .iter()
        .map(|(name, _)| format!("{{name: {name}, header: x-{name}}}"))
        .collect();
    let policy = format!(
        "{{redis: {{timeout: 5s}}, identify: [{}], limits: [{}]}}",
        sources.join(","),
        limits.join(",")
    );
    let envoy = Envoy::with(RedisCluster::shared()).policy(&policy).start();
    let tasks: Vec<_> = (0..12)
        .map(|task| {
            let port = envoy.port;
            tokio::spawn(async move {
                for round in 0..300_usize {
                    let (name, n) = kinds[(task + round) % kinds.len()];
                    let key = format!("k{}", round % 7);
                    let header = format!("x-{name}");
                    if (task + round) % 3 == 0 {
                        let mut raw = RawConnection::open(port).await;
                        raw.write(Load::get("/", &[(&header, &key)])).await.unwrap();
                        drop(raw);
                    } else {
                        let response = Client::http1(port).get("/").header(&header, &key).send().await;
                        assert_eq!(response.status, 200);
                        assert_eq!(
                            response.number("x-ratelimit-limit"),
                            Some(n),
                            "another caller's reply"
                        );
                        assert_eq!(response.upstream_header("x-ratelimit-limit"), Some(n.to_string()));
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let active = || envoy.stat("http.http.downstream_rq_active");
    eventually("all requests to end", Duration::from_secs(10), || {
        (active() == 0).then_some(())
    })
    .await;
}
