//! Plain HTTP: the request goes on to its host in origin form, without what was meant for the proxy.
//!
//! hyper frames it anew, so that what follows a request in the client's stream is another request, decided by itself, and never bytes
//! that the host reads as one. A connection to the host serves the requests of one client for one place.

use http::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tokio::task::JoinHandle;

use crate::meter::{Open, Outcome, Witness};
use crate::proxy::{Body, Proxy, Target, text};

/// Headers of one connection, besides those that `Connection` names (RFC 9110, 7.6.1).
const HOP_BY_HOP: [&str; 9] = [
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
];

/// A connection to a host.
pub struct Upstream {
    sender: SendRequest<Incoming>,
    task: JoinHandle<()>,
    open: Open,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream {
    /// Whether it leads there, and the host has not hung up.
    async fn serves(&mut self, target: &Target) -> bool {
        self.open.host == target.host && self.open.port == target.port && self.sender.ready().await.is_ok()
    }
}

/// Carries one request, over `kept` if that leads there.
pub async fn carry(
    proxy: &Proxy,
    witness: &Arc<dyn Witness>,
    kept: &mut Option<Upstream>,
    target: Target,
    request: Request<Incoming>,
) -> Result<Response<Body>, Response<Body>> {
    let mut known = kept.take();
    let serves = match &mut known {
        Some(upstream) => upstream.serves(&target).await,
        None => false,
    };
    let mut upstream = match known.filter(|_| serves) {
        Some(upstream) => upstream,
        None => connect(proxy, witness, &target).await?,
    };
    let request = to_origin(request, &target).ok_or_else(|| text(StatusCode::BAD_REQUEST, "the URL can't be used\n"))?;
    match upstream.sender.send_request(request).await {
        Ok(mut response) => {
            *kept = Some(upstream);
            strip(response.headers_mut());
            Ok(response.map(BodyExt::boxed))
        }
        Err(error) => Err(failed(&mut upstream.open, &error)),
    }
}

async fn connect(proxy: &Proxy, witness: &Arc<dyn Witness>, target: &Target) -> Result<Upstream, Response<Body>> {
    let (stream, mut open) = proxy.open(target, witness).await?;
    match handshake(TokioIo::new(stream)).await {
        Ok((sender, connection)) => {
            // how it ends is seen by whoever waits for an answer
            let task = tokio::spawn(async move { drop(connection.await) });
            Ok(Upstream { sender, task, open })
        }
        Err(error) => Err(failed(&mut open, &error)),
    }
}

fn failed(open: &mut Open, error: &hyper::Error) -> Response<Body> {
    let why = format!("no answer: {error}");
    let told = text(StatusCode::BAD_GATEWAY, &format!("{}:{}: {why}\n", open.host, open.port));
    open.outcome = Outcome::Failed(why);
    told
}

fn to_origin(mut request: Request<Incoming>, target: &Target) -> Option<Request<Incoming>> {
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    *request.version_mut() = Version::HTTP_11;
    strip(request.headers_mut());
    let authority = if target.port == 80 { target.host.to_string() } else { format!("{}:{}", target.host, target.port) };
    request.headers_mut().insert(HOST, HeaderValue::from_str(&authority).ok()?);
    Some(request)
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    headers.remove(CONNECTION);
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}
