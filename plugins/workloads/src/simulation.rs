//! A cluster for tests, in which Deployments behave as their images say, and time passes when somebody waits.
//!
//! It knows just enough: rolling updates that surge and wait for readiness, Pods that crash or never come, Jobs that end, the patches that stages write, watches
//! of all of it. What is written is kept, and at each moment how many Pods are ready.

mod patch;
mod reconcile;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use runner_sdk::control::Decision;
use runner_sdk::kubernetes::pods::{LogOptions, Pod};
use runner_sdk::kubernetes::rollouts::Revision;
use runner_sdk::kubernetes::{Change, Error, Event, Occurrence, Patch, ResourceType, Selection, Target};
use runner_sdk::log::Level;
use serde_json::{Value, json};

use crate::cluster::{Cluster, Revisions, WatchId};
use crate::workload::replicas;

/// What the Pods of an image do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    Good,
    Crashes,
    NeverReady,
    NoImage,
    Unschedulable,
    /// The controller may not even make them.
    OverQuota,
}

/// How things stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    pub at: Duration,
    /// Ready Pods, by Deployment.
    pub ready: BTreeMap<String, u32>,
}

#[derive(Debug, Clone)]
pub(crate) struct Running {
    name: String,
    deployment: String,
    template: Value,
    born: Duration,
    /// It ran before time began.
    old: bool,
}

type Fault = Box<dyn FnMut(&str, Duration) -> Option<Error>>;
type Later = Box<dyn FnOnce(&mut Simulation)>;

pub struct Simulation {
    pub now: Duration,
    pub behaviours: BTreeMap<String, Behaviour>,
    /// `patch deployments.apps/api`, with the time in seconds before it.
    pub written: Vec<String>,
    pub said: Vec<String>,
    pub shown: Vec<String>,
    pub moments: Vec<Moment>,
    /// Why an operation fails, such as `get deployments.apps/api`.
    pub fault: Fault,
    /// When somebody asks the stage to stop.
    pub stop_at: Option<Duration>,
    /// What people were asked, and what they say and when.
    pub asked: Vec<String>,
    pub decision: Option<(Duration, Decision)>,
    later: Vec<(Duration, Later)>,
    objects: BTreeMap<(String, String), Value>,
    templates: BTreeMap<String, Vec<Value>>,
    pods: Vec<Running>,
    progressed: BTreeMap<String, (String, Duration)>,
    made: u32,
    watches: Vec<(Selection, BTreeMap<String, Value>)>,
}

impl Default for Simulation {
    fn default() -> Simulation {
        Simulation::new()
    }
}

impl Simulation {
    pub fn new() -> Simulation {
        Simulation {
            now: Duration::ZERO,
            behaviours: BTreeMap::new(),
            written: Vec::new(),
            said: Vec::new(),
            shown: Vec::new(),
            moments: Vec::new(),
            fault: Box::new(|_, _| None),
            stop_at: None,
            asked: Vec::new(),
            decision: None,
            later: Vec::new(),
            objects: BTreeMap::new(),
            templates: BTreeMap::new(),
            pods: Vec::new(),
            progressed: BTreeMap::new(),
            made: 0,
            watches: Vec::new(),
        }
    }

