//! Sockets and threads: one thread accepts, a fixed number of workers answer, and a bounded queue stands between them.

use std::io::{self, ErrorKind, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::http::{self, LARGEST_HEAD, Refusal, Request, Response};
use crate::routes::Shop;
use crate::settings::Settings;

/// How many connections are answered at once.
const WORKERS: usize = 16;

/// How many more may wait for a worker; the next one gets a 503.
const QUEUE: usize = 128;

/// How long a kept connection may be silent between two requests.
const IDLE: Duration = Duration::from_secs(5);

/// How often a waiting worker looks whether the service stops.
const TICK: Duration = Duration::from_millis(50);

/// A service that is bound to its address.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    shop: Shop,
    /// Connections in the queue.
    waiting: AtomicUsize,
    /// How long a request may take to arrive once it has begun, and a response to be taken.
    transfer: Duration,
    /// How long it still serves after it was asked to end.
    drain: Duration,
    log: fn(&str),
}

/// Ends a running server, from another thread.
#[derive(Debug, Clone)]
pub struct Stopper {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    /// Listens on the settings' address. `log` gets one line for each request.
    ///
    /// # Errors
    /// The system's: an address that is taken, or is not this machine's.
    pub fn bind(settings: Settings, log: fn(&str)) -> io::Result<Server> {
        let listener = TcpListener::bind((settings.host.as_str(), settings.port))?;
        let address = listener.local_addr()?;
        let shared = Shared {
            shop: Shop::new(&settings),
            waiting: AtomicUsize::new(0),
            transfer: settings.transfer,
            drain: settings.drain,
            log,
        };
        Ok(Server { listener, address, shared: Arc::new(shared) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What ends it.
    pub fn stopper(&self) -> Stopper {
        Stopper { address: self.address, shared: Arc::clone(&self.shared) }
    }

    /// Serves until it is stopped; then lets every accepted connection finish the request that it has begun.
    pub fn run(self) {
        let (queue, connections) = sync_channel(QUEUE);
        let connections = Arc::new(Mutex::new(connections));
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                let (shared, connections) = (Arc::clone(&self.shared), Arc::clone(&connections));
                thread::spawn(move || work(&shared, &connections))
            })
            .collect();

        while !self.shared.stopping() {
            match self.listener.accept() {
                Ok((connection, _)) if !self.shared.stopping() => enqueue(&self.shared, &queue, connection),
                Ok(_) => {}
                // Out of descriptors, or a client that was gone again: the next one may do better.
                Err(_) => thread::sleep(TICK),
            }
        }
        drop(self.listener); // new connections are refused from here on
        drop(queue); // the workers end when the queue is empty
        for worker in workers {
            let _ = worker.join();
        }
    }
}

impl Stopper {
    /// Says that the service is not ready any more, waits as long as the settings say, and stops it.
    pub fn stop(&self) {
        self.shared.shop.leaving.store(true, Ordering::SeqCst);
        thread::sleep(self.shared.drain);
        self.shared.shop.stopping.store(true, Ordering::SeqCst);
        // The accepting thread sleeps in accept(2), which a connection ends.
        let host = match self.address {
            SocketAddr::V4(address) if address.ip().is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(address) if address.ip().is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            address => address.ip(),
        };
        let _ = TcpStream::connect_timeout(&SocketAddr::new(host, self.address.port()), Duration::from_secs(1));
    }
}

impl Shared {
    fn stopping(&self) -> bool {
        self.shop.stopping.load(Ordering::SeqCst)
    }

    /// A client that comes back on another connection may reach one that stays.
    fn leaving(&self) -> bool {
        self.shop.leaving.load(Ordering::SeqCst)
    }

    /// Whether somebody waits for a worker while all are taken.
    fn crowded(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0 && self.shop.metrics.connections() >= WORKERS as u64
    }
}

fn enqueue(shared: &Shared, queue: &SyncSender<TcpStream>, connection: TcpStream) {
    shared.waiting.fetch_add(1, Ordering::SeqCst);
    match queue.try_send(connection) {
        Ok(()) => {}
        Err(TrySendError::Full(mut connection) | TrySendError::Disconnected(mut connection)) => {
            shared.waiting.fetch_sub(1, Ordering::SeqCst);
            shared.shop.metrics.record("other", 503, Duration::ZERO);
            let _ = connection.set_write_timeout(Some(TICK));
            let _ = Response::error(503, "too many connections").with("retry-after", "1").write(
                &mut connection,
                false,
                false,
            );
        }
    }
}

fn work(shared: &Shared, connections: &Mutex<Receiver<TcpStream>>) {
    loop {
        let next = connections.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).recv();
        let Ok(connection) = next else { return };
        shared.waiting.fetch_sub(1, Ordering::SeqCst);
        let _counted = shared.shop.metrics.connection();
        // A client that goes away is no fault of the service.
        let _ = serve(shared, connection);
    }
}

