//! The durable record of a run, and its readers.
//!
//! One SQLite database a run, `journal.sqlite3` in the run's folder, with large bodies as files beside it (`bodies/`). The journal is the
//! truth: resume, replay, the ledger and history are all read from here.
//!
//! - [`Journal`] is the one writer of a run. What it is told stands in one ordered buffer and goes to the disk in groups, so that what a
//!   crash takes away is always the end, never something in between. [`AttemptRecord`] is its part for one attempt of a stage.
//! - [`Reader`] reads a run that is finished, running or came from another machine. It changes nothing.
//! - [`approve`] is what another process has to say to a run that waits for it.
//!
//! All functions block; none prints. The database file must not be opened by this process in any other way than through SQLite:
//! closing such a descriptor would release SQLite's own locks on it.
//!
//! Deliberately absent: what a recorded effect means (its JSON is the capability's), the logs, which their writer keeps beside it, and
//! which bytes are secret: callers mask them before they come here.

mod approval;
pub mod archive;
mod attempt;
mod body;
mod buffer;
mod check;
mod error;
mod format;
mod journal;
pub mod model;
mod open;
mod overview;
mod query;
mod reader;
mod replayed;
mod writer;

pub use approval::approve;
pub use attempt::AttemptRecord;
pub use check::check;
pub use error::{JournalError, Result};
pub use journal::Journal;
pub use model::*;
pub use open::DATABASE;
pub use overview::{InDoubt, Overview};
pub use reader::{Reader, Recorded};

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_nanos() as u64)
}

/// A thread that panicked while it held one of our locks left nothing half done: rows are pushed whole, and SQLite rolls back.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
