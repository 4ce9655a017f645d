//! The three kinds of patches, as far as stages write them.

use runner_sdk::kubernetes::Patch;
use serde_json::Value;

pub(crate) fn apply(object: &mut Value, patch: &Patch) -> Result<(), String> {
    match patch {
        Patch::Merge(patch) => merge(object, patch, false),
        Patch::Strategic(patch) => merge(object, patch, true),
        Patch::Json(operations) => {
            for operation in operations.as_array().ok_or("a JSON patch is a list")? {
                step(object, operation)?;
            }
        }
    }
    Ok(())
}

fn merge(target: &mut Value, patch: &Value, strategic: bool) {
    match patch {
        Value::Object(patch) => {
            if !target.is_object() {
                *target = Value::Object(serde_json::Map::new());
            }
            let map = target.as_object_mut().expect("it was made one");
            for (key, value) in patch {
                if value.is_null() {
                    map.remove(key);
                } else {
                    merge(map.entry(key).or_insert(Value::Null), value, strategic);
                }
            }
        }
        // lists of Pod templates are merged by their names
        Value::Array(items) if strategic && target.is_array() && items.iter().all(|item| item["name"].is_string()) => {
            let list = target.as_array_mut().expect("it is one");
            for item in items {
                match list.iter_mut().find(|known| known["name"] == item["name"]) {
                    Some(known) => merge(known, item, strategic),
                    None => list.push(item.clone()),
                }
            }
        }
        other => *target = other.clone(),
    }
}

fn step(object: &mut Value, operation: &Value) -> Result<(), String> {
    let path = operation["path"].as_str().ok_or("an operation has a path")?;
    let (parent, key) = path.rsplit_once('/').ok_or("a path begins with /")?;
    let kind = operation["op"].as_str().unwrap_or_default();
    if kind == "test" {
        let same = object.pointer(path) == Some(&operation["value"]);
        return if same { Ok(()) } else { Err(format!("test of {path} failed")) };
    }
    let missing = || format!("there is nothing at {path}");
    match object.pointer_mut(parent).ok_or_else(missing)? {
        Value::Object(map) => match kind {
            "remove" => map.remove(key).map(drop).ok_or_else(missing),
            "replace" if !map.contains_key(key) => Err(missing()),
            "add" | "replace" => {
                map.insert(key.to_owned(), operation["value"].clone());
                Ok(())
            }
            other => Err(format!("{other} is no operation")),
        },
        _ => Err(format!("{path}: the simulation writes keys only")),
    }
}
