//! The Redis or Redis Cluster with the counters, for the subcommands that read or change them. This module knows slots
//! and nodes, not counters.

use super::store_nodes::{show_slots, Master, Nodes, Via};
use super::Failure;
use ::redis::{cmd, Connection, ConnectionInfo, IntoConnectionInfo, RedisResult, TlsCertificates};
use headgate_core::redis::HashSlot;
use std::ops::RangeInclusive;

/// Where counters are.
#[derive(clap::Args)]
pub struct StoreArgs {
    /// A Redis, or any node of a cluster, as redis://[USER:PASSWORD@]HOST:PORT, or rediss:// for TLS; several, separated
    /// by commas: the first that answers
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
    /// Where nodes are reached, if not by the addresses that they announce (NAT, `kubectl port-forward`): HOST:PORT is
    /// asked which node it is, ANNOUNCED=HOST:PORT says so. May be repeated
    #[arg(long, value_name = "[ANNOUNCED=]HOST:PORT")]
    via: Vec<Via>,
    /// The certificate authority that signed Redis's certificate (PEM), where the system does not know it
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,
}

/// Connections to the masters that are needed.
pub struct Store {
    nodes: Nodes,
}

/// What was read from all masters.
pub struct FromAll<T> {
    pub rows: Vec<T>,
    /// Why some masters were not read.
    pub missing: Vec<Failure>,
}

impl StoreArgs {
    /// # Errors
    /// An invalid URL, or a Redis that cannot be reached.
    pub fn connect(&self) -> Result<Store, Failure> {
        let urls = split_urls(&self.redis);
        let seeds = urls
            .into_iter()
            .map(|url| self.info(url))
            .collect::<Result<_, _>>()?;
        let certificates = match &self.ca {
            None => None,
            Some(file) => Some(TlsCertificates {
                client_tls: None,
                root_cert: Some(
                    std::fs::read(file).map_err(|error| Failure::new(format!("{file}: {error}")))?,
                ),
            }),
        };
        let nodes = Nodes::discover(seeds, self.via.clone(), certificates)?;
        Ok(Store { nodes })
    }

    fn info(&self, url: &str) -> Result<ConnectionInfo, Failure> {
        let bad = |error| {
            Failure::new(format!(
                "--redis: {error}; write redis://HOST:PORT or rediss://HOST:PORT"
            ))
        };
        let info = url.into_connection_info().map_err(bad)?;
        let mut login = info.redis_settings().clone();
        if let Some(user) = &self.redis_user {
            login = login.set_username(user);
        }
        if let Some(password) = &self.redis_password {
            login = login.set_password(password);
        }
        Ok(info.set_redis_settings(login))
    }
}

/// URLs that are separated by commas. A comma may also be in a password.
fn split_urls(text: &str) -> Vec<&str> {
    let mut urls = Vec::new();
    let mut start = 0;
    for (comma, _) in text.match_indices(',') {
        let rest = text.get(comma + 1..).unwrap_or_default();
        if ["redis://", "rediss://"]
            .iter()
            .any(|scheme| rest.trim_start().starts_with(scheme))
        {
            urls.push(text.get(start..comma).unwrap_or_default().trim());
            start = comma + 1;
        }
    }
    urls.push(text.get(start..).unwrap_or_default().trim());
    urls
}

impl Store {
    /// Runs something on the master that has the key. Once more with the newest map of the slots if the slot has moved, or
    /// the master does not answer: a replica may have taken over.
    ///
    /// # Errors
    /// What Redis refuses, and a master that does not answer.
    pub fn on<T>(
        &mut self,
        key: &[u8],
        run: impl Fn(&mut Connection) -> RedisResult<T>,
    ) -> Result<T, Failure> {
        let slot = HashSlot::of(key).get();
        let mut tried = None;
        for attempt in 0..2 {
            let serves = |node: &&Master| node.slots.iter().any(|slots| slots.contains(&slot));
            let Some(master) = self.nodes.masters.iter().find(serves) else {
                return Err(Failure::new(format!("no master serves slot {slot} now")));
            };
            let address = master.address.clone();
            let failure = match tried {
                // The same as before: it would only take the time again.
                Some((ref before, failure)) if *before == address => return Err(failure),
                _ => match self.nodes.connection(&address).and_then(&run) {
                    Ok(value) => return Ok(value),
                    Err(error) if error.code() == Some("MOVED") => {
                        Failure::new(format!("slot {slot} is moving ({error}); try again"))
                    }
                    Err(error) if error.is_io_error() => self.nodes.failed(&address, &error),
                    Err(error) => return Err(self.nodes.failed(&address, &error)),
                },
            };
            if attempt == 1 || !self.nodes.is_cluster {
                return Err(failure);
            }
            let is_away = !failure.0.starts_with("slot ");
            tried = is_away.then(|| (address, Failure::new(failure.0.clone())));
            if let Err(none) = self.nodes.refresh() {
                return Err(if is_away { failure } else { none });
            }
        }
        Err(Failure::new(format!("slot {slot} is moving; try again")))
    }

