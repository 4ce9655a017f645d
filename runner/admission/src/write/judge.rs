//! The two steps for one rule.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Admission, Judge, Look, Scene, Write};
use crate::bound::{admits, new_breaches};
use crate::change::{Change, changes};
use crate::refusal::Refusal;
use crate::rule::{FIXED, Field, LAST_APPLIED, grave};
use crate::target::Verb;
use crate::template::{self, Template};
use crate::touch::{Deed, Spot, Touch};

type Verdict = Result<(), Refusal>;

/// What is compared with an object that is not there.
static NOTHING: Value = Value::Null;

impl Judge<'_> {
    pub(super) fn decide(&self, scene: Option<&Scene>) -> Result<Admission, Refusal> {
        self.alone()?;
        let look = self.look();
        if look == Look::default() {
            return Ok(Admission::Granted);
        }
        match scene {
            None => Ok(Admission::Look(look)),
            Some(scene) => self.seen(scene).map(|()| Admission::Granted),
        }
    }

    /// By the request alone.
    fn alone(&self) -> Verdict {
        let target = &self.request.target;
        match &self.request.write {
            Write::Create { object } | Write::Apply { object, .. } => self.identity(object, true)?,
            Write::Patch { kind: super::PatchKind::Merge | super::PatchKind::Strategic, patch } => self.identity(patch, false)?,
            Write::Scale { replicas } => {
                if !self.request.is_scale() {
                    return Err(Refusal::new("bad-patch", format!("{target} is not what `scale` writes")));
                }
                let Some(fields) = &self.rule.fields else { return Err(self.needs_fields()) };
                let replicas = json!(replicas);
                let touch = Touch { path: vec![Spot::Key("spec"), Spot::Key("replicas")], deed: Deed::Set(&replicas) };
                return touch.conceivable(fields).map_err(|(code, why)| Refusal::new(code, why));
            }
            Write::Patch { .. } => {}
            Write::Delete => return Ok(()),
        }
        let touches = self.request.touches()?;
        if touches.reads && self.rules.applying(Verb::Get, target).next().is_none() {
            return Err(Refusal::new(
                "not-granted",
                format!("`test`, `copy` and `move` tell what is in {target}, and the stage may not get it"),
            ));
        }
        let whole_object = matches!(self.request.write, Write::Create { .. } | Write::Apply { .. });
        for touch in &touches.all {
            if touch.path.is_empty() {
                return Err(Refusal::new("bad-patch", "it would replace the whole object"));
            }
            if touch.is_fixed() && !is_identity(touch) {
                return Err(Refusal::new("field", format!("`{}` is the cluster's own, or says which object it is", touch.place())));
            }
        }
        let touched = touches.all.iter().filter(|touch| !is_identity(touch));
        let Some(fields) = &self.rule.fields else {
            if matches!(self.template(), Template::Has) || self.literal().is_some_and(template::within) {
                return Err(self.needs_fields());
            }
            // without fields all may be written but what has to be named
            return match touched.into_iter().find(|touch| touch.is_grave()) {
                Some(touch) => Err(self
                    .field(Refusal::new("field", format!("`{}` has to be named by a field of the rule", touch.place())), &touch.place())),
                None => Ok(()),
            };
        };
        if whole_object {
            // the bounds can be told already; the rest depends on what there is, or on what it has to be like
            self.bounds(fields, &NOTHING, self.literal().unwrap_or(&NOTHING))?;
            if self.rule.copy_of.is_some() {
                return Ok(());
            }
        }
        if matches!(self.request.write, Write::Create { .. }) {
            return self.anew(fields);
        }
        for touch in touched {
            touch.conceivable(fields).map_err(|(code, why)| self.field(Refusal::new(code, why), &touch.place()))?;
        }
        Ok(())
    }

    /// Whether an object says of itself that it is the one that the request is about.
    fn identity(&self, object: &Value, whole: bool) -> Verdict {
        let target = &self.request.target;
        let wrong = |what: &str, is: &Value| {
            Err(Refusal::new(
                "bad-object",
                format!("the object says that its {what} is {is}, and the request is about {} ({target})", target.kind().api_version()),
            ))
        };
        let api_version = target.kind().api_version();
        let metadata = object.get("metadata").unwrap_or(&NOTHING);
        let expected = [
            ("apiVersion", object.get("apiVersion"), Some(api_version.as_str())),
            ("name", metadata.get("name"), target.name()),
            ("namespace", metadata.get("namespace"), target.namespace()),
        ];
        for (what, is, expected) in expected {
            match is {
                Some(is) if is.as_str() != expected => return wrong(what, is),
                None if whole && what != "namespace" => return wrong(what, &NOTHING),
                _ => {}
            }
        }
        match object.get("kind") {
            Some(kind) if !kind.is_string() => wrong("kind", kind),
            None if whole => wrong("kind", &NOTHING),
            _ => Ok(()),
        }
    }

    fn literal(&self) -> Option<&Value> {
        match &self.request.write {
            Write::Create { object } | Write::Apply { object, .. } => Some(object),
            Write::Patch { patch, .. } => Some(patch),
            Write::Scale { .. } | Write::Delete => None,
        }
    }

    fn look(&self) -> Look {
        let others = self.others();
        match (&self.request.write, &self.rule.fields) {
            (Write::Delete, _) => Look { before: !others.is_empty() || self.shares().next().is_some(), dry_run: false, others },
            (_, Some(_)) => Look { before: true, dry_run: true, others },
            (_, None) if matches!(self.template(), Template::AskObject) => Look { before: true, dry_run: true, others },
            (Write::Apply { .. }, None) => Look { before: true, dry_run: false, others },
            (_, None) if !others.is_empty() || self.shares().next().is_some() => Look { before: true, dry_run: true, others },
            (_, None) => Look { before: false, dry_run: false, others: BTreeSet::new() },
        }
    }

    /// By what was seen.
    fn seen(&self, scene: &Scene) -> Verdict {
        let target = &self.request.target;
        let (before, after) = (self.shown(scene.before.as_ref()), self.shown(scene.after.as_ref()));
        let (before, after) = (before.as_deref(), after.as_deref());
        if matches!(self.request.write, Write::Apply { .. })
            && before.is_none()
            && !self.rules.applying(Verb::Create, target).any(|rule| std::ptr::eq(rule, self.rule))
        {
            return Err(self.rules.not_granted(Verb::Create, target));
        }
        if let Some(fields) = &self.rule.fields
            && !matches!(self.request.write, Write::Delete)
        {
            let after = after.ok_or_else(|| Refusal::new("bad-patch", "no dry run tells what the write would do"))?;
            match (before, &self.rule.copy_of) {
                (Some(before), _) => self.compared(fields, before, after)?,
                (None, Some(source)) => {
                    let source = scene
                        .others
                        .get(source)
                        .and_then(Option::as_ref)
                        .ok_or_else(|| Refusal::new("field", format!("a new object has to be like `{source}`, which is not there")))?;
                    let (mut like, mut new) = (source.clone(), after.clone());
                    strip(&mut like, true);
                    strip(&mut new, false);
                    self.compared(fields, &like, &new)?;
                    self.bounds(fields, &NOTHING, after)?;
                }
                (None, None) => {
                    self.anew(fields)?;
                    self.bounds(fields, &NOTHING, after)?;
                }
            }
        } else if self.rule.fields.is_none()
            && before.into_iter().chain(after).any(template::within)
            && !matches!(self.request.write, Write::Delete)
        {
            return Err(self.needs_fields());
        }
        let own = target.name().unwrap_or_default();
        for share in self.shares() {
            share.judge(own, before, after, &scene.others).map_err(|why| Refusal::new("share", why))?;
        }
        Ok(())
    }

    /// A `Scale` leaves out a number of replicas that is 0.
    fn shown<'o>(&self, object: Option<&'o Value>) -> Option<Cow<'o, Value>> {
        let object = object?;
        let mut shown = Cow::Borrowed(object);
        if self.request.is_scale()
            && object.pointer("/spec/replicas").is_none()
            && let Some(spec) = shown.to_mut().get_mut("spec").and_then(Value::as_object_mut)
        {
            spec.insert("replicas".to_owned(), json!(0));
        }
        Some(shown)
    }

    fn compared(&self, fields: &[Field], before: &Value, after: &Value) -> Verdict {
        for change in changes(before, after) {
            if is_the_clusters(&change) {
                continue;
            }
            if let ["apiVersion" | "kind", ..] | ["metadata"] = change.keys().as_slice() {
                return Err(Refusal::new("field", format!("`{}` would change, which says which object it is", change.place())));
            }
            if let ["metadata", key, ..] = change.keys().as_slice()
                && FIXED.contains(key)
            {
                return Err(Refusal::new("field", format!("`{}` would change, which is the cluster's own", change.place())));
            }
            admits(fields, &change).map_err(|(code, why)| {
                let refusal = Refusal::new(code, why);
                if grave(&change.keys()).is_some() { refusal } else { self.field(refusal, &change.named()) }
            })?;
        }
        self.bounds(fields, before, after)
    }

    /// All that a new object says. What the cluster adds are its own defaults: they have to keep the bounds, and need no field.
    fn anew(&self, fields: &[Field]) -> Verdict {
        let mut object = self.literal().cloned().unwrap_or(Value::Null);
        if let Some(map) = object.as_object_mut() {
            map.retain(|key, _| !matches!(key.as_str(), "apiVersion" | "kind"));
            if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.retain(|key, _| !matches!(key.as_str(), "name" | "namespace"));
            }
        }
        self.compared(fields, &json!({ "metadata": {} }), &object)
    }

    fn bounds(&self, fields: &[Field], before: &Value, after: &Value) -> Verdict {
        match new_breaches(fields, before, after).into_iter().next() {
            Some(breach) => Err(Refusal::new("bound", format!("`{}`: {}", breach.place, breach.why))),
            None => Ok(()),
        }
    }

    fn needs_fields(&self) -> Refusal {
        let reason = format!("{} has a Pod template, and a rule that lets it be written has to say which fields", self.request.target);
        Refusal { remedy: Some("fields = { \"spec.replicas\" = { max = 3 } }".to_owned()), ..Refusal::new("needs-fields", reason) }
    }

    /// With the field that would allow it.
    fn field(&self, refusal: Refusal, place: &str) -> Refusal {
        let nameable = refusal.code == "field" && crate::path::FieldPath::parse(place).is_ok();
        let remedy = nameable.then(|| format!("fields = {{ '{place}' = {{}} }}"));
        Refusal { remedy, ..refusal }
    }
}

/// What every object says of itself; compared with the request already.
fn is_identity(touch: &Touch<'_>) -> bool {
    let set = matches!(touch.deed, Deed::Set(_));
    match touch.path.as_slice() {
        [Spot::Key("apiVersion" | "kind")] => set,
        [Spot::Key("metadata"), Spot::Key("name" | "namespace" | "resourceVersion")] => set,
        _ => false,
    }
}

/// What a cluster writes with any change.
fn is_the_clusters(change: &Change<'_>) -> bool {
    matches!(change.keys().as_slice(), ["metadata", "managedFields" | "resourceVersion" | "generation", ..])
}

/// Leaves of an object what another one could have in common with it.
fn strip(object: &mut Value, source: bool) {
    let Some(map) = object.as_object_mut() else { return };
    map.remove("status");
    let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    metadata.retain(|key, _| !FIXED.contains(&key.as_str()));
    if source {
        metadata.remove("finalizers");
        metadata.remove("ownerReferences");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
            annotations.remove("deployment.kubernetes.io/revision");
            if annotations.is_empty() {
                metadata.remove("annotations");
            }
        }
    }
}
