//! `concurrency`: runs of one repository that take turns, each in a process of its own.
//!
//! A group is a folder, and whose turn it is is a lock on a file in it (`flock`): the kernel gives it back however the runner ends, `kill -9`
//! included. The folder is the user's, named after the repository (the URL of its remote `origin`, or where it lies if it has none), and not
//! the checkout's: two checkouts deploy to the same place, and a CI server makes one for each job.
//!
//! ```text
//! $XDG_STATE_HOME/runner/groups/<repository>/<group>/
//!   lock                 held by the one whose turn it is; says which run, stage and process that is
//!   queue/<time>-<run>   held by each that waits, in the order in which they came
//!   stop/<run>           asks that run to make way, and says for whom
//! ```
//!
//! Who came first has its turn first: nobody takes the lock while somebody before them in the queue lives. A lock has no memory of its own,
//! so the queue is looked at again and again while anything waits. Deliberately absent: turns between machines and between users.

mod place;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use event::{Event, EventSink, Kind, StageRef};
use pipeline::plan::{Concurrency, OnBusy, StageIndex};
use schedule::TurnResult;

use crate::now;
pub use place::folder;
use place::{Group, Holder, Look, Ticket, Turn};

/// How often the folders are looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Who takes a turn: a stage, or the whole run.
pub type Taker = Option<(StageIndex, StageRef)>;

/// The turns of one run.
pub struct Groups {
    folder: PathBuf,
    run: String,
    sink: Arc<dyn EventSink>,
    held: Vec<Held>,
    waiting: Vec<Waiting>,
}

struct Held {
    taker: Taker,
    group: Group,
    /// None: the run has it already, for all its stages.
    _turn: Option<Turn>,
}

struct Waiting {
    taker: Taker,
    group: Group,
    on_busy: OnBusy,
    ticket: Ticket,
    /// Whom it was said to wait for.
    told: Option<Option<Holder>>,
}

/// What has become of the turns.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// A stage's turn; of the whole run's, the stage is none.
    Turn(Option<StageIndex>, TurnResult),
    /// This run has to make way for that one.
    Superseded(String),
}

impl Groups {
    /// `folder`: of the repository's groups. Nothing is made before a turn is asked for.
    pub fn new(folder: PathBuf, run: &str, sink: Arc<dyn EventSink>) -> Self {
        Groups { folder, run: run.to_owned(), sink, held: Vec::new(), waiting: Vec::new() }
    }

    /// Asks for a turn; answers at once if it is there, or will not be.
    pub fn ask(&mut self, taker: Taker, concurrency: &Concurrency) -> Option<TurnResult> {
        let group = Group::new(&self.folder, &concurrency.group);
        // what the whole run has, its stages have
        if self.held.iter().any(|held| held.taker.is_none() && held.group == group) {
            self.held.push(Held { taker, group, _turn: None });
            return Some(TurnResult::Taken);
        }
        let ticket = match group.queue(&self.run, taker.as_ref().map(|(_, stage)| stage.as_str())) {
            Ok(ticket) => ticket,
            Err(error) => return Some(TurnResult::Refused(error.to_string())),
        };
        let mut waiting = Waiting { taker, group, on_busy: concurrency.on_busy, ticket, told: None };
        match self.judge(&mut waiting) {
            Judged::Turn(turn) => {
                self.held.push(Held { taker: waiting.taker, group: waiting.group, _turn: Some(turn) });
                Some(TurnResult::Taken)
            }
            Judged::Refused(message) => Some(TurnResult::Refused(message)),
            // told of with the rest
            Judged::Superseded(_) | Judged::Wait => {
                self.waiting.push(waiting);
                None
            }
        }
    }

    /// Gives back what a stage has, or waits for.
    pub fn release(&mut self, stage: StageIndex) {
        let others = |taker: &Taker| taker.as_ref().is_none_or(|(index, _)| *index != stage);
        self.held.retain(|held| others(&held.taker));
        self.waiting.retain(|waiting| others(&waiting.taker));
    }

    /// Resolves when something has changed. Never, while nothing is held and nothing waits.
    pub async fn news(&mut self) -> Vec<News> {
        if self.waiting.is_empty() && self.held.is_empty() {
            return std::future::pending().await;
        }
        loop {
            let news = self.look();
            if !news.is_empty() {
                return news;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn look(&mut self) -> Vec<News> {
        let groups = self.held.iter().map(|held| &held.group).chain(self.waiting.iter().map(|waiting| &waiting.group));
        let mut news: Vec<News> = groups.filter_map(|group| group.stop_asked(&self.run)).take(1).map(News::Superseded).collect();
        for mut waiting in std::mem::take(&mut self.waiting) {
            let stage = waiting.taker.as_ref().map(|(index, _)| *index);
            match self.judge(&mut waiting) {
                Judged::Turn(turn) => {
                    self.held.push(Held { taker: waiting.taker, group: waiting.group, _turn: Some(turn) });
                    news.push(News::Turn(stage, TurnResult::Taken));
                }
                Judged::Refused(message) => news.push(News::Turn(stage, TurnResult::Refused(message))),
                Judged::Superseded(by) => {
                    news.push(News::Superseded(by));
                    self.waiting.push(waiting);
                }
                Judged::Wait => self.waiting.push(waiting),
            }
        }
        news
    }

    /// What the state of the group means to one who waits.
    fn judge(&self, waiting: &mut Waiting) -> Judged {
        let group = &waiting.group;
        let before = match group.look(&mut waiting.ticket) {
            Ok(Look::Turn(turn)) => return Judged::Turn(turn),
            Ok(Look::Busy(before)) => before,
            Err(error) => return Judged::Refused(error.to_string()),
        };
        let others: Vec<&Holder> = before.iter().filter(|holder| holder.run != self.run).collect();
        match waiting.on_busy {
            // instances of one matrix take turns, whatever is to become of other runs
            _ if others.is_empty() => {}
            OnBusy::Queue => {}
            OnBusy::Fail => {
                let message = match others.last() {
                    Some(holder) if !holder.run.is_empty() => format!("the group `{}` is held by {holder}", group.name()),
                    _ => format!("the group `{}` is held by another run", group.name()),
                };
                return Judged::Refused(message);
            }
            OnBusy::CancelOlder => {
                // ids sort by time: the newest goes on, whoever asked last
                if let Some(newer) = others.iter().find(|holder| holder.run > self.run) {
                    return Judged::Superseded(newer.run.clone());
                }
                for older in others.iter().filter(|holder| !holder.run.is_empty()) {
                    group.ask_to_stop(&older.run, &self.run);
                }
            }
        }
        let first = before.into_iter().next_back();
        if waiting.told.as_ref() != Some(&first) {
            let stage = waiting.taker.as_ref().map(|(_, stage)| stage.clone());
            let holder = first.clone().filter(|holder| !holder.run.is_empty());
            let (holder, holder_stage) = holder.map_or((None, None), |holder| (Some(holder.run), holder.stage));
            self.sink.emit(&Event { at: now(), kind: Kind::GroupWaiting { stage, group: group.name().to_owned(), holder, holder_stage } });
            waiting.told = Some(first);
        }
        Judged::Wait
    }
}

/// What one who waits has come to.
enum Judged {
    Turn(Turn),
    Refused(String),
    Superseded(String),
    Wait,
}
