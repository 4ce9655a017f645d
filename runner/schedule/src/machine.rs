//! The state machine. Who may run next is kept in counters and queues, so that an event costs what it changes and no more.
//!
//! How a run stops:
//! - **fail-fast**: after the first failure that fails the run no further `success` stage starts, and those that run are stopped.
//!   `failure` and `always` stages go on as the rules say, so that a rollback or a notification still happens.
//! - **signal, or the run's time-out**: nothing starts any more, and what runs is stopped.
//!
//! Stopping is soft first (`Stop { hard: false }`), and hard after the grace period or on a second signal. A stage that passes
//! while it is being stopped has passed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::num::NonZeroUsize;
use std::time::Duration;

use event::{Blocked, FailureKind, Outcome, StageRef, Verdict};
use pipeline::plan::{RunOn, StageIndex};

use crate::graph::{Graph, Selection};
use crate::retry;
use crate::rules::{self, Decision, Reason, Standing};

/// The driver never sleeps longer: clocks overflow with absurd time-outs, and a tick too many does no harm.
const LONGEST_SLEEP: Duration = Duration::from_secs(365 * 24 * 3600);

/// How to run, as the command line says.
#[derive(Debug, Clone)]
pub struct Options {
    /// Stages at once.
    pub jobs: NonZeroUsize,
    /// Stop at the first failure that fails the run; otherwise all that does not need it goes on.
    pub fail_fast: bool,
    /// Between asking a stage to stop and stopping it.
    pub grace: Duration,
    /// Of the delays before retries; recorded with the run, so that it can be repeated.
    pub seed: u64,
    pub selection: Selection,
}

impl Options {
    /// Keep going, ten seconds of grace, every stage.
    pub fn new(jobs: NonZeroUsize) -> Self {
        Options { jobs, fail_fast: false, grace: Duration::from_secs(10), seed: 0, selection: Selection::default() }
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

#[derive(Debug, Clone)]
pub enum Input {
    /// Once, first.
    Start,
    /// The attempt is over, by itself or because it was stopped; all that it started is gone.
    Finished { stage: StageIndex, attempt: u32, outcome: Outcome },
    /// The answer to `Action::Evaluate`. One that comes after the run was stopped is ignored.
    Condition { stage: StageIndex, result: ConditionResult },
    /// `Schedule::wake_at` has come.
    Tick,
    /// The first stops softly, the second at once.
    Signal(Signal),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Evaluate its `when` and answer with `Input::Condition`. All its needs are settled.
    Evaluate { stage: StageIndex },
    /// Run this attempt and answer with `Input::Finished`. 1 is the first.
    Start { stage: StageIndex, attempt: u32 },
    /// Soft: ask the attempt to end (its commands get SIGTERM). Hard: end it now. `Input::Finished` must follow all the same.
    Stop { stage: StageIndex, attempt: u32, hard: bool },
    /// The attempt failed and another follows after `delay`.
    Retry { stage: StageIndex, attempt: u32, outcome: Outcome, delay: Duration },
    /// The stage's last word, exactly once for each stage. `attempt` is 0 and `took` zero if it never started; `took` runs from
    /// the start of the first attempt.
    Settle { stage: StageIndex, attempt: u32, outcome: Outcome, took: Duration },
    /// The run is being stopped. Can come twice: fail-fast first, a signal later.
    Stopping(StopReason),
    /// Every stage is settled. Exactly once, last.
    Done(Verdict),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    FailFast(StageRef),
    /// The run's `timeout`.
    TimedOut(Duration),
    Signal(Signal),
}

impl std::fmt::Display for StopReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StopReason::FailFast(stage) => write!(f, "stage `{stage}` failed and the run is to fail fast"),
            StopReason::TimedOut(timeout) => write!(f, "the run's timeout of {} passed", humantime::format_duration(*timeout)),
            StopReason::Signal(Signal::Interrupt) => f.write_str("interrupted"),
            StopReason::Signal(Signal::Terminate) => f.write_str("terminated"),
        }
    }
}

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
    /// For a free job; before a retry, with how the last attempt ended.
    Ready(Option<Box<Outcome>>),
    Running(Option<Cause>),
    /// For the delay after a failed attempt.
    Backoff(Box<Outcome>),
    Settled(Standing),
}

