use std::marker::PhantomData;
use std::sync::Arc;

use admission::{Kind, Scene, Subresource, Verb};
use capability::testing;
use pipeline::grant::Grant;
use serde_json::{Value, json};

use super::*;
use crate::effect::{Get, List, Logs, Patch, Selection};
use crate::grant::Schema;
use crate::place::Place;

const GRANT: &str = r#"kubernetes = { namespace = "shop", rules = [
  { resources = ["deployments"], names = ["api"], verbs = ["get", "patch"], fields = { "spec.replicas" = { max = 3 } } },
  { resources = ["configmaps"], verbs = ["get", "list", "patch"] },
] }"#;

fn grant() -> Arc<dyn Grant> {
    testing::grant(&Schema, GRANT).unwrap()
}

fn target(group: &str, plural: &str, namespace: &str, name: &str) -> Place {
    Place::one(Kind::new(group, "v1", plural).unwrap(), Some(namespace), "shop", name).unwrap()
}

fn patch(target: Place, patch: Value) -> Change<Patch> {
    Change { target, write: Write::Patch { kind: PatchKind::Merge, patch }, propagation: None, manner: PhantomData }
}

fn deployment(replicas: u32) -> Value {
    json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "api", "namespace": "shop", "uid": "u", "resourceVersion": "1" },
        "spec": { "replicas": replicas, "template": { "spec": { "containers": [{ "name": "api", "image": "x" }] } } } })
}

fn told<Q: std::fmt::Debug>(decision: Decision<Q>) -> String {
    match decision {
        Decision::Allow => "allow".to_owned(),
        Decision::Deny(denial) => denial.code.into_owned(),
        Decision::Observe(question) => {
            format!("look {}", serde_json::to_value(format!("{question:?}")).map(|_| "").unwrap_or_default()).trim().to_owned()
        }
    }
}

#[test]
fn who_may_what() {
    let held = Held::default();
    let grant = grant();
    let grant = grant.as_any().downcast_ref::<KubernetesGrant>();
    let rules = Rules { grant, stage: "canary", held: &held };
    let none = Rules { grant: None, ..rules };
    let api = || target("apps", "deployments", "shop", "api");
    let maps = |namespace| target("", "configmaps", namespace, "settings");
    let get = |target| Read(Get { target });
    for (rules, effect, is) in [
        (&rules, get(api()), "allow"),
        (&rules, get(maps("shop")), "allow"),
        (&rules, get(maps("other")), "not-granted"),
        (&rules, get(target("", "secrets", "shop", "db")), "secret"),
        (&none, get(api()), "not-granted"),
    ] {
        assert_eq!(told(rules.decide(&effect, &())), is, "{effect:?}");
    }
    let seen = |before: Option<Value>, after: Option<Value>| Sight {
        scene: Some(Scene { before, after, ..Scene::default() }),
        ..Sight::default()
    };
    let unreachable = Sight { fault: Some(crate::effect::Fault::Unreachable("no".into())), ..Sight::default() };
    for (change, seen, is) in [
        (patch(api(), json!({ "spec": { "replicas": 2 } })), Sight::default(), "look"),
        (patch(api(), json!({ "spec": { "replicas": 9 } })), Sight::default(), "bound"),
        (patch(api(), json!({ "spec": { "paused": true } })), Sight::default(), "field"),
        (patch(api(), json!({ "spec": { "replicas": 2 } })), seen(Some(deployment(1)), Some(deployment(2))), "allow"),
        // what the cluster makes of it counts
        (patch(api(), json!({ "spec": { "replicas": 2 } })), seen(Some(deployment(1)), Some(deployment(7))), "bound"),
        // it is answered with that, and nothing is sent
        (patch(api(), json!({ "spec": { "replicas": 2 } })), unreachable, "allow"),
        // it is looked at so that it can be told later whether it happened
        (patch(maps("shop"), json!({ "data": { "a": "b" } })), Sight::default(), "look"),
        (patch(maps("shop"), json!({ "data": { "a": "b" } })), seen(Some(json!({ "data": {} })), None), "allow"),
    ] {
        assert_eq!(told(rules.decide(&change, &seen)), is, "{change:?}");
    }
}

#[test]
fn a_denial_says_what_is_missing() {
    let held = Held::default();
    let grant = grant();
    let rules = Rules { grant: grant.as_any().downcast_ref::<KubernetesGrant>(), stage: "canary", held: &held };
    let remedy = |decision: Decision<Nothing>| match decision {
        Decision::Deny(denial) => denial.remedy.unwrap_or_default(),
        other => panic!("{other:?}"),
    };
    let log = target("", "pods", "shop", "api-1").part(Subresource::Log).unwrap();
    let logs = Logs {
        number: 1,
        target: log,
        container: None,
        follow: false,
        previous: false,
        tail: None,
        since: Default::default(),
        timestamps: false,
    };
    assert_eq!(
        remedy(rules.decide(&Read(logs), &())),
        "[stage.canary.grants.kubernetes]\n# one more of its rules\nrules = [{ resources = [\"pods/log\"], names = [\"api-1\"], verbs = [\"get\"] }]"
    );
    let pods = Place::all(Kind::new("", "v1", "pods").unwrap(), Some("other"), "shop").unwrap();
    let list = List { target: pods, selection: Selection { labels: String::new(), fields: String::new() }, limit: 0, next: String::new() };
    let remedied = remedy(Rules { grant: None, ..rules }.decide(&Read(list.clone()), &()));
    assert_eq!(
        remedied,
        "[stage.canary.grants.kubernetes]\nnamespace = \"default\"\nrules = [{ namespaces = [\"other\"], resources = [\"pods\"], verbs = [\"list\"] }]"
    );
    // and it is what would be needed
    let text = remedied.replace("[stage.canary.grants.kubernetes]", "[kubernetes]");
    let widened = testing::grant(&Schema, &text).unwrap();
    let widened = widened.as_any().downcast_ref::<KubernetesGrant>().unwrap();
    assert!(widened.rules.read(Verb::List, &list.target).is_ok());
    let Decision::Deny(denial) =
        rules.decide(&patch(target("apps", "deployments", "shop", "api"), json!({ "spec": { "paused": true } })), &Sight::default())
    else {
        panic!("it is denied")
    };
    assert_eq!(
        denial.remedy.as_deref(),
        Some("[stage.canary.grants.kubernetes]\n# in the rule that speaks of it\nfields = { 'spec.paused' = {} }")
    );
}
