//! `headgate show`, `reset` and `override` against the counters of a real Envoy.

use crate::harness::*;
use serde_json::Value;
use std::process::{Command, Output};
use std::time::Duration;

/// The command, against one place in one Redis.
struct Headgate<'a> {
    url: String,
    prefix: &'a str,
    more: Vec<String>,
}

impl<'a> Headgate<'a> {
    fn on(port: u16, prefix: &'a str) -> Headgate<'a> {
        Headgate {
            url: format!("redis://127.0.0.1:{port}"),
            prefix,
            more: Vec::new(),
        }
    }

    /// With the policy, as a file.
    fn policy(mut self, policy: &str) -> Headgate<'a> {
        let file = new_dir("policy").join("policy.yaml");
        std::fs::write(&file, policy).expect("a policy");
        self.more = vec!["--policy".to_owned(), file.to_string_lossy().into_owned()];
        self
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_headgate"))
            .env_remove("HEADGATE_HASH_KEY")
            .args(arguments)
            .args(["--redis", &self.url, "--prefix", self.prefix])
            .args(&self.more)
            .output()
            .expect("the command headgate")
    }

    /// Its output and status.
    fn text(&self, arguments: &[&str]) -> (String, i32) {
        let output = self.run(arguments);
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).expect("UTF-8");
        (text, output.status.code().expect("a status"))
    }

    fn good(&self, arguments: &[&str]) -> String {
        let (text, status) = self.text(arguments);
        assert_eq!(status, 0, "{arguments:?}: {text}");
        text
    }

    /// The counter of a limit, as `show --json` has it.
    fn counter(&self, client: &str, limit: &str) -> Value {
        let shown: Value = serde_json::from_str(&self.good(&["show", client, "--json"])).expect("JSON");
        let counters = shown["counters"].as_array().expect("counters");
        let counter = counters.iter().find(|counter| counter["limit"] == limit);
        counter
            .unwrap_or_else(|| panic!("no {limit} in {shown:#}"))
            .clone()
    }
}

/// Statuses of so many calls with the API key.
async fn statuses(envoy: &Envoy, path: &str, key: &str, calls: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..calls {
        statuses.push(envoy.get(path).header("x-api-key", key).send().await.status);
    }
    statuses
}

