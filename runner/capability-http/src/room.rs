//! What the capability keeps during one attempt, and the guest's hold on an exchange.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use capability::{Ask, Boundary, Class, Effect, InDoubt, LedgerError, Refusal, Revive, Room, StageState};

use crate::backend::{HttpBackend, Resend};
use crate::effect::{Piece, Reply, Request};
use crate::exchange::{Exchange, Filler, Read};
use crate::policy::HttpPolicy;

/// How many exchanges a guest may hold at once.
pub const MAX_OPEN: usize = 256;

/// The live state of one attempt: its rules, and its exchanges by number.
pub struct HttpRoom {
    policy: Arc<HttpPolicy>,
    backend: Arc<HttpBackend>,
}

impl HttpRoom {
    pub(crate) fn new(policy: Arc<HttpPolicy>, backend: Arc<HttpBackend>) -> Self {
        HttpRoom { policy, backend }
    }
}

impl Room for HttpRoom {
    fn leave(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let backend = self.backend.clone();
        Box::pin(async move { backend.leave().await })
    }
}

impl Drop for HttpRoom {
    fn drop(&mut self) {
        self.backend.abort();
    }
}

/// The way across the boundary for requests, apart from the store, so that it can be awaited.
pub(crate) struct Crossing {
    boundary: Boundary,
    pub(crate) policy: Arc<HttpPolicy>,
    backend: Arc<HttpBackend>,
}

impl Crossing {
    pub(crate) fn of(state: &mut StageState) -> Crossing {
        let boundary = state.boundary.clone();
        let room = state.room::<HttpRoom>();
        Crossing { boundary, policy: room.policy.clone(), backend: room.backend.clone() }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.backend.open() >= MAX_OPEN
    }

    pub(crate) async fn cross(&self, request: Request) -> Result<(Reply, Held), Refusal> {
        if self.boundary.replays() {
            // kept by the room, asked once
            let revive: Arc<dyn Revive> = self.backend.revival(&self.boundary, &self.policy);
            self.boundary.on_live(Arc::downgrade(&revive));
        }
        let reply = self.boundary.cross(&*self.policy, request.clone(), &*self.backend).await?;
        self.backend.adopt(reply.exchange, request);
        let exchange = self.backend.exchange(reply.exchange).unwrap_or_default();
        if let Some(Ok(head)) = &reply.head {
            exchange.replayed(&Piece::Head(head.clone()), &[]);
        }
        let held = Held { number: reply.exchange, exchange, backend: self.backend.clone(), boundary: self.boundary.clone() };
        Ok((reply, held))
    }
}

/// The guest's hold on an exchange; dropping it ends the exchange.
pub(crate) struct Held {
    number: u64,
    pub(crate) exchange: Arc<Exchange>,
    backend: Arc<HttpBackend>,
    boundary: Boundary,
}

impl Held {
    /// The head, if it has come.
    pub(crate) fn head(&self) -> Result<Piece, LedgerError> {
        let look = || match self.exchange.head() {
            None => Piece::Pending,
            Some(Ok(head)) => Piece::Head(head),
            Some(Err(failure)) => Piece::Failure(failure),
        };
        Ok(self.now("http.head", 0, || (look(), Bytes::new()))?.0)
    }

    /// The next bytes of the body, if any have come.
    pub(crate) fn read(&self, max: usize) -> Result<(Piece, Bytes), LedgerError> {
        self.now("http.body", max, || piece(self.exchange.read(max)))
    }

    /// The next bytes of the body, after waiting for them.
    pub(crate) async fn read_waiting(&self, max: usize) -> Result<(Piece, Bytes), LedgerError> {
        let looked = AtomicBool::new(false);
        let look = async {
            looked.store(true, Ordering::Relaxed);
            loop {
                match self.exchange.read(max) {
                    Read::Pending => self.exchange.wait_body().await,
                    read => return Ok(piece(read)),
                }
            }
        };
        let (piece, bytes) = self.boundary.deliver(&self.ask("http.body", max)?, look).await?;
        // what came out of the exchange just now is not what it has to leave out when it is sent again
        if !looked.into_inner() {
            self.exchange.replayed(&piece, &bytes);
        }
        Ok((piece, bytes))
    }

    /// The trailers, if the body is over.
    pub(crate) fn trailers(&self) -> Result<Piece, LedgerError> {
        let look = || match self.exchange.trailers() {
            None => Piece::Pending,
            Some(Ok(trailers)) => Piece::Trailers(trailers),
            Some(Err(failure)) => Piece::Failure(failure),
        };
        Ok(self.now("http.trailers", 0, || (look(), Bytes::new()))?.0)
    }

    fn ask(&self, what: &'static str, max: usize) -> Result<Ask<'static>, LedgerError> {
        Ask::new(what, &(self.number, max))
    }

    fn now(&self, what: &'static str, max: usize, look: impl FnOnce() -> (Piece, Bytes)) -> Result<(Piece, Bytes), LedgerError> {
        let mut looked = false;
        let (piece, bytes) = self.boundary.deliver_now(&self.ask(what, max)?, || {
            looked = true;
            look()
        })?;
        if !looked {
            self.exchange.replayed(&piece, &bytes);
        }
        Ok((piece, bytes))
    }
}

fn piece(read: Read) -> (Piece, Bytes) {
    match read {
        Read::Pending => (Piece::Pending, Bytes::new()),
        Read::Bytes(bytes) => (Piece::Body, bytes),
        Read::End => (Piece::End, Bytes::new()),
        Read::Failed(failure) => (Piece::Failure(failure), Bytes::new()),
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.backend.end(self.number);
    }
}

/// Sends again what was being read when the runner was killed.
pub(crate) struct Revival {
    boundary: Boundary,
    policy: Arc<HttpPolicy>,
    backend: Weak<HttpBackend>,
}

impl Revival {
    pub(crate) fn new(boundary: &Boundary, policy: &Arc<HttpPolicy>, backend: &Arc<HttpBackend>) -> Self {
        Revival { boundary: boundary.clone(), policy: policy.clone(), backend: Arc::downgrade(backend) }
    }
}

impl Revive for Revival {
    /// A request that may be repeated is sent again, and of its response the guest gets what it does not have yet. Of any other one the
    /// connection is broken; if not even its head came, nobody can tell whether it was carried out.
    fn revive(&self) -> Pin<Box<dyn Future<Output = Result<(), LedgerError>> + Send + '_>> {
        Box::pin(async move {
            let Some(backend) = self.backend.upgrade() else { return Ok(()) };
            for (number, exchange, request) in backend.lost() {
                let (_, has_head) = exchange.was_read();
                let again = match request.class() {
                    Class::Read | Class::Idempotent => true,
                    Class::Once if has_head => false,
                    Class::Once => self.boundary.in_doubt(Request::NAME, &request.subject())? == InDoubt::Retry,
                };
                if again {
                    let resend = Resend { backend: &backend, number, exchange: exchange.clone() };
                    match self.boundary.again(&*self.policy, request, &resend).await {
                        Ok(_) => continue,
                        Err(Refusal::Ledger(error)) => return Err(error),
                        // its grant is gone: the connection is broken
                        Err(Refusal::Denied(_)) => {}
                    }
                }
                drop(Filler::new(exchange));
            }
            Ok(())
        })
    }
}
