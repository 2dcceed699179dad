//! What the answers of a Redis mean: logins, rights, slots.

use super::access::EnvoyPassword;
use super::config::Endpoint;
use super::finding::Diagnosis;
use super::probe::Answers;
use super::redis::RedisCluster;

impl RedisCluster<'_> {
    /// What the answers of a Redis mean.
    pub fn answers(&self, endpoint: &Endpoint, answers: &Answers) -> Option<Diagnosis> {
        let seen = |finding: Diagnosis, text: &str| Some(finding.seen(format!("{endpoint}: {text}")));
        if let Some(Err(text)) = &answers.login {
            return seen(self.wrong_password(), text);
        }
        let slots = answers.slots.as_ref();
        let refused = slots.and_then(|slots| slots.as_ref().err());
        // PING came before the login.
        let ping = answers.ping.as_ref().filter(|_| answers.login.is_none());
        let all = [refused, answers.script.as_ref(), ping];
        let error = |code: &str| all.iter().flatten().find(|text| text.starts_with(code));
        if let Some(text) = error("NOAUTH") {
            return match self.access.password {
                EnvoyPassword::None => seen(self.no_password(), text),
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
            return seen(Diagnosis::error("not-a-cluster", message, remedy), text);
        }
        let rights = [refused, answers.script.as_ref()];
        if let Some(text) = rights.iter().flatten().find(|text| text.starts_with("NOPERM")) {
            return seen(no_right(), text);
        }
        if let Some(Ok(slots)) = slots {
            if slots.has_empty_address {
                return seen(self.no_address(), "CLUSTER SLOTS has an empty address");
            }
            if slots.ranges == 0 {
                let message = "the Redis Cluster serves no slot: it has not been created yet";
                let remedy = "create it: redis-cli --cluster create HOST:PORT …";
                return seen(
                    Diagnosis::error("no-slots", message, remedy),
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

    pub fn no_password(&self) -> Diagnosis {
        Diagnosis::error(
            "noauth",
            "Redis requires a password, and Envoy sends none (NOAUTH)",
            format!("give the cluster {:?} auth_username and auth_password in RedisProtocolOptions, as in envoy/tls-auth.yaml", self.name),
        )
    }

    pub fn wrong_password(&self) -> Diagnosis {
        let source = match self.access.password {
            EnvoyPassword::Hidden(source) => format!(" in {source}"),
            _ => String::new(),
        };
        let line_feed = match source.contains("file") {
            true => "; a line feed at the end of the file is sent too",
            false => "",
        };
        Diagnosis::error(
            "wrongpass",
            "Redis refuses Envoy's login: a wrong password, or no such user (WRONGPASS)",
            format!(
                "compare auth_username and auth_password{source} with Redis's (ACL LIST, requirepass){line_feed}; Envoy reads \
                 them when it starts"
            ),
        )
    }

    /// Envoy sends a password that cannot be tried from here.
    fn hidden_password(&self) -> Diagnosis {
        let mut finding = self.wrong_password();
        "Redis refuses what Envoy asks for: a wrong password, no such user (WRONGPASS), or a user who may not call CLUSTER \
         SLOTS (NOPERM)"
            .clone_into(&mut finding.message);
        finding.remedy = format!(
            "{}. To find out which, run doctor with this login: --redis-user, and the password in HEADGATE_REDIS_PASSWORD (or \
             --redis-password-env)",
            finding.remedy
        );
        finding
    }

    pub fn no_address(&self) -> Diagnosis {
        Diagnosis::error(
            "no-announced-address",
            format!(
                "the Redis Cluster {:?} announces no address: Envoy refuses its map of slots",
                self.name
            ),
            "set cluster-announce-ip to the node's address: a cluster of one node does not know its own",
        )
    }
}

pub fn no_right() -> Diagnosis {
    Diagnosis::error(
        "noperm",
        "the user with which Envoy logs in lacks a right (NOPERM)",
        "give it all that envoy/redis-users.acl has: EVAL, EVALSHA, CLUSTER SLOTS, the commands of the script, and the keys",
    )
}

pub fn redis_error() -> Diagnosis {
    Diagnosis::error(
        "redis-error",
        "Redis answers with an error",
        "OOM: raise maxmemory or set maxmemory-policy volatile-ttl; LOADING: wait; READONLY, CLUSTERDOWN, MASTERDOWN: see \
         `redis-cli cluster info`; MISCONF: see Redis's log; BUSY: another client's script runs",
    )
}
