//! How stages ended, for the stages that refer to them.

use std::time::Duration;

use event::{Artifact, Outcome};
use pipeline::bind::Ended;
use pipeline::plan::StageIndex;

/// What is known of a stage once an attempt of it is over.
#[derive(Debug, Clone)]
pub struct Settled {
    pub outcome: Outcome,
    pub outputs: Vec<(String, String)>,
    pub artifacts: Vec<Artifact>,
    /// Its last attempt; 0 if it never started.
    pub attempt: u32,
    /// From its first attempt's start.
    pub took: Duration,
}

/// Of every stage, what its last attempt left, and how it ended once that is settled.
pub struct Results {
    stages: Vec<Option<Settled>>,
}

impl Results {
    pub fn new(stages: usize) -> Self {
        Results { stages: vec![None; stages] }
    }

    /// The stage's last word.
    pub fn settle(&mut self, stage: StageIndex, settled: Settled) {
        self.stages[stage] = Some(settled);
    }

    /// How a stage ended, once that is settled.
    pub fn settled(&self, stage: StageIndex) -> Option<&Settled> {
        self.stages.get(stage)?.as_ref()
    }

    /// The digest of an artifact that a stage left.
    pub fn artifact(&self, stage: StageIndex, name: &str) -> Option<&Artifact> {
        self.settled(stage)?.artifacts.iter().find(|artifact| artifact.name == name)
    }
}

impl pipeline::bind::Results for Results {
    fn ended(&self, stage: StageIndex) -> Option<Ended<'_>> {
        let settled = self.settled(stage)?;
        Some(Ended { outcome: &settled.outcome, outputs: &settled.outputs })
    }
}
