//! Steady traffic of several hundred clients with known limits, and what every answer must be.
//!
//! A client's requests follow each other on one connection, so that what its limit allows is known exactly: a client that
//! was counted N times must be denied, and a client that cannot have been charged N times must pass.

use crate::harness::RawConnection;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const CONNECTIONS: usize = 24;
/// Clients of one connection, in turn.
const CLIENTS: usize = 6;
/// Between a response and the next request of a connection.
const PAUSE: Duration = Duration::from_millis(25);
/// A request without a response for this long hangs.
const HANGS: Duration = Duration::from_secs(5);

/// Path and limit: spent before the fault, during it, and never. The second one's call has two keys.
const TIERS: [(&str, u64); 3] = [("/small", 4), ("/medium", 18), ("/large", 100_000)];

pub const LIMITS: &str =
    "{name: tiny, rate: 1/day, match: {path: /tiny}}, {name: small, rate: 4/day, match: {path: /small}}, \
    {name: medium, rate: 18/day, algorithm: sliding_window_counter, match: {path: /medium}}, \
    {name: log, rate: 1000/day, algorithm: sliding_window_log, expose: false, match: {path: /medium}}, \
    {name: large, rate: 100000/day, match: {path: /large}}";

/// Before the fault, during it, after it.
pub const PHASES: usize = 3;

#[derive(Default, Clone)]
pub struct Tally {
    pub requests: u64,
    pub wrongly_denied: u64,
    pub wrongly_allowed: u64,
    /// Passed without a count, and marked as such.
    pub uncounted: u64,
    /// 503: refused because it could not be counted.
    pub refused: u64,
    /// Any other status, a broken connection, a request that hung, a reply that belongs to another request.
    pub errors: u64,
    pub first_error: Option<String>,
    /// Requests sent once more, because their connection had ended: the first may have been answered unseen.
    pub repeated: u64,
    /// Denied at fewer counted passes than the limit: calls that were given up have been charged.
    pub charged_in_vain: u64,
    pub latencies: [Vec<Duration>; PHASES],
}

impl Tally {
    pub fn add(&mut self, other: Tally) {
        self.requests += other.requests;
        self.wrongly_denied += other.wrongly_denied;
        self.wrongly_allowed += other.wrongly_allowed;
        self.uncounted += other.uncounted;
        self.refused += other.refused;
        self.errors += other.errors;
        self.charged_in_vain += other.charged_in_vain;
        self.repeated += other.repeated;
        self.first_error = self.first_error.take().or(other.first_error);
        for (mine, theirs) in self.latencies.iter_mut().zip(other.latencies) {
            mine.extend(theirs);
        }
    }

    pub fn percentile(&self, phase: usize, share: f64) -> f64 {
        let mut sorted = self.latencies[phase].clone();
        sorted.sort_unstable();
        let at = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
        sorted.get(at).map_or(0.0, |took| took.as_secs_f64() * 1e3)
    }

    fn error(&mut self, what: String) {
        self.errors += 1;
        self.first_error.get_or_insert(what);
    }
}

#[derive(Default, Clone, Copy)]
struct Client {
    counted: u64,
    /// May have been charged without a count that was seen.
    perhaps: u64,
}

/// Traffic under way on one Envoy.
pub struct Traffic {
    tasks: Vec<tokio::task::JoinHandle<Tally>>,
    pub phase: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Traffic {
    /// `stretch` makes the clients' names; no two stretches share a client.
    pub fn start(port: u16, stretch: &str) -> Traffic {
        let (phase, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let tasks = (0..CONNECTIONS)
            .map(|n| {
                let (phase, stop) = (phase.clone(), stop.clone());
                tokio::spawn(connection(port, format!("{stretch}-{n}"), phase, stop))
            })
            .collect();
        Traffic { tasks, phase, stop }
    }

    pub async fn end(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for task in self.tasks {
            all.add(task.await.expect("a connection's task"));
        }
        all
    }
}

async fn connection(port: u16, name: String, phase: Arc<AtomicUsize>, stop: Arc<AtomicBool>) -> Tally {
    let mut tally = Tally::default();
    let mut clients = [Client::default(); CLIENTS];
    let mut raw = RawConnection::open(port).await;
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let at = number % CLIENTS;
        let (path, limit) = TIERS[at % TIERS.len()];
        let key = format!("{name}-{at}");
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nx-api-key: {key}\r\n\r\n");
        let in_phase = phase.load(Ordering::Relaxed);
        let start = Instant::now();
        tally.requests += 1;
        let mut answer = ask(&mut raw, &request).await;
        if let Ok(Err(_)) = answer {
            // The end of a drained connection: as any client, once more on a new one.
            clients[at].perhaps += 1;
            tally.repeated += 1;
            raw = RawConnection::open(port).await;
            answer = ask(&mut raw, &request).await;
        }
        match answer {
            Ok(Ok((status, head, body))) => {
                tally.latencies[in_phase].push(start.elapsed());
                judge(&mut tally, &mut clients[at], limit, &key, status, &head, &body);
                if head.to_ascii_lowercase().contains("connection: close") {
                    raw = RawConnection::open(port).await;
                }
            }
            other => {
                clients[at].perhaps += 1;
                tally.error(match other {
                    Err(_) => "hung".to_owned(),
                    Ok(error) => format!("{:?}", error.err()),
                });
                raw = RawConnection::open(port).await;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    tally
}

type Answer = Result<std::io::Result<(u16, String, Vec<u8>)>, tokio::time::error::Elapsed>;

async fn ask(raw: &mut RawConnection, request: &str) -> Answer {
    tokio::time::timeout(HANGS, async {
        raw.write(request).await?;
        raw.receive().await
    })
    .await
}

fn judge(
    tally: &mut Tally,
    client: &mut Client,
    limit: u64,
    key: &str,
    status: u16,
    head: &str,
    body: &[u8],
) {
    let header = |wanted: &str| {
        let mut pairs = head.lines().filter_map(|line| line.split_once(": "));
        let (_, value) = pairs.find(|(name, _)| *name == wanted)?;
        Some(value.to_owned())
    };
    let shown = header("x-ratelimit-limit");
    let locally = header("x-test-by").is_some_and(|by| by == "local");
    let body = String::from_utf8_lossy(body);
    match (status, shown) {
        (200, _) if !body.contains(&format!("\"{key}\"")) => tally.error(format!("{key} got {body}")),
        (200 | 429, Some(shown)) if shown != limit.to_string() => {
            tally.error(format!("{key} got the limit {shown}"))
        }
        (200, Some(_)) if !locally => {
            client.counted += 1;
            tally.wrongly_allowed += u64::from(client.counted > limit);
        }
        (200, _) => {
            client.perhaps += 1;
            tally.uncounted += 1;
        }
        (429, Some(_)) if client.counted < limit => match client.counted + client.perhaps < limit {
            true => tally.wrongly_denied += 1,
            false => tally.charged_in_vain += 1,
        },
        (429, Some(_)) => {}
        (503, None) if body.contains("could not be checked") => {
            client.perhaps += 1;
            tally.refused += 1;
        }
        _ => tally.error(format!("{status} {head} {body}")),
    }
}
