//! Finds out why a cluster of Redis does not count: connects to its nodes, and reports the results as findings.
//! `answers` interprets the answers of Redis, and `counters` Envoy's counters.

use super::access::{Access, EnvoyTls};
use super::config::{text, Endpoint};
use super::finding::Diagnosis;
use super::probe::{probe, Probe, Question};
use super::tls::TlsError;
use super::Site;
use serde_json::Value;
use std::collections::BTreeMap;

/// The most nodes to connect to.
const MOST: usize = 32;

/// A cluster of Redis in Envoy.
pub struct RedisCluster<'s> {
    pub name: &'s str,
    /// Envoy asks it for its slots.
    pub is_cluster: bool,
    pub access: Access,
    /// The nodes that Envoy knows.
    pub hosts: Vec<Endpoint>,
    /// Those that are configured.
    pub configured: Vec<Endpoint>,
}

impl<'s> RedisCluster<'s> {
    pub fn read(site: &Site<'s>, cluster: &'s Value) -> RedisCluster<'s> {
        let name = text(cluster, &["name"]).unwrap_or_default();
        RedisCluster {
            name,
            is_cluster: text(cluster, &["cluster_type", "name"]) == Some("envoy.clusters.redis"),
            access: Access::read(&site.envoy.config, cluster, site.login),
            hosts: site.envoy.hosts.get(name).cloned().unwrap_or_default(),
            configured: site.envoy.config.endpoints_of(cluster),
        }
    }

    /// What is wrong with it, from its nodes' answers and from Envoy's counters.
    pub fn findings(&self, site: &Site<'_>, key_prefix: &str) -> Vec<Diagnosis> {
        let mut found = Vec::new();
        if self.hosts.is_empty() {
            found.push(self.no_hosts(site));
        }
        let mut problems: BTreeMap<&'static str, Diagnosis> = BTreeMap::new();
        for (endpoint, result) in self.probes(site, key_prefix) {
            if let Some(finding) = self.finding(site, &endpoint, &result) {
                let known = problems.entry(finding.id).or_insert_with(|| Diagnosis {
                    evidence: Vec::new(),
                    ..finding.clone()
                });
                let is_new = |line: &String| !known.evidence.contains(line);
                let lines: Vec<String> = finding.evidence.into_iter().filter(is_new).collect();
                known.evidence.extend(lines);
            }
        }
        if problems.is_empty() && (!site.connects || self.stat(site, "upstream_cx_active") == 0) {
            problems.extend(self.by_counters(site).map(|finding| (finding.id, finding)));
        }
        found.extend(problems.into_values());
        found
    }

    /// Connects to every node at once.
    fn probes(&self, site: &Site<'_>, key_prefix: &str) -> Vec<(Endpoint, Probe)> {
        let nodes = match self.hosts.is_empty() {
            true => &self.configured,
            false => &self.hosts,
        };
        let question = Question {
            access: &self.access,
            is_cluster: self.is_cluster,
            key_prefix,
        };
        let nodes = nodes.iter().take(if site.connects { MOST } else { 0 });
        std::thread::scope(|scope| {
            let started: Vec<_> = nodes
                .filter_map(|endpoint| match endpoint {
                    Endpoint::Socket { host, port } => Some((endpoint, host, *port)),
                    _ => None,
                })
                .map(|(endpoint, host, port)| {
                    let question = &question;
                    (endpoint, scope.spawn(move || probe(host, port, question)))
                })
                .collect();
            let ended = started.into_iter();
            ended
                .filter_map(|(endpoint, thread)| Some((endpoint.clone(), thread.join().ok()?)))
                .collect()
        })
    }

    /// Whether Envoy itself fails to connect. From the host of doctor an address may lead to another server.
    fn is_disconnected(&self, site: &Site<'_>) -> bool {
        let failed = ["upstream_cx_connect_fail", "upstream_cx_connect_timeout"];
        self.hosts.is_empty()
            || self.stat(site, "upstream_cx_active") == 0
            || failed.iter().any(|counter| self.stat(site, counter) > 0)
    }

    /// What a node's answer means.
    fn finding(&self, site: &Site<'_>, endpoint: &Endpoint, result: &Probe) -> Option<Diagnosis> {
        let error = |id, message: &str, remedy: &str| Some(Diagnosis::error(id, message, remedy));
        let connection = match result {
            Probe::Answers(answers) => return self.answers(endpoint, answers),
            Probe::NotResolved(why) => error(
                "name-not-resolved",
                "the name of Redis does not resolve",
                "correct the address in the cluster, or the DNS that Envoy uses",
            )
            .map(|finding| finding.seen(format!("{endpoint}: {why}"))),
            Probe::Refused => error(
                "connection-refused",
                "nothing listens at the address of Redis: the connection is refused",
                "start Redis there, or correct the address and the port in the cluster; Redis listens on 127.0.0.1 alone \
                 unless `bind` says otherwise",
            ),
            Probe::TimedOut => error(
                "connection-timeout",
                "no connection to Redis: packets are dropped",
                "look for a firewall, a security group or a network policy between Envoy and Redis, and for a wrong address",
            ),
            Probe::Unreachable(why) => error(
                "connection-failed",
                "no connection to Redis",
                "correct the address in the cluster, or the route to it",
            )
            .map(|finding| finding.seen(format!("{endpoint}: {why}"))),
            Probe::NoReply => error(
                "no-reply",
                "Redis accepts connections, but does not answer",
                "is Redis frozen, does it execute a long command, or is this another server? See `redis-cli -h HOST info`, SLOWLOG and \
                 its CPU",
            ),
            Probe::Closed => error(
                "connection-closed",
                "the connection is closed without an answer",
                "is this Redis? Its log has the reason why it closes connections: maxclients, protected-mode, TLS",
            ),
            Probe::NotRedis => error(
                "not-redis",
                "what answers at the address of Redis is not Redis",
                "correct the address and the port in the cluster",
            ),
            Probe::WantsTls => error(
                "tls-missing",
                "Redis requires TLS, and Envoy does not use it: Redis's side refuses",
                "give the cluster a transport_socket with UpstreamTlsContext, as in envoy/tls-auth.yaml",
            ),
            Probe::WantsPlain => error(
                "tls-unexpected",
                "Envoy uses TLS, and Redis does not: Envoy's side gets no handshake",
                "remove transport_socket from the cluster, or use the port on which Redis speaks TLS (tls-port)",
            ),
            Probe::Tls(problem) => self.tls(problem, endpoint),
        };
        let is_certain = matches!(result, Probe::NoReply) || self.is_disconnected(site);
        let finding = connection.filter(|_| is_certain)?;
        let connect = [
            "upstream_cx_connect_fail",
            "upstream_cx_connect_timeout",
            "ssl.connection_error",
        ];
        let is_plain = finding.evidence.is_empty();
        let finding = match is_plain {
            true => finding.seen(format!("{endpoint}: {}", shown(result))),
            false => finding,
        };
        Some(finding.seen(self.counters(site, &connect)))
    }

    fn tls(&self, problem: &TlsError, endpoint: &Endpoint) -> Option<Diagnosis> {
        let none = EnvoyTls::default();
        let tls = self.access.tls.as_ref().unwrap_or(&none);
        let ca = tls.ca.as_ref().map_or("none", |ca| ca.source.as_str());
        Some(match problem {
            TlsError::Untrusted { subject, issuer, why } => {
                let is_expired = why.contains("expired");
                let (reason, remedy) = match is_expired {
                    true => ("it has expired".to_owned(), "give Redis a certificate that is valid".to_owned()),
                    false => (
                        format!("it is not signed by the authority in {ca}"),
                        format!(
                            "put the authority that signed it ({issuer}) into {ca} (trusted_ca of the cluster), or give Redis \
                             another certificate"
                        ),
                    ),
                };
                let message = format!("Envoy's side refuses Redis's certificate: {reason}");
                Diagnosis::error("certificate-not-trusted", message, remedy)
                    .seen(format!("{endpoint}: subject {subject}, issuer {issuer}: {why}"))
            }
            TlsError::WrongName { presented } => {
                let wanted: Vec<String> = tls.names.iter().map(ToString::to_string).collect();
                Diagnosis::error(
                    "certificate-name",
                    "Envoy's side refuses Redis's certificate: it has none of the names in match_typed_subject_alt_names",
                    "write a name that the certificate has into match_typed_subject_alt_names of the cluster (and sni), or \
                     give Redis a certificate with that name",
                )
                .seen(format!("{endpoint}: names {}; Envoy wants {}", presented.join(", "), wanted.join(" or ")))
            }
            TlsError::ClientCertificate(_) if tls.has_own && tls.own.is_none() => return None,
            TlsError::ClientCertificate(alert) => Diagnosis::error(
                "client-certificate",
                match tls.has_own {
                    true => "Redis's side refuses Envoy's certificate",
                    false => "Redis's side requires a certificate of Envoy, and Envoy has none",
                },
                "give the cluster tls_certificates that are signed by Redis's tls-ca-cert-file, or set tls-auth-clients no",
            )
            .seen(format!("{endpoint}: alert {alert}")),
            other => Diagnosis::error(
                "tls-failed",
                "the TLS handshake with Redis fails",
                "compare the TLS versions and ciphers of both sides; Redis's log has the error of its side",
            )
            .seen(format!("{endpoint}: {other:?}")),
        })
    }
}

fn shown(result: &Probe) -> &'static str {
    match result {
        Probe::Refused => "connection refused",
        Probe::TimedOut => "no connection within 2 s",
        Probe::NoReply => "no answer within 2 s",
        Probe::Closed => "closed",
        Probe::NotRedis => "an answer that Redis does not give",
        Probe::WantsTls => "it closes a plain connection and completes a TLS handshake",
        Probe::WantsPlain => "no TLS handshake, and an answer to a plain PING",
        _ => "",
    }
}
