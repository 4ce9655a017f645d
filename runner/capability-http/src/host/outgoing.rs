//! The sending side of `wasi:http`: requests, their options, and bodies that are collected until they are finished.
//!
//! `handle` may be called before the body is finished, as most languages do. The method and the URL are decided there and then; what is
//! allowed crosses the boundary when the body is whole, because a request that can be recorded is a whole one. A guest that waits for the
//! response before it finishes the body waits until its time is up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use capability::io::{IoError, Output, OutputStream, StreamError};
use capability::{Decision, Policy, Refusal, StageState};
use tokio::sync::Notify;
use wasmtime::Result;
use wasmtime::component::Resource;

use super::bindings::wasi::http::outgoing_handler;
use super::bindings::wasi::http::types::{self, ErrorCode, Method, Scheme};
use super::error::{of_denial, of_unsendable};
use super::fields::Fields;
use super::incoming::FutureResponse;
use super::{checked_headers, checked_method};
use crate::effect::{Aim, Answer, Header, Limits, MAX_RESPONSE_BODY, Request, Seen};
use crate::grant::is_token;
use crate::room::{Crossing, Held};

/// The largest request body: it is held in memory until it is whole.
pub const MAX_REQUEST_BODY: usize = 64 << 20;

const DEFAULT_CONNECT: Duration = Duration::from_secs(30);
const DEFAULT_HEAD: Duration = Duration::from_secs(600);
const DEFAULT_PAUSE: Duration = Duration::from_secs(600);

/// The representation of `outgoing-request`.
pub struct OutgoingRequest {
    method: Method,
    scheme: Option<Scheme>,
    authority: Option<String>,
    path: Option<String>,
    headers: Arc<Vec<(String, Vec<u8>)>>,
    body: Option<Arc<Draft>>,
}

/// The representation of `request-options`. In nanoseconds, as they were set.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestOptions {
    connect: Option<u64>,
    first_byte: Option<u64>,
    between_bytes: Option<u64>,
}

/// The representation of `outgoing-body`.
pub struct OutgoingBody {
    draft: Arc<Draft>,
    stream_taken: bool,
}

impl Drop for OutgoingBody {
    fn drop(&mut self) {
        self.draft.give_up();
    }
}

/// A body that is being written, and the request that waits for it.
#[derive(Default)]
pub struct Draft {
    state: Mutex<DraftState>,
    /// The request has been answered for: it was started or refused.
    pub settled: Notify,
}

#[derive(Default)]
struct DraftState {
    bytes: BytesMut,
    /// What `content-length` announced.
    announced: Option<u64>,
    stage: DraftStage,
}

#[derive(Default)]
enum DraftStage {
    #[default]
    Writing,
    /// Finished before the request was handed over.
    Finished {
        trailers: Vec<Header>,
    },
    /// Handed over before it was finished.
    Waiting(Box<Request>),
    Settled(Outcome),
    /// The outcome has been taken.
    Over,
}

/// What became of a request.
pub enum Outcome {
    Started(Held),
    Refused(ErrorCode),
}

impl Draft {
    fn of(headers: &[(String, Vec<u8>)]) -> Draft {
        let announced = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let announced = announced.and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok());
        Draft { state: Mutex::new(DraftState { announced, ..DraftState::default() }), settled: Notify::new() }
    }

    /// One that is settled from the start.
    pub fn settled(outcome: Outcome) -> Draft {
        Draft { state: Mutex::new(DraftState { stage: DraftStage::Settled(outcome), ..DraftState::default() }), settled: Notify::new() }
    }

    pub fn take_outcome(&self) -> Option<Outcome> {
        let mut state = self.lock();
        if !matches!(state.stage, DraftStage::Settled(_)) {
            return None;
        }
        match std::mem::replace(&mut state.stage, DraftStage::Over) {
            DraftStage::Settled(outcome) => Some(outcome),
            _ => None,
        }
    }

    fn settle(&self, outcome: Outcome) {
        self.lock().stage = DraftStage::Settled(outcome);
        self.settled.notify_waiters();
    }

    /// The body was dropped unfinished: nothing of it may be sent.
    fn give_up(&self) {
        let unfinished = matches!(self.lock().stage, DraftStage::Writing | DraftStage::Waiting(_));
        if unfinished {
            self.settle(Outcome::Refused(ErrorCode::InternalError(Some(
                "the request's body was dropped before it was finished".to_owned(),
            ))));
        }
    }

    fn lock(&self) -> MutexGuard<'_, DraftState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a guest writes its body.
