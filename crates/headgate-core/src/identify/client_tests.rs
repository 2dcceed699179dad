//! Each source by itself, then attempts to trick any of them.

use super::*;
use crate::identify::{Extract, FakeRequest, TlsField};
use proptest::prelude::*;

fn source(kind: SourceKind) -> Source {
    Source {
        name: "s".into(),
        kind,
        extract: None,
        plain: true,
    }
}

fn header(name: &str) -> Source {
    source(SourceKind::Header(name.into()))
}

fn address(ipv4_prefix: u8, ipv6_prefix: u8) -> Source {
    source(SourceKind::Address {
        ipv4_prefix,
        ipv6_prefix,
    })
}

fn secret(source: Source) -> Source {
    Source {
        plain: false,
        ..source
    }
}

/// The client by these sources, with `on_ambiguous_client: next`.
fn client(sources: &[Source], request: &FakeRequest, hasher: &Hasher) -> Option<Client> {
    identify(sources, request, hasher, false).client().cloned()
}

fn shown(source: &Source, request: &FakeRequest) -> Option<String> {
    let client = client(std::slice::from_ref(source), request, &Hasher::new(None))?;
    Some(client.to_string())
}

fn request(headers: &[(&str, &str)]) -> FakeRequest {
    FakeRequest::new("10.1.2.3", headers)
}

fn hashed(value: &[u8]) -> Option<String> {
    Some(format!("s:{}", Hasher::new(None).digest(value)))
}

#[test]
fn each_source_reads_its_own_place() {
    let mut request = request(&[
        (":path", "/p?app_id=query"),
        ("x-api-key", "header"),
        ("cookie", "a=b; sid=cookie"),
    ]);
    let path = ["envoy.filters.http.jwt_authn", "payload", "sub"]
        .map(String::from)
        .to_vec();
    request.metadata.push((path.clone(), b"metadata".to_vec()));
    request.tls.push((TlsField::UriSan, b"spiffe://a/b".to_vec()));
    request.tls.push((TlsField::Subject, b"CN=x".to_vec()));
    for (kind, expected) in [
        (SourceKind::Header("x-api-key".into()), Some("s:header")),
        (SourceKind::Header("x-none".into()), None),
        (SourceKind::Cookie("sid".into()), Some("s:cookie")),
        (SourceKind::Cookie("sit".into()), None),
        (SourceKind::Query("app_id".into()), Some("s:query")),
        (SourceKind::Query("p".into()), None),
        (SourceKind::Metadata(path), Some("s:metadata")),
        (SourceKind::Metadata(vec!["other".into()]), None),
        (SourceKind::Tls(TlsField::UriSan), Some("s:spiffe%3A//a/b")),
        (SourceKind::Tls(TlsField::Subject), Some("s:CN%3Dx")),
        (SourceKind::Tls(TlsField::DnsSan), None),
    ] {
        assert_eq!(
            shown(&source(kind.clone()), &request).as_deref(),
            expected,
            "{kind:?}"
        );
    }
}

#[test]
fn a_value_is_shown_only_where_it_is_no_secret() {
    let request = request(&[("x-api-key", "test")]);
    assert_eq!(
        shown(&secret(header("x-api-key")), &request),
        Some("s:9f86d081884c7d659a2feaa0c55ad015".into())
    );
    assert_eq!(shown(&header("x-api-key"), &request), Some("s:test".into()));
    let client = client(&[secret(header("x-api-key"))], &request, &Hasher::new(Some(b"k"))).unwrap();
    assert!(!format!("{client:?} {client}").contains("test"));
}

#[test]
fn the_first_source_that_yields_a_value_wins() {
    let mut sources = [header("x-a"), header("x-b"), address(32, 64)];
    for (i, source) in sources.iter_mut().enumerate() {
        source.name = format!("s{i}");
    }
    let who = |headers: &[(&str, &str)]| client(&sources, &request(headers), &Hasher::new(None)).unwrap();
    assert_eq!(who(&[("x-b", "b"), ("x-a", "a")]).to_string(), "s0:a");
    assert_eq!(who(&[("x-b", "b"), ("x-a", "")]).to_string(), "s1:b");
    assert_eq!(
        who(&[("x-b", "b"), ("x-a", "a"), ("x-a", "a")]).to_string(),
        "s1:b"
    );
    assert_eq!(who(&[]).to_string(), "s2:10.1.2.3");
    assert_eq!(who(&[]).index, 2);
}

