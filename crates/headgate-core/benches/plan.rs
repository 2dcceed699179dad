//! The native cost of planning a request: a policy of 100 limits must stay under 10 µs. And the cost of an answer from
//! memory: a cached denial or a lease. Run by `cargo bench`.

use criterion::{criterion_group, criterion_main, Criterion};
use headgate_core::config::Policy;
use headgate_core::fixtures::{self, FakeHeaders};
use headgate_core::identify::Hasher;
use headgate_core::lease::LeaseBook;
use headgate_core::limit::{Plan, Planner, Verdict};
use headgate_core::redis::resp;
use headgate_core::verdict_cache::VerdictCache;
use serde_json::{json, Value};
use std::hint::black_box;
use std::time::Instant;

const CALL: FakeHeaders = FakeHeaders(&[
    (":method", "POST"),
    (":path", "/api/v1/users/7?x=y"),
    (":authority", "api.example.com"),
    ("x-api-key", "6f1ed002ab5595859014ebf0951522d9"),
]);

fn limit(n: usize, path: &str, key: &[&str]) -> Value {
    json!({"name": format!("limit-{n}"), "rate": "1000/minute", "algorithm": "sliding_window_counter", "key": key,
        "match": {"methods": ["POST"], "path": path}})
}

fn policy(limits: Vec<Value>) -> Policy {
    fixtures::policy(&json!({"identify": [{"header": "x-api-key"}], "limits": limits}).to_string())
}

fn plan(c: &mut Criterion) {
    let hundred = |limit: &dyn Fn(usize) -> Value| (0..100).map(limit).collect::<Vec<_>>();
    for (name, limits) in [
        ("no limit", vec![]),
        ("1 limit", vec![limit(0, "/**", &["client"])]),
        (
            "100 limits, 3 hold",
            hundred(&|n| match n % 40 {
                0 => limit(n, "/api/**", &["client", "path"]),
                _ => limit(n, &format!("/api/v1/{{kind}}/{n}"), &["client"]),
            }),
        ),
        (
            "100 limits, all hold, one hash",
            hundred(&|n| limit(n, "/api/{version}/users/*", &["client"])),
        ),
        (
            "100 limits, all hold, a key each",
            hundred(&|n| limit(n, "/api/{version}/users/*", &["client", "path", "method"])),
        ),
    ] {
        let planner = Planner::new(&policy(limits), Hasher::new(Some(b"key")));
        c.bench_function(name, |b| {
            b.iter(|| {
                let identity = planner.identify(black_box(&CALL));
                planner.plan(black_box(&CALL), &identity)
            })
        });
    }
}

/// The answer of one limit without Redis: a cached denial, and an admission from permits in hand, including the lease
/// requests.
fn memory(c: &mut Criterion) {
    let mut leased = limit(0, "/**", &["client"]);
    leased["rate"] = json!("100000000/day");
    leased["lease"] = json!("10%");
    let policy = policy(vec![leased]);
    let planner = Planner::new(&policy, Hasher::new(Some(b"key")));
    let identity = planner.identify(&CALL);
    let Plan::Count { groups, .. } = planner.plan(&CALL, &identity) else {
        panic!("exempt")
    };
    let (now, group) = (Instant::now(), &groups[0]);
    let mut cache = VerdictCache::new(&policy.verdict_cache);
    let denied = Verdict {
        allowed: false,
        limit: Some(1),
        remaining: 0,
        reset_ms: 500,
        wait_ms: 500,
    };
    cache.note(now, group, &group.charges[0], &denied);
    c.bench_function("a known denial", |b| {
        b.iter(|| cache.denied(now, black_box(group), &group.charges[0]).is_some());
    });
    let mut book = LeaseBook::new(&policy);
    let mut call = 0;
    let reply = [1, 1, 100_000_000, 90_000_000, 86_400_000, 0, 7].map(resp::Value::Int);
    c.bench_function("a pass from leases", |b| {
        b.iter(|| {
            let verdicts = book.spend(now, black_box(&groups));
            if verdicts.is_none() {
                book.note(now, &groups);
            }
            for lease_request in book.lease_requests(now, &groups) {
                call += 1;
                book.sent(now, call, lease_request);
                book.settle(now, call, Ok(resp::Value::Array(Some(reply.to_vec()))));
            }
            verdicts
        });
    });
}

criterion_group!(benches, plan, memory);
criterion_main!(benches);
