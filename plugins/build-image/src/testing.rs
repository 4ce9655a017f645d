//! Worlds for tests: one with answers up its sleeve, and one over real sockets, with a real registry.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Cursor, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use runner_sdk::docker::images::Pushed;
use runner_sdk::docker::{self, Build, Built};
use runner_sdk::log::Level;
use runner_sdk::{Denial, Failure};
use serde_json::Value;

use crate::world::{Request, Response, Trouble, World};

type Sending = Box<dyn FnMut(&Request) -> Result<Response, Trouble>>;

/// A world whose parts are said by the test, and which remembers what was done.
pub struct Scene {
    pub send: Sending,
    pub sent: Vec<Request>,
    pub said: Vec<String>,
    pub waits: Vec<Duration>,
    /// Called at each wait.
    pub meanwhile: Box<dyn FnMut(usize)>,
    pub builds: Vec<Build>,
    pub built: VecDeque<Result<Built, docker::Error>>,
    pub pushes: Vec<String>,
    pub pushed: VecDeque<Result<Pushed, docker::Error>>,
    pub tagged: Vec<(String, String)>,
    /// A PEM that openssl signs with.
    pub key: Option<PathBuf>,
}

impl Scene {
    pub fn new(send: impl FnMut(&Request) -> Result<Response, Trouble> + 'static) -> Scene {
        Scene {
            send: Box::new(send),
            sent: Vec::new(),
            said: Vec::new(),
            waits: Vec::new(),
            meanwhile: Box::new(|_| {}),
            builds: Vec::new(),
            built: VecDeque::new(),
            pushes: Vec::new(),
            pushed: VecDeque::new(),
            tagged: Vec::new(),
            key: None,
        }
    }

    /// Over sockets.
    pub fn real() -> Scene {
        Scene::new(exchange)
    }

    /// With these answers, one after the other.
    pub fn answers(answers: Vec<Response>) -> Scene {
        let mut answers = VecDeque::from(answers);
        Scene::new(move |_| Ok(answers.pop_front().expect("no more requests than answers")))
    }

    /// `METHOD path` of each request.
    pub fn lines(&self) -> Vec<String> {
        let path = |url: &str| url.splitn(4, '/').nth(3).unwrap_or_default().to_owned();
        self.sent.iter().map(|request| format!("{} /{}", request.method, path(&request.url))).collect()
    }
}

impl World for Scene {
    fn send(&mut self, request: &Request) -> Result<Response, Trouble> {
        self.sent.push(request.clone());
        (self.send)(request)
    }

    fn pause(&mut self, duration: Duration) {
        self.waits.push(duration);
        (self.meanwhile)(self.waits.len());
    }

    fn jitter(&mut self) -> f64 {
        0.5
    }

    fn say(&mut self, _: Level, text: &str) {
        self.said.push(text.to_owned());
    }

    fn sign(&mut self, key: &str, password: Option<&str>, payload: &[u8]) -> Result<Vec<u8>, Failure> {
        assert_eq!((key, password), ("cosign", None));
        let file = self.key.clone().expect("the test has a key");
        let mut openssl = Command::new("openssl")
            .args(["dgst", "-sha256", "-sign"])
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("openssl starts");
        openssl.stdin.take().unwrap().write_all(payload).unwrap();
        Ok(openssl.wait_with_output().unwrap().stdout)
    }

    fn build(&mut self, build: &Build) -> Result<Built, docker::Error> {
        self.builds.push(build.clone());
        self.built.pop_front().expect("no more builds than answers")
    }

    fn tag(&mut self, source: &str, target: &str) -> Result<(), docker::Error> {
        self.tagged.push((source.into(), target.into()));
        Ok(())
    }

    fn push(&mut self, reference: &str) -> Result<Pushed, docker::Error> {
        self.pushes.push(reference.into());
        self.pushed.pop_front().expect("no more pushes than answers")
    }

    fn save(&mut self, _: &str, path: &str) -> Result<u64, docker::Error> {
        std::fs::write(path, "saved").unwrap();
        Ok(5)
    }
}

pub fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Response {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Response { status, headers, body: Box::new(Cursor::new(body.as_bytes().to_vec())) }
}

pub fn built(id: &str) -> Result<Built, docker::Error> {
    Ok(Built { id: id.into(), size: 1_500_000, duration: Duration::from_secs(1), cached: 1, steps: 3, buildkit: false })
}

