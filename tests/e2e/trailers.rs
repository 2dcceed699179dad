//! Quotas in trailers are forged, or belong to another limiter: they are removed, and other trailers stay.

use crate::harness::*;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Reads until the end of a message in chunks with trailers.
async fn read_message(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let read = stream.read_buf(&mut bytes).await.expect("a message");
        let text = String::from_utf8_lossy(&bytes);
        if text.contains("\r\n0\r\n") && text.ends_with("\r\n\r\n") {
            return text.into_owned();
        }
        assert!(read > 0, "the end in the middle of {text}");
    }
}

/// What the upstream gets and what the caller gets, each of whom is sent `x-ratelimit-limit` in trailers.
async fn exchange(policy: &str) -> [String; 2] {
    let upstream = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = upstream.local_addr().expect("an address").port();
    let seen = tokio::spawn(async move {
        let (mut stream, _) = upstream.accept().await.expect("a connection");
        let seen = read_message(&mut stream).await;
        let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\
            x-ratelimit-limit: 8\r\nratelimit: forged\r\nx-other: stays\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.expect("an answer");
        seen
    });
    let envoy = Envoy::with(RedisCluster::shared())
        .policy(policy)
        .edit(move |config| {
            config::hcm(config)["http_protocol_options"] = json!({"enable_trailers": true});
            let cluster = config::cluster(config, "upstream");
            config::set_endpoints(cluster, &[port]);
            let options = json!({"@type": format!("type.googleapis.com/{OPTIONS}"),
                "explicit_http_config": {"http_protocol_options": {"enable_trailers": true}}});
            cluster["typed_extension_protocol_options"] = json!({ OPTIONS: options });
        })
        .start();
    let mut caller = RawConnection::open(envoy.port).await;
    caller
        .write("POST / HTTP/1.1\r\nhost: test\r\nx-api-key: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\
            x-ratelimit-limit: 7\r\nX-RateLimit-Remaining: 7\r\nx-other: stays\r\n\r\n")
        .await
        .expect("a request");
    let got = read_message(&mut caller.stream).await;
    [seen.await.expect("a request"), got]
}

fn trailers(message: &str) -> Vec<&str> {
    let (_, trailers) = message.split_once("\r\n0\r\n").expect("trailers");
    trailers.lines().filter(|line| !line.is_empty()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn quota_trailers_are_removed_unless_the_upstream_may_send_them() {
    let [seen, got] = exchange("limits: [{rate: 9/hour}]").await;
    assert_eq!(trailers(&seen), ["x-other: stays"], "{seen}");
    assert_eq!(trailers(&got), ["x-other: stays"], "{got}");
    assert!(got.contains("x-ratelimit-limit: 9"), "{got}");
    let [seen, got] = exchange("{limits: [{rate: 9/hour}], response: {upstream_headers: keep}}").await;
    assert_eq!(trailers(&seen), ["x-other: stays"], "{seen}");
    assert_eq!(trailers(&got).len(), 3, "{got}");
}
