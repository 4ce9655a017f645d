//! HTTPS: what is spoken, what the certificate says, and which certificates are refused.

use std::sync::Arc;

use http::Response as Answer;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

use super::server::{Server, full};
use super::stage::{Error, Stage, again, get};
use crate::host::bindings::runner::http::client::HostResponse as _;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn acceptor(&self, name: &str, years: (i32, i32), protocols: &[&str]) -> TlsAcceptor {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate: CertificateDer<'static> = params.signed_by(&key, &self.0).unwrap().into();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

const YEARS: (i32, i32) = (2020, 2100);

fn stage(authority: &Authority) -> Stage {
    let stage = Stage::trusting(
        "http = [{ url = \"https://*.example:*/**\", methods = [\"GET\", \"POST\"], private = true }]",
        authority.pem().as_bytes(),
    );
    stage.names.add("good.example", &[&["127.0.0.1"]]);
    stage
}

#[tokio::test]
async fn both_versions_of_http_are_spoken_over_tls() {
    let authority = Authority::new("Test Authority");
    for (protocols, expected) in [(&["h2", "http/1.1"][..], "HTTP/2"), (&["http/1.1"], "HTTP/1.1"), (&[], "HTTP/1.1")] {
        let server = Server::https(authority.acceptor("good.example", YEARS, protocols), |seen| {
            // a server of HTTP/2 sees the whole URL, one of HTTP/1.1 the Host header
            let version = if seen.headers.contains_key("host") { "HTTP/1.1" } else { "HTTP/2" };
            Answer::builder().header("x-version", version).body(full(seen.body.clone())).unwrap()
        })
        .await;
        let mut stage = stage(&authority);
        let url = format!("https://good.example:{}/x?y", server.port());
        let mut request = get(&url);
        request.method = "POST".into();
        request.body = vec![9; 500_000];
        let response = stage.send(request).await.unwrap();
        assert_eq!(stage.header(&response, "x-version").unwrap(), expected, "{protocols:?}");
        assert_eq!(stage.body(&response).await.unwrap().len(), 500_000);
        let target = server.last().target;
        assert!(target == "/x?y" || target == url, "{target}");

        let timing = stage.state.timing(again(&response)).unwrap();
        assert!(timing.resolve > 0 && timing.connect > 0 && timing.tls > 0 && timing.wait > 0, "{timing:?}");
        let certificate = stage.state.certificate(again(&response)).unwrap().unwrap();
        assert_eq!(certificate.subject, "good.example");
        assert_eq!(certificate.issuer, "Test Authority");
        assert_eq!(certificate.not_before, 1_577_836_800);
        assert_eq!(certificate.not_after, 4_102_444_800);

        // twice more over one connection, which remembers its certificate
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        let before = server.connections();
        for _ in 0..2 {
            let response = stage.open(&url).await.unwrap();
            stage.body(&response).await.unwrap();
            assert!(stage.state.certificate(again(&response)).unwrap().is_some());
            stage.state.drop(response).unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert!(server.connections() <= before + 1, "{} then {}", before, server.connections());
    }
}

#[tokio::test]
async fn certificates_that_prove_nothing_are_refused() {
    let authority = Authority::new("Test Authority");
    let stranger = Authority::new("Stranger");
    for (acceptor, words) in [
        (authority.acceptor("good.example", (2020, 2021), &[]), "expired"),
        (authority.acceptor("good.example", (2090, 2100), &[]), "not valid yet"),
        (authority.acceptor("other.example", YEARS, &[]), "not valid for name"),
        (stranger.acceptor("good.example", YEARS, &[]), "does not trust"),
    ] {
        let server = Server::https(acceptor, |_| Answer::new(full("never"))).await;
        let mut stage = stage(&authority);
        match stage.open(&format!("https://good.example:{}/", server.port())).await {
            Err(Error::Tls(text)) => assert!(text.contains(words), "{words}: {text}"),
            other => panic!("{words}: {other:?}"),
        }
        assert!(server.seen.lock().unwrap().is_empty(), "{words}");
    }
}

#[tokio::test]
async fn a_certificate_for_an_address_is_checked_too() {
    let authority = Authority::new("Test Authority");
    let server = Server::https(authority.acceptor("127.0.0.1", YEARS, &[]), |_| Answer::new(full("ok"))).await;
    let grant = format!("http = [{{ url = \"https://{}/**\" }}]", server.address);
    let mut stage = Stage::trusting(&grant, authority.pem().as_bytes());
    let response = stage.open(&format!("https://{}/", server.address)).await.unwrap();
    assert_eq!(stage.state.certificate(again(&response)).unwrap().unwrap().subject, "127.0.0.1");
}

#[tokio::test]
async fn a_server_without_tls_is_an_error_of_tls_or_the_connection() {
    let server = Server::raw(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let mut stage = stage(&Authority::new("Test Authority"));
    let error = stage.open(&format!("https://good.example:{}/", server.port())).await;
    assert!(matches!(error, Err(Error::Tls(_) | Error::Connect(_))), "{error:?}");
}

#[test]
fn what_is_no_certificate_is_no_authority() {
    let options = crate::Options {
        extra_authorities: b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n".to_vec(),
        ..crate::Options::default()
    };
    assert!(crate::Http::new(options).is_err());
}

/// What `SSL_CERT_FILE` says is read once in a process, so each case is a process of its own: this test again, as the child.
#[tokio::test]
async fn the_environment_names_the_authorities() {
    const CHILD: &str = "CAPABILITY_HTTP_TEST_URL";
    if let Ok(url) = std::env::var(CHILD) {
        let mut stage = Stage::new("http = [{ url = \"https://127.0.0.1:*/**\" }]");
        match stage.fetch(get(&url)).await {
            Ok((200, body)) if body == "trusted" => return,
            // no backtrace and no noise: the parent looks for the words
            other => panic!("fetched: {other:?}"),
        }
    }
    let authority = Authority::new("Test Authority");
    let server = Server::https(authority.acceptor("127.0.0.1", YEARS, &[]), |_| Answer::new(full("trusted"))).await;
    let folder = tempfile::tempdir().unwrap();
    let (good, empty) = (folder.path().join("good.pem"), folder.path().join("empty.pem"));
    std::fs::write(&good, authority.pem()).unwrap();
    std::fs::write(&empty, Authority::new("Stranger").pem().replace("BEGIN", "NO")).unwrap();
    for (file, expected) in [(&good, "1 passed"), (&empty, "SSL_CERT_FILE")] {
        let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "tests::tls::the_environment_names_the_authorities", "--nocapture"]);
        child.env(CHILD, format!("https://{}/", server.address)).env("SSL_CERT_FILE", file).env_remove("SSL_CERT_DIR");
        let output = child.output().await.unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(text.contains(expected), "{expected}: {text}");
    }
}
