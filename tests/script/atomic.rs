//! All or nothing: a call that fails or is denied charges no limit.

use crate::fixtures::*;
use crate::server::{text, Client, Server};
use headgate_core::limit::{Algorithm, Charge};
use headgate_core::script::ScriptReply;

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
        client.run(&["RPUSH", wrong, "not ours"]);
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
        assert_eq!(left(&reply), [9; 4], "unchanged and uncharged");
        assert_eq!(stored(&mut client), before);
        charges[denying].cost = 1;
    }
}

#[test]
fn a_shadow_limit_is_charged_up_to_its_quota_and_never_denies() {
    let server = Server::start();
    let mut client = server.client();
    let shadow = Charge {
        enforced: false,
        ..charge(COUNTER, 2, DAY)
    };
    let both = group(&[shadow, charge(GCRA, 4, DAY)]);
    let replies: Vec<ScriptReply> = (0..5).map(|_| client.count(&both)).collect();
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
