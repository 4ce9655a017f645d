//! Somebody between the runner and the API server of the test cluster, who sees each request in the clear, does something of their own before it is passed on, or
//! cuts the connection.
//!
//! `kubectl proxy` is the way to the real server: it has the credentials and the TLS. So the runner's requests are answered by the cluster itself, and its audit
//! log tells which of them arrived.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use crate::server::{Asked, asked};

/// An API server that asks nobody who they are, on loopback.
pub struct Upstream {
    port: u16,
    process: Child,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Passed,
    /// The connection breaks, and no answer comes.
    Cut,
}

/// A relay that runs until it is dropped.
pub struct Relay {
    port: u16,
    folder: TempDir,
    stopped: Arc<AtomicBool>,
}

impl Upstream {
    /// As whom this kubeconfig says.
    pub fn start(kubeconfig: &str) -> Upstream {
        let mut command = Command::new("kubectl");
        command.env("KUBECONFIG", kubeconfig).args(["proxy", "--port=0", "--keepalive=1s"]);
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("kubectl starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("it says where");
        let port = line.trim().rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or_else(|| panic!("no port: {line}"));
        Upstream { port, process }
    }

    /// A connection, on which nothing has been said.
    pub fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).expect("kubectl proxy listens")
    }

    /// What is answered, head and all. `kind`: of the body.
    pub fn ask(&self, method: &str, path: &str, kind: &str, body: &str) -> String {
        self.send(method, path, &[("content-type".to_owned(), kind.to_owned())], body)
    }

    /// Passes a request on, and answers with what the server does.
    pub fn pass(&self, request: &Asked) -> String {
        let Asked { method, path, headers, body } = request;
        self.send(method, path, headers, body)
    }

    fn send(&self, method: &str, path: &str, headers: &[(String, String)], body: &str) -> String {
        let mut stream = self.connect();
        let own = ["host", "connection", "content-length"];
        let headers = headers.iter().filter(|(name, _)| !own.contains(&name.as_str()));
        let headers: String = headers.map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).expect("kubectl proxy reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("kubectl proxy answers");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Relay {
    /// `decide` is asked about every request, one after the other on each connection; it may ask the server for something itself meanwhile.
    pub fn start(kubeconfig: &str, decide: impl Fn(&Asked, &Upstream) -> Fate + Send + Sync + 'static) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let folder = tempfile::tempdir().expect("a folder");
        let config = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: relay\nclusters: [{{ name: relay, cluster: {{ server: \"http://127.0.0.1:{port}\" }} }}]\n\
             contexts: [{{ name: relay, context: {{ cluster: relay, user: nobody }} }}]\nusers: [{{ name: nobody, user: {{}} }}]\n"
        );
        fs::write(folder.path().join("kubeconfig"), config).expect("a file");
        let stopped = Arc::new(AtomicBool::new(false));
        let (over, upstream, decide) = (stopped.clone(), Arc::new(Upstream::start(kubeconfig)), Arc::new(decide));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (upstream, decide) = (upstream.clone(), decide.clone());
                std::thread::spawn(move || pass(stream, &upstream, &*decide));
            }
        });
        Relay { port, folder, stopped }
    }

    /// What `KUBECONFIG` is to be.
    pub fn kubeconfig(&self) -> String {
        self.folder.path().join("kubeconfig").display().to_string()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// One request; its connection ends with the answer.
fn pass(mut stream: TcpStream, upstream: &Upstream, decide: &dyn Fn(&Asked, &Upstream) -> Fate) {
    let Some((_, request)) = stream.try_clone().ok().and_then(asked) else { return };
    if decide(&request, upstream) == Fate::Passed {
        let _ = stream.write_all(upstream.pass(&request).as_bytes());
    }
}
