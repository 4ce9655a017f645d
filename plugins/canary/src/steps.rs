//! The canary as a state machine: what happened and when goes in, what is to be done comes out. It acts on nothing and reads no clock.
//!
//! Whoever drives it carries out one action at a time, and measures meanwhile; the action that is under way when something speaks against going on is dropped. Once
//! it rolls back, nothing but the end of that is heard: weights first, so that nobody is sent to what goes away, then Pods. If the weights can't be restored the Pods stay.

use std::fmt;
use std::time::Duration;

use runner_analysis::{Conditions, Limits, Reading, Standing, Tally};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Percent of the traffic.
    SetWeight(u32),
    /// Pods of the canary.
    Scale(u32),
    Pause(Duration),
    /// Until somebody approves.
    Approval,
    /// Until all of the plan's metrics with a count have passed.
    Analyse,
    Promote,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::SetWeight(weight) => write!(f, "set-weight {weight}%"),
            Step::Scale(pods) => write!(f, "scale {pods}"),
            Step::Pause(pause) => write!(f, "pause {}", runner_sdk::Span(*pause)),
            Step::Approval => f.write_str("pause until approved"),
            Step::Analyse => f.write_str("analyse"),
            Step::Promote => f.write_str("promote"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnCancel {
    RollBack,
    Stay,
}

/// A metric of a plan: measured in the background once the canary has traffic (no count), or by `analyse` (with a count).
#[derive(Debug, Clone)]
pub struct Metric {
    pub name: String,
    pub conditions: Conditions,
    pub limits: Limits,
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub steps: Vec<Step>,
    pub metrics: Vec<Metric>,
    pub on_cancel: OnCancel,
    /// How often a part of a rollback is tried, and how long between.
    pub tries: u32,
    pub again: Duration,
}

/// Why it goes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// A metric, or what else: `crashes`, `approval`, `set-weight`.
    pub what: String,
    pub why: String,
    pub at: Duration,
    /// Of the plan, from 0.
    pub step: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// It begins, or time has passed.
    Tick,
    /// The last action was carried out.
    Done,
    /// It was not, and why.
    Failed(String),
    /// A measurement of a metric of the plan, and of what it is compared with.
    Measured {
        metric: usize,
        reading: Reading,
        stable: Option<Reading>,
    },
    /// Something that Kubernetes tells, past its limit.
    Signal {
        what: String,
        why: String,
    },
    Approved,
    Rejected(String),
    Cancel,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    SetWeight(u32),
    Scale(u32),
    Promote,
    AskApproval,
    RestoreWeights,
    RestorePods,
    /// Measure this metric now.
    Measure(usize),
    Finish(Outcome),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Promoted,
    RolledBack(Breach),
    /// It is neither here nor there: what could not be restored, and why.
    Stranded {
        breach: Breach,
        part: &'static str,
        why: String,
    },
    /// Cancelled, and left as it was.
    Stayed,
}

#[derive(Debug, Clone)]
enum Phase {
    /// To begin the step.
    Next,
    /// An action of the step is being carried out.
    Acting,
    Pausing(Duration),
    Asking,
    Analysing,
    Back {
        breach: Breach,
        pods: bool,
        tried: u32,
        next: Option<Duration>,
    },
    Ended,
}

#[derive(Debug, Clone)]
pub struct Canary {
    plan: Plan,
    step: usize,
    phase: Phase,
    /// In the plan's order; none where it is not measured now.
    tallies: Vec<Option<Tally>>,
    /// Of analyses that are over.
    past: Vec<(usize, Tally)>,
    /// Whether the metrics in the background are measured.
    measured: bool,
}

impl Canary {
    pub fn new(plan: Plan) -> Canary {
        let tallies = plan.metrics.iter().map(|_| None).collect();
        Canary { plan, step: 0, phase: Phase::Next, tallies, past: Vec::new(), measured: false }
    }

    /// What was measured of a metric, for the report: one after the other, if it was analysed more than once.
    pub fn tallies(&self, metric: usize) -> Vec<&Tally> {
        let past = self.past.iter().filter(|(of, _)| *of == metric).map(|(_, tally)| tally);
        past.chain(self.tallies.get(metric).and_then(Option::as_ref)).collect()
    }

