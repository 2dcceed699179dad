//! How the command reaches Redis: by TLS and a password, with few rights, or not at all.

use super::Headgate;
use crate::harness::*;

#[test]
fn a_cluster_behind_tls_and_a_password_is_reached() {
    let dir = new_dir("oncall-tls");
    let cluster = RedisCluster::start_secured(&dir);
    let port = cluster.nodes[0].tls_port.expect("TLS");
    let mut headgate = Headgate::on(port, "tls");
    headgate.url = format!("rediss://127.0.0.1:{port}");
    let (text, status) = headgate.text(&["show", "api_key:k"]);
    assert_eq!(status, 2, "{text}");
    headgate.more = vec![
        "--ca".to_owned(),
        dir.join("ca.pem").to_string_lossy().into_owned(),
    ];
    let (text, status) = headgate.text(&["show", "api_key:k"]);
    assert!(status == 2 && text.contains("HEADGATE_REDIS_USER"), "{text}");
    headgate
        .more
        .extend(["--redis-user", "harness", "--redis-password", "harness"].map(str::to_owned));
    headgate.good(&["override", "set", "api_key:k", "few", "5"]);
    assert!(headgate
        .good(&["override", "list"])
        .contains("api_key:8254c329a92850f6d539dd376f4816ee  few"));
}

#[test]
fn the_documented_redis_rights_suffice_for_every_command() {
    let page = std::fs::read_to_string(root().join("docs/cli.md")).expect("docs/cli.md");
    let (_, list) = page.split_once("### Rights in Redis\n").expect("the list");
    let (list, _) = list.split_once(".\n").expect("its end");
    let commands: Vec<String> = list
        .split('`')
        .skip(1)
        .step_by(2)
        .flat_map(str::split_whitespace)
        .map(|command| format!("+{}", command.to_lowercase()))
        .collect();
    assert!(commands.len() > 12, "{commands:?}");
    let cluster = RedisCluster::start(3, 0);
    for node in &cluster.nodes {
        let user = ["ACL", "SETUSER", "oncall", "on", ">secret", "~acl:*"];
        let all: Vec<&str> = user
            .into_iter()
            .chain(commands.iter().map(String::as_str))
            .collect();
        node.call::<()>(&all);
    }
    let mut headgate = Headgate::on(cluster.nodes[0].port, "acl");
    headgate.url = format!("redis://oncall:secret@127.0.0.1:{}", cluster.nodes[0].port);
    let client = "{api_key:k}";
    let log = "acl:main:{api_key:k}:few:ring:60000";
    cluster
        .owner(log)
        .call::<()>(&["SET", log, "the command reads it, whatever it contains"]);
    headgate.good(&["override", "set", client, "few", "5", "--ttl", "1h"]);
    headgate.good(&["override", "list"]);
    assert!(headgate.good(&["show", client]).contains("few"));
    headgate.good(&["reset", client]);
    let counter = ["HSET", "acl:main:{api_key:k}", "few:fixed:60000", "x"];
    cluster.owner(counter[1]).call::<()>(&counter);
    headgate.good(&["override", "unset", client, "few"]);
    let left = cluster.owner(counter[1]).call::<i64>(&["PTTL", counter[1]]);
    assert!((1..=180_000).contains(&left), "{left}");

    for node in &cluster.nodes {
        node.call::<()>(&["ACL", "SETUSER", "oncall", "-cluster|slots"]);
    }
    let (text, status) = headgate.text(&["show", client]);
    assert!(status == 2 && text.contains("needs more rights"), "{text}");
}

#[test]
fn a_redis_that_is_away_is_another_exit_status() {
    let (text, status) = Headgate::on(free_port(), "away").text(&["show", "api_key:k"]);
    assert!(
        status == 2 && text.starts_with("headgate: redis at 127.0.0.1:"),
        "{text}"
    );
}

/// A client whose counters are on this master.
fn client_on(cluster: &RedisCluster, master: usize, prefix: &str) -> String {
    let key = |name: &str| format!("{prefix}:main:{{api_key:{name}}}");
    let name = cluster.name_on(&cluster.nodes[master], "k", key);
    format!("{{api_key:{name}}}")
}

#[test]
fn a_shard_that_is_down_does_not_stop_the_others() {
    let cluster = RedisCluster::start(3, 0);
    let [first, second, third] = [0, 1, 2].map(|master| client_on(&cluster, master, "down"));
    let mut headgate = Headgate::on(cluster.nodes[0].port, "down");
    for client in [&first, &second, &third] {
        headgate.good(&["override", "set", client, "few", "5"]);
    }
    cluster.nodes[1].kill();
    let dead = format!("redis at 127.0.0.1:{}", cluster.nodes[1].port);
    for client in [&first, &third] {
        headgate.good(&["override", "set", client, "few", "6", "--ttl", "1h"]);
        assert!(headgate
            .good(&["show", client])
            .contains("live override of few: 6, for another"));
        assert_eq!(headgate.text(&["reset", client]).1, 1, "nothing is counted");
    }
    for arguments in [
        &["show", &second][..],
        &["reset", &second],
        &["override", "set", &second, "few", "6"],
    ] {
        let (text, status) = headgate.text(arguments);
        assert_eq!(status, 2, "{text}");
        for piece in [
            dead.as_str(),
            "it has the slots 5461-10922",
            "clients on other nodes are not concerned",
        ] {
            assert!(text.contains(piece), "{arguments:?}: {text}");
        }
    }
    let (text, status) = headgate.text(&["override", "list"]);
    assert_eq!(status, 2, "{text}");
    assert!(text.contains(&format!("headgate: not read: {dead}")), "{text}");
    assert_eq!(text.matches("few    6, for another").count(), 2, "{text}");
    // The node that is asked first may be the one that is down.
    let [one, two] = [1, 0].map(|node| format!("redis://127.0.0.1:{}", cluster.nodes[node].port));
    headgate.url = one.clone();
    assert_eq!(headgate.text(&["show", &first]).1, 2);
    headgate.url = format!("{one},{two}");
    assert!(headgate.good(&["show", &first]).contains("live override of few"));
}