#[derive(Debug)]
struct Record {
    state: State,
    /// Attempts started.
    attempt: u32,
    began: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    RunTimeout,
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
            began: Duration::ZERO,
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

    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Takes an input and says what to do about it, in order. `now` is the time since the run began and never goes back.
    pub fn handle(&mut self, input: Input, now: Duration) -> Vec<Action> {
        self.now = now;
        match input {
            Input::Start => self.start(now),
            Input::Finished { stage, attempt, outcome } => self.finished(stage, attempt, outcome, now),
            Input::Condition { stage, result } => self.condition(stage, result, now),
            Input::Tick => {}
            Input::Signal(signal) => self.signal(signal, now),
        }
        // What has just been reported counts before what has just run out: a stage that finished in time did not time out.
        self.fire(now);
        self.propagate(now);
        self.launch(now);
        if self.unsettled == 0 && !self.done {
            self.done = true;
            self.actions.push(Action::Done(self.verdict));
        }
        std::mem::take(&mut self.actions)
    }

    /// When `Input::Tick` is due, as time since the run began; none if nothing waits for time to pass. Ask after each `handle`.
    pub fn wake_at(&mut self) -> Option<Duration> {
        while let Some(Reverse((at, timer))) = self.timers.peek() {
            if self.is_live(timer) {
                return Some((*at).min(self.now.saturating_add(LONGEST_SLEEP)));
            }
            self.timers.pop();
        }
        None
    }

    /// How many stages are not settled.
    pub fn unsettled(&self) -> usize {
        self.unsettled
    }

    fn start(&mut self, now: Duration) {
        if let Some(timeout) = self.graph.timeout() {
            self.timers.push(Reverse((now.saturating_add(timeout), Timer::RunTimeout)));
        }
        for stage in 0..self.graph.len() {
            if matches!(self.records[stage].state, State::Waiting(0)) {
                self.decidable.push_back(stage);
            }
        }
        for stage in 0..self.graph.len() {
            if !self.options.selection.contains(stage) {
                self.settle(stage, Outcome::Skipped { why: Blocked::NotSelected }, now);
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
                self.records[stage].state = State::Backoff(Box::new(outcome));
                self.timers.push(Reverse((now.saturating_add(delay), Timer::Retry { stage, attempt })));
            }
            outcome => self.settle(stage, outcome, now),
        }
    }

    /// What the attempt's end means, given that it may have been stopped.
    fn judge(&self, stage: StageIndex, cause: Option<Cause>, outcome: Outcome) -> Outcome {
        let node = self.graph.node(stage);
        let timed_out = |what: &str, timeout: Option<Duration>| Outcome::Failed {
            kind: FailureKind::TimedOut,
            message: format!("{what} of {} passed", humantime::format_duration(timeout.unwrap_or_default())),
            soft: node.soft_fail,
            denial: None,
        };
        match (cause, outcome) {
            (Some(Cause::OwnTimeout), _) => timed_out("its timeout", node.timeout),
            (Some(_), outcome @ Outcome::Passed { .. }) => outcome,
            (Some(Cause::RunTimeout), _) => timed_out("the run's timeout", self.graph.timeout()),
            (Some(Cause::FailFast | Cause::Signal), _) => {
                let message = self.stop_reason.as_ref().map(StopReason::to_string).unwrap_or_default();
                Outcome::Cancelled { message }
            }
            (None, Outcome::Failed { kind, message, denial, .. }) => Outcome::Failed { kind, message, soft: node.soft_fail, denial },
            (None, outcome) => outcome,
        }
    }

