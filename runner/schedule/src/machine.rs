//! The state machine. Who may run next is kept in counters and queues, so that an event costs what it changes and no more.
//!
//! How a run stops:
//! - **fail-fast**: after the first failure that fails the run no further `success` stage starts, and those that run are stopped.
//!   `failure` and `always` stages go on as the rules say, so that a rollback or a notification still happens.
//! - **signal, or the run's time-out**: nothing starts any more, and what runs is stopped.
//!
//! Stopping is soft first (`Stop { hard: false }`), and hard after the grace period or on a second signal. A stage that passes
//! while it is being stopped has passed.
//!
//! How a run waits:
//! - **for an approval, or for its turn in a group**: the stage holds no job, and the rest goes on. Time in which nothing else is waited for
//!   does not count against the run's time-out, so that it makes no difference whether a runner waits or another one resumes.
//! - **for a decision about an effect in doubt**: nothing starts any more, what runs comes to its end, and the run ends as it stands.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use event::{Blocked, FailureKind, Outcome, Verdict};
use pipeline::plan::{RunOn, StageIndex};

use crate::action::{Action, ApprovalResult, ConditionResult, Input, Options, StopReason, TurnResult};
use crate::graph::Graph;
use crate::past::{self, Past, PastError, Was};
use crate::retry;
use crate::rules::{self, Decision, Reason, Standing};

mod stopping;

/// Why a running attempt was stopped; the first cause stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    OwnTimeout,
    RunTimeout,
    FailFast,
    Signal,
}

#[derive(Debug)]
enum State {
    /// For this many needs.
    Waiting(usize),
    /// For `Input::Condition`.
    Deciding,
    /// For `Input::Approval`.
    Asking,
    /// For `Input::Turn`.
    Queued(Before),
    /// For a free job.
    Ready(Before),
    Running(Option<Cause>),
    /// For the delay after a failed attempt.
    Backoff(Box<Outcome>),
    /// For a person's decision, in another session.
    Suspended,
    Settled(Standing),
}

/// What there was before the attempt for which a stage is ready.
#[derive(Debug)]
enum Before {
    Nothing,
    /// The same attempt, which an earlier session did not bring to its end.
    Cut,
    /// An attempt that failed so.
    Failed(Box<Outcome>),
}

impl State {
    /// Whether it goes on without a person, without another run, and without another stage's end.
    fn is_active(&self) -> bool {
        matches!(self, State::Deciding | State::Ready(_) | State::Running(_) | State::Backoff(_))
    }
}

#[derive(Debug)]
struct Record {
    state: State,
    /// The number of the last attempt.
    attempt: u32,
    /// Attempts that a reset put behind it.
    spent: u32,
    /// In this session.
    began: Option<Duration>,
    /// In earlier sessions.
    took: Duration,
    approval: Option<ApprovalResult>,
    /// It has its turn.
    has_turn: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    AttemptTimeout { stage: StageIndex, attempt: u32 },
    Grace { stage: StageIndex, attempt: u32 },
    Retry { stage: StageIndex, attempt: u32 },
}

/// How far the run is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mode {
    Going,
    FailFast,
    Stopping,
}

#[derive(Debug)]
pub struct Schedule {
    graph: Graph,
    options: Options,
    records: Vec<Record>,
    /// The longest way to an end first, then the order of the file. Entries of stages that are ready no more are passed over.
    ready: BinaryHeap<(u32, Reverse<StageIndex>)>,
    /// Soonest first. Entries that time has made meaningless are passed over.
    timers: BinaryHeap<Reverse<(Duration, Timer)>>,
    /// All needs settled, not decided yet.
    decidable: VecDeque<StageIndex>,
    /// Failed under fail-fast, and the run not yet stopped for it.
    first_failure: Option<StageIndex>,
    running: usize,
    alone: bool,
    unsettled: usize,
    /// Stages whose state is active.
    active: usize,
    /// Stages that wait for their approval.
    asking: usize,
    /// Stages that wait for their turn.
    queued: usize,
    /// An effect is in doubt.
    suspended: bool,
    /// Where each stage stood, until `Input::Start`.
    past: Vec<Past>,
    /// Of the run's own time, in earlier sessions.
    already: Duration,
    /// In this process, with nothing to do but to wait for approvals and turns; and since when it is so.
    idle: Duration,
    idle_since: Option<Duration>,
    mode: Mode,
    stop_reason: Option<StopReason>,
    signals: u32,
    verdict: Verdict,
    done: bool,
    /// Of the last input.
    now: Duration,
    actions: Vec<Action>,
}

