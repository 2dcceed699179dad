//! The faults: how each begins and how it ends. The suite watches the traffic between and after them.

use crate::harness::{Envoy, Node, RedisCluster};
use redis::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The systems that faults affect.
pub struct Lab {
    pub cluster: RedisCluster,
    pub envoys: Vec<Envoy>,
    pub policies: Vec<String>,
    /// The fault is over; for those that go on by themselves.
    pub over: AtomicBool,
}

pub struct Fault {
    pub name: &'static str,
    /// Redis loses data: what callers get beyond their limits is stated, not zero.
    pub loses: bool,
    pub begin: fn(&Lab),
    pub end: fn(&Lab),
}

impl Lab {
    /// Nodes that report themselves as masters now.
    pub fn masters(&self) -> Vec<&Node> {
        let nodes = self.cluster.nodes.iter();
        nodes
            .filter(|node| {
                let role = node.try_call::<String>(&["INFO", "replication"]);
                role.is_ok_and(|text| text.contains("role:master"))
            })
            .collect()
    }

    fn victim(&self) -> &Node {
        self.masters()[0]
    }

    fn repeat(&self, pause: u64, act: impl Fn()) {
        while !self.over.load(Ordering::Relaxed) {
            act();
            std::thread::sleep(Duration::from_millis(pause));
        }
    }

    fn everywhere(&self, act: impl Fn(&Node)) {
        self.cluster.nodes.iter().for_each(act);
    }

    /// CONFIG SET on every node.
    fn configure(&self, name: &str, value: &str) {
        self.everywhere(|node| node.call::<()>(&["CONFIG", "SET", name, value]));
    }

    /// Everything is as at the start, but for who is master.
    pub fn restore(&self) {
        self.everywhere(Node::thaw_or_restart);
        for node in &self.cluster.nodes {
            for (name, value) in [("maxmemory", "0"), ("maxmemory-policy", "noeviction")] {
                let _ = node.try_call::<()>(&["CONFIG", "SET", name, value]);
            }
        }
        self.cluster.wait_until_ready();
    }

    /// Moves slots with their keys, slowly enough that there are calls in each state: from the first master to the
    /// second.
    fn move_slots(&self) {
        let masters = self.masters();
        let (from, to) = (masters[0], masters[1]);
        let [from_id, to_id] = [from, to].map(|node| node.call::<String>(&["CLUSTER", "MYID"]));
        let all = |slot: &str| {
            for node in [to, from].into_iter().chain(masters.iter().copied().skip(2)) {
                let _ = node.try_call::<()>(&["CLUSTER", "SETSLOT", slot, "NODE", &to_id]);
            }
        };
        let keys: Vec<String> = from.keys("*");
        let mut slots: Vec<u16> = keys
            .iter()
            .map(|key| headgate_core::redis::HashSlot::of(key.as_bytes()).get())
            .collect();
        slots.dedup();
        for slot in slots.into_iter().take(60) {
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            let slot = slot.to_string();
            let _ = to.try_call::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
            let _ = from.try_call::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
            std::thread::sleep(Duration::from_millis(15));
            let port = to.port.to_string();
            for _ in 0..20 {
                let keys: Vec<String> = from
                    .try_call(&["CLUSTER", "GETKEYSINSLOT", &slot, "1"])
                    .unwrap_or_default();
                let Some(key) = keys.first() else { break };
                let _ = from.try_call::<Value>(&["MIGRATE", "127.0.0.1", &port, key, "0", "1000"]);
                std::thread::sleep(Duration::from_millis(15));
            }
            all(&slot);
        }
    }

    /// Gives every 50th slot of the first master that has no key to the next one.
    fn scatter(&self) {
        let masters = self.masters();
        let to_id: String = masters[1].call(&["CLUSTER", "MYID"]);
        let text: String = masters[0].call(&["CLUSTER", "NODES"]);
        let line = text.lines().find(|line| line.contains("myself")).expect("itself");
        let mut moved = 0;
        for range in line.split(' ').skip(8).filter(|part| !part.starts_with('[')) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let bounds = [first, last].map(|text| text.parse::<u16>().expect("a slot"));
            for slot in (bounds[0]..=bounds[1]).step_by(50) {
                let slot = slot.to_string();
                if masters[0].call::<u64>(&["CLUSTER", "COUNTKEYSINSLOT", &slot]) > 0 {
                    continue;
                }
                for node in [masters[1], masters[0], masters[2]] {
                    let _ = node.try_call::<()>(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
                }
                moved += 1;
            }
        }
        assert!(moved > 20, "{moved} slots scattered");
    }

    /// Loads its own data again, slowly: it answers LOADING meanwhile.
    fn reload_data(&self) {
        let node = self.victim();
        for (name, value) in [
            ("loading-process-events-interval-bytes", "1024"),
            ("key-load-delay", "5000"),
        ] {
            node.call::<()>(&["CONFIG", "SET", name, value]);
        }
        let _ = node.try_call::<Value>(&["DEBUG", "RELOAD"]);
    }
}

fn nothing(_: &Lab) {}

