//! What a stage that asks is told of the run so far: how the stages that it needs ended, and how the run before this one did.
//!
//! Made only for components that import `runner:stage/run`, when an attempt starts; an attempt that goes on after a crash is told what its
//! record has. Deliberately absent: stages that are not needed, and runs of other checkouts.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use capability::RunSoFar;
use capability::so_far::{Counts, FinishedRun, OutcomeWord, StageEnd};
use event::{Blocked, Event, EventSink, Kind, Outcome, StageRef, TestStatus, Verdict};
use journal::{Header, Reader};
use pipeline::facts::Facts;
use pipeline::plan::{Plan, Stage, StageIndex};
use workspace::State;

use crate::load;
use crate::results::Results;

/// The interface, of whichever version.
const INTERFACE: &str = "runner:stage/run@";
/// So much of a stage's own text is passed on.
const LONGEST_MESSAGE: usize = 4096;
/// So many earlier runs are looked at: each is a file to open.
const LOOK_BACK: usize = 1_000;

/// Whether a stage's component can ask.
pub fn asks(stage: &Stage) -> bool {
    stage.plugin.imports.iter().any(|import| import.starts_with(INTERFACE))
}

/// How the stages that a stage needs ended, in the order of the plan.
pub fn needed(plan: &Plan, stage: StageIndex, results: &Results, tally: &Tally) -> Vec<StageEnd> {
    let planned = &plan.stages[stage];
    let mut needed: Vec<StageIndex> = planned.needs.iter().chain(&planned.needs_any).copied().collect();
    needed.sort_unstable();
    needed.dedup();
    let mut fails = Fails { plan, results, by_id: HashMap::new() };
    let end = |index: StageIndex| {
        let settled = results.settled(index)?;
        let id = &plan.stages[index].id;
        let (outcome, message) = told(&settled.outcome);
        Some(StageEnd {
            id: id.to_string(),
            outcome,
            fails_run: fails.run(&settled.outcome),
            message: shortened(message),
            nanos: u64::try_from(settled.took.as_nanos()).unwrap_or(u64::MAX),
            attempts: settled.attempt,
            counts: tally.of(id),
        })
    };
    needed.into_iter().filter_map(end).collect()
}

fn told(outcome: &Outcome) -> (OutcomeWord, String) {
    match outcome {
        Outcome::Passed { summary } => (OutcomeWord::Passed, summary.clone()),
        Outcome::Failed { soft: false, message, .. } => (OutcomeWord::Failed, message.clone()),
        Outcome::Failed { soft: true, message, .. } => (OutcomeWord::SoftFailed, message.clone()),
        Outcome::Skipped { why } => (OutcomeWord::Skipped, report::reason(why)),
        Outcome::Blocked { why } => (OutcomeWord::Blocked, report::reason(why)),
        Outcome::Cancelled { message } => (OutcomeWord::Cancelled, message.clone()),
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > LONGEST_MESSAGE {
        text.truncate(text.floor_char_boundary(LONGEST_MESSAGE - '…'.len_utf8()));
        text.push('…');
    }
    text
}

/// Which outcomes keep the run from passing.
struct Fails<'a> {
    plan: &'a Plan,
    results: &'a Results,
    /// Filled when it is first needed.
    by_id: HashMap<&'a str, StageIndex>,
}

impl<'a> Fails<'a> {
    /// A blocked stage fails nothing by itself: what blocked it may have.
    fn run(&mut self, outcome: &'a Outcome) -> bool {
        let mut at = outcome;
        while let Outcome::Blocked { why: Blocked::Need(need) } = at {
            if self.by_id.is_empty() {
                self.by_id = self.plan.stages.iter().enumerate().map(|(index, stage)| (stage.id.as_str(), index)).collect();
            }
            let before = self.by_id.get(need.as_str()).and_then(|index| self.results.settled(*index));
            let Some(before) = before else { return false };
            at = &before.outcome;
        }
        at.fails_run()
    }
}

/// What is the same for every stage of a run that asks.
pub struct Origin {
    state: State,
    header: Header,
    facts: Facts,
    /// Looked for once, when the first stage asks.
    previous: OnceLock<Option<FinishedRun>>,
}

