//! No spelling of a path reaches a handler without the limits of that handler, and all spellings share one counter.

use super::probe::{get, get_all, ProbeOutcome};
use super::servers::UpstreamServer;
use super::spellings;
use crate::harness::*;
use std::collections::BTreeSet;

/// An exempt request has no limit at all, not even `all`; `replaced` is missing where `mount` took its place. Nothing
/// is denied but by `five`, which a request asks for.
const POLICY: &str = r#"
    response: {headers: [ietf]}
    exempt: [{path: /static/**}]
    limits:
    - {name: all, rate: 1000000/hour}
    - {name: login, rate: 1000000/hour, match: {path: /api/login}}
    - {name: user, rate: 1000000/hour, match: {path: "/users/{id}"}}
    - {name: users, rate: 1000000/hour, match: {path: /users/**}}
    - {name: mount, rate: 1000000/hour, match: {path: /mount/**}, replaces: replaced}
    - {name: replaced, rate: 1000000/hour}
    - {name: not-static, rate: 1000000/hour, match: {not: {path: /static/**}}}
    - name: five
      rate: 5/minute
      match: {path: /api/login, headers: {x-five: "*"}}
      key: [client, path, method]
"#;

/// What must have been applied where this handler ran.
fn required(handler: &str, server: &UpstreamServer) -> &'static [&'static str] {
    match handler {
        "static" => &[],
        "login" => &["all", "login", "replaced", "not-static"],
        "user" if server.one_segment => &["all", "user", "users", "replaced", "not-static"],
        "user" => &["all", "users", "replaced", "not-static"],
        "mount" => &["all", "mount", "not-static"],
        _ => &["all", "not-static"],
    }
}

/// The limits of the handler that ran which were not applied.
fn missing(outcome: &ProbeOutcome, server: &UpstreamServer) -> Vec<&'static str> {
    let handler = outcome.handler.as_deref();
    let required = handler.map_or(&[][..], |handler| required(handler, server));
    let applied = |limit: &&str| outcome.applied.iter().any(|applied| applied == limit);
    required.iter().copied().filter(|limit| !applied(limit)).collect()
}

/// A request that ran a handler without all of its limits.
struct Bypass {
    target: String,
    handler: String,
    missing: Vec<&'static str>,
}

/// Paths that servers read by two rules at once, and what they are in front of.
const EXAMPLES: [&str; 7] = [
    "/%73tatic/a.txt",
    "//host/users/7/../../static/a.txt",
    "/x//../api/login;x%2fy",
    "//static/users/7/../../static/a.txt",
    "/static;x/../users/7/../../static/a.txt",
    "/static%5c../users/7/../../../static/a.txt",
    "/static%2f../users/7/../../../static/a.txt",
];

/// Requests that bypass a limit of the server. Every handler must have run, or the trial shows nothing.
async fn bypasses(server: &UpstreamServer, envoy: EnvoyBuilder) -> Vec<Bypass> {
    let examples = EXAMPLES.map(str::to_owned);
    let paths = ["/api/login", "/users/7", "/mount/7", "/static/a.txt"];
    let targets: Vec<String> = paths
        .into_iter()
        .flat_map(spellings::of)
        .chain(examples)
        .collect();
    let envoy = envoy.start();
    let outcomes = get_all(envoy.port, &targets).await;
    let ran: BTreeSet<_> = outcomes
        .iter()
        .filter_map(|outcome| outcome.handler.as_deref())
        .collect();
    let every = BTreeSet::from(["login", "user", "static", "mount", "none"]);
    assert_eq!(ran, every, "handlers of {} that ran", server.name);
    let tried = targets.into_iter().zip(outcomes).map(|(target, outcome)| Bypass {
        missing: missing(&outcome, server),
        handler: outcome.handler.unwrap_or_default(),
        target,
    });
    tried.filter(|bypass| !bypass.missing.is_empty()).collect()
}

/// Neither with the shipped configuration of Envoy, nor with one that hands on every path as it came.
async fn no_spelling_bypasses(server: UpstreamServer) {
    let shipped = bypasses(&server, server.behind_shipped_envoy(POLICY)).await;
    assert_none(&shipped, &server, "the shipped");
    let plain = bypasses(&server, server.behind_plain_envoy(POLICY)).await;
    assert_none(&plain, &server, "a plain");
}

fn assert_none(bypasses: &[Bypass], server: &UpstreamServer, envoy: &str) {
    let lines = bypasses.iter().map(|bypass| {
        let Bypass {
            target,
            handler,
            missing,
        } = bypass;
        format!("{target} ran {handler} without {missing:?}")
    });
    let lines: Vec<String> = lines.collect();
    assert!(
        lines.is_empty(),
        "{} bypass limits of {} behind {envoy} Envoy:\n{}",
        lines.len(),
        server.name,
        lines.join("\n")
    );
}

const SPELLINGS: usize = 30;

/// What the server takes for the login, as a trial shows, is counted as the login.
async fn spellings_share_a_counter(server: UpstreamServer) {
    let envoy = server.behind_plain_envoy(POLICY).start();
    let mut targets = spellings::of("/api/login");
    let trial = get_all(envoy.port, &targets).await;
    let mut login = trial
        .iter()
        .map(|outcome| outcome.handler.as_deref() == Some("login"));
    targets.retain(|_| login.next() == Some(true));
    assert!(
        targets.len() >= SPELLINGS,
        "{} takes only these for the login: {targets:#?}",
        server.name
    );
    // from the whole list
    let step = targets.len() / SPELLINGS;
    let some: Vec<String> = targets.into_iter().step_by(step).take(SPELLINGS).collect();
    let outcomes = get(envoy.port, &some, "x-five: 1\r\n").await;
    let passed = outcomes
        .iter()
        .filter(|outcome| outcome.handler.is_some())
        .count();
    let denied = outcomes.iter().filter(|outcome| outcome.status == 429).count();
    assert_eq!(
        (passed, denied),
        (5, SPELLINGS - 5),
        "5 of {some:#?} may pass at {}",
        server.name
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_bypasses_a_limit_of_django_under_uvicorn() {
    no_spelling_bypasses(UpstreamServer::django_under_uvicorn()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_bypasses_a_limit_of_django_under_wsgiref() {
    no_spelling_bypasses(UpstreamServer::django_under_wsgiref()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_bypasses_a_limit_of_nginx() {
    no_spelling_bypasses(UpstreamServer::nginx()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_bypasses_a_limit_of_nginx_in_any_case() {
    no_spelling_bypasses(UpstreamServer::nginx_in_any_case()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_bypasses_a_limit_of_express() {
    no_spelling_bypasses(UpstreamServer::express()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Java"]
async fn no_spelling_bypasses_a_limit_of_javas_servers() {
    for server in [UpstreamServer::jdk(), UpstreamServer::tomcat()]
        .into_iter()
        .flatten()
    {
        no_spelling_bypasses(server).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spellings_share_a_counter_in_front_of_django() {
    spellings_share_a_counter(UpstreamServer::django_under_uvicorn()).await;
    spellings_share_a_counter(UpstreamServer::django_under_wsgiref()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spellings_share_a_counter_in_front_of_nginx() {
    spellings_share_a_counter(UpstreamServer::nginx()).await;
    spellings_share_a_counter(UpstreamServer::nginx_in_any_case()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spellings_share_a_counter_in_front_of_express() {
    spellings_share_a_counter(UpstreamServer::express()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Java"]
async fn spellings_share_a_counter_in_front_of_javas_servers() {
    for server in [UpstreamServer::jdk(), UpstreamServer::tomcat()]
        .into_iter()
        .flatten()
    {
        spellings_share_a_counter(server).await;
    }
}
