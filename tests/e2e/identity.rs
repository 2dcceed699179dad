//! How a caller is identified: by the first source that is present, and by addresses as Envoy trusts them.

use crate::harness::*;

async fn left(request: Request) -> Option<i64> {
    request.send().await.number("x-ratelimit-remaining")
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_addresses_have_counters_of_their_own() {
    let envoy = Envoy::with(RedisCluster::shared())
        .policy("limits: [{rate: 9/minute}]")
        .start();
    let with = |key: &str| envoy.get("/").header("x-api-key", key);
    assert_eq!(left(with("a")).await, Some(8));
    assert_eq!(left(with("a")).await, Some(7));
    assert_eq!(left(with("b")).await, Some(8));
    assert_eq!(left(envoy.get("/")).await, Some(8), "by address");
    assert_eq!(left(with("")).await, Some(7), "an empty header is ignored");
    assert_eq!(
        left(envoy.get("/").header("x-api-key", "a").header("x-api-key", "a")).await,
        Some(6),
        "sent twice: ignored"
    );
    assert_eq!(
        left(with("127.0.0.1")).await,
        Some(8),
        "a key that looks like an address is not an address"
    );
    let keys = RedisCluster::shared().keys(&format!("{}:*", envoy.key_prefix));
    assert!(
        keys.iter()
            .any(|key| key.starts_with(&format!("{}:main:{{address:127.0.0.1}}", envoy.key_prefix))),
        "{keys:?}"
    );
    assert!(
        keys.iter()
            .all(|key| key.contains("{address:") || key.contains("{api_key:")),
        "{keys:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_trusted_hop_may_change_the_client_address() {
    let policy = "limits: [{rate: 9/minute}]";
    let strict = Envoy::with(RedisCluster::shared()).policy(policy).start();
    assert_eq!(
        left(strict.get("/").header("x-forwarded-for", "10.1.1.1")).await,
        Some(8)
    );
    assert_eq!(
        left(strict.get("/").header("x-forwarded-for", "10.1.1.2")).await,
        Some(7)
    );
    let trusting = Envoy::with(RedisCluster::shared())
        .policy(policy)
        .edit(|config| config::hcm(config)["xff_num_trusted_hops"] = 1.into())
        .start();
    let via = |address: &str| trusting.get("/").header("x-forwarded-for", address);
    assert_eq!(left(via("10.1.1.1")).await, Some(8));
    assert_eq!(left(via("10.1.1.2")).await, Some(8));
    assert_eq!(
        left(via("8.8.8.8, 10.1.1.2")).await,
        Some(7),
        "the hop before the trusted one"
    );
    assert_eq!(left(via("2001:db8::1")).await, Some(8));
    assert_eq!(left(via("2001:db8::ffff:1")).await, Some(7), "one /64");
    assert_eq!(left(via("2001:db8:0:1::1")).await, Some(8), "another /64");
    assert_eq!(left(via("::ffff:10.1.1.1")).await, Some(7), "IPv4 in IPv6");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_keyed_by_the_environment_and_plain_ones_are_not() {
    let policy = "{identify: [{header: x-api-key}, {name: app, header: x-app, as: plain}], limits: [{rate: 9/minute}]}";
    let keyed = Envoy::with(RedisCluster::shared())
        .env("HEADGATE_HASH_KEY", "k1")
        .policy(policy)
        .start();
    let bare = Envoy::with(RedisCluster::shared()).policy(policy).start();
    for envoy in [&keyed, &bare] {
        assert_eq!(left(envoy.get("/").header("x-api-key", "test")).await, Some(8));
        assert_eq!(left(envoy.get("/").header("x-app", "a:b{c}")).await, Some(8));
    }
    let keys = |envoy: &Envoy| {
        RedisCluster::shared()
            .keys(&format!("{}:*", envoy.key_prefix))
            .join("\n")
    };
    let sha = "9f86d081884c7d659a2feaa0c55ad015";
    assert!(
        keys(&bare).contains(&format!("{{api_key:{sha}}}")),
        "{}",
        keys(&bare)
    );
    assert!(!keys(&keyed).contains(sha), "{}", keys(&keyed));
    for envoy in [&keyed, &bare] {
        assert!(keys(envoy).contains("{app:a%3Ab%7Bc%7D}"), "{}", keys(envoy));
    }
    assert!(
        bare.log().contains("HEADGATE_HASH_KEY"),
        "a warning that hashes without a key can be guessed"
    );
    assert!(!keyed.log().contains("HEADGATE_HASH_KEY"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_client_is_refused_if_configured() {
    let policy = |what| {
        format!("{{on_no_client: {what}, identify: [{{header: x-api-key}}], limits: [{{rate: 9/minute}}]}}")
    };
    let deny = Envoy::with(RedisCluster::shared())
        .policy(&policy("deny"))
        .start();
    let response = deny.get("/").send().await;
    assert_eq!(
        (response.status, response.text()),
        (403, "Client could not be identified".into())
    );
    assert_eq!(deny.access_log(1)[0]["ratelimit_decision"], "no_client");
    assert_eq!(left(deny.get("/").header("x-api-key", "a")).await, Some(8));
    let allow = Envoy::with(RedisCluster::shared())
        .policy(&policy("allow"))
        .start();
    let response = allow.get("/").send().await;
    assert_eq!(
        (response.status, response.header("x-ratelimit-limit")),
        (200, None)
    );
    assert_eq!(allow.access_log(1)[0]["ratelimit_decision"], "no_client");
}
