//! Values that leave their place in a key or collide with another's, and bytes that are not HTTP.

use super::{large_headers, left};
use crate::harness::*;

const SOURCES: &str = r#"
    identify:
    - {name: pair, all: [{header: x-tenant}, {header: x-user}], as: plain}
    - {name: app, header: x-app, as: plain}
    - {header: x-api-key}
    - {address: {}}
    limits:
    - {name: client, rate: 9/hour, match: {not: {path: /parts}}}
    - {name: parts, rate: 9/hour, match: {path: /parts}, key: ["header:x-a", "header:x-b", "query:q", path]}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn no_value_leaves_its_part_of_a_key_or_collides() {
    let redis = SingleRedis::start();
    let envoy = Envoy::with(&redis).policy(SOURCES).edit(large_headers).start();
    let http1 = Client::http1(envoy.port);
    let http2 = envoy.http2();
    let long = "k".repeat(60_000);
    let values: [&[u8]; 14] = [
        b"{}",
        b"}{",
        b"a}{b:c",
        b"{address:127.0.0.1}",
        b"a:b",
        b"a%3Ab",
        b"~9f86d081884c7d659a2feaa0c55ad015",
        b"9f86d081884c7d659a2feaa0c55ad015",
        b"127.0.0.1",
        b"tab\there",
        b"%00%0d%0a",
        b"\xff\xfe8-bit\x80",
        "\u{1F980}\u{202E}".as_bytes(),
        long.as_bytes(),
    ];
    for name in ["x-api-key", "x-app"] {
        for value in values {
            let shown = value[..value.len().min(40)].escape_ascii();
            assert_eq!(
                left(http1.get("/").header(name, value)).await,
                Some(8),
                "{name}: {shown}"
            );
            let again = http2.get("/").header(name, value);
            assert_eq!(left(again).await, Some(7), "{name} over HTTP/2: {shown}");
        }
    }
    assert_eq!(
        left(http1.get("/")).await,
        Some(8),
        "the address is not an API key"
    );
    let pair = |tenant: &str, user: &str| http1.get("/").header("x-tenant", tenant).header("x-user", user);
    for (tenant, user) in [
        ("a:b", "c"),
        ("a", "b:c"),
        ("a,b", "c"),
        ("a", "b,c"),
        ("a%2Cb", "c"),
        ("a", "bc"),
        ("ab", "c"),
        ("c", "ab"),
    ] {
        assert_eq!(left(pair(tenant, user)).await, Some(8), "{tenant} and {user}");
    }
    assert_eq!(
        left(pair("a", "b").header("x-user", "b").header("x-app", "twice")).await,
        Some(8),
        "a part that is sent twice is missing, and so is the pair"
    );
    let parts = |a: &str, b: &str, q: &str| {
        http1
            .get(&format!("/parts?q={q}"))
            .header("x-a", a)
            .header("x-b", b)
    };
    for (a, b, q) in [
        ("a,header:x-b=b", "", ""),
        ("a", "b", ""),
        ("", "a", "b"),
        ("a", "", "b"),
        ("", "", "ab"),
        ("ab", "", ""),
    ] {
        assert_eq!(left(parts(a, b, q)).await, Some(8), "{a}, {b}, {q}");
    }
    let keys = redis.keys("*");
    assert_eq!(
        keys.len(),
        2 * values.len() + 1 + 8 + 1 + 6,
        "one for each: {keys:#?}"
    );
    for key in &keys {
        let tag = key
            .strip_prefix(&format!("{}:main:{{", envoy.key_prefix))
            .expect("the prefix and a tag");
        let (tag, rest) = tag.split_once('}').expect("a whole tag");
        assert!(
            !tag.is_empty() && !format!("{tag}{rest}").contains(['{', '}']),
            "{key}"
        );
        assert!(
            key.len() < 300 && key.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
            "{key}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_not_http_are_refused_and_not_counted() {
    let redis = SingleRedis::start();
    let envoy = Envoy::with(&redis).policy("limits: [{rate: 9/hour}]").start();
    for value in ["a\0b", "a\x01b\x7f", "a\n: b", "\0"] {
        let mut connection = envoy.raw().await;
        let request = format!("GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {value}\r\n\r\n");
        connection.write(request).await.unwrap();
        let status = connection.receive().await.map(|(status, ..)| status);
        assert!(
            !matches!(status, Ok(200)),
            "{:?}: {status:?}",
            value.escape_debug()
        );
    }
    assert_eq!((envoy.upstream.requests(), redis.keys("*").len()), (0, 0));
    // Envoy lets some of it in: a bare CR, a header that goes on in the next line, and one that ends its request and
    // begins another.
    for value in [
        "a\rb",
        "a\r\n b",
        "a\r\nx-api-key: b",
        "a\r\n\r\nGET /x HTTP/1.1\r\nhost: b\r\nx-api-key: c",
    ] {
        let mut connection = envoy.raw().await;
        let request = format!("GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {value}\r\n\r\n");
        connection.write(request).await.unwrap();
        let _refused_or_counted = connection.receive().await;
    }
    let keys = redis.keys("*");
    assert!(
        keys.iter().all(|key| !key.contains(['\r', '\n', ' '])),
        "{keys:?}"
    );
    assert_eq!(
        left(envoy.get("/").header("x-api-key", "d")).await,
        Some(8),
        "the filter lives"
    );
}
