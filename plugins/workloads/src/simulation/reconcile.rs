//! What the controllers and the kubelets would do.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Behaviour, Moment, Running, Simulation};
use crate::workload::{number, replicas, text};

/// A good Pod takes so long to get ready.
const READY: Duration = Duration::from_secs(2);
/// A bad one crashes after so long, again and again.
const CRASH: Duration = Duration::from_secs(3);
/// A Job takes so long.
const JOB: Duration = Duration::from_secs(4);

pub(crate) fn image_of(template: &Value) -> &str {
    text(template, "/spec/containers/0/image")
}

impl Simulation {
    pub(crate) fn behaviour(&self, template: &Value) -> Behaviour {
        self.behaviours.get(image_of(template)).copied().unwrap_or(Behaviour::Good)
    }

    pub(crate) fn begin(&mut self, deployment: &str, template: &Value) {
        self.made += 1;
        let name = format!("{deployment}-{:03}", self.made);
        self.pods.push(Running { name, deployment: deployment.to_owned(), template: template.clone(), born: self.now, old: false });
    }

    /// Pods that run already are ready.
    pub(crate) fn age(&mut self) {
        let names: Vec<String> = self.deployments();
        for name in names {
            self.write_status(&name);
        }
    }

    fn is_ready(&self, pod: &Running) -> bool {
        self.behaviour(&pod.template) == Behaviour::Good && (pod.old || self.now >= pod.born + READY)
    }

