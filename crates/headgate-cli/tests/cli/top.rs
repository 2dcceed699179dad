use super::*;

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
fn top_reads_json_logs_and_ignores_reports_forged_by_callers() {
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
fn top_reports_an_unusable_log_in_one_line() {
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
