//! Whether an object has a Pod template: who writes one runs programs in the cluster.

use serde_json::Value;

use crate::target::Kind;

pub(crate) enum Template {
    Has,
    HasNot,
    /// A kind that is not Kubernetes' own: the object tells.
    AskObject,
}

pub(crate) fn of(kind: &Kind) -> Template {
    let plural = kind.plural();
    let has = match kind.group() {
        "" => matches!(plural, "pods" | "podtemplates" | "replicationcontrollers"),
        "apps" => matches!(plural, "deployments" | "replicasets" | "statefulsets" | "daemonsets"),
        "batch" => matches!(plural, "jobs" | "cronjobs"),
        _ => false,
    };
    // groups without a dot, and those of k8s.io that a cluster comes with
    let own = !kind.group().contains('.') || matches!(kind.group(), "networking.k8s.io" | "discovery.k8s.io" | "rbac.authorization.k8s.io");
    match (has, own) {
        (true, _) => Template::Has,
        (false, true) => Template::HasNot,
        (false, false) => Template::AskObject,
    }
}

/// Whether there are containers in it, however deep.
pub(crate) fn within(value: &Value) -> bool {
    const LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];
    match value {
        Value::Object(map) => map.iter().any(|(key, value)| (LISTS.contains(&key.as_str()) && value.is_array()) || within(value)),
        Value::Array(items) => items.iter().any(within),
        _ => false,
    }
}
