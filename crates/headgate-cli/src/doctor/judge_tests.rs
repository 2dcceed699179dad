//! On recorded answers of two versions of Envoy: `envoy/envoy.yaml` at a Redis that is no cluster, beside two ports where
//! nothing listens.

use super::*;
use crate::doctor::access::LoginArgs;
use crate::doctor::stats::Stats;

struct Recorded {
    version: &'static str,
    server: &'static str,
    dump: &'static str,
    clusters: &'static str,
    stats: &'static str,
}

macro_rules! recorded {
    ($version:literal) => {
        Recorded {
            version: $version,
            server: include_str!(concat!("recorded/", $version, "/server_info.json")),
            dump: include_str!(concat!("recorded/", $version, "/config_dump.json")),
            clusters: include_str!(concat!("recorded/", $version, "/clusters.json")),
            stats: include_str!(concat!("recorded/", $version, "/stats.txt")),
        }
    };
}

const ALL: [Recorded; 2] = [recorded!("1.36.2"), recorded!("1.40.0")];

fn envoy(recorded: &Recorded) -> Envoy {
    let parsed = Envoy::parse(recorded.server, recorded.dump, recorded.clusters);
    let mut envoy = parsed.unwrap_or_else(|error| panic!("{error}"));
    envoy.stats = Stats::parse(recorded.stats);
    envoy
}

fn ids(envoy: &Envoy) -> Vec<&'static str> {
    let site = Site {
        envoy,
        login: &LoginArgs::default(),
        connects: false,
    };
    let (_, findings) = judge(&site);
    findings.iter().map(|finding| finding.id).collect()
}

#[test]
fn both_versions_answers_are_read_alike() {
    for recorded in &ALL {
        let envoy = envoy(recorded);
        assert_eq!(
            (envoy.version.as_str(), envoy.state.as_str(), envoy.workers),
            (recorded.version, "LIVE", 2)
        );
        let [filter] = &envoy.config.filters[..] else {
            panic!("one filter")
        };
        assert_eq!(filter.policy.limits.len(), 2);
        assert_eq!(filter.hash_key, HashKeySource::Environment);
        assert_eq!(filter.stat_prefix.as_deref(), Some("http"));
        let listeners = envoy.config.listeners.iter();
        let names: Vec<&str> = listeners.map(|listener| listener.name.as_str()).collect();
        assert_eq!(names, ["redis_call", "http"]);
        assert_eq!(envoy.config.redis_clusters(), ["redis", "redis_call"]);
        assert_eq!(envoy.hosts["redis"], []);
        assert_eq!(envoy.hosts["redis_call"].len(), 1);
    }
}

#[test]
fn both_versions_counters_lead_to_the_same_findings() {
    for recorded in &ALL {
        let mut envoy = envoy(recorded);
        let mut expect = |stats: &str, cause: &str| {
            envoy.stats = Stats::parse(stats);
            let expected = ["not-counted", "no-hosts", cause, "hash-key-missing"];
            assert_eq!(ids(&envoy), expected, "{}", recorded.version);
        };
        expect(recorded.stats, "connection-failed");
        // As if all of the nodes had answered.
        let refused = recorded.stats.replace("upstream_cx_connect_fail", "other");
        expect(&refused, "slots-refused");
        expect(&refused.replace(".failure", ".success"), "no-announced-address");
    }
}

#[test]
fn a_module_of_an_older_release_is_judged_by_its_totals() {
    for recorded in &ALL {
        let mut envoy = envoy(recorded);
        envoy.stats = Stats::parse(&recorded.stats.replace("headgate_last_", "headgate_other_"));
        let found = ids(&envoy);
        assert!(
            found.contains(&"not-counted") && found.contains(&"older-module"),
            "{found:?}"
        );
    }
}

/// As Istio sends it: the guard's configuration comes apart from the listener.
#[test]
fn a_guard_that_comes_by_discovery_is_found() {
    for recorded in &ALL {
        let mut dump: serde_json::Value = serde_json::from_str(recorded.dump).unwrap();
        let configs = dump["configs"].as_array_mut().unwrap();
        let listeners = configs
            .iter_mut()
            .find_map(|part| part.get_mut("static_listeners"));
        let listeners = listeners.unwrap().as_array_mut().unwrap();
        let filter = listeners
            .iter_mut()
            .flat_map(|state| {
                state["listener"]["filter_chains"][0]["filters"]
                    .as_array_mut()
                    .unwrap()
            })
            .find(|filter| filter["name"] == "headgate-redis-call")
            .unwrap();
        let guard = filter.clone();
        *filter = serde_json::json!({"name": "sent", "config_discovery": {"type_urls": ["x"]}});
        let with = |name: &str| {
            let mut dump = dump.clone();
            let sent = serde_json::json!({
                "@type": "type.googleapis.com/envoy.admin.v3.EcdsConfigDump",
                "ecds_filters": [{"ecds_filter": {
                    "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
                    "name": name,
                    "typed_config": guard["typed_config"],
                }}],
            });
            dump["configs"].as_array_mut().unwrap().push(sent);
            let dump = dump.to_string();
            ids(&envoy(&Recorded {
                dump: Box::leak(dump.into_boxed_str()),
                ..*recorded
            }))
        };
        assert_eq!(with("sent"), ids(&envoy(recorded)), "{}", recorded.version);
        assert!(with("another").contains(&"guard-missing"), "{}", recorded.version);
    }
}
