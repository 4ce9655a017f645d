//! Case tables. Hostile cases come first.

mod alone;
mod compared;
mod mutated;
mod parsed;
mod reads;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    Admission, Bound, Field, FieldPath, Glob, Kind, PatchKind, Refusal, Request, ResourcePattern, Rule, Rules, Scene, Share, Subresource,
    Target, Term, Verb, Write,
};

fn globs(value: &Value) -> Option<Vec<Glob>> {
    Some(value.as_array()?.iter().map(|text| Glob::parse(text.as_str().unwrap()).unwrap()).collect())
}

fn bound(value: &Value) -> Bound {
    let number = |key: &str| value.get(key).and_then(Value::as_f64);
    match (value.get("like"), value.get("is")) {
        (Some(like), _) => Bound::Text(vec![Glob::parse(like.as_str().unwrap()).unwrap()]),
        (_, Some(is)) => Bound::OneOf(is.as_array().unwrap().clone()),
        _ if value.as_object().unwrap().is_empty() => Bound::Any,
        _ => Bound::Number { min: number("min"), max: number("max"), share: number("share") },
    }
}

fn term(text: &str) -> Term {
    let (name, path) = text.split_once(':').unwrap();
    Term { name: name.to_owned(), path: FieldPath::parse(path).unwrap() }
}

/// A rule in the shape of the grant's TOML.
fn rule(value: Value) -> Rule {
    let list = |key: &str| value[key].as_array().into_iter().flatten().map(|text| text.as_str().unwrap());
    let terms = |value: &Value| value.as_array().unwrap().iter().map(|text| term(text.as_str().unwrap())).collect();
    Rule {
        namespaces: globs(&value["namespaces"]),
        resources: list("resources").map(|text| ResourcePattern::parse(text).unwrap()).collect(),
        names: globs(&value["names"]),
        verbs: list("verbs").map(|text| Verb::parse(text).unwrap()).collect(),
        fields: value["fields"]
            .as_object()
            .map(|fields| fields.iter().map(|(path, value)| Field::new(FieldPath::parse(path).unwrap(), bound(value)).unwrap()).collect()),
        shares: value["shares"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|share| Share { part: terms(&share["part"]), whole: terms(&share["whole"]), max: share["max"].as_f64().unwrap() })
            .collect(),
        copy_of: value["copy-of"].as_str().map(str::to_owned),
    }
}

fn rules(list: Value) -> Rules {
    Rules { namespace: "shop".into(), rules: list.as_array().unwrap().iter().cloned().map(rule).collect() }
}

fn kind(text: &str) -> Kind {
    let (group, version, plural) = match text {
        "deployments" | "replicasets" | "statefulsets" => ("apps", "v1", text),
        "jobs" => ("batch", "v1", text),
        "virtualservices" => ("networking.istio.io", "v1", text),
        "httproutes" => ("gateway.networking.k8s.io", "v1", text),
        "rollouts" => ("argoproj.io", "v1alpha1", text),
        "clusterrolebindings" | "roles" => ("rbac.authorization.k8s.io", "v1", text),
        core => ("", "v1", core),
    };
    Kind::new(group, version, plural).unwrap()
}

/// `deployments shop/api`, `deployments/scale shop/api`, `nodes n1`
fn target(text: &str) -> Target {
    let (resource, object) = text.split_once(' ').unwrap();
    let (resource, part) = resource.split_once('/').map_or((resource, None), |(resource, part)| (resource, Some(part)));
    let (namespace, name) = object.split_once('/').map_or((None, object), |(namespace, name)| (Some(namespace), name));
    let whole = Target::one(kind(resource), namespace, name).unwrap();
    match part {
        None => whole,
        Some(part) => whole.part(Subresource::ALL.into_iter().find(|one| one.word() == part).unwrap()).unwrap(),
    }
}

fn patch(about: &str, kind: PatchKind, patch: Value) -> Request {
    Request { target: target(about), write: Write::Patch { kind, patch } }
}

fn merge(about: &str, value: Value) -> Request {
    patch(about, PatchKind::Merge, value)
}

fn strategic(about: &str, value: Value) -> Request {
    patch(about, PatchKind::Strategic, value)
}

fn json_patch(about: &str, value: Value) -> Request {
    patch(about, PatchKind::Json, value)
}

fn scale(about: &str, replicas: u32) -> Request {
    Request { target: target(about), write: Write::Scale { replicas } }
}

fn told(decided: Result<Admission, Refusal>) -> (String, Option<Refusal>) {
    match decided {
        Ok(Admission::Granted) => ("granted".to_owned(), None),
        Ok(Admission::Look(_)) => ("look".to_owned(), None),
        Err(refusal) => (refusal.code.to_owned(), Some(refusal)),
    }
}

/// The deployment that most cases are about.
fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "api", "namespace": "shop", "uid": "u-1", "resourceVersion": "41", "generation": 3, "labels": { "app": "api" },
            "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "{}" }, "managedFields": [{ "manager": "kubectl" }] },
        "spec": {
            "replicas": 3, "paused": false,
            "selector": { "matchLabels": { "app": "api" } },
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": 0 } },
            "template": {
                "metadata": { "labels": { "app": "api" } },
                "spec": {
                    "serviceAccountName": "api",
                    "containers": [
                        { "name": "api", "image": "ghcr.io/acme/shop@sha256:aa", "ports": [{ "containerPort": 8080, "protocol": "TCP" }],
                          "env": [{ "name": "MODE", "value": "prod" }, { "name": "LEVEL", "value": "info" }], "args": ["--serve", "--quiet"] },
                        { "name": "proxy", "image": "envoy:1.30" },
                    ],
                },
            },
        },
        "status": { "replicas": 3 },
    })
}

/// An Istio route whose destinations have no names.
fn virtual_service() -> Value {
    let destination = |subset: &str| json!({ "host": "api", "subset": subset });
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": { "name": "api", "namespace": "shop", "uid": "u-2", "resourceVersion": "7" },
        "spec": { "hosts": ["api"], "http": [
            { "match": [{ "headers": { "canary": { "exact": "true" } } }], "route": [{ "destination": destination("canary") }] },
            { "route": [{ "destination": destination("stable"), "weight": 100 }, { "destination": destination("canary"), "weight": 0 }] },
        ] },
    })
}

fn http_route() -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": { "name": "api", "namespace": "shop", "uid": "u-3", "resourceVersion": "9" },
        "spec": { "rules": [{ "backendRefs": [{ "name": "api", "port": 80, "weight": 100 }, { "name": "api-canary", "port": 80, "weight": 0 }] }] },
    })
}

/// Changes of an object, by JSON pointers: `null` removes, a path that ends in `-` appends.
fn edited(object: &Value, edits: &[(&str, Value)]) -> Value {
    let mut object = object.clone();
    for (pointer, value) in edits {
        let (parent, last) = pointer.rsplit_once('/').unwrap();
        let last = last.replace("~1", "/").replace("~0", "~");
        match object.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}")) {
            Value::Object(map) if value.is_null() => {
                map.remove(&last).unwrap_or_else(|| panic!("{pointer}"));
            }
            Value::Object(map) => {
                map.insert(last, value.clone());
            }
            Value::Array(list) if last == "-" => list.push(value.clone()),
            Value::Array(list) if value.is_null() => {
                list.remove(last.parse().unwrap());
            }
            Value::Array(list) => list[last.parse::<usize>().unwrap()] = value.clone(),
            other => panic!("{pointer}: {other}"),
        }
    }
    object
}

fn scene(before: Option<Value>, after: Option<Value>) -> Scene {
    Scene { before, after, others: BTreeMap::new() }
}
