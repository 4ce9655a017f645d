//! Programs and ports of Pods, against a kubelet's side of the web socket.

use std::net::SocketAddr;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use super::{Answer, Fake, cluster, pod};
use crate::{Exec, Output};

type Socket = WebSocketStream<TcpStream>;

/// Takes one connection and hands it over; answers with where it listens and what was asked.
async fn kubelet<F: Future<Output = ()> + Send + 'static>(
    play: impl FnOnce(Socket) -> F + Send + 'static,
) -> (SocketAddr, tokio::sync::oneshot::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, asked) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut uri = String::new();
        #[expect(clippy::result_large_err, reason = "the callback's own type")]
        let shake = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
            uri = request.uri().to_string();
            response.headers_mut().insert("sec-websocket-protocol", "v5.channel.k8s.io".parse().unwrap());
            Ok(response)
        };
        let socket = tokio_tungstenite::accept_hdr_async(stream, shake).await.unwrap();
        tell.send(uri).ok();
        play(socket).await;
    });
    (address, asked)
}

async fn say(socket: &mut Socket, channel: u8, bytes: &[u8]) {
    let message = [&[channel], bytes].concat();
    socket.send(Message::binary(message)).await.unwrap();
}

fn exec(stdin: &str) -> Exec {
    Exec { container: Some("api".into()), arguments: vec!["sh".into(), "-c".into(), "echo a&b".into()], stdin: stdin.into() }
}

async fn run(address: SocketAddr, exec: &Exec) -> (Result<i32, crate::ClusterError>, String, String) {
    let (mut out, mut err) = (String::new(), String::new());
    let cluster = cluster(address);
    let target = pod("api-1");
    let code = cluster.exec(&target, exec, |output, bytes| {
        let text = std::str::from_utf8(bytes).unwrap();
        match output {
            Output::Stdout => out.push_str(text),
            Output::Stderr => err.push_str(text),
        }
    });
    let code = tokio::time::timeout(Duration::from_secs(10), code).await.unwrap();
    (code, out, err)
}

#[tokio::test]
async fn a_program_says_how_it_ended() {
    let status =
        json!({ "status": "Failure", "reason": "NonZeroExitCode", "details": { "causes": [{ "reason": "ExitCode", "message": "3" }] } });
    let (address, asked) = kubelet(async move |mut socket| {
        let mut read = String::new();
        // until standard input is closed
        while let Some(Ok(message)) = socket.next().await {
            match message.into_data().as_ref() {
                [0, bytes @ ..] => read.push_str(std::str::from_utf8(bytes).unwrap()),
                [255, 0] => break,
                _ => {}
            }
        }
        say(&mut socket, 1, read.to_uppercase().as_bytes()).await;
        say(&mut socket, 2, b"oh").await;
        say(&mut socket, 3, status.to_string().as_bytes()).await;
        socket.close(None).await.ok();
    })
    .await;
    let (code, out, err) = run(address, &exec("input")).await;
    assert_eq!((code.unwrap(), out.as_str(), err.as_str()), (3, "INPUT", "oh"));
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("/api/v1/namespaces/shop/pods/api-1/exec?"), "{asked}");
    assert!(asked.contains("container=api") && asked.contains("command=echo+a%26b") && asked.contains("stdin=true"), "{asked}");
}

#[tokio::test]
async fn a_program_whose_connection_breaks_may_have_run() {
    let (address, _) = kubelet(async |mut socket: Socket| {
        say(&mut socket, 1, b"half").await;
        drop(socket);
    })
    .await;
    let (code, out, _) = run(address, &exec("")).await;
    assert!(matches!(code, Err(crate::ClusterError::Lost { .. })), "{code:?}");
    assert_eq!(out, "half");
}

#[tokio::test]
async fn a_program_that_the_cluster_refuses_has_not_begun() {
    let fake = Fake::new(|_, _| {
        let body: Value = json!({ "kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "no exec" });
        Answer::Json(403, body)
    })
    .await;
    let (code, ..) = run(fake.address, &exec("")).await;
    let error = code.unwrap_err();
    assert!(error.is_forbidden() && error.to_string().contains("no exec"), "{error}");
}

#[tokio::test]
async fn a_port_takes_bytes_both_ways() {
    let (address, asked) = kubelet(async |mut socket: Socket| {
        for channel in [0, 1] {
            say(&mut socket, channel, &8080_u16.to_le_bytes()).await;
        }
        while let Some(Ok(message)) = socket.next().await {
            if let [0, bytes @ ..] = message.into_data().as_ref()
                && !bytes.is_empty()
            {
                say(&mut socket, 0, &[b"<", bytes, b">"].concat()).await;
                break;
            }
        }
        socket.close(None).await.ok();
    })
    .await;
    let mut tunnel = cluster(address).connect_pod(&pod("api-1"), 8080).await.unwrap();
    tunnel.write_all(b"ping").await.unwrap();
    let mut read = String::new();
    tokio::time::timeout(Duration::from_secs(10), tunnel.read_to_string(&mut read)).await.unwrap().unwrap();
    assert_eq!(read, "<ping>");
    assert_eq!(asked.await.unwrap(), "/api/v1/namespaces/shop/pods/api-1/portforward?&ports=8080");
}

#[tokio::test]
async fn a_port_where_nobody_listens_says_so() {
    let (address, _) = kubelet(async |mut socket: Socket| {
        for channel in [0, 1] {
            say(&mut socket, channel, &8080_u16.to_le_bytes()).await;
        }
        say(&mut socket, 1, b"connection refused").await;
        // and stays
        while socket.next().await.is_some() {}
    })
    .await;
    let mut tunnel = cluster(address).connect_pod(&pod("api-1"), 8080).await.unwrap();
    let error = tokio::time::timeout(Duration::from_secs(10), tunnel.read_u8()).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (std::io::ErrorKind::ConnectionRefused, "connection refused"));
}
