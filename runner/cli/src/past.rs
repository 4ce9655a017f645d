//! What earlier sessions of a run left: read from its journal, for the schedule and for the stages that refer to others.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use event::{Event, EventSink, Kind, Outcome, StageRef, Verdict};
use journal::{Approval, AttemptRow, Begin};
use pipeline::plan::{Plan, StageIndex};
use schedule::{Graph, Options, PastError, Schedule, Was};

use crate::approvals::{self, Earlier};
use crate::attempt::Left;
use crate::now;
use crate::results::{Results, Settled};
use crate::so_far::Tally;

/// Where a run goes on.
pub struct Past {
    pub schedule: Schedule,
    pub results: Results,
    /// What attempts left that are over and were not judged.
    pub left: Vec<Option<Left>>,
    /// Of stages that wait for people, or waited.
    pub earlier: HashMap<StageRef, Earlier>,
}

/// A stage as the record has it.
#[derive(Default)]
struct Known {
    was: Was,
    settled: Option<Settled>,
    /// Its last attempt, and when its first one since the last reset began.
    attempt: u32,
    spent: u32,
    began: Option<u64>,
    took: Duration,
    /// When it was last reset.
    reset: u64,
    /// How much of what people said of it since then has been told.
    told: usize,
    log: String,
    /// Its own events, for the reports of a resumed run.
    events: Vec<Event>,
}

/// The record of a run, stage by stage.
pub struct Recorded {
    stages: Vec<Known>,
    /// Attempts that were begun and not ended.
    pub begun: HashMap<(StageRef, u32), Begin>,
    already: Duration,
    /// What stages reported.
    pub tally: Tally,
    /// How the run ended before it was taken up again, and when.
    pub ended: Option<(Verdict, u64)>,
}

impl Past {
    /// A new run's.
    pub fn none(plan: &Plan, options: Options) -> Self {
        let stages = plan.stages.len();
        let left = (0..stages).map(|_| None).collect();
        Past { schedule: Schedule::new(Graph::of(plan), options), results: Results::new(stages), left, earlier: HashMap::new() }
    }

    /// How many stages are settled.
    pub fn settled(&self) -> usize {
        self.left.len() - self.schedule.unsettled()
    }
}

impl Recorded {
    /// Reads what became of each stage. Events come in the order in which they happened: the last word counts.
    pub fn read(plan: &Plan, events: Vec<Event>, attempts: Vec<AttemptRow>) -> Recorded {
        let index: HashMap<&str, StageIndex> = plan.stages.iter().enumerate().map(|(i, stage)| (stage.id.as_str(), i)).collect();
        let mut stages: Vec<Known> = plan.stages.iter().map(|_| Known::default()).collect();
        let (mut already, mut last) = (0u64, 0u64);
        let mut busy: HashSet<StageRef> = HashSet::new();
        let (tally, mut ended) = (Tally::default(), None);
        for event in events {
            tally.emit(&event);
            let at = event.at;
            // time in which nothing ran was spent waiting for people, or nobody worked on the run
            let resumed = matches!(event.kind, Kind::RunResumed { .. } | Kind::StageReset { .. });
            if !busy.is_empty() && !resumed {
                already += at.saturating_sub(last);
            }
            last = at.max(last);
            match &event.kind {
                Kind::RunStarted { .. } | Kind::RunResumed { .. } | Kind::StageReset { .. } => busy.clear(),
                Kind::RunFinished { verdict, .. } => ended = Some((*verdict, at)),
                Kind::StageStarted { stage, .. } => drop(busy.insert(stage.clone())),
                Kind::StageFinished { stage, .. } | Kind::StageRetrying { stage, .. } | Kind::StageSuspended { stage, .. } => {
                    busy.remove(stage);
                }
                _ => {}
            }
            if let Some(known) = stage_of(&event.kind).and_then(|stage| index.get(stage.as_str())).map(|i| &mut stages[*i]) {
                known.take(event);
            }
        }
        let mut begun = HashMap::new();
        for AttemptRow { begin, end, .. } in attempts {
            let Some(known) = index.get(begin.stage.as_str()).map(|i| &mut stages[*i]) else { continue };
            match end {
                None => drop(begun.insert((begin.stage.clone(), begin.attempt), begin)),
                Some(end) if known.was == (Was::Cut { attempt: begin.attempt }) => {
                    known.was = Was::Ended { attempt: begin.attempt, outcome: end.outcome.clone() };
                    let (attempt, took) = (begin.attempt, known.took);
                    known.settled = Some(Settled { outcome: end.outcome, outputs: end.outputs, artifacts: end.artifacts, attempt, took });
                }
                Some(_) => {}
            }
        }
        Recorded { stages, begun, already: Duration::from_nanos(already), tally, ended }
    }

