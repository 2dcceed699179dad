//! What a server takes for a path while no reading does, and the setting of Envoy that closes it.
//!
//! Behind a plain Envoy these bypass a limit or use an exemption; behind the shipped one none of them does, as the same
//! tests show. An entry that no longer bypasses anything is an error.

/// Paths that one kind of server takes in a way of its own.
pub struct Known {
    pub servers: &'static [&'static str],
    /// What such a path begins with, in front of dot segments.
    begin: &'static str,
    /// One of them; it is tried in front of each of the servers.
    pub example: &'static str,
    /// The handlers that it reaches. `none` is the application's fallback.
    handlers: &'static [&'static str],
    /// What the server does.
    pub why: &'static str,
    /// The setting that closes it.
    pub remedy: &'static str,
}

const NORMALISE: &str = "normalize_path and merge_slashes";
const REDIRECT: &str = "normalize_path and path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT";

pub const KNOWN: [Known; 6] = [
    Known {
        servers: &["jdk"],
        begin: "//",
        example: "//host/users/7/../../static/a.txt",
        handlers: &["user", "mount", "none"],
        why: "removes the authority as reading 7 does, and leaves dot segments in as reading 6 does",
        remedy: NORMALISE,
    },
    Known {
        servers: &["tomcat"],
        begin: "/x//../api/login;x%2fy",
        example: "/x//../api/login;x%2fy",
        handlers: &["login"],
        why: "removes parameters before it decodes, as reading 5 does, and merges before it resolves, as reading 3 does",
        remedy: NORMALISE,
    },
    Known {
        servers: &["uvicorn", "express"],
        begin: "//static/",
        example: "//static/users/7/../../static/a.txt",
        handlers: &["none"],
        why: "merges no slashes and resolves no dot segments, so that this is not below /static",
        remedy: NORMALISE,
    },
    Known {
        servers: &["uvicorn", "wsgiref", "express", "jdk"],
        begin: "/static;",
        example: "/static;x/../users/7/../../static/a.txt",
        handlers: &["none"],
        why: "keeps parameters and resolves no dot segments, so that this is not below /static",
        remedy: NORMALISE,
    },
    Known {
        servers: &["uvicorn", "wsgiref", "express", "jdk"],
        begin: "/static%5c",
        example: "/static%5c../users/7/../../../static/a.txt",
        handlers: &["none"],
        why: "keeps a backslash and resolves no dot segments, so that this is not below /static",
        remedy: REDIRECT,
    },
    Known {
        servers: &["express"],
        begin: "/static%2f",
        example: "/static%2f../users/7/../../../static/a.txt",
        handlers: &["none"],
        why: "decodes no slash and resolves no dot segments, so that this is not below /static",
        remedy: REDIRECT,
    },
];

/// Those that concern this server.
pub fn of(server: &str) -> impl Iterator<Item = &'static Known> + use<'_> {
    KNOWN.iter().filter(move |known| known.servers.contains(&server))
}

impl Known {
    /// Whether this path, which ran this handler, is one of them.
    pub fn covers(&self, target: &str, handler: &str) -> bool {
        let path = target.strip_prefix("http://host").unwrap_or(target);
        let dots = path.contains("..") || path.to_ascii_lowercase().contains("%2e");
        dots && path.starts_with(self.begin) && self.handlers.contains(&handler)
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
