//! A Docker engine of a test's own, which can be stopped and started again. The tests of the crate `docker` have this file too.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tempfile::TempDir;

/// With a bridge of its own: one without any takes away the bridge of the machine's engine.
pub struct Daemon {
    process: Child,
    folder: TempDir,
    bridge: String,
    options: Vec<String>,
}

fn ip(words: &str) -> bool {
    Command::new("ip").args(words.split(' ')).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

impl Daemon {
    /// None: there is no dockerd to start. `more`: further options, which may name `files` of its folder as `@name`.
    pub fn start(files: &[(&str, String)], more: &[&str]) -> Option<Daemon> {
        Command::new("dockerd").arg("--version").stdout(Stdio::null()).status().ok()?;
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("a file");
        }
        static MADE: AtomicU8 = AtomicU8::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let bridge = format!("rt{}-{number}", std::process::id());
        let made = ip(&format!("link add {bridge} type bridge")) && ip(&format!("addr add 10.213.{number}.1/24 dev {bridge}"));
        assert!(made, "a bridge for an engine of its own can't be made");
        let mut options: Vec<String> =
            ["--iptables=false", "--ip-masq=false", "--storage-driver=vfs", "--bridge", &bridge, "--host"].map(str::to_owned).into();
        options.push(format!("unix://{}", path("engine.sock")));
        for (option, name) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
            options.extend([option.to_owned(), path(name)]);
        }
        options.extend(more.iter().map(|word| word.strip_prefix('@').map_or((*word).to_owned(), path)));
        let process = begin(&options, folder.path());
        Some(Daemon { process, folder, bridge, options })
    }

    /// Its folder, with the files that it was given.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("engine.sock")
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// It is gone at once, and what it had started runs on.
    pub fn kill(&mut self) {
        self.process.kill().expect("it is ours");
        self.process.wait().expect("it ends");
    }

    /// Ends it as an administrator does, with all of its containers, and starts it once more with what it had.
    pub fn restart(&mut self) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").arg(&pid).status().is_ok_and(|status| status.success()), "dockerd can't be asked to end");
        self.process.wait().expect("it ends");
        self.process = begin(&self.options, self.folder.path());
    }
}

fn begin(options: &[String], folder: &Path) -> Child {
    let log = std::fs::File::options().append(true).create(true).open(folder.join("log")).expect("a file");
    Command::new("dockerd").args(options).stdout(Stdio::null()).stderr(log).spawn().expect("dockerd starts")
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
        ip(&format!("link del {}", self.bridge));
    }
}

/// Numbers of the processes whose command line names a folder, and of what they started.
fn processes(folder: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let all: Vec<(String, String, String)> = std::fs::read_dir("/proc")
        .expect("processes are listed")
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