    /// Of each stage that is settled, how it ended.
    pub fn outcomes(&self) -> Vec<Option<Outcome>> {
        let outcome = |known: &Known| match &known.was {
            Was::Settled { outcome } => Some(outcome.clone()),
            _ => None,
        };
        self.stages.iter().map(outcome).collect()
    }

    /// Has a stage run again as if it had never started.
    pub fn reset(&mut self, stage: StageIndex, at: u64) {
        self.stages[stage].reset(at);
    }

    /// The run's own time begins anew.
    pub fn forget_time(&mut self) {
        self.already = Duration::ZERO;
    }

    /// What reporters are told of the stages that are settled.
    pub fn told(&mut self) -> Vec<Event> {
        let settled = self.stages.iter_mut().filter(|known| matches!(known.was, Was::Settled { .. }));
        let mut events: Vec<Event> = settled.flat_map(|known| std::mem::take(&mut known.events)).collect();
        events.sort_by_key(|event| event.at);
        events
    }

    /// Where the run goes on. `asked` and `said`: since when stages wait for approval, and what people said of them.
    pub fn past(self, plan: &Plan, options: Options, asked: &[(StageRef, u64)], said: &[Approval]) -> Result<Past, PastError> {
        let mut earlier = HashMap::new();
        let mut results = Results::new(plan.stages.len());
        let mut left: Vec<Option<Left>> = Vec::with_capacity(self.stages.len());
        let mut past = Vec::with_capacity(self.stages.len());
        for (stage, known) in self.stages.into_iter().enumerate() {
            let Known { was, settled, spent, took, log, reset, told, .. } = known;
            let planned = &plan.stages[stage];
            let asked = asked.iter().find(|(of, _)| *of == planned.id).map(|(_, at)| (*at).max(reset));
            let approval = planned
                .approval
                .as_ref()
                .zip(asked)
                .and_then(|(wanted, asked)| approvals::judge(wanted, asked, &approvals::about(said, &planned.id, asked), now()).ok());
            if planned.approval.is_some() {
                earlier.insert(planned.id.clone(), Earlier { reset, told });
            }
            left.push(None);
            match (&was, settled) {
                (Was::Settled { .. }, Some(settled)) => results.settle(stage, settled),
                (Was::Ended { .. }, Some(Settled { outcome, outputs, artifacts, .. })) => {
                    left[stage] = Some(Left { outcome, outputs, artifacts, log, suspended: None });
                }
                _ => {}
            }
            past.push(schedule::Past { was, approval, spent, took });
        }
        let schedule = Schedule::resumed(Graph::of(plan), options, past, self.already)?;
        Ok(Past { schedule, results, left, earlier })
    }
}

impl Known {
    fn take(&mut self, event: Event) {
        match &event.kind {
            Kind::StageReset { .. } => {
                self.reset(event.at);
                return;
            }
            Kind::StageStarted { attempt, .. } => {
                self.was = Was::Cut { attempt: *attempt };
                self.attempt = *attempt;
                self.began.get_or_insert(event.at);
            }
            Kind::StageRetrying { attempt, outcome, .. } => {
                self.was = Was::Again { attempt: *attempt, outcome: outcome.clone() };
            }
            Kind::ApprovalGiven { .. } => self.told += 1,
            Kind::StageFinished { outcome, outputs, artifacts, log, attempt, nanos, .. } => {
                self.was = Was::Settled { outcome: outcome.clone() };
                self.log.clone_from(log);
                let (outcome, outputs, artifacts) = (outcome.clone(), outputs.clone(), artifacts.clone());
                self.settled = Some(Settled { outcome, outputs, artifacts, attempt: *attempt, took: Duration::from_nanos(*nanos) });
            }
            _ => {}
        }
        self.took = Duration::from_nanos(self.began.map_or(0, |began| event.at.saturating_sub(began)));
        self.events.push(event);
    }

    fn reset(&mut self, at: u64) {
        *self = Known { attempt: self.attempt, spent: self.attempt, reset: at, ..Known::default() };
    }
}

/// The stage that an event speaks of, if it says how the stage stands.
fn stage_of(kind: &Kind) -> Option<&StageRef> {
    match kind {
        Kind::StageStarted { stage, .. }
        | Kind::StageReset { stage }
        | Kind::StageRetrying { stage, .. }
        | Kind::StageFinished { stage, .. }
        | Kind::Findings { stage, .. }
        | Kind::Tests { stage, .. }
        | Kind::Measured { stage, .. }
        | Kind::ApprovalGiven { stage, .. }
        | Kind::Denied { stage, .. } => Some(stage),
        _ => None,
    }
}
