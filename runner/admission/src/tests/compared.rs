//! What a dry run made of a write, against the object as it stood.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{deployment, edited, http_route, merge, rules, scale, scene, target, told, virtual_service};
use crate::{Admission, Look, Request, Rules, Scene, Write};

const API: &str = "deployments shop/api";
const IMAGE: &str = "/spec/template/spec/containers/0/image";

/// What the request says is of no account here: everything goes through a merge that names the list.
fn judged(fields: Value, about: &str, before: &Value, after: &Value) -> (String, Option<crate::Refusal>) {
    let rules = rules(
        json!([{ "resources": ["deployments", "virtualservices.networking.istio.io", "httproutes.gateway.networking.k8s.io", "rollouts.argoproj.io"],
        "verbs": ["get", "patch"], "fields": fields }]),
    );
    told(rules.admit(&merge(about, json!({ "metadata": { "name": "api" } })), Some(&scene(Some(before.clone()), Some(after.clone())))))
}

#[test]
fn deployments() {
    let fields = json!({ "spec.replicas": { "max": 3 }, "spec.template.spec.containers[name=api].image": { "like": "ghcr.io/acme/shop@sha256:*" }, "metadata.annotations": {} });
    let before = deployment();
    let new = json!("ghcr.io/acme/shop@sha256:bb");
    let containers = |list: Vec<Value>| json!(list);
    let all = before.pointer("/spec/template/spec/containers").unwrap().as_array().unwrap().clone();
    let swapped = containers(vec![all[1].clone(), all[0].clone()]);
    let renamed = containers(vec![
        edited(&all[0], &[("/name", json!("proxy")), ("/image", json!("ghcr.io/acme/shop@sha256:aa"))]),
        edited(&all[1], &[("/name", json!("api"))]),
    ]);
    let twice = containers(vec![all[0].clone(), all[1].clone(), all[0].clone()]);
    for (wanted, edits) in [
        ("granted", vec![]),
        ("granted", vec![(IMAGE, new.clone())]),
        ("granted", vec![("/spec/replicas", json!(1))]),
        (
            "granted",
            vec![
                ("/metadata/resourceVersion", json!("42")),
                ("/metadata/generation", json!(4)),
                ("/metadata/managedFields/-", json!({ "manager": "runner" })),
                (IMAGE, new.clone()),
            ],
        ),
        ("granted", vec![("/metadata/annotations/example.org~1build", json!("7"))]),
        ("bound", vec![("/spec/replicas", json!(4))]),
        ("bound", vec![("/spec/replicas", json!("2"))]),
        ("bound", vec![("/spec/replicas", Value::Null)]),
        ("bound", vec![(IMAGE, json!("evil:1"))]),
        ("bound", vec![(IMAGE, Value::Null)]),
        ("field", vec![("/spec/template/spec/containers/1/image", new.clone())]),
        ("field", vec![("/spec/template/spec/containers/-", json!({ "name": "evil", "image": "ghcr.io/acme/shop@sha256:bb" }))]),
        ("field", vec![("/spec/template/spec/containers/1", Value::Null)]),
        ("field", vec![("/spec/template/spec/containers", swapped)]),
        ("field", vec![("/spec/template/spec/containers", renamed)]),
        ("field", vec![("/spec/template/spec/containers", twice)]),
        ("field", vec![("/spec/template/spec/initContainers", json!([{ "name": "api", "image": "ghcr.io/acme/shop@sha256:bb" }]))]),
        ("field", vec![("/spec/template/spec/containers/0/command", json!(["sh"]))]),
        ("field", vec![("/spec/template/spec/containers/0/args", json!(["--quiet", "--serve"]))]),
        ("field", vec![("/spec/template/spec/containers/0/args/-", json!("--debug"))]),
        ("field", vec![("/spec/template/spec/containers/0/env/0/value", json!("test"))]),
        (
            "field",
            vec![(
                "/spec/template/spec/containers/0/env",
                json!([{ "name": "LEVEL", "value": "info" }, { "name": "MODE", "value": "prod" }]),
            )],
        ),
        ("field", vec![("/spec/template/spec/hostNetwork", json!(true))]),
        ("field", vec![("/spec/template/spec/serviceAccountName", json!("admin"))]),
        ("field", vec![("/spec/template/spec/volumes", json!([]))]),
        ("field", vec![("/spec/strategy/rollingUpdate/maxSurge", json!("100%"))]),
        ("field", vec![("/spec/selector/matchLabels/app", json!("other"))]),
        ("field", vec![("/spec/template/metadata/labels/app", json!("other"))]),
        ("field", vec![("/metadata/labels/app", json!("other"))]),
        ("field", vec![("/metadata/finalizers", json!(["x"]))]),
        ("field", vec![("/metadata/ownerReferences", json!([{ "uid": "u" }]))]),
        ("field", vec![("/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration", json!("{\"spec\":{}}"))]),
        ("field", vec![("/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration", Value::Null)]),
        ("field", vec![("/metadata/uid", json!("u-9"))]), // another object in the place of the first
        ("field", vec![("/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"))]),
        ("field", vec![("/kind", json!("DaemonSet"))]),
        ("field", vec![("/status/replicas", json!(7))]),
        ("field", vec![("/spec", json!("gone"))]),
        ("field", vec![("/spec/template", Value::Null)]),
    ] {
        let (code, refusal) = judged(fields.clone(), API, &before, &edited(&before, &edits));
        assert_eq!(code, wanted, "{edits:?}: {refusal:?}");
    }
}

