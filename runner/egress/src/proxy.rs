//! One client's connection to the proxy, from its first request to its end.
//!
//! hyper reads and frames what is HTTP, with a limit on the size of a head and on the time that it may take; a request that can't be read is
//! answered by it and leads nowhere. Names are looked up here and once: what was checked is what is connected to.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::address::reach;
use crate::allow::{AllowList, split};
use crate::dial::dial;
use crate::forward::{self, Upstream};
use crate::host::Host;
use crate::meter::{Metered, Open, Outcome, Witness};
use crate::resolve::{Resolver, SystemResolver};
use crate::tunnel;

/// A request's head.
const LARGEST_HEAD: usize = 32 << 10;
/// From a connection's beginning, or the last request's end, until a head is there.
const HEAD: Duration = Duration::from_secs(60);
const RESOLVE: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(20);
/// Connections that one proxy lets be asked for: each leaves a record, and a program must not fill the disk with them.
const MOST: u64 = 20_000;

/// Why a connection is not made, or not kept. One clause with no full stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the host and port are not granted")]
    NotGranted,
    #[error("the name leads to {0}, {what}", what = reach(*.0).describe())]
    Address(IpAddr),
    #[error("`.stage` names are the stage's own and are reached without the proxy")]
    OwnName,
    #[error("it is the proxy itself")]
    Itself,
    #[error("the request's Host header names `{0}`")]
    HostHeader(String),
    #[error("the TLS connection inside asks for the server `{0}`")]
    ServerName(String),
    #[error("the TLS connection inside does not name its server")]
    NoServerName,
    #[error("the TLS connection inside can't be read, or does not go on")]
    Unreadable,
    #[error("{MOST} connections were asked for already")]
    TooMany,
}

/// An allow-list, served.
pub struct Proxy {
    allow: AllowList,
    resolver: Arc<dyn Resolver>,
    own: Option<(Host, u16)>,
    asked: AtomicU64,
}

/// Where a request leads.
pub struct Target {
    pub host: Host,
    pub port: u16,
}

pub type Body = BoxBody<Bytes, hyper::Error>;

impl Proxy {
    pub fn new(allow: AllowList) -> Proxy {
        Proxy { allow, resolver: Arc::new(SystemResolver), own: None, asked: AtomicU64::new(0) }
    }

    #[must_use]
    pub fn resolver(mut self, resolver: Arc<dyn Resolver>) -> Proxy {
        self.resolver = resolver;
        self
    }

    /// Where its clients find it: no request may lead there.
    #[must_use]
    pub fn known_as(mut self, host: Host, port: u16) -> Proxy {
        self.own = Some((host, port));
        self
    }

    /// Serves a client until it, or the host that it reached, hangs up. Dropping the future closes everything; what was open is told then.
    pub async fn serve<S>(&self, stream: S, witness: Arc<dyn Witness>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let session = Session { proxy: self, witness, tunnel: Mutex::new(None), upstream: tokio::sync::Mutex::new(None) };
        let answering = &session;
        let service = service_fn(move |request| answering.answer(request));
        let served = http1::Builder::new()
            .max_buf_size(LARGEST_HEAD)
            .header_read_timeout(HEAD)
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
            .await;
        let tunnel = session.tunnel.lock().unwrap_or_else(PoisonError::into_inner).take();
        // a client that hangs up half-way is no news
        if let (Ok(()), Some(Tunnel { client, upstream, mut open })) = (served, tunnel)
            && let Ok(client) = client.await
        {
            tunnel::run(TokioIo::new(client), upstream, &mut open).await;
        }
    }

    /// A connection to a target, if that is allowed and comes about; otherwise what the client is told. Either way the witness is.
    pub async fn open(&self, target: &Target, witness: &Arc<dyn Witness>) -> Result<(Metered, Open), Response<Body>> {
        let Target { host, port } = target;
        let before = self.asked.fetch_add(1, Ordering::Relaxed);
        if before > MOST {
            return Err(refused(target, &Refusal::TooMany));
        }
        let mut open = Open::new(host, *port, witness);
        let refuse = |open: &mut Open, refusal: Refusal| {
            let told = refused(target, &refusal);
            open.outcome = Outcome::Refused(refusal);
            told
        };
        let fail = |open: &mut Open, status: StatusCode, why: String| {
            let told = text(status, &format!("{host}:{port}: {why}\n"));
            open.outcome = Outcome::Failed(why);
            told
        };
        if before == MOST {
            return Err(refuse(&mut open, Refusal::TooMany));
        }
        if self.own.as_ref().is_some_and(|(own, at)| own == host && at == port) {
            return Err(refuse(&mut open, Refusal::Itself));
        }
        let scope = self.allow.decide(host, *port).map_err(|refusal| refuse(&mut open, refusal))?;
        let addresses = match host.known_addresses() {
            Some(known) => known,
            None => match tokio::time::timeout(RESOLVE, self.resolver.resolve(&host.to_string())).await {
                Ok(Ok(addresses)) => addresses,
                Ok(Err(error)) => return Err(fail(&mut open, StatusCode::BAD_GATEWAY, format!("the name can't be resolved: {error}"))),
                Err(_) => return Err(fail(&mut open, StatusCode::GATEWAY_TIMEOUT, "the name was not resolved in time".to_owned())),
            },
        };
        let admitted = AllowList::admitted(scope, *port, &addresses).map_err(|refusal| refuse(&mut open, refusal))?;
        match tokio::time::timeout(CONNECT, dial(&admitted)).await {
            Ok(Ok((stream, _))) => Ok((open.meter(stream), open)),
            Ok(Err(error)) => Err(fail(&mut open, StatusCode::BAD_GATEWAY, format!("no connection: {error}"))),
            Err(_) => Err(fail(&mut open, StatusCode::GATEWAY_TIMEOUT, "it did not answer in time".to_owned())),
        }
    }
}

