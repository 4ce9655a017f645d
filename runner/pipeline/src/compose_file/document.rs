//! A compose file as a whole: which of its services are wanted, and what it says of them together.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::diagnostic::{Diagnostic, Span, did_you_mean};
use crate::graph::list;
use crate::model::shown;
use crate::node::{Key, Spanned};

use super::dependency::{self, Condition, Dependency};
use super::reader::{Map, refuse, scalars, wrong};
use super::service::{self, Notes, Translated};
use super::variables::Variables;
use super::yaml::{Value, Yaml};
use super::{Members, Reading};

pub(super) struct Document {
    /// Of the compose file, from the pipeline file's.
    pub folder: PathBuf,
    pub variables: Variables,
    /// Those that the pipeline file names.
    pub wanted: Option<Vec<Spanned<String>>>,
}

/// A service that is wanted, with its variables filled in.
struct Chosen {
    node: Yaml,
    dependencies: Vec<Dependency>,
}

impl Document {
    #[expect(clippy::result_large_err, reason = "asked once for a file")]
    pub fn members(&self, tree: Yaml, reading: &mut Reading<'_>) -> Result<Members, Diagnostic> {
        let all = match top(&tree, "services") {
            Some(Yaml { value: Value::Map(entries), .. }) => entries.as_slice(),
            Some(other) if other.value != Value::Null => return Err(wrong(other, "services", "a mapping of services")),
            _ => {
                let message = "the compose file has no `services`";
                return Err(Diagnostic::error("missing-key", tree.span.start..tree.span.start, message)
                    .hint("add `services:`, or name another file"));
            }
        };
        let volumes = self.top_level(&tree, reading.diagnostics);
        let wanted = self.wanted(all, reading.diagnostics);
        let chosen = self.choose(all, &wanted, reading.diagnostics);
        let mut notes = Notes::default();
        let mut translated: Vec<(&Key, Translated)> = Vec::new();
        for (key, _) in all {
            let Some(one) = chosen.get(key.name.as_str()) else { continue };
            let waited = chosen.values().flat_map(|other| &other.dependencies).filter(|dependency| dependency.name.value == key.name);
            let job = waited.clone().find(|dependency| dependency.condition == Condition::Completed);
            let healthy = waited.clone().find(|dependency| dependency.condition == Condition::Healthy);
            if let (Some(job), Some(healthy)) = (job, healthy) {
                let message = format!("`{}` is waited for until it has ended, and until it is healthy", shown(&key.name));
                reading.diagnostics.push(
                    Diagnostic::error("contradiction", healthy.name.span.clone(), message)
                        .related(job.name.span.clone(), "until it has ended")
                        .hint("let both wait for the same"),
                );
            }
            let needs = one.dependencies.iter().filter(|dependency| chosen.contains_key(dependency.name.value.as_str()));
            let place = service::Place {
                key,
                needs: needs.map(|dependency| dependency.name.clone()).collect(),
                job: job.is_some(),
                folder: &self.folder,
                volumes: &volumes,
                variables: &self.variables,
            };
            let new = service::translate(&one.node, &place, &mut notes, reading);
            if let Some(healthy) = healthy.filter(|_| !new.gated) {
                let message = format!("`{}` is waited for until it is healthy, and has no `healthcheck`", shown(&key.name));
                reading.diagnostics.push(
                    Diagnostic::error("missing-key", healthy.name.span.clone(), message)
                        .related(key.span.clone(), "here it would stand")
                        .hint("add one to it; an image's own check is not used. Or wait until it is started: `condition: service_started`"),
                );
            }
            translated.push((key, new));
        }
        refuse_same_ports(&translated, reading.diagnostics);
        refuse_separate_networks(&translated, reading.diagnostics);
        notes.tell(reading.diagnostics);
        Ok(Members { wanted, tables: translated.into_iter().map(|(key, one)| (key.clone(), one.node)).collect() })
    }

    /// The names of the volumes; what else stands beside the services is looked at.
    fn top_level(&self, tree: &Yaml, diagnostics: &mut Vec<Diagnostic>) -> Vec<String> {
        let Some(mut map) = Map::new(tree, "", diagnostics) else { return Vec::new() };
        for harmless in ["version", "name", "services"] {
            map.take(harmless);
        }
        let (volumes, networks) = (map.take("volumes"), map.take("networks"));
        map.finish();
        let mut names = Vec::new();
        for (what, found) in [("volumes", volumes), ("networks", networks)] {
            let Some((_, node)) = found else { continue };
            let Some(map) = Map::new(node, what, diagnostics) else { continue };
            for (key, node) in map.entries {
                let mut node = node.clone();
                self.variables.fill(&mut node, diagnostics);
                plain(&node, what, &key.name, diagnostics);
                names.extend((what == "volumes").then(|| key.name.clone()));
            }
        }
        names
    }

    /// Those that the group's name stands for.
    fn wanted(&self, all: &[(Key, Yaml)], diagnostics: &mut Vec<Diagnostic>) -> Vec<String> {
        let Some(wanted) = &self.wanted else {
            let enabled = all.iter().filter(|(_, node)| !has_profile(node, diagnostics)).map(|(key, _)| key.name.clone());
            return enabled.collect();
        };
        let mut found: Vec<String> = Vec::new();
        for name in wanted {
            if !all.iter().any(|(key, _)| key.name == name.value) {
                diagnostics.push(unknown(name, all));
            } else if !found.contains(&name.value) {
                found.push(name.value.clone());
            }
        }
        found
    }

