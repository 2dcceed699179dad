//! One Envoy as its admin interface shows it.

use super::admin::{Admin, ReadError};
use super::config::{list, text, Config, Endpoint};
use super::stats::{self, Stats};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What was read from an Envoy.
#[derive(Default)]
pub struct Envoy {
    /// `1.40.0`.
    pub version: String,
    /// The server's state: `LIVE`, `DRAINING` or another.
    pub state: String,
    pub uptime: String,
    /// Worker threads; 0: unknown.
    pub workers: u64,
    /// Envoy's clock when the counters were read, in unix ms.
    pub now_ms: u64,
    pub config: Config,
    /// The nodes of each cluster.
    pub hosts: BTreeMap<String, Vec<Endpoint>>,
    pub stats: Stats,
    /// The earlier ones, if the counters were read twice.
    pub before: Option<Stats>,
}

impl Envoy {
    /// Reads all pages.
    ///
    /// # Errors
    /// An interface that cannot be reached, or is not Envoy's.
    pub fn read(admin: &Admin) -> Result<Envoy, ReadError> {
        let server = admin.get("/server_info")?.body;
        // Read this page first: a server that is not Envoy does not have the other pages either.
        Envoy::default().server(&server)?;
        let page = |path: &str| match admin.get(path) {
            Err(ReadError::NotEnvoy(why)) => Err(ReadError::NoPage(why)),
            result => result,
        };
        let dump = page("/config_dump?include_eds")?.body;
        let mut envoy = Envoy::parse(&server, &dump, &page("/clusters?format=json")?.body)?;
        envoy.read_stats(admin)?;
        Ok(envoy)
    }

    /// Reads the pages `/server_info`, `/config_dump` and `/clusters`.
    ///
    /// # Errors
    /// Pages that are not Envoy's.
    pub fn parse(server: &str, dump: &str, clusters: &str) -> Result<Envoy, ReadError> {
        let mut envoy = Envoy::default();
        envoy.server(server)?;
        let no_dump = |error: String| ReadError::NotEnvoy(format!("/config_dump: {error}"));
        envoy.config = Config::parse(dump).map_err(no_dump)?;
        envoy.hosts = hosts(clusters)
            .ok_or_else(|| ReadError::NotEnvoy("/clusters is no list of clusters".to_owned()))?;
        Ok(envoy)
    }

    /// Reads the counters (again).
    ///
    /// # Errors
    /// As [`Envoy::read`].
    pub fn read_stats(&mut self, admin: &Admin) -> Result<(), ReadError> {
        let page = admin.get(&stats::path(&self.config.redis_clusters()))?;
        self.stats = Stats::parse(&page.body);
        self.now_ms = page.unix_ms;
        Ok(())
    }

    fn server(&mut self, body: &str) -> Result<(), ReadError> {
        let no_envoy = || ReadError::NotEnvoy("/server_info is not that of Envoy".to_owned());
        let info: Value = serde_json::from_str(body).map_err(|_| no_envoy())?;
        // `<commit>/1.40.0/Clean/RELEASE/BoringSSL`
        let version = text(&info, &["version"]).ok_or_else(no_envoy)?;
        let mut parts = version.split('/');
        self.version = parts.nth(1).unwrap_or(version).to_owned();
        self.state = text(&info, &["state"]).unwrap_or_default().to_owned();
        let uptime = text(&info, &["uptime_current_epoch"]).ok_or_else(no_envoy)?;
        self.uptime = uptime.to_owned();
        let workers = info
            .get("command_line_options")
            .and_then(|options| options.get("concurrency"));
        self.workers = workers.and_then(Value::as_u64).unwrap_or(0);
        Ok(())
    }

    /// The names of the instances of Headgate's filters, each once.
    pub fn instances(&self) -> BTreeSet<&str> {
        let filters = self.config.filters.iter();
        filters.map(|filter| filter.policy.instance.as_str()).collect()
    }
}

/// The nodes of each cluster; `None`: a text that is no such list.
fn hosts(body: &str) -> Option<BTreeMap<String, Vec<Endpoint>>> {
    let all: Value = serde_json::from_str(body).ok()?;
    let hosts = list(&all, &["cluster_statuses"]).iter().filter_map(|cluster| {
        let hosts = list(cluster, &["host_statuses"]).iter();
        let hosts = hosts.filter_map(|host| Endpoint::read(host.get("address")?));
        Some((text(cluster, &["name"])?.to_owned(), hosts.collect()))
    });
    Some(hosts.collect())
}
