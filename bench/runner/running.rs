//! Starts the setups, and measures them under load.

use crate::catalogue::{Kind, Setup, Store};
use crate::config;
use crate::cpu::Meter;
use crate::harness::{
    free_port, listens, new_dir, wait_for, Envoy, EnvoyBuilder, Node, Process, RedisCluster, SingleRedis,
    Upstream,
};
use crate::host_calls;
use crate::load::{self, Callers};
use crate::options::{Load, Options, Place};
use crate::ratelimit::{self, Quota};
use crate::redis_benchmark::RedisBenchmark;
use crate::results::Sample;
use serde_json::{json, Value};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The processes and options that all setups share.
pub struct World {
    pub cluster: RedisCluster,
    pub single: SingleRedis,
    upstream: u16,
    place: Place,
    /// The path of the requests.
    path: String,
    /// The harness needs an upstream; no request is sent to this one.
    idle: Upstream,
}

impl World {
    pub fn start(options: &Options) -> World {
        // A node that is busy for a while must not be marked as failed.
        let patience = ["--cluster-node-timeout", "15000"];
        World {
            cluster: RedisCluster::start_with(3, 0, &patience, None),
            single: SingleRedis::start(),
            upstream: crate::upstream::start(),
            place: options.upstream,
            path: options.path.clone(),
            idle: Upstream::start(),
        }
    }

    fn nodes(&self, store: Store) -> Vec<&Node> {
        match store {
            Store::Cluster => self.cluster.masters().iter().collect(),
            Store::Single => vec![&self.single],
        }
    }

    /// An Envoy with the shipped configuration, except for the policy.
    pub fn headgate(&self, store: Store, policy: &str) -> EnvoyBuilder {
        let builder = match store {
            Store::Cluster => Envoy::with(&self.cluster),
            Store::Single => Envoy::with(&self.single),
        };
        // With a hash key, as recommended for production.
        self.common(builder.policy(policy))
            .env("HEADGATE_HASH_KEY", "bench")
    }

    /// Waits until Envoy knows the Redis nodes. It accepts requests before that.
    pub fn wait_until_known(&self, store: Store, envoy: &Envoy) {
        let nodes = self.nodes(store).len() as u64;
        wait_for("Envoy to find Redis", Duration::from_secs(30), || {
            (envoy.stat("cluster.redis.membership_total") >= nodes).then_some(())
        });
    }

    pub fn floor(&self) -> EnvoyBuilder {
        self.common(Envoy::alone().without_filter())
    }

    fn common(&self, builder: EnvoyBuilder) -> EnvoyBuilder {
        let (place, upstream) = (self.place, self.upstream);
        builder
            .concurrency(1)
            .upstream(&self.idle)
            .edit(move |config| config::common(config, place, upstream))
    }
}

pub struct Running {
    pub setup: Setup,
    kind: Started,
    /// The Redis in which it counts.
    store: Option<Store>,
}

enum Started {
    Envoy {
        envoy: Box<Envoy>,
        service: Option<Process>,
        callers: Callers,
    },
    Script(RedisBenchmark),
}

impl Running {
    /// Starts the setup and pauses its Envoy at once. Envoy runs only while it is measured. An error contains the
    /// reason.
    pub fn start(setup: Setup, world: &World) -> Result<Running, String> {
        let (kind, store) = match &setup.kind {
            Kind::Floor => (envoy(world.floor())?, None),
            Kind::Local => (envoy(world.floor().edit(config::add_local))?, None),
            Kind::HostCalls(asks) => {
                let module = host_calls::write(*asks, &new_dir("host_calls"))?;
                let add = move |config: &mut _| config::add_module(config, &module);
                (envoy(world.floor().edit(add))?, None)
            }
            Kind::Service => (service(world)?, Some(Store::Single)),
            Kind::Ratelimit { store, quotas } => (ratelimit(world, *store, quotas)?, Some(*store)),
            Kind::Headgate {
                store,
                policy,
                callers,
                module,
            } => (
                headgate(world, *store, policy, module.clone(), *callers),
                Some(*store),
            ),
            Kind::Script { store, policy } => (script(world, *store, policy)?, Some(*store)),
        };
        let running = Running { setup, kind, store };
        running.signal(libc::SIGSTOP);
        Ok(running)
    }

    /// Sends requests until all code is compiled, all connections are open, and the callers that must be over their
    /// limit are.
    pub fn warm_up(&mut self, world: &World) {
        for load in [
            Load {
                connections: 1,
                ..Load::FULL
            },
            Load::FULL,
        ] {
            self.measure(load, 1, world);
        }
    }

