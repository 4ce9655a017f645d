//! Drives a canary through its steps: carries out what it decides, and brings it what happens.
//!
//! One loop. It waits a second at most, for what watches tell or for time; asks what is due; looks whether somebody wants the stage to stop; and goes on with the
//! order that is under way. All of it follows from what the host answers, so that a stage that was killed comes to the same point again.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use runner_analysis::{Failed, Probe, Reading, Side, Web, With};
use runner_sdk::control::Decision;
use runner_sdk::kubernetes::{Change, Error, Event, ResourceType, Selection, Target};
use runner_sdk::log::Level;
use runner_sdk::{Denial, Failure};
use runner_workloads::workload::{self, text};
use runner_workloads::{Cluster, WatchId, why_stuck};
use serde_json::Value;

use crate::health::Health;
use crate::ops::{self, Aim, Now, Op, Was, Which, share};
use crate::settings::Settings;
use crate::steps::{Action, Canary, Input, Metric, Outcome, Plan, Step};
use crate::traffic::Routes;

/// How often a part of a rollback is tried, and what is waited in between.
const TRIES: u32 = 20;
const AGAIN: Duration = Duration::from_secs(3);
/// The longest that it waits without looking up.
const TICK: Duration = Duration::from_secs(1);

/// What happened to a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    pub name: String,
    pub took: Duration,
}

/// What it came to.
#[derive(Debug)]
pub struct Told {
    pub outcome: Outcome,
    pub canary: Canary,
    pub probes: Vec<Probe>,
    pub sides: Vec<Side>,
    pub steps: Vec<Passed>,
    /// Why the cluster's Pods do not get ready, if it went back for that.
    pub causes: Vec<String>,
    /// What was denied, if it went back for that.
    pub denial: Option<Denial>,
    /// How the traffic was parted when something spoke against it.
    pub part: String,
    /// How long it went on.
    pub took: Duration,
}

/// A Deployment that is watched.
pub(crate) struct Watched {
    pub(crate) target: Target,
    pub(crate) watch: WatchId,
    pub(crate) object: Value,
    /// Before it was changed last.
    pub(crate) earlier: Value,
}

pub struct Work<'w> {
    pub(crate) world: &'w mut dyn Cluster,
    pub(crate) web: &'w mut dyn Web,
    pub(crate) settings: &'w Settings,
    pub(crate) probes: Vec<Probe>,
    pub(crate) aim: Aim,
    pub(crate) container: HashMap<Which, String>,
    pub(crate) watched: HashMap<Which, Watched>,
    /// The watch of the canary's Pods.
    pub(crate) pods: WatchId,
    /// Names of the Pods of the others, for queries.
    pub(crate) routes: Option<(Routes, Value)>,
    pub(crate) health: Health,
    pub(crate) order: VecDeque<Op>,
    /// Whether an order is under way; it may be empty.
    pub(crate) acting: bool,
    /// Since when the first of the order is tried or waited for, and when it is tried again.
    pub(crate) since: Duration,
    pub(crate) again: Duration,
    pub(crate) asked: Option<u32>,
    pub(crate) weight: u32,
    pub(crate) promoting: bool,
    pub(crate) restoring: bool,
    pub(crate) asking: bool,
    pub(crate) stopping: bool,
    /// Whose Pods are to be looked into before they go.
    pub(crate) look_into: Option<Target>,
    pub(crate) causes: Vec<String>,
    pub(crate) denial: Option<Denial>,
    pub(crate) part: String,
    pub(crate) steps: Vec<Passed>,
    pub(crate) began: Duration,
    /// When the run began, in seconds since 1970.
    pub(crate) epoch: f64,
}

