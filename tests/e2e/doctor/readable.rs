//! What is no Envoy with Headgate: nothing there, no HTTP, another server, an Envoy without it.

use super::*;

fn local(port: u16) -> Vec<String> {
    vec![format!("127.0.0.1:{port}")]
}

#[test]
fn an_admin_interface_that_cannot_be_reached_is_2() {
    let report = doctor_at(&local(free_port()), &[], &[]);
    report
        .status(2)
        .has("admin-unreachable", "unreadable", &["refused", "admin.address"]);
    let report = doctor_at(&["http://envoy.invalid:9901".to_owned()], &[], &[]);
    report
        .status(2)
        .has("admin-unreachable", "unreadable", &["lookup"]);
}

#[test]
fn what_speaks_no_http_is_2() {
    let redis = SingleRedis::start();
    doctor_at(&local(redis.port), &[], &[])
        .status(2)
        .has("not-http", "unreadable", &["port"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_envoys_admin_interface_is_2() {
    let envoy = Envoy::local().start();
    // The port that takes requests, and the upstream behind it, which answers 200 with JSON.
    for port in [envoy.port, envoy.upstream.port] {
        doctor_at(&local(port), &[], &[])
            .status(2)
            .has("not-envoy", "unreadable", &["/server_info"]);
    }
}

#[test]
fn https_and_other_schemes_are_refused_with_a_reason() {
    for (address, id) in [
        ("https://127.0.0.1:9901", "https"),
        ("ftp://127.0.0.1:9901", "bad-address"),
        ("http://", "bad-address"),
        ("127.0.0.1:99999", "bad-address"),
    ] {
        let report = doctor_at(&[address.to_owned()], &[], &[]);
        report.status(2).has(id, "unreadable", &["http://HOST:PORT"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_without_headgate_is_1() {
    let envoy = Envoy::local().without_filter().start();
    doctor(&envoy)
        .status(1)
        .has("no-headgate", "error", &["headgate patch"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worst_of_several_envoys_is_the_status() {
    let envoy = Envoy::local().start();
    let counted = until_counted(&envoy).await;
    assert_eq!(counted.status, 0);
    let other = local(free_port()).remove(0);
    let report = doctor_at(&[address(&envoy), other], &[], &[]);
    report.status(2).has("admin-unreachable", "unreadable", &[]);
    assert_eq!(report.json["envoys"][0]["status"], 0, "{}", report.text);
    assert_eq!(report.json["envoys"][1]["status"], 2, "{}", report.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_interface_without_a_page_is_2() {
    let envoy = Envoy::local()
        .edit(|config| {
            let allowed =
                ["/ready", "/server_info", "/stats"].map(|path| serde_json::json!({"prefix": path}));
            config["admin"]["allow_paths"] = serde_json::json!(allowed);
        })
        .start();
    let report = doctor(&envoy);
    report
        .status(2)
        .has("no-page", "unreadable", &["/config_dump", "allow_paths"]);
}
