//! When each stage runs: a pure state machine, `(state, input, now) → actions`.
//!
//! It owns the order, the number of stages at once, the skip rules, retries, time-outs, fail-fast, cancellation, waiting for approvals
//! and for turns in groups, and how a run is taken up again, and nothing else: it starts no stage, reads no clock, evaluates no condition, asks nobody and prints
//! nothing. The driver does those and reports back, so every rule here is a plain unit test with an invented `now`.
//!
//! ```text
//! driver                                  schedule
//!   handle(Start, 0)                  ──►   Start{lint} Start{test}
//!   … runs both …
//!   handle(Finished{lint, …}, 1.2 s)  ──►   Settle{lint} Evaluate{deploy}
//!   handle(Condition{deploy, …}, …)   ──►   Start{deploy}
//!   sleep until wake_at(), handle(Tick)
//! ```
//!
//! The work of a whole run is proportional to stages plus needs (times the logarithm of how many are ready at once): no event
//! looks at all stages, except the one that stops the run.

mod action;
mod graph;
mod machine;
mod past;
mod retry;
mod rules;

#[cfg(test)]
mod model;

pub use action::{Action, ApprovalResult, ConditionResult, Input, Options, Signal, StopReason, TurnResult};
pub use graph::{Graph, GraphError, Node, Selection, UnknownStages};
pub use machine::Schedule;
pub use past::{Past, PastError, Was, to_run_again};
pub use rules::{Decision, Reason, Standing, decide};

pub use pipeline::plan::{Approval, Backoff, Retries, RunOn, StageIndex};
pub use retry::{delay_before_retry, is_tried_again};
