//! Real Redis to count in: single or as a cluster.

use super::node::Node;
use super::process::root;
use super::wait_for;
use redis::FromRedisValue;
use std::ops::Deref;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

/// What an Envoy may count in.
pub trait Redis {
    /// The shipped configuration that fits.
    fn variant(&self) -> &'static str;
    /// Where Envoy may begin to look.
    fn seeds(&self) -> Vec<u16>;
}

/// One Redis that is no cluster.
pub struct SingleRedis(Node);

impl SingleRedis {
    pub fn start() -> SingleRedis {
        SingleRedis(Node::start(&[], None))
    }
}

impl Deref for SingleRedis {
    type Target = Node;
    fn deref(&self) -> &Node {
        &self.0
    }
}

impl Redis for SingleRedis {
    fn variant(&self) -> &'static str {
        "envoy/single-redis.yaml"
    }
    fn seeds(&self) -> Vec<u16> {
        vec![self.port]
    }
}

/// A Redis Cluster with this many masters, each with this many replicas.
pub struct RedisCluster {
    /// The masters of the start first, then their replicas.
    pub nodes: Vec<Node>,
    masters: usize,
}

impl RedisCluster {
    /// Three masters that all tests share. For faults, script flushes and exact counts start one of your own.
    pub fn shared() -> &'static RedisCluster {
        static SHARED: LazyLock<RedisCluster> =
            LazyLock::new(|| RedisCluster::start_with(3, 0, &["--cluster-node-timeout", "15000"], None));
        &SHARED
    }

    /// A node that is gone for 1 s counts as failed. Without its shard the others go on.
    pub fn start(masters: usize, replicas: usize) -> RedisCluster {
        RedisCluster::start_with(masters, replicas, &[], None)
    }

    /// Three masters as `envoy/tls-auth.yaml` wants them: TLS with the certificates in `dir` (made there if need be)
    /// and the users of `envoy/redis-users.acl`. The harness itself comes without TLS, as another user.
    pub fn start_secured(dir: &Path) -> RedisCluster {
        let made = Command::new(root().join("scripts/certificates.sh"))
            .arg(dir)
            .status();
        assert!(
            made.is_ok_and(|status| status.success()),
            "certificates in {}",
            dir.display()
        );
        let shipped =
            std::fs::read_to_string(root().join("envoy/redis-users.acl")).expect("the shipped users");
        std::fs::write(
            dir.join("users.acl"),
            shipped + "user harness on >harness ~* &* +@all\n",
        )
        .expect("a file of users");
        let file = |name: &str| dir.join(name).to_string_lossy().into_owned();
        let [users, ca, certificate, key] = ["users.acl", "ca.pem", "redis.pem", "redis.key"].map(file);
        #[rustfmt::skip]
        let arguments = [
            "--tls-port", "TLSPORT", "--tls-cluster", "yes", "--cluster-port", "BUSPORT", "--tls-auth-clients", "no",
            "--tls-ca-cert-file", &ca, "--tls-cert-file", &certificate, "--tls-key-file", &key, "--aclfile", &users,
        ];
        RedisCluster::start_with(3, 0, &arguments, Some("harness"))
    }

    /// With [`Node::start`]'s arguments for each.
    pub fn start_with(
        masters: usize,
        replicas: usize,
        arguments: &[&str],
        login: Option<&'static str>,
    ) -> RedisCluster {
        let own = [
            ["--cluster-enabled", "yes"],
            ["--cluster-node-timeout", "1000"],
            ["--cluster-require-full-coverage", "no"],
            ["--cluster-replica-validity-factor", "0"],
            ["--repl-diskless-sync-delay", "0"],
        ];
        let arguments: Vec<&str> = own.iter().flatten().chain(arguments).copied().collect();
        let nodes: Vec<Node> = (0..masters * (1 + replicas))
            .map(|_| Node::start(&arguments, login))
            .collect();
        let cluster = RedisCluster { nodes, masters };
        cluster.create(replicas);
        cluster
    }

    fn create(&self, replicas: usize) {
        let output = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)))
            .args(["--cluster-replicas", &replicas.to_string(), "--cluster-yes"])
            .args(
                self.nodes[0]
                    .login
                    .map(|user| ["--user", user, "--pass", user])
                    .into_iter()
                    .flatten(),
            )
            .output()
            .unwrap_or_else(|error| panic!("cannot start redis-cli: {error}; `make setup` installs it"));
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "redis-cli --cluster create: {text}");
        self.wait_until_ready();
    }

    /// Until every node sees all slots served, and every replica is in step with its master.
    pub fn wait_until_ready(&self) {
        for node in &self.nodes {
            wait_for(
                &format!("redis on {} to join", node.port),
                Duration::from_secs(20),
                || {
                    let info: String = node.try_call(&["CLUSTER", "INFO"]).ok()?;
                    let nodes = format!("cluster_known_nodes:{}", self.nodes.len());
                    let all = ["cluster_state:ok", "cluster_slots_ok:16384", &nodes];
                    let joined = all
                        .iter()
                        .all(|fact| info.lines().any(|line| line.trim() == *fact));
                    let link = node.info("replication", "master_link_status");
                    (joined && link.is_none_or(|status| status == "up")).then_some(())
                },
            );
        }
    }

    /// The nodes that were started as masters.
    pub fn masters(&self) -> &[Node] {
        &self.nodes[..self.masters]
    }

    /// A cluster-aware connection.
    pub fn connection(&self) -> redis::cluster::ClusterConnection {
        let seeds: Vec<String> = self
            .nodes
            .iter()
            .map(|node| format!("redis://127.0.0.1:{}", node.port))
            .collect();
        let client = redis::cluster::ClusterClient::new(seeds).expect("a cluster client");
        client.get_connection().expect("a cluster connection")
    }

    pub fn slot(&self, key: &str) -> u16 {
        self.any().call(&["CLUSTER", "KEYSLOT", key])
    }

    /// The node that is master of the key's slot now.
    pub fn owner(&self, key: &str) -> &Node {
        let slot = self.slot(key);
        let slots: Vec<redis::Value> = self.any().call(&["CLUSTER", "SLOTS"]);
        for range in slots {
            let redis::Value::Array(parts) = range else {
                continue;
            };
            let number = |value: &redis::Value| u16::from_redis_value(value.clone()).ok();
            let [from, to, redis::Value::Array(master), ..] = parts.as_slice() else {
                continue;
            };
            let (Some(from), Some(to)) = (number(from), number(to)) else {
                continue;
            };
            if (from..=to).contains(&slot) {
                let port = master.get(1).and_then(number);
                return self
                    .nodes
                    .iter()
                    .find(|node| Some(node.port) == port)
                    .expect("a node of this cluster");
            }
        }
        panic!("no node serves slot {slot}");
    }

    /// The first of the names `<stem>0`, `<stem>1`, … whose key lies on the node; `key` makes the key of a name.
    pub fn name_on(&self, node: &Node, stem: &str, key: impl Fn(&str) -> String) -> String {
        (0..1000)
            .map(|number| format!("{stem}{number}"))
            .find(|name| self.owner(&key(name)).port == node.port)
            .expect("a name whose key lies on the node")
    }

    /// All keys of all masters that fit the glob pattern.
    pub fn keys(&self, pattern: &str) -> Vec<String> {
        self.masters()
            .iter()
            .flat_map(|node| node.keys(pattern))
            .collect()
    }

    /// Calls of a command, by master.
    pub fn calls(&self, command: &str) -> Vec<u64> {
        self.masters().iter().map(|node| node.calls(command)).collect()
    }

    /// Error replies of a kind, over all nodes.
    pub fn errors(&self, kind: &str) -> u64 {
        self.nodes.iter().map(|node| node.errors(kind)).sum()
    }

    pub fn reset_stats(&self) {
        self.nodes.iter().for_each(Node::reset_stats);
    }

    pub fn flush_scripts(&self) {
        self.masters().iter().for_each(Node::flush_scripts);
    }

    /// A node that answers.
    fn any(&self) -> &Node {
        let answers = |node: &&Node| node.try_call::<String>(&["PING"]).is_ok();
        self.nodes.iter().find(answers).expect("a node that answers")
    }
}

impl Redis for RedisCluster {
    fn variant(&self) -> &'static str {
        "envoy/envoy.yaml"
    }
    fn seeds(&self) -> Vec<u16> {
        self.nodes
            .iter()
            .map(|node| node.tls_port.unwrap_or(node.port))
            .collect()
    }
}
