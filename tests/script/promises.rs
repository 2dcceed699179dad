//! What the script promises beyond its figures, each on a Redis of its own in real time.

use crate::server::{text, texts, Client, Server};
use headgate::limit::{Algorithm, Align, Charge, Group, LiveOverride, Period, Rate};
use headgate::redis::resp::Value;
use headgate::redis::HashSlot;
use headgate::script::{body, sha1_hex, Mode, Reply, COMMANDS};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const HASH: &str = "ratelimit:main:{api_key:k}";
const LOG: &str = "ratelimit:main:{api_key:k}:log";

const FIXED: Algorithm = Algorithm::FixedWindow { align: Align::Epoch };
const FIRST_CALL: Algorithm = Algorithm::FixedWindow {
    align: Align::FirstCall,
};
const COUNTER: Algorithm = Algorithm::SlidingWindowCounter;
const GCRA: Algorithm = Algorithm::Gcra { burst: 0 };
const FORMS: [Algorithm; 4] = [FIXED, COUNTER, GCRA, Algorithm::SlidingWindowLog];

/// Long enough that no window ends while a test runs.
const DAY: u64 = 86_400_000;

/// A limit of N a period; a log stands at its own key, all else in the client's hash.
fn charge(algorithm: Algorithm, limit: u64, period_ms: u64) -> Charge {
    Charge {
        limit: 0,
        key: usize::from(algorithm == Algorithm::SlidingWindowLog),
        field: format!("{}:{period_ms}", algorithm.form().word()).into(),
        algorithm,
        rate: Rate {
            limit,
            period: Period::from_millis(period_ms).unwrap(),
        },
        cost: 1,
        later: false,
        enforced: true,
        phase_ms: 0,
        live: None,
    }
}

fn live(charge: Charge) -> Charge {
    Charge {
        live: Some(LiveOverride {
            key: 0,
            field: format!("{}:override", charge.field).into(),
            unlimited: false,
        }),
        ..charge
    }
}

fn group(charges: &[Charge]) -> Group {
    Group {
        slot: HashSlot::of(HASH.as_bytes()),
        keys: vec![HASH.into(), LOG.into()],
        charges: charges.to_vec(),
    }
}

/// The key where a charge is counted.
fn key(charge: &Charge) -> &'static str {
    [HASH, LOG][charge.key]
}

fn error(client: &mut Client, group: &Group) -> String {
    match client.call(group, Mode::Count) {
        error @ Value::Error(_) => text(&error),
        other => panic!("no error: {other:?}"),
    }
}

/// All that is stored under both keys.
fn stored(client: &mut Client) -> Vec<Value> {
    for key in [HASH, LOG] {
        client.add(&["DUMP", key]);
    }
    client.send()
}

fn left(reply: &Reply) -> Vec<u64> {
    reply.verdicts.iter().map(|verdict| verdict.remaining).collect()
}

fn pttl(client: &mut Client, key: &str) -> i64 {
    client.int(&["PTTL", key])
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("before the year 10000")
}

#[test]
fn the_name_is_what_redis_calls_the_script() {
    let server = Server::start();
    let loaded = server.client().run(&["SCRIPT", "LOAD", body()]);
    assert_eq!(text(&loaded), sha1_hex());
}

#[test]
fn after_noscript_the_same_arguments_serve_eval_and_then_evalsha_again() {
    let server = Server::start();
    let mut client = server.client();
    let group = group(&[charge(COUNTER, 10, DAY)]);
    client.add_call("EVALSHA", sha1_hex(), &group, Mode::Count);
    client.add_call("EVAL", body(), &group, Mode::Count);
    client.add_call("EVALSHA", sha1_hex(), &group, Mode::Count);
    let replies = client.send();
    assert!(text(&replies[0]).starts_with("NOSCRIPT"));
    let left = |reply| left(&Reply::decode(&group, reply).unwrap());
    assert_eq!((left(&replies[1]), left(&replies[2])), (vec![9], vec![8]));
}