struct BodyOutput(Arc<Draft>);

impl Output for BodyOutput {
    fn write(&mut self, bytes: &[u8]) -> std::result::Result<(), StreamError> {
        let mut state = self.0.lock();
        let length = state.bytes.len() + bytes.len();
        let refused = if length > MAX_REQUEST_BODY {
            Some((ErrorCode::HttpRequestBodySize(Some(length as u64)), format!("the body is larger than {MAX_REQUEST_BODY} bytes")))
        } else if state.announced.is_some_and(|announced| length as u64 > announced) {
            Some((ErrorCode::HttpRequestBodySize(Some(length as u64)), "the body is longer than its content-length".to_owned()))
        } else {
            None
        };
        match refused {
            Some((code, message)) => Err(StreamError::Failed(IoError { message, cause: Some(Box::new(code)) })),
            None => {
                state.bytes.extend_from_slice(bytes);
                Ok(())
            }
        }
    }
}

/// Takes a whole request across.
async fn settle(crossing: &Crossing, request: Request) -> Result<Outcome> {
    if crossing.is_full() {
        return Ok(Outcome::Refused(ErrorCode::ConnectionLimitReached));
    }
    match crossing.cross(request).await {
        Ok((_, held)) => Ok(Outcome::Started(held)),
        Err(Refusal::Denied(denial)) => Ok(Outcome::Refused(of_denial(&denial))),
        Err(refusal) => Err(wasmtime::Error::new(refusal)),
    }
}

/// The request without its body.
fn lift(request: &OutgoingRequest, options: RequestOptions) -> std::result::Result<Request, ErrorCode> {
    let method = match &request.method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other(other) => other,
    };
    let scheme = match &request.scheme {
        Some(Scheme::Http) => "http",
        Some(Scheme::Https) | None => "https",
        Some(Scheme::Other(other)) => other,
    };
    let authority = request.authority.as_deref().ok_or(ErrorCode::HttpRequestUriInvalid)?;
    let path = request.path.as_deref().unwrap_or("");
    let slash = if path.starts_with('/') { "" } else { "/" };
    let headers = request.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("content-length"));
    let headers = checked_headers(headers.map(|(name, value)| (name.as_str(), &value[..]))).map_err(|e| of_unsendable(&e))?;
    let time = |set: Option<u64>, default: Duration| set.map_or(default, Duration::from_nanos);
    Ok(Request {
        method: checked_method(method.to_owned()).map_err(|e| of_unsendable(&e))?,
        aim: Aim::parse(&format!("{scheme}://{authority}{slash}{path}")),
        headers,
        body: Bytes::new(),
        trailers: Vec::new(),
        limits: Limits {
            whole: None,
            deadline: None,
            connect: time(options.connect, DEFAULT_CONNECT),
            head: Some(time(options.first_byte, DEFAULT_HEAD)),
            pause: Some(time(options.between_bytes, DEFAULT_PAUSE)),
            body: MAX_RESPONSE_BODY,
        },
        answer: Answer::Start,
    })
}

