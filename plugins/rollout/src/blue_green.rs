//! Two Deployments behind one Service: the one that does not serve gets the version, is checked through a preview, and then all the traffic goes there at once.
//!
//! Nobody is sent away: the new Pods are ready before the switch, and the old ones are kept for a while after it. For as long as they are, going back is one change of
//! a selector.

use std::collections::BTreeMap;
use std::time::Duration;

use runner_sdk::Failure;
use runner_sdk::kubernetes::{Patch, ResourceType, Selection, Target};
use runner_sdk::log::Level;
use runner_workloads::{signals, workload};
use serde_json::{Value, json};

use crate::settings::{BlueGreen, Check};
use crate::work::{Before, Halt, Work};

/// How long one question may take.
const ONE_QUESTION: Duration = Duration::from_secs(5);
/// Between two questions.
const PAUSE: Duration = Duration::from_secs(2);
/// So many times in a row a check may fail after the switch.
const FAILURES: u32 = 3;

/// Who serves, and by which label.
#[derive(Debug)]
struct Colours {
    serving: (Target, Before),
    idle: (Target, Before),
    key: String,
    /// Of the label, of those who serve and of those who do not.
    values: (String, String),
}

impl Work<'_> {
    pub fn blue_green(&mut self, wanted: &BlueGreen) -> Result<String, Halt> {
        let image = self.settings.image.clone().unwrap_or_default();
        let service = Target::service(&wanted.service);
        let colours = self.colours(wanted, &service)?;
        let (old, new) = (&colours.serving.0, &colours.idle.0);
        let container = |object: &Value| workload::container(object, self.settings.container.as_deref()).map_err(Failure::Misconfigured);
        let idle = &colours.idle.1.object;
        let (named, serving) = (container(idle)?, container(&colours.serving.1.object)?);
        if workload::image(&colours.serving.1.object, &serving) == image {
            return Ok(format!("{} serves {image} already", old.name));
        }
        let replicas = workload::replicas(&colours.serving.1.object);
        self.cluster.say(Level::Info, &format!("{} serves; {} gets {image}", old.name, new.name));

        self.step(&format!("start {replicas} Pods of {}", new.name), |work| {
            let back = workload::change(Some(workload::replicas(idle)), Some((&named, workload::image(idle, &named))));
            let object = work.change(new, &workload::change(Some(replicas), Some((&named, &image))), Some(back))?;
            work.ready(new, &object, &colours.idle.1)
        })?;
        let base = self.preview(wanted, &colours)?;
        for (number, check) in wanted.checks.iter().enumerate() {
            self.step(&format!("check {}", check.path), |work| work.check_until(check, &base[number]))?;
        }
        self.step(&format!("switch {} to {}", service.name, new.name), |work| {
            let select = |value: &str| Patch::Merge(json!({ "spec": { "selector": { &colours.key: value } } }));
            work.change(&service, &select(&colours.values.1), Some(select(&colours.values.0))).map(drop)
        })?;
        self.step(&format!("keep {} for {}", old.name, wanted.keep), |work| work.keep(wanted, &colours, &base))?;
        self.step(&format!("take away the Pods of {}", old.name), |work| {
            // the new version has proved itself: from here on there is no way back that would lose nothing
            work.settle();
            work.change(old, &workload::change(Some(0), None), None).map(drop)
        })?;
        self.outputs.push(("image", image.clone()));
        self.outputs.push(("deployment", new.name.clone()));
        Ok(format!("{} serves {image}", new.name))
    }

    fn colours(&mut self, wanted: &BlueGreen, service: &Target) -> Result<Colours, Halt> {
        let selector = self.get(service)?.pointer("/spec/selector").cloned().unwrap_or_default();
        let [first, second] = &wanted.deployments;
        let (first, second) = (Target::deployment(first), Target::deployment(second));
        let (one, other) = (self.before(&first)?, self.before(&second)?);
        let selects = |before: &Before| {
            let labels = before.object.pointer("/spec/template/metadata/labels").cloned().unwrap_or_default();
            let mut selected = selector.as_object().into_iter().flatten();
            selector.as_object().is_some_and(|selector| !selector.is_empty()) && selected.all(|(key, value)| labels.get(key) == Some(value))
        };
        let told = |what: &str| Failure::misconfigured(format_args!("strategy: Service {} {what}", service.name));
        let (serving, idle) = match (selects(&one), selects(&other)) {
            (true, false) => ((first, one), (second, other)),
            (false, true) => ((second, other), (first, one)),
            (true, true) => return Err(told("selects the Pods of both Deployments; give its selector a label in which they differ").into()),
            (false, false) => return Err(told("selects the Pods of neither Deployment").into()),
        };
        let label = |before: &Before, key: &str| {
            before
                .object
                .pointer("/spec/template/metadata/labels")
                .and_then(|labels| labels.get(key))
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let keys: Vec<String> = selector.as_object().into_iter().flat_map(|selector| selector.keys().cloned()).collect();
        let differing: Vec<(String, String, String)> = keys
            .into_iter()
            .filter_map(|key| {
                let (serves, idles) = (label(&serving.1, &key)?, label(&idle.1, &key)?);
                (serves != idles).then_some((key, serves, idles))
            })
            .collect();
        match <[_; 1]>::try_from(differing) {
            Ok([(key, serves, idles)]) => Ok(Colours { serving, idle, key, values: (serves, idles) }),
            Err(_) => Err(told("has to select by one label that both Deployments have, with different values").into()),
        }
    }

    /// Leads the preview to the new Pods, and opens a way there for each check.
    fn preview(&mut self, wanted: &BlueGreen, colours: &Colours) -> Result<Vec<String>, Halt> {
        let Some(preview) = &wanted.preview else { return Ok(Vec::new()) };
        let target = Target::service(preview);
        let object = self.get(&target)?;
        let was = object.pointer("/spec/selector").and_then(|selector| selector.get(&colours.key)).cloned().unwrap_or_default();
        if was != colours.values.1.as_str() {
            let select = |value: Value| Patch::Merge(json!({ "spec": { "selector": { &colours.key: value } } }));
            self.change(&target, &select(json!(colours.values.1)), Some(select(was)))?;
        }
        let mut open: BTreeMap<u16, String> = BTreeMap::new();
        let mut bases = Vec::new();
        for check in &wanted.checks {
            let base = match open.get(&check.port) {
                Some(base) => base.clone(),
                None => (self.forward)(preview, check.port)?,
            };
            bases.push(base.clone());
            open.insert(check.port, base);
        }
        Ok(bases)
    }

    /// Why the answer is not as expected.
    fn ask(&mut self, check: &Check, base: &str) -> Result<Option<String>, Halt> {
        let url = format!("{}{}", base.trim_end_matches('/'), check.path);
        Ok(match self.web.get(&url, &BTreeMap::new(), ONE_QUESTION) {
            Err(runner_analysis::Failed::Lasting(failure)) => return Err(failure.into()),
            Err(runner_analysis::Failed::Passing(why)) => Some(why),
            Ok((status, _)) if status != check.status => Some(format!("the status is {status}, and {} is expected", check.status)),
            Ok((_, body)) => match &check.contains {
                Some(part) if !String::from_utf8_lossy(&body).contains(part.as_str()) => {
                    Some(format!("the answer does not contain `{part}`"))
                }
                _ => None,
            },
        })
    }

    fn check_until(&mut self, check: &Check, base: &str) -> Result<(), Halt> {
        let began = self.cluster.now();
        loop {
            let Some(why) = self.ask(check, base)? else { return Ok(()) };
            if self.cluster.now().saturating_sub(began) >= check.timeout.0 {
                return Err(Halt::Stuck {
                    why: format!("{} at the preview, for {}: {why}", check.path, check.timeout),
                    causes: Vec::new(),
                });
            }
            self.wait(PAUSE)?;
        }
    }

    fn wait(&mut self, time: Duration) -> Result<(), Halt> {
        let until = self.cluster.now() + time;
        while self.cluster.now() < until {
            self.heed()?;
            let left = until.saturating_sub(self.cluster.now());
            self.pump(left);
        }
        Ok(())
    }

    /// Watches the new Pods, for as long as there is an instant way back.
    fn keep(&mut self, wanted: &BlueGreen, colours: &Colours, bases: &[String]) -> Result<(), Halt> {
        let until = self.cluster.now() + wanted.keep.0;
        let selector = workload::selector(&colours.idle.1.object);
        let pods = self.watch(&Selection::of(ResourceType::core("pods")).labels(selector))?;
        let mut failures = vec![0; wanted.checks.len()];
        while self.cluster.now() < until {
            self.wait(PAUSE.min(until.saturating_sub(self.cluster.now())))?;
            let now: Vec<Value> = self.told(pods).cloned().collect();
            let all = signals(&now);
            if all.crashes > self.settings.crashes || (all.pods > 0 && all.unready == all.pods) {
                let target = colours.idle.0.clone();
                let why =
                    format!("{target} after the switch: {} crashes, and {} of {} Pods are not ready", all.crashes, all.unready, all.pods);
                // first the traffic, then the reasons
                self.look_into = Some(target);
                return Err(Halt::Stuck { why, causes: Vec::new() });
            }
            for (number, check) in wanted.checks.iter().enumerate() {
                let Some(why) = self.ask(check, &bases[number])? else {
                    failures[number] = 0;
                    continue;
                };
                failures[number] += 1;
                self.cluster.say(Level::Warn, &format!("{}: {why}", check.path));
                if failures[number] >= FAILURES {
                    let why = format!("{} after the switch, {FAILURES} times in a row: {why}", check.path);
                    return Err(Halt::Stuck { why, causes: Vec::new() });
                }
            }
        }
        Ok(())
    }
}