#[test]
fn a_wrong_type_at_one_key_leaves_the_others_uncharged() {
    let server = Server::start();
    let mut client = server.client();
    let both = group(&[
        charge(COUNTER, 10, DAY),
        charge(Algorithm::SlidingWindowLog, 10, DAY),
    ]);
    for (wrong, other) in [(LOG, HASH), (HASH, LOG)] {
        client.run(&["FLUSHALL"]);
        client.run(&["SET", wrong, "not ours"]);
        assert!(error(&mut client, &both).contains("WRONGTYPE"));
        assert_eq!(client.int(&["EXISTS", other]), 0, "{other} was charged");
    }
}

#[test]
fn without_memory_nothing_is_half_charged() {
    let server = Server::start();
    let mut client = server.client();
    for algorithms in [&FORMS[..], &FORMS[3..], &FORMS[..3]] {
        let group = group(
            &algorithms
                .iter()
                .map(|form| charge(*form, 10, DAY))
                .collect::<Vec<_>>(),
        );
        client.run(&["FLUSHALL"]);
        client.count(&group);
        let before = stored(&mut client);
        client.run(&[
            "CONFIG",
            "SET",
            "maxmemory-policy",
            "noeviction",
            "maxmemory",
            "1",
        ]);
        assert!(error(&mut client, &group).contains("OOM"));
        client.run(&["CONFIG", "SET", "maxmemory", "0"]);
        assert_eq!(stored(&mut client), before);
        assert_eq!(
            left(&client.count(&group)),
            vec![8; algorithms.len()],
            "memory is back"
        );
    }
}

#[test]
fn all_limits_are_charged_or_none() {
    let server = Server::start();
    let mut client = server.client();
    let mut charges: Vec<Charge> = FORMS.iter().map(|form| charge(*form, 10, DAY)).collect();
    client.count(&group(&charges));
    let before = stored(&mut client);
    // The first three would pass; then one in the middle denies.
    for (denying, cost) in [(3, 10), (1, 11)] {
        charges[denying].cost = cost;
        let reply = client.count(&group(&charges));
        let allowed: Vec<bool> = reply.verdicts.iter().map(|verdict| verdict.allowed).collect();
        assert_eq!(allowed, (0..4).map(|at| at != denying).collect::<Vec<_>>());
        assert!(!reply.admitted);
        assert_eq!(left(&reply), [9; 4], "as they stand, uncharged");
        assert_eq!(stored(&mut client), before);
        charges[denying].cost = 1;
    }
}

#[test]
fn a_shadow_limit_is_charged_while_it_has_room_and_never_stands_in_the_way() {
    let server = Server::start();
    let mut client = server.client();
    let shadow = Charge {
        enforced: false,
        ..charge(COUNTER, 2, DAY)
    };
    let both = group(&[shadow, charge(GCRA, 4, DAY)]);
    let replies: Vec<Reply> = (0..5).map(|_| client.count(&both)).collect();
    let allowed: Vec<[bool; 2]> = replies
        .iter()
        .map(|reply| [reply.verdicts[0].allowed, reply.verdicts[1].allowed])
        .collect();
    let (pass, over, spent) = ([true, true], [false, true], [false, false]);
    assert_eq!(allowed, [pass, pass, over, over, spent]);
    assert_eq!(left(&replies[3]), [0, 0]);
}

#[test]
fn a_denied_call_writes_nothing() {
    let server = Server::start();
    let mut client = server.client();
    for form in FORMS {
        client.run(&["FLUSHALL"]);
        let group = group(&[charge(form, 1, DAY)]);
        client.count(&group);
        let before = stored(&mut client);
        let changes = |client: &mut Client| {
            let info = text(&client.run(&["INFO", "persistence"]));
            info.lines().find_map(|line| {
                line.strip_prefix("rdb_changes_since_last_save:")
                    .map(str::to_owned)
            })
        };
        let changed = changes(&mut client);
        assert!(changed.is_some());
        assert!(!client.count(&group).admitted);
        assert_eq!(stored(&mut client), before, "{form:?}");
        assert_eq!(changes(&mut client), changed, "{form:?}");
    }
}

