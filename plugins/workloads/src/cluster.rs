//! The port: what a stage that deploys asks of the world.

use std::time::Duration;

use runner_sdk::control::Decision;
use runner_sdk::kubernetes::pods::{LogOptions, Pod};
use runner_sdk::kubernetes::rollouts::Revision;
use runner_sdk::kubernetes::{Error, Event, Occurrence, Patch, Selection, Target};
use runner_sdk::log::Level;
use serde_json::Value;

/// One of the watches that were begun, in their order.
pub type WatchId = usize;

pub trait Cluster {
    fn get(&mut self, target: &Target) -> Result<Value, Error>;
    fn list(&mut self, selection: &Selection) -> Result<Vec<Value>, Error>;
    fn create(&mut self, target: &Target, object: &Value) -> Result<Value, Error>;
    fn patch(&mut self, target: &Target, patch: &Patch) -> Result<Value, Error>;
    fn events(&mut self, target: &Target) -> Result<Vec<Occurrence>, Error>;
    /// A piece of a log that is not followed.
    fn log(&mut self, pod: &Pod, options: LogOptions) -> Result<String, Error>;

    fn watch(&mut self, selection: &Selection) -> Result<WatchId, Error>;
    /// Waits until a watch has something to tell, and answers with all that there is; with nothing if `timeout` has passed.
    fn changes(&mut self, timeout: Duration) -> Vec<(WatchId, Event)>;

    /// Since the attempt began.
    fn now(&self) -> Duration;
    fn say(&mut self, level: Level, text: &str);
    /// What is being done, for people who watch: so many of so many steps are over.
    fn show(&mut self, done: usize, total: usize, text: &str);
    /// Whether somebody asked the stage to stop. Once true, it stays true.
    fn stopping(&mut self) -> bool;
    /// Asks people whether to go on.
    fn ask(&mut self, question: &str);
    /// What they said to the last question.
    fn answer(&mut self) -> Option<Decision>;
}

/// Versions that there were. A port of its own, so that a component that does not ask for them does not import them.
pub trait Revisions: Cluster {
    fn history(&mut self, target: &Target) -> Result<Vec<Revision>, Error>;
    fn undo(&mut self, target: &Target, revision: Option<u64>) -> Result<u64, Error>;
    fn restart(&mut self, target: &Target) -> Result<(), Error>;
}
