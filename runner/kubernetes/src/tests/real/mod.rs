//! Against a real cluster, for what only a real one does. Each test has a namespace of its own: others use the same cluster at the same time.

#![allow(clippy::print_stderr)] // that is how a test says that it was skipped

mod access;
mod following;
mod objects;
mod pods;
mod rollouts;

#[path = "../../../../../tests/src/cluster.rs"]
#[allow(dead_code, reason = "the end-to-end tests have it too")]
mod engine;

use std::time::{Duration, Instant};

use admission::{Kind, Target};
use engine::Namespace;
use serde_json::{Value, json};

use crate::ask::Patience;
use crate::cluster::Cluster;
use crate::config;

/// None: the test can't be run here, which it has said.
fn engine(test: &str) -> Option<engine::Cluster> {
    found(test, false)
}

/// With no other test beside, in this program or another.
fn engine_alone(test: &str) -> Option<engine::Cluster> {
    found(test, true)
}

fn found(test: &str, alone: bool) -> Option<engine::Cluster> {
    match engine::Cluster::find(alone) {
        Ok(engine) => Some(engine),
        Err(why) => {
            let how = "`tests/engines/kubernetes up`, then `eval \"$(tests/engines/kubernetes env)\"`";
            assert!(std::env::var_os("PIPELINE_TEST_REQUIRE_ENGINES").is_none(), "{test}: {why}: {how}");
            eprintln!("skipped: {test}: {why}. Get a cluster with {how}");
            None
        }
    }
}

/// The cluster as a kubeconfig names it.
async fn connect(kubeconfig: &str) -> Cluster {
    let found = config::find(None, &|name| (name == "KUBECONFIG").then(|| kubeconfig.to_owned())).await.unwrap();
    Cluster::of(found).unwrap().with_patience(Patience { whole: Duration::from_secs(60), ..Patience::default() })
}

fn all(namespace: &Namespace<'_>, group: &str, version: &str, plural: &str) -> Target {
    Target::all(Kind::new(group, version, plural).unwrap(), Some(namespace.name())).unwrap()
}

fn configmap(namespace: &Namespace<'_>, name: &str) -> Target {
    all(namespace, "", "v1", "configmaps").sibling(name).unwrap()
}

fn deployment(namespace: &Namespace<'_>, name: &str) -> Target {
    all(namespace, "apps", "v1", "deployments").sibling(name).unwrap()
}

fn pod(namespace: &Namespace<'_>, name: &str) -> Target {
    all(namespace, "", "v1", "pods").sibling(name).unwrap()
}

/// A Deployment of a program that does nothing, as it is sent.
fn idle(name: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name, "labels": { "made": "here" } },
        "spec": {
            "replicas": replicas, "progressDeadlineSeconds": 5, "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{ "name": "main", "image": "runner-test/busybox:1", "command": ["sleep", "600"] }],
                },
            },
        },
    })
}

fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Asks until the answer is there.
async fn soon<T>(what: &str, seconds: u64, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(began.elapsed() < Duration::from_secs(seconds), "{what}: not within {seconds} s");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