    /// Redis's clock, in unix µs: the one that counts, of the node that has the key.
    pub fn clock_us(&mut self, key: &[u8]) -> Result<u64, Failure> {
        self.on(key, clock_us)
    }

    /// Every key with this prefix, in the prefix's slot. The prefix must contain the whole hash tag.
    pub fn keys_of(&mut self, start: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
        let slot = HashSlot::of(start).get();
        let mut keys: Vec<Vec<u8>> = match self.nodes.is_cluster {
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

    /// Every hash of every master whose key has this prefix, each with the master's clock (unix µs) and data that is read
    /// in the same step. Masters that do not answer are listed, and the others read.
    pub fn hashes<T>(
        &mut self,
        start: &[u8],
        mut read: impl FnMut(&mut Connection, &[u8], u64) -> RedisResult<T>,
    ) -> FromAll<(Vec<u8>, T)> {
        let mut all = FromAll {
            rows: Vec::new(),
            missing: Vec::new(),
        };
        let masters = self.nodes.masters.clone();
        for master in &masters {
            let mut rows = Vec::new();
            let mut run = |connection: &mut Connection| {
                let clock = clock_us(connection)?;
                for key in scan(connection, start, Some("hash"))? {
                    let value = read(connection, &key, clock)?;
                    rows.push((key, value));
                }
                Ok(())
            };
            match self.nodes.connection(&master.address).and_then(&mut run) {
                Ok(()) => all.rows.append(&mut rows),
                Err(error) => all.missing.push(self.nodes.failed(&master.address, &error)),
            }
        }
        let unserved = unserved(&masters);
        if self.nodes.is_cluster && !unserved.is_empty() {
            let slots = show_slots(&unserved);
            all.missing
                .push(Failure::new(format!("no master serves the slots {slots} now")));
        }
        all.rows.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }
}

/// The slots of a cluster that no master serves.
fn unserved(masters: &[Master]) -> Vec<RangeInclusive<u16>> {
    let mut served: Vec<_> = masters
        .iter()
        .flat_map(|master| master.slots.iter().cloned())
        .collect();
    served.sort_by_key(|slots| *slots.start());
    let (mut next, mut unserved) = (0, Vec::new());
    for slots in served {
        if *slots.start() > next {
            unserved.push(next..=*slots.start() - 1);
        }
        next = next.max(slots.end().saturating_add(1));
    }
    const SLOTS: u16 = 16_384;
    if next < SLOTS {
        unserved.push(next..=SLOTS - 1);
    }
    unserved
}

fn clock_us(connection: &mut Connection) -> RedisResult<u64> {
    let (seconds, micros): (u64, u64) = cmd("TIME").query(connection)?;
    Ok(seconds * 1_000_000 + micros)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store_nodes::HostPort;

    #[test]
    fn several_urls_are_split_and_passwords_are_not() {
        assert_eq!(split_urls("redis://a:1"), ["redis://a:1"]);
        assert_eq!(
            split_urls("redis://a:1, rediss://b:2"),
            ["redis://a:1", "rediss://b:2"]
        );
        assert_eq!(
            split_urls("redis://u:p,q@a:1,redis://b:2"),
            ["redis://u:p,q@a:1", "redis://b:2"]
        );
    }

    #[test]
    fn what_no_master_serves_is_known() {
        let master =
            |slots: &[RangeInclusive<u16>]| Master::new(slots.to_vec(), HostPort::parse("a:1").unwrap());
        assert_eq!(unserved(&[master(&[0..=16_383])]), []);
        let two = [master(&[100..=199, 300..=16_000]), master(&[200..=298])];
        assert_eq!(unserved(&two), [0..=99, 299..=299, 16_001..=16_383]);
    }
}
