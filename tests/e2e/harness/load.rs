//! Load: several connections that send one request after another, and what came of it.

use super::http::RawConnection;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a connection sends: its number and the request's number on it → the bytes of an HTTP/1.1 request.
type Source = dyn Fn(usize, usize) -> Vec<u8> + Send + Sync;

/// A number of connections to a port, for a time.
pub struct Load {
    port: u16,
    connections: usize,
    duration: Duration,
    pause: Duration,
    per_connection: usize,
    source: Arc<Source>,
    done: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Load {
    pub fn on(port: u16) -> Load {
        let source = Arc::new(|_: usize, _: usize| Load::get("/", &[]));
        Load {
            port,
            connections: 16,
            duration: Duration::from_secs(2),
            pause: Duration::ZERO,
            per_connection: usize::MAX,
            source,
            done: Arc::new(|| false),
        }
    }

    pub fn connections(mut self, connections: usize) -> Load {
        self.connections = connections;
        self
    }

    pub fn duration(mut self, duration: Duration) -> Load {
        self.duration = duration;
        self
    }

    pub fn source(mut self, source: impl Fn(usize, usize) -> Vec<u8> + Send + Sync + 'static) -> Load {
        self.source = Arc::new(source);
        self
    }

    /// Each connection waits this long after each response.
    pub fn pause(mut self, pause: Duration) -> Load {
        self.pause = pause;
        self
    }

    /// Each connection is replaced by a new one after this many requests.
    pub fn per_connection(mut self, requests: usize) -> Load {
        self.per_connection = requests;
        self
    }

    /// Ends before its time when this holds.
    pub fn until(mut self, done: impl Fn() -> bool + Send + Sync + 'static) -> Load {
        self.done = Arc::new(done);
        self
    }

    /// A GET as bytes.
    pub fn get(path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut text = format!("GET {path} HTTP/1.1\r\nhost: test\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.into_bytes()
    }

    pub async fn run(self) -> Report {
        let start = Instant::now();
        let end = start + self.duration;
        let tasks: Vec<_> = (0..self.connections)
            .map(|connection| {
                let (port, pause, per_connection) = (self.port, self.pause, self.per_connection);
                let (source, done) = (self.source.clone(), self.done.clone());
                tokio::spawn(async move {
                    one(port, connection, &*source, pause, per_connection, || {
                        Instant::now() >= end || done()
                    })
                    .await
                })
            })
            .collect();
        let mut report = Report::default();
        for task in tasks {
            report.add(task.await.expect("a connection's task"));
        }
        report.elapsed = start.elapsed();
        report.latencies.sort_unstable();
        report
    }
}

async fn one(
    port: u16,
    connection: usize,
    source: &Source,
    pause: Duration,
    per_connection: usize,
    done: impl Fn() -> bool,
) -> Report {
    let mut report = Report::default();
    let mut raw = RawConnection::open(port).await;
    let mut number = 0;
    while !done() {
        let request = source(connection, number);
        number += 1;
        let start = Instant::now();
        let sent = raw.write(request).await;
        match sent.and(raw.receive().await) {
            Ok((status, head, _)) => {
                *report.statuses.entry(status).or_default() += 1;
                report.latencies.push(start.elapsed());
                // A draining listener announces it.
                if head.contains("connection: close") || number % per_connection == 0 {
                    raw = RawConnection::open(port).await;
                }
            }
            Err(_) => {
                report.errors += 1;
                raw = RawConnection::open(port).await;
            }
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    report
}

/// What came of a load.
#[derive(Default)]
pub struct Report {
    /// Responses by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Connections that broke.
    pub errors: u64,
    /// Sorted.
    pub latencies: Vec<Duration>,
    pub elapsed: Duration,
}

impl Report {
    fn add(&mut self, other: Report) {
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.errors += other.errors;
        self.latencies.extend(other.latencies);
    }

    pub fn status(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or(0)
    }

    /// Responses a second.
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that this share (0 to 1) of the requests stayed within; zero without requests.
    pub fn percentile(&self, share: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies
            .get((last as f64 * share).round() as usize)
            .copied()
            .unwrap_or_default()
    }
}

impl std::fmt::Debug for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| self.percentile(share));
        let Report {
            statuses,
            errors,
            elapsed,
            ..
        } = self;
        let rate = self.rate();
        write!(f, "{statuses:?}, {errors} broken, {rate:.0}/s over {elapsed:?}, p50 {p50:?} p99 {p99:?} max {max:?}")
    }
}
