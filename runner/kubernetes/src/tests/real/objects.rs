//! Reading and writing.

use admission::{PatchKind, Request, Subresource, Target, Write};
use serde_json::{Value, json};

use super::{all, configmap, connect, deployment, engine, idle, text};
use crate::cluster::Cluster;
use crate::error::ClusterError;
use crate::{Propagation, Selection, Writing};

const PLAIN: Writing<'_> = Writing { manager: "runner-test", dry_run: false, resource_version: None };

async fn write(cluster: &Cluster, target: &Target, write: Write, writing: Writing<'_>) -> Result<Value, ClusterError> {
    cluster.write(&Request { target: target.clone(), write }, writing).await
}

fn map(name: &str, data: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "labels": { "of": "pages" } }, "data": data })
}

#[tokio::test]
async fn what_is_made_is_read_and_listed_in_pages() {
    let Some(engine) = engine("objects") else { return };
    let namespace = engine.namespace("objects");
    let cluster = connect(engine.kubeconfig()).await;
    assert!(cluster.version().await.unwrap().starts_with("v1."));
    for name in ["a", "b", "c"] {
        write(&cluster, &configmap(&namespace, name), Write::Create { object: map(name, &json!({ "word": name })) }, PLAIN).await.unwrap();
    }
    let read = cluster.get(&configmap(&namespace, "b")).await.unwrap();
    assert_eq!((text(&read, "/kind"), text(&read, "/data/word")), ("ConfigMap", "b"));
    let again = Write::Create { object: map("b", &json!({})) };
    assert!(write(&cluster, &configmap(&namespace, "b"), again, PLAIN).await.unwrap_err().is_conflict());
    assert!(cluster.get(&configmap(&namespace, "d")).await.unwrap_err().is_missing());

    let maps = all(&namespace, "", "v1", "configmaps");
    let selection = Selection { labels: "of=pages".into(), fields: String::new() };
    let (mut names, mut next, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = cluster.list(&maps, &selection, 2, &next).await.unwrap();
        assert!(page.items.iter().all(|item| text(item, "/kind") == "ConfigMap"));
        names.extend(page.items.iter().map(|item| text(item, "/metadata/name").to_owned()));
        (pages, next) = (pages + 1, page.next);
        if next.is_empty() {
            break;
        }
    }
    assert_eq!((names.join(" "), pages), ("a b c".to_owned(), 2));
    let one = Selection { labels: String::new(), fields: "metadata.name=c".into() };
    assert_eq!(cluster.list(&maps, &one, 10, "").await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn every_kind_of_write_holds_to_the_version_that_was_looked_at() {
    let Some(engine) = engine("versions") else { return };
    let namespace = engine.namespace("versions");
    let cluster = connect(engine.kubeconfig()).await;
    let target = deployment(&namespace, "api");
    let made = write(&cluster, &target, Write::Create { object: idle("api", 0) }, PLAIN).await.unwrap();
    let old = text(&made, "/metadata/resourceVersion").to_owned();
    write(&cluster, &target, Write::Patch { kind: PatchKind::Merge, patch: json!({ "metadata": { "labels": { "new": "1" } } }) }, PLAIN)
        .await
        .unwrap();

    let image = |value: &str| json!({ "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": value }] } } } });
    let scale = target.clone().part(Subresource::Scale).unwrap();
    let applied = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "api", "annotations": { "by": "apply" } } });
    let writes: [(&Target, Write, &str, &str); 5] = [
        (
            &target,
            Write::Patch { kind: PatchKind::Merge, patch: json!({ "metadata": { "annotations": { "by": "merge" } } }) },
            "/metadata/annotations/by",
            "merge",
        ),
        (
            &target,
            Write::Patch { kind: PatchKind::Strategic, patch: image("runner-test/service:2") },
            "/spec/template/spec/containers/0/image",
            "runner-test/service:2",
        ),
        (
            &target,
            Write::Patch {
                kind: PatchKind::Json,
                patch: json!([{ "op": "replace", "path": "/metadata/annotations/by", "value": "json" }]),
            },
            "/metadata/annotations/by",
            "json",
        ),
        (&target, Write::Apply { object: applied, force: true }, "/metadata/annotations/by", "apply"),
        (&scale, Write::Scale { replicas: 1 }, "/spec/replicas", "1"),
    ];
    for (target, what, pointer, expected) in writes {
        let stale = Writing { resource_version: Some(&old), ..PLAIN };
        for dry_run in [true, false] {
            let error = write(&cluster, target, what.clone(), Writing { dry_run, ..stale }).await.unwrap_err();
            assert!(error.is_conflict(), "{what:?}: {error}");
        }
        let shown = |object: &Value| object.pointer(pointer).map(|value| value.to_string().trim_matches('"').to_owned());
        let before = cluster.get(&target.whole()).await.unwrap();
        // its controller may write the status at any time
        let current = async |dry_run| {
            super::soon("a write", 5, async || {
                let now = cluster.get(&target.whole()).await.unwrap();
                let version = Some(text(&now, "/metadata/resourceVersion"));
                match write(&cluster, target, what.clone(), Writing { dry_run, resource_version: version, ..PLAIN }).await {
                    Err(error) if error.is_conflict() => None,
                    written => Some(written.unwrap()),
                }
            })
            .await
        };
        assert_eq!(shown(&current(true).await).as_deref(), Some(expected), "{what:?}");
        let kept = cluster.get(&target.whole()).await.unwrap();
        assert_eq!(kept["metadata"]["generation"], before["metadata"]["generation"]);
        assert_ne!(shown(&kept).as_deref(), Some(expected), "a dry run of {what:?} was kept");
        let done = current(false).await;
        assert_eq!(shown(&done).as_deref(), Some(expected), "{what:?}");
    }
}

