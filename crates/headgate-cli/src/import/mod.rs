//! `headgate import`: converts another limiter's configuration into a policy, and lists what it cannot convert.

mod django;
mod drf;
mod python;
mod ratelimit;

use super::find::find;
use super::{input, Failure, Output};
use std::fmt::Write as _;

#[derive(clap::Args)]
pub struct ImportArgs {
    #[command(subcommand)]
    from: From,
}

#[derive(clap::Subcommand)]
enum From {
    /// Django REST framework: settings.py with REST_FRAMEWORK
    Drf { file: String },
    /// django-ratelimit: a views.py with its decorators
    DjangoRatelimit { file: String },
    /// Envoy's ratelimit service: a file of descriptors
    EnvoyRatelimit { file: String },
}

/// The result of an import.
#[derive(Debug, Default)]
pub struct Imported {
    /// Sources of `identify`, as YAML; empty: the defaults.
    identify: Vec<String>,
    limits: Vec<Limit>,
    /// Line (0: unknown) and message.
    lost: Vec<(usize, String)>,
    advice: Vec<String>,
}

/// A limit's fields in order, as YAML.
#[derive(Debug, Clone, Default)]
pub struct Limit(Vec<(&'static str, String)>);

impl Limit {
    pub fn new(name: &str, rate: &str) -> Limit {
        Limit(vec![("name", scalar(name)), ("rate", rate.to_owned())])
    }

    pub fn with(mut self, field: &'static str, yaml: impl Into<String>) -> Limit {
        self.0.push((field, yaml.into()));
        self
    }

    fn yaml(&self) -> String {
        object(&self.0)
    }
}

/// An object in one line.
pub fn object<K: AsRef<str>>(fields: &[(K, String)]) -> String {
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{}: {value}", scalar(name.as_ref())))
        .collect();
    format!("{{{}}}", fields.join(", "))
}

/// A text, in quotes where YAML needs them.
pub fn scalar(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
    let begins = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/');
    let word = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"]
        .contains(&text.to_ascii_lowercase().as_str());
    match begins && !word && text.bytes().all(plain) {
        true => text.to_owned(),
        false => serde_json::Value::from(text).to_string(),
    }
}

/// What may be a limit's name: other characters become `-`.
pub fn name(text: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '-'
        }
    };
    text.chars().map(plain).take(64).collect()
}

impl Imported {
    /// For Django: users, else addresses.
    fn of_users() -> Imported {
        let mut imported = Imported {
            identify: vec![
                "{name: user, metadata: [envoy.filters.http.jwt_authn, payload, sub]}".to_owned(),
                "{address: {}}".to_owned(),
            ],
            ..Imported::default()
        };
        imported.advice(
            "user is the subject of a JWT that Envoy's jwt_authn filter has checked, with payload_in_metadata: payload; put Headgate behind that filter",
        );
        imported
    }

    fn lost(&mut self, line: usize, what: impl Into<String>) {
        self.lost.push((line, what.into()));
    }

    fn advice(&mut self, what: &str) {
        if !self.advice.iter().any(|known| known == what) {
            self.advice.push(what.to_owned());
        }
    }

    fn yaml(&self, from: &str) -> String {
        let mut text = format!("# From {from}, by `headgate import`.\n");
        for (title, lines) in [
            ("Not translated:", self.lost_lines()),
            ("Please check:", self.advice.clone()),
        ] {
            if !lines.is_empty() {
                let _ = writeln!(text, "# {title}");
            }
            for line in lines {
                let _ = writeln!(text, "# - {line}");
            }
        }
        if !self.identify.is_empty() {
            text += "identify:\n";
            for source in &self.identify {
                let _ = writeln!(text, "- {source}");
            }
        }
        text += "limits:\n";
        for limit in &self.limits {
            let _ = writeln!(text, "- {}", limit.yaml());
        }
        text
    }

    fn lost_lines(&self) -> Vec<String> {
        let one = |(line, what): &(usize, String)| match line {
            0 => what.clone(),
            line => format!("line {line}: {what}"),
        };
        self.lost.iter().map(one).collect()
    }
}

pub fn run(args: &ImportArgs) -> Result<Output, Failure> {
    let (From::Drf { file } | From::DjangoRatelimit { file } | From::EnvoyRatelimit { file }) = &args.from;
    let text = input::read(file)?;
    let imported = match &args.from {
        From::Drf { .. } => drf::read(&text),
        From::DjangoRatelimit { .. } => django::read(&text),
        From::EnvoyRatelimit { .. } => ratelimit::read(&text),
    }?;
    for line in imported.lost_lines() {
        eprintln!("headgate: not translated: {line}");
    }
    if imported.limits.is_empty() {
        return Err(Failure::new(format!("{file}: no limit could be translated")));
    }
    let yaml = imported.yaml(file);
    // An invalid result must not look valid.
    let found = find(&yaml, false)
        .ok()
        .and_then(|file| file.found.into_iter().next());
    if let Some(Err(errors)) = found.map(|found| found.parse()) {
        eprintln!("headgate: fix by hand:\n{errors}");
        return Ok(Output {
            text: yaml,
            status: 1,
        });
    }
    Ok(Output::text(yaml))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_yaml_would_misread_is_quoted() {
        for (text, yaml) in [
            ("a-b", "a-b"),
            ("/x", "/x"),
            ("no", "\"no\""),
            ("5", "\"5\""),
            ("a: b", "\"a: b\""),
            ("", "\"\""),
        ] {
            assert_eq!(scalar(text), yaml);
        }
        assert_eq!(name("a/b c"), "a-b-c");
    }
}
