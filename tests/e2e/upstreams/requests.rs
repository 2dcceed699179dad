//! Methods, header values and cookies: what a server treats as equal has one counter.

use super::servers::UpstreamServer;
use crate::harness::*;
use std::collections::BTreeMap;

/// How often each spelling is sent: with two spellings that is more than the five that may pass.
const ROUNDS: usize = 3;

/// Servers whose handlers return what they read.
fn readers() -> [UpstreamServer; 3] {
    [
        UpstreamServer::django_under_uvicorn(),
        UpstreamServer::django_under_wsgiref(),
        UpstreamServer::express(),
    ]
}

/// How many requests reached a handler, by what the server read in this header; and how many were denied.
async fn passed_by(
    header: &str,
    requests: impl IntoIterator<Item = Request>,
) -> (BTreeMap<String, usize>, usize) {
    let (mut passed, mut denied) = (BTreeMap::new(), 0);
    for request in requests {
        let response = request.send().await;
        denied += usize::from(response.status == 429);
        if response.header("x-handler").is_some() {
            let read = response.header(header).unwrap_or_default();
            *passed.entry(read).or_default() += 1;
        }
    }
    (passed, denied)
}

/// At most five of each passed, and something was denied.
fn assert_five_of_each(passed: &BTreeMap<String, usize>, denied: usize, server: &UpstreamServer) {
    let name = server.name;
    assert!(
        passed.values().all(|count| *count <= 5),
        "{name} reads one value in more than 5 requests: {passed:?}"
    );
    assert!(denied > 0, "{name}: {passed:?}");
}

