//! One Deployment: rolling updates, recreated Pods, restarts, earlier versions, and which there were.

use runner_sdk::Failure;
use runner_sdk::kubernetes::{Patch, Target};
use runner_sdk::log::Level;
use runner_workloads::workload;
use serde_json::{Value, json};

use crate::settings::{Rolling, Undo};
use crate::work::{Halt, Work};

impl Work<'_> {
    fn target(&self) -> Target {
        Target::deployment(self.settings.deployment.as_deref().unwrap_or_default())
    }

    fn container(&self, object: &Value) -> Result<String, Halt> {
        workload::container(object, self.settings.container.as_deref()).map_err(|why| Failure::Misconfigured(why).into())
    }

    pub fn rolling(&mut self, rolling: &Rolling) -> Result<String, Halt> {
        let (target, image) = (self.target(), self.settings.image.clone().unwrap_or_default());
        let before = self.before(&target)?;
        let container = self.container(&before.object)?;
        let was = workload::image(&before.object, &container).to_owned();
        self.step(&format!("rolling {}", target.name), |work| {
            let strategy = |update: Value| json!({ "strategy": { "type": "RollingUpdate", "rollingUpdate": update } });
            let mut spec = rolling.update().map_or_else(|| json!({}), strategy);
            let mut undo = json!({});
            if let Some(update) = rolling.update() {
                let had = &before.object["spec"]["strategy"];
                undo["strategy"] =
                    if had["type"] == "Recreate" { json!({ "type": "Recreate", "rollingUpdate": null }) } else { had_of(had, &update) };
            }
            for (spec, image) in [(&mut spec, &image), (&mut undo, &was)] {
                spec["template"] = json!({ "spec": { "containers": [{ "name": container, "image": image }] } });
            }
            let patch = |spec: Value| Patch::Strategic(json!({ "spec": spec }));
            let object = work.change(&target, &patch(spec), Some(patch(undo)))?;
            work.ready(&target, &object, &before)
        })?;
        self.outputs.push(("image", image.clone()));
        Ok(if was == image {
            format!("{} has {image} already", target.name)
        } else {
            format!("{} has {image}, and had {was}", target.name)
        })
    }

    pub fn recreate(&mut self) -> Result<String, Halt> {
        let (target, image) = (self.target(), self.settings.image.clone().unwrap_or_default());
        let before = self.before(&target)?;
        let container = self.container(&before.object)?;
        let (was, replicas) = (workload::image(&before.object, &container).to_owned(), workload::replicas(&before.object));
        let back = workload::change(Some(replicas), Some((&container, &was)));
        let empty = self.step("take away all Pods", |work| {
            let object = work.change(&target, &workload::change(Some(0), None), Some(back))?;
            work.ready(&target, &object, &before)?;
            work.gone(&object)?;
            work.before(&target)
        })?;
        self.step(&format!("start {replicas} Pods"), |work| {
            let object = work.change(&target, &workload::change(Some(replicas), Some((&container, &image))), None)?;
            work.ready(&target, &object, &empty)
        })?;
        self.outputs.push(("image", image.clone()));
        Ok(format!("{} has {image}, and had {was}", target.name))
    }

    pub fn restart(&mut self) -> Result<String, Halt> {
        let target = self.target();
        let before = self.before(&target)?;
        self.step(&format!("restart {}", target.name), |work| {
            work.changed = true;
            work.again(|cluster| cluster.restart(&target))?;
            let object = work.get(&target)?;
            work.ready(&target, &object, &before)
        })?;
        Ok(format!("{} runs in {} new Pods", target.name, workload::replicas(&before.object)))
    }

    pub fn undo(&mut self, undo: &Undo) -> Result<String, Halt> {
        let target = self.target();
        let before = self.before(&target)?;
        let number = self.step(&format!("undo {}", target.name), |work| {
            work.changed = true;
            let number = work.again(|cluster| cluster.undo(&target, undo.revision))?;
            let object = work.get(&target)?;
            work.ready(&target, &object, &before)?;
            Ok(number)
        })?;
        let object = self.get(&target)?;
        let images: Vec<&str> = object
            .pointer("/spec/template/spec/containers")
            .and_then(Value::as_array)
            .map_or_else(Vec::new, |list| list.iter().map(|one| workload::text(one, "/image")).collect());
        self.outputs.push(("revision", number.to_string()));
        self.outputs.push(("image", images.first().copied().unwrap_or_default().to_owned()));
        Ok(format!("{} is at revision {number} again: {}", target.name, images.join(", ")))
    }

    pub fn history(&mut self) -> Result<String, Halt> {
        let target = self.target();
        let revisions = self.again(|cluster| cluster.history(&target))?;
        for one in &revisions {
            let (here, cause) = (if one.current { " ← current" } else { "" }, if one.cause.is_empty() { "" } else { ": " });
            self.cluster.say(Level::Info, &format!("{} {}{cause}{}{here}", one.number, one.images.join(", "), one.cause));
        }
        let current = revisions.iter().find(|one| one.current);
        let told =
            current.map_or_else(|| "none is current".to_owned(), |one| format!("the current is {}: {}", one.number, one.images.join(", ")));
        if let Some(current) = current {
            self.outputs.push(("revision", current.number.to_string()));
            self.outputs.push(("image", current.images.first().cloned().unwrap_or_default()));
        }
        Ok(format!("{} revisions of {}, {told}", revisions.len(), target.name))
    }
}

/// What the Deployment had where the update says something. What it had not said is `null`, and is taken away again.
fn had_of(had: &Value, update: &Value) -> Value {
    let keys = update.as_object().into_iter().flat_map(|update| update.keys());
    let earlier: serde_json::Map<String, Value> = keys.map(|key| (key.clone(), had["rollingUpdate"][key].clone())).collect();
    json!({ "type": had.get("type").cloned().unwrap_or_else(|| json!("RollingUpdate")), "rollingUpdate": earlier })
}
