//! Passwords, users and rights.

use super::*;
use crate::shipped::secured;
use crate::unreachable::{each, password};
use serde_json::json;

const WRONG: &str = "s3cret-and-wrong";
const RIGHT: &str = "default";

fn with_password() -> Node {
    Node::start(&["--requirepass", RIGHT], Some(RIGHT))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_password_is_noauth() {
    let redis = with_password();
    for builder in each(redis.port) {
        let envoy = builder.policy(POLICY).cold().start();
        let report = until_found(&envoy, "noauth").await;
        report
            .status(1)
            .has("noauth", "error", &["auth_password"])
            .has_not(&["wrongpass"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_wrongpass_and_never_shown() {
    let redis = with_password();
    for builder in each(redis.port) {
        let builder = builder.edit(|config| password(config, WRONG));
        let envoy = builder.policy(POLICY).cold().start();
        let report = until_found(&envoy, "wrongpass").await;
        report
            .status(1)
            .has("wrongpass", "error", &["password"])
            .has_not(&["noauth"]);
        for text in [&report.text, &report.json.to_string()] {
            assert!(!text.contains(WRONG), "{text}");
        }
    }
}

/// The cluster's password is from a file, as Envoy reads it when it starts.
fn from_file(config: &mut Value, file: &std::path::Path) {
    password(config, "");
    let options = &mut config::cluster(config, "redis")["typed_extension_protocol_options"];
    options["envoy.filters.network.redis_proxy"]["auth_password"] = json!({"filename": file});
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_feed_at_the_end_of_a_password_file_is_named() {
    let redis = with_password();
    let file = new_dir("password").join("password");
    std::fs::write(&file, format!("{RIGHT}\n")).expect("a file");
    let [single, _] = each(redis.port);
    let envoy = single
        .edit(move |config| from_file(config, &file))
        .policy(POLICY)
        .cold()
        .start();
    let report = until_found(&envoy, "wrongpass").await;
    report
        .status(1)
        .has("wrongpass", "error", &["a file", "line feed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_does_not_exist_is_wrongpass() {
    let redis = with_password();
    let [single, _] = each(redis.port);
    let user = |config: &mut Value| {
        password(config, RIGHT);
        let options = &mut config::cluster(config, "redis")["typed_extension_protocol_options"];
        options["envoy.filters.network.redis_proxy"]["auth_username"] =
            json!({"inline_string": "no-such-user"});
    };
    let envoy = single.edit(user).policy(POLICY).cold().start();
    let report = until_found(&envoy, "wrongpass").await;
    report
        .status(1)
        .has("wrongpass", "error", &["no such user", "auth_username"]);
    let login = [("HEADGATE_REDIS_USER", "no-such-user"), (VARIABLE, RIGHT)];
    let report = doctor_at(&[address(&envoy)], &[], &login);
    report.status(1).has("wrongpass", "error", &["WRONGPASS invalid"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_is_noperm() {
    let redis = SingleRedis::start();
    redis.call::<()>(&["ACL", "SETUSER", "default", "-@scripting"]);
    let envoy = Envoy::with(&redis).policy(POLICY).start();
    let report = until_found(&envoy, "noperm").await;
    report
        .status(1)
        .has("noperm", "error", &["redis-users.acl"])
        .has_not(&["noauth", "wrongpass"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_of_the_script_that_is_forbidden_is_noperm() {
    let redis = SingleRedis::start();
    redis.call::<()>(&["ACL", "SETUSER", "default", "-hset", "-setrange", "-set"]);
    let envoy = Envoy::with(&redis).policy(POLICY).start();
    let report = until_found(&envoy, "noperm").await;
    report
        .status(1)
        .has("noperm", "error", &["error replies: noperm"]);
}

const VARIABLE: &str = "HEADGATE_REDIS_PASSWORD";

#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_password_is_tried_where_doctor_has_it() {
    let dir = new_dir("doctor-login");
    let redis = RedisCluster::start_secured(&dir);
    let envoy = secured(&redis, &dir)
        .env(VARIABLE, WRONG)
        .policy(POLICY)
        .cold()
        .start();
    until_found(&envoy, "not-counted").await;
    let with =
        |environment: &[(&str, &str)], options: &[&str]| doctor_at(&[address(&envoy)], options, environment);
    let user = ["--redis-user", "headgate"];
    let report = with(&[(VARIABLE, WRONG)], &user);
    report
        .status(1)
        .has("wrongpass", "error", &["WRONGPASS invalid"])
        .has("no-hosts", "error", &[]);
    // Without the login doctor cannot try it, and says what it may be. A password alone is not tried with another user.
    for environment in [&[][..], &[(VARIABLE, WRONG)]] {
        let report = with(environment, &[]);
        report.status(1).has(
            "wrongpass",
            "error",
            &["NOPERM", "--redis-password-env", "Envoy's environment"],
        );
        assert!(!report.text.contains(WRONG));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_ask_for_slots_is_noperm() {
    let dir = new_dir("doctor-rights");
    let redis = RedisCluster::start_secured(&dir);
    for node in &redis.nodes {
        node.call::<()>(&["ACL", "SETUSER", "headgate", "-cluster|slots"]);
    }
    let envoy = secured(&redis, &dir)
        .env(VARIABLE, "change-me")
        .policy(POLICY)
        .cold()
        .start();
    until_found(&envoy, "not-counted").await;
    let options = [
        "--redis-user",
        "headgate",
        "--redis-password-env",
        "PASSWORD_FOR_DOCTOR",
    ];
    let report = doctor_at(
        &[address(&envoy)],
        &options,
        &[("PASSWORD_FOR_DOCTOR", "change-me")],
    );
    report
        .status(1)
        .has("noperm", "error", &["CLUSTER SLOTS"])
        .has("no-hosts", "error", &[]);
}
