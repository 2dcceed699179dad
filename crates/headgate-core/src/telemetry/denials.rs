//! Which denials get a log line, and its contents.
//!
//! The number of lines in each second is bounded for each limit, over all workers together. Other denials are counted,
//! and the next line of their limit has their number.

use crate::local::{SharedData, Version};
use serde::Serialize;

/// How often a write is retried after another worker's. Each of those is another worker's line.
const RACES: usize = 8;

/// The denial log of one worker.
#[derive(Debug)]
pub struct Denials {
    per_second: u32,
    limits: Vec<LimitLines>,
}

/// The lines of one limit.
#[derive(Debug, Clone, Default)]
struct LimitLines {
    /// The name of the shared value.
    name: String,
    second: u64,
    /// Lines asked for in this second.
    asked: u32,
    /// Denials without a line that are not in the shared value yet.
    left_out: u64,
}

/// The shared value of one limit: 24 bytes, little-endian.
#[derive(Debug, Default)]
struct SharedLines {
    second: u64,
    lines: u64,
    left_out: u64,
}

impl Denials {
    /// `per_second`: 0 for none; `limits`: their names.
    pub fn new<'a>(instance: &str, per_second: u32, limits: impl Iterator<Item = &'a str>) -> Denials {
        let lines = |limit| LimitLines {
            name: format!("headgate:denials:{instance}:{limit}"),
            ..LimitLines::default()
        };
        Denials {
            per_second,
            limits: limits.map(lines).collect(),
        }
    }

    /// Notes a denial by a limit in this second of the wall clock. `Some`: it gets a line, and this many denials before
    /// it got none.
    pub fn note(&mut self, limit: usize, second: u64, shared: &impl SharedData) -> Option<u64> {
        let lines = self.limits.get_mut(limit)?;
        if self.per_second == 0 {
            return None;
        }
        if lines.second != second {
            (lines.second, lines.asked) = (second, 0);
        }
        if lines.asked >= self.per_second {
            lines.left_out += 1;
            return None;
        }
        lines.asked += 1;
        for _ in 0..RACES {
            let (bytes, version) = shared.get(&lines.name).unwrap_or((Vec::new(), Version::ABSENT));
            let mut taken = SharedLines::read(&bytes);
            if taken.second < second {
                (taken.second, taken.lines) = (second, 0);
            }
            let passes = taken.lines < u64::from(self.per_second);
            let left_out = taken.left_out + lines.left_out;
            taken.lines += u64::from(passes);
            taken.left_out = if passes { 0 } else { left_out + 1 };
            if shared.replace(&lines.name, &taken.write(), version).is_ok() {
                lines.left_out = 0;
                return passes.then_some(left_out);
            }
        }
        lines.left_out += 1;
        None
    }
}

impl SharedLines {
    fn read(bytes: &[u8]) -> SharedLines {
        let number = |at: usize| {
            let bytes = bytes.get(at..at + 8)?.try_into().ok()?;
            Some(u64::from_le_bytes(bytes))
        };
        SharedLines {
            second: number(0).unwrap_or(0),
            lines: number(8).unwrap_or(0),
            left_out: number(16).unwrap_or(0),
        }
    }

    fn write(&self) -> Vec<u8> {
        [self.second, self.lines, self.left_out]
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect()
    }
}

/// The fields of a line, in their order; `None`: unknown, and left out.
#[derive(Debug, Default, Serialize)]
#[serde(tag = "event", rename = "rate_limit_exceeded")]
pub struct DenialLine<'a> {
    /// The name of the filter's instance.
    pub instance: &'a str,
    /// `source:value or hash`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<&'a str>,
    /// The limit that denied.
    pub limit: &'a str,
    /// Where it was counted.
    pub by: &'a str,
    /// As in the policy, never a text from the caller.
    #[serde(rename = "path")]
    pub endpoint: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// The method of the request.
    pub method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// `x-request-id` of the request.
    pub request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// The trace id of the request's `traceparent`.
    pub trace_id: Option<&'a str>,
    /// In seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// The number of denials that were not logged since the previous line of this limit.
    pub left_out: u64,
}

impl DenialLine<'_> {
    /// One line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The trace's id from `traceparent` (W3C Trace Context), else from B3's one header, else from its `x-b3-traceid`.
pub fn trace_id<'a>(
    traceparent: Option<&'a str>,
    b3: Option<&'a str>,
    x_b3: Option<&'a str>,
) -> Option<&'a str> {
    let is_id = |id: &&str| matches!(id.len(), 16 | 32) && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let w3c = traceparent
        .and_then(|header| header.split('-').nth(1))
        .filter(is_id);
    let single = b3.and_then(|header| header.split('-').next()).filter(is_id);
    w3c.or(single).or(x_b3.filter(is_id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::Memory;
    use serde_json::Value;

    #[test]
    fn workers_share_the_line_quota_and_count_omitted_lines() {
        let shared = Memory::default();
        let worker = || Denials::new("main", 3, ["a", "b"].into_iter());
        let mut workers = [worker(), worker()];
        let mut second = |second: u64, each: usize| -> (usize, u64) {
            let lines: Vec<u64> = (0..each * 2)
                .filter_map(|n| workers[n % 2].note(0, second, &shared))
                .collect();
            (lines.len(), lines.iter().sum())
        };
        assert_eq!(second(10, 50), (3, 0));
        assert_eq!(
            second(11, 1),
            (2, 97),
            "the next line reports the denials of the second before"
        );
        assert_eq!(second(12, 50), (3, 0));
        assert_eq!(workers[0].note(1, 12, &shared), Some(0), "each limit has its own");
    }

    #[test]
    fn with_none_a_second_there_is_no_line() {
        let mut denials = Denials::new("main", 0, ["a"].into_iter());
        assert_eq!(denials.note(0, 1, &Memory::default()), None);
    }

    #[test]
    fn no_text_of_a_caller_breaks_a_log_line() {
        let line = DenialLine {
            limit: "login",
            request_id: Some("a\n{\"event\": \"x\"}"),
            ..DenialLine::default()
        };
        let json = line.json();
        assert_eq!(json.lines().count(), 1);
        assert!(json.starts_with(r#"{"event":"rate_limit_exceeded","instance":"","limit":"login","#));
        let read: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["request_id"], "a\n{\"event\": \"x\"}");
        assert_eq!(read["limit"], "login");
        assert!(read.get("client").is_none());
    }

    #[test]
    fn the_trace_id_comes_from_w3c_or_b3_headers_only() {
        let w3c = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let b3 = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1";
        assert_eq!(
            trace_id(Some(w3c), Some(b3), None),
            Some("4bf92f3577b34da6a3ce929d0e0e4736")
        );
        assert_eq!(
            trace_id(None, Some(b3), None),
            Some("80f198ee56343ba864fe8b2a57d3eff7")
        );
        assert_eq!(
            trace_id(None, Some("0"), Some("463ac35c9f6413ad")),
            Some("463ac35c9f6413ad")
        );
        assert_eq!(trace_id(Some("00-secret-x"), None, Some("secret")), None);
    }
}
