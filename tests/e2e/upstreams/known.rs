//! What a server takes for a path while no reading does, and the setting of Envoy that closes it.
//!
//! Behind a plain Envoy these use an exemption for another path; behind the shipped one none of them does, as the same
//! tests show. An entry that no longer bypasses anything is an error.

/// Paths that some servers take in a way of their own.
pub struct Known {
    pub servers: &'static [&'static str],
    /// One of them; it is tried in front of each of the servers, and is in docs/paths.md.
    pub example: &'static str,
    /// Whether a path is one of them.
    fits: fn(&str) -> bool,
    /// The handler that they reach. `none` is the application's fallback.
    handler: &'static str,
    /// What the servers do.
    pub why: &'static str,
    /// The setting that closes it.
    pub remedy: &'static str,
}

pub const KNOWN: [Known; 1] = [Known {
    servers: &["express"],
    example: "/%73tatic/a.txt",
    fits: |path| !path.starts_with("/static") && path.contains('%'),
    handler: "none",
    why: "compares paths undecoded: to it /%73tatic is another path than /static",
    remedy: "normalize_path",
}];

/// Those that concern this server.
pub fn of(server: &str) -> impl Iterator<Item = &'static Known> + use<'_> {
    KNOWN.iter().filter(move |known| known.servers.contains(&server))
}

impl Known {
    /// Whether this request target, which ran this handler, is one of them.
    pub fn covers(&self, target: &str, handler: &str) -> bool {
        let target = target.strip_prefix("http://host").unwrap_or(target);
        let path = target.split('?').next().unwrap_or_default();
        self.handler == handler && (self.fits)(path)
    }
}