#[test]
fn an_address_is_cut_and_an_ipv4_mapped_one_is_ipv4() {
    for (ip, ipv4_prefix, ipv6_prefix, expected) in [
        ("10.1.2.3", 32, 64, "s:10.1.2.3"),
        ("10.1.2.3", 24, 64, "s:10.1.2.0/24"),
        ("10.1.2.3", 0, 64, "s:0.0.0.0/0"),
        ("::ffff:10.1.2.3", 24, 64, "s:10.1.2.0/24"),
        ("::ffff:10.1.2.3", 32, 128, "s:10.1.2.3"),
        ("2001:db8:1:2:3::4", 32, 64, "s:2001:db8:1:2::/64"),
        ("2001:db8::4", 32, 128, "s:2001:db8::4"),
        ("::1", 32, 64, "s:::/64"),
    ] {
        let found = shown(&address(ipv4_prefix, ipv6_prefix), &FakeRequest::new(ip, &[]));
        assert_eq!(found.as_deref(), Some(expected), "{ip}");
    }
    assert_eq!(shown(&address(32, 64), &FakeRequest::default()), None);
}

#[test]
fn extract_takes_the_group_of_the_whole_value() {
    let token = Source {
        extract: Some(Extract::parse("Bearer (.*)").unwrap()),
        ..header("authorization")
    };
    let who = |value| shown(&token, &request(&[("authorization", value)]));
    assert_eq!(who("Bearer abc"), Some("s:abc".into()));
    assert_eq!(who("Bearer "), None, "an empty group is no value");
    assert_eq!(who("Basic abc"), None);
    assert_eq!(who("xBearer abc"), None);
}

#[test]
fn a_composite_needs_every_part_and_separates_them() {
    let pair = source(SourceKind::All(vec![header("x-tenant"), header("x-user")]));
    let who = |tenant, user| shown(&pair, &request(&[("x-tenant", tenant), ("x-user", user)]));
    assert_eq!(who("acme", "alice"), Some("s:acme%2Calice".into()));
    assert_eq!(who("acme", ""), None);
    assert_eq!(shown(&pair, &request(&[("x-user", "alice")])), None);
    for (left, right) in [
        (("a:b", "c"), ("a", "b:c")),
        (("a_b", "c"), ("a", "b_c")),
        (("a,b", "c"), ("a", "b,c")),
        (("a%2Cb", "c"), ("a,b", "c")),
    ] {
        assert_ne!(who(left.0, left.1), who(right.0, right.1), "{left:?} {right:?}");
    }
    let hidden = shown(
        &secret(pair),
        &request(&[("x-tenant", "acme"), ("x-user", "alice")]),
    );
    assert_eq!(
        hidden,
        hashed(b"acme,alice"),
        "what `headgate hash acme,alice` prints"
    );
}

#[test]
fn a_composite_may_contain_an_address() {
    let pair = source(SourceKind::All(vec![header("x-tenant"), address(32, 64)]));
    let by_ipv6 = FakeRequest::new("2001:db8::1", &[("x-tenant", "acme")]);
    assert_eq!(
        shown(&pair, &by_ipv6),
        Some("s:acme%2C2001%253Adb8%253A%253A/64".into())
    );
}

#[test]
fn hostile_values_are_tamed() {
    let who = |value: &[u8]| {
        let mut request = request(&[]);
        request.headers.push(("x-api-key".into(), value.to_vec()));
        shown(&header("x-api-key"), &request).unwrap()
    };
    assert_eq!(who(b"{a}"), "s:%7Ba%7D");
    assert_eq!(who(b"a\r\nSET x 1\r\n\0"), "s:a%0D%0ASET x 1%0D%0A%00");
    assert_eq!(who(b"\xff\xfe"), "s:%FF%FE");
    assert_eq!(
        who(b"~9f86d081884c7d659a2feaa0c55ad015"),
        "s:%7E9f86d081884c7d659a2feaa0c55ad015"
    );
    assert_eq!(who(&[b'k'; 60_000]).len(), "s:~".len() + 32);
}

