//! Compares the forms with the readers: a reader refuses every text that does not match, and may refuse one that
//! matches.

use super::{duration, Pattern};
use headgate_core::config::{parse_value, TextForm};
use regex_lite::Regex;
use serde_json::{json, Value};

fn fits(pattern: &Pattern, text: &str) -> bool {
    let found = |regex: &str| {
        let regex = Regex::new(regex).unwrap_or_else(|error| panic!("{regex}: {error}"));
        regex.is_match(text)
    };
    found(&pattern.fits) && !pattern.except.as_deref().is_some_and(found)
}

/// A policy with a text of each form.
fn with(form: TextForm, text: &str) -> Value {
    let limit = |fields: Value| {
        let mut limit = json!({"rate": "1/s"});
        limit
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        json!({ "limits": [limit] })
    };
    let setting = |section: &str, field: &str| json!({"limits": [{"rate": "1/s"}], section: {field: text}});
    let source = |fields: Value| json!({"limits": [{"rate": "1/s"}], "identify": [fields]});
    match form {
        TextForm::Any => limit(json!({"replaces": [], "name": text})),
        TextForm::NotEmpty => {
            limit(json!({"overrides": [{"source": "api_key", "value": text, "rate": "2/s"}]}))
        }
        TextForm::Short => setting("redis", "cluster"),
        TextForm::Name => json!({"limits": [{"rate": "1/s"}], "instance": text}),
        TextForm::RateName => json!({"limits": [{"rate": "1/s"}], "rates": {text: "1/s"}}),
        TextForm::Token => source(json!({"name": "a", "header": text})),
        TextForm::Rate => json!({"limits": [{"rate": text, "name": "a"}], "rates": {"a-name": "5/s"}}),
        TextForm::PlainRate => setting("rates", "a"),
        TextForm::Share => setting("response", "retry_after_jitter"),
        TextForm::PositiveShare => setting("local", "share"),
        TextForm::KeyPrefix => setting("redis", "key_prefix"),
        TextForm::Service => json!({"limits": [{"rate": "1/s"}], "redis": {"native": {"service": text}}}),
        TextForm::Body => setting("response", "body"),
        TextForm::MediaType => setting("response", "content_type"),
        TextForm::Path => limit(json!({"match": {"path": text}})),
        TextForm::Host => limit(json!({"match": {"hosts": [text]}})),
        TextForm::Value => limit(json!({"match": {"headers": {"x-a": text}}})),
        TextForm::Regex => limit(json!({"match": {"path": {"regex": text}}})),
        TextForm::Extract => source(json!({"header": "a", "extract": text})),
        TextForm::KeyPart => limit(json!({"key": [text]})),
        TextForm::Network => limit(json!({"overrides": [{"cidr": text, "rate": "2/s"}]})),
        TextForm::Hash => limit(json!({"overrides": [{"source": "api_key", "hash": text, "rate": "2/s"}]})),
    }
}

const FORMS: [TextForm; 19] = [
    TextForm::NotEmpty,
    TextForm::Short,
    TextForm::Name,
    TextForm::RateName,
    TextForm::Token,
    TextForm::Rate,
    TextForm::PlainRate,
    TextForm::Share,
    TextForm::PositiveShare,
    TextForm::KeyPrefix,
    TextForm::Service,
    TextForm::Body,
    TextForm::MediaType,
    TextForm::Path,
    TextForm::Host,
    TextForm::Value,
    TextForm::Extract,
    TextForm::KeyPart,
    TextForm::Network,
];

