//! Objects that were changed anywhere and anyhow: whatever is granted, an oracle that knows nothing of paths and patterns has to find harmless.

use serde_json::{Value, json};

use super::{deployment, merge, rules, scene, told};

/// Xorshift: the same cases every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

const KEYS: [&str; 12] = [
    "name",
    "image",
    "replicas",
    "env",
    "containers",
    "initContainers",
    "finalizers",
    "annotations",
    "example.org/build",
    "kubectl.kubernetes.io/last-applied-configuration",
    "hostNetwork",
    "spec",
];

fn value(dice: &mut Dice) -> Value {
    let values = [
        json!(1),
        json!(3),
        json!(4),
        json!(-1),
        json!(2.5),
        json!("2"),
        json!(true),
        Value::Null,
        json!({}),
        json!([]),
        json!("api"),
        json!("proxy"),
        json!("ghcr.io/acme/shop@sha256:bb"),
        json!("evil"),
        json!({ "name": "api", "image": "ghcr.io/acme/shop@sha256:bb" }),
        json!({ "name": "x" }),
        json!([{ "name": "api" }]),
        json!({ "replicas": 2 }),
    ];
    values[dice.roll(values.len())].clone()
}

/// Goes down a random way and changes what is there.
fn mutate(dice: &mut Dice, object: &mut Value) {
    let deeper = dice.roll(8) > 0;
    match object {
        Value::Object(map) if !map.is_empty() => {
            let key = map.keys().nth(dice.roll(map.len())).unwrap().clone();
            if deeper && (map[&key].is_object() || map[&key].is_array()) {
                return mutate(dice, map.get_mut(&key).unwrap());
            }
            match dice.roll(4) {
                0 => drop(map.remove(&key)),
                1 => drop(map.insert(KEYS[dice.roll(KEYS.len())].to_owned(), value(dice))),
                _ => drop(map.insert(key, value(dice))),
            }
        }
        Value::Array(list) if !list.is_empty() => {
            let place = dice.roll(list.len());
            if deeper && list[place].is_object() {
                return mutate(dice, &mut list[place]);
            }
            let other = dice.roll(list.len());
            match dice.roll(5) {
                0 => drop(list.remove(place)),
                1 => list.swap(place, other),
                2 => list.insert(other, list[place].clone()),
                3 => list.insert(place, value(dice)),
                _ => list[place] = value(dice),
            }
        }
        other => *other = value(dice),
    }
}

/// What is left if everything is taken away that the grant lets be, by hand.
fn rest(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(map) = object.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        for key in ["managedFields", "resourceVersion", "generation"] {
            map.remove(key);
        }
        if let Some(Value::Object(annotations)) = map.get_mut("annotations") {
            annotations.retain(|key, _| key.starts_with("kubectl"));
        }
    }
    if let Some(spec) = object.pointer_mut("/spec").and_then(Value::as_object_mut)
        && spec.get("replicas").and_then(Value::as_f64).is_some_and(|replicas| (0.0..=3.0).contains(&replicas))
    {
        spec.insert("replicas".to_owned(), json!("within"));
    }
    if let Some(containers) = object.pointer_mut("/spec/template/spec/containers").and_then(Value::as_array_mut) {
        for container in containers.iter_mut().filter(|one| one.get("name") == Some(&json!("api"))) {
            if container.get("image").and_then(Value::as_str).is_some_and(|image| image.starts_with("ghcr.io/acme/shop@sha256:")) {
                container["image"] = json!("within");
            }
        }
    }
    object
}

#[test]
fn whatever_is_granted_is_harmless() {
    let rules = rules(json!([{ "resources": ["deployments"], "verbs": ["patch"], "fields": {
        "spec.replicas": { "min": 0, "max": 3 }, "spec.template.spec.containers[name=api].image": { "like": "ghcr.io/acme/shop@sha256:*" }, "metadata.annotations": {} } }]));
    let request = merge("deployments shop/api", json!({ "metadata": { "name": "api" } }));
    let (before, mut dice, mut granted) = (deployment(), Dice(0x9e37_79b9_7f4a_7c15), 0);
    for round in 0..60_000 {
        let mut after = before.clone();
        for _ in 0..=dice.roll(3) {
            mutate(&mut dice, &mut after);
        }
        if told(rules.admit(&request, Some(&scene(Some(before.clone()), Some(after.clone()))))).0 == "granted" {
            assert_eq!(rest(&before), rest(&after), "round {round}");
            granted += usize::from(before != after);
        }
    }
    assert!(granted > 100, "only {granted} changes were granted: that proves nothing");
}

#[test]
fn nothing_that_differs_is_left_out() {
    let (before, mut dice) = (deployment(), Dice(0x1234_5678_9abc_def1));
    for round in 0..40_000 {
        let mut after = before.clone();
        for _ in 0..=dice.roll(3) {
            mutate(&mut dice, &mut after);
        }
        assert_eq!(crate::change::changes(&before, &after).is_empty(), before == after, "round {round}: {after}");
        assert_eq!(crate::change::changes(&after, &before).is_empty(), before == after, "round {round}, back: {after}");
    }
}
