//! HTTP/1.1 and HTTP/2 over a connection that stands: what a request looks like on the wire, and what an error there means.

use std::error::Error as _;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use capability::Stream;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::tls;
use crate::effect::{Certificate, Failure, Header, MAX_HEAD, Request};
use crate::target::Target;

/// A response with more headers than this is refused.
const MAX_HEADERS: usize = 512;

/// A connection that requests can be sent on.
pub struct Link {
    pub sender: Sender,
    pub certificate: Option<Certificate>,
}

pub enum Sender {
    Http1(http1::SendRequest<Outgoing>),
    Http2(http2::SendRequest<Outgoing>),
}

/// The connection's own work; ends with the connection.
pub type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Sender {
    pub async fn open(stream: Box<dyn Stream>, http2: bool) -> Result<(Sender, Driver), Failure> {
        let io = TokioIo::new(stream);
        if http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.timer(TokioTimer::new()).max_header_list_size(MAX_HEAD as u32);
            let (sender, connection) = builder.handshake(io).await.map_err(|error| failure(&error))?;
            return Ok((Sender::Http2(sender), Box::pin(async move { drop(connection.await) })));
        }
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
        let (sender, connection) = builder.handshake(io).await.map_err(|error| failure(&error))?;
        Ok((Sender::Http1(sender), Box::pin(async move { drop(connection.await) })))
    }

    pub fn is_http2(&self) -> bool {
        matches!(self, Sender::Http2(_))
    }

    pub fn is_usable(&self) -> bool {
        match self {
            Sender::Http1(sender) => sender.is_ready(),
            Sender::Http2(sender) => sender.is_ready(),
        }
    }

    /// Waits until the last exchange is wholly over. False if the connection is too.
    pub async fn settle(&mut self) -> bool {
        match self {
            Sender::Http1(sender) => sender.ready().await.is_ok(),
            Sender::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    pub async fn send(&mut self, request: http::Request<Outgoing>) -> Result<http::Response<Incoming>, hyper::Error> {
        match self {
            Sender::Http1(sender) => sender.send_request(request).await,
            Sender::Http2(sender) => sender.send_request(request).await,
        }
    }
}

/// A body that is whole from the start, and notes when the connection has taken the last of it.
pub struct Outgoing {
    data: Bytes,
    trailers: Option<HeaderMap>,
    pub taken: Arc<OnceLock<Instant>>,
}

impl Outgoing {
    fn note_end(&self) {
        if self.is_end_stream() {
            self.taken.get_or_init(Instant::now);
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = if self.data.is_empty() {
            self.trailers.take().map(Frame::trailers)
        } else {
            Some(Frame::data(std::mem::take(&mut self.data)))
        };
        self.note_end();
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        // trailers need a chunked body
        if self.trailers.is_some() { SizeHint::default() } else { SizeHint::with_exact(self.data.len() as u64) }
    }
}

/// The request as it goes out, with the headers that are the host's.
pub fn request(effect: &Request, target: &Target, http2: bool) -> Result<http::Request<Outgoing>, Failure> {
    let invalid = |error: http::Error| Failure::Invalid(format!("the request can't be sent: {error}"));
    // a path as HTTP/1.1 wants it, a whole URL as HTTP/2 does
    let uri = if http2 {
        format!("{}://{}{}", target.scheme.as_str(), target.authority(), target.path_and_query())
    } else {
        target.path_and_query()
    };
    let uri: Uri = uri.parse().map_err(|error: http::uri::InvalidUri| invalid(error.into()))?;
    let trailers = if effect.trailers.is_empty() { None } else { Some(map(&effect.trailers)?) };
    let mut headers = map(&effect.headers)?;
    if !http2 {
        let authority = HeaderValue::try_from(target.authority()).map_err(|error| invalid(error.into()))?;
        headers.insert(header::HOST, authority);
        if let Some(trailers) = &trailers {
            let names: Vec<&str> = trailers.keys().map(HeaderName::as_str).collect();
            headers.insert(header::TRAILER, HeaderValue::try_from(names.join(", ")).map_err(|error| invalid(error.into()))?);
        }
    }
    let has_content = !effect.body.is_empty() || matches!(effect.method.as_str(), "POST" | "PUT" | "PATCH");
    if has_content && trailers.is_none() {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(effect.body.len()));
    }
    headers.entry(header::USER_AGENT).or_insert(HeaderValue::from_static(concat!("runner/", env!("CARGO_PKG_VERSION"))));
    let body = Outgoing { data: effect.body.clone(), trailers, taken: Arc::default() };
    let mut request = http::Request::builder().method(effect.method.as_str()).uri(uri).body(body).map_err(invalid)?;
    *request.headers_mut() = headers;
    Ok(request)
}

fn map(headers: &[Header]) -> Result<HeaderMap, Failure> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for header in headers {
        let (name, value) = parse(header)?;
        map.append(name, value);
    }
    Ok(map)
}

fn parse(header: &Header) -> Result<(HeaderName, HeaderValue), Failure> {
    let name = HeaderName::from_bytes(header.name.as_bytes())
        .map_err(|_| Failure::Invalid(format!("`{}` is no name of a header", header.name.escape_debug())))?;
    let value = HeaderValue::from_maybe_shared(header.value.clone())
        .map_err(|_| Failure::Invalid(format!("the value of the header `{}` holds a control character", header.name)))?;
    Ok((name, value))
}

/// The headers that are for the guest: those of the connection itself are not (RFC 9110, 7.6.1).
pub fn headers(map: &HeaderMap) -> Vec<Header> {
    let named: Vec<String> = map
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let of_connection = |name: &HeaderName| {
        matches!(name.as_str(), "connection" | "keep-alive" | "transfer-encoding" | "upgrade" | "te")
            || name.as_str().starts_with("proxy-")
            || named.iter().any(|n| n == name.as_str())
    };
    map.iter()
        .filter(|(name, _)| !of_connection(name))
        .map(|(name, value)| Header { name: name.as_str().to_owned(), value: Bytes::copy_from_slice(value.as_bytes()) })
        .collect()
}

/// What hyper's error means.
pub fn failure(error: &hyper::Error) -> Failure {
    if error.is_parse_too_large() {
        return Failure::HeadTooLarge;
    }
    if error.is_parse() {
        return Failure::Protocol(format!("the server does not speak HTTP: {error}"));
    }
    if error.is_incomplete_message() {
        return Failure::Terminated("the server closed the connection before its response was whole".to_owned());
    }
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(error) = inner.downcast_ref::<rustls::Error>() {
            return tls::rustls_failure(error);
        }
        if let Some(error) = inner.downcast_ref::<io::Error>() {
            if error.get_ref().is_some_and(|e| e.is::<rustls::Error>()) {
                return tls::failure(error);
            }
            if error.kind() != io::ErrorKind::Other {
                return Failure::Terminated(format!("the connection broke: {error}"));
            }
        }
        source = inner.source();
    }
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    if error.is_canceled() || error.is_closed() {
        return Failure::Terminated(format!("the connection was closed{cause}"));
    }
    Failure::Protocol(format!("{error}{cause}"))
}
