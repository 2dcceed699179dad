//! Reads Envoy's admin interface over HTTP, and does not interpret it.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use ureq::http::header::DATE;

/// How long an answer may take. Envoy answers in milliseconds; a large configuration takes a second.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest answer: the configuration of a gateway with thousands of routes has tens of MiB.
const LONGEST: u64 = 512 << 20;

/// Why an admin interface cannot be read.
#[derive(Debug)]
pub enum ReadError {
    /// Nothing answers there.
    Unreachable(String),
    /// Something answers, but not with HTTP.
    NotHttp(String),
    /// It is HTTP, but not of Envoy's admin interface.
    NotEnvoy(String),
    /// It is Envoy's, and lacks a page.
    NoPage(String),
    /// The address is `https://`.
    Https,
    /// The address is no address.
    BadAddress(String),
}

impl ReadError {
    /// The stable id of the finding.
    pub fn id(&self) -> &'static str {
        match self {
            ReadError::Unreachable(_) => "admin-unreachable",
            ReadError::NotHttp(_) => "not-http",
            ReadError::NotEnvoy(_) => "not-envoy",
            ReadError::NoPage(_) => "no-page",
            ReadError::Https => "https",
            ReadError::BadAddress(_) => "bad-address",
        }
    }

    pub fn remedy(&self) -> &'static str {
        match self {
            ReadError::Unreachable(_) => {
                "is Envoy running, and is this its `admin.address`? It often listens on 127.0.0.1 alone: run doctor on that \
                 host, or forward the port (`kubectl port-forward`, `ssh -L`). Istio has it on 15000, Envoy Gateway on 19000"
            }
            ReadError::NotHttp(_) | ReadError::NotEnvoy(_) => {
                "give the port of Envoy's `admin.address`, which is not the port that takes requests"
            }
            ReadError::NoPage(_) => {
                "let `admin.allow_paths` of this Envoy include /server_info, /config_dump, /clusters and /stats"
            }
            ReadError::Https => {
                "Envoy's admin interface speaks plain HTTP: write http://HOST:PORT, over a forwarded port if the network \
                 is not trusted"
            }
            ReadError::BadAddress(_) => "write http://HOST:PORT, or HOST:PORT",
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Unreachable(why) => write!(f, "Envoy's admin interface cannot be reached: {why}"),
            ReadError::NotHttp(why) => write!(f, "what answers here does not speak HTTP: {why}"),
            ReadError::NotEnvoy(why) => write!(f, "what answers here is not Envoy's admin interface: {why}"),
            ReadError::NoPage(why) => {
                write!(
                    f,
                    "Envoy's admin interface does not give a page that doctor needs: {why}"
                )
            }
            ReadError::Https => f.write_str("https is not supported"),
            ReadError::BadAddress(why) => write!(f, "this is not an address: {why}"),
        }
    }
}

/// An admin interface.
pub struct Admin {
    agent: ureq::Agent,
    base: String,
}

/// An answer.
pub struct Page {
    pub body: String,
    /// Envoy's clock, in unix ms, exact to the second; the clock of this host if the answer has no date.
    pub unix_ms: u64,
}

impl Admin {
    /// # Errors
    /// An address that cannot be used.
    pub fn new(address: &str) -> Result<Admin, ReadError> {
        let rest = match address.split_once("://") {
            Some(("http", rest)) => rest,
            Some(("https", _)) => return Err(ReadError::Https),
            Some((scheme, _)) => return Err(ReadError::BadAddress(format!("the scheme {scheme:?}"))),
            None => address,
        };
        let rest = rest.trim_end_matches('/');
        let base = format!("http://{rest}");
        let uri: Result<ureq::http::Uri, _> = base.parse();
        let uri = uri.map_err(|error| ReadError::BadAddress(error.to_string()))?;
        let host = uri.host().unwrap_or_default();
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let has_port = authority.len() > host.len();
        if host.is_empty() || uri.query().is_some() || (has_port && uri.port_u16().is_none()) {
            return Err(ReadError::BadAddress(format!("{address:?}")));
        }
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .build();
        Ok(Admin {
            agent: config.into(),
            base,
        })
    }

    pub fn address(&self) -> &str {
        &self.base
    }

    /// The answer to a GET of this path.
    ///
    /// # Errors
    /// No answer, or one that is not 200.
    pub fn get(&self, path: &str) -> Result<Page, ReadError> {
        let mut response = self
            .agent
            .get(format!("{}{path}", self.base))
            .call()
            .map_err(|error| failed(&error))?;
        let status = response.status().as_u16();
        let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
        let clock = date
            .and_then(|date| httpdate::parse_http_date(date).ok())
            .unwrap_or_else(SystemTime::now);
        let body = response
            .body_mut()
            .with_config()
            .limit(LONGEST)
            .lossy_utf8(true)
            .read_to_string()
            .map_err(|error| failed(&error))?;
        if status != 200 {
            return Err(ReadError::NotEnvoy(format!("GET {path} is answered {status}")));
        }
        let unix = clock.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Page {
            body,
            unix_ms: unix.as_millis() as u64,
        })
    }
}

fn failed(error: &ureq::Error) -> ReadError {
    match error {
        ureq::Error::Io(io) if is_about_content(io) => ReadError::NotHttp(io.to_string()),
        ureq::Error::Io(_)
        | ureq::Error::Timeout(_)
        | ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed => ReadError::Unreachable(error.to_string()),
        ureq::Error::BadUri(_) => ReadError::BadAddress(error.to_string()),
        _ => ReadError::NotHttp(error.to_string()),
    }
}

/// Whether the connection was made, but the answer was incomplete or invalid.
fn is_about_content(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionReset, InvalidData, UnexpectedEof};
    matches!(error.kind(), ConnectionReset | InvalidData | UnexpectedEof)
}
