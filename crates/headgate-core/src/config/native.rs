//! `redis.native`: how the artifact for Higress reaches Redis, by the gateway's own client.
//!
//! Checks which fields each artifact accepts, and builds the arguments of the host call. The configuration only names
//! the password's environment variable; [`NativeSettings::credentials`] reads it.

use crate::config::node::Node;
use crate::config::shape::{Object, Rule, Shape, Test, TextForm, SHORT};
use crate::config::ConfigErrors;
use crate::model::{NativeSettings, Store};

/// The transport to Redis that a configuration is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// `headgate.wasm`: gRPC streams to `redis.cluster`.
    Streams,
    /// `headgate-higress.wasm`: the gateway's own client, `redis.native`.
    Native,
    /// The native command: it accepts both.
    Either,
}

pub(super) static NATIVE: Object = Object {
    fields: &[
        ("service", Shape::Text(TextForm::Service)),
        ("username", SHORT),
        ("password", Shape::Object(&PASSWORD)),
        (
            "database",
            Shape::Integer {
                least: 0,
                most: 9_999,
            },
        ),
    ],
    rules: &[
        Rule::Required("service"),
        Rule::Never(
            &[("username", Test::Present), ("password", Test::Absent)],
            "a username needs a password: write password: {env: REDIS_PASSWORD}",
        ),
    ],
};
static PASSWORD: Object = Object {
    fields: &[("env", SHORT)],
    rules: &[Rule::Required("env")],
};

const WITHOUT: &str =
    "native is missing, which headgate-higress.wasm needs; write native: {service: redis.dns:6379}, \
     or load headgate.wasm";

pub(super) fn read(
    transport: Transport,
    redis: Option<&Node>,
    root: &Node,
    store: Store,
) -> Option<NativeSettings> {
    let native = redis.and_then(|node| node.get("native"));
    let Some(native) = native else {
        if transport == Transport::Native && store == Store::Redis {
            redis.unwrap_or(root).fail_bare(match redis {
                Some(_) => WITHOUT,
                None => "redis is missing; write redis: {native: {service: redis.dns:6379}}",
            });
        }
        return None;
    };
    if transport == Transport::Streams {
        native.fail_bare("only headgate-higress.wasm supports this");
        return None;
    }
    if let Some(node) = redis.and_then(|node| node.get("cluster")) {
        node.fail("has no effect with redis.native; leave it out");
    }
    let fields = native.fields(&NATIVE)?;
    let service = fields
        .required("service", "write the Redis service with its port: redis.dns:6379")
        .and_then(|node| cluster(&node));
    let username = fields
        .get("username")
        .and_then(|node| node.short_text("the name of a Redis user"));
    let password_env = fields.get("password").and_then(|node| password(&node));
    let database = fields.integer("database");
    if username.is_some() && fields.get("password").is_none() {
        native.fail_bare("a username needs a password; write password: {env: REDIS_PASSWORD}");
    }
    Some(NativeSettings {
        cluster: service?,
        username: username.unwrap_or_default().to_owned(),
        password_env: password_env.map(str::to_owned),
        database: database.unwrap_or(0) as u32,
    })
}

/// Higress calls a service's cluster `outbound|<port>||<name>`; that form is accepted as well. source: alibaba/higress
/// `plugins/wasm-go/pkg/wrapper/cluster_wrapper.go`
fn cluster(node: &Node) -> Option<String> {
    const EXPECTED: &str = "a service with its port, as in redis.dns:6379";
    let text = node.short_text(EXPECTED)?;
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"?&=#\"'".contains(&byte);
    if !text.bytes().all(plain) {
        node.fail("not a service; use letters, digits and . - _ : |");
        return None;
    }
    if text.contains('|') {
        return Some(text.to_owned());
    }
    match text.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => {
            Some(format!("outbound|{port}||{name}"))
        }
        _ => {
            node.fail(&format!("has no port; write {EXPECTED}"));
            None
        }
    }
}

/// The value is never shown, as it may be a password.
fn password<'a>(node: &Node<'a>) -> Option<&'a str> {
    if !node.value().is_object() {
        node.fail_bare(
            "a password must not be in a configuration; write {env: NAME}, a variable of the gateway",
        );
        return None;
    }
    let fields = node.fields(&PASSWORD)?;
    let name = fields
        .required("env", "write the name of an environment variable")
        .and_then(|node| node.short_text("the name of an environment variable"))?;
    Some(name)
}

impl NativeSettings {
    /// The user's name (empty: the default user) and the password, `None` if Redis requires none; `variable` reads the
    /// environment.
    ///
    /// # Errors
    /// The variable is not set, or empty.
    pub fn credentials(
        &self,
        variable: impl FnOnce(&str) -> Option<String>,
    ) -> Result<Option<(String, String)>, ConfigErrors> {
        let Some(name) = &self.password_env else {
            return Ok(None);
        };
        match variable(name).filter(|password| !password.is_empty()) {
            Some(password) => Ok(Some((self.username.clone(), password))),
            None => Err(ConfigErrors::at(
                "redis.native.password.env",
                &format!(
                    "\"{name}\": no such environment variable; set it in vmConfig.env of the WasmPlugin (valueFrom: \
                     HOST takes the gateway's)"
                ),
            )),
        }
    }

