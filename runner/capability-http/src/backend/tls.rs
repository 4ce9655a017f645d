//! TLS: whom this machine trusts, what a certificate says, and what its errors mean.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::effect::{Certificate, Failure};
use crate::target::Host;

/// The trusted authorities: the machine's own (or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`), Mozilla's where it has none, and what a
/// caller adds. Read at the first https request, since reading takes longer than a whole run without one.
#[derive(Default)]
pub struct Trust {
    extra: Vec<CertificateDer<'static>>,
    config: OnceCell<Result<Arc<ClientConfig>, String>>,
}

impl Trust {
    /// # Errors
    /// If `pem` holds something that is no certificate.
    pub fn new(pem: &[u8]) -> Result<Trust, String> {
        let extra = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        Ok(Trust { extra: extra.map_err(|error| format!("not a certificate in PEM: {error}"))?, config: OnceCell::new() })
    }

    async fn config(&self) -> Result<Arc<ClientConfig>, Failure> {
        let load = || async {
            let extra = self.extra.clone();
            let loaded = tokio::task::spawn_blocking(move || load(extra)).await;
            loaded.unwrap_or_else(|_| Err("reading the trusted certificates was cut off".to_owned()))
        };
        self.config.get_or_init(load).await.clone().map_err(Failure::Tls)
    }

    /// The handshake as the client of `host`.
    pub async fn connect<S>(&self, host: &Host, stream: S) -> Result<TlsStream<S>, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.config().await?;
        let name = match host {
            Host::Name(name) => {
                ServerName::try_from(name.clone()).map_err(|_| Failure::Tls(format!("`{name}` can't be the name in a certificate")))?
            }
            Host::V4(address) => ServerName::from(IpAddr::V4(*address)),
            Host::V6(address) => ServerName::from(IpAddr::V6(*address)),
        };
        TlsConnector::from(config).connect(name, stream).await.map_err(|error| failure(&error))
    }
}

fn load(extra: Vec<CertificateDer<'static>>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    let (loaded, _) = roots.add_parsable_certificates(native.certs);
    if loaded == 0 {
        // who names a file means that file
        for variable in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
            if let Some(path) = std::env::var_os(variable).filter(|path| !path.is_empty()) {
                let why = native.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
                return Err(format!("{variable} is set to {}, which holds no certificate{why}", path.display()));
            }
        }
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    for certificate in extra {
        roots.add(certificate).map_err(|error| format!("an added certificate can't be trusted: {error}"))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // a ticket would let a server see that two stages belong together
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// What the server's certificate says of itself.
pub fn certificate<S>(stream: &TlsStream<S>) -> Option<Certificate> {
    let (_, connection) = stream.get_ref();
    describe(connection.peer_certificates()?.first()?)
}

fn describe(der: &CertificateDer<'_>) -> Option<Certificate> {
    use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Name};
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    let common = |name: &X509Name<'_>| name.iter_common_name().next().and_then(|cn| cn.as_str().ok()).map(str::to_owned);
    let alternative = || {
        let names = parsed.subject_alternative_name().ok().flatten()?;
        names.value.general_names.iter().find_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress([a, b, c, d]) => Some(format!("{a}.{b}.{c}.{d}")),
            GeneralName::IPAddress(bytes) => <[u8; 16]>::try_from(*bytes).ok().map(|b| IpAddr::from(b).to_string()),
            _ => None,
        })
    };
    Some(Certificate {
        subject: common(parsed.subject()).or_else(alternative).unwrap_or_else(|| parsed.subject().to_string()),
        issuer: common(parsed.issuer()).unwrap_or_else(|| parsed.issuer().to_string()),
        not_before: parsed.validity().not_before.timestamp(),
        not_after: parsed.validity().not_after.timestamp(),
    })
}

/// What an error of a TLS stream means.
pub fn failure(error: &io::Error) -> Failure {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => rustls_failure(error),
        None => Failure::Terminated(format!("the server ended the connection during the TLS handshake: {error}")),
    }
}

pub fn rustls_failure(error: &rustls::Error) -> Failure {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => Failure::TlsCertificate(
            "the server's certificate is signed by an authority that this machine does not trust; name the authority's file in SSL_CERT_FILE"
                .to_owned(),
        ),
        rustls::Error::InvalidCertificate(why) => Failure::TlsCertificate(format!("the server's certificate is not valid: {why}")),
        rustls::Error::AlertReceived(alert) => {
            Failure::TlsAlert { alert: u8::from(*alert), text: format!("the server refused the TLS handshake: {alert:?}") }
        }
        other => Failure::Tls(format!("TLS failed: {other}")),
    }
}