/// Answers the requests of one connection.
fn serve(shared: &Shared, connection: TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(TICK))?;
    connection.set_write_timeout(Some(shared.transfer))?;
    let mut connection = Connection { stream: connection, buffer: Vec::new(), answered: 0 };
    loop {
        let head = match connection.head(shared)? {
            Head::Arrived(head) => head,
            Head::Over => return Ok(()),
            Head::Refused(refusal) => return refuse(shared, &mut connection.stream, refusal),
        };
        let started = Instant::now();
        let request = match http::parse(&head) {
            Ok(request) => request,
            Err(refusal) => return refuse(shared, &mut connection.stream, refusal),
        };
        if !connection.discard(request.body, shared.transfer)? {
            return refuse(shared, &mut connection.stream, Refusal { status: 408, reason: "the body did not arrive" });
        }
        let response = {
            let _counted = shared.shop.metrics.request();
            shared.shop.answer(&request)
        };
        let keep_alive = request.keep_alive && !shared.leaving() && !shared.crowded();
        // Recorded before it is sent, so that whoever has the answer finds it in the metrics.
        note(shared, &request, response.status, started.elapsed());
        response.write(&mut connection.stream, keep_alive, request.method == "HEAD")?;
        if !keep_alive {
            return Ok(());
        }
        connection.answered += 1;
    }
}

fn note(shared: &Shared, request: &Request, status: u16, duration: Duration) {
    shared.shop.metrics.record(Shop::route(&request.path), status, duration);
    let path: String = request.path.chars().filter(|character| !character.is_control()).take(200).collect();
    let milliseconds = duration.as_secs_f64() * 1e3;
    (shared.log)(&format!("{} {path} {status} {milliseconds:.1}ms", request.method));
}

fn refuse(shared: &Shared, stream: &mut TcpStream, refusal: Refusal) -> io::Result<()> {
    shared.shop.metrics.record("other", refusal.status, Duration::ZERO);
    Response::error(refusal.status, refusal.reason).write(stream, false, false)?;
    // Closing with unread bytes resets the connection, and the client may lose the answer: take some of them first.
    stream.shutdown(std::net::Shutdown::Write)?;
    let deadline = Instant::now() + 10 * TICK;
    let mut bytes = [0; 4096];
    while Instant::now() < deadline && !matches!(stream.read(&mut bytes), Ok(0)) {}
    Ok(())
}

/// A connection with the bytes that came after the last request.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// How many requests of it have been answered. Only a client that has had an answer is asked to make room for others.
    answered: usize,
}

enum Head {
    Arrived(Vec<u8>),
    /// The client or the service wants no more.
    Over,
    Refused(Refusal),
}

impl Connection {
    /// Waits for the head of the next request.
    fn head(&mut self, shared: &Shared) -> io::Result<Head> {
        let waiting_since = Instant::now();
        let mut begun = None;
        loop {
            if let Some(end) = http::end_of_head(&self.buffer).filter(|end| *end <= LARGEST_HEAD) {
                let rest = self.buffer.split_off(end);
                return Ok(Head::Arrived(std::mem::replace(&mut self.buffer, rest)));
            }
            if self.buffer.len() > LARGEST_HEAD {
                return Ok(Head::Refused(Refusal { status: 431, reason: "the head is too large" }));
            }
            if !self.buffer.is_empty() {
                let begun: &Instant = begun.get_or_insert_with(Instant::now);
                if begun.elapsed() > shared.transfer {
                    return Ok(Head::Refused(Refusal { status: 408, reason: "the request took too long to arrive" }));
                }
            } else if shared.stopping() || waiting_since.elapsed() > IDLE || (self.answered > 0 && shared.crowded()) {
                return Ok(Head::Over);
            }
            if self.fill()? == Some(0) {
                return Ok(Head::Over);
            }
        }
    }

    /// Throws a body away; false if it does not arrive in time.
    fn discard(&mut self, length: u64, limit: Duration) -> io::Result<bool> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let deadline = Instant::now() + limit;
        while self.buffer.len() < length {
            if Instant::now() > deadline || self.fill()? == Some(0) {
                return Ok(false);
            }
        }
        self.buffer.drain(..length);
        Ok(true)
    }

    /// Takes what has arrived: 0 bytes are the end, none that nothing came for a tick.
    fn fill(&mut self) -> io::Result<Option<usize>> {
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(count) => {
                self.buffer.extend_from_slice(&bytes[..count]);
                Ok(Some(count))
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
