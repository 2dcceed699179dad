use super::*;

const CONTRACT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../headgate-core/src/config/tests/contract.yaml"
);

fn explain(arguments: &[&str]) -> Value {
    let all = [&["explain", CONTRACT, "--json"], arguments].concat();
    let list: Value = serde_json::from_str(&good(&all, "")).expect("JSON");
    list[0].clone()
}

#[test]
fn limits_keys_and_order_are_those_of_the_filter() {
    let explained = explain(&[
        "--request",
        "POST /login/?x",
        "--header",
        "x-api-key: test",
        "--address",
        "10.1.2.3",
    ]);
    assert_eq!(explained["path"], "/login");
    assert_eq!(explained["client"], "api_key:9f86d081884c7d659a2feaa0c55ad015");
    let why = |name: &str| {
        let limits = explained["limits"].as_array().expect("limits");
        let limit = limits
            .iter()
            .find(|limit| limit["name"] == name)
            .expect("a limit");
        limit["why"].as_str().expect("a reason").to_owned()
    };
    assert_eq!(why("signed-in"), "replaced by login");
    assert_eq!(why("login"), "match[0] fits; enforced");
    assert_eq!(why("search"), "path /search/** does not fit /login");
    let calls = explained["calls"].as_array().expect("calls");
    let keys: Vec<(&str, Option<&str>)> = calls
        .iter()
        .flat_map(|call| call["charges"].as_array().expect("charges"))
        .map(|charge| (charge["key"].as_str().expect("a key"), charge["field"].as_str()))
        .collect();
    let client = "ratelimit:main:{api_key:9f86d081884c7d659a2feaa0c55ad015}";
    let login = format!("{client}:login:ring:60000:/login:POST");
    assert_eq!(
        keys,
        [
            (login.as_str(), None),
            (client, Some("daily:fixed:86400000")),
            ("ratelimit:main:{address:10.1.2.3}", Some("ceiling:counter:60000")),
        ]
    );
    assert_eq!(calls[0]["slot"], 8660);
}

#[test]
fn an_override_by_hash_makes_the_named_client_unlimited() {
    let explained = explain(&["--request", "GET /", "--header", "x-api-key: test"]);
    let why = &explained["limits"][1]["why"];
    assert_eq!(
        why,
        "match fits; overrides[2] grants unlimited; a live override may change N; enforced"
    );
}

#[test]
fn an_exempt_request_does_not_call_redis() {
    let shown = good(&["explain", CONTRACT, "--request", "GET /healthz"], "");
    assert!(
        shown.contains("exempt[0] fits") && shown.contains("Redis is not called"),
        "{shown}"
    );
}

#[test]
fn a_secret_is_not_shown() {
    let arguments = [
        "explain",
        CONTRACT,
        "--header",
        "x-api-key: hunter2",
        "--header",
        "x-app: hunter2",
    ];
    assert!(!good(&arguments, "").contains("hunter2"));
}

#[test]
fn a_broken_policy_points_to_check() {
    let output = headgate(&["explain", "-"], "limits: [{rate: 5}]");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("headgate check"), "{}", stderr(&output));
}

#[test]
fn the_filter_state_that_is_written_is_listed() {
    let all = explain(&["--request", "GET /"]);
    assert_eq!(all["filter_state"].as_array().map(Vec::len), Some(11));
    let policy = "{filter_state: [ratelimit_limit], limits: [{rate: 5/s}]}";
    let shown = good(&["explain", "-", "--request", "GET /"], policy);
    let line = "writes    ratelimit_decision, ratelimit_limit, ratelimit_remaining, ratelimit_reset\n";
    assert!(shown.contains(line), "{shown}");
}
