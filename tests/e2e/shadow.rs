//! Limits that never deny (shadow), deny a share (canary), or are never shown (hidden).

use crate::harness::*;

const LIMITED: &str = "x-ratelimit-limited";

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_in_shadow_reports_to_the_upstream_and_never_denies() {
    for builder in Envoy::of_each_store() {
        let envoy = builder
            .policy(
                "limits: [{name: dark, rate: 1/hour, enforce: false}, {name: bright, rate: 4/hour}, \
             {name: dim, rate: 2/hour, enforce: false}]",
            )
            .start();
        let mut seen = Vec::new();
        for _ in 0..5 {
            let response = envoy.get("/").header(LIMITED, "forged").send().await;
            let limited = (response.status == 200)
                .then(|| response.upstream_header(LIMITED))
                .flatten();
            assert_eq!(response.header(LIMITED), None, "nothing of it to the caller");
            seen.push((
                response.status,
                response.number("x-ratelimit-limit"),
                response.number("x-ratelimit-remaining"),
                limited,
            ));
        }
        let limited = || Some("true".to_owned());
        assert_eq!(
            seen,
            [
                (200, Some(4), Some(3), None),
                (200, Some(4), Some(2), limited()),
                (200, Some(4), Some(1), limited()),
                (200, Some(4), Some(0), limited()),
                (429, Some(4), Some(0), None)
            ],
            "the enforced limit counts on while the other is spent"
        );
        let log = envoy.access_log(5);
        let shadows: Vec<_> = log
            .iter()
            .map(|entry| entry["ratelimit_shadow"].clone())
            .collect();
        assert_eq!(
            shadows[..4],
            [
                serde_json::Value::Null,
                "dark".into(),
                "dark,dim".into(),
                "dark,dim".into()
            ]
        );
        assert!(log[..4]
            .iter()
            .all(|entry| entry["ratelimit_decision"] == "allowed"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_in_shadow_never_denies_and_a_share_is_stable() {
    let redis = RedisCluster::shared();
    let shadow = Envoy::with(redis)
        .policy("{enforce: false, limits: [{rate: 1/hour}]}")
        .start();
    for round in 0..3 {
        let response = shadow.get("/").send().await;
        assert_eq!(
            (response.status, response.header("x-ratelimit-limit")),
            (200, None)
        );
        let limited = response.upstream_header(LIMITED);
        assert_eq!(limited.as_deref(), (round > 0).then_some("true"));
    }
    // The limit's own word holds over the policy's.
    let canary = Envoy::with(redis)
        .policy(
            "{enforce: false, limits: [{name: a, rate: 1/hour, enforce: 40%}, {name: b, rate: 1/hour, enforce: 40%}]}",
        )
        .start();
    let mut denied = 0;
    for client in 0..60 {
        let call = || {
            canary
                .get("/")
                .header("x-api-key", format!("key-{client}"))
                .send()
        };
        assert_eq!(call().await.status, 200);
        let first = call().await.status;
        for _ in 0..2 {
            assert_eq!(call().await.status, first, "always the same for client {client}");
        }
        denied += usize::from(first == 429);
    }
    assert!((12..=36).contains(&denied), "40% of 60: {denied}");
}

const HIDDEN: &str = r#"
    response: {headers: [x-ratelimit, ietf], BODY}
    limits:
    - {name: secret, rate: 2/hour, algorithm: fixed_window, expose: false, match: {headers: {x-hidden: "*"}}}
    - {name: tight-secret, rate: 3/hour, expose: false}
    - {name: open, rate: 100/hour}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_hidden_limit_is_anywhere_that_a_caller_can_see() {
    for body in [
        r#"body: "[{name}] [{limit}] [{remaining}]""#,
        "format: problem_json",
    ] {
        let envoy = Envoy::with(RedisCluster::shared())
            .policy(&HIDDEN.replace("BODY", body))
            .start();
        let call = |hidden: bool| match hidden {
            true => envoy.get("/").header("x-hidden", "1").send(),
            false => envoy.get("/").send(),
        };
        let mut responses = vec![call(true).await, call(true).await];
        for response in &responses {
            assert_eq!(response.number("x-ratelimit-limit"), Some(100), "the exposed one");
        }
        let denied = call(true).await;
        assert_eq!(denied.status, 429);
        for name in [
            "x-ratelimit-limit",
            "x-ratelimit-remaining",
            "x-ratelimit-reset",
            "ratelimit",
            "ratelimit-policy",
        ] {
            assert_eq!(denied.header(name), None, "{name}");
        }
        let wait = denied.number("retry-after").unwrap();
        assert!(
            wait % 60 == 0 && (60..=3600).contains(&wait),
            "rounded up to the minute: {wait}"
        );
        match body.contains("problem") {
            true => assert_eq!(denied.json()["violated-policies"], serde_json::json!([])),
            false => assert_eq!(denied.text(), "[] [] []"),
        }
        responses.push(denied);
        responses.push(call(false).await);
        assert_eq!(responses[3].status, 200);
        responses.push(call(false).await);
        assert_eq!(responses[4].status, 429, "the other hidden limit");
        for response in &responses {
            let sent = format!(
                "{:?} {:?} {}",
                response.headers,
                response.trailers,
                response.text()
            );
            assert!(!sent.contains("secret"), "{sent}");
        }
        let log = envoy.access_log(5);
        assert_eq!(log[2]["ratelimit_name"], "secret", "operators see it");
    }
}
