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

impl Server {
    pub fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (asked, stopped) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (told, over, number) = (asked.clone(), stopped.clone(), Arc::new(AtomicU64::new(0)));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (told, number) = (told.clone(), number.fetch_add(1, Ordering::SeqCst) + 1);
                std::thread::spawn(move || answer(stream, &told, number));
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

/// With the request's number and what was sent, in two pieces.
fn answer(mut stream: TcpStream, told: &Mutex<Vec<String>>, number: u64) {
    let Ok(second) = stream.try_clone() else { return };
    let (mut head, mut reader) = (String::new(), BufReader::new(second));
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|read| read > 0) {}
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    told.lock().unwrap_or_else(PoisonError::into_inner).push(head.lines().next().unwrap_or_default().to_owned());
    let answer = format!("request {number}\n{}", String::from_utf8_lossy(&body));
    let _ = write!(stream, "HTTP/1.1 200 OK\r\nx-number: {number}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", answer.len());
    let (first, rest) = answer.as_bytes().split_at(answer.len() / 2);
    let _ = stream.write_all(first).and_then(|()| stream.flush());
    std::thread::sleep(Duration::from_millis(20));
    let _ = stream.write_all(rest);
}
