//! A package registry on loopback, for npm, pip and cargo: files that are put on it, over plain HTTP.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;

#[derive(Default)]
struct Shared {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    asked: Mutex<Vec<String>>,
    /// Whose packages it hands on: the address of the registry that npm knows, which ends with a slash.
    npm: Mutex<Option<String>>,
}

/// Serves until the test process ends.
pub struct Registry {
    port: u16,
    shared: Arc<Shared>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    pub fn start() -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared::default());
        let serving = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                std::thread::spawn(move || while serving.answer(&stream).unwrap_or(false) {});
            }
        });
        Registry { port, shared }
    }

    /// `localhost:4873`
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// The paths that were asked for so far.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.shared.asked).clone()
    }

    pub fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        lock(&self.shared.files).insert(path.to_owned(), bytes.into());
    }

    /// From now on it also has what the machine's own npm can get, fetched as it is asked for.
    pub fn hands_on_npm(&self) {
        let known = made(Command::new("npm").args(["config", "get", "registry"]));
        let known = String::from_utf8_lossy(&known).trim().trim_end_matches('/').to_owned();
        *lock(&self.shared.npm) = Some(format!("{known}/"));
    }

    /// An npm package with one version, whose installation runs a shell script that it brings along.
    pub fn npm_package(&self, name: &str, postinstall: &str) {
        let manifest = json!({ "name": name, "version": "1.0.0", "scripts": { "postinstall": "sh postinstall.sh" } });
        let folder = tempfile::tempdir().expect("a folder");
        let package = folder.path().join("package");
        std::fs::create_dir(&package).expect("a folder");
        std::fs::write(package.join("package.json"), manifest.to_string()).expect("a file");
        std::fs::write(package.join("postinstall.sh"), postinstall).expect("a file");
        let archive = made(Command::new("tar").args(["-cz", "package"]).current_dir(folder.path()));
        let tarball = format!("/{name}/-/{name}-1.0.0.tgz");
        let mut version = manifest;
        version["hasInstallScript"] = true.into();
        version["dist"] = json!({ "tarball": format!("http://{}{tarball}", self.host()) });
        let document = json!({ "name": name, "dist-tags": { "latest": "1.0.0" }, "versions": { "1.0.0": version } });
        self.put(&tarball, archive);
        self.put(&format!("/{name}"), document.to_string());
    }

    /// A crate with one version; the index is below `/index/`.
    pub fn cargo_crate(&self, name: &str) {
        let folder = tempfile::tempdir().expect("a folder");
        let package = folder.path().join(format!("{name}-1.0.0"));
        std::fs::create_dir_all(package.join("src")).expect("a folder");
        let manifest = format!("[package]\nname = \"{name}\"\nversion = \"1.0.0\"\nedition = \"2021\"\n");
        std::fs::write(package.join("Cargo.toml"), manifest).expect("a file");
        std::fs::write(package.join("src/lib.rs"), "").expect("a file");
        made(Command::new("tar").args(["-czf", "crate", &format!("{name}-1.0.0")]).current_dir(folder.path()));
        let sum = made(Command::new("sha256sum").arg("crate").current_dir(folder.path()));
        let sum = String::from_utf8_lossy(&sum).split(' ').next().unwrap_or_default().to_owned();
        let version = json!({ "name": name, "vers": "1.0.0", "deps": [], "cksum": sum, "features": {}, "yanked": false });
        self.put("/index/config.json", json!({ "dl": format!("http://{}/crates", self.host()) }).to_string());
        self.put(&format!("/index/{}/{}/{name}", &name[..2], &name[2..4]), version.to_string());
        self.put(&format!("/crates/{name}/1.0.0/download"), std::fs::read(folder.path().join("crate")).expect("the crate"));
    }

    /// A Python package with one version, below `/simple/`.
    pub fn wheel(&self, name: &str, python: &Path) {
        let folder = tempfile::tempdir().expect("a folder");
        let info = folder.path().join(format!("{name}-1.0.dist-info"));
        std::fs::create_dir(&info).expect("a folder");
        std::fs::write(folder.path().join(format!("{name}.py")), "").expect("a file");
        std::fs::write(info.join("METADATA"), format!("Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")).expect("a file");
        std::fs::write(info.join("WHEEL"), "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            .expect("a file");
        std::fs::write(info.join("RECORD"), "").expect("a file");
        let file = format!("{name}-1.0-py3-none-any.whl");
        let info = format!("{name}-1.0.dist-info");
        made(Command::new(python).args(["-m", "zipfile", "-c", &file, &format!("{name}.py"), &info]).current_dir(folder.path()));
        self.put(&format!("/files/{file}"), std::fs::read(folder.path().join(&file)).expect("the wheel"));
        self.put(&format!("/simple/{name}/"), format!("<!DOCTYPE html><html><body><a href=\"/files/{file}\">{file}</a></body></html>"));
    }
}

impl Shared {
    /// Answers one request; whether another may follow.
    fn answer(&self, mut stream: &TcpStream) -> std::io::Result<bool> {
        let (mut head, mut reader) = (String::new(), BufReader::new(stream));
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(false);
            }
        }
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        lock(&self.asked).push(path.clone());
        let known = lock(&self.files).get(&path).cloned();
        let found = known.or_else(|| self.fetched(&path, stream));
        let (status, body) = found.map_or((404, b"{}".to_vec()), |body| (200, body));
        let kind = if path.starts_with("/simple/") { "text/html" } else { "application/json" };
        write!(stream, "HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len())?;
        stream.write_all(&body)?;
        Ok(true)
    }

    /// From the registry that npm knows; what names that one names this one then.
    fn fetched(&self, path: &str, stream: &TcpStream) -> Option<Vec<u8>> {
        let known = lock(&self.npm).clone()?;
        let url = format!("{known}{}", path.trim_start_matches('/'));
        let accepts = "accept: application/vnd.npm.install-v1+json, application/octet-stream, */*";
        let output = Command::new("curl").args(["-sS", "--fail", "--location", "--retry", "3", "-H", accepts, &url]).output().ok()?;
        if !output.status.success() {
            return None;
        }
        let own = format!("http://localhost:{}/", stream.local_addr().ok()?.port());
        let body = match path.ends_with(".tgz") {
            true => output.stdout,
            false => String::from_utf8_lossy(&output.stdout).replace(&known, &own).into_bytes(),
        };
        lock(&self.files).insert(path.to_owned(), body.clone());
        Some(body)
    }
}

/// What a program printed that must succeed.
fn made(command: &mut Command) -> Vec<u8> {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