impl Schedule {
    pub fn new(graph: Graph, options: Options) -> Self {
        let records = graph.nodes().iter().map(|node| Record {
            state: State::Waiting(node.needs.len() + node.needs_any.len()),
            attempt: 0,
            spent: 0,
            began: None,
            took: Duration::ZERO,
            approval: None,
            has_turn: false,
        });
        Schedule {
            records: records.collect(),
            ready: BinaryHeap::new(),
            timers: BinaryHeap::new(),
            decidable: VecDeque::new(),
            first_failure: None,
            running: 0,
            alone: false,
            unsettled: graph.len(),
            active: 0,
            asking: 0,
            queued: 0,
            suspended: false,
            past: Vec::new(),
            already: Duration::ZERO,
            idle: Duration::ZERO,
            idle_since: None,
            mode: Mode::Going,
            stop_reason: None,
            signals: 0,
            verdict: Verdict::Passed,
            done: false,
            now: Duration::ZERO,
            actions: Vec::new(),
            graph,
            options,
        }
    }

    /// A run that goes on. `past` has an entry for each stage, in the order of the graph; `already` is how much of its own time earlier
    /// sessions used ([`Schedule::used`]), which counts against the run's `timeout`. `now` begins at zero again.
    ///
    /// # Errors
    /// The past can't be one of this graph.
    pub fn resumed(graph: Graph, options: Options, past: Vec<Past>, already: Duration) -> Result<Self, PastError> {
        past::check(&graph, &past)?;
        let mut schedule = Schedule { already, ..Schedule::new(graph, options) };
        for (stage, past) in past.iter().enumerate() {
            let record = &mut schedule.records[stage];
            record.approval.clone_from(&past.approval);
            (record.spent, record.attempt) = (past.spent, past.spent);
            if let Was::Settled { outcome } = &past.was {
                schedule.stand(stage, outcome);
            } else {
                record.took = past.took;
            }
        }
        schedule.past = past;
        Ok(schedule)
    }

    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Takes an input and says what to do about it, in order. `now` is the time since the run began and never goes back.
    pub fn handle(&mut self, input: Input, now: Duration) -> Vec<Action> {
        self.now = now;
        if self.done {
            return Vec::new();
        }
        if let Some(since) = self.idle_since.take() {
            self.idle += now.saturating_sub(since);
        }
        match input {
            Input::Start => self.start(now),
            Input::Finished { stage, attempt, outcome } => self.finished(stage, attempt, outcome, now),
            Input::Condition { stage, result } => self.condition(stage, result, now),
            Input::Approval { stage, result } => self.approval(stage, result, now),
            Input::Turn { stage, result } => self.turn(stage, result, now),
            Input::Suspended { stage, attempt } => self.suspend(stage, attempt),
            Input::Tick => {}
            Input::Signal(signal) => self.signal(signal, now),
            Input::Superseded(by) => self.superseded(by, now),
        }
        // What has just been reported counts before what has just run out: a stage that finished in time did not time out.
        self.fire(now);
        self.propagate(now);
        self.launch(now);
        if let Some(verdict) = self.end() {
            self.done = true;
            self.actions.push(Action::Done(verdict));
        } else if self.is_idle() {
            self.idle_since = Some(now);
        }
        std::mem::take(&mut self.actions)
    }

    fn end(&self) -> Option<Verdict> {
        let waits = (self.suspended && self.running == 0) || (!self.options.wait && self.queued == 0 && self.is_idle());
        if self.unsettled == 0 { Some(self.verdict) } else { waits.then_some(Verdict::Waiting) }
    }

    /// Whether there is nothing to do until someone approves or rejects, or another run makes way.
    fn is_idle(&self) -> bool {
        self.active == 0 && self.asking + self.queued > 0
    }

    /// How much of its own time the run has used by `now`, all sessions together: time in which it waited for nothing but approvals
    /// and turns is not part of it.
    pub fn used(&self, now: Duration) -> Duration {
        let waited = self.idle + self.idle_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        self.already.saturating_add(now.saturating_sub(waited))
    }

