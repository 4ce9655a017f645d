//! What a stage does with a cluster: objects that it makes, changes in every way and takes away, and what goes on in a Pod.

use std::time::Duration;

use runner_sdk::Failure;
use runner_sdk::kubernetes::pods::{Destination, Exec, LogOptions, Pod, forward};
use runner_sdk::kubernetes::{self, Change, Error, Patch, Propagation, ResourceType, Selection, Target, rollouts};
use runner_sdk::serde_json::{Value, json};

use crate::commands::TRIES;

/// `pod` is `namespace/name`.
pub fn everything(pod: &str) -> Result<(), Failure> {
    objects()?;
    deployment()?;
    let (namespace, name) = pod.split_once('/').unwrap_or(("", pod));
    inside(namespace, name)
}

fn map(name: &str) -> Target {
    Target::new(ResourceType::core("configmaps"), name)
}

fn with(name: &str, data: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": data })
}

fn objects() -> Result<(), Failure> {
    let (made, applied) = (map("made"), map("applied"));
    kubernetes::create(&made, &with("made", json!({ "n": "1" })))?;
    kubernetes::patch(&made, &Patch::Merge(json!({ "data": { "merged": "yes" } })))?;
    // what it was before is a part of it: once more would be a mistake
    let step = json!([{ "op": "test", "path": "/data/n", "value": "1" }, { "op": "replace", "path": "/data/n", "value": "2" }]);
    println!("stepped: {}", kubernetes::patch(&made, &Patch::Json(step))?["data"]["n"]);
    kubernetes::apply(&applied, &with("applied", json!({ "a": "1" })), false)?;
    println!("applied: {}", kubernetes::apply(&applied, &with("applied", json!({ "b": "2" })), false)?["data"]);
    println!("made: {}", kubernetes::get(&made)?["data"]);
    println!("all: {}", kubernetes::list(&Selection::of(ResourceType::core("configmaps")))?.len());
    kubernetes::delete(&made, Propagation::Background)?;
    kubernetes::delete(&applied, Propagation::Background)?;
    println!("gone: {}", matches!(kubernetes::get(&made), Err(Error::NotFound(_))));
    println!("not granted: {}", matches!(kubernetes::get(&map("elsewhere")), Err(Error::Denied(_))));
    Ok(())
}

/// Its Pods fit no node, so nothing starts.
fn deployment() -> Result<(), Failure> {
    let web = Target::deployment("web");
    let watch = kubernetes::watch(&Selection::one(&web))?;
    println!("were: {}", kubernetes::scale(&web, 2)?);
    let mut seen = Value::Null;
    while seen != json!(2) {
        if kubernetes::wait_any(&[&watch], Some(Duration::from_secs(20))).is_none() {
            return Err(Failure::errored("nothing is seen of it"));
        }
        if let Some(event) = watch.next(Some(Duration::from_secs(1)))?
            && event.change != Change::Synced
        {
            seen = event.object["spec"]["replicas"].clone();
        }
    }
    println!("seen: {seen}");
    println!("were: {}", kubernetes::scale(&web, 0)?);
    rollouts::pause(&web, true)?;
    rollouts::pause(&web, false)?;
    rollouts::restart(&web)?;
    println!("settled: {:?}", rollouts::wait(&web, Some(Duration::from_secs(20)))?.state);
    println!("revisions: {}", rollouts::history(&web)?.len());
    println!("back to: {}", rollouts::undo(&web, None)?);
    println!("told of: {}", !kubernetes::events(&web)?.is_empty());
    println!("ready: {}", rollouts::status(&web)?.ready);
    // it counts what was written
    println!("writes: {}", kubernetes::get(&web)?["metadata"]["generation"]);
    Ok(())
}

fn inside(namespace: &str, name: &str) -> Result<(), Failure> {
    let pod = Pod::new(name).namespace(namespace);
    for _ in 0..TRIES {
        match pod.exec(&Exec::new(["sh", "-c", "echo cmd: inside"])) {
            Err(Error::Cluster(text)) if text.contains("was cut off") => continue,
            other => println!("inside: {}", other?.code),
        }
        break;
    }
    println!("said: {}", pod.logs(LogOptions { tail: Some(1), ..LogOptions::default() })?.text(100)?.trim());
    let port = forward(Some(namespace), &Destination::Pod(name.to_owned()), 8080, "inside")?;
    println!("at: {}", port.url());
    Ok(())
}
