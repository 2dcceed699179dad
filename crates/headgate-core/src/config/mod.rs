//! Plugin configuration: bytes from Envoy in, a validated [`Policy`] or every error with its path out.
//!
//! Decides which values are valid, and what the defaults are. [`crate::limit`] applies the limits; nothing here handles
//! a request.

mod counting;
mod error;
mod input;
mod key;
mod limits;
mod matching;
mod native;
mod node;
mod overrides;
mod plugin;
mod rates;
mod reach;
mod replaces;
mod scalar;
mod settings;
mod shape;
mod shown;
mod sources;
#[cfg(test)]
mod tests;

pub use crate::model::policy::*;
pub use error::{ConfigError, ConfigErrors};
pub use native::Transport;
pub use scalar::show_millis;
pub use shape::{Check, Object, Rule, Shape, Test, TextForm};

use crate::identify::Hasher;
use error::Errors;
use node::Node;
use serde_json::Value;

/// Reads a plugin's configuration: JSON text (a `StringValue`) or the wire bytes of a
/// `google.protobuf.Struct`, at most 4 MiB.
///
/// Missing fields have their defaults: clients are identified by `x-api-key`, else by address, `on_error` is `local`,
/// and so on. Only the guard's configuration (`role: redis_call`, or nothing but `redis.key_prefix`) has no `limits`.
/// Both [`Transport`]s are accepted; a module uses [`parse_for`].
///
/// # Errors
/// All errors, each with its path, value and remedy.
///
/// ```
/// use headgate_core::config::{parse, Plugin};
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
    parse_for(Transport::Either, bytes)
}

/// Like [`parse`], for a module with this transport.
///
/// # Errors
/// As [`parse`].
pub fn parse_for(transport: Transport, bytes: &[u8]) -> Result<Plugin, ConfigErrors> {
    match input::decode(bytes) {
        Ok(value) => read(transport, &value),
        Err(error) => Err(ConfigErrors::at(&error.path, &error.message)),
    }
}

/// Like [`parse`], from a value that has been decoded already.
///
/// # Errors
/// As [`parse`].
pub fn parse_value(value: &Value) -> Result<Plugin, ConfigErrors> {
    read(Transport::Either, value)
}

/// What a configuration looks like, as far as a table can say it.
///
/// ```
/// use headgate_core::config::{shape, Shape};
///
/// let Some(Shape::Words(words)) = shape().shape("store") else { panic!() };
/// assert_eq!(*words, ["redis", "local"]);
/// ```
pub fn shape() -> &'static Object {
    &plugin::POLICY
}

fn read(transport: Transport, value: &Value) -> Result<Plugin, ConfigErrors> {
    let errors = Errors::default();
    let plugin = plugin::read(&Node::root(value, &errors), transport);
    errors.into_result(plugin)
}

/// A number of 48 bits that identifies a configuration, independent of the order of its fields and its formatting.
pub fn version(bytes: &[u8]) -> u64 {
    // Objects are maps in the order of their keys, so equal values have equal texts.
    let canonical = input::decode(bytes).map_or_else(|_| String::new(), |value| value.to_string());
    Hasher::new(None).digest(canonical.as_bytes()).draw() >> 16
}
