//! A gateway in the test's own thread: one worker, one VM with the module, and the Redis functions of Higress.
//!
//! Events are ordered as in Envoy: the ends of Redis calls that happen while the VM runs are delivered after that call, and
//! the module's decisions about requests are carried out then, too.
//! source: higress-group/envoy `source/extensions/common/wasm/context.cc`, `source/common/redis/async_client_impl.cc`

mod abi;
mod client;
mod http;
mod state;
mod wasi;

pub use client::Cluster;
pub use http::{Request, Response};
pub use state::State;

use client::Event;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use wasmi::{Engine, Instance, Linker, Module, Store, TypedFunc, Val};

/// The first root context's number.
const FIRST: u32 = 1;

/// The gateway's name for the Redis service of `redis.native.service: redis.dns:6379`.
pub const SERVICE: &str = "outbound|6379||redis.dns";

/// How long a request may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Gateway {
    store: Store<State>,
    instance: Instance,
    on_tick: TypedFunc<u32, ()>,
    on_redis_reply: TypedFunc<(u32, u32, u32, u32), ()>,
    /// The root context of new requests: the latest configuration's.
    root: u32,
    next_context: u32,
}

/// A gateway before it is configured.
pub struct Builder {
    state: State,
}

impl Builder {
    /// An environment variable of the VM.
    pub fn env(mut self, name: &str, value: &str) -> Builder {
        self.state.environment.push(format!("{name}={value}"));
        self
    }

    /// A Redis service with these hosts. Without hosts, the service is known but has no endpoints.
    pub fn service(mut self, name: &str, ports: &[u16]) -> Builder {
        self.state.clusters.insert(name.to_owned(), Cluster::new(ports));
        self
    }

    /// Its Redis functions exist and return status 12 (unimplemented).
    pub fn unimplemented(mut self) -> Builder {
        self.state.unimplemented = true;
        self
    }

    /// Loads the module and configures it; `config` is YAML.
    pub fn start(self, config: &str) -> Result<Gateway, String> {
        let engine = Engine::default();
        let bytes = std::fs::read(module()).expect("the module");
        let module = Module::new(&engine, bytes).expect("a WebAssembly module");
        let mut store = Store::new(&engine, self.state);
        let mut linker = Linker::new(&engine);
        abi::define(&mut linker);
        wasi::define(&mut linker);
        abi::define_rest(&mut linker, &module);
        let instance = linker
            .instantiate_and_start(&mut store, &module)
            .expect("an instance");
        let typed = "an exported function";
        let on_tick = instance.get_typed_func(&store, "proxy_on_tick").expect(typed);
        let on_redis_reply = instance
            .get_typed_func(&store, "proxy_on_redis_call_response")
            .expect(typed);
        let mut gateway = Gateway {
            store,
            instance,
            on_tick,
            on_redis_reply,
            root: FIRST,
            next_context: FIRST,
        };
        gateway.vm::<(), ()>(FIRST, "_initialize", ());
        gateway.configure(config).map(|()| gateway)
    }

    /// Expects that the module refuses the configuration. Returns the log.
    pub fn refused(self, config: &str) -> String {
        match self.start(config) {
            Ok(gateway) => panic!("accepted; its log:\n{}", gateway.log()),
            Err(log) => log,
        }
    }
}

impl Gateway {
    pub fn builder() -> Builder {
        Builder {
            state: State::default(),
        }
    }

    fn configure(&mut self, config: &str) -> Result<(), String> {
        let config: serde_json::Value = serde_yaml_ng::from_str(config).expect("YAML");
        let text = config.to_string();
        let size = text.len() as u32;
        self.store.data_mut().configuration = text.into_bytes();
        let root = self.root;
        self.state().roots.insert(root, root);
        self.vm::<(u32, u32), ()>(root, "proxy_on_context_create", (root, 0));
        let taken = self.vm::<(u32, u32), u32>(root, "proxy_on_configure", (root, size));
        self.deliver();
        match taken {
            0 => Err(self.log()),
            _ => Ok(()),
        }
    }

    /// Adds another configuration for the next requests: a new root context in the same VM. Returns the number of the
    /// previous root context.
    pub fn reconfigure(&mut self, config: &str) -> u32 {
        self.next_context += 1;
        let before = std::mem::replace(&mut self.root, self.next_context);
        self.configure(config).expect("an accepted configuration");
        before
    }

    /// The names of all callbacks, and the number of their parameters.
    pub fn callbacks(&self) -> Vec<(String, usize)> {
        let exports = self.instance.exports(&self.store);
        let functions = exports.filter_map(|export| {
            let name = export.name().to_owned();
            let function = export.into_func().filter(|_| name.starts_with("proxy_on_"))?;
            Some((name, function.ty(&self.store).params().len()))
        });
        functions
            .filter(|(name, _)| name != "proxy_on_memory_allocate")
            .collect()
    }

