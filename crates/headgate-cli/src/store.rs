//! The Redis or Redis Cluster with the counters, for the subcommands that read or change them. This module knows slots
//! and nodes, not counters.

use super::Failure;
use ::redis::{
    cmd, from_redis_value, Client, Connection, ConnectionAddr, ConnectionInfo, FromRedisValue,
    IntoConnectionInfo, RedisResult, TlsCertificates, Value,
};
use headgate_core::redis::HashSlot;
use std::ops::RangeInclusive;
use std::time::Duration;

/// How long a connection may take, and then each call.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where counters are.
#[derive(clap::Args)]
pub struct StoreArgs {
    /// A Redis, or any node of a cluster, as redis://[USER:PASSWORD@]HOST:PORT, or rediss:// for TLS
    #[arg(
        long,
        env = "HEADGATE_REDIS",
        hide_env_values = true,
        default_value = "redis://127.0.0.1:6379",
        value_name = "URL"
    )]
    redis: String,
    /// In place of the URL's user
    #[arg(long, env = "HEADGATE_REDIS_USER", value_name = "NAME")]
    redis_user: Option<String>,
    /// In place of the URL's password; better from the environment, where no other user sees it
    #[arg(
        long,
        env = "HEADGATE_REDIS_PASSWORD",
        hide_env_values = true,
        value_name = "PASSWORD"
    )]
    redis_password: Option<String>,
    /// The certificate authority that signed Redis's certificate (PEM), where the system does not know it
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,
}

/// A master and the slots that it serves.
struct Master {
    slots: Vec<RangeInclusive<u16>>,
    name: String,
    connection: Connection,
}

/// Connections to every master.
pub struct Store {
    info: ConnectionInfo,
    certificates: Option<TlsCertificates>,
    nodes: Vec<Master>,
    is_cluster: bool,
}

impl StoreArgs {
    /// # Errors
    /// An invalid URL, or a Redis that cannot be reached.
    pub fn connect(&self) -> Result<Store, Failure> {
        let bad = |error| {
            Failure::new(format!(
                "--redis: {error}; write redis://HOST:PORT or rediss://HOST:PORT"
            ))
        };
        let mut info = self.redis.as_str().into_connection_info().map_err(bad)?;
        let mut login = info.redis_settings().clone();
        if let Some(user) = &self.redis_user {
            login = login.set_username(user);
        }
        if let Some(password) = &self.redis_password {
            login = login.set_password(password);
        }
        info = info.set_redis_settings(login);
        let certificates = match &self.ca {
            None => None,
            Some(file) => Some(TlsCertificates {
                client_tls: None,
                root_cert: Some(
                    std::fs::read(file).map_err(|error| Failure::new(format!("{file}: {error}")))?,
                ),
            }),
        };
        let mut store = Store {
            info,
            certificates,
            nodes: Vec::new(),
            is_cluster: false,
        };
        store.discover()?;
        Ok(store)
    }
}

impl Store {
    /// Asks the first node which masters serve which slots.
    fn discover(&mut self) -> Result<(), Failure> {
        let addr = self.info.addr().clone();
        let mut seed = self.connect(&addr)?;
        let slots: RedisResult<Vec<Vec<Value>>> = cmd("CLUSTER").arg("SLOTS").query(&mut seed.connection);
        self.nodes.clear();
        let slots = match slots {
            Ok(slots) => slots,
            // Without the right to ask, it is unknown whether this is a cluster.
            Err(error) if error.code() == Some("NOPERM") => return Err(failed(&seed.name, &error)),
            // "cluster support disabled"
            Err(_) => {
                seed.slots = vec![0..=u16::MAX];
                self.nodes.push(seed);
                return Ok(());
            }
        };
        self.is_cluster = true;
        for range in slots {
            let Some((slots, host, port)) = read_range(range) else {
                return Err(Failure::new(format!(
                    "{}: CLUSTER SLOTS: a reply that is not understood",
                    seed.name
                )));
            };
            let addr = at(&addr, host, port);
            let name = addr.to_string();
            match self.nodes.iter_mut().find(|node| node.name == name) {
                Some(node) => node.slots.push(slots),
                None => {
                    let mut node = self.connect(&addr)?;
                    node.slots.push(slots);
                    self.nodes.push(node);
                }
            }
        }
        match self.nodes.is_empty() {
            true => Err(Failure::new(format!(
                "{}: a cluster that serves no slot",
                seed.name
            ))),
            false => Ok(()),
        }
    }

    fn connect(&self, addr: &ConnectionAddr) -> Result<Master, Failure> {
        let name = addr.to_string();
        let open = || {
            let info = self.info.clone().set_addr(addr.clone());
            let client = match &self.certificates {
                Some(certificates) => Client::build_with_tls(info, certificates.clone()),
                None => Client::open(info),
            }?;
            let connection = client.get_connection_with_timeout(PATIENCE)?;
            connection.set_read_timeout(Some(PATIENCE))?;
            connection.set_write_timeout(Some(PATIENCE))?;
            Ok(connection)
        };
        match open() {
            Ok(connection) => Ok(Master {
                slots: Vec::new(),
                name,
                connection,
            }),
            Err(error) => Err(failed(&name, &error)),
        }
    }