#[test]
fn a_key_lives_as_long_as_its_counter_matters() {
    let server = Server::start();
    let mut client = server.client();
    let hour = 3_600_000;
    // Within one second none of these windows ends.
    while now_ms() % 60_000 > 58_000 {
        std::thread::sleep(Duration::from_millis(100));
    }
    let rest = hour - now_ms() % hour;
    for (algorithm, expected) in [
        (FIXED, rest),
        (FIRST_CALL, hour),
        (COUNTER, rest + hour),
        // 2 of 8 drain in a quarter of the period.
        (GCRA, hour / 4),
        (Algorithm::SlidingWindowLog, hour),
    ] {
        client.run(&["FLUSHALL"]);
        let charge = Charge {
            cost: 2,
            ..charge(algorithm, 8, hour as u64)
        };
        client.count(&group(std::slice::from_ref(&charge)));
        let ttl = pttl(&mut client, key(&charge));
        assert!(
            (expected - 1_000..=expected + 1).contains(&ttl),
            "{algorithm:?}: {ttl} of {expected}"
        );
    }
}

#[test]
fn an_expiry_is_never_shortened() {
    let server = Server::start();
    let mut client = server.client();
    let minute = group(&[charge(COUNTER, 100, 60_000), charge(GCRA, 100, 60_000)]);
    let day = group(&[charge(FIRST_CALL, 100, DAY)]);
    client.count(&minute);
    assert!((1..=120_000).contains(&pttl(&mut client, HASH)));
    client.count(&day);
    client.count(&minute);
    assert!(
        pttl(&mut client, HASH) > 86_390_000,
        "a day's counter is kept for a day"
    );
}

#[test]
fn members_of_a_log_never_collide() {
    let server = Server::start();
    let mut client = server.client();
    let body = include_str!("virtual_time.lua").to_owned() + body();
    let sha = text(&client.run(&["SCRIPT", "LOAD", &body]));
    let group = group(&[Charge {
        cost: 3,
        ..charge(Algorithm::SlidingWindowLog, 4_500, 60_000)
    }]);
    // The same µs again and again; then a clock set back by half a minute, which stays clamped; then on from there.
    let mut clocks = vec![(1_700_000_000, 5); 500];
    clocks.extend((0..500).map(|us| (1_699_999_970, us)));
    clocks.extend((0..500).map(|us| (1_700_000_000, us)));
    for (s, us) in clocks {
        client.add(&["HSET", "clock", "s", &s.to_string(), "us", &us.to_string()]);
        client.add_call("EVALSHA", &sha, &group, Mode::Count);
    }
    for reply in client.send().chunks(2) {
        assert!(Reply::decode(&group, &reply[1]).unwrap().admitted);
    }
    assert_eq!(client.int(&["ZCARD", LOG]), 4_500);
    client.add_call("EVALSHA", &sha, &group, Mode::Count);
    assert!(!Reply::decode(&group, &client.send()[0]).unwrap().admitted);
}

#[test]
fn a_large_cost_makes_as_many_entries() {
    let server = Server::start();
    let mut client = server.client();
    let mut group = group(&[charge(Algorithm::SlidingWindowLog, 10_000, 60_000)]);
    group.charges[0].cost = 9_999;
    assert_eq!(left(&client.count(&group)), [1]);
    assert_eq!(client.int(&["ZCARD", LOG]), 9_999);
    group.charges[0].cost = 2;
    assert!(!client.count(&group).admitted);
}

#[test]
fn a_log_is_trimmed_in_steps_and_what_is_left_over_does_not_count() {
    let server = Server::start();
    let mut client = server.client();
    let mut group = group(&[charge(Algorithm::SlidingWindowLog, 5_000, 1_000)]);
    group.charges[0].cost = 5_000;
    assert!(client.count(&group).admitted);
    client.run(&["PERSIST", LOG]);
    std::thread::sleep(Duration::from_millis(1_050));
    group.charges[0].cost = 1;
    assert_eq!(left(&client.count(&group)), [4_999]);
    assert_eq!(client.int(&["ZCARD", LOG]), 5_000 + 1 - 101);
}

#[test]
fn waits_and_resets_are_kept_in_real_time() {
    let server = Server::start();
    let mut client = server.client();
    for form in FORMS {
        client.run(&["FLUSHALL"]);
        let group = group(&[charge(form, 2, 1_000)]);
        let denied = (0..20)
            .map(|_| client.count(&group).verdicts[0])
            .find(|verdict| !verdict.allowed)
            .expect("a denial");
        assert!((1..=2_000).contains(&denied.wait_ms), "{form:?}: {denied:?}");
        std::thread::sleep(Duration::from_millis(denied.wait_ms));
        let passed = client.count(&group).verdicts[0];
        assert!(passed.allowed, "{form:?}: {denied:?}");
        std::thread::sleep(Duration::from_millis(passed.reset_ms));
        assert_eq!(left(&client.count(&group)), [1], "{form:?}: {passed:?}");
    }
}

