//! What the stages of a run found and were denied, for the reports that list it: of a stage that was tried again, what its last attempt
//! found.

use std::collections::{HashMap, HashSet};

use event::{DenialRecord, Event, FileLine, Finding, Kind, Outcome, Place, PlannedStage, StageRef};

#[derive(Default)]
pub struct Found {
    pub run: String,
    pub pipeline: String,
    /// As it was named on the command line.
    pub file: String,
    pub runner: String,
    /// In the order of the plan.
    pub stages: Vec<Stage>,
    index: HashMap<StageRef, usize>,
}

pub struct Stage {
    pub id: StageRef,
    pub place: Option<Place>,
    pub attempt: u32,
    pub findings: Vec<Finding>,
    pub denials: Vec<DenialRecord>,
    /// Effect, subject and code of the denials: a stage that asks a thousand times was denied once.
    denied: HashSet<(String, String, String)>,
}

impl Stage {
    fn new(id: &StageRef, place: Option<Place>) -> Self {
        Stage { id: id.clone(), place, attempt: 0, findings: Vec::new(), denials: Vec::new(), denied: HashSet::new() }
    }

    /// What would have to allow a denied effect.
    pub fn line_of(&self, denial: &DenialRecord) -> Option<&FileLine> {
        self.place.as_ref().map(|place| place.of(&denial.effect))
    }

    fn deny(&mut self, denial: &DenialRecord) {
        if self.denied.insert((denial.effect.clone(), denial.subject.clone(), denial.code.clone())) {
            self.denials.push(denial.clone());
        }
    }
}

impl Found {
    pub fn apply(&mut self, event: &Event) {
        match &event.kind {
            Kind::RunStarted { run, pipeline, file, runner, stages, .. } | Kind::RunResumed { run, pipeline, file, runner, stages, .. } => {
                (self.run, self.pipeline, self.file, self.runner) = (run.clone(), pipeline.clone(), file.clone(), runner.clone());
                for PlannedStage { id, place, .. } in stages {
                    self.stage(id).place.clone_from(place);
                }
            }
            Kind::StageStarted { stage, attempt, .. } => self.begin(stage, *attempt),
            Kind::StageReset { stage } => self.begin(stage, 0),
            Kind::Findings { stage, findings } => self.stage(stage).findings.extend_from_slice(findings),
            Kind::Denied { stage, denial } => self.stage(stage).deny(denial),
            Kind::StageFinished { stage, outcome: Outcome::Failed { denial: Some(denial), .. }, .. } => {
                let stage = self.stage(stage);
                // the stage may tell in its own words what the host has told already
                if !stage.denials.iter().any(|told| told.effect == denial.effect && told.subject == denial.subject) {
                    stage.deny(denial);
                }
            }
            _ => {}
        }
    }

    fn begin(&mut self, id: &StageRef, attempt: u32) {
        let stage = self.stage(id);
        *stage = Stage { attempt, ..Stage::new(id, stage.place.take()) };
    }

    fn stage(&mut self, id: &StageRef) -> &mut Stage {
        let index = *self.index.entry(id.clone()).or_insert_with(|| {
            self.stages.push(Stage::new(id, None));
            self.stages.len() - 1
        });
        &mut self.stages[index]
    }
}

/// `clippy/unused_variables`: what a finding is an instance of, among those of all tools.
pub fn rule(finding: &Finding) -> String {
    let or = |text: &str, other: &str| crate::clean(if text.is_empty() { other } else { text });
    format!("{}/{}", or(&finding.tool, "tool"), or(&finding.rule, "finding"))
}

/// Names for findings that stay when lines move: made of what they say and of where, but not of the line. The second of two that say the same is
/// the second, wherever it stands.
#[derive(Default)]
pub struct Fingerprints(HashMap<blake3::Hash, u64>);

impl Fingerprints {
    pub fn of(&mut self, parts: &[&str]) -> String {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        let same = self.0.entry(hasher.finalize()).or_default();
        if *same > 0 {
            hasher.update(&same.to_le_bytes());
        }
        *same += 1;
        hasher.finalize().to_hex()[..32].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script;

    #[test]
    fn the_last_attempt_counts_and_a_denial_counts_once() {
        let mut found = Found::default();
        let denied = |at| script::at(at, Kind::Denied { stage: script::stage("a"), denial: script::denial() });
        let mut own = script::denial();
        own.reason = "in the stage's own words".to_owned();
        let outcome = Outcome::Failed { kind: event::FailureKind::Denied, message: String::new(), soft: false, denial: Some(own) };
        for event in [
            script::started(&["a"]),
            script::begin(0.0, "a", 1, "p"),
            denied(0.1),
            script::begin(1.0, "a", 2, "p"),
            denied(1.1),
            denied(1.2),
            script::ended(2.0, "a", 2, 1.0, outcome),
        ] {
            found.apply(&event);
        }
        assert_eq!((found.stages.len(), found.stages[0].attempt), (1, 2));
        assert_eq!(found.stages[0].denials, [script::denial()]);
        assert_eq!(found.stages[0].line_of(&script::denial()).map(|at| at.line), Some(13));
    }

    #[test]
    fn fingerprints_tell_equals_apart_and_parts_do_not_run_together() {
        let mut prints = Fingerprints::default();
        let (first, second) = (prints.of(&["a", "bc"]), prints.of(&["a", "bc"]));
        assert_ne!(first, second);
        assert_ne!(first, prints.of(&["ab", "c"]));
        assert_eq!([first, second], {
            let mut again = Fingerprints::default();
            [again.of(&["a", "bc"]), again.of(&["a", "bc"])]
        });
    }
}