impl<'w> Work<'w> {
    /// Reads how things are, and changes nothing. `epoch`: when the run began, in seconds since 1970.
    ///
    /// # Errors
    /// What stands against a canary: settings, objects that are not there, a source that does not answer, a grant that is missing.
    pub fn begin(
        world: &'w mut dyn Cluster,
        web: &'w mut dyn Web,
        settings: &'w Settings,
        epoch: f64,
    ) -> Result<(Work<'w>, Plan), Failure> {
        let (probes, steps) = settings.plan().map_err(Failure::Misconfigured)?;
        let mut deployments = vec![(Which::Stable, settings.deployment.clone()), (Which::Canary, settings.canary())];
        deployments.extend(settings.baseline.iter().map(|name| (Which::Baseline, name.clone())));
        let (mut watched, mut container, mut was) = (HashMap::new(), HashMap::new(), HashMap::new());
        for (which, name) in deployments {
            let target = Target::deployment(&name);
            let object = world.get(&target).map_err(|error| missing(error, which, &name, &settings.deployment))?;
            let named = workload::container(&object, settings.container.as_deref()).map_err(Failure::Misconfigured)?;
            let before = Was { replicas: workload::replicas(&object), image: workload::image(&object, &named).to_owned() };
            world.say(Level::Info, &format!("before: {name} has {} Pods of {}", before.replicas, before.image));
            let watch = world.watch(&Selection::one(&target))?;
            was.insert(which, before);
            container.insert(which, named);
            watched.insert(which, Watched { target, watch, earlier: object.clone(), object });
        }
        let (stable, canary) = (was[&Which::Stable].clone(), was[&Which::Canary].clone());
        if stable.replicas == 0 {
            return Err(Failure::misconfigured(format_args!(
                "deployment: {} has no Pods, so there is no traffic that could be parted; use `rollout`",
                settings.deployment
            )));
        }
        let routes = Routes::of(settings)
            .map(|routes| -> Result<_, Failure> {
                let object = world.get(&routes.target)?;
                let weight = routes.weight(&object).map_err(Failure::Misconfigured)?;
                if weight > 0 {
                    world.say(
                        Level::Warn,
                        &format!("{} leads {weight}% to the canary already; that is where a rollback leads to", routes.target),
                    );
                }
                Ok((routes, object))
            })
            .transpose()?;
        if canary.replicas > 0 {
            world.say(
                Level::Warn,
                &format!("{} has {} Pods already; that is where a rollback leads to", settings.canary(), canary.replicas),
            );
        }
        let selector = workload::selector(&watched[&Which::Canary].object);
        let pods = world.watch(&Selection::of(ResourceType::core("pods")).labels(selector))?;
        let aim = Aim {
            stable,
            canary,
            baseline: was.get(&Which::Baseline).cloned(),
            image: settings.image.clone(),
            routed: routes.is_some(),
            deadline: settings.deadline.0,
        };
        let metrics =
            probes.iter().map(|probe| Metric { name: probe.name.clone(), conditions: probe.conditions.clone(), limits: probe.limits });
        let plan = Plan { steps, metrics: metrics.collect(), on_cancel: settings.on_cancel.into(), tries: TRIES, again: AGAIN };
        let began = world.now();
        let mut work = Work {
            world,
            web,
            settings,
            probes,
            aim,
            container,
            watched,
            pods,
            routes,
            health: Health::new(settings.signals.clone()),
            order: VecDeque::new(),
            acting: false,
            since: began,
            again: began,
            asked: None,
            weight: 0,
            promoting: false,
            restoring: false,
            asking: false,
            stopping: false,
            look_into: None,
            causes: Vec::new(),
            denial: None,
            part: String::new(),
            steps: Vec::new(),
            began,
            epoch,
        };
        work.look(Duration::ZERO);
        work.ask_sources()?;
        work.rehearse()?;
        work.health.begin();
        Ok((work, plan))
    }

