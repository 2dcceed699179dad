//! All spellings that a server reads as the same request are charged to the same counters, and no spelling of a path
//! that is not exempt is exempt. The rules are those behind `cases/paths.tsv`.

use crate::fixtures;
use crate::identify::{FakeRequest, Hasher};
use crate::limit::{Group, Plan, Planner};
use proptest::prelude::*;
use proptest::sample::Index;

/// Which spellings a kind of server reads as the same path.
struct Server {
    name: &'static str,
    /// In the place of one character.
    characters: &'static [fn(char) -> Option<String>],
    /// Before a slash, or at the end.
    insertions: &'static [&'static str],
    /// At the end alone.
    endings: &'static [&'static str],
    /// In front of all.
    fronts: &'static [&'static str],
    /// Leads out of `/static`, and so in front of a path that is not exempt.
    escapes: &'static [&'static str],
}

fn letter(c: char) -> Option<String> {
    c.is_ascii_alphanumeric().then(|| format!("%{:02x}", c as u32))
}

fn letter_in_upper_case_hex(c: char) -> Option<String> {
    c.is_ascii_alphanumeric().then(|| format!("%{:02X}", c as u32))
}

fn letter_twice(c: char) -> Option<String> {
    c.is_ascii_alphanumeric().then(|| format!("%25{:02x}", c as u32))
}

fn slash(c: char) -> Option<String> {
    (c == '/').then(|| "%2f".to_owned())
}

fn backslash(c: char) -> Option<String> {
    (c == '/').then(|| "\\".to_owned())
}

fn escaped_backslash(c: char) -> Option<String> {
    (c == '/').then(|| "%5C".to_owned())
}

fn other_case(c: char) -> Option<String> {
    c.is_ascii_lowercase().then(|| c.to_ascii_uppercase().to_string())
}

const ENDINGS: &[&str] = &["/", "?a=/../b", "#c", "/?x"];

const SERVERS: &[Server] = &[
    Server {
        name: "nginx",
        characters: &[letter, letter_in_upper_case_hex],
        insertions: &[
            "/",
            "/.",
            "/%2e",
            "/zz/..",
            "/zz/%2E.",
            "/zz%2f..",
            "/zz//yy/../..",
        ],
        endings: ENDINGS,
        fronts: &[],
        escapes: &["/static/..", "/static/%2e%2e", "/static%2f.."],
    },
    Server {
        name: "Apache's RewriteRule",
        characters: &[letter, letter_twice],
        insertions: &["/", "/.", "/zz/..", "/zz/%252e."],
        endings: ENDINGS,
        fronts: &[],
        escapes: &["/static/..", "/static/%252e%252e"],
    },
    Server {
        name: "Tomcat behind a proxy",
        characters: &[letter, slash, backslash, escaped_backslash],
        insertions: &["/", "/.", ";", ";a=b", "/zz/..;x", "\\zz\\..", "/%2e;x"],
        endings: ENDINGS,
        fronts: &[],
        escapes: &["/static/..;a", "/static\\..", "/static%5c%2e%2e"],
    },
    Server {
        name: "Python's and Ruby's patterns",
        characters: &[letter, slash],
        insertions: &["/"],
        endings: &["%0a", "%0A", "/%0a", "/"],
        fronts: &[],
        escapes: &[],
    },
    Server {
        name: "new URL",
        characters: &[letter, backslash],
        insertions: &["/.", "/%2e", "/zz/..", "\\zz\\%2e."],
        endings: ENDINGS,
        fronts: &["//host", "\\\\host", "/\\host"],
        escapes: &["/static/..", "\\static\\.."],
    },
    Server {
        name: "Spring",
        characters: &[letter],
        insertions: &["/.", ";v=1", "/zz/..", "/zz/..;x", "/;x"],
        endings: ENDINGS,
        fronts: &[],
        escapes: &["/static/..", "/static;x/..;y"],
    },
    Server {
        name: "Express",
        characters: &[letter, slash, escaped_backslash, other_case],
        insertions: &["/", ";a"],
        endings: ENDINGS,
        fronts: &[],
        escapes: &[],
    },
    Server {
        name: "parse_url",
        characters: &[letter, slash],
        insertions: &["/", "/."],
        endings: ENDINGS,
        fronts: &["//host", "///host.example:80"],
        escapes: &["/static/.."],
    },
];

