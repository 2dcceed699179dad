//! Plugin configuration: bytes from Envoy in, a validated [`Policy`] or every error with its path out.
//!
//! Decides what may be written and what is meant where nothing is written. What a limit then does is the
//! business of [`crate::limit`]; nothing here touches a request.

mod counting;
mod error;
mod input;
mod key;
mod limits;
mod matching;
#[cfg(feature = "higress")]
mod native;
mod node;
mod overrides;
mod plugin;
mod policy;
mod rates;
mod reach;
mod replaces;
mod scalar;
mod settings;
mod shown;
mod sources;
#[cfg(test)]
mod tests;
mod wire;

pub use error::{ConfigError, ConfigErrors};
pub use policy::*;

use crate::identify::Hasher;
use error::Errors;
use node::Node;
use serde_json::Value;

/// Reads a plugin's configuration: JSON text (a `StringValue`) or the wire bytes of a
/// `google.protobuf.Struct`, at most 4 MiB.
///
/// What is not written has its default: callers told apart by `x-api-key`, else by address, `on_error: local`, and
/// so on. Only the guard's configuration, `role: redis_call` or nothing but `redis.key_prefix`, has no `limits`.
///
/// # Errors
/// All that is wrong, each with its path, value and remedy.
///
/// ```
/// use headgate::config::{parse, Plugin};
///
/// let Ok(Plugin::Filter(policy)) = parse(br#"{"limits": [{"rate": "100/minute"}]}"#) else { panic!() };
/// assert_eq!(policy.limits[0].name, "100/minute");
///
/// let errors = parse(br#"{"limits": [{"rate": "100/fortnight"}]}"#).unwrap_err();
/// assert_eq!(
///     errors.to_string(),
///     r#"limits[0].rate: "100/fortnight": unknown period "fortnight"; use s, m, h or d"#
/// );
/// ```
pub fn parse(bytes: &[u8]) -> Result<Plugin, ConfigErrors> {
    match input::decode(bytes) {
        Ok(value) => parse_value(&value),
        Err(error) => Err(ConfigErrors::at(&error.path, &error.message)),
    }
}

/// As [`parse`], from a value that was read elsewhere.
///
/// # Errors
/// As [`parse`].
pub fn parse_value(value: &Value) -> Result<Plugin, ConfigErrors> {
    let errors = Errors::default();
    let plugin = plugin::read(&Node::root(value, &errors));
    errors.into_result(plugin)
}

/// A `google.protobuf.Struct` as Envoy sends it; `None` for other bytes.
pub(crate) fn decode_struct(bytes: &[u8]) -> Option<Value> {
    wire::decode(bytes).ok()
}

/// A number of 48 bits that tells configurations apart, whatever the order and spelling in which they came.
pub fn version(bytes: &[u8]) -> u64 {
    // Objects are maps in the order of their keys, so equal values are equal texts.
    let canonical = input::decode(bytes).map_or_else(|_| String::new(), |value| value.to_string());
    Hasher::new(None).digest(canonical.as_bytes()).draw() >> 16
}
