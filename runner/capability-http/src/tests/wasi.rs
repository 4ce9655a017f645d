//! `wasi:http`: the same policy behind the standard interface, its resources, and its error codes.

use std::sync::Arc;
use std::time::Duration;

use capability::io::bindings::wasi::io::poll::HostPollable as _;
use capability::io::bindings::wasi::io::streams::{HostInputStream as _, HostOutputStream};
use capability::io::{OutputStream, StreamError};
use capability::{Capability, StageState};
use http::{HeaderMap, HeaderValue, Response as Answer};
use http_body_util::{BodyExt, Full};
use wasmtime::component::{Linker, Resource};

use super::server::{Server, full};
use super::stage::{Stage, again};
use crate::host::bindings::wasi::http::outgoing_handler::Host as _;
use crate::host::bindings::wasi::http::types::*;

type Outgoing = Resource<OutgoingRequest>;

fn fields(stage: &mut Stage, entries: &[(&str, &str)]) -> Resource<Fields> {
    let entries = entries.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect();
    HostFields::from_list(&mut stage.state, entries).unwrap().unwrap()
}

fn outgoing(stage: &mut Stage, method: Method, url: &str, headers: &[(&str, &str)]) -> Outgoing {
    let headers = fields(stage, headers);
    let state = &mut stage.state;
    let request = HostOutgoingRequest::new(state, headers).unwrap();
    let (scheme, rest) = url.split_once("://").unwrap();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let scheme = if scheme == "http" { Scheme::Http } else { Scheme::Https };
    state.set_method(again(&request), method).unwrap().unwrap();
    state.set_scheme(again(&request), Some(scheme)).unwrap().unwrap();
    state.set_authority(again(&request), Some(authority.to_owned())).unwrap().unwrap();
    state.set_path_with_query(again(&request), Some(path.to_owned())).unwrap().unwrap();
    request
}

async fn response(stage: &mut Stage, future: &Resource<FutureIncomingResponse>) -> Result<Resource<IncomingResponse>, ErrorCode> {
    let state = &mut stage.state;
    let pollable = HostFutureIncomingResponse::subscribe(state, again(future)).unwrap();
    tokio::time::timeout(Duration::from_secs(10), state.block(again(&pollable))).await.expect("it becomes ready").unwrap();
    state.table.delete(pollable).unwrap();
    let answer = HostFutureIncomingResponse::get(state, again(future)).unwrap().expect("it is ready").expect("asked once");
    assert!(matches!(HostFutureIncomingResponse::get(state, again(future)).unwrap(), Some(Err(()))), "only once");
    answer
}

async fn body(state: &mut StageState, body: &Resource<IncomingBody>) -> Result<Vec<u8>, StreamError> {
    let stream = HostIncomingBody::stream(state, again(body)).unwrap().unwrap();
    assert!(HostIncomingBody::stream(state, again(body)).unwrap().is_err(), "only once");
    let mut bytes = Vec::new();
    let end = loop {
        match state.blocking_read(again(&stream), 1000).await {
            Ok(piece) => bytes.extend(piece),
            Err(StreamError::Closed) => break Ok(bytes),
            Err(error) => break Err(error),
        }
    };
    state.table.delete(stream).unwrap();
    end
}

fn write(state: &mut StageState, body: &Resource<OutgoingBody>, bytes: &[u8]) -> Result<(), StreamError> {
    let stream: Resource<OutputStream> = HostOutgoingBody::write(state, again(body)).unwrap().unwrap();
    let result = bytes.chunks(700).try_for_each(|chunk| HostOutputStream::write(state, again(&stream), chunk.to_vec()));
    HostOutputStream::drop(state, stream).unwrap();
    result
}

