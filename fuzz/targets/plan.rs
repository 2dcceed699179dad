//! Clients and paths: for any request, each key has exactly one hash tag and contains no secret, no two clients
//! share one, and all keys of one call are in one slot.

use headgate_core::config::Policy;
use headgate_core::fixtures;
use headgate_core::identify::{trimmed, Attributes, Hasher, Headers, TlsField};
use headgate_core::limit::{normalise, Group, PathReadings, Plan, Planner};
use std::net::IpAddr;
use std::sync::OnceLock;

const POLICY: &str = r#"{
    "exempt": [{"path": "/healthz"}],
    "on_ambiguous_client": "deny",
    "identify": [
        {"name": "pair", "all": [{"header": "x-tenant"}, {"header": "x-user"}], "as": "plain"},
        {"name": "user", "metadata": ["filter", "sub"], "as": "plain"},
        {"name": "peer", "tls": "uri_san", "as": "plain"},
        {"header": "x-api-key"},
        {"name": "token", "header": "authorization", "extract": "Bearer (.+)"},
        {"name": "session", "cookie": "sid"},
        {"name": "app", "query": "app_id", "as": "plain"},
        {"address": {}}
    ],
    "limits": [
        {"name": "all", "rate": "100/minute"},
        {"name": "log", "rate": "9/minute"},
        {"name": "path", "rate": "10/s", "key": ["client", "path", "method", "host", "route"]},
        {"name": "parts", "rate": "10/s", "key": ["header:x-tenant", "header:x-user", "query:q", "cookie:c", "path"]},
        {"name": "host", "rate": "10/s", "key": ["host", "path", "method"], "algorithm": "gcra"},
        {"name": "address", "rate": "0/366d", "key": ["address"], "enforce": "50%"},
        {"name": "items", "rate": "7/h", "key": ["path"], "match": {"path": "/items/{id}/**"}},
        {"name": "regex", "rate": "7/h", "key": ["path"], "match": {"path": {"regex": "/v[0-9]+/(a|b)*"}}},
        {"name": "cost", "rate": "50/h", "cost": {"header": "x-cost", "max": 20}, "algorithm": "fixed_window",
            "align": "client"},
        {"name": "not", "rate": "50/h", "match": {"not": {"headers": {"x-user": {"regex": "[a-z]*"}}}},
            "overrides": [{"cidr": "10.0.0.0/8", "rate": "unlimited"}, {"source": "app", "value": "a", "rate": "1/h"}]}
    ]
}"#;

/// No request has it but as a secret.
const MARK: &str = "A-Secret-Mark";

pub fn run(data: &[u8]) {
    static PLANNER: OnceLock<Policy> = OnceLock::new();
    let policy = PLANNER.get_or_init(|| fixtures::policy(POLICY));
    // A planner is not for several threads.
    thread_local! {
        static COMPILED: OnceLock<Planner> = const { OnceLock::new() };
    }
    COMPILED.with(|compiled| {
        let planner = compiled.get_or_init(|| Planner::new(policy, Hasher::new(Some(b"k"))));
        check(planner, policy, data);
        tells_apart(planner, data);
        reads_spellings_alike(planner, data);
    });
}

/// What holds for any policy.
pub fn check(planner: &Planner, policy: &Policy, data: &[u8]) {
    let request = Fields::cut(data);
    let identity = planner.identify(&request);
    let start = format!("{}:{}:{{", policy.redis.key_prefix, policy.instance);
    if let Some(client) = identity.client() {
        let shown = client.to_string();
        assert!(
            shown.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
            "{shown:?}"
        );
    }
    let Plan::Count { groups, .. } = planner.plan(&request, &identity) else {
        return;
    };
    let mut tags = Vec::new();
    for group in &groups {
        let tag = check_group(group, start.as_bytes(), policy);
        assert!(!tags.contains(&tag), "one tag, one group");
        tags.push(tag);
        for key in &group.keys {
            let contains = |needle: &str| key.windows(needle.len()).any(|part| part == needle.as_bytes());
            assert!(
                request.open.contains(MARK) || !contains(MARK),
                "a secret in clear"
            );
        }
    }
}

