//! With the options for which the shipped manifests were written, the output equals them.

use crate::find;
use crate::parts;
use clap::Parser;
use headgate_core::config::Plugin;

#[derive(Parser)]
struct GenerateCommand {
    #[command(flatten)]
    args: super::GenerateArgs,
}

/// The output for these options and a policy.
fn generated(policy: &str, options: &[&str]) -> String {
    let options = [&["generate"], options, &["--policy", "policy.yaml"]].concat();
    let args = GenerateCommand::try_parse_from(options)
        .map_err(|error| error.to_string())
        .unwrap()
        .args;
    let redis = args.redis.read().map_err(|error| error.0).unwrap();
    let found = find::find(policy, false).unwrap().found.remove(0);
    let Ok(Plugin::Filter(parsed)) = found.parse() else {
        panic!("{policy}")
    };
    let node = crate::document::parse(policy).unwrap().remove(0);
    let wish = super::wish(&args, *parsed, parts::written(policy, &node), redis)
        .map_err(|error| error.0)
        .unwrap();
    super::meshes::manifests(&wish).map_err(|error| error.0).unwrap()
}

fn shipped(file: &str) -> String {
    let path = format!("{}/../../envoy/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The policy in a manifest, as it is written there.
fn policy_of(file: &str) -> String {
    let text = shipped(file);
    let found = find::find(&text, false).unwrap().found;
    let found = found
        .iter()
        .find(|found| found.filter == Some(find::FilterKind::Http))
        .unwrap();
    let place = found.content.tree().unwrap().place;
    let lines = text.lines().skip(place.line - 1);
    let indent = " ".repeat(place.column - 1);
    let lines = lines.map_while(|line| line.strip_prefix(&indent).or((line.is_empty()).then_some("")));
    lines.map(|line| format!("{line}\n")).collect()
}

/// The Redis that the shipped manifests are written for; the certificate is where a mesh mounts it.
const SECURED: [&str; 8] = [
    "--redis",
    "rediss://headgate@redis.redis.svc.cluster.local:6379",
    "--cluster",
    "--redis-password-env",
    "HEADGATE_REDIS_PASSWORD",
    "--redis-server-name",
    "redis.internal",
    "--ca",
];

#[test]
fn istios_manifests_are_generated_as_they_are_shipped() {
    for (options, filter) in [(&[][..], "gateway-filter"), (&["--sidecar"], "sidecar-filter")] {
        let filter = format!("istio/{filter}.yaml");
        let options = [&["istio"], &SECURED[..], &["/etc/headgate/redis-ca.pem"], options].concat();
        let files = ["istio/bootstrap.yaml", "istio/redis-call.yaml", &filter].map(shipped);
        assert_eq!(generated(&policy_of(&filter), &options), files.join("---\n"));
    }
}

#[test]
fn envoy_gateways_manifests_are_generated_as_they_are_shipped() {
    let options = [&["gateway"], &SECURED[..], &["/etc/headgate/tls/redis-ca.pem"]].concat();
    let files = [
        "gateway/gateway.yaml",
        "gateway/redis-call.yaml",
        "gateway/policy-filter.yaml",
    ]
    .map(shipped);
    assert_eq!(
        generated(&policy_of("gateway/policy-filter.yaml"), &options),
        files.join("---\n")
    );
}

#[test]
fn the_base_for_kubernetes_is_generated_as_it_is_shipped() {
    let options = ["kubernetes", "--redis", "redis://redis:6379", "--cluster"];
    let text = generated(&policy_of("kubernetes/envoy.yaml"), &options);
    let (config, deployment) = text.split_once("---\n").unwrap();
    assert_eq!(deployment, shipped("kubernetes/envoy-deployment.yaml"));
    let (_, envoy) = config.split_once("  envoy.yaml: |\n").unwrap();
    let envoy: String = envoy
        .split_inclusive('\n')
        .map(|line| line.strip_prefix("    ").unwrap_or(line))
        .collect();
    assert_eq!(envoy, shipped("kubernetes/envoy.yaml"));
}

const POLICY: &str = "# Mine.\nredis: {key_prefix: shop}\nlimits:\n- {name: a, rate: 5/minute}   # few\n";

/// For each mesh and each Redis, the manifests contain the policy and the Redis that were given.
#[test]
fn a_policy_and_a_redis_are_in_every_manifest() {
    let redis = [
        (
            &["--redis", "redis://10.0.0.5:6380"][..],
            "address: 10.0.0.5, port_value: 6380",
            "type: STRICT_DNS",
        ),
        (
            &["--redis", "redis://a:1,redis://b:2", "--cluster"],
            "address: b, port_value: 2",
            "envoy.clusters.redis",
        ),
        (
            &["--redis", "rediss://c", "--ca", "/ca.pem"],
            "exact: c",
            "filename: /ca.pem",
        ),
        (
            &["--redis", "redis://d", "--redis-password-env", "SECRET"],
            "environment_variable: SECRET",
            "address: d,",
        ),
    ];
    for mesh in [
        &["istio"][..],
        &["istio", "--sidecar"],
        &["gateway"],
        &["kubernetes"],
    ] {
        for (options, host, kind) in redis {
            let text = generated(POLICY, &[mesh, options].concat());
            for piece in [
                host,
                kind,
                "# few",
                "rate: 5/minute",
                "redis: {key_prefix: shop}}",
            ] {
                assert!(
                    text.contains(piece),
                    "{mesh:?} {options:?}: no {piece} in\n{text}"
                );
            }
            assert!(
                !text.contains("key_prefix: ratelimit") && !text.contains("redis.redis.svc"),
                "{text}"
            );
            let has_password = options.contains(&"--redis-password-env");
            assert_eq!(
                text.contains("redis-password"),
                has_password && mesh[0] != "istio",
                "{mesh:?} {options:?}"
            );
            assert!(!text.contains("HEADGATE_REDIS_PASSWORD"), "{text}");
            let is_mounted = text.contains("redis-ca.pem") && mesh[0] != "istio";
            assert_eq!(
                is_mounted,
                options.contains(&"--ca") && mesh[0] != "istio",
                "{mesh:?} {options:?}"
            );
            let documents = crate::document::parse(&text).unwrap();
            assert!(documents.len() >= 3, "{mesh:?}");
            let errors: Vec<_> = crate::check::check(&text, false)
                .0
                .findings
                .into_iter()
                .map(|one| one.message)
                .collect();
            assert!(
                !errors.iter().any(|message| message.contains("unknown")),
                "{errors:?}"
            );
        }
    }
}

#[test]
fn without_redis_there_is_no_way_to_it() {
    let policy = "store: local\nlimits: [{rate: 5/minute}]\n";
    for mesh in ["istio", "gateway", "kubernetes"] {
        let text = generated(policy, &[mesh]);
        assert!(
            !text.contains("network.redis_proxy")
                && !text.contains("name: redis")
                && text.contains("store: local"),
            "{mesh}\n{text}"
        );
    }
}

#[test]
fn names_of_ones_own_take_the_place_of_the_shipped_ones() {
    let redis = ["--redis", "redis://r"];
    let istio = [
        &["istio", "--image", "r.example.com/h:2", "--namespace", "edge"][..],
        &redis,
    ]
    .concat();
    let istio = generated(POLICY, &istio);
    assert_eq!(istio.matches("oci://r.example.com/h:2").count(), 2);
    assert!(
        istio.contains("{name: headgate-bootstrap, namespace: edge}")
            && !istio.contains("registry.example.com")
    );
    let gateway = [
        &["gateway", "--gateway", "web/front/https", "--module", "/m/a.wasm"][..],
        &redis,
    ]
    .concat();
    let gateway = generated(POLICY, &gateway);
    for piece in [
        "name: web/front/https",
        "metadata: {name: front, namespace: web}",
        "{name: https, protocol",
        "kind: Gateway, name: front}",
    ] {
        assert!(gateway.contains(piece), "{piece}\n{gateway}");
    }
    assert!(
        !gateway.contains("edge") && !gateway.contains("namespace: default"),
        "{gateway}"
    );
    assert_eq!(gateway.matches("filename: /m/a.wasm").count(), 2);
}
