//! How real controllers come from one template to the next, or don't.

use admission::{PatchKind, Request, Target, Write};
use serde_json::{Value, json};

use super::{all, connect, deployment, engine, idle, soon, text};
use crate::cluster::Cluster;
use crate::{Progress, Revision, Selection, State, Writing, history, progress, return_to};

const PLAIN: Writing<'_> = Writing { manager: "runner-test", dry_run: false, resource_version: None };

async fn write(cluster: &Cluster, target: &Target, write: Write) -> Value {
    cluster.write(&Request { target: target.clone(), write }, PLAIN).await.unwrap()
}

async fn comes_to(cluster: &Cluster, target: &Target, state: State) -> Progress {
    soon(&format!("{state:?}"), 90, async || {
        let progress = progress(&cluster.get(target).await.unwrap()).unwrap();
        (progress.state == state).then_some(progress)
    })
    .await
}

async fn revisions(cluster: &Cluster, target: &Target, sets: &Target) -> (Value, Vec<Revision>) {
    let owner = cluster.get(target).await.unwrap();
    let sets = cluster.list(sets, &Selection::default(), 100, "").await.unwrap();
    let revisions = history(&owner, &sets.items);
    (owner, revisions)
}

fn image(image: &str) -> Write {
    let patch = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": image }] } } } });
    Write::Patch { kind: PatchKind::Strategic, patch }
}

#[tokio::test]
async fn a_deployment_goes_on_and_back() {
    let Some(engine) = engine("a rollout") else { return };
    let namespace = engine.namespace("rollout");
    let cluster = connect(engine.kubeconfig()).await;
    let target = deployment(&namespace, "api");
    let made = write(&cluster, &target, Write::Create { object: idle("api", 2) }).await;
    assert!(!progress(&made).unwrap().observed, "no controller has seen it");
    let done = comes_to(&cluster, &target, State::Complete).await;
    assert_eq!((done.desired, done.updated, done.ready, done.available, done.old), (2, 2, 2, 2, 0), "{done:?}");

    let changed = write(&cluster, &target, image("runner-test/service:1")).await;
    assert_eq!(progress(&changed).unwrap().state, State::Progressing);
    comes_to(&cluster, &target, State::Complete).await;
    let sets = all(&namespace, "apps", "v1", "replicasets");
    let (owner, known) = revisions(&cluster, &target, &sets).await;
    let shown: Vec<_> = known.iter().map(|one| (one.number, one.images.join(","), one.current)).collect();
    let (busybox, service) = ("runner-test/busybox:1".to_owned(), "runner-test/service:1".to_owned());
    assert_eq!(shown, [(1, busybox.clone(), false), (2, service.clone(), true)]);

    let (number, patch) = return_to(&owner, &known, 0).unwrap();
    assert_eq!((number, patch.as_array().unwrap().len()), (1, 1), "only the image differs: {patch}");
    let back = write(&cluster, &target, Write::Patch { kind: PatchKind::Json, patch }).await;
    assert_eq!(back["spec"]["template"], made["spec"]["template"]);
    comes_to(&cluster, &target, State::Complete).await;
    let (_, known) = revisions(&cluster, &target, &sets).await;
    let shown: Vec<_> = known.iter().map(|one| (one.number, one.images.join(","), one.current)).collect();
    assert_eq!(shown, [(2, service, false), (3, busybox, true)], "the old one is the newest again");
}

#[tokio::test]
async fn what_is_stuck_says_so_and_its_events_say_why() {
    let Some(engine) = engine("a stuck rollout") else { return };
    let namespace = engine.namespace("stuck");
    let cluster = connect(engine.kubeconfig()).await;
    let target = deployment(&namespace, "api");
    let mut object = idle("api", 1);
    object["spec"]["template"]["spec"]["containers"][0]["image"] = json!("runner-test/missing:1");
    object["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = json!("Never");
    write(&cluster, &target, Write::Create { object }).await;
    let pods = all(&namespace, "", "v1", "pods");
    let events = soon("an event", 90, async || {
        let page = cluster.list(&pods, &Selection::default(), 10, "").await.unwrap();
        let events = cluster.events(page.items.first()?, 20).await.unwrap();
        events.iter().any(|event| event.reason == "ErrImageNeverPull").then_some(events)
    })
    .await;
    assert!(events.iter().any(|event| event.reason == "Scheduled" && event.severity == "Normal"), "{events:#?}");
    let failed = events.iter().find(|event| event.reason == "ErrImageNeverPull").unwrap();
    assert!(failed.severity == "Warning" && failed.message.contains("missing:1") && failed.source == "kubelet", "{failed:?}");
    assert!(failed.last >= failed.first && failed.last.is_some(), "{failed:?}");

    let stuck = comes_to(&cluster, &target, State::Stalled).await;
    assert!(stuck.message.contains("progress") && stuck.available == 0, "{stuck:?}");
}

#[tokio::test]
async fn stateful_sets_and_daemon_sets_come_through_too() {
    let Some(engine) = engine("other rollouts") else { return };
    let namespace = engine.namespace("others");
    let cluster = connect(engine.kubeconfig()).await;
    let template = idle("db", 1)["spec"]["template"].clone();
    let selector = json!({ "matchLabels": { "app": "db" } });
    let stateful = all(&namespace, "apps", "v1", "statefulsets").sibling("db").unwrap();
    let object = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "db" },
        "spec": { "replicas": 2, "serviceName": "db", "selector": selector, "template": template },
    });
    write(&cluster, &stateful, Write::Create { object }).await;
    let done = comes_to(&cluster, &stateful, State::Complete).await;
    assert_eq!((done.desired, done.updated, done.ready, done.old), (2, 2, 2, 0), "{done:?}");
    write(&cluster, &stateful, image("runner-test/service:1")).await;
    let done = comes_to(&cluster, &stateful, State::Complete).await;
    assert_eq!((done.updated, done.ready, done.old), (2, 2, 0), "{done:?}");
    let records = all(&namespace, "apps", "v1", "controllerrevisions");
    let (owner, known) = revisions(&cluster, &stateful, &records).await;
    assert_eq!(known.iter().map(|one| (one.number, one.current)).collect::<Vec<_>>(), [(1, false), (2, true)]);
    let (number, patch) = return_to(&owner, &known, 1).unwrap();
    assert_eq!(number, 1);
    let back = write(&cluster, &stateful, Write::Patch { kind: PatchKind::Json, patch }).await;
    assert_eq!(text(&back, "/spec/template/spec/containers/0/image"), "runner-test/busybox:1");

    let daemons = all(&namespace, "apps", "v1", "daemonsets").sibling("agent").unwrap();
    let mut template = template;
    template["metadata"]["labels"]["app"] = json!("agent");
    let object = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "name": "agent" },
        "spec": { "selector": { "matchLabels": { "app": "agent" } }, "template": template },
    });
    write(&cluster, &daemons, Write::Create { object }).await;
    let done = comes_to(&cluster, &daemons, State::Complete).await;
    assert!(done.desired >= 1 && done.ready == done.desired, "{done:?}");
}
