//! What became of a write that was never answered: the runner was killed, or the connection broke. Pure.
//!
//! A write carries the version of the object that was looked at, so there are few possibilities: the object says what it said, or what the dry run made of
//! it, or somebody else wrote since. What others add all the time (its status, the number of its revision) is no sign of either.

use admission::{PatchKind, Request, Write};
use serde_json::Value;

use crate::effect::Stood;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Became {
    Happened,
    /// It did not, or doing it again changes nothing more.
    Again,
    Unknown,
}

impl Stood {
    pub fn of(before: Option<&Value>, after: Option<&Value>) -> Stood {
        let text = |pointer: &str| before?.pointer(pointer)?.as_str().map(str::to_owned);
        Stood {
            uid: text("/metadata/uid"),
            version: text("/metadata/resourceVersion"),
            before: before.map(said),
            after: after.map(said),
            replicas: before.map(|object| {
                let replicas = object.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or_default();
                u32::try_from(replicas).unwrap_or(u32::MAX)
            }),
        }
    }

    /// `now` is the object as it stands, `then` what the same write would make of it. `manager` is the stage's field manager.
    pub fn became(&self, request: &Request, manager: &str, now: Option<&Value>, then: Option<&Value>) -> Became {
        let text = |pointer: &str| now.and_then(|now| now.pointer(pointer)).and_then(Value::as_str);
        let another = self.uid.as_deref() != text("/metadata/uid");
        match (&request.write, &self.uid, now) {
            (Write::Delete, _, None) => Became::Happened,
            (Write::Delete, ..) if another || text("/metadata/deletionTimestamp").is_some() => Became::Happened,
            (Write::Delete, ..) | (_, _, None) => Became::Again,
            // it was to be made, and is there
            (_, None, Some(now)) if is_managed(now, manager) => Became::Happened,
            (_, None, Some(_)) => Became::Again,
            _ if another => Became::Again,
            (write, Some(_), Some(now)) => {
                let is = Some(said(now));
                if is == self.after {
                    Became::Happened
                } else if is == self.before || !matches!(write, Write::Patch { kind: PatchKind::Json, .. }) {
                    Became::Again
                } else if then.is_some_and(|then| Some(said(then)) == is) {
                    Became::Happened
                } else {
                    Became::Unknown
                }
            }
        }
    }
}

fn is_managed(object: &Value, manager: &str) -> bool {
    let managers = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    managers.is_some_and(|all| all.iter().any(|one| one.get("manager").and_then(Value::as_str) == Some(manager)))
}

/// A digest of what an object says, without what the cluster and its controllers write.
fn said(object: &Value) -> String {
    let mut object = object.clone();
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
        if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
            for key in ["resourceVersion", "managedFields", "generation", "selfLink"] {
                metadata.remove(key);
            }
            if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
                annotations.remove("deployment.kubernetes.io/revision");
                if annotations.is_empty() {
                    metadata.remove("annotations");
                }
            }
        }
    }
    blake3::hash(sorted(&object).to_string().as_bytes()).to_hex().to_string()
}

/// In one order, whichever the cluster chose.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
            entries.sort_by(|one, other| one.0.cmp(&other.0));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        plain => plain.clone(),
    }
}

#[cfg(test)]
mod tests {
    use admission::{Kind, Target};
    use serde_json::json;

    use super::*;

    const OURS: &str = "runner/shop/canary";

    fn object(uid: &str, version: u32, replicas: u32) -> Value {
        json!({ "metadata": { "uid": uid, "resourceVersion": version.to_string(), "generation": version }, "spec": { "replicas": replicas }, "status": { "at": version } })
    }

    fn request(write: Write) -> Request {
        Request { target: Target::one(Kind::new("apps", "v1", "deployments").unwrap(), Some("shop"), "api").unwrap(), write }
    }

    #[test]
    fn it_is_told_by_the_object_whether_it_was_written() {
        let patch = |kind| request(Write::Patch { kind, patch: json!({}) });
        let (merge, json) = (patch(PatchKind::Merge), patch(PatchKind::Json));
        let (create, delete) = (request(Write::Create { object: json!({}) }), request(Write::Delete));
        let (before, after) = (object("u", 1, 3), object("u", 1, 5));
        let stood = Stood::of(Some(&before), Some(&after));
        let nothing = Stood::of(None, Some(&after));
        let mut ours = object("u", 2, 5);
        ours["metadata"]["managedFields"] = json!([{ "manager": OURS }]);
        let mut going = object("u", 2, 3);
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let mut numbered = object("u", 4, 5);
        numbered["metadata"]["annotations"] = json!({ "deployment.kubernetes.io/revision": "2" });
        use Became::{Again, Happened, Unknown};
        for (what, stood, request, now, then, is) in [
            ("untouched", &stood, &json, Some(object("u", 1, 3)), None, Again),
            ("only its status changed", &stood, &json, Some(object("u", 9, 3)), None, Again),
            ("written", &stood, &json, Some(object("u", 2, 5)), None, Happened),
            ("written, and its controller has seen it", &stood, &json, Some(numbered), None, Happened),
            ("written by others", &stood, &json, Some(object("u", 2, 7)), Some(object("u", 2, 8)), Unknown),
            ("nothing would change", &stood, &json, Some(object("u", 2, 7)), Some(object("u", 2, 7)), Happened),
            ("a patch that sets values", &stood, &merge, Some(object("u", 2, 7)), Some(object("u", 2, 8)), Again),
            ("gone", &stood, &json, None, None, Again),
            ("another one of the name", &stood, &json, Some(object("v", 2, 5)), None, Again),
            ("not made", &nothing, &create, None, None, Again),
            ("made", &nothing, &create, Some(ours), None, Happened),
            ("made by others", &nothing, &create, Some(object("u", 2, 5)), None, Again),
            ("deleted", &stood, &delete, None, None, Happened),
            ("being deleted", &stood, &delete, Some(going), None, Happened),
            ("deleted and made again", &stood, &delete, Some(object("v", 2, 3)), None, Happened),
            ("not deleted", &stood, &delete, Some(object("u", 2, 3)), None, Again),
        ] {
            assert_eq!(stood.became(request, OURS, now.as_ref(), then.as_ref()), is, "{what}");
        }
    }
}