    /// The service's name for the host functions. Commands are sent at once: both bounds of the client's buffer are 0.
    /// A database is selected only if it is not the first, since a proxy may not support SELECT. source:
    /// higress-group/envoy `source/extensions/common/wasm/context.cc` (redisInit), `source/common/redis/
    /// async_client_impl.cc`; the keys of the buffer are known from Higress 2.1.9 on, and ignored before
    pub fn service(&self) -> String {
        let cluster = &self.cluster;
        let database = match self.database {
            0 => String::new(),
            number => format!("db={number}&"),
        };
        format!("{cluster}?{database}buffer_flush_timeout=0&max_buffer_size_before_flush=0")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::error::Errors;
    use serde_json::{json, Value};

    fn native(transport: Transport, redis: Value) -> Result<Option<NativeSettings>, String> {
        let root = json!({"redis": redis});
        let errors = Errors::default();
        let node = Node::root(&root, &errors);
        let redis = node.get("redis").filter(|node| !node.value().is_null());
        let settings = read(transport, redis.as_ref(), &node, Store::Redis);
        errors.into_result(settings).map_err(|errors| errors.to_string())
    }

    #[test]
    fn a_service_and_its_credentials_are_passed_to_the_host() {
        let plain = native(
            Transport::Native,
            json!({"native": {"service": "redis.dns:6379"}}),
        );
        let plain = plain.unwrap().unwrap();
        assert_eq!(
            plain.service(),
            "outbound|6379||redis.dns?buffer_flush_timeout=0&max_buffer_size_before_flush=0"
        );
        assert_eq!(plain.credentials(|_| None), Ok(None));
        let full = json!({"native": {"service": "outbound|1||a", "username": "headgate",
            "password": {"env": "PASSWORD"}, "database": 3.0}});
        let full = native(Transport::Either, full).unwrap().unwrap();
        assert_eq!(
            full.service(),
            "outbound|1||a?db=3&buffer_flush_timeout=0&max_buffer_size_before_flush=0"
        );
        let found = full.credentials(|name| (name == "PASSWORD").then(|| "secret".to_owned()));
        assert_eq!(found, Ok(Some(("headgate".to_owned(), "secret".to_owned()))));
    }

    #[test]
    fn an_unset_variable_is_an_error_with_its_path() {
        let settings = json!({"native": {"service": "a:1", "password": {"env": "NOPE"}}});
        let settings = native(Transport::Native, settings).unwrap().unwrap();
        for value in [None, Some(String::new())] {
            let error = settings.credentials(|_| value).unwrap_err().to_string();
            assert!(
                error.starts_with("redis.native.password.env: \"NOPE\": no such"),
                "{error}"
            );
        }
    }

    #[test]
    fn each_mistake_has_its_remedy_and_no_password_is_shown() {
        let native_of = |fields: Value| json!({ "native": fields });
        for (redis, expected) in [
            (json!(null), "configuration: redis is missing"),
            (
                json!({}),
                "redis: native is missing, which headgate-higress.wasm needs",
            ),
            (native_of(json!({})), "redis.native: service is missing"),
            (
                native_of(json!({"service": "redis.dns"})),
                "redis.native.service: \"redis.dns\": has no port",
            ),
            (
                native_of(json!({"service": "a:0"})),
                "redis.native.service: \"a:0\": has no port",
            ),
            (
                native_of(json!({"service": "a:1?db=2"})),
                "redis.native.service: \"a:1?db=2\": not a service",
            ),
            (
                native_of(json!({"service": "a:1", "db": 1})),
                "redis.native.db: unknown field",
            ),
            (
                native_of(json!({"service": "a:1", "database": -1})),
                "redis.native.database: -1: out of range",
            ),
            (
                native_of(json!({"service": "a:1", "username": "u"})),
                "redis.native: a username needs a password",
            ),
            (
                native_of(json!({"service": "a:1", "password": "hunter2"})),
                "redis.native.password: a password must not be in a configuration",
            ),
            (
                native_of(json!({"service": "a:1", "password": {}})),
                "redis.native.password: env is missing",
            ),
            (
                json!({"cluster": "c", "native": {"service": "a:1"}}),
                "redis.cluster: \"c\": has no effect with redis.native",
            ),
        ] {
            let error = native(Transport::Native, redis.clone()).unwrap_err();
            assert!(error.starts_with(expected), "{redis}: {error}");
            assert_eq!(error.lines().count(), 1, "{redis}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert_eq!(native(Transport::Either, json!({})), Ok(None));
    }
}
