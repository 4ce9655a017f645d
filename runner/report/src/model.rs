//! What is known of a run so far, as the terminal and the plain log need it.
//!
//! An event costs a hash look-up and little more; nothing here looks at all stages before the end. What was shown once (findings,
//! failing tests, the log's tail) is let go, so that memory follows what runs and not what ran.

use std::collections::HashMap;

use event::{
    Artifact, CacheResult, DenialRecord, Event, FailureKind, Finding, GitFacts, Kind, Outcome, PlannedStage, StageRef, TestCase,
    TestStatus, Verdict,
};

use crate::tail::Tail;

/// Findings, failing tests and denials of one stage that are kept to be shown; all are counted.
pub const SHOWN: usize = 50;

#[derive(Debug, Default)]
pub struct Run {
    pub pipeline: String,
    pub file: String,
    pub run: String,
    pub jobs: usize,
    pub git: Option<GitFacts>,
    pub started: u64,
    /// How many stages earlier sessions settled, if this is not the first one.
    pub settled_before: Option<usize>,
    pub stages: Vec<Stage>,
    index: HashMap<StageRef, usize>,
    /// In the order in which they started; those that wait for a retry, an approval or a turn too.
    pub active: Vec<usize>,
    /// Plugins that are being compiled: name, digest, since.
    pub compiling: Vec<(String, String, u64)>,
    pub counts: Counts,
    pub caches: CacheCounts,
    pub stopping: Option<String>,
    pub finished: Option<(Verdict, u64)>,
    /// Columns of the longest stage id.
    pub longest_id: usize,
}

/// Caches of all attempts, by what they had.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct CacheCounts {
    pub hit: usize,
    pub restored: usize,
    pub missed: usize,
    pub saved: usize,
}

/// Stages by how they ended.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub passed: usize,
    pub failed: usize,
    pub soft_failed: usize,
    pub skipped: usize,
    pub not_selected: usize,
    pub blocked: usize,
    pub cancelled: usize,
}

impl Counts {
    pub fn ended(&self) -> usize {
        self.passed + self.failed + self.soft_failed + self.skipped + self.not_selected + self.blocked + self.cancelled
    }
}

#[derive(Debug)]
pub struct Stage {
    pub id: StageRef,
    pub state: State,
    /// The first attempt's start.
    pub began: u64,
    pub attempt: u32,
    pub nanos: u64,
    pub live: Option<Box<Live>>,
    pub results: Option<Box<Results>>,
}

#[derive(Debug, Default)]
pub enum State {
    #[default]
    Planned,
    /// This attempt's start.
    Running(u64),
    /// When the next attempt begins.
    Waiting(u64),
    /// Until its environment's approvals are given.
    Asking(Asking),
    /// Until another run makes way in their group.
    Queued(Queued),
    /// In another session, until a person has decided about an effect.
    Suspended,
    Ended(Outcome),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asking {
    pub environment: String,
    pub count: u32,
    pub given: u32,
    pub since: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    pub group: String,
    /// The run that has it, with its stage.
    pub holder: Option<(String, Option<String>)>,
    pub since: u64,
}

/// Only while the stage runs.
#[derive(Debug, Default)]
pub struct Live {
    pub progress: Option<Progress>,
    /// Commands that run: number and line.
    pub commands: Vec<(u32, String)>,
    pub tail: Tail,
}

#[derive(Debug)]
pub struct Progress {
    pub done: u64,
    pub total: u64,
    pub message: String,
}

/// What the stage reported; for a stage that was tried again, what its last attempt reported.
#[derive(Debug, Default)]
pub struct Results {
    pub tests: TestCounts,
    /// Counted findings, by severity.
    pub findings: [usize; 5],
    /// Findings that a baseline or an ignore rule holds.
    pub held: usize,
    pub denials: usize,
    pub failing_tests: Vec<TestCase>,
    pub shown_findings: Vec<Finding>,
    pub shown_denials: Vec<DenialRecord>,
    pub measures: Vec<(String, f64, String)>,
    pub artifacts: Vec<Artifact>,
    /// The path of the whole log.
    pub log: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct TestCounts {
    pub passed: usize,
    pub failed: usize,
    pub errored: usize,
    pub skipped: usize,
    pub flaky: usize,
}

impl TestCounts {
    pub fn total(&self) -> usize {
        self.passed + self.failed + self.errored + self.skipped + self.flaky
    }

    pub fn add(&mut self, other: TestCounts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.errored += other.errored;
        self.skipped += other.skipped;
        self.flaky += other.flaky;
    }
}

impl Stage {
    fn new(id: &StageRef) -> Stage {
        Stage { id: id.clone(), state: State::Planned, began: 0, attempt: 0, nanos: 0, live: None, results: None }
    }

    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.state {
            State::Ended(outcome) => Some(outcome),
            _ => None,
        }
    }

