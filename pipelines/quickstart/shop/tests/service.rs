//! The service over real sockets: what a client sees, well-behaved or not.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use shop::server::Stopper;
use shop::{Server, Settings};

struct Service {
    address: SocketAddr,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    fn start(change: impl FnOnce(&mut Settings)) -> Service {
        let mut settings =
            Settings { host: "127.0.0.1".into(), port: 0, version: "9.9.9".into(), ..Settings::default() };
        change(&mut settings);
        let server = Server::bind(settings, |_| {}).expect("a free port");
        let (address, stopper) = (server.address(), server.stopper());
        Service { address, stopper, thread: Some(thread::spawn(move || server.run())) }
    }

    fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    fn get(&self, path: &str) -> Answer {
        self.connect().get(path)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server ends without a panic");
        }
    }
}

struct Client(BufReader<TcpStream>);

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(candidate, _)| candidate == name).map(|(_, value)| value.as_str())
    }
}

impl Client {
    fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("the service listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        Client(BufReader::new(stream))
    }

    fn send(&mut self, text: &str) {
        // A service that has refused already may have closed.
        let _ = self.0.get_mut().write_all(text.as_bytes());
    }

    fn get(&mut self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: shop\r\n\r\n"));
        self.answer(true)
    }

    fn answer(&mut self, with_body: bool) -> Answer {
        let status_line = self.line();
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.push((name.to_owned(), value.to_owned()));
        }
        let status = status.unwrap_or_else(|| panic!("no status in {status_line:?}"));
        let mut answer = Answer { status, headers, body: String::new() };
        if with_body {
            let length = answer.header("content-length").expect("a length").parse().expect("a number");
            let mut body = vec![0; length];
            self.0.read_exact(&mut body).expect("the whole body");
            answer.body = String::from_utf8(body).expect("text");
        }
        answer
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line");
        line.trim_end_matches("\r\n").to_owned()
    }

    fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0))
    }
}

#[test]
fn products_are_served_on_one_connection() {
    let service = Service::start(|_| {});
    let mut client = service.connect();
    let all = client.get("/products");
    assert_eq!((all.status, all.header("content-type")), (200, Some("application/json")));
    assert_eq!(all.header("connection"), Some("keep-alive"));
    assert_eq!(all.header("x-version"), Some("9.9.9"));
    assert!(client.get("/products/2").body.contains("Hand grinder"));
    assert_eq!(client.get("/products/77").status, 404);
}

#[test]
fn requests_may_be_pipelined_and_carry_bodies() {
    let service = Service::start(|_| {});
    let mut client = service.connect();
    client.send("POST /products HTTP/1.1\r\nhost: shop\r\ncontent-length: 5\r\n\r\n12345HEAD /health HTTP/1.1\r\nhost: shop\r\n\r\n");
    assert_eq!(client.answer(true).status, 405);
    let head = client.answer(false);
    assert_eq!((head.status, head.header("content-length")), (200, Some("33")));
    assert_eq!(client.get("/health").body.len(), 33);
}

#[test]
fn metrics_count_what_was_answered() {
    let service = Service::start(|settings| settings.error_rate = 0.5);
    let mut client = service.connect();
    for _ in 0..4 {
        client.get("/products/1");
    }
    let metrics = client.get("/metrics");
    assert!(metrics.header("content-type").is_some_and(|kind| kind.starts_with("text/plain; version=0.0.4")));
    for line in [
        "http_requests_total{path=\"/products/{id}\",code=\"200\"} 2",
        "http_requests_total{path=\"/products/{id}\",code=\"500\"} 2",
        "http_request_duration_seconds_count{path=\"/products/{id}\"} 4",
        "http_requests_in_flight 1",
        "shop_build_info{version=\"9.9.9\"} 1",
    ] {
        assert!(metrics.body.lines().any(|candidate| candidate == line), "{line} is not in\n{}", metrics.body);
    }
}

#[test]
fn latency_is_added_to_products_alone() {
    let service = Service::start(|settings| settings.latency = Duration::from_millis(80));
    let started = Instant::now();
    assert_eq!(service.get("/products").status, 200);
    assert!(started.elapsed() >= Duration::from_millis(80));
}

#[test]
fn clients_that_break_the_rules_are_refused_and_cut_off() {
    let service = Service::start(|_| {});
    let long = format!("GET / HTTP/1.1\r\nhost: shop\r\nx: {}\r\n\r\n", "y".repeat(20_000));
    for (request, status) in [
        ("nonsense\r\n\r\n", 400),
        ("GET / HTTP/3\r\nhost: shop\r\n\r\n", 505),
        (long.as_str(), 431),
        ("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 100000\r\n\r\n", 413),
    ] {
        let mut client = service.connect();
        client.send(request);
        assert_eq!(client.answer(true).status, status, "{request:.40}");
        assert!(client.is_closed(), "{request:.40}");
    }
    assert_eq!(service.get("/health").status, 200);
}

