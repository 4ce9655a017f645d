//! What a service with `image` says of its container.

use super::{program, words};
use crate::ceilings::Ceilings;
use crate::diagnostic::Diagnostic;
use crate::model::shown;
use crate::node::{Node, Spanned, TableReader, Value, wrong_type};
use crate::plan::{ImageService, MountSource, ServiceMount};

pub(super) fn read(image: &Spanned<String>, reader: &mut TableReader<'_>) -> Option<ImageService> {
    if image.value.is_empty() || image.value.contains(char::is_whitespace) {
        let message = "`image` is an image's name";
        let hint = "write \"mysql:8.0\", or one with its digest";
        reader.diagnostics.push(Diagnostic::error("bad-value", image.span.clone(), message).hint(hint));
        return None;
    }
    let entrypoint = reader.take("entrypoint").is_some().then(|| program(reader, "entrypoint"));
    let arguments = words(reader, "arguments");
    let ports = ports(reader);
    let tmpfs: Vec<String> = reader.strings("tmpfs").unwrap_or_default().into_iter().filter_map(|to| inside(to, reader)).collect();
    let mounts = mounts(reader);
    let user = word(
        reader,
        "user",
        |text| text.chars().all(|c| c.is_ascii_alphanumeric() || "._-:".contains(c)),
        "\"999\" or \"postgres:postgres\"",
    );
    let directory = reader.string("directory").and_then(|directory| inside(directory, reader));
    let read_only = reader.boolean("read-only").is_some_and(|flag| flag.value);
    let init = reader.boolean("init").is_some_and(|flag| flag.value);
    let stop_signal =
        word(reader, "stop-signal", |text| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '+' || c == '-'), "\"SIGINT\"");
    let ceilings = Ceilings::read(reader);
    let entrypoint = match entrypoint {
        Some(None) => return None,
        Some(found) => found,
        None => None,
    };
    Some(ImageService {
        image: image.value.clone(),
        entrypoint,
        arguments,
        ports,
        tmpfs,
        mounts,
        user,
        directory,
        read_only,
        init,
        stop_signal,
        ceilings,
    })
}

/// Names that a shell can't spell are fine: programs read them.
pub(super) fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c == '=' || c.is_whitespace() || c.is_control())
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

/// An absolute path in the container.
fn inside(path: Spanned<String>, reader: &mut TableReader<'_>) -> Option<String> {
    let mut parts = path.value.split('/').skip(1);
    if !path.value.starts_with('/') || path.value.contains(['\0', '$']) || parts.any(|part| part.is_empty() || part == "." || part == "..")
    {
        let message = format!("`{}` is no path in the container", shown(&path.value));
        reader.diagnostics.push(Diagnostic::error("bad-value", path.span, message).hint("such as \"/var/lib/mysql\""));
        return None;
    }
    Some(path.value)
}

fn word(reader: &mut TableReader<'_>, key: &'static str, fits: impl Fn(&str) -> bool, such: &str) -> Option<String> {
    let text = reader.string(key)?;
    if text.value.is_empty() || !fits(&text.value) {
        let message = format!("`{key}` can't be \"{}\"", shown(&text.value));
        reader.diagnostics.push(Diagnostic::error("bad-value", text.span, message).hint(format!("such as {such}")));
        return None;
    }
    Some(text.value)
}

const MOUNTS: &str =
    "mounts = [{ volume = \"data\", to = \"/var/lib/mysql\" }, { path = \"db/init.sql\", to = \"/docker-entrypoint-initdb.d/init.sql\" }]";

fn mounts(reader: &mut TableReader<'_>) -> Vec<ServiceMount> {
    let Some(node) = reader.take("mounts") else { return Vec::new() };
    let Value::Array(items) = &node.value else {
        reader.diagnostics.push(wrong_type(&node.span, "`mounts`", "an array of tables", &node.value).hint(MOUNTS));
        return Vec::new();
    };
    items.iter().filter_map(|item| mount(item, reader.diagnostics)).collect()
}

fn mount(node: &Node, diagnostics: &mut Vec<Diagnostic>) -> Option<ServiceMount> {
    let mut reader = TableReader::new(node, "an entry of `mounts`", diagnostics)?;
    reader.require("to");
    let to = reader.string("to").and_then(|to| inside(to, &mut reader));
    let volume = word(&mut reader, "volume", |text| text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)), "\"data\"");
    let path = reader.string("path").and_then(|path| of_checkout(path, &mut reader));
    let read_only = reader.boolean("read-only");
    let named = (reader.key("volume").is_some(), reader.key("path").is_some());
    match (named, &read_only) {
        ((true, true) | (false, false), _) => {
            let message = "a mount is of a volume or of a path of the checkout";
            reader.diagnostics.push(Diagnostic::error("contradiction", node.span.clone(), message).hint(MOUNTS));
        }
        ((_, true), Some(flag)) if !flag.value => {
            let message = "a path of the checkout is read-only to services";
            let hint = "remove `read-only`, or use a volume";
            reader.diagnostics.push(Diagnostic::error("contradiction", flag.span.clone(), message).hint(hint));
        }
        _ => {}
    }
    reader.finish();
    let from = match (volume, path) {
        (Some(name), None) => MountSource::Volume { name, writable: !read_only.is_some_and(|flag| flag.value) },
        (None, Some(path)) => MountSource::Checkout(path),
        _ => return None,
    };
    Some(ServiceMount { from, to: to? })
}

/// A path below the pipeline file's folder, with neither `.` nor `..` in it. What is the runner's and git's own is nobody's to see.
fn of_checkout(path: Spanned<String>, reader: &mut TableReader<'_>) -> Option<String> {
    let parts: Vec<&str> = path.value.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let good = !path.value.starts_with(['/', '~'])
        && !path.value.contains(['\0', '\\', '$'])
        && !parts.contains(&"..")
        && parts.first().is_some_and(|first| !matches!(*first, ".git" | ".runner"));
    if !good {
        let message = format!("`{}` is no file or folder below the pipeline file's", shown(&path.value));
        let hint = "write a path with `/`, such as \"db/init.sql\"; the whole checkout, `.git` and `.runner` can't be mounted";
        reader.diagnostics.push(Diagnostic::error("bad-path", path.span, message).hint(hint));
        return None;
    }
    Some(parts.join("/"))
}
