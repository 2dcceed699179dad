//! A request is read as its upstream reads it: white space, methods, cookies, repeated values and addresses.

use crate::harness::*;

type Headers<'a> = &'a [(&'a str, &'a str)];

/// Statuses of one request each.
async fn statuses(requests: impl IntoIterator<Item = Request>) -> Vec<u16> {
    let mut statuses = Vec::new();
    for request in requests {
        statuses.push(request.send().await.status);
    }
    statuses
}

/// 100 spellings of a value, all different.
fn padded(value: &str) -> Vec<String> {
    let pad = |n: usize| {
        (0..n)
            .map(|i| if i % 3 == 2 { '\t' } else { ' ' })
            .collect::<String>()
    };
    (0..100)
        .map(|n| format!("{}{value}{}", pad(n % 10), pad(n / 10)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn white_space_around_a_value_makes_no_other_client() {
    for builder in Envoy::of_each_store() {
        let envoy = builder
            .policy(
                r#"
                identify: [{header: x-api-key}, {name: token, header: authorization, extract: "(?i:bearer) +(.+)"},
                  {name: pair, all: [{header: x-tenant}, {header: x-user}]}, {address: {}}]
                limits: [{rate: 5/h}]
                "#,
            )
            .start();
        let http2 = envoy.http2();
        let passed = |statuses: Vec<u16>| statuses.iter().filter(|status| **status == 200).count();
        let by_key = padded("K")
            .into_iter()
            .map(|key| http2.get("/").header("x-api-key", key));
        assert_eq!(passed(statuses(by_key).await), 5, "100 spellings of one API key");
        let by_token = padded("T").into_iter().enumerate().map(|(n, token)| {
            let scheme = ["Bearer", "bearer", "BEARER"][n % 3];
            http2
                .get("/")
                .header("authorization", format!("{scheme} {token}"))
        });
        assert_eq!(passed(statuses(by_token).await), 5, "100 spellings of one token");
        let by_pair = padded("U")
            .into_iter()
            .map(|user| http2.get("/").header("x-tenant", " T").header("x-user", user));
        assert_eq!(
            passed(statuses(by_pair).await),
            5,
            "100 spellings of one part of a composite"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn white_space_changes_no_match_key_cost_or_content_type() {
    let envoy = Envoy::with(RedisCluster::shared())
        .policy(
            r#"
            limits:
            - {name: plan, rate: 3/h, match: {path: /plan, headers: {x-plan: free}}}
            - {name: pattern, rate: 3/h, match: {path: /pattern, headers: {x-plan: {regex: "fr.e"}}}}
            - {name: tenant, rate: 3/h, match: {path: /tenant}, key: ["header:x-tenant"]}
            - {name: cost, rate: 6/h, match: {path: /cost}, cost: {header: x-cost, max: 6}}
            "#,
        )
        .start();
    let http2 = envoy.http2();
    for (path, name, value) in [
        ("/plan", "x-plan", "free"),
        ("/pattern", "x-plan", "free"),
        ("/tenant", "x-tenant", "acme"),
        ("/cost", "x-cost", "2"),
    ] {
        let spellings = [
            value.to_owned(),
            format!("{value} "),
            format!("\t{value}"),
            format!(" {value}\t"),
        ];
        let sent = spellings
            .iter()
            .map(|spelling| http2.get(path).header(name, spelling));
        assert_eq!(statuses(sent).await, [200, 200, 200, 429], "{path}");
    }
    let grpc = http2
        .request("POST", "/plan")
        .header("x-plan", " free")
        .header("content-type", " application/grpc\t");
    let refused = grpc.send().await;
    assert_eq!(
        refused.header("x-ratelimit-remaining").as_deref(),
        Some("0"),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_in_any_case_and_head_meet_their_limits() {
    let envoy = Envoy::with(RedisCluster::shared())
        .policy(
            r#"
            limits:
            - {name: post, rate: 3/h, match: {path: /post, methods: [POST]}}
            - {name: get, rate: 3/h, match: {path: /get, methods: [GET]}}
            - {name: by-method, rate: 3/h, match: {path: /key}, key: [client, method]}
            "#,
        )
        .start();
    let http2 = envoy.http2();
    for (path, methods) in [
        ("/post", ["POST", "post", "Post", "pOST"]),
        ("/get", ["GET", "HEAD", "get", "head"]),
        ("/key", ["GET", "HEAD", "Get", "HEAD"]),
    ] {
        let sent = methods.map(|method| http2.request(method, path));
        assert_eq!(statuses(sent).await, [200, 200, 200, 429], "{path} {methods:?}");
    }
    assert_eq!(
        http2.request("PATCH", "/key").send().await.status,
        200,
        "another method counts by itself"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn spellings_of_a_cookie_are_one_client() {
    let envoy = Envoy::with(RedisCluster::shared())
        .policy(
            r#"{identify: [{cookie: sid}, {address: {}}], limits: [{rate: 6/h, match: {source: [cookie]}}]}"#,
        )
        .start();
    let spellings = [
        vec!["sid=s%1"],
        vec!["sid=%73%251"],
        vec!["sid=%53", "a=1"],
        vec!["a=1", "sid=\"s%251\""],
        vec!["a=1; sid= s%251 ;b=2"],
        vec!["a=1", "b=2", r#"sid="\163%251""#],
        vec!["sid=%20s%251%20"],
    ];
    let mut left = Vec::new();
    for cookies in &spellings {
        let mut request = envoy.get("/");
        for cookie in cookies {
            request = request.header("cookie", cookie);
        }
        left.push(request.send().await.number("x-ratelimit-remaining"));
    }
    assert_eq!(
        left,
        [Some(5), Some(4), Some(5), Some(3), Some(2), Some(1), Some(0)],
        "the third is another session: names and values keep their case"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_several_clients_is_refused_if_asked() {
    let policy = |what: &str| {
        format!(
            r#"
            on_ambiguous_client: {what}
            identify: [{{header: x-api-key}}, {{cookie: sid}}, {{query: k}}, {{address: {{}}}}]
            exempt: [{{path: /healthz}}]
            limits:
            - {{name: keyed, rate: 100/h, match: {{path: "/keyed/**"}}}}
            - {{name: by-key, rate: 100/h, match: {{path: /source, source: [api_key]}}}}
            - {{name: ceiling, rate: 100/h, key: [address]}}
            "#
        )
    };
    let deny = Envoy::with(RedisCluster::shared())
        .policy(&policy("deny"))
        .start();
    let next = Envoy::with(RedisCluster::shared())
        .policy(&policy("next"))
        .start();
    let keys = [("x-api-key", "a"), ("x-api-key", "b")];
    let cases: &[(&str, Headers, u16, &str)] = &[
        ("/keyed/1", &keys, 400, "ambiguous_client"),
        ("/source", &keys, 400, "ambiguous_client"),
        (
            "/keyed/1",
            &[("x-api-key", "a"), ("x-api-key", "a")],
            400,
            "ambiguous_client",
        ),
        ("/keyed/1", &[("cookie", "sid=1; sid=2")], 400, "ambiguous_client"),
        (
            "/keyed/1",
            &[("cookie", "sid=1"), ("cookie", "a=b; sid=1")],
            400,
            "ambiguous_client",
        ),
        ("/keyed/1?k=1&%6b=2", &[], 400, "ambiguous_client"),
        ("/keyed/1?k=1&k=2", &[("cookie", "sid=1")], 200, "allowed"),
        ("/keyed/1", &[("x-api-key", "a")], 200, "allowed"),
        ("/other", &keys, 200, "allowed"),
        ("/healthz", &keys, 200, "exempt"),
    ];
    for (path, headers, status, _) in cases {
        for (envoy, status) in [(&deny, *status), (&next, 200)] {
            let mut request = envoy.get(path);
            for (name, value) in *headers {
                request = request.header(name, value);
            }
            let response = request.send().await;
            assert_eq!(response.status, status, "{path} {headers:?}");
            if status == 400 {
                assert_eq!(response.text(), "Client is identified more than once");
                assert_eq!(response.header("retry-after"), None);
                assert_eq!(response.header("x-ratelimit-limit"), None);
            }
        }
    }
    let logged = deny.access_log(cases.len());
    for ((path, _, _, decision), entry) in cases.iter().zip(&logged) {
        assert_eq!(entry["ratelimit_decision"], *decision, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv4_embedded_in_ipv6_counts_as_ipv4() {
    let envoy = Envoy::with(RedisCluster::shared())
        .policy("{identify: [{address: {}}], limits: [{rate: 4/h}]}")
        .edit(|config| config::hcm(config)["xff_num_trusted_hops"] = 1.into())
        .start();
    let spellings = [
        "192.0.2.9",
        "::ffff:192.0.2.9",
        "64:ff9b::192.0.2.9",
        "64:ff9b::c000:209",
        "192.0.2.9",
    ];
    let sent = spellings.map(|address| envoy.get("/").header("x-forwarded-for", address));
    assert_eq!(statuses(sent).await, [200, 200, 200, 200, 429]);
}