#[test]
fn what_a_call_charged_is_given_back() {
    let server = Server::start();
    let mut client = server.client();
    let charges: Vec<Charge> = FORMS
        .iter()
        .map(|form| Charge {
            cost: 4,
            ..charge(*form, 10, DAY)
        })
        .collect();
    let group = group(&charges);
    client.count(&group);
    let reply = client.count(&group);
    assert_eq!(left(&reply), [2; 4]);
    assert_eq!(
        client.call(&group, Mode::GiveBack(&reply)),
        Value::Array(Some(vec![Value::Int(1)]))
    );
    assert_eq!(left(&client.count(&group)), [2; 4]);
}

#[test]
fn giving_back_makes_no_key() {
    let server = Server::start();
    let mut client = server.client();
    let group = group(&FORMS.map(|form| charge(form, 10, DAY)));
    let reply = client.count(&group);
    client.run(&["DEL", HASH, LOG]);
    client.call(&group, Mode::GiveBack(&reply));
    assert_eq!(client.int(&["EXISTS", HASH, LOG]), 0);
}

#[test]
fn a_charge_after_the_fact_may_overdraw_and_extends_the_expiry() {
    let server = Server::start();
    let mut client = server.client();
    let hour = 3_600_000;
    for form in [FIXED, COUNTER, GCRA] {
        client.run(&["FLUSHALL"]);
        let later = Charge {
            later: true,
            ..charge(form, 10, hour)
        };
        let asked = group(std::slice::from_ref(&later));
        assert_eq!(left(&client.count(&asked)), [10], "{form:?} takes nothing yet");
        assert_eq!(client.int(&["EXISTS", HASH]), 0);
        let charged = group(&[Charge { cost: 25, ..later }]);
        let value = client.call(&charged, Mode::Charge);
        let verdict = Reply::decode(&charged, &value).unwrap().verdicts[0];
        assert!(verdict.allowed && verdict.remaining == 0, "{form:?}: {verdict:?}");
        let reset = i64::try_from(verdict.reset_ms).unwrap();
        assert!(
            (reset - 1_000..=reset + 1).contains(&pttl(&mut client, HASH)),
            "{form:?}"
        );
        let denied = client.count(&asked).verdicts[0];
        assert!(
            !denied.allowed && denied.wait_ms > 0,
            "{form:?} needs 1 left: {denied:?}"
        );
    }
}

#[test]
fn a_live_override_holds_from_the_next_call_on() {
    let server = Server::start();
    let mut client = server.client();
    for form in FORMS {
        client.run(&["FLUSHALL"]);
        let charge = live(charge(form, 3, DAY));
        let field = charge.live.as_ref().unwrap().field.to_string();
        let group = group(&[charge]);
        let mut with = |value: &str| {
            client.run(&["HSET", HASH, &field, value]);
            let verdict = client.count(&group).verdicts[0];
            (verdict.limit, verdict.remaining, verdict.allowed)
        };
        assert_eq!(with("10"), (Some(10), 9, true), "{form:?}");
        assert_eq!(with("unlimited"), (None, 0, true), "{form:?}");
        assert_eq!(
            with(&format!("20 {}", now_ms() + 60_000)),
            (Some(20), 18, true),
            "{form:?}"
        );
        assert_eq!(
            with(&format!("20 {}", now_ms() - 1)),
            (Some(3), 0, true),
            "{form:?}: ended"
        );
        assert_eq!(with("much"), (Some(3), 0, false), "{form:?}: malformed");
        assert_eq!(with("0"), (Some(0), 0, false), "{form:?}");
    }
}

