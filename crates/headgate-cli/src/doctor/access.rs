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
    pub tls: Option<Tls>,
    pub user: Option<String>,
    pub password: Password,
}

/// A password as far as it can be known here.
#[derive(Default)]
pub enum Password {
    /// Envoy sends none.
    #[default]
    None,
    /// What it is, and where it is from.
    Known(String, String),
    /// Envoy sends one that cannot be read here, from there.
    Hidden(String),
}

impl fmt::Debug for Password {
    /// Never shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.source().unwrap_or("none"))
    }
}

impl Password {
    /// Where Envoy has it from; `None`: it sends none.
    pub fn source(&self) -> Option<&str> {
        match self {
            Password::None => None,
            Password::Known(_, source) | Password::Hidden(source) => Some(source),
        }
    }
}

/// An `UpstreamTlsContext`.
#[derive(Debug, Default)]
pub struct Tls {
    pub sni: Option<String>,
    /// The authority whose certificates Envoy trusts; `None`: it checks nothing.
    pub ca: Option<Ca>,
    /// Of which the certificate must have one; empty: any name will do.
    pub names: Vec<NameMatcher>,
    /// The files of Envoy's own certificate and its key; `None`: it has none, or not in files.
    pub own: Option<(String, String)>,
    pub has_own: bool,
}

/// A trusted authority.
#[derive(Debug)]
pub struct Ca {
    /// Where it is from.
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
    /// `None`: it is not known here, as for a regex.
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

/// A login that the command line gives in place of Envoy's.
#[derive(clap::Args, Default)]
pub struct LoginArgs {
    /// The user with which doctor logs in at Redis, where Envoy's cannot be read
    #[arg(long, value_name = "NAME")]
    redis_user: Option<String>,
    /// The environment variable with the password for it
    #[arg(long, value_name = "VARIABLE")]
    redis_password_env: Option<String>,
}

impl Access {
    /// Of this cluster.
    pub fn read(config: &Config, cluster: &Value, login: &LoginArgs) -> Access {
        let options = at(cluster, &["typed_extension_protocol_options"])
            .and_then(|options| options.get("envoy.filters.network.redis_proxy"));
        let source = |field: &str| options?.get(field);
        let user = source("auth_username").and_then(|source| match data(source) {
            Password::Known(user, _) => Some(user),
            _ => None,
        });
        let password = source("auth_password").map_or(Password::None, data);
        let given = login.redis_password_env.as_deref();
        let given = given.and_then(|name| Some((std::env::var(name).ok()?, format!("${name}"))));
        let socket = at(cluster, &["transport_socket", "typed_config"]);
        let is_tls =
            |socket: &&Value| text(socket, &["@type"]).is_some_and(|url| url.ends_with("UpstreamTlsContext"));
        Access {
            tls: socket.filter(is_tls).map(|socket| Tls::read(config, socket)),
            user: login.redis_user.clone().or(user),
            password: match (password, given) {
                (Password::Hidden(_) | Password::Known(..), Some((password, source))) => {
                    Password::Known(password, source)
                }
                (password, _) => password,
            },
        }
    }
}

impl Tls {
    fn read(config: &Config, socket: &Value) -> Tls {
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
        Tls {
            sni: text(socket, &["sni"]).map(str::to_owned),
            ca: at(context, &["trusted_ca"]).map(|source| Ca {
                source: text(source, &["filename"])
                    .unwrap_or("the configuration")
                    .to_owned(),
                pem: match data(source) {
                    Password::Known(pem, _) => Ok(pem.into_bytes()),
                    _ => Err("it cannot be read from here".to_owned()),
                },
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

/// An `envoy.config.core.v3.DataSource`, as far as it can be read here: files and variables are Envoy's.
fn data(source: &Value) -> Password {
    let known = |value: Option<String>, from: String| match value {
        Some(value) => Password::Known(value, from),
        None => Password::Hidden(from),
    };
    let field = |name: &str| source.get(name).and_then(Value::as_str);
    if let Some(name) = field("environment_variable") {
        return known(
            std::env::var(name).ok(),
            format!("the environment variable {name}"),
        );
    }
    if let Some(name) = field("filename") {
        return known(std::fs::read_to_string(name).ok(), format!("the file {name}"));
    }
    let here = "the configuration".to_owned();
    match (field("inline_string"), field("inline_bytes")) {
        (Some(""), _) | (_, Some("")) => Password::None,
        (Some(text), _) => known((text != REDACTED).then(|| text.to_owned()), here),
        (_, Some(bytes)) => known(decoded(bytes).filter(|text| text != REDACTED), here),
        (None, None) => Password::Hidden(here),
    }
}

/// What Envoy shows in place of a secret.
const REDACTED: &str = "[redacted]";

/// Base64 as JSON has it for bytes.
fn decoded(bytes: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(bytes).ok()?).ok()
}
