//! Every kind of source that identifies a caller: verified by Envoy, or claimed by the caller.

use crate::harness::*;
use serde_json::json;
use std::path::Path;
use std::process::Command;

type Headers = &'static [(&'static str, &'static str)];

/// The client of each request so far, from the access log.
fn clients(envoy: &Envoy, requests: usize) -> Vec<String> {
    let log = envoy.access_log(requests);
    let client = |entry: &serde_json::Value| entry["ratelimit_client"].as_str().unwrap_or("-").to_owned();
    log.iter().map(client).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_cookies_queries_and_composites_identify_callers() {
    let envoy = Envoy::with(RedisCluster::shared())
        .policy(
            r#"
            identify:
            - {header: x-api-key}
            - {name: token, header: authorization, extract: "Bearer (.+)", as: plain}
            - {name: session, cookie: sid, as: plain}
            - {name: app, query: app_id, as: plain}
            - {name: pair, all: [{header: x-tenant}, {header: x-user}], as: plain}
            - {address: {ipv4_prefix: 24, ipv6_prefix: 48}}
            limits: [{rate: 100/minute}]
            "#,
        )
        .edit(|config| config::hcm(config)["xff_num_trusted_hops"] = 1.into())
        .start();
    let cases: &[(&str, Headers, &str)] = &[
        (
            "/",
            &[("x-api-key", "test")],
            "api_key:9f86d081884c7d659a2feaa0c55ad015",
        ),
        ("/", &[("authorization", "Bearer abc")], "token:abc"),
        ("/", &[("authorization", "Basic abc")], "address:10.1.2.0/24"),
        ("/", &[("cookie", "a=b; sid=s1")], "session:s1"),
        ("/", &[("cookie", "sid=s1; sid=s2")], "address:10.1.2.0/24"),
        ("/?app_id=x%31", &[], "app:x1"),
        ("/?app_id=x&app_id=y", &[], "address:10.1.2.0/24"),
        ("/", &[("x-tenant", "a"), ("x-user", "b")], "pair:a%2Cb"),
        ("/", &[("x-tenant", "a")], "address:10.1.2.0/24"),
        (
            "/?app_id=x",
            &[("cookie", "sid=s1"), ("authorization", "Bearer abc")],
            "token:abc",
        ),
        ("/", &[], "address:10.1.2.0/24"),
        (
            "/",
            &[("x-forwarded-for", "2001:db8:1:2::3")],
            "address:2001:db8:1::/48",
        ),
    ];
    for (path, headers, _) in cases {
        let mut request = envoy.get(path);
        if !headers.iter().any(|(name, _)| *name == "x-forwarded-for") {
            request = request.header("x-forwarded-for", "10.1.2.3");
        }
        for (name, value) in *headers {
            request = request.header(name, value);
        }
        assert_eq!(request.send().await.status, 200);
    }
    for ((path, headers, expected), client) in cases.iter().zip(clients(&envoy, cases.len())) {
        assert_eq!(client, *expected, "{path} {headers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_of_a_verified_token_identify_callers() {
    let claim = |name: &str, path: &str| {
        format!("{{name: {name}, metadata: [envoy.filters.http.jwt_authn, payload, {path}], as: plain}}")
    };
    let policy = format!(
        "{{identify: [{}, {}, {}, {{address: {{}}}}], limits: [{{rate: 100/minute}}]}}",
        claim("user", "sub"),
        claim("uid", "uid"),
        claim("org", "org, id")
    );
    let envoy = Envoy::with(RedisCluster::shared())
        .before(&jwt::filter())
        .policy(&policy)
        .start();
    let cases = [
        (json!({"sub": "alice"}), "user:alice"),
        (json!({"sub": "eight888"}), "user:eight888"),
        (json!({"sub": ""}), "address:127.0.0.1"),
        (json!({"uid": 42}), "uid:42"),
        (json!({"uid": 1234567}), "uid:1234567"),
        (json!({"uid": 0}), "uid:0"),
        (json!({"uid": -2.5}), "uid:-2.5"),
        (json!({"org": {"id": "acme"}}), "org:acme"),
        (json!({"org": {"id": 7}, "uid": 8}), "uid:8"),
        (json!({"org": "acme"}), "address:127.0.0.1"),
        (json!({"uid": {"id": "a"}}), "address:127.0.0.1"),
        (json!({"uid": ["a"]}), "address:127.0.0.1"),
        (json!({"uid": ["a", "b"]}), "address:127.0.0.1"),
        (json!({"uid": true}), "uid:true"),
        (json!({"uid": false}), "uid:false"),
        (json!({"uid": null}), "address:127.0.0.1"),
        (json!({"other": "x"}), "address:127.0.0.1"),
        (json!({"uid": []}), "address:127.0.0.1"),
        (json!({"uid": {}}), "address:127.0.0.1"),
        (json!({"uid": [null]}), "address:127.0.0.1"),
        (json!({"uid": [true]}), "address:127.0.0.1"),
        (json!({"uid": [[]]}), "address:127.0.0.1"),
        (json!({"uid": [1, 2]}), "address:127.0.0.1"),
        (json!({"uid": ["abcd"]}), "address:127.0.0.1"),
        (json!({"uid": ["ab0C"]}), "address:127.0.0.1"),
        (json!({"uid": " 42 "}), "uid:42"),
    ];
    for (claims, _) in &cases {
        let response = envoy
            .get("/")
            .header("authorization", jwt::bearer(claims))
            .send()
            .await;
        assert_eq!(response.status, 200, "{claims}");
    }
    for ((claims, expected), client) in cases.iter().zip(clients(&envoy, cases.len())) {
        assert_eq!(client, *expected, "{claims}");
    }
    let forged = jwt::bearer(&json!({"sub": "alice"})) + "x";
    let response = envoy.get("/").header("authorization", forged).send().await;
    assert_eq!(
        (response.status, response.header("x-ratelimit-limit")),
        (401, None)
    );
}

/// A certificate authority in `dir`, and a certificate for the server and for each kind of client.
fn certificates(dir: &Path) {
    let script = r#"
        set -eu
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test-ca -keyout ca.key -out ca.pem
        make() {
            openssl req -newkey rsa:2048 -nodes -subj "$2" -keyout "$1.key" -out "$1.csr"
            printf '%s\n' "$3" >"$1.ext"
            openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile "$1.ext" -out "$1.pem"
        }
        make server /CN=server subjectAltName=DNS:server.test
        make uri /CN=a 'subjectAltName=URI:spiffe://a/first,URI:spiffe://a/second,DNS:a.test'
        make dns /CN=b 'subjectAltName=DNS:b.test'
        make subject /O=c/CN=only keyUsage=digitalSignature
    "#;
    let output = Command::new("sh")
        .args(["-c", script])
        .current_dir(dir)
        .output()
        .expect("a shell");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

const CLIENTS: [&str; 3] = ["uri", "dns", "subject"];

/// The limited listener accepts only verified peers. In front of it a plain port for each client's certificate, so
/// that the test itself needs no TLS.
fn mutual_tls(config: &mut serde_json::Value, dir: &Path, ports: [u16; 3]) {
    let pair = |name: &str| {
        let file = |end: &str| json!({"filename": dir.join(format!("{name}.{end}"))});
        json!([{"certificate_chain": file("pem"), "private_key": file("key")}])
    };
    let ca = json!({"trusted_ca": {"filename": dir.join("ca.pem")}});
    let limited = config::listener(config, "http");
    let port = limited["address"]["socket_address"]["port_value"]
        .as_u64()
        .expect("a port") as u16;
    limited["filter_chains"][0]["transport_socket"] = json!({"name": "tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": true,
        "common_tls_context": {"tls_certificates": pair("server"), "validation_context": ca},
    }});
    for (name, plain) in CLIENTS.into_iter().zip(ports) {
        let cluster = format!("as-{name}");
        config["static_resources"]["clusters"]
            .as_array_mut()
            .expect("clusters")
            .push(json!({
                "name": cluster, "type": "STATIC", "connect_timeout": "5s",
                "load_assignment": {"cluster_name": cluster, "endpoints": [{"lb_endpoints": [{"endpoint": {"address":
                    {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}]}]},
                "transport_socket": {"name": "tls", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                    "common_tls_context": {"tls_certificates": pair(name), "validation_context": ca}}},
            }));
        config["static_resources"]["listeners"]
            .as_array_mut()
            .expect("listeners")
            .push(json!({
                "name": cluster,
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": plain}},
                "filter_chains": [{"filters": [{"name": "tcp", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                    "stat_prefix": cluster, "cluster": cluster}}]}],
            }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_is_identified_by_its_verified_certificate() {
    let dir = new_dir("mtls");
    certificates(&dir);
    let ports = [free_port(), free_port(), free_port()];
    let policy = "{identify: [{name: peer, tls: uri_san, as: plain}, {name: host, tls: dns_san, as: plain}, \
                  {name: subject, tls: subject, as: plain}, {address: {}}], limits: [{rate: 100/minute}]}";
    let envoy = Envoy::with(RedisCluster::shared())
        .policy(policy)
        .edit(move |config| mutual_tls(config, &dir, ports))
        .start();
    for port in ports {
        assert_eq!(Client::http1(port).get("/").send().await.status, 200);
    }
    assert_eq!(
        clients(&envoy, 3),
        [
            "peer:spiffe%3A//a/first",
            "host:b.test",
            "subject:CN%3Donly%2CO%3Dc"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_client_the_limits_of_other_keys_still_apply() {
    let start = |word: &str| {
        Envoy::with(RedisCluster::shared())
            .policy(&format!(
                "{{on_no_client: {word}, identify: [{{header: x-api-key}}], \
                 limits: [{{rate: 9/hour}}, {{name: ceiling, rate: 2/hour, key: [address]}}]}}"
            ))
            .start()
    };
    let seen = async |envoy: &Envoy, key: &str| {
        let response = envoy.get("/").header("x-api-key", key).send().await;
        (response.status, response.number("x-ratelimit-remaining"))
    };
    let allow = start("allow");
    assert_eq!(seen(&allow, "").await, (200, Some(1)), "the ceiling's");
    assert_eq!(seen(&allow, "a").await, (200, Some(0)));
    assert_eq!(seen(&allow, "").await, (429, Some(0)));
    let deny = start("deny");
    assert_eq!(seen(&deny, "").await, (403, None));
    assert_eq!(
        seen(&deny, "a").await,
        (200, Some(1)),
        "the refused one was not counted"
    );
}
