//! Why a cluster of Redis does not count: connects to its nodes, and turns what they answer into findings.

use super::access::{Access, Password, Tls};
use super::config::{text, Endpoint};
use super::finding::Finding;
use super::probe::{probe, Answers, Probe, Question};
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

    /// A counter of the cluster.
    pub fn stat(&self, site: &Site<'_>, counter: &str) -> u64 {
        site.envoy.stats.cluster(self.name, counter)
    }

    /// What is wrong with it, from its nodes' answers and from Envoy's counters.
    pub fn findings(&self, site: &Site<'_>, key_prefix: &str) -> Vec<Finding> {
        let mut found = Vec::new();
        if self.hosts.is_empty() {
            found.push(self.no_hosts(site));
        }
        let mut problems: BTreeMap<&'static str, Finding> = BTreeMap::new();
        for (endpoint, result) in self.probes(site, key_prefix) {
            if let Some(finding) = self.finding(site, &endpoint, &result) {
                let known = problems.entry(finding.id).or_insert_with(|| Finding {
                    evidence: Vec::new(),
                    ..finding.clone()
                });
                known.evidence.extend(finding.evidence);
            }
        }
        if problems.is_empty() && (!site.connects || self.stat(site, "upstream_cx_active") == 0) {
            problems.extend(self.by_counters(site).map(|finding| (finding.id, finding)));
        }
        found.extend(problems.into_values());
        found
    }

    fn no_hosts(&self, site: &Site<'_>) -> Finding {
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
            false => "the next findings say why; without one, see Envoy's own warnings in its log".to_owned(),
        };
        Finding::error("no-hosts", message, remedy)
            .seen(format!(
                "/clusters: no host of {:?}; configured: {}",
                self.name,
                shown.join(", ")
            ))
            .seen(self.counters(site, &["update_attempt", "update_success", "update_failure"]))
    }

    /// Counters as evidence, those that are not 0.
    fn counters(&self, site: &Site<'_>, names: &[&str]) -> String {
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

    /// Whether Envoy itself has trouble to connect. From here an address may lead elsewhere.
    fn is_disconnected(&self, site: &Site<'_>) -> bool {
        let failed = ["upstream_cx_connect_fail", "upstream_cx_connect_timeout"];
        self.hosts.is_empty()
            || self.stat(site, "upstream_cx_active") == 0
            || failed.iter().any(|counter| self.stat(site, counter) > 0)
    }

    /// What a node's answer means.
    fn finding(&self, site: &Site<'_>, endpoint: &Endpoint, result: &Probe) -> Option<Finding> {
        let error = |id, message: &str, remedy: &str| Some(Finding::error(id, message, remedy));
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
                "Redis takes connections and does not answer",
                "is Redis frozen, in a long command, or something else than Redis? See `redis-cli -h HOST info`, SLOWLOG and \
                 its CPU",
            ),
            Probe::Closed => error(
                "connection-closed",
                "the connection is closed without an answer",
                "is this a Redis? Its log says why it closes connections: maxclients, protected-mode, TLS",
            ),
            Probe::NotRedis => error(
                "not-redis",
                "what answers at the address of Redis is not Redis",
                "correct the address and the port in the cluster",
            ),
            Probe::WantsTls => error(
                "tls-missing",
                "Redis wants TLS, and Envoy speaks without: Redis's side refuses",
                "give the cluster a transport_socket with UpstreamTlsContext, as in envoy/tls-auth.yaml",
            ),
            Probe::WantsPlain => error(
                "tls-unexpected",
                "Envoy speaks TLS, and Redis without: Envoy's side gets no handshake",
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

    fn tls(&self, problem: &TlsError, endpoint: &Endpoint) -> Option<Finding> {
        let none = Tls::default();
        let tls = self.access.tls.as_ref().unwrap_or(&none);
        let ca = tls.ca.as_ref().map_or("none", |ca| ca.source.as_str());
        Some(match problem {
            TlsError::Untrusted { subject, issuer, why } => Finding::error(
                "certificate-not-trusted",
                format!("Envoy's side refuses Redis's certificate: it is not signed by the authority in {ca}"),
                format!("put the authority that signed it ({issuer}) into {ca} (trusted_ca of the cluster), or give Redis another certificate"),
            )
            .seen(format!("{endpoint}: subject {subject}, issuer {issuer}: {why}")),
            TlsError::WrongName { presented } => {
                let wanted: Vec<String> = tls.names.iter().map(ToString::to_string).collect();
                Finding::error(
                    "certificate-name",
                    "Envoy's side refuses Redis's certificate: it has none of the names in match_typed_subject_alt_names",
                    "write a name that the certificate has into match_typed_subject_alt_names of the cluster (and sni), or \
                     give Redis a certificate with that name",
                )
                .seen(format!("{endpoint}: names {}; Envoy wants {}", presented.join(", "), wanted.join(" or ")))
            }
            TlsError::ClientCertificate(_) if tls.has_own && tls.own.is_none() => return None,
            TlsError::ClientCertificate(alert) => Finding::error(
                "client-certificate",
                match tls.has_own {
                    true => "Redis's side refuses Envoy's certificate",
                    false => "Redis's side wants a certificate of Envoy, and Envoy has none",
                },
                "give the cluster tls_certificates that are signed by Redis's tls-ca-cert-file, or set tls-auth-clients no",
            )
            .seen(format!("{endpoint}: alert {alert}")),
            other => Finding::error(
                "tls-failed",
                "the TLS handshake with Redis fails",
                "compare the TLS versions and ciphers of both sides; Redis's log has its side",
            )
            .seen(format!("{endpoint}: {other:?}")),
        })
    }

    /// What the answers of a Redis mean.
    fn answers(&self, endpoint: &Endpoint, answers: &Answers) -> Option<Finding> {
        let seen = |finding: Finding, text: &str| Some(finding.seen(format!("{endpoint}: {text}")));
        if let Some(Err(text)) = &answers.login {
            return seen(self.wrong_password(), text);
        }
        let slots = answers.slots.as_ref();
        let refused = slots.and_then(|slots| slots.as_ref().err());
        let all = [refused, answers.script.as_ref(), answers.ping.as_ref()];
        let error = |code: &str| all.iter().flatten().find(|text| text.starts_with(code));
        if let Some(text) = error("NOAUTH") {
            return match self.access.password {
                Password::None => seen(self.no_password(), text),
                _ if self.hosts.is_empty() && self.is_cluster => seen(self.hidden_password(), text),
                _ => None,
            };
        }
        if let Some(text) = refused.filter(|text| text.contains("cluster support disabled")) {
            let message = format!(
                "Redis runs without cluster mode, and the cluster {:?} asks it for its slots (envoy.clusters.redis)",
                self.name
            );
            let remedy = "use a cluster of type STRICT_DNS as in envoy/single-redis.yaml, or start Redis with cluster-enabled yes";
            return seen(Finding::error("not-a-cluster", message, remedy), text);
        }
        let rights = [refused, answers.script.as_ref()];
        if let Some(text) = rights.iter().flatten().find(|text| text.starts_with("NOPERM")) {
            return seen(no_right(), text);
        }
        if let Some(Ok(slots)) = slots {
            if slots.has_empty_address {
                let message = "the Redis Cluster announces no address: Envoy refuses its map of slots";
                let remedy = "set cluster-announce-ip to the node's address: a cluster of one node does not know its own";
                return seen(
                    Finding::error("no-announced-address", message, remedy),
                    "CLUSTER SLOTS has an empty address",
                );
            }
            if slots.ranges == 0 {
                let message = "the Redis Cluster serves no slot: it was not created yet";
                let remedy = "create it: redis-cli --cluster create HOST:PORT …";
                return seen(
                    Finding::error("no-slots", message, remedy),
                    "CLUSTER SLOTS is empty",
                );
            }
        }
        let script = answers.script.as_ref()?;
        match script.starts_with("NOSCRIPT") || script.starts_with("MOVED") || script.starts_with("ASK") {
            true => None,
            false => seen(redis_error(), script),
        }
    }

    pub fn no_password(&self) -> Finding {
        Finding::error(
            "noauth",
            "Redis wants a password, and Envoy sends none (NOAUTH)",
            format!("give the cluster {:?} auth_username and auth_password in RedisProtocolOptions, as in envoy/tls-auth.yaml", self.name),
        )
    }

    pub fn wrong_password(&self) -> Finding {
        let source = match self.access.password {
            Password::Hidden(source) => format!(" in {source}"),
            _ => String::new(),
        };
        let line_feed = match source.contains("file") {
            true => "; a line feed at the end of the file is sent too",
            false => "",
        };
        Finding::error(
            "wrongpass",
            "Redis refuses Envoy's login: a wrong password, or no such user (WRONGPASS)",
            format!(
                "compare auth_username and auth_password{source} with Redis's (ACL LIST, requirepass){line_feed}; Envoy reads \
                 them when it starts"
            ),
        )
    }

    /// Envoy sends a password that cannot be tried from here.
    fn hidden_password(&self) -> Finding {
        let mut finding = self.wrong_password();
        "Redis refuses what Envoy asks for: a wrong password, no such user (WRONGPASS), or a user who may not call CLUSTER \
         SLOTS (NOPERM)"
            .clone_into(&mut finding.message);
        finding.remedy = format!(
            "{}. To tell which, run doctor with that login: --redis-user, and the password in HEADGATE_REDIS_PASSWORD (or \
             --redis-password-env)",
            finding.remedy
        );
        finding
    }

    /// Without an answer from here: what Envoy's counters show.
    fn by_counters(&self, site: &Site<'_>) -> Option<Finding> {
        let counts = |counter: &str| self.stat(site, counter) > 0;
        let ca = self.access.tls.as_ref().and_then(|tls| tls.ca.as_ref());
        let ca = ca.map_or("none", |ca| ca.source.as_str());
        let finding = if counts("ssl.fail_verify_san") {
            Finding::error(
                "certificate-name",
                "Envoy's side refuses Redis's certificate: it has none of the names in match_typed_subject_alt_names",
                "write a name that the certificate has into match_typed_subject_alt_names of the cluster",
            )
        } else if counts("ssl.fail_verify_error") {
            Finding::error(
                "certificate-not-trusted",
                format!(
                    "Envoy's side refuses Redis's certificate: it is not signed by the authority in {ca}"
                ),
                "put the authority that signed it into trusted_ca of the cluster",
            )
        } else if counts("upstream_cx_connect_timeout") {
            Finding::error(
                "connection-timeout",
                "Envoy's connections to Redis time out: packets are dropped, or TLS meets a port without it",
                "look for a firewall between Envoy and Redis, and compare the cluster's transport_socket with Redis's ports",
            )
        } else if counts("upstream_cx_connect_fail") {
            Finding::error(
                "connection-failed",
                "Envoy's connections to Redis fail",
                "is Redis running, and are address and port in the cluster right? Run doctor on Envoy's host to see why",
            )
        } else {
            return None;
        };
        let names = [
            "upstream_cx_connect_fail",
            "upstream_cx_connect_timeout",
            "ssl.fail_verify_error",
            "ssl.fail_verify_san",
            "ssl.connection_error",
        ];
        Some(finding.seen(self.counters(site, &names)))
    }
}

pub fn no_right() -> Finding {
    Finding::error(
        "noperm",
        "the user with which Envoy logs in lacks a right (NOPERM)",
        "give it all that envoy/redis-users.acl has: EVAL, EVALSHA, CLUSTER SLOTS, the commands of the script, and the keys",
    )
}

pub fn redis_error() -> Finding {
    Finding::error(
        "redis-error",
        "Redis answers with an error",
        "OOM: raise maxmemory or set maxmemory-policy volatile-ttl; LOADING: wait; READONLY, CLUSTERDOWN, MASTERDOWN: see \
         `redis-cli cluster info`; MISCONF: see Redis's log; BUSY: another client's script runs",
    )
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
