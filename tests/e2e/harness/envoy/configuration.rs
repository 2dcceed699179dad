//! An Envoy's configuration: the shipped file with the test's ports, policy and changes.

use super::builder::{EnvoyBuilder, Place, Policy};
use crate::harness::{config, filter_module, root};
use serde_json::{json, Value};

impl EnvoyBuilder {
    /// The whole configuration for this place.
    pub(super) fn configuration(&self, place: &Place) -> Value {
        match &self.whole {
            Some(render) => render(place),
            None => self.shipped(place),
        }
    }

    fn shipped(&self, place: &Place) -> Value {
        let mut config = config::load(&self.file);
        config::set_port(&mut config["admin"], place.admin_port);
        config::set_port(config::listener(&mut config, "http"), place.port);
        let service = config::cluster(&mut config, "upstream");
        config::set_endpoints(service, &[place.upstream]);
        // a test's thousands at once are no question of Envoy's own bounds, nor of this machine's
        service["connect_timeout"] = json!("10s");
        service["circuit_breakers"] = json!({"thresholds":
            [{"max_connections": 65536, "max_pending_requests": 65536, "max_requests": 65536}]});
        config::set_access_log(
            &mut config,
            &place.dir.join("access.log"),
            self.access_log.as_ref(),
        );
        if self.filter {
            self.put_headgate(&mut config, place.redis_call_port);
        } else {
            config::put_around_headgate(&mut config, &self.before, &self.after);
            config::remove_headgate(&mut config);
        }
        for edit in &self.edits {
            edit(&mut config);
        }
        config
    }

    fn put_headgate(&self, config: &mut Value, port: u16) {
        let wasm = match self.fault_injection {
            true => root().join("target/headgate-fault-injection.wasm"),
            false => filter_module(),
        };
        let plugin = config::headgate(config);
        plugin["vm_config"]["code"]["local"]["filename"] = json!(wasm);
        let shipped = plugin["configuration"]["value"].clone();
        plugin["configuration"] = match &self.policy {
            Policy::Raw(text) => config::as_string(text),
            Policy::Shipped => self.plugin(shipped),
            Policy::Value(policy) => self.plugin(policy.clone()),
        };
        config::put_around_headgate(config, &self.before, &self.after);
        if !config::has_redis_call(config) {
            return;
        }
        if !self.seeds.is_empty() {
            config::set_endpoints(config::cluster(config, "redis"), &self.seeds);
        }
        if self.waits_for_seconds() {
            config::redis_proxy(config)["settings"]["op_timeout"] = json!("10s");
        }
        let plugin = config::redis_call(config);
        plugin["vm_config"]["code"]["local"]["filename"] = json!(wasm);
        let role = plugin["configuration"]["value"].clone();
        plugin["configuration"] = self.plugin(role);
        if self.expose_redis_call {
            let mut open = config::listener(config, "redis_call").clone();
            open["name"] = json!("redis_call_open");
            open.as_object_mut()
                .expect("a listener")
                .remove("internal_listener");
            open["address"] = json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
            config["static_resources"]["listeners"]
                .as_array_mut()
                .expect("listeners")
                .push(open);
        }
    }

    /// Whether a request may wait for its count longer than Envoy would wait for Redis.
    fn waits_for_seconds(&self) -> bool {
        let written = match &self.policy {
            Policy::Value(policy) => policy["redis"]["timeout"].as_str().unwrap_or_default(),
            _ => "",
        };
        match written {
            "" => self.patient,
            _ => written.ends_with('s') && !written.ends_with("ms"),
        }
    }

    /// A plugin's configuration with this builder's key prefix, in the form that it wants.
    fn plugin(&self, mut value: Value) -> Value {
        let network = value["role"] == "redis_call";
        if let Some(fields) = value.as_object_mut() {
            if self.local && !network {
                fields.insert("store".into(), json!("local"));
            }
            let redis = fields.entry("redis").or_insert_with(|| json!({}));
            if let Some(redis) = redis.as_object_mut() {
                if network || !redis.contains_key("key_prefix") {
                    redis.insert("key_prefix".into(), json!(self.key_prefix));
                }
                if self.patient && !network && !redis.contains_key("timeout") {
                    redis.insert("timeout".into(), json!("5s"));
                }
            }
        }
        if self.as_text {
            config::as_string(&value.to_string())
        } else {
            config::as_struct(value)
        }
    }
}
