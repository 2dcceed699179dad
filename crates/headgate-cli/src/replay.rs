//! Access logs as traffic: the JSON lines of the shipped format, the common and combined log formats, and Envoy's
//! own default.

use super::traffic::Event;
use super::Failure;
use headgate_core::config::Policy;
use headgate_core::identify::{identify, Client, ClientValue, Hasher, Identity, Source, SourceKind};
use headgate_sim::request::Request;
use serde_json::Value;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

/// A log as traffic.
pub struct Replay {
    /// In the order of time.
    pub events: Vec<Event>,
    /// The number of lines that are not requests, and the first of them.
    pub skipped: usize,
    pub first_skipped: usize,
    /// Requests without an address in the log: each of their clients gets one of its own.
    pub without_address: usize,
}

/// One line of a log.
#[derive(Debug, PartialEq)]
struct Line {
    time_us: u64,
    method: String,
    target: String,
    host: String,
    address: Option<IpAddr>,
    /// As in `ratelimit_client`.
    client: Option<String>,
}

/// # Errors
/// A log in which no line is understood.
pub fn read(text: &str, policy: &Policy, hasher: &Hasher) -> Result<Replay, Failure> {
    let mut replay = Replay {
        events: Vec::new(),
        skipped: 0,
        first_skipped: 0,
        without_address: 0,
    };
    for (number, text) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        match parse(text) {
            Some(line) => replay.take(line, policy, hasher),
            None => {
                if replay.skipped == 0 {
                    replay.first_skipped = number + 1;
                }
                replay.skipped += 1;
            }
        }
    }
    if replay.events.is_empty() {
        return Err(Failure::new(
            "--replay: no line is understood; JSON lines with time, method, path (as envoy/envoy.yaml writes them), the \
             common log format and Envoy's default are",
        ));
    }
    replay.events.sort_by_key(|event| event.time_us);
    Ok(replay)
}

impl Replay {
    fn take(&mut self, line: Line, policy: &Policy, hasher: &Hasher) {
        let mut request = Request::new(&line.method, &line.target, &line.host);
        let named = line
            .client
            .as_deref()
            .and_then(|shown| client(shown, &policy.identify));
        let own = named.as_ref().and_then(|(_, address)| *address);
        request.address = line.address.or(own);
        if request.address.is_none() {
            self.without_address += 1;
            let name = line.client.as_deref().unwrap_or_default();
            request.address = Some(placeholder(name, hasher));
        }
        let identity = match named {
            Some((client, _)) => Identity::Client(client),
            None => identify(&policy.identify, &request, hasher, policy.refuses_ambiguous()),
        };
        let label = match identity.client() {
            Some(client) => client.to_string(),
            None => "no client".to_owned(),
        };
        self.events.push(Event {
            time_us: line.time_us,
            identity: Rc::new(identity),
            label: label.into(),
            request: Rc::new(request),
            cost: 1,
        });
    }
}

/// A unique address for a client without one in the log (2001:db8::/32 is for documentation).
fn placeholder(name: &str, hasher: &Hasher) -> IpAddr {
    let draw = hasher.digest(name.as_bytes()).draw();
    IpAddr::V6(Ipv6Addr::from_bits(
        0x2001_0db8 << 96 | u128::from(draw as u32) << 64,
    ))
}

/// The client that the filter saw, by the policy's sources, and its address where it is one.
fn client(shown: &str, sources: &[Source]) -> Option<(Client, Option<IpAddr>)> {
    let (name, value) = shown.split_once(':')?;
    let index = sources.iter().position(|source| source.name == name)?;
    let source = sources.get(index)?;
    let mut address = None;
    let value = match source.kind {
        SourceKind::Address { .. } => {
            let ip = value.split('/').next()?.parse().ok()?;
            address = Some(ip);
            source.client_value(&IpAddr::to_string(&ip), &Hasher::new(None))?
        }
        _ if source.is_plain() => ClientValue::Plain(value.to_owned()),
        _ => ClientValue::Digest(value.parse().ok()?),
    };
    let client = Client {
        source: name.to_owned(),
        index,
        value,
    };
    Some((client, address))
}

