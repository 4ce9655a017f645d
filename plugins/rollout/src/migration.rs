//! Migrations: Jobs in Pods like those of the Deployment, which are waited for.
//!
//! A Job gets the environment, the volumes and the service account of the Deployment's container, since it works on the same data; its probes, ports and
//! sidecars it does not get. What a migration has done can't be taken back: it should leave the old version able to run.

use runner_sdk::Failure;
use runner_sdk::kubernetes::pods::{LogOptions, Pod};
use runner_sdk::kubernetes::{ResourceType, Selection, Target};
use runner_sdk::log::Level;
use runner_workloads::workload::{self, text};
use serde_json::{Value, json};

use crate::settings::{Migration, Strategy};
use crate::work::{Halt, Work};

/// So many lines of its log are told.
const LINES: u32 = 20;
/// For so long the cluster keeps the Job afterwards.
const KEPT: u32 = 3600;

impl Work<'_> {
    pub fn migrate(&mut self, migration: &Migration, when: &str) -> Result<(), Halt> {
        self.step(&format!("{when}: {}", migration.name), |work| work.run_job(migration))
    }

    fn run_job(&mut self, migration: &Migration) -> Result<(), Halt> {
        let deployment = match &self.settings.strategy {
            Strategy::BlueGreen(blue_green) => blue_green.deployments[0].clone(),
            _ => self.settings.deployment.clone().unwrap_or_default(),
        };
        let object = self.get(&Target::deployment(&deployment))?;
        let container = workload::container(&object, self.settings.container.as_deref()).map_err(Failure::Misconfigured)?;
        let name = job_name(&deployment, &migration.name, &self.mark);
        let job = job(&object, &container, migration, self.settings.image.as_deref(), &name);
        let target = Target::new(ResourceType::new("batch", "v1", "jobs"), &name);
        self.changed = true;
        self.again(|cluster| cluster.create(&target, &job))?;
        self.cluster.say(Level::Info, &format!("Job {name}: {}", migration.run.join(" ")));

        let watch = self.watch(&Selection::one(&target))?;
        let until = self.cluster.now() + migration.timeout.0;
        loop {
            self.pump(std::time::Duration::from_secs(1));
            let stands = self.told(watch).next().and_then(ended);
            if let Some(ended) = stands {
                let log = self.log_of(&name);
                return match ended {
                    Ok(()) => {
                        log.iter().for_each(|line| self.cluster.say(Level::Info, line));
                        Ok(())
                    }
                    Err(why) => Err(Halt::Stuck { why: format!("migration `{}` failed: {why}", migration.name), causes: log }),
                };
            }
            if self.heed().is_err() {
                self.cluster.say(Level::Warn, &format!("Job {name} goes on by itself: a migration is not broken off halfway"));
                return Err(Halt::Stopped);
            }
            if self.cluster.now() >= until {
                let causes = self.log_of(&name);
                let why = format!("migration `{}` is not done after {}; Job {name} goes on by itself", migration.name, migration.timeout);
                return Err(Halt::Stuck { why, causes });
            }
        }
    }

    /// What keeps its Pods, and the last lines that they printed.
    fn log_of(&mut self, job: &str) -> Vec<String> {
        let pods = match self.cluster.list(&Selection::of(ResourceType::core("pods")).labels(format!("job-name={job}"))) {
            Ok(pods) => pods,
            Err(error) => return vec![format!("its Pods can't be looked at: {error}")],
        };
        let mut lines = runner_workloads::signals(&pods).stuck;
        if let Some(pod) = pods.last() {
            let name = text(pod, "/metadata/name");
            match self.cluster.log(&Pod::new(name), LogOptions { tail: Some(LINES), ..LogOptions::default() }) {
                Ok(log) => lines.extend(log.lines().map(|line| format!("{name} | {line}"))),
                Err(error) => lines.push(format!("{name}: its log can't be read: {error}")),
            }
        }
        lines
    }
}

/// Whether it has ended, and how.
fn ended(job: &Value) -> Option<Result<(), String>> {
    let conditions = job.pointer("/status/conditions")?.as_array()?;
    let holds = |kind: &str| conditions.iter().find(|one| text(one, "/type") == kind && text(one, "/status") == "True");
    if holds("Complete").is_some() {
        return Some(Ok(()));
    }
    holds("Failed").map(|one| Err(format!("{}: {}", text(one, "/reason"), text(one, "/message"))))
}

