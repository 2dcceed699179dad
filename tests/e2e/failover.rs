//! After a master is killed: how soon its clients are counted again once Redis has elected another.

use crate::harness::*;
use std::time::{Duration, Instant};

/// Names of nodes that report themselves as masters.
fn masters(cluster: &RedisCluster) -> Vec<u16> {
    let says = |node: &&Node| {
        let role = node.try_call::<String>(&["INFO", "replication"]);
        role.is_ok_and(|text| text.contains("role:master"))
    };
    cluster.nodes.iter().filter(says).map(|node| node.port).collect()
}

/// Kills the master of a client's counters under load. How long Redis took to elect another, and after that to the
/// client's first count.
async fn kill(cluster: &'static RedisCluster, envoy: &Envoy, round: usize) -> (Duration, Duration) {
    let name = format!("client-{round}");
    let call = || {
        let request = envoy.get("/").header("x-api-key", &name);
        async { request.send().await.header("x-ratelimit-limit").is_some() }
    };
    assert!(call().await, "counted before");
    let hash = headgate_core::identify::Hasher::new(None).digest(name.as_bytes());
    let victim = cluster.owner(&format!("{}:main:{{api_key:{hash}}}", envoy.key_prefix));
    let before = masters(cluster);
    assert_eq!(before.len(), 3, "{before:?}");
    victim.kill();
    let start = Instant::now();
    let election = tokio::task::spawn_blocking(move || {
        let rest = || cluster.nodes.iter().filter(|node| !before.contains(&node.port));
        while !rest().any(|node| {
            let role = node.try_call::<String>(&["INFO", "replication"]);
            role.is_ok_and(|text| text.contains("role:master"))
        }) {
            assert!(start.elapsed() < Duration::from_secs(20), "no master is elected");
            std::thread::sleep(Duration::from_millis(5));
        }
        Instant::now()
    });
    let mut uncounted = 0;
    let counted = loop {
        tokio::time::sleep(Duration::from_millis(5)).await;
        if call().await {
            break Instant::now();
        }
        uncounted += 1;
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "counting does not come back"
        );
    };
    let elected = election.await.expect("an election");
    let times = (elected - start, counted.saturating_duration_since(elected));
    println!(
        "elected after {:?}, counted {:?} later; {uncounted} calls uncounted",
        times.0, times.1
    );
    victim.restart();
    cluster.wait_until_ready();
    times
}

const SECOND: Duration = Duration::from_secs(1);

/// Kills one master after the other, until `enough` accepts the times that it took after the elections.
async fn kill_masters(enough: impl Fn(&[Duration]) -> bool) -> Vec<Duration> {
    let cluster: &'static RedisCluster = Box::leak(Box::new(RedisCluster::start(3, 3)));
    let policy = "{on_error: allow, limits: [{rate: 1000000/day}]}";
    let envoy = Envoy::with(cluster).concurrency(1).policy(policy).start();
    let mut after = Vec::new();
    while !enough(&after) {
        after.push(kill(cluster, &envoy, after.len()).await.1);
    }
    cluster.nodes.iter().for_each(Node::kill);
    after
}

mod quiet {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn counting_resumes_within_a_second_of_a_failover_election() {
        // Once more on a machine that has had other things to do.
        let after = kill_masters(|after| {
            after
                .last()
                .is_some_and(|last| *last <= SECOND || after.len() == 3)
        })
        .await;
        assert!(after[after.len() - 1] <= SECOND, "{after:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "slow"]
    async fn so_it_is_after_each_of_five() {
        let after = kill_masters(|after| after.len() == 5).await;
        assert!(after.iter().all(|took| *took <= SECOND), "{after:?}");
    }
}
