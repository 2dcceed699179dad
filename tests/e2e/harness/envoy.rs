//! A running Envoy with the filter, from the shipped configuration and a test's policy.

use super::artifacts::{default_envoy, envoy_binary, filter_module};
use super::config;
use super::http::{Client, RawConnection, Request};
use super::process::{free_port, new_dir, root, Process};
use super::redis::Redis;
use super::upstream::Upstream;
use super::wait_for;
use serde_json::{json, Value};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How long Envoy may take to be ready, on a machine that is busy.
const READY: Duration = Duration::from_secs(30);

/// How long it may take to find Redis before the test goes on regardless.
const KNOWN: Duration = Duration::from_secs(5);

type Edit = Arc<dyn Fn(&mut Value) + Send + Sync>;

type Render = Arc<dyn Fn(&Place) -> Value + Send + Sync>;

/// Where an Envoy with a configuration of the test's own is to be.
pub struct Place {
    /// A folder for what the configuration refers to.
    pub dir: PathBuf,
    /// Where limited traffic comes in.
    pub port: u16,
    pub admin_port: u16,
    /// The upstream's.
    pub upstream: u16,
}

/// What an Envoy is to be. Starting it twice gives two that count together.
#[derive(Clone)]
pub struct EnvoyBuilder {
    file: PathBuf,
    seeds: Vec<u16>,
    upstream: Option<Upstream>,
    version: String,
    concurrency: u32,
    policy: Policy,
    key_prefix: String,
    as_text: bool,
    patient: bool,
    local: bool,
    cold: bool,
    filter: bool,
    dynamic: bool,
    expose_redis_call: bool,
    drill: bool,
    before: Vec<Value>,
    after: Vec<Value>,
    access_log: Option<Value>,
    environment: Vec<(String, String)>,
    edits: Vec<Edit>,
    whole: Option<Render>,
    arguments: Vec<String>,
}

#[derive(Clone)]
enum Policy {
    /// The shipped one.
    Shipped,
    Value(Value),
    Raw(String),
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

    /// Waits for a count as long as the shipped configuration says, and no longer.
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

    /// Both roles from the module that stands for the next release and dies when told to (`make build-drill`): the
    /// HTTP role by the header `x-headgate-drill: headgate-drill-filter`, the other one by a call for a limit that is
    /// called `headgate-drill-redis-call`. It tells the most rejected each second.
    pub fn drill(mut self) -> Self {
        self.drill = true;
        self
    }

    /// Any other change to the whole configuration, after the harness's own; see [`config`] for what helps.
    pub fn edit(mut self, edit: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        self.edits.push(Arc::new(edit));
        self
    }

    /// Starts it and waits until it takes requests and, where Redis can be reached, knows its nodes.
    pub fn start(self) -> Envoy {
        let redis = !self.cold && self.filter && self.seeds.iter().any(|port| connects(*port));
        match self.try_start() {
            Ok(envoy) => {
                let start = Instant::now();
                while redis && envoy.stat("cluster.redis.membership_total") == 0 && start.elapsed() < KNOWN {
                    std::thread::sleep(Duration::from_millis(5));
                }
                envoy
            }
            Err(log) => panic!("Envoy does not start:\n{}", tail(&log)),
        }
    }

