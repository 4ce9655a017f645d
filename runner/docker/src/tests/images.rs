use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures::TryStreamExt;

use super::{BUSYBOX, scene, skip};
use crate::{EngineError, Login};

const PASSWORD: &str = "p~?>o/+ ~~~???>>>";
/// bcrypt of [`PASSWORD`], the one form that the registry takes.
const HTPASSWD: &str = "me:$2y$05$abcdefghijklmnopqrstuuOZtXlH3oBk8drW3dBI4fXJAsovAsj5i\n";

/// Debian's registry on a free port, for as long as a test runs.
struct Registry {
    process: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Registry {
    /// None: it is not installed, which has been said.
    fn start(test: &str, with_login: bool) -> Option<Registry> {
        if Command::new("docker-registry").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            skip(test, "there is no docker-registry. Get it with `apt-get install docker-registry`");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let path = folder.path().display();
        let mut config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {path}/data\nhttp:\n  addr: 127.0.0.1:{port}\n"
        );
        if with_login {
            std::fs::write(folder.path().join("htpasswd"), HTPASSWD).unwrap();
            config.push_str(&format!("auth:\n  htpasswd:\n    realm: test\n    path: {path}/htpasswd\n"));
        }
        std::fs::write(folder.path().join("config.yml"), config).unwrap();
        let process = Registry::serve(folder.path());
        let registry = Registry { process, port, folder };
        registry.wait();
        Some(registry)
    }

    fn serve(folder: &Path) -> Child {
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(folder.join("config.yml")).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "the registry did not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the registry itself answers.
    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let accept = "application/vnd.docker.distribution.manifest.v2+json";
        write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\nAccept: {accept}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_known_by_what_is_in_it() {
    let Some(scene) = scene("images").await else { return };
    let engine = &scene.engine;
    let image = engine.image(BUSYBOX).await.unwrap().unwrap();
    assert!(image.id.starts_with("sha256:") && image.id.len() == 71, "{}", image.id);
    assert!(image.size > 100_000 && image.os == "linux" && !image.layers.is_empty(), "{image:?}");
    assert!(image.tags.contains(&BUSYBOX.to_owned()));
    assert_eq!(engine.image(&image.id).await.unwrap().as_ref(), Some(&image));
    assert!(engine.images().await.unwrap().contains(&image));
    assert_eq!(engine.image("runner-test/no-such:1").await.unwrap(), None);
    assert!(matches!(engine.image("../containers/json").await, Err(EngineError::Reference(_))));

    let name = format!("runner-test/{}:a", scene.owner.run);
    engine.tag(BUSYBOX, &name).await.unwrap();
    assert_eq!(engine.image(&name).await.unwrap().unwrap().id, image.id);
    let saved: Vec<_> = engine.save(&[&name]).unwrap().try_collect().await.unwrap();
    engine.remove_image(&name).await.unwrap();
    assert_eq!(engine.image(&name).await.unwrap(), None);
    assert!(engine.remove_image(&name).await.unwrap_err().is_missing());
    engine.load(futures::stream::iter(saved.into_iter().map(Ok))).await.unwrap();
    assert_eq!(engine.image(&name).await.unwrap().unwrap().id, image.id);
    engine.remove_image(&name).await.unwrap();
    assert!(engine.tag("runner-test/no-such:1", &name).await.unwrap_err().is_missing());
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_go_to_a_registry_and_come_back() {
    let Some(scene) = scene("registry").await else { return };
    let Some(mut registry) = Registry::start("registry", false) else { return };
    let engine = &scene.engine;
    let reference = format!("127.0.0.1:{}/acme/app:1.2", registry.port);
    engine.tag(BUSYBOX, &reference).await.unwrap();
    let steps = Mutex::new(BTreeSet::new());
    let pushed = engine.push(&reference, None, &|step| steps.lock().unwrap().extend([step.status])).await.unwrap();
    let manifest = registry.get("/v2/acme/app/manifests/1.2");
    assert!(manifest.contains(&pushed.digest), "{pushed:?}: {manifest}");
    assert_eq!(manifest.split_once("\r\n\r\n").unwrap().1.len() as u64, pushed.size);
    assert!(steps.lock().unwrap().contains("Pushed"), "{steps:?}");

    let id = engine.image(&reference).await.unwrap().unwrap().id;
    engine.remove_image(&reference).await.unwrap();
    let by_digest = format!("127.0.0.1:{}/acme/app@{}", registry.port, pushed.digest);
    let pulled = engine.pull(&by_digest, None, None, &|_| {}).await.unwrap();
    assert_eq!(pulled.id, id);
    assert!(pulled.digests.contains(&by_digest));
    engine.remove_image(&by_digest).await.unwrap();
    assert_eq!(engine.pull(&reference, None, None, &|_| {}).await.unwrap().id, id);
    // the name and the digest that it was pulled by
    engine.remove_image(&reference).await.unwrap();
    let _ = engine.remove_image(&by_digest).await;

    let missing = engine.pull(&format!("127.0.0.1:{}/acme/other", registry.port), None, None, &|_| {}).await.unwrap_err();
    assert!(matches!(&missing, EngineError::Registry { .. }) && missing.to_string().contains("acme/other"), "{missing}");

    // a registry that does not answer, and then does
    engine.tag(BUSYBOX, &reference).await.unwrap();
    registry.process.kill().unwrap();
    registry.process.wait().unwrap();
    let unreachable = engine.push(&reference, None, &|_| {}).await.unwrap_err();
    assert!(matches!(&unreachable, EngineError::Registry { refused: false, .. }), "{unreachable:?}");
    assert!(unreachable.to_string().contains("refused"), "{unreachable}");
    registry.process = Registry::serve(registry.folder.path());
    registry.wait();
    assert_eq!(engine.push(&reference, None, &|_| {}).await.unwrap(), pushed);
    engine.remove_image(&reference).await.unwrap();
    let _ = engine.remove_image(&by_digest).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_is_shown_a_login() {
    let Some(scene) = scene("login").await else { return };
    let Some(registry) = Registry::start("login", true) else { return };
    let engine = &scene.engine;
    let reference = format!("127.0.0.1:{}/acme/app", registry.port);
    engine.tag(BUSYBOX, &reference).await.unwrap();
    let wrong = Login { user: "me", password: "another one" };
    for login in [None, Some(&wrong)] {
        let refused = engine.push(&reference, login, &|_| {}).await.unwrap_err();
        assert!(matches!(&refused, EngineError::Registry { refused: true, .. }), "{refused:?}");
        assert!(!refused.to_string().contains("another one"));
        let refused = engine.pull(&reference, None, login, &|_| {}).await.unwrap_err();
        assert!(matches!(&refused, EngineError::Registry { refused: true, .. }), "{refused:?}");
    }
    // characters that the two kinds of base64 write differently
    let right = Login { user: "me", password: PASSWORD };
    let pushed = engine.push(&reference, Some(&right), &|_| {}).await.unwrap();
    engine.remove_image(&reference).await.unwrap();
    let pulled = engine.pull(&reference, None, Some(&right), &|_| {}).await.unwrap();
    let by_digest = format!("{reference}@{}", pushed.digest);
    assert!(pulled.digests.contains(&by_digest), "{pulled:?}");
    // the engine has not kept it
    assert!(engine.pull(&reference, None, None, &|_| {}).await.is_err());
    engine.remove_image(&format!("{reference}:latest")).await.unwrap();
    let _ = engine.remove_image(&by_digest).await;
    scene.end().await;
}
