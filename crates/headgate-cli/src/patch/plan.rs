//! Decides which parts are added to each file.
//!
//! Every connection manager of a chosen listener gets the filter. The guard is added to the file with the first of
//! these connection managers, before the listeners, because Envoy updates listeners in the order of the file. The
//! clusters are added to the same file, or to the file with the clusters. All other parts are added to the bootstrap.

use super::change::Change;
use super::files::{self, FileKind};
use super::path::Spot;
use super::present::{self, Present};
use super::settings::{self, Settings};
use super::{access_log, bootstrap, order, redis, PatchedFile};
use crate::document::Node;
use crate::parts::{self, Part};
use crate::redis_options::Redis;
use headgate_core::config::Policy;

/// What the user asked for.
pub struct Wish<'w> {
    pub policy: &'w Policy,
    /// The policy as it was written.
    pub written: Part,
    pub redis: Option<&'w Redis>,
    pub module: &'w str,
    /// Empty: all listeners.
    pub listeners: &'w [String],
    /// `None`: those of an earlier run, if there was one.
    pub settings: Option<Settings>,
    pub keeps_access_log: bool,
}

/// A mistake in a file: the file's index, the line (from 1) and the message.
pub type Mistake = (usize, usize, String);

/// What happens to one file.
#[derive(Default)]
pub struct FilePlan {
    pub changes: Vec<Change>,
    /// Notes about parts that are not changed, by line.
    pub notes: Vec<(usize, String)>,
}

pub struct Plan<'w> {
    pub all: &'w [PatchedFile],
    pub wish: &'w Wish<'w>,
    pub present: Present,
    pub files: Vec<FilePlan>,
    /// Parts that belong in files that were not given.
    pub elsewhere: Vec<String>,
    /// Clients can choose their address.
    pub is_unsafe: bool,
    /// The files whose connection managers have the filter or get it.
    pub with_filter: Vec<usize>,
    /// At least one filter is added.
    pub is_new: bool,
}

/// # Errors
/// If Headgate does not belong in any file, and if a name is in use for something else.
pub fn plan<'w>(all: &'w [PatchedFile], wish: &'w Wish<'w>) -> Result<Plan<'w>, Mistake> {
    let mut plan = Plan {
        all,
        wish,
        present: present::present(all),
        files: all.iter().map(|_| FilePlan::default()).collect(),
        elsewhere: Vec::new(),
        is_unsafe: false,
        with_filter: Vec::new(),
        is_new: false,
    };
    plan.listeners()?;
    let needs_redis = present::needs_redis(&plan.policy());
    if needs_redis {
        redis::plan(&mut plan)?;
    }
    plan.bootstrap(needs_redis);
    Ok(plan)
}

