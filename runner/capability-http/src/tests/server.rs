//! Servers on loopback: hyper's for what is HTTP, and plain sockets for what is not.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub type Body = BoxBody<Bytes, Infallible>;

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed()
}

/// A request as the server saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

pub struct Server {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    pub seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Speaks HTTP/1.1.
    pub async fn http(answer: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static) -> Server {
        Server::start("127.0.0.1:0", None, answer).await
    }

    /// Speaks what the TLS handshake agreed on.
    pub async fn https(acceptor: TlsAcceptor, answer: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static) -> Server {
        Server::start("127.0.0.1:0", Some(acceptor), answer).await
    }

    pub async fn start(
        address: &str,
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static,
    ) -> Server {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let answer = Arc::new(answer);
        let log = seen.clone();
        let mut server = Server::raw_at(address, move |stream| {
            let (tls, answer, log) = (tls.clone(), answer.clone(), log.clone());
            async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let (answer, log) = (answer.clone(), log.clone());
                    async move {
                        let (parts, body) = request.into_parts();
                        let body = body.collect().await.map_err(|e| e.to_string())?;
                        let trailers = body.trailers().cloned();
                        let seen = Seen {
                            method: parts.method,
                            target: parts.uri.to_string(),
                            headers: parts.headers,
                            body: body.to_bytes(),
                            trailers,
                        };
                        log.lock().unwrap().push(seen.clone());
                        Ok::<_, String>(answer(&seen))
                    }
                });
                match tls {
                    None => {
                        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                    }
                    Some(tls) => {
                        let Ok(stream) = tls.accept(stream).await else { return };
                        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                        let io = TokioIo::new(stream);
                        if http2 {
                            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
                        } else {
                            let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
                        }
                    }
                }
            }
        })
        .await;
        server.seen = seen;
        server
    }

    /// Does with each connection whatever the test says.
    pub async fn raw<F: Future<Output = ()> + Send + 'static>(serve: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> Server {
        Server::raw_at("127.0.0.1:0", serve).await
    }

    async fn raw_at<F: Future<Output = ()> + Send + 'static>(
        address: &str,
        serve: impl Fn(TcpStream) -> F + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let task = tokio::spawn(async move {
            let mut serving = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                serving.spawn(serve(stream));
            }
        });
        Server { address, connections, seen: Arc::default(), task }
    }

    /// Answers each request with these bytes and closes the connection.
    pub async fn canned(answer: impl Into<Bytes>) -> Server {
        let answer = answer.into();
        Server::raw(move |mut stream| {
            let answer = answer.clone();
            async move {
                read_head(&mut stream).await;
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
            }
        })
        .await
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// A grant for everything on this server.
    pub fn grant(&self) -> String {
        let url = self.url("/**");
        format!("http = [{{ url = \"{url}\", methods = [\"GET\", \"HEAD\", \"POST\", \"PUT\"] }}]")
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().cloned().expect("a request came")
    }
}

pub async fn read_head(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).await.is_ok_and(|n| n == 1) {
        head.push(byte[0]);
    }
    head
}
