//! What the capability keeps during one attempt, and the guest's hold on an exchange.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use capability::{Boundary, Refusal, Room, StageState};

use crate::backend::HttpBackend;
use crate::effect::{Delivered, Piece, Reply, Request};
use crate::exchange::Exchange;
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
        let reply = self.boundary.cross(&*self.policy, request, &*self.backend).await?;
        let exchange = self.backend.exchange(reply.exchange).unwrap_or_default();
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
    /// Records what the guest gets to see of the exchange.
    pub(crate) fn deliver(&self, piece: Piece<'_>) -> wasmtime::Result<()> {
        self.boundary.deliver("http", &Delivered { exchange: self.number, piece }).map_err(wasmtime::Error::new)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.backend.end(self.number);
    }
}
