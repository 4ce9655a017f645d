//! What an effect is about, and whether the stage said in which namespace.
//!
//! A stage is replayed without its grants, and asks the same: what is recorded of an object in the grant's own namespace is that it is there, and not what
//! it is called.

use std::ops::Deref;

use admission::{Kind, Subresource, Target, TargetError};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::scope;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    target: Target,
    /// The stage said no namespace.
    own: bool,
}

impl Place {
    /// One object. `own` is the grant's namespace.
    pub fn one(kind: Kind, asked: Option<&str>, own: &str, name: &str) -> Result<Place, TargetError> {
        let namespace = scope::namespace(&kind, asked, own);
        Ok(Place { target: Target::one(kind.clone(), namespace, name)?, own: asked.is_none() })
    }

    /// All of a kind; of all namespaces if `*` is asked for.
    pub fn all(kind: Kind, asked: Option<&str>, own: &str) -> Result<Place, TargetError> {
        let namespace = scope::namespace(&kind, asked, own).filter(|namespace| *namespace != "*");
        Ok(Place { target: Target::all(kind.clone(), namespace)?, own: asked.is_none() })
    }

    pub fn part(self, part: Subresource) -> Result<Place, TargetError> {
        Ok(Place { target: self.target.part(part)?, ..self })
    }

    /// What was recorded.
    pub fn recorded(place: &Value, own: &str) -> Option<Target> {
        let text = |pointer: &str| place.pointer(pointer).and_then(Value::as_str);
        let kind = Kind::new(text("/kind/group")?, text("/kind/version")?, text("/kind/plural")?).ok()?;
        let namespace = if place.get("own").is_some() { scope::namespace(&kind, None, own) } else { text("/namespace") };
        let Some(name) = text("/name") else { return Target::all(kind.clone(), namespace).ok() };
        let one = Target::one(kind.clone(), namespace, name).ok()?;
        match text("/part") {
            None => Some(one),
            Some(word) => one.part(Subresource::ALL.into_iter().find(|part| part.word() == word)?).ok(),
        }
    }
}

impl Deref for Place {
    type Target = Target;

    fn deref(&self) -> &Target {
        &self.target
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let target = &self.target;
        let mut place = json!({ "kind": target.kind() });
        if self.own {
            place["own"] = json!(true);
        } else {
            place["namespace"] = json!(target.namespace());
        }
        if let Some(name) = target.name() {
            place["name"] = json!(name);
        }
        if let Some(part) = target.subresource() {
            place["part"] = json!(part.word());
        }
        place.serialize(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_recorded_the_same_without_its_grant_and_found_again_with_it() {
        let kind = || Kind::new("apps", "v1", "deployments").unwrap();
        let pods = || Kind::new("", "v1", "pods").unwrap();
        let nodes = || Kind::new("", "v1", "nodes").unwrap();
        let of = |own: &str| {
            [
                Place::one(kind(), None, own, "api").unwrap(),
                Place::one(kind(), Some("shop"), own, "api").unwrap(),
                Place::one(kind(), None, own, "api").unwrap().part(Subresource::Scale).unwrap(),
                Place::one(pods(), None, own, "api").unwrap().part(Subresource::PortForward).unwrap(),
                Place::one(nodes(), None, own, "n").unwrap(),
                Place::all(kind(), None, own).unwrap(),
                Place::all(kind(), Some("*"), own).unwrap(),
            ]
        };
        let (granted, replayed) = (of("shop"), of("default"));
        let texts: Vec<String> = granted.iter().map(|place| serde_json::to_string(place).unwrap()).collect();
        for (index, place) in replayed.iter().enumerate() {
            assert_eq!(serde_json::to_string(place).unwrap(), texts[index]);
            assert_eq!(texts.iter().filter(|text| **text == texts[index]).count(), 1, "{}", texts[index]);
        }
        for (place, text) in granted.iter().zip(&texts) {
            assert_eq!(Place::recorded(&serde_json::from_str(text).unwrap(), "shop").as_ref(), Some(&**place), "{text}");
        }
    }
}