/// Texts at the limits of all forms, and beyond them.
const TEXTS: [&str; 110] = [
    "",
    " ",
    "a",
    "a b",
    "a\nb",
    "\u{7f}",
    "é",
    "x\u{a0}",
    "\u{a0}x",
    "\u{85}",
    "\tx",
    "*",
    "**",
    "a*",
    "unlimited",
    "Unlimited",
    "a-name",
    "100",
    "0",
    "1/s",
    "0/s",
    "001/s",
    "1/0s",
    "1/1s",
    " 10 / 30 s ",
    "10/30s",
    "5/5minutes",
    "5/5 minutes",
    "1/366d",
    "1/367d",
    "1/8784h",
    "1/8785h",
    "1/527040m",
    "1/527041m",
    "1/31622400s",
    "1/31622401s",
    "1000000000/s",
    "1000000001/s",
    "1/2/s",
    "1.5/s",
    "+1/s",
    "1/s\n",
    "1/week",
    "0%",
    "0.00%",
    "0.01%",
    "0.001%",
    "100%",
    "100.00%",
    "100.01%",
    "00100%",
    "5 %",
    "5\u{a0}%",
    "5\t%",
    "%",
    ".5%",
    "1.%",
    "-1%",
    "a:b",
    "a/b",
    "a{b}",
    "redis.dns",
    "redis.dns:6379",
    "redis.dns:0",
    "redis.dns:65535",
    "redis.dns:65536",
    "redis.dns:+80",
    "redis.dns:0080",
    ":80",
    "outbound|1||a",
    "a:1?db=2",
    "{limit}",
    "{client}",
    "{",
    "{}",
    "{{limit}}",
    "{a{limit}",
    "{limit",
    "}{",
    "{a b}",
    "{client}{limit}",
    "text/plain",
    "text/",
    "text/plain ; a=é",
    "text/plain; a",
    "text /plain",
    "/",
    "/a",
    "/a?b",
    "/a#b",
    "login",
    "/a b",
    "example.com",
    "*.example.com",
    "*example.com",
    "example.com:80",
    "example.com:",
    "example.com.",
    "[::1]",
    "[::1]:80",
    "a::",
    "a:b:80",
    ".",
    "*.",
    "*.a:1",
    "header:x",
    "header: x",
    "query: x",
    "10.0.0.0/8",
    "::/0",
];

#[test]
fn a_text_that_does_not_fit_is_refused_by_the_reader() {
    let mut unfit = 0;
    for form in FORMS {
        let pattern = Pattern::of(form).unwrap();
        assert!(!fits(&pattern, pattern.wrong), "{form:?}: {}", pattern.wrong);
        assert!(!pattern.remedy.is_empty());
        for text in TEXTS.iter().chain([&pattern.wrong]) {
            let read = parse_value(&with(form, text));
            if !fits(&pattern, text) {
                assert!(read.is_err(), "{form:?}: {text:?} is taken");
                unfit += 1;
            }
        }
    }
    assert!(unfit > 900, "{unfit}");
}

#[test]
fn each_form_is_exact_but_for_what_an_expression_cannot_say() {
    for form in FORMS {
        let pattern = Pattern::of(form).unwrap();
        for text in TEXTS.iter().filter(|text| fits(&pattern, text)) {
            let Err(errors) = parse_value(&with(form, text)) else {
                continue;
            };
            let by_itself = [
                "unknown rate",
                "regex",
                "group",
                "segment",
                "too long",
                "2^53",
                "name",
                "network",
                "bits beyond",
            ];
            let shown = errors.to_string();
            let is_known = by_itself.iter().any(|why| shown.contains(why));
            // White space beyond ASCII.
            assert!(
                is_known || !text.is_ascii(),
                "{form:?}: {text:?} fits, but {shown}"
            );
        }
    }
}

#[test]
fn a_duration_that_does_not_fit_is_refused_by_the_reader() {
    let pattern = duration(1, 10_000);
    assert!(!fits(&pattern, pattern.wrong));
    for text in [
        "1ms", "10000ms", "10001ms", "0ms", "0.1m", "1m", "10.0s", "10.5s", "1 s", "1\u{a0}s", "1h", "1.5ms",
        "x", "5",
    ] {
        let policy = json!({"limits": [{"rate": "1/s"}], "redis": {"timeout": text}});
        assert!(
            fits(&pattern, text) || parse_value(&policy).is_err(),
            "{text} is taken"
        );
    }
    assert!(
        fits(&pattern, "10s")
            && fits(&pattern, "1\u{a0}s")
            && !fits(&pattern, "11s")
            && !fits(&pattern, "0s")
    );
}