    /// Goes the way back while it changes nothing: a grant that does not allow it is told now, and not when there is need of it.
    fn rehearse(&mut self) -> Result<(), Failure> {
        let was = [
            (Which::Stable, Some(&self.aim.stable)),
            (Which::Canary, Some(&self.aim.canary)),
            (Which::Baseline, self.aim.baseline.as_ref()),
        ];
        for (which, was) in was.into_iter().filter_map(|(which, was)| Some((which, was?))) {
            let patch = workload::change(Some(was.replicas), Some((&self.container[&which], &was.image)));
            self.world.patch(&self.watched[&which].target, &patch)?;
        }
        if let Some((routes, before)) = &self.routes {
            self.world.patch(&routes.target, &routes.rehearsal(before).map_err(Failure::Misconfigured)?)?;
        }
        Ok(())
    }

    /// A source that does not answer before anything has changed is told now.
    fn ask_sources(&mut self) -> Result<(), Failure> {
        for number in 0..self.probes.len() {
            let (probe, side) = (self.probes[number].clone(), self.side(Which::Stable));
            let reading = probe.try_read(self.web, &side);
            let why = match reading {
                Ok(Reading::Broken(why)) => why,
                Ok(_) => continue,
                Err(Failed::Lasting(failure)) => return Err(failure),
                Err(Failed::Passing(why)) => why,
            };
            return Err(Failure::errored(format_args!(
                "metric `{}`: its source says nothing before anything has changed: {why}",
                probe.name
            )));
        }
        Ok(())
    }

    /// Runs it to its end.
    pub fn run(mut self, plan: Plan) -> Told {
        let steps = plan.steps.clone();
        let mut canary = Canary::new(plan);
        let (mut at, mut step_began) = (0, self.began);
        let (mut input, mut shown) = (Input::Tick, String::new());
        let outcome = loop {
            let now = self.world.now();
            let back = canary.goes_back();
            let action = canary.take(now - self.began, input);
            if canary.goes_back() && !back {
                self.note_the_turn();
            }
            while at < canary.step() {
                self.steps.push(Passed { name: steps[at].to_string(), took: now - step_began });
                self.world.say(Level::Info, &format!("✓ {}", steps[at]));
                (at, step_began) = (at + 1, now);
            }
            let doing = match (canary.goes_back(), canary.held()) {
                (true, _) => "rolling back".to_owned(),
                (false, Some((metric, why))) => format!("held by {metric}: {why}"),
                (false, None) => steps.get(canary.step()).map(Step::to_string).unwrap_or_default(),
            };
            if doing != shown {
                self.world.show(canary.step().min(steps.len()), steps.len(), &doing);
                shown = doing;
            }
            input = match action {
                Some(Action::Finish(outcome)) => {
                    match outcome {
                        Outcome::Promoted => self.steps.push(Passed { name: steps[at].to_string(), took: now - step_began }),
                        Outcome::Stayed => self.note_what_stays(),
                        Outcome::RolledBack(_) | Outcome::Stranded { .. } => {}
                    }
                    break outcome;
                }
                // a source may take its time, and there may be several
                Some(Action::Measure(metric)) => self.stop(&canary).unwrap_or_else(|| self.measure(metric)),
                Some(Action::AskApproval) => {
                    self.asking = true;
                    let question = format!("{} at {}: go on?", self.settings.image, self.parting());
                    self.world.say(Level::Info, &format!("waiting for approval: {question}"));
                    self.world.ask(&question);
                    Input::Tick
                }
                Some(action) => {
                    self.start(&action);
                    Input::Tick
                }
                None => self.next(&canary),
            };
        };
        let sides = (0..self.probes.len()).map(|_| self.side(Which::Canary)).collect();
        let took = self.world.now() - self.began;
        Told {
            outcome,
            canary,
            probes: self.probes,
            sides,
            steps: self.steps,
            causes: self.causes,
            denial: self.denial,
            part: self.part,
            took,
        }
    }