fn check_group<'a>(group: &'a Group, start: &[u8], policy: &Policy) -> &'a [u8] {
    assert!(!group.keys.is_empty() && !group.charges.is_empty());
    let mut tags = group.keys.iter().map(|key| {
        let shown = String::from_utf8_lossy(key);
        assert!(key.iter().all(|byte| (b' '..=b'~').contains(byte)), "{shown}");
        let rest = key
            .strip_prefix(start)
            .unwrap_or_else(|| panic!("{shown} outside of its prefix"));
        let count = |wanted| rest.iter().filter(|byte| **byte == wanted).count();
        assert_eq!((count(b'{'), count(b'}')), (0, 1), "{shown}");
        let end = rest.iter().position(|byte| *byte == b'}').unwrap_or(0);
        assert!(end > 0, "{shown}: Redis takes no empty tag");
        assert!(key.len() < 4_000, "{shown}");
        &rest[..end]
    });
    let tag = tags.next().unwrap_or_default();
    assert!(tags.all(|other| other == tag), "{:?}", group.keys);
    assert_eq!(
        group.slot().get(),
        crc16(tag) % 16_384,
        "the slot that Redis takes"
    );
    for (n, key) in group.keys.iter().enumerate() {
        assert!(!group.keys[..n].contains(key), "one key twice");
    }
    for charge in &group.charges {
        assert!(charge.key < group.keys.len() && charge.limit < policy.limits.len());
        assert!(charge.phase_ms < charge.rate.period.as_millis());
        assert!(charge
            .live
            .as_ref()
            .is_none_or(|live| live.key < group.keys.len()));
    }
    tag
}

/// Whatever a path is, its readings are few, each is a path in its canonical spelling, and none is there twice.
pub fn check_readings(target: &[u8]) {
    let readings = PathReadings::of(target);
    let all: Vec<(u8, &[u8])> = readings.numbered().collect();
    assert!(all.len() <= PathReadings::MOST);
    assert_eq!(readings.canonical(), &normalise(target)[..]);
    assert!(readings.iter().any(|path| path == readings.counted()));
    for (n, (number, path)) in all.iter().enumerate() {
        let shown = String::from_utf8_lossy(path);
        assert!(
            path.starts_with(b"/") && path.is_ascii() && path.len() <= 3 * target.len() + 1,
            "{shown}"
        );
        let has_trailing_slash = path.len() > 1 && path.ends_with(b"/");
        assert!(*number == 9 || !has_trailing_slash, "{number}: {shown}");
        let has_slashes = path.windows(2).any(|pair| pair == b"//");
        assert!(*number == 9 || !has_slashes, "{number}: {shown}");
        let has_dots = path
            .split(|byte| *byte == b'/')
            .any(|part| part == b"." || part == b"..");
        assert!([6, 9, 11].contains(number) || !has_dots, "{number}: {shown}");
        assert!(all[..n].iter().all(|(_, other)| other != path), "{shown} twice");
    }
}

/// White space around values, the method's case and the number of cookie headers make no other counters.
fn reads_spellings_alike(planner: &Planner, data: &[u8]) {
    let plain = Fields::cut(data);
    let mut other = Fields::cut(data);
    for (name, value) in &mut other.headers {
        match *name {
            ":path" => {}
            ":method" => *value = value.to_ascii_uppercase(),
            _ => *value = [b" \t", &value[..], b"\t "].concat(),
        }
    }
    other.headers.push(("cookie", b" \t".to_vec()));
    let plan = |request: &Fields| planner.plan(request, &planner.identify(request));
    assert_eq!(plan(&plain), plan(&other));
}

/// CRC-16/XMODEM, bit by bit.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| match crc & 0x8000 {
            0 => crc << 1,
            _ => crc << 1 ^ 0x1021,
        })
    })
}

