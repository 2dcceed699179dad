//! Which limits apply to a request, with which counters, and how a request is read.

use crate::harness::*;
use serde_json::json;

type Headers = &'static [(&'static str, &'static str)];

/// The names in the draft's list of applied limits, in the policy's order.
fn applied(response: &Response) -> Vec<String> {
    limits_named_in(&response.header("ratelimit-policy").unwrap_or_default())
}

fn named_routes(config: &mut serde_json::Value) {
    let host = &mut config::hcm(config)["route_config"]["virtual_hosts"][0];
    host["routes"] = json!([
        {"name": "special", "match": {"prefix": "/routed/"}, "route": {"cluster": "upstream"}},
        {"name": "rest", "match": {"prefix": "/"}, "route": {"cluster": "upstream"}},
    ]);
}

const FORMS: &str = r#"
    identify: [{name: user, header: x-user}, {address: {}}]
    exempt: [{path: /healthz}, {methods: [OPTIONS], headers: {access-control-request-method: "*"}}]
    response: {headers: [ietf]}
    limits:
    - {name: exact, rate: 100/h, match: {path: /login}}
    - {name: case, rate: 100/h, match: {path: /Case, ignore_case: false}}
    - {name: get, rate: 100/h, match: {path: /b, methods: [GET]}}
    - {name: one, rate: 100/h, match: {path: "/items/{id}/tags"}}
    - {name: star, rate: 100/h, match: {path: "/*/star"}}
    - {name: rest, rate: 100/h, match: {path: "/search/**"}}
    - {name: regex, rate: 100/h, match: {path: {regex: "/v[0-9]+/x"}}}
    - {name: methods, rate: 100/h, match: {methods: [PUT, DELETE]}}
    - {name: host, rate: 100/h, match: {hosts: ["*.example.com", one.test]}}
    - {name: value, rate: 100/h, match: {headers: {x-app: web}}}
    - {name: present, rate: 100/h, match: {headers: {x-there: "*"}}}
    - {name: pattern, rate: 100/h, match: {headers: {x-pattern: {regex: "a+"}}}}
    - {name: route, rate: 100/h, match: {route: special}}
    - {name: anonymous, rate: 100/h, key: [address], match: {path: /who, not: {source: [user]}}}
    - {name: signed-in, rate: 100/h, match: {path: /who, source: [user]}}
    - {name: not, rate: 100/h, match: {path: /not, not: {headers: {x-test: "1"}}}}
    - {name: either, rate: 100/h, match: [{path: /a}, {path: /b, methods: [POST]}]}
    - {name: strict, rate: 50/h, match: {path: /who, headers: {x-strict: "1"}}, replaces: [signed-in, anonymous]}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn each_form_of_match_applies_exactly_where_it_should() {
    for builder in Envoy::of_each_store() {
        let envoy = builder.policy(FORMS).edit(named_routes).start();
        let cases: &[(&str, &str, Headers, &[&str])] = &[
            ("GET", "/", &[], &[]),
            ("GET", "/login", &[], &["exact"]),
            ("GET", "/login?x=1", &[], &["exact"]),
            ("GET", "/Login", &[], &["exact"]),
            ("GET", "/Case", &[], &["case"]),
            ("GET", "/case", &[], &[]),
            ("HEAD", "/b", &[], &["get"]),
            ("GET", "/login/x", &[], &[]),
            ("GET", "/items/7/tags", &[], &["one"]),
            ("GET", "/items/7/8/tags", &[], &[]),
            ("GET", "/x/star", &[], &["star"]),
            ("GET", "/search/a/b", &[], &["rest"]),
            ("GET", "/research/a", &[], &[]),
            ("GET", "/v12/x", &[], &["regex"]),
            ("GET", "/v12/xy", &[], &[]),
            ("PUT", "/", &[], &["methods"]),
            ("DELETE", "/login", &[], &["exact", "methods"]),
            ("GET", "/", &[("host", "api.EXAMPLE.com:8080")], &["host"]),
            ("GET", "/", &[("host", "example.com")], &[]),
            ("GET", "/", &[("host", "one.test")], &["host"]),
            ("GET", "/", &[("x-app", "web")], &["value"]),
            ("GET", "/", &[("x-app", "webb")], &[]),
            ("GET", "/", &[("x-there", "anything")], &["present"]),
            ("GET", "/", &[("x-pattern", "aaa")], &["pattern"]),
            ("GET", "/", &[("x-pattern", "aab")], &[]),
            ("GET", "/routed/x", &[], &["route"]),
            ("GET", "/who", &[], &["anonymous"]),
            ("GET", "/who", &[("x-user", "u")], &["signed-in"]),
            ("GET", "/who", &[("x-user", "u"), ("x-strict", "1")], &["strict"]),
            ("GET", "/not", &[], &["not"]),
            ("GET", "/not", &[("x-test", "1")], &[]),
            ("GET", "/a", &[], &["either"]),
            ("GET", "/b", &[], &["get"]),
            ("POST", "/b", &[], &["either"]),
        ];
        for (method, path, headers, expected) in cases {
            let mut request = envoy.request(method, path);
            for (name, value) in *headers {
                request = request.header(name, value);
            }
            let response = request.send().await;
            assert_eq!(response.status, 200);
            assert_eq!(applied(&response), *expected, "{method} {path} {headers:?}");
        }
        let preflight = envoy
            .request("OPTIONS", "/login")
            .header("access-control-request-method", "PUT");
        let before = envoy.access_log(cases.len()).len();
        for exempt in [
            envoy.get("/healthz"),
            envoy.get("/healthz/").header("x-app", "web"),
            preflight,
        ] {
            let response = exempt.send().await;
            assert_eq!((response.status, applied(&response)), (200, Vec::<String>::new()));
        }
        for entry in &envoy.access_log(before + 3)[before..] {
            assert_eq!(entry["ratelimit_decision"], "exempt");
        }
    }
}

