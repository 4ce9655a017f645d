//! Logs that are held until their attempt has ended, for servers that fold parts of a log: the lines of stages that run side by side would
//! mix. What is held is bounded; the whole log is in its file.

use std::collections::HashMap;

use event::{Event, Kind, Outcome, StageRef};

use crate::tail::Tail;
use crate::{plain, sanitize};

/// Lines of one attempt that are held.
const LINES: usize = 1_000;

#[derive(Default)]
pub struct Held(HashMap<StageRef, Log>);

struct Log {
    attempt: u32,
    began: u64,
    tail: Tail,
}

/// The log of an attempt that has ended, to be folded away.
pub struct Section {
    /// `log of lint`; cleaned.
    pub title: String,
    /// In nanoseconds since 1970.
    pub began: u64,
    /// Cleaned, each with a lead that no command of a server begins with.
    pub lines: Vec<String>,
}

impl Held {
    /// The log of the attempt that this event ends, if there is more of it than the plain log shows.
    pub fn apply(&mut self, event: &Event) -> Option<Section> {
        match &event.kind {
            Kind::StageStarted { stage, attempt, .. } => {
                self.0.insert(stage.clone(), Log { attempt: *attempt, began: event.at, tail: Tail::of(LINES) });
                None
            }
            Kind::Output { stage, stream, bytes } => {
                if let Some(log) = self.0.get_mut(stage) {
                    log.tail.push(*stream, bytes);
                }
                None
            }
            Kind::StageFinished { stage, outcome, log: file, .. } => {
                let log = self.0.remove(stage)?;
                // the plain log shows the end of a failed stage's, and that may be all of it
                let shown = if matches!(outcome, Outcome::Failed { .. }) { plain::LOG_LINES } else { 0 };
                if log.tail.last(shown + 1).len() > shown { log.section(stage, file) } else { None }
            }
            Kind::StageRetrying { stage, .. } | Kind::StageSuspended { stage, .. } => self.0.remove(stage)?.section(stage, ""),
            _ => None,
        }
    }
}

impl Log {
    fn section(self, stage: &StageRef, file: &str) -> Option<Section> {
        let held = self.tail.last(LINES);
        if held.is_empty() {
            return None;
        }
        let attempt = if self.attempt > 1 { format!(", attempt {}", self.attempt) } else { String::new() };
        let mut title = sanitize::clean(&format!("log of {stage}{attempt}"));
        if held.len() == LINES {
            title.push_str(&format!(": the last {LINES} lines"));
            if !file.is_empty() {
                title.push_str(&format!(" of {}", sanitize::clean(file)));
            }
        }
        let lines = held.into_iter().map(|line| format!("| {}", sanitize::log_line(line)).trim_end().to_owned()).collect();
        Some(Section { title, began: self.began, lines })
    }
}
