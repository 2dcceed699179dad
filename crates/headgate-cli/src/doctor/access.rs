//! How Envoy connects to Redis, from the configuration of the cluster: TLS, and the login.

use super::config::{at, list, text, Config};
use base64::engine::general_purpose::STANDARD;
use base64::Engine as _;
use serde_json::Value;
use std::fmt;

/// How Envoy connects.
#[derive(Debug, Default)]
pub struct Access {
    /// `None`: without TLS.
    pub tls: Option<EnvoyTls>,
    pub user: Option<String>,
    pub password: EnvoyPassword,
}

/// A password, as far as doctor can know it. `/config_dump` shows neither a password nor its source.
#[derive(Default, PartialEq, Eq)]
pub enum EnvoyPassword {
    /// Envoy sends none.
    #[default]
    None,
    /// Known, from the environment variable that the command line names.
    Known(String),
    /// Envoy sends one, from this source.
    Hidden(&'static str),
}

impl fmt::Debug for EnvoyPassword {
    /// Never shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EnvoyPassword::None => "none",
            EnvoyPassword::Known(_) => "known",
            EnvoyPassword::Hidden(source) => source,
        })
    }
}

/// An `UpstreamTlsContext`.
#[derive(Debug, Default)]
pub struct EnvoyTls {
    pub sni: Option<String>,
    /// The authority whose certificates Envoy trusts; `None`: it checks nothing.
    pub ca: Option<Ca>,
    /// The certificate must have one of these names; empty: any name is accepted.
    pub names: Vec<NameMatcher>,
    /// The files of Envoy's own certificate and its key; `None`: it has none, or not in files.
    pub own: Option<(String, String)>,
    pub has_own: bool,
}

/// A trusted authority.
#[derive(Debug)]
pub struct Ca {
    /// The source, such as a file.
    pub source: String,
    /// PEM, or why it cannot be read here.
    pub pem: Result<Vec<u8>, String>,
}

/// One of `match_typed_subject_alt_names`.
#[derive(Debug, PartialEq, Eq)]
pub struct NameMatcher {
    kind: String,
    pattern: String,
    ignore_case: bool,
}

impl NameMatcher {
    /// `None`: doctor cannot decide, as for a regex.
    pub fn fits(&self, name: &str) -> Option<bool> {
        let fold = |text: &str| match self.ignore_case {
            true => text.to_ascii_lowercase(),
            false => text.to_owned(),
        };
        let (name, pattern) = (fold(name), fold(&self.pattern));
        Some(match self.kind.as_str() {
            "exact" => name == pattern,
            "prefix" => name.starts_with(&pattern),
            "suffix" => name.ends_with(&pattern),
            "contains" => name.contains(&pattern),
            _ => return None,
        })
    }
}

impl fmt::Display for NameMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.pattern)
    }
}

/// The login that doctor uses at Redis, because `/config_dump` hides Envoy's login.
#[derive(clap::Args, Default)]
pub struct LoginArgs {
    /// The user for doctor's login to Redis, used only if Envoy logs in too: the admin interface hides Envoy's own
    /// login
    #[arg(long, env = "HEADGATE_REDIS_USER", value_name = "NAME")]
    redis_user: Option<String>,
    /// The environment variable that contains the password of this user
    #[arg(long, value_name = "VARIABLE", default_value = "HEADGATE_REDIS_PASSWORD")]
    redis_password_env: String,
}

impl Access {
    /// Reads how Envoy connects to this cluster.
    pub fn read(config: &Config, cluster: &Value, login: &LoginArgs) -> Access {
        let options = at(cluster, &["typed_extension_protocol_options"])
            .and_then(|options| options.get("envoy.filters.network.redis_proxy"));
        let has_user = options.is_some_and(|options| options.get("auth_username").is_some());
        let hidden = options.and_then(|options| hidden(options.get("auth_password")?));
        // With another user's name the password would be wrong.
        let has_login = login.redis_user.is_some() || !has_user;
        let given = std::env::var(&login.redis_password_env)
            .ok()
            .filter(|_| has_login);
        let socket = at(cluster, &["transport_socket", "typed_config"]);
        let is_tls =
            |socket: &&Value| text(socket, &["@type"]).is_some_and(|url| url.ends_with("UpstreamTlsContext"));
        Access {
            tls: socket.filter(is_tls).map(|socket| EnvoyTls::read(config, socket)),
            user: login.redis_user.clone(),
            password: match (hidden, given) {
                (Some(_), Some(password)) => EnvoyPassword::Known(password),
                (Some(source), None) => EnvoyPassword::Hidden(source),
                (None, _) => EnvoyPassword::None,
            },
        }
    }
}

/// The source of a hidden `envoy.config.core.v3.DataSource`; `None`: it is empty.
fn hidden(source: &Value) -> Option<&'static str> {
    let kinds = [
        ("environment_variable", "Envoy's environment"),
        ("filename", "a file"),
        ("inline_string", "the configuration"),
        ("inline_bytes", "the configuration"),
    ];
    let has = |field: &str| text(source, &[field]).is_some_and(|text| !text.is_empty());
    kinds.iter().find(|(field, _)| has(field)).map(|(_, from)| *from)
}

