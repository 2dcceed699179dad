//! Measures the cost of the host calls alone: writes modules that make the same host calls as Headgate for a request
//! that it answers from memory, and compute nothing.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// No host calls: the callbacks alone.
    Nothing,
    /// The host calls of a request that passes by a lease.
    Pass,
    /// The host calls of a denial from the verdict cache.
    Denial,
}

const QUOTA: [(&str, &str); 3] = [
    ("x-ratelimit-limit", "10000000"),
    ("x-ratelimit-remaining", "9999999"),
    ("x-ratelimit-reset", "1764403200"),
];

const DENIAL: [(&str, &str); 3] = [
    ("content-type", "text/plain; charset=utf-8"),
    ("retry-after", "36000"),
    ("x-envoy-ratelimited", "true"),
];

const BODY: &str = "Rate limit exceeded, retry in 36000 s";

/// The filter state of a request that passes, and of a denial.
const STATE: [(&str, &str); 7] = [
    ("ratelimit_decision", "allowed"),
    ("ratelimit_by", "cache"),
    ("ratelimit_client", "api_key:9f86d081884c7d659a2feaa0c55ad015"),
    ("ratelimit_name", "one"),
    ("ratelimit_limit", "10000000"),
    ("ratelimit_remaining", "9999999"),
    ("ratelimit_reset", "1764403200"),
];

/// Filter state, also of a denial.
const STATE_OF_DENIAL: [(&str, &str); 2] = [("ratelimit_error", "true"), ("ratelimit_retry_after", "36000")];

/// Writes the module into `dir` with binaryen's assembler. An error contains the reason.
pub fn write(asks: Asks, dir: &Path) -> Result<PathBuf, String> {
    let (text, module) = (dir.join("host_calls.wat"), dir.join("host_calls.wasm"));
    std::fs::write(&text, self::text(asks)).map_err(|error| format!("{}: {error}", text.display()))?;
    let assembled = Command::new("wasm-as").arg(&text).arg("-o").arg(&module).output();
    let output = assembled.map_err(|error| format!("wasm-as (of binaryen): {error}"))?;
    match output.status.success() {
        true => Ok(module),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// The address at which the host writes data for the module, and (`RESULT`) where it writes their address and size.
const HANDED_OVER: &str = "(i32.const 65536)";
const RESULT: &str = "(i32.const 1024) (i32.const 1028)";

/// The address at which the module's own data begin.
const DATA: usize = 2_048;

fn text(asks: Asks) -> String {
    let mut data = Data(Vec::new());
    let (mut request, mut response, mut pauses) = (String::new(), String::new(), 0);
    let clock =
        |clock: u8| format!("(drop (call $clock (i32.const {clock}) (i64.const 0) (i32.const 1040)))");
    let map = |map: u8| format!("(drop (call $map (i32.const {map}) {RESULT}))");
    let add = |data: &mut Data, map: u8, header| {
        let header = data.put_pair(header);
        format!("(drop (call $add (i32.const {map}) {header}))")
    };
    let property = |data: &mut Data, path: &str| {
        let path = data.put(path.as_bytes());
        format!("(drop (call $property {path} {RESULT}))")
    };
    if asks != Asks::Nothing {
        request += &[
            map(0),
            clock(1),
            clock(0),
            property(&mut data, "ratelimit_decision"),
        ]
        .concat();
        let more = STATE_OF_DENIAL.iter().filter(|_| asks == Asks::Denial);
        for value in STATE.iter().chain(more) {
            let value = data.put_pair(*value);
            let _ = write!(request, "(drop (call $state {value}))");
        }
    }
    match asks {
        Asks::Nothing => {}
        Asks::Pass => {
            response += &map(2);
            for quota in QUOTA {
                request += &add(&mut data, 0, quota);
                response += &add(&mut data, 2, quota);
            }
        }
        Asks::Denial => {
            request += &property(&mut data, "xds\0route_name");
            let (body, headers) = (data.put(BODY.as_bytes()), data.put(&serialized()));
            let _ = write!(
                request,
                "(drop (call $reply (i32.const 429) (i32.const 0) (i32.const 0) {body} {headers} (i32.const -1)))"
            );
            pauses = 1;
        }
    }
    let data: String = data.0.iter().map(|byte| format!("\\{byte:02x}")).collect();
    format!(
        r#"(module
(import "env" "proxy_send_local_response"
    (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
(import "env" "proxy_get_header_map_pairs" (func $map (param i32 i32 i32) (result i32)))
(import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
(import "env" "proxy_set_property" (func $state (param i32 i32 i32 i32) (result i32)))
(import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
(memory (export "memory") 4)
(func (export "proxy_abi_version_0_2_1"))
(func (export "_initialize"))
(func (export "proxy_on_memory_allocate") (param i32) (result i32) {HANDED_OVER})
(func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
(func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 1))
(func (export "proxy_on_context_create") (param i32 i32))
(func (export "proxy_on_delete") (param i32))
(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {request} (i32.const {pauses}))
(func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) {response} (i32.const 0))
(data (i32.const {DATA}) "{data}"))"#
    )
}

/// A header map in the host's binary format.
fn serialized() -> Vec<u8> {
    let all = || QUOTA.iter().chain(&DENIAL);
    let mut bytes = (all().count() as u32).to_le_bytes().to_vec();
    for size in all().flat_map(|(name, value)| [name.len(), value.len()]) {
        bytes.extend((size as u32).to_le_bytes());
    }
    for text in all().flat_map(|(name, value)| [name, value]) {
        bytes.extend(text.bytes().chain([0]));
    }
    bytes
}

struct Data(Vec<u8>);

impl Data {
    /// Stores bytes. Returns their address and size, as two operands.
    fn put(&mut self, bytes: &[u8]) -> String {
        let at = DATA + self.0.len();
        self.0.extend(bytes);
        format!("(i32.const {at}) (i32.const {})", bytes.len())
    }

    /// Stores a name and its value. Returns four operands.
    fn put_pair(&mut self, (name, value): (&str, &str)) -> String {
        self.put(name.as_bytes()) + " " + &self.put(value.as_bytes())
    }
}
