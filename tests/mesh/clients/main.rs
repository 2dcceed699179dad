//! Clients in Go and Java that retry, against Envoy with Headgate: they wait as long as a refusal requests, and pass. If
//! the refusal says that a retry cannot pass, they give up. `make test-meshes MESH=clients` builds and runs them; those in Python and
//! Node, and Envoy in front, are in `tests/e2e/clients`.

#[path = "../../e2e/harness/mod.rs"]
mod harness;

#[allow(dead_code)]
#[path = "../../e2e/clients/program.rs"]
mod program;

mod connect;
mod grpc;
mod http;
mod otlp;

use harness::*;
use program::Server;
use std::path::PathBuf;
use std::process::Command;

/// Five calls pass at once, the next when the window is over, which begins with its first call.
const WINDOW: &str =
    "{name: window, rate: 5/2s, algorithm: fixed_window, align: first_call, match: {path: '/**'}}";

fn built(name: &str) -> PathBuf {
    let path = root().join(".tools/mesh/clients").join(name);
    assert!(
        path.exists(),
        "no {}: make test-meshes MESH=clients",
        path.display()
    );
    path
}

/// A client in Go; `line` is its arguments.
fn go(line: &str) -> Command {
    let mut command = Command::new(built("go-clients"));
    command.args(line.split(' '));
    command
}

/// A client in Java.
fn java(line: &str) -> Command {
    let (libraries, classes) = (built("java"), built("classes"));
    let mut command = Command::new("java");
    command
        .arg("-cp")
        .arg(format!("{}/*:{}", libraries.display(), classes.display()))
        .arg("Clients")
        .args(line.split(' '));
    command
}

/// A client for the arguments in a line.
type Start = fn(&str) -> Command;
const CLIENTS: [(&str, Start); 2] = [("Go", go), ("Java", java)];

/// A service over gRPC, gRPC-Web, Connect and HTTP, and Envoy in front of it, with these limits.
fn envoy(limits: &str) -> (Server, Envoy) {
    let server = Server::start(|port| go(&format!("serve {port}")));
    let port = server.port;
    let envoy = Envoy::with(RedisCluster::shared())
        .policy(&format!("{{limits: [{limits}]}}"))
        .edit(move |config| {
            let upstream = config::cluster(config, "upstream");
            config::set_endpoints(upstream, &[port]);
            upstream["typed_extension_protocol_options"] = serde_json::json!({
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {"http2_protocol_options": {}}}});
        })
        .start();
    (server, envoy)
}

/// Requests that Envoy has had.
fn attempts(envoy: &Envoy) -> u64 {
    envoy.stat("http.http.downstream_rq_total")
}