impl Plan<'_> {
    /// The policy that decides the transport to Redis: the given one, unless all filters existed before.
    pub fn policy(&self) -> Policy {
        let mut policies = self
            .present
            .filters
            .iter()
            .filter_map(|filter| filter.policy.as_ref());
        let own = if self.is_new { None } else { policies.next() };
        own.unwrap_or(self.wish.policy).clone()
    }

    pub fn note(&mut self, file: usize, line: usize, message: String) {
        if let Some(plan) = self.files.get_mut(file) {
            plan.notes.push((line, message));
        }
    }

    pub fn change(&mut self, file: usize, changes: impl IntoIterator<Item = Change>) {
        if let Some(plan) = self.files.get_mut(file) {
            plan.changes.extend(changes);
        }
    }

    fn listeners(&mut self) -> Result<(), Mistake> {
        let mut names: Vec<String> = Vec::new();
        for (index, file) in self.all.iter().enumerate() {
            let Some(root) = file.root() else { continue };
            for listener in files::listeners(root, file.kind) {
                names.extend(listener.text(&["name"]).map(str::to_owned));
                self.listener(index, root, &listener)?;
            }
        }
        let unknown = self.wish.listeners.iter().find(|name| !names.contains(name));
        if let Some(name) = unknown {
            let known = match names.is_empty() {
                true => "no listener here has a name".to_owned(),
                false => format!("there are {}", names.join(", ")),
            };
            return Err((0, 1, format!("--listener {name}: no such listener; {known}")));
        }
        self.nothing()
    }

    /// Without a connection manager, only files that need none can be changed.
    fn nothing(&self) -> Result<(), Mistake> {
        if !self.with_filter.is_empty() {
            return Ok(());
        }
        for (index, file) in self.all.iter().enumerate() {
            let Some(root) = file.root() else { continue };
            let root = Spot::root(root);
            let is_of_use = match file.kind {
                FileKind::Clusters => true,
                FileKind::Bootstrap => root.field("dynamic_resources").is_some(),
                FileKind::Listeners | FileKind::Others => false,
            };
            if !is_of_use && !self.all.iter().any(|file| file.kind == FileKind::Clusters) {
                let seen = self.files.get(index).and_then(|plan| plan.notes.first());
                let (line, why) = match seen {
                    Some((line, note)) => (*line, note.clone()),
                    None => (
                        1,
                        "no HTTP connection manager of Envoy's API v3 in its listeners".to_owned(),
                    ),
                };
                return Err((index, line, format!("nothing to put Headgate into: {why}")));
            }
        }
        Ok(())
    }

    fn listener(&mut self, index: usize, root: &Node, listener: &Spot<'_>) -> Result<(), Mistake> {
        let name = listener
            .text(&["name"])
            .unwrap_or("a listener without a name")
            .to_owned();
        let line = listener.node.place.line;
        let is_named = self.wish.listeners.contains(&name);
        let guard = self.present.guard.as_ref();
        let is_guard = guard.is_some_and(|guard| guard.file == index && guard.listener == name);
        if is_guard || !self.wish.listeners.is_empty() && !is_named {
            return Ok(());
        }
        let (managers, unreadable) = files::managers(listener);
        for (path, message) in unreadable {
            let line = path.of(root).map_or(line, |node| node.place.line);
            self.note(index, line, format!("not patched: {message}"));
        }
        if listener.field("api_listener").is_some() {
            self.note(
                index,
                line,
                format!("{name} is an api_listener, which takes no connections: not patched"),
            );
        }
        if managers.is_empty() && is_named {
            return Err((
                index,
                line,
                format!("--listener {name}: it has no HTTP connection manager of Envoy's API v3"),
            ));
        }
        if listener.field("internal_listener").is_some() && !is_named && !managers.is_empty() {
            let message = format!(
                "{name} is an internal listener, whose requests come from this Envoy: not patched; --listener {name} does it"
            );
            self.note(index, line, message);
            return Ok(());
        }
        for manager in managers {
            self.manager(index, &name, &manager.spot);
        }
        Ok(())
    }

    fn manager(&mut self, index: usize, listener: &str, manager: &Spot<'_>) {
        let at = manager.path.to_string();
        let line = manager.node.place.line;
        let own = self
            .present
            .filters
            .iter()
            .find(|filter| filter.file == index && filter.manager.as_deref() == Some(at.as_str()));
        if let Some(own) = own {
            let message = format!(
                "{listener} has Headgate already, written by hand: its filter and its policy are left as they are; edit them there"
            );
            let line = own.line;
            self.note(index, line, message);
        } else {
            let Some(list) = manager
                .field("http_filters")
                .filter(|list| !list.node.items().is_empty())
            else {
                self.note(
                    index,
                    line,
                    format!("{listener} has no http_filters: not patched; Envoy needs the router there"),
                );
                return;
            };
            let filters = list.items();
            let position = order::position(&filters, self.wish.policy);
            let filter = parts::http_filter(self.wish.written.clone(), parts::module_file(self.wish.module));
            let report = format!("HTTP filter headgate in {listener}, {}", position.why);
            if position.index >= filters.len() {
                let message = "no filter is behind the one whose metadata the policy reads: not patched; Envoy needs the router there";
                self.note(index, list.node.place.line, message.to_owned());
                return;
            }
            self.change(
                index,
                [bootstrap::items(
                    &list,
                    position.index,
                    vec![filter],
                    &report,
                    "HTTP filter",
                )],
            );
            for warning in position.warnings {
                self.note(index, list.node.place.line, warning);
            }
            self.is_new = true;
        }
        self.with_filter.push(index);
        let mut notes = Vec::new();
        match self.wish.settings {
            Some(settings) => {
                let changes = settings::changes(manager, settings, &mut notes);
                self.change(index, changes);
            }
            None => {
                let missing = settings::missing(manager);
                self.is_unsafe |= missing.address;
                notes.extend(missing.messages.into_iter().map(|message| (line, message)));
            }
        }
        if !self.wish.keeps_access_log {
            let changes = access_log::changes(manager, &mut notes);
            self.change(index, changes);
        }
        if let Some(plan) = self.files.get_mut(index) {
            plan.notes.append(&mut notes);
        }
    }

    fn bootstrap(&mut self, needs_redis: bool) {
        let all = self.all;
        let index = all.iter().position(|file| file.kind == FileKind::Bootstrap);
        let Some((index, root)) = index.and_then(|index| Some((index, all.get(index)?.root()?))) else {
            if all.iter().any(|file| file.kind == FileKind::Listeners) {
                self.elsewhere.push(format!(
                    "in the bootstrap, the file that `envoy -c` takes: {}stats labels (stats_config){}; patch it as well",
                    if needs_redis { "the extension for internal listeners (bootstrap_extensions), " } else { "" },
                    if needs_redis { ", a runtime setting (layered_runtime)" } else { "" },
                ));
            }
            return;
        };
        let root = Spot::root(root);
        let mut notes = Vec::new();
        if needs_redis {
            self.change(index, bootstrap::extension(&root));
        }
        self.change(index, bootstrap::stats(&root, &mut notes));
        if needs_redis {
            self.change(index, bootstrap::runtime(&root));
        }
        if root.field("admin").is_none() {
            notes.push((
                1,
                "hint: no admin interface, by which Envoy shows its metrics".to_owned(),
            ));
        }
        let has_listeners = all.iter().any(|file| file.kind == FileKind::Listeners);
        let lds = root.fields(&["dynamic_resources", "lds_config"]);
        if let Some(lds) = lds.filter(|_| !has_listeners) {
            let path = lds.text(&["path_config_source", "path"]).or(lds.text(&["path"]));
            self.elsewhere.push(match path {
                Some(path) => format!("in {path}, from which this Envoy takes further listeners: HTTP filter, guard; patch it as well"),
                None => "at the management server, from which this Envoy takes further listeners: HTTP filter".to_owned(),
            });
        }
        if let Some(plan) = self.files.get_mut(index) {
            plan.notes.append(&mut notes);
        }
    }
}
