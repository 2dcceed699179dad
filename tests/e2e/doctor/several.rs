//! Several Envoys that are to count together.

use super::*;

const POLICY: &str = "{limits: [{name: x, rate: 50/hour}]}";
const KEY: &str = "HEADGATE_HASH_KEY";

async fn counted(builders: Vec<EnvoyBuilder>) -> DoctorReport {
    let mut addresses = Vec::new();
    let envoys: Vec<Envoy> = builders.into_iter().map(EnvoyBuilder::start).collect();
    for envoy in &envoys {
        until_counted(envoy).await;
        addresses.push(address(envoy));
    }
    doctor_at(&addresses, &[], &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn envoys_that_agree_have_nothing_between_them() {
    let builder = Envoy::with(RedisCluster::shared())
        .policy(POLICY)
        .env(KEY, "one key");
    let report = counted(vec![builder.clone(), builder]).await;
    report
        .status(0)
        .has_not(&["hash-keys-differ", "configurations-differ"]);
    assert_eq!(report.json["envoys"].as_array().map(Vec::len), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn different_hash_keys_are_an_error_and_not_shown() {
    let builder = Envoy::with(RedisCluster::shared()).policy(POLICY);
    let [one, other, none] = [
        builder.clone().env(KEY, "key-of-one"),
        builder.clone().env(KEY, "key-of-other"),
        builder,
    ];
    let report = counted(vec![one.clone(), other]).await;
    report
        .status(1)
        .has("hash-keys-differ", "error", &["the same HEADGATE_HASH_KEY"]);
    for text in [&report.text, &report.json.to_string()] {
        assert!(!text.contains("key-of-"), "{text}");
    }
    let report = counted(vec![one, none]).await;
    report.status(1).has("hash-keys-differ", "error", &["none"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn different_configurations_are_a_warning() {
    let builder = Envoy::with(RedisCluster::shared()).policy(POLICY);
    let other = builder.clone().policy("{limits: [{name: x, rate: 51/hour}]}");
    let report = counted(vec![builder, other]).await;
    report.status(0).has(
        "configurations-differ",
        "warning",
        &["headgate_configuration_version"],
    );
    report.has_not(&["hash-keys-differ"]);
    for finding in report.findings() {
        for field in ["id", "message", "remedy"] {
            let shown = finding[field].as_str().expect("a text");
            assert!(report.text.contains(shown), "{shown} in {}", report.text);
        }
    }
}
