//! Against an API server that says what a test wants, over a real socket.

mod asking;
mod entering;
mod finding;
mod logging;
mod real;
mod rollouts;
mod watching;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::Config;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::ask::Patience;
use crate::cluster::Cluster;
use crate::config::Found;

/// What was asked.
#[derive(Debug, Clone)]
struct Asked {
    method: String,
    /// Path and query.
    uri: String,
    headers: http::HeaderMap,
    body: Vec<u8>,
}

impl Asked {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

enum Answer {
    Json(u16, Value),
    /// With a `Retry-After` in seconds.
    Later(u16, u64),
    /// Text that ends as it should.
    Text(String),
    /// Text after which nothing comes, and the connection stays.
    Open(String),
    /// Text after which the connection breaks.
    Torn(String),
    /// No answer: the connection breaks.
    Nothing,
}

type Body = BoxBody<Bytes, std::io::Error>;

impl Answer {
    fn response(self) -> Result<Response<Body>, std::io::Error> {
        let torn = || std::io::Error::other("torn");
        let whole = |text: String| Full::new(Bytes::from(text)).map_err(|never: Infallible| match never {}).boxed();
        let frame = |text: String| Ok(Frame::data(Bytes::from(text)));
        Ok(match self {
            Answer::Json(status, value) => Response::builder().status(status).body(whole(value.to_string())).unwrap(),
            Answer::Later(status, seconds) => {
                Response::builder().status(status).header("retry-after", seconds).body(whole(String::new())).unwrap()
            }
            Answer::Text(text) => Response::new(whole(text)),
            Answer::Open(text) => Response::new(BodyExt::boxed(StreamBody::new(futures::StreamExt::chain(
                stream::iter([frame(text)]),
                stream::pending::<Result<Frame<Bytes>, std::io::Error>>(),
            )))),
            Answer::Torn(text) => Response::new(BodyExt::boxed(StreamBody::new(futures::StreamExt::then(
                stream::iter([frame(text), Err(torn())]),
                async |piece| {
                    // what came before the break is read first
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    piece
                },
            )))),
            Answer::Nothing => return Err(torn()),
        })
    }
}

/// An API server. What it answers to the n-th request (from 0) is the test's.
struct Fake {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    async fn new(answer: impl Fn(usize, &Asked) -> Answer + Send + Sync + 'static) -> Fake {
        Fake::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), answer)
    }

    fn on(listener: TcpListener, answer: impl Fn(usize, &Asked) -> Answer + Send + Sync + 'static) -> Fake {
        let (address, asked) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let (answer, noted) = (Arc::new(answer), asked.clone());
        let task = tokio::spawn(async move {
            // gone with the task, as a server's connections are
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, noted) = (answer.clone(), noted.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (answer, noted) = (answer.clone(), noted.clone());
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
                        let asked = Asked { method: head.method.to_string(), uri: head.uri.to_string(), headers: head.headers, body };
                        let number = {
                            let mut noted = noted.lock().unwrap();
                            noted.push(asked.clone());
                            noted.len() - 1
                        };
                        answer(number, &asked).response()
                    }
                });
                connections.spawn(async move {
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
                });
            }
        });
        Fake { address, asked, task }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    fn cluster(&self) -> Cluster {
        cluster(self.address)
    }
}

fn cluster(address: SocketAddr) -> Cluster {
    let mut config = Config::new(format!("http://{address}").parse().unwrap());
    config.default_retry = false;
    let found = Found { config, context: None, from: "the test".to_owned() };
    let patience = Patience { whole: Duration::from_secs(3), step: Duration::from_millis(10), silence: Duration::from_secs(60) };
    Cluster::of(found).unwrap().with_patience(patience)
}

fn deployment(name: &str) -> admission::Target {
    let kind = admission::Kind::new("apps", "v1", "deployments").unwrap();
    admission::Target::one(kind, Some("shop"), name).unwrap()
}

fn pods() -> admission::Target {
    admission::Target::all(admission::Kind::new("", "v1", "pods").unwrap(), Some("shop")).unwrap()
}

fn pod(name: &str) -> admission::Target {
    pods().sibling(name).unwrap()
}