#[test]
fn a_wide_field_does_not_loosen_a_narrow_one() {
    let fields = json!({ "spec": {}, "spec.replicas": { "max": 3 }, "spec.template.spec.containers[*].image": { "like": "ghcr.io/acme/*" }, "spec.template.spec.containers[name=api].image": { "like": "ghcr.io/acme/shop@*" } });
    let clean = edited(&deployment(), &[("/spec/template/spec/containers/1/image", json!("ghcr.io/acme/proxy"))]);
    for (wanted, edits) in [
        ("granted", vec![("/spec/paused", json!(true))]),
        ("granted", vec![("/spec/template/spec/containers/-", json!({ "name": "x", "image": "ghcr.io/acme/x" }))]),
        ("bound", vec![("/spec/replicas", json!(4))]),
        ("bound", vec![("/spec/replicas", Value::Null)]),
        ("bound", vec![("/spec", json!({ "paused": true }))]), // takes what has a bound away with it
        ("bound", vec![("/spec/template/spec/containers/-", json!({ "name": "x", "image": "evil" }))]),
        ("bound", vec![(IMAGE, json!("ghcr.io/acme/other"))]),
        // the proxy becomes what is called api, with an image that api may not have
        ("bound", vec![("/spec/template/spec/containers/0/name", json!("old")), ("/spec/template/spec/containers/1/name", json!("api"))]),
    ] {
        let (code, refusal) = judged(fields.clone(), API, &clean, &edited(&clean, &edits));
        assert_eq!(code, wanted, "{edits:?}: {refusal:?}");
    }
    // what broke a bound before may stay as it is
    assert_eq!(judged(fields, API, &deployment(), &edited(&deployment(), &[("/spec/paused", json!(true))])).0, "granted");
}

#[test]
fn weights_of_istio() {
    let fields = json!({ "spec.http[*].route[destination.subset=canary].weight": { "min": 0, "max": 10 }, "spec.http[*].route[destination.subset=stable].weight": { "min": 90, "max": 100 } });
    let before = virtual_service();
    let route = |subset: &str, weight: u32| json!({ "destination": { "host": "api", "subset": subset }, "weight": weight });
    for (wanted, edits) in [
        ("granted", vec![("/spec/http/1/route/0/weight", json!(90)), ("/spec/http/1/route/1/weight", json!(10))]),
        ("bound", vec![("/spec/http/1/route/0/weight", json!(89)), ("/spec/http/1/route/1/weight", json!(11))]),
        ("bound", vec![("/spec/http/1/route/0/weight", json!(0))]),
        ("bound", vec![("/spec/http/1/route/0/weight", Value::Null)]),
        ("bound", vec![("/spec/http/0/route/0/weight", json!(100))]),
        ("field", vec![("/spec/http/1/route", json!([route("canary", 10)]))]),
        ("field", vec![("/spec/http/1/route", json!([route("canary", 0), route("stable", 100)]))]),
        ("field", vec![("/spec/http/1/route/-", route("canary", 10))]),
        ("field", vec![("/spec/http/0/match", Value::Null)]), // everybody would go to the canary
        ("field", vec![("/spec/http/0/match/0/headers/canary/exact", json!("false"))]),
        ("field", vec![("/spec/http/1/route/0/destination/subset", json!("canary"))]),
        ("field", vec![("/spec/http/1/route/0/destination/host", json!("evil"))]),
        ("field", vec![("/spec/http/1", Value::Null)]),
        ("field", vec![("/spec/hosts/0", json!("other"))]),
        ("field", vec![("/spec/http/1/mirror", json!({ "host": "evil" }))]),
    ] {
        let (code, refusal) = judged(fields.clone(), "virtualservices shop/api", &before, &edited(&before, &edits));
        assert_eq!(code, wanted, "{edits:?}: {refusal:?}");
    }
}

