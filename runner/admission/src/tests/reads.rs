//! Who may see what.

use serde_json::json;

use super::{kind, rules, target, told};
use crate::{Rules, Target, Verb, conceal};

fn all(resource: &str, namespace: Option<&str>) -> Target {
    Target::all(kind(resource), namespace).unwrap()
}

fn watcher() -> Rules {
    rules(json!([
        { "resources": ["*"], "verbs": ["get", "list", "watch"] },
        { "resources": ["deployments"], "namespaces": ["blue", "green-*"], "names": ["api*"], "verbs": ["get", "list"] },
        { "resources": ["secrets"], "names": ["tls", "app-*"], "verbs": ["get", "patch", "watch"] },
        { "resources": ["nodes"], "namespaces": ["*"], "verbs": ["get", "list"] },
        { "resources": ["pods/exec"], "names": ["debug"], "verbs": ["create"] },
    ]))
}

#[test]
fn reads() {
    let rules = watcher();
    for (wanted, verb, target) in [
        ("secret", Verb::Get, target("secrets shop/other")),
        ("secret", Verb::Get, target("secrets shop/app-key")), // by a pattern is not by name
        ("secret", Verb::List, all("secrets", Some("shop"))),
        ("granted", Verb::Get, target("secrets shop/tls")),
        ("secret", Verb::Get, target("secrets kube-system/tls")),
        ("granted", Verb::Get, target("configmaps shop/settings")),
        ("not-granted", Verb::Get, target("configmaps kube-system/settings")),
        ("not-granted", Verb::List, all("configmaps", None)),
        ("granted", Verb::List, all("configmaps", Some("shop"))),
        ("not-granted", Verb::Get, target("serviceaccounts shop/default")),
        ("not-granted", Verb::Get, target("roles shop/admin")),
        ("not-granted", Verb::Get, target("clusterrolebindings admin")),
        ("not-granted", Verb::Get, target("namespaces shop")),
        ("granted", Verb::Get, target("nodes n1")),
        ("granted", Verb::List, all("nodes", None)),
        ("not-granted", Verb::Watch, all("nodes", None)),
        ("granted", Verb::Get, target("deployments blue/api-canary")),
        ("not-granted", Verb::Get, target("deployments blue/web")),
        ("not-granted", Verb::Get, target("deployments red/api")),
        ("granted", Verb::List, all("deployments", Some("green-2"))),
        ("not-granted", Verb::Watch, all("deployments", Some("green-2"))),
        ("not-granted", Verb::Get, target("pods/log shop/api-1")),
        ("not-granted", Verb::Get, target("deployments/scale shop/api")),
    ] {
        let (code, refusal) = told(rules.read(verb, &target).map(|()| crate::Admission::Granted));
        assert_eq!(code, wanted, "{verb:?} {target}: {refusal:?}");
    }
}

#[test]
fn lists_show_what_is_named() {
    let rules = watcher();
    let blue = all("deployments", Some("blue"));
    assert!(rules.shows(Verb::List, &blue, None, "api-canary"));
    assert!(!rules.shows(Verb::List, &blue, None, "web"));
    assert!(!rules.shows(Verb::List, &blue, None, "../api"));
    assert!(rules.shows(Verb::Watch, &all("configmaps", Some("shop")), None, "any"));
    let secrets = all("secrets", Some("shop"));
    assert!(rules.shows(Verb::Watch, &secrets, None, "tls"));
    assert!(!rules.shows(Verb::Watch, &secrets, None, "app-key"));
}

#[test]
fn ways_into_pods_are_named() {
    let rules = watcher();
    assert!(rules.enter(&target("pods/exec shop/debug")).is_ok());
    assert_eq!(rules.enter(&target("pods/exec shop/api-1")).unwrap_err().code, "not-granted");
    assert_eq!(rules.enter(&target("pods/log shop/debug")).unwrap_err().code, "not-granted");
    assert_eq!(rules.enter(&target("pods/portforward shop/debug")).unwrap_err().code, "not-granted");
    assert_eq!(rules.enter(&target("services/portforward shop/web")).unwrap_err().code, "not-granted");
    assert_eq!(
        rules.enter(&target("pods/exec shop/api-1")).unwrap_err().remedy.unwrap(),
        "rules = [{ resources = [\"pods/exec\"], names = [\"api-1\"], verbs = [\"create\"] }]"
    );
}

#[test]
fn events_belong_to_their_object() {
    let rules = watcher();
    assert!(rules.events(&target("deployments blue/api"), &all("events", Some("blue"))).is_ok());
    assert!(rules.events(&target("deployments blue/web"), &all("events", Some("blue"))).is_err());
    assert!(rules.events(&target("secrets shop/other"), &all("events", Some("shop"))).is_ok()); // events of its own namespace it may list
}

#[test]
fn a_write_tells_no_secret() {
    let writer = rules(json!([{ "resources": ["secrets"], "names": ["tls"], "verbs": ["patch"] }]));
    assert!(writer.conceals(&target("secrets shop/tls")));
    assert!(!watcher().conceals(&target("secrets shop/tls")));
    let mut secret = json!({ "kind": "Secret", "metadata": { "name": "tls", "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "{}", "a": "b" } },
        "data": { "key": "YQ==" }, "stringData": { "key": "a" }, "type": "Opaque" });
    conceal(&mut secret);
    assert_eq!(secret, json!({ "kind": "Secret", "metadata": { "name": "tls", "annotations": { "a": "b" } }, "type": "Opaque" }));
}