#[tokio::test]
async fn a_request_without_a_body() {
    let server =
        Server::http(|seen| Answer::builder().status(202).header("X-Got", seen.target.as_str()).body(full("hello")).unwrap()).await;
    let mut stage = Stage::new(&server.grant());
    let request = outgoing(&mut stage, Method::Get, &server.url("/a?b"), &[("Accept", "text/plain")]);
    let future = stage.state.handle(request, None).await.unwrap().unwrap();
    let response = response(&mut stage, &future).await.unwrap();
    let state = &mut stage.state;
    assert_eq!(HostIncomingResponse::status(state, again(&response)).unwrap(), 202);
    let headers = HostIncomingResponse::headers(state, again(&response)).unwrap();
    assert_eq!(HostFields::get(state, again(&headers), "x-GOT".into()).unwrap(), [b"/a?b".to_vec()]);
    assert!(matches!(state.append(again(&headers), "x".into(), b"y".to_vec()).unwrap(), Err(HeaderError::Immutable)));
    HostFields::drop(state, headers).unwrap();
    let incoming = HostIncomingResponse::consume(state, again(&response)).unwrap().unwrap();
    assert!(HostIncomingResponse::consume(state, again(&response)).unwrap().is_err());
    HostIncomingResponse::drop(state, response).unwrap();
    assert_eq!(body(state, &incoming).await.unwrap(), b"hello");
    let trailers = HostIncomingBody::finish(state, incoming).unwrap();
    let pollable = HostFutureTrailers::subscribe(state, again(&trailers)).unwrap();
    state.block(again(&pollable)).await.unwrap();
    assert!(matches!(HostFutureTrailers::get(state, again(&trailers)).unwrap(), Some(Ok(Ok(None)))));
    assert!(matches!(HostFutureTrailers::get(state, again(&trailers)).unwrap(), Some(Err(()))));
    assert_eq!(server.last().headers["accept"], "text/plain");
}

#[tokio::test]
async fn a_body_may_be_written_before_or_after_the_request_is_handed_over() {
    let server = Server::http(|seen| Answer::new(full(seen.body.clone()))).await;
    let sent: Vec<u8> = (0..100_000_u32).map(|i| i as u8).collect();
    for after in [false, true] {
        let mut stage = Stage::new(&server.grant());
        let request = outgoing(&mut stage, Method::Post, &server.url("/"), &[("content-length", "100000")]);
        let out = HostOutgoingRequest::body(&mut stage.state, again(&request)).unwrap().unwrap();
        assert!(HostOutgoingRequest::body(&mut stage.state, again(&request)).unwrap().is_err());
        let future = if after {
            let future = stage.state.handle(request, None).await.unwrap().unwrap();
            assert!(HostFutureIncomingResponse::get(&mut stage.state, again(&future)).unwrap().is_none());
            assert_eq!(stage.ledger.counts().granted, 0, "nothing crosses before it is whole");
            write(&mut stage.state, &out, &sent).unwrap();
            HostOutgoingBody::finish(&mut stage.state, out, None).await.unwrap().unwrap();
            future
        } else {
            write(&mut stage.state, &out, &sent).unwrap();
            HostOutgoingBody::finish(&mut stage.state, out, None).await.unwrap().unwrap();
            stage.state.handle(request, None).await.unwrap().unwrap()
        };
        assert_eq!(stage.ledger.counts().granted, 1);
        let response = response(&mut stage, &future).await.unwrap();
        let incoming = HostIncomingResponse::consume(&mut stage.state, response).unwrap().unwrap();
        assert_eq!(body(&mut stage.state, &incoming).await.unwrap(), sent, "after: {after}");
        assert_eq!(server.last().headers["content-length"], "100000");
    }
}

#[tokio::test]
async fn trailers_go_both_ways() {
    let server = Server::http(|_| {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("42"));
        let body = Full::new(bytes::Bytes::from_static(b"data")).with_trailers(std::future::ready(Some(Ok(trailers))));
        Answer::builder().header("trailer", "x-sum").body(body.boxed()).unwrap()
    })
    .await;
    let mut stage = Stage::new(&server.grant());
    // servers of HTTP/1.1 send trailers to those alone who say that they take them; `te` is the host's, so this one gets none
    let request = outgoing(&mut stage, Method::Post, &server.url("/"), &[]);
    let out = HostOutgoingRequest::body(&mut stage.state, again(&request)).unwrap().unwrap();
    write(&mut stage.state, &out, b"body").unwrap();
    let trailers = fields(&mut stage, &[("x-digest", "abc")]);
    let future = stage.state.handle(request, None).await.unwrap().unwrap();
    HostOutgoingBody::finish(&mut stage.state, out, Some(trailers)).await.unwrap().unwrap();
    response(&mut stage, &future).await.unwrap();
    let seen = server.last();
    assert_eq!(seen.body, "body");
    assert_eq!(seen.trailers.unwrap()["x-digest"], "abc");
    assert!(!seen.headers.contains_key("content-length"));

    let canned =
        Server::canned("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n4\r\ndata\r\n0\r\nx-sum: 42\r\n\r\n").await;
    let mut stage = Stage::new(&canned.grant());
    let request = outgoing(&mut stage, Method::Get, &canned.url("/"), &[]);
    let future = stage.state.handle(request, None).await.unwrap().unwrap();
    let response = response(&mut stage, &future).await.unwrap();
    let state = &mut stage.state;
    let incoming = HostIncomingResponse::consume(state, response).unwrap().unwrap();
    // without reading the body first
    let future = HostIncomingBody::finish(state, incoming).unwrap();
    let pollable = HostFutureTrailers::subscribe(state, again(&future)).unwrap();
    state.block(again(&pollable)).await.unwrap();
    let Some(Ok(Ok(Some(trailers)))) = HostFutureTrailers::get(state, again(&future)).unwrap() else { panic!("no trailers") };
    assert_eq!(HostFields::get(state, trailers, "x-sum".into()).unwrap(), [b"42".to_vec()]);
}

