//! A redis-server of a test's own, and a connection to it that sends what the filter would send.

use headgate_core::limit::Group;
use headgate_core::redis::resp::{array, bulk, command, Decoder, Value};
use headgate_core::script::{arguments, Mode, ScriptReply};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Ends with the test, however that ends: by `Drop`, or with the thread that started it.
pub struct Server {
    child: Child,
    pub port: u16,
}

impl Server {
    pub fn start() -> Server {
        Server::start_with(&[])
    }

    pub fn start_with(arguments: &[&str]) -> Server {
        let program = std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".into());
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0")
                .and_then(|listener| listener.local_addr())
                .expect("a free port")
                .port();
            let mut command = Command::new(&program);
            let port_text = port.to_string();
            command
                .args([
                    "--bind",
                    "127.0.0.1",
                    "--port",
                    &port_text,
                    "--save",
                    "",
                    "--appendonly",
                    "no",
                ])
                .args(arguments)
                .current_dir(std::env::temp_dir())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            unsafe {
                command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                });
            }
            let child = command
                .spawn()
                .unwrap_or_else(|error| panic!("cannot start {program}: {error}; `make setup` installs it"));
            let mut server = Server { child, port };
            if server.answers() {
                return server;
            }
        }
        panic!("{program} does not start on any of 20 free ports");
    }

    /// Waits until it answers; `false` if it ends first: another process has taken the port.
    fn answers(&mut self) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(10) {
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                return false;
            }
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", self.port)) {
                let info = text(&Client::new(stream).run(&["INFO", "server"]));
                if info.contains(&format!("process_id:{}\r\n", self.child.id())) {
                    return true;
                }
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("redis-server on port {} does not answer for 10 s", self.port);
    }

    pub fn client(&self) -> Client {
        Client::new(TcpStream::connect(("127.0.0.1", self.port)).expect("a connection"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Client {
    stream: TcpStream,
    decoder: Decoder,
    out: Vec<u8>,
    pending: usize,
}

impl Client {
    fn new(stream: TcpStream) -> Client {
        let _ = stream.set_nodelay(true);
        let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
        Client {
            stream,
            decoder: Decoder::with_max_reply(16 << 20),
            out: Vec::new(),
            pending: 0,
        }
    }

    /// Puts a command into the pipeline.
    pub fn add(&mut self, parts: &[&str]) {
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        command(&mut self.out, &parts);
        self.pending += 1;
    }

    /// Puts a call of a script into the pipeline: `verb` is EVALSHA and `script` its name, or EVAL and its body.
    pub fn add_call(&mut self, verb: &str, script: &str, group: &Group, mode: Mode<'_>) {
        let mut tail = Vec::new();
        let parts = arguments(group, mode, &mut tail);
        array(&mut self.out, 2 + parts);
        bulk(&mut self.out, verb.as_bytes());
        bulk(&mut self.out, script.as_bytes());
        self.out.extend_from_slice(&tail);
        self.pending += 1;
    }

    /// Sends the pipeline and returns its replies.
    pub fn send(&mut self) -> Vec<Value> {
        self.stream.write_all(&self.out).expect("redis takes commands");
        self.out.clear();
        let mut replies = Vec::new();
        let mut chunk = [0; 16 << 10];
        while replies.len() < self.pending {
            match self.decoder.next().expect("RESP") {
                Some(reply) => replies.push(reply),
                None => {
                    let length = self.stream.read(&mut chunk).expect("redis answers");
                    assert!(length > 0, "redis closed the connection");
                    self.decoder.push(&chunk[..length]);
                }
            }
        }
        self.pending = 0;
        replies
    }

    pub fn run(&mut self, parts: &[&str]) -> Value {
        self.add(parts);
        self.send().remove(0)
    }

    pub fn int(&mut self, parts: &[&str]) -> i64 {
        match self.run(parts) {
            Value::Int(number) => number,
            other => panic!("{parts:?}: {other:?}"),
        }
    }

    /// Runs a script's body, by EVAL.
    pub fn call(&mut self, group: &Group, mode: Mode<'_>) -> Value {
        self.add_call("EVAL", headgate_core::script::body(), group, mode);
        self.send().remove(0)
    }

    pub fn count(&mut self, group: &Group) -> ScriptReply {
        let value = self.call(group, Mode::Count);
        ScriptReply::decode(group, &value).unwrap_or_else(|error| panic!("{error}: {value:?}"))
    }
}

/// The text of a bulk string, or of an error.
pub fn text(value: &Value) -> String {
    match value {
        Value::Bulk(Some(bytes)) | Value::Error(bytes) | Value::Simple(bytes) => {
            String::from_utf8_lossy(bytes).into_owned()
        }
        other => panic!("no text: {other:?}"),
    }
}

/// The texts of an array.
pub fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(Some(items)) => items.iter().map(text).collect(),
        other => panic!("no array: {other:?}"),
    }
}
