//! The host functions of `runner:stage/control`: what people want of a stage while it runs.
//!
//! Both are things that happen to the stage, so each answer is a delivery: recorded when it is given, and given again when the attempt is replayed. Somebody's word
//! counts from the moment on at which the question was asked first, whichever process asked it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use capability::{Ask, Room, StageState};
use event::Kind;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use wasmtime::Result;

use super::bindings::runner::stage::control as wit;
use crate::run::Stop;

/// Where people say what they think of a question.
pub trait People: Send + Sync {
    /// The first word about a stage that was said since then, in nanoseconds since 1970-01-01T00:00:00Z.
    fn word(&self, stage: &event::StageRef, since: u64) -> Option<Word>;
}

/// What somebody said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    pub approved: bool,
    pub by: String,
    pub note: String,
}

pub struct ControlRoom {
    stop: watch::Receiver<Stop>,
    people: Option<Arc<dyn People>>,
    question: Option<Question>,
}

struct Question {
    text: String,
    /// In nanoseconds since 1970-01-01T00:00:00Z.
    asked: u64,
    /// By this process.
    shown: bool,
    answered: Option<Word>,
}

impl ControlRoom {
    pub fn new(stop: watch::Receiver<Stop>, people: Option<Arc<dyn People>>) -> Self {
        ControlRoom { stop, people, question: None }
    }
}

impl Room for ControlRoom {
    fn leave(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async {})
    }
}

impl wit::Host for StageState {
    fn stopping(&mut self) -> Result<bool> {
        let boundary = self.boundary.clone();
        let room: &mut ControlRoom = self.room();
        let ask = Ask::new("control.stopping", &())?;
        Ok(boundary.deliver_now(&ask, || (*room.stop.borrow() != Stop::No, Bytes::new()))?.0)
    }

    fn ask(&mut self, text: String) -> Result<()> {
        let boundary = self.boundary.clone();
        let room: &mut ControlRoom = self.room();
        let ask = Ask::new("control.ask", &text)?;
        let mut shown = false;
        let (asked, _) = boundary.deliver_now(&ask, || {
            shown = true;
            // as those who answer count
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            (now.as_nanos() as u64, Bytes::new())
        })?;
        if shown {
            show(&boundary, &text);
        }
        room.question = Some(Question { text, asked, shown, answered: None });
        Ok(())
    }

    fn answer(&mut self) -> Result<Option<wit::Decision>> {
        let boundary = self.boundary.clone();
        let room: &mut ControlRoom = self.room();
        let Some(question) = &mut room.question else { return Ok(None) };
        if question.answered.is_none() {
            let ask = Ask::new("control.answer", &question.asked)?;
            let people = room.people.as_ref();
            let (answered, _) = boundary.deliver_now(&ask, || {
                // a question that another process asked is still there
                if !std::mem::replace(&mut question.shown, true) {
                    show(&boundary, &question.text);
                }
                let word = people.and_then(|people| people.word(boundary.stage(), question.asked));
                if let Some(Word { approved, by, note }) = word.clone() {
                    boundary.emit(Kind::ApprovalGiven { stage: boundary.stage().clone(), approved, by, note });
                }
                (word, Bytes::new())
            })?;
            question.answered = answered;
        }
        Ok(question.answered.as_ref().map(|word| match (word.approved, word.note.as_str()) {
            (true, _) => wit::Decision::Approved,
            (false, "") => wit::Decision::Rejected(format!("rejected by {}", word.by)),
            (false, note) => wit::Decision::Rejected(format!("rejected by {}: {note}", word.by)),
        }))
    }
}

fn show(boundary: &capability::Boundary, question: &str) {
    boundary.emit(Kind::ApprovalWaiting {
        stage: boundary.stage().clone(),
        environment: String::new(),
        question: Some(question.to_owned()),
        count: 1,
        given: 0,
        expires: None,
    });
}
