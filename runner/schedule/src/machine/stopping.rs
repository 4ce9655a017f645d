//! How a run and its stages are stopped, and the timers that do so.

use super::*;
use crate::action::Signal;

/// The driver never sleeps longer: clocks overflow with absurd time-outs, and a tick too many does no harm.
const LONGEST_SLEEP: Duration = Duration::from_secs(365 * 24 * 3600);

impl Schedule {
    /// When `Input::Tick` is due, as time since the run began; none if nothing waits for time to pass. Ask after each `handle`.
    pub fn wake_at(&mut self) -> Option<Duration> {
        while let Some(Reverse((_, timer))) = self.timers.peek()
            && (self.done || !self.is_live(timer))
        {
            self.timers.pop();
        }
        let timer = self.timers.peek().map(|Reverse((at, _))| *at);
        let at = timer.into_iter().chain(self.deadline()).min()?;
        Some(at.min(self.now.saturating_add(LONGEST_SLEEP)))
    }

    /// When the run's time is up, unless it waits for approvals and turns alone.
    fn deadline(&self) -> Option<Duration> {
        let running = !self.done && self.unsettled > 0 && self.mode != Mode::Stopping && self.idle_since.is_none();
        let timeout = self.graph.timeout().filter(|_| running)?;
        Some(timeout.saturating_sub(self.already).saturating_add(self.idle))
    }

    /// What the attempt's end means, given that it may have been stopped.
    pub(super) fn judge(&self, stage: StageIndex, cause: Option<Cause>, outcome: Outcome) -> Outcome {
        let node = self.graph.node(stage);
        // a stage that was told to stop and ended by itself says what has become of its work
        let own = match &outcome {
            Outcome::Failed { message, .. } if cause.is_some() && !message.is_empty() => format!("; {message}"),
            _ => String::new(),
        };
        let timed_out = |what: &str, timeout: Option<Duration>| Outcome::Failed {
            kind: FailureKind::TimedOut,
            message: format!("{what} of {} passed{own}", humantime::format_duration(timeout.unwrap_or_default())),
            soft: node.soft_fail,
            denial: None,
        };
        match (cause, outcome) {
            (Some(Cause::OwnTimeout), _) => timed_out("its timeout", node.timeout),
            (Some(_), outcome @ Outcome::Passed { .. }) => outcome,
            (Some(Cause::RunTimeout), _) => timed_out("the run's timeout", self.graph.timeout()),
            (Some(Cause::FailFast | Cause::Signal), _) => {
                let message = self.stop_reason.as_ref().map(StopReason::to_string).unwrap_or_default();
                Outcome::Cancelled { message: format!("{message}{own}") }
            }
            (None, Outcome::Failed { kind, message, denial, .. }) => Outcome::Failed { kind, message, soft: node.soft_fail, denial },
            (None, outcome) => outcome,
        }
    }

    pub(super) fn signal(&mut self, signal: Signal, now: Duration) {
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

    /// As an interrupt: a person who interrupts as well means at once.
    pub(super) fn superseded(&mut self, by: String, now: Duration) {
        if self.signals > 0 {
            return;
        }
        self.signals = 1;
        self.verdict = self.verdict.max(Verdict::Interrupted);
        self.stop_run(StopReason::Superseded(by), Cause::Signal, now);
    }

    /// Settles what has not begun, and asks what runs to end. Looks at every stage, once or twice in a run.
    pub(super) fn stop_run(&mut self, reason: StopReason, cause: Cause, now: Duration) {
        self.mode = self.mode.max(if cause == Cause::FailFast { Mode::FailFast } else { Mode::Stopping });
        self.actions.push(Action::Stopping(reason.clone()));
        self.stop_reason = Some(reason);
        for stage in 0..self.graph.len() {
            if self.may_start(stage) {
                continue;
            }
            match &self.records[stage].state {
                State::Waiting(_) | State::Deciding | State::Asking | State::Queued(Before::Nothing) | State::Ready(Before::Nothing) => {
                    self.settle(stage, Outcome::Blocked { why: Blocked::Stopping }, now);
                }
                // No further attempt: how the last one ended is how the stage ended.
                State::Backoff(last) | State::Queued(Before::Failed(last)) | State::Ready(Before::Failed(last)) => {
                    let last = (**last).clone();
                    self.settle(stage, last, now);
                }
                // It had begun, and does not get to its end.
                State::Queued(Before::Cut) | State::Ready(Before::Cut) => {
                    let outcome = self.judge(stage, Some(cause), Outcome::Cancelled { message: String::new() });
                    self.settle(stage, outcome, now);
                }
                State::Running(_) => self.stop_stage(stage, cause, false, now),
                State::Suspended | State::Settled(_) => {}
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
    pub(super) fn fire(&mut self, now: Duration) {
        while self.wake_at().is_some_and(|at| at <= now) {
            // `wake_at` has left a timer at the head that counts.
            let next = self.timers.peek().map_or(Duration::MAX, |Reverse((at, _))| *at);
            if self.deadline().is_some_and(|deadline| deadline <= now.min(next)) {
                self.verdict = self.verdict.max(Verdict::TimedOut);
                let timeout = self.graph.timeout().unwrap_or_default();
                self.stop_run(StopReason::TimedOut(timeout), Cause::RunTimeout, now);
                continue;
            }
            let Some(Reverse((_, timer))) = self.timers.pop() else { return };
            match timer {
                Timer::AttemptTimeout { stage, .. } => self.stop_stage(stage, Cause::OwnTimeout, false, now),
                Timer::Grace { stage, .. } => self.stop_stage(stage, Cause::Signal, true, now),
                Timer::Retry { stage, .. } => {
                    // Live, so it is in its delay.
                    if let State::Backoff(last) = self.put(stage, State::Deciding) {
                        self.enqueue(stage, Before::Failed(last));
                    }
                }
            }
        }
    }
}
