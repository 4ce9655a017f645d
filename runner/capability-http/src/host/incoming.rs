//! The receiving side of `wasi:http`: responses that come later, their bodies and trailers. Every delivery is recorded where the guest
//! gets to see it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use capability::StageState;
use capability::io::{Completion, Input, InputStream, IoError, Pollable, StreamError};
use wasmtime::Result;
use wasmtime::component::Resource;

use super::bindings::wasi::http::types::{self, ErrorCode};
use super::error::of_failure;
use super::fields::Fields;
use super::outgoing::{Draft, Outcome};
use crate::effect::{Failure, Head, Piece};
use crate::exchange::Moment;
use crate::room::Held;

/// The representation of `future-incoming-response`.
pub struct FutureResponse {
    state: Arc<FutureState>,
    taken: bool,
}

/// First a request whose body is being written, then an exchange.
struct FutureState {
    draft: Arc<Draft>,
    outcome: OnceLock<Mutex<Option<Outcome>>>,
}

impl FutureResponse {
    pub fn new(draft: Arc<Draft>) -> FutureResponse {
        FutureResponse { state: Arc::new(FutureState { draft, outcome: OnceLock::new() }), taken: false }
    }
}

impl FutureState {
    /// Runs `look` on what has become of the request, if anything has.
    fn with<T>(&self, look: impl FnOnce(&mut Option<Outcome>) -> T) -> Option<T> {
        if self.outcome.get().is_none()
            && let Some(outcome) = self.draft.take_outcome()
        {
            // nobody else takes it: this state is the draft's only reader
            let _ = self.outcome.set(Mutex::new(Some(outcome)));
        }
        let mut outcome = self.outcome.get()?.lock().unwrap_or_else(PoisonError::into_inner);
        Some(look(&mut outcome))
    }

    /// The moment of the head, once there is an exchange.
    fn moment(&self) -> Option<Option<Moment>> {
        self.with(|outcome| match outcome {
            Some(Outcome::Started(held)) => Some(Moment::Head(held.exchange.clone())),
            _ => None,
        })
    }
}

impl Completion for FutureState {
    fn ready(&self) -> bool {
        match self.moment() {
            None => false,
            Some(None) => true,
            Some(Some(moment)) => moment.ready(),
        }
    }

    fn wait(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            loop {
                let settled = self.draft.settled.notified();
                tokio::pin!(settled);
                settled.as_mut().enable();
                match self.moment() {
                    None => settled.await,
                    Some(None) => return,
                    Some(Some(moment)) => return moment.wait().await,
                }
            }
        })
    }
}

/// The representation of `incoming-response`.
pub struct IncomingResponse {
    head: Head,
    held: Option<Arc<Held>>,
}

/// The representation of `incoming-body`.
pub struct IncomingBody {
    held: Arc<Held>,
    stream_taken: bool,
}

/// The representation of `future-trailers`.
pub struct FutureTrailers {
    held: Arc<Held>,
    taken: bool,
}

type Once<T> = Option<std::result::Result<T, ()>>;

impl types::HostFutureIncomingResponse for StageState {
    fn subscribe(&mut self, future: Resource<FutureResponse>) -> Result<Resource<Pollable>> {
        let state = self.table.get(&future)?.state.clone();
        Ok(self.table.push_child(Pollable::When(state), &future)?)
    }

    fn get(&mut self, future: Resource<FutureResponse>) -> Result<Once<std::result::Result<Resource<IncomingResponse>, ErrorCode>>> {
        let rep = self.table.get_mut(&future)?;
        if rep.taken {
            return Ok(Some(Err(())));
        }
        // while the guest writes the body there is nothing to ask the world
        let outcome = match rep.state.with(Option::take) {
            None => return Ok(None),
            Some(outcome) => outcome,
        };
        let held = match outcome {
            None => return Ok(Some(Ok(Err(ErrorCode::InternalError(None))))),
            Some(Outcome::Refused(code)) => {
                rep.taken = true;
                return Ok(Some(Ok(Err(code))));
            }
            Some(Outcome::Started(held)) => held,
        };
        match held.head()? {
            Piece::Head(head) => {
                rep.taken = true;
                Ok(Some(Ok(Ok(self.table.push(IncomingResponse { head, held: Some(Arc::new(held)) })?))))
            }
            Piece::Failure(failure) => {
                rep.taken = true;
                Ok(Some(Ok(Err(of_failure(&failure)))))
            }
            _ => {
                rep.state.with(|slot| *slot = Some(Outcome::Started(held)));
                Ok(None)
            }
        }
    }

