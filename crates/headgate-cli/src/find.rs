//! Finds Headgate's configurations in a file: in an envoy.yaml, a WasmPlugin, an EnvoyFilter, an
//! EnvoyExtensionPolicy, or the file itself. Does not check them.

use super::content::Content;
use super::document::{self, DocumentError, Node, Place, Reader};
use headgate_core::config::{ConfigErrors, Plugin};

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
    /// A WasmPlugin's phase.
    pub phase: Option<String>,
    /// The list of filters that it is in: the same for two in one chain.
    pub chain: String,
    /// The nearest HTTP connection manager that it is in, where the file has all of it.
    pub manager: Option<EnclosingPart>,
    /// The same for the listener.
    pub listener: Option<EnclosingPart>,
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

/// What the plugin's virtual machine is given.
#[derive(Default)]
pub struct Vm {
    /// Empty where an Envoy's configuration names none; `None` where something else gives it one.
    pub id: Option<String>,
    /// The module's file, where Envoy reads one.
    pub file: Option<Node>,
    /// Whether [`HASH_KEY`] is in its environment; `None` where the file does not say.
    pub has_hash_key: Option<bool>,
    /// Whether the key itself is written there.
    pub writes_hash_key: bool,
    /// The file or the address of its module.
    pub module: Option<String>,
}

/// A part of the Envoy around a configuration.
#[derive(Clone)]
pub struct EnclosingPart {
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
        if finder.found.is_empty() && !is_kubernetes && !is_envoy(document) {
            finder.push(None, String::new(), document, Content::Tree(document.clone()));
        }
    }
    Ok(File { documents, found })
}

/// Whether a document is a part of an Envoy's configuration, and so no policy by itself.
fn is_envoy(document: &Node) -> bool {
    const FIELDS: [&str; 8] = [
        "static_resources",
        "dynamic_resources",
        "resources",
        "@type",
        "listeners",
        "clusters",
        "filter_chains",
        "http_filters",
    ];
    FIELDS.iter().any(|field| document.envoy(&[field]).is_some())
}

impl File {
    /// Whether nothing in it is, or was meant as, a configuration of Headgate's: of several files such a one is passed over.
    pub fn is_foreign(&self) -> bool {
        const OURS: [&str; 7] = [
            "identify",
            "rates",
            "exempt",
            "role",
            "on_error",
            "enforce",
            "verdict_cache",
        ];
        let is_ours = |found: &Found| {
            let fields = found.content.tree().map(Node::entries).unwrap_or_default();
            let is_field = |key: &str| key.starts_with("limit") || OURS.contains(&key);
            found.filter.is_some() || fields.iter().any(|entry| is_field(&entry.key))
        };
        !self.found.iter().any(is_ours)
    }
}

pub(super) struct Finder<'f> {
    pub(super) found: &'f mut Vec<Found>,
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
        if let Some((kind, plugin, at)) = wasm(node) {
            self.filter(kind, plugin, &join(path, at), around);
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
        let text = |keys: &[&str]| plugin.envoy(keys).and_then(Node::text);
        let words = [
            text(&["name"]),
            text(&["root_id"]),
            text(&["vm_config", "vm_id"]),
            text(&["vm_config", "code", "local", "filename"]),
            text(&["vm_config", "code", "remote", "http_uri", "uri"]),
        ];
        let configuration = plugin.get("configuration");
        let content = configuration.map_or_else(|| Content::none(plugin.place), Content::of_any);
        if !is_ours(&words, &content) {
            return;
        }
        let value = configuration.and_then(|any| any.get("value"));
        let node = value.or(configuration).unwrap_or(plugin);
        let environment = plugin.envoy(&["vm_config", "environment_variables"]);
        let writes_on = |variables: &Node| {
            let values = variables.envoy(&["key_values"]);
            values.is_some_and(|values| values.get(HASH_KEY).is_some())
        };
        let passes_on = |variables: &Node| {
            let keys = variables
                .envoy(&["host_env_keys"])
                .map(Node::items)
                .unwrap_or_default();
            keys.iter().any(|key| key.text() == Some(HASH_KEY)) || writes_on(variables)
        };
        let at = match value {
            Some(_) => "configuration.value",
            None => "configuration",
        };
        let at = join(path, at);
        self.push(text(&["name"]), at, node, content);
        if let Some(found) = self.found.last_mut() {
            let part = |(path, node): (&str, &Node)| EnclosingPart {
                at: path.to_owned(),
                node: node.clone(),
            };
            found.filter = Some(kind);
            found.chain = around.chain.to_owned();
            found.manager = around.manager.map(part);
            found.listener = around.listener.map(part);
            found.vm = Vm {
                id: Some(text(&["vm_config", "vm_id"]).unwrap_or_default().to_owned()),
                file: plugin.envoy(&["vm_config", "code", "local", "filename"]).cloned(),
                has_hash_key: Some(environment.is_some_and(passes_on)),
                writes_hash_key: environment.is_some_and(writes_on),
                module: words[3].or(words[4]).map(str::to_owned),
            };
        }
    }

    pub(super) fn push(&mut self, name: Option<&str>, at: String, node: &Node, content: Content) {
        self.found.push(Found {
            name: name.unwrap_or_default().to_owned(),
            filter: None,
            at,
            place: node.place,
            content,
            vm: Vm::default(),
            phase: None,
            chain: String::new(),
            manager: None,
            listener: None,
            document: self.document,
            reader: self.reader,
        });
    }
}

/// The kind and the `PluginConfig` of a wasm filter's typed configuration, and where the latter is in it.
fn wasm(typed: &Node) -> Option<(FilterKind, &Node, &'static str)> {
    let text = |key| typed.envoy(&[key]).and_then(Node::text).unwrap_or_default();
    let (url, keys, at) = match text("@type") {
        // Istio's documentation writes many filters like this.
        url if url.ends_with(".TypedStruct") => (text("type_url"), &["value", "config"][..], "value.config"),
        url => (url, &["config"][..], "config"),
    };
    let kinds = [
        ("filters.http.wasm.v3.Wasm", FilterKind::Http),
        ("filters.network.wasm.v3.Wasm", FilterKind::Network),
    ];
    let (_, kind) = kinds.iter().find(|(end, _)| url.ends_with(end))?;
    Some((*kind, typed.at(keys)?, at))
}

fn join(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        _ => format!("{path}.{name}"),
    }
}

/// By what the plugin is called, or by fields that only Headgate has together.
pub(super) fn is_ours(words: &[Option<&str>], content: &Content) -> bool {
    let named = words
        .iter()
        .flatten()
        .any(|word| word.to_ascii_lowercase().contains("headgate"));
    named
        || content
            .tree()
            .is_some_and(|tree| tree.get("limits").is_some() && tree.get("rules").is_none())
}

impl Found {
    /// As the plugin reads it.
    pub fn parse(&self) -> Result<Plugin, ConfigErrors> {
        self.content.parse(self.reader)
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