#[test]
fn an_element_that_becomes_another_is_neither() {
    let fields =
        json!({ "spec.http[*].route[*].destination.subset": {}, "spec.http[*].route[destination.subset=canary].weight": { "max": 10 } });
    let before = virtual_service();
    let subset = ("/spec/http/1/route/0/destination/subset", json!("canary"));
    for (wanted, edits) in [
        ("field", vec![subset.clone(), ("/spec/http/1/route/0/weight", json!(5))]),
        ("bound", vec![subset.clone()]), // with all the weight that it has
        ("granted", vec![("/spec/http/1/route/1/destination/subset", json!("other"))]),
        ("field", vec![("/spec/http/1/route/1/destination/subset", json!("other")), ("/spec/http/1/route/1/weight", json!(100))]),
    ] {
        let (code, refusal) = judged(fields.clone(), "virtualservices shop/api", &before, &edited(&before, &edits));
        assert_eq!(code, wanted, "{edits:?}: {refusal:?}");
    }
}

#[test]
fn a_share_of_a_list() {
    let fields = json!({ "spec.rules[*].backendRefs[name=api-canary].weight": { "min": 0, "share": 0.1 }, "spec.rules[*].backendRefs[name=api].weight": { "min": 0 } });
    let before = http_route();
    let weights = |stable: Value, canary: Value| {
        edited(&before, &[("/spec/rules/0/backendRefs/0/weight", stable), ("/spec/rules/0/backendRefs/1/weight", canary)])
    };
    for (wanted, stable, canary) in [
        ("granted", json!(90), json!(10)),
        ("granted", json!(9), json!(1)),
        ("granted", json!(0), json!(0)),
        ("bound", json!(89), json!(11)),
        ("bound", json!(0), json!(10)), // a small number is all of it
        ("bound", json!(10), json!(10)),
        ("bound", json!(100), json!("1")),
        ("bound", json!(100), json!(-1)),
    ] {
        let (code, refusal) = judged(fields.clone(), "httproutes shop/api", &before, &weights(stable.clone(), canary.clone()));
        assert_eq!(code, wanted, "{stable} {canary}: {refusal:?}");
    }
    // from above the share there is a way down, and none up
    let far = weights(json!(50), json!(50));
    assert_eq!(judged(fields.clone(), "httproutes shop/api", &far, &weights(json!(60), json!(40))).0, "granted");
    assert_eq!(judged(fields, "httproutes shop/api", &far, &weights(json!(40), json!(60))).0, "bound");
}

#[test]
fn a_scale_of_none_says_nothing() {
    let object = |spec: Value| json!({ "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": { "name": "api", "uid": "u-1" }, "spec": spec, "status": { "replicas": 1 } });
    let rules = |bound: Value| {
        rules(json!([{ "resources": ["deployments/scale"], "names": ["api"], "verbs": ["patch"], "fields": { "spec.replicas": bound } }]))
    };
    let (one, none) = (object(json!({ "replicas": 1 })), object(json!({})));
    let decided = |rules: &Rules, replicas: u32, before: &Value, after: &Value| {
        told(rules.admit(&scale("deployments/scale shop/api", replicas), Some(&scene(Some(before.clone()), Some(after.clone()))))).0
    };
    assert_eq!(decided(&rules(json!({ "max": 3 })), 0, &one, &none), "granted");
    assert_eq!(decided(&rules(json!({ "max": 3 })), 1, &none, &one), "granted");
    assert_eq!(decided(&rules(json!({ "min": 1 })), 0, &one, &none), "bound");
    // whatever was asked, what came out is judged
    assert_eq!(decided(&rules(json!({ "min": 1 })), 1, &one, &none), "bound");
    assert_eq!(decided(&rules(json!({ "max": 3 })), 1, &one, &object(json!({ "replicas": 9 }))), "bound");
}