pub const FAULTS: &[Fault] = &[
    Fault {
        name: "none",
        loses: false,
        begin: nothing,
        end: nothing,
    },
    Fault {
        name: "a master killed",
        loses: true,
        begin: |lab| lab.victim().kill(),
        end: nothing,
    },
    Fault {
        name: "a master frozen and thawed",
        loses: true,
        begin: |lab| lab.victim().freeze(),
        end: |lab| lab.restore(),
    },
    Fault {
        name: "every node frozen and thawed",
        loses: false,
        begin: |lab| lab.everywhere(Node::freeze),
        end: |lab| lab.everywhere(Node::thaw),
    },
    Fault {
        name: "connections reset",
        loses: false,
        begin: |lab| {
            lab.repeat(300, || {
                for node in &lab.cluster.nodes {
                    let _ = node.try_call::<Value>(&["CLIENT", "KILL", "TYPE", "normal"]);
                }
            });
        },
        end: nothing,
    },
    Fault {
        name: "a node answers 150 ms late",
        loses: false,
        begin: |lab| {
            let node = lab.victim();
            lab.repeat(5, || {
                let _ = node.try_call::<Value>(&["CLIENT", "PAUSE", "150", "ALL"]);
            });
        },
        end: nothing,
    },
    Fault {
        name: "a node restarts, empty, without scripts",
        loses: true,
        begin: |lab| lab.victim().restart(),
        end: nothing,
    },
    Fault {
        name: "SCRIPT FLUSH",
        loses: false,
        begin: |lab| lab.repeat(100, || lab.masters().iter().for_each(|node| node.flush_scripts())),
        end: nothing,
    },
    Fault {
        name: "slots move (MOVED, ASK, TRYAGAIN)",
        loses: false,
        begin: |lab| lab.move_slots(),
        end: nothing,
    },
    Fault {
        name: "scattered slots, a master frozen",
        loses: true,
        begin: |lab| {
            lab.scatter();
            lab.victim().freeze();
        },
        end: |lab| lab.restore(),
    },
    Fault {
        name: "LOADING",
        loses: true,
        begin: |lab| lab.reload_data(),
        end: nothing,
    },
    Fault {
        name: "READONLY: a replica is promoted by hand",
        loses: false,
        begin: |lab| {
            let replica = lab.cluster.nodes.iter().find(|node| {
                node.try_call::<String>(&["INFO", "replication"])
                    .is_ok_and(|text| text.contains("role:slave"))
            });
            replica.expect("a replica").call::<()>(&["CLUSTER", "FAILOVER"]);
        },
        end: nothing,
    },
    Fault {
        name: "OOM",
        loses: false,
        begin: |lab| lab.victim().call::<()>(&["CONFIG", "SET", "maxmemory", "1"]),
        end: |lab| lab.configure("maxmemory", "0"),
    },
    Fault {
        name: "CLUSTERDOWN: two masters frozen, full coverage asked for",
        loses: true,
        begin: |lab| {
            let masters = lab.masters();
            for node in &masters {
                node.call::<()>(&["CONFIG", "SET", "cluster-require-full-coverage", "yes"]);
            }
            masters[..2].iter().for_each(|node| node.freeze());
        },
        end: |lab| {
            lab.everywhere(Node::thaw);
            lab.configure("cluster-require-full-coverage", "no");
        },
    },
    Fault {
        name: "the whole cluster away and back, empty",
        loses: true,
        begin: |lab| lab.everywhere(Node::kill),
        end: |lab| lab.everywhere(Node::restart),
    },
    Fault {
        name: "counters evicted (volatile-ttl)",
        loses: true,
        begin: |lab| {
            for node in lab.masters() {
                let used: u64 = node
                    .info("memory", "used_memory")
                    .and_then(|used| used.parse().ok())
                    .expect("a number");
                node.call::<()>(&["CONFIG", "SET", "maxmemory-policy", "volatile-ttl"]);
                node.call::<()>(&["CONFIG", "SET", "maxmemory", &(used + 20_000).to_string()]);
            }
        },
        end: |lab| lab.configure("maxmemory", "0"),
    },
    Fault {
        name: "Envoy reload",
        loses: false,
        begin: |lab| {
            for (envoy, policy) in lab.envoys.iter().zip(&lab.policies) {
                envoy.reload(&policy.replace("1000/day", "2000/day"));
            }
        },
        end: |lab| {
            for (envoy, policy) in lab.envoys.iter().zip(&lab.policies) {
                envoy.reload(policy);
            }
        },
    },
    Fault {
        name: "Envoy drain",
        loses: false,
        begin: |lab| {
            for envoy in &lab.envoys {
                envoy.admin_post("/healthcheck/fail");
            }
        },
        end: |lab| {
            for envoy in &lab.envoys {
                envoy.admin_post("/healthcheck/ok");
            }
        },
    },
    Fault {
        name: "callers hang up",
        loses: false,
        begin: |lab| {
            use std::io::Write;
            lab.repeat(5, || {
                for envoy in &lab.envoys {
                    let mut stream =
                        std::net::TcpStream::connect(("127.0.0.1", envoy.port)).expect("a connection");
                    let _ = stream.write_all(b"GET /large HTTP/1.1\r\nhost: test\r\nx-api-key: rude\r\n\r\n");
                }
            });
        },
        end: nothing,
    },
];
