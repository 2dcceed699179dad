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
fn clients_are_counted_apart_and_the_ceiling_together() {
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
