//! `runner:http`: exchanges, their limits, and what goes wrong with servers.

use std::time::{Duration, Instant};

use http::Response as Answer;
use tokio::io::AsyncWriteExt;

use super::server::{Server, full, read_head};
use super::stage::{Error, Stage, again, denied, get, header};
use crate::host::bindings::runner::http::client::HostResponse as _;

#[tokio::test]
async fn a_response_comes_whole_and_without_the_connections_headers() {
    let server = Server::http(|_| {
        Answer::builder()
            .status(201)
            .header("X-Name", "a")
            .header("x-name", "b")
            .header("connection", "keep-alive, x-hop")
            .header("x-hop", "1")
            .header("keep-alive", "timeout=5")
            .body(full("hello"))
            .unwrap()
    })
    .await;
    let mut stage = Stage::new(&server.grant());
    let response = stage.open(&server.url("/a/../b?c=d#e")).await.unwrap();
    assert_eq!(stage.state.status(again(&response)).unwrap(), 201);
    assert_eq!(stage.state.url(again(&response)).unwrap(), server.url("/b?c=d"));
    let names: Vec<String> = stage.state.headers(again(&response)).unwrap().into_iter().map(|h| h.name).collect();
    assert_eq!(names.iter().filter(|n| *n == "x-name").count(), 2);
    for gone in ["connection", "x-hop", "keep-alive", "transfer-encoding"] {
        assert!(!names.iter().any(|n| n == gone), "{gone} in {names:?}");
    }
    assert_eq!(stage.body(&response).await.unwrap(), b"hello");
    assert_eq!(stage.body(&response).await.unwrap(), b"", "the end stays the end");
    assert!(stage.state.certificate(again(&response)).unwrap().is_none());
    let timing = stage.state.timing(again(&response)).unwrap();
    assert!(timing.connect > 0 && timing.wait > 0 && timing.tls == 0 && timing.resolve == 0, "{timing:?}");
    assert!(timing.total >= timing.connect + timing.wait, "{timing:?}");

    let seen = server.last();
    assert_eq!(seen.target, "/b?c=d");
    assert_eq!(seen.headers["host"], server.address.to_string());
    assert!(seen.headers["user-agent"].to_str().unwrap().starts_with("runner/"));
    assert!(!seen.headers.contains_key("content-length"));
    // one crossing; a piece and two ends
    let counts = stage.ledger.counts();
    assert_eq!((counts.granted, counts.denied, counts.delivered), (1, 0, 3));
}

#[tokio::test]
async fn a_body_goes_out_with_its_length() {
    let server = Server::http(|seen| Answer::new(full(seen.body.clone()))).await;
    let mut stage = Stage::new(&server.grant());
    let body = vec![7; 3 << 20];
    let mut request = get(&server.url("/"));
    request.method = "POST".into();
    request.body = body.clone();
    request.headers = vec![header("User-Agent", "mine"), header("X-A", "1"), header("x-a", "2")];
    let response = stage.send(request).await.unwrap();
    assert_eq!(stage.body(&response).await.unwrap(), body);
    let seen = server.last();
    assert_eq!(seen.headers["content-length"], body.len().to_string());
    assert_eq!(seen.headers["user-agent"], "mine");
    assert_eq!(seen.headers.get_all("x-a").iter().count(), 2);

    let mut empty = get(&server.url("/"));
    empty.method = "POST".into();
    stage.fetch(empty).await.unwrap();
    assert_eq!(server.last().headers["content-length"], "0");
}

#[tokio::test]
async fn reads_are_as_small_as_asked() {
    let server = Server::http(|_| Answer::new(full(vec![1; 1000]))).await;
    let mut stage = Stage::new(&server.grant());
    let response = stage.open(&server.url("/")).await.unwrap();
    for _ in 0..10 {
        assert_eq!(stage.state.read(again(&response), 100).await.unwrap().unwrap().len(), 100);
    }
    assert_eq!(stage.state.read(again(&response), 100).await.unwrap().unwrap().len(), 0);
}

#[tokio::test]
async fn chunks_trailers_and_interim_responses_are_understood() {
    let server = Server::canned(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n\
         HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n1;ext=1\r\n!\r\n0\r\nx-sum: 1\r\n\r\n",
    )
    .await;
    let mut stage = Stage::new(&server.grant());
    let mut request = get(&server.url("/"));
    request.headers = vec![header("expect", "100-continue")];
    assert_eq!(stage.fetch(request).await.unwrap(), (200, "hello!".into()));
}

#[tokio::test]
async fn head_has_a_length_and_no_body() {
    let server = Server::canned("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n").await;
    let mut stage = Stage::new(&server.grant());
    let mut request = get(&server.url("/"));
    request.method = "HEAD".into();
    let response = stage.send(request).await.unwrap();
    assert_eq!(stage.header(&response, "content-length").unwrap(), "99999999999");
    assert_eq!(stage.body(&response).await.unwrap(), b"");
}