fn parse(line: &str) -> Option<Line> {
    let line = line.trim();
    match line.chars().next()? {
        '{' => json(line),
        '[' => envoy(line),
        _ => common(line),
    }
}

fn json(line: &str) -> Option<Line> {
    let fields: Value = serde_json::from_str(line).ok()?;
    let text = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| fields.get(name)?.as_str())
            .map(str::to_owned)
    };
    let time = ["time", "start_time", "timestamp", "@timestamp"]
        .iter()
        .find_map(|name| fields.get(name))?;
    let time_us = match time {
        Value::String(text) => rfc3339(text)?,
        // Seconds since 1970.
        Value::Number(seconds) => (seconds.as_f64()? * 1e6) as u64,
        _ => return None,
    };
    let address = text(&[
        "address",
        "client_ip",
        "remote_address",
        "downstream_remote_address",
        "remote_addr",
    ]);
    Some(Line {
        time_us,
        method: text(&["method", "request_method"])?,
        target: text(&["path", "request_path", "uri"])?,
        host: text(&["authority", "host"]).unwrap_or_else(|| "localhost".to_owned()),
        address: address.and_then(|text| ip(&text)),
        client: text(&["ratelimit_client"]).filter(|client| client != "-"),
    })
}

/// `192.0.2.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /index.html HTTP/1.0" 200 2326`
fn common(line: &str) -> Option<Line> {
    let (address, rest) = line.split_once(' ')?;
    let (_, rest) = rest.split_once('[')?;
    let (time, rest) = rest.split_once(']')?;
    let (method, target) = request(rest.split('"').nth(1)?)?;
    Some(Line {
        time_us: common_time(time)?,
        method,
        target,
        host: "localhost".to_owned(),
        address: ip(address),
        client: None,
    })
}

/// `[2016-04-15T20:17:00.310Z] "POST /api HTTP/2" 204 - 154 0 226 100 "10.0.35.28" "agent" "id" "host" "upstream"`
fn envoy(line: &str) -> Option<Line> {
    let (time, rest) = line.strip_prefix('[')?.split_once(']')?;
    let quoted: Vec<&str> = rest.split('"').skip(1).step_by(2).collect();
    let (method, target) = request(quoted.first()?)?;
    Some(Line {
        time_us: rfc3339(time)?,
        method,
        target,
        host: quoted.get(4).unwrap_or(&"localhost").to_string(),
        // The last entry of X-Forwarded-For is the address that the nearest hop saw.
        address: quoted.get(1).and_then(|list| ip(list.rsplit(',').next()?.trim())),
        client: None,
    })
}

fn request(line: &str) -> Option<(String, String)> {
    let mut words = line.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    (!method.is_empty() && target.starts_with('/')).then(|| (method.to_owned(), target.to_owned()))
}

fn ip(text: &str) -> Option<IpAddr> {
    let socket = |text: &str| text.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    text.parse().ok().or_else(|| socket(text))
}

/// `2026-11-24T21:00:00.123Z`, in unix µs; offsets as `+02:00`.
fn rfc3339(text: &str) -> Option<u64> {
    let (date, time) = text.trim().split_once(['T', ' '])?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let end = time.find(['Z', 'z', '+', '-']).unwrap_or(time.len());
    let (clock, offset) = time.split_at_checked(end)?;
    let offset = match offset.trim_start_matches(['Z', 'z']) {
        "" => 0,
        offset => offset_seconds(offset)?,
    };
    at(year, month, day, clock, offset)
}

/// `10/Oct/2000:13:55:36 -0700`, in unix µs.
fn common_time(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (stamp, offset) = text.split_once(' ')?;
    let (date, clock) = stamp.split_once(':')?;
    let mut date = date.splitn(3, '/');
    let day = date.next()?.parse().ok()?;
    let month = date.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? as i64 + 1;
    at(
        date.next()?.parse().ok()?,
        month,
        day,
        clock,
        offset_seconds(offset)?,
    )
}