#[tokio::test]
async fn fields_of_somebody_else_are_taken_by_force_alone() {
    let Some(engine) = engine("field managers") else { return };
    let namespace = engine.namespace("managers");
    let cluster = connect(engine.kubeconfig()).await;
    let target = configmap(&namespace, "shared");
    let apply = |word: &str, force| Write::Apply { object: map("shared", &json!({ "word": word })), force };
    let by = |manager| Writing { manager, ..PLAIN };
    write(&cluster, &target, apply("theirs", false), by("them")).await.unwrap();
    let error = write(&cluster, &target, apply("ours", false), by("us")).await.unwrap_err();
    assert!(error.is_conflict() && error.to_string().contains("them"), "{error}");
    let taken = write(&cluster, &target, apply("ours", true), by("us")).await.unwrap();
    assert_eq!(text(&taken, "/data/word"), "ours");
    let managers: Vec<&str> = taken["metadata"]["managedFields"].as_array().unwrap().iter().map(|one| text(one, "/manager")).collect();
    assert!(managers.contains(&"us"), "{managers:?}");
}

#[tokio::test]
async fn what_is_no_object_is_refused() {
    let Some(engine) = engine("bad objects") else { return };
    let namespace = engine.namespace("refused");
    let cluster = connect(engine.kubeconfig()).await;
    let target = deployment(&namespace, "api");
    let mut wrong = idle("api", 1);
    wrong["spec"]["selector"]["matchLabels"]["app"] = json!("another");
    let error = write(&cluster, &target, Write::Create { object: wrong }, PLAIN).await.unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("selector"), "{error}");
    write(&cluster, &target, Write::Create { object: idle("api", 0) }, PLAIN).await.unwrap();
    let patch = |patch| Write::Patch { kind: PatchKind::Json, patch };
    let nowhere = patch(json!([{ "op": "replace", "path": "/spec/nowhere/at", "value": 1 }]));
    let error = write(&cluster, &target, nowhere, PLAIN).await.unwrap_err();
    assert!(error.is_invalid(), "{error}");
    let untrue =
        patch(json!([{ "op": "test", "path": "/spec/replicas", "value": 7 }, { "op": "replace", "path": "/spec/replicas", "value": 8 }]));
    assert!(write(&cluster, &target, untrue, PLAIN).await.is_err());
    let unknown = Write::Patch { kind: PatchKind::Merge, patch: json!({ "spec": { "replicas": "many" } }) };
    assert!(write(&cluster, &target, unknown, PLAIN).await.is_err());
    assert_eq!(cluster.get(&target).await.unwrap()["spec"]["replicas"], 0);
    let kind = admission::Kind::new("nobody.example", "v1", "things").unwrap();
    let none = Target::one(kind, Some(namespace.name()), "x").unwrap();
    assert!(cluster.get(&none).await.unwrap_err().is_missing());
}