const METHODS: [&str; 13] = [
    "GET", "get", "Get", "gEt", "HEAD", "head", "Head", "POST", "post", "Post", "pOST", "PUT", "put",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_by_method_applies_to_each_spelling() {
    let policy = r#"
        response: {headers: [ietf]}
        limits:
        - {name: GET, rate: 1000000/hour, match: {methods: [GET], path: /api/login}}
        - {name: POST, rate: 1000000/hour, match: {methods: [POST], path: /api/login}}
        - {name: PUT, rate: 1000000/hour, match: {methods: [put], path: /api/login}}
    "#;
    for server in readers().into_iter().chain([UpstreamServer::nginx()]) {
        let envoy = server.behind_shipped_envoy(policy).start();
        let mut ran = BTreeMap::new();
        for client in [Client::http1(envoy.port), envoy.http2()] {
            for method in METHODS {
                let response = client.request(method, "/api/login").send().await;
                let Some(read) = response.header("x-method") else {
                    continue; // Envoy or the server refused it
                };
                let read = read.to_uppercase();
                let limit = if read == "HEAD" { "GET" } else { &read };
                let applied = limits_named_in(&response.header("ratelimit-policy").unwrap_or_default());
                assert_eq!(applied, [limit], "{method} is {read} to {}", server.name);
                *ran.entry(read).or_insert(0) += 1;
            }
        }
        assert!(
            ["GET", "HEAD", "POST", "PUT"]
                .iter()
                .all(|method| ran.contains_key(*method)),
            "{} must take the usual methods: {ran:?}",
            server.name
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spellings_of_a_method_share_a_counter() {
    for server in readers() {
        let envoy = server
            .behind_shipped_envoy("limits: [{rate: 5/minute, key: [client, method]}]")
            .start();
        let client = envoy.http2();
        let methods = METHODS.repeat(ROUNDS);
        let requests = methods.iter().map(|method| client.request(method, "/api/login"));
        let (mut passed, denied) = passed_by("x-method", requests).await;
        let head = passed.remove("HEAD").unwrap_or(0);
        *passed.entry("GET".into()).or_default() += head;
        assert_five_of_each(&passed, denied, &server);
    }
}

const BY_KEY: &str = "{identify: [{header: x-api-key}], limits: [{rate: 5/minute}]}";
const BY_SESSION: &str = "{identify: [{name: session, cookie: sid}], limits: [{rate: 5/minute}]}";

#[tokio::test(flavor = "multi_thread")]
async fn white_space_around_a_key_makes_no_other_client() {
    let keys = ["K", " K", "K ", "K\t", "\tK", " \t K \t ", "  K"].repeat(ROUNDS);
    for server in readers() {
        let envoy = server.behind_shipped_envoy(BY_KEY).start();
        let client = envoy.http2();
        let requests = keys
            .iter()
            .map(|key| client.get("/users/7").header("x-api-key", key));
        let (passed, denied) = passed_by("x-read-key", requests).await;
        assert_five_of_each(&passed, denied, &server);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spellings_of_a_session_cookie_are_one_client() {
    let cookies = [
        "sid=abc",
        "sid=\"abc\"",
        "sid=\"a\\142c\"",
        "sid=\"\\141\\142\\143\"",
        "sid=\"a\\bc\"",
        "sid=a%62c",
        "sid=%61%62%63",
        "sid=\"a%62c\"",
        " sid = abc ",
        "sid\t=\tabc",
        "a=b; sid=abc",
        "a=b;sid=abc;c",
        "a=\"b; sid=abc",
        "sid=abc;",
    ];
    for server in readers() {
        let envoy = server.behind_shipped_envoy(BY_SESSION).start();
        let clients = [Client::http1(envoy.port), envoy.http2()];
        let requests = clients.iter().flat_map(|client| {
            let with = move |cookie| client.get("/users/7").header("cookie", cookie);
            cookies.into_iter().map(with)
        });
        let (passed, denied) = passed_by("x-read-sid", requests).await;
        assert_five_of_each(&passed, denied, &server);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_with_an_underscore_names_no_client() {
    let mut read_it = 0;
    for server in readers() {
        let reads = async |builder: EnvoyBuilder| {
            let envoy = builder.start();
            let request = Client::http1(envoy.port).get("/users/7").header("x_api_key", "K");
            request.send().await.header("x-read-key")
        };
        assert_eq!(
            reads(server.behind_shipped_envoy(BY_KEY)).await,
            None,
            "{} reads a key that Headgate does not see",
            server.name
        );
        read_it += usize::from(reads(server.behind_plain_envoy(BY_KEY)).await.is_some());
    }
    assert!(read_it > 0, "no server needs Envoy to refuse underscores");
}

/// What Python's `strip` takes for white space in a text that was decoded as Latin-1 or UTF-8: Django strips cookies
/// so, wsgiref all headers.
const SPACES: [&[u8]; 6] = [
    b"",
    b"\xa0",
    b"\x85",
    "\u{a0}".as_bytes(),
    "\u{2003}".as_bytes(),
    "\u{3000}".as_bytes(),
];

#[tokio::test(flavor = "multi_thread")]
async fn white_space_beyond_ascii_makes_no_other_client() {
    for (server, policy, name, value, read) in [
        (
            UpstreamServer::django_under_uvicorn(),
            BY_SESSION,
            "cookie",
            "sid=abc",
            "x-read-sid",
        ),
        (
            UpstreamServer::django_under_wsgiref(),
            BY_SESSION,
            "cookie",
            "sid=abc",
            "x-read-sid",
        ),
        (
            UpstreamServer::django_under_wsgiref(),
            BY_KEY,
            "x-api-key",
            "K",
            "x-read-key",
        ),
    ] {
        let envoy = server.behind_shipped_envoy(policy).start();
        let spaces = SPACES.repeat(ROUNDS * 2);
        let requests = spaces.iter().map(|space| {
            let value = [value.as_bytes(), space].concat();
            envoy.get("/users/7").header(name, value)
        });
        let (passed, _) = passed_by(read, requests).await;
        let plain = value.trim_start_matches("sid=");
        let got = passed.get(plain).copied().unwrap_or(0);
        assert!(got <= 5, "{}, {name}: {got} passed as {plain}", server.name);
    }
}
