//! `headgate override`.

use super::{statuses, until, Headgate};
use crate::harness::*;
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn a_live_override_applies_from_the_next_call_until_unset() {
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
        status == 1 && text.contains("--value reads it as a value"),
        "{text}"
    );
    assert_eq!(
        headgate.good(&["override", "get", &client, "--value"]),
        "few is 5\n"
    );
}

#[test]
fn an_override_that_no_limit_reads_is_not_called_effective() {
    let redis = SingleRedis::start();
    let policy =
        "limits: [{name: few, rate: 2/hour, overrides: [{from: redis}]}, {name: fixed, rate: 900/hour}]";
    let (bare, informed) = (
        Headgate::on(redis.port, "read"),
        Headgate::on(redis.port, "read").policy(policy),
    );
    let client = "api_key:k";
    for limit in ["few", "fixed", "gone"] {
        let set = bare.good(&["override", "set", client, limit, "5"]);
        assert!(
            set.contains(&format!(
                "not checked whether the limit {limit} reads live overrides"
            )),
            "{set}"
        );
        assert!(
            set.contains(&format!(
                "stored: {limit} is 5 from the next call on, if the limit reads"
            )),
            "{set}"
        );
    }
    for arguments in [
        &["show", client][..],
        &["override", "get", client],
        &["override", "list"],
    ] {
        let shown = informed.good(arguments);
        let line = |limit: &str| {
            shown
                .lines()
                .find(|line| line.contains(limit))
                .expect("an override")
                .to_owned()
        };
        assert!(!line("few").contains("ignored"), "{shown}");
        assert!(
            line("fixed").contains("5 (ignored: the limit has no overrides: [{from: redis}])"),
            "{shown}"
        );
        assert!(
            line("gone").contains("5 (ignored: the policy has no such limit)"),
            "{shown}"
        );
        assert!(!bare.good(arguments).contains("ignored"));
    }
    let shown: Value = serde_json::from_str(&informed.good(&["show", client, "--json"])).expect("JSON");
    let ignored = |limit: &str| shown["overrides"][limit]["ignored"].clone();
    assert_eq!(
        [ignored("few"), ignored("fixed"), ignored("gone")],
        [false, true, true].map(Value::from)
    );
    let set = informed.good(&["override", "set", client, "few", "6"]);
    assert!(set.ends_with(": few is 6 from the next call on\n"), "{set}");
}
