//! `ports` and `expose`: the ports of a container that confined programs reach. None of them is opened on this machine.

use crate::diagnostic::{Diagnostic, Span};
use crate::model::shown;
use crate::node::Spanned;

use super::reader::{Map, items, refuse, scalar};
use super::yaml::{Value, Yaml};

/// More are taken for a mistake.
const MOST: usize = 256;

/// `service`: its name, for what stands where a port of this machine does.
pub(super) fn published(node: &Yaml, what: &str, service: &str, diagnostics: &mut Vec<Diagnostic>) -> Vec<Spanned<u16>> {
    let mut found = Vec::new();
    for item in items(node, what, diagnostics) {
        let read = match &item.value {
            Value::Map(_) => long(item, what, diagnostics),
            _ => scalar(item, what, diagnostics).map(|text| {
                let (text, protocol) = match text.value.rsplit_once('/') {
                    Some((text, protocol)) => (text.to_owned(), protocol.to_owned()),
                    None => (text.value, "tcp".to_owned()),
                };
                let (host, container) = match text.rsplit_once(':') {
                    // before the port of this machine, an address of it may stand
                    Some((host, container)) => (host.rsplit(':').next().unwrap_or_default().to_owned(), container.to_owned()),
                    None => (String::new(), text),
                };
                Port { host, container, protocol }
            }),
        };
        let Some(port) = read else { continue };
        if !port.host.is_empty() && port.host != port.container {
            let message = format!("no port of this machine is opened, so `{}` leads nowhere", shown(&port.host));
            let hint = format!(
                "the service is reached as `{}:{}`: write \"{}\" alone",
                shown(service),
                shown(&port.container),
                shown(&port.container)
            );
            diagnostics.push(refuse(&item.span, message, hint));
            continue;
        }
        found.extend(port.of_container(&item.span, diagnostics));
    }
    found
}

pub(super) fn exposed(node: &Yaml, what: &str, diagnostics: &mut Vec<Diagnostic>) -> Vec<Spanned<u16>> {
    let mut found = Vec::new();
    for item in items(node, what, diagnostics) {
        let Some(text) = scalar(item, what, diagnostics) else { continue };
        let (container, protocol) = text.value.split_once('/').unwrap_or((&text.value, "tcp"));
        let port = Port { host: String::new(), container: container.to_owned(), protocol: protocol.to_owned() };
        found.extend(port.of_container(&item.span, diagnostics));
    }
    found
}

struct Port {
    host: String,
    container: String,
    protocol: String,
}

fn long(node: &Yaml, what: &str, diagnostics: &mut Vec<Diagnostic>) -> Option<Port> {
    let mut map = Map::new(node, format!("{what}[]"), diagnostics)?;
    let text = |map: &mut Map<'_, '_>, name| map.text(name).map(|(_, text)| text.value).unwrap_or_default();
    let (host, protocol) = (text(&mut map, "published"), text(&mut map, "protocol"));
    // where and how a port of this machine would be opened, and what for
    for name in ["host_ip", "name", "app_protocol", "mode"] {
        map.text(name);
    }
    let container = map.text("target").map(|(_, text)| text.value);
    if container.is_none() {
        let message = format!("`{what}[]` has no `target`");
        map.diagnostics.push(Diagnostic::error("missing-key", node.span.clone(), message).hint("add `target: 8080`"));
    }
    map.finish();
    Some(Port { host, container: container?, protocol: if protocol.is_empty() { "tcp".to_owned() } else { protocol } })
}

impl Port {
    fn of_container(&self, span: &Span, diagnostics: &mut Vec<Diagnostic>) -> Vec<Spanned<u16>> {
        if self.protocol != "tcp" {
            let message = format!("a port of `{}` can't be reached: services are reached over TCP", shown(&self.protocol));
            diagnostics.push(refuse(span, message, "remove it; containers reach each other's other ports over their loopback"));
            return Vec::new();
        }
        let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        let range = match self.container.split_once('-') {
            None => number(&self.container).map(|port| port..=port),
            Some((first, last)) => number(first).zip(number(last)).map(|(first, last)| first..=last),
        };
        match range.filter(|range| (1..=MOST).contains(&range.len())) {
            Some(range) => range.map(|value| Spanned { value, span: span.clone() }).collect(),
            None => {
                let message = format!("`{}` is no port", shown(&self.container));
                diagnostics.push(
                    Diagnostic::error("out-of-range", span.clone(), message).hint("a number from 1 to 65535, or a short range of them"),
                );
                Vec::new()
            }
        }
    }
}
