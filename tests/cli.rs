//! The command `headgate` as people run it. What needs a Redis is in `tests/e2e/oncall.rs`.

use serde_json::Value;
use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Runs it with these arguments; `input` is its standard input.
fn headgate(arguments: &[&str], input: &str) -> Output {
    run(
        Command::new(env!("CARGO_BIN_EXE_headgate")).args(arguments),
        input,
    )
}

fn run(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command headgate");
    let mut stdin = child.stdin.take().expect("its standard input");
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("its output")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// Its output, where it must be content.
fn good(arguments: &[&str], input: &str) -> String {
    let output = headgate(arguments, input);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{arguments:?}\n{}{}",
        stdout(&output),
        stderr(&output)
    );
    stdout(&output)
}

fn shipped(name: &str) -> String {
    let path = format!("{}/envoy/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The findings of `check --json` on a text, and the exit status.
fn findings(text: &str) -> (Vec<Value>, i32) {
    let output = headgate(&["check", "--json", "-"], text);
    let list: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}\n{}", stderr(&output)));
    (
        list.as_array().expect("a list").clone(),
        output.status.code().expect("a status"),
    )
}

/// The errors among them: line, path within the configuration and message.
fn errors(text: &str) -> Vec<(u64, String, String)> {
    let text_of = |value: &Value| value.as_str().expect("text").to_owned();
    let (list, _) = findings(text);
    let errors = list.iter().filter(|finding| finding["severity"] == "error");
    errors
        .map(|e| {
            (
                e["line"].as_u64().expect("a line"),
                text_of(&e["path"]),
                text_of(&e["message"]),
            )
        })
        .collect()
}

mod check {
    use super::*;

    /// The configurations of the unit test, each with the path of its one error.
    fn broken() -> Vec<(Value, &'static str)> {
        let lines: Vec<&str> = include_str!("../src/config/tests/broken.txt")
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect();
        let case = |pair: &[&'static str]| {
            let value = serde_yaml_ng::from_str(pair[0]).expect("YAML");
            let (path, _) = pair[1].trim().split_once(" => ").expect("a path");
            (value, if path == "configuration" { "" } else { path })
        };
        lines.chunks(2).map(case).collect()
    }

    /// The shipped envoy.yaml with another configuration in it, and the line on which that begins.
    fn with_policy(policy: &Value) -> (String, usize) {
        let shipped = shipped("envoy");
        let lines: Vec<&str> = shipped.lines().collect();
        let start = lines
            .iter()
            .position(|line| line.trim() == "value:")
            .expect("the policy");
        let end = lines
            .iter()
            .position(|line| line.trim() == "vm_config:")
            .expect("what follows it");
        // Which leaves `no` without quotes: a text for itself, false for Envoy.
        let yaml = serde_yaml_ng::to_string(policy)
            .expect("YAML")
            .replace(": no\n", ": 'no'\n");
        let indented: Vec<String> = yaml
            .lines()
            .map(|line| format!("{}{line}", " ".repeat(20)))
            .collect();
        let text = [
            lines[..=start].join("\n"),
            indented.join("\n"),
            lines[end..].join("\n"),
        ]
        .join("\n");
        (text, start + 2)
    }

    /// Whether a line of block YAML is where a path's last step stands.
    fn fits(line: &str, path: &str) -> bool {
        let line = line.trim_start();
        let last = path.rsplit(['.', '[']).next().unwrap_or_default();
        let name = last.trim_end_matches(']').trim_matches('"');
        match path.ends_with(']') && !path.ends_with("\"]") {
            true => line.starts_with("- "),
            false => {
                let line = line.trim_start_matches("- ").trim_start_matches(['\'', '"']);
                line.starts_with(name)
            }
        }
    }

    #[test]
    fn each_mistake_in_an_envoy_yaml_is_an_error_at_its_path_and_line() {
        let mut objects = 0;
        for (policy, path) in broken().into_iter().filter(|(policy, _)| policy.is_object()) {
            let (text, first) = with_policy(&policy);
            let errors = errors(&text);
            let [(line, at, message)] = errors.as_slice() else {
                panic!("{policy}\nat {path}: {errors:?}")
            };
            assert_eq!(at, path, "{policy}\n{message}");
            let shown = text.lines().nth(*line as usize - 1).expect("a line of the file");
            assert!(
                *line as usize >= first && fits(shown, path) || path.is_empty(),
                "{policy}\n{path}: line {line}: {shown}"
            );
            objects += 1;
        }
        assert!(objects > 200, "{objects}");
    }

    #[test]
    fn an_error_shows_file_line_path_value_and_remedy() {
        let output = headgate(
            &["check", "-"],
            "identify:\n- address: {}\nlimits:\n- name: a\n  rate: 100/fortnight\n",
        );
        assert_eq!(output.status.code(), Some(1));
        let expected = "-:5:3: error: limits[0].rate: \"100/fortnight\": unknown period \"fortnight\"; use s, m, h or d\n1 error, 0 warnings\n";
        assert_eq!(stdout(&output), expected);
    }

    /// Every YAML file in a folder and below.
    fn yaml_files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("a file").path());
        let mut files = Vec::new();
        for path in entries {
            match path.is_dir() {
                true => files.extend(yaml_files(&path)),
                false if path.extension().is_some_and(|extension| extension == "yaml") => files.push(path),
                false => {}
            }
        }
        files
    }

    #[test]
    fn every_shipped_file_is_good_even_strictly() {
        let files = yaml_files(concat!(env!("CARGO_MANIFEST_DIR"), "/envoy").as_ref());
        let ours = |path: &&std::path::PathBuf| {
            let text = std::fs::read_to_string(path).expect("a file");
            ["limits:", "role: redis_call"]
                .iter()
                .any(|word| text.contains(word))
        };
        let ours: Vec<_> = files.iter().filter(ours).collect();
        assert!(ours.len() >= 3, "{files:?}");
        for path in ours {
            let shown = good(&["check", "--strict", &path.to_string_lossy()], "");
            assert!(shown.contains("good: "), "{}: {shown}", path.display());
        }
    }

    #[test]
    fn a_warning_fails_only_where_it_is_asked_to() {
        let policy = "limits: [{name: a, rate: 5/s}]";
        let shown = good(&["check", "-"], policy);
        assert!(
            shown.contains("warning: limits: no ceiling by address"),
            "{shown}"
        );
        assert_eq!(
            headgate(&["check", "--strict", "-"], policy).status.code(),
            Some(1)
        );
    }

    #[test]
    fn the_two_roles_and_the_envoy_around_them_must_fit() {
        let shipped = shipped("envoy");
        for (what, with, piece, on) in [
            (
                "key_prefix: ratelimit",
                "key_prefix: other",
                "counts under \"ratelimit\"",
                "key_prefix: other",
            ),
            (
                "vm_id: headgate-redis-call",
                "vm_id: headgate",
                "two VMs, or every request hangs",
                "role: redis_call",
            ),
            (
                "  - name: redis_call\n    type: STATIC",
                "  - name: elsewhere\n    type: STATIC",
                "no such cluster",
                "identify:",
            ),
            (
                "lb_policy: CLUSTER_PROVIDED",
                "lb_policy: ROUND_ROBIN",
                "come back as MOVED",
                "- name: redis",
            ),
            (
                "enable_hashtagging: true",
                "enable_hashtagging: false",
                "lie on several nodes",
                "op_timeout",
            ),
        ] {
            let text = shipped.replacen(what, with, 1);
            assert_ne!(text, shipped, "{what}");
            let errors = errors(&text);
            let [(line, _, message)] = errors.as_slice() else {
                panic!("{what}: {errors:?}")
            };
            assert!(message.contains(piece), "{what}: {message}");
            let shown = text.lines().nth(*line as usize - 1).expect("a line of the file");
            assert!(shown.contains(on), "{what}: line {line}: {shown}");
        }
        let text = shipped.replacen(
            "environment_variables: {host_env_keys: [HEADGATE_HASH_KEY]}",
            "{}",
            1,
        );
        let text = text.replacen("                  {}", "", 1);
        let (list, status) = findings(&text);
        assert_eq!((list.len(), status), (1, 0), "{list:?}");
        assert!(list[0]["message"]
            .as_str()
            .expect("text")
            .contains("HEADGATE_HASH_KEY is not passed on"));
    }

    #[test]
    fn two_instances_of_one_chain_need_two_names() {
        let one = "- typed_config:\n    '@type': x.filters.http.wasm.v3.Wasm\n    config: {name: headgate, configuration: {'@type': y.Struct, value: {INSTANCE limits: []}}}\n";
        let both = |a: &str, b: &str| {
            format!(
                "http_filters:\n{}{}",
                one.replace("INSTANCE", a),
                one.replace("INSTANCE", b)
            )
        };
        assert!(errors(&both("instance: edge,", "instance: user,")).is_empty());
        let same = errors(&both("instance: edge,", "instance: edge,"));
        assert_eq!(same.len(), 1, "{same:?}");
        assert_eq!((same[0].0, same[0].1.as_str()), (7, "instance"), "{same:?}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_another_exit_status() {
        let output = headgate(&["check", "/nowhere.yaml"], "");
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).starts_with("headgate: /nowhere.yaml: "));
    }

    #[test]
    fn a_file_without_headgate_says_so() {
        let errors = errors("static_resources: {listeners: []}");
        assert!(
            errors[0].2.contains("no configuration of Headgate's here"),
            "{errors:?}"
        );
    }
}

