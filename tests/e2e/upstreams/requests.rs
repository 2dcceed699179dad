//! Methods, header values and cookies: what one server takes for one thing has one counter.

use super::servers::Server;
use crate::harness::*;
use std::collections::BTreeMap;

/// How often each spelling is sent; with two spellings or more that is more than the five that may pass.
const ROUNDS: usize = 3;

/// Those whose handlers tell what they read.
fn readers() -> [Server; 3] {
    [
        Server::django_under_uvicorn(),
        Server::django_under_wsgiref(),
        Server::express(),
    ]
}

/// How many requests reached a handler, by what the server read in this header; and how many were denied.
async fn passed_by(header: &str, requests: Vec<Request>) -> (BTreeMap<String, usize>, usize) {
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
fn assert_five_of_each(passed: &BTreeMap<String, usize>, denied: usize, server: &Server) {
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
async fn a_methods_limit_holds_however_it_is_written() {
    let policy = r#"
        response: {headers: [ietf]}
        limits:
        - {name: GET, rate: 1000000/hour, match: {methods: [GET], path: /api/login}}
        - {name: POST, rate: 1000000/hour, match: {methods: [POST], path: /api/login}}
        - {name: PUT, rate: 1000000/hour, match: {methods: [put], path: /api/login}}
    "#;
    for server in readers().into_iter().chain([Server::nginx()]) {
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
                .all(|method| ran[*method] > 0),
            "{}: {ran:?}",
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
        let (mut passed, denied) = passed_by("x-method", requests.collect()).await;
        let head = passed.remove("HEAD").unwrap_or(0);
        *passed.entry("GET".into()).or_default() += head;
        assert_five_of_each(&passed, denied, &server);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn white_space_around_a_key_makes_no_other_client() {
    let policy = "{identify: [{header: x-api-key}], limits: [{rate: 5/minute}]}";
    let keys: [&[u8]; 7] = [b"K", b" K", b"K ", b"K\t", b"\tK", b" \t K \t ", b"  K"];
    for server in readers() {
        let envoy = server.behind_shipped_envoy(policy).start();
        let client = envoy.http2();
        let keys = keys.repeat(ROUNDS);
        let requests = keys
            .iter()
            .map(|key| client.get("/users/7").header("x-api-key", key));
        let (passed, denied) = passed_by("x-read-key", requests.collect()).await;
        assert_five_of_each(&passed, denied, &server);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spellings_of_a_session_cookie_are_one_client() {
    let policy = "{identify: [{name: session, cookie: sid}], limits: [{rate: 5/minute}]}";
    let cookies: [&[u8]; 14] = [
        b"sid=abc",
        b"sid=\"abc\"",
        b"sid=\"a\\142c\"",
        b"sid=\"\\141\\142\\143\"",
        b"sid=\"a\\bc\"",
        b"sid=a%62c",
        b"sid=%61%62%63",
        b"sid=\"a%62c\"",
        b" sid = abc ",
        b"sid\t=\tabc",
        b"a=b; sid=abc",
        b"a=b;sid=abc;c",
        b"a=\"b; sid=abc",
        b"sid=abc;",
    ];
    for server in readers() {
        let envoy = server.behind_shipped_envoy(policy).start();
        let clients = [Client::http1(envoy.port), envoy.http2()];
        let requests = clients.iter().flat_map(|client| {
            let with = |cookie: &&[u8]| client.get("/users/7").header("cookie", cookie);
            cookies.iter().map(with).collect::<Vec<_>>()
        });
        let (passed, denied) = passed_by("x-read-sid", requests.collect()).await;
        println!("{} {passed:?} {denied}", server.name);
        assert_five_of_each(&passed, denied, &server);
    }
}
