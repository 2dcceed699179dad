//! The builder of an Envoy: one method for each setting that a test may change.

use super::Envoy;
use crate::harness::{config, default_envoy, root, Redis, RedisCluster, Upstream};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

type Edit = Arc<dyn Fn(&mut Value) + Send + Sync>;

type Render = Arc<dyn Fn(&Place) -> Value + Send + Sync>;

type RenderText = Arc<dyn Fn(&Place) -> String + Send + Sync>;

/// The folder and ports of an Envoy with a configuration of the test's own.
pub struct Place {
    /// A folder for what the configuration refers to.
    pub dir: PathBuf,
    /// Where limited traffic comes in.
    pub port: u16,
    pub admin_port: u16,
    /// The upstream's.
    pub upstream: u16,
    /// Where `expose_redis_call` puts it.
    pub redis_call_port: u16,
}

/// An Envoy to start. Starting it twice gives two Envoys that count together.
#[derive(Clone)]
pub struct EnvoyBuilder {
    pub(super) file: PathBuf,
    pub(super) seeds: Vec<u16>,
    pub(super) upstream: Option<Upstream>,
    pub(super) version: String,
    pub(super) concurrency: u32,
    pub(super) policy: Policy,
    pub(super) key_prefix: String,
    pub(super) as_text: bool,
    pub(super) patient: bool,
    pub(super) local: bool,
    pub(super) cold: bool,
    pub(super) filter: bool,
    pub(super) dynamic: bool,
    pub(super) expose_redis_call: bool,
    pub(super) fault_injection: bool,
    pub(super) before: Vec<Value>,
    pub(super) after: Vec<Value>,
    pub(super) access_log: Option<Value>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) edits: Vec<Edit>,
    pub(super) whole: Option<Render>,
    pub(super) text: Option<RenderText>,
    pub(super) arguments: Vec<String>,
}

#[derive(Clone)]
pub(super) enum Policy {
    /// The shipped one.
    Shipped,
    Value(Value),
    Raw(String),
}

impl Envoy {
    /// An Envoy that counts in this Redis, with the shipped policy unless another is set.
    pub fn with(redis: &(impl Redis + ?Sized)) -> EnvoyBuilder {
        let mut builder = Envoy::alone();
        builder.file = root().join(redis.variant());
        builder.seeds = redis.seeds();
        builder
    }

    /// An Envoy without Redis, of the shipped file for that: `store: local` is added to any policy.
    pub fn local() -> EnvoyBuilder {
        let mut builder = Envoy::alone();
        builder.file = root().join("envoy/local.yaml");
        builder.local = true;
        builder
    }

    /// One of each store: for what must hold of both.
    pub fn of_each_store() -> [EnvoyBuilder; 2] {
        [Envoy::with(RedisCluster::shared()), Envoy::local()]
    }

    /// An Envoy with the shipped file's Redis address, where most likely no Redis listens.
    pub fn alone() -> EnvoyBuilder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        EnvoyBuilder {
            file: root().join("envoy/envoy.yaml"),
            seeds: Vec::new(),
            upstream: None,
            version: default_envoy().to_owned(),
            concurrency: 2,
            policy: Policy::Shipped,
            key_prefix: format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed)),
            as_text: false,
            patient: !std::thread::current()
                .name()
                .is_some_and(|test| test.contains("quiet::")),
            local: false,
            cold: false,
            filter: true,
            dynamic: false,
            expose_redis_call: false,
            fault_injection: false,
            before: Vec::new(),
            after: Vec::new(),
            access_log: None,
            environment: Vec::new(),
            edits: Vec::new(),
            whole: None,
            text: None,
            arguments: Vec::new(),
        }
    }
}

impl EnvoyBuilder {
    /// The plugin's configuration, as YAML or JSON. `redis.key_prefix` is added where it is not given.
    pub fn policy(mut self, text: &str) -> Self {
        self.policy = Policy::Value(config::parse(text));
        self
    }

