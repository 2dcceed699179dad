//! A request made up on the command line, as the core may ask of it.

use super::Failure;
use headgate_core::identify::{Attributes, Headers, TlsField};
use std::net::IpAddr;

/// How a request is described.
#[derive(clap::Args)]
pub struct RequestArgs {
    /// Method and target
    #[arg(long, default_value = "GET /", value_name = "METHOD PATH")]
    request: String,
    /// A header; may be repeated
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The caller's address, as Envoy trusts it
    #[arg(long, default_value = "192.0.2.1")]
    address: IpAddr,
    #[arg(long, default_value = "localhost")]
    host: String,
    /// The name of Envoy's route
    #[arg(long)]
    route: Option<String>,
    /// Dynamic metadata, as envoy.filters.http.jwt_authn.payload.sub=alice; may be repeated
    #[arg(long, value_name = "PATH=VALUE")]
    metadata: Vec<String>,
    /// From the peer's certificate: uri_san=…, dns_san=… or subject=…; may be repeated
    #[arg(long, value_name = "FIELD=VALUE")]
    tls: Vec<String>,
}

/// A request in memory.
#[derive(Debug, Clone, Default)]
pub struct MadeUp {
    /// Names in lower case, pseudo headers among them.
    pub headers: Vec<(String, String)>,
    pub address: Option<IpAddr>,
    /// The path's keys joined by dots.
    pub metadata: Vec<(String, String)>,
    pub tls: Vec<(TlsField, String)>,
    pub route: Option<String>,
}

impl RequestArgs {
    /// # Errors
    /// What cannot be read as a request.
    pub fn made_up(&self) -> Result<MadeUp, Failure> {
        let Some((method, target)) = self.request.trim().split_once(' ') else {
            return Err(Failure::new(format!(
                "--request {:?}: write a method and a path, such as 'POST /login'",
                self.request
            )));
        };
        let mut request = MadeUp::new(method, target.trim(), &self.host);
        for header in &self.headers {
            let Some((name, value)) = header.split_once(':') else {
                return Err(Failure::new(format!("--header {header:?}: write 'name: value'")));
            };
            request
                .headers
                .push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
        for metadata in &self.metadata {
            let Some((path, value)) = metadata.split_once('=') else {
                return Err(Failure::new(format!("--metadata {metadata:?}: write path=value")));
            };
            request.metadata.push((path.to_owned(), value.to_owned()));
        }
        for tls in &self.tls {
            let (field, value) = match tls.split_once('=') {
                Some(("uri_san", value)) => (TlsField::UriSan, value),
                Some(("dns_san", value)) => (TlsField::DnsSan, value),
                Some(("subject", value)) => (TlsField::Subject, value),
                _ => {
                    return Err(Failure::new(format!(
                        "--tls {tls:?}: write uri_san=…, dns_san=… or subject=…"
                    )))
                }
            };
            request.tls.push((field, value.to_owned()));
        }
        request.address = Some(self.address);
        request.route = self.route.clone();
        Ok(request)
    }
}

impl MadeUp {
    pub fn new(method: &str, target: &str, host: &str) -> MadeUp {
        let pseudo = [(":method", method), (":path", target), (":authority", host)];
        MadeUp {
            headers: pseudo
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
            ..MadeUp::default()
        }
    }
}

impl Headers for MadeUp {
    fn each_value<'a>(&'a self, name: &str, take: &mut dyn FnMut(&'a [u8])) {
        let named = self.headers.iter().filter(|(known, _)| known == name);
        named.for_each(|(_, value)| take(value.as_bytes()));
    }

    fn each_header<'a>(&'a self, take: &mut dyn FnMut(&'a [u8], &'a [u8])) {
        let all = self.headers.iter();
        all.for_each(|(name, value)| take(name.as_bytes(), value.as_bytes()));
    }
}

impl Attributes for MadeUp {
    fn address(&self) -> Option<IpAddr> {
        self.address
    }

    fn metadata(&self, path: &[String]) -> Option<Vec<u8>> {
        let path = path.join(".");
        let found = self.metadata.iter().find(|(p, _)| *p == path);
        found.map(|(_, value)| value.clone().into_bytes())
    }

    fn tls(&self, field: TlsField) -> Option<Vec<u8>> {
        let found = self.tls.iter().find(|(f, _)| *f == field);
        found.map(|(_, value)| value.clone().into_bytes())
    }

    fn route(&self) -> Option<Vec<u8>> {
        self.route.clone().map(String::into_bytes)
    }
}