#[test]
fn white_space_around_a_value_is_no_part_of_it() {
    let token = Source {
        extract: Extract::parse("(?i:bearer) +(.+)").ok(),
        ..header("authorization")
    };
    let padded = Source {
        extract: Extract::parse("([^/]*)/.*").ok(),
        ..header("x-api-key")
    };
    let pair = source(SourceKind::All(vec![header("x-tenant"), header("x-user")]));
    for (source, spellings) in [
        (
            token,
            &[
                ("authorization", "Bearer K"),
                ("authorization", "bearer   K\t"),
                ("authorization", " BEARER K"),
            ][..],
        ),
        (
            padded,
            &[
                ("x-api-key", "K/a"),
                ("x-api-key", " K /a"),
                ("x-api-key", "K\t/ "),
            ],
        ),
        (pair, &[("x-user", "K"), ("x-user", " K"), ("x-user", "K\t ")]),
        (
            source(SourceKind::Cookie("sid".into())),
            &[
                ("cookie", "sid=K"),
                ("cookie", "sid= K\t; a=b"),
                ("cookie", "sid=%20K%0a"),
                ("cookie", "sid=\" K\""),
            ],
        ),
        (
            source(SourceKind::Query("k".into())),
            &[
                (":path", "/?k=K"),
                (":path", "/?k=+K"),
                (":path", "/?k=K%20%09"),
                (":path", "/?k=%0bK"),
            ],
        ),
    ] {
        let who = |spelling| shown(&source, &request(&[("x-tenant", "T"), spelling]));
        let first = who(spellings[0]);
        assert!(first.is_some(), "{source:?}");
        for spelling in spellings {
            assert_eq!(who(*spelling), first, "{spelling:?}");
        }
    }
}

#[test]
fn white_space_around_metadata_is_no_part_of_it() {
    let path = vec!["a".to_owned()];
    let by_metadata = source(SourceKind::Metadata(path.clone()));
    for text in ["K", " K", "K\n"] {
        let mut request = request(&[]);
        request.metadata.push((path.clone(), text.into()));
        assert_eq!(shown(&by_metadata, &request).as_deref(), Some("s:K"), "{text:?}");
    }
}

#[test]
fn several_cookie_headers_are_one_list() {
    let sid = source(SourceKind::Cookie("sid".into()));
    let who = |first, second| shown(&sid, &request(&[("cookie", first), ("cookie", second)]));
    assert_eq!(who("a=1", "sid=K").as_deref(), Some("s:K"));
    assert_eq!(who("sid=K; a=1", "b=2").as_deref(), Some("s:K"));
    assert_eq!(who("sid=K", "sid=K"), None, "it comes twice");
}

#[test]
fn a_source_with_several_values_is_ambiguous_if_reached() {
    let sources = [header("x-first"), header("x-api-key"), address(32, 64)];
    let who = |headers: &[(&str, &str)]| identify(&sources, &request(headers), &Hasher::new(None), true);
    assert_eq!(
        who(&[("x-api-key", "a"), ("x-api-key", "a")]),
        Identity::Ambiguous(1)
    );
    assert_eq!(
        who(&[("x-api-key", ""), ("x-api-key", "a")]),
        Identity::Ambiguous(1)
    );
    let reached_before = who(&[("x-first", "f"), ("x-api-key", "a"), ("x-api-key", "b")]);
    assert_eq!(
        reached_before.source(),
        Some(0),
        "the second source is not reached"
    );
    let kinds = [
        (SourceKind::Cookie("c".into()), vec![("cookie", "c=1; c=2")]),
        (
            SourceKind::Cookie("c".into()),
            vec![("cookie", "c=1"), ("cookie", "c=1")],
        ),
        (SourceKind::Query("q".into()), vec![(":path", "/?q=1&a=b&%71=1")]),
        (
            SourceKind::All(vec![header("x-tenant"), header("x-user")]),
            vec![("x-tenant", "t"), ("x-user", "a"), ("x-user", "b")],
        ),
    ];
    for (kind, headers) in kinds {
        let found = identify(
            &[source(kind.clone())],
            &request(&headers),
            &Hasher::new(None),
            true,
        );
        assert_eq!(found, Identity::Ambiguous(0), "{kind:?}");
    }
    let pair = source(SourceKind::All(vec![header("x-user"), header("x-tenant")]));
    let without_a_part = request(&[("x-user", "a"), ("x-user", "b")]);
    assert_eq!(
        identify(&[pair], &without_a_part, &Hasher::new(None), true),
        Identity::Unknown,
        "a composite without one of its parts has no value, whatever the others are"
    );
}