impl Origin {
    /// `ended`: how this very run ended before it was taken up again, and when.
    pub fn new(state: State, header: Header, facts: Facts, ended: Option<(Verdict, u64)>) -> Self {
        let this = ended.and_then(|(verdict, at)| finished(&header, verdict, at));
        let previous = this.map_or_else(OnceLock::new, |this| OnceLock::from(Some(this)));
        Origin { state, header, facts, previous }
    }

    /// All that a stage is told. Opens files.
    pub fn tell(&self, stages: Vec<StageEnd>) -> RunSoFar {
        let (header, facts) = (&self.header, &self.facts);
        RunSoFar {
            started: header.started,
            event: Some(facts.event.to_string()),
            trust: Some(facts.trust.to_string()),
            branch: facts.git_branch.clone(),
            tag: facts.git_tag.clone(),
            base: facts.git_base.clone(),
            pull_request: facts.pull_request.clone(),
            sha: facts.git_sha.clone(),
            dirty: facts.dirty,
            stages,
            previous: self.previous.get_or_init(|| previous(&self.state, header, facts)).clone(),
        }
    }
}

/// The last run before this one that was the same and came to its end. A run of some stages alone says nothing of a run of all, and a fork
/// nothing of a branch that it has called by the same name.
fn previous(state: &State, this: &Header, known: &Facts) -> Option<FinishedRun> {
    let of = |facts: &Facts| (facts.git_branch.clone(), facts.trust, facts.pull_request.clone());
    let known = of(known);
    let same = |header: &Header| {
        header.pipeline == this.pipeline
            && (&header.only, &header.skip) == (&this.only, &this.skip)
            && load::recorded_facts(header).is_ok_and(|facts| of(&facts) == known)
    };
    let runs = state.runs().ok()?;
    runs.iter().rev().filter(|run| **run < this.run).take(LOOK_BACK).find_map(|run| {
        // a run that can't be read is as good as none
        let reader = Reader::open(&state.run_folder(run)).ok().filter(|reader| same(reader.header()))?;
        if state.is_running(run) {
            return None;
        }
        let (verdict, ended) = reader.overview().ok()?.finished?;
        finished(reader.header(), verdict, ended)
    })
}

/// A run, if it came to an end that says something.
fn finished(header: &Header, verdict: Verdict, ended: u64) -> Option<FinishedRun> {
    let passed = match verdict {
        Verdict::Passed => true,
        Verdict::Failed | Verdict::Denied | Verdict::TimedOut => false,
        Verdict::Interrupted | Verdict::Terminated | Verdict::Waiting => return None,
    };
    Some(FinishedRun { run: header.run.clone(), passed, sha: header.git_sha.clone(), ended })
}

/// Counts what stages report as it happens.
#[derive(Default)]
pub struct Tally {
    counts: Mutex<HashMap<StageRef, Counts>>,
}

impl Tally {
    /// What the stage's last attempt reported.
    fn of(&self, stage: &StageRef) -> Counts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).get(stage).copied().unwrap_or_default()
    }
}

impl EventSink for Tally {
    fn emit(&self, event: &Event) {
        let counts = || self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match &event.kind {
            Kind::StageStarted { stage, .. } | Kind::StageReset { stage } => drop(counts().remove(stage)),
            Kind::Findings { stage, findings } => {
                let counted = findings.iter().filter(|finding| finding.counted).count();
                counts().entry(stage.clone()).or_default().findings += u32::try_from(counted).unwrap_or(u32::MAX);
            }
            Kind::Tests { stage, tests } => {
                let mut counts = counts();
                let counts = counts.entry(stage.clone()).or_default();
                for test in tests {
                    *match test.status {
                        TestStatus::Passed => &mut counts.tests_passed,
                        TestStatus::Failed => &mut counts.tests_failed,
                        TestStatus::Errored => &mut counts.tests_errored,
                        TestStatus::Skipped => &mut counts.tests_skipped,
                        TestStatus::Flaky => &mut counts.tests_flaky,
                    } += 1;
                }
            }
            _ => {}
        }
    }
}
