//! What a server takes for a path while no reading does, and the setting of Envoy that closes it.
//!
//! Behind a plain Envoy these bypass a limit or use an exemption; behind the shipped one none of them does, as the same
//! tests show. An entry that no longer bypasses anything is an error.

/// Paths that some servers take in a way of their own.
pub struct Known {
    pub servers: &'static [&'static str],
    /// One of them; it is tried in front of each of the servers.
    pub example: &'static str,
    /// Whether a path is one of them.
    fits: fn(&str) -> bool,
    /// The handlers that they reach. `none` is the application's fallback.
    handlers: &'static [&'static str],
    /// What the servers do.
    pub why: &'static str,
    /// The settings that close it.
    pub remedy: &'static str,
}

const NORMALISE: &str = "normalize_path and merge_slashes";

pub const KNOWN: [Known; 6] = [
    Known {
        servers: &["jdk"],
        example: "//host/users/7/../../static/a.txt",
        fits: |path| path.starts_with("//") && has_dots(path),
        handlers: &["user", "mount", "none"],
        why: "removes the authority as reading 7 does, and leaves dot segments in as reading 6 does",
        remedy: NORMALISE,
    },
    Known {
        servers: &["tomcat"],
        example: "/x//../api/login;x%2fy",
        fits: |path| path.contains("//..") && path.contains(";x%2f"),
        handlers: &["login"],
        why: "removes parameters before it decodes, as reading 5 does, and merges before it resolves, as reading 3 does",
        remedy: NORMALISE,
    },
    Known {
        servers: &["uvicorn", "wsgiref", "express", "jdk"],
        example: "/static;x/../users/7/../../static/a.txt",
        fits: not_below_static_as_it_came,
        handlers: &["none"],
        why: "keeps parameters, which reading 6 removes, and resolves no dot segments",
        remedy: NORMALISE,
    },
    Known {
        servers: &["uvicorn", "express"],
        example: "//static/users/7/../../static/a.txt",
        fits: not_below_static_as_it_came,
        handlers: &["none"],
        why: "merges no slashes, as reading 6 does, and resolves no dot segments",
        remedy: NORMALISE,
    },
    Known {
        servers: &["express"],
        example: "/%73tatic/a.txt",
        fits: not_below_static_as_it_came,
        handlers: &["none"],
        why: "compares paths as they came: to it /%73tatic is not /static",
        remedy: NORMALISE,
    },
    Known {
        servers: &["express"],
        example: "/static%2f../users/7/../../../static/a.txt",
        fits: not_below_static_as_it_came,
        handlers: &["none"],
        why: "decodes no slash, as reading 6 does, and resolves no dot segments",
        remedy: "normalize_path and path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT",
    },
];

fn has_dots(path: &str) -> bool {
    path.contains("..") || path.to_ascii_lowercase().contains("%2e")
}

/// A reading of the path as it came, nothing decoded, merged, resolved or removed, would close these.
fn not_below_static_as_it_came(path: &str) -> bool {
    path != "/static" && !path.starts_with("/static/")
}

/// Those that concern this server.
pub fn of(server: &str) -> impl Iterator<Item = &'static Known> + use<'_> {
    KNOWN.iter().filter(move |known| known.servers.contains(&server))
}

impl Known {
    /// Whether this request target, which ran this handler, is one of them.
    pub fn covers(&self, target: &str, handler: &str) -> bool {
        let target = target.strip_prefix("http://host").unwrap_or(target);
        let path = target.split('?').next().unwrap_or_default();
        self.handlers.contains(&handler) && (self.fits)(path)
    }
}

/// What Python's `strip` takes for white space in a text that was decoded as Latin-1 or UTF-8: Django strips cookies so,
/// wsgiref all headers. For Headgate, as for HTTP, white space is spaces and tabs, and these are part of the value.
pub const SPACES: [&[u8]; 6] = [
    b"",
    b"\xa0",
    b"\x85",
    "\u{a0}".as_bytes(),
    "\u{2003}".as_bytes(),
    "\u{3000}".as_bytes(),
];

/// What closes it: a filter in front of Headgate that refuses other bytes than ASCII in what identifies a client.
pub const ASCII_ONLY: &str = r#"
    name: envoy.filters.http.rbac
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
      rules:
        action: DENY
        policies:
          other-bytes-than-ascii:
            principals: [{any: true}]
            permissions:
            - header: {name: cookie, string_match: {safe_regex: {regex: "[\t -~]*"}}, invert_match: true, treat_missing_header_as_empty: true}
            - header: {name: x-api-key, string_match: {safe_regex: {regex: "[\t -~]*"}}, invert_match: true, treat_missing_header_as_empty: true}
"#;