    fn live(&mut self) -> &mut Live {
        self.live.get_or_insert_default()
    }

    fn results(&mut self) -> &mut Results {
        self.results.get_or_insert_default()
    }

    /// Lets go of what is shown only once. What the summary counts stays.
    pub fn forget_shown(&mut self) {
        self.live = None;
        if let Some(results) = &mut self.results {
            results.failing_tests = Vec::new();
            results.shown_findings = Vec::new();
            results.shown_denials = Vec::new();
            results.log = String::new();
        }
    }
}

impl Run {
    pub fn position(&self, stage: &StageRef) -> Option<usize> {
        self.index.get(stage).copied()
    }

    pub fn stage(&self, stage: &StageRef) -> Option<&Stage> {
        self.position(stage).map(|index| &self.stages[index])
    }

    pub fn stage_mut(&mut self, stage: &StageRef) -> &mut Stage {
        let index = self.add(stage);
        &mut self.stages[index]
    }

    fn add(&mut self, id: &StageRef) -> usize {
        if let Some(index) = self.index.get(id) {
            return *index;
        }
        self.longest_id = self.longest_id.max(crate::style::width(id.as_str()));
        self.index.insert(id.clone(), self.stages.len());
        self.stages.push(Stage::new(id));
        self.stages.len() - 1
    }

    /// Among those that the live view shows.
    fn activate(&mut self, id: &StageRef) -> usize {
        let index = self.add(id);
        if !self.active.contains(&index) {
            self.active.push(index);
        }
        index
    }

