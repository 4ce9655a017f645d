//! A Prometheus of a test's own, beside the one that all share: it can be stopped and started again at the same address.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::cluster::engines;
use crate::engines::prometheus;

/// It scrapes the same Pods as the shared one, and keeps what it has seen while it is stopped.
pub struct Prometheus {
    port: u16,
    folder: TempDir,
    process: Option<Child>,
}

impl Prometheus {
    /// One that answers, and has seen nothing yet.
    pub fn start(test: &str) -> Option<Prometheus> {
        // the loop that finds Pods for it is a part of the shared one
        prometheus(test)?;
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let mut started = Prometheus { port, folder: tempfile::tempdir().expect("a folder"), process: None };
        started.resume();
        Some(started)
    }

    /// `http://127.0.0.1:41234`
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on connections are refused.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it is ours");
            process.wait().expect("it ends");
        }
    }

    /// Starts it again, and waits until it answers.
    pub fn resume(&mut self) {
        let mut command = Command::new(engines().join("prometheus"));
        command.arg("run").arg(self.folder.path()).arg(self.port.to_string());
        self.process = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the script starts"));
        let began = Instant::now();
        while !self.is_ready() {
            assert!(began.elapsed() < Duration::from_secs(20), "Prometheus does not answer at {}", self.url());
            sleep(Duration::from_millis(50));
        }
    }

    fn is_ready(&self) -> bool {
        self.get("/-/ready").is_some()
    }

    /// What a query says now: its samples, each with `metric` and `value`.
    pub fn query(&self, query: &str) -> Vec<Value> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = self.get(&format!("/api/v1/query?query={escaped}")).expect("an answer");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        answer["data"]["result"].as_array().cloned().expect("samples")
    }

    /// The body of a good answer.
    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.contains(" 200 ").then(|| body.to_owned())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.stop();
    }
}
