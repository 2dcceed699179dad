//! The number of allocations for one request, counted by the test's own allocator: for each step of a decision, and for
//! the engine from the request's headers to the response's. Allocations of the host are not included.

use headgate_core::decision::{CountedBy, CounterResult, Decision};
use headgate_core::engine::{Answer, CallId, Engine, Exchange, Now, RequestStatus, Response};
use headgate_core::fixtures::{self, FakeHeaders};
use headgate_core::headers::{self, Header};
use headgate_core::identify::{Attributes, Hasher, Headers, TlsField};
use headgate_core::limit::{Plan, Planner};
use headgate_core::local::Memory;
use headgate_core::protocol::Protocol;
use headgate_core::redis::resp::Value;
use headgate_core::redis::{Call, CallError, Completed, Gauges, HashSlot, Notice, RedisCall};
use headgate_core::reply::Reply;
use headgate_core::script;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

struct CountingAllocator;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.with(|allocations| allocations.set(allocations.get() + 1));
}

// A growing `Vec` allocates each time.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        System.alloc(layout)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        System.alloc_zeroed(layout)
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        System.realloc(old, layout, size)
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        System.dealloc(old, layout);
    }
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// The number of allocations of `run`.
fn allocations<T>(run: impl FnOnce() -> T) -> (u64, T) {
    let before = ALLOCATIONS.get();
    let result = run();
    (ALLOCATIONS.get() - before, result)
}

const CALL: &[(&str, &str)] = &[
    (":method", "GET"),
    (":path", "/orders/42?x=y"),
    (":authority", "api.example.com"),
    (":scheme", "http"),
    ("user-agent", "curl/8.0"),
    ("x-api-key", "6f1ed002ab5595859014ebf0951522d9"),
];

/// One limit by client.
const ONE: &str =
    r#"{"limits": [{"name": "a", "rate": "10/minute", "algorithm": "sliding_window_counter"}]}"#;
/// The same with a ceiling by address: two hash tags, and so two calls.
const CEILING: &str = r#"{"limits": [{"name": "a", "rate": "10/minute", "algorithm": "sliding_window_counter"},
    {"name": "ceiling", "rate": "3000/minute", "key": ["address"]}]}"#;

/// The script's reply for one charge of 10: packed as the script does it.
fn reply(admitted: bool) -> Value {
    let state = u8::from(admitted);
    let wait_ms = if admitted { 0 } else { 700_u64 };
    let mut packed = vec![state, state];
    for number in [10, u64::from(admitted), 5_000, wait_ms, 7] {
        packed.extend_from_slice(&number.to_le_bytes()[..7]);
    }
    Value::Bulk(Some(packed))
}

/// What each part of a decision by Redis allocates, of a request with one limit.
fn parts(admitted: bool) -> [u64; 6] {
    let policy = fixtures::policy(ONE);
    let planner = Planner::new(&policy, Hasher::new(Some(b"key")).remembering());
    let request = FakeHeaders(CALL);
    planner.identify(&request); // the digest is at hand afterwards
    let (identify, (identity, _name)) = allocations(|| {
        let identity = planner.identify(&request);
        let name = identity.client().map(ToString::to_string);
        (identity, name)
    });
    let (plan, groups) = allocations(|| match planner.plan(&request, &identity) {
        Plan::Count { groups, .. } => groups,
        Plan::Exempt => panic!("exempt"),
    });
    let (call, _call) = allocations(|| script::call(&groups[0], script::Mode::Count));
    let value = reply(admitted);
    let (decode, reply) = allocations(|| script::ScriptReply::decode(&groups[0], &value).expect("a reply"));
    let (decide, decision) = allocations(|| {
        let counted = groups[0].charges.iter().zip(&reply.verdicts);
        let counted = counted.map(|(charge, verdict)| CounterResult {
            charge,
            verdict: Some(*verdict),
            by: CountedBy::Redis,
        });
        Decision::from_counted(&policy.limits, counted)
    });
    let (answer, _) = allocations(|| {
        let reply = Reply::new(&policy, &decision, Protocol::Http, 1_800_000_000_000, || 0.5);
        let figures = headers::quota(&policy.response, &policy.limits, &decision, 1_800_000_000_000);
        (reply, figures)
    });
    [identify, plan, call, decode, decide, answer]
}

/// A request that does not record edits.
struct Plain;

impl Headers for Plain {
    fn each_value<'a>(&'a self, name: &str, take: &mut dyn FnMut(&'a [u8])) {
        FakeHeaders(CALL)
            .0
            .iter()
            .filter(|(known, _)| *known == name)
            .for_each(|(_, value)| take(value.as_bytes()));
    }

    fn each_header<'a>(&'a self, take: &mut dyn FnMut(&'a [u8], &'a [u8])) {
        CALL.iter()
            .for_each(|(name, value)| take(name.as_bytes(), value.as_bytes()));
    }
}

impl Attributes for Plain {
    fn address(&self) -> Option<IpAddr> {
        Some([127, 0, 0, 1].into())
    }

    fn metadata(&self, _: &[String]) -> Option<Vec<u8>> {
        None
    }

    fn tls(&self, _: TlsField) -> Option<Vec<u8>> {
        None
    }

