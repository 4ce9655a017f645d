//! Stages that wait for people: what is asked, what has been said, and when it is too late. The journal is where it is said, by another
//! process (`approve`, `reject`), so it is looked at again and again while anything waits.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use event::{Event, EventSink, Kind, StageRef};
use journal::{Approval, Journal};
use pipeline::plan::{Stage, StageIndex};
use schedule::ApprovalResult;

use crate::now;

/// How often the journal is looked at.
const LOOK: Duration = Duration::from_millis(250);

pub struct Approvals {
    journal: Journal,
    sink: Arc<dyn EventSink>,
    waiting: Vec<Waiting>,
}

struct Waiting {
    index: StageIndex,
    stage: StageRef,
    environment: String,
    count: u32,
    /// Since when, and until when, in nanoseconds since 1970.
    asked: u64,
    expires: Option<(u64, Duration)>,
    /// How much of what was said has been told.
    told: usize,
}

impl Approvals {
    pub fn new(journal: Journal, sink: Arc<dyn EventSink>) -> Self {
        Approvals { journal, sink, waiting: Vec::new() }
    }

    /// A stage begins to wait, or waits again in a resumed run: its time runs from when it was asked first.
    pub fn ask(&mut self, index: StageIndex, stage: &Stage) -> Result<(), String> {
        let Some(approval) = &stage.approval else { return Err("nothing asks for its approval".to_owned()) };
        let asked = self.journal.approval_asked(&stage.id, now()).map_err(|error| error.to_string())?;
        let expires = approval.timeout.map(|timeout| (asked.saturating_add(timeout.as_nanos() as u64), timeout));
        let environment = stage.environment.clone().unwrap_or_default();
        let waiting = Waiting { index, stage: stage.id.clone(), environment, count: approval.count, asked, expires, told: 0 };
        self.tell(&waiting, 0);
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
        let about = |a: &&Approval| a.stage == waiting.stage && a.at >= waiting.asked;
        let said: Vec<&Approval> = said.iter().filter(about).collect();
        let mut approved = BTreeSet::new();
        for (number, one) in said.iter().enumerate() {
            if number >= waiting.told {
                let (stage, by, note) = (one.stage.clone(), one.by.clone(), one.note.clone());
                self.emit(Kind::ApprovalGiven { stage, approved: one.approved, by, note });
            }
            if !one.approved {
                let note = if one.note.is_empty() { String::new() } else { format!(": {}", one.note) };
                return Some(ApprovalResult::Rejected(format!("rejected by {}{note}", one.by)));
            }
            approved.insert(one.by.as_str());
        }
        let given = approved.len() as u32;
        if given >= waiting.count {
            return Some(ApprovalResult::Approved);
        }
        if std::mem::replace(&mut waiting.told, said.len()) < said.len() {
            self.tell(waiting, given);
        }
        match waiting.expires {
            Some((at, timeout)) if now() >= at => {
                let timeout = humantime::format_duration(timeout);
                Some(ApprovalResult::Rejected(format!("its approval was not given within {timeout}: {given} of {}", waiting.count)))
            }
            _ => None,
        }
    }

    fn tell(&self, waiting: &Waiting, given: u32) {
        let (stage, environment) = (waiting.stage.clone(), waiting.environment.clone());
        let expires = waiting.expires.map(|(at, _)| at);
        self.emit(Kind::ApprovalWaiting { stage, environment, count: waiting.count, given, expires });
    }

    fn emit(&self, kind: Kind) {
        self.sink.emit(&Event { at: now(), kind });
    }
}
