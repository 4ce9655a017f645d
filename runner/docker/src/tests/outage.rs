//! Engines that are not there, or stop being there.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};

use super::{BUSYBOX, line, scene, sh, skip, socket};
use crate::{Engine, EngineError, Owner};

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

/// An engine of a test's own, without a network.
struct Daemon {
    process: Child,
    folder: tempfile::TempDir,
}

impl Daemon {
    fn start(test: &str) -> Option<Daemon> {
        if Command::new("dockerd").arg("--version").stdout(Stdio::null()).status().is_err() {
            skip(test, "there is no dockerd to start and stop. Get it with `apt-get install docker.io`");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new("dockerd");
        command.args(["--iptables=false", "--ip-masq=false", "--bridge=none", "--storage-driver=vfs", "--host"]);
        command.arg(format!("unix://{}", path("engine.sock")));
        for (option, name) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
            command.arg(option).arg(path(name));
        }
        let process = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Some(Daemon { process, folder })
    }

    async fn engine(&self) -> Result<Engine, EngineError> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            match Engine::at(socket(self.folder.path().join("engine.sock"))).await {
                Err(error) if Instant::now() < deadline => {
                    drop(error);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                other => return other,
            }
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    /// What a killed engine leaves running ends with the processes that it started, which are told by its folder.
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let folder = self.folder.path().display().to_string();
        for _ in 0..5 {
            let of_it = processes(&folder);
            for pid in &of_it {
                let _ = Command::new("kill").args(["-9", pid]).status();
            }
            if of_it.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        for mount in mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)).filter(|path| Path::new(path).starts_with(&folder)) {
            let _ = Command::new("umount").args(["-l", mount]).status();
        }
    }
}

/// Numbers of the processes whose command line names a folder, and of what they started.
fn processes(folder: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let all: Vec<(String, String, String)> = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().into_string().ok().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))?;
            let line = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.to_owned();
            Some((pid, parent, line))
        })
        .collect();
    let own = std::process::id().to_string();
    loop {
        let more: Vec<String> = all
            .iter()
            .filter(|(pid, parent, line)| *pid != own && !found.contains(pid) && (line.contains(folder) || found.contains(parent)))
            .map(|(pid, _, _)| pid.clone())
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_goes_away_is_an_error_at_once() {
    let Some(scene) = scene("outage").await else { return };
    let Some(mut daemon) = Daemon::start("outage") else { return };
    let engine = match daemon.engine().await {
        Ok(engine) => engine,
        Err(error) => panic!("{error}\n{}", daemon.log()),
    };
    let saved: Vec<_> = scene.engine.save(&[BUSYBOX]).unwrap().try_collect().await.unwrap();
    engine.load(futures::stream::iter(saved.into_iter().map(Ok))).await.unwrap();
    let owner = Owner { run: "r".into(), stage: "s".into(), attempt: 1, process: Owner::this_process() };
    let container = engine.run(&owner, &sh("echo up; sleep 600")).await.unwrap();
    let mut output = container.output().unwrap();
    line(&mut output, "up").await;

    let (waiting, reading, _) = tokio::join!(
        tokio::time::timeout(Duration::from_secs(20), container.wait()),
        tokio::time::timeout(Duration::from_secs(20), output.next()),
        async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            daemon.process.kill().unwrap();
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
