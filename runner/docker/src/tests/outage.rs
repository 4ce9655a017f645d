//! Engines that are not there, or stop being there.

use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};

use super::{BUSYBOX, line, read, scene, sh, skip, socket};
use crate::endpoint::{Address, Endpoint, Tls};
use crate::{ContainerSpec, Engine, EngineError, Owner, Pod, PodSpec};

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("engine.sock");
    let said = |error: EngineError| error.to_string().replace(folder.path().to_str().unwrap(), "F");

    let error = said(Engine::at(socket(at.clone())).await.unwrap_err());
    assert!(error.starts_with("no Docker engine answers at unix://F/engine.sock (the test): there is no such socket; start it"), "{error}");

    // somebody listens and never says a word
    let silent = UnixListener::bind(&at).unwrap();
    let asked = Instant::now();
    let error = said(Engine::at(socket(at.clone())).await.unwrap_err());
    assert!(error.contains("no answer within 5 s; see that what listens there is a Docker engine"), "{error}");
    assert!(asked.elapsed() < Duration::from_secs(12));
    drop(silent);
    let error = said(Engine::at(socket(at)).await.unwrap_err());
    assert!(error.contains("Connection refused"), "{error}");
}

#[path = "../../../../tests/src/daemon.rs"]
#[expect(dead_code, reason = "the end-to-end tests also start one again")]
mod daemon;

use daemon::Daemon;

fn daemon(test: &str, files: &[(&str, String)], more: &[&str]) -> Option<Daemon> {
    let daemon = Daemon::start(files, more);
    if daemon.is_none() {
        skip(test, "there is no dockerd to start and stop. Get it with `apt-get install docker.io`");
    }
    daemon
}

async fn engine(daemon: &Daemon, endpoint: Endpoint) -> Engine {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match Engine::at(endpoint.clone()).await {
            Ok(engine) => return engine,
            Err(error) if Instant::now() > deadline => panic!("{error}\n{}", daemon.log()),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// The image that tests use.
async fn give(from: &Engine, to: &Engine) {
    let saved: Vec<_> = from.save(&[BUSYBOX]).unwrap().try_collect().await.unwrap();
    to.load(futures::stream::iter(saved.into_iter().map(Ok))).await.unwrap();
}

/// A certificate and its key, in PEM, signed by an authority.
fn certificate(authority: &rcgen::CertifiedIssuer<'_, rcgen::KeyPair>) -> (String, String) {
    use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    parameters.extended_key_usages = vec![ServerAuth, ClientAuth];
    (parameters.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

fn authority() -> rcgen::CertifiedIssuer<'static, rcgen::KeyPair> {
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    rcgen::CertifiedIssuer::self_signed(parameters, rcgen::KeyPair::generate().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_is_spoken_to_over_tls() {
    let Some(scene) = scene("tls").await else { return };
    let (ours, strange) = (authority(), authority());
    let ((server, server_key), (client, client_key)) = (certificate(&ours), certificate(&ours));
    let (stranger, stranger_key) = certificate(&strange);
    let files = [
        ("ca.pem", ours.pem()),
        ("server.pem", server),
        ("server-key.pem", server_key),
        ("cert.pem", client),
        ("key.pem", client_key),
        ("strange-ca.pem", strange.pem()),
        ("stranger.pem", stranger),
        ("stranger-key.pem", stranger_key),
    ];
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("tcp://127.0.0.1:{port}");
    let options = ["--host", &address, "--tlsverify", "--tlscacert", "@ca.pem", "--tlscert", "@server.pem", "--tlskey", "@server-key.pem"];
    let Some(daemon) = daemon("tls", &files, &options) else { return };
    let with = |ca: &str, certificate: &str, key: &str| {
        let path = |name: &str| daemon.folder().join(name);
        let tls = Some(Tls { ca: path(ca), certificate: path(certificate), key: path(key) });
        Endpoint { address: Address::Tcp { authority: format!("127.0.0.1:{port}"), tls }, from: "the test".to_owned() }
    };
    let engine = engine(&daemon, with("ca.pem", "cert.pem", "key.pem")).await;
    assert!(!engine.is_local() && engine.endpoint() == address);
    give(&scene.engine, &engine).await;
    let owner = Owner { run: "r".into(), stage: "s".into(), attempt: 1, process: Owner::this_process() };
    let container = engine.run(&owner, &ContainerSpec { stdin: vec![b'x'; 300_000], ..sh("wc -c; exit 3") }).await.unwrap();
    assert_eq!(read(container.output().unwrap()).await.0.trim(), "300000");
    assert_eq!(container.wait().await.unwrap().code, 3);
    container.remove().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let pod = Pod::start(&engine, &owner, &PodSpec { folder: folder.path().to_owned(), ..PodSpec::default() }).await;
    assert!(matches!(pod, Err(EngineError::NotLocal { .. })));

    for (ca, certificate, key) in [("strange-ca.pem", "cert.pem", "key.pem"), ("ca.pem", "stranger.pem", "stranger-key.pem")] {
        let refused = Engine::at(with(ca, certificate, key)).await.unwrap_err().to_string();
        assert!(refused.to_lowercase().contains("certificate"), "{ca}: {refused}");
    }
    let in_the_clear =
        Endpoint { address: Address::Tcp { authority: format!("127.0.0.1:{port}"), tls: None }, from: "the test".to_owned() };
    assert!(matches!(Engine::at(in_the_clear).await, Err(EngineError::Unreachable { .. })));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_goes_away_is_an_error_at_once() {
    let Some(scene) = scene("outage").await else { return };
    let Some(mut daemon) = daemon("outage", &[], &[]) else { return };
    let engine = engine(&daemon, socket(daemon.socket())).await;
    give(&scene.engine, &engine).await;
    let owner = Owner { run: "r".into(), stage: "s".into(), attempt: 1, process: Owner::this_process() };
    let container = engine.run(&owner, &sh("echo up; sleep 600")).await.unwrap();
    let mut output = container.output().unwrap();
    line(&mut output, "up").await;

    let (waiting, reading, _) = tokio::join!(
        tokio::time::timeout(Duration::from_secs(20), container.wait()),
        tokio::time::timeout(Duration::from_secs(20), output.next()),
        async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            daemon.kill();
        }
    );
    let lost = waiting.expect("it does not hang").unwrap_err();
    assert!(lost.is_unreachable(), "{lost:?}");
    let words = lost.to_string();
    assert!(words.contains("waiting for its end: the connection to the Docker engine at unix://") && words.contains("broke"), "{words}");
    assert!(!matches!(reading.expect("it does not hang"), Some(Ok(_))));
    for lost in [container.stop(Duration::from_secs(1)).await, container.kill().await, container.inspect().await.map(drop)] {
        assert!(lost.as_ref().is_err_and(EngineError::is_unreachable), "{lost:?}");
    }
    assert!(container.remove().await.unwrap_err().is_unreachable());
    assert!(engine.run(&owner, &sh("true")).await.err().unwrap().is_unreachable());
    scene.end().await;
}
