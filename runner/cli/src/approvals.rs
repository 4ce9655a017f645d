//! Stages that wait for people: what is asked, what has been said, and when it is too late. The journal is where it is said, by another
//! process (`approve`, `reject`), so it is looked at again and again while anything waits.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use event::{Event, EventSink, Kind, StageRef};
use host::{People, Word};
use journal::{Approval, Journal};
use pipeline::plan::{Approval as Wanted, Stage, StageIndex};
use schedule::ApprovalResult;

use crate::now;

/// How often the journal is looked at.
const LOOK: Duration = Duration::from_millis(250);

pub struct Approvals {
    journal: Journal,
    sink: Arc<dyn EventSink>,
    waiting: Vec<Waiting>,
    earlier: HashMap<StageRef, Earlier>,
}

/// What earlier sessions know of a stage that waits, or waited.
#[derive(Debug, Clone, Copy, Default)]
pub struct Earlier {
    /// When it was reset to be run again.
    pub reset: u64,
    /// How much of what was said since then has been told.
    pub told: usize,
}

struct Waiting {
    index: StageIndex,
    stage: StageRef,
    environment: String,
    wanted: Wanted,
    /// Since when, in nanoseconds since 1970.
    asked: u64,
    /// How much of what was said has been told, and how many have approved as of then.
    told: usize,
    given: u32,
}

impl Approvals {
    pub fn new(journal: Journal, sink: Arc<dyn EventSink>, earlier: HashMap<StageRef, Earlier>) -> Self {
        Approvals { journal, sink, waiting: Vec::new(), earlier }
    }

    /// A stage begins to wait, or waits again in a resumed run: its time runs from when it was asked first.
    pub fn ask(&mut self, index: StageIndex, stage: &Stage) -> Result<(), String> {
        let Some(approval) = &stage.approval else { return Err("nothing asks for its approval".to_owned()) };
        let asked = self.journal.approval_asked(&stage.id, now()).map_err(|error| error.to_string())?;
        // a stage that is run again is asked about again
        let Earlier { reset, told } = self.earlier.get(&stage.id).copied().unwrap_or_default();
        let asked = asked.max(reset);
        let environment = stage.environment.clone().unwrap_or_default();
        let said = self.journal.approvals().map_err(|error| error.to_string())?;
        let given = given(approval, &about(&said, &stage.id, asked));
        let waiting = Waiting { index, stage: stage.id.clone(), environment, wanted: *approval, asked, told, given };
        self.tell(&waiting);
        self.waiting.push(waiting);
        Ok(())
    }

