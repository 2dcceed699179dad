//! The cost of counting in Envoy's own memory for a request, without the host calls.

use criterion::{criterion_group, criterion_main, Criterion};
use headgate_core::config::LocalSettings;
use headgate_core::fixtures::{charge, group, rate};
use headgate_core::limit::{Algorithm, Group, Percent};
use headgate_core::local::{LocalStore, Memory};
use std::hint::black_box;

const NOW_US: u64 = 1_700_000_000_000_000;

fn call(client: u64, limits: usize, n: u64, algorithm: Algorithm) -> Group {
    let key = format!("ratelimit:main:{{api_key:{client:032x}}}");
    let charges = (0..limits).map(|limit| charge(limit, algorithm, rate(n, 60_000)));
    group(key, charges.collect())
}

/// A table with the counters of 65,536 clients, and calls of all of them in turn.
fn bench(c: &mut Criterion) {
    let settings = LocalSettings {
        share: Percent::FULL,
        max_counters: 65_536,
    };
    for (name, limits, n, algorithm) in [
        ("one limit", 1, 1_000_000, Algorithm::SlidingWindowCounter),
        ("three limits", 3, 1_000_000, Algorithm::SlidingWindowCounter),
        ("a full log of 64", 1, 64, Algorithm::SlidingWindowLog),
    ] {
        let host = Memory::default();
        let mut store = LocalStore::new(&host, "bench", &settings, [1, 2]);
        let clients = settings.max_counters / limits;
        let groups: Vec<Group> = (0..clients as u64)
            .map(|client| call(client, limits, n, algorithm))
            .collect();
        for group in groups.iter().cycle().take(clients * n.min(64) as usize) {
            store.count(group, &|_| true, NOW_US).expect("a count");
        }
        let mut turn = groups.iter().cycle();
        c.bench_function(name, |b| {
            b.iter(|| {
                let group = turn.next().expect("a group");
                black_box(store.count(group, &|_| true, NOW_US).expect("a count"))
            })
        });
        println!("{name}: {:?} values and bytes", host.size());
    }
}

criterion_group! {
    name = local;
    config = Criterion::default().warm_up_time(std::time::Duration::from_millis(500)).measurement_time(std::time::Duration::from_secs(2)).sample_size(30);
    targets = bench
}
criterion_main!(local);