    /// The plugin's configuration as a StringValue, byte for byte; nothing is added.
    pub fn raw_policy(mut self, text: &str) -> Self {
        self.policy = Policy::Raw(text.to_owned());
        self
    }

    /// Both plugins' configurations as StringValue (JSON text) in place of Struct.
    pub fn string_value(mut self) -> Self {
        self.as_text = true;
        self
    }

    /// Keys begin with this and a colon; without it, with a prefix of this builder's own.
    pub fn key_prefix(mut self, prefix: &str) -> Self {
        self.key_prefix = prefix.to_owned();
        self
    }

    /// Waits for a count no longer than the shipped configuration allows.
    pub fn impatient(mut self) -> Self {
        self.patient = false;
        self
    }

    /// Does not wait until Envoy knows the nodes of Redis, a few ms after it takes requests.
    pub fn cold(mut self) -> Self {
        self.cold = true;
        self
    }

    /// Worker threads; 2 without it.
    pub fn concurrency(mut self, workers: u32) -> Self {
        self.concurrency = workers;
        self
    }

    /// `1.36.2` or `1.40.0`.
    pub fn version(mut self, version: &str) -> Self {
        self.version = version.to_owned();
        self
    }

    /// Another shipped configuration, as a path from the root.
    pub fn file(mut self, path: &str) -> Self {
        self.file = root().join(path);
        self
    }

    /// An upstream that other Envoys have too.
    pub fn upstream(mut self, upstream: &Upstream) -> Self {
        self.upstream = Some(upstream.clone());
        self
    }

    /// No Headgate at all.
    pub fn without_filter(mut self) -> Self {
        self.filter = false;
        self
    }

    /// An HTTP filter right in front of Headgate, as YAML.
    pub fn before(mut self, filter: &str) -> Self {
        self.before.push(config::parse(filter));
        self
    }

    /// An HTTP filter right behind Headgate, as YAML.
    pub fn after(mut self, filter: &str) -> Self {
        self.after.push(config::parse(filter));
        self
    }

    /// The access log's fields, as YAML, in place of the shipped ones.
    pub fn access_log(mut self, fields: &str) -> Self {
        self.access_log = Some(config::parse(fields));
        self
    }

    /// An environment variable of Envoy.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A whole configuration of the test's own; nothing of it is changed.
    pub fn whole(mut self, render: impl Fn(&Place) -> Value + Send + Sync + 'static) -> Self {
        self.whole = Some(Arc::new(render));
        self
    }

    /// The same as YAML, which may be broken.
    pub fn text(mut self, render: impl Fn(&Place) -> String + Send + Sync + 'static) -> Self {
        self.text = Some(Arc::new(render));
        self
    }

    /// An option of Envoy's command line, with its value.
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.arguments.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// Listeners come from a file that Envoy watches, so that [`Envoy::reload`] works.
    pub fn dynamic(mut self) -> Self {
        self.dynamic = true;
        self
    }

    /// The listener `redis_call` has a TCP port as well: [`Envoy::redis_call_port`].
    pub fn expose_redis_call(mut self) -> Self {
        self.expose_redis_call = true;
        self
    }

    /// Both roles from the fault-injection module (`make build-fault-injection`). It acts as the next release. Its HTTP role ends
    /// at the header `x-headgate-fault-injection: headgate-fault-filter`, the other role at a call for a limit that is called
    /// `headgate-fault-redis-call`. It reports the most rejected each second.
    pub fn fault_injection(mut self) -> Self {
        self.fault_injection = true;
        self
    }

    /// The value of the counting store in filter state.
    pub fn store(&self) -> &'static str {
        match self.local {
            true => "local",
            false => "redis",
        }
    }

    /// Any other change to the whole configuration, after the harness's own; see [`config`] for what helps.
    pub fn edit(mut self, edit: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        self.edits.push(Arc::new(edit));
        self
    }
}