    /// Runs something on the master that has the key; once more if the slot has moved.
    ///
    /// # Errors
    /// What Redis refuses, and nodes that do not answer.
    pub fn on<T>(
        &mut self,
        key: &[u8],
        run: impl Fn(&mut Connection) -> RedisResult<T>,
    ) -> Result<T, Failure> {
        let slot = HashSlot::of(key).get();
        for attempt in 0..2 {
            let serves = |node: &&mut Master| node.slots.iter().any(|slots| slots.contains(&slot));
            let Some(node) = self.nodes.iter_mut().find(serves) else {
                return Err(Failure::new(format!("no master serves slot {slot} now")));
            };
            match run(&mut node.connection) {
                Ok(value) => return Ok(value),
                Err(error) if error.code() == Some("MOVED") && attempt == 0 => self.discover()?,
                Err(error) => return Err(failed(&node.name, &error)),
            }
        }
        Err(Failure::new(format!("slot {slot} is moving; try again")))
    }

    /// Redis's clock, in unix µs: the one that counts, of the node that has the key.
    pub fn clock_us(&mut self, key: &[u8]) -> Result<u64, Failure> {
        let (seconds, micros): (u64, u64) = self.on(key, |connection| cmd("TIME").query(connection))?;
        Ok(seconds * 1_000_000 + micros)
    }

    /// Every key with this prefix, in the prefix's slot. The prefix must contain the whole hash tag.
    pub fn keys_of(&mut self, start: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
        let slot = HashSlot::of(start).get();
        let mut keys: Vec<Vec<u8>> = match self.is_cluster {
            true => self.on(start, |connection| {
                let count: u64 = cmd("CLUSTER")
                    .arg("COUNTKEYSINSLOT")
                    .arg(slot)
                    .query(connection)?;
                cmd("CLUSTER")
                    .arg("GETKEYSINSLOT")
                    .arg(slot)
                    .arg(count)
                    .query(connection)
            })?,
            false => self.on(start, |connection| scan(connection, start, None))?,
        };
        keys.retain(|key| key.starts_with(start));
        keys.sort();
        keys.dedup();
        Ok(keys)
    }

    /// Every hash of every master whose key has this prefix, each with data that is read in the same step.
    pub fn hashes<T>(
        &mut self,
        start: &[u8],
        mut read: impl FnMut(&mut Connection, &[u8]) -> RedisResult<T>,
    ) -> Result<Vec<(Vec<u8>, T)>, Failure> {
        let mut all = Vec::new();
        for node in &mut self.nodes {
            let mut run = || {
                for key in scan(&mut node.connection, start, Some("hash"))? {
                    let value = read(&mut node.connection, &key)?;
                    all.push((key, value));
                }
                Ok(())
            };
            run().map_err(|error| failed(&node.name, &error))?;
        }
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(all)
    }
}

/// All keys of a node with this prefix, in small steps that do not block other clients of the node.
fn scan(connection: &mut Connection, start: &[u8], kind: Option<&str>) -> RedisResult<Vec<Vec<u8>>> {
    let mut pattern = Vec::with_capacity(start.len() + 1);
    for byte in start {
        if b"*?[]\\^".contains(byte) {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    pattern.push(b'*');
    let (mut cursor, mut keys) = (0_u64, Vec::new());
    loop {
        let mut command = cmd("SCAN");
        command
            .arg(cursor)
            .arg("MATCH")
            .arg(&pattern)
            .arg("COUNT")
            .arg(1_000);
        if let Some(kind) = kind {
            command.arg("TYPE").arg(kind);
        }
        let (next, some): (u64, Vec<Vec<u8>>) = command.query(connection)?;
        keys.extend(some);
        if next == 0 {
            return Ok(keys);
        }
        cursor = next;
    }
}

/// `[first, last, [host, port, …], replica…]`
fn read_range(range: Vec<Value>) -> Option<(RangeInclusive<u16>, String, u16)> {
    fn read<T: FromRedisValue>(value: Option<Value>) -> Option<T> {
        from_redis_value(value?).ok()
    }
    let mut parts = range.into_iter();
    let (first, last) = (read(parts.next())?, read(parts.next())?);
    let mut master = read::<Vec<Value>>(parts.next())?.into_iter();
    let host = read::<Option<String>>(master.next())
        .flatten()
        .unwrap_or_default();
    Some((first..=last, host, read(master.next())?))
}

/// Another node, reached as the first one is; where a node does not know its own host, it is the first one's.
fn at(seed: &ConnectionAddr, host: String, port: u16) -> ConnectionAddr {
    let own = |seed: &str| {
        if host.is_empty() {
            seed.to_owned()
        } else {
            host.clone()
        }
    };
    match seed {
        ConnectionAddr::TcpTls {
            host: seed,
            insecure,
            tls_params,
            ..
        } => ConnectionAddr::TcpTls {
            host: own(seed),
            port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        ConnectionAddr::Tcp(seed, _) => ConnectionAddr::Tcp(own(seed), port),
        _ => ConnectionAddr::Tcp(host, port),
    }
}

fn failed(node: &str, error: &::redis::RedisError) -> Failure {
    let remedy = match error.code() {
        Some("NOAUTH" | "WRONGPASS") => "; set HEADGATE_REDIS_USER and HEADGATE_REDIS_PASSWORD",
        Some("NOPERM") => "; the user needs more rights than the filter's: docs/cli.md, \"Rights in Redis\"",
        _ => "",
    };
    Failure::new(format!("redis at {node}: {error}{remedy}"))
}