    /// How many stages are not settled.
    pub fn unsettled(&self) -> usize {
        self.unsettled
    }

    fn start(&mut self, now: Duration) {
        let past = std::mem::take(&mut self.past);
        for stage in 0..self.graph.len() {
            if matches!(self.records[stage].state, State::Waiting(0)) {
                self.decidable.push_back(stage);
            }
        }
        for (stage, past) in past.into_iter().enumerate() {
            self.take_up(stage, past.was, now);
        }
        for stage in 0..self.graph.len() {
            if !self.options.selection.contains(stage) && matches!(self.records[stage].state, State::Waiting(_)) {
                self.settle(stage, Outcome::Skipped { why: Blocked::NotSelected }, now);
            }
        }
    }

    /// Goes on with an attempt of an earlier session. The stage's needs are settled, its condition and its approval were given.
    fn take_up(&mut self, stage: StageIndex, was: Was, now: Duration) {
        let record = &mut self.records[stage];
        match was {
            Was::Fresh | Was::Settled { .. } => {}
            Was::Cut { attempt } => {
                (record.attempt, record.began) = (attempt, Some(now));
                self.enqueue(stage, Before::Cut);
            }
            Was::Again { attempt, outcome } => {
                (record.attempt, record.began) = (attempt, Some(now));
                self.enqueue(stage, Before::Failed(Box::new(outcome)));
            }
            Was::Ended { attempt, outcome } => {
                (record.attempt, record.began) = (attempt, Some(now));
                self.put(stage, State::Running(None));
                self.running += 1;
                self.finished(stage, attempt, outcome, now);
            }
        }
    }

    fn finished(&mut self, stage: StageIndex, attempt: u32, outcome: Outcome, now: Duration) {
        let State::Running(cause) = self.records[stage].state else {
            debug_assert!(false, "stage {stage} is not running and cannot finish");
            return;
        };
        debug_assert_eq!(attempt, self.records[stage].attempt, "stage {stage} finishes the attempt that runs");
        self.running -= 1;
        if self.graph.node(stage).exclusive {
            self.alone = false;
        }
        let outcome = self.judge(stage, cause, outcome);
        let node = self.graph.node(stage);
        match outcome {
            Outcome::Failed { kind, .. } if self.may_retry(stage, kind) => {
                let random = retry::random(self.options.seed, stage, attempt);
                let delay = retry::delay_before_retry(&node.retries, attempt, random);
                self.actions.push(Action::Retry { stage, attempt, outcome: outcome.clone(), delay });
                self.put(stage, State::Backoff(Box::new(outcome)));
                self.timers.push(Reverse((now.saturating_add(delay), Timer::Retry { stage, attempt })));
            }
            outcome => self.settle(stage, outcome, now),
        }
    }

    /// The attempt is over and the stage is not: what becomes of it is for another session.
    fn suspend(&mut self, stage: StageIndex, attempt: u32) {
        if !matches!(self.records[stage].state, State::Running(_)) {
            debug_assert!(false, "stage {stage} is not running and cannot be suspended");
            return;
        }
        debug_assert_eq!(attempt, self.records[stage].attempt, "stage {stage} suspends the attempt that runs");
        self.running -= 1;
        if self.graph.node(stage).exclusive {
            self.alone = false;
        }
        self.suspended = true;
        self.put(stage, State::Suspended);
    }

    fn may_retry(&self, stage: StageIndex, kind: FailureKind) -> bool {
        let node = self.graph.node(stage);
        let record = &self.records[stage];
        record.attempt - record.spent <= node.retries.count && retry::is_tried_again(kind) && self.may_start(stage)
    }

    /// Whether the run is still in a state in which this stage may start an attempt.
    fn may_start(&self, stage: StageIndex) -> bool {
        match self.mode {
            Mode::Going => true,
            Mode::FailFast => self.graph.node(stage).run_on != RunOn::Success,
            Mode::Stopping => false,
        }
    }