    pub fn apply(&mut self, event: &Event) {
        let at = event.at;
        match &event.kind {
            Kind::RunStarted { run, pipeline, file, jobs, stages, .. } | Kind::RunResumed { run, pipeline, file, jobs, stages, .. } => {
                if let Kind::RunResumed { settled, .. } = &event.kind {
                    self.settled_before = Some(*settled);
                }
                if let Kind::RunStarted { git, .. } = &event.kind {
                    self.git.clone_from(git);
                }
                self.started = at;
                (self.run, self.pipeline, self.file, self.jobs) = (run.clone(), pipeline.clone(), file.clone(), *jobs);
                self.index.reserve(stages.len());
                self.stages.reserve(stages.len());
                for PlannedStage { id, .. } in stages {
                    self.add(id);
                }
            }
            Kind::Compiling { plugin, digest } => self.compiling.push((plugin.clone(), digest.clone(), at)),
            Kind::Compiled { digest, .. } => self.compiling.retain(|(_, compiled, _)| compiled != digest),
            Kind::StageStarted { stage, attempt, .. } => {
                let index = self.activate(stage);
                let stage = &mut self.stages[index];
                stage.attempt = *attempt;
                // A later attempt may be the first that this session sees.
                if *attempt <= 1 || stage.began == 0 {
                    stage.began = at;
                }
                stage.state = State::Running(at);
                stage.results = None;
                stage.live = Some(Box::default());
            }
            Kind::Output { stage, stream, bytes } => self.stage_mut(stage).live().tail.push(*stream, bytes),
            Kind::Progress { stage, done, total, message } => {
                self.stage_mut(stage).live().progress = Some(Progress { done: *done, total: *total, message: message.clone() });
            }
            Kind::Findings { stage, findings } => {
                let results = self.stage_mut(stage).results();
                for finding in findings {
                    if !finding.counted {
                        results.held += 1;
                        continue;
                    }
                    results.findings[finding.severity as usize] += 1;
                    if results.shown_findings.len() < SHOWN {
                        results.shown_findings.push(finding.clone());
                    }
                }
            }
            Kind::Tests { stage, tests } => {
                let results = self.stage_mut(stage).results();
                for test in tests {
                    match test.status {
                        TestStatus::Passed => results.tests.passed += 1,
                        TestStatus::Failed => results.tests.failed += 1,
                        TestStatus::Errored => results.tests.errored += 1,
                        TestStatus::Skipped => results.tests.skipped += 1,
                        TestStatus::Flaky => results.tests.flaky += 1,
                    }
                    let failing = matches!(test.status, TestStatus::Failed | TestStatus::Errored);
                    if failing && results.failing_tests.len() < SHOWN {
                        results.failing_tests.push(test.clone());
                    }
                }
            }
            Kind::Measured { stage, name, value, unit } => {
                let measures = &mut self.stage_mut(stage).results().measures;
                measures.retain(|(known, _, _)| known != name);
                measures.push((name.clone(), *value, unit.clone()));
            }
            Kind::CommandStarted { stage, command, line, .. } => {
                self.stage_mut(stage).live().commands.push((*command, line.clone()));
            }
            Kind::CommandEnded { stage, command, .. } => {
                self.stage_mut(stage).live().commands.retain(|(number, _)| number != command);
            }
            Kind::Denied { stage, denial } => {
                let results = self.stage_mut(stage).results();
                results.denials += 1;
                if results.shown_denials.len() < SHOWN && !results.shown_denials.contains(denial) {
                    results.shown_denials.push(denial.clone());
                }
            }
            // it runs on while it waits for an answer
            Kind::ApprovalWaiting { question: Some(_), .. } => {}
            Kind::ApprovalWaiting { stage, environment, count, given, .. } => {
                let index = self.activate(stage);
                let stage = &mut self.stages[index];
                let since = if let State::Asking(asking) = &stage.state { asking.since } else { at };
                stage.state = State::Asking(Asking { environment: environment.clone(), count: *count, given: *given, since });
            }
            Kind::GroupWaiting { stage: Some(stage), group, holder, holder_stage } => {
                let index = self.activate(stage);
                let stage = &mut self.stages[index];
                let since = if let State::Queued(queued) = &stage.state { queued.since } else { at };
                let holder = holder.clone().map(|run| (run, holder_stage.clone()));
                stage.state = State::Queued(Queued { group: group.clone(), holder, since });
            }
            Kind::GroupWaiting { stage: None, .. } => {}
            Kind::ApprovalGiven { stage, approved, .. } => {
                if let State::Asking(asking) = &mut self.stage_mut(stage).state {
                    asking.given = asking.count.min(asking.given + u32::from(*approved));
                }
            }
            Kind::StageSuspended { stage, attempt, .. } => {
                let index = self.add(stage);
                self.active.retain(|active| *active != index);
                let stage = &mut self.stages[index];
                stage.attempt = *attempt;
                stage.nanos = at.saturating_sub(if stage.began > 0 { stage.began } else { at });
                stage.state = State::Suspended;
                stage.live = None;
            }
            Kind::StageRetrying { stage, delay, .. } => {
                let stage = self.stage_mut(stage);
                stage.state = State::Waiting(at.saturating_add(*delay));
                stage.live = None;
            }
            Kind::StageFinished { stage, attempt, outcome, nanos, artifacts, log, .. } => {
                let index = self.add(stage);
                self.active.retain(|active| *active != index);
                self.count(outcome);
                let stage = &mut self.stages[index];
                stage.attempt = *attempt;
                stage.nanos = *nanos;
                stage.state = State::Ended(outcome.clone());
                if !artifacts.is_empty() || !log.is_empty() {
                    let results = stage.results();
                    results.artifacts = artifacts.clone();
                    results.log = log.clone();
                }
                if let Outcome::Failed { kind: FailureKind::Denied, denial: Some(denial), .. } = outcome {
                    let results = stage.results();
                    // the stage may tell in its own words what the host has told already
                    if !results.shown_denials.iter().any(|told| told.effect == denial.effect && told.subject == denial.subject) {
                        results.denials += 1;
                        results.shown_denials.push(denial.clone());
                    }
                }
            }
            Kind::Cache { result, .. } => {
                let caches = &mut self.caches;
                *match result {
                    CacheResult::Hit => &mut caches.hit,
                    CacheResult::Restored => &mut caches.restored,
                    CacheResult::Missed => &mut caches.missed,
                    CacheResult::Saved => &mut caches.saved,
                } += 1;
            }
            Kind::Service { .. } => {}
            // those that were refused are told as denials
            Kind::Connection { .. } => {}
            Kind::Stopping { reason } => self.stopping = Some(reason.clone()),
            Kind::Warning { .. } => {}
            Kind::StageReset { .. } => {}
            Kind::RunFinished { verdict, nanos } => self.finished = Some((*verdict, *nanos)),
        }
    }

    fn count(&mut self, outcome: &Outcome) {
        let counts = &mut self.counts;
        *match outcome {
            Outcome::Passed { .. } => &mut counts.passed,
            Outcome::Failed { soft: true, .. } => &mut counts.soft_failed,
            Outcome::Failed { soft: false, .. } => &mut counts.failed,
            Outcome::Skipped { why: event::Blocked::NotSelected } => &mut counts.not_selected,
            Outcome::Skipped { .. } => &mut counts.skipped,
            Outcome::Blocked { .. } => &mut counts.blocked,
            Outcome::Cancelled { .. } => &mut counts.cancelled,
        } += 1;
    }
}
