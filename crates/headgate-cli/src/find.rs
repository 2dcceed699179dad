//! Finds Headgate's configurations in a file: in an envoy.yaml, a WasmPlugin, an EnvoyFilter, an
//! EnvoyExtensionPolicy, or the file itself. Does not check them.

use super::document::{self, DocumentError, Kind, Node, Place, Reader};
use headgate_core::config::{self, ConfigErrors, Plugin};

/// The environment variable with the key under which secrets are hashed.
pub const HASH_KEY: &str = "HEADGATE_HASH_KEY";

/// One configuration of Headgate's.
pub struct Found {
    /// What the plugin is called there; empty for a plain file.
    pub name: String,
    /// The kind of filter that runs it; `None` for a plain file.
    pub filter: Option<FilterKind>,
    /// The configuration's path from the document's root; empty for a plain file.
    pub at: String,
    pub place: Place,
    pub content: Content,
    pub vm: Vm,
    /// The list of filters that it is in: the same for two in one chain.
    pub chain: String,
    /// The nearest HTTP connection manager that it is in, where the file has all of it.
    pub manager: Option<Part>,
    /// The same for the listener.
    pub listener: Option<Part>,
    /// The document that it is in.
    pub document: usize,
    pub reader: Reader,
}

/// The kinds of filters that run a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterKind {
    Http,
    Network,
}

/// A configuration as it is handed to the plugin.
pub enum Content {
    /// YAML in place.
    Tree(Node),
    /// A text, and its values where it is JSON.
    Text { text: String, tree: Option<Node> },
}

/// What the plugin's virtual machine is given.
#[derive(Default)]
pub struct Vm {
    pub id: Option<String>,
    /// Whether [`HASH_KEY`] is in its environment; `None` where the file does not say.
    pub has_hash_key: Option<bool>,
}

/// A part of the Envoy around a configuration.
#[derive(Clone)]
pub struct Part {
    /// Its path from the document's root.
    pub at: String,
    pub node: Node,
}

/// A file, and what was found in it.
pub struct File {
    pub documents: Vec<Node>,
    pub found: Vec<Found>,
}

/// Reads a file's text; `json`: Envoy reads such a file as JSON, in which every number is one.
///
/// # Errors
/// A text that is not YAML.
pub fn find(text: &str, json: bool) -> Result<File, DocumentError> {
    let documents = document::parse(text)?;
    let mut found = Vec::new();
    for (index, document) in documents.iter().enumerate() {
        let is_kubernetes = document.get("apiVersion").is_some() && document.get("kind").is_some();
        let reader = match json || is_kubernetes {
            true => Reader::Kubernetes,
            false => Reader::Envoy,
        };
        let mut finder = Finder {
            found: &mut found,
            document: index,
            reader,
        };
        match document
            .get("kind")
            .and_then(Node::text)
            .filter(|_| is_kubernetes)
        {
            Some("WasmPlugin") => finder.wasm_plugin(document),
            Some("EnvoyExtensionPolicy") => finder.extension_policy(document),
            _ => finder.walk(document, "", Around::default()),
        }
        if finder.found.is_empty() && !is_kubernetes && document.envoy(&["static_resources"]).is_none() {
            finder.push(None, String::new(), document, Content::Tree(document.clone()));
        }
    }
    Ok(File { documents, found })
}

struct Finder<'f> {
    found: &'f mut Vec<Found>,
    document: usize,
    reader: Reader,
}

/// The values around the current one, on the way down from a document's root, with their paths.
#[derive(Clone, Copy, Default)]
struct Around<'w> {
    /// The list of filters.
    chain: &'w str,
    listener: Option<(&'w str, &'w Node)>,
    manager: Option<(&'w str, &'w Node)>,
    /// A patch that is merged into something: what it lacks may be there.
    is_merged: bool,
}

impl<'w> Around<'w> {
    /// The same within `node`.
    fn within(mut self, node: &'w Node, path: &'w str) -> Around<'w> {
        let text = |key| node.get(key).and_then(Node::text).unwrap_or_default();
        self.is_merged |= text("operation") == "MERGE";
        let chains = ["filter_chains", "default_filter_chain", "api_listener"];
        if !self.is_merged && chains.iter().any(|key| node.envoy(&[key]).is_some()) {
            self.listener = Some((path, node));
        }
        if !self.is_merged && text("@type").ends_with(".HttpConnectionManager") {
            self.manager = Some((path, node));
        }
        self
    }
}

