//! Memory does not grow, however many clients there are, whatever they send, and while they wait for Redis.

use crate::harness::*;
use std::ops::Range;
use std::time::Duration;

/// Requests that a connection has sent before it reads the answers.
const PIPELINED: usize = 32;

/// Each client calls three times: the first is counted, the others denied. How many were.
async fn calls(port: u16, clients: Range<usize>, header: &str) -> [usize; 2] {
    const CONNECTIONS: usize = 8;
    let share = clients.len() / CONNECTIONS;
    let tasks: Vec<_> = (0..CONNECTIONS)
        .map(|n| {
            let (first, header) = (clients.start + n * share, header.to_owned());
            tokio::spawn(async move {
                let mut raw = RawConnection::open(port).await;
                let mut seen = [0, 0];
                let all: Vec<usize> = (first..first + share).flat_map(|client| [client; 3]).collect();
                for some in all.chunks(PIPELINED) {
                    let request = |client| {
                        format!("GET / HTTP/1.1\r\nhost: test\r\nx-api-key: client-{client}\r\n{header}\r\n")
                    };
                    raw.write(some.iter().map(request).collect::<String>())
                        .await
                        .expect("a connection");
                    for _ in some {
                        match raw.receive().await.expect("a response").0 {
                            204 => seen[0] += 1,
                            429 => seen[1] += 1,
                            status => panic!("{status}"),
                        }
                    }
                }
                seen
            })
        })
        .collect();
    let mut seen = [0, 0];
    for task in tasks {
        let of_one = task.await.expect("a connection's task");
        seen = [seen[0] + of_one[0], seen[1] + of_one[1]];
    }
    seen
}

fn answers_itself(config: &mut serde_json::Value) {
    config::hcm(config)["route_config"]["virtual_hosts"][0]["routes"] =
        serde_json::json!([{"match": {"prefix": "/"}, "direct_response": {"status": 204}}]);
}

/// RSS in MiB after each of the parts of the traffic; the first fills what is to be filled.
async fn distinct(builder: EnvoyBuilder, limits: &str, part: usize, parts: usize) -> Vec<u64> {
    let envoy = builder.concurrency(1).policy(limits).edit(answers_itself).start();
    let mut resident = Vec::new();
    for n in 0..parts {
        let seen = calls(envoy.port, n * part..(n + 1) * part, "").await;
        assert_eq!(seen, [part, 2 * part]);
        resident.push(envoy.resident_kib() / 1024);
    }
    println!("{parts} times {part} clients: resident {resident:?} MiB");
    resident
}

fn assert_flat(resident: &[u64], allowed: u64) {
    let (first, last) = (resident[0], resident[resident.len() - 1]);
    assert!(last <= first + allowed, "MiB after each part: {resident:?}");
}

const ONE_A_DAY: &str = "{on_error: deny, verdict_cache: {entries: 1000}, limits: [{name: x, rate: 1/day}]}";

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_never_come_again_leave_nothing_behind() {
    let redis = SingleRedis::start();
    assert_flat(&distinct(Envoy::with(&redis), ONE_A_DAY, 2_400, 3).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow"]
async fn nor_do_three_hundred_thousand_of_them() {
    let redis = SingleRedis::start();
    assert_flat(&distinct(Envoy::with(&redis), ONE_A_DAY, 50_000, 6).await, 4);
    // The default cache: 65,536 entries are full after the second part.
    let resident = distinct(
        Envoy::with(&redis),
        &ONE_A_DAY.replace("entries: 1000", "entries: 65536"),
        50_000,
        6,
    )
    .await;
    assert_flat(&resident[1..], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_55_kb_leave_nothing_behind() {
    let redis = SingleRedis::start();
    let envoy = Envoy::with(&redis)
        .concurrency(1)
        .policy("{on_error: deny, limits: [{name: x, rate: 1/day, key: [client, 'header:x-long']}]}")
        .edit(answers_itself)
        .start();
    let header = format!("x-long: {}\r\n", "x".repeat(55_000));
    let mut resident = Vec::new();
    for n in 0..4 {
        let seen = calls(envoy.port, n * 400..(n + 1) * 400, &header).await;
        assert_eq!(seen, [400, 800]);
        resident.push(envoy.resident_kib() / 1024);
    }
    println!("4 times 1,200 requests with 55 KB of headers: resident {resident:?} MiB");
    assert_flat(&resident[1..], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_callers_use_only_the_memory_of_pending_requests() {
    const CALLERS: usize = 800;
    let redis = SingleRedis::start();
    let policy = "{redis: {timeout: 1s, max_in_flight: 500}, on_error: deny, limits: [{rate: 1000000/day}]}";
    let envoy = Envoy::with(&redis)
        .concurrency(1)
        .policy(policy)
        .edit(answers_itself)
        .edit(config::many_streams) // more callers than calls in flight
        .start();
    let mut resident = Vec::new();
    for _ in 0..5 {
        assert_eq!(envoy.get("/").send().await.status, 204);
        redis.freeze();
        let client = Client::http2(envoy.port);
        let call = |n: usize| {
            client
                .get("/")
                .header("x-api-key", format!("{n}-{}", "k".repeat(8_000)))
        };
        let waiting: Vec<_> = (0..CALLERS).map(|n| tokio::spawn(call(n).send())).collect();
        for answer in waiting {
            assert_eq!(answer.await.unwrap().status, 503);
        }
        redis.thaw();
        resident.push(envoy.resident_kib() / 1024);
        // The breaker closes with its next probe.
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if envoy.get("/").send().await.status == 204 {
                break;
            }
        }
    }
    println!("5 times {CALLERS} callers whom Redis kept waiting: resident {resident:?} MiB");
    assert_flat(&resident[1..], 4);
}
