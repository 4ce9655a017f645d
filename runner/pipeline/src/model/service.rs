//! `[service.<name>]`: what runs beside a stage.

use std::time::Duration;

use crate::ceilings::Ceilings;
use crate::diagnostic::Diagnostic;
use crate::model::{env, shown, unique};
use crate::node::{Key, Node, Spanned, TableReader, Value, wrong_type};
use crate::plan::{ImageService, Probe, Ready, ServiceSource};

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
}

/// Keys that say something of containers alone, and of programs alone.
const OF_CONTAINERS: &[&str] = &["entrypoint", "arguments", "ports", "tmpfs", "memory", "cpus", "pids"];
const OF_PROGRAMS: &[&str] = &["toolchain", "network"];

const READY: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(200);

impl Service {
    pub(super) fn read(key: &Key, node: &Node, diagnostics: &mut Vec<Diagnostic>) -> Option<Service> {
        let what = format!("[service.{}]", shown(&key.name));
        let mut reader = TableReader::new(node, what.clone(), diagnostics)?;
        let (contained, command) = (reader.take("image").is_some(), reader.take("command").is_some());
        let image = if contained { reader.string("image") } else { None };
        let source = match (contained, command) {
            (true, false) => image.as_ref().and_then(|image| container(image, &mut reader)).map(ServiceSource::Image),
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
        Some(Service { name: key.clone(), source, image, env, toolchains, network, ready, needs, optional })
    }
}

fn container(image: &Spanned<String>, reader: &mut TableReader<'_>) -> Option<ImageService> {
    if image.value.is_empty() || image.value.contains(char::is_whitespace) {
        let message = "`image` is an image's name";
        reader
            .diagnostics
            .push(Diagnostic::error("bad-value", image.span.clone(), message).hint("write \"mysql:8.0\", or one with its digest"));
        return None;
    }
    let entrypoint = reader.take("entrypoint").is_some().then(|| program(reader, "entrypoint"));
    let arguments = reader.strings("arguments").map(|words| words.into_iter().map(|word| word.value).collect());
    let ports = ports(reader);
    let mut tmpfs = Vec::new();
    for folder in reader.strings("tmpfs").unwrap_or_default() {
        let parts = || folder.value.split('/').skip(1);
        if !folder.value.starts_with('/') || parts().any(|part| part.is_empty() || part == "." || part == "..") {
            let message = "a folder in memory is a path in the container, such as \"/var/lib/mysql\"";
            reader.diagnostics.push(Diagnostic::error("bad-value", folder.span, message));
        } else {
            tmpfs.push(folder.value);
        }
    }
    let ceilings = Ceilings::read(reader);
    let entrypoint = match entrypoint {
        Some(None) => return None,
        Some(found) => found,
        None => None,
    };
    Some(ImageService { image: image.value.clone(), entrypoint, arguments, ports, tmpfs, ceilings })
}

fn ports(reader: &mut TableReader<'_>) -> Vec<u16> {
    let Some(node) = reader.take("ports") else { return Vec::new() };
    let Value::Array(items) = &node.value else {
        reader.diagnostics.push(wrong_type(&node.span, "`ports`", "an array of ports", &node.value));
        return Vec::new();
    };
    let mut ports = Vec::new();
    for item in items {
        match &item.value {
            Value::Integer(port @ 1..=65_535) => ports.extend(u16::try_from(*port).ok()),
            _ => reader.diagnostics.push(Diagnostic::error("out-of-range", item.span.clone(), "a port is a number from 1 to 65535")),
        }
    }
    ports
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