    /// Resolves when something has been decided. Never, while nothing waits.
    pub async fn said(&mut self) -> Vec<(StageIndex, ApprovalResult)> {
        if self.waiting.is_empty() {
            return std::future::pending().await;
        }
        loop {
            let decided = self.look();
            if !decided.is_empty() {
                return decided;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn look(&mut self) -> Vec<(StageIndex, ApprovalResult)> {
        let said = match self.journal.approvals() {
            Ok(said) => said,
            Err(error) => return self.waiting.drain(..).map(|w| (w.index, ApprovalResult::Rejected(error.to_string()))).collect(),
        };
        let mut decided = Vec::new();
        for mut waiting in std::mem::take(&mut self.waiting) {
            let result = self.judge(&mut waiting, &said);
            match result {
                Some(result) => decided.push((waiting.index, result)),
                None => self.waiting.push(waiting),
            }
        }
        decided
    }

    fn judge(&self, waiting: &mut Waiting, said: &[Approval]) -> Option<ApprovalResult> {
        let said = about(said, &waiting.stage, waiting.asked);
        for one in said.iter().skip(waiting.told) {
            let (stage, by, note) = (one.stage.clone(), one.by.clone(), one.note.clone());
            self.emit(Kind::ApprovalGiven { stage, approved: one.approved, by, note });
        }
        waiting.told = said.len();
        match judge(&waiting.wanted, waiting.asked, &said, now()) {
            Ok(result) => Some(result),
            Err(given) => {
                if std::mem::replace(&mut waiting.given, given) != given {
                    self.tell(waiting);
                }
                None
            }
        }
    }

    fn tell(&self, waiting: &Waiting) {
        let (stage, environment) = (waiting.stage.clone(), waiting.environment.clone());
        let expires = expires(&waiting.wanted, waiting.asked);
        self.emit(Kind::ApprovalWaiting { stage, environment, question: None, count: waiting.wanted.count, given: waiting.given, expires });
    }

    fn emit(&self, kind: Kind) {
        self.sink.emit(&Event { at: now(), kind });
    }
}

/// What was said of a stage that asks while it runs: there one person's word is enough.
pub struct Heard(pub Journal);

impl People for Heard {
    fn word(&self, stage: &StageRef, since: u64) -> Option<Word> {
        // a journal that can't be read right now is asked again
        let said = self.0.approvals().ok()?;
        let first = about(&said, stage, since).into_iter().next()?;
        Some(Word { approved: first.approved, by: first.by.clone(), note: first.note.clone() })
    }
}

/// How many different people approved.
fn given(wanted: &Wanted, said: &[&Approval]) -> u32 {
    let people: BTreeSet<&str> = said.iter().filter(|one| one.approved).map(|one| one.by.as_str()).collect();
    wanted.count.min(people.len() as u32)
}

/// What was said of a stage since it was asked about.
pub fn about<'a>(said: &'a [Approval], stage: &StageRef, asked: u64) -> Vec<&'a Approval> {
    said.iter().filter(|one| one.stage == *stage && one.at >= asked).collect()
}

/// What follows from what was said; or how many have approved, where nothing follows yet. Nobody counts twice, and one rejection is enough.
pub fn judge(wanted: &Wanted, asked: u64, said: &[&Approval], now: u64) -> Result<ApprovalResult, u32> {
    let mut approved = BTreeSet::new();
    let expires = expires(wanted, asked);
    for one in said.iter().filter(|one| expires.is_none_or(|at| one.at < at)) {
        if approved.len() as u32 >= wanted.count {
            break;
        }
        if !one.approved {
            let note = if one.note.is_empty() { String::new() } else { format!(": {}", one.note) };
            return Ok(ApprovalResult::Rejected(format!("rejected by {}{note}", one.by)));
        }
        approved.insert(one.by.as_str());
    }
    let given = approved.len() as u32;
    if given >= wanted.count {
        return Ok(ApprovalResult::Approved);
    }
    match (expires, wanted.timeout) {
        (Some(at), Some(timeout)) if now >= at => {
            let timeout = humantime::format_duration(timeout);
            Ok(ApprovalResult::Rejected(format!("its approval was not given within {timeout}: {given} of {}", wanted.count)))
        }
        _ => Err(given),
    }
}

fn expires(wanted: &Wanted, asked: u64) -> Option<u64> {
    wanted.timeout.map(|timeout| asked.saturating_add(timeout.as_nanos() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(by: &str, approved: bool) -> Approval {
        Approval { stage: StageRef::new("deploy"), approved, by: by.into(), note: "why not".into(), at: 5 }
    }

    #[test]
    fn two_people_are_two_and_one_rejection_is_enough() {
        let wanted = Wanted { count: 2, timeout: Some(Duration::from_nanos(100)) };
        let (anna, ben, no) = (said("anna", true), said("ben", true), said("carl", false));
        let rejected = |text: &str| Ok(ApprovalResult::Rejected(text.into()));
        assert_eq!(judge(&wanted, 0, &[], 50), Err(0));
        assert_eq!(judge(&wanted, 0, &[&anna, &anna], 50), Err(1));
        assert_eq!(judge(&wanted, 0, &[&anna, &ben], 500), Ok(ApprovalResult::Approved));
        assert_eq!(judge(&wanted, 0, &[&anna, &no, &ben], 50), rejected("rejected by carl: why not"));
        // what was decided stays decided
        assert_eq!(judge(&wanted, 0, &[&anna, &ben, &no], 50), Ok(ApprovalResult::Approved));
        assert_eq!(judge(&wanted, 0, &[&anna], 100), rejected("its approval was not given within 100ns: 1 of 2"));
        // and what comes too late is not heard
        let brief = Wanted { count: 2, timeout: Some(Duration::from_nanos(5)) };
        assert_eq!(judge(&brief, 0, &[&anna, &ben, &no], 50), rejected("its approval was not given within 5ns: 0 of 2"));
        assert!(about(&[anna], &StageRef::new("deploy"), 6).is_empty());
    }
}
