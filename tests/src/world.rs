//! An HTTP server that keeps what it is sent: the world outside, for tests of what happened in it, and how often.
//!
//! Paths are `/<stage>/<what>`. It is gone, with every connection, when it is dropped.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What has happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Happened {
    /// `once/first`: each plain POST to `/<stage>/events/<name>`, as often as it came.
    pub events: Vec<String>,
    /// What was PUT and not deleted, by path.
    pub kept: BTreeMap<String, String>,
    /// By stage and idempotency key, how often something was ordered: a key that is known is answered as it was.
    pub orders: BTreeMap<String, u32>,
}

/// The server.
pub struct World {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    happened: Mutex<Happened>,
    /// Requests by method and path.
    asked: Mutex<BTreeMap<String, u32>>,
    open: Mutex<Vec<TcpStream>>,
    over: AtomicBool,
}

struct Request {
    method: String,
    path: String,
    key: Option<String>,
    body: String,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub fn start() -> World {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared::default());
        let serving = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if serving.over.load(Ordering::SeqCst) {
                    break;
                }
                lock(&serving.open).extend(stream.try_clone());
                let serving = serving.clone();
                std::thread::spawn(move || while serving.answer(&stream).unwrap_or(false) {});
            }
        });
        World { port, shared }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn happened(&self) -> Happened {
        lock(&self.shared.happened).clone()
    }

    /// How often this was asked, such as `GET /once/small`.
    pub fn asked(&self, request: &str) -> u32 {
        lock(&self.shared.asked).get(request).copied().unwrap_or_default()
    }

    /// Whether a request that may happen only once has come: `POST http://127.0.0.1:8080/once/events/first`.
    pub fn has(&self, subject: &str) -> bool {
        let path = subject.strip_prefix(&format!("POST {}/", self.url()));
        path.is_some_and(|path| self.happened().events.contains(&path.replace("events/", "")))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        for stream in lock(&self.shared.open).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    /// Answers one request; whether another may follow.
    fn answer(&self, stream: &TcpStream) -> io::Result<bool> {
        let Some(request) = read(&mut BufReader::new(stream))? else { return Ok(false) };
        *lock(&self.asked).entry(format!("{} {}", request.method, request.path)).or_default() += 1;
        let (status, body) = self.act(&request);
        let mut answer = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
        answer.extend_from_slice(&body);
        (&mut &*stream).write_all(&answer)?;
        Ok(true)
    }

    fn act(&self, Request { method, path, key, body }: &Request) -> (u16, Vec<u8>) {
        let mut happened = lock(&self.happened);
        let (stage, what) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
        match (method.as_str(), what.split_once('/').map_or(what, |(first, _)| first), key) {
            ("GET", "small", _) => (200, b"hello".to_vec()),
            ("GET", "large", _) => (200, (0..600u32 << 10).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()),
            ("GET", "events", _) => {
                let mine = happened.events.iter().filter_map(|event| event.strip_prefix(stage)?.strip_prefix('/'));
                (200, mine.collect::<Vec<_>>().join("\n").into_bytes())
            }
            ("GET", ..) => happened.kept.get(path).map_or((404, Vec::new()), |text| (200, text.clone().into_bytes())),
            ("PUT", ..) => {
                happened.kept.insert(path.clone(), body.clone());
                (204, Vec::new())
            }
            ("DELETE", ..) => {
                happened.kept.remove(path);
                (204, Vec::new())
            }
            ("POST", "orders", Some(key)) => {
                happened.orders.entry(format!("{stage} {key}")).or_insert(1);
                (201, format!("the order of {key}").into_bytes())
            }
            ("POST", "events", _) => {
                happened.events.push(path.trim_start_matches('/').replace("events/", ""));
                (201, b"noted".to_vec())
            }
            _ => (400, Vec::new()),
        }
    }
}

fn read(from: &mut impl BufRead) -> io::Result<Option<Request>> {
    let (mut line, mut length, mut key) = (String::new(), 0, None);
    from.read_line(&mut line)?;
    let mut words = line.split(' ');
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    let (method, path) = (method.to_owned(), path.to_owned());
    loop {
        line.clear();
        from.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or(0),
            "idempotency-key" => key = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(Some(Request { method, path, key, body: String::from_utf8_lossy(&body).into_owned() }))
}