    /// Whether somebody has asked the stage to stop, and it was not told yet.
    fn stop(&mut self, canary: &Canary) -> Option<Input> {
        if self.stopping || !self.world.stopping() {
            return None;
        }
        self.stopping = true;
        let left = if self.order.contains(&Op::Verify) { "the Pods are" } else { "the traffic and the Pods are" };
        let back = canary.goes_back().then(|| format!("; the rollback goes on: {left} not yet as they were"));
        self.world.say(Level::Warn, &format!("asked to stop{}", back.unwrap_or_default()));
        ops::hurry(&mut self.order);
        Some(Input::Cancel)
    }

    /// What happens next: the order under way, people, the cluster, or time.
    fn next(&mut self, canary: &Canary) -> Input {
        if let Some(input) = self.stop(canary) {
            return input;
        }
        if self.acting
            && self.world.now() >= self.again
            && let Some(input) = self.carry_on()
        {
            return input;
        }
        if self.asking
            && let Some(decision) = self.world.answer()
        {
            self.asking = false;
            return match decision {
                Decision::Approved => Input::Approved,
                Decision::Rejected(why) => Input::Rejected(why),
            };
        }
        let settling = matches!(self.order.front(), Some(Op::Settled { which: Which::Canary, .. }));
        let now = self.world.now();
        if !canary.goes_back()
            && let Some(Watched { object, earlier, .. }) = self.watched.get(&Which::Canary)
            && let Some((what, why)) = self.health.judge(now, object, earlier, settling)
        {
            self.look_into = Some(self.watched[&Which::Canary].target.clone());
            return Input::Signal { what: what.to_owned(), why };
        }
        let wake = canary.wake().map_or(TICK, |wake| (self.began + wake).saturating_sub(now));
        if !self.order.is_empty() || !wake.is_zero() {
            self.look(wake.clamp(Duration::from_millis(1), TICK));
        }
        Input::Tick
    }

    /// Takes what watches tell.
    fn look(&mut self, timeout: Duration) {
        for (id, Event { change, name, object, .. }) in self.world.changes(timeout) {
            if id == self.pods {
                match change {
                    Change::Added | Change::Modified => self.health.pod(&name, Some(&object)),
                    Change::Deleted => self.health.pod(&name, None),
                    Change::Synced => {}
                }
            } else if let Some(watched) = self.watched.values_mut().find(|watched| watched.watch == id)
                && matches!(change, Change::Added | Change::Modified)
                && newer(&object, &watched.object)
            {
                watched.object = object;
            }
        }
    }

    fn start(&mut self, action: &Action) {
        match action {
            Action::SetWeight(weight) => self.weight = *weight,
            Action::Scale(pods) => self.asked = Some(*pods),
            Action::Promote => self.promoting = true,
            Action::RestoreWeights => self.restoring = true,
            Action::RestorePods => {
                // the traffic is back; now there is time to look, and the Pods are still there
                if let Some(target) = self.look_into.take() {
                    self.causes = why_stuck(self.world, &target);
                }
            }
            _ => {}
        }
        let canary = workload::replicas(&self.watched[&Which::Canary].object);
        let now = Now { canary, asked: self.asked, promoting: self.promoting, hurry: self.stopping };
        self.world.say(Level::Info, &format!("→ {}", saying(action)));
        self.order = self.aim.order(action, now).into();
        self.asking = false;
        self.acting = true;
        self.since = self.world.now();
        self.again = self.since;
    }

    fn measure(&mut self, metric: usize) -> Input {
        let probe = self.probes[metric].clone();
        let side = self.side(Which::Canary);
        let reading = probe.read(self.web, &side);
        let beside = probe.with.map(|with| match with {
            With::Stable => self.side(Which::Stable),
            With::Baseline => self.side(Which::Baseline),
            With::Before => Side { at: Some(self.epoch), ..self.side(Which::Stable) },
        });
        // without a number of its own there is nothing to compare, and a source that does not answer takes its time
        let measured = matches!(reading, Reading::Number { .. });
        let stable = beside.filter(|_| measured).map(|side| probe.read(self.web, &side));
        let line = |reading: &Reading| match reading {
            Reading::Number { value, of: Some(of) } => format!("{value} (of {of})"),
            Reading::Number { value, of: None } => value.to_string(),
            Reading::Nothing(why) | Reading::Broken(why) => why.clone(),
        };
        let compared = stable.as_ref().map(|stable| format!(", beside {}", line(stable))).unwrap_or_default();
        let level = if measured { Level::Debug } else { Level::Warn };
        self.world.say(level, &format!("{}: {}{compared}", probe.name, line(&reading)));
        Input::Measured { metric, reading, stable }
    }

