use super::*;

const POLICY: &str =
    "limits: [{name: few, rate: 100/minute}, {name: top, rate: 3000/minute, key: [address]}]";

/// A policy in a file of its own.
fn file(name: &str, text: &str) -> String {
    let path = format!("{}/{name}", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&path, text).expect("a file");
    path
}

fn simulate(arguments: &[&str]) -> Value {
    let all = [&["simulate", "--json", "-"], arguments].concat();
    serde_json::from_str(&good(&all, POLICY)).expect("JSON")
}

#[test]
fn an_exact_limit_denies_exactly_what_is_above_it() {
    let tally = simulate(&["--traffic", "10/s for 60s, evenly"]);
    assert_eq!(tally["allowed"], 100, "{tally}");
    let limits = &tally["limits"];
    assert_eq!(
        (&limits[0]["denied"], &limits[1]["denied"]),
        (&tally["denied"], &0.into())
    );
}

#[test]
fn clients_have_separate_counters_and_share_the_ceiling() {
    let tally = simulate(&[
        "--traffic",
        "100/s for 60s, clients 200, addresses 1, evenly, zipf 0.2",
    ]);
    let limits = &tally["limits"];
    assert_eq!(limits[0]["denied"], 0, "30 calls each: {limits}");
    assert!(
        (2_800..=3_000).contains(&limits[1]["denied"].as_u64().expect("a number")),
        "6,000 calls of one address: {limits}"
    );
    let apart = simulate(&["--traffic", "100/s for 60s, clients 200, zipf 0.2"]);
    assert_eq!(apart["denied"], 0, "each has an address of its own: {apart}");
}

#[test]
fn the_same_seed_is_the_same_traffic() {
    let traffic = |seed: &str| {
        simulate(&[
            "--traffic",
            &format!("50/s for 20s, clients 5, zipf 1.1, seed {seed}"),
        ])
    };
    assert_eq!(traffic("7"), traffic("7"));
    assert_ne!(traffic("7")["requests"], traffic("8")["requests"]);
}

#[test]
fn the_shipped_access_log_is_replayed() {
    let line = |second: u64, client: &str| {
        format!(
            "{{\"time\":\"2026-11-24T21:00:{second:02}.000Z\",\"method\":\"GET\",\"path\":\"/\",\"status\":\"200\",\"ratelimit_client\":\"{client}\"}}\n"
        )
    };
    let log: String = (0..60)
        .flat_map(|second| (0..3).map(move |_| line(second, "api_key:9f86d081884c7d659a2feaa0c55ad015")))
        .collect();
    let log = file(
        "access.log",
        &(log + &line(59, "address:192.0.2.1") + "nonsense\n"),
    );
    let tally = simulate(&["--replay", &log]);
    assert_eq!(
        (&tally["requests"], &tally["denied"]),
        (&181.into(), &80.into()),
        "{tally}"
    );
    assert_eq!(
        tally["clients"][0]["client"],
        "api_key:9f86d081884c7d659a2feaa0c55ad015"
    );
    let notes = tally["notes"].to_string();
    assert!(
        notes.contains("access.log:182") && notes.contains("180 requests have no address"),
        "{notes}"
    );
}

#[test]
fn the_table_is_by_limit_and_client_and_the_plot_over_time() {
    let svg = format!("{}/plot.svg", env!("CARGO_TARGET_TMPDIR"));
    let traffic = "100/s for 60s, clients 20, zipf 1.1";
    let shown = good(
        &[
            "simulate",
            "-",
            "--traffic",
            traffic,
            "--clients",
            "2",
            "--svg",
            &svg,
        ],
        POLICY,
    );
    assert!(
        shown.contains(" clients in 60 s: ") && shown.contains("few     100/minute"),
        "{shown}"
    );
    assert!(
        shown.contains("  client 1      1922      100    1822") && shown.contains("and 18 more"),
        "{shown}"
    );
    let plot = std::fs::read_to_string(&svg).expect("a plot");
    assert!(plot.starts_with("<svg") && plot.trim_end().ends_with("</svg>"));
    assert!(
        plot.matches("<rect").count() > 60 && plot.contains("requests a second"),
        "{plot}"
    );
}

#[test]
fn traffic_that_is_not_understood_shows_the_grammar() {
    let output = headgate(&["simulate", "-", "--traffic", "lots"], POLICY);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("RATE for DURATION"),
        "{}",
        stderr(&output)
    );
    assert_eq!(headgate(&["simulate", "-"], POLICY).status.code(), Some(2));
}