    fn may_retry(&self, stage: StageIndex, kind: FailureKind) -> bool {
        let node = self.graph.node(stage);
        self.records[stage].attempt <= node.retries.count && retry::is_tried_again(kind) && self.may_start(stage)
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
            ConditionResult::True => self.enqueue(stage, None),
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

    fn enqueue(&mut self, stage: StageIndex, last: Option<Box<Outcome>>) {
        self.records[stage].state = State::Ready(last);
        self.ready.push((self.graph.height(stage), Reverse(stage)));
    }

    fn signal(&mut self, signal: Signal, now: Duration) {
        if self.unsettled == 0 {
            return;
        }
        self.signals += 1;
        self.verdict = self.verdict.max(match signal {
            Signal::Interrupt => Verdict::Interrupted,
            Signal::Terminate => Verdict::Terminated,
        });
        if self.signals == 1 {
            self.stop_run(StopReason::Signal(signal), Cause::Signal, now);
        } else {
            for stage in 0..self.graph.len() {
                self.stop_stage(stage, Cause::Signal, true, now);
            }
        }
    }

    /// Settles what has not begun, and asks what runs to end. Looks at every stage, once or twice in a run.
    fn stop_run(&mut self, reason: StopReason, cause: Cause, now: Duration) {
        self.mode = self.mode.max(if cause == Cause::FailFast { Mode::FailFast } else { Mode::Stopping });
        self.actions.push(Action::Stopping(reason.clone()));
        self.stop_reason = Some(reason);
        for stage in 0..self.graph.len() {
            if self.may_start(stage) {
                continue;
            }
            match &self.records[stage].state {
                State::Waiting(_) | State::Deciding | State::Ready(None) => {
                    self.settle(stage, Outcome::Blocked { why: Blocked::Stopping }, now);
                }
                // No further attempt: how the last one ended is how the stage ended.
                State::Backoff(last) | State::Ready(Some(last)) => {
                    let last = (**last).clone();
                    self.settle(stage, last, now);
                }
                State::Running(_) => self.stop_stage(stage, cause, false, now),
                State::Settled(_) => {}
            }
        }
    }

    fn stop_stage(&mut self, stage: StageIndex, cause: Cause, hard: bool, now: Duration) {
        let record = &mut self.records[stage];
        let attempt = record.attempt;
        let State::Running(stopped) = &mut record.state else { return };
        if hard || stopped.is_none() {
            self.actions.push(Action::Stop { stage, attempt, hard });
        }
        if stopped.is_none() {
            *stopped = Some(cause);
            if !hard {
                self.timers.push(Reverse((now.saturating_add(self.options.grace), Timer::Grace { stage, attempt })));
            }
        }
    }

    fn is_live(&self, timer: &Timer) -> bool {
        match *timer {
            Timer::RunTimeout => self.unsettled > 0 && self.mode != Mode::Stopping,
            Timer::AttemptTimeout { stage, attempt } => {
                self.records[stage].attempt == attempt && matches!(self.records[stage].state, State::Running(None))
            }
            Timer::Grace { stage, attempt } => {
                self.records[stage].attempt == attempt && matches!(self.records[stage].state, State::Running(Some(_)))
            }
            Timer::Retry { stage, attempt } => {
                self.records[stage].attempt == attempt && matches!(self.records[stage].state, State::Backoff(_))
            }
        }
    }

    /// Acts on every timer that is due.
    fn fire(&mut self, now: Duration) {
        while self.wake_at().is_some_and(|at| at <= now) {
            let Some(Reverse((_, timer))) = self.timers.pop() else { return };
            match timer {
                Timer::RunTimeout => {
                    self.verdict = self.verdict.max(Verdict::TimedOut);
                    let timeout = self.graph.timeout().unwrap_or_default();
                    self.stop_run(StopReason::TimedOut(timeout), Cause::RunTimeout, now);
                }
                Timer::AttemptTimeout { stage, .. } => self.stop_stage(stage, Cause::OwnTimeout, false, now),
                Timer::Grace { stage, .. } => self.stop_stage(stage, Cause::Signal, true, now),
                Timer::Retry { stage, .. } => {
                    if let State::Backoff(last) = std::mem::replace(&mut self.records[stage].state, State::Deciding) {
                        self.enqueue(stage, Some(last));
                    }
                }
            }
        }
    }

    fn settle(&mut self, stage: StageIndex, outcome: Outcome, now: Duration) {
        let record = &mut self.records[stage];
        debug_assert!(!matches!(record.state, State::Settled(_)), "stage {stage} settles once");
        let standing = standing(&outcome);
        record.state = State::Settled(standing);
        let took = if record.attempt == 0 { Duration::ZERO } else { now.saturating_sub(record.began) };
        self.unsettled -= 1;
        if outcome.fails_run() {
            let denied = matches!(outcome, Outcome::Failed { kind: FailureKind::Denied, .. });
            self.verdict = self.verdict.max(if denied { Verdict::Denied } else { Verdict::Failed });
            if self.options.fail_fast && self.mode == Mode::Going && self.first_failure.is_none() {
                self.first_failure = Some(stage);
            }
        }
        self.actions.push(Action::Settle { stage, attempt: self.records[stage].attempt, outcome, took });
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
        loop {
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
                self.records[stage].state = State::Deciding;
                self.actions.push(Action::Evaluate { stage });
            }
            Decision::Run => self.enqueue(stage, None),
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
        while self.running < self.options.jobs.get() && !self.alone {
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
            let record = &mut self.records[stage];
            record.attempt += 1;
            record.state = State::Running(None);
            if record.attempt == 1 {
                record.began = now;
            }
            let attempt = record.attempt;
            if let Some(timeout) = node.timeout {
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
