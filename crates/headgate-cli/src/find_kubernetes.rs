//! Headgate's configurations in the resources of Kubernetes that have a form of their own: the WasmPlugin of Istio and
//! Higress, and Envoy Gateway's EnvoyExtensionPolicy. Other resources hold Envoy's own configuration.

use super::content::Content;
use super::document::Node;
use super::find::{is_ours, FilterKind, Finder, HASH_KEY};

impl Finder<'_> {
    /// Istio's `extensions.istio.io/v1alpha1` WasmPlugin.
    pub fn wasm_plugin(&mut self, document: &Node) {
        let text = |keys: &[&str]| document.at(keys).and_then(Node::text);
        let words = [
            text(&["metadata", "name"]),
            text(&["spec", "pluginName"]),
            text(&["spec", "url"]),
        ];
        // Higress passes a defaultConfig without matchRules on as it is.
        let configs = ["pluginConfig", "defaultConfig"];
        let written = configs
            .iter()
            .find_map(|name| Some((*name, document.at(&["spec", name])?)));
        let (name, node) = written.unwrap_or(("pluginConfig", document));
        let content = match written {
            Some(_) => Content::of(node),
            None => Content::none(document.place),
        };
        if is_ours(&words, &content) {
            let variables = document
                .at(&["spec", "vmConfig", "env"])
                .map(Node::items)
                .unwrap_or_default();
            let has_hash_key = variables
                .iter()
                .any(|variable| variable.get("name").and_then(Node::text) == Some(HASH_KEY));
            self.push(
                words.into_iter().flatten().next(),
                format!("spec.{name}"),
                node,
                content,
            );
            if let Some(found) = self.found.last_mut() {
                found.filter = Some(match text(&["spec", "type"]) {
                    Some("NETWORK") => FilterKind::Network,
                    _ => FilterKind::Http,
                });
                found.vm.has_hash_key = Some(has_hash_key);
                found.phase = text(&["spec", "phase"]).map(str::to_owned);
            }
        }
    }

    /// Envoy Gateway's EnvoyExtensionPolicy.
    pub fn extension_policy(&mut self, document: &Node) {
        let plugins = document
            .at(&["spec", "wasm"])
            .map(Node::items)
            .unwrap_or_default();
        for (index, plugin) in plugins.iter().enumerate() {
            let text = |keys: &[&str]| plugin.at(keys).and_then(Node::text);
            let words = [
                text(&["name"]),
                text(&["rootID"]),
                text(&["code", "http", "url"]),
                text(&["code", "image", "url"]),
            ];
            let written = plugin.get("config");
            let node = written.unwrap_or(plugin);
            let content = written.map_or_else(|| Content::none(plugin.place), Content::of);
            if !is_ours(&words, &content) {
                continue;
            }
            let keys = plugin
                .at(&["env", "hostKeys"])
                .map(Node::items)
                .unwrap_or_default();
            let has_hash_key = keys.iter().any(|key| key.text() == Some(HASH_KEY));
            self.push(
                text(&["name"]),
                format!("spec.wasm[{index}].config"),
                node,
                content,
            );
            if let Some(found) = self.found.last_mut() {
                found.vm.has_hash_key = Some(has_hash_key);
                found.filter = Some(FilterKind::Http);
                found.chain = "spec.wasm".to_owned();
            }
        }
    }
}