    fn route(&self) -> Option<Vec<u8>> {
        None
    }
}

impl Exchange for Plain {
    fn filter_state(&self, _: &str) -> Option<Vec<u8>> {
        None
    }

    fn set_filter_state(&mut self, _: &str, _: &[u8]) {}

    fn set_header(&mut self, _: &Header) {}

    fn add_header(&mut self, _: &Header) {}

    fn remove_header(&mut self, _: &str) {}
}

/// The upstream's response.
struct Answered;

impl Headers for Answered {
    fn each_value<'a>(&'a self, name: &str, take: &mut dyn FnMut(&'a [u8])) {
        if name == ":status" {
            take(b"200");
        }
    }

    fn each_header<'a>(&'a self, take: &mut dyn FnMut(&'a [u8], &'a [u8])) {
        take(b":status", b"200");
    }
}

impl Response for Answered {
    fn filter_state(&self, _: &str) -> Option<Vec<u8>> {
        None
    }
}

/// Keeps the calls of one request.
#[derive(Default)]
struct Kept {
    calls: [Option<(CallId, Call)>; 2],
}

impl RedisCall<CallId> for Kept {
    fn call(&mut self, _: Instant, _: Instant, id: CallId, call: Call) -> Result<(), CallError> {
        let place = self.calls.iter_mut().find(|place| place.is_none());
        *place.expect("two calls at most") = Some((id, call));
        Ok(())
    }

    fn timed_out(&mut self, _: Instant, _: Instant, _: HashSlot) {}

    fn wakeup(&self) -> Option<Instant> {
        None
    }

    fn on_tick(&mut self, _: Instant, _: &mut Vec<Completed<CallId>>) {}

    fn in_flight(&self) -> usize {
        0
    }

    fn gauges(&self) -> Gauges {
        Gauges::default()
    }

    fn poll_notice(&mut self) -> Option<Notice> {
        None
    }
}

/// The engine's allocations for one request under this policy, admitted or denied: until it is pending, until it is
/// decided, and for its response.
fn engine(policy: &str, admitted: bool) -> [u64; 3] {
    let policy = Rc::new(fixtures::policy(policy));
    let hasher = Hasher::new(Some(b"key")).remembering();
    let random = fastrand::Rng::with_seed(1);
    let mut engine = Engine::new(
        policy,
        hasher,
        Kept::default(),
        Rc::new(Memory::default()),
        random,
    );
    let mut last = [0; 3];
    // The first requests find tables that have to grow.
    for number in 0..1_000 {
        let now = Now {
            monotonic: Instant::now(),
            unix: Duration::from_secs(1_800_000_000),
        };
        let (request, id) = allocations(|| match engine.on_request(now, number, &mut Plain) {
            RequestStatus::Pending(id, _) => id,
            RequestStatus::Decided(answer) => panic!("{answer:?}"),
        });
        let calls = std::mem::take(&mut engine.transport_mut().calls);
        let replies: [Option<Value>; 2] = calls
            .each_ref()
            .map(|call| call.as_ref().map(|_| reply(admitted)));
        let (decided, answer) = allocations(|| {
            engine.on_transport(now, |_, _, completed| {
                for (call, reply) in calls.into_iter().zip(replies) {
                    let (Some((id, call)), Some(reply)) = (call, reply) else {
                        continue;
                    };
                    completed.push(Completed {
                        id,
                        call,
                        reply: Ok(reply),
                    });
                }
            });
            let ready = engine.poll_ready().expect("it is decided");
            assert_eq!(ready.id, id);
            engine.carry_out(now, id, &mut Plain)
        });
        let (response, ()) = allocations(|| {
            if let Some(Answer::Pass(admitted)) = answer {
                let (edits, owed) = engine.on_response(admitted, &Answered);
                assert!(edits.add.len() == 3 && owed.is_none());
            }
        });
        while engine.poll_event().is_some() {}
        // If another limit denies, a separate call refunds what Redis charged.
        engine.transport_mut().calls = Default::default();
        last = [request, decided, response];
    }
    last
}

fn assert_at_most<const N: usize>(found: [u64; N], most: [u64; N], what: &str) {
    println!("{what}: {found:?}");
    let is_within = found.iter().zip(&most).all(|(found, most)| found <= most);
    assert!(is_within, "{what}: {found:?}, and at most {most:?} before");
}

#[test]
fn the_parts_of_a_request_allocate_no_more_than_before() {
    // identify, plan, call, decode, decide, answer
    assert_at_most(parts(true), [3, 5, 2, 2, 1, 1], "a pass");
    assert_at_most(parts(false), [3, 5, 2, 2, 1, 4], "a denial");
}

#[test]
fn a_request_allocates_no_more_than_before() {
    // Until it is pending, until it is decided, its response. Before the engine these were 12 + 5, 20 + 7 and 12 + 7.
    assert_at_most(engine(ONE, true), [11, 4, 0], "one limit");
    assert_at_most(engine(CEILING, true), [19, 6, 0], "with a ceiling");
    let settings = r#"{"verdict_cache": {"max_age": "0s"}, "log": {"denials_per_second": 0}, "#;
    let denied = ONE.replacen('{', settings, 1);
    assert_at_most(engine(&denied, false), [11, 6, 0], "a denial");
}
