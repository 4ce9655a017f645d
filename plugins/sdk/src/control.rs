//! What people want of a stage while it runs: that it stops, and that it goes on.
//!
//! A component that calls anything of this module is not ended when the run is stopped: it is told, and has the run's grace period to leave the world in order.
//! Nothing wakes it: whoever waits should wait for a second or so at a time, and ask in between.

use std::fmt::Display;

use crate::bindings::runner::stage::control as wit;

/// How a question was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The stage may go on.
    Approved,
    /// It may not: by whom, and what was said.
    Rejected(String),
}

/// Whether somebody asked the stage to stop. Once true, it stays true.
pub fn stopping() -> bool {
    crate::inside("control");
    wit::stopping()
}

/// Asks people whether the stage may go on: they answer with `runner approve` or `runner reject`.
pub fn ask(question: impl Display) {
    crate::inside("control");
    wit::ask(&question.to_string());
}

/// How the last question was answered; none if nobody has answered yet.
pub fn answer() -> Option<Decision> {
    crate::inside("control");
    wit::answer().map(|answer| match answer {
        wit::Decision::Approved => Decision::Approved,
        wit::Decision::Rejected(why) => Decision::Rejected(why),
    })
}