#[test]
fn nodes_behind_nat_are_reached_by_via() {
    let cluster = RedisCluster::start(3, 0);
    let hidden: Vec<u16> = cluster.nodes.iter().map(|_| free_port()).collect();
    for (node, port) in cluster.nodes.iter().zip(&hidden) {
        let bus = (node.port + 10_000).to_string();
        node.call::<()>(&["CONFIG", "SET", "cluster-announce-bus-port", &bus]);
        node.call::<()>(&["CONFIG", "SET", "cluster-announce-port", &port.to_string()]);
    }
    wait_for(
        "all nodes to announce other ports",
        std::time::Duration::from_secs(20),
        || {
            let all_know = cluster.nodes.iter().all(|node| {
                let nodes: String = node.call(&["CLUSTER", "NODES"]);
                hidden
                    .iter()
                    .all(|port| nodes.contains(&format!("127.0.0.1:{port}@")))
            });
            all_know.then_some(())
        },
    );
    let key = |client: &str| format!("nat:main:{client}");
    let mut headgate = Headgate::on(cluster.nodes[0].port, "nat");
    // CLUSTER SLOTS has the announced ports only, so the owner is looked for by the slots of this cluster's start.
    let client = |first: u16, last: u16| {
        let names = (0..1_000).map(|number| format!("{{api_key:k{number}}}"));
        let mut fitting = names.filter(|name| (first..=last).contains(&cluster.slot(&key(name))));
        fitting.next().expect("a client in these slots")
    };
    let [own, other, third] = [client(0, 5460), client(5461, 10_922), client(10_923, 16_383)];
    headgate.good(&["override", "set", &own, "few", "5"]);
    let (text, status) = headgate.text(&["override", "set", &other, "few", "5"]);
    let remedy = format!("--via 127.0.0.1:{}=HOST:PORT", hidden[1]);
    assert!(status == 2 && text.contains(&remedy), "{text}");

    let ports: Vec<String> = cluster
        .nodes
        .iter()
        .map(|node| format!("127.0.0.1:{}", node.port))
        .collect();
    let asked = ["--via", &ports[2], "--via", &ports[1]].map(str::to_owned);
    let named = [1, 2].map(|node| format!("127.0.0.1:{}={}", hidden[node], ports[node]));
    let named = ["--via", &named[0], "--via", &named[1]].map(str::to_owned);
    for (n, vias) in [("6", asked), ("7", named)] {
        headgate.more = vias.to_vec();
        for client in [&own, &other, &third] {
            headgate.good(&["override", "set", client, "few", n]);
        }
        let list = headgate.good(&["override", "list"]);
        assert_eq!(
            list.lines()
                .filter(|line| line.ends_with(&format!("  {n}")))
                .count(),
            3,
            "{list}"
        );
    }
    // The URL's own address may be out of reach, too.
    headgate.url = format!("redis://127.0.0.1:{}", hidden[0]);
    headgate.more = ports
        .iter()
        .flat_map(|port| ["--via".to_owned(), port.clone()])
        .collect();
    for client in [&own, &other, &third] {
        assert!(headgate.good(&["show", client]).contains("few: 7"));
    }
    headgate.more = vec!["--via".to_owned(), "here".to_owned()];
    let (text, status) = headgate.text(&["show", &own]);
    assert!(
        status == 2 && text.contains("write HOST:PORT or ANNOUNCED=HOST:PORT"),
        "{text}"
    );
}

#[test]
fn a_single_redis_is_reached_by_via() {
    let redis = SingleRedis::start();
    let mut headgate = Headgate::on(free_port(), "single-nat");
    headgate.more = vec!["--via".to_owned(), format!("127.0.0.1:{}", redis.port)];
    headgate.good(&["override", "set", "{api_key:k}", "few", "5"]);
    assert_eq!(
        redis.call::<String>(&["HGET", "single-nat:main:{api_key:k}", "few:override"]),
        "5"
    );
}

#[test]
fn a_replica_that_took_over_is_asked() {
    let cluster = RedisCluster::start(3, 1);
    let client = client_on(&cluster, 1, "taken");
    let headgate = Headgate::on(cluster.nodes[0].port, "taken");
    headgate.good(&["override", "set", &client, "few", "5"]);
    let old = cluster.nodes[1].port;
    cluster.nodes[1].kill();
    let key = format!("taken:main:{client}");
    wait_for(
        "a replica to take over",
        std::time::Duration::from_secs(20),
        || {
            let (text, status) = headgate.text(&["show", &client]);
            (status == 0 && text.contains("few: 5")).then_some(())
        },
    );
    assert_ne!(cluster.owner(&key).port, old);
}
