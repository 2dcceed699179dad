//! One `redis-server`: commands to it, and faults of it.

use super::process::{free_port, listens, new_dir, Process};
use super::wait_for;
use redis::{Connection, FromRedisValue};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// One `redis-server` on loopback, without persistence.
pub struct Node {
    pub port: u16,
    /// Where it speaks TLS, if it does.
    pub tls_port: Option<u16>,
    /// The user (and password) that the harness is.
    pub login: Option<&'static str>,
    dir: PathBuf,
    arguments: Vec<String>,
    process: Process,
}

impl Node {
    /// Starts it and waits until it answers. `arguments` come after the harness's own and win over them; in them
    /// `PORT`, `BUSPORT` and `TLSPORT` stand for its ports. `login` is a user who may do anything and is his own
    /// password, where the default user may not.
    pub fn start(arguments: &[&str], login: Option<&'static str>) -> Node {
        let mut last = String::new();
        for _ in 0..3 {
            let port = free_port();
            let tls_port = arguments.contains(&"TLSPORT").then(free_port);
            let dir = new_dir(&format!("redis-{port}"));
            let own = [
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                "--port",
                "PORT",
            ];
            let fill = |argument: &&str| match *argument {
                "PORT" => port.to_string(),
                "BUSPORT" => (port + 10_000).to_string(),
                "TLSPORT" => tls_port.unwrap_or(0).to_string(),
                other => other.to_owned(),
            };
            let arguments: Vec<String> = own.iter().chain(arguments).map(fill).collect();
            let process = Process::start(server(&dir, &arguments), &dir);
            let node = Node {
                port,
                tls_port,
                login,
                dir,
                arguments,
                process,
            };
            match node.wait_until_up() {
                Ok(()) => return node,
                Err(log) => last = log, // another process took the port in between
            }
        }
        panic!("redis-server does not start: {last}");
    }

    fn wait_until_up(&self) -> Result<(), String> {
        wait_for("redis-server", Duration::from_secs(10), || {
            if self.process.exited().is_some() {
                return Some(Err(
                    std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
                ));
            }
            listens(self.port).then_some(Ok(()))
        })
    }

    /// The process's.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    fn url(&self) -> String {
        let login = self
            .login
            .map(|user| format!("{user}:{user}@"))
            .unwrap_or_default();
        format!("redis://{login}127.0.0.1:{}", self.port)
    }

    /// A new connection; a frozen node makes calls on it fail after 2 s.
    pub fn connection(&self) -> Connection {
        self.try_connection()
            .unwrap_or_else(|error| panic!("redis on {}: {error}", self.port))
    }

    fn try_connection(&self) -> redis::RedisResult<Connection> {
        let timeout = Duration::from_secs(2);
        let client = redis::Client::open(self.url())?;
        let connection = client.get_connection_with_timeout(timeout)?;
        connection.set_read_timeout(Some(timeout))?;
        connection.set_write_timeout(Some(timeout))?;
        Ok(connection)
    }

    /// Runs a command, e.g. `node.call::<i64>(&["DBSIZE"])`.
    pub fn call<T: FromRedisValue>(&self, command: &[&str]) -> T {
        self.try_call(command)
            .unwrap_or_else(|error| panic!("{command:?} on {}: {error}", self.port))
    }

    pub fn try_call<T: FromRedisValue>(&self, command: &[&str]) -> redis::RedisResult<T> {
        let mut connection = self.try_connection()?;
        let mut call = redis::cmd(command[0]);
        for argument in &command[1..] {
            call.arg(*argument);
        }
        call.query(&mut connection)
    }

    /// A line of INFO: `info("commandstats", "cmdstat_evalsha")`.
    pub fn info(&self, section: &str, name: &str) -> Option<String> {
        let text: String = self.call(&["INFO", section]);
        text.lines()
            .find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned()))
    }

    /// How often a command (lower case) was called since the start or [`Node::reset_stats`].
    pub fn calls(&self, command: &str) -> u64 {
        field(self.info("commandstats", &format!("cmdstat_{command}")), "calls=")
    }

    /// How many replies were errors of this kind, e.g. `MOVED`, `NOSCRIPT`.
    pub fn errors(&self, kind: &str) -> u64 {
        field(self.info("errorstats", &format!("errorstat_{kind}")), "count=")
    }

    pub fn reset_stats(&self) {
        self.call::<()>(&["CONFIG", "RESETSTAT"]);
    }

    pub fn flush_scripts(&self) {
        self.call::<()>(&["SCRIPT", "FLUSH"]);
    }

    /// All keys of this node that fit the glob pattern.
    pub fn keys(&self, pattern: &str) -> Vec<String> {
        self.call(&["KEYS", pattern])
    }

    /// SIGSTOP: connections stay open, nothing is answered.
    pub fn freeze(&self) {
        self.process.freeze();
    }

    pub fn thaw(&self) {
        self.process.thaw();
    }

    /// Runs again, whatever was done to it.
    pub fn thaw_or_restart(&self) {
        if self.process.exited().is_some() {
            self.restart();
        } else {
            self.thaw();
        }
    }

    /// SIGKILL: connections break, new ones are refused.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// Starts it again (after [`Node::kill`], or killing it first) on the same port, with nothing stored.
    pub fn restart(&self) {
        let command = server(&self.dir, &self.arguments);
        self.process.restart(command, &self.dir);
        if let Err(log) = self.wait_until_up() {
            panic!("redis-server on {} does not come back: {log}", self.port);
        }
    }
}

fn server(dir: &Path, arguments: &[String]) -> Command {
    let mut command = Command::new(std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".into()));
    command.args(arguments).current_dir(dir);
    command
}

/// The number after `name` in `calls=3,usec=4`; 0 where it is missing.
fn field(line: Option<String>, name: &str) -> u64 {
    let value = line
        .as_deref()
        .and_then(|line| line.split(',').find_map(|part| part.strip_prefix(name)));
    value.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}
