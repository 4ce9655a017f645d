//! `[service.<name>]`: what runs beside a stage.

use std::time::Duration;

use crate::diagnostic::Diagnostic;
use crate::model::{env, shown, unique};
use crate::node::{Key, Node, Spanned, TableReader, Value, wrong_type};
use crate::plan::{Probe, Ready, ServiceSource};

#[derive(Debug, Clone)]
pub struct Service {
    pub name: Key,
    /// `None` if it is missing or wrong, which was reported.
    pub source: Option<ServiceSource>,
    /// Values are scalars, not yet interpolated.
    pub env: Vec<(Key, Node)>,
    pub toolchains: Vec<String>,
    pub network: Vec<String>,
    pub ready: Option<Ready>,
    pub needs: Vec<Spanned<String>>,
    pub optional: bool,
}

const READY: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(200);

impl Service {
    pub(super) fn read(key: &Key, node: &Node, diagnostics: &mut Vec<Diagnostic>) -> Option<Service> {
        let what = format!("[service.{}]", shown(&key.name));
        let mut reader = TableReader::new(node, what.clone(), diagnostics)?;
        let (image, command) = (reader.take("image").is_some(), reader.take("command").is_some());
        let source = match (image, command) {
            (true, false) => reader.string("image").map(|image| ServiceSource::Image(image.value)),
            (false, true) => program(&mut reader, "command").map(ServiceSource::Command),
            (both, _) => {
                let (code, message) = if both {
                    ("contradiction", format!("{what} is a container or a program, not both"))
                } else {
                    ("missing-key", format!("{what} has neither `image` nor `command`"))
                };
                reader.diagnostics.push(
                    Diagnostic::error(code, key.span.clone(), message)
                        .hint("write `command = [\"redis-server\"]` for a program, or `image = \"redis:7\"` for a container"),
                );
                None
            }
        };
        let env = env(&mut reader);
        let toolchains = match reader.take("toolchain").map(|node| &node.value) {
            Some(Value::String(_)) => reader.string("toolchain").into_iter().map(|one| one.value).collect(),
            Some(_) => reader.strings("toolchain").unwrap_or_default().into_iter().map(|one| one.value).collect(),
            None => Vec::new(),
        };
        let network = reader.strings("network").unwrap_or_default().into_iter().map(|host| host.value).collect();
        let ready = reader.take("ready").and_then(|node| ready(node, &key.name, reader.diagnostics));
        let needs = unique(reader.strings("needs").unwrap_or_default(), "`needs`", reader.diagnostics);
        let optional = reader.boolean("optional").is_some_and(|flag| flag.value);
        reader.finish();
        Some(Service { name: key.clone(), source, env, toolchains, network, ready, needs, optional })
    }
}

/// A program and its arguments.
fn program(reader: &mut TableReader<'_>, key: &'static str) -> Option<Vec<String>> {
    let span = reader.take(key)?.span.clone();
    let words: Vec<String> = reader.strings(key)?.into_iter().map(|word| word.value).collect();
    let good =
        words.first().is_some_and(|program| !program.is_empty()) && words.iter().all(|word| !word.contains('\0') && !word.contains("${"));
    if !good {
        let message = format!("`{key}` is a program and its arguments, as they are");
        reader.diagnostics.push(
            Diagnostic::error("bad-value", span, message)
                .hint(format!("write `{key} = [\"redis-server\", \"--port\", \"6379\"]`; values that change go into `env`")),
        );
    }
    good.then_some(words)
}

fn ready(node: &Node, service: &str, diagnostics: &mut Vec<Diagnostic>) -> Option<Ready> {
    const HINT: &str = "one of: command = [\"pg_isready\"], tcp = 5432, http = \"http://db:8080/health\", log = \"ready\"";
    let mut reader = TableReader::new(node, format!("[service.{}] ready", shown(service)), diagnostics)?;
    let mut probes = Vec::new();
    if reader.take("command").is_some() {
        probes.extend(program(&mut reader, "command").map(Probe::Command));
    }
    if let Some(port) = reader.integer("tcp", 1..=65_535) {
        probes.extend(u16::try_from(port.value).ok().map(Probe::Tcp));
    }
    if let Some(url) = reader.string("http") {
        let own = url.value.strip_prefix("http://").and_then(|rest| rest.strip_prefix(service));
        if own.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/'])) {
            probes.push(Probe::Http(url.value));
        } else {
            let message = "a service is asked under its own name";
            let hint = format!("write \"http://{}:8080/health\"", shown(service));
            reader.diagnostics.push(Diagnostic::error("bad-value", url.span, message).hint(hint));
        }
    }
    if let Some(text) = reader.string("log") {
        if text.value.is_empty() {
            reader.diagnostics.push(
                Diagnostic::error("bad-value", text.span, "every line holds nothing")
                    .hint("write a text of the line that says that it is ready"),
            );
        } else {
            probes.push(Probe::Log(text.value));
        }
    }
    let timeout = super::positive_duration(&mut reader, "timeout").unwrap_or(READY);
    let interval = super::positive_duration(&mut reader, "interval").unwrap_or(INTERVAL);
    let before = reader.diagnostics.iter().filter(|d| d.span.as_ref().is_some_and(|span| within(span, &node.span))).count();
    reader.finish();
    let mut probes = probes.into_iter();
    match (probes.next(), probes.next()) {
        (Some(probe), None) => Some(Ready { probe, timeout, interval }),
        (None, None) if before > 0 => None,
        (found, _) => {
            let message = if found.is_some() { "a service has one health gate" } else { "`ready` says nothing to look at" };
            diagnostics.push(Diagnostic::error("contradiction", node.span.clone(), message).hint(HINT));
            None
        }
    }
}

fn within(inner: &std::ops::Range<usize>, outer: &std::ops::Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// `services = ["mysql"]` in a stage is a list of names; anything else is told of here.
pub(super) fn names(reader: &mut TableReader<'_>, key: &'static str) -> Vec<Spanned<String>> {
    match reader.take(key) {
        Some(node) if !matches!(node.value, Value::Array(_)) => {
            reader.diagnostics.push(wrong_type(&node.span, &format!("`{key}`"), "an array of names", &node.value));
            Vec::new()
        }
        _ => unique(reader.strings(key).unwrap_or_default(), &format!("`{key}`"), reader.diagnostics),
    }
}
