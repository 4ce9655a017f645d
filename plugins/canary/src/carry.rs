//! Carries out what the canary has decided: patches, waits until Pods are ready, leads traffic, and reads whether all is as it was.
//!
//! A cluster that is away or fails is tried again for a while. What does not get ready is looked into, so that the report can say why.

use std::time::Duration;

use runner_sdk::kubernetes::{Error, Patch};
use runner_sdk::log::Level;
use runner_workloads::workload;
use serde_json::Value;

use crate::ops::{Op, Was, Which};
use crate::steps::Input;
use crate::traffic::{self, Routes};
use crate::work::Work;

/// How long an order is tried again while the cluster is away or fails.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(2);

/// Why something is not done.
enum Trouble {
    Cluster(Error),
    Other(String),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Cluster(error)
    }
}

impl Work<'_> {
    /// Does as much of the order as can be done now. None: it is waited for.
    pub(crate) fn carry_on(&mut self) -> Option<Input> {
        while let Some(op) = self.order.front().cloned() {
            let now = self.world.now();
            match self.perform(&op) {
                Ok(true) => {
                    self.order.pop_front();
                    self.since = self.world.now();
                }
                Ok(false) => return None,
                Err(Trouble::Cluster(error)) if error.passes() && now.saturating_sub(self.since) < PATIENCE && !self.restoring => {
                    self.world.say(Level::Warn, &format!("{error}; trying again"));
                    self.again = now + PAUSE;
                    return None;
                }
                Err(trouble) => {
                    self.acting = false;
                    self.order.clear();
                    return Some(Input::Failed(self.told(trouble)));
                }
            }
        }
        self.acting = false;
        if let Some(said) = self.said() {
            self.world.say(Level::Info, &said);
        }
        Some(Input::Done)
    }

    fn told(&mut self, trouble: Trouble) -> String {
        match trouble {
            Trouble::Cluster(error) => {
                if let Error::Denied(denial) = &error
                    && self.denial.is_none()
                {
                    self.denial = Some(denial.clone());
                }
                let why = error.to_string();
                self.world.say(Level::Error, &why);
                why
            }
            Trouble::Other(why) => {
                self.world.say(Level::Error, &why);
                why
            }
        }
    }

    /// Whether it is done; otherwise it is waited for.
    fn perform(&mut self, op: &Op) -> Result<bool, Trouble> {
        match op {
            Op::Set { which, replicas, image } => {
                let watched = &self.watched[which];
                let container = &self.container[which];
                let replicas =
                    replicas.filter(|replicas| *replicas != workload::replicas(&watched.object) || !told_replicas(&watched.object));
                let image = image.as_deref().filter(|image| *image != workload::image(&watched.object, container));
                if replicas.is_none() && image.is_none() {
                    return Ok(true);
                }
                let patch = workload::change(replicas, image.map(|image| (container.as_str(), image)));
                let object = self.world.patch(&watched.target.clone(), &patch)?;
                let watched = self.watched.get_mut(which).expect("it is watched");
                watched.earlier = std::mem::replace(&mut watched.object, object);
                Ok(true)
            }
            Op::Settled { which, within, lenient } => {
                let (target, object) = (self.watched[which].target.clone(), &self.watched[which].object);
                if workload::settled(object) {
                    return Ok(true);
                }
                let (ready, wanted) = (workload::number(object, "/status/availableReplicas"), workload::replicas(object));
                let stalled = workload::stalled(object, Some(&self.watched[which].earlier));
                let late = self.world.now().saturating_sub(self.since) >= *within;
                if *lenient && (late || stalled.is_some()) {
                    self.world.say(Level::Warn, &format!("{target} has {ready} of {wanted} Pods ready; it is not waited for any longer"));
                    return Ok(true);
                }
                if late || stalled.is_some() {
                    self.look_into = Some(target.clone());
                    let why = stalled.unwrap_or_else(|| format!("{ready} of {wanted} Pods were ready after {within:.0?}"));
                    return Err(Trouble::Other(format!("{target} does not get ready: {why}")));
                }
                Ok(false)
            }
            Op::Route(weight) => {
                let weight = *weight;
                self.change_routes(|routes, object, before| routes.part(object, before, weight))
            }
            Op::RestoreRoutes => self.change_routes(Routes::restore),
            Op::Verify => self.verify(),
        }
    }

    fn change_routes(&mut self, change: impl FnOnce(&Routes, &Value, &Value) -> Result<Patch, String>) -> Result<bool, Trouble> {
        let Some((routes, before)) = self.routes.clone() else { return Ok(true) };
        let object = self.world.get(&routes.target)?;
        let patch = change(&routes, &object, &before).map_err(Trouble::Other)?;
        if !traffic::is_empty(&patch) {
            self.world.patch(&routes.target, &patch)?;
        }
        Ok(true)
    }

    /// Whether everything is as it was: read anew, so that it is the cluster that says so.
    fn verify(&mut self) -> Result<bool, Trouble> {
        let mut left = Vec::new();
        let was = [
            (Which::Stable, Some(self.aim.stable.clone())),
            (Which::Canary, Some(self.aim.canary.clone())),
            (Which::Baseline, self.aim.baseline.clone()),
        ];
        for (which, was) in was.into_iter().filter_map(|(which, was)| Some((which, was?))) {
            let (target, container) = (self.watched[&which].target.clone(), self.container[&which].clone());
            let object = self.world.get(&target)?;
            let is = Was { replicas: workload::replicas(&object), image: workload::image(&object, &container).to_owned() };
            if is != was {
                left.push(format!("{target} has {} Pods of {}, and had {} of {}", is.replicas, is.image, was.replicas, was.image));
            }
        }
        if let Some((routes, before)) = self.routes.clone() {
            let object = self.world.get(&routes.target)?;
            if !traffic::is_empty(&routes.restore(&object, &before).map_err(Trouble::Other)?) {
                left.push(format!("{} has other weights than before", routes.target));
            }
        }
        if left.is_empty() { Ok(true) } else { Err(Trouble::Other(format!("not all is as it was: {}", left.join("; ")))) }
    }
}

/// Whether the object says how many Pods there are to be: one that does not means one.
fn told_replicas(object: &Value) -> bool {
    object.pointer("/spec/replicas").is_some()
}
