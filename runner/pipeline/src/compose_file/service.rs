//! One service of a compose file, as the table `[service.<name>]`.

use std::path::Path;

use crate::diagnostic::{Diagnostic, Span};
use crate::model::shown;
use crate::node::{Key, Node, Spanned, Value as Toml};

use super::mount::Mounts;
use super::reader::{Map, refuse, scalar, scalars, wrong};
use super::variables::Variables;
use super::yaml::{Value, Yaml};
use super::{Reading, env_file, health, key, mount, port, string, table, words};

pub(super) struct Place<'a> {
    pub key: &'a Key,
    pub needs: Vec<Spanned<String>>,
    /// Others wait until it has ended.
    pub job: bool,
    /// Of the compose file, from the pipeline file's.
    pub folder: &'a Path,
    /// That the file declares.
    pub volumes: &'a [String],
    pub variables: &'a Variables,
}

pub(super) struct Translated {
    pub node: Node,
    /// It has a health gate.
    pub gated: bool,
    pub ports: Vec<Spanned<u16>>,
    pub networks: Networks,
}

#[derive(Default)]
pub(super) struct Networks {
    /// Sorted.
    pub names: Vec<String>,
    pub span: Option<Span>,
}

/// Keys that say nothing here, each with where it first stands.
#[derive(Default)]
pub(super) struct Notes(Vec<(&'static str, Span)>);

const WITHOUT_EFFECT: [(&str, &str); 4] = [
    ("container_name", "a service is reached by its own name, and by no other"),
    ("hostname", "the containers of a stage share one host, and a service is reached by its own name"),
    ("labels", "containers carry the labels of the runner"),
    ("restart", "a service that ends while a stage runs is told of, and is not started again"),
];

impl Notes {
    /// One warning for each key, wherever else it stands.
    pub fn tell(self, diagnostics: &mut Vec<Diagnostic>) {
        for (name, span) in self.0 {
            let why = WITHOUT_EFFECT.iter().find(|(known, _)| *known == name).map_or("", |(_, why)| why);
            diagnostics.push(Diagnostic::warning("compose-ignored", span, format!("`{name}` has no effect: {why}")).hint("it may stay"));
        }
    }
}

/// A service with its variables filled in.
pub(super) fn translate(node: &Yaml, place: &Place<'_>, notes: &mut Notes, reading: &mut Reading<'_>) -> Translated {
    let what = format!("services.{}", shown(&place.key.name));
    let mut out = Out::default();
    let Some(mut map) = Map::new(node, what.clone(), reading.diagnostics) else {
        let node = table(vec![(key("image", &node.span), string("none", &node.span))], &node.span);
        return Translated { node, gated: true, ports: Vec::new(), networks: Networks::default() };
    };
    map.take("profiles");
    map.take("depends_on");
    image(&mut map, place, &mut out);
    for (name, own) in [("entrypoint", "entrypoint"), ("command", "arguments")] {
        let Some((at, node)) = map.take(name) else { continue };
        let found = command(node, &map.path(name), map.diagnostics);
        if let Some(found) = found {
            out.put(own, at, Toml::Array(found), &node.span);
        }
    }
    let environment = map.take("environment");
    let variables = environment.map(|(_, node)| environment_of(node, &map.path("environment"), map.diagnostics)).unwrap_or_default();
    let files = map.take("env_file");
    let (healthcheck, mut gated) = (map.take("healthcheck"), false);
    for (name, own) in [("user", "user"), ("working_dir", "directory"), ("stop_signal", "stop-signal")] {
        if let Some((at, text)) = map.text(name) {
            out.put(own, at, Toml::String(text.value), &text.span);
        }
    }
    for (name, own) in [("read_only", "read-only"), ("init", "init")] {
        if let Some((at, flag)) = map.boolean(name) {
            out.put(own, at, Toml::Boolean(flag.value), &flag.span);
        }
    }
    if let Some((at, text)) = map.text("stop_grace_period")
        && let Some(grace) = health::duration(&text.value, &text.span, &map.path("stop_grace_period"), map.diagnostics)
    {
        out.entries.push((key("grace", &at.span), health::written(grace, &text.span)));
    }
    ceilings(&mut map, &mut out);
    mounts(&mut map, place, &mut out);
    let ports = ports(&mut map, place, &mut out);
    let networks = networks(&mut map, place);
    platform(&mut map);
    harmless(&mut map, notes);
    map.finish();
    if place.job {
        out.entries.push(health::job(place.key));
        gated = true;
        if let Some((at, _)) = healthcheck {
            let message = format!("`{what}` is waited for until it has ended, so nobody looks whether it is healthy");
            reading.diagnostics.push(Diagnostic::error("contradiction", at.span.clone(), message).hint("remove `healthcheck`"));
        }
    } else if let Some((at, node)) = healthcheck
        && let Some(ready) = health::read(at, node, &format!("{what}.healthcheck"), reading.diagnostics)
    {
        out.entries.push(ready);
        gated = true;
    }
    let mut env = Vec::new();
    if let Some((_, node)) = files {
        env_files(node, &format!("{what}.env_file"), place, reading, &mut env);
    }
    env.extend(variables);
    if !env.is_empty() {
        let mut last: Vec<(Key, Node)> = Vec::with_capacity(env.len());
        for (name, value) in env {
            last.retain(|(known, _)| known.name != name.name);
            last.push((name, value));
        }
        let at = environment.or(files).map_or(&place.key.span, |(at, _)| &at.span);
        out.entries.push((key("env", at), table(last, at)));
    }
    if !place.needs.is_empty() {
        let names = place.needs.iter().map(|name| string(name.value.clone(), &name.span)).collect();
        let span = place.needs[0].span.clone();
        out.entries.push((key("needs", &span), Node { value: Toml::Array(names), span: span.clone() }));
    }
    Translated { node: table(out.entries, &place.key.span), gated, ports, networks }
}

/// The table that comes of it.
#[derive(Default)]
struct Out {
    entries: Vec<(Key, Node)>,
}

impl Out {
    fn put(&mut self, name: &str, at: &Key, value: Toml, span: &Span) {
        self.entries.push((key(name, &at.span), Node { value, span: span.clone() }));
    }
}

fn image(map: &mut Map<'_, '_>, place: &Place<'_>, out: &mut Out) {
    let found = map.text("image");
    match found {
        Some((at, text)) => out.put("image", at, Toml::String(text.value), &text.span),
        None => {
            // that it is built, and what is no text, is told of in its own place
            let told = |(key, node): &(Key, Yaml)| key.name == "build" || (key.name == "image" && node.value != Value::Null);
            if !map.entries.iter().any(told) {
                let message = format!("`services.{}` has no `image`", shown(&place.key.name));
                map.diagnostics.push(Diagnostic::error("missing-key", place.key.span.clone(), message).hint("add `image: postgres:16`"));
            }
            out.put("image", place.key, Toml::String("none".to_owned()), &place.key.span);
        }
    }
}

/// A list of words, or a text that compose splits. None: nothing is said, or it is wrong.
fn command(node: &Yaml, what: &str, diagnostics: &mut Vec<Diagnostic>) -> Option<Vec<Node>> {
    let words: Vec<Node> = match &node.value {
        Value::List(items) => {
            items.iter().filter_map(|item| scalar(item, what, diagnostics)).map(|word| string(word.value, &word.span)).collect()
        }
        Value::Scalar { text, .. } => match words::split(text) {
            Ok(words) => words.into_iter().map(|word| string(word, &node.span)).collect(),
            Err((why, hint)) => {
                diagnostics.push(Diagnostic::error("bad-value", node.span.clone(), format!("`{what}`: {why}")).hint(hint));
                return None;
            }
        },
        _ => {
            diagnostics.push(wrong(node, what, "a text or a list"));
            return None;
        }
    };
    if words.is_empty() {
        let message = format!("`{what}` is empty, and what the image itself says can't be taken away");
        diagnostics.push(refuse(&node.span, message, "remove it, or write a command"));
        return None;
    }
    Some(words)
}

fn environment_of(node: &Yaml, what: &str, diagnostics: &mut Vec<Diagnostic>) -> Vec<(Key, Node)> {
    let without = |name: &str, span: &Span| {
        let message = format!("`{}` would come from the environment of whoever starts the runner, which is not read", shown(name));
        Diagnostic::error("no-value", span.clone(), message)
            .hint(format!("write its value: `{0}: …`, or `{0}: ${{{0}}}` with `env` beside `compose`", shown(name)))
    };
    let mut found = Vec::new();
    match &node.value {
        Value::Map(entries) => {
            for (name, value) in entries {
                if value.value == Value::Null {
                    diagnostics.push(without(&name.name, &name.span));
                } else if let Some(text) = scalar(value, what, diagnostics) {
                    found.push((name.clone(), string(text.value, &text.span)));
                }
            }
        }
        Value::List(items) => {
            for item in items {
                let Some(item) = scalar(item, what, diagnostics) else { continue };
                match item.value.split_once('=') {
                    None => diagnostics.push(without(&item.value, &item.span)),
                    Some((name, value)) => found.push((key(name, &item.span), string(value, &item.span))),
                }
            }
        }
        _ => diagnostics.push(wrong(node, what, "a mapping or a list")),
    }
    found
}

/// One file, several, each as a path or with `required`.
fn env_files(node: &Yaml, what: &str, place: &Place<'_>, reading: &mut Reading<'_>, env: &mut Vec<(Key, Node)>) {
    let one = std::slice::from_ref(node);
    let entries = if let Value::List(items) = &node.value { items.as_slice() } else { one };
    for entry in entries {
        let (path, required) = match &entry.value {
            Value::Map(_) => {
                let Some(mut map) = Map::new(entry, format!("{what}[]"), reading.diagnostics) else { continue };
                let path = map.text("path").map(|(_, text)| text);
                let required = map.boolean("required").is_none_or(|(_, flag)| flag.value);
                if path.is_none() {
                    let message = format!("`{what}[]` has no `path`");
                    map.diagnostics.push(Diagnostic::error("missing-key", entry.span.clone(), message).hint("add `path: ./db.env`"));
                }
                map.finish();
                (path, required)
            }
            _ => (scalar(entry, what, reading.diagnostics), true),
        };
        let Some(path) = path else { continue };
        match reading.file(&path, place.folder, "db.env") {
            Ok((_, start, text)) => env.extend(env_file::read(&text, start, place.variables, reading.diagnostics)),
            // one that need not be there is not there
            Err(mistake) => reading.diagnostics.extend(required.then_some(mistake)),
        }
    }
}

/// The one key that is read of a mapping.
fn only<'a>(node: &'a Yaml, what: &str, name: &'static str, diagnostics: &mut Vec<Diagnostic>) -> Option<&'a Yaml> {
    let mut map = Map::new(node, what, diagnostics)?;
    let found = map.take(name).map(|(_, node)| node);
    map.finish();
    found
}

fn ceilings(map: &mut Map<'_, '_>, out: &mut Out) {
    let mut found: Vec<(&'static str, Key, Spanned<String>)> = Vec::new();
    for (name, own) in [("mem_limit", "memory"), ("cpus", "cpus"), ("pids_limit", "pids")] {
        found.extend(map.text(name).map(|(at, text)| (own, at.clone(), text)));
    }
    if let Some((_, deploy)) = map.take("deploy") {
        let path = map.path("deploy");
        let resources = only(deploy, &path, "resources", map.diagnostics);
        let limits = resources.and_then(|node| only(node, &format!("{path}.resources"), "limits", map.diagnostics));
        if let Some(mut limits) = limits.and_then(|node| Map::new(node, format!("{path}.resources.limits"), map.diagnostics)) {
            for (name, own) in [("memory", "memory"), ("cpus", "cpus"), ("pids", "pids")] {
                found.extend(limits.text(name).map(|(at, text)| (own, at.clone(), text)));
            }
            limits.finish();
        }
    }
    let mut said: Vec<(&str, Span)> = Vec::new();
    for (own, at, text) in found {
        if let Some((_, first)) = said.iter().find(|(known, _)| *known == own) {
            let message = format!("`{}` is limited twice", shown(&at.name));
            map.diagnostics
                .push(Diagnostic::error("duplicate", at.span, message).related(first.clone(), "first here").hint("remove one of them"));
            continue;
        }
        said.push((own, at.span.clone()));
        let value = match own {
            "memory" => bytes(&text.value).map(Toml::Integer),
            "cpus" => text.value.parse().ok().filter(|cpus: &f64| cpus.is_finite()).map(Toml::Float),
            _ => text.value.parse().ok().map(Toml::Integer),
        };
        match value {
            Some(value) => out.put(own, &at, value, &text.span),
            None => {
                let message = format!("`{}` can't be \"{}\"", shown(&at.name), shown(&text.value));
                map.diagnostics.push(
                    Diagnostic::error("bad-size", text.span, message).hint("such as 512m or 1.5g of memory, 0.5 cpus, 100 processes"),
                );
            }
        }
    }
}

/// `512m`, `1.5gb`: units are powers of 1024.
fn bytes(text: &str) -> Option<i64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let unit: i64 = match text[digits..].trim() {
        "" | "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        _ => return None,
    };
    let bytes = text[..digits].parse::<f64>().ok()? * unit as f64;
    // as whole numbers, floats are exact up to here
    (bytes < (1_u64 << 53) as f64).then_some(bytes as i64)
}

fn mounts(map: &mut Map<'_, '_>, place: &Place<'_>, out: &mut Out) {
    let (volumes, tmpfs) = (map.take("volumes"), map.take("tmpfs"));
    let mut found = Mounts::default();
    if let Some((at, node)) = volumes {
        let whose = mount::Place { service: &place.key.name, folder: place.folder, volumes: place.volumes };
        found = mount::read(node, &map.path("volumes"), &whose, map.diagnostics);
        if !found.mounts.is_empty() {
            out.put("mounts", at, Toml::Array(std::mem::take(&mut found.mounts)), &node.span);
        }
    }
    if let Some((_, node)) = tmpfs {
        found.tmpfs.extend(mount::tmpfs(node, &map.path("tmpfs"), map.diagnostics));
    }
    if let Some((at, node)) = tmpfs.or(volumes).filter(|_| !found.tmpfs.is_empty()) {
        out.put("tmpfs", at, Toml::Array(found.tmpfs), &node.span);
    }
}

fn ports(map: &mut Map<'_, '_>, place: &Place<'_>, out: &mut Out) -> Vec<Spanned<u16>> {
    let (published, exposed) = (map.take("ports"), map.take("expose"));
    let mut found =
        published.map(|(_, node)| port::published(node, &map.path("ports"), &place.key.name, map.diagnostics)).unwrap_or_default();
    found.extend(exposed.map(|(_, node)| port::exposed(node, &map.path("expose"), map.diagnostics)).unwrap_or_default());
    let mut each: Vec<Spanned<u16>> = Vec::with_capacity(found.len());
    for port in found {
        if !each.iter().any(|known| known.value == port.value) {
            each.push(port);
        }
    }
    if let Some((at, node)) = published.or(exposed).filter(|_| !each.is_empty()) {
        let items = each.iter().map(|port| Node { value: Toml::Integer(i64::from(port.value)), span: port.span.clone() }).collect();
        out.put("ports", at, Toml::Array(items), &node.span);
    }
    each
}

fn networks(map: &mut Map<'_, '_>, place: &Place<'_>) -> Networks {
    let Some((at, node)) = map.take("networks") else { return Networks { names: vec!["default".to_owned()], span: None } };
    let path = map.path("networks");
    let mut names: Vec<String> = match &node.value {
        Value::Map(entries) => entries
            .iter()
            .map(|(key, node)| {
                if let Some(mut own) = Map::new(node, format!("{path}.{}", shown(&key.name)), map.diagnostics) {
                    let aliases = own.take("aliases");
                    for alias in aliases.map(|(_, node)| scalars(node, &path, own.diagnostics)).unwrap_or_default() {
                        if alias.value != place.key.name {
                            let message = format!("`{}` leads nowhere: a service is reached by its own name", shown(&alias.value));
                            own.diagnostics.push(refuse(
                                &alias.span,
                                message,
                                format!("use `{}`, or rename the service", shown(&place.key.name)),
                            ));
                        }
                    }
                    own.finish();
                }
                key.name.clone()
            })
            .collect(),
        _ => scalars(node, &path, map.diagnostics).into_iter().map(|name| name.value).collect(),
    };
    names.sort_unstable();
    names.dedup();
    Networks { names, span: Some(at.span.clone()) }
}

/// Containers of a stage run on the runner's own machine, so that is what an image has to be for.
fn platform(map: &mut Map<'_, '_>) {
    let machine = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    if let Some((_, wanted)) = map.text("platform").filter(|(_, wanted)| wanted.value != format!("linux/{machine}")) {
        let message = format!("`{}` is \"{}\", and nothing is emulated", map.path("platform"), shown(&wanted.value));
        map.diagnostics.push(refuse(
            &wanted.span,
            message,
            format!("this machine is linux/{machine}: remove it, or use an image for both"),
        ));
    }
}

fn harmless(map: &mut Map<'_, '_>, notes: &mut Notes) {
    for (name, _) in WITHOUT_EFFECT {
        let Some((at, node)) = map.take(name) else { continue };
        let silent = match (name, &node.value) {
            ("restart", Value::Scalar { text, .. }) => {
                let known =
                    matches!(text.as_str(), "no" | "always" | "unless-stopped") || text == "on-failure" || text.starts_with("on-failure:");
                if !known {
                    let message = format!("`{}` can't be \"{}\"", map.path(name), shown(text));
                    map.diagnostics.push(
                        Diagnostic::error("unknown-word", node.span.clone(), message)
                            .hint("one of \"no\", always, on-failure, unless-stopped"),
                    );
                }
                text == "no" || !known
            }
            _ => false,
        };
        if !silent && !notes.0.iter().any(|(known, _)| *known == name) {
            notes.0.push((name, at.span.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_in_powers_of_1024() {
        for (text, wanted) in [("512m", 512 << 20), ("1.5g", 3 << 29), ("64KB", 64 << 10), ("100", 100), ("1gb", 1 << 30), ("5b", 5)] {
            assert_eq!(bytes(text), Some(wanted), "{text}");
        }
        for text in ["", "m", "1t", "1.2.3m", "-1", "9e99", "99999999999g"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }
}