fn replicas(replicas: u32) -> Value {
    edited(&deployment(), &[("/spec/replicas", json!(replicas))])
}

/// Canary and stable behind one Service: the canary has at most a tenth of the Pods.
fn shared() -> Rules {
    rules(
        json!([{ "resources": ["deployments"], "names": ["api", "api-canary"], "verbs": ["get", "patch", "delete"], "fields": { "spec.replicas": { "min": 0, "max": 20 } },
        "shares": [{ "part": ["api-canary:spec.replicas"], "whole": ["api-canary:spec.replicas", "api:spec.replicas"], "max": 0.1 }] }]),
    )
}

#[test]
fn shares_over_objects() {
    for (wanted, about, from, to, other) in [
        ("granted", "api-canary", 0, 1, Some(9)),
        ("share", "api-canary", 0, 1, Some(8)),
        ("share", "api-canary", 0, 2, Some(9)),
        ("share", "api-canary", 0, 1, None), // no stable at all
        ("granted", "api-canary", 0, 0, None),
        ("granted", "api-canary", 5, 4, Some(9)), // back, though still too many
        ("share", "api-canary", 5, 6, Some(9)),
        ("granted", "api", 9, 12, Some(1)),
        ("share", "api", 9, 3, Some(1)), // fewer stable ones are a larger part, too
        ("share", "api", 9, 0, Some(1)),
        ("granted", "api", 9, 0, Some(0)),
    ] {
        let another = if about == "api" { "api-canary" } else { "api" };
        let scene = Scene {
            before: Some(replicas(from)),
            after: Some(replicas(to)),
            others: BTreeMap::from([(another.to_owned(), other.map(replicas))]),
        };
        let request = Request {
            target: target(&format!("deployments shop/{about}")),
            write: merge(API, json!({ "spec": { "replicas": to } })).write,
        };
        let (code, refusal) = told(shared().admit(&request, Some(&scene)));
        assert_eq!(code, wanted, "{about} {from} → {to} beside {other:?}: {refusal:?}");
        let scaled = told(shared().admit(&scale(&format!("deployments/scale shop/{about}"), to), Some(&scene)));
        assert_eq!(scaled.0, wanted, "by scale: {about} {from} → {to} beside {other:?}: {:?}", scaled.1);
    }
    let unclear = Scene {
        before: Some(replicas(0)),
        after: Some(replicas(1)),
        others: BTreeMap::from([("api".to_owned(), Some(json!({ "spec": {} })))]),
    };
    assert_eq!(
        told(shared().admit(&merge("deployments shop/api-canary", json!({ "spec": { "replicas": 1 } })), Some(&unclear))).0,
        "share"
    );
    // taking the stable one away is a change of the share
    let gone = |about: &str, other: u32| {
        let another = if about == "api" { "api-canary" } else { "api" };
        let scene = Scene { before: Some(replicas(9)), after: None, others: BTreeMap::from([(another.to_owned(), Some(replicas(other)))]) };
        told(shared().admit(&Request { target: target(&format!("deployments shop/{about}")), write: Write::Delete }, Some(&scene))).0
    };
    assert_eq!(gone("api", 1), "share");
    assert_eq!(gone("api-canary", 9), "granted");
    let look = shared().admit(&merge(API, json!({ "spec": { "replicas": 1 } })), None).unwrap();
    assert_eq!(look, Admission::Look(Look { before: true, dry_run: true, others: ["api-canary".to_owned()].into() }));
}