impl EnvoyTls {
    fn read(config: &Config, socket: &Value) -> EnvoyTls {
        let common = socket.get("common_tls_context").unwrap_or(&Value::Null);
        let secret = text(common, &["validation_context_sds_secret_config", "name"])
            .and_then(|name| config.secrets.get(name));
        let combined = at(
            common,
            &["combined_validation_context", "default_validation_context"],
        );
        let context = common.get("validation_context").or(secret).or(combined);
        let context = context.unwrap_or(&Value::Null);
        let names = list(context, &["match_typed_subject_alt_names"]).iter();
        let names = names
            .filter_map(|one| one.get("matcher"))
            .chain(list(context, &["match_subject_alt_names"]));
        let own = list(common, &["tls_certificates"]).first();
        let file = |field: &str| Some(text(own?, &[field, "filename"])?.to_owned());
        EnvoyTls {
            sni: text(socket, &["sni"]).map(str::to_owned),
            ca: at(context, &["trusted_ca"]).map(|source| Ca {
                source: text(source, &["filename"])
                    .unwrap_or("the configuration")
                    .to_owned(),
                pem: data(source),
            }),
            names: names.filter_map(matcher).collect(),
            own: file("certificate_chain").zip(file("private_key")),
            has_own: own.is_some() || at(common, &["tls_certificate_sds_secret_configs"]).is_some(),
        }
    }
}

fn matcher(value: &Value) -> Option<NameMatcher> {
    let ignore_case = value.get("ignore_case").and_then(Value::as_bool).unwrap_or(false);
    let fields = value
        .as_object()?
        .iter()
        .filter(|(field, _)| *field != "ignore_case");
    let mut fields = fields.map(|(kind, pattern)| NameMatcher {
        kind: kind.clone(),
        pattern: pattern
            .as_str()
            .or_else(|| text(pattern, &["regex"]))
            .unwrap_or_default()
            .to_owned(),
        ignore_case,
    });
    fields.next()
}

/// The content of an `envoy.config.core.v3.DataSource` that is not a secret. Files and variables are those of Envoy's
/// host, so they may be missing where doctor runs.
fn data(source: &Value) -> Result<Vec<u8>, String> {
    let field = |name: &str| source.get(name).and_then(Value::as_str);
    if let Some(name) = field("environment_variable") {
        return std::env::var(name)
            .map(String::into_bytes)
            .map_err(|error| error.to_string());
    }
    if let Some(name) = field("filename") {
        return std::fs::read(name).map_err(|error| error.to_string());
    }
    match (field("inline_string"), field("inline_bytes")) {
        (Some(text), _) => Ok(text.as_bytes().to_vec()),
        (_, Some(bytes)) => STANDARD.decode(bytes).map_err(|error| error.to_string()),
        (None, None) => Err("it is not in the configuration".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_compared_as_envoy_compares_them() {
        for (written, name, expected) in [
            (json!({"exact": "redis.internal"}), "redis.internal", Some(true)),
            (json!({"exact": "redis.internal"}), "REDIS.internal", Some(false)),
            (
                json!({"exact": "redis.internal", "ignore_case": true}),
                "REDIS.internal",
                Some(true),
            ),
            (json!({"suffix": ".internal"}), "redis.internal", Some(true)),
            (json!({"prefix": "other"}), "redis.internal", Some(false)),
            (json!({"contains": "dis"}), "redis.internal", Some(true)),
            (json!({"safe_regex": {"regex": "red.*"}}), "redis.internal", None),
        ] {
            let matcher = matcher(&written).expect("a matcher");
            assert_eq!(matcher.fits(name), expected, "{written}");
        }
    }

    fn access(options: Value, login: &LoginArgs) -> Access {
        let cluster =
            json!({"typed_extension_protocol_options": {"envoy.filters.network.redis_proxy": options}});
        Access::read(&Config::default(), &cluster, login)
    }

    #[test]
    fn a_hidden_password_is_known_by_its_kind_of_source() {
        let hidden = |source: &str| json!({"auth_password": {(source): "[redacted]"}});
        let login = LoginArgs {
            redis_user: None,
            redis_password_env: "A_VARIABLE_THAT_IS_NOT_SET".to_owned(),
        };
        assert_eq!(access(json!({}), &login).password, EnvoyPassword::None);
        for (source, expected) in [
            ("inline_string", "the configuration"),
            ("filename", "a file"),
            ("environment_variable", "Envoy's environment"),
        ] {
            assert_eq!(
                access(hidden(source), &login).password,
                EnvoyPassword::Hidden(expected)
            );
        }
    }

    #[test]
    fn a_password_is_tried_only_with_its_user() {
        // Any variable that is set.
        let variable = "PATH".to_owned();
        let value = std::env::var(&variable).expect("PATH");
        let with = |user: Option<&str>| LoginArgs {
            redis_user: user.map(str::to_owned),
            redis_password_env: variable.clone(),
        };
        let both = json!({"auth_username": {"inline_string": "[redacted]"}, "auth_password": {"filename": "[redacted]"}});
        assert_eq!(
            access(both.clone(), &with(None)).password,
            EnvoyPassword::Hidden("a file")
        );
        assert_eq!(
            access(both, &with(Some("u"))).password,
            EnvoyPassword::Known(value.clone())
        );
        let alone = json!({"auth_password": {"filename": "[redacted]"}});
        assert_eq!(
            access(alone, &with(None)).password,
            EnvoyPassword::Known(value.clone())
        );
        assert_eq!(access(json!({}), &with(None)).password, EnvoyPassword::None);
        assert!(!format!("{:?}", EnvoyPassword::Known(value.clone())).contains(&value));
    }
}
