//! Connects to one address of Redis as Envoy does, and sends commands that change nothing: PING, AUTH, CLUSTER SLOTS,
//! and a call of a script that does not exist.

use super::access::{Access, EnvoyPassword};
use super::tls::{self, TlsError};
use redis::{Parser, Value};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// How long a connection may take, and then each answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A SHA-1 that no script has.
const UNKNOWN_SCRIPT: &str = "0000000000000000000000000000000000000000";

/// What an address answers.
#[derive(Debug)]
pub enum Probe {
    NotResolved(String),
    Refused,
    /// No connection within [`PATIENCE`].
    TimedOut,
    Unreachable(String),
    /// A connection, and no answer.
    NoReply,
    /// The connection was closed without an answer.
    Closed,
    /// It sends an answer that Redis never sends.
    NotRedis,
    /// It speaks TLS, and Envoy does not.
    WantsTls,
    /// It speaks plain Redis, and Envoy speaks TLS.
    WantsPlain,
    Tls(TlsError),
    Answers(Box<Answers>),
}

/// The answers of a Redis. An error is the text of an error reply.
#[derive(Debug, Default)]
pub struct Answers {
    /// To AUTH; `None`: no password is known here.
    pub login: Option<Result<(), String>>,
    /// To PING before the login.
    pub ping: Option<String>,
    /// To CLUSTER SLOTS; `None`: it was not asked.
    pub slots: Option<Result<Slots, String>>,
    /// To a call of a script on a key with Headgate's prefix.
    pub script: Option<String>,
}

/// What CLUSTER SLOTS announces.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Slots {
    pub ranges: usize,
    /// A node announces no address.
    pub has_empty_address: bool,
    /// A node announces a name in place of an address.
    pub has_name: bool,
}

/// What to ask.
pub struct Question<'q> {
    pub access: &'q Access,
    /// Envoy treats it as a Redis Cluster.
    pub is_cluster: bool,
    pub key_prefix: &'q str,
}

/// Connects to an address, and asks.
pub fn probe(host: &str, port: u16, question: &Question<'_>) -> Probe {
    let addresses: Vec<SocketAddr> = match (host, port).to_socket_addrs() {
        Ok(addresses) => addresses.collect(),
        Err(error) => return Probe::NotResolved(error.to_string()),
    };
    // As `dns_lookup_family: V4_PREFERRED` does.
    let best = addresses.iter().find(|address| address.is_ipv4());
    let Some(address) = best.or(addresses.first()) else {
        return Probe::NotResolved("no address".to_owned());
    };
    match &question.access.tls {
        Some(_) => over_tls(address, host, question),
        None => plain(address, host, question),
    }
}

fn plain(address: &SocketAddr, host: &str, question: &Question<'_>) -> Probe {
    let socket = match connect(address) {
        Ok(socket) => socket,
        Err(problem) => return problem,
    };
    match ask(socket, question, true) {
        Ok(answers) => Probe::Answers(Box::new(answers)),
        Err(error) => {
            let is_tls = connect(address).is_ok_and(|socket| tls::speaks_tls(socket, host));
            match error.kind() {
                _ if is_tls => Probe::WantsTls,
                _ if is_timeout(&error) => Probe::NoReply,
                io::ErrorKind::InvalidData => Probe::NotRedis,
                _ => Probe::Closed,
            }
        }
    }
}

fn over_tls(address: &SocketAddr, host: &str, question: &Question<'_>) -> Probe {
    let Some(settings) = &question.access.tls else {
        return plain(address, host, question);
    };
    let socket = match connect(address) {
        Ok(socket) => socket,
        Err(problem) => return problem,
    };
    // A password goes only where Envoy would send it: to a server whose certificate was checked.
    let is_checked = settings.ca.as_ref().is_none_or(|ca| ca.pem.is_ok());
    let problem = match tls::connect(socket, host, settings) {
        Ok(stream) => match ask(stream, question, is_checked) {
            Ok(answers) => return Probe::Answers(Box::new(answers)),
            Err(error) if is_timeout(&error) => return Probe::NoReply,
            // With TLS 1.3 Redis refuses a client's certificate after the handshake.
            Err(error) => tls::failed(&error),
        },
        Err(problem) => problem,
    };
    match problem {
        TlsError::NotTls | TlsError::NoReply | TlsError::Closed if answers_plainly(address) => {
            Probe::WantsPlain
        }
        TlsError::NoReply => Probe::NoReply,
        TlsError::Closed => Probe::Closed,
        problem => Probe::Tls(problem),
    }
}