/// The same bytes, split elsewhere between two values, are another client and other parts of a key.
fn tells_apart(planner: &Planner, data: &[u8]) {
    let Some((&[first, second], bytes)) = data.split_first_chunk::<2>() else {
        return;
    };
    // Longer ones tell no more (a part is hashed from 65 bytes on), and took two thirds of the target's time.
    let bytes = &bytes[..bytes.len().min(256)];
    let len = bytes.len() + 1;
    let (first, second) = (usize::from(first) % len, usize::from(second) % len);
    let keys = |at: usize| {
        let (tenant, user) = bytes.split_at(at);
        let request = Fields {
            headers: vec![("x-tenant", tenant.into()), ("x-user", user.into())],
            ..Fields::default()
        };
        let identity = planner.identify(&request);
        let Plan::Count { groups, .. } = planner.plan(&request, &identity) else {
            panic!("nothing exempts it");
        };
        let all: Vec<Vec<u8>> = groups.into_iter().flat_map(|group| group.keys).collect();
        let of = |word: &str| {
            all.iter()
                .find(|key| key.windows(word.len()).any(|part| part == word.as_bytes()))
                .cloned()
        };
        (of("{pair:"), of("{header:x-tenant="))
    };
    let (pair, parts) = keys(first);
    let (other_pair, other_parts) = keys(second);
    assert!(parts.is_some() && other_parts.is_some());
    // White space around a value is no part of it.
    let values = |at: usize| {
        let (tenant, user) = bytes.split_at(at);
        [trimmed(tenant), trimmed(user)]
    };
    if values(first) != values(second) {
        assert!(pair.is_none() || pair != other_pair, "{pair:?} for two clients");
        assert!(parts != other_parts, "{parts:?} for two callers");
    }
}

/// A request, cut out of bytes.
#[derive(Default)]
struct Fields {
    headers: Vec<(&'static str, Vec<u8>)>,
    address: Option<IpAddr>,
    metadata: Option<Vec<u8>>,
    tls: Option<Vec<u8>>,
    route: Option<Vec<u8>>,
    /// All that is no secret.
    open: String,
}

impl Fields {
    /// The fields are separated by 0xFE; an empty one is absent. 0xFD in a header
    /// sends it twice.
    fn cut(data: &[u8]) -> Fields {
        const NAMES: [&str; 12] = [
            ":path",
            ":method",
            ":authority",
            "x-tenant",
            "x-user",
            "x-api-key",
            "authorization",
            "cookie",
            "x-cost",
            "x-app",
            "content-type",
            "host",
        ];
        let mut fields = data.split(|byte| *byte == 0xFE).map(<[u8]>::to_vec);
        let address = fields.next().unwrap_or_default();
        let address = match (
            <[u8; 4]>::try_from(&address[..]),
            <[u8; 16]>::try_from(&address[..]),
        ) {
            (Ok(four), _) => Some(IpAddr::from(four)),
            (_, Ok(sixteen)) => Some(IpAddr::from(sixteen)),
            _ => None,
        };
        let mut next = || fields.next().filter(|field| !field.is_empty());
        let (metadata, tls, route) = (next(), next(), next());
        let mut headers = Vec::new();
        for name in NAMES {
            for value in next().unwrap_or_default().split(|byte| *byte == 0xFD) {
                let mut value = value.to_vec();
                if ["x-api-key", "authorization"].contains(&name) && !value.is_empty() {
                    value.extend_from_slice(MARK.as_bytes());
                }
                if !value.is_empty() {
                    headers.push((name, value));
                }
            }
        }
        Fields {
            headers,
            address,
            metadata,
            tls,
            route,
            open: String::from_utf8_lossy(data).into_owned(),
        }
    }
}

impl Headers for Fields {
    fn each_value<'a>(&'a self, name: &str, take: &mut dyn FnMut(&'a [u8])) {
        let named = self.headers.iter().filter(|(known, _)| *known == name);
        named.for_each(|(_, value)| take(value));
    }

    fn each_header<'a>(&'a self, take: &mut dyn FnMut(&'a [u8], &'a [u8])) {
        let all = self.headers.iter();
        all.for_each(|(name, value)| take(name.as_bytes(), value));
    }
}

impl Attributes for Fields {
    fn address(&self) -> Option<IpAddr> {
        self.address
    }

    fn metadata(&self, _path: &[String]) -> Option<Vec<u8>> {
        self.metadata.clone()
    }

    fn tls(&self, _field: TlsField) -> Option<Vec<u8>> {
        self.tls.clone()
    }

    fn route(&self) -> Option<Vec<u8>> {
        self.route.clone()
    }
}
