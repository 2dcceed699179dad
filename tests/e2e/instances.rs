//! Two instances in one chain, in one VM and in two: counters of their own, one set of headers and one entry in logs.

use crate::harness::*;
use serde_json::{json, Value};

/// A second instance right behind the first, of the same module; `vm` is its VM's name.
fn behind(config: &mut Value, policy: &str, vm: &str) {
    let mut plugin = config::headgate(config).clone();
    let prefix = plugin["configuration"]["value"]["redis"].clone();
    let mut policy = config::parse(policy);
    policy["redis"] = prefix;
    plugin["name"] = json!("headgate-user");
    plugin["configuration"] = config::as_struct(policy);
    plugin["vm_config"]["vm_id"] = json!(vm);
    let filter = json!({"name": "headgate-user", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm", "config": plugin}});
    config::put_around_headgate(config, &[], &[filter]);
}

pub fn pair(edge: &str, user: &'static str, vm: &'static str) -> Envoy {
    Envoy::with(RedisCluster::shared())
        .policy(edge)
        .edit(move |config| behind(config, user, vm))
        .start()
}

/// Status, and limit and what is left as the caller sees them.
pub async fn seen(request: Request) -> (u16, Option<i64>, Option<i64>) {
    let response = request.send().await;
    let number = |name| response.number(name);
    if response.status == 200 {
        response.assert_same_upstream(&["x-ratelimit-limit", "x-ratelimit-remaining", "ratelimit"]);
        assert_eq!(response.upstream_header("x-ratelimit-forged"), None);
    }
    (
        response.status,
        number("x-ratelimit-limit"),
        number("x-ratelimit-remaining"),
    )
}

const EDGE: &str = r#"{
    instance: edge,
    exempt: [{path: /free}],
    limits: [
        {name: edge, rate: 5/hour, key: [client, path]},
        {name: dark, rate: 1/hour, match: {path: /dark}, enforce: false}]}"#;
const USER: &str = r#"{
    instance: user,
    identify: [{name: user, header: x-user, as: plain}],
    limits: [
        {name: user, rate: 3/hour, key: [client, path]},
        {name: gloom, rate: 1/hour, match: {path: /dark}, enforce: false},
        {name: hidden, rate: 1/hour, match: {path: /hidden}, expose: false}]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_caller_sees_the_tightest_of_both_or_the_denial_of_either() {
    for vm in ["headgate", "headgate-user"] {
        let envoy = pair(EDGE, USER, vm);
        let get = |path: &str, user: &str| {
            let forged = envoy.get(path).header("x-ratelimit-forged", "1");
            forged.header("x-ratelimit-limit", "999").header("x-user", user)
        };
        // The second is the tighter one, and the first to be spent.
        for expected in [
            (200, Some(3), Some(2)),
            (200, Some(3), Some(1)),
            (200, Some(3), Some(0)),
            (429, Some(3), Some(0)),
        ] {
            assert_eq!(seen(get("/a", "u")).await, expected, "in VM {vm}");
        }
        // The first has counted all four: for another user it is the tighter one, then spent.
        assert_eq!(seen(get("/a", "v")).await, (200, Some(5), Some(0)), "in VM {vm}");
        let denied = get("/a", "v").send().await;
        assert_eq!(denied.status, 429);
        assert_eq!(
            denied.number("x-ratelimit-limit"),
            Some(5),
            "the first denies: the second is not asked"
        );
        // The second identifies no client, or the first is exempt: only the other is shown.
        assert_eq!(seen(get("/b", "")).await, (200, Some(5), Some(4)));
        assert_eq!(seen(get("/free", "u")).await, (200, Some(3), Some(2)));
        assert_eq!(seen(get("/free", "")).await, (200, None, None));

        let log = envoy.access_log(9);
        let logged = |at: usize| {
            let entry: &Value = &log[at];
            let text = |field: &str| {
                entry[format!("ratelimit_{field}")]
                    .as_str()
                    .unwrap_or("-")
                    .to_owned()
            };
            [
                text("decision"),
                text("name"),
                text("remaining"),
                text("client"),
                text("by"),
            ]
        };
        assert_eq!(logged(0), ["allowed", "user", "2", "user:u", "redis"]);
        assert_eq!(logged(3), ["denied", "user", "0", "user:u", "redis"]);
        assert_eq!(logged(4), ["allowed", "edge", "0", "user:v", "redis"]);
        assert_eq!(logged(5), ["denied", "edge", "0", "address:127.0.0.1", "redis"]);
        assert_eq!(logged(6), ["allowed", "edge", "4", "address:127.0.0.1", "redis"]);
        assert_eq!(logged(7), ["allowed", "user", "2", "user:u", "redis"]);
        assert_eq!(logged(8)[..3], ["no_client", "-", "-"]);
        let keys = RedisCluster::shared()
            .keys(&format!("{}:*", envoy.key_prefix))
            .join("\n");
        for own in [":edge:{address:127.0.0.1}", ":user:{user:u}"] {
            assert!(keys.contains(own), "{own} in {keys}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_shadows_are_reported_and_a_hidden_denial_hides_figures() {
    let envoy = pair(EDGE, USER, "headgate");
    for round in 0..2 {
        let response = envoy.get("/dark").header("x-user", "u").send().await;
        assert_eq!(response.status, 200);
        let limited = response.upstream_header("x-ratelimit-limited");
        assert_eq!(limited.as_deref(), (round == 1).then_some("true"));
        let edge_alone = envoy
            .get("/dark")
            .header("x-api-key", format!("{round}"))
            .send()
            .await;
        assert_eq!(edge_alone.upstream_header("x-ratelimit-limited"), None);
    }
    assert_eq!(envoy.access_log(4)[2]["ratelimit_shadow"], "dark,gloom");
    let hidden = || envoy.get("/hidden").header("x-user", "u").send();
    assert_eq!(hidden().await.number("x-ratelimit-limit"), Some(3));
    let denied = hidden().await;
    assert_eq!((denied.status, denied.header("x-ratelimit-limit")), (429, None));
    assert_eq!(denied.number("retry-after").map(|wait| wait % 60), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_in_memory_works_before_one_in_redis() {
    let edge = "{instance: edge, store: local, limits: [{name: edge, rate: 3/hour}]}";
    let envoy = pair(edge, USER, "headgate");
    for expected in [(200, Some(3), Some(2)), (200, Some(3), Some(1))] {
        assert_eq!(seen(envoy.get("/").header("x-user", "u")).await, expected);
    }
    assert_eq!(
        seen(envoy.get("/").header("x-user", "v")).await,
        (200, Some(3), Some(0)),
        "the edge's, though v has called once"
    );
    assert_eq!(
        seen(envoy.get("/").header("x-user", "v")).await,
        (429, Some(3), Some(0))
    );
    let log = envoy.access_log(4);
    let logged = |at: usize| {
        (
            log[at]["ratelimit_by"].clone(),
            log[at]["ratelimit_decision"].clone(),
        )
    };
    assert_eq!(
        logged(0),
        ("local".into(), "allowed".into()),
        "the less certain of both"
    );
    assert_eq!(logged(3), ("local".into(), "denied".into()));
}

const LISTS: &str = "response: {headers: [x-ratelimit, ietf]}";

#[tokio::test(flavor = "multi_thread")]
async fn draft_headers_merge_and_the_second_keeps_the_upstreams() {
    let edge = format!("{{instance: edge, {LISTS}, limits: [{{name: edge, rate: 2/hour}}]}}");
    let user: &'static str = Box::leak(
        format!(
            "{{instance: user, identify: [{{header: x-user}}], {}, limits: [{{name: user, rate: 1/hour}}]}}",
            LISTS.replace('}', ", upstream_headers: keep}")
        )
        .into_boxed_str(),
    );
    let envoy = pair(&edge, user, "headgate-user");
    let passed = envoy.get("/").header("x-user", "u").send().await;
    assert_eq!(
        passed.header("ratelimit-policy").as_deref(),
        Some(r#""edge";q=2;w=3600, "user";q=1;w=3600"#)
    );
    assert_eq!(
        passed.upstream_header("ratelimit-policy"),
        passed.header("ratelimit-policy")
    );
    assert_eq!(passed.number("x-ratelimit-limit"), Some(1));
    let denied = envoy.get("/").header("x-user", "u").send().await;
    assert_eq!(
        (denied.status, denied.number("x-ratelimit-limit")),
        (429, Some(1))
    );
    let state = denied.header("ratelimit").unwrap();
    assert!(
        state.starts_with(r#""edge";r=0;"#) && state.contains(r#", "user";r=0;"#),
        "{state}"
    );
    let own = r#"{"headers": {"x-ratelimit-limit": "77"}}"#;
    let kept = envoy.get("/").header("x-api-key", "b").header("x-user", "v");
    let kept = kept.header("x-test-answer", own).send().await;
    assert_eq!(
        kept.header("x-ratelimit-limit").as_deref(),
        Some("77"),
        "the values of the second instance, next to the upstream"
    );
    assert_eq!(kept.header("x-ratelimit-remaining"), None);
}

/// The shipped file, with keys of an issuer that the tests can sign for, and a ceiling that does not slide under them
/// and is the tightest limit of the edge.
#[tokio::test(flavor = "multi_thread")]
async fn before_and_after_authentication_as_shipped() {
    let envoy = Envoy::with(RedisCluster::shared())
        .file("envoy/two-stage.yaml")
        .edit(|config| {
            let first = config::headgate(config);
            first["configuration"]["value"]["limits"][1]["rate"] = json!("200/day");
            let first = first.clone();
            let filters = &mut config::hcm(config)["http_filters"];
            let second = &mut config::named(filters, "headgate-user")["typed_config"]["config"];
            second["vm_config"]["code"] = first["vm_config"]["code"].clone();
            second["configuration"]["value"]["redis"] = first["configuration"]["value"]["redis"].clone();
            let jwt = &mut config::named(filters, "envoy.filters.http.jwt_authn")["typed_config"];
            jwt["providers"]["issuer"]["local_jwks"] = json!({"inline_string": jwt::keys()});
        })
        .start();
    let alice = jwt::bearer(&json!({"sub": "alice"}));
    let as_alice = |number: usize| {
        let request = envoy.get("/").header("authorization", &alice);
        request.header("x-api-key", ["a", "b"][number % 2])
    };
    let responses = envoy.at_once(120, as_alice).await;
    assert_eq!(passes(&responses), 100, "per user, whatever the API key");
    let denied = as_alice(0).send().await;
    assert_eq!(
        (denied.status, denied.number("x-ratelimit-limit")),
        (429, Some(100))
    );
    let anonymous = envoy.get("/").send().await;
    assert_eq!(
        (anonymous.status, anonymous.number("x-ratelimit-limit")),
        (200, Some(200)),
        "the edge's ceiling, which has counted every call"
    );
    let forged = envoy.get("/").header("authorization", alice.clone() + "x").send();
    assert_eq!(forged.await.status, 401);
    let again = envoy.get("/").send().await;
    assert_eq!(
        again.number("x-ratelimit-remaining"),
        anonymous.number("x-ratelimit-remaining").map(|left| left - 2),
        "a token that is refused has cost a call at the edge"
    );
}
