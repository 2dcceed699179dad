//! What callers may try: values that leave their place in a key or meet another's, bytes that are no HTTP, sizes,
//! numbers of callers, forged state; and that no secret of theirs stands anywhere in clear.

use crate::harness::*;
use std::collections::BTreeSet;

/// The longest wait that a period of 366 d can mean, in seconds.
const YEAR: i64 = 366 * 86_400;

async fn left(request: Request) -> Option<i64> {
    let response = request.send().await;
    assert_eq!(response.status, 200, "{:?}", response.text());
    response.number("x-ratelimit-remaining")
}

/// Room for 60 KB in one header.
fn large_headers(config: &mut serde_json::Value) {
    config::hcm(config)["max_request_headers_kb"] = 96.into();
}

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
async fn no_value_leaves_its_place_in_a_key_or_meets_anothers() {
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
        "the address is nobody's API key"
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
        "a part sent twice is none, and so is the pair"
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
async fn what_is_no_http_is_refused_by_envoy_and_counts_for_nobody() {
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

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_is_never_negative_or_absurd_whatever_the_period_and_whatever_stands_in_redis() {
    let redis = SingleRedis::start();
    let limits = [
        "rate: 1/366d, algorithm: fixed_window",
        "rate: 1/366d, algorithm: fixed_window, align: client",
        "rate: 1/366d, algorithm: sliding_window_log",
        "rate: 1/366d, algorithm: sliding_window_counter",
        "rate: 1/366d, algorithm: gcra",
        "rate: 0/366d",
        "rate: 284836/366d, cost: 284836, algorithm: gcra",
    ];
    let limits: Vec<String> = limits
        .iter()
        .enumerate()
        .map(|(n, limit)| format!("{{name: l{n}, match: {{path: /{n}}}, {limit}}}"))
        .collect();
    let policy = format!(
        "{{limits: [{}], verdict_cache: {{max_age: 0s}}, response: {{headers: [x-ratelimit, ietf]}}}}",
        limits.join(", ")
    );
    let envoy = Envoy::with(&redis).policy(&policy).start();
    let call = async |n: usize, what: &str| {
        let response = envoy.get(&format!("/{n}")).header("x-api-key", "a").send().await;
        if response.status == 429 {
            let wait = response.number("retry-after").unwrap_or(-1);
            // A sliding counter remembers the window before.
            assert!((1..=2 * YEAR).contains(&wait), "{what}, limit {n}: {wait}");
        }
        if let Some(reset) = response.number("x-ratelimit-reset") {
            let now = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap();
            let reset = reset - now.as_secs() as i64;
            assert!((-1..=2 * YEAR + 1).contains(&reset), "{what}, limit {n}: {reset}");
        }
        response.status
    };
    for n in 0..limits.len() {
        let first = call(n, "first").await;
        assert_eq!(first, if n == 5 { 429 } else { 200 });
        assert_eq!(call(n, "second").await, 429);
    }
    // Others write in Redis what they like: the counters' own form with times far off, and no form at all.
    let hash = redis
        .keys("*")
        .into_iter()
        .find(|key| key.ends_with('}'))
        .expect("the client's hash");
    let fields: Vec<String> = redis.call(&["HKEYS", &hash]);
    let log = redis
        .keys("*")
        .into_iter()
        .find(|key| key.contains(":ring:"))
        .expect("a log");
    for value in [
        "",
        "garbage",
        "-1",
        "-1 -1 -1",
        "nan",
        "inf",
        "1e308 1e308",
        "9007199254740993",
        "4102444800000 1",
        "1 4102444800000",
        "4102444800000 4102444800000 4102444800000",
        "0x10",
        "\u{0}\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}\u{7}",
    ] {
        for field in &fields {
            let _set: i64 = redis.call(&["HSET", &hash, field, value]);
        }
        let _set: String = redis.call(&["SET", &log, value]);
        for n in 0..limits.len() {
            let status = call(n, value).await;
            assert!([200, 429].contains(&status), "{value:?}, limit {n}: {status}");
        }
    }
}

const SECRET: &str = "S3cr3t-of-a-caller";

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_a_caller_stands_anywhere_in_clear() {
    let redis = SingleRedis::start();
    let policy = r#"
        on_error: allow
        verdict_cache: {max_age: 0s}
        identify:
        - {name: token, header: authorization, extract: "Bearer (.+)"}
        - {header: x-api-key}
        - {name: session, cookie: sid}
        - {name: app, query: app_key}
        - {name: pair, all: [{header: x-tenant}, {header: x-user}]}
        limits:
        - {name: log, rate: 2/hour}
        - {name: counter, rate: 1000/hour, enforce: false}
        - {name: shadow, rate: 0/hour, enforce: false}
        - {name: parts, rate: 500/hour, key: ["header:x-api-key", "query:app_key", "cookie:sid"]}
        - {name: beside, rate: 9/hour, key: [client, "header:authorization", "header:x-user"]}
    "#;
    let envoy = Envoy::with(&redis).policy(policy).start();
    let callers = || {
        [
            envoy.get("/").header("authorization", format!("Bearer {SECRET}")),
            envoy.get("/").header("x-api-key", SECRET),
            envoy.get("/").header("cookie", format!("a=b; sid={SECRET}")),
            envoy.get(&format!("/?app_key={SECRET}")),
            envoy.get("/").header("x-tenant", "t").header("x-user", SECRET),
        ]
    };
    let own = ["authorization", "x-api-key", "cookie", "x-user"];
    let mut statuses = Vec::new();
    for _ in 0..3 {
        for request in callers() {
            let response = request.send().await;
            assert!(
                !format!("{:?}", response.headers).contains(SECRET),
                "in a response"
            );
            if response.status == 200 {
                let added: Vec<serde_json::Value> = response.json()["headers"].as_array().unwrap().clone();
                for header in added
                    .iter()
                    .filter(|header| !own.contains(&header[0].as_str().unwrap()))
                {
                    assert!(!header.to_string().contains(SECRET), "the filter adds {header}");
                }
            }
            statuses.push(response.status);
        }
    }
    assert_eq!(statuses, [[200; 5], [200; 5], [429; 5]].concat());
    let keys = redis.keys("*");
    let mut places = vec![keys.join("\n")];
    for key in &keys {
        let dump: Vec<u8> = redis.call(&["DUMP", key]);
        places.push(String::from_utf8_lossy(&dump).into_owned());
    }
    // What cannot be counted is logged.
    redis.kill();
    for request in callers() {
        assert_eq!(request.send().await.status, 200);
    }
    places.push(format!("{:?}", envoy.access_log(20)));
    places.push(envoy.log());
    for path in [
        "/stats",
        "/stats/prometheus",
        "/config_dump",
        "/clusters",
        "/listeners",
        "/server_info",
    ] {
        places.push(envoy.admin(path));
    }
    for place in places {
        let at = place.find(SECRET);
        assert!(
            at.is_none(),
            "in clear: {}",
            &place[at.unwrap_or(0).saturating_sub(200)..][..220]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_at_envoys_bounds_are_counted_like_any_other() {
    let redis = SingleRedis::start();
    let policy = r#"
        identify: [{name: session, cookie: sid}, {name: app, query: app_id}, {header: x-api-key}]
        limits: [{rate: 99/hour, key: [client, path, host, method]}]
    "#;
    let envoy = Envoy::with(&redis).policy(policy).edit(large_headers).start();
    for client in [Client::http1(envoy.port), envoy.http2()] {
        let many = (0..90).fold(client.get("/many").header("x-api-key", "a"), |request, n| {
            request.header(&format!("x-{n}"), "v".repeat(600))
        });
        let cookies: Vec<String> = (0..4_000).map(|n| format!("c{n}={n}")).collect();
        let cookies = client
            .get("/cookies")
            .header("cookie", format!("{}; sid=7", cookies.join("; ")));
        let query: Vec<String> = (0..3_000).map(|n| format!("q{n}=%61%zz&&=")).collect();
        let query = client.get(&format!("/query?{}&app_id=7", query.join("&")));
        let path = client
            .get(&format!("/{}", "a/../%2e/b/".repeat(5_000)))
            .header("x-api-key", "a");
        for request in [many, cookies, query, path] {
            assert_eq!(request.send().await.status, 200);
        }
    }
    let decisions = envoy.access_log(8);
    assert!(
        decisions
            .iter()
            .all(|entry| entry["ratelimit_decision"] == "allowed"),
        "{decisions:?}"
    );
    let clients: BTreeSet<&str> = decisions
        .iter()
        .filter_map(|entry| entry["ratelimit_client"].as_str())
        .collect();
    assert_eq!(
        clients.len(),
        3,
        "a cookie, a parameter and a key, whatever the protocol: {clients:?}"
    );
    assert!(redis.keys("*").iter().all(|key| key.len() < 300));
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_callers_with_large_headers_leave_memory_where_it_was() {
    let redis = SingleRedis::start();
    let envoy = Envoy::with(&redis)
        .policy("{limits: [{rate: 1/hour}], verdict_cache: {max_age: 10s}}")
        .edit(large_headers)
        .start();
    let filler = "f".repeat(50_000);
    let wave = async |from: usize, count: usize| {
        for start in (from..from + count).step_by(50) {
            let request = |n: usize| {
                let key = format!("{}-{}", start + n % 25, "k".repeat(9_000));
                envoy
                    .get("/")
                    .header("x-api-key", key)
                    .header("x-filler", &filler)
            };
            for response in envoy.at_once(50, request).await {
                assert!([200, 429].contains(&response.status));
            }
        }
    };
    wave(0, 200).await;
    let before = envoy.resident_kib();
    wave(200, 1_000).await;
    let grown = envoy.resident_kib().saturating_sub(before);
    assert!(grown < 24 << 10, "{grown} KiB more after 60 MB of headers");
    assert_eq!(
        envoy.get("/").header("x-api-key", "new").send().await.status,
        200,
        "the filter lives"
    );
}
