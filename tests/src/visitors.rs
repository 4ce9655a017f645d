//! Requests to a service of the test cluster, all the while that something happens to it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::cluster::Namespace;

/// Somebody who asks forty times a second or as often as is said, and takes down whatever is no answer.
pub struct Visitors {
    over: Arc<AtomicBool>,
    bad: Arc<Mutex<Vec<String>>>,
    asked: JoinHandle<u64>,
}

impl Visitors {
    /// Of the products of the quickstart's service.
    pub fn of(namespace: &Namespace<'_>, service: &str) -> Visitors {
        Visitors::at(namespace, service, "/products")
    }

    pub fn at(namespace: &Namespace<'_>, service: &str, path: &'static str) -> Visitors {
        Visitors::each(Duration::from_millis(25), namespace, service, path)
    }

    /// `pause`: from one request to the next. A Pod of the quickstart's service answers 16 at the same time.
    pub fn each(pause: Duration, namespace: &Namespace<'_>, service: &str, path: &'static str) -> Visitors {
        let address: SocketAddr = format!("{}:80", namespace.address(service)).parse().expect("an address");
        let (over, bad) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (until, noted) = (over.clone(), bad.clone());
        let asked = std::thread::spawn(move || {
            let mut asked = 0;
            while !until.load(Ordering::Relaxed) {
                let began = Instant::now();
                let (at, noted) = (asked, noted.clone());
                // each on its own, so that a slow one holds back nobody
                std::thread::spawn(move || {
                    if let Err(why) = visit(address, path) {
                        noted.lock().expect("a list").push(format!("request {at}: {why}"));
                    }
                });
                asked += 1;
                std::thread::sleep(pause.saturating_sub(began.elapsed()));
            }
            asked
        });
        Visitors { over, bad, asked }
    }

    /// How many asked, and what went wrong.
    pub fn done(self) -> (u64, Vec<String>) {
        std::thread::sleep(Duration::from_secs(1));
        self.over.store(true, Ordering::Relaxed);
        let asked = self.asked.join().expect("it ends");
        std::thread::sleep(Duration::from_secs(2));
        let bad = std::mem::take(&mut *self.bad.lock().expect("a list"));
        (asked, bad)
    }
}

fn visit(address: SocketAddr, path: &str) -> Result<(), String> {
    let told = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).map_err(told)?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(told)?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n").as_bytes()).map_err(told)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(told)?;
    let line = answer.lines().next().unwrap_or("no answer");
    if line.contains(" 200 ") { Ok(()) } else { Err(line.to_owned()) }
}
