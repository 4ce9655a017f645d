//! What all strategies have in common: changes that can be taken back, and waits that know why they take so long.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use runner_analysis::Web;
use runner_sdk::Failure;
use runner_sdk::kubernetes::{Change, Error, Patch, ResourceType, Selection, Target};
use runner_sdk::log::Level;
use runner_sdk::report::{TestCase, TestStatus};
use runner_workloads::workload::{self, number};
use runner_workloads::{Revisions, WatchId, signals, why_stuck};
use serde_json::Value;

use crate::settings::{Migration, Otherwise, Settings, Strategy};

/// How long something is tried again while the cluster is away or fails.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(2);
/// The longest that it waits without looking up.
const TICK: Duration = Duration::from_secs(1);

/// Why it does not go on.
#[derive(Debug)]
pub enum Halt {
    /// It does not get ready: why, and what the cluster says about it.
    Stuck {
        why: String,
        causes: Vec<String>,
    },
    /// Somebody wants the stage to stop.
    Stopped,
    Failed(Failure),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Halt {
        Halt::Failed(error.into())
    }
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Halt {
        Halt::Failed(failure)
    }
}

/// A Deployment before it is changed.
#[derive(Debug, Clone)]
pub struct Before {
    pub object: Value,
    /// Its Pods, which say nothing of what comes.
    pods: BTreeSet<String>,
}

/// A way for requests into the cluster.
pub type Forward<'w> = dyn FnMut(&str, u16) -> Result<String, Failure> + 'w;

pub struct Work<'w> {
    pub cluster: &'w mut dyn Revisions,
    pub web: &'w mut dyn Web,
    /// The base URL of a Service's port; it stays open.
    pub forward: &'w mut Forward<'w>,
    pub settings: &'w Settings,
    /// What is special to this attempt, for names of Jobs.
    pub mark: String,
    pub cases: Vec<TestCase>,
    pub outputs: Vec<(&'static str, String)>,
    /// Whether anything was, or may have been.
    pub changed: bool,
    /// What undoes what was done, in the order in which it was done.
    back: Vec<(Target, Patch)>,
    /// Whose Pods are to be looked into on the way back, once they have lost their traffic.
    pub look_into: Option<Target>,
    /// What watches have told.
    seen: BTreeMap<WatchId, BTreeMap<String, Value>>,
    /// Whether it is not heard any more that somebody wants the stage to stop: it is on its way back.
    deaf: bool,
}