#[test]
fn a_new_object_like_another() {
    let rules = rules(json!([{ "resources": ["deployments"], "names": ["api-canary"], "verbs": ["create", "patch"], "copy-of": "api",
        "fields": { "spec.replicas": { "max": 1 }, "spec.selector.matchLabels.track": { "is": ["canary"] }, "spec.template.metadata.labels.track": { "is": ["canary"] },
                    "spec.template.spec.containers[name=api].image": { "like": "ghcr.io/acme/shop@sha256:*" } } }]));
    let stable = deployment();
    let own = [
        ("/metadata", json!({ "name": "api-canary", "labels": { "app": "api" } })),
        ("/status", Value::Null),
        ("/spec/replicas", json!(1)),
        ("/spec/selector/matchLabels/track", json!("canary")),
        ("/spec/template/metadata/labels/track", json!("canary")),
        (IMAGE, json!("ghcr.io/acme/shop@sha256:bb")),
    ];
    let canary = edited(&stable, &own);
    for (wanted, edits) in [
        ("granted", vec![]),
        ("bound", vec![("/spec/replicas", json!(2))]),
        ("bound", vec![(IMAGE, json!("evil"))]),
        ("bound", vec![("/spec/template/metadata/labels/track", json!("stable"))]),
        ("field", vec![("/spec/template/spec/containers/1/image", json!("evil"))]),
        ("field", vec![("/spec/template/spec/serviceAccountName", json!("admin"))]),
        ("field", vec![("/spec/template/spec/hostPID", json!(true))]),
        ("field", vec![("/metadata/labels/other", json!("x"))]),
        ("field", vec![("/metadata/finalizers", json!(["x"]))]),
        ("field", vec![("/metadata/annotations", json!({ "kubectl.kubernetes.io/last-applied-configuration": "{}" }))]),
    ] {
        let object = edited(&canary, &edits);
        let served = edited(
            &object,
            &[("/metadata/uid", json!("u-7")), ("/metadata/resourceVersion", json!("50")), ("/metadata/namespace", json!("shop"))],
        );
        let scene = Scene { before: None, after: Some(served), others: BTreeMap::from([("api".to_owned(), Some(stable.clone()))]) };
        for write in [Write::Create { object: object.clone() }, Write::Apply { object: object.clone(), force: false }] {
            let (code, refusal) = told(rules.admit(&Request { target: target("deployments shop/api-canary"), write }, Some(&scene)));
            assert_eq!(code, wanted, "{edits:?}: {refusal:?}");
        }
    }
    let orphan = Scene { before: None, after: Some(canary.clone()), others: BTreeMap::from([("api".to_owned(), None)]) };
    let create = Request { target: target("deployments shop/api-canary"), write: Write::Create { object: canary } };
    assert_eq!(told(rules.admit(&create, Some(&orphan))).0, "field");
}

#[test]
fn applying_what_is_not_there_is_creating() {
    let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" }, "data": { "k": "v" } });
    let apply = Request { target: target("configmaps shop/a"), write: Write::Apply { object: object.clone(), force: true } };
    let patcher = rules(json!([{ "resources": ["configmaps"], "verbs": ["patch"] }]));
    assert_eq!(told(patcher.admit(&apply, None)).0, "look");
    assert_eq!(told(patcher.admit(&apply, Some(&scene(None, None)))).0, "not-granted");
    assert_eq!(told(patcher.admit(&apply, Some(&scene(Some(object), None)))).0, "granted");
}

#[test]
fn other_kinds_tell_by_themselves_whether_they_have_a_template() {
    let rules = rules(json!([{ "resources": ["rollouts.argoproj.io"], "verbs": ["patch"] }]));
    let pause = merge("rollouts shop/api", json!({ "spec": { "paused": true } }));
    let with = json!({ "metadata": { "name": "api" }, "spec": { "template": { "spec": { "containers": [{ "name": "api" }] } } } });
    let without = json!({ "metadata": { "name": "api" }, "spec": { "workloadRef": { "name": "api" } } });
    assert_eq!(told(rules.admit(&pause, Some(&scene(Some(with.clone()), Some(with))))).0, "needs-fields");
    assert_eq!(told(rules.admit(&pause, Some(&scene(Some(without.clone()), Some(without))))).0, "granted");
}

#[test]
fn one_rule_admits_the_whole_write() {
    let rules = rules(json!([
        { "resources": ["deployments"], "names": ["api"], "verbs": ["patch"], "fields": { "spec.replicas": { "max": 3 } } },
        { "resources": ["deployments"], "names": ["api"], "verbs": ["patch"], "fields": { "spec.paused": {} } },
    ]));
    let both = edited(&deployment(), &[("/spec/replicas", json!(2)), ("/spec/paused", json!(true))]);
    let one = edited(&deployment(), &[("/spec/paused", json!(true))]);
    let request = |patch: Value| merge(API, patch);
    assert_eq!(told(rules.admit(&request(json!({ "spec": { "replicas": 2, "paused": true } })), None)).0, "field");
    assert_eq!(told(rules.admit(&request(json!({ "spec": { "paused": true } })), Some(&scene(Some(deployment()), Some(both))))).0, "field");
    assert_eq!(
        told(rules.admit(&request(json!({ "spec": { "paused": true } })), Some(&scene(Some(deployment()), Some(one))))).0,
        "granted"
    );
}
