//! The nodes of Redis: which of them serves which slots, by which address each is reached, and connections to those that
//! are needed. A node that nothing is asked of may be down.

use super::Failure;
use ::redis::{
    cmd, from_redis_value, Client, Connection, ConnectionAddr, ConnectionInfo, FromRedisValue, RedisError,
    RedisResult, TlsCertificates, Value,
};
use std::collections::HashMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

/// How long a connection may take, and then each call.
const PATIENCE: Duration = Duration::from_secs(5);

/// A host and a port, as a cluster announces them or as `--via` names them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    pub host: String,
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl HostPort {
    /// `host:port`, with an IPv6 address in brackets.
    pub fn parse(text: &str) -> Option<HostPort> {
        let (host, port) = text.rsplit_once(':')?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        let is_valid = !host.is_empty() && (bare.is_some() || !host.contains(':'));
        Some(HostPort {
            host: host.to_owned(),
            port: port.parse().ok().filter(|_| is_valid)?,
        })
    }

    fn of(addr: &ConnectionAddr) -> Option<HostPort> {
        match addr {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => Some(HostPort {
                host: host.clone(),
                port: *port,
            }),
            _ => None,
        }
    }
}

/// Another address for nodes that cannot be reached by the one that they announce (NAT, a port-forward).
#[derive(Debug, Clone, PartialEq)]
pub struct Via {
    /// The node; `None`: it is asked which one it is.
    pub announced: Option<HostPort>,
    pub reached: HostPort,
}

impl std::str::FromStr for Via {
    type Err = String;

    fn from_str(text: &str) -> Result<Via, String> {
        let (announced, reached) = match text.split_once('=') {
            Some((announced, reached)) => (Some(announced), reached),
            None => (None, text),
        };
        let read = |text: &str| {
            HostPort::parse(text)
                .ok_or_else(|| format!("{text:?} is not HOST:PORT; write HOST:PORT or ANNOUNCED=HOST:PORT"))
        };
        Ok(Via {
            announced: announced.map(read).transpose()?,
            reached: read(reached)?,
        })
    }
}

/// A master and the slots that it serves.
#[derive(Debug, Clone)]
pub struct Master {
    pub slots: Vec<RangeInclusive<u16>>,
    /// As it announces itself.
    pub address: HostPort,
    /// Empty where the cluster names none.
    id: String,
}

impl Master {
    pub fn new(slots: Vec<RangeInclusive<u16>>, address: HostPort) -> Master {
        Master {
            slots,
            address,
            id: String::new(),
        }
    }
}

/// The nodes of one Redis or Redis Cluster.
pub struct Nodes {
    /// Where to ask first: any one that answers will do.
    seeds: Vec<ConnectionInfo>,
    certificates: Option<TlsCertificates>,
    vias: Vec<Via>,
    pub masters: Vec<Master>,
    pub is_cluster: bool,
    /// The other address of a node, by the announced one.
    reached: HashMap<HostPort, HostPort>,
    connections: HashMap<HostPort, Connection>,
}

impl Nodes {
    /// # Errors
    /// No seed that answers.
    pub fn discover(
        seeds: Vec<ConnectionInfo>,
        vias: Vec<Via>,
        certificates: Option<TlsCertificates>,
    ) -> Result<Nodes, Failure> {
        let mut nodes = Nodes {
            seeds,
            certificates,
            vias,
            masters: Vec::new(),
            is_cluster: false,
            reached: HashMap::new(),
            connections: HashMap::new(),
        };
        nodes.refresh()?;
        Ok(nodes)
    }

    /// Asks which masters serve which slots, the first node that answers.
    ///
    /// # Errors
    /// None answers.
    pub fn refresh(&mut self) -> Result<(), Failure> {
        self.connections.clear();
        self.reached = (self.vias.iter())
            .filter_map(|via| Some((via.announced.clone()?, via.reached.clone())))
            .collect();
        let mut failures = Vec::new();
        for info in self.candidates() {
            let Some(address) = HostPort::of(info.addr()) else {
                continue;
            };
            let answer = self.open(&info).map_err(|error| failed(&address, &error));
            match answer.and_then(|connection| self.ask(connection, &address)) {
                Ok(()) => return Ok(()),
                Err(failure) => failures.push(failure.0),
            }
        }
        Err(Failure::new(failures.join("\nheadgate: ")))
    }

