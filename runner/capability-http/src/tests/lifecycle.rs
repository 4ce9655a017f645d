//! Connections that are used again, exchanges that end, and processes of the stage.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use capability::Endpoint;
use http::Response as Answer;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::server::{Server, full, read_head};
use super::stage::{Error, Stage, get};
use crate::host::bindings::runner::http::client::HostResponse as _;
use crate::room::MAX_OPEN;

async fn soon(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..500 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not happen");
}

#[tokio::test]
async fn connections_are_used_again_for_requests_that_may_be_repeated() {
    let server = Server::http(|_| Answer::new(full("ok"))).await;
    let mut stage = Stage::new(&server.grant());
    for _ in 0..5 {
        stage.fetch(get(&server.url("/"))).await.unwrap();
        // putting the connection away happens behind the guest's back
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.connections(), 1);
    let mut post = get(&server.url("/"));
    post.method = "POST".into();
    stage.fetch(post).await.unwrap();
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_connection_that_was_closed_while_it_was_idle_is_no_error() {
    let server = Server::raw(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        // takes the second request and closes without a word
        read_head(&mut stream).await;
    })
    .await;
    let mut stage = Stage::new(&server.grant());
    for round in 1..4 {
        assert_eq!(stage.fetch(get(&server.url("/"))).await.unwrap(), (200, "ok".into()));
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(server.connections(), round);
    }
}

fn endless(closed: &Arc<AtomicBool>) -> impl Fn(TcpStream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync + 'static {
    let closed = closed.clone();
    move |mut stream| {
        let closed = closed.clone();
        Box::pin(async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
            closed.store(true, Ordering::SeqCst);
        })
    }
}

#[tokio::test]
async fn dropping_a_response_ends_the_exchange() {
    let closed = Arc::new(AtomicBool::new(false));
    let server = Server::raw(endless(&closed)).await;
    let mut stage = Stage::new(&server.grant());
    let response = stage.open(&server.url("/")).await.unwrap();
    assert!(!closed.load(Ordering::SeqCst));
    stage.state.drop(response).unwrap();
    soon("the end of the connection", || closed.load(Ordering::SeqCst)).await;
}

#[tokio::test]
async fn leaving_ends_everything() {
    let closed = Arc::new(AtomicBool::new(false));
    let server = Server::raw(endless(&closed)).await;
    let mut stage = Stage::new(&server.grant());
    let _kept = stage.open(&server.url("/")).await.unwrap();
    stage.leave().await;
    soon("the end of the connection", || closed.load(Ordering::SeqCst)).await;
}

#[tokio::test]
async fn an_attempt_that_is_dropped_ends_its_exchanges() {
    let closed = Arc::new(AtomicBool::new(false));
    let server = Server::raw(endless(&closed)).await;
    let mut stage = Stage::new(&server.grant());
    let _kept = stage.open(&server.url("/")).await.unwrap();
    drop(stage);
    soon("the end of the connection", || closed.load(Ordering::SeqCst)).await;
}

#[tokio::test]
async fn exchanges_at_once_are_limited() {
    let server = Server::http(|_| Answer::new(full("ok"))).await;
    let mut stage = Stage::new(&server.grant());
    let mut open = Vec::new();
    for _ in 0..MAX_OPEN {
        open.push(stage.open(&server.url("/")).await.unwrap());
    }
    match stage.open(&server.url("/")).await {
        Err(Error::Connect(text)) => assert!(text.contains("256"), "{text}"),
        other => panic!("{other:?}"),
    }
    stage.state.drop(open.pop().unwrap()).unwrap();
    stage.open(&server.url("/")).await.unwrap();
}

/// A process that listens on one port.
struct Process(SocketAddr);

impl Endpoint for Process {
    fn connect(&self, port: u16) -> Pin<Box<dyn Future<Output = io::Result<Box<dyn capability::Stream>>> + Send + '_>> {
        Box::pin(async move {
            if port != 8080 {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            Ok(Box::new(TcpStream::connect(self.0).await?) as Box<dyn capability::Stream>)
        })
    }
}

#[tokio::test]
async fn the_stages_own_processes_are_reached_by_name() {
    let server = Server::http(|_| Answer::new(full("app"))).await;
    let mut stage = Stage::new("http = [{ url = \"http://*.stage:*/**\" }]");
    match stage.open("http://app.stage:8080/").await {
        Err(Error::Connect(text)) => assert!(text.contains("`app`") && text.contains("none is running"), "{text}"),
        other => panic!("{other:?}"),
    }
    assert!(stage.state.setting.endpoints.insert("app", Arc::new(Process(server.address))));
    assert_eq!(stage.fetch(get("http://app.stage:8080/health")).await.unwrap(), (200, "app".into()));
    assert_eq!(server.last().headers["host"], "app.stage:8080");
    match stage.open("http://app.stage:81/").await {
        Err(Error::Connect(text)) => assert!(text.contains("app.stage:81 refused"), "{text}"),
        other => panic!("{other:?}"),
    }
    match stage.open("http://other.stage:8080/").await {
        Err(Error::Connect(text)) => assert!(text.contains("running: app"), "{text}"),
        other => panic!("{other:?}"),
    }
    assert!(stage.names.asked.lock().unwrap().is_empty(), "names of the stage are never looked up");
}
