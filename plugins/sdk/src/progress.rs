//! What the stage is doing, for people who watch.

use std::fmt::Display;

use crate::bindings::runner::stage::progress as wit;

/// `done` of `total` steps (total 0: not known), and what is being done now. May be shown late or not at all.
pub fn update(done: u64, total: u64, message: impl Display) {
    crate::inside("progress");
    wit::update(done, total, &message.to_string());
}
