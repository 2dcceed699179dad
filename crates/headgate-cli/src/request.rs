//! A request that is described on the command line.

use super::Failure;
use headgate_core::identify::TlsField;
use headgate_sim::request::Request;
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

impl RequestArgs {
    /// # Errors
    /// What cannot be read as a request.
    pub fn made_up(&self) -> Result<Request, Failure> {
        let Some((method, target)) = self.request.trim().split_once(' ') else {
            return Err(Failure::new(format!(
                "--request {:?}: write a method and a path, such as 'POST /login'",
                self.request
            )));
        };
        let mut request = Request::new(method, target.trim(), &self.host);
        for header in &self.headers {
            let Some((name, value)) = header.split_once(':') else {
                return Err(Failure::new(format!("--header {header:?}: write 'name: value'")));
            };
            request.push(&name.trim().to_ascii_lowercase(), value.trim());
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