    pub(crate) fn pod(&self, pod: &Running) -> Value {
        let age = self.now.saturating_sub(pod.born);
        let ready = self.is_ready(pod);
        let restarts = u32::try_from(age.as_secs() / CRASH.as_secs()).unwrap_or_default();
        let (state, last, scheduled) = match self.behaviour(&pod.template) {
            Behaviour::Good | Behaviour::NeverReady if age < READY && !ready => {
                (json!({ "waiting": { "reason": "ContainerCreating" } }), Value::Null, true)
            }
            Behaviour::Good | Behaviour::NeverReady | Behaviour::OverQuota => (json!({ "running": {} }), Value::Null, true),
            Behaviour::NoImage => {
                (json!({ "waiting": { "reason": "ImagePullBackOff", "message": "Back-off pulling image" } }), Value::Null, true)
            }
            Behaviour::Unschedulable => (json!({}), Value::Null, false),
            Behaviour::Crashes if restarts == 0 => (json!({ "running": {} }), Value::Null, true),
            Behaviour::Crashes => (
                json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off restarting failed container" } }),
                json!({ "terminated": { "exitCode": 1, "reason": "Error" } }),
                true,
            ),
        };
        let restarts = if last.is_null() { 0 } else { restarts };
        let mut conditions = vec![json!({ "type": "Ready", "status": if ready { "True" } else { "False" } })];
        if !scheduled {
            conditions.push(json!({ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available: 3 Insufficient cpu." }));
        }
        let statuses = if scheduled {
            json!([{ "name": "api", "ready": ready, "restartCount": restarts, "state": state, "lastState": last }])
        } else {
            json!([])
        };
        json!({
            "metadata": { "name": pod.name, "namespace": "shop", "labels": pod.template["metadata"]["labels"] },
            "spec": pod.template["spec"],
            "status": { "conditions": conditions, "containerStatuses": statuses },
        })
    }

    fn deployments(&self) -> Vec<String> {
        self.objects.keys().filter(|(kind, _)| kind == "deployments.apps").map(|(_, name)| name.clone()).collect()
    }

    pub(crate) fn reconcile(&mut self) {
        let names = self.deployments();
        self.pods.retain(|pod| names.contains(&pod.deployment));
        for name in &names {
            self.remember(name);
            // as many steps as it takes until nothing moves: controllers are quick
            while self.roll(name) {}
            self.write_status(name);
        }
        self.jobs();
        let mut ready: BTreeMap<String, u32> = names.iter().map(|name| (name.clone(), 0)).collect();
        for pod in self.pods.iter().filter(|pod| self.is_ready(pod)) {
            *ready.entry(pod.deployment.clone()).or_default() += 1;
        }
        self.moments.push(Moment { at: self.now, ready });
    }

    /// Revisions: a template that comes back is the newest.
    fn remember(&mut self, name: &str) {
        let template = self.spec("deployments.apps", name)["template"].clone();
        let known = self.templates.entry(name.to_owned()).or_default();
        if known.last() != Some(&template) {
            known.retain(|one| *one != template);
            known.push(template);
        }
    }

    fn roll(&mut self, name: &str) -> bool {
        let spec = self.spec("deployments.apps", name);
        let wanted = spec["replicas"].as_u64().unwrap_or(1) as usize;
        let template = spec["template"].clone();
        if self.behaviour(&template) == Behaviour::OverQuota || spec["paused"] == true {
            return false;
        }
        let of = |pod: &&Running| pod.deployment == name;
        let (new, old): (Vec<&Running>, Vec<&Running>) = self.pods.iter().filter(of).partition(|pod| pod.template == template);
        let recreate = spec["strategy"]["type"] == "Recreate";
        let limit = |key: &str, usual: usize, up: bool| match &spec["strategy"]["rollingUpdate"][key] {
            Value::Number(number) => number.as_u64().unwrap_or_default() as usize,
            Value::String(text) => {
                let part = text.trim_end_matches('%').parse::<f64>().unwrap_or_default() / 100.0 * wanted as f64;
                (if up { part.ceil() } else { part.floor() }) as usize
            }
            _ => usual,
        };
        let (surge, unavailable) = (limit("maxSurge", 1, true), limit("maxUnavailable", 0, false));
        let ready = new.iter().chain(&old).filter(|pod| self.is_ready(pod)).count();
        let (new_count, old_count) = (new.len(), old.len());
        let unready_old = old.iter().find(|pod| !self.is_ready(pod)).map(|pod| pod.name.clone());
        let goes = if new_count > wanted {
            new.iter().find(|pod| !self.is_ready(pod)).or(new.last()).map(|pod| pod.name.clone())
        } else if recreate && old_count > 0 {
            old.first().map(|pod| pod.name.clone())
        } else if old_count > 0 && new_count + old_count > wanted && unready_old.is_some() {
            unready_old
        } else if old_count > 0 && ready > wanted.saturating_sub(unavailable) {
            old.first().map(|pod| pod.name.clone())
        } else {
            None
        };
        if let Some(goes) = goes {
            self.pods.retain(|pod| pod.name != goes);
            return true;
        }
        let room = if recreate && old_count > 0 { 0 } else { wanted + if old_count > 0 { surge } else { 0 } };
        if new_count < wanted && new_count + old_count < room {
            self.begin(name, &template);
            return true;
        }
        false
    }

    fn write_status(&mut self, name: &str) {
        let spec = self.spec("deployments.apps", name);
        let pods: Vec<&Running> = self.pods.iter().filter(|pod| pod.deployment == name).collect();
        let updated = pods.iter().filter(|pod| pod.template == spec["template"]).count();
        let ready = pods.iter().filter(|pod| self.is_ready(pod)).count();
        let all = pods.len();
        let mark = format!("{updated} {ready} {all} {}", spec["replicas"]);
        let now = self.now;
        let progressed = self.progressed.entry(name.to_owned()).or_insert_with(|| (mark.clone(), now));
        if progressed.0 != mark {
            *progressed = (mark, now);
        }
        let since = now.saturating_sub(progressed.1);
        let over_quota = self.behaviour(&spec["template"]) == Behaviour::OverQuota && spec["replicas"].as_u64() > Some(0);
        let object = self.objects.get_mut(&("deployments.apps".to_owned(), name.to_owned())).expect("it is there");
        let wanted = replicas(object) as usize;
        let done = updated == wanted && ready == wanted && all == wanted;
        let deadline = Duration::from_secs(u64::from(number(object, "/spec/progressDeadlineSeconds").max(1)));
        let late = !done && since >= deadline;
        let mut conditions = vec![if late {
            json!({ "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": format!("ReplicaSet of {name} has timed out progressing.") })
        } else {
            json!({ "type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable", "message": "" })
        }];
        if over_quota {
            conditions.push(json!({ "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "pods are forbidden: exceeded quota: cpu" }));
        }
        let generation = object["metadata"]["generation"].clone();
        object["status"] = json!({ "observedGeneration": generation, "replicas": all, "updatedReplicas": updated, "readyReplicas": ready, "availableReplicas": ready, "conditions": conditions });
    }

    fn jobs(&mut self) {
        let now = self.now.as_millis();
        let behaviours = self.behaviours.clone();
        for ((kind, _), job) in &mut self.objects {
            let begun = u128::from(job["created"].as_u64().unwrap_or_default());
            if kind != "jobs.batch" || now < begun + JOB.as_millis() || job["status"].is_object() {
                continue;
            }
            let bad = behaviours.get(image_of(&job["spec"]["template"])).is_some_and(|behaviour| *behaviour != Behaviour::Good);
            job["status"] = if bad {
                json!({ "failed": 1, "conditions": [{ "type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit" }] })
            } else {
                json!({ "succeeded": 1, "conditions": [{ "type": "Complete", "status": "True" }] })
            };
        }
    }
}
