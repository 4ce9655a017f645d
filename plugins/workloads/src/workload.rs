//! What a Deployment's object says, and patches of it.

use runner_sdk::kubernetes::Patch;
use serde_json::{Value, json};

/// A text in an object; empty if there is none.
pub fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A number in an object; 0 if there is none.
pub fn number(object: &Value, pointer: &str) -> u32 {
    object.pointer(pointer).and_then(Value::as_u64).map_or(0, |number| u32::try_from(number).unwrap_or(u32::MAX))
}

/// The Pods that there are to be: one, if nobody says.
pub fn replicas(object: &Value) -> u32 {
    if object.pointer("/spec/replicas").is_some_and(Value::is_u64) { number(object, "/spec/replicas") } else { 1 }
}

/// Whether its controller has seen the last change.
pub fn observed(object: &Value) -> bool {
    number(object, "/status/observedGeneration") >= number(object, "/metadata/generation")
}

/// Whether it has as many Pods as it should, of its newest template, all of them ready, and no others.
pub fn settled(object: &Value) -> bool {
    let wanted = replicas(object);
    observed(object)
        && number(object, "/status/replicas") == wanted
        && number(object, "/status/updatedReplicas") == wanted
        && number(object, "/status/availableReplicas") == wanted
}

/// Why its controller does not go on: its deadline has passed, or it can't make Pods. What `earlier` says already is not told: a condition stays for a while
/// after what it is about is over.
pub fn stalled(object: &Value, earlier: Option<&Value>) -> Option<String> {
    if !observed(object) {
        return None;
    }
    let conditions = |object: &Value| object.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let known = earlier.map(conditions).unwrap_or_default();
    let speaks = |one: &Value| match (text(one, "/type"), text(one, "/status")) {
        ("ReplicaFailure", "True") => true,
        ("Progressing", "False") => text(one, "/reason") == "ProgressDeadlineExceeded",
        _ => false,
    };
    let mut new = conditions(object).into_iter().filter(|one| speaks(one) && !known.contains(one));
    new.next().map(|one| format!("{}: {}", text(&one, "/reason"), text(&one, "/message")))
}

/// The selector of its Pods, as a list or a watch takes it.
pub fn selector(object: &Value) -> String {
    let labels = object.pointer("/spec/selector/matchLabels").and_then(Value::as_object).into_iter().flatten();
    let mut parts: Vec<String> = labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    for expression in object.pointer("/spec/selector/matchExpressions").and_then(Value::as_array).into_iter().flatten() {
        let values = expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(",");
        let key = text(expression, "/key");
        parts.push(match text(expression, "/operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        });
    }
    parts.join(",")
}

fn containers(object: &Value) -> &[Value] {
    object.pointer("/spec/template/spec/containers").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The container whose image is meant: the one that is named, the only one, or the one that is called as the Deployment is.
///
/// # Errors
/// If there is none, or there are several to choose from.
pub fn container(object: &Value, named: Option<&str>) -> Result<String, String> {
    let deployment = text(object, "/metadata/name");
    let names: Vec<&str> = containers(object).iter().map(|one| text(one, "/name")).collect();
    let found = match (named, names.as_slice()) {
        (Some(named), names) => names.iter().find(|name| **name == named),
        (None, [only]) => Some(only),
        (None, names) => names.iter().find(|name| **name == deployment),
    };
    found.map(|name| (*name).to_owned()).ok_or_else(|| match named {
        Some(named) => format!("Deployment {deployment} has no container `{named}`; it has {}", names.join(", ")),
        None => format!("Deployment {deployment} has the containers {}; say in `container` which of them is meant", names.join(", ")),
    })
}

/// The image of a container.
pub fn image<'v>(object: &'v Value, container: &str) -> &'v str {
    containers(object).iter().find(|one| text(one, "/name") == container).map_or("", |one| text(one, "/image"))
}

/// The number of Pods, and the image of a container.
pub fn change(replicas: Option<u32>, image: Option<(&str, &str)>) -> Patch {
    let mut spec = json!({});
    if let Some(replicas) = replicas {
        spec["replicas"] = json!(replicas);
    }
    if let Some((container, image)) = image {
        spec["template"] = json!({ "spec": { "containers": [{ "name": container, "image": image }] } });
    }
    Patch::Strategic(json!({ "spec": spec }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(more: &[&str]) -> Value {
        let containers: Vec<Value> = more.iter().map(|name| json!({ "name": name, "image": format!("{name}:1") })).collect();
        json!({ "metadata": { "name": "api", "generation": 2 }, "spec": { "template": { "spec": { "containers": containers } } } })
    }

    #[test]
    fn the_container_that_is_meant() {
        for (wanted, containers, named) in [
            (Ok("web"), &["web"][..], None),
            (Ok("api"), &["proxy", "api"], None),
            (Ok("proxy"), &["proxy", "api"], Some("proxy")),
            (Err("say in `container`"), &["proxy", "web"], None),
            (Err("no container `api`; it has proxy"), &["proxy"], Some("api")),
        ] {
            match (wanted, container(&api(containers), named)) {
                (Ok(wanted), Ok(found)) => assert_eq!(found, wanted),
                (Err(part), Err(told)) => assert!(told.contains(part), "{told}"),
                (wanted, found) => panic!("{wanted:?} {found:?}"),
            }
        }
        assert_eq!(image(&api(&["proxy", "api"]), "api"), "api:1");
    }

    #[test]
    fn selectors() {
        let expressions =
            json!([{ "key": "track", "operator": "NotIn", "values": ["canary", "test"] }, { "key": "app", "operator": "Exists" }]);
        let object = json!({ "spec": { "selector": { "matchLabels": { "app": "api", "tier": "web" }, "matchExpressions": expressions } } });
        assert_eq!(selector(&object), "app=api,tier=web,track notin (canary,test),app");
    }

    #[test]
    fn what_stalled_is_told_only_of_the_last_change() {
        let mut object = api(&["api"]);
        object["status"] = json!({ "observedGeneration": 2, "conditions": [
            { "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out" }] });
        assert_eq!(stalled(&object, None).unwrap(), "ProgressDeadlineExceeded: timed out");
        assert_eq!(stalled(&object, Some(&object)), None, "it said so before");
        object["status"]["observedGeneration"] = json!(1);
        assert_eq!(stalled(&object, None), None);
    }
}
