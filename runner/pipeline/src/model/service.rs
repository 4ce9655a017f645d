//! `[service.<name>]`: what runs beside a stage. One that names a compose file is not met here: those of that file stand in its place
//! (`compose_file`).

mod container;

use std::time::Duration;

use crate::diagnostic::Diagnostic;
use crate::model::{env, is_env_name, shown, unique};
use crate::node::{Key, Node, Spanned, TableReader, Value, wrong_type};
use crate::plan::{Probe, Ready, ServiceSource};

#[derive(Debug, Clone)]
pub struct Service {
    pub name: Key,
    /// `None` if it is missing or wrong, which was reported.
    pub source: Option<ServiceSource>,
    /// The image as it is written, not yet interpolated.
    pub image: Option<Spanned<String>>,
    /// Values are scalars, not yet interpolated.
    pub env: Vec<(Key, Node)>,
    pub toolchains: Vec<String>,
    pub network: Vec<String>,
    pub ready: Option<Ready>,
    pub needs: Vec<Spanned<String>>,
    pub optional: bool,
    pub grace: Duration,
}

/// Keys that say something of containers alone, and of programs alone.
const OF_CONTAINERS: &[&str] = &[
    "entrypoint",
    "arguments",
    "ports",
    "tmpfs",
    "mounts",
    "user",
    "directory",
    "read-only",
    "init",
    "stop-signal",
    "memory",
    "cpus",
    "pids",
];
const OF_PROGRAMS: &[&str] = &["toolchain", "network"];

const READY: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(200);
/// A try that hangs is given up, so that the next can be made.
const TRY: Duration = Duration::from_secs(5);
const GRACE: Duration = Duration::from_secs(10);

impl Service {
    pub(super) fn read(key: &Key, node: &Node, diagnostics: &mut Vec<Diagnostic>) -> Option<Service> {
        let what = format!("[service.{}]", shown(&key.name));
        let mut reader = TableReader::new(node, what.clone(), diagnostics)?;
        let (contained, command) = (reader.take("image").is_some(), reader.take("command").is_some());
        let image = if contained { reader.string("image") } else { None };
        let source = match (contained, command) {
            (true, false) => image.as_ref().and_then(|image| container::read(image, &mut reader)).map(ServiceSource::Image),
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
        let of_other = match &source {
            Some(ServiceSource::Image(_)) => OF_PROGRAMS,
            Some(ServiceSource::Command(_)) => OF_CONTAINERS,
            None => &[],
        };
        for name in of_other {
            if let Some(span) = reader.refused(name) {
                let (is, other) = if of_other == OF_PROGRAMS { ("a container", "programs") } else { ("a program", "containers") };
                let message = format!("{what} is {is}, and `{name}` is for {other}");
                reader.diagnostics.push(Diagnostic::error("contradiction", span, message).hint(format!("remove `{name}`")));
            }
        }
        // what reads a container's variables may be more than a shell: `discovery.type`
        let of_container = matches!(source, Some(ServiceSource::Image(_)));
        let env = env(&mut reader, if of_container { container::is_variable } else { is_env_name });
        let toolchains = match reader.take("toolchain").map(|node| &node.value) {
            Some(Value::String(_)) => reader.string("toolchain").into_iter().map(|one| one.value).collect(),
            Some(_) => reader.strings("toolchain").unwrap_or_default().into_iter().map(|one| one.value).collect(),
            None => Vec::new(),
        };
        let network = reader.strings("network").unwrap_or_default().into_iter().map(|host| host.value).collect();
        let ready = reader.take("ready").and_then(|node| ready(node, &key.name, reader.diagnostics));
        let needs = unique(reader.strings("needs").unwrap_or_default(), "`needs`", reader.diagnostics);
        let optional = reader.boolean("optional").is_some_and(|flag| flag.value);
        let grace = reader.duration("grace").map_or(GRACE, |grace| grace.value);
        reader.finish();
        Some(Service { name: key.clone(), source, image, env, toolchains, network, ready, needs, optional, grace })
    }
}

/// A program and its arguments.
fn program(reader: &mut TableReader<'_>, key: &'static str) -> Option<Vec<String>> {
    let span = reader.take(key)?.span.clone();
    let found = words(reader, key)?;
    if found.first().is_none_or(String::is_empty) {
        let message = format!("`{key}` is a program and its arguments, as they are");
        let hint = format!("write `{key} = [\"redis-server\", \"--port\", \"6379\"]`");
        reader.diagnostics.push(Diagnostic::error("bad-value", span, message).hint(hint));
        return None;
    }
    Some(found)
}

/// Words of a command line, which no reference can change; `$${` is the text `${`, as anywhere.
fn words(reader: &mut TableReader<'_>, key: &'static str) -> Option<Vec<String>> {
    let mut found = Vec::new();
    for word in reader.strings(key)? {
        if word.value.contains('\0') || word.value.replace("$${", "").contains("${") {
            let message = format!("`{key}` is a program and its arguments, as they are");
            let hint =
                format!("values that change go into `env`; `$${{` is the text `${{`: `{key} = [\"sh\", \"-c\", \"echo $${{HOME}}\"]`");
            reader.diagnostics.push(Diagnostic::error("bad-value", word.span, message).hint(hint));
            return None;
        }
        found.push(word.value.replace("$${", "${"));
    }
    Some(found)
}

fn ready(node: &Node, service: &str, diagnostics: &mut Vec<Diagnostic>) -> Option<Ready> {
    const HINT: &str = "one of: command = [\"pg_isready\"], tcp = 5432, http = \"http://db:8080/health\", log = \"ready\", exit = 0";
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
    if let Some(code) = reader.integer("exit", 0..=255) {
        probes.extend(u8::try_from(code.value).ok().map(Probe::Exit));
    }
    let timeout = super::positive_duration(&mut reader, "timeout").unwrap_or(READY);
    let interval = super::positive_duration(&mut reader, "interval").unwrap_or(INTERVAL);
    let try_timeout = super::positive_duration(&mut reader, "try-timeout").unwrap_or(TRY);
    let before = reader.diagnostics.iter().filter(|d| d.span.as_ref().is_some_and(|span| within(span, &node.span))).count();
    reader.finish();
    let mut probes = probes.into_iter();
    match (probes.next(), probes.next()) {
        (Some(probe), None) => Some(Ready { probe, timeout, interval, try_timeout }),
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