impl outgoing_handler::Host for StageState {
    async fn handle(
        &mut self,
        request: Resource<OutgoingRequest>,
        options: Option<Resource<RequestOptions>>,
    ) -> Result<std::result::Result<Resource<FutureResponse>, ErrorCode>> {
        let options = match options {
            None => RequestOptions::default(),
            Some(options) => self.table.delete(options)?,
        };
        let outgoing = self.table.delete(request)?;
        let mut effect = match lift(&outgoing, options) {
            Ok(effect) => effect,
            Err(code) => return Ok(Err(code)),
        };
        let crossing = Crossing::of(self);
        let draft = match outgoing.body {
            None => Arc::new(Draft::settled(settle(&crossing, effect).await?)),
            Some(draft) => {
                // what can't be allowed is refused at once, not when a body has been written for nothing
                let refused = matches!(crossing.policy.decide(&effect, &Seen::default()), Decision::Deny(_));
                let whole = {
                    let mut state = draft.lock();
                    match std::mem::replace(&mut state.stage, DraftStage::Over) {
                        DraftStage::Finished { trailers } => {
                            effect.body = std::mem::take(&mut state.bytes).freeze();
                            effect.trailers = trailers;
                            Some(effect)
                        }
                        DraftStage::Writing if refused => Some(effect),
                        DraftStage::Writing => {
                            state.stage = DraftStage::Waiting(Box::new(effect));
                            None
                        }
                        // given up before it was handed over
                        other => {
                            state.stage = other;
                            None
                        }
                    }
                };
                if let Some(effect) = whole {
                    draft.settle(settle(&crossing, effect).await?);
                }
                draft
            }
        };
        let refused = {
            let mut state = draft.lock();
            match std::mem::replace(&mut state.stage, DraftStage::Over) {
                DraftStage::Settled(Outcome::Refused(code)) => Some(code),
                other => {
                    state.stage = other;
                    None
                }
            }
        };
        match refused {
            Some(code) => Ok(Err(code)),
            None => Ok(Ok(self.table.push(FutureResponse::new(draft))?)),
        }
    }
}

impl types::HostOutgoingBody for StageState {
    fn write(&mut self, body: Resource<OutgoingBody>) -> Result<std::result::Result<Resource<OutputStream>, ()>> {
        let outgoing = self.table.get_mut(&body)?;
        if std::mem::replace(&mut outgoing.stream_taken, true) {
            return Ok(Err(()));
        }
        let stream = OutputStream(Box::new(BodyOutput(outgoing.draft.clone())));
        Ok(Ok(self.table.push_child(stream, &body)?))
    }

    async fn finish(
        &mut self,
        body: Resource<OutgoingBody>,
        trailers: Option<Resource<Fields>>,
    ) -> Result<std::result::Result<(), ErrorCode>> {
        let trailers = match trailers {
            None => Vec::new(),
            Some(fields) => {
                let entries = self.table.delete(fields)?.into_entries();
                match checked_headers(entries.iter().map(|(name, value)| (name.as_str(), &value[..]))) {
                    Ok(trailers) => trailers,
                    Err(error) => return Ok(Err(of_unsendable(&error))),
                }
            }
        };
        let draft = self.table.get(&body)?.draft.clone();
        let whole = {
            let mut state = draft.lock();
            let length = state.bytes.len() as u64;
            if state.announced.is_some_and(|announced| announced != length) {
                drop(state);
                // dropping it gives the request up
                self.table.delete(body)?;
                return Ok(Err(ErrorCode::HttpRequestBodySize(Some(length))));
            }
            match std::mem::replace(&mut state.stage, DraftStage::Over) {
                DraftStage::Writing => {
                    state.stage = DraftStage::Finished { trailers };
                    None
                }
                DraftStage::Waiting(mut request) => {
                    request.body = std::mem::take(&mut state.bytes).freeze();
                    request.trailers = trailers;
                    Some(request)
                }
                // refused when it was handed over
                other => {
                    state.stage = other;
                    None
                }
            }
        };
        self.table.delete(body)?;
        if let Some(request) = whole {
            let crossing = Crossing::of(self);
            draft.settle(settle(&crossing, *request).await?);
        }
        Ok(Ok(()))
    }

    fn drop(&mut self, body: Resource<OutgoingBody>) -> Result<()> {
        self.table.delete(body)?;
        Ok(())
    }
}

/// A body for something that has these headers.
pub fn new_body(headers: &[(String, Vec<u8>)]) -> (OutgoingBody, Arc<Draft>) {
    let draft = Arc::new(Draft::of(headers));
    (OutgoingBody { draft: draft.clone(), stream_taken: false }, draft)
}

/// The result type of setters that can only say no.
type Set = Result<std::result::Result<(), ()>>;

impl types::HostOutgoingRequest for StageState {
    fn new(&mut self, headers: Resource<Fields>) -> Result<Resource<OutgoingRequest>> {
        let headers = self.table.delete(headers)?.into_entries();
        let request = OutgoingRequest { method: Method::Get, scheme: None, authority: None, path: None, headers, body: None };
        Ok(self.table.push(request)?)
    }

