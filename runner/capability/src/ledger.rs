//! Where crossings are recorded: a port, and the in-memory ledger that keeps the latest of them.
//!
//! The order is part of the contract: an effect's intent is recorded before it is carried out, its reply after. A ledger that can't
//! record says so, and then nothing happens.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use event::StageRef;

use crate::boundary::erased::Deliverable;
use crate::denial::Denial;
use crate::effect::Class;

/// Where in the run a crossing happened.
#[derive(Debug, Clone)]
pub struct Position {
    pub stage: StageRef,
    pub attempt: u32,
    /// Counts over the whole run.
    pub sequence: u64,
}

/// A value on its way into the ledger; a ledger that keeps no bodies never pays for serialising them.
pub struct Record<'a>(&'a dyn Deliverable);

impl<'a> Record<'a> {
    pub(crate) fn new<T: serde::Serialize + std::fmt::Debug>(value: &'a T) -> Self {
        Record(value)
    }

    pub(crate) fn from_dyn(value: &'a dyn Deliverable) -> Self {
        Record(value)
    }

    pub fn to_json(&self) -> serde_json::Result<serde_json::Value> {
        self.0.to_json()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the run can't be recorded, so nothing more may happen: {0}")]
pub struct LedgerError(pub String);

pub trait Ledger: Send + Sync {
    /// The next position of an attempt.
    fn next(&self, stage: &StageRef, attempt: u32) -> Position;

    /// Before the act.
    fn intent(&self, at: &Position, effect: &'static str, class: Class, subject: &str, body: &Record<'_>) -> Result<(), LedgerError>;

    /// After the act, at the position of its intent.
    fn reply(&self, at: &Position, body: &Record<'_>) -> Result<(), LedgerError>;

    /// Answers whether the user should hear of it: the same denial again and again is recorded, and told once.
    fn denied(&self, at: &Position, denial: &Denial) -> Result<bool, LedgerError>;

    /// What the world did by itself, when the guest got to see it.
    fn delivered(&self, at: &Position, what: &'static str, body: &Record<'_>) -> Result<(), LedgerError>;
}

/// How many entries the in-memory ledger keeps.
const KEPT: usize = 4096;
/// How many different denials are told one by one; after that they are only counted.
const TOLD: usize = 100;

/// Keeps counts of everything and the latest entries, in constant memory.
#[derive(Default)]
pub struct MemoryLedger {
    sequence: AtomicU64,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    granted: u64,
    delivered: u64,
    denied: u64,
    entries: VecDeque<Entry>,
    told: std::collections::BTreeSet<(String, String, String)>,
}

/// One line of the ledger.
#[derive(Debug, Clone)]
pub struct Entry {
    pub at: Position,
    pub effect: String,
    pub subject: String,
    pub verdict: EntryVerdict,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryVerdict {
    /// Allowed; whether the reply has been recorded.
    Granted {
        class: Class,
        replied: bool,
    },
    Denied {
        code: String,
    },
}

/// How much crossed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub granted: u64,
    pub denied: u64,
    pub delivered: u64,
}

impl MemoryLedger {
    pub fn counts(&self) -> Counts {
        let kept = self.lock();
        Counts { granted: kept.granted, denied: kept.denied, delivered: kept.delivered }
    }

    /// The latest entries, oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().entries.iter().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Kept {
    fn push(&mut self, entry: Entry) {
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }
}

impl Ledger for MemoryLedger {
    fn next(&self, stage: &StageRef, attempt: u32) -> Position {
        Position { stage: stage.clone(), attempt, sequence: self.sequence.fetch_add(1, Ordering::Relaxed) }
    }

    fn intent(&self, at: &Position, effect: &'static str, class: Class, subject: &str, _: &Record<'_>) -> Result<(), LedgerError> {
        let mut kept = self.lock();
        kept.granted += 1;
        kept.push(Entry {
            at: at.clone(),
            effect: effect.to_owned(),
            subject: subject.to_owned(),
            verdict: EntryVerdict::Granted { class, replied: false },
        });
        Ok(())
    }

    fn reply(&self, at: &Position, _: &Record<'_>) -> Result<(), LedgerError> {
        let mut kept = self.lock();
        // replies come soon after their intents: the search from the end is short
        if let Some(entry) = kept.entries.iter_mut().rev().find(|e| e.at.sequence == at.sequence)
            && let EntryVerdict::Granted { replied, .. } = &mut entry.verdict
        {
            *replied = true;
        }
        Ok(())
    }

    fn denied(&self, at: &Position, denial: &Denial) -> Result<bool, LedgerError> {
        let mut kept = self.lock();
        kept.denied += 1;
        kept.push(Entry {
            at: at.clone(),
            effect: denial.effect.clone(),
            subject: denial.subject.clone(),
            verdict: EntryVerdict::Denied { code: denial.code.clone().into_owned() },
        });
        let first = kept.told.len() < TOLD && kept.told.insert((at.stage.to_string(), denial.effect.clone(), denial.subject.clone()));
        Ok(first)
    }

    fn delivered(&self, _: &Position, _: &'static str, _: &Record<'_>) -> Result<(), LedgerError> {
        self.lock().delivered += 1;
        Ok(())
    }
}