    fn condition(&mut self, stage: StageIndex, result: ConditionResult, now: Duration) {
        if !matches!(self.records[stage].state, State::Deciding) {
            return;
        }
        match result {
            ConditionResult::True => self.admit(stage, now),
            ConditionResult::False => {
                let text = self.graph.node(stage).condition.as_deref().unwrap_or_default().to_owned();
                self.settle(stage, Outcome::Skipped { why: Blocked::When(text) }, now);
            }
            ConditionResult::Error(message) => {
                let soft = self.graph.node(stage).soft_fail;
                let message = format!("its `when` cannot be evaluated: {message}");
                self.settle(stage, Outcome::Failed { kind: FailureKind::Misconfigured, message, soft, denial: None }, now);
            }
        }
    }

    fn approval(&mut self, stage: StageIndex, result: ApprovalResult, now: Duration) {
        if matches!(self.records[stage].state, State::Asking) {
            self.records[stage].approval = Some(result);
            self.admit(stage, now);
        }
    }

    /// It would start now: asks for its approval, unless that has been given or none is needed.
    fn admit(&mut self, stage: StageIndex, now: Duration) {
        let node = self.graph.node(stage);
        match &self.records[stage].approval {
            _ if node.approval.is_none() => self.enqueue(stage, Before::Nothing),
            Some(ApprovalResult::Approved) => self.enqueue(stage, Before::Nothing),
            Some(ApprovalResult::Rejected(message)) => {
                let (message, soft) = (message.clone(), node.soft_fail);
                self.settle(stage, Outcome::Failed { kind: FailureKind::Rejected, message, soft, denial: None }, now);
            }
            None => {
                self.put(stage, State::Asking);
                self.actions.push(Action::AskApproval { stage });
            }
        }
    }

    /// Another run made way, or does not and the stage is not to wait for it.
    fn turn(&mut self, stage: StageIndex, result: TurnResult, now: Duration) {
        if !matches!(self.records[stage].state, State::Queued(_)) {
            return;
        }
        match result {
            TurnResult::Taken => {
                self.records[stage].has_turn = true;
                if let State::Queued(before) = self.put(stage, State::Deciding) {
                    self.enqueue(stage, before);
                }
            }
            TurnResult::Refused(message) => {
                let soft = self.graph.node(stage).soft_fail;
                self.settle(stage, Outcome::Failed { kind: FailureKind::Busy, message, soft, denial: None }, now);
            }
        }
    }

    /// It may start once a job is free, and its turn has come where it takes turns.
    fn enqueue(&mut self, stage: StageIndex, before: Before) {
        if self.graph.node(stage).takes_turns && !self.records[stage].has_turn {
            self.put(stage, State::Queued(before));
            self.actions.push(Action::AskTurn { stage });
            return;
        }
        self.put(stage, State::Ready(before));
        self.ready.push((self.graph.height(stage), Reverse(stage)));
    }

    /// Every change from one state to another goes through here, so that the counters are right.
    fn put(&mut self, stage: StageIndex, state: State) -> State {
        self.active += usize::from(state.is_active());
        self.asking += usize::from(matches!(state, State::Asking));
        self.queued += usize::from(matches!(state, State::Queued(_)));
        let old = std::mem::replace(&mut self.records[stage].state, state);
        self.active -= usize::from(old.is_active());
        self.asking -= usize::from(matches!(old, State::Asking));
        self.queued -= usize::from(matches!(old, State::Queued(_)));
        old
    }

    fn settle(&mut self, stage: StageIndex, outcome: Outcome, now: Duration) {
        let Record { attempt, spent, began, took, .. } = self.records[stage];
        let (attempt, took) =
            if attempt == spent { (0, Duration::ZERO) } else { (attempt, took.saturating_add(now.saturating_sub(began.unwrap_or(now)))) };
        self.stand(stage, &outcome);
        self.actions.push(Action::Settle { stage, attempt, outcome, took });
    }

    /// What an outcome means to the verdict and to those that need the stage.
    fn stand(&mut self, stage: StageIndex, outcome: &Outcome) {
        let old = self.put(stage, State::Settled(standing(outcome)));
        debug_assert!(!matches!(old, State::Settled(_)), "stage {stage} settles once");
        self.unsettled -= 1;
        if outcome.fails_run() {
            let denied = matches!(outcome, Outcome::Failed { kind: FailureKind::Denied, .. });
            self.verdict = self.verdict.max(if denied { Verdict::Denied } else { Verdict::Failed });
            if self.options.fail_fast && self.mode == Mode::Going && self.first_failure.is_none() {
                self.first_failure = Some(stage);
            }
        }
        for edge in self.graph.dependents(stage) {
            let dependent = self.graph.dependent(edge);
            if let State::Waiting(needs) = &mut self.records[dependent].state {
                *needs -= 1;
                if *needs == 0 {
                    self.decidable.push_back(dependent);
                }
            }
        }
    }

