//! The readings one by one, and every measured line of `cases/paths.tsv`: a path under which real servers ran a handler.

use super::*;
use crate::fixtures;
use crate::identify::{FakeRequest, Hasher};
use crate::limit::{Plan, Planner};
use crate::model::Policy;

/// Lines of: `limit` or `exempt`, the pattern, the path (`\xHH` is a byte), how many servers, which ones.
const MEASURED: &str = include_str!("cases/paths.tsv");

fn read(target: &str) -> Vec<(u8, String)> {
    let shown = |(number, path): (u8, &[u8])| (number, String::from_utf8(path.to_vec()).unwrap());
    PathReadings::of(target.as_bytes())
        .numbered()
        .map(shown)
        .collect()
}

/// The path in one of its readings, whichever of them produced it first.
fn reads_as(target: &str, path: &str) -> bool {
    read(target).iter().any(|(_, reading)| reading == path)
}

#[test]
fn a_plain_path_has_one_reading_and_is_not_copied() {
    for target in [
        "/api/v1/users/7?x=%2F;a//b/..",
        "/login/",
        "/",
        "",
        "/a b",
        "/caf\u{e9}",
        "/a.b/c.d#;",
    ] {
        assert_eq!(read(target).len(), 1, "{target}");
    }
    for target in ["/api/v1/users/7?x=y", "/login/", "/"] {
        let readings = PathReadings::of(target.as_bytes());
        assert!(matches!(readings.canonical, Cow::Borrowed(_)), "{target}");
    }
}

#[test]
fn each_reading_reads_as_its_servers_do() {
    for (target, number, path) in [
        ("/a%2f..%2fb", 2, "/b"),
        ("/a//../b", 2, "/b"),
        ("/a%5cb%3bx", 2, "/a%5Cb;x"),
        ("/a%2fb;x/c%0a", 3, "/a/b/c"),
        ("/a%5cb%3bx", 3, "/a/b"),
        ("/a/%0a", 3, "/a"),
        ("/a/;x%0a", 3, "/a"),
        ("/a%0a%0a", 3, "/a%0A"),
        ("/a\\..\\b%2fc", 4, "/b%2Fc"),
        ("/a\\b;x", 4, "/a/b;x"),
        ("/a/..;x/b%3bc", 5, "/b%3Bc"),
        ("/a\\b;x/c", 5, "/a%5Cb/c"),
        ("/a/..%2fb//c/.", 6, "/a/../b/c/."),
        ("/a/../b;x", 6, "/a/../b"),
        ("//host/a%2fb", 7, "/a/b"),
        ("/\\host\\a;x", 7, "/a"),
        ("///host", 7, "/"),
        ("/%2561/b", 8, "/a/b"),
        ("/a/%252e%252e/b", 8, "/b"),
        ("/%2561%252fb", 8, "/a%2Fb"),
        ("//a/../b;x\\%2fc", 9, "//a/../b;x%5C%2Fc"),
        ("/%73tatic/%7e", 9, "/%73tatic/%7E"),
        ("/a//../b;x%2fy/c%2fd", 10, "/b/c/d"),
        ("/a%3bx;y", 10, "/a;x"),
        ("//host/a/..%2fb", 11, "/a/../b"),
    ] {
        let all = read(target);
        let first = all.iter().find(|(_, reading)| reading == path);
        assert!(
            first.is_some_and(|(n, _)| *n == number),
            "{target}: no {number} {path} in {all:?}"
        );
    }
}

#[test]
fn a_stray_percent_sign_is_one_in_the_text() {
    for (target, path) in [
        ("/100%", "/100%25"),
        ("/%zz;a", "/%25zz"),
        ("/%", "/%25"),
        ("/%2", "/%252"),
    ] {
        assert!(reads_as(target, path), "{target}: {:?}", read(target));
    }
}

#[test]
fn readings_are_few_and_equal_ones_there_once() {
    let target = "//h%2561/x/%2e%2e\\..;a/%252e%252e//%0a";
    let all = read(target);
    assert!((5..=PathReadings::MOST).contains(&all.len()), "{all:?}");
    for (n, (_, path)) in all.iter().enumerate() {
        assert!(all[..n].iter().all(|(_, other)| other != path), "{path} twice");
    }
}

#[test]
fn a_path_of_64_kb_is_read_in_time_linear_in_its_length() {
    // Each repeats a construct that a reading rewrites. Quadratic work would take minutes.
    for piece in [
        "/a/..",
        "%2f..",
        "//",
        ";x",
        "\\..",
        "%252e",
        "/a%2f%2e%2e;x\\",
        "/./",
        "%",
        "/..",
    ] {
        let target = ["/", &piece.repeat((64 << 10) / piece.len())].concat();
        let readings = PathReadings::of(target.as_bytes());
        assert!(
            readings.iter().all(|path| path.len() <= 3 * target.len()),
            "{piece}"
        );
    }
}

/// `\xHH` as the byte.
fn unescaped(text: &str) -> Vec<u8> {
    let mut pieces = text.split("\\x");
    let mut out = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at(2);
        out.push(u8::from_str_radix(digits, 16).unwrap());
        out.extend_from_slice(rest.as_bytes());
    }
    out
}

fn request(path: &str) -> FakeRequest {
    let mut request = FakeRequest::new("192.0.2.1", &[(":method", "GET")]);
    request.headers.push((":path".to_owned(), unescaped(path)));
    request
}

fn plan(policy: &Policy, request: &FakeRequest) -> Plan {
    let planner = Planner::new(policy, Hasher::new(None));
    let identity = planner.identify(request);
    planner.plan(request, &identity)
}

#[test]
fn a_limit_applies_to_every_path_that_ran_its_handler() {
    let mut open = Vec::new();
    let mut checked = 0;
    for line in MEASURED.lines().filter(|line| !line.starts_with('#')) {
        let [kind, pattern, path, ..] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("not a line of the table: {line}")
        };
        checked += 1;
        let policy = match kind {
            "limit" => format!(r#"{{"limits": [{{"rate": "9/m", "match": {{"path": "{pattern}"}}}}]}}"#),
            _ => format!(r#"{{"limits": [{{"rate": "9/m"}}], "exempt": [{{"path": "{pattern}"}}]}}"#),
        };
        let plan = plan(&fixtures::policy(&policy), &request(path));
        let is_limited = matches!(plan, Plan::Count { groups, .. } if !groups.is_empty());
        if !is_limited {
            open.push(line);
        }
    }
    assert!(checked > 3_000, "{checked}");
    assert!(
        open.is_empty(),
        "{} of {checked}:\n{}",
        open.len(),
        open.join("\n")
    );
}