mod explain {
    use super::*;

    const CONTRACT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/tests/contract.yaml");

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
    fn an_exempt_request_asks_nothing_of_redis() {
        let shown = good(&["explain", CONTRACT, "--request", "GET /healthz"], "");
        assert!(
            shown.contains("exempt[0] fits") && shown.contains("Redis is not asked"),
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
}

mod simulate {
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
    fn the_table_says_it_by_limit_and_by_client_and_the_plot_over_time() {
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
}

mod import {
    use super::*;

    /// The text of a page's code blocks.
    fn blocks(page: &str) -> Vec<String> {
        let fenced = page.split("```").skip(1).step_by(2);
        fenced
            .map(|block| block.split_once('\n').expect("a language").1.to_owned())
            .collect()
    }

    #[test]
    fn every_page_on_moving_shows_what_the_command_does_and_it_is_right() {
        for (from, extension) in [
            ("drf", "py"),
            ("django-ratelimit", "py"),
            ("envoy-ratelimit", "yaml"),
        ] {
            let page = format!("{}/docs/migrate-{from}.md", env!("CARGO_MANIFEST_DIR"));
            let page = std::fs::read_to_string(page).expect("a page");
            let [before, after] = blocks(&page).try_into().expect("before and after");
            let file = format!("{}/{from}.{extension}", env!("CARGO_TARGET_TMPDIR"));
            std::fs::write(&file, before).expect("a file");
            let shown = good(&["import", from, &file], "");
            assert_eq!(
                shown.replace(&file, &format!("{from}.{extension}")),
                after,
                "{from}"
            );
            assert_eq!(errors(&after), [], "{from}");
        }
    }

    #[test]
    fn a_file_without_limits_is_no_policy() {
        for from in ["drf", "django-ratelimit", "envoy-ratelimit"] {
            assert_eq!(
                headgate(&["import", from, "-"], "x = 1").status.code(),
                Some(2),
                "{from}"
            );
        }
    }
}

mod hash {
    use super::*;

    fn hash(key: Option<&str>, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
        command
            .env_remove("HEADGATE_HASH_KEY")
            .arg("hash")
            .args(arguments);
        if let Some(key) = key {
            command.env("HEADGATE_HASH_KEY", key);
        }
        run(&mut command, input)
    }

    #[test]
    fn a_hash_is_the_filters_with_and_without_a_key() {
        // RFC 4231, test case 2.
        let keyed = hash(Some("Jefe"), &["what do ya want for nothing?"], "");
        assert_eq!(stdout(&keyed), "5bdcc146bf60754e6a042426089575c7\n");
        assert_eq!(stderr(&keyed), "");
        let plain = hash(None, &["test"], "");
        assert_eq!(stdout(&plain), "9f86d081884c7d659a2feaa0c55ad015\n");
        assert!(stderr(&plain).contains("HEADGATE_HASH_KEY is not set"));
    }

    #[test]
    fn standard_input_is_taken_without_its_end_of_line_and_never_shown() {
        for input in ["test", "test\n", "test\r\n"] {
            let output = hash(None, &["-"], input);
            assert_eq!(stdout(&output), "9f86d081884c7d659a2feaa0c55ad015\n", "{input:?}");
            assert!(!stderr(&output).contains("test"));
        }
        assert_eq!(hash(None, &["-"], "\n").status.code(), Some(2));
    }
}

#[test]
fn help_names_every_subcommand_and_what_exit_statuses_mean() {
    let shown = good(&["--help"], "");
    for word in [
        "check",
        "explain",
        "hash",
        "show",
        "reset",
        "override",
        "Exit status",
    ] {
        assert!(shown.contains(word), "{shown}");
    }
    assert_eq!(headgate(&["chekc"], "").status.code(), Some(2));
}

/// A report of two clients as Envoy logs it, `rejected` by the first.
fn report(rejected: u64) -> String {
    let json = serde_json::json!({
        "event": "most_rejected", "instance": "main", "seconds": 60,
        "clients": [
            {"client": "api_key:8254c329a92850f6d539dd376f4816ee", "limit": "login", "rejected": rejected, "error": 5},
            {"client": "app:\u{1b}[2Jx", "limit": "wide", "rejected": 40, "error": 0},
        ],
    });
    format!("[2026-01-02 03:04:05.678][12][info][wasm] [source/context.cc:1195] wasm log headgate headgate: {json}\n")
}

#[test]
fn top_adds_up_what_the_workers_reported() {
    let noise = "[2026-01-02 03:04:05.678][12][warning][wasm] wasm log headgate: {\"event\":\"rate_limit_exceeded\"}\n";
    let log = format!("{noise}{}{noise}{}", report(30), report(100));
    assert_eq!(
        good(&["top"], &log),
        "2 reports of 60 s and one worker each\n\
         \u{20} client                                    instance  limit  rejected  at least\n\
         \u{20} api_key:8254c329a92850f6d539dd376f4816ee  main      login       130       120\n\
         \u{20} app:\\u{1b}[2Jx                            main      wide         80        80\n"
    );
    let last: Value =
        serde_json::from_str(&good(&["top", "--json", "--last", "1", "-n", "1"], &log)).unwrap();
    assert_eq!(last["reports"], 1);
    assert_eq!(last["clients"][0]["rejected"], 100);
    assert_eq!(last["clients"][0]["at_least"], 95);
    assert_eq!(last["clients"].as_array().unwrap().len(), 1);
}

#[test]
fn top_reads_logs_of_json_lines_and_takes_no_callers_word_for_a_report() {
    let report = report(30);
    let docker = serde_json::json!({"log": report, "stream": "stderr"}).to_string();
    assert!(good(&["top"], &format!("{docker}\n")).contains("login"));
    let forged = report.split_once(": ").unwrap().1.trim_end().to_owned();
    let access_log = serde_json::json!({"path": format!("/{forged}"), "user_agent": forged}).to_string();
    let text_log = format!("GET /{forged} 200");
    for line in [
        &access_log,
        &text_log,
        &serde_json::json!({"log": access_log}).to_string(),
    ] {
        let output = headgate(&["top"], &format!("{line}\n"));
        assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
        assert!(
            stderr(&output).contains("no most_rejected line"),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn top_says_what_is_wrong_with_a_log_in_one_line() {
    let report = report(30);
    let cut = &report[..report.len() - 20];
    let other = report.replace("\"rejected\":30", "\"rejected\":\"many\"");
    for (log, says) in [
        ("", "-: no most_rejected line"),
        (
            &format!("{report}{cut}\n"),
            "-:2: a most_rejected line that cannot be read",
        ),
        (&other, "-:1: a most_rejected line that cannot be read"),
    ] {
        let output = headgate(&["top"], log);
        assert_eq!(output.status.code(), Some(2), "{log}");
        let error = stderr(&output);
        assert!(
            error.starts_with(&format!("headgate: {says}")) && error.lines().count() == 1,
            "{error}"
        );
    }
    let output = headgate(&["top", "/nowhere/envoy.log"], "");
    assert!(
        stderr(&output).starts_with("headgate: /nowhere/envoy.log: "),
        "{}",
        stderr(&output)
    );
}

#[test]
fn top_follows_a_log_that_grows_and_is_rotated() {
    use std::io::{BufRead, BufReader};
    let dir = std::env::temp_dir().join(format!("headgate-top-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let log = dir.join("envoy.log");
    std::fs::write(&log, report(50)).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_headgate"))
        .args(["top", "--follow", "--json"])
        .arg(&log)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command headgate");
    // read apart, so that a line that never comes is an error and no wait without end
    let (lines, come) = std::sync::mpsc::channel();
    let out = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || {
        out.lines()
            .map_while(Result::ok)
            .try_for_each(|line| lines.send(line))
    });
    let rejected = || {
        let line = come.recv_timeout(std::time::Duration::from_secs(20)).ok()?;
        let json: Value = serde_json::from_str(&line).ok()?;
        json["clients"][0]["rejected"].as_u64()
    };
    let first = rejected();
    let (half, rest) = (&report(100)[..50], &report(100)[50..]);
    let append = |text: &str| {
        let mut file = std::fs::OpenOptions::new().append(true).open(&log).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    append(half);
    append(rest);
    let second = rejected();
    std::fs::write(&log, "rotated\n").unwrap();
    append(&report(1_000));
    let third = rejected();
    let _ = child.kill();
    let _ = child.wait();
    let _ = std::fs::remove_dir_all(&dir);
    assert_eq!((first, second, third), (Some(50), Some(150), Some(1_150)));
}