impl<'w> Work<'w> {
    pub fn new(
        cluster: &'w mut dyn Revisions,
        web: &'w mut dyn Web,
        forward: &'w mut Forward<'w>,
        settings: &'w Settings,
        mark: &str,
    ) -> Work<'w> {
        let mark = mark.to_owned();
        Work {
            cluster,
            web,
            forward,
            settings,
            mark,
            cases: Vec::new(),
            outputs: Vec::new(),
            changed: false,
            back: Vec::new(),
            look_into: None,
            seen: BTreeMap::new(),
            deaf: false,
        }
    }

    /// Does what the settings say, and answers with a line about it.
    ///
    /// # Errors
    /// Why not, and what has become of what was done.
    pub fn run(&mut self) -> Result<String, Failure> {
        let settings = self.settings;
        settings.check().map_err(Failure::Misconfigured)?;
        let migrate = |work: &mut Self, migrations: &[Migration], when: &str| migrations.iter().try_for_each(|one| work.migrate(one, when));
        if let Err(halt) = migrate(self, &settings.before, "before") {
            return Err(self.end(halt));
        }
        let done = match &settings.strategy {
            Strategy::Rolling(rolling) => self.rolling(rolling),
            Strategy::BlueGreen(blue_green) => self.blue_green(blue_green),
            Strategy::Recreate => self.recreate(),
            Strategy::Restart => self.restart(),
            Strategy::Undo(undo) => self.undo(undo),
            Strategy::History => self.history(),
        };
        let summary = done.map_err(|halt| self.end(halt))?;
        // what runs well stays, whatever becomes of a migration afterwards: what that has done can't be taken back
        self.settle();
        match migrate(self, &settings.after, "after") {
            Ok(()) => Ok(summary),
            Err(halt) => Err(match self.end(halt) {
                Failure::Failed(why) => Failure::Failed(format!("{summary}; but {why}")),
                other => other,
            }),
        }
    }

    /// A step for the report.
    pub fn step<T>(&mut self, name: &str, run: impl FnOnce(&mut Self) -> Result<T, Halt>) -> Result<T, Halt> {
        let began = self.cluster.now();
        self.cluster.say(Level::Info, &format!("→ {name}"));
        self.cluster.show(0, 0, name);
        let ended = run(self);
        let (status, message) = match &ended {
            Ok(_) => (TestStatus::Passed, String::new()),
            Err(Halt::Stuck { why, causes }) => (TestStatus::Failed, [std::slice::from_ref(why), causes].concat().join("\n")),
            Err(Halt::Stopped) => (TestStatus::Skipped, "the stage was stopped".to_owned()),
            Err(Halt::Failed(failure)) => (TestStatus::Errored, failure.to_string()),
        };
        if !message.is_empty() {
            self.cluster.say(Level::Error, &format!("{name}: {message}"));
        }
        let duration = self.cluster.now().saturating_sub(began);
        self.cases.push(TestCase { suite: "rollout".into(), name: name.into(), status, duration, message, location: None });
        ended
    }

    /// Waits for a moment, and takes what watches tell.
    pub fn pump(&mut self, timeout: Duration) {
        for (id, event) in self.cluster.changes(timeout) {
            let known = self.seen.entry(id).or_default();
            match event.change {
                Change::Added | Change::Modified => drop(known.insert(event.name, event.object)),
                Change::Deleted => drop(known.remove(&event.name)),
                Change::Synced => {}
            }
        }
    }

    pub fn watch(&mut self, selection: &Selection) -> Result<WatchId, Halt> {
        let selection = selection.clone();
        Ok(self.again(move |cluster| cluster.watch(&selection))?)
    }

    pub fn told(&self, watch: WatchId) -> impl Iterator<Item = &Value> {
        self.seen.get(&watch).into_iter().flat_map(BTreeMap::values)
    }

    /// Tries again while the cluster is away or fails.
    pub fn again<T>(&mut self, mut what: impl FnMut(&mut dyn Revisions) -> Result<T, Error>) -> Result<T, Error> {
        let began = self.cluster.now();
        loop {
            match what(self.cluster) {
                Err(error) if error.passes() && self.cluster.now().saturating_sub(began) < PATIENCE => {
                    self.cluster.say(Level::Warn, &format!("{error}; trying again"));
                    let until = self.cluster.now() + PAUSE;
                    while self.cluster.now() < until {
                        self.pump(TICK);
                    }
                }
                ended => return ended,
            }
        }
    }

    pub fn get(&mut self, target: &Target) -> Result<Value, Error> {
        let target = target.clone();
        self.again(move |cluster| cluster.get(&target))
    }

    pub fn before(&mut self, target: &Target) -> Result<Before, Halt> {
        let object = self.get(target)?;
        let selection = Selection::of(ResourceType::core("pods")).labels(workload::selector(&object));
        let pods = self.again(move |cluster| cluster.list(&selection))?;
        let pods = pods.iter().map(|pod| workload::text(pod, "/metadata/name").to_owned()).collect();
        Ok(Before { object, pods })
    }

    /// Changes an object; `back` is what undoes that. It is done first, while it changes nothing: a grant that does not allow the way back is told before there is
    /// a need for it.
    pub fn change(&mut self, target: &Target, patch: &Patch, back: Option<Patch>) -> Result<Value, Halt> {
        // whether it was done is not known if it fails, and undoing what was not done does no harm
        if let Some(back) = &back {
            self.again(|cluster| cluster.patch(target, back))?;
        }
        self.changed = true;
        self.back.extend(back.map(|back| (target.clone(), back)));
        let (target, patch) = (target.clone(), patch.clone());
        Ok(self.again(move |cluster| cluster.patch(&target, &patch))?)
    }

    /// From here on nothing is taken back.
    pub fn settle(&mut self) {
        self.back.clear();
    }

    pub fn heed(&mut self) -> Result<(), Halt> {
        if !self.deaf && self.cluster.stopping() { Err(Halt::Stopped) } else { Ok(()) }
    }

    /// Waits until a Deployment has its Pods, all of them of its newest template and ready. `object`: it as the last change has answered.
    pub fn ready(&mut self, target: &Target, object: &Value, before: &Before) -> Result<(), Halt> {
        let (began, within) = (self.cluster.now(), self.settings.deadline.0);
        let watch = self.watch(&Selection::one(target))?;
        let pods = self.watch(&Selection::of(ResourceType::core("pods")).labels(workload::selector(object)))?;
        let least = number(object, "/metadata/generation");
        let mut shown = String::new();
        loop {
            self.pump(TICK);
            self.heed()?;
            let old = |pod: &&Value| before.pods.contains(workload::text(pod, "/metadata/name"));
            let new: Vec<Value> = self.told(pods).filter(|pod| !old(pod)).cloned().collect();
            let Some(now) = self.told(watch).next().filter(|now| number(now, "/metadata/generation") >= least).cloned() else {
                self.in_time(target, began, within, "the cluster tells nothing of it")?;
                continue;
            };
            if workload::settled(&now) {
                return Ok(());
            }
            let wanted = workload::replicas(&now);
            let stands = format!(
                "{target}: {} of {wanted} Pods updated, {} available",
                number(&now, "/status/updatedReplicas"),
                number(&now, "/status/availableReplicas")
            );
            if stands != shown {
                self.cluster.say(Level::Info, &stands);
                shown = stands;
            }
            let all = signals(&new);
            let crashed = (all.crashes > self.settings.crashes)
                .then(|| format!("{} crashes, and {} are the limit", all.crashes, self.settings.crashes));
            if let Some(why) = workload::stalled(&now, Some(&before.object)).or_else(|| all.stuck.first().cloned()).or(crashed) {
                return Err(self.stuck(target, &why));
            }
            self.in_time(target, began, within, &shown)?;
        }
    }

    /// Waits until a Deployment has no Pod any more: a Deployment without replicas does not count those that are still ending.
    pub fn gone(&mut self, object: &Value) -> Result<(), Halt> {
        let (began, within) = (self.cluster.now(), self.settings.deadline.0);
        let selection = Selection::of(ResourceType::core("pods")).labels(workload::selector(object));
        loop {
            let pods = self.again(|cluster| cluster.list(&selection))?;
            let Some(pod) = pods.first() else { return Ok(()) };
            if self.cluster.now().saturating_sub(began) >= within {
                let why = format!("{} does not end, for {}", workload::text(pod, "/metadata/name"), runner_sdk::Span(within));
                return Err(Halt::Stuck { why, causes: Vec::new() });
            }
            self.heed()?;
            self.pump(TICK);
        }
    }

    fn in_time(&mut self, target: &Target, began: Duration, within: Duration, stands: &str) -> Result<(), Halt> {
        if self.cluster.now().saturating_sub(began) < within {
            return Ok(());
        }
        Err(self.stuck(target, &format!("not ready after {}: {stands}", runner_sdk::Span(within))))
    }

    fn stuck(&mut self, target: &Target, why: &str) -> Halt {
        Halt::Stuck { why: format!("{target} does not get ready: {why}"), causes: why_stuck(self.cluster, target) }
    }

    /// How it ends if it does not go on. Takes back what was done, if the settings say so.
    pub fn end(&mut self, halt: Halt) -> Failure {
        let (otherwise, why) = match &halt {
            Halt::Stopped => (self.settings.on_cancel, "stopped".to_owned()),
            Halt::Stuck { why, .. } => (self.settings.on_failure, why.clone()),
            Halt::Failed(failure) => (self.settings.on_failure, failure.to_string()),
        };
        let denied = match halt {
            Halt::Failed(failure @ (Failure::Denied(_) | Failure::Misconfigured(_))) => Some(failure),
            _ => None,
        };
        if self.back.is_empty() || otherwise == Otherwise::Stay {
            let stands = if self.changed { "what was done stays as it is" } else { "nothing has been changed" };
            return denied.unwrap_or_else(|| Failure::Failed(format!("{why}; {stands}")));
        }
        self.deaf = true;
        let hurry = self.cluster.stopping();
        match self.step("roll back", |work| work.go_back(hurry)) {
            Ok(()) => denied.unwrap_or_else(|| Failure::Failed(format!("{why}; rolled back to what was before"))),
            Err(Halt::Failed(failure)) => Failure::Errored(format!("{why}; AND IT COULD NOT BE ROLLED BACK: {failure}")),
            Err(Halt::Stuck { why: left, .. }) => Failure::Failed(format!("{why}; rolled back to what was before, and {left}")),
            Err(Halt::Stopped) => Failure::Errored(format!("{why}; the rollback was stopped")),
        }
    }

    /// What the cluster says of Pods that failed when they served, as a part of the step that failed.
    fn look_now(&mut self) {
        let Some(target) = self.look_into.take() else { return };
        let causes = why_stuck(self.cluster, &target).join("\n");
        self.cluster.say(Level::Error, &causes);
        if let Some(case) = self.cases.iter_mut().rev().find(|case| case.status == TestStatus::Failed) {
            case.message = format!("{}\n{causes}", case.message);
        }
    }

    fn go_back(&mut self, hurry: bool) -> Result<(), Halt> {
        let (mut waited, mut failed) = (Vec::new(), None);
        for (target, patch) in std::mem::take(&mut self.back).into_iter().rev() {
            if target.kind.plural == "deployments" {
                self.look_now();
            }
            let before = if target.kind.plural == "deployments" && !hurry { self.before(&target).ok() } else { None };
            // what can't be taken back keeps nobody from taking back the rest
            match self.again(|cluster| cluster.patch(&target, &patch)) {
                Ok(object) => waited.extend(before.map(|before| (target, object, before))),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if let Some(error) = failed {
            return Err(error.into());
        }
        waited.iter().try_for_each(|(target, object, before)| self.ready(target, object, before))
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
