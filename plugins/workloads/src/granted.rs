//! The cluster that the stage's grant leads to.

use std::time::{Duration, Instant};

use runner_sdk::control::{self, Decision};
use runner_sdk::kubernetes::pods::{LogOptions, Pod};
use runner_sdk::kubernetes::rollouts::{self, Revision};
use runner_sdk::kubernetes::{self, Error, Event, Occurrence, Patch, Selection, Target, Watch};
use runner_sdk::log::{self, Level};
use runner_sdk::progress;
use serde_json::Value;

use crate::cluster::{Cluster, Revisions, WatchId};

/// No more of a log is looked at.
const LONGEST_LOG: usize = 64 * 1024;

/// How long it is waited at once, so that somebody who wants the stage to stop is heard.
const AT_ONCE: Duration = Duration::from_secs(1);

pub struct Granted {
    began: Instant,
    watches: Vec<Watch>,
}

impl Granted {
    #[expect(clippy::new_without_default, reason = "it is the moment at which the stage begins")]
    pub fn new() -> Granted {
        Granted { began: Instant::now(), watches: Vec::new() }
    }
}

impl Cluster for Granted {
    fn get(&mut self, target: &Target) -> Result<Value, Error> {
        kubernetes::get(target)
    }

    fn list(&mut self, selection: &Selection) -> Result<Vec<Value>, Error> {
        kubernetes::list(selection)
    }

    fn create(&mut self, target: &Target, object: &Value) -> Result<Value, Error> {
        kubernetes::create(target, object)
    }

    fn patch(&mut self, target: &Target, patch: &Patch) -> Result<Value, Error> {
        kubernetes::patch(target, patch)
    }

    fn events(&mut self, target: &Target) -> Result<Vec<Occurrence>, Error> {
        kubernetes::events(target)
    }

    fn log(&mut self, pod: &Pod, options: LogOptions) -> Result<String, Error> {
        pod.logs(options)?.text(LONGEST_LOG)
    }

    fn watch(&mut self, selection: &Selection) -> Result<WatchId, Error> {
        self.watches.push(kubernetes::watch(selection)?);
        Ok(self.watches.len() - 1)
    }

    fn changes(&mut self, timeout: Duration) -> Vec<(WatchId, Event)> {
        let timeout = timeout.min(AT_ONCE);
        if self.watches.is_empty() {
            std::thread::sleep(timeout);
            return Vec::new();
        }
        let watches: Vec<&Watch> = self.watches.iter().collect();
        if kubernetes::wait_any(&watches, Some(timeout)).is_none() {
            return Vec::new();
        }
        let mut changes = Vec::new();
        for (id, watch) in self.watches.iter().enumerate() {
            loop {
                match watch.next(Some(Duration::ZERO)) {
                    Ok(Some(event)) => changes.push((id, event)),
                    Ok(None) => break,
                    // the watch goes on by itself, and what is not seen meanwhile is told afterwards
                    Err(error) => {
                        log::warn(format_args!("a watch can't tell anything for now: {error}"));
                        break;
                    }
                }
            }
        }
        changes
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn say(&mut self, level: Level, text: &str) {
        log::log(level, text);
    }

    fn show(&mut self, done: usize, total: usize, text: &str) {
        progress::update(done as u64, total as u64, text);
    }

    fn stopping(&mut self) -> bool {
        control::stopping()
    }

    fn ask(&mut self, question: &str) {
        control::ask(question);
    }

    fn answer(&mut self) -> Option<Decision> {
        control::answer()
    }
}

impl Revisions for Granted {
    fn history(&mut self, target: &Target) -> Result<Vec<Revision>, Error> {
        rollouts::history(target)
    }

    fn undo(&mut self, target: &Target, revision: Option<u64>) -> Result<u64, Error> {
        rollouts::undo(target, revision)
    }

    fn restart(&mut self, target: &Target) -> Result<(), Error> {
        rollouts::restart(target)
    }
}
