//! What a stage can ask of a Kubernetes cluster.

use std::time::Duration;

use runner_sdk::kubernetes::pods::{Destination, Exec, LogOptions, Pod, forward};
use runner_sdk::kubernetes::{self, Error, Patch, Propagation, ResourceType, Selection, Target, rollouts};
use runner_sdk::serde_json::Value;
use serde::Deserialize;

use crate::{Attempted, network, refused};

/// `at` is `apps/v1/deployments shop/api`; without a namespace it is the grant's. Objects and patches are JSON.
#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Attempt {
    Get {
        at: String,
        /// What of it is told.
        #[serde(default)]
        pointer: String,
    },
    /// The names.
    List {
        of: String,
        #[serde(default)]
        labels: String,
    },
    /// Scales an object to each of these while it watches it, and tells what it saw of it.
    Watch {
        at: String,
        scales: Vec<u32>,
    },
    Create {
        at: String,
        object: String,
    },
    Apply {
        at: String,
        object: String,
        #[serde(default)]
        force: bool,
    },
    Patch {
        at: String,
        patch: String,
        #[serde(default = "merge")]
        kind: String,
    },
    Scale {
        at: String,
        replicas: u32,
    },
    Delete {
        at: String,
    },
    Events {
        at: String,
    },
    Logs {
        pod: String,
        #[serde(default)]
        follow_until: Option<String>,
    },
    Exec {
        pod: String,
        run: Vec<String>,
        #[serde(default)]
        stdin: String,
        #[serde(default)]
        timeout_ms: u64,
    },
    /// A port of a Service, and what is answered to a request there.
    Forward {
        service: String,
        port: u16,
        path: String,
        #[serde(default)]
        pod: bool,
    },
    Status {
        at: String,
    },
    Wait {
        at: String,
        seconds: u64,
    },
    History {
        at: String,
    },
    Undo {
        at: String,
        #[serde(default)]
        revision: Option<u64>,
    },
    Restart {
        at: String,
    },
    Pause {
        at: String,
        paused: bool,
    },
}

fn merge() -> String {
    "merge".to_owned()
}

fn kind(text: &str) -> ResourceType {
    let parts: Vec<&str> = text.split('/').collect();
    match parts.as_slice() {
        [group, version, plural] => ResourceType::new(*group, *version, *plural),
        [version, plural] => ResourceType::new("", *version, *plural),
        _ => ResourceType::core(text),
    }
}

fn target(at: &str) -> Target {
    let (of, object) = at.split_once(' ').unwrap_or((at, ""));
    match object.split_once('/') {
        Some((namespace, name)) => Target::new(kind(of), name).namespace(namespace),
        None => Target::new(kind(of), object),
    }
}

fn selection(of: &str) -> Selection {
    match of.split_once(' ') {
        Some((of, namespace)) => Selection::of(kind(of)).namespace(namespace),
        None => Selection::of(kind(of)),
    }
}

fn pod(name: &str) -> Pod {
    match name.split_once('/') {
        Some((namespace, name)) => Pod::new(name).namespace(namespace),
        None => Pod::new(name),
    }
}