    pub fn measure(&mut self, load: Load, seconds: u64, world: &World) -> Sample {
        self.signal(libc::SIGCONT);
        let nodes = self.store.map(|store| world.nodes(store)).unwrap_or_default();
        let load = self.setup.load(load);
        let counted: &[&str] = match self.setup.kind {
            Kind::Ratelimit { .. } => &[ratelimit::COUNTED],
            _ => &COUNTED,
        };
        let calls = || {
            nodes
                .iter()
                .flat_map(|node| counted.iter().map(|name| node.calls(name)))
                .sum::<u64>() as f64
        };
        let envoy = Meter::start(self.envoy().map(Envoy::id).into_iter().collect());
        let service = Meter::start(self.service().map(Process::id).into_iter().collect());
        let before = calls();
        let redis = Meter::start(nodes.iter().map(|node| node.id()).collect());
        let outcome = match &mut self.kind {
            Started::Envoy { envoy, callers, .. } => {
                load::run(envoy.port, &world.path, load, *callers, seconds)
            }
            Started::Script(benchmark) => benchmark.run(load, seconds),
        };
        let requests = outcome.requests;
        let sample = Sample {
            rate: outcome.rate(),
            p50: outcome.p50,
            p99: outcome.p99,
            envoy_cpu: envoy.per_request(requests),
            service_cpu: service.per_request(requests),
            redis_cpu: redis.per_request(requests),
            redis_calls: if nodes.is_empty() {
                f64::NAN
            } else {
                (calls() - before) / requests
            },
            denied: outcome.denied / requests,
        };
        self.signal(libc::SIGSTOP);
        sample
    }

    fn envoy(&self) -> Option<&Envoy> {
        match &self.kind {
            Started::Envoy { envoy, .. } => Some(&**envoy),
            Started::Script(_) => None,
        }
    }

    fn service(&self) -> Option<&Process> {
        match &self.kind {
            Started::Envoy { service, .. } => service.as_ref(),
            Started::Script(_) => None,
        }
    }

    /// The number of requests that were not counted in Redis, from Headgate's log.
    pub fn uncounted(&self) -> u64 {
        let log = self.envoy().map(Envoy::log).unwrap_or_default();
        let counts = log.lines().filter_map(|line| {
            let (_, rest) = line.split_once("Redis did not count ")?;
            rest.split(' ').next()?.parse::<u64>().ok()
        });
        counts.sum()
    }

    fn signal(&self, signal: i32) {
        if let Started::Envoy { envoy, service, .. } = &self.kind {
            let sent = unsafe { libc::kill(envoy.id() as libc::pid_t, signal) };
            assert_eq!(sent, 0, "signal {signal} to {}", self.setup.name);
            service.iter().for_each(|service| service.signal(signal));
        }
    }
}

/// The Redis commands that count requests in the setups, one or two for each request.
const COUNTED: [&str; 3] = ["evalsha", "eval", "mget"];

fn envoy(builder: EnvoyBuilder) -> Result<Started, String> {
    let envoy = builder.try_start()?;
    Ok(Started::Envoy {
        envoy: Box::new(envoy),
        service: None,
        callers: Callers::All,
    })
}

fn headgate(world: &World, store: Store, policy: &str, module: Option<PathBuf>, callers: Callers) -> Started {
    let mut builder = world.headgate(store, policy);
    if let Some(module) = module {
        builder = builder.edit(move |config| config::set_module(config, &module));
    }
    let envoy = builder
        .try_start()
        .unwrap_or_else(|log| panic!("Envoy does not start with\n{policy}\n{log}"));
    world.wait_until_known(store, &envoy);
    Started::Envoy {
        envoy: Box::new(envoy),
        service: None,
        callers,
    }
}

fn script(world: &World, store: Store, policy: &str) -> Result<Started, String> {
    let owner = |key: &str| match store {
        Store::Cluster => world.cluster.owner(key),
        Store::Single => &*world.single,
    };
    RedisBenchmark::prepare(&world.nodes(store), owner, policy).map(Started::Script)
}

/// Starts the service with a quota that no caller reaches, and an Envoy that uses it.
fn service(world: &World) -> Result<Started, String> {
    let (port, redis) = (free_port(), format!("redis://127.0.0.1:{}", world.single.port));
    let Some(binary) = option_env!("CARGO_BIN_EXE_rls") else {
        return Err("built without the service: `make bench` builds both".to_owned());
    };
    let mut command = Command::new(binary);
    command.args([&port.to_string(), &redis, "10000000", "3600"]);
    let service = Process::start(command, &new_dir("rls"));
    wait_for("the rate-limit service", Duration::from_secs(10), || {
        listens(port).then_some(())
    });
    let client = json!({"request_headers": {"header_name": "x-api-key", "descriptor_key": "api_key"}});
    asking(world, service, port, json!([{"actions": [client]}]))
}

fn ratelimit(world: &World, store: Store, quotas: &[Quota]) -> Result<Started, String> {
    let redis: Vec<u16> = world.nodes(store).iter().map(|node| node.port).collect();
    let (service, port) = ratelimit::start(store, &redis, quotas)?;
    asking(world, service, port, ratelimit::rate_limits(quotas))
}

/// Starts an Envoy whose `ratelimit` filter calls this service on this port.
fn asking(world: &World, service: Process, port: u16, rate_limits: Value) -> Result<Started, String> {
    let envoy = world
        .floor()
        .edit(move |config| config::add_service(config, port, rate_limits.clone()))
        .try_start()?;
    Ok(Started::Envoy {
        envoy: Box::new(envoy),
        service: Some(service),
        callers: Callers::All,
    })
}