#[test]
fn what_an_operator_wrote_is_found_again() {
    let hasher = Hasher::new(Some(b"k"));
    let found = |source: &Source, value: &str, request: &FakeRequest| {
        let client = client(std::slice::from_ref(source), request, &hasher).unwrap();
        Some(client.value) == source.client_value(value, &hasher)
    };
    let by_key = request(&[("x-api-key", "a:b")]);
    for source in [header("x-api-key"), secret(header("x-api-key"))] {
        assert!(found(&source, "a:b", &by_key) && found(&source, " a:b\t", &by_key));
        assert!(!found(&source, "a", &by_key));
    }
    let by_address = FakeRequest::new("10.1.2.3", &[]);
    assert!(found(&address(32, 64), "10.1.2.3", &by_address));
    assert!(found(&address(24, 64), "10.1.2.0/24", &by_address));
    assert!(found(&address(24, 64), "10.1.2.77", &by_address));
    assert!(!found(&address(32, 64), "10.1.2.4", &by_address));
    assert_eq!(address(32, 64).client_value("somebody", &hasher), None);
    assert_eq!(header("x-api-key").client_value("", &hasher), None);
}

#[test]
fn an_address_matches_only_with_its_configured_prefix() {
    let hasher = Hasher::new(None);
    let wide = |source: &Source, value| source.client_value(value, &hasher);
    assert_eq!(
        wide(&address(32, 64), "10.0.0.0/8"),
        None,
        "a /8 identifies no client here"
    );
    assert!(wide(&address(8, 64), "10.0.0.0/8").is_some());
}

proptest! {
    #[test]
    fn two_values_are_never_one_client(a: Vec<u8>, b: Vec<u8>, c: Vec<u8>, d: Vec<u8>) {
        let [a, b, c, d] = [&a, &b, &c, &d].map(|value| trimmed(value).to_vec());
        prop_assume!(![&a, &b, &c, &d].iter().any(|value| value.is_empty()));
        let pair = source(SourceKind::All(vec![header("x-a"), header("x-b")]));
        let with = |x: &[u8], y: &[u8]| FakeRequest {
            headers: vec![("x-a".into(), x.to_vec()), ("x-b".into(), y.to_vec())],
            ..FakeRequest::default()
        };
        let (left, right) = (with(&a, &b), with(&c, &d));
        for pair in [pair.clone(), secret(pair)] {
            prop_assert_eq!((&a, &b) == (&c, &d), shown(&pair, &left) == shown(&pair, &right));
        }
        for one in [header("x-a"), secret(header("x-a"))] {
            prop_assert_eq!(a == c, shown(&one, &left) == shown(&one, &right));
        }
    }

    #[test]
    fn no_bytes_make_them_panic(path: Vec<u8>, cookie: Vec<u8>, key: Vec<u8>) {
        let request = FakeRequest {
            headers: vec![(":path".into(), path), ("cookie".into(), cookie), ("x-api-key".into(), key)],
            ..FakeRequest::default()
        };
        let extracted = Source { extract: Extract::parse("(.).*").ok(), ..header("x-api-key") };
        let sources = [source(SourceKind::Query("a".into())), source(SourceKind::Cookie("a".into())), extracted];
        sources.iter().for_each(|source| { shown(source, &request); });
    }
}