#[tokio::test]
async fn a_body_over_the_limit_is_too_large() {
    let announced = Server::http(|_| Answer::new(full(vec![1; 2000]))).await;
    let chunked =
        Server::canned("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n400\r\n".to_owned() + &"x".repeat(1024) + "\r\n400\r\n").await;
    for server in [&announced, &chunked] {
        let mut stage = Stage::new(&server.grant());
        let mut request = get(&server.url("/"));
        request.max_body = 1000;
        let response = stage.send(request).await.unwrap();
        assert!(matches!(stage.body(&response).await, Err(Error::TooLarge(1000))));
        assert!(matches!(stage.body(&response).await, Err(Error::TooLarge(1000))), "an error stays");
    }
    // the limit itself is allowed
    let mut stage = Stage::new(&announced.grant());
    let mut request = get(&announced.url("/"));
    request.max_body = 2000;
    assert_eq!(stage.fetch(request).await.unwrap().1.len(), 2000);
}

#[tokio::test]
async fn a_server_that_dawdles_runs_into_the_timeout() {
    let head = Server::raw(|mut stream| async move {
        read_head(&mut stream).await;
        for byte in b"HTTP/1.1 200 OK\r\nx-slow: ".iter().cycle() {
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let mut stage = Stage::new(&head.grant());
    let mut request = get(&head.url("/"));
    request.timeout = 200_000_000;
    let started = Instant::now();
    assert!(matches!(stage.send(request).await, Err(Error::Timeout)));
    assert!(started.elapsed() < Duration::from_secs(5));

    let body = Server::raw(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await;
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let mut stage = Stage::new(&body.grant());
    let mut request = get(&body.url("/"));
    request.timeout = 300_000_000;
    let response = stage.send(request).await.unwrap();
    assert!(matches!(stage.body(&response).await, Err(Error::Timeout)));
}

#[tokio::test]
async fn connections_that_break_are_errors_of_the_connection() {
    let silent = Server::raw(|mut stream| async move {
        read_head(&mut stream).await;
    })
    .await;
    let reset = Server::raw(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhel").await;
        stream.flush().await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        // with bytes lost on the way, closing sends a reset
        stream.set_zero_linger().unwrap();
    })
    .await;
    let cut = Server::canned("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhel").await;
    let mut stage = Stage::new(&silent.grant());
    assert!(matches!(stage.open(&silent.url("/")).await, Err(Error::Connect(_))));
    for server in [&reset, &cut] {
        let mut stage = Stage::new(&server.grant());
        let response = stage.open(&server.url("/")).await.unwrap();
        let error = stage.body(&response).await;
        assert!(matches!(error, Err(Error::Connect(_))), "{error:?}");
    }
    let gone = silent.address;
    drop(silent);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let mut stage = Stage::new(&format!("http = [{{ url = \"http://{gone}/**\" }}]"));
    match stage.open(&format!("http://{gone}/")).await {
        Err(Error::Connect(text)) => assert!(text.contains("refused"), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_not_http_is_an_error_of_the_protocol() {
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(2000));
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(200_000));
    for answer in [
        "SSH-2.0-OpenSSH_9.2\r\n".to_owned(),
        "HTTP/9.9 200 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 20x OK\r\n\r\n".to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab".to_owned(),
        many,
        long,
    ] {
        let shown: String = answer.chars().take(40).collect();
        let server = Server::canned(answer).await;
        let mut stage = Stage::new(&server.grant());
        let error = stage.open(&server.url("/")).await;
        assert!(matches!(error, Err(Error::Protocol(_))), "{shown}: {error:?}");
    }
}

#[tokio::test]
async fn requests_that_nobody_could_send_are_invalid() {
    let server = Server::http(|_| Answer::new(full(""))).await;
    let mut stage = Stage::new(&server.grant());
    let url = server.url("/");
    let with = |headers: Vec<crate::host::bindings::runner::http::client::Header>| {
        let mut request = get(&url);
        request.headers = headers;
        request
    };
    let mut method = get(&url);
    method.method = "GE T".into();
    for request in [
        method,
        with(vec![header("bad name", "x")]),
        with(vec![header("", "x")]),
        with(vec![header("x", "a\r\nb: c")]),
        with(vec![header("x", &"y".repeat(70_000))]),
    ] {
        assert!(matches!(stage.send(request).await, Err(Error::Invalid(_))));
    }
    assert_eq!(server.connections(), 0);
    assert_eq!(stage.ledger.counts().granted, 0);
}

#[tokio::test]
async fn denials_are_values_with_a_remedy_and_nothing_is_sent() {
    let server = Server::http(|_| Answer::new(full(""))).await;
    let mut stage = Stage::new("");
    match stage.open(&server.url("/x")).await {
        Err(Error::Denied(denial)) => {
            assert_eq!(denial.effect, "http.request");
            assert_eq!(denial.subject, format!("GET {}", server.url("/x")));
            assert_eq!(denial.code, "not-granted");
            let expected = format!("[stage.test.grants]\nhttp = [{{ url = \"{}\", methods = [\"GET\"] }}]", server.url("/x"));
            assert_eq!(denial.remedy.unwrap(), expected);
        }
        other => panic!("{other:?}"),
    }
    let mut stage = Stage::new(&server.grant());
    let mut with_host = get(&server.url("/"));
    with_host.headers = vec![header("Host", "other.example")];
    assert_eq!(denied(stage.send(with_host).await), "host-header");
    assert_eq!(denied(stage.open("gopher://x/").await), "bad-url");
    let mut delete = get(&server.url("/"));
    delete.method = "DELETE".into();
    assert_eq!(denied(stage.send(delete).await), "not-granted");
    assert_eq!(stage.ledger.counts().denied, 3);
    assert_eq!(server.connections(), 0);
}
