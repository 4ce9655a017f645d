//! What the machine is told and what it answers: options, inputs, actions.

use std::num::NonZeroUsize;
use std::time::Duration;

use event::{Outcome, StageRef, Verdict};
use pipeline::plan::StageIndex;

use crate::graph::Selection;

/// How to run, as the command line says.
#[derive(Debug, Clone)]
pub struct Options {
    /// Stages at once.
    pub jobs: NonZeroUsize,
    /// Stop at the first failure that fails the run; otherwise all that does not need it goes on.
    pub fail_fast: bool,
    /// Between asking a stage to stop and stopping it.
    pub grace: Duration,
    /// For approvals. Without it the run ends as `Verdict::Waiting` once nothing else is left to do.
    pub wait: bool,
    /// Of the delays before retries; recorded with the run, so that it can be repeated.
    pub seed: u64,
    pub selection: Selection,
}

impl Options {
    /// Keep going, ten seconds of grace, wait for approvals, every stage.
    pub fn new(jobs: NonZeroUsize) -> Self {
        Options { jobs, fail_fast: false, grace: Duration::from_secs(10), wait: true, seed: 0, selection: Selection::default() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT.
    Interrupt,
    /// SIGTERM, SIGHUP.
    Terminate,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConditionResult {
    True,
    False,
    /// It could not be evaluated; the stage fails with this text.
    Error(String),
}

/// What was said about a stage that waits for its approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApprovalResult {
    Approved,
    /// Also when its time passed: the driver knows the wall clock. The text is the stage's whole message.
    Rejected(String),
}

/// What became of a stage's turn in its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TurnResult {
    /// Until `Action::Settle` of the stage, or the end of the session.
    Taken,
    /// Another run has it, and the stage is not to wait. The text is the stage's whole message.
    Refused(String),
}

#[derive(Debug, Clone)]
pub enum Input {
    /// Once, first.
    Start,
    /// The attempt is over, by itself or because it was stopped; all that it started is gone.
    Finished { stage: StageIndex, attempt: u32, outcome: Outcome },
    /// The answer to `Action::Evaluate`. One that comes after the run was stopped is ignored.
    Condition { stage: StageIndex, result: ConditionResult },
    /// The answer to `Action::AskApproval`, as late as it may come. One for a stage that does not wait for it is ignored.
    Approval { stage: StageIndex, result: ApprovalResult },
    /// The answer to `Action::AskTurn`, as late as it may come. One for a stage that does not wait for it is ignored.
    Turn { stage: StageIndex, result: TurnResult },
    /// In the place of `Finished`: the attempt is over, and an effect of it is in doubt until a person has decided. Nothing starts any
    /// more; once nothing runs, the run ends as `Verdict::Waiting`.
    Suspended { stage: StageIndex, attempt: u32 },
    /// `Schedule::wake_at` has come.
    Tick,
    /// The first stops softly, the second at once.
    Signal(Signal),
    /// A newer run takes the place of this one: the same as an interrupt, with another reason. The text is that run's id.
    Superseded(String),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Evaluate its `when` and answer with `Input::Condition`. All its needs are settled.
    Evaluate { stage: StageIndex },
    /// It would start now; ask for its approval and answer with `Input::Approval`. It holds no job meanwhile.
    AskApproval { stage: StageIndex },
    /// It would start now; ask for its turn in its group and answer with `Input::Turn`. It holds no job meanwhile. What it has is given back
    /// at `Action::Settle`.
    AskTurn { stage: StageIndex },
    /// Run this attempt and answer with `Input::Finished` or `Input::Suspended`. 1 is the first.
    Start { stage: StageIndex, attempt: u32 },
    /// Soft: ask the attempt to end (its commands get SIGTERM). Hard: end it now. `Input::Finished` must follow all the same.
    Stop { stage: StageIndex, attempt: u32, hard: bool },
    /// The attempt failed and another follows after `delay`.
    Retry { stage: StageIndex, attempt: u32, outcome: Outcome, delay: Duration },
    /// The stage's last word, once for each stage, and never for one that an earlier session settled. `attempt` is 0 and `took` zero if it
    /// never started; `took` runs from the start of the first attempt.
    Settle { stage: StageIndex, attempt: u32, outcome: Outcome, took: Duration },
    /// The run is being stopped. Can come twice: fail-fast first, a signal later.
    Stopping(StopReason),
    /// Every stage is settled, or, as `Verdict::Waiting`, all that is left waits for a person. Exactly once, last.
    Done(Verdict),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    FailFast(StageRef),
    /// The run's `timeout`.
    TimedOut(Duration),
    Signal(Signal),
    /// By the run of this id.
    Superseded(String),
}

impl std::fmt::Display for StopReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StopReason::FailFast(stage) => write!(f, "stage `{stage}` failed and the run is to fail fast"),
            StopReason::TimedOut(timeout) => write!(f, "the run's timeout of {} passed", humantime::format_duration(*timeout)),
            StopReason::Signal(Signal::Interrupt) => f.write_str("interrupted"),
            StopReason::Signal(Signal::Terminate) => f.write_str("terminated"),
            StopReason::Superseded(by) => write!(f, "superseded by run {by}"),
        }
    }
}