    /// Who is measured.
    fn side(&self, which: Which) -> Side {
        let target = &self.watched[&which].target;
        let side = Side::default()
            .naming("deployment", &target.name)
            .naming("namespace", text(&self.watched[&which].object, "/metadata/namespace"));
        if which == Which::Canary {
            return side.naming("pods", self.health.names().join("|"));
        }
        // names of Pods begin with that of their Deployment, a hash and five letters; another Deployment's name may begin the same way
        side.naming("pods", format!("{}-[a-z0-9]+-[a-z0-9]{{5}}", target.name))
    }

    /// What holds when something speaks against the canary.
    fn note_the_turn(&mut self) {
        self.part = self.parting();
    }

    /// What is left as it is.
    fn note_what_stays(&mut self) {
        self.part = self.parting();
        let stable = &self.watched[&Which::Stable];
        if workload::image(&stable.object, &self.container[&Which::Stable]) == self.settings.image {
            self.part = format!("{}, and {} is getting it", self.part, stable.target.name);
        }
    }

    /// `10% of the traffic`, `1 of 10 Pods (10%)`
    fn parting(&self) -> String {
        if self.routes.is_some() {
            return format!("{}% of the traffic", self.weight);
        }
        let pods = |which: Which| self.watched.get(&which).map_or(0, |watched| workload::replicas(&watched.object));
        let (canary, all) = (pods(Which::Canary), pods(Which::Canary) + pods(Which::Stable) + pods(Which::Baseline));
        format!("{canary} of {all} Pods ({:.0}%)", share(canary, all))
    }

    /// What a step by Pods came to, where that is not what was asked for.
    pub(crate) fn said(&self) -> Option<String> {
        if self.routes.is_some() || self.restoring || self.promoting || self.weight == 0 {
            return None;
        }
        let pods = |which: Which| self.watched.get(&which).map_or(0, |watched| workload::replicas(&watched.object));
        let (canary, all) = (pods(Which::Canary), pods(Which::Canary) + pods(Which::Stable) + pods(Which::Baseline));
        let is = share(canary, all);
        let off = (is - f64::from(self.weight)).abs() > 0.5;
        off.then(|| format!("{}% can't be had with {all} Pods: the canary is {canary} of them, which is {is:.1}%", self.weight))
    }
}

fn missing(error: Error, which: Which, name: &str, stable: &str) -> Failure {
    match error {
        Error::NotFound(_) if which == Which::Stable => Failure::misconfigured(format_args!("deployment: there is no Deployment {name}")),
        Error::NotFound(_) => Failure::misconfigured(format_args!(
            "there is no Deployment {name}: make one like {stable}, with a label of its own in its selector and its template, and no replicas"
        )),
        other => other.into(),
    }
}

fn saying(action: &Action) -> String {
    match action {
        Action::SetWeight(weight) => format!("set-weight {weight}%"),
        Action::Scale(pods) => format!("scale {pods}"),
        Action::Promote => "promote".into(),
        Action::RestoreWeights => "rolling back: the traffic".into(),
        Action::RestorePods => "rolling back: the Pods".into(),
        other => format!("{other:?}"),
    }
}

/// A watch may be behind what a patch has answered.
fn newer(object: &Value, known: &Value) -> bool {
    workload::number(object, "/metadata/generation") >= workload::number(known, "/metadata/generation")
}

#[cfg(test)]
#[path = "work_tests.rs"]
mod tests;
