//! Requests to Envoy's admin interface.

use super::Envoy;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

impl Envoy {
    /// The body of a GET to the admin interface.
    pub fn admin(&self, path: &str) -> String {
        self.try_admin("GET", path)
            .unwrap_or_else(|error| panic!("admin {path}: {error}"))
    }

    /// A POST to the admin interface.
    pub fn admin_post(&self, path: &str) -> String {
        self.try_admin("POST", path)
            .unwrap_or_else(|error| panic!("admin {path}: {error}"))
    }

    pub(super) fn try_admin(&self, method: &str, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin_port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\naccept-encoding: identity\r\n\r\n")?;
        let mut text = Vec::new();
        stream.read_to_end(&mut text)?;
        let text = String::from_utf8_lossy(&text);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        Ok(if chunked {
            join_chunks(body)
        } else {
            body.to_owned()
        })
    }

    /// All counters and gauges whose names contain the text.
    pub fn stats(&self, part: &str) -> BTreeMap<String, u64> {
        let pairs = self.admin("/stats");
        let pairs = pairs.lines().filter_map(|line| line.split_once(": "));
        let wanted = pairs.filter(|(name, _)| name.contains(part));
        wanted
            .filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?)))
            .collect()
    }

    /// A counter or gauge by its whole name; 0 where it does not exist (yet).
    pub fn stat(&self, name: &str) -> u64 {
        self.stats(name).get(name).copied().unwrap_or(0)
    }
}

fn join_chunks(mut text: &str) -> String {
    let mut body = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let Some(chunk) = rest.get(..size).filter(|chunk| !chunk.is_empty()) else {
            break;
        };
        body.push_str(chunk);
        text = rest[size..].trim_start_matches("\r\n");
    }
    body
}