    /// The word for who counts, in filter state.
    pub fn store(&self) -> &'static str {
        match self.local {
            true => "local",
            false => "redis",
        }
    }

    /// Expects that Envoy refuses the configuration; returns its log.
    pub fn refused(self) -> String {
        match self.try_start() {
            Ok(envoy) => panic!("Envoy starts with it; its log:\n{}", tail(&envoy.log())),
            Err(log) => log,
        }
    }

    /// Starts it and waits until it takes requests; where it refuses the configuration or ends, its log.
    pub fn try_start(self) -> Result<Envoy, String> {
        let binary = envoy_binary(&self.version);
        let dir = new_dir("envoy");
        let upstream = self.upstream.clone().unwrap_or_else(Upstream::start);
        let [port, admin_port, redis_call_port] = [free_port(), free_port(), free_port()];
        let mut config = match &self.whole {
            Some(render) => render(&Place {
                dir: dir.clone(),
                port,
                admin_port,
                upstream: upstream.port,
            }),
            None => self.render(&dir, &upstream, port, admin_port, redis_call_port),
        };
        if self.dynamic {
            write_listeners(&dir, config["static_resources"]["listeners"].take());
            config["node"] = json!({"id": "test", "cluster": "test"});
            config["dynamic_resources"] = json!({"lds_config": {"resource_api_version": "V3",
                "path_config_source": {"path": dir.join("listeners.json")}}});
        }
        let file = dir.join("envoy.json");
        std::fs::write(&file, format!("{config:#}")).expect("a configuration file");
        let mut command = Command::new(binary);
        command
            .arg("-c")
            .arg(&file)
            .args(["--disable-hot-restart", "--file-flush-interval-msec", "20"]);
        command.args([
            "--concurrency",
            &self.concurrency.to_string(),
            "--drain-time-s",
            "1",
        ]);
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(root());
        let process = Mutex::new(Process::start(command, &dir));
        let client = Client::http1(port);
        let (key_prefix, builder) = (self.key_prefix.clone(), self);
        let envoy = Envoy {
            port,
            admin_port,
            redis_call_port,
            upstream,
            key_prefix,
            client,
            dir,
            builder,
            process,
        };
        envoy.wait_until_ready().map(|()| envoy)
    }

    fn render(&self, dir: &Path, upstream: &Upstream, port: u16, admin: u16, redis_call: u16) -> Value {
        let mut config = config::load(&self.file);
        config::set_port(&mut config["admin"], admin);
        config::set_port(config::listener(&mut config, "http"), port);
        let service = config::cluster(&mut config, "upstream");
        config::set_endpoints(service, &[upstream.port]);
        // a test's thousands at once are no question of Envoy's own bounds, nor of this machine's
        service["connect_timeout"] = json!("10s");
        service["circuit_breakers"] = json!({"thresholds":
            [{"max_connections": 65536, "max_pending_requests": 65536, "max_requests": 65536}]});
        config::set_access_log(&mut config, &dir.join("access.log"), self.access_log.as_ref());
        if self.filter {
            self.render_headgate(&mut config, redis_call);
        } else {
            config::remove_headgate(&mut config);
        }
        for edit in &self.edits {
            edit(&mut config);
        }
        config
    }

    fn render_headgate(&self, config: &mut Value, port: u16) {
        let wasm = match self.drill {
            true => root().join("target/headgate-drill.wasm"),
            false => filter_module(),
        };
        let plugin = config::headgate(config);
        plugin["vm_config"]["code"]["local"]["filename"] = json!(wasm);
        let shipped = plugin["configuration"]["value"].clone();
        plugin["configuration"] = match &self.policy {
            Policy::Raw(text) => config::as_string(text),
            Policy::Shipped => self.plugin(shipped),
            Policy::Value(policy) => self.plugin(policy.clone()),
        };
        let filters = config::hcm(config)["http_filters"]
            .as_array_mut()
            .expect("HTTP filters");
        let at = filters
            .iter()
            .position(|filter| filter["name"] == "headgate")
            .expect("Headgate");
        filters.splice(at + 1..at + 1, self.after.iter().cloned());
        filters.splice(at..at, self.before.iter().cloned());
        if !config::has_redis_call(config) {
            return;
        }
        if !self.seeds.is_empty() {
            config::set_endpoints(config::cluster(config, "redis"), &self.seeds);
        }
        if self.waits_for_seconds() {
            config::redis_proxy(config)["settings"]["op_timeout"] = json!("10s");
        }
        let plugin = config::redis_call(config);
        plugin["vm_config"]["code"]["local"]["filename"] = json!(wasm);
        let role = plugin["configuration"]["value"].clone();
        plugin["configuration"] = self.plugin(role);
        if self.expose_redis_call {
            let mut open = config::listener(config, "redis_call").clone();
            open["name"] = json!("redis_call_open");
            open.as_object_mut()
                .expect("a listener")
                .remove("internal_listener");
            open["address"] = json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
            config["static_resources"]["listeners"]
                .as_array_mut()
                .expect("listeners")
                .push(open);
        }
    }

    /// Whether a request may wait for its count longer than Envoy would wait for Redis.
    fn waits_for_seconds(&self) -> bool {
        let written = match &self.policy {
            Policy::Value(policy) => policy["redis"]["timeout"].as_str().unwrap_or_default(),
            _ => "",
        };
        match written {
            "" => self.patient,
            _ => written.ends_with('s') && !written.ends_with("ms"),
        }
    }

    /// A plugin's configuration with this builder's key prefix, in the form that it wants.
    fn plugin(&self, mut value: Value) -> Value {
        let network = value["role"] == "redis_call";
        if let Some(fields) = value.as_object_mut() {
            if self.local && !network {
                fields.insert("store".into(), json!("local"));
            }
            let redis = fields.entry("redis").or_insert_with(|| json!({}));
            if let Some(redis) = redis.as_object_mut() {
                if network || !redis.contains_key("key_prefix") {
                    redis.insert("key_prefix".into(), json!(self.key_prefix));
                }
                if self.patient && !network && !redis.contains_key("timeout") {
                    redis.insert("timeout".into(), json!("5s"));
                }
            }
        }
        if self.as_text {
            config::as_string(&value.to_string())
        } else {
            config::as_struct(value)
        }
    }
}