    /// The step that it is at, from 0.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Whether it goes back already.
    pub fn goes_back(&self) -> bool {
        matches!(self.phase, Phase::Back { .. })
    }

    /// Why it does not go on, if that is because a measurement said nothing.
    pub fn held(&self) -> Option<(&str, &str)> {
        self.tallies.iter().flatten().find_map(|tally| match tally.standing() {
            Standing::Held(why) => Some((tally.name(), why.as_str())),
            _ => None,
        })
    }

    /// When to come back with a tick, if nothing else happens.
    pub fn wake(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Ended => None,
            Phase::Back { next, .. } => *next,
            Phase::Next | Phase::Acting | Phase::Asking | Phase::Analysing => self.due().map(|(_, due)| due),
            // the end of the pause alone moves nothing then
            Phase::Pausing(_) if self.held().is_some() => self.due().map(|(_, due)| due),
            Phase::Pausing(until) => [Some(*until), self.due().map(|(_, due)| due)].into_iter().flatten().min(),
        }
    }

    fn due(&self) -> Option<(usize, Duration)> {
        let due = |(metric, tally): (usize, &Option<Tally>)| Some((metric, tally.as_ref()?.due()?));
        self.tallies.iter().enumerate().filter_map(due).min_by_key(|(_, due)| *due)
    }

    /// What is to be done next. None: wait.
    pub fn take(&mut self, now: Duration, input: Input) -> Option<Action> {
        if let Phase::Ended = self.phase {
            return None;
        }
        if let Phase::Back { .. } = self.phase {
            return self.go_back(now, &input);
        }
        match input {
            Input::Signal { what, why } => return self.turn_back(now, what, why),
            Input::Rejected(why) => return self.turn_back(now, "approval".to_owned(), why),
            Input::Cancel => {
                return match self.plan.on_cancel {
                    OnCancel::RollBack => self.turn_back(now, "cancelled".to_owned(), "somebody stopped it".to_owned()),
                    OnCancel::Stay => self.end(Outcome::Stayed),
                };
            }
            Input::Failed(why) => return self.turn_back(now, self.name_of_step().to_owned(), why),
            Input::Measured { metric, reading, stable } => {
                let name = self.plan.metrics.get(metric).map(|metric| metric.name.clone()).unwrap_or_default();
                if let Some(tally) = self.tallies.get_mut(metric).and_then(Option::as_mut)
                    && let Standing::Breached(why) = tally.take(now, &reading, stable.as_ref()).clone()
                {
                    return self.turn_back(now, name, why);
                }
            }
            Input::Done if matches!(self.phase, Phase::Acting) => {
                match self.plan.steps.get(self.step) {
                    Some(Step::Promote) => return self.end(Outcome::Promoted),
                    Some(step) if !self.measured && self.gives_traffic(*step) => {
                        self.measured = true;
                        self.start_tallies(now, false);
                    }
                    _ => {}
                }
                self.advance();
            }
            Input::Approved if matches!(self.phase, Phase::Asking) => self.advance(),
            Input::Done | Input::Approved | Input::Tick => {}
        }
        self.go_on(now)
    }

    /// Before that there is nothing to measure, and no data would speak against it.
    fn gives_traffic(&self, step: Step) -> bool {
        let by_weight = self.plan.steps.iter().any(|step| matches!(step, Step::SetWeight(weight) if *weight > 0));
        match step {
            Step::SetWeight(weight) => weight > 0,
            Step::Scale(pods) => pods > 0 && !by_weight,
            _ => false,
        }
    }

    fn advance(&mut self) {
        self.step += 1;
        self.phase = Phase::Next;
    }

    fn go_on(&mut self, now: Duration) -> Option<Action> {
        loop {
            // first what is due: a breach that is there to be seen comes before the next step
            if let Some((metric, due)) = self.due()
                && due <= now
            {
                return Some(Action::Measure(metric));
            }
            match self.phase {
                Phase::Pausing(until) if now >= until && self.held().is_none() => self.advance(),
                Phase::Analysing if self.analysed() => {
                    self.drop_tallies(true);
                    self.advance();
                }
                Phase::Next if self.held().is_none() => return self.begin(now).or_else(|| self.go_on(now)),
                _ => return None,
            }
        }
    }

    /// Begins the step. None where it is one that waits.
    fn begin(&mut self, now: Duration) -> Option<Action> {
        let Some(step) = self.plan.steps.get(self.step).copied() else {
            // a plan that does not end in `promote` has decided nothing
            return self.turn_back(now, "steps".to_owned(), "the steps came to their end, and none was `promote`".to_owned());
        };
        let (phase, action) = match step {
            Step::SetWeight(weight) => (Phase::Acting, Some(Action::SetWeight(weight))),
            Step::Scale(pods) => (Phase::Acting, Some(Action::Scale(pods))),
            Step::Promote => (Phase::Acting, Some(Action::Promote)),
            Step::Approval => (Phase::Asking, Some(Action::AskApproval)),
            Step::Pause(pause) => (Phase::Pausing(now + pause), None),
            Step::Analyse => {
                self.start_tallies(now, true);
                if self.analysed() && !self.has_analysis() {
                    return self.turn_back(now, "analyse".to_owned(), "there is no metric that could be analysed".to_owned());
                }
                (Phase::Analysing, None)
            }
        };
        self.phase = phase;
        action
    }

    fn start_tallies(&mut self, now: Duration, counted: bool) {
        for (tally, metric) in self.tallies.iter_mut().zip(&self.plan.metrics) {
            if metric.limits.count.is_some() == counted {
                *tally = Some(Tally::new(&metric.name, metric.conditions.clone(), metric.limits, now));
            }
        }
    }

    fn drop_tallies(&mut self, counted: bool) {
        for (number, (tally, metric)) in self.tallies.iter_mut().zip(&self.plan.metrics).enumerate() {
            if metric.limits.count.is_some() == counted {
                self.past.extend(tally.take().map(|tally| (number, tally)));
            }
        }
    }

    fn has_analysis(&self) -> bool {
        self.plan.metrics.iter().any(|metric| metric.limits.count.is_some())
    }

    fn analysed(&self) -> bool {
        let counted = self.tallies.iter().zip(&self.plan.metrics).filter(|(_, metric)| metric.limits.count.is_some());
        counted.into_iter().all(|(tally, _)| tally.as_ref().is_some_and(|tally| *tally.standing() == Standing::Passed))
            && self.held().is_none()
    }

    fn name_of_step(&self) -> &'static str {
        match self.plan.steps.get(self.step) {
            Some(Step::SetWeight(_)) => "set-weight",
            Some(Step::Scale(_)) => "scale",
            Some(Step::Pause(_)) => "pause",
            Some(Step::Approval) => "approval",
            Some(Step::Analyse) => "analyse",
            Some(Step::Promote) => "promote",
            None => "steps",
        }
    }

    fn turn_back(&mut self, now: Duration, what: String, why: String) -> Option<Action> {
        let breach = Breach { what, why, at: now, step: self.step };
        self.phase = Phase::Back { breach, pods: false, tried: 1, next: None };
        Some(Action::RestoreWeights)
    }

    fn go_back(&mut self, now: Duration, input: &Input) -> Option<Action> {
        let (tries, again) = (self.plan.tries.max(1), self.plan.again);
        let Phase::Back { breach, pods, tried, next } = &mut self.phase else { return None };
        let part = if *pods { Action::RestorePods } else { Action::RestoreWeights };
        match (input, *next) {
            (Input::Done, None) if *pods => {
                let breach = breach.clone();
                self.end(Outcome::RolledBack(breach))
            }
            (Input::Done, None) => {
                (*pods, *tried) = (true, 1);
                Some(Action::RestorePods)
            }
            (Input::Failed(why), None) if *tried >= tries => {
                let (breach, part, why) = (breach.clone(), if *pods { "pods" } else { "weights" }, why.clone());
                self.end(Outcome::Stranded { breach, part, why })
            }
            (Input::Failed(_), None) => {
                *next = Some(now + again);
                None
            }
            (_, Some(at)) if now >= at => {
                (*tried, *next) = (*tried + 1, None);
                Some(part)
            }
            _ => None,
        }
    }

    fn end(&mut self, outcome: Outcome) -> Option<Action> {
        self.phase = Phase::Ended;
        Some(Action::Finish(outcome))
    }
}

#[cfg(test)]
#[path = "steps_tests.rs"]
mod tests;
