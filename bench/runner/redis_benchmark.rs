//! Measures the upper bound: `redis-benchmark -P 1` calls the same script on the same Redis Cluster, with one process
//! for each node.
//!
//! Its keys have the same form and length as Headgate's, and belong to the node that is called. One thing is different:
//! the first argument of the script is binary, and redis-benchmark cuts arguments at their first zero byte. So this
//! argument is written into the script, as an additional first line.

use crate::harness::Node;
use crate::load::{dies_with_runner, Outcome};
use crate::options::Load;
use crate::script::{self, Call};
use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};

/// Digits that redis-benchmark fills in for each call.
const RANDOM: &str = "__rand_int__";

pub struct RedisBenchmark {
    shards: Vec<Shard>,
    /// The latest rate in calls per second: redis-benchmark takes a number of calls, not a duration.
    rates: BTreeMap<usize, f64>,
}

struct Shard {
    port: u16,
    /// `EVALSHA` and its arguments.
    command: Vec<String>,
}

impl RedisBenchmark {
    /// Loads the script on the nodes. `owner` returns the node of a key. An error names the feature of the policy that
    /// is not supported yet.
    pub fn prepare<'a>(
        nodes: &[&'a Node],
        owner: impl Fn(&str) -> &'a Node,
        policy: &str,
    ) -> Result<RedisBenchmark, String> {
        let call = script::call(policy)?;
        Ok(RedisBenchmark {
            shards: nodes.iter().map(|node| shard(node, &owner, &call)).collect(),
            rates: BTreeMap::new(),
        })
    }

    /// The callers are distributed over the nodes. A single caller uses the first node.
    pub fn run(&mut self, load: Load, seconds: u64) -> Outcome {
        let callers = shares(load.connections, self.shards.len());
        let count = callers.len();
        let rate = self.rates.get(&load.connections).copied().unwrap_or(10_000.0);
        let requests = (rate * seconds as f64 / count as f64) as usize;
        let start =
            |(shard, callers): (&Shard, usize)| shard.start(callers, requests, load.keys.div_ceil(count));
        let children: Vec<Child> = self.shards.iter().zip(callers).map(start).collect();
        let outcomes: Vec<Outcome> = children
            .into_iter()
            .map(|child| outcome(child, requests))
            .collect();
        let mean = |figure: fn(&Outcome) -> f64| outcomes.iter().map(figure).sum::<f64>() / count as f64;
        let rate = outcomes.iter().map(Outcome::rate).sum();
        self.rates.insert(load.connections, rate);
        Outcome {
            requests: (requests * count) as f64,
            micros: (requests * count) as f64 / rate * 1e6,
            denied: 0.0,
            broken: 0.0,
            p50: mean(|outcome| outcome.p50),
            p99: mean(|outcome| outcome.p99),
        }
    }
}

/// Distributes the callers evenly: 128 over 3 nodes is 43, 43, 42. No share is 0.
fn shares(callers: usize, nodes: usize) -> Vec<usize> {
    let share = |node| (callers + nodes - 1 - node) / nodes;
    (0..nodes).map(share).filter(|share| *share > 0).collect()
}

fn shard<'a>(node: &'a Node, owner: &impl Fn(&str) -> &'a Node, call: &Call) -> Shard {
    let packed: String = call.arguments[0]
        .iter()
        .map(|byte| format!("\\{byte:03}"))
        .collect();
    let body = format!("table.insert(ARGV, 1, \"{packed}\")\n{}", script::body());
    let sha: String = node.call(&["SCRIPT", "LOAD", &body]);
    // There are 12 digits less within the braces and 12 more after them, so the length is the same.
    let tag = (0..1_000_000_u32)
        .map(|number| format!("{{api_key:{number:020x}}}"))
        .find(|tag| owner(tag).port == node.port)
        .expect("a tag on the node");
    let place = |key: &String| {
        let (before, rest) = key.split_once('{').expect("a tag");
        let (_, after) = rest.split_once('}').expect("a tag");
        format!("{before}{tag}{RANDOM}{after}")
    };
    let mut command = vec!["EVALSHA".to_owned(), sha, call.keys.len().to_string()];
    command.extend(call.keys.iter().map(place));
    let names = call.arguments[1..].iter();
    command.extend(names.map(|name| String::from_utf8(name.clone()).expect("a field's name")));
    Shard {
        port: node.port,
        command,
    }
}

impl Shard {
    fn start(&self, callers: usize, requests: usize, keys: usize) -> Child {
        let mut command = Command::new("redis-benchmark");
        command.args([
            "-p",
            &self.port.to_string(),
            "-c",
            &callers.to_string(),
            "-n",
            &requests.to_string(),
        ]);
        command
            .args(["-r", &keys.to_string(), "-P", "1", "--csv"])
            .args(&self.command);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        dies_with_runner(&mut command);
        command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start redis-benchmark: {error}"))
    }
}

fn outcome(child: Child, requests: usize) -> Outcome {
    let output = child.wait_with_output().expect("redis-benchmark to end");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !errors.contains("Error"),
        "redis-benchmark: {text}{errors}"
    );
    // "EVALSHA …","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max…"
    let last = text.lines().last().unwrap_or_default();
    let mut figures: Vec<f64> = last
        .rsplit(',')
        .take(7)
        .filter_map(|field| field.trim_matches('"').parse().ok())
        .collect();
    figures.reverse();
    let [rate, _, _, p50, _, p99, _] = figures[..] else {
        panic!("redis-benchmark: {text}")
    };
    let requests = requests as f64;
    Outcome {
        requests,
        micros: requests / rate * 1e6,
        denied: 0.0,
        broken: 0.0,
        p50: p50 * 1e3,
        p99: p99 * 1e3,
    }
}
