use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipeline::plan::{ImageService, MountSource, Service, ServiceMount, ServiceSource};
use service::Launched;

use super::{BUSYBOX, Scene, scene};
use crate::{ImageLauncher, PodSpec, Serving, StagePod};

fn service(name: &str, script: &str, more: ImageService) -> Service {
    let container = ImageService {
        image: BUSYBOX.to_owned(),
        entrypoint: Some(vec!["/bin/sh".to_owned(), "-c".to_owned()]),
        arguments: Some(vec![script.to_owned()]),
        ..more
    };
    Service {
        name: name.to_owned(),
        span: 0..0,
        source: ServiceSource::Image(container),
        env: vec![("discovery.type".to_owned(), "single-node".to_owned())],
        toolchains: Vec::new(),
        network: Vec::new(),
        ready: None,
        needs: Vec::new(),
        optional: false,
        grace: Duration::from_secs(10),
    }
}

fn volume(name: &str, to: &str, writable: bool) -> ServiceMount {
    ServiceMount { from: MountSource::Volume { name: name.to_owned(), writable }, to: to.to_owned() }
}

/// A service that was started, and where what it prints comes out.
async fn start(launcher: &ImageLauncher, service: &Service) -> (Serving, std::io::PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    let other = writer.try_clone().unwrap();
    (launcher.start(service, writer.into(), other.into()).await.unwrap(), reader)
}

async fn says(launcher: &ImageLauncher, service: &Service) -> (String, String) {
    let (serving, mut reader) = start(launcher, service).await;
    let how = serving.ended().await;
    let said = tokio::task::spawn_blocking(move || {
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        said
    });
    (how, said.await.unwrap())
}

fn launcher(scene: &Scene, folder: &Path) -> ImageLauncher {
    let sockets = folder.join("pod");
    std::fs::create_dir(&sockets).unwrap();
    let spec = PodSpec { names: vec!["db".into()], full: false, outlet: false, folder: sockets };
    ImageLauncher { pod: Arc::new(StagePod::new(scene.owner.clone(), spec)), checkout: folder.join("checkout"), note: Box::new(|_| {}) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_gets_what_the_pipeline_file_says() {
    let Some(scene) = scene("service").await else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("checkout/db")).unwrap();
    std::fs::write(folder.path().join("checkout/db/init.sql"), "create\n").unwrap();
    let launcher = launcher(&scene, folder.path());

    let init = ServiceMount { from: MountSource::Checkout("db/init.sql".to_owned()), to: "/init.sql".to_owned() };
    let first = ImageService { mounts: vec![volume("data", "/data", true), init], read_only: true, ..ImageService::default() };
    let script = "cat /init.sql; (echo x > /init.sql) 2>/dev/null || (echo x > /x) 2>/dev/null || echo read-only; echo kept > /data/f; tr '\\0' '\\n' < /proc/1/environ | grep discovery";
    let told = says(&launcher, &service("first", script, first)).await;
    assert_eq!(told, ("exit 0".to_owned(), "create\nread-only\ndiscovery.type=single-node\n".to_owned()));

    let second = ImageService {
        mounts: vec![volume("data", "/data", false), volume("other", "/other", true)],
        user: Some("1000:1000".to_owned()),
        directory: Some("/data".to_owned()),
        init: true,
        ..ImageService::default()
    };
    let script = "id -u; pwd; cat f; ls /other; (echo x > f) 2>/dev/null || echo read-only; test $$ != 1 && exit 3";
    let told = says(&launcher, &service("second", script, second)).await;
    assert_eq!(told, ("exit 3".to_owned(), "1000\n/data\nkept\nread-only\n".to_owned()));

    let asked = ImageService { stop_signal: Some("SIGUSR1".to_owned()), ..ImageService::default() };
    let (serving, _reader) = start(&launcher, &service("asked", "trap 'exit 7' USR1; touch /up; while :; do sleep 0.1; done", asked)).await;
    let up = ["test", "-e", "/up"].map(str::to_owned);
    while serving.run(&up).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let began = Instant::now();
    serving.stop(Duration::from_secs(20)).await;
    assert_eq!(serving.ended().await, "exit 7");
    assert!(began.elapsed() < Duration::from_secs(10), "it was asked with the signal that it heeds");
    drop(serving);

    assert!(scene.left().await.iter().any(|left| left.starts_with("volume runner-")), "volumes are the attempt's");
    launcher.pod.end().await.unwrap();
    scene.end_soon().await;
}
