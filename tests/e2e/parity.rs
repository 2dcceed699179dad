//! What Django services throttle by, row by row of the tables in docs/django.md, written as a policy and checked in
//! real Envoy.

use crate::harness::*;
use serde_json::json;
use std::time::{Duration, Instant};

fn start(policy: &str) -> Envoy {
    Envoy::with(RedisCluster::shared()).policy(policy).start()
}

async fn statuses(count: usize, request: impl Fn() -> Request) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(request().send().await.status);
    }
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn middleware_api_key_else_address_before_authentication() {
    let envoy = Envoy::with(RedisCluster::shared())
        .after(&jwt::filter().replace(r#"{"allow_missing":{}}"#, r#"{"provider_name":"issuer"}"#))
        .policy("limits: [{rate: 100/60s}]")
        .start();
    let token = jwt::bearer(&json!({"sub": "a"}));
    let passed = envoy
        .get("/")
        .header("authorization", &token)
        .header("x-api-key", "k")
        .send()
        .await;
    assert_eq!(
        passed.upstream_header("x-ratelimit-remaining").as_deref(),
        Some("99")
    );
    let responses = envoy.at_once(101, |_| envoy.get("/")).await;
    let unauthorized = responses.iter().filter(|response| response.status == 401).count();
    assert_eq!(
        unauthorized, 100,
        "by address, and counted before the token is looked at"
    );
    let denied = responses
        .iter()
        .find(|response| response.status == 429)
        .expect("a denial");
    for name in [
        "retry-after",
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
    ] {
        assert!(denied.number(name).is_some(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn django_ratelimit_keys_ip_header_parameter_user_and_callable() {
    let envoy = start(
        r#"
        identify:
        - {name: user, metadata: [envoy.filters.http.jwt_authn, payload, sub]}
        - {name: tenant, header: x-route, extract: "tenant/([a-z]+)/.*"}
        - {address: {}}
        limits:
        - {name: ip, rate: 1/h, match: {path: /ip}, key: [address]}
        - {name: header, rate: 1/h, match: {path: /header}, key: ["header:x-tenant"]}
        - {name: get, rate: 1/h, match: {path: /get}, key: ["query:q"]}
        - {name: user-or-ip, rate: 1/h, match: {path: /user-or-ip}}
        "#,
    );
    let get = |path: &str, name: &str, value: &str| envoy.get(path).header(name, value);
    assert_eq!(statuses(2, || get("/ip", "x-api-key", "a")).await, [200, 429]);
    assert_eq!(statuses(1, || get("/ip", "x-api-key", "b")).await, [429]);
    assert_eq!(statuses(2, || get("/header", "x-tenant", "a")).await, [200, 429]);
    assert_eq!(statuses(1, || get("/header", "x-tenant", "b")).await, [200]);
    assert_eq!(statuses(2, || get("/get?q=a", "x-tenant", "a")).await, [200, 429]);
    assert_eq!(statuses(1, || get("/get?q=b", "x-tenant", "a")).await, [200]);
    assert_eq!(statuses(2, || get("/user-or-ip", "x-none", "")).await, [200, 429]);
    // What a callable would compute of a request: a part of a value.
    let tenant = |value: &'static str| move || value;
    for (value, expected) in [
        (tenant("tenant/a/x")(), 200),
        ("tenant/a/y", 429),
        ("tenant/b/x", 200),
    ] {
        assert_eq!(
            statuses(1, || get("/user-or-ip", "x-route", value)).await,
            [expected],
            "{value}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn django_ratelimit_rates_in_every_notation() {
    let envoy = start(
        "limits: [{rate: 4/h, match: {path: /h}}, {rate: 3/10s, match: {path: /s}}, {rate: 0/s, match: {path: /never}}, \
         {name: none, rate: unlimited, match: {path: /always}}, {rate: 2/5minutes, match: {path: /m}}, {rate: 5/day, match: {path: /d}}]",
    );
    for (path, limit, period) in [("/h", 4, 3_600), ("/s", 3, 10), ("/m", 2, 300), ("/d", 5, 86_400)] {
        let response = envoy.get(path).send().await;
        assert_eq!(response.number("x-ratelimit-limit"), Some(limit), "{path}");
        assert_eq!(
            statuses(limit as usize, || envoy.get(path)).await.last(),
            Some(&429)
        );
        let wait = envoy.get(path).send().await.number("retry-after").unwrap();
        assert!((1..=period).contains(&wait), "{path}: {wait}");
    }
    assert_eq!(statuses(2, || envoy.get("/never")).await, [429, 429]);
    let free = envoy.get("/always").send().await;
    assert_eq!((free.status, free.header("x-ratelimit-limit")), (200, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn django_ratelimit_methods_groups_and_several_decorators() {
    let envoy = start(
        r#"limits:
        - {name: writes, rate: 2/h, match: {path: /view, methods: [POST, PUT]}}
        - {name: all, rate: 4/h, match: {path: /view}}
        - {name: group, rate: 2/h, match: [{path: /a}, {path: "/b/**"}]}"#,
    );
    let call = |method: &'static str, path: &'static str| {
        let envoy = &envoy;
        move || envoy.request(method, path)
    };
    assert_eq!(statuses(1, call("POST", "/view")).await, [200]);
    assert_eq!(
        statuses(2, call("PUT", "/view")).await,
        [200, 429],
        "two methods share it"
    );
    assert_eq!(
        statuses(3, call("GET", "/view")).await,
        [200, 200, 429],
        "both decorators hold"
    );
    assert_eq!(statuses(1, call("GET", "/a")).await, [200]);
    assert_eq!(
        statuses(2, call("GET", "/b/x")).await,
        [200, 429],
        "views of a group share a counter"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn django_ratelimit_block_false_only_marks_the_request() {
    let envoy = start("limits: [{rate: 1/h, enforce: false}]");
    let first = envoy.get("/").send().await;
    assert_eq!(first.upstream_header("x-ratelimit-limited"), None);
    let second = envoy.get("/").send().await;
    assert_eq!(
        (
            second.status,
            second.upstream_header("x-ratelimit-limited").as_deref()
        ),
        (200, Some("true"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn django_ratelimit_failure_modes_cache_and_key_prefix() {
    let redis = RedisCluster::shared();
    let limits = "limits: [{rate: 1/h}]";
    let nowhere = "redis: {cluster: nowhere}";
    let closed = Envoy::with(redis)
        .policy(&format!("{{on_error: deny, {nowhere}, {limits}}}"))
        .start();
    let refused = closed.get("/").send().await;
    assert_eq!((refused.status, refused.number("retry-after")), (503, Some(1)));
    let open = Envoy::with(redis)
        .policy(&format!("{{on_error: allow, {nowhere}, {limits}}}"))
        .start();
    assert_eq!(statuses(2, || open.get("/")).await, [200, 200]);
    let off = Envoy::with(redis)
        .policy(&format!("{{enabled: false, {limits}}}"))
        .start();
    assert_eq!(statuses(2, || off.get("/")).await, [200, 200]);
    let prefixed = Envoy::with(redis)
        .key_prefix("my-prefix")
        .policy(&format!(
            "{{instance: my-instance, redis: {{key_prefix: my-prefix}}, {limits}}}"
        ))
        .start();
    assert_eq!(statuses(2, || prefixed.get("/")).await, [200, 429]);
    let keys = redis.keys("my-prefix:*");
    assert!(
        !keys.is_empty() && keys.iter().all(|key| key.starts_with("my-prefix:my-instance:{")),
        "{keys:?}"
    );
}

const THROTTLES: &str = r#"
    identify: [{name: user, metadata: [envoy.filters.http.jwt_authn, payload, sub]}, {address: {}}]
    rates: {anon: 2/day, user: 3/day, uploads: 1/hour, partner: 4/day}
    limits:
    - {name: anon, rate: anon, match: {not: {source: [user]}}, key: [address]}
    - {name: user, rate: user, match: {source: [user]}, overrides: [{source: user, value: partner, rate: partner}]}
    - {name: uploads, rate: uploads, match: {methods: [POST], path: "/uploads/{id}"}, key: [client, path, method], replaces: [user, anon]}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn drf_anon_user_and_scoped_throttles_with_named_rates() {
    let envoy = Envoy::with(RedisCluster::shared())
        .before(&jwt::filter())
        .policy(THROTTLES)
        .start();
    let signed = |method: &str, path: &str, user: &str| {
        let token = jwt::bearer(&json!({ "sub": user }));
        envoy.request(method, path).header("authorization", token)
    };
    assert_eq!(statuses(3, || envoy.get("/")).await, [200, 200, 429], "anonymous");
    assert_eq!(
        statuses(4, || signed("GET", "/", "a")).await,
        [200, 200, 200, 429]
    );
    assert_eq!(statuses(1, || signed("GET", "/", "b")).await, [200]);
    assert_eq!(
        statuses(5, || signed("GET", "/", "partner")).await,
        [200, 200, 200, 200, 429]
    );
    // A view with a scope of its own: in place of the defaults, and for each identity, path and method.
    assert_eq!(
        statuses(2, || signed("POST", "/uploads/1", "a")).await,
        [200, 429],
        "though the user's rate is spent"
    );
    assert_eq!(
        statuses(1, || signed("POST", "/uploads/2", "a")).await,
        [429],
        "one view"
    );
    assert_eq!(statuses(1, || signed("POST", "/uploads/1", "b")).await, [200]);
    assert_eq!(
        statuses(1, || signed("PUT", "/uploads/1", "a")).await,
        [429],
        "the default again, which is spent"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn drf_num_proxies_is_envoys_trusted_hops() {
    let envoy = Envoy::with(RedisCluster::shared())
        .policy("limits: [{rate: 1/h, key: [address]}]")
        .edit(|config| config::hcm(config)["xff_num_trusted_hops"] = 2.into())
        .start();
    let via = |chain: &'static str| {
        let envoy = &envoy;
        move || envoy.get("/").header("x-forwarded-for", chain)
    };
    assert_eq!(statuses(2, via("10.9.9.9, 10.1.1.1, 10.2.2.2")).await, [200, 429]);
    assert_eq!(
        statuses(1, via("10.8.8.8, 10.1.1.1, 10.2.2.2")).await,
        [429],
        "what a caller claims before it is nothing"
    );
    assert_eq!(statuses(1, via("10.1.1.9, 10.2.2.2")).await, [200]);
}

#[tokio::test(flavor = "multi_thread")]
async fn drf_wait_is_retry_after_and_windows_slide_or_are_fixed() {
    let envoy = start(
        "limits: [{name: slides, rate: 2/3s, algorithm: auto, match: {path: /slides}}, \
         {name: log, rate: 2/3s, algorithm: sliding_window_log, match: {path: /log}}, \
         {name: counter, rate: 2/3s, algorithm: sliding_window_counter, match: {path: /counter}}, \
         {name: fixed, rate: 2/3s, algorithm: fixed_window, align: first_call, match: {path: /fixed}}, \
         {name: bucket, rate: 2/3s, algorithm: gcra, match: {path: /bucket}}]",
    );
    for path in ["/slides", "/log", "/counter", "/fixed", "/bucket"] {
        let start = Instant::now();
        assert_eq!(statuses(2, || envoy.get(path)).await, [200, 200], "{path}");
        let denied = envoy.get(path).send().await;
        if denied.status == 200 && start.elapsed() > Duration::from_millis(1_200) {
            continue; // a machine so busy that permits have come back
        }
        assert_eq!(denied.status, 429, "{path}");
        let wait = denied.number("retry-after").unwrap() as u64;
        assert!((1..=6).contains(&wait), "{path}: {wait}");
        tokio::time::sleep(Duration::from_secs(wait)).await;
        assert_eq!(
            envoy.get(path).send().await.status,
            200,
            "{path}: a caller passes after the wait"
        );
    }
}