    /// Decides every stage whose needs are settled, and those that become so by it.
    fn propagate(&mut self, now: Duration) {
        while !self.suspended {
            // Those that needed the failed stage first: "blocked by lint" says more than "the run was stopping".
            while let Some(stage) = self.decidable.pop_front() {
                self.decide(stage, now);
            }
            match self.first_failure.take() {
                Some(failed) if self.mode == Mode::Going => {
                    let reason = StopReason::FailFast(self.graph.node(failed).id.clone());
                    self.stop_run(reason, Cause::FailFast, now);
                }
                _ => return,
            }
        }
    }

    fn decide(&mut self, stage: StageIndex, now: Duration) {
        if !matches!(self.records[stage].state, State::Waiting(_)) {
            return;
        }
        let node = self.graph.node(stage);
        let decision = rules::decide(node.run_on, &node.needs, &node.needs_any, |need| match self.records[need].state {
            State::Settled(standing) => standing,
            _ => unreachable!("all needs of stage {stage} are settled"),
        });
        match decision {
            Decision::Run if !self.may_start(stage) => self.settle(stage, Outcome::Blocked { why: Blocked::Stopping }, now),
            Decision::Run if node.condition.is_some() => {
                self.put(stage, State::Deciding);
                self.actions.push(Action::Evaluate { stage });
            }
            Decision::Run => self.admit(stage, now),
            Decision::Skip(reason) => {
                let why = self.why(reason);
                self.settle(stage, Outcome::Skipped { why }, now);
            }
            Decision::Block(reason) => {
                let why = self.why(reason);
                self.settle(stage, Outcome::Blocked { why }, now);
            }
        }
    }

    fn why(&self, reason: Reason) -> Blocked {
        match reason {
            Reason::Need(need) => Blocked::Need(self.graph.node(need).id.clone()),
            Reason::NothingFailed => Blocked::NothingFailed,
            Reason::NoneOf => Blocked::NoneOf,
        }
    }

    /// Starts what is ready while there are jobs. An exclusive stage at the head waits until nothing runs, and holds up those
    /// behind it: passing it over could make it wait for ever.
    fn launch(&mut self, now: Duration) {
        while self.running < self.options.jobs.get() && !self.alone && !self.suspended {
            let Some(&(_, Reverse(stage))) = self.ready.peek() else { return };
            if !matches!(self.records[stage].state, State::Ready(_)) {
                self.ready.pop();
                continue;
            }
            let node = self.graph.node(stage);
            if node.exclusive && self.running > 0 {
                return;
            }
            self.ready.pop();
            self.running += 1;
            self.alone = node.exclusive;
            let cut = matches!(self.put(stage, State::Running(None)), State::Ready(Before::Cut));
            let record = &mut self.records[stage];
            record.attempt += u32::from(!cut);
            record.began.get_or_insert(now);
            let attempt = record.attempt;
            if let Some(timeout) = self.graph.node(stage).timeout {
                self.timers.push(Reverse((now.saturating_add(timeout), Timer::AttemptTimeout { stage, attempt })));
            }
            self.actions.push(Action::Start { stage, attempt });
        }
    }
}

fn standing(outcome: &Outcome) -> Standing {
    match outcome {
        Outcome::Passed { .. } => Standing::Passed,
        Outcome::Failed { soft: true, .. } => Standing::SoftFailed,
        Outcome::Failed { soft: false, .. } => Standing::Failed,
        Outcome::Skipped { why: Blocked::NotSelected } => Standing::NotSelected,
        Outcome::Skipped { .. } => Standing::Skipped,
        Outcome::Blocked { .. } => Standing::Blocked,
        Outcome::Cancelled { .. } => Standing::Cancelled,
    }
}

#[cfg(test)]
mod tests;
