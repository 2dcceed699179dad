//! Findings from Envoy's counters about a cluster of Redis, if its nodes cannot be reached from here.

use super::config::Endpoint;
use super::finding::Diagnosis;
use super::redis::RedisCluster;
use super::Site;

impl RedisCluster<'_> {
    /// A counter of the cluster.
    pub fn stat(&self, site: &Site<'_>, counter: &str) -> u64 {
        site.envoy.stats.cluster(self.name, counter)
    }

    pub fn no_hosts(&self, site: &Site<'_>) -> Diagnosis {
        let message = format!(
            "Envoy knows no node of the cluster {:?}: every call is answered \"no upstream host\"",
            self.name
        );
        let shown: Vec<String> = self.configured.iter().map(Endpoint::to_string).collect();
        let remedy = match shown.is_empty() {
            true => format!(
                "give the cluster {:?} endpoints: the addresses of Redis",
                self.name
            ),
            false => {
                "the next findings have the cause; without one, see Envoy's warnings in its log".to_owned()
            }
        };
        Diagnosis::error("no-hosts", message, remedy)
            .seen(format!(
                "/clusters: no host of {:?}; configured: {}",
                self.name,
                shown.join(", ")
            ))
            .seen(self.counters(site, &["update_attempt", "update_success", "update_failure"]))
    }

    /// The counters that are not 0, as evidence.
    pub fn counters(&self, site: &Site<'_>, names: &[&str]) -> String {
        let moved = names.iter().filter_map(|name| {
            let value = self.stat(site, name);
            (value > 0).then(|| format!("cluster.{}.{name} {value}", self.name))
        });
        let moved: Vec<String> = moved.collect();
        match moved.is_empty() {
            true => String::new(),
            false => format!("/stats: {}", moved.join(", ")),
        }
    }

    /// Without an answer from here: what Envoy's counters show.
    pub fn by_counters(&self, site: &Site<'_>) -> Option<Diagnosis> {
        let counts = |counter: &str| self.stat(site, counter) > 0;
        let ca = self.access.tls.as_ref().and_then(|tls| tls.ca.as_ref());
        let ca = ca.map_or("none", |ca| ca.source.as_str());
        // Envoy 1.36 does not know the command, and counts it as `unknown`.
        let slots = ["cluster", "unknown"].map(|name| format!("upstream_commands.{name}"));
        let slots_end = |result: &str| slots.iter().any(|name| counts(&format!("{name}.{result}")));
        let finding = if counts("ssl.fail_verify_san") {
            Diagnosis::error(
                "certificate-name",
                "Envoy's side refuses Redis's certificate: it has none of the names in match_typed_subject_alt_names",
                "write a name that the certificate has into match_typed_subject_alt_names of the cluster",
            )
        } else if counts("ssl.fail_verify_error") {
            Diagnosis::error(
                "certificate-not-trusted",
                format!(
                    "Envoy's side refuses Redis's certificate: it is not signed by the authority in {ca}"
                ),
                "put the authority that signed it into trusted_ca of the cluster",
            )
        } else if counts("upstream_cx_connect_timeout") {
            Diagnosis::error(
                "connection-timeout",
                "Envoy's connections to Redis time out: packets are dropped, or Envoy uses TLS on a port without TLS",
                "look for a firewall between Envoy and Redis, and compare the cluster's transport_socket with Redis's ports",
            )
        } else if counts("upstream_cx_connect_fail") {
            Diagnosis::error(
                "connection-failed",
                "Envoy's connections to Redis fail",
                "is Redis running, and are address and port in the cluster right? Run doctor on Envoy's host to see why",
            )
        } else if self.hosts.is_empty() && slots_end("failure") {
            Diagnosis::error(
                "slots-refused",
                "Redis refuses CLUSTER SLOTS: a wrong password, a user without the right, or it is no cluster",
                "run doctor where it reaches Redis, to see Redis's answer; see envoy/redis-users.acl for the rights",
            )
        } else if self.hosts.is_empty() && slots_end("success") && counts("update_failure") {
            self.no_address()
        } else {
            return None;
        };
        let names = [
            "update_failure",
            "upstream_commands.cluster.failure",
            "upstream_commands.unknown.failure",
            "upstream_cx_connect_fail",
            "upstream_cx_connect_timeout",
            "ssl.fail_verify_error",
            "ssl.fail_verify_san",
            "ssl.connection_error",
        ];
        Some(finding.seen(self.counters(site, &names)))
    }
}
