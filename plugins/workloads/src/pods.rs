//! What the canary's Pods say of themselves, from their objects: crashes, restarts, readiness, images that can't be pulled.

use serde_json::Value;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signals {
    pub pods: u32,
    /// Pods that are not ready, and are not on their way out.
    pub unready: u32,
    /// Restarts of all their containers.
    pub restarts: u32,
    /// Ends with an error, by exit code or signal.
    pub crashes: u32,
    /// What keeps a container from starting, with its Pod: `api-1/api: ImagePullBackOff: …`.
    pub stuck: Vec<String>,
}

/// Reasons of a wait that no waiting mends. A loop of crashes is told by its crashes; an image that can't be pulled once may be the second time.
const STUCK: [&str; 6] = [
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];

/// Of Pods as the cluster lists them.
pub fn signals(pods: &[Value]) -> Signals {
    let mut all = Signals::default();
    for pod in pods {
        let text = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let leaving = pod.pointer("/metadata/deletionTimestamp").is_some();
        all.pods += u32::from(!leaving);
        let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
        let ready = conditions.is_some_and(|list| list.iter().any(|one| text(one, "/type") == "Ready" && text(one, "/status") == "True"));
        all.unready += u32::from(!ready && !leaving);
        let statuses = ["/status/initContainerStatuses", "/status/containerStatuses"]
            .iter()
            .filter_map(|list| pod.pointer(list)?.as_array())
            .flatten();
        for status in statuses {
            let restarts = status.get("restartCount").and_then(Value::as_u64).unwrap_or_default();
            let restarts = u32::try_from(restarts).unwrap_or(u32::MAX);
            all.restarts = all.restarts.saturating_add(restarts);
            // only the last end is told: all before it are taken for the same
            let ended_badly = |pointer: &str| status.pointer(pointer).and_then(Value::as_i64).is_some_and(|code| code != 0);
            if ended_badly("/lastState/terminated/exitCode") {
                all.crashes = all.crashes.saturating_add(restarts.max(1));
            }
            if ended_badly("/state/terminated/exitCode") && !leaving {
                all.crashes = all.crashes.saturating_add(1);
            }
            let reason = text(status, "/state/waiting/reason");
            if STUCK.contains(&reason.as_str()) {
                let message = text(status, "/state/waiting/message");
                all.stuck.push(format!("{}/{}: {reason}: {message}", text(pod, "/metadata/name"), text(status, "/name")));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(ready: &str, status: Value) -> Value {
        json!({ "metadata": { "name": "api-1" }, "status": { "conditions": [{ "type": "Ready", "status": ready }], "containerStatuses": [status] } })
    }

    #[test]
    fn pods_that_are_not_well() {
        let looping = json!({ "name": "api", "restartCount": 3, "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off" } }, "lastState": { "terminated": { "exitCode": 1 } } });
        let missing =
            json!({ "name": "api", "restartCount": 0, "state": { "waiting": { "reason": "ImagePullBackOff", "message": "not found" } } });
        let starting = json!({ "name": "api", "restartCount": 0, "state": { "waiting": { "reason": "ContainerCreating" } } });
        let ended = json!({ "name": "api", "restartCount": 0, "state": { "terminated": { "exitCode": 137 } } });
        let restarted =
            json!({ "name": "api", "restartCount": 1, "state": { "running": {} }, "lastState": { "terminated": { "exitCode": 0 } } });
        let of = |ready: &str, status: Value| {
            let told = signals(&[pod(ready, status)]);
            (told.unready, told.restarts, told.crashes, told.stuck.len())
        };
        assert_eq!(of("False", looping), (1, 3, 3, 0));
        assert_eq!(of("False", missing.clone()), (1, 0, 0, 1));
        assert_eq!(of("False", starting), (1, 0, 0, 0));
        assert_eq!(of("False", ended), (1, 0, 1, 0));
        assert_eq!(of("True", restarted), (0, 1, 0, 0));
        assert_eq!(signals(&[json!({})]), Signals { pods: 1, unready: 1, ..Signals::default() });
        assert_eq!(signals(&[]), Signals::default());
        assert_eq!(signals(&[pod("False", missing)]).stuck, ["api-1/api: ImagePullBackOff: not found"]);
    }
}