/// A running Envoy; ended when dropped.
pub struct Envoy {
    /// Where limited traffic comes in, on 127.0.0.1.
    pub port: u16,
    pub admin_port: u16,
    /// Where `expose_redis_call` put it.
    pub redis_call_port: u16,
    pub upstream: Upstream,
    pub key_prefix: String,
    client: Client,
    dir: PathBuf,
    builder: EnvoyBuilder,
    process: Mutex<Process>,
}

impl Envoy {
    /// An Envoy that counts in this Redis, with the shipped policy until told otherwise.
    pub fn with(redis: &(impl Redis + ?Sized)) -> EnvoyBuilder {
        let mut builder = Envoy::alone();
        builder.file = root().join(redis.variant());
        builder.seeds = redis.seeds();
        builder
    }

    /// An Envoy without Redis, of the shipped file for that: whatever the policy, it says `store: local`.
    pub fn local() -> EnvoyBuilder {
        let mut builder = Envoy::alone();
        builder.file = root().join("envoy/local.yaml");
        builder.local = true;
        builder
    }

    /// One of each store: for what must hold of both.
    pub fn of_each_store() -> [EnvoyBuilder; 2] {
        [Envoy::with(super::RedisCluster::shared()), Envoy::local()]
    }

    /// An Envoy whose Redis is where the shipped file says, and so most likely nowhere.
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
            drill: false,
            before: Vec::new(),
            after: Vec::new(),
            access_log: None,
            environment: Vec::new(),
            edits: Vec::new(),
            whole: None,
            arguments: Vec::new(),
        }
    }

    pub fn get(&self, path: &str) -> Request {
        self.client.get(path)
    }

    pub fn request(&self, method: &str, path: &str) -> Request {
        self.client.request(method, path)
    }

    /// The same port over HTTP/2.
    pub fn http2(&self) -> Client {
        Client::http2(self.port)
    }

    pub async fn raw(&self) -> RawConnection {
        RawConnection::open(self.port).await
    }

    /// Sends `count` requests at once; `request` makes the one with this number. In their order.
    pub async fn at_once(&self, count: usize, request: impl Fn(usize) -> Request) -> Vec<super::Response> {
        let tasks: Vec<_> = (0..count)
            .map(|number| tokio::spawn(request(number).send()))
            .collect();
        let mut responses = Vec::with_capacity(count);
        for task in tasks {
            responses.push(task.await.expect("a request's task"));
        }
        responses
    }

    /// The body of a GET to the admin interface.
    pub fn admin(&self, path: &str) -> String {
        self.try_admin("GET", path)
            .unwrap_or_else(|error| panic!("admin {path}: {error}"))
    }

    /// A POST to the admin interface.
    pub fn admin_post(&self, path: &str) -> String {
        self.try_admin("POST", path)
            .unwrap_or_else(|error| panic!("admin {path}: {error}"))
    }

    fn try_admin(&self, method: &str, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin_port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\naccept-encoding: identity\r\n\r\n")?;
        let mut text = Vec::new();
        stream.read_to_end(&mut text)?;
        let text = String::from_utf8_lossy(&text);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        Ok(if chunked {
            join_chunks(body)
        } else {
            body.to_owned()
        })
    }

    /// All counters and gauges whose names contain the text.
    pub fn stats(&self, part: &str) -> BTreeMap<String, u64> {
        let pairs = self.admin("/stats");
        let pairs = pairs.lines().filter_map(|line| line.split_once(": "));
        let wanted = pairs.filter(|(name, _)| name.contains(part));
        wanted
            .filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?)))
            .collect()
    }

    /// A counter or gauge by its whole name; 0 where it does not exist (yet).
    pub fn stat(&self, name: &str) -> u64 {
        self.stats(name).get(name).copied().unwrap_or(0)
    }

    /// Its folder: configuration, logs.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What Envoy and the filter have logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    pub fn log_file(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// The filter's log lines that are JSON, with this event.
    pub fn events(&self, event: &str) -> Vec<Value> {
        let log = self.log();
        let lines = log.lines().filter_map(|line| line.get(line.find("{\"")?..));
        lines
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|value| value["event"] == event)
            .collect()
    }

    /// Waits for a line that contains the text.
    pub fn wait_for_log(&self, text: &str) -> String {
        wait_for(
            &format!("{text:?} in Envoy's log"),
            Duration::from_secs(10),
            || {
                self.log()
                    .lines()
                    .find(|line| line.contains(text))
                    .map(str::to_owned)
            },
        )
    }

    /// The access log, once it has at least so many lines.
    pub fn access_log(&self, lines: usize) -> Vec<Value> {
        self.read_access_log(lines, |line| serde_json::from_str(line).ok())
    }

    /// The same of one that is no JSON.
    pub fn access_log_text(&self, lines: usize) -> Vec<String> {
        self.read_access_log(lines, |line| Some(line.to_owned()))
    }

    fn read_access_log<T>(&self, lines: usize, read: impl Fn(&str) -> Option<T>) -> Vec<T> {
        wait_for(
            &format!("{lines} lines in the access log"),
            Duration::from_secs(10),
            || {
                let text = std::fs::read_to_string(self.dir.join("access.log")).unwrap_or_default();
                let entries: Vec<T> = text.lines().filter_map(&read).collect();
                (entries.len() >= lines).then_some(entries)
            },
        )
    }

    /// Another policy for the running Envoy (which must be `dynamic`); returns when new connections meet it.
    pub fn reload(&self, policy: &str) {
        self.reload_as(|builder| builder.policy(policy));
    }

    /// The same for any other change, e.g. of the module.
    pub fn reload_as(&self, change: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder) {
        let before = self.stat("listener_manager.listener_modified")
            + self.stat("listener_manager.listener_in_place_updated");
        self.try_reload_as(change);
        wait_for("the listener's update", READY, || {
            let stats = self.stats("listener_manager.");
            let get = |name: &str| {
                stats
                    .get(&format!("listener_manager.{name}"))
                    .copied()
                    .unwrap_or(0)
            };
            let updated = get("listener_modified") + get("listener_in_place_updated") > before;
            (updated && get("total_listeners_warming") == 0).then_some(())
        });
    }

    /// Offers another policy without waiting: for one that Envoy is to refuse.
    pub fn try_reload(&self, policy: &str) {
        self.try_reload_as(|builder| builder.policy(policy));
    }

    fn try_reload_as(&self, change: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder) {
        assert!(self.builder.dynamic, "only a dynamic Envoy can be reloaded");
        let builder = change(self.builder.clone());
        let mut config = builder.render(
            &self.dir,
            &self.upstream,
            self.port,
            self.admin_port,
            self.redis_call_port,
        );
        write_listeners(&self.dir, config["static_resources"]["listeners"].take());
    }

    /// Memory of the process in RAM, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process().id()));
        let status = status.expect("a running Envoy");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
        number.expect("VmRSS in kB")
    }

    /// Whether it has not ended by itself.
    pub fn is_running(&self) -> bool {
        self.process().exited().is_none()
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The process's.
    pub fn id(&self) -> u32 {
        self.process().id()
    }

    /// SIGSTOP: as when the whole machine stalls.
    pub fn freeze(&self) {
        self.process().signal(libc::SIGSTOP);
    }

    pub fn thaw(&self) {
        self.process().signal(libc::SIGCONT);
    }

    /// Ends it as an operator would, by SIGTERM.
    pub fn stop(&self) {
        self.process().terminate();
    }

    fn wait_until_ready(&self) -> Result<(), String> {
        wait_for("Envoy to be ready", READY, || {
            if self.process().exited().is_some() {
                return Some(Err(self.log()));
            }
            let live = self
                .try_admin("GET", "/ready")
                .is_ok_and(|body| body.trim() == "LIVE");
            (live && connects(self.port)).then_some(Ok(()))
        })
    }
}

fn connects(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// Envoy takes up a file that is moved into its place.
fn write_listeners(dir: &Path, listeners: Value) {
    let mut resources = listeners;
    for listener in resources.as_array_mut().expect("listeners") {
        listener["@type"] = json!("type.googleapis.com/envoy.config.listener.v3.Listener");
    }
    let next = dir.join("listeners.next");
    std::fs::write(&next, json!({"resources": resources}).to_string()).expect("a listeners' file");
    std::fs::rename(next, dir.join("listeners.json")).expect("a listeners' file");
}

fn join_chunks(mut text: &str) -> String {
    let mut body = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let Some(chunk) = rest.get(..size).filter(|chunk| !chunk.is_empty()) else {
            break;
        };
        body.push_str(chunk);
        text = rest[size..].trim_start_matches("\r\n");
    }
    body
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
