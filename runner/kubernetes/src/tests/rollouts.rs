use serde_json::{Value, json};

use crate::{State, choose, history, occurrences, progress, return_to};

fn deployment(spec: u32, status: Value) -> Value {
    json!({ "kind": "Deployment", "metadata": { "generation": 2, "uid": "u-1" }, "spec": { "replicas": spec }, "status": status })
}

#[test]
fn how_rollouts_stand() {
    let status = |updated: u32, all: u32, available: u32| json!({ "observedGeneration": 2, "replicas": all, "updatedReplicas": updated, "readyReplicas": available, "availableReplicas": available });
    let with = |mut object: Value, pointer: &str, key: &str, value: Value| {
        object.pointer_mut(pointer).unwrap()[key] = value;
        object
    };
    let deadline = json!([{ "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "has timed out" }]);
    let quota = json!([{ "type": "ReplicaFailure", "status": "True", "message": "exceeded quota" }]);
    let stateful =
        |status: Value, spec: Value| json!({ "kind": "StatefulSet", "metadata": { "generation": 1 }, "spec": spec, "status": status });
    for (wanted, words, object) in [
        (State::Progressing, "has not seen", with(deployment(3, status(3, 3, 3)), "/metadata", "generation", json!(3))),
        (State::Complete, "3 of 3 are available", deployment(3, status(3, 3, 3))),
        (State::Complete, "0 of 0", deployment(0, status(0, 0, 0))),
        (State::Progressing, "1 of 3 have the new", deployment(3, status(1, 4, 3))),
        (State::Progressing, "1 of the old", deployment(3, status(3, 4, 3))),
        (State::Progressing, "2 of 3 are available", deployment(3, status(3, 3, 2))),
        (State::Progressing, "0 of 1 have", json!({ "kind": "Deployment", "metadata": {} })),
        (State::Paused, "paused", with(deployment(3, status(1, 4, 3)), "/spec", "paused", json!(true))),
        (State::Stalled, "has timed out", with(deployment(3, status(1, 4, 3)), "/status", "conditions", deadline.clone())),
        (State::Stalled, "exceeded quota", with(deployment(3, status(1, 4, 3)), "/status", "conditions", quota)),
        (State::Complete, "available", with(deployment(3, status(3, 3, 3)), "/status", "conditions", deadline)),
        (
            State::Complete,
            "2 of 2",
            stateful(
                json!({ "observedGeneration": 1, "replicas": 2, "readyReplicas": 2, "currentRevision": "a", "updateRevision": "a" }),
                json!({ "replicas": 2 }),
            ),
        ),
        (
            State::Progressing,
            "1 of 2",
            stateful(
                json!({ "observedGeneration": 1, "replicas": 2, "readyReplicas": 2, "updatedReplicas": 1, "currentRevision": "a", "updateRevision": "b" }),
                json!({ "replicas": 2 }),
            ),
        ),
        (
            State::Complete,
            "2 of 2",
            stateful(
                json!({ "observedGeneration": 1, "replicas": 2, "readyReplicas": 2, "updatedReplicas": 1, "currentRevision": "a", "updateRevision": "b" }),
                json!({ "replicas": 2, "updateStrategy": { "rollingUpdate": { "partition": 1 } } }),
            ),
        ),
        (
            State::Complete,
            "4 of 4",
            json!({ "kind": "DaemonSet", "metadata": { "generation": 1 }, "status": { "observedGeneration": 1, "desiredNumberScheduled": 4, "updatedNumberScheduled": 4, "currentNumberScheduled": 4, "numberReady": 4, "numberAvailable": 4 } }),
        ),
        (
            State::Progressing,
            "3 of 4 have",
            json!({ "kind": "DaemonSet", "metadata": { "generation": 1 }, "status": { "observedGeneration": 1, "desiredNumberScheduled": 4, "updatedNumberScheduled": 3, "currentNumberScheduled": 4, "numberAvailable": 4 } }),
        ),
    ] {
        let progress = progress(&object).unwrap();
        assert_eq!(progress.state, wanted, "{object}: {progress:?}");
        assert!(progress.message.contains(words), "{object}: {progress:?}");
    }
    assert_eq!(progress(&json!({ "kind": "ConfigMap" })), None);
}

fn template(image: &str) -> Value {
    json!({ "metadata": { "labels": { "app": "api" } }, "spec": { "containers": [{ "name": "api", "image": image }] } })
}

#[test]
fn going_back_changes_only_what_differs() {
    let owner = json!({ "kind": "Deployment", "metadata": { "uid": "u-1" }, "spec": { "template": template("v3") } });
    let set = |revision: &str, owner: &str, image: &str| {
        let mut template = template(image);
        template["metadata"]["labels"]["pod-template-hash"] = json!("77");
        json!({ "metadata": { "annotations": { "deployment.kubernetes.io/revision": revision, "kubernetes.io/change-cause": "why" }, "creationTimestamp": "2026-01-01T00:00:00Z",
            "ownerReferences": [{ "uid": owner, "controller": true }] }, "spec": { "template": template } })
    };
    let sets = [set("10", "u-1", "v3"), set("9", "u-1", "v2"), set("2", "u-1", "v1"), set("11", "u-2", "evil"), json!({})];
    let revisions = history(&owner, &sets);
    let told: Vec<(u64, &str, bool)> = revisions.iter().map(|one| (one.number, one.images[0].as_str(), one.current)).collect();
    assert_eq!(told, [(2, "v1", false), (9, "v2", false), (10, "v3", true)]);
    let image = "/spec/template/spec/containers/0/image";
    assert_eq!(return_to(&owner, &revisions, 0).unwrap(), (9, json!([{ "op": "replace", "path": image, "value": "v2" }])));
    assert_eq!(return_to(&owner, &revisions, 2).unwrap(), (2, json!([{ "op": "replace", "path": image, "value": "v1" }])));
    assert_eq!(return_to(&owner, &revisions, 10).unwrap(), (10, json!([])));
    assert!(return_to(&owner, &revisions, 11).unwrap_err().contains("2, 9, 10"));
    assert!(return_to(&owner, &[], 0).is_err());
    let mut more = revisions[1].clone();
    more.template["metadata"]["annotations"] = json!({ "a/b": "c" });
    more.template["metadata"]["labels"] = json!({});
    let (_, patch) = return_to(&owner, &[more], 9).unwrap();
    assert_eq!(
        patch,
        json!([{ "op": "remove", "path": "/spec/template/metadata/labels/app" }, { "op": "add", "path": "/spec/template/metadata/annotations", "value": { "a/b": "c" } }, { "op": "replace", "path": image, "value": "v2" }])
    );
}

#[test]
fn a_service_leads_to_a_pod_that_is_ready() {
    let service =
        json!({ "spec": { "ports": [{ "port": 80, "targetPort": "http" }, { "port": 90, "targetPort": 9090 }, { "port": 70 }] } });
    let pod = |name: &str, ready: &str, since: &str| {
        json!({ "metadata": { "name": name }, "spec": { "containers": [{ "ports": [{ "name": "http", "containerPort": 8080 }] }] },
            "status": { "conditions": [{ "type": "Ready", "status": ready, "lastTransitionTime": since }] } })
    };
    let mut going = pod("going", "True", "2025-01-01T00:00:00Z");
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let pods = [
        pod("new", "True", "2026-01-02T00:00:00Z"),
        pod("old", "True", "2026-01-01T00:00:00Z"),
        pod("not", "False", "2024-01-01T00:00:00Z"),
        going,
    ];
    assert_eq!(choose(&service, 80, &pods).unwrap(), ("old".to_owned(), 8080));
    assert_eq!(choose(&service, 90, &pods).unwrap(), ("old".to_owned(), 9090));
    assert_eq!(choose(&service, 70, &pods).unwrap(), ("old".to_owned(), 70));
    assert_eq!(choose(&service, 1, &pods).unwrap_err(), "the Service has no such port; it has 80, 90, 70");
    assert_eq!(choose(&service, 80, &pods[2..]).unwrap_err(), "none of its 2 Pods is ready");
    assert_eq!(choose(&service, 80, &[]).unwrap_err(), "the Service selects no Pods that are there");
}

#[test]
fn events_of_both_forms() {
    let told = occurrences(&[
        json!({ "type": "Warning", "reason": "BackOff", "message": "m", "count": 5, "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:09:00Z", "source": { "component": "kubelet" } }),
        json!({ "type": "Normal", "reason": "Scheduled", "eventTime": "2026-01-01T00:00:00.5Z", "firstTimestamp": null, "reportingComponent": "default-scheduler", "series": { "count": 2, "lastObservedTime": "2026-01-01T00:01:00Z" } }),
        json!({ "reason": "Bare" }),
    ]);
    let short: Vec<(&str, u32, &str)> = told.iter().map(|one| (one.reason.as_str(), one.count, one.source.as_str())).collect();
    assert_eq!(short, [("Bare", 1, ""), ("Scheduled", 2, "default-scheduler"), ("BackOff", 5, "kubelet")]);
}
