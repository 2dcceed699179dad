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