fn connect(address: &SocketAddr) -> Result<TcpStream, Probe> {
    let socket = TcpStream::connect_timeout(address, PATIENCE).map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => Probe::Refused,
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Probe::TimedOut,
        _ => Probe::Unreachable(error.to_string()),
    })?;
    let limited = socket
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| socket.set_write_timeout(Some(PATIENCE)));
    limited.map_err(|error| Probe::Unreachable(error.to_string()))?;
    Ok(socket)
}

/// Whether it is a Redis without TLS.
fn answers_plainly(address: &SocketAddr) -> bool {
    let Ok(mut socket) = connect(address) else {
        return false;
    };
    call(&mut socket, &["PING"]).is_ok()
}

/// Asks everything. `logs_in`: the password may be sent.
fn ask(mut stream: impl Read + Write, question: &Question<'_>, logs_in: bool) -> io::Result<Answers> {
    let mut answers = Answers::default();
    let access = question.access;
    answers.ping = call(&mut stream, &["PING"])?.err();
    if let (true, EnvoyPassword::Known(password)) = (logs_in, &access.password) {
        let login = match &access.user {
            Some(user) => call(&mut stream, &["AUTH", user, password])?,
            None => call(&mut stream, &["AUTH", password])?,
        };
        answers.login = Some(login.map(|_| ()));
    }
    if question.is_cluster {
        answers.slots = Some(call(&mut stream, &["CLUSTER", "SLOTS"])?.map(|value| slots(&value)));
    }
    // No script runs, and the key is not read: Redis answers NOSCRIPT, or which right the user lacks.
    let key = format!("{}:doctor", question.key_prefix);
    answers.script = call(&mut stream, &["EVALSHA", UNKNOWN_SCRIPT, "1", &key])?.err();
    Ok(answers)
}

/// One command; the inner error is the text of an error reply.
fn call<S: Read + Write>(stream: &mut S, command: &[&str]) -> io::Result<Result<Value, String>> {
    let mut request = redis::cmd(command.first().copied().unwrap_or_default());
    for argument in command.iter().skip(1) {
        request.arg(*argument);
    }
    stream.write_all(&request.get_packed_command())?;
    stream.flush()?;
    let mut recorder = Recorder { stream, error: None };
    match Parser::new().parse_value(&mut recorder) {
        Ok(Value::ServerError(error)) => {
            let code = error.code();
            Ok(Err(format!("{code} {}", error.details().unwrap_or_default())))
        }
        Ok(value) => Ok(Ok(value)),
        Err(error) => {
            let no_answer_of_redis = || io::Error::new(io::ErrorKind::InvalidData, error);
            Err(recorder.error.take().unwrap_or_else(no_answer_of_redis))
        }
    }
}

/// Keeps the error of a read, which the parser hides.
struct Recorder<'s, S> {
    stream: &'s mut S,
    error: Option<io::Error>,
}

impl<S: Read> Read for Recorder<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer);
        match read {
            Ok(0) => self.error = Some(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) => {
                let kind = error.kind();
                self.error = Some(error);
                return Err(kind.into());
            }
        }
        read
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

/// The answer to CLUSTER SLOTS: a list of (from, to, (address, port, …), …).
fn slots(value: &Value) -> Slots {
    let mut found = Slots::default();
    let Value::Array(ranges) = value else {
        return found;
    };
    found.ranges = ranges.len();
    for range in ranges {
        let Value::Array(parts) = range else { continue };
        let master = match parts.get(2) {
            Some(Value::Array(master)) => master.first(),
            _ => continue,
        };
        match master {
            Some(Value::BulkString(host)) if !host.is_empty() => {
                let text = String::from_utf8_lossy(host);
                found.has_name |= text.parse::<std::net::IpAddr>().is_err();
            }
            _ => found.has_empty_address = true,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(host: Value) -> Value {
        let master = Value::Array(vec![host, Value::Int(7001)]);
        Value::Array(vec![Value::Int(0), Value::Int(5), master])
    }

    #[test]
    fn an_address_that_is_empty_or_a_name_is_noticed() {
        let host = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        for (announced, has_empty_address, has_name) in [
            (host("127.0.0.1"), false, false),
            (host("::1"), false, false),
            (host(""), true, false),
            (Value::Nil, true, false),
            (host("redis-0.redis"), false, true),
        ] {
            let expected = Slots {
                ranges: 1,
                has_empty_address,
                has_name,
            };
            assert_eq!(slots(&Value::Array(vec![range(announced)])), expected);
        }
    }
}
