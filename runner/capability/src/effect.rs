//! What a stage asks of the world, as data.

use std::borrow::Cow;
use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::denial::Denial;

pub use crate::ledger::Class;

/// One request to the world. It owns all its data, so that the effect that was decided is the very one that is carried out.
pub trait Effect: Debug + Serialize + Send + Sync + 'static {
    /// `capability.operation`, such as `http.request`.
    const NAME: &'static str;

    /// What `decide` may ask to see before it decides; [`Nothing`] if it never asks.
    type Question: Debug + Serialize + Send + Sync;

    /// What has been seen so far. Filled by [`crate::Backend::observe`], recorded, handed to the next `decide`. What
    /// it holds of this process (a descriptor) is left out of the record and looked up again after a crash.
    type Seen: Debug + Default + Serialize + DeserializeOwned + Send + Sync;

    /// What the world answered, its refusals included. A reply holds durable identities (a number, a name), never a live
    /// connection, so that it can be recorded and answered again.
    type Reply: Debug + Serialize + DeserializeOwned + Send;

    /// What the effect is aimed at, in the words of its capability, for denials and the ledger.
    fn subject(&self) -> Cow<'_, str>;

    fn class(&self) -> Class;
}

/// What a policy says about an effect.
#[derive(Debug)]
pub enum Decision<Q> {
    Allow,
    Deny(Denial),
    /// Look at this (it must change nothing), then decide again.
    Observe(Q),
}

/// The question of an effect that is decided on its own. It has no value, so such a policy can't ask.
#[derive(Debug, Serialize)]
pub enum Nothing {}