const KEYS: &str = r#"
    response: {headers: [x-ratelimit]}
    limits:
    - {name: path, rate: 100/h, match: {path: "/path/{id}"}, key: [client, path]}
    - {name: own, rate: 100/h, match: {path: {regex: "/own/.*"}}, key: [path]}
    - {name: any, rate: 100/h, match: {headers: {x-any: "*"}}, key: [client, path]}
    - {name: method, rate: 100/h, match: {path: /method}, key: [client, method]}
    - {name: host, rate: 100/h, match: {path: /host}, key: [host]}
    - {name: route, rate: 100/h, match: {path: ["/routed/**", "/route"]}, key: [client, route]}
    - {name: header, rate: 100/h, match: {path: /header}, key: ["header:x-tenant"]}
    - {name: query, rate: 100/h, match: {path: /query}, key: [client, "query:q"]}
    - {name: cookie, rate: 100/h, match: {path: /cookie}, key: ["cookie:sid", path]}
    - {name: address, rate: 100/h, match: {path: /address}, key: [address]}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_key_decides_what_shares_a_counter() {
    let policy = KEYS.replace(
        r#"{path: ["/routed/**", "/route"]}"#,
        r#"[{path: "/routed/**"}, {path: /route}]"#,
    );
    for builder in Envoy::of_each_store() {
        let envoy = builder.policy(&policy).edit(named_routes).start();
        let cases: &[(&str, &str, Headers, i64)] = &[
            ("GET", "/path/1", &[], 99),
            ("GET", "/path/2", &[], 98), // by the pattern
            ("GET", "/path/2", &[("x-api-key", "b")], 99),
            ("GET", "/own/1", &[], 99),
            ("GET", "/own/2", &[("x-api-key", "b")], 98), // a pattern as well
            ("GET", "/1", &[("x-any", "1")], 99),
            ("GET", "/2", &[("x-any", "1")], 99), // no pattern: each path
            ("GET", "//1/", &[("x-any", "1")], 98),
            ("GET", "/method", &[], 99),
            ("POST", "/method", &[], 99),
            ("POST", "/method", &[], 98),
            ("GET", "/host", &[("host", "a.test")], 99),
            ("GET", "/host", &[("host", "b.test")], 99),
            ("GET", "/host", &[("host", "A.test:80"), ("x-api-key", "b")], 98),
            ("GET", "/routed/1", &[], 99),
            ("GET", "/route", &[], 99),
            ("GET", "/routed/2", &[], 98),
            ("GET", "/header", &[("x-tenant", "a")], 99),
            ("GET", "/header", &[("x-tenant", "b")], 99),
            ("GET", "/header", &[("x-tenant", "a"), ("x-api-key", "b")], 98),
            ("GET", "/query?q=1", &[], 99),
            ("GET", "/query?q=2", &[], 99),
            ("GET", "/query?x=y&q=%31", &[], 98),
            ("GET", "/cookie", &[("cookie", "sid=1; a=b")], 99),
            ("GET", "/cookie", &[("cookie", "sid=2")], 99),
            ("GET", "/cookie", &[("cookie", "c=d; sid=1")], 98),
            ("GET", "/address", &[("x-api-key", "a")], 99),
            ("GET", "/address", &[("x-api-key", "b")], 98),
        ];
        for (method, path, headers, left) in cases {
            let mut request = envoy.request(method, path);
            for (name, value) in *headers {
                request = request.header(name, value);
            }
            let response = request.send().await;
            assert_eq!(
                response.number("x-ratelimit-remaining"),
                Some(*left),
                "{method} {path} {headers:?}"
            );
        }
        let keys = RedisCluster::shared()
            .keys(&format!("{}:*", envoy.key_prefix))
            .join("\n");
        for secret in ["sid=1", "x-tenant=a}", "query:q=1"] {
            assert!(!keys.contains(secret), "{secret} in clear: {keys}");
        }
    }
}