impl Finder<'_> {
    /// Envoy's own configuration at any depth: every wasm filter that runs Headgate.
    fn walk(&mut self, node: &Node, path: &str, around: Around<'_>) {
        let around = around.within(node, path);
        let kinds = [
            ("filters.http.wasm.v3.Wasm", FilterKind::Http),
            ("filters.network.wasm.v3.Wasm", FilterKind::Network),
        ];
        let url = node.get("@type").and_then(Node::text).unwrap_or_default();
        let kind = kinds.iter().find(|(end, _)| url.ends_with(end));
        if let (Some((_, kind)), Some(plugin)) = (kind, node.get("config")) {
            self.filter(*kind, plugin, &join(path, "config"), around);
            return;
        }
        for entry in node.entries() {
            let path = join(path, &entry.key);
            let is_chain = entry.key.ends_with("filters") || entry.key.ends_with("Filters");
            let chain = if is_chain { &path } else { around.chain };
            self.walk(&entry.value, &path, Around { chain, ..around });
        }
        for (index, item) in node.items().iter().enumerate() {
            self.walk(item, &format!("{path}[{index}]"), around);
        }
    }

    /// An `envoy.extensions.wasm.v3.PluginConfig`.
    fn filter(&mut self, kind: FilterKind, plugin: &Node, path: &str, around: Around<'_>) {
        let Some(configuration) = plugin.get("configuration") else {
            return;
        };
        let value = configuration.get("value");
        let wrapped = configuration.get("@type").is_some();
        let node = if wrapped { value } else { Some(configuration) };
        let Some(node) = node else { return };
        let text = |keys: &[&str]| plugin.envoy(keys).and_then(Node::text);
        let words = [
            text(&["name"]),
            text(&["root_id"]),
            text(&["vm_config", "vm_id"]),
            text(&["vm_config", "code", "local", "filename"]),
            text(&["vm_config", "code", "remote", "http_uri", "uri"]),
        ];
        let content = content(node);
        if !is_ours(&words, &content) {
            return;
        }
        let environment = plugin.envoy(&["vm_config", "environment_variables"]);
        let passes_on = |variables: &Node| {
            let keys = variables
                .envoy(&["host_env_keys"])
                .map(Node::items)
                .unwrap_or_default();
            keys.iter().any(|key| key.text() == Some(HASH_KEY))
                || variables
                    .envoy(&["key_values"])
                    .is_some_and(|values| values.get(HASH_KEY).is_some())
        };
        let at = join(
            path,
            if wrapped {
                "configuration.value"
            } else {
                "configuration"
            },
        );
        self.push(text(&["name"]), at, node, content);
        if let Some(found) = self.found.last_mut() {
            let part = |(path, node): (&str, &Node)| Part {
                at: path.to_owned(),
                node: node.clone(),
            };
            found.filter = Some(kind);
            found.chain = around.chain.to_owned();
            found.manager = around.manager.map(part);
            found.listener = around.listener.map(part);
            found.vm = Vm {
                id: text(&["vm_config", "vm_id"]).map(str::to_owned),
                has_hash_key: Some(environment.is_some_and(passes_on)),
            };
        }
    }

    /// Istio's `extensions.istio.io/v1alpha1` WasmPlugin.
    fn wasm_plugin(&mut self, document: &Node) {
        let text = |keys: &[&str]| document.at(keys).and_then(Node::text);
        let words = [
            text(&["metadata", "name"]),
            text(&["spec", "pluginName"]),
            text(&["spec", "url"]),
        ];
        let Some(node) = document.at(&["spec", "pluginConfig"]) else {
            return;
        };
        let content = content(node);
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
                "spec.pluginConfig".to_owned(),
                node,
                content,
            );
            if let Some(found) = self.found.last_mut() {
                found.filter = Some(match text(&["spec", "type"]) {
                    Some("NETWORK") => FilterKind::Network,
                    _ => FilterKind::Http,
                });
                found.vm.has_hash_key = Some(has_hash_key);
            }
        }
    }

    /// Envoy Gateway's EnvoyExtensionPolicy.
    fn extension_policy(&mut self, document: &Node) {
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
            let Some(node) = plugin.get("config") else {
                continue;
            };
            let content = content(node);
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

    fn push(&mut self, name: Option<&str>, at: String, node: &Node, content: Content) {
        self.found.push(Found {
            name: name.unwrap_or_default().to_owned(),
            filter: None,
            at,
            place: node.place,
            content,
            vm: Vm::default(),
            chain: String::new(),
            manager: None,
            listener: None,
            document: self.document,
            reader: self.reader,
        });
    }
}

fn join(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        _ => format!("{path}.{name}"),
    }
}

fn content(node: &Node) -> Content {
    let Kind::Scalar { text, .. } = &node.kind else {
        return Content::Tree(node.clone());
    };
    let mut tree = document::parse(text)
        .ok()
        .and_then(|documents| documents.into_iter().next());
    if let Some(tree) = &mut tree {
        // A block's place is its first line, below the bar.
        shift(tree, node.place.line.saturating_sub(1));
    }
    Content::Text {
        text: text.clone(),
        tree,
    }
}

/// Moves a tree down by this number of lines.
fn shift(node: &mut Node, lines: usize) {
    node.place.line += lines;
    match &mut node.kind {
        Kind::Scalar { .. } => {}
        Kind::List(items) => items.iter_mut().for_each(|item| shift(item, lines)),
        Kind::Map(entries) => {
            for entry in entries {
                entry.key_place.line += lines;
                shift(&mut entry.value, lines);
            }
        }
    }
}

/// By what the plugin is called, or by fields that only Headgate has together.
fn is_ours(words: &[Option<&str>], content: &Content) -> bool {
    let named = words
        .iter()
        .flatten()
        .any(|word| word.to_ascii_lowercase().contains("headgate"));
    named
        || content
            .tree()
            .is_some_and(|tree| tree.get("limits").is_some() && tree.get("rules").is_none())
}

impl Content {
    pub fn tree(&self) -> Option<&Node> {
        match self {
            Content::Tree(tree) => Some(tree),
            Content::Text { tree, .. } => tree.as_ref(),
        }
    }
}

impl Found {
    /// As the plugin reads it.
    pub fn parse(&self) -> Result<Plugin, ConfigErrors> {
        match &self.content {
            Content::Tree(tree) => config::parse_value(&tree.value(self.reader)),
            Content::Text { text, .. } => config::parse(text.as_bytes()),
        }
    }

    /// The position in the file of a path of the configuration.
    pub fn locate(&self, path: &str) -> Place {
        self.content.tree().map_or(self.place, |tree| tree.locate(path))
    }

    /// A path of the configuration as one from the document's root.
    pub fn full_path(&self, path: &str) -> String {
        match (self.at.as_str(), path) {
            ("", path) => path.to_owned(),
            (at, "") => at.to_owned(),
            (at, path) if path.starts_with('[') => format!("{at}{path}"),
            (at, path) => format!("{at}.{path}"),
        }
    }
}

#[cfg(test)]
#[path = "find_tests.rs"]
mod tests;