    /// Those that are wanted, and those that they depend on.
    fn choose(&self, all: &[(Key, Yaml)], wanted: &[String], diagnostics: &mut Vec<Diagnostic>) -> HashMap<String, Chosen> {
        let mut chosen: HashMap<String, Chosen> = HashMap::new();
        let mut open: Vec<String> = wanted.to_vec();
        while let Some(name) = open.pop() {
            if chosen.contains_key(&name) {
                continue;
            }
            let Some((key, node)) = all.iter().find(|(key, _)| key.name == name) else { continue };
            let mut node = node.clone();
            self.variables.fill(&mut node, diagnostics);
            let what = format!("services.{}.depends_on", shown(&key.name));
            let dependencies = top(&node, "depends_on").map(|node| dependency::read(node, &what, diagnostics)).unwrap_or_default();
            for dependency in dependencies.iter().filter(|dependency| dependency.required) {
                if all.iter().any(|(key, _)| key.name == dependency.name.value) {
                    open.push(dependency.name.value.clone());
                } else {
                    diagnostics.push(unknown(&dependency.name, all));
                }
            }
            chosen.insert(name, Chosen { node, dependencies });
        }
        chosen
    }
}

fn top<'a>(node: &'a Yaml, name: &str) -> Option<&'a Yaml> {
    let Value::Map(entries) = &node.value else { return None };
    entries.iter().find(|(key, _)| key.name == name).map(|(_, value)| value)
}

fn has_profile(node: &Yaml, diagnostics: &mut Vec<Diagnostic>) -> bool {
    top(node, "profiles").is_some_and(|profiles| profiles.value != Value::Null && !scalars(profiles, "profiles", diagnostics).is_empty())
}

fn unknown(name: &Spanned<String>, all: &[(Key, Yaml)]) -> Diagnostic {
    let names = || all.iter().map(|(key, _)| key.name.as_str());
    let hint = match did_you_mean(&name.value, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("its services: {}", list(names())),
    };
    Diagnostic::error("unknown-service", name.span.clone(), format!("the compose file has no service `{}`", shown(&name.value))).hint(hint)
}

/// A volume or a network with nothing special to it.
fn plain(node: &Yaml, what: &str, name: &str, diagnostics: &mut Vec<Diagnostic>) {
    let Some(mut map) = Map::new(node, format!("{what}.{}", shown(name)), diagnostics) else { return };
    // neither is there before the attempt or after it, so nobody meets it under a name of its own
    map.text("name");
    let usual = if what == "volumes" { "local" } else { "bridge" };
    if let Some((_, driver)) = map.text("driver").filter(|(_, driver)| driver.value != usual) {
        let message = format!("there is no driver `{}` here", shown(&driver.value));
        map.diagnostics.push(refuse(&driver.span, message, "remove it"));
    }
    if what == "networks" {
        // there is no way out of any
        map.boolean("internal");
    }
    let external = map.boolean("external").filter(|(_, external)| external.value);
    if let Some((key, _)) = external {
        let message = format!("`{}` is made for each attempt, and nothing that was there before is used", map.path("external"));
        map.diagnostics.push(refuse(&key.span, message, "remove `external`"));
    }
    map.finish();
}

/// All containers of an attempt share one loopback.
fn refuse_same_ports(all: &[(&Key, Translated)], diagnostics: &mut Vec<Diagnostic>) {
    let mut known: HashMap<u16, (&str, Span)> = HashMap::new();
    for (key, one) in all {
        for port in &one.ports {
            match known.get(&port.value) {
                Some((other, first)) if *other != key.name => diagnostics.push(
                    Diagnostic::error(
                        "duplicate",
                        port.span.clone(),
                        format!("`{}` and `{}` both listen on port {}, and share one loopback", shown(other), shown(&key.name), port.value),
                    )
                    .related(first.clone(), "first here")
                    .hint("let one of them listen on another port, or want only one of them: `services = [..]` beside `compose`"),
                ),
                Some(_) => {}
                None => {
                    known.insert(port.value, (&key.name, port.span.clone()));
                }
            }
        }
    }
}

/// Networks that keep services apart would be more than there is.
fn refuse_separate_networks(all: &[(&Key, Translated)], diagnostics: &mut Vec<Diagnostic>) {
    let Some((first, one)) = all.first() else { return };
    for (key, other) in &all[1..] {
        if other.networks.names != one.networks.names {
            let (near, far) =
                (other.networks.span.clone().unwrap_or(key.span.clone()), one.networks.span.clone().unwrap_or(first.span.clone()));
            diagnostics.push(
                refuse(
                    &near,
                    format!(
                        "`networks` keep `{}` and `{}` apart, and services of a stage all reach each other",
                        shown(&first.name),
                        shown(&key.name)
                    ),
                    "put all of them into the same networks, or into none",
                )
                .related(far, "the other's"),
            );
            return;
        }
    }
}
