//! An HTTP server on loopback whose answers differ from one request to the next, and that can be stopped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    stopped: Arc<AtomicBool>,
}

/// A request as it came.
pub struct Asked {
    pub method: String,
    /// With its query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// An answer; its length is added.
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Asked {
    /// The value of a header; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

impl Server {
    /// Answers with the request's number and what was sent.
    pub fn start() -> Server {
        Server::answering(|number, asked| Reply {
            status: 200,
            headers: vec![("x-number", number.to_string())],
            body: format!("request {number}\n{}", asked.body),
        })
    }

    /// Answers as it is told, from the request and its number, which begins with 1.
    pub fn answering(with: impl Fn(u64, &Asked) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (asked, stopped) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (told, over, number, with) = (asked.clone(), stopped.clone(), Arc::new(AtomicU64::new(0)), Arc::new(with));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (told, with, number) = (told.clone(), with.clone(), number.fetch_add(1, Ordering::SeqCst) + 1);
                std::thread::spawn(move || answer(stream, &told, |asked| with(number, asked)));
            }
        });
        Server { port, asked, stopped }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The first lines of the requests so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on nobody answers.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        // so that it notices
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        while TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// A request, and its first line; none if it does not come.
pub(crate) fn asked(from: TcpStream) -> Option<(String, Asked)> {
    let (mut head, mut reader) = (String::new(), BufReader::new(from));
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|read| read > 0) {}
    let first = head.lines().next().unwrap_or_default().to_owned();
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let header = |line: &str| line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    let headers: Vec<(String, String)> = head.lines().skip(1).filter_map(header).collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some((first, Asked { method, path, headers, body: String::from_utf8_lossy(&body).into_owned() }))
}

/// In two pieces.
fn answer(mut stream: TcpStream, told: &Mutex<Vec<String>>, with: impl Fn(&Asked) -> Reply) {
    let Some((first, asked)) = stream.try_clone().ok().and_then(asked) else { return };
    told.lock().unwrap_or_else(PoisonError::into_inner).push(first);
    let Reply { status, headers, body } = with(&asked);
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let _ = write!(stream, "HTTP/1.1 {status} OK\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let (first, rest) = body.as_bytes().split_at(body.len() / 2);
    let _ = stream.write_all(first).and_then(|()| stream.flush());
    std::thread::sleep(Duration::from_millis(20));
    let _ = stream.write_all(rest);
}
