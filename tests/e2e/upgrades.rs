//! Rolling upgrades: the two roles of two releases, whichever of them is updated first.

use crate::harness::*;
use crate::survival::{counted, Steady, HALF, STRICT};
use serde_json::{json, Value};
use std::time::{Duration, Instant};

/// Commands that the guard refused.
const REFUSED: &str = "wasmcustom.headgate_redis_call_refused_total";

/// The next release's module for one of the two roles.
fn next_release(role: fn(&mut Value) -> &mut Value) -> impl Fn(&mut Value) {
    let module = root().join("target/headgate-fault-injection.wasm");
    move |config| role(config)["vm_config"]["code"]["local"]["filename"] = json!(module)
}

const GUARD_REFUSES: &str = "update the listener redis_call first";

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_of_the_guard_first_loses_nothing() {
    let envoy = Envoy::with(RedisCluster::shared())
        .concurrency(2)
        .policy(STRICT)
        .dynamic()
        .option("--drain-time-s", "600") // Envoy's own default, longer than a stream lives
        .start();
    // Connections end soon, so that each update affects new ones.
    let load = Steady::through(&envoy, 20).await;
    envoy.reload_as(|builder| builder.edit(next_release(config::redis_call)));
    tokio::time::sleep(HALF).await;
    // The filter of this release opens new streams, to the guard of the next one.
    envoy.reload(&STRICT.replacen('{', "{verdict_cache: {entries: 1000}, ", 1));
    tokio::time::sleep(2 * HALF).await;
    let both_releases = counted(&envoy).await;
    envoy.reload_as(|builder| builder.fault_injection());
    tokio::time::sleep(2 * HALF).await;
    let report = load.end().await;
    let answered = report.latencies.len() as u64;
    assert_eq!((report.status(200), report.errors), (answered, 0), "{report:?}");
    // Each question for a client's count is a call of its own.
    assert_eq!(
        counted(&envoy).await,
        answered + 8,
        "after {both_releases} by two releases"
    );
    assert_eq!(envoy.stat(REFUSED), 0);
    assert!(!envoy.log().contains(GUARD_REFUSES));
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrading_the_filter_first_applies_on_error_and_logs_why() {
    let redis = SingleRedis::start();
    let envoy = Envoy::with(&redis)
        .impatient()
        .concurrency(1)
        .policy("{on_error: deny, limits: [{name: x, rate: 9/hour}]}")
        .dynamic()
        .edit(next_release(config::headgate))
        .start();
    let call = || envoy.get("/").header("x-api-key", "a").send();
    for _ in 0..3 {
        assert_eq!(call().await.status, 503, "on_error decides");
    }
    envoy.wait_for_log(GUARD_REFUSES);
    assert_eq!(envoy.log().matches(GUARD_REFUSES).count(), 1, "one line a minute");
    assert!(envoy.stat(REFUSED) > 0);
    assert!(
        redis.keys("*").is_empty(),
        "nothing was counted; a probe may have passed"
    );
    envoy.reload_as(|builder| builder.edit(next_release(config::redis_call)));
    let start = Instant::now();
    loop {
        let response = call().await;
        if response.status == 200 {
            assert_eq!(response.number("x-ratelimit-remaining"), Some(8));
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{response:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_counts_as_soon_as_the_guard_knows_its_script() {
    let redis = RedisCluster::start(3, 0); // whose nodes know no script
    let policy = "{on_error: deny, limits: [{name: x, rate: 9/hour}]}";
    let envoy = Envoy::with(&redis)
        .concurrency(1)
        .policy(policy)
        .dynamic()
        .edit(next_release(config::headgate))
        .start();
    let early = envoy.get("/").header("x-api-key", "a");
    let early = tokio::spawn(early.send());
    eventually("the guard to refuse it", Duration::from_secs(5), || {
        (envoy.stat(REFUSED) > 0).then_some(())
    })
    .await;
    envoy.reload_as(|builder| builder.fault_injection());
    let response = early.await.unwrap();
    assert_eq!(
        (response.status, response.number("x-ratelimit-remaining")),
        (200, Some(8))
    );
    assert!(
        !envoy.log().contains(GUARD_REFUSES),
        "no caller was answered without being counted"
    );
}