#[test]
fn a_hash_with_a_live_override_does_not_expire_and_one_that_lost_it_does() {
    let server = Server::start();
    let mut client = server.client();
    let overridden = live(charge(COUNTER, 3, 60_000));
    let field = overridden.live.as_ref().unwrap().field.to_string();
    let with = group(&[overridden]);
    // Another limit of the same client, with windows of its own: each call is the first of one.
    let other = |client: &mut Client, period| client.count(&group(&[charge(FIRST_CALL, 9, period)]));

    client.count(&with);
    assert!(pttl(&mut client, HASH) > 0);
    // Also where the override denies all, and so nothing else is ever written.
    client.run(&["HSET", HASH, &field, "0"]);
    client.count(&with);
    assert_eq!(pttl(&mut client, HASH), -1);
    other(&mut client, 60_001);
    assert_eq!(
        pttl(&mut client, HASH),
        -1,
        "a limit that does not know of the override"
    );

    client.run(&["HSET", HASH, &field, &format!("7 {}", now_ms() + 60_000)]);
    other(&mut client, 60_002);
    assert_eq!(pttl(&mut client, HASH), -1);

    client.run(&["HSET", HASH, &field, &format!("7 {}", now_ms() - 1)]);
    other(&mut client, 60_003);
    assert!(pttl(&mut client, HASH) > 50_000, "the override has ended");

    client.run(&["HSET", HASH, &field, "7"]);
    client.count(&with);
    client.run(&["HDEL", HASH, &field]);
    other(&mut client, 60_004);
    assert!(pttl(&mut client, HASH) > 50_000, "the override is gone");
}

/// Every branch of the script: what a caller with the shipped rights may do.
fn every_way(client: &mut Client) {
    let charges: Vec<Charge> = FORMS.iter().map(|form| live(charge(*form, 2, 60_000))).collect();
    let group = group(&charges);
    let reply = client.count(&group);
    client.call(&group, Mode::GiveBack(&reply));
    for _ in 0..3 {
        client.count(&group);
    }
    let value = client.call(&group, Mode::Charge);
    assert!(Reply::decode(&group, &value).is_ok(), "{value:?}");
}

#[test]
fn a_user_with_the_listed_commands_may_run_the_whole_script() {
    let server = Server::start();
    let mut admin = server.client();
    let allowed: Vec<String> = COMMANDS
        .iter()
        .map(|name| format!("+{}", name.to_lowercase()))
        .collect();
    let mut rights = vec![
        "ACL",
        "SETUSER",
        "headgate",
        "on",
        ">p",
        "~ratelimit:*",
        "+eval",
        "+evalsha",
    ];
    rights.extend(allowed.iter().map(String::as_str));
    admin.run(&rights);
    let mut client = server.client();
    assert_eq!(
        client.run(&["AUTH", "headgate", "p"]),
        Value::Simple(b"OK".to_vec())
    );
    // With entries far ahead in the log, and with and without an expiry and an override.
    for (persist, quota) in [(false, None), (true, None), (false, Some("9")), (true, Some("9"))] {
        admin.run(&["FLUSHALL"]);
        every_way(&mut client);
        admin.run(&["ZADD", LOG, "5000000000000000", "5000000000000000"]);
        if persist {
            admin.run(&["PERSIST", HASH]);
        }
        if let Some(quota) = quota {
            admin.run(&["HSET", HASH, "counter:60000:override", quota]);
        }
        every_way(&mut client);
    }
    let used = text(&admin.run(&["INFO", "commandstats"]));
    for name in COMMANDS {
        assert!(
            used.contains(&format!("cmdstat_{}:", name.to_lowercase())),
            "{name} was not met"
        );
    }
}

#[test]
fn in_cluster_mode_one_call_serves_all_keys_of_a_tag() {
    let nodes = format!(
        "{}/script-{}.conf",
        env!("CARGO_TARGET_TMPDIR"),
        std::process::id()
    );
    let server = Server::start_with(&["--cluster-enabled", "yes", "--cluster-config-file", &nodes]);
    let mut client = server.client();
    let slots: Vec<String> = (0..16_384).map(|slot| slot.to_string()).collect();
    let mut add = vec!["CLUSTER", "ADDSLOTS"];
    add.extend(slots.iter().map(String::as_str));
    client.run(&add);
    while !text(&client.run(&["CLUSTER", "INFO"])).contains("cluster_state:ok") {
        std::thread::sleep(Duration::from_millis(10));
    }
    every_way(&mut client);
    let mut keys = texts(&client.run(&["KEYS", "*"]));
    keys.sort();
    drop(server);
    let _ = std::fs::remove_file(nodes);
    assert_eq!(keys, [HASH, LOG]);
}