#[tokio::test]
async fn bodies_that_are_not_what_they_say_are_never_sent() {
    let server = Server::http(|_| Answer::new(full(""))).await;
    let mut stage = Stage::new(&server.grant());

    // too short
    let request = outgoing(&mut stage, Method::Post, &server.url("/"), &[("content-length", "5")]);
    let out = HostOutgoingRequest::body(&mut stage.state, again(&request)).unwrap().unwrap();
    let future = stage.state.handle(request, None).await.unwrap().unwrap();
    write(&mut stage.state, &out, b"abc").unwrap();
    assert!(matches!(HostOutgoingBody::finish(&mut stage.state, out, None).await.unwrap(), Err(ErrorCode::HttpRequestBodySize(Some(3)))));
    assert!(matches!(response(&mut stage, &future).await, Err(ErrorCode::InternalError(Some(_)))));

    // too long
    let request = outgoing(&mut stage, Method::Post, &server.url("/"), &[("content-length", "5")]);
    let out = HostOutgoingRequest::body(&mut stage.state, again(&request)).unwrap().unwrap();
    let Err(StreamError::Failed(error)) = write(&mut stage.state, &out, b"abcdef") else { panic!("it fitted") };
    let error = stage.state.table.push(error).unwrap();
    assert!(matches!(stage.state.http_error_code(error).unwrap(), Some(ErrorCode::HttpRequestBodySize(Some(6)))));

    // dropped unfinished, before and after the request is handed over
    let request = outgoing(&mut stage, Method::Post, &server.url("/"), &[]);
    let out = HostOutgoingRequest::body(&mut stage.state, again(&request)).unwrap().unwrap();
    HostOutgoingBody::drop(&mut stage.state, out).unwrap();
    assert!(matches!(stage.state.handle(request, None).await.unwrap(), Err(ErrorCode::InternalError(Some(_)))));
    let request = outgoing(&mut stage, Method::Post, &server.url("/"), &[]);
    let out = HostOutgoingRequest::body(&mut stage.state, again(&request)).unwrap().unwrap();
    let future = stage.state.handle(request, None).await.unwrap().unwrap();
    HostOutgoingBody::drop(&mut stage.state, out).unwrap();
    assert!(matches!(response(&mut stage, &future).await, Err(ErrorCode::InternalError(Some(_)))));
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn without_a_grant_every_request_is_denied_and_recorded() {
    let server = Server::http(|_| Answer::new(full(""))).await;
    let mut stage = Stage::new("");
    for with_body in [false, true] {
        let request = outgoing(&mut stage, Method::Get, &server.url("/"), &[]);
        let out = with_body.then(|| HostOutgoingRequest::body(&mut stage.state, again(&request)).unwrap().unwrap());
        assert!(matches!(stage.state.handle(request, None).await.unwrap(), Err(ErrorCode::HttpRequestDenied)));
        // a guest that goes on writing sees no second error
        if let Some(out) = out {
            write(&mut stage.state, &out, b"body").unwrap();
            HostOutgoingBody::finish(&mut stage.state, out, None).await.unwrap().unwrap();
        }
    }
    assert_eq!(stage.ledger.counts().denied, 2);
    assert_eq!(stage.ledger.entries()[0].subject, format!("GET {}", server.url("/")));
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn refusals_have_the_standards_codes() {
    let mut stage = Stage::new("http = [{ url = \"http://*.example/**\" }]");
    stage.names.add("inside.example", &[&["169.254.169.254"]]);
    let request = outgoing(&mut stage, Method::Get, "http://inside.example/", &[]);
    assert!(matches!(stage.state.handle(request, None).await.unwrap(), Err(ErrorCode::DestinationIpProhibited)));
    let request = outgoing(&mut stage, Method::Get, "http://169.254.169.254/", &[]);
    assert!(matches!(stage.state.handle(request, None).await.unwrap(), Err(ErrorCode::HttpRequestDenied)));
    let request = outgoing(&mut stage, Method::Get, "http://user@inside.example/", &[]);
    assert!(matches!(stage.state.handle(request, None).await.unwrap(), Err(ErrorCode::HttpRequestUriInvalid)));
    let request = outgoing(&mut stage, Method::Connect, "http://inside.example/", &[]);
    assert!(matches!(stage.state.handle(request, None).await.unwrap(), Err(ErrorCode::HttpRequestDenied)));
    let headers = fields(&mut stage, &[]);
    let nowhere = HostOutgoingRequest::new(&mut stage.state, headers).unwrap();
    assert!(matches!(stage.state.handle(nowhere, None).await.unwrap(), Err(ErrorCode::HttpRequestUriInvalid)));
    let request = outgoing(&mut stage, Method::Get, "http://nowhere.example/", &[]);
    let future = stage.state.handle(request, None).await.unwrap().unwrap();
    assert!(matches!(response(&mut stage, &future).await, Err(ErrorCode::DnsError(_))));
    let large = "y".repeat(70_000);
    let request = outgoing(&mut stage, Method::Get, "http://a.example/", &[("x", large.as_str())]);
    assert!(matches!(stage.state.handle(request, None).await.unwrap(), Err(ErrorCode::HttpRequestHeaderSectionSize(Some(70_001)))));
}

#[tokio::test]
async fn times_are_the_guests_to_set() {
    let server = Server::raw(|mut stream| async move {
        super::server::read_head(&mut stream).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    })
    .await;
    let mut stage = Stage::new(&server.grant());
    let request = outgoing(&mut stage, Method::Get, &server.url("/"), &[]);
    let options = HostRequestOptions::new(&mut stage.state).unwrap();
    stage.state.set_first_byte_timeout(again(&options), Some(100_000_000)).unwrap().unwrap();
    assert_eq!(stage.state.first_byte_timeout(again(&options)).unwrap(), Some(100_000_000));
    let future = stage.state.handle(request, Some(options)).await.unwrap().unwrap();
    assert!(matches!(response(&mut stage, &future).await, Err(ErrorCode::HttpResponseTimeout)));
}

#[tokio::test]
async fn a_body_that_breaks_tells_why() {
    let server = Server::canned("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhel").await;
    let mut stage = Stage::new(&server.grant());
    let request = outgoing(&mut stage, Method::Get, &server.url("/"), &[]);
    let future = stage.state.handle(request, None).await.unwrap().unwrap();
    let response = response(&mut stage, &future).await.unwrap();
    let incoming = HostIncomingResponse::consume(&mut stage.state, response).unwrap().unwrap();
    let Err(StreamError::Failed(error)) = body(&mut stage.state, &incoming).await else { panic!("it was whole") };
    let error = stage.state.table.push(error).unwrap();
    assert!(matches!(stage.state.http_error_code(error).unwrap(), Some(ErrorCode::ConnectionTerminated)));
}

#[tokio::test]
async fn several_requests_run_at_once() {
    let server = Server::raw(|mut stream| async move {
        use tokio::io::AsyncWriteExt;
        super::server::read_head(&mut stream).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    })
    .await;
    let mut stage = Stage::new(&server.grant());
    let started = std::time::Instant::now();
    let mut futures = Vec::new();
    for _ in 0..10 {
        let request = outgoing(&mut stage, Method::Post, &server.url("/"), &[]);
        futures.push(stage.state.handle(request, None).await.unwrap().unwrap());
    }
    for future in &futures {
        response(&mut stage, future).await.unwrap();
    }
    assert!(started.elapsed() < Duration::from_millis(1500), "{:?}", started.elapsed());
}

#[test]
fn fields_keep_order_and_casing_and_refuse_what_is_the_hosts() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _inside = runtime.enter();
    let mut stage = Stage::new("");
    let state = &mut stage.state;
    let value = |text: &str| text.as_bytes().to_vec();
    let fields = HostFields::new(state).unwrap();
    state.append(again(&fields), "X-One".into(), value("1")).unwrap().unwrap();
    state.append(again(&fields), "x-two".into(), value("2")).unwrap().unwrap();
    state.append(again(&fields), "x-ONE".into(), value("3")).unwrap().unwrap();
    let entries = state.entries(again(&fields)).unwrap();
    assert_eq!(entries, [("X-One".into(), value("1")), ("x-two".into(), value("2")), ("x-ONE".into(), value("3"))]);
    assert!(state.has(again(&fields), "X-TWO".into()).unwrap());
    assert!(!state.has(again(&fields), "not a name".into()).unwrap());
    HostFields::set(state, again(&fields), "x-one".into(), vec![value("4"), value("5")]).unwrap().unwrap();
    assert_eq!(HostFields::get(state, again(&fields), "X-One".into()).unwrap(), [value("4"), value("5")]);
    state.delete(again(&fields), "X-ONE".into()).unwrap().unwrap();
    assert!(!state.has(again(&fields), "x-one".into()).unwrap());
    for name in ["Host", "connection", "Transfer-Encoding", "upgrade", "te", "trailer", "keep-alive", "Proxy-Authorization"] {
        assert!(matches!(state.append(again(&fields), name.into(), value("x")).unwrap(), Err(HeaderError::Forbidden)), "{name}");
        assert!(matches!(HostFields::set(state, again(&fields), name.into(), vec![]).unwrap(), Err(HeaderError::Forbidden)), "{name}");
    }
    assert!(matches!(state.append(again(&fields), "a b".into(), value("x")).unwrap(), Err(HeaderError::InvalidSyntax)));
    assert!(matches!(state.append(again(&fields), "a".into(), value("x\r\ny: z")).unwrap(), Err(HeaderError::InvalidSyntax)));
    assert!(matches!(HostFields::from_list(state, vec![("host".into(), value("x"))]).unwrap(), Err(HeaderError::Forbidden)));

    // a request's own are immutable, a copy is not, and what was changed there is not changed here
    let request = HostOutgoingRequest::new(state, fields).unwrap();
    let headers = HostOutgoingRequest::headers(state, again(&request)).unwrap();
    assert!(matches!(state.delete(again(&headers), "x-two".into()).unwrap(), Err(HeaderError::Immutable)));
    let copy = HostFields::clone(state, again(&headers)).unwrap();
    state.delete(again(&copy), "x-two".into()).unwrap().unwrap();
    assert!(state.has(again(&headers), "x-two".into()).unwrap());
    assert!(HostOutgoingRequest::drop(state, request).is_err(), "a child is alive");

    // no end of fields
    let mut result = Ok(());
    for _ in 0..100 {
        let appended = state.append(again(&copy), "x".into(), vec![b'y'; 20_000]);
        if appended.is_err() {
            result = Err(());
            break;
        }
    }
    assert!(result.is_err(), "megabytes of fields were taken");
}

#[test]
fn setters_refuse_what_is_no_part_of_a_url() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _inside = runtime.enter();
    let mut stage = Stage::new("");
    let request = outgoing(&mut stage, Method::Get, "http://a.example/x", &[]);
    let state = &mut stage.state;
    assert!(state.set_method(again(&request), Method::Other("GE T".into())).unwrap().is_err());
    assert!(state.set_scheme(again(&request), Some(Scheme::Other("a b".into()))).unwrap().is_err());
    assert!(state.set_authority(again(&request), Some("a b".into())).unwrap().is_err());
    assert!(state.set_path_with_query(again(&request), Some("/a b\n".into())).unwrap().is_err());
    assert_eq!(HostOutgoingRequest::authority(state, again(&request)).unwrap().unwrap(), "a.example");
    assert_eq!(HostOutgoingRequest::path_with_query(state, again(&request)).unwrap().unwrap(), "/x");
    assert!(matches!(HostOutgoingRequest::method(state, again(&request)).unwrap(), Method::Get));
    assert!(matches!(HostOutgoingRequest::scheme(state, again(&request)).unwrap(), Some(Scheme::Http)));
}

#[test]
fn everything_links() {
    let engine = wasmtime::Engine::default();
    let mut linker: Linker<StageState> = Linker::new(&engine);
    let http: Arc<dyn Capability> = Arc::new(crate::Http::default());
    capability::io::link(&mut linker).unwrap();
    http.link_standard(&mut linker).unwrap();
    http.link(&mut linker).unwrap();
    // every name is taken now
    assert!(http.link_standard(&mut linker).is_err());
    assert!(http.link(&mut linker).is_err());
}