/// No JSON is text: a stage that is not written in Rust sends what it likes, and this one as much as the SDK lets it.
fn json(text: &str) -> Value {
    runner_sdk::serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

fn name(object: &Value) -> String {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned()
}

impl Attempt {
    pub fn attempt(self) -> Attempted {
        match self.told() {
            Ok(told) => Attempted::Ok(told),
            Err(Error::Denied(denial)) => refused(format_args!("{}: {}", denial.code, denial.reason)),
            Err(error) => Attempted::Error(error.to_string()),
        }
    }

    fn told(self) -> Result<String, Error> {
        Ok(match self {
            Attempt::Get { at, pointer } => kubernetes::get(&target(&at))?.pointer(&pointer).unwrap_or(&Value::Null).to_string(),
            Attempt::List { of, labels } => {
                kubernetes::list(&selection(&of).labels(labels))?.iter().map(name).collect::<Vec<_>>().join(" ")
            }
            Attempt::Watch { at, scales } => watch(&target(&at), scales)?,
            Attempt::Create { at, object } => name(&kubernetes::create(&target(&at), &json(&object))?),
            Attempt::Apply { at, object, force } => name(&kubernetes::apply(&target(&at), &json(&object), force)?),
            Attempt::Patch { at, patch, kind } => {
                let patch = match kind.as_str() {
                    "strategic" => Patch::Strategic(json(&patch)),
                    "json" => Patch::Json(json(&patch)),
                    _ => Patch::Merge(json(&patch)),
                };
                name(&kubernetes::patch(&target(&at), &patch)?)
            }
            Attempt::Scale { at, replicas } => kubernetes::scale(&target(&at), replicas)?.to_string(),
            Attempt::Delete { at } => kubernetes::delete(&target(&at), Propagation::Background).map(|()| String::new())?,
            Attempt::Events { at } => kubernetes::events(&target(&at))?.into_iter().map(|one| one.reason).collect::<Vec<_>>().join(" "),
            Attempt::Logs { pod: of, follow_until } => match follow_until {
                None => pod(&of).logs(LogOptions::default())?.text(1 << 16)?,
                Some(text) => followed(&pod(&of), &text)?,
            },
            Attempt::Exec { pod: of, run, stdin, timeout_ms } => {
                let mut exec = Exec::new(run).stdout(runner_sdk::commands::Output::Capture).stdin(stdin);
                if timeout_ms > 0 {
                    exec = exec.timeout(Duration::from_millis(timeout_ms));
                }
                let exit = pod(&of).exec(&exec)?;
                let printed = exit.stdout.as_ref().and_then(|file| file.read_to_string().ok()).unwrap_or_default();
                format!("{} {}: {printed}", exit.code, exit.timed_out)
            }
            Attempt::Forward { service, port, path, pod } => {
                let destination = if pod { Destination::Pod(service) } else { Destination::Service(service) };
                let forwarding = forward(None, &destination, port, "inside")?;
                match network::http(format!("{}{path}", forwarding.url()), None, Vec::new(), String::new(), 0) {
                    Ok(told) => told,
                    Err(error) => error.to_string(),
                }
            }
            Attempt::Status { at } => {
                let progress = rollouts::status(&target(&at))?;
                format!("{:?} {}/{}", progress.state, progress.available, progress.desired)
            }
            Attempt::Wait { at, seconds } => {
                let progress = rollouts::wait(&target(&at), Some(Duration::from_secs(seconds)))?;
                format!("{:?} {}/{}", progress.state, progress.available, progress.desired)
            }
            Attempt::History { at } => {
                let told =
                    |one: rollouts::Revision| format!("{}{}={}", one.number, if one.current { "*" } else { "" }, one.images.join("+"));
                rollouts::history(&target(&at))?.into_iter().map(told).collect::<Vec<_>>().join(" ")
            }
            Attempt::Undo { at, revision } => rollouts::undo(&target(&at), revision)?.to_string(),
            Attempt::Restart { at } => rollouts::restart(&target(&at)).map(|()| String::new())?,
            Attempt::Pause { at, paused } => rollouts::pause(&target(&at), paused).map(|()| String::new())?,
        })
    }
}

fn watch(target: &Target, scales: Vec<u32>) -> Result<String, Error> {
    let watch = kubernetes::watch(&Selection::one(target))?;
    let mut told = Vec::new();
    for replicas in scales.into_iter().map(Some).chain([None]) {
        // until nothing comes for a while
        while kubernetes::wait_any(&[&watch], Some(Duration::from_millis(700))) == Some(0) {
            let Some(event) = watch.next(Some(Duration::from_millis(700)))? else { break };
            let said = match &event.object {
                Value::Null => format!("{:?}", event.change),
                object => format!("{:?}:{}", event.change, object.pointer("/spec/replicas").unwrap_or(&Value::Null)),
            };
            if told.last() != Some(&said) {
                told.push(said);
            }
        }
        if let Some(replicas) = replicas {
            kubernetes::scale(target, replicas)?;
        }
    }
    Ok(told.join(" "))
}

fn followed(pod: &Pod, until: &str) -> Result<String, Error> {
    let log = pod.logs(LogOptions { follow: true, ..LogOptions::default() })?;
    let mut told = String::new();
    while !told.contains(until) {
        match log.read(0, Some(Duration::from_secs(10)))? {
            Some(bytes) if !bytes.is_empty() => told.push_str(&String::from_utf8_lossy(&bytes)),
            _ => break,
        }
    }
    Ok(told)
}