    fn body(&mut self, request: Resource<OutgoingRequest>) -> Result<std::result::Result<Resource<OutgoingBody>, ()>> {
        let request = self.table.get_mut(&request)?;
        if request.body.is_some() {
            return Ok(Err(()));
        }
        let (body, draft) = new_body(&request.headers);
        request.body = Some(draft);
        Ok(Ok(self.table.push(body)?))
    }

    fn method(&mut self, request: Resource<OutgoingRequest>) -> Result<Method> {
        Ok(self.table.get(&request)?.method.clone())
    }

    fn set_method(&mut self, request: Resource<OutgoingRequest>, method: Method) -> Set {
        let request = self.table.get_mut(&request)?;
        if matches!(&method, Method::Other(other) if !is_token(other)) {
            return Ok(Err(()));
        }
        request.method = method;
        Ok(Ok(()))
    }

    fn path_with_query(&mut self, request: Resource<OutgoingRequest>) -> Result<Option<String>> {
        Ok(self.table.get(&request)?.path.clone())
    }

    fn set_path_with_query(&mut self, request: Resource<OutgoingRequest>, path: Option<String>) -> Set {
        let request = self.table.get_mut(&request)?;
        if path.as_deref().is_some_and(|path| path.parse::<http::uri::PathAndQuery>().is_err()) {
            return Ok(Err(()));
        }
        request.path = path;
        Ok(Ok(()))
    }

    fn scheme(&mut self, request: Resource<OutgoingRequest>) -> Result<Option<Scheme>> {
        Ok(self.table.get(&request)?.scheme.clone())
    }

    fn set_scheme(&mut self, request: Resource<OutgoingRequest>, scheme: Option<Scheme>) -> Set {
        let request = self.table.get_mut(&request)?;
        if matches!(&scheme, Some(Scheme::Other(other)) if other.parse::<http::uri::Scheme>().is_err()) {
            return Ok(Err(()));
        }
        request.scheme = scheme;
        Ok(Ok(()))
    }

    fn authority(&mut self, request: Resource<OutgoingRequest>) -> Result<Option<String>> {
        Ok(self.table.get(&request)?.authority.clone())
    }

    fn set_authority(&mut self, request: Resource<OutgoingRequest>, authority: Option<String>) -> Set {
        let request = self.table.get_mut(&request)?;
        if authority.as_deref().is_some_and(|authority| authority.parse::<http::uri::Authority>().is_err()) {
            return Ok(Err(()));
        }
        request.authority = authority;
        Ok(Ok(()))
    }

    fn headers(&mut self, request: Resource<OutgoingRequest>) -> Result<Resource<Fields>> {
        let fields = Fields::immutable(self.table.get(&request)?.headers.clone());
        Ok(self.table.push_child(fields, &request)?)
    }

    fn drop(&mut self, request: Resource<OutgoingRequest>) -> Result<()> {
        self.table.delete(request)?;
        Ok(())
    }
}

impl types::HostRequestOptions for StageState {
    fn new(&mut self) -> Result<Resource<RequestOptions>> {
        Ok(self.table.push(RequestOptions::default())?)
    }

    fn connect_timeout(&mut self, options: Resource<RequestOptions>) -> Result<Option<u64>> {
        Ok(self.table.get(&options)?.connect)
    }

    fn set_connect_timeout(&mut self, options: Resource<RequestOptions>, duration: Option<u64>) -> Set {
        self.table.get_mut(&options)?.connect = duration;
        Ok(Ok(()))
    }

    fn first_byte_timeout(&mut self, options: Resource<RequestOptions>) -> Result<Option<u64>> {
        Ok(self.table.get(&options)?.first_byte)
    }

    fn set_first_byte_timeout(&mut self, options: Resource<RequestOptions>, duration: Option<u64>) -> Set {
        self.table.get_mut(&options)?.first_byte = duration;
        Ok(Ok(()))
    }

    fn between_bytes_timeout(&mut self, options: Resource<RequestOptions>) -> Result<Option<u64>> {
        Ok(self.table.get(&options)?.between_bytes)
    }

    fn set_between_bytes_timeout(&mut self, options: Resource<RequestOptions>, duration: Option<u64>) -> Set {
        self.table.get_mut(&options)?.between_bytes = duration;
        Ok(Ok(()))
    }

    fn drop(&mut self, options: Resource<RequestOptions>) -> Result<()> {
        self.table.delete(options)?;
        Ok(())
    }
}
