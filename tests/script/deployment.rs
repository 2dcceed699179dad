//! The script in Redis: its name, NOSCRIPT, the rights it needs, cluster mode.

use crate::fixtures::*;
use crate::server::{text, texts, Client, Server};
use headgate_core::limit::Charge;
use headgate_core::redis::resp::Value;
use headgate_core::script::{body, sha1_hex, Mode, ScriptReply, ACCEPTED, COMMANDS};
use std::time::Duration;

#[test]
fn the_name_is_what_redis_calls_the_script() {
    let server = Server::start();
    let loaded = server.client().run(&["SCRIPT", "LOAD", body()]);
    assert_eq!(text(&loaded), sha1_hex());
}

#[test]
fn after_noscript_the_same_arguments_serve_eval_and_evalsha() {
    let server = Server::start();
    let mut client = server.client();
    let group = group(&[charge(COUNTER, 10, DAY)]);
    client.add_call("EVALSHA", sha1_hex(), &group, Mode::Count);
    client.add_call("EVAL", body(), &group, Mode::Count);
    client.add_call("EVALSHA", sha1_hex(), &group, Mode::Count);
    let replies = client.send();
    assert!(text(&replies[0]).starts_with("NOSCRIPT"));
    let left = |reply| left(&ScriptReply::decode(&group, reply).unwrap());
    assert_eq!((left(&replies[1]), left(&replies[2])), (vec![9], vec![8]));
}

#[test]
fn two_releases_count_in_the_same_counters() {
    let server = Server::start();
    let mut client = server.client();
    let group = group(&FORMS.map(|form| charge(form, 10, DAY)));
    for call in 0..6 {
        let script = &ACCEPTED[call % ACCEPTED.len()];
        client.add_call("EVAL", script.body, &group, Mode::Count);
        let value = client.send().remove(0);
        let reply = ScriptReply::decode(&group, &value).unwrap_or_else(|error| panic!("{error}: {value:?}"));
        assert_eq!(left(&reply), [9 - call as u64; 4], "call {call}");
        // Each takes back what it counted itself.
        client.add_call("EVAL", script.body, &group, Mode::Count);
        let value = client.send().remove(0);
        let reply = ScriptReply::decode(&group, &value).expect("a reply");
        client.add_call("EVAL", script.body, &group, Mode::GiveBack(&reply));
        assert_eq!(client.send(), [Value::Bulk(Some(vec![1]))], "call {call}");
    }
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
    assert!(ScriptReply::decode(&group, &value).is_ok(), "{value:?}");
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
    // With and without an expiry and an override.
    for (persist, quota) in [(false, None), (true, None), (false, Some("9")), (true, Some("9"))] {
        admin.run(&["FLUSHALL"]);
        every_way(&mut client);
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
