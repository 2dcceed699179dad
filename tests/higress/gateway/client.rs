//! The gateway's Redis client, a model of Higress's: per service, one connection to each host, with replies in order, one
//! timer for the whole connection, and credentials that only `proxy_redis_init` sets.
//! source: higress-group/envoy `source/common/redis/async_client_impl.cc`,
//! `source/extensions/filters/network/common/redis/raw_client_impl.cc`

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// The end of a call, with its token.
pub enum Event {
    Reply(u32, Vec<u8>),
    Failure(u32),
}

pub struct Cluster {
    ports: Vec<u16>,
    next: usize,
    username: String,
    password: String,
    database: String,
    timeout: Duration,
    connections: Vec<Connection>,
    /// Connections that were closed because no reply came.
    pub stalls: u32,
}

struct Connection {
    port: u16,
    stream: TcpStream,
    /// Tokens, in the order of the commands; `None`: a command of the client itself.
    pending: VecDeque<Option<u32>>,
    input: Vec<u8>,
    timer: Option<Instant>,
}

impl Cluster {
    pub fn new(ports: &[u16]) -> Cluster {
        Cluster {
            ports: ports.to_vec(),
            next: 0,
            username: String::new(),
            password: String::new(),
            database: String::new(),
            timeout: Duration::from_secs(1),
            connections: Vec::new(),
            stalls: 0,
        }
    }

    /// Closes all connections and stores the settings. `parameters` are those after the question mark.
    pub fn initialize(
        &mut self,
        parameters: &str,
        username: &str,
        password: &str,
        timeout: Duration,
        events: &mut VecDeque<Event>,
    ) {
        self.close(events);
        let mut pairs = parameters.split('&').filter_map(|pair| pair.split_once('='));
        let database = pairs
            .find(|(name, _)| *name == "db")
            .map_or("", |(_, value)| value);
        self.database = database.to_owned();
        self.username = username.to_owned();
        self.password = password.to_owned();
        self.timeout = timeout;
    }

    pub fn close(&mut self, events: &mut VecDeque<Event>) {
        for connection in self.connections.drain(..) {
            fail(connection.pending, events);
        }
    }

    /// `false`: there is no host.
    pub fn send(&mut self, token: u32, command: &[u8], events: &mut VecDeque<Event>) -> bool {
        if self.ports.is_empty() {
            return false;
        }
        let port = self.ports[self.next % self.ports.len()];
        self.next += 1;
        let known = self
            .connections
            .iter()
            .position(|connection| connection.port == port);
        let at = match known {
            Some(at) => at,
            None => match self.open(port) {
                Some(connection) => {
                    self.connections.push(connection);
                    self.connections.len() - 1
                }
                None => {
                    events.push_back(Event::Failure(token));
                    return true;
                }
            },
        };
        let connection = &mut self.connections[at];
        connection.pending.push_back(Some(token));
        connection.timer.get_or_insert(Instant::now() + self.timeout);
        if connection.stream.write_all(command).is_err() {
            let connection = self.connections.remove(at);
            fail(connection.pending, events);
        }
        true
    }

    fn open(&self, port: u16) -> Option<Connection> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_nodelay(true).ok()?;
        let mut pending = VecDeque::new();
        let mut first: Vec<Vec<&str>> = Vec::new();
        match (self.username.as_str(), self.password.as_str()) {
            ("", "") => {}
            ("", password) => first.push(vec!["AUTH", password]),
            (user, password) => first.push(vec!["AUTH", user, password]),
        }
        if !self.database.is_empty() {
            first.push(vec!["SELECT", &self.database]);
        }
        for command in first {
            let mut text = format!("*{}\r\n", command.len());
            for part in command {
                text += &format!("${}\r\n{part}\r\n", part.len());
            }
            stream.write_all(text.as_bytes()).ok()?;
            pending.push_back(None);
        }
        stream.set_nonblocking(true).ok()?;
        Some(Connection {
            port,
            stream,
            pending,
            input: Vec::new(),
            timer: None,
        })
    }

    pub fn timers(&self) -> impl Iterator<Item = Instant> + '_ {
        self.connections.iter().filter_map(|connection| connection.timer)
    }

    /// Reads what has arrived.
    pub fn read(&mut self, now: Instant, events: &mut VecDeque<Event>) {
        let timeout = self.timeout;
        self.connections.retain_mut(|connection| {
            let alive = connection.read(now, timeout, events);
            self.stalls += u32::from(connection.timer.is_some_and(|at| at <= now));
            if !alive {
                fail(std::mem::take(&mut connection.pending), events);
            }
            alive
        });
    }
}

impl Connection {
    fn read(&mut self, now: Instant, timeout: Duration, events: &mut VecDeque<Event>) -> bool {
        let mut chunk = [0; 4096];
        let alive = loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => break false,
                Ok(size) => self.input.extend_from_slice(&chunk[..size]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break true,
                Err(_) => break false,
            }
        };
        while let Some(size) = reply_size(&self.input) {
            let reply: Vec<u8> = self.input.drain(..size).collect();
            let token = self
                .pending
                .pop_front()
                .expect("a reply to something: commands and replies are out of step");
            events.extend(token.map(|token| Event::Reply(token, reply)));
            self.timer = (!self.pending.is_empty()).then_some(now + timeout);
        }
        alive && self.timer.is_none_or(|at| at > now)
    }
}

fn fail(pending: VecDeque<Option<u32>>, events: &mut VecDeque<Event>) {
    events.extend(pending.into_iter().flatten().map(Event::Failure));
}

/// Sleeps until a connection is readable, for `time` at most.
pub fn wait<'a>(clusters: impl Iterator<Item = &'a Cluster>, time: Duration) {
    let all = clusters.flat_map(|cluster| &cluster.connections);
    let mut polled: Vec<libc::pollfd> = all
        .map(|connection| libc::pollfd {
            fd: connection.stream.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    // rounded up to a millisecond, so that timers that are due then are due
    let millis = time.as_micros().div_ceil(1_000) as libc::c_int;
    // SAFETY: the list outlives the call.
    unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, millis) };
}

/// The length of the first reply in bytes; `None`: it is not complete yet.
fn reply_size(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let number = || std::str::from_utf8(&bytes[1..end]).ok()?.parse::<i64>().ok();
    let mut size = end + 2;
    match bytes[0] {
        b'$' => {
            size += number()
                .expect("a length")
                .try_into()
                .map_or(0, |len: usize| len + 2)
        }
        b'*' => {
            for _ in 0..number().expect("a length") {
                size += reply_size(bytes.get(size..)?)?;
            }
        }
        _ => {}
    }
    (bytes.len() >= size).then_some(size)
}

/// Whether the bytes are exactly one command; two would shift the replies of all other calls on the connection.
pub fn is_one_command(bytes: &[u8]) -> bool {
    bytes.first() == Some(&b'*') && reply_size(bytes) == Some(bytes.len())
}
