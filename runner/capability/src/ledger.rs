//! Where crossings are recorded and read again: a port, and the in-memory ledger that keeps the latest of them.
//!
//! One ledger is the record of one attempt. The order is part of the contract: an effect's intent is recorded before it is carried out, its
//! reply after. A ledger that can't record says so, and then nothing happens. The record's vocabulary is the journal's.

use std::collections::VecDeque;
use std::sync::Mutex;

use event::DenialRecord;
pub use journal::{Answer, Asked, Class, Delivery, Denied, Intent, Payload, Record, RecordKind, Reply, Waiting};
use journal::{AttemptRecord, JournalError};

/// Why the attempt can't go on from here.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerError {
    #[error("the run can't be recorded, so nothing more may happen: {0}")]
    Unrecorded(String),
    /// The component asked for something else than what is recorded at this position.
    #[error("{0}")]
    Diverged(Box<Divergence>),
    /// An effect may have happened or not, and nobody said what to do about it.
    #[error(
        "`{effect}` {subject} was cut off, and nothing can tell whether it happened; choose with `runner resume --in-doubt retry`, `skip` or `fail`"
    )]
    InDoubt { position: u64, effect: String, subject: String },
    /// As above, and the choice was to fail.
    #[error("`{effect}` {subject} was cut off, and nothing can tell whether it happened; `--in-doubt fail` was chosen")]
    GivenUp { effect: String, subject: String },
    /// An offline replay has come to the end of what is recorded.
    #[error("the record ends here")]
    Over,
    /// The bytes were more than the stage's `record` limit allowed to keep.
    #[error(
        "`{what}` {subject}: its {length} bytes were more than `limits.record` lets be kept, or hold a secret, so the stage can't be run again on its record; \
         raise the limit, and run it anew with `runner resume --failed` or a new run"
    )]
    NotKept { what: String, subject: String, length: u64 },
    /// An offline replay came to where the stage read a secret.
    #[error("the stage read the secret `{0}`, whose bytes are in no record: it can be resumed, and not be replayed from here on")]
    Secret(String),
}

impl From<JournalError> for LedgerError {
    fn from(error: JournalError) -> Self {
        LedgerError::Unrecorded(error.to_string())
    }
}

/// Where a replay and the record part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Divergence {
    /// Counts from 0 within the attempt; `None` where it is the world that changed, not the stage.
    pub position: Option<u64>,
    /// What is recorded, and what was asked, in the words of the ledger.
    pub recorded: String,
    pub asked: String,
    /// What else tells them apart.
    pub detail: String,
}

impl std::fmt::Display for Divergence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Divergence { recorded, asked, .. } = self;
        match self.position {
            Some(position) => write!(f, "the stage does not repeat what it did: effect {position} was {recorded}, now it is {asked}")?,
            None => write!(f, "the stage can't go on where it was: it had {recorded}, and would get {asked} now")?,
        }
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail)?;
        }
        Ok(())
    }
}

/// What to do about an effect of which nobody knows whether it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InDoubt {
    /// Do it, perhaps a second time.
    Retry,
    /// Leave it; the stage is told that it was cut off.
    Skip,
    /// The stage fails.
    Fail,
}

pub trait Ledger: Send + Sync {
    /// Whether anything is recorded from before.
    fn replays(&self) -> bool {
        false
    }

    /// What is recorded at a position; positions are asked for in order. `None`: nothing, the attempt is live from here.
    fn recorded(&self, position: u64) -> Result<Option<Record>, LedgerError> {
        let _ = position;
        Ok(None)
    }

    /// Before the act.
    fn intent(&self, intent: &Intent<'_>) -> Result<(), LedgerError>;

    /// After the act, at the position of its intent.
    fn reply(&self, reply: &Reply<'_>) -> Result<(), LedgerError>;

    fn denied(&self, denied: &Denied<'_>) -> Result<(), LedgerError>;

    /// What the world did by itself, when the guest got to see it. `promptly`: losing it would leave an effect in doubt.
    fn delivered(&self, delivery: &Delivery<'_>, promptly: bool) -> Result<(), LedgerError>;

    /// A wait begins.
    fn waiting(&self, waiting: &Waiting<'_>) -> Result<(), LedgerError> {
        let _ = waiting;
        Ok(())
    }
}

impl Ledger for AttemptRecord {
    fn replays(&self) -> bool {
        !self.is_empty()
    }

    fn recorded(&self, position: u64) -> Result<Option<Record>, LedgerError> {
        Ok(self.at(position)?)
    }

    fn intent(&self, intent: &Intent<'_>) -> Result<(), LedgerError> {
        Ok(AttemptRecord::intent(self, intent)?)
    }

    fn reply(&self, reply: &Reply<'_>) -> Result<(), LedgerError> {
        Ok(AttemptRecord::reply(self, reply)?)
    }

    fn denied(&self, denied: &Denied<'_>) -> Result<(), LedgerError> {
        Ok(AttemptRecord::denied(self, denied)?)
    }

    fn delivered(&self, delivery: &Delivery<'_>, promptly: bool) -> Result<(), LedgerError> {
        Ok(AttemptRecord::delivered(self, delivery, promptly)?)
    }

    fn waiting(&self, waiting: &Waiting<'_>) -> Result<(), LedgerError> {
        Ok(AttemptRecord::waiting(self, waiting)?)
    }
}

/// How many entries the in-memory ledger keeps.
const KEPT: usize = 4096;

/// Keeps counts of everything and the latest entries, in constant memory: for tests.
#[derive(Default)]
pub struct MemoryLedger {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    granted: u64,
    delivered: u64,
    denied: u64,
    entries: VecDeque<Entry>,
}

/// One line of the ledger.
#[derive(Debug, Clone)]
pub struct Entry {
    pub position: u64,
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
    fn push(&mut self, position: u64, effect: &str, subject: &str, verdict: EntryVerdict) {
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry { position, effect: effect.to_owned(), subject: subject.to_owned(), verdict });
    }
}

impl Ledger for MemoryLedger {
    fn intent(&self, intent: &Intent<'_>) -> Result<(), LedgerError> {
        let mut kept = self.lock();
        kept.granted += 1;
        let verdict = EntryVerdict::Granted { class: intent.class, replied: false };
        kept.push(intent.position, intent.effect, intent.subject, verdict);
        Ok(())
    }

    fn reply(&self, reply: &Reply<'_>) -> Result<(), LedgerError> {
        let mut kept = self.lock();
        // replies come soon after their intents: the search from the end is short
        if let Some(entry) = kept.entries.iter_mut().rev().find(|e| e.position == reply.position)
            && let EntryVerdict::Granted { replied, .. } = &mut entry.verdict
        {
            *replied = true;
        }
        Ok(())
    }

    fn denied(&self, denied: &Denied<'_>) -> Result<(), LedgerError> {
        let mut kept = self.lock();
        kept.denied += 1;
        let DenialRecord { effect, subject, code, .. } = denied.denial;
        kept.push(denied.position, effect, subject, EntryVerdict::Denied { code: code.clone() });
        Ok(())
    }

    fn delivered(&self, _: &Delivery<'_>, _: bool) -> Result<(), LedgerError> {
        self.lock().delivered += 1;
        Ok(())
    }
}
