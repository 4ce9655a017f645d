//! An engine behind TLS.
//!
//! bollard's own way trusts every authority that the machine trusts besides the one that is named, and can't speak TLS on a machine without any.
//! Docker's command line trusts the named one alone, and so does this.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::endpoint::Tls;

/// # Errors
/// Which file is no certificate or key, or does not go with the others.
pub(crate) fn connect(authority: &str, tls: &Tls, seconds: u64) -> Result<Docker, (PathBuf, String)> {
    let connector = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(config(tls)?).https_only().enable_http1().build();
    let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
    let transport = move |request: BollardRequest| {
        let client = client.clone();
        async move { client.request(request).await.map_err(bollard::errors::Error::from) }
    };
    let docker = Docker::connect_with_custom_transport(transport, Some(format!("https://{authority}")), seconds, API_DEFAULT_VERSION);
    docker.map_err(|error| (tls.ca.clone(), error.to_string()))
}

fn config(tls: &Tls) -> Result<rustls::ClientConfig, (PathBuf, String)> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates(&tls.ca)? {
        roots.add(certificate).map_err(|error| at(&tls.ca, &error))?;
    }
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| at(&tls.key, &error))?;
    // the one provider of the house, whatever is installed
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| at(&tls.ca, &error))?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(&tls.certificate)?, key)
        .map_err(|error| at(&tls.certificate, &error))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, (PathBuf, String)> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match found {
        Ok(found) if found.is_empty() => Err(at(path, &"there is no certificate in it")),
        Ok(found) => Ok(found),
        Err(error) => Err(at(path, &error)),
    }
}

fn at(path: &Path, why: &dyn std::fmt::Display) -> (PathBuf, String) {
    (path.to_owned(), why.to_string())
}
