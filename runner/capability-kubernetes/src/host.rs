//! The host functions of `runner:kubernetes`: lift, cross, lower.

mod objects;
mod pods;
mod rollouts;

use std::marker::PhantomData;
use std::sync::Arc;

use admission::{Kind, Write};
use capability::{Boundary, Denial, StageState};
use wasmtime::Result;

use crate::Room;
use crate::attempt::Attempt;
use crate::backend::{Carry, Connected};
use crate::effect::{Change, Fault, Manner, Propagation, Read, Written};
use crate::place::Place;

pub mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package runner:host-kubernetes;
            world kubernetes {
                import runner:kubernetes/objects@0.1.0;
                import runner:kubernetes/pods@0.1.0;
                import runner:kubernetes/rollouts@0.1.0;
            }
        ",
        world: "runner:host-kubernetes/kubernetes",
        imports: {
            default: async | trappable,
            "runner:kubernetes/objects.[drop]watch": trappable,
            "runner:kubernetes/pods.[drop]log": trappable,
            "runner:kubernetes/pods.[drop]forwarding": trappable,
            "runner:kubernetes/pods.[method]forwarding.url": trappable,
        },
        require_store_data_send: true,
        with: {
            "runner:kubernetes/objects.watch": crate::WatchHandle,
            "runner:kubernetes/pods.log": crate::LogHandle,
            "runner:kubernetes/pods.forwarding": crate::ForwardHandle,
        },
    });
}

use bindings::runner::kubernetes::types::{self as wit_types, Error};

/// What a host function answers: a value, an error that the guest is told, or a trap.
type Reply<T> = Result<std::result::Result<T, Error>>;

/// How often a write is judged again because somebody else wrote meanwhile.
const AGAIN: usize = 5;

/// One call: the attempt, and the boundary that it crosses.
struct Call {
    attempt: Arc<Attempt>,
    boundary: Boundary,
}

impl Call {
    fn of(state: &mut StageState) -> Call {
        let boundary = state.boundary.clone();
        let room: &mut Room = state.room();
        Call { attempt: room.attempt.clone(), boundary }
    }

    async fn read<O: Carry>(&self, reading: O) -> Reply<O::Reply> {
        let crossed = self.boundary.cross(&self.attempt.rules(), Read(reading), &Connected(&self.attempt)).await;
        match crossed {
            Ok(Ok(reply)) => Ok(Ok(reply)),
            Ok(Err(fault)) => Ok(Err(lower_fault(fault))),
            Err(refusal) => Ok(Err(lower_denial(refusal.denial()?))),
        }
    }

    /// Judges and writes once.
    async fn try_write<M: Manner>(&self, target: Place, write: Write, propagation: Option<Propagation>) -> Result<Tried> {
        let change: Change<M> = Change { target, write, propagation, manner: PhantomData };
        let crossed = self.boundary.cross(&self.attempt.rules(), change, &Connected(&self.attempt)).await;
        Ok(match crossed {
            Ok(Err(Fault::Outrun(words))) => Tried::Outrun(words),
            Ok(Ok(written)) => Tried::Told(Ok(written)),
            Ok(Err(fault)) => Tried::Told(Err(lower_fault(fault))),
            Err(refusal) => Tried::Told(Err(lower_denial(refusal.denial()?))),
        })
    }

    /// Writes, as often as somebody else was faster.
    async fn write<M: Manner>(&self, target: Place, write: Write, propagation: Option<Propagation>) -> Reply<Written> {
        for _ in 0..AGAIN {
            if let Tried::Told(told) = self.try_write::<M>(target.clone(), write.clone(), propagation).await? {
                return Ok(told);
            }
        }
        Ok(self.try_write::<M>(target, write, propagation).await?.last())
    }

    fn kind(&self, kind: &wit_types::ResourceType) -> std::result::Result<Kind, Error> {
        Kind::new(&kind.group, &kind.version, &kind.plural).map_err(|mistake| Error::Invalid(mistake.to_string()))
    }

    fn one(&self, target: &wit_types::Target) -> std::result::Result<Place, Error> {
        let place = Place::one(self.kind(&target.kind)?, target.namespace.as_deref(), self.attempt.namespace(), &target.name);
        place.map_err(|mistake| Error::Invalid(mistake.to_string()))
    }
}

/// What came of one try.
enum Tried {
    Told(std::result::Result<Written, Error>),
    /// Somebody wrote meanwhile.
    Outrun(String),
}

impl Tried {
    /// There is no further one.
    fn last(self) -> std::result::Result<Written, Error> {
        match self {
            Tried::Told(told) => told,
            Tried::Outrun(words) => {
                Err(Error::Conflict(format!("it was judged {} times, and each time somebody else wrote meanwhile: {words}", AGAIN + 1)))
            }
        }
    }
}

/// The value of a lifted part, or an answer to the guest.
macro_rules! lifted {
    ($lifted:expr) => {
        match $lifted {
            Ok(lifted) => lifted,
            Err(error) => return Ok(Err(error)),
        }
    };
}
use lifted;

impl wit_types::Host for StageState {}

/// JSON with one meaning.
fn lift_json(text: &str) -> std::result::Result<serde_json::Value, Error> {
    admission::parse(text).map_err(|mistake| Error::Invalid(mistake.to_string()))
}

fn lower_denial(denial: Denial) -> Error {
    let event::DenialRecord { effect, subject, code, reason, remedy } = denial.record();
    Error::Denied(bindings::runner::boundary::types::Denial { effect, subject, code, reason, remedy })
}

fn lower_fault(fault: Fault) -> Error {
    match fault {
        Fault::NotFound(text) => Error::NotFound(text),
        Fault::Invalid(text) => Error::Invalid(text),
        Fault::Conflict(text) | Fault::Outrun(text) => Error::Conflict(text),
        Fault::Forbidden(text) => Error::Forbidden(text),
        Fault::Unreachable(text) => Error::Unreachable(text),
        Fault::Cluster(text) => Error::Cluster(text),
        Fault::Limit(text) => Error::Limit(text),
    }
}
