//! Many requests at once: each gets its own answer, and no client gets more than its limit.

use crate::harness::*;
use std::collections::BTreeMap;
use std::time::Duration;

/// What came of requests that were sent at once over one HTTP/2 connection.
async fn at_once(
    port: u16,
    requests: impl Iterator<Item = (&'static str, String)>,
) -> BTreeMap<String, usize> {
    let client = Client::http2(port);
    let tasks: Vec<_> = requests
        .map(|(path, key)| {
            let request = client.get(path).header("x-api-key", key);
            tokio::spawn(tokio::time::timeout(Duration::from_secs(20), request.try_send()))
        })
        .collect();
    let mut outcomes = BTreeMap::new();
    for task in tasks {
        let outcome = match task.await.expect("a request's task") {
            Ok(Ok(response)) => response.status.to_string(),
            Ok(Err(error)) => error,
            Err(_) => "hangs".to_owned(),
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    outcomes
}

/// A route that answers by itself, within the call that lets a request go on.
fn answers_itself(config: &mut serde_json::Value) {
    config::hcm(config)["route_config"]["virtual_hosts"][0]["routes"] =
        serde_json::json!([{"match": {"prefix": "/"}, "direct_response": {"status": 204}}]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_answers_at_once_do_not_end_the_vm() {
    let of_mode = |mode: &'static str, status: &'static str| async move {
        let redis = SingleRedis::start();
        let policy = format!("{{redis: {{timeout: 2s}}, on_error: {mode}, limits: [{{rate: 1/day}}]}}");
        let envoy = Envoy::with(&redis)
            .concurrency(1)
            .policy(&policy)
            .edit(answers_itself)
            .edit(config::many_streams) // all of them at once
            .start();
        assert_eq!(envoy.get("/").send().await.status, 204);
        redis.freeze();
        let requests = (0..1_000).map(|n| ("/", n.to_string()));
        let waiting = tokio::spawn(at_once(envoy.port, requests));
        eventually("all of them to wait", Duration::from_secs(2), || {
            (envoy.stat("http.http.downstream_rq_active") == 1_000).then_some(())
        })
        .await;
        // Their deadlines pass while the worker is busy.
        envoy.freeze();
        tokio::time::sleep(Duration::from_millis(2_100)).await;
        envoy.thaw();
        let outcomes = waiting.await.unwrap();
        assert_eq!(outcomes, BTreeMap::from([(status.to_owned(), 1_000)]), "{mode}");
        assert!(!envoy.log().contains("Uncaught"), "{mode}: {}", envoy.log());
    };
    tokio::join!(of_mode("deny", "503"), of_mode("allow", "204"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bursts_over_one_http2_connection_pass_exactly_each_limit() {
    const CLIENTS: usize = 300;
    let envoy = Envoy::with(RedisCluster::shared())
        .policy("{redis: {timeout: 10s}, on_error: deny, limits: [{rate: 1/day}]}")
        .edit(config::many_streams) // a thousand of them at once
        .start();
    let outcomes = at_once(
        envoy.port,
        (0..CLIENTS * 10).map(|n| ("/", (n % CLIENTS).to_string())),
    )
    .await;
    let expected = [("200", CLIENTS), ("429", CLIENTS * 9)].map(|(status, n)| (status.to_owned(), n));
    assert_eq!(outcomes, BTreeMap::from(expected), "each client passes once");
}