    /// What is asked for the slots, in this order: what `--via` names alone, the URLs, the masters known before.
    fn candidates(&self) -> Vec<ConnectionInfo> {
        let Some(first) = self.seeds.first() else {
            return Vec::new();
        };
        let alone = self.vias.iter().filter(|via| via.announced.is_none());
        let alone = alone.map(|via| at(first, &via.reached));
        let seeds = self.seeds.iter().map(|seed| match HostPort::of(seed.addr()) {
            Some(address) => at(seed, self.reached.get(&address).unwrap_or(&address)),
            None => seed.clone(),
        });
        let known = self.masters.iter().map(|master| self.info(&master.address));
        alone.chain(seeds).chain(known.flatten()).collect()
    }

    fn ask(&mut self, mut connection: Connection, address: &HostPort) -> Result<(), Failure> {
        let slots: RedisResult<Vec<Vec<Value>>> = cmd("CLUSTER").arg("SLOTS").query(&mut connection);
        let slots = match slots {
            Ok(slots) => slots,
            // "cluster support disabled"
            Err(error) if error.code() == Some("ERR") => {
                self.masters = vec![Master::new(vec![0..=u16::MAX], address.clone())];
                self.connections.insert(address.clone(), connection);
                return Ok(());
            }
            // Without the right to ask, it is unknown whether this is a cluster.
            Err(error) => return Err(failed(address, &error)),
        };
        let mut masters: Vec<Master> = Vec::new();
        for range in slots {
            let Some((slots, announced, id)) = read_range(range, address) else {
                let message = format!("redis at {address}: CLUSTER SLOTS: an answer that is not understood");
                return Err(Failure::new(message));
            };
            match masters.iter_mut().find(|master| master.address == announced) {
                Some(master) => master.slots.push(slots),
                None => masters.push(Master {
                    slots: vec![slots],
                    address: announced,
                    id,
                }),
            }
        }
        if masters.is_empty() {
            return Err(Failure::new(format!(
                "redis at {address}: a cluster that serves no slot"
            )));
        }
        self.is_cluster = true;
        self.masters = masters;
        self.identify(connection, address);
        Ok(())
    }

    /// Which nodes are behind the addresses that may work where theirs do not: the one that answered, those that `--via`
    /// names alone, and then those of the URLs. What is not known stays at the announced address.
    fn identify(&mut self, mut connection: Connection, address: &HostPort) {
        let by_id = |masters: &[Master], id: &str| {
            let own = masters.iter().find(|master| !id.is_empty() && master.id == id);
            own.map(|master| master.address.clone())
        };
        let ask = |connection: &mut Connection| cmd("CLUSTER").arg("MYID").query::<String>(connection);
        let is_announced = self.masters.iter().any(|master| master.address == *address);
        let own = match is_announced {
            true => Some(address.clone()),
            false => ask(&mut connection).ok().and_then(|id| by_id(&self.masters, &id)),
        };
        if let Some(own) = own {
            self.reached.entry(own.clone()).or_insert_with(|| address.clone());
            self.connections.insert(own, connection);
        }
        let alone = self.vias.iter().filter(|via| via.announced.is_none());
        let vias: Vec<HostPort> = alone.map(|via| via.reached.clone()).collect();
        let is_by_via = vias.contains(address);
        let seeds = self.seeds.iter().filter_map(|seed| HostPort::of(seed.addr()));
        let seeds: Vec<HostPort> = seeds.filter(|_| is_by_via).collect();
        for other in vias.iter().chain(&seeds) {
            let is_known = other == address || self.masters.iter().any(|master| master.address == *other);
            let is_complete = self.reached.len() >= self.masters.len();
            if is_known || (is_complete && !vias.contains(other)) {
                continue;
            }
            let Some(info) = self.seeds.first().map(|seed| at(seed, other)) else {
                continue;
            };
            let answer = self
                .open(&info)
                .and_then(|mut connection| Ok((ask(&mut connection)?, connection)));
            match answer {
                Ok((id, connection)) => match by_id(&self.masters, &id) {
                    Some(own) => {
                        self.reached.insert(own.clone(), other.clone());
                        self.connections.insert(own, connection);
                    }
                    None => {
                        eprintln!("headgate: {other}: no master of this cluster; --via names its masters")
                    }
                },
                Err(error) if vias.contains(other) => {
                    eprintln!("headgate: --via: {}", failed(other, &error).0)
                }
                // The URL may be out of reach, which is what --via is for.
                Err(_) => {}
            }
        }
    }

    fn info(&self, announced: &HostPort) -> Option<ConnectionInfo> {
        let address = self.reached.get(announced).unwrap_or(announced);
        self.seeds.first().map(|seed| at(seed, address))
    }

