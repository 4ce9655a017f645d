//! Requests that are judged by themselves, before the cluster hears of them.

use serde_json::{Value, json};

use super::{json_patch, merge, rules, scale, strategic, target, told};
use crate::{Request, Rules, Write};

/// The canary's own grant.
fn canary() -> Rules {
    rules(json!([
        { "resources": ["deployments"], "names": ["api", "api-canary"], "verbs": ["get", "watch", "patch"],
          "fields": { "spec.replicas": { "min": 0, "max": 3 }, "spec.template.spec.containers[name=api].image": { "like": "ghcr.io/acme/shop@sha256:*" },
                      "metadata.annotations": {} } },
        { "resources": ["virtualservices.networking.istio.io"], "names": ["api"], "verbs": ["get", "patch"],
          "fields": { "spec.http[*].route[destination.subset=canary].weight": { "min": 0, "max": 10 }, "spec.http[*].route[destination.subset=stable].weight": { "min": 90, "max": 100 } } },
        { "resources": ["configmaps"], "names": ["settings"], "verbs": ["patch", "create", "delete"] },
        { "resources": ["secrets"], "names": ["tls"], "verbs": ["patch"] },
    ]))
}

#[test]
fn patches_alone() {
    let api = "deployments shop/api";
    let image = |image: &str| json!({ "spec": { "template": { "spec": { "containers": [{ "name": "api", "image": image }] } } } });
    let op = |op: &str, path: &str, value: Value| json!([{ "op": op, "path": path, "value": value }]);
    for (wanted, request) in [
        // past the ceiling, in every way to write it
        ("bound", merge(api, json!({ "spec": { "replicas": 4 } }))),
        ("bound", merge(api, json!({ "spec": { "replicas": 3.5 } }))),
        ("bound", merge(api, json!({ "spec": { "replicas": -1 } }))),
        ("bound", merge(api, json!({ "spec": { "replicas": u64::MAX } }))),
        ("bound", merge(api, json!({ "spec": { "replicas": "3" } }))),
        ("bound", merge(api, json!({ "spec": { "replicas": true } }))),
        ("bound", strategic(api, json!({ "spec": { "replicas": 100 } }))),
        ("bound", json_patch(api, op("replace", "/spec/replicas", json!(100)))),
        ("bound", json_patch(api, op("add", "/spec/replicas", json!("3")))),
        ("bound", json_patch(api, op("add", "/spec/replicas", Value::Null))),
        ("field", merge(api, json!({ "spec": { "replicas": null } }))),
        ("field", merge(api, json!({ "spec": { "replicas": { "x": 1 } } }))),
        ("field", json_patch(api, json!([{ "op": "remove", "path": "/spec/replicas" }]))),
        ("bound", scale("deployments/scale shop/api", 4)),
        ("look", scale("deployments/scale shop/api", 3)),
        ("bad-patch", scale("deployments shop/api", 3)),
        ("not-granted", scale("deployments/scale shop/web", 1)),
        ("not-granted", scale("statefulsets/scale shop/api", 1)),
        // other fields, and other ways to them
        ("field", merge(api, json!({ "spec": { "paused": true } }))),
        ("field", merge(api, json!({ "spec": { "Replicas": 3 } }))),
        ("field", merge(api, json!({ "spec": { "replicas\u{200b}": 3 } }))),
        ("field", merge(api, json!({ "spec.replicas": 3 }))),
        ("field", merge(api, json!({ "spec": null }))),
        ("field", merge(api, json!({ "spec": {} }))),
        ("field", json_patch(api, op("replace", "/spec", json!({ "replicas": 3, "paused": true })))),
        ("field", json_patch(api, op("add", "/spec/paused", json!(true)))),
        (
            "field",
            json_patch(
                api,
                op("add", "/spec/template/spec/containers/-", json!({ "name": "api", "image": "ghcr.io/acme/shop@sha256:bb" })),
            ),
        ),
        ("field", json_patch(api, op("add", "/spec/template/spec/ephemeralContainers", json!([{ "name": "x", "image": "evil" }])))),
        ("field", json_patch(api, op("add", "/spec/template/spec/initContainers", json!([])))),
        ("field", json_patch(api, op("replace", "/spec/template/spec/containers/0/command", json!(["sh"])))),
        ("field", json_patch(api, op("add", "/spec/template/spec/hostNetwork", json!(true)))),
        ("field", json_patch(api, json!([{ "op": "move", "from": "/spec/paused", "path": "/metadata/annotations/x" }]))),
        ("field", json_patch(api, json!([{ "op": "copy", "from": "/spec/replicas", "path": "/spec/minReadySeconds" }]))),
        ("look", json_patch(api, json!([{ "op": "copy", "from": "/spec/minReadySeconds", "path": "/spec/replicas" }]))),
        (
            "look",
            json_patch(
                api,
                json!([{ "op": "test", "path": "/spec/paused", "value": false }, { "op": "replace", "path": "/spec/replicas", "value": 2 }]),
            ),
        ),
        // what reads without the right to
        ("not-granted", json_patch("secrets shop/tls", json!([{ "op": "test", "path": "/data/key", "value": "YQ==" }]))),
        (
            "not-granted",
            json_patch("secrets shop/tls", json!([{ "op": "copy", "from": "/data/key", "path": "/metadata/annotations/key" }])),
        ),
        ("not-granted", json_patch("secrets shop/tls", json!([{ "op": "move", "from": "/data/key", "path": "/metadata/labels/key" }]))),
        // images
        ("bound", strategic(api, image("evil:1"))),
        ("bound", strategic(api, image("ghcr.io/acme/shop:latest"))),
        ("bound", strategic(api, image("ghcr.io/acme/shop@sha256:aa/../../evil"))),
        ("bound", strategic(api, image("ghcr.io/acme/shop@sha256:aa\nevil"))),
        ("bound", strategic(api, image("ghcr.io/acme/sho\u{440}@sha256:aa"))),
        ("look", strategic(api, image("ghcr.io/acme/shop@sha256:bb"))),
        ("look", merge(api, image("evil:1"))), // a merge writes the list anew: only the comparison tells what of it is new
        (
            "field",
            strategic(
                api,
                json!({ "spec": { "template": { "spec": { "containers": [{ "name": "proxy", "image": "ghcr.io/acme/shop@sha256:bb" }] } } } }),
            ),
        ),
        (
            "field",
            strategic(
                api,
                json!({ "spec": { "template": { "spec": { "initContainers": [{ "name": "api", "image": "ghcr.io/acme/shop@sha256:bb" }] } } } }),
            ),
        ),
        ("field", strategic(api, json!({ "spec": { "template": { "spec": { "containers": [{ "name": "api", "command": ["sh"] }] } } } }))),
        ("bound", json_patch(api, op("replace", "/spec/template/spec/containers/0/image", json!("evil")))),
        ("look", json_patch(api, op("replace", "/spec/template/spec/containers/1/image", json!("ghcr.io/acme/shop@sha256:bb")))),
        ("field", json_patch(api, op("replace", "/spec/template/spec/containers/00x/image", json!("ghcr.io/acme/shop@sha256:bb")))),
        // directives
        ("field", strategic(api, json!({ "spec": { "$patch": "replace", "replicas": 3 } }))),
        ("bad-patch", strategic(api, json!({ "$patch": "replace", "spec": { "replicas": 3 } }))),
        ("bad-patch", strategic(api, json!({ "$patch": "delete" }))),
        (
            "field",
            strategic(api, json!({ "spec": { "template": { "spec": { "containers": [{ "$patch": "delete", "name": "proxy" }] } } } })),
        ),
        (
            "field",
            strategic(
                api,
                json!({ "spec": { "template": { "spec": { "containers": [{ "$patch": "replace" }, { "name": "api", "image": "ghcr.io/acme/shop@sha256:bb" }] } } } }),
            ),
        ),
        ("field", strategic(api, json!({ "spec": { "strategy": { "$retainKeys": ["type"] } } }))),
        ("field", strategic(api, json!({ "spec": { "template": { "spec": { "$setElementOrder/initContainers": [] } } } }))),
        ("field", strategic(api, json!({ "metadata": { "$deleteFromPrimitiveList/finalizers": ["x"] } }))),
        ("bad-patch", strategic(api, json!({ "spec": { "$unheardOf": 1 } }))),
        ("bad-patch", strategic(api, json!({ "spec": { "$patch": "REPLACE" } }))),
        ("bad-patch", strategic(api, json!({ "spec": { "$setElementOrder/": [] } }))),
        ("field", merge(api, json!({ "spec": { "$patch": "merge" } }))), // in a merge it is a key like any other
        // metadata
        ("field", merge(api, json!({ "metadata": { "finalizers": ["evil.example/stay"] } }))),
        ("field", merge(api, json!({ "metadata": { "ownerReferences": [{ "uid": "u" }] } }))),
        ("field", merge(api, json!({ "metadata": { "managedFields": [] } }))),
        ("field", merge(api, json!({ "metadata": { "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "{}" } } }))),
        ("field", json_patch(api, op("add", "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration", json!("{}")))),
        ("look", merge(api, json!({ "metadata": { "annotations": { "example.org/build": "7" } } }))),
        ("field", merge(api, json!({ "metadata": { "labels": { "app": "other" } } }))),
        ("field", merge(api, json!({ "metadata": null }))),
        ("field", merge(api, json!({ "metadata": { "uid": "u-9" } }))),
        ("field", merge(api, json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } }))),
        ("bad-object", merge(api, json!({ "metadata": { "name": "web" } }))),
        ("bad-object", merge(api, json!({ "metadata": { "namespace": "kube-system" } }))),
        ("bad-object", merge(api, json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding" }))),
        ("field", json_patch(api, op("replace", "/metadata/name", json!("web")))),
        ("field", json_patch(api, op("replace", "/kind", json!("DaemonSet")))),
        ("look", merge(api, json!({ "metadata": { "resourceVersion": "41" }, "spec": { "replicas": 2 } }))),
        // what is no patch
        ("bad-patch", json_patch(api, op("replace", "", json!({})))),
        ("bad-patch", json_patch(api, op("replace", "spec/replicas", json!(1)))),
        ("bad-patch", json_patch(api, op("replace", "/spec/a~2", json!(1)))),
        ("bad-patch", json_patch(api, json!([{ "op": "merge", "path": "/spec/replicas", "value": 1 }]))),
        ("bad-patch", json_patch(api, json!([{ "op": "replace", "path": "/spec/replicas" }]))),
        ("bad-patch", json_patch(api, json!({ "op": "replace", "path": "/spec/replicas", "value": 1 }))),
        ("bad-patch", merge(api, Value::Null)),
        ("bad-patch", merge(api, json!([1]))),
        // another object, another verb
        ("not-granted", merge("deployments kube-system/api", json!({ "spec": { "replicas": 1 } }))),
        ("not-granted", merge("deployments shop/api-canary-2", json!({ "spec": { "replicas": 1 } }))),
        ("not-granted", merge("deployments shop/API", json!({ "spec": { "replicas": 1 } }))),
        ("not-granted", merge("replicasets shop/api", json!({ "spec": { "replicas": 1 } }))),
        ("not-granted", merge("clusterrolebindings api", json!({ "subjects": [] }))),
        ("not-granted", Request { target: target("deployments shop/api"), write: Write::Delete }),
        ("granted", Request { target: target("configmaps shop/settings"), write: Write::Delete }),
        ("granted", merge("configmaps shop/settings", json!({ "data": { "a": "b" } }))),
        ("field", merge("configmaps shop/settings", json!({ "metadata": { "ownerReferences": [{ "uid": "u" }] } }))),
        ("field", merge("configmaps shop/settings", json!({ "metadata": { "finalizers": ["x"] } }))),
        ("field", merge("configmaps shop/settings", json!({ "metadata": { "managedFields": null } }))),
        ("look", merge(api, json!({ "spec": { "replicas": 3 } }))),
        ("look", merge(api, json!({ "spec": { "replicas": 0 } }))),
    ] {
        let (code, refusal) = told(canary().admit(&request, None));
        assert_eq!(code, wanted, "{request:?}: {refusal:?}");
    }
}

#[test]
fn a_pod_template_needs_fields() {
    let rules = rules(json!([
        { "resources": ["deployments", "pods", "jobs", "rollouts.argoproj.io", "deployments/scale"], "verbs": ["patch", "create", "delete"] },
    ]));
    let create = |about: &str, object: Value| Request { target: target(about), write: Write::Create { object } };
    for (wanted, request) in [
        ("needs-fields", merge("deployments shop/api", json!({ "spec": { "replicas": 1 } }))),
        ("needs-fields", merge("deployments shop/api", json!({ "metadata": { "labels": { "a": "b" } } }))),
        ("needs-fields", json_patch("pods shop/api", json!([]))),
        ("needs-fields", scale("deployments/scale shop/api", 1)),
        ("needs-fields", create("jobs shop/x", json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "x" } }))),
        ("needs-fields", merge("rollouts shop/api", json!({ "spec": { "template": { "spec": { "containers": [] } } } }))),
        ("look", merge("rollouts shop/api", json!({ "spec": { "paused": true } }))),
        ("granted", Request { target: target("pods shop/api-1"), write: Write::Delete }),
    ] {
        let (code, refusal) = told(rules.admit(&request, None));
        assert_eq!(code, wanted, "{request:?}: {refusal:?}");
    }
}

#[test]
fn new_objects_alone() {
    let rules = rules(json!([
        { "resources": ["configmaps"], "names": ["a-*"], "verbs": ["create"], "fields": { "data": {}, "metadata.labels.*": {} } },
        { "resources": ["jobs"], "names": ["migrate"], "verbs": ["create"], "fields": { "spec": {}, "spec.template.spec.containers[*].image": { "like": "ghcr.io/acme/*" } } },
        { "resources": ["services"], "verbs": ["create"] },
    ]));
    let create = |about: &str, object: Value| Request { target: target(about), write: Write::Create { object } };
    let map = |metadata: Value, data: Value| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data });
    let job = |spec: Value| json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "migrate" }, "spec": { "template": { "spec": spec } } });
    for (wanted, request) in [
        ("bad-object", create("configmaps shop/a-1", map(json!({}), json!({})))),
        ("bad-object", create("configmaps shop/a-1", map(json!({ "name": "b" }), json!({})))),
        ("bad-object", create("configmaps shop/a-1", map(json!({ "name": ["a-1"] }), json!({})))),
        ("bad-object", create("configmaps shop/a-1", map(json!({ "name": "a-1", "namespace": "kube-system" }), json!({})))),
        ("bad-object", create("configmaps shop/a-1", json!({ "kind": "ConfigMap", "metadata": { "name": "a-1" } }))),
        ("bad-object", create("configmaps shop/a-1", json!({ "apiVersion": "v1", "kind": 1, "metadata": { "name": "a-1" } }))),
        ("bad-object", create("configmaps shop/a-1", json!({ "apiVersion": "v1", "kind": "List", "items": [] }))),
        ("bad-object", create("configmaps shop/a-1", json!([]))),
        ("field", create("configmaps shop/a-1", map(json!({ "name": "a-1", "generateName": "a-" }), json!({ "k": "v" })))),
        ("field", create("configmaps shop/a-1", map(json!({ "name": "a-1", "finalizers": ["x"] }), json!({ "k": "v" })))),
        ("field", create("configmaps shop/a-1", map(json!({ "name": "a-1", "annotations": { "k": "v" } }), json!({ "k": "v" })))),
        ("not-granted", create("configmaps shop/b", map(json!({ "name": "b" }), json!({ "k": "v" })))),
        (
            "look",
            create("configmaps shop/a-1", map(json!({ "name": "a-1", "namespace": "shop", "labels": { "a": "b" } }), json!({ "k": "v" }))),
        ),
        (
            "bound",
            create(
                "jobs shop/migrate",
                job(json!({ "containers": [{ "name": "a", "image": "ghcr.io/acme/x" }, { "name": "b", "image": "evil" }] })),
            ),
        ),
        ("look", create("jobs shop/migrate", job(json!({ "containers": [{ "name": "a", "image": "ghcr.io/acme/x" }] })))),
        (
            "granted",
            create(
                "services shop/web",
                json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web" }, "spec": { "ports": [{ "port": 80 }] } }),
            ),
        ),
        (
            "field",
            create(
                "services shop/web",
                json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web", "ownerReferences": [{}] } }),
            ),
        ),
    ] {
        let (code, refusal) = told(rules.admit(&request, None));
        assert_eq!(code, wanted, "{request:?}: {refusal:?}");
    }
}

#[test]
fn remedies_are_exact() {
    let remedy = |request: &Request| canary().admit(request, None).unwrap_err().remedy;
    assert_eq!(
        remedy(&merge("deployments blue/web", json!({}))).unwrap(),
        "rules = [{ namespaces = [\"blue\"], resources = [\"deployments\"], names = [\"web\"], verbs = [\"patch\"] }]"
    );
    assert_eq!(
        remedy(&merge("httproutes shop/api", json!({}))).unwrap(),
        "rules = [{ resources = [\"httproutes.gateway.networking.k8s.io\"], names = [\"api\"], verbs = [\"patch\"] }]"
    );
    assert_eq!(remedy(&merge("deployments shop/api", json!({ "spec": { "paused": true } }))).unwrap(), "fields = { 'spec.paused' = {} }");
    assert_eq!(remedy(&merge("deployments shop/api", json!({ "metadata": { "uid": "x" } }))), None);
}