#[tokio::test]
async fn only_the_version_that_was_looked_at_is_deleted() {
    let Some(engine) = engine("deleting") else { return };
    let namespace = engine.namespace("deleting");
    let cluster = connect(engine.kubeconfig()).await;
    let target = configmap(&namespace, "one");
    let made = write(&cluster, &target, Write::Create { object: map("one", &json!({ "word": "1" })) }, PLAIN).await.unwrap();
    let old = text(&made, "/metadata/resourceVersion").to_owned();
    let changed =
        write(&cluster, &target, Write::Patch { kind: PatchKind::Merge, patch: json!({ "data": { "word": "2" } }) }, PLAIN).await.unwrap();
    let error = cluster.delete(&target, Propagation::Background, Some(&old)).await.unwrap_err();
    assert!(error.is_conflict(), "{error}");
    cluster.delete(&target, Propagation::Foreground, Some(text(&changed, "/metadata/resourceVersion"))).await.unwrap();
    // what it owns goes first
    super::soon("it is gone", 60, async || cluster.get(&target).await.err().filter(ClusterError::is_missing)).await;
    assert!(cluster.delete(&target, Propagation::Background, None).await.unwrap_err().is_missing());
}

/// Kinds that nobody acts on here, whose fields the cluster fills in and bounds.
#[tokio::test]
async fn routes_are_written_like_anything_else() {
    let Some(engine) = engine("routes") else { return };
    let namespace = engine.namespace("routes");
    let cluster = connect(engine.kubeconfig()).await;
    let route = all(&namespace, "gateway.networking.k8s.io", "v1", "httproutes").sibling("api").unwrap();
    let backend = |name: &str| json!({ "name": name, "port": 80 });
    let object = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": { "name": "api" },
        "spec": { "parentRefs": [{ "name": "door" }], "rules": [{ "backendRefs": [backend("stable"), backend("canary")] }] },
    });
    let made = write(&cluster, &route, Write::Apply { object, force: false }, PLAIN).await.unwrap();
    assert_eq!(made["spec"]["rules"][0]["backendRefs"][1]["weight"], 1, "the cluster fills it in");
    let weight = |value: i64| json!([{ "op": "replace", "path": "/spec/rules/0/backendRefs/1/weight", "value": value }]);
    let patch = |value| Write::Patch { kind: PatchKind::Json, patch: weight(value) };
    assert_eq!(write(&cluster, &route, patch(10), PLAIN).await.unwrap()["spec"]["rules"][0]["backendRefs"][1]["weight"], 10);
    assert!(write(&cluster, &route, patch(-1), PLAIN).await.unwrap_err().is_invalid());

    let service = all(&namespace, "networking.istio.io", "v1", "virtualservices").sibling("api").unwrap();
    let object = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": { "name": "api" },
        "spec": { "hosts": ["api"], "http": [{ "timeout": "5s", "route": [
            { "destination": { "host": "api", "subset": "stable" }, "weight": 90 },
            { "destination": { "host": "api", "subset": "canary" }, "weight": 10 },
        ] }] },
    });
    let made = write(&cluster, &service, Write::Create { object }, PLAIN).await.unwrap();
    assert_eq!(made["spec"]["http"][0]["timeout"], "5s", "what the kind does not name is kept");
    let older = all(&namespace, "networking.istio.io", "v1beta1", "virtualservices").sibling("api").unwrap();
    assert_eq!(text(&cluster.get(&older).await.unwrap(), "/apiVersion"), "networking.istio.io/v1beta1");
}
