//! One request, as often as it takes and may be sent.
//!
//! A request that the cluster turned away before it began (429), or that never left (there was no connection), may be sent again whatever it is. One that broke
//! off, or that something between here and the cluster gave up on (502 to 504), may be sent again if it only reads.

use std::time::{Duration, Instant};

use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;
use url::form_urlencoded::Serializer;

use crate::answer;
use crate::cluster::Cluster;
use crate::error::{ClusterError, chain};

/// How long a cluster that does not serve is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// In all, for one request.
    pub whole: Duration,
    /// Between two tries at first; it doubles, up to 30 times as much. What `Retry-After` says is waited instead, if it is more.
    pub step: Duration,
    /// A watch on which nothing was heard for this long is opened anew. Servers end theirs after 5 minutes.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience { whole: Duration::from_secs(300), step: Duration::from_millis(250), silence: Duration::from_secs(330) }
    }
}

/// Times between tries.
pub(crate) struct Waits {
    patience: Patience,
    since: Instant,
    next: Duration,
}

impl Waits {
    pub(crate) fn new(patience: Patience) -> Waits {
        Waits { patience, since: Instant::now(), next: patience.step }
    }

    /// Waits, or says how long it has been if that was long enough.
    pub(crate) async fn wait(&mut self, asked: Option<Duration>) -> Result<(), Duration> {
        let wait = self.next.max(asked.unwrap_or_default());
        if self.since.elapsed() + wait > self.patience.whole {
            return Err(self.since.elapsed());
        }
        self.next = (self.next * 2).min(self.patience.step * 30);
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// A request that can be made again.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    method: Method,
    doing: String,
    path: String,
    query: Vec<(&'static str, String)>,
    content: Option<(&'static str, String)>,
}

impl Call {
    pub(crate) fn new(method: Method, doing: impl Into<String>, path: String) -> Call {
        Call { method, doing: doing.into(), path, query: Vec::new(), content: None }
    }

    pub(crate) fn query(mut self, key: &'static str, value: impl Into<String>) -> Call {
        let value = value.into();
        if !value.is_empty() {
            self.query.push((key, value));
        }
        self
    }

    pub(crate) fn body(mut self, kind: &'static str, body: &Value) -> Call {
        self.content = Some((kind, body.to_string()));
        self
    }

    pub(crate) fn doing(&self) -> &str {
        &self.doing
    }

    fn only_reads(&self) -> bool {
        self.method == Method::GET
    }

    fn request(&self) -> Result<Request<Body>, ClusterError> {
        let mut uri = self.path.clone();
        if !self.query.is_empty() {
            uri = format!("{uri}?{}", Serializer::new(String::new()).extend_pairs(&self.query).finish());
        }
        let mut request = Request::builder().method(self.method.clone()).uri(uri).header(ACCEPT, "application/json");
        if let Some((kind, _)) = &self.content {
            request = request.header(CONTENT_TYPE, *kind);
        }
        let body = self.content.as_ref().map(|(_, text)| text.clone().into_bytes()).unwrap_or_default();
        request.body(Body::from(body)).map_err(|error| ClusterError::Unexpected { doing: self.doing.clone(), why: error.to_string() })
    }
}

impl Cluster {
    /// The answer as JSON.
    pub(crate) async fn json(&self, call: Call) -> Result<Value, ClusterError> {
        let mut waits = Waits::new(self.patience);
        loop {
            let response = self.response(&call, &mut waits).await?;
            let why = match response.into_body().collect().await {
                Ok(body) => {
                    let unexpected =
                        |error: serde_json::Error| ClusterError::Unexpected { doing: call.doing.clone(), why: error.to_string() };
                    return serde_json::from_slice(&body.to_bytes()).map_err(unexpected);
                }
                Err(error) => chain(&error),
            };
            if !call.only_reads() {
                return Err(ClusterError::Lost { doing: call.doing, server: self.server().to_owned(), why });
            }
            waits.wait(None).await.map_err(|waited| self.gave_up(&call, why, waited))?;
        }
    }

    /// The head of a good answer.
    pub(crate) async fn response(&self, call: &Call, waits: &mut Waits) -> Result<Response<Body>, ClusterError> {
        loop {
            let (why, asked) = match self.client.send(call.request()?).await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => {
                    let status = response.status().as_u16();
                    let asked = retry_after(response.headers());
                    let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
                    let said = answer::said(&call.doing, status, &body);
                    if !(status == 429 || (matches!(status, 502..=504) && call.only_reads())) {
                        return Err(said);
                    }
                    (said.to_string(), asked)
                }
                Err(error) => match self.sending(call, error) {
                    Sending::Again(why) => (why, None),
                    Sending::Over(error) => return Err(error),
                },
            };
            waits.wait(asked).await.map_err(|waited| self.gave_up(call, why, waited))?;
        }
    }

    fn sending(&self, call: &Call, error: kube::Error) -> Sending {
        let why = chain(&error);
        let server = self.server().to_owned();
        match &error {
            kube::Error::Auth(_) => Sending::Over(ClusterError::Login { server, from: self.chosen_by().to_owned(), why }),
            _ if is_certificate(&error) => Sending::Over(ClusterError::Unreachable { server, from: self.chosen_by().to_owned(), why }),
            _ if call.only_reads() || never_left(&error) => Sending::Again(why),
            _ => Sending::Over(ClusterError::Lost { doing: call.doing.clone(), server, why }),
        }
    }

    fn gave_up(&self, call: &Call, why: String, waited: Duration) -> ClusterError {
        ClusterError::GaveUp { doing: call.doing.clone(), server: self.server().to_owned(), why, waited }
    }
}

enum Sending {
    Again(String),
    Over(ClusterError),
}

fn causes<'e>(error: &'e (dyn std::error::Error + 'static)) -> impl Iterator<Item = &'e (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// There was no connection: nobody listened, there is no such name, or it broke before both sides knew each other. No byte of the request was sent.
pub(crate) fn never_left(error: &kube::Error) -> bool {
    causes(error)
        .any(|cause| cause.downcast_ref::<hyper_util::client::legacy::Error>().is_some_and(hyper_util::client::legacy::Error::is_connect))
}

/// Waiting does not mend what one side says about the other's certificate.
fn is_certificate(error: &kube::Error) -> bool {
    causes(error).any(|cause| cause.to_string().contains("invalid peer certificate"))
}

/// In whole seconds, as API servers say it.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
