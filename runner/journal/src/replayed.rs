//! Events that a replayed guest makes again. A cut-off attempt runs from its start, and what it reported before is recorded already:
//! as many events of each kind as are recorded are let pass without being recorded twice. The guest is deterministic, so that they are the
//! same ones.

use std::collections::HashMap;

use event::{Kind, StageRef};

use crate::error::Result;
use crate::query::Source;

pub struct Replayed {
    /// The attempt that each stage is at: most events do not say it.
    current: HashMap<StageRef, u32>,
    /// How many are still to come again.
    expected: HashMap<(StageRef, u32), HashMap<&'static str, u64>>,
}

const STARTED: &str = "stage-started";
const FINDINGS: &str = "findings";
const TESTS: &str = "tests";
const MEASURED: &str = "measured";
const DENIED: &str = "denied";
const FINISHED: &str = "run-finished";
/// Never made again by a guest, and found again by the ledger.
pub const CONNECTION: &str = "connection";

const KINDS: [&str; 5] = [STARTED, FINDINGS, TESTS, MEASURED, DENIED];

/// How an event is filed; `None` if it is not recorded at all.
pub struct Filed {
    pub kind: Option<&'static str>,
    pub of: Option<(StageRef, u32)>,
}

impl Replayed {
    pub fn nothing() -> Self {
        Replayed { current: HashMap::new(), expected: HashMap::new() }
    }

    pub fn of(source: Source<'_>) -> Result<Self> {
        let mut replayed = Replayed::nothing();
        for (stage, attempt, kind, count) in source.repeatable_events()? {
            if let Some(kind) = KINDS.into_iter().find(|known| *known == kind) {
                replayed.expected.entry((stage, attempt)).or_default().insert(kind, count);
            }
        }
        Ok(replayed)
    }

    pub fn begun(&mut self, stage: &StageRef, attempt: u32) {
        self.current.insert(stage.clone(), attempt);
    }

    pub fn file(&mut self, event: &Kind) -> Option<Filed> {
        let (kind, stage) = match event {
            Kind::RunFinished { .. } => return Some(Filed { kind: Some(FINISHED), of: None }),
            Kind::StageStarted { stage, attempt, .. } => {
                self.begun(stage, *attempt);
                (STARTED, stage)
            }
            Kind::Findings { stage, .. } => (FINDINGS, stage),
            Kind::Tests { stage, .. } => (TESTS, stage),
            Kind::Measured { stage, .. } => (MEASURED, stage),
            Kind::Connection { stage, .. } => {
                let of = (stage.clone(), self.current.get(stage).copied().unwrap_or(1));
                return Some(Filed { kind: Some(CONNECTION), of: Some(of) });
            }
            // a program's, not the guest's
            Kind::Denied { denial, .. } if denial.effect == event::CONNECT => return Some(Filed { kind: None, of: None }),
            Kind::Denied { stage, .. } => (DENIED, stage),
            _ => return Some(Filed { kind: None, of: None }),
        };
        let of = (stage.clone(), self.current.get(stage).copied().unwrap_or(1));
        if let Some(left) = self.expected.get_mut(&of).and_then(|kinds| kinds.get_mut(kind))
            && *left > 0
        {
            *left -= 1;
            return None;
        }
        Some(Filed { kind: Some(kind), of: Some(of) })
    }
}
