//! Starting an Envoy and waiting until it takes requests, or expecting that it refuses.

use super::reload::write_listeners;
use super::{Envoy, EnvoyBuilder, Place};
use crate::harness::{envoy_binary, free_port, listens, new_dir, root, wait_for, Client, Process, Upstream};
use serde_json::json;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

const DRAIN_TIME: &str = "--drain-time-s";

/// How long Envoy may take to be ready, on a machine that is busy.
pub(super) const READY: Duration = Duration::from_secs(30);

/// How long it may take to find Redis before the test continues anyway.
const KNOWN: Duration = Duration::from_secs(5);

impl EnvoyBuilder {
    /// Starts it and waits until it takes requests and, where Redis can be reached, knows its nodes.
    pub fn start(self) -> Envoy {
        let redis = !self.cold && self.filter && self.seeds.iter().any(|port| listens(*port));
        match self.try_start() {
            Ok(envoy) => {
                let start = Instant::now();
                while redis && envoy.stat("cluster.redis.membership_total") == 0 && start.elapsed() < KNOWN {
                    std::thread::sleep(Duration::from_millis(5));
                }
                envoy
            }
            Err(log) => panic!("Envoy does not start:\n{}", tail(&log)),
        }
    }

    /// Expects that Envoy refuses the configuration; returns its log.
    pub fn refused(self) -> String {
        match self.try_start() {
            Ok(envoy) => panic!("Envoy starts with it; its log:\n{}", tail(&envoy.log())),
            Err(log) => log,
        }
    }

    /// Starts it and waits until it takes requests; where it refuses the configuration or ends, its log.
    pub fn try_start(self) -> Result<Envoy, String> {
        let binary = envoy_binary(&self.version);
        let upstream = self.upstream.clone().unwrap_or_else(Upstream::start);
        let place = Place {
            dir: new_dir("envoy"),
            port: free_port(),
            admin_port: free_port(),
            upstream: upstream.port,
            redis_call_port: free_port(),
        };
        let dir = &place.dir;
        let file = match &self.text {
            Some(render) => {
                let file = dir.join("envoy.yaml");
                std::fs::write(&file, render(&place)).expect("a configuration file");
                file
            }
            None => self.write_json(&place),
        };
        let mut command = Command::new(binary);
        command
            .arg("-c")
            .arg(&file)
            .args(["--disable-hot-restart", "--file-flush-interval-msec", "20"]);
        command.args(["--concurrency", &self.concurrency.to_string()]);
        if !self.arguments.iter().any(|name| name == DRAIN_TIME) {
            command.args([DRAIN_TIME, "1"]);
        }
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(root());
        let process = Process::start(command, dir);
        let envoy = Envoy {
            port: place.port,
            admin_port: place.admin_port,
            redis_call_port: place.redis_call_port,
            upstream,
            key_prefix: self.key_prefix.clone(),
            client: Client::http1(place.port),
            dir: place.dir,
            builder: self,
            process,
        };
        envoy.wait_until_ready().map(|()| envoy)
    }

    /// The configuration as JSON, in a file.
    fn write_json(&self, place: &Place) -> PathBuf {
        let mut config = self.configuration(place);
        let dir = &place.dir;
        if self.dynamic {
            write_listeners(dir, config["static_resources"]["listeners"].take());
            config["node"] = json!({"id": "test", "cluster": "test"});
            config["dynamic_resources"] = json!({"lds_config": {"resource_api_version": "V3",
                "path_config_source": {"path": dir.join("listeners.json")}}});
        }
        let file = dir.join("envoy.json");
        std::fs::write(&file, format!("{config:#}")).expect("a configuration file");
        file
    }
}

impl Envoy {
    fn wait_until_ready(&self) -> Result<(), String> {
        wait_for("Envoy to be ready", READY, || {
            if self.process.exited().is_some() {
                return Some(Err(self.log()));
            }
            let live = self
                .try_admin("GET", "/ready")
                .is_ok_and(|body| body.trim() == "LIVE");
            (live && listens(self.port)).then_some(Ok(()))
        })
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