/// Rewrites a plain path by some of a server's rules.
fn rewritten(server: &Server, path: &str, choices: &[(u8, Index, Index)]) -> String {
    let mut tokens: Vec<String> = path.chars().map(String::from).collect();
    // Those that replaced characters of the path, by index.
    let mut plain: Vec<usize> = (1..tokens.len()).collect();
    let mut ending = "";
    let mut front = "";
    for (kind, place, which) in choices {
        match kind % 4 {
            0 if !plain.is_empty() => {
                let at = plain.swap_remove(place.index(plain.len()));
                let c = tokens[at].chars().next().unwrap_or_default();
                if let Some(text) = server.characters[which.index(server.characters.len())](c) {
                    tokens[at] = text;
                }
            }
            1 => {
                let places: Vec<usize> = (0..path.len())
                    .filter(|at| path.as_bytes()[*at] == b'/')
                    .collect();
                let insertion = server.insertions[which.index(server.insertions.len())];
                match places.get(place.index(places.len() + 1)) {
                    // A parameter needs a segment before it.
                    Some(0) if insertion.starts_with(';') => {}
                    Some(at) if tokens[*at].len() == 1 => tokens[*at].insert_str(0, insertion),
                    Some(_) => {}
                    None => tokens.push(insertion.to_owned()),
                }
            }
            2 => ending = server.endings[which.index(server.endings.len())],
            3 if !server.fronts.is_empty() => front = server.fronts[which.index(server.fronts.len())],
            _ => {}
        }
    }
    [front, &tokens.concat(), ending].concat()
}

fn planner() -> Planner {
    let policy = fixtures::policy(
        r#"{
        "identify": [{"name": "sid", "cookie": "sid", "as": "plain"}, {"header": "x-api-key"}, {"address": {}}],
        "exempt": [{"path": "/static/**"}],
        "limits": [
            {"name": "api", "rate": "9/m", "match": {"methods": ["GET", "POST"], "path": "/api/{id}/login"},
                "key": ["client", "path", "method"]},
            {"name": "exact", "rate": "9/m", "match": {"path": "/users/7", "headers": {"x-app": "web"}},
                "key": ["client", "path"]},
            {"name": "rest", "rate": "9/m", "match": {"path": "/mount/**"}, "key": ["path", "method"]},
            {"name": "q", "rate": "9/m", "key": ["query:q", "header:x-app"]}
        ]}"#,
    );
    Planner::new(&policy, Hasher::new(None))
}

/// The groups that the request is charged to.
fn groups(request: &FakeRequest) -> Option<Vec<Group>> {
    let planner = planner();
    match planner.plan(request, &planner.identify(request)) {
        Plan::Exempt => None,
        Plan::Count { groups, .. } => Some(groups),
    }
}

fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> FakeRequest {
    FakeRequest::new("192.0.2.1", headers).with(&[(":method", method), (":path", target)])
}

const PATHS: &[&str] = &["/api/7/login", "/users/7", "/mount/a/b"];
const METHODS: &[[&str; 4]] = &[["GET", "get", "HEAD", "Head"], ["POST", "post", "Post", "pOST"]];
const HEADERS: &[[&str; 4]] = &[
    ["K", " K", "K\t", "  K  "],
    ["sid=K", "sid=%4b", "a=1; sid=\"K\"", "sid= K "],
    ["sid=a b", "sid=a%20b", "sid=\"a b\"; x=y", r#"sid="\141 b""#],
];

fn choices() -> impl Strategy<Value = Vec<(u8, Index, Index)>> {
    proptest::collection::vec(any::<(u8, Index, Index)>(), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]
    #[test]
    fn rewritten_requests_meet_the_same_counters(
        server in 0..SERVERS.len(), path in 0..PATHS.len(), choices in choices(),
        method in (0..2_usize, 0..4_usize), header in (0..3_usize, 0..4_usize), app in 0..4_usize,
    ) {
        let server = &SERVERS[server];
        let spelled = rewritten(server, PATHS[path], &choices);
        let name = if header.0 == 0 { "x-api-key" } else { "cookie" };
        let apps = ["web", "web ", " web", "\tweb"];
        let plain = request(METHODS[method.0][0], PATHS[path], &[(name, HEADERS[header.0][0]), ("x-app", "web")]);
        let other = request(METHODS[method.0][method.1], &spelled, &[(name, HEADERS[header.0][header.1]), ("x-app", apps[app])]);
        let (expected, found) = (groups(&plain).unwrap(), groups(&other));
        prop_assert!(found.is_some(), "{}: {spelled} is exempt", server.name);
        prop_assert_eq!(expected, found.unwrap(), "{}: {}", server.name, spelled);
    }

    #[test]
    fn no_way_out_of_an_exempt_path_is_exempt(
        server in 0..SERVERS.len(), path in 0..PATHS.len(), choices in choices(), which in any::<Index>(),
    ) {
        let server = &SERVERS[server];
        // A front is an authority, and not a part of the path.
        let server = Server { fronts: &[], ..*server };
        let spelled = rewritten(&server, PATHS[path], &choices);
        let escape = server.escapes.get(which.index(server.escapes.len().max(1))).unwrap_or(&"");
        let target = [escape, spelled.as_str()].concat();
        prop_assert!(groups(&request("GET", &target, &[])).is_some(), "{}: {target} is exempt", server.name);
    }
}

#[test]
fn a_server_that_resolves_nothing_is_not_freed_by_dots() {
    for target in [
        "/mount/../static/a.txt",
        "/mount/%2e%2e/static/a",
        "/x//../static/a",
        "/mount/..;/static/a",
    ] {
        assert!(groups(&request("GET", target, &[])).is_some(), "{target}");
    }
}
