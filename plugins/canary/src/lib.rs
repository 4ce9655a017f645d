//! What a canary decides, without a cluster, a network or a clock: what was measured, what that says, and what comes next.
//!
//! The one rule above all others: **it never fails open**. No data, a NaN, a source that does not answer, a condition that can't be told are never a pass; they
//! hold the canary where it is, and send it back at a limit.
//!
//! Deliberately absent: the stage itself. It needs `runner:kubernetes`, which nothing provides yet; without a `plugin.toml` this folder is not built as a plugin.

mod chart;
mod compare;
mod condition;
mod metric;
mod reading;
mod signals;
mod steps;

pub use chart::chart;
pub use compare::{Comparison, Direction, Judgement, Margins, compare};
pub use condition::{Condition, Values};
pub use metric::{Conditions, Limits, Point, Standing, Tally};
pub use reading::{Reading, at_pointer, prometheus};
pub use signals::{Signals, signals};
pub use steps::{Action, Breach, Canary, Input, Metric, OnCancel, Outcome, Plan, Step};