/// Spellings that Envoy takes and that mean `/login` to a lenient upstream.
const SPELLINGS: [&str; 12] = [
    "/login",
    "/login/",
    "//login",
    "/%6cogin",
    "/%6Cogin",
    "/./login",
    "/login?x",
    "/x/../login",
    "/x/%2e%2e/login",
    "/login//",
    "/login/.",
    "/../login",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_applies_to_each_spelling_of_its_path() {
    let envoy = Envoy::with(RedisCluster::shared())
        .policy(
            "{response: {headers: [ietf]}, limits: [{name: login, rate: 2/hour, match: {path: /login}}, \
             {name: other, rate: 1000/hour, match: {not: {path: /login}}}]}",
        )
        .start();
    // A connection each: Envoy closes one on which it has refused a request as malformed.
    let raw = async |target: &str| {
        let mut connection = envoy.raw().await;
        let request = format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n");
        connection.write(request).await.unwrap();
        connection.receive().await.unwrap().0
    };
    assert_eq!((raw("/login").await, raw("//login").await), (200, 200));
    for path in SPELLINGS.iter().chain(&[
        "/login#x",
        "http://b/login",
        "/login;x/..",
        "/x/..;y/login",
        "/x\\..\\login",
    ]) {
        let status = raw(path).await;
        let refused_by_envoy = status == 400;
        let elsewhere = *path == "/login;x/.."; // the root, to anybody
        assert!(
            elsewhere || status == 429 || refused_by_envoy,
            "{path} over HTTP/1.1: {status}"
        );
        assert_eq!(elsewhere, status == 200, "{path} over HTTP/1.1: {status}");
    }
    let http2 = envoy.http2();
    for path in SPELLINGS
        .into_iter()
        .chain(["/LOGIN", "/login;x", "/x/..;y/login", "/login%0A"])
    {
        assert_eq!(http2.get(path).send().await.status, 429, "{path} over HTTP/2");
    }
    for other in ["/logi%6e2", "/login%20", "/login/x", "/x"] {
        let response = http2.get(other).send().await;
        assert_eq!(
            (response.status, applied(&response)),
            (200, vec!["other".to_owned()]),
            "{other}"
        );
    }
    assert_eq!(envoy.upstream.requests(), 2 + 1 + 4);
}
