//! The one boundary that every effect crosses, and what a capability is made of.
//!
//! A stage touches the world only through host functions, and every host function does the same four things: lift the call
//! into an [`Effect`], [`Boundary::cross`] it (decide, record, act, record), lower the reply. A capability writes its effects, a pure
//! [`Policy`] and a [`Backend`]; recording, denial events, timing and the stage's clock live here and nowhere else.
//!
//! Deliberately absent: any capability by name, the component model's engine settings (`host`), how the record is kept (the [`Ledger`] is
//! a port; the `journal` is behind it).

pub mod boundary;
pub mod clock;
pub mod denial;
pub mod effect;
pub mod endpoint;
pub mod io;
pub mod ledger;
pub mod log;
pub mod outlet;
pub mod output;
pub mod registry;
pub mod so_far;
pub mod state;
pub mod testing;

pub use boundary::{Ask, Backend, Boundary, Deadline, Mode, Permitted, Policy, Recovery, Refusal, Revive, Staged};
pub use clock::Clock;
pub use denial::Denial;
pub use effect::{Class, Decision, Effect, Nothing};
pub use endpoint::{Connecting, Endpoint, Endpoints, Stream};
pub use ledger::{InDoubt, Ledger, LedgerError, MemoryLedger};
pub use log::StageLog;
pub use registry::{Capability, Registry, Room};
pub use so_far::RunSoFar;
pub use state::{CacheFolder, Prepared, Scratch, Setting, StageState, TrapLimit};