/// `+0200` or `-07:00`
fn offset_seconds(text: &str) -> Option<i64> {
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let number: i64 = digits.parse().ok()?;
    Some(sign * (number / 100 * 3_600 + number % 100 * 60))
}

fn at(year: i64, month: i64, day: i64, clock: &str, offset_s: i64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let mut parts = clock.splitn(3, ':');
    let (hour, minute): (i64, i64) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let second: f64 = parts.next()?.parse().ok()?;
    // Days since 1970 in the Gregorian calendar; years begin in March, so that leap days come last.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 - offset_s;
    u64::try_from(seconds)
        .ok()
        .map(|seconds| seconds * 1_000_000 + (second * 1e6).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policies::loaded;

    #[test]
    fn times_are_read_to_the_microsecond_with_their_offsets() {
        for (text, micros) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-24T21:00:00.123Z", 1_795_554_000_123_000),
            ("2026-11-24T22:00:00.123+01:00", 1_795_554_000_123_000),
            ("2024-02-29T12:00:00Z", 1_709_208_000_000_000),
        ] {
            assert_eq!(rfc3339(text), Some(micros), "{text}");
        }
        assert_eq!(
            common_time("10/Oct/2000:13:55:36 -0700"),
            Some(971_211_336_000_000)
        );
        assert_eq!(rfc3339("yesterday"), None);
    }

    #[test]
    fn each_format_is_read() {
        let shipped = r#"{"time":"2026-11-24T21:00:00.000Z","method":"GET","path":"/a?b","status":200,"ratelimit_client":"api_key:9f86d081884c7d659a2feaa0c55ad015"}"#;
        let line = parse(shipped).unwrap();
        assert_eq!(
            (line.method.as_str(), line.target.as_str(), line.address),
            ("GET", "/a?b", None)
        );
        assert_eq!(
            line.client.as_deref(),
            Some("api_key:9f86d081884c7d659a2feaa0c55ad015")
        );
        let common = r#"192.0.2.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /index.html HTTP/1.0" 200 2326 "-" "agent""#;
        let line = parse(common).unwrap();
        assert_eq!(
            (line.target.as_str(), line.address),
            ("/index.html", "192.0.2.1".parse().ok())
        );
        let envoy = r#"[2016-04-15T20:17:00.310Z] "POST /api/v1 HTTP/2" 204 - 154 0 226 100 "1.1.1.1, 10.0.35.28" "agent" "id" "a.example.com" "tcp://10.0.2.1:80""#;
        let line = parse(envoy).unwrap();
        assert_eq!(
            (line.host.as_str(), line.address),
            ("a.example.com", "10.0.35.28".parse().ok())
        );
        for broken in [
            "",
            "{}",
            "nonsense",
            r#"1.1.1.1 - - [x] "GET / HTTP/1.1" 200 1"#,
            "{\"time\": true}",
        ] {
            assert_eq!(parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_client_of_the_log_is_the_client_of_the_policy() {
        let loaded = loaded("{limits: [{name: a, rate: 5/s}]}");
        let line = |client: &str| {
            format!(
                r#"{{"time":"2026-11-24T21:00:00Z","method":"GET","path":"/","ratelimit_client":"{client}"}}"#
            )
        };
        let text = [
            line("api_key:9f86d081884c7d659a2feaa0c55ad015"),
            line("address:2001:db8::/64"),
            "x".to_owned(),
        ]
        .join("\n");
        let replay = read(&text, &loaded.policy, &Hasher::new(None)).unwrap();
        let labels: Vec<&str> = replay.events.iter().map(|event| &*event.label).collect();
        assert_eq!(
            labels,
            [
                "api_key:9f86d081884c7d659a2feaa0c55ad015",
                "address:2001:db8::/64"
            ]
        );
        assert_eq!(
            (replay.skipped, replay.first_skipped, replay.without_address),
            (1, 3, 1)
        );
        assert!(read("x", &loaded.policy, &Hasher::new(None)).is_err());
    }
}