/// What one client's connection has open.
struct Session<'a> {
    proxy: &'a Proxy,
    witness: Arc<dyn Witness>,
    /// Granted, and to be served once the client's stream is free of HTTP.
    tunnel: Mutex<Option<Tunnel>>,
    /// Used again by the next request for the same place.
    upstream: tokio::sync::Mutex<Option<Upstream>>,
}

struct Tunnel {
    client: OnUpgrade,
    upstream: Metered,
    open: Open,
}

impl Session<'_> {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        Ok(match self.carry(request).await {
            Ok(response) | Err(response) => response,
        })
    }

    async fn carry(&self, request: Request<Incoming>) -> Result<Response<Body>, Response<Body>> {
        // hyper's own limit is a multiple of what it reads at once
        let fields: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if fields > LARGEST_HEAD {
            return Err(text(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request's head is too large\n"));
        }
        let bad = |why: &str| text(StatusCode::BAD_REQUEST, &format!("{why}\n"));
        if request.method() == Method::CONNECT {
            let target = authority(request.uri(), None).ok_or_else(|| bad("CONNECT needs a host and a port"))?;
            let (upstream, open) = self.proxy.open(&target, &self.witness).await?;
            let tunnel = Tunnel { client: hyper::upgrade::on(request), upstream, open };
            *self.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
            return Ok(Response::new(empty()));
        }
        let uri = request.uri();
        let why = match uri.scheme_str() {
            Some("http") => None,
            Some(_) => Some("only http:// URLs are carried; anything else goes through CONNECT"),
            None => Some("this is the proxy of a stage; requests to it have an absolute URL"),
        };
        if let Some(why) = why {
            return Err(bad(why));
        }
        let target = authority(uri, Some(80)).ok_or_else(|| bad("the URL has no host that can be used"))?;
        let mut hosts = request.headers().get_all(header::HOST).iter();
        // without one (HTTP/1.0) the URL is all there is
        if let Some(host) = hosts.next() {
            let named = host.to_str().ok().and_then(|host| parse_authority(host, Some(80)));
            if hosts.next().is_some() || !named.is_some_and(|named| named.host == target.host && named.port == target.port) {
                let refusal = Refusal::HostHeader(String::from_utf8_lossy(host.as_bytes()).chars().take(200).collect());
                let told = refused(&target, &refusal);
                let mut open = Open::new(&target.host, target.port, &self.witness);
                open.outcome = Outcome::Refused(refusal);
                return Err(told);
            }
        }
        forward::carry(self.proxy, &self.witness, &mut *self.upstream.lock().await, target, request).await
    }
}

fn authority(uri: &Uri, default: Option<u16>) -> Option<Target> {
    parse_authority(uri.authority()?.as_str(), default)
}

/// `host:port`; the port may be left out if there is a default.
fn parse_authority(text: &str, default: Option<u16>) -> Option<Target> {
    if text.contains('@') {
        return None;
    }
    let (host, port) = match (split(text), default) {
        (Some((host, port)), _) => (host, port.parse().ok().filter(|port| *port > 0)?),
        (None, Some(default)) => (text, default),
        (None, None) => return None,
    };
    Some(Target { host: Host::parse(host).ok()??, port })
}

fn refused(target: &Target, refusal: &Refusal) -> Response<Body> {
    text(StatusCode::FORBIDDEN, &format!("{}:{} is refused to this stage: {refusal}\n", target.host, target.port))
}

pub fn text(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(text.to_owned())).map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn empty() -> Body {
    Full::new(Bytes::new()).map_err(|never| match never {}).boxed()
}

#[cfg(test)]
mod tests;
