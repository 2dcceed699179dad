//! Other ways to write a path, by rule: case, percent-encoding, slashes, dot segments, parameters, an authority.
//!
//! This module does not know how a server reads them: the test asks the server.

use std::collections::BTreeSet;

/// One kind of change: the path in each form that this kind has.
type Rule = fn(&str) -> Vec<String>;

const RULES: [Rule; 13] = [
    case,
    encoded_letters,
    encoded_twice,
    last_slash,
    first_slash,
    dots,
    parameters,
    end,
    tail,
    authority,
    control,
    out_of_static,
    into_static,
];

/// With how many other rules each form is combined.
const PARTNERS: usize = 4;

/// The path, every form of each rule, and each of these with one form of several other rules.
pub fn of(path: &str) -> Vec<String> {
    let mut all = vec![path.to_owned()];
    let mut turn = 0;
    for (at, rule) in RULES.iter().enumerate() {
        for once in rule(path) {
            for _ in 0..PARTNERS {
                let other = RULES[(at + 1 + turn % (RULES.len() - 1)) % RULES.len()];
                let twice = other(&once);
                all.extend(twice.get(turn / RULES.len() % twice.len().max(1)).cloned());
                turn += 1;
            }
            all.push(once);
        }
    }
    let mut seen = BTreeSet::new();
    all.retain(|spelling| seen.insert(spelling.clone()));
    all
}

fn case(path: &str) -> Vec<String> {
    let upper = |path: &str, at: usize| replaced(path, at, 1, &path[at..=at].to_ascii_uppercase());
    let letters = letters(path);
    let all = letters.iter().fold(path.to_owned(), |path, &at| upper(&path, at));
    letters.iter().map(|&at| upper(path, at)).chain([all]).collect()
}

fn encoded_letters(path: &str) -> Vec<String> {
    let encoded = |path: &str, at: usize| replaced(path, at, 1, &format!("%{:02x}", path.as_bytes()[at]));
    let letters = letters(path);
    let all = letters
        .iter()
        .rev()
        .fold(path.to_owned(), |path, &at| encoded(&path, at));
    let one: Vec<String> = letters.iter().map(|&at| encoded(path, at)).chain([all]).collect();
    let upper = one.iter().map(|path| upper_escapes(path)).collect::<Vec<_>>();
    one.into_iter().chain(upper).collect()
}

/// `%6f` becomes `%6F`.
fn upper_escapes(path: &str) -> String {
    let mut parts = path.split('%').map(str::to_owned);
    let first = parts.next().unwrap_or_default();
    parts.fold(first, |path, part| {
        let end = part.len().min(2);
        format!("{path}%{}{}", part[..end].to_ascii_uppercase(), &part[end..])
    })
}

fn encoded_twice(path: &str) -> Vec<String> {
    let letter = letters(path).first().map(|&at| {
        let code = format!("%25{:02x}", path.as_bytes()[at]);
        replaced(path, at, 1, &code)
    });
    let slash = path.rfind('/').map(|at| replaced(path, at, 1, "%252f"));
    letter.into_iter().chain(slash).collect()
}

fn last_slash(path: &str) -> Vec<String> {
    let at = path.rfind('/').unwrap_or(0);
    [
        "%2f", "%2F", "%5c", "\\", "//", "///", "/%2f", "%2f/", "/\\", "/%5c", "%2f%2f",
    ]
    .iter()
    .map(|slash| match at {
        0 => format!("/{slash}{}", &path[1..]),
        _ => replaced(path, at, 1, slash),
    })
    .collect()
}

fn first_slash(path: &str) -> Vec<String> {
    ["/", "//", "/%2f", "/\\", "/%5c", "/.", "/;", "/;x"]
        .iter()
        .map(|before| format!("{before}{path}"))
        .collect()
}

/// Segments that some servers remove: at the start and before the last segment.
fn dots(path: &str) -> Vec<String> {
    let detours = [
        "/.",
        "/%2e",
        "/.;",
        "/x/..",
        "/x/%2e%2e",
        "/x/.%2E",
        "/x/..;",
        "/x/..;a=b",
        "/x%2f..",
        "/x/..%2f.",
        "/x%2f%2e%2e",
        "/x%5c..",
        "/x\\..",
        "/x/..\\.",
        "/x//..",
        "/x//../..",
        "/x;/..",
        "/x/%252e%252e",
        "/..",
        "/...",
    ];
    let last = path.rfind('/').unwrap_or(0);
    let places = BTreeSet::from([0, last]);
    places
        .iter()
        .flat_map(|&at| detours.map(|detour| replaced(path, at, 0, detour)))
        .collect()
}

