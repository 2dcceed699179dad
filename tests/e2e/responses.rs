//! Responses to callers: both kinds of headers, bodies, waits, and the upstream's own headers.

use crate::harness::*;
use serde_json::json;

const X: [&str; 3] = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];

fn shown(response: &Response) -> Vec<Option<String>> {
    X.iter()
        .chain(&["ratelimit-policy", "ratelimit"])
        .map(|name| response.header(name))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_has_both_kinds_of_headers_and_a_problem_body() {
    let envoy = Envoy::with(RedisCluster::shared())
        .policy(
            "{limits: [{name: a, rate: 2/hour}, {name: b, rate: 9/5m, algorithm: fixed_window, align: first_call}], \
             response: {headers: [x-ratelimit, ietf], reset: delta, format: problem_json, body: 'Wait {retry_after} s for {name}'}}",
        )
        .start();
    let first = envoy.get("/").send().await;
    let policy = r#""a";q=2;w=3600, "b";q=9;w=300"#;
    let state = first.header("ratelimit").unwrap();
    assert!(state.starts_with(r#""a";r=1;t=3"#), "{state}");
    assert_eq!(first.header("ratelimit-policy").as_deref(), Some(policy));
    assert_eq!(
        first.upstream_header("ratelimit").as_ref(),
        Some(&state),
        "for the upstream as well"
    );
    assert_eq!(first.number("x-ratelimit-limit"), Some(2));
    let reset = first.number("x-ratelimit-reset").unwrap();
    assert!((3598..=3600).contains(&reset), "seconds from now: {reset}");
    envoy.get("/").send().await;
    let denied = envoy.get("/").send().await;
    assert_eq!(
        (denied.status, denied.header("content-type").as_deref()),
        (429, Some("application/problem+json"))
    );
    let wait = denied.number("retry-after").unwrap();
    assert_eq!(
        denied.json(),
        json!({
            "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
            "title": "Quota exceeded", "status": 429, "detail": format!("Wait {wait} s for a"),
            "violated-policies": ["a"], "retry-after": wait,
        })
    );
    assert_eq!(denied.header("ratelimit-policy").as_deref(), Some(policy));
    assert_eq!(denied.number("x-ratelimit-remaining"), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_without_headers_sends_only_retry_after_with_jitter() {
    let envoy = Envoy::with(RedisCluster::shared())
        .policy("{limits: [{rate: 0/10s}], response: {headers: [], retry_after_jitter: 100%}}")
        .start();
    let mut waits = Vec::new();
    for _ in 0..40 {
        let denied = envoy.get("/").send().await;
        assert_eq!((denied.status, shown(&denied)), (429, vec![None; 5]));
        assert_eq!(
            denied.header("content-type").as_deref(),
            Some("text/plain; charset=utf-8")
        );
        waits.push(denied.number("retry-after").unwrap());
    }
    assert!(waits.iter().all(|wait| (10..=20).contains(wait)), "{waits:?}");
    waits.sort();
    waits.dedup();
    assert!(waits.len() > 3, "not all at once: {waits:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn quota_headers_of_the_upstream_never_mix_with_headgates() {
    let redis = RedisCluster::shared();
    let limits = "exempt: [{path: /exempt}], limits: [{name: a, rate: 7/minute}]";
    let replace = Envoy::with(redis).policy(&format!("{{{limits}}}")).start();
    let keep = Envoy::with(redis)
        .policy(&format!(
            "{{{limits}, response: {{headers: [x-ratelimit, ietf], upstream_headers: keep}}}}"
        ))
        .start();
    let off = Envoy::with(redis)
        .policy(&format!("{{enabled: false, {limits}}}"))
        .start();
    let own =
        r#"{"headers": [["x-ratelimit-limit", "1"], ["x-ratelimit-limit", "2"], ["X-RateLimit-Other", "3"],
        ["ratelimit", "\"up\";r=1"]]}"#
            .replace('\n', "");
    let x = |values: [&str; 3]| values.map(|v| (!v.is_empty()).then(|| v.to_owned())).to_vec();
    for path in ["/", "/exempt"] {
        let response = replace.get(path).header("x-test-answer", &own).send().await;
        assert_eq!(response.header("x-ratelimit-other"), None);
        assert_eq!(response.header("ratelimit"), None, "a quota that we do not show");
        let limit = (path == "/").then(|| "7".to_owned());
        assert_eq!(response.header("x-ratelimit-limit"), limit, "{path}");
    }
    for envoy in [&keep, &off] {
        let response = envoy.get("/").header("x-test-answer", &own).send().await;
        assert_eq!(shown(&response)[..3], x(["1,2", "", ""]));
        assert_eq!(response.header("x-ratelimit-other").as_deref(), Some("3"));
        assert_eq!(response.header("ratelimit").as_deref(), Some("\"up\";r=1"));
        assert_eq!(response.header("ratelimit-policy"), None);
    }
    let silent = r#"{"headers": {"ratelimit": "up"}}"#;
    let response = keep.get("/").header("x-test-answer", silent).send().await;
    assert_eq!(
        response.number("x-ratelimit-limit"),
        Some(7),
        "the upstream sends no such header"
    );
    assert_eq!(response.header("ratelimit").as_deref(), Some("up"));
    for _ in 0..9 {
        let response = off.get("/").header("x-ratelimit-limit", "as sent").send().await;
        assert_eq!(
            (response.status, shown(&response)),
            (200, vec![None; 5]),
            "not there at all"
        );
        assert_eq!(
            response.upstream_header("x-ratelimit-limit").as_deref(),
            Some("as sent")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_of_a_grpc_call_is_a_grpc_response() {
    let redis = RedisCluster::shared();
    let denied = Envoy::with(redis)
        .policy("{limits: [{rate: 0/minute}], response: {format: problem_json}}")
        .start();
    let stranger = Envoy::with(redis)
        .policy("{on_no_client: deny, identify: [{header: x-api-key}], limits: [{rate: 9/minute}]}")
        .start();
    let ambiguous = Envoy::with(redis)
        .policy("{on_ambiguous_client: deny, identify: [{query: k}], limits: [{rate: 9/minute}]}")
        .start();
    let unchecked = Envoy::with(redis)
        .policy("{on_error: deny, redis: {cluster: nowhere}, limits: [{rate: 9/minute}], response: {error_status: 500}}")
        .start();
    for (envoy, status, http) in [
        (&denied, "8", 429),
        (&stranger, "7", 403),
        (&ambiguous, "3", 400),
        (&unchecked, "14", 500),
    ] {
        let call = envoy
            .http2()
            .request("POST", "/svc/Method?k=1&k=2")
            .header("content-type", "application/grpc+proto");
        let response = call.send().await;
        assert_eq!(
            (response.status, response.header("grpc-status").as_deref()),
            (200, Some(status)),
            "{response:?}"
        );
        assert_eq!(
            response.header("content-type").as_deref(),
            Some("application/grpc"),
            "{response:?}"
        );
        assert_eq!(
            response.header("x-envoy-ratelimited").is_some(),
            ["8", "14"].contains(&status),
            "{response:?}"
        );
        assert_eq!(
            response.header("retry-after").is_some(),
            ["8", "14"].contains(&status),
            "{response:?}"
        );
        assert!(response.body.is_empty(), "in headers, with no body");
        let message = response.header("grpc-message").unwrap_or_default();
        assert!(
            !message.is_empty() && !message.contains('{'),
            "a text, whatever the format of bodies: {message}"
        );
        assert_eq!(envoy.get("/?k=1&k=2").send().await.status, http);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_of_older_drafts_pass_in_neither_direction() {
    let names = [
        "ratelimit-limit",
        "ratelimit-remaining",
        "ratelimit-reset",
        "ratelimit",
        "x-rate-limit-limit",
        "x-rate-limit-remaining",
        "x-ratelimit-resource",
        "x-ratelimit",
    ];
    let envoy = Envoy::local().policy("{limits: [{rate: 100/minute}]}").start();
    let answer: serde_json::Map<_, _> = names
        .iter()
        .map(|name| ((*name).to_owned(), "1".into()))
        .collect();
    let mut request = envoy.get("/");
    for name in names {
        request = request.header(name, "9");
    }
    let seen = request.clone().send().await;
    for name in names {
        assert_eq!(
            seen.upstream_header(name),
            None,
            "{name} of the caller at the upstream"
        );
    }
    let response = request
        .header("x-test-answer", json!({"headers": answer}).to_string())
        .send()
        .await;
    for name in names {
        assert_eq!(
            response.header(name),
            None,
            "{name} of the upstream at the caller"
        );
    }
    assert_eq!(response.number("x-ratelimit-limit"), Some(100));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_headers_show_the_limit_with_the_fewest_further_calls() {
    let policy = r#"
        {limits: [{name: client, rate: 1000/minute}, {name: ceiling, rate: 1000000/minute, key: [address]},
          {name: costly, rate: 5000/minute, key: [address], match: {path: /costly}, cost: 10}]}"#;
    let envoy = Envoy::with(RedisCluster::shared()).policy(policy).start();
    let lone = envoy.get("/").header("x-api-key", "a").send().await;
    assert_eq!(
        (
            lone.number("x-ratelimit-limit"),
            lone.number("x-ratelimit-remaining")
        ),
        (Some(1_000), Some(999))
    );
    lone.assert_same_upstream(&["x-ratelimit-limit", "x-ratelimit-remaining"]);
    assert_eq!(envoy.access_log(1)[0]["ratelimit_name"], "client");
    let costly = envoy.get("/costly").header("x-api-key", "b").send().await;
    assert_eq!(
        (
            costly.number("x-ratelimit-limit"),
            costly.number("x-ratelimit-remaining")
        ),
        (Some(5_000), Some(4_990)),
        "499 further calls are fewer than 999"
    );
}