    /// A connection to this master, opened when it is needed.
    pub fn connection(&mut self, announced: &HostPort) -> RedisResult<&mut Connection> {
        if !self.connections.contains_key(announced) {
            let info = self.info(announced);
            let Some(info) = info else {
                return Err(RedisError::from((
                    ::redis::ErrorKind::InvalidClientConfig,
                    "no address",
                )));
            };
            let connection = self.open(&info)?;
            self.connections.insert(announced.clone(), connection);
        }
        let none = || RedisError::from((::redis::ErrorKind::InvalidClientConfig, "no connection"));
        self.connections.get_mut(announced).ok_or_else(none)
    }

    fn open(&self, info: &ConnectionInfo) -> RedisResult<Connection> {
        let client = match &self.certificates {
            Some(certificates) => Client::build_with_tls(info.clone(), certificates.clone()),
            None => Client::open(info.clone()),
        }?;
        let connection = client.get_connection_with_timeout(PATIENCE)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.set_write_timeout(Some(PATIENCE))?;
        Ok(connection)
    }

    /// What to say of a master that fails: also who is affected, and how it may be reached.
    pub fn failed(&self, announced: &HostPort, error: &RedisError) -> Failure {
        let Failure(mut message) = failed(announced, error);
        if !self.is_cluster || !(error.is_io_error() || error.is_timeout() || error.is_connection_refusal()) {
            return Failure(message);
        }
        let slots = self.masters.iter().find(|master| master.address == *announced);
        let slots = slots.map(|master| show_slots(&master.slots)).unwrap_or_default();
        message += &format!(
            "; it has the slots {slots}; clients on other nodes are not concerned; where the node is reached by another \
             address (NAT, a port-forward): --via {announced}=HOST:PORT"
        );
        Failure(message)
    }
}

pub fn show_slots(slots: &[RangeInclusive<u16>]) -> String {
    let one = |range: &RangeInclusive<u16>| match range.start() == range.end() {
        true => range.start().to_string(),
        false => format!("{}-{}", range.start(), range.end()),
    };
    slots.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Another node, reached as this one is.
fn at(like: &ConnectionInfo, address: &HostPort) -> ConnectionInfo {
    let HostPort { host, port } = address.clone();
    let addr = match like.addr() {
        ConnectionAddr::TcpTls {
            insecure, tls_params, ..
        } => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        ConnectionAddr::Tcp(..) => ConnectionAddr::Tcp(host, port),
        other => other.clone(),
    };
    like.clone().set_addr(addr)
}

/// `[first, last, [host, port, id, …], replica…]`. A node that does not know its own host has that of the one that was
/// asked.
fn read_range(range: Vec<Value>, asked: &HostPort) -> Option<(RangeInclusive<u16>, HostPort, String)> {
    fn read<T: FromRedisValue>(value: Option<Value>) -> Option<T> {
        from_redis_value(value?).ok()
    }
    let mut parts = range.into_iter();
    let (first, last) = (read(parts.next())?, read(parts.next())?);
    let mut master = read::<Vec<Value>>(parts.next())?.into_iter();
    let host = read::<Option<String>>(master.next()).flatten();
    let host = host
        .filter(|host| !host.is_empty())
        .unwrap_or_else(|| asked.host.clone());
    let port = read(master.next())?;
    let id = read(master.next()).unwrap_or_default();
    Some((first..=last, HostPort { host, port }, id))
}

fn failed(node: &HostPort, error: &RedisError) -> Failure {
    let remedy = match error.code() {
        Some("NOAUTH" | "WRONGPASS") => "; set HEADGATE_REDIS_USER and HEADGATE_REDIS_PASSWORD",
        Some("NOPERM") => "; the user needs more rights than the filter's: docs/cli.md, \"Rights in Redis\"",
        Some("CLUSTERDOWN") => {
            "; a shard is missing, and the cluster stops altogether: cluster-require-full-coverage no lets the others go on"
        }
        _ => "",
    };
    Failure::new(format!("redis at {node}: {error}{remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (text, host, port) in [
            ("127.0.0.1:7001", "127.0.0.1", 7001),
            ("[::1]:7001", "::1", 7001),
            ("a.b:1", "a.b", 1),
        ] {
            let address = HostPort::parse(text).unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port));
            assert_eq!(address.to_string(), text);
        }
        for text in ["", "a", ":7001", "a:", "a:70000", "::1:7001", "[]:1"] {
            assert_eq!(HostPort::parse(text), None, "{text}");
        }
        assert!("10.0.0.1:6379".parse::<Via>().unwrap().announced.is_none());
        assert_eq!(
            "10.0.0.1:6379=127.0.0.1:7001".parse::<Via>().unwrap().announced,
            HostPort::parse("10.0.0.1:6379")
        );
        assert!("=127.0.0.1:7001"
            .parse::<Via>()
            .unwrap_err()
            .contains("ANNOUNCED=HOST:PORT"));
    }
}