    /// Calls a callback with any numbers, the first of which is the context. Returns its result, if it has one.
    pub fn callback(&mut self, name: &str, numbers: &[u32]) -> Option<u32> {
        let function = self.instance.get_func(&self.store, name).expect(name);
        let context = numbers[0];
        let state = self.store.data_mut();
        state.current = context;
        state.effective = 0;
        let numbers: Vec<Val> = numbers.iter().map(|number| Val::I32(*number as i32)).collect();
        let mut results = vec![Val::I32(0); function.ty(&self.store).results().len()];
        let result = function.call(&mut self.store, &numbers, &mut results);
        result.unwrap_or_else(|error| panic!("the VM has died in {name}: {error}\n{}", self.log()));
        results.first().and_then(Val::i32).map(|number| number as u32)
    }

    /// A connection of a network filter with the configuration; its context, and the status of `proxy_on_new_connection`.
    pub fn connect(&mut self) -> (u32, Option<u32>) {
        self.next_context += 1;
        let (context, root) = (self.next_context, self.root);
        self.state().roots.insert(context, root);
        self.callback("proxy_on_context_create", &[context, root]);
        (context, self.callback("proxy_on_new_connection", &[context]))
    }

    pub fn state(&mut self) -> &mut State {
        self.store.data_mut()
    }

    /// The Redis service.
    pub fn redis(&mut self) -> &mut Cluster {
        self.state().clusters.get_mut(SERVICE).expect("the service")
    }

    pub fn log(&self) -> String {
        self.store.data().log.join("\n")
    }

    /// Updates the service: a new client without credentials replaces the old one, and calls in flight fail.
    pub fn update_service(&mut self, ports: &[u16]) {
        if let Some(mut old) = self
            .state()
            .clusters
            .insert(SERVICE.to_owned(), Cluster::new(ports))
        {
            old.close(&mut self.store.data_mut().events);
        }
        self.deliver();
    }

    /// Removes the service.
    pub fn remove_service(&mut self) {
        if let Some(mut old) = self.state().clusters.remove(SERVICE) {
            old.close(&mut self.store.data_mut().events);
        }
        self.deliver();
    }

    /// Calls the VM.
    fn vm<P: wasmi::WasmParams, R: wasmi::WasmResults>(&mut self, context: u32, name: &str, params: P) -> R {
        let function = self.instance.get_typed_func::<P, R>(&self.store, name);
        let function = function.unwrap_or_else(|error| panic!("{name}: {error}"));
        self.call(context, function, params)
    }

    fn call<P: wasmi::WasmParams, R: wasmi::WasmResults>(
        &mut self,
        context: u32,
        function: TypedFunc<P, R>,
        params: P,
    ) -> R {
        let state = self.store.data_mut();
        state.current = context;
        state.effective = 0;
        let result = function.call(&mut self.store, params);
        result.unwrap_or_else(|error| panic!("the VM has died: {error}\n{}", self.log()))
    }

    /// Delivers the ends of Redis calls to the module.
    fn deliver(&mut self) {
        while let Some(event) = self.state().events.pop_front() {
            let function = self.on_redis_reply;
            let (Event::Reply(token, _) | Event::Failure(token)) = &event;
            let root = self.state().callers.remove(token).expect("one call, one end");
            match event {
                Event::Reply(token, bytes) => {
                    let size = bytes.len() as u32;
                    self.state().reply = Some(bytes);
                    self.call::<_, ()>(root, function, (root, token, 0, size));
                    self.state().reply = None;
                }
                Event::Failure(token) => self.call::<_, ()>(root, function, (root, token, 1, 0)),
            }
        }
    }

    /// One iteration of the event loop: waits for Redis or for the next timer, 20 ms at most.
    pub fn turn(&mut self) {
        let now = Instant::now();
        let state = self.store.data_mut();
        let timers = state
            .clusters
            .values()
            .flat_map(Cluster::timers)
            .chain(state.ticks.values().map(|(_, at)| *at));
        let wait = timers.map(|at| at.saturating_duration_since(now)).min();
        let wait = wait.unwrap_or(Duration::MAX).min(Duration::from_millis(20));
        client::wait(state.clusters.values(), wait);
        let now = Instant::now();
        let State { clusters, events, .. } = state;
        clusters
            .values_mut()
            .for_each(|cluster| cluster.read(now, events));
        self.deliver();
        let ticks = self.state().ticks.iter_mut().filter(|(_, (_, at))| *at <= now);
        let due: Vec<u32> = ticks
            .map(|(root, (period, at))| {
                *at = now + *period;
                *root
            })
            .collect();
        for root in due {
            let function = self.on_tick;
            self.call::<_, ()>(root, function, root);
            self.deliver();
        }
    }

    /// Runs the event loop for this time.
    pub fn run_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn();
        }
    }
}

fn module() -> PathBuf {
    let root = crate::harness::root();
    let path = root.join("target/headgate-higress.wasm");
    assert!(path.exists(), "no {}: run `make build-higress`", path.display());
    path
}
