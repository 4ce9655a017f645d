//! The durable record of a run, and its readers.
//!
//! One SQLite database a run, `journal.sqlite3` in the run's folder, with large bodies as files beside it (`bodies/`). The journal is the
//! truth: resume, replay, the ledger and history are all read from here.
//!
//! Deliberately absent: what a recorded effect means (its JSON is the capability's), and the logs, which their writer keeps beside it.

pub mod model;

pub use model::*;