/// A name for each attempt, of 63 characters at most: a label of the Job's Pods has it.
fn job_name(deployment: &str, migration: &str, mark: &str) -> String {
    let end = format!("-{migration}-{mark}");
    let room = 63_usize.saturating_sub(end.len());
    let deployment: String = deployment.chars().take(room).collect();
    format!("{}{end}", deployment.trim_end_matches(['-', '.']))
}

fn job(deployment: &Value, container: &str, migration: &Migration, image: Option<&str>, name: &str) -> Value {
    let template = &deployment["spec"]["template"]["spec"];
    let containers = template["containers"].as_array().into_iter().flatten();
    let mut one = containers.clone().find(|one| text(one, "/name") == container).cloned().unwrap_or_else(|| json!({}));
    if let Some(map) = one.as_object_mut() {
        for key in ["ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "args"] {
            map.remove(key);
        }
    }
    one["name"] = json!(migration.name);
    one["command"] = json!(migration.run);
    if let Some(image) = migration.image.as_deref().or(image) {
        one["image"] = json!(image);
    }
    if !migration.env.is_empty() {
        let mut env: Vec<Value> = one["env"].as_array().cloned().unwrap_or_default();
        env.retain(|known| !migration.env.contains_key(text(known, "/name")));
        env.extend(migration.env.iter().map(|(name, value)| json!({ "name": name, "value": value })));
        one["env"] = json!(env);
    }
    let mut spec = json!({ "restartPolicy": "Never", "containers": [one] });
    for key in ["volumes", "serviceAccountName", "imagePullSecrets", "securityContext", "nodeSelector", "tolerations"] {
        if let Some(value) = template.get(key) {
            spec[key] = value.clone();
        }
    }
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        // no labels: each would have to be in the grant's fields
        "metadata": { "name": name },
        "spec": {
            "backoffLimit": migration.retries,
            "activeDeadlineSeconds": migration.timeout.0.as_secs().max(1),
            "ttlSecondsAfterFinished": KEPT,
            "template": { "spec": spec },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_like_the_deployment_without_what_serves() {
        let api = json!({ "name": "api", "image": "shop:1", "args": ["--serve"], "ports": [{ "containerPort": 80 }], "readinessProbe": {},
            "env": [{ "name": "DB", "value": "a" }, { "name": "MODE", "value": "prod" }], "volumeMounts": [{ "name": "tls", "mountPath": "/tls" }] });
        let spec = json!({ "serviceAccountName": "api", "volumes": [{ "name": "tls" }], "hostNetwork": true, "containers": [{ "name": "proxy" }, api] });
        let deployment = json!({ "metadata": { "name": "api" }, "spec": { "template": { "spec": spec } } });
        let migration: Migration =
            serde_json::from_value(json!({ "name": "up", "run": ["migrate", "up"], "env": { "MODE": "once" } })).unwrap();
        let made = job(&deployment, "api", &migration, Some("shop:2"), "api-up-x");
        let pod = &made["spec"]["template"]["spec"];
        assert_eq!(
            *pod,
            json!({ "restartPolicy": "Never", "volumes": [{ "name": "tls" }], "serviceAccountName": "api", "containers": [{
                "name": "up", "image": "shop:2", "command": ["migrate", "up"],
                "env": [{ "name": "DB", "value": "a" }, { "name": "MODE", "value": "once" }], "volumeMounts": [{ "name": "tls", "mountPath": "/tls" }] }] })
        );
        assert_eq!((&made["spec"]["backoffLimit"], &made["spec"]["activeDeadlineSeconds"]), (&json!(0), &json!(600)));
    }

    #[test]
    fn names_fit() {
        assert_eq!(job_name("api", "up", "9f3a1c-1"), "api-up-9f3a1c-1");
        let long = job_name(&"a-".repeat(40), "up", "9f3a1c-1");
        assert!(long.len() <= 63 && long.ends_with("a-up-9f3a1c-1"), "{long}");
    }
}
