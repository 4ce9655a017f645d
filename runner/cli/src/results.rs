//! How stages ended, for the stages that refer to them.

use event::{Artifact, Outcome};
use pipeline::bind::Ended;
use pipeline::plan::StageIndex;

/// What is known of a stage once an attempt of it is over.
#[derive(Debug, Clone)]
pub struct Settled {
    pub outcome: Outcome,
    pub outputs: Vec<(String, String)>,
    pub artifacts: Vec<Artifact>,
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

    /// The digest of an artifact that a stage left.
    pub fn artifact(&self, stage: StageIndex, name: &str) -> Option<&Artifact> {
        self.stages[stage].as_ref()?.artifacts.iter().find(|artifact| artifact.name == name)
    }
}

impl pipeline::bind::Results for Results {
    fn ended(&self, stage: StageIndex) -> Option<Ended<'_>> {
        let settled = self.stages.get(stage)?.as_ref()?;
        Some(Ended { outcome: &settled.outcome, outputs: &settled.outputs })
    }
}
