//! Another policy or module for a running Envoy, by a file that it watches.

use super::start::READY;
use super::{Envoy, EnvoyBuilder, Place};
use crate::harness::wait_for;
use serde_json::{json, Value};
use std::path::Path;

impl Envoy {
    /// Another policy for the running Envoy (which must be `dynamic`); returns when new connections use it.
    pub fn reload(&self, policy: &str) {
        self.reload_as(|builder| builder.policy(policy));
    }

    /// The same for any other change, e.g. of the module.
    pub fn reload_as(&self, change: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder) {
        let before = self.stat("listener_manager.listener_modified")
            + self.stat("listener_manager.listener_in_place_updated");
        self.try_reload_as(change);
        wait_for("the listener's update", READY, || {
            let stats = self.stats("listener_manager.");
            let get = |name: &str| {
                stats
                    .get(&format!("listener_manager.{name}"))
                    .copied()
                    .unwrap_or(0)
            };
            let updated = get("listener_modified") + get("listener_in_place_updated") > before;
            (updated && get("total_listeners_warming") == 0).then_some(())
        });
    }

    /// Offers another policy without waiting: for one that Envoy is to refuse.
    pub fn try_reload(&self, policy: &str) {
        self.try_reload_as(|builder| builder.policy(policy));
    }

    fn try_reload_as(&self, change: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder) {
        assert!(self.builder.dynamic, "only a dynamic Envoy can be reloaded");
        let builder = change(self.builder.clone());
        let mut config = builder.configuration(&Place {
            dir: self.dir.clone(),
            port: self.port,
            admin_port: self.admin_port,
            upstream: self.upstream.port,
            redis_call_port: self.redis_call_port,
        });
        write_listeners(&self.dir, config["static_resources"]["listeners"].take());
    }
}

/// Envoy takes up a file that is moved into its place.
pub(super) fn write_listeners(dir: &Path, listeners: Value) {
    let mut resources = listeners;
    for listener in resources.as_array_mut().expect("listeners") {
        listener["@type"] = json!("type.googleapis.com/envoy.config.listener.v3.Listener");
    }
    let next = dir.join("listeners.next");
    std::fs::write(&next, json!({"resources": resources}).to_string()).expect("a listeners' file");
    std::fs::rename(next, dir.join("listeners.json")).expect("a listeners' file");
}