/// Parameters of the last segment and of the one before it.
fn parameters(path: &str) -> Vec<String> {
    let last = path.rfind('/').unwrap_or(0);
    let places = BTreeSet::from([last.max(1), path.len()]);
    let parameters = [";", ";x", ";x=1", ";x=1;y", "%3bx", ";x%2fy", ";/..;x"];
    places
        .iter()
        .flat_map(|&at| parameters.map(|parameter| replaced(path, at, 0, parameter)))
        .collect()
}

fn end(path: &str) -> Vec<String> {
    [
        "/",
        "//",
        "/.",
        "/./",
        "%2f",
        "%5c",
        "\\",
        "/x/..",
        "/x%2f..",
        "/x/%2e%2e/",
        "/%2e",
        "/;",
        "/;x",
        ".",
        ".json",
        "+",
    ]
    .iter()
    .map(|end| format!("{path}{end}"))
    .collect()
}

fn control(path: &str) -> Vec<String> {
    ["%0a", "%0A", "%0d%0a", "%0a%0a", "%00", "%20", "%09", "/%0a"]
        .iter()
        .map(|end| format!("{path}{end}"))
        .collect()
}

fn tail(path: &str) -> Vec<String> {
    [
        "?",
        "?x",
        "?x=1&y=2",
        "?/../x",
        "%3f",
        "%3fx",
        "%23x",
        "?x=/static/a",
    ]
    .iter()
    .map(|tail| format!("{path}{tail}"))
    .collect()
}

fn authority(path: &str) -> Vec<String> {
    [
        "//host",
        "///host",
        "//host:80",
        "//user@host",
        "/\\host",
        "\\\\host",
        "http://host",
        "/http://host",
        "http://host/",
        "//static",
    ]
    .iter()
    .map(|authority| format!("{authority}{path}"))
    .collect()
}

/// As if below what is exempt.
fn out_of_static(path: &str) -> Vec<String> {
    [
        "/static/..",
        "/static/%2e%2e",
        "/static/..;",
        "/static/..;x",
        "/static/..%2f.",
        "/static%2f..",
        "/static%2f%2e%2e",
        "/static\\..",
        "/static%5c..",
        "/static/x/../..",
        "/static//..",
        "/static//../..",
        "/static;x/..",
        "/static/%252e%252e",
        "/Static/..",
        "/static/..//host",
    ]
    .iter()
    .map(|before| format!("{before}{path}"))
    .collect()
}

/// As if it led to what is exempt.
fn into_static(path: &str) -> Vec<String> {
    let file = "static/a.txt";
    let up = |step: &str, slash: &str| -> String {
        let steps = path.matches('/').count();
        format!("{path}{slash}{}{file}", format!("{step}{slash}").repeat(steps))
    };
    [
        up("..", "/"),
        up("%2e%2e", "/"),
        up("..;", "/"),
        up("..;x", "/"),
        up("..", "%2f"),
        up("%2e%2e", "%2f"),
        up("..", "\\"),
        up("..", "%5c"),
        up("..", "//"),
        up("%252e%252e", "/"),
        format!("{path};/../../{file}"),
        format!("{path}/..%00/..%00/{file}"),
    ]
    .into()
}

/// Where letters are, outside of percent-escapes and before the query.
fn letters(path: &str) -> Vec<usize> {
    let bytes = path.as_bytes();
    let end = path.find('?').unwrap_or(path.len());
    let escaped = |at: usize| (1..=2).any(|back| at >= back && bytes[at - back] == b'%');
    (0..end)
        .filter(|&at| bytes[at].is_ascii_alphabetic() && !escaped(at))
        .collect()
}

/// Replaces this many bytes at this place by others.
fn replaced(path: &str, at: usize, bytes: usize, by: &str) -> String {
    format!("{}{by}{}", &path[..at], &path[at + bytes..])
}