#[test]
fn what_one_limit_denies_is_charged_to_none() {
    let allowed = |policy: &str, traffic: &str| {
        let all = ["simulate", "--json", "-", "--traffic", traffic];
        let tally: Value = serde_json::from_str(&good(&all, policy)).expect("JSON");
        tally["allowed"].as_u64().expect("a number")
    };
    let log = "limits: [{name: a, rate: 3/10s, algorithm: sliding_window_log}]";
    assert_eq!(
        allowed(log, "1/s for 14s, evenly"),
        6,
        "3 and, after 10 s, 3 more"
    );
    let both = "limits: [{name: few, rate: 1/5s, algorithm: sliding_window_log}, \
                {name: many, rate: 3/h, algorithm: sliding_window_log, key: [address, method]}]";
    assert_eq!(
        allowed(both, "1/s for 18s, evenly"),
        3,
        "denied calls cost nothing"
    );
    let shadow = "limits: [{name: shadow, rate: 1/h, enforce: false}, {name: real, rate: 3/h}]";
    assert_eq!(
        allowed(shadow, "1/s for 5s, evenly"),
        3,
        "a limit in shadow is in no way"
    );
}

#[test]
fn while_redis_is_down_on_error_decides() {
    let traffic = [
        "--traffic",
        "100/s for 30s, clients 20, evenly",
        "--fault",
        "redis down 10s..20s",
    ];
    let by = |on_error: &str| {
        let policy = format!("on_error: {on_error}\nlimits: [{{name: few, rate: 1000/minute}}]");
        let all = [&["simulate", "--json", "-"], &traffic[..]].concat();
        let tally: Value = serde_json::from_str(&good(&all, &policy)).expect("JSON");
        tally["decided_by"].clone()
    };
    let count = |by: &Value, word: &str| by[word]["requests"].as_u64().unwrap_or(0);
    for (on_error, word) in [
        ("local", "local"),
        ("allow", "failed_open"),
        ("deny", "failed_closed"),
    ] {
        let by = by(on_error);
        let (redis, other) = (count(&by, "redis"), count(&by, word));
        assert!((2_999..=3_000).contains(&(redis + other)), "{by}");
        assert!((980..=1_060).contains(&other), "a third of the time: {by}");
        let denied = by[word]["denied"].as_u64().expect("a number");
        assert_eq!(denied, if on_error == "deny" { other } else { 0 }, "{by}");
    }
}

#[test]
fn several_envoys_share_one_redis_and_not_what_they_count_alone() {
    let traffic = [
        "--traffic",
        "10/s for 60s, evenly",
        "--envoys",
        "3",
        "--workers",
        "2",
    ];
    let tally = simulate(&traffic);
    assert_eq!(tally["allowed"], 100, "{tally}");
    let apart = simulate(&[&traffic[..], &["--fault", "down"]].concat());
    assert_eq!(apart["allowed"], 300, "each Envoy by itself: {apart}");
}

#[test]
fn permits_in_advance_and_known_denials_are_simulated() {
    let policy = "limits: [{name: busy, rate: 1000/minute, algorithm: fixed_window, lease: 10%}]";
    let all = [
        "simulate",
        "--json",
        "-",
        "--traffic",
        "200/s for 20s, evenly",
        "--workers",
        "1",
    ];
    let tally: Value = serde_json::from_str(&good(&all, policy)).expect("JSON");
    let count = |word: &str| tally["decided_by"][word]["requests"].as_u64().unwrap_or(0);
    assert!(count("lease") > 500 && count("cache") > 2_000, "{tally}");
    let allowed = tally["allowed"].as_u64().expect("a number");
    assert!(
        (950..=1_000).contains(&allowed),
        "unspent permits are few: {tally}"
    );
}

#[test]
fn a_frozen_shard_delays_few_callers_and_the_table_shows_it() {
    let shown = good(
        &[
            "simulate",
            "-",
            "--traffic",
            "500/s for 10s, clients 100, evenly",
            "--fault",
            "shard 2 frozen 2s..8s",
        ],
        POLICY,
    );
    for piece in ["decided by", "\n  local", "\n  redis", "waited for Redis: "] {
        assert!(shown.contains(piece), "{piece:?}: {shown}");
    }
    assert!(!good(&["simulate", "-", "--traffic", "5/s for 5s"], POLICY).contains("decided by"));
}

#[test]
fn a_fault_that_is_not_understood_shows_the_grammar() {
    for (fault, piece) in [
        ("redis asleep 1s..2s", "not understood"),
        ("shard 9 frozen 1s..2s", "from 1 to 3"),
        ("redis down 20s..10s", "the end is not after the beginning"),
    ] {
        let arguments = ["simulate", "-", "--traffic", "5/s for 5s", "--fault", fault];
        let output = headgate(&arguments, POLICY);
        assert_eq!(output.status.code(), Some(2), "{fault}");
        let error = stderr(&output);
        assert!(
            error.contains(piece) && error.contains("WHO WHAT FROM..UNTIL"),
            "{error}"
        );
    }
    let output = headgate(
        &["simulate", "-", "--traffic", "5/s for 5s", "--envoys", "0"],
        POLICY,
    );
    assert_eq!(output.status.code(), Some(2));
}
