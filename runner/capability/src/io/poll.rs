//! Waiting: `wasi:io/poll` over things that are ready, things that complete, and times that pass.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// Something that the world will do once more: a chunk that arrives, a head that comes. Cheap to ask, and to wait for from
/// several places at once.
pub trait Completion: Send + Sync {
    fn ready(&self) -> bool;

    fn wait(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The representation of `wasi:io/poll.pollable`.
#[derive(Clone)]
pub enum Pollable {
    Ready,
    /// A time of the stage's clock, in nanoseconds since the attempt's start.
    At(u64),
    When(Arc<dyn Completion>),
}
