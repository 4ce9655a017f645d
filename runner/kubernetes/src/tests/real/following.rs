//! Watches, also of a cluster that goes away.

use std::time::Duration;

use admission::{PatchKind, Request, Write};
use http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::{all, configmap, connect, engine, engine_alone, text};
use crate::answer;
use crate::ask::{Call, Waits};
use crate::cluster::Cluster;
use crate::{Change, Propagation, Selection, Watch, Writing};

const PLAIN: Writing<'_> = Writing { manager: "runner-test", dry_run: false, resource_version: None };

async fn word(cluster: &Cluster, target: &admission::Target, word: &str) {
    let patch = json!({ "data": { "word": word } });
    let request = Request { target: target.clone(), write: Write::Patch { kind: PatchKind::Merge, patch } };
    cluster.write(&request, PLAIN).await.unwrap();
}

async fn make(cluster: &Cluster, target: &admission::Target, label: &str) {
    let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": target.name(), "labels": { "of": label } } });
    cluster.write(&Request { target: target.clone(), write: Write::Create { object } }, PLAIN).await.unwrap();
}

fn watch(cluster: &Cluster, namespace: &super::Namespace<'_>) -> Watch {
    cluster.watch(&all(namespace, "", "v1", "configmaps"), &Selection { labels: "of=watched".into(), fields: String::new() })
}

/// What is told until it is this.
async fn until(watch: &mut Watch, last: &str) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    while told.last().is_none_or(|told| told != last) {
        let next = tokio::time::timeout(Duration::from_secs(60), watch.next()).await;
        let event = next.unwrap_or_else(|_| panic!("only {told:?}")).unwrap().unwrap();
        told.push(match event.change {
            Change::Synced => "synced".to_owned(),
            change => {
                format!("{change:?} {} {}", text(&event.object, "/metadata/name"), text(&event.object, "/data/word")).trim_end().to_owned()
            }
        });
    }
    told
}

#[tokio::test]
async fn changes_are_told_as_they_come() {
    let Some(engine) = engine("a watch") else { return };
    let namespace = engine.namespace("watched");
    let cluster = connect(engine.kubeconfig()).await;
    let (one, two, other) = (configmap(&namespace, "one"), configmap(&namespace, "two"), configmap(&namespace, "other"));
    make(&cluster, &one, "watched").await;
    make(&cluster, &other, "others").await;
    let mut watch = watch(&cluster, &namespace);
    assert_eq!(until(&mut watch, "synced").await, ["Added one", "synced"]);
    make(&cluster, &two, "watched").await;
    word(&cluster, &other, "unheard").await;
    word(&cluster, &one, "1").await;
    cluster.delete(&two, Propagation::Background, None).await.unwrap();
    assert_eq!(until(&mut watch, "Deleted two").await, ["Added two", "Modified one 1", "Deleted two"]);
}

/// What a server says that does not know what came after a version.
async fn refuses(cluster: &Cluster, target: &admission::Target, version: &str) {
    let call = Call::new(Method::GET, "watching", target.path()).query("watch", "true").query("resourceVersion", version);
    let error = match cluster.response(&call, &mut Waits::new(cluster.patience)).await {
        Err(error) => error,
        // it may be said in the stream
        Ok(mut response) => {
            let frame = response.body_mut().frame().await.unwrap().unwrap();
            let event: Value = serde_json::from_slice(&frame.into_data().unwrap()).unwrap();
            assert_eq!(event["type"], "ERROR", "{event}");
            answer::said_in("watching", &event["object"])
        }
    };
    assert!(error.is_expired(), "{error}");
}

/// What was written while nobody could watch is told afterwards: the server starts with an empty memory and calls the version that was seen last too old.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_started_again_loses_no_change() {
    let Some(engine) = engine_alone("a restart") else { return };
    let namespace = engine.namespace("restarted");
    let cluster = connect(engine.kubeconfig()).await;
    let (one, two, three) = (configmap(&namespace, "one"), configmap(&namespace, "two"), configmap(&namespace, "three"));
    make(&cluster, &one, "watched").await;
    let maps = all(&namespace, "", "v1", "configmaps");
    let old = cluster.list(&maps, &Selection::default(), 10, "").await.unwrap().resource_version;
    make(&cluster, &two, "watched").await;
    let mut watch = watch(&cluster, &namespace);
    assert_eq!(until(&mut watch, "synced").await, ["Added one", "Added two", "synced"]);

    let Some(outage) = engine.without("apiserver") else {
        eprintln!("skipped: a restart: the cluster is the user's own");
        return;
    };
    // a write waits for the server, since nobody listened to it
    let writing = tokio::spawn({
        let (cluster, one) = (cluster.clone(), one.clone());
        async move { word(&cluster, &one, "while it was away").await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!writing.is_finished());
    drop(outage);
    writing.await.unwrap();
    refuses(&cluster, &maps, &old).await;
    cluster.delete(&two, Propagation::Background, None).await.unwrap();
    make(&cluster, &three, "watched").await;
    let mut told = until(&mut watch, "Added three").await;
    word(&cluster, &three, "3").await;
    told.extend(until(&mut watch, "Modified three 3").await);
    told.sort();
    assert_eq!(told, ["Added three", "Deleted two", "Modified one while it was away", "Modified three 3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_outlast_a_restart() {
    let Some(engine) = engine_alone("a restart under a log") else { return };
    let namespace = engine.namespace("log-restarted");
    let cluster = connect(engine.kubeconfig()).await;
    namespace.run(&[
        "run",
        "counter",
        "--image=runner-test/busybox:1",
        "--restart=Never",
        "--",
        "sh",
        "-c",
        "i=0; while [ $i -lt 120 ]; do i=$((i+1)); echo $i; sleep 0.2; done",
    ]);
    namespace.run(&["wait", "--for=condition=Ready", "pod/counter", "--timeout=90s"]);
    let options = crate::LogOptions { follow: true, ..crate::LogOptions::default() };
    let mut log = cluster.logs(&super::pod(&namespace, "counter"), options).await.unwrap();
    let mut lines: Vec<String> = Vec::new();
    let mut restarted = false;
    while let Some(line) = tokio::time::timeout(Duration::from_secs(60), log.line()).await.expect("a line").unwrap() {
        lines.push(String::from_utf8(line).unwrap().trim_end().to_owned());
        if lines.len() == 5 {
            restarted = tokio::task::block_in_place(|| engine.without("apiserver").is_some());
        }
    }
    let expected: Vec<String> = (1..=120).map(|number| number.to_string()).collect();
    assert_eq!(lines, expected, "restarted: {restarted}");
}
