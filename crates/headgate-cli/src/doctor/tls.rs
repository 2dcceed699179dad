//! A TLS connection to Redis as Envoy makes it, to find out which side refuses and why.
//!
//! The handshake accepts any certificate, and the certificate is checked afterwards as Envoy checks it: against the
//! configured authority, and against `match_typed_subject_alt_names`. Without this list Envoy checks no name.

use super::access::EnvoyTls;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{ring, CryptoProvider};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error,
    RootCertStore, SignatureScheme, StreamOwned,
};
use std::io;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::Certificate;

pub type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Why there is no TLS connection, or none that Envoy would take.
#[derive(Debug, PartialEq, Eq)]
pub enum TlsError {
    /// The answer is not TLS.
    NotTls,
    /// There was no answer in time.
    NoReply,
    /// The connection was closed in the handshake.
    Closed,
    /// Envoy does not trust the certificate: its subject and its issuer, and why.
    Untrusted {
        subject: String,
        issuer: String,
        why: String,
    },
    /// No name of the certificate is one that Envoy expects.
    WrongName {
        presented: Vec<String>,
    },
    /// Redis requires a certificate of the client, or another certificate.
    ClientCertificate(String),
    Other(String),
}

/// Connects as Envoy does.
///
/// # Errors
/// The reason why Envoy would fail to connect.
pub fn connect(socket: TcpStream, host: &str, tls: &EnvoyTls) -> Result<Stream, TlsError> {
    let presented = Arc::new(Presented::default());
    let stream = handshake(socket, host, tls, &presented)?;
    let chain = presented.chain();
    check(&chain, tls)?;
    Ok(stream)
}

/// Whether the server at the other end supports TLS.
pub fn speaks_tls(socket: TcpStream, host: &str) -> bool {
    let presented = Arc::new(Presented::default());
    let made = handshake(socket, host, &EnvoyTls::default(), &presented);
    made.is_ok() || !presented.chain().is_empty()
}

/// Completes the handshake.
fn handshake(
    mut socket: TcpStream,
    host: &str,
    tls: &EnvoyTls,
    presented: &Arc<Presented>,
) -> Result<Stream, TlsError> {
    let other = |error: Error| TlsError::Other(error.to_string());
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::<Presented>::clone(presented));
    let config = match tls.own.as_ref().and_then(|(chain, key)| own(chain, key)) {
        Some((chain, key)) => config.with_client_auth_cert(chain, key).map_err(other)?,
        None => config.with_no_client_auth(),
    };
    let name = tls.sni.as_deref().unwrap_or(host).to_owned();
    let name = ServerName::try_from(name).or_else(|_| ServerName::try_from("redis.invalid"));
    let name = name.map_err(|error| TlsError::Other(error.to_string()))?;
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(other)?;
    while connection.is_handshaking() {
        connection
            .complete_io(&mut socket)
            .map_err(|error| failed(&error))?;
    }
    Ok(StreamOwned::new(connection, socket))
}

/// What an I/O error of a TLS connection means.
pub fn failed(error: &io::Error) -> TlsError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidMessage(_)) => TlsError::NotTls,
        Some(Error::AlertReceived(alert)) => match alert {
            AlertDescription::CertificateRequired
            | AlertDescription::HandshakeFailure
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied => TlsError::ClientCertificate(format!("{alert:?}")),
            other => TlsError::Other(format!("Redis ends the handshake: {other:?}")),
        },
        Some(other) => TlsError::Other(other.to_string()),
        None => match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => TlsError::NoReply,
            _ => TlsError::Closed,
        },
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Envoy's own certificate, where its files can be read here.
fn own(chain: &str, key: &str) -> Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain = CertificateDer::pem_file_iter(chain).ok()?;
    let chain: Vec<_> = chain.collect::<Result<_, _>>().ok()?;
    Some((chain, PrivateKeyDer::from_pem_file(key).ok()?))
}

/// Checks a certificate as Envoy does. The signature is not checked if the authority cannot be read here.
fn check(chain: &[CertificateDer<'static>], tls: &EnvoyTls) -> Result<(), TlsError> {
    let Some((leaf, rest)) = chain.split_first() else {
        return Ok(());
    };
    let parsed = Certificate::from_der(leaf).ok();
    if let Some(Ok(pem)) = tls.ca.as_ref().map(|ca| &ca.pem) {
        if let Err(why) = trusted(leaf, rest, pem) {
            let name = |name: Option<String>| name.unwrap_or_else(|| "unknown".to_owned());
            let fields = parsed.as_ref().map(Certificate::tbs_certificate);
            return Err(TlsError::Untrusted {
                subject: name(fields.map(|fields| fields.subject().to_string())),
                issuer: name(fields.map(|fields| fields.issuer().to_string())),
                why,
            });
        }
    }
    let presented = parsed.as_ref().map(names).unwrap_or_default();
    let fits = |name: &String| tls.names.iter().any(|matcher| matcher.fits(name) != Some(false));
    match tls.names.is_empty() || presented.iter().any(fits) {
        true => Ok(()),
        false => Err(TlsError::WrongName { presented }),
    }
}

fn trusted(leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>], pem: &[u8]) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).flatten());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| error.to_string())?;
    let name = ServerName::try_from("redis.invalid").map_err(|error| error.to_string())?;
    // The chain is checked before the name.
    match verifier.verify_server_cert(leaf, rest, &name, &[], UnixTime::now()) {
        Ok(_)
        | Err(Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => Ok(()),
        Err(Error::InvalidCertificate(why)) => Err(why.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// The names in a certificate.
fn names(certificate: &Certificate) -> Vec<String> {
    let found = certificate.tbs_certificate().get_extension::<SubjectAltName>();
    let names = match found {
        Ok(Some((_, SubjectAltName(names)))) => names,
        _ => return Vec::new(),
    };
    let shown = |name: GeneralName| match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
        GeneralName::UniformResourceIdentifier(name) => Some(name.as_str().to_owned()),
        GeneralName::IpAddress(bytes) => address(bytes.as_bytes()),
        _ => None,
    };
    names.into_iter().filter_map(shown).collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
        (Ok(four), _) => Some(std::net::Ipv4Addr::from(four).to_string()),
        (_, Ok(sixteen)) => Some(std::net::Ipv6Addr::from(sixteen).to_string()),
        _ => None,
    }
}

/// Accepts any certificate, and keeps it.
#[derive(Debug, Default)]
struct Presented(Mutex<Vec<CertificateDer<'static>>>);

impl Presented {
    fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.0.lock().map(|chain| chain.clone()).unwrap_or_default()
    }
}

impl ServerCertVerifier for Presented {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Ok(mut chain) = self.0.lock() {
            let all = std::iter::once(leaf).chain(rest);
            *chain = all.map(|certificate| certificate.clone().into_owned()).collect();
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