pub fn denial() -> Denial {
    let text = |text: &str| text.to_owned();
    Denial { effect: text("docker.build"), subject: text("x"), code: text("not-granted"), reason: text("no"), remedy: None }
}

/// One request over a connection of its own: HTTP/1.1 as far as a registry on this machine needs it.
fn exchange(request: &Request) -> Result<Response, Trouble> {
    let passing = |error: std::io::Error| Trouble::Passing(format!("no connection: {error}"));
    let rest = request.url.strip_prefix("http://").expect("tests speak in the open");
    let (host, path) = rest.split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).map_err(passing)?;
    let mut head =
        format!("{} /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n", request.method, request.body.len());
    for (name, value) in &request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| stream.write_all(&request.body)).map_err(passing)?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).map_err(passing)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| Trouble::Passing("no answer".into()))?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).map_err(passing)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.to_owned())),
            None => break,
        }
    }
    let header = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let body: Box<dyn Read> = match (request.method, header("transfer-encoding"), header("content-length")) {
        ("HEAD", ..) => Box::new(std::io::empty()),
        (_, Some(_), _) => Box::new(Cursor::new(chunks(&mut reader))),
        (_, None, Some(length)) => Box::new(reader.take(length.parse().unwrap())),
        _ => Box::new(reader),
    };
    Ok(Response { status, headers, body })
}

fn chunks(reader: &mut impl BufRead) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let size = u64::from_str_radix(line.trim(), 16).unwrap();
        std::io::copy(&mut reader.take(size), &mut body).unwrap();
        reader.read_line(&mut String::new()).unwrap();
        if size == 0 {
            return body;
        }
    }
}

/// Debian's `docker-registry`, with a store of its own. Stopped when dropped.
pub struct Registry {
    pub host: String,
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Registry {
    /// `None` where it is not installed; a panic where tests must have it.
    pub fn new(test: &str) -> Option<Registry> {
        let there = Command::new("docker-registry").arg("--version").output().is_ok_and(|output| output.status.success());
        if !there {
            skip(test, "docker-registry", "`apt-get install docker-registry`");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Some(Registry { host: format!("127.0.0.1:{port}"), folder: tempfile::tempdir().unwrap(), child: None })
    }

    pub fn up(test: &str) -> Option<Registry> {
        let mut registry = Registry::new(test)?;
        registry.start();
        Some(registry)
    }

    pub fn start(&mut self) {
        let (folder, host) = (self.folder.path(), &self.host);
        let config = format!(
            "version: 0.1\nlog: {{ level: error, accesslog: {{ disabled: true }} }}\nstorage: {{ filesystem: {{ rootdirectory: {}/store }} }}\nhttp: {{ addr: \"{host}\" }}\n",
            folder.display()
        );
        let path = folder.join("config.yml");
        std::fs::write(&path, config).unwrap();
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let child = Command::new("docker-registry").arg("serve").arg(path).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.child = Some(child);
        let begun = Instant::now();
        while TcpStream::connect(host).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{}", std::fs::read_to_string(folder.join("log")).unwrap());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Status, headers and JSON of a plain GET below `/v2/`.
    pub fn get(&self, path: &str) -> (u16, Vec<(String, String)>, Value) {
        let accept = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";
        let request = Request::new("GET", format!("http://{}/v2/{path}", self.host)).header("accept", accept);
        let mut response = exchange(&request).unwrap_or_else(|_| panic!("{path}: no answer"));
        let mut body = Vec::new();
        response.body.read_to_end(&mut body).unwrap();
        (response.status, response.headers, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// The document that must be there.
    pub fn json(&self, path: &str) -> Value {
        let (status, _, json) = self.get(path);
        assert_eq!(status, 200, "{path}: {json}");
        json
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Says that a test is skipped for want of an engine, or fails where tests must have it.
#[allow(clippy::print_stderr)] // that is how a test speaks
pub fn skip(test: &str, needs: &str, mend: &str) {
    assert!(std::env::var_os("PIPELINE_TEST_REQUIRE_ENGINES").is_none(), "{test} needs {needs}: {mend}");
    eprintln!("{test} is skipped: it needs {needs} ({mend})");
}

/// A file that does not get smaller.
pub fn noise(path: &Path, size: usize) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    std::fs::write(path, &bytes[..size]).unwrap();
}
