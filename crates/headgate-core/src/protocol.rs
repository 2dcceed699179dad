//! Detects the protocol of a caller: refusals are written in its form.

use crate::identify::{trimmed, Headers};

/// A caller's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Plain HTTP, and everything else.
    Http,
    /// gRPC itself. Similar types (gRPC-Web, `application/grpcfoo`) are HTTP, as in Envoy.
    Grpc {
        /// The caller's timeout, in ms; `None`: without one.
        timeout_ms: Option<u64>,
    },
    /// A unary call of the Connect protocol: its errors are JSON under an HTTP status.
    Connect,
}

impl Protocol {
    /// The protocol by the headers of a request.
    pub fn of(request: &dyn Headers) -> Protocol {
        let content_type = request.header("content-type").value().unwrap_or_default();
        if is_grpc(&content_type) {
            let timeout = request.header("grpc-timeout").value();
            return Protocol::Grpc {
                timeout_ms: timeout.and_then(|timeout| timeout_ms(&timeout)),
            };
        }
        let is_unary = request.header("connect-protocol-version").value().is_some()
            && !starts_with(&content_type, b"application/connect+");
        match is_unary || is_connect_get(request) {
            true => Protocol::Connect,
            false => Protocol::Http,
        }
    }
}

/// By Envoy's rule: the type itself, or with a `+` and the encoding of messages.
fn is_grpc(content_type: &[u8]) -> bool {
    let rest = content_type.strip_prefix(b"application/grpc");
    matches!(rest, Some([] | [b'+', ..]))
}

fn starts_with(value: &[u8], start: &[u8]) -> bool {
    let own = value.get(..start.len()).unwrap_or_default();
    own.eq_ignore_ascii_case(start)
}

/// A GET of the Connect protocol has everything in its query.
fn is_connect_get(request: &dyn Headers) -> bool {
    let mut found = false;
    if request.header(":method").value().as_deref() == Some(b"GET") {
        request.each_value(":path", &mut |target| {
            crate::identify::query_value(target, "connect", &mut |value| found |= *value == *b"v1");
        });
    }
    found
}

/// `grpc-timeout`: at most eight digits and a unit (gRPC over HTTP/2, "Requests"); rounded down.
fn timeout_ms(value: &[u8]) -> Option<u64> {
    let (unit, digits) = trimmed(value).split_last()?;
    let is_number = (1..=8).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let number: u64 = std::str::from_utf8(digits)
        .ok()
        .filter(|_| is_number)?
        .parse()
        .ok()?;
    Some(match unit {
        b'H' => number * 3_600_000,
        b'M' => number * 60_000,
        b'S' => number * 1_000,
        b'm' => number,
        b'u' => number / 1_000,
        b'n' => number / 1_000_000,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identify::FakeRequest;

    fn of(headers: &[(&str, &str)]) -> Protocol {
        Protocol::of(&FakeRequest::default().with(headers))
    }

    const GRPC: Protocol = Protocol::Grpc { timeout_ms: None };

    #[test]
    fn only_true_grpc_is_grpc() {
        for (content_type, protocol) in [
            ("application/grpc", GRPC),
            ("application/grpc+proto", GRPC),
            ("application/grpc+", GRPC),
            (" application/grpc ", GRPC),
            ("application/grpc-web", Protocol::Http),
            ("application/grpc-web+proto", Protocol::Http),
            ("application/grpc-web-text", Protocol::Http),
            ("application/grpcfoo", Protocol::Http),
            ("application/grpc;charset=utf-8", Protocol::Http),
            ("Application/gRPC", Protocol::Http),
            ("application/json", Protocol::Http),
            ("", Protocol::Http),
        ] {
            assert_eq!(of(&[("content-type", content_type)]), protocol, "{content_type}");
        }
    }

    #[test]
    fn a_unary_connect_call_is_recognised() {
        let post = |content_type| of(&[("connect-protocol-version", "1"), ("content-type", content_type)]);
        assert_eq!(post("application/json"), Protocol::Connect);
        assert_eq!(post("application/proto"), Protocol::Connect);
        assert_eq!(
            post("application/connect+json"),
            Protocol::Http,
            "a stream's errors are in its body"
        );
        assert_eq!(post("Application/Connect+proto"), Protocol::Http);
        assert_eq!(post("application/grpc"), GRPC);
        let get = |method, path| of(&[(":method", method), (":path", path)]);
        assert_eq!(get("GET", "/s/M?connect=v1&message=x"), Protocol::Connect);
        assert_eq!(get("GET", "/s/M?a=b&connect=v%31"), Protocol::Connect);
        assert_eq!(get("GET", "/s/M?connect=v2"), Protocol::Http);
        assert_eq!(get("POST", "/s/M?connect=v1"), Protocol::Http);
    }

    #[test]
    fn a_grpc_timeout_is_read_in_each_unit() {
        for (text, expected) in [
            ("1H", Some(3_600_000)),
            ("2M", Some(120_000)),
            ("3S", Some(3_000)),
            ("250m", Some(250)),
            ("1999u", Some(1)),
            ("99999999n", Some(99)),
            ("0S", Some(0)),
            (" 5S ", Some(5_000)),
            ("100000000S", None),
            ("S", None),
            ("5", None),
            ("5s", None),
            ("-5S", None),
            ("1.5S", None),
            ("", None),
        ] {
            let found = of(&[("content-type", "application/grpc"), ("grpc-timeout", text)]);
            assert_eq!(found, Protocol::Grpc { timeout_ms: expected }, "{text:?}");
        }
    }
}