    fn drop(&mut self, future: Resource<FutureResponse>) -> Result<()> {
        self.table.delete(future)?;
        Ok(())
    }
}

impl types::HostIncomingResponse for StageState {
    fn status(&mut self, response: Resource<IncomingResponse>) -> Result<u16> {
        Ok(self.table.get(&response)?.head.status)
    }

    fn headers(&mut self, response: Resource<IncomingResponse>) -> Result<Resource<Fields>> {
        let fields = Fields::of(&self.table.get(&response)?.head.headers);
        Ok(self.table.push_child(fields, &response)?)
    }

    fn consume(&mut self, response: Resource<IncomingResponse>) -> Result<std::result::Result<Resource<IncomingBody>, ()>> {
        match self.table.get_mut(&response)?.held.take() {
            None => Ok(Err(())),
            Some(held) => Ok(Ok(self.table.push(IncomingBody { held, stream_taken: false })?)),
        }
    }

    fn drop(&mut self, response: Resource<IncomingResponse>) -> Result<()> {
        self.table.delete(response)?;
        Ok(())
    }
}

/// The body as a stream.
struct BodyInput(Arc<Held>);

impl Input for BodyInput {
    fn read(&mut self, max: usize) -> std::result::Result<Bytes, StreamError> {
        let (piece, bytes) = self.0.read(max).map_err(|error| StreamError::Trap(wasmtime::Error::new(error)))?;
        match piece {
            Piece::End => Err(StreamError::Closed),
            Piece::Failure(failure) => Err(StreamError::Failed(IoError { message: failure.to_string(), cause: Some(Box::new(failure)) })),
            _ => Ok(bytes),
        }
    }

    fn completion(&self) -> Option<Arc<dyn Completion>> {
        Some(Arc::new(Moment::Body(self.0.exchange.clone())))
    }
}

impl types::HostIncomingBody for StageState {
    fn stream(&mut self, body: Resource<IncomingBody>) -> Result<std::result::Result<Resource<InputStream>, ()>> {
        let rep = self.table.get_mut(&body)?;
        if std::mem::replace(&mut rep.stream_taken, true) {
            return Ok(Err(()));
        }
        let stream = InputStream(Box::new(BodyInput(rep.held.clone())));
        Ok(Ok(self.table.push_child(stream, &body)?))
    }

    fn finish(&mut self, body: Resource<IncomingBody>) -> Result<Resource<FutureTrailers>> {
        let body = self.table.delete(body)?;
        body.held.exchange.discard();
        Ok(self.table.push(FutureTrailers { held: body.held, taken: false })?)
    }

    fn drop(&mut self, body: Resource<IncomingBody>) -> Result<()> {
        self.table.delete(body)?;
        Ok(())
    }
}

impl types::HostFutureTrailers for StageState {
    fn subscribe(&mut self, future: Resource<FutureTrailers>) -> Result<Resource<Pollable>> {
        let moment = Moment::End(self.table.get(&future)?.held.exchange.clone());
        Ok(self.table.push_child(Pollable::When(Arc::new(moment)), &future)?)
    }

    fn get(&mut self, future: Resource<FutureTrailers>) -> Result<Once<std::result::Result<Option<Resource<Fields>>, ErrorCode>>> {
        let rep = self.table.get_mut(&future)?;
        if rep.taken {
            return Ok(Some(Err(())));
        }
        let trailers = match rep.held.trailers()? {
            Piece::Trailers(trailers) => trailers,
            Piece::Failure(failure) => {
                rep.taken = true;
                return Ok(Some(Ok(Err(of_failure(&failure)))));
            }
            _ => return Ok(None),
        };
        rep.taken = true;
        if trailers.is_empty() {
            return Ok(Some(Ok(Ok(None))));
        }
        let fields = self.table.push_child(Fields::of(&trailers), &future)?;
        Ok(Some(Ok(Ok(Some(fields)))))
    }

    fn drop(&mut self, future: Resource<FutureTrailers>) -> Result<()> {
        self.table.delete(future)?;
        Ok(())
    }
}

impl types::Host for StageState {
    fn http_error_code(&mut self, error: Resource<IoError>) -> Result<Option<ErrorCode>> {
        let cause = self.table.get(&error)?.cause.as_ref();
        Ok(cause.and_then(|cause| match cause.downcast_ref::<Failure>() {
            Some(failure) => Some(of_failure(failure)),
            None => cause.downcast_ref::<ErrorCode>().cloned(),
        }))
    }
}
