//! TLS on one side only, and certificates that one side refuses.

use super::*;
use crate::shipped::secured;
use crate::unreachable::{each, tls};
use serde_json::json;
use std::path::Path;

const VARIABLE: &str = "HEADGATE_REDIS_PASSWORD";
const PASSWORD: &str = "change-me";

/// The finding for an Envoy of this builder, whose requests are not counted.
async fn found(builder: EnvoyBuilder, id: &str, words: &[&str]) -> DoctorReport {
    let envoy = builder.env(VARIABLE, PASSWORD).policy(POLICY).cold().start();
    let report = until_found(&envoy, id).await;
    report.status(1).has(id, "error", words);
    report
}

fn certificates(name: &str) -> std::path::PathBuf {
    let dir = new_dir(name);
    let made = Command::new(root().join("scripts/certificates.sh"))
        .arg(&dir)
        .status();
    assert!(made.is_ok_and(|status| status.success()));
    dir
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_to_a_plain_redis_is_named() {
    let redis = SingleRedis::start();
    for builder in each(redis.port) {
        found(
            builder.edit(tls),
            "tls-unexpected",
            &["remove transport_socket", "PING"],
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_wants_tls_is_named() {
    let redis = RedisCluster::start_secured(&new_dir("doctor-tls"));
    for builder in each(redis.seeds()[0]) {
        let report = found(builder, "tls-missing", &["UpstreamTlsContext", "Redis's side"]).await;
        report.has_not(&["connection-closed", "tls-unexpected"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority_is_named_with_both() {
    let redis = RedisCluster::start_secured(&certificates("doctor-right"));
    let wrong = certificates("doctor-wrong");
    let ca = wrong.join("ca.pem").to_string_lossy().into_owned();
    let words = ["Envoy's side", &ca, "CN=headgate-example-ca", "CN=redis.internal"];
    found(secured(&redis, &wrong), "certificate-not-trusted", &words).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_expired_is_named() {
    let dir = certificates("doctor-expired");
    let again =
        "openssl x509 -req -in redis.csr -CA ca.pem -CAkey ca.key -days -1 -extfile redis.ext -out redis.pem";
    let made = Command::new("sh").args(["-c", again]).current_dir(&dir).output();
    assert!(made.is_ok_and(|made| made.status.success()), "{again}");
    let words = ["Envoy's side", "it has expired", "CN=redis.internal"];
    let (_redis, envoy) = single(&dir, "no");
    found(envoy, "certificate-not-trusted", &words).await;
}

/// One Redis with the certificates in a folder, and an Envoy that trusts its authority. `clients`: whether Redis wants a
/// certificate of them.
fn single(dir: &Path, clients: &str) -> (Node, EnvoyBuilder) {
    let file = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let [ca, certificate, key] = ["ca.pem", "redis.pem", "redis.key"].map(file);
    #[rustfmt::skip]
    let arguments = ["--tls-port", "TLSPORT", "--tls-auth-clients", clients, "--tls-ca-cert-file", &ca,
                     "--tls-cert-file", &certificate, "--tls-key-file", &key];
    let redis = Node::start(&arguments, None);
    let [single, _] = each(redis.tls_port.expect("a port with TLS"));
    let trusting = move |config: &mut Value| {
        tls(config);
        config::cluster(config, "redis")["transport_socket"]["typed_config"]["common_tls_context"] =
            json!({"validation_context": {"trusted_ca": {"filename": ca}}});
    };
    (redis, single.edit(trusting))
}

fn expects(dir: &Path, redis: &RedisCluster, name: &'static str) -> EnvoyBuilder {
    secured(redis, dir).edit(move |config| {
        let socket = &mut config::cluster(config, "redis")["transport_socket"]["typed_config"];
        socket["sni"] = json!(name);
        socket["common_tls_context"]["validation_context"]["match_typed_subject_alt_names"] =
            json!([{"san_type": "DNS", "matcher": {"exact": name}}]);
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_the_certificate_has_not_is_named_with_both() {
    let dir = certificates("doctor-name");
    let redis = RedisCluster::start_secured(&dir);
    let words = [
        "other.internal",
        "redis.internal",
        "127.0.0.1",
        "match_typed_subject_alt_names",
    ];
    found(
        expects(&dir, &redis, "other.internal"),
        "certificate-name",
        &words,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_redis_wants_of_envoy_is_named() {
    let (_redis, envoy) = single(&certificates("doctor-client"), "yes");
    found(envoy, "client-certificate", &["Redis's side", "tls_certificates"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_right_certificates_it_is_counted() {
    let dir = certificates("doctor-good");
    let redis = RedisCluster::start_secured(&dir);
    let envoy = secured(&redis, &dir)
        .env(VARIABLE, PASSWORD)
        .policy(POLICY)
        .start();
    until_counted(&envoy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_first_request_tls_is_examined_too() {
    let redis = RedisCluster::start_secured(&certificates("doctor-early"));
    let wrong = certificates("doctor-early-wrong");
    let envoy = secured(&redis, &wrong)
        .env(VARIABLE, PASSWORD)
        .policy(POLICY)
        .cold()
        .start();
    doctor(&envoy)
        .status(1)
        .has("no-traffic", "error", &[])
        .has("certificate-not-trusted", "error", &[]);
}
