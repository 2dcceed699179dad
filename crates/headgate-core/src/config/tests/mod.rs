//! The configuration as people write it, against the contract.

mod broken;
mod contract;
mod defaults;
mod robust;

use crate::config::{parse_value, ConfigErrors, Plugin, Policy};
use prost::Message;
use prost_types::value::Kind;
use serde_json::Value;

/// YAML as Envoy reads it before it converts it to a Struct.
fn yaml(text: &str) -> Value {
    serde_yaml_ng::from_str(text).unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

/// The filter's policy.
fn policy(text: &str) -> Policy {
    match parse_value(&yaml(text)) {
        Ok(Plugin::Filter(policy)) => *policy,
        other => panic!("{text}\n{other:?}"),
    }
}

/// The policy of these settings, with a limit, as every policy needs one.
fn settings(text: &str) -> Policy {
    let mut value = yaml(text);
    value["limits"] = yaml("[{rate: 1/s}]");
    policy(&value.to_string())
}

fn errors(text: &str) -> ConfigErrors {
    match parse_value(&yaml(text)) {
        Err(errors) => errors,
        Ok(plugin) => panic!("accepted:\n{text}\n{plugin:?}"),
    }
}

/// The wire bytes of a Struct.
fn struct_bytes(value: &Value) -> Vec<u8> {
    match kind(value) {
        Kind::StructValue(fields) => fields.encode_to_vec(),
        other => panic!("a configuration is an object, not {other:?}"),
    }
}

fn kind(value: &Value) -> Kind {
    let wrapped = |value| prost_types::Value {
        kind: Some(kind(value)),
    };
    match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(flag) => Kind::BoolValue(*flag),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(items) => Kind::ListValue(prost_types::ListValue {
            values: items.iter().map(wrapped).collect(),
        }),
        Value::Object(map) => Kind::StructValue(prost_types::Struct {
            fields: map
                .iter()
                .map(|(key, value)| (key.clone(), wrapped(value)))
                .collect(),
        }),
    }
}