    /// A Deployment that has run for a while: one container, called as it is, and the label `app` beside its own name in `track`.
    #[must_use]
    pub fn with(mut self, name: &str, app: &str, replicas: u32, image: &str) -> Simulation {
        let labels = json!({ "app": app, "track": name });
        let template = json!({ "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "api", "image": image }] } });
        let spec =
            json!({ "replicas": replicas, "selector": { "matchLabels": labels }, "progressDeadlineSeconds": 60, "template": template });
        let metadata = json!({ "name": name, "namespace": "shop", "generation": 1, "uid": format!("uid-{name}") });
        self.put("deployments.apps", name, json!({ "kind": "Deployment", "metadata": metadata, "spec": spec }));
        for _ in 0..replicas {
            self.begin(name, &template);
        }
        self.now = Duration::from_secs(100);
        self.reconcile();
        self.now = Duration::ZERO;
        for pod in &mut self.pods {
            (pod.born, pod.old) = (Duration::ZERO, true);
        }
        self.moments.clear();
        self.age();
        self
    }

    /// Any object.
    #[must_use]
    pub fn having(mut self, kind: &str, name: &str, object: Value) -> Simulation {
        self.put(kind, name, object);
        self
    }

    #[must_use]
    pub fn behaving(mut self, image: &str, behaviour: Behaviour) -> Simulation {
        self.behaviours.insert(image.to_owned(), behaviour);
        self
    }

    /// Something that happens at a time.
    #[must_use]
    pub fn later(mut self, seconds: u64, what: impl FnOnce(&mut Simulation) + 'static) -> Simulation {
        self.later.push((Duration::from_secs(seconds), Box::new(what)));
        self
    }

    /// The object as it is, without what the cluster says of it.
    pub fn spec(&self, kind: &str, name: &str) -> Value {
        self.objects.get(&(kind.to_owned(), name.to_owned())).map_or(Value::Null, |object| object["spec"].clone())
    }

    /// `api=3@shop:1` for each Deployment: Pods that it should have, and the image.
    pub fn state(&self) -> String {
        let deployments = self.objects.iter().filter(|((kind, _), _)| kind == "deployments.apps");
        let one = |((_, name), object): (&(String, String), &Value)| {
            format!("{name}={}@{}", replicas(object), crate::workload::image(object, "api"))
        };
        deployments.map(one).collect::<Vec<_>>().join(" ")
    }

    /// The fewest ready Pods of these Deployments together, at any moment.
    pub fn fewest_ready(&self, deployments: &[&str]) -> u32 {
        let together = |moment: &Moment| deployments.iter().map(|name| moment.ready.get(*name).copied().unwrap_or_default()).sum();
        self.moments.iter().map(together).min().unwrap_or_default()
    }

    /// Makes a program of the cluster's crash, or a Pod unready, from the outside.
    pub fn behave(&mut self, image: &str, behaviour: Behaviour) {
        self.behaviours.insert(image.to_owned(), behaviour);
        let now = self.now;
        for pod in self.pods.iter_mut().filter(|pod| reconcile::image_of(&pod.template) == image) {
            (pod.born, pod.old) = (now, false);
        }
    }

    pub fn edit(&mut self, kind: &str, name: &str, edit: impl FnOnce(&mut Value)) {
        let object = self.objects.get_mut(&(kind.to_owned(), name.to_owned())).expect("the object is there");
        edit(object);
        self.reconcile();
    }

    fn put(&mut self, kind: &str, name: &str, object: Value) {
        if kind == "deployments.apps" {
            self.templates.entry(name.to_owned()).or_default().push(object["spec"]["template"].clone());
        }
        self.objects.insert((kind.to_owned(), name.to_owned()), object);
    }

    fn checked(&mut self, operation: &str, target: &Target) -> Result<(), Error> {
        let line = format!("{operation} {}/{}", target.kind, target.name);
        (self.fault)(&line, self.now).map_or(Ok(()), Err)
    }

    fn found(&self, target: &Target) -> Result<Value, Error> {
        if target.kind == ResourceType::core("pods") {
            let found = self.pods.iter().find(|pod| pod.name == target.name).map(|pod| self.pod(pod));
            return found.ok_or_else(|| Error::NotFound(format!("{target} is not there")));
        }
        let key = (target.kind.to_string(), target.name.clone());
        self.objects.get(&key).cloned().ok_or_else(|| Error::NotFound(format!("{target} is not there")))
    }

    fn selected(&self, selection: &Selection) -> BTreeMap<String, Value> {
        let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let kind = selection.kind().to_string();
        let mut found: BTreeMap<String, Value> = if kind == "pods" {
            self.pods.iter().map(|pod| (pod.name.clone(), self.pod(pod))).collect()
        } else {
            self.objects.iter().filter(|((of, _), _)| *of == kind).map(|(_, object)| (name(object), object.clone())).collect()
        };
        let labels: Vec<&str> = selection.label_selector().split(',').filter(|part| !part.is_empty()).collect();
        let fits = |object: &Value| {
            labels.iter().all(|part| {
                let (key, value) = part.split_once('=').expect("the simulation knows equality only");
                object["metadata"]["labels"][key] == value
            })
        };
        found.retain(|_, object| fits(object));
        if let Some(one) = selection.field_selector().strip_prefix("metadata.name=") {
            found.retain(|name, _| name == one);
        }
        found
    }

    /// What watches have not told yet.
    fn untold(&mut self) -> Vec<(WatchId, Event)> {
        let mut told = Vec::new();
        for id in 0..self.watches.len() {
            let now = self.selected(&self.watches[id].0.clone());
            let before = std::mem::replace(&mut self.watches[id].1, now.clone());
            let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
            for name in names {
                let (change, object) = match (before.get(name), now.get(name)) {
                    (None, Some(object)) => (Change::Added, object),
                    (Some(before), Some(object)) if before != object => (Change::Modified, object),
                    (Some(object), None) => (Change::Deleted, object),
                    _ => continue,
                };
                told.push((id, Event { change, namespace: "shop".into(), name: name.clone(), object: object.clone() }));
            }
        }
        told
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        while let Some(at) = self.later.iter().position(|(at, _)| *at <= self.now) {
            let (_, what) = self.later.remove(at);
            what(self);
        }
        self.reconcile();
    }
}

impl Cluster for Simulation {
    fn get(&mut self, target: &Target) -> Result<Value, Error> {
        self.checked("get", target)?;
        self.found(target)
    }

    fn list(&mut self, selection: &Selection) -> Result<Vec<Value>, Error> {
        self.checked("list", &Target::new(selection.kind().clone(), ""))?;
        Ok(self.selected(selection).into_values().collect())
    }

    fn create(&mut self, target: &Target, object: &Value) -> Result<Value, Error> {
        self.checked("create", target)?;
        if self.found(target).is_ok() {
            return Err(Error::Conflict(format!("{target} is there already")));
        }
        let mut object = object.clone();
        object["metadata"]["generation"] = json!(1);
        object["metadata"]["namespace"] = json!("shop");
        object["metadata"]["uid"] = json!(format!("uid-{}", target.name));
        object["created"] = json!(self.now.as_millis());
        self.written.push(format!("{} create {}/{}", self.now.as_secs(), target.kind, target.name));
        self.put(&target.kind.to_string(), &target.name, object);
        self.reconcile();
        self.found(target)
    }

    fn patch(&mut self, target: &Target, patch: &Patch) -> Result<Value, Error> {
        self.checked("patch", target)?;
        let mut object = self.found(target)?;
        let before = object.clone();
        patch::apply(&mut object, patch).map_err(Error::Invalid)?;
        if object["spec"] != before["spec"] {
            let generation = object["metadata"]["generation"].as_u64().unwrap_or_default();
            object["metadata"]["generation"] = json!(generation + 1);
        }
        if object != before {
            self.written.push(format!("{} patch {}/{}", self.now.as_secs(), target.kind, target.name));
        }
        self.objects.insert((target.kind.to_string(), target.name.clone()), object);
        self.reconcile();
        self.found(target)
    }

    fn events(&mut self, target: &Target) -> Result<Vec<Occurrence>, Error> {
        self.checked("events", target)?;
        let Some(pod) = self.pods.iter().find(|pod| pod.name == target.name) else { return Ok(Vec::new()) };
        let behaviour = self.behaviour(&pod.template);
        let warning = |reason: &str, message: &str| {
            let (severity, source) = ("Warning".to_owned(), "kubelet".to_owned());
            let (first, last) = (Duration::ZERO, Duration::ZERO);
            Occurrence { severity, reason: reason.to_owned(), message: message.to_owned(), count: 3, first, last, source }
        };
        Ok(match behaviour {
            Behaviour::NeverReady => vec![warning("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 500")],
            Behaviour::NoImage => vec![warning("Failed", "Failed to pull image: not found")],
            Behaviour::Crashes => vec![warning("BackOff", "Back-off restarting failed container")],
            _ => Vec::new(),
        })
    }

    fn log(&mut self, pod: &Pod, options: LogOptions) -> Result<String, Error> {
        Ok(if options.previous { "the last words\n".to_owned() } else { format!("{pod:?} runs\n").split_off(4) })
    }

    fn watch(&mut self, selection: &Selection) -> Result<WatchId, Error> {
        self.checked("watch", &Target::new(selection.kind().clone(), ""))?;
        self.watches.push((selection.clone(), BTreeMap::new()));
        Ok(self.watches.len() - 1)
    }

    fn changes(&mut self, timeout: Duration) -> Vec<(WatchId, Event)> {
        const TICK: Duration = Duration::from_millis(500);
        let until = self.now + timeout.min(Duration::from_secs(1));
        loop {
            let told = self.untold();
            if !told.is_empty() || self.now >= until {
                return told;
            }
            self.pass(TICK.min(until - self.now));
        }
    }

    fn now(&self) -> Duration {
        self.now
    }

    fn say(&mut self, _: Level, text: &str) {
        self.said.push(text.to_owned());
    }

    fn show(&mut self, done: usize, total: usize, text: &str) {
        self.shown.push(format!("{done}/{total} {text}"));
    }

    fn stopping(&mut self) -> bool {
        self.stop_at.is_some_and(|at| self.now >= at)
    }

    fn ask(&mut self, question: &str) {
        self.asked.push(question.to_owned());
    }

    fn answer(&mut self) -> Option<Decision> {
        let (at, decision) = self.decision.clone()?;
        (!self.asked.is_empty() && self.now >= at).then_some(decision)
    }
}

impl Revisions for Simulation {
    fn history(&mut self, target: &Target) -> Result<Vec<Revision>, Error> {
        self.checked("history", target)?;
        let templates = self.templates.get(&target.name).cloned().unwrap_or_default();
        let current = templates.len();
        let revision = |(number, template): (usize, Value)| Revision {
            number: number as u64 + 1,
            cause: String::new(),
            images: vec![reconcile::image_of(&template).to_owned()],
            created: Duration::ZERO,
            current: number + 1 == current,
            template,
        };
        Ok(templates.into_iter().enumerate().map(revision).collect())
    }

    fn undo(&mut self, target: &Target, revision: Option<u64>) -> Result<u64, Error> {
        self.checked("undo", target)?;
        let templates = self.templates.get(&target.name).cloned().unwrap_or_default();
        let number = revision.unwrap_or((templates.len() as u64).saturating_sub(1));
        let place = usize::try_from(number).unwrap_or_default().wrapping_sub(1);
        let template = templates.get(place).cloned().ok_or_else(|| Error::NotFound(format!("{target} has no revision {number}")))?;
        self.patch(target, &Patch::Merge(json!({ "spec": { "template": template } })))?;
        Ok(number)
    }

    fn restart(&mut self, target: &Target) -> Result<(), Error> {
        let annotations = json!({ "kubectl.kubernetes.io/restartedAt": self.now.as_secs().to_string() });
        self.patch(target, &Patch::Merge(json!({ "spec": { "template": { "metadata": { "annotations": annotations } } } }))).map(drop)
    }
}