/// Asks until the call has this status: an Envoy may remember a denial for a moment.
async fn until(envoy: &Envoy, key: &str, status: u16) {
    for _ in 0..30 {
        if statuses(envoy, "/", key, 1).await == [status] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{key} never gets {status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_client_passes_again_after_a_reset() {
    let cluster = RedisCluster::shared();
    let policy = "limits: [{name: few, rate: 2/hour}, {name: ceiling, rate: 1000/hour, key: [address]}]";
    let envoy = Envoy::with(cluster).policy(policy).key_prefix("reset").start();
    let headgate = Headgate::on(cluster.nodes[0].port, "reset").policy(policy);
    assert_eq!(statuses(&envoy, "/", "a", 3).await, [200, 200, 429]);
    assert_eq!(statuses(&envoy, "/", "b", 3).await, [200, 200, 429]);
    let counter = headgate.counter("api_key:a", "few");
    assert_eq!(
        (&counter["used"], &counter["left"]),
        (&2.into(), &0.into()),
        "{counter}"
    );
    assert!(
        (3_500_000..=3_600_000).contains(&counter["next_call_ms"].as_u64().expect("a wait")),
        "{counter}"
    );

    let (text, status) = headgate.text(&["reset", "api_key:a", "--limit", "many"]);
    assert_eq!(status, 1);
    assert!(text.contains("no such counter; there are few"), "{text}");
    assert!(headgate.good(&["reset", "api_key:a"]).ends_with(": reset few\n"));
    until(&envoy, "a", 200).await;
    assert_eq!(
        statuses(&envoy, "/", "b", 1).await,
        [429],
        "the other client's counters stay"
    );
    let (text, status) = headgate.text(&["show", "api_key:nobody"]);
    assert_eq!(status, 1);
    assert!(
        text.contains("nothing is counted") && text.contains("HEADGATE_HASH_KEY is not set"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_is_what_the_filter_answers_for_every_form() {
    let cluster = RedisCluster::shared();
    let limits: Vec<String> = [
        ("fixed", "fixed_window"),
        ("counter", "sliding_window_counter"),
        ("gcra", "gcra"),
        ("log", "sliding_window_log"),
    ]
    .iter()
    .map(|(name, algorithm)| {
        format!("{{name: {name}, rate: 50/366d, algorithm: {algorithm}, match: {{path: /{name}}}}}")
    })
    .collect();
    let by_path = "{name: by-path, rate: 60/366d, key: [client, path], match: {path: /a/*}}";
    let policy = format!("limits: [{}, {by_path}]", limits.join(", "));
    let envoy = Envoy::with(cluster).policy(&policy).key_prefix("show").start();
    let headgate = Headgate::on(cluster.nodes[1].port, "show").policy(&policy);
    for (path, name) in [
        ("/fixed", "fixed"),
        ("/counter", "counter"),
        ("/gcra", "gcra"),
        ("/log", "log"),
        ("/a/b", "by-path"),
    ] {
        let mut remaining = None;
        for _ in 0..3 {
            let response = envoy.get(path).header("x-api-key", "k").send().await;
            remaining = response.number("x-ratelimit-remaining");
        }
        let counter = headgate.counter("api_key:k", name);
        assert_eq!(counter["left"].as_i64(), remaining, "{counter}");
        assert_eq!(counter["used"], 3, "{counter}");
    }
    assert_eq!(headgate.counter("api_key:k", "by-path")["for"], "/a/*");
    let text = headgate.good(&["show", "api_key:8254c329a92850f6d539dd376f4816ee"]);
    assert!(
        text.contains("gcra") && text.contains("50/366d"),
        "by its hash: {text}"
    );

    let without_policy = Headgate::on(cluster.nodes[1].port, "show");
    for name in ["fixed", "counter", "gcra", "log"] {
        let counter = without_policy.counter("api_key:k", name);
        assert_eq!(
            (&counter["used"], &counter["left"]),
            (&3.into(), &Value::Null),
            "{counter}"
        );
    }
    assert!(without_policy
        .good(&["show", "api_key:k"])
        .contains("--policy FILE does"));
    headgate.good(&["reset", "api_key:k"]);
    assert_eq!(cluster.keys("show:*"), Vec::<String>::new(), "every key is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_override_holds_with_the_next_call_until_it_is_unset() {
    let cluster = RedisCluster::shared();
    let policy =
        "limits: [{name: few, rate: 2/hour, overrides: [{from: redis}]}, {name: fixed, rate: 900/hour}]";
    let envoy = Envoy::with(cluster).policy(policy).key_prefix("live").start();
    let headgate = Headgate::on(cluster.nodes[2].port, "live").policy(policy);
    assert_eq!(statuses(&envoy, "/", "k", 3).await, [200, 200, 429]);

    let client = "api_key:k";
    let set = headgate.good(&["override", "set", client, "few", "4/hour", "--ttl", "1h"]);
    assert!(
        set.contains("few is 4, for another 1 h from the next call on"),
        "{set}"
    );
    until(&envoy, "k", 200).await;
    assert_eq!(statuses(&envoy, "/", "k", 2).await, [200, 429]);
    let counter = headgate.counter(client, "few");
    assert_eq!(
        (&counter["rate"], &counter["left"]),
        (&"4/hour".into(), &0.into()),
        "{counter}"
    );
    let key = "live:main:{api_key:8254c329a92850f6d539dd376f4816ee}";
    let left = || cluster.owner(key).call::<i64>(&["PTTL", key]);
    assert_eq!(left(), -1, "a hash with a live override does not expire");
    headgate.good(&["reset", client]);
    assert!(
        headgate
            .good(&["override", "get", client])
            .starts_with("few is 4"),
        "a reset leaves overrides"
    );
    let list: Value = serde_json::from_str(&headgate.good(&["override", "list", "--json"])).expect("JSON");
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
    assert_eq!(
        (&list[0]["client"], &list[0]["n"]),
        (&"api_key:8254c329a92850f6d539dd376f4816ee".into(), &4.into())
    );

    headgate.good(&["override", "set", client, "few", "unlimited"]);
    until(&envoy, "k", 200).await;
    assert_eq!(statuses(&envoy, "/", "k", 5).await, [200; 5]);
    headgate.good(&["override", "unset", client, "few"]);
    assert!((1..=3 * 3_600_000).contains(&left()), "{}", left());
    assert_eq!(headgate.text(&["override", "get", client]).1, 1);
    assert_eq!(headgate.text(&["override", "unset", client, "few"]).1, 1);

    for (arguments, piece) in [
        (["few", "100/minute"], "never the period"),
        (["fixed", "5"], "reads no live override"),
        (["fex", "5"], "no limit fex; the policy has few, fixed"),
        (["few", "lots"], "no period"),
    ] {
        let (text, status) = headgate.text(&["override", "set", client, arguments[0], arguments[1]]);
        assert!(
            status == 2 && text.contains(piece),
            "{arguments:?}: {status} {text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_explained_is_where_the_filter_counts() {
    let cluster = RedisCluster::shared();
    let policy = "redis: {key_prefix: explain}\nlimits:\n- {name: few, rate: 50/hour}\n- {name: paths, rate: 500/hour, key: [client, path, method], match: {path: /a/*}}\n- {name: hosts, rate: 500/hour, key: [host, 'header:x-a']}\n- {name: top, rate: 900/hour, key: [address]}\n- {name: other, rate: 5/hour, match: {path: /b}}\n";
    let envoy = Envoy::with(cluster).policy(policy).key_prefix("explain").start();
    let call = envoy.get("/a/./b?c").header("x-api-key", "k").header("x-a", "b");
    let response = call.send().await;
    assert_eq!(response.status, 200);
    let authority = response.upstream_header("host").expect("a host");
    let headgate = Headgate::on(cluster.nodes[0].port, "explain").policy(policy);
    let explained = Command::new(env!("CARGO_BIN_EXE_headgate"))
        .env_remove("HEADGATE_HASH_KEY")
        .args([
            "explain",
            &headgate.more[1],
            "--json",
            "--address",
            "127.0.0.1",
            "--host",
            &authority,
        ])
        .args([
            "--request",
            "GET /a/./b?c",
            "--header",
            "x-api-key: k",
            "--header",
            "x-a: b",
        ])
        .output()
        .expect("the command headgate");
    let explained: Value = serde_json::from_slice(&explained.stdout).expect("JSON");
    let calls = explained[0]["calls"].as_array().expect("calls");
    let mut told: Vec<&str> = calls
        .iter()
        .flat_map(|call| call["charges"].as_array().expect("charges"))
        .map(|charge| charge["key"].as_str().expect("a key"))
        .collect();
    told.sort_unstable();
    told.dedup();
    let mut found = cluster.keys("explain:*");
    found.sort_unstable();
    assert_eq!(told, found);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_of_an_envoy_is_replayed() {
    let policy = "limits: [{name: few, rate: 2/hour}]";
    let envoy = Envoy::with(RedisCluster::shared()).policy(policy).start();
    assert_eq!(statuses(&envoy, "/", "a", 5).await, [200, 200, 429, 429, 429]);
    assert_eq!(statuses(&envoy, "/", "b", 1).await, [200]);
    let dir = new_dir("replay");
    let lines: Vec<String> = envoy.access_log(6).iter().map(Value::to_string).collect();
    std::fs::write(dir.join("access.log"), lines.join("\n")).expect("a log");
    std::fs::write(dir.join("policy.yaml"), policy).expect("a policy");
    let output = Command::new(env!("CARGO_BIN_EXE_headgate"))
        .current_dir(&dir)
        .args(["simulate", "policy.yaml", "--replay", "access.log", "--json"])
        .output()
        .expect("the command headgate");
    let tally: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&tally["requests"], &tally["denied"]),
        (&6.into(), &3.into()),
        "{tally:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_redis_is_told_from_a_cluster() {
    let redis = SingleRedis::start();
    let policy = "limits: [{rate: 2/hour}]";
    let envoy = Envoy::with(&redis).policy(policy).key_prefix("single").start();
    let headgate = Headgate::on(redis.port, "single").policy(policy);
    assert_eq!(statuses(&envoy, "/", "k", 3).await, [200, 200, 429]);
    assert_eq!(headgate.counter("api_key:k", "2/hour")["left"], 0);
    headgate.good(&["reset", "api_key:k"]);
    until(&envoy, "k", 200).await;
}

#[test]
fn an_address_is_cut_as_the_filter_cuts_it() {
    let redis = SingleRedis::start();
    let headgate = Headgate::on(redis.port, "ratelimit");
    for (client, key) in [
        (
            "address:2001:db8:1:2:3::4",
            "ratelimit:main:{address:2001%3Adb8%3A1%3A2%3A%3A/64}",
        ),
        (
            "address:2001:db8:1:3::/64",
            "ratelimit:main:{address:2001%3Adb8%3A1%3A3%3A%3A/64}",
        ),
        ("address:192.0.2.1", "ratelimit:main:{address:192.0.2.1}"),
        ("{path=/a,method=GET}", "ratelimit:main:{path=/a,method=GET}"),
    ] {
        headgate.good(&["override", "set", client, "few", "5"]);
        assert_eq!(
            redis.call::<String>(&["HGET", key, "few:override"]),
            "5",
            "{client}"
        );
    }
    assert_eq!(headgate.good(&["override", "list"]).lines().count(), 5);
    let key = "00112233445566778899aabbccddeeff";
    let client = format!("api_key:{key}");
    headgate.good(&["override", "set", &client, "few", "5", "--value"]);
    let (text, status) = headgate.text(&["override", "get", &client]);
    assert!(
        status == 1 && text.contains("--value takes it for a value"),
        "{text}"
    );
    assert_eq!(
        headgate.good(&["override", "get", &client, "--value"]),
        "few is 5\n"
    );
}

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
fn a_user_with_the_rights_that_the_readme_lists_may_do_all_of_it() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
    let (_, list) = readme.split_once("Redis users for this need").expect("the list");
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
        .call::<()>(&["SET", log, "the command reads it, whatever it says"]);
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
