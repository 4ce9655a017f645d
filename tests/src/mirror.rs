//! An HTTP server on loopback that sends back all that it was sent, and remembers it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// `/to/<status>/<url>` redirects there; everything else is mirrored: the head and the body in the body, the `authorization` in a header.
pub struct Mirror {
    port: u16,
    sent: Arc<Mutex<Vec<String>>>,
    stopped: Arc<AtomicBool>,
}

impl Mirror {
    pub fn start() -> Mirror {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (sent, stopped) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (told, over) = (sent.clone(), stopped.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let told = told.clone();
                std::thread::spawn(move || answer(stream, &told));
            }
        });
        Mirror { port, sent, stopped }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Everything that it was sent so far: heads and bodies.
    pub fn sent(&self) -> Vec<String> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn answer(mut stream: TcpStream, told: &Mutex<Vec<String>>) {
    let Ok(second) = stream.try_clone() else { return };
    let (mut head, mut reader) = (String::new(), BufReader::new(second));
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|read| read > 0) {}
    let header = |name: &str| head.lines().find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)));
    let mut body = vec![0; header("content-length").and_then(|(_, length)| length.parse().ok()).unwrap_or(0)];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let whole = format!("{head}{}", String::from_utf8_lossy(&body));
    told.lock().unwrap_or_else(PoisonError::into_inner).push(whole.clone());
    let path = head.split(' ').nth(1).unwrap_or_default();
    if let Some((status, to)) = path.strip_prefix("/to/").and_then(|rest| rest.split_once('/')) {
        let _ = write!(stream, "HTTP/1.1 {status} Go\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        return;
    }
    let reflected = header("authorization").map_or(String::new(), |(_, value)| format!("x-authorization: {value}\r\n"));
    let _ = write!(stream, "HTTP/1.1 200 OK\r\n{reflected}content-length: {}\r\nconnection: close\r\n\r\n", whole.len());
    // in many small pieces: what is secret is cut in the middle
    for piece in whole.as_bytes().chunks(7) {
        let _ = stream.write_all(piece).and_then(|()| stream.flush());
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}