#[test]
fn a_request_that_never_ends_times_out() {
    let service = Service::start(|settings| settings.transfer = Duration::from_millis(200));
    let mut client = service.connect();
    client.send("GET /health HTTP/1.1\r\nhost: sh");
    assert_eq!(client.answer(true).status, 408);
}

#[test]
fn silent_clients_do_not_keep_others_waiting() {
    let service = Service::start(|_| {});
    let mut kept: Vec<Client> = (0..40).map(|_| service.connect()).collect();
    for client in &mut kept {
        assert_eq!(client.get("/health").status, 200);
    }
    let started = Instant::now();
    assert_eq!(service.get("/health").status, 200);
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[test]
fn a_stopping_service_finishes_what_it_has_begun() {
    let service = Service::start(|settings| settings.latency = Duration::from_millis(300));
    let mut slow = service.connect();
    slow.send("GET /products HTTP/1.1\r\nhost: shop\r\n\r\n");
    thread::sleep(Duration::from_millis(100));
    service.stopper.stop();
    let answer = slow.answer(true);
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert!(slow.is_closed());
}

/// The binary, as the pipeline starts it.
struct Binary {
    child: Child,
    address: SocketAddr,
    output: BufReader<std::process::ChildStdout>,
}

impl Binary {
    fn start(variables: &[(&str, &str)]) -> Binary {
        let mut child = Command::new(env!("CARGO_BIN_EXE_shop"))
            .env_clear()
            .envs([("HOST", "127.0.0.1"), ("PORT", "0")])
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a line");
        let address =
            line.trim().strip_prefix("listening on http://").expect("the address").parse().expect("an address");
        Binary { child, address, output }
    }

    fn signal(&self, name: &str) {
        // The standard library cannot send signals, and every shell can.
        let script = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &script]).status().expect("a shell").success());
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn signals_end_the_binary_in_good_order() {
    for name in ["TERM", "INT"] {
        let mut binary = Binary::start(&[("LATENCY_MS", "300")]);
        let mut slow = Client::connect(binary.address);
        slow.send("GET /products/1 HTTP/1.1\r\nhost: shop\r\n\r\n");
        thread::sleep(Duration::from_millis(100));
        binary.signal(name);
        assert_eq!(slow.answer(true).status, 200, "SIG{name}");
        assert!(binary.child.wait().expect("an end").success(), "SIG{name}");
        let mut log = String::new();
        binary.output.read_to_string(&mut log).expect("text");
        assert!(log.contains(&format!("SIG{name}: finishing")) && log.ends_with("stopped\n"), "{log}");
    }
}

#[test]
fn a_binary_that_drains_serves_on_and_is_not_ready() {
    let mut binary = Binary::start(&[("DRAIN_MS", "1500")]);
    let mut kept = Client::connect(binary.address);
    assert_eq!(kept.get("/health/ready").status, 200);
    binary.signal("TERM");
    let began = Instant::now();
    while Client::connect(binary.address).get("/health/ready").status == 200 {
        assert!(began.elapsed() < Duration::from_secs(1), "it is still ready");
    }
    let answer = kept.get("/products");
    assert_eq!(
        (answer.status, answer.header("connection")),
        (200, Some("close")),
        "what is kept open is answered, and closed"
    );
    assert_eq!(Client::connect(binary.address).get("/products").status, 200);
    assert!(binary.child.wait().expect("an end").success());
    assert!(began.elapsed() >= Duration::from_millis(1400), "{:?}", began.elapsed());
    assert!(TcpStream::connect(binary.address).is_err(), "nobody listens");
}

#[test]
fn a_crash_can_be_asked_for() {
    let mut binary = Binary::start(&[("CRASH_AFTER_MS", "200"), ("FAIL_READY", "true")]);
    assert_eq!(Client::connect(binary.address).get("/health/ready").status, 503);
    assert_eq!(binary.child.wait().expect("an end").code(), Some(1));
}

#[test]
fn health_can_be_made_to_fail() {
    let binary = Binary::start(&[("FAIL_HEALTH", "true"), ("VERSION", "2.0.0")]);
    let answer = Client::connect(binary.address).get("/health");
    assert_eq!((answer.status, answer.body.as_str()), (500, r#"{"status":"failing","version":"2.0.0"}"#));
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_shop")).env("ERROR_RATE", "2").output().expect("the binary starts");
    assert!(!output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "shop: ERROR_RATE is `2`: use a number from 0 to 1\n");
}
