//! The hosts that a grant lists for programs without a network: how the list is written, how programs find the proxy that holds them to it, and what is told of
//! their connections. One for every capability whose programs have no other way out.
//!
//! Deliberately absent: the proxy itself (`egress`), and listening for those who ask.

use std::net::Ipv4Addr;

use egress::{AllowList, Contact, Entry, Host, Outcome, Reach, Refusal};
use event::Kind;
use pipeline::diagnostic::Diagnostic;
use pipeline::grant::Authority;
use pipeline::node::{Node, Spanned, TableReader, Value, wrong_type};

use crate::Boundary;
use crate::denial::toml_string;

/// Where the proxy is in every jail and pod: the port that proxies are customarily at. Always the same, so that what programs see is, too.
pub const PORT: u16 = 3128;
/// Reads `network`.
pub fn decode(node: &Node, diagnostics: &mut Vec<Diagnostic>) -> AllowList {
    let Value::Array(items) = &node.value else {
        let hint = "write `network = [\"registry.example:443\"]`";
        diagnostics.push(wrong_type(&node.span, "`network`", "an array of hosts", &node.value).hint(hint));
        return AllowList::default();
    };
    decode_list(items, diagnostics)
}

/// The entries of a list.
pub fn decode_list(items: &[Node], diagnostics: &mut Vec<Diagnostic>) -> AllowList {
    AllowList(items.iter().filter_map(|item| decode_entry(item, diagnostics)).collect())
}

fn decode_entry(item: &Node, diagnostics: &mut Vec<Diagnostic>) -> Option<Entry> {
    let (host, private) = match &item.value {
        Value::String(host) => (Spanned { value: host.clone(), span: item.span.clone() }, false),
        Value::Table(_) => {
            let mut reader = TableReader::new(item, "an entry of `network`", diagnostics)?;
            let host = reader.require("host").and_then(|node| reader.expect_string(node, "host"));
            let private = reader.boolean("private").is_some_and(|private| private.value);
            reader.finish();
            (host?, private)
        }
        other => {
            diagnostics.push(
                wrong_type(&item.span, "an entry of `network`", "a host and a port", other)
                    .hint("write \"registry.example:443\", or { host = \"registry.example:443\", private = true }"),
            );
            return None;
        }
    };
    match Entry::parse(&host.value) {
        Ok(mut entry) => {
            entry.private = private;
            Some(entry)
        }
        Err(error) => {
            diagnostics.push(Diagnostic::error("bad-host", host.span, error.message).hint(error.hint));
            None
        }
    }
}

/// An entry as it would stand in a pipeline file.
pub fn written(entry: &Entry) -> String {
    let host = toml_string(&entry.to_string());
    if entry.private { format!("{{ host = {host}, private = true }}") } else { host }
}

/// An entry as `plan` shows it.
pub fn authority(entry: &Entry) -> Authority {
    let opens = entry.opens();
    let more = opens.map(|what| format!(" ({what})")).unwrap_or_default();
    Authority { text: format!("  connect to {entry}{more}"), alarming: opens.is_some() || entry.is_sweeping() }
}

/// Whether a recorded connection needed the entry.
pub fn fits(entry: &Entry, subject: &str) -> bool {
    let place = subject.rsplit_once(':').and_then(|(host, port)| Some((Host::parse(host).ok()??, port.parse().ok()?)));
    // what can't be read may have been any of them
    place.is_none_or(|(host, port)| entry.fits(&host, port))
}

/// The variables that hold what is reached directly.
const DIRECT: [&str; 3] = ["NO_PROXY", "no_proxy", "npm_config_noproxy"];

/// The variables by which programs find the proxy, and the ones by which toolchains without a network say so at once.
fn variables(allow: &AllowList) -> Vec<(&'static str, String)> {
    let proxy = format!("http://{}:{PORT}", Ipv4Addr::LOCALHOST);
    // a stage's own servers are reached directly; where this machine's are granted by one of these names, that name means them
    let mut direct = vec!["localhost", "127.0.0.1", "::1", ".stage"];
    for host in allow.0.iter().filter_map(Entry::names_this_machine) {
        direct.retain(|name| match host.address() {
            Some(address) => *name != address.to_string(),
            None => *name != "localhost",
        });
    }
    let direct = direct.join(",");
    vec![
        ("HTTP_PROXY", proxy.clone()),
        ("HTTPS_PROXY", proxy.clone()),
        ("http_proxy", proxy.clone()),
        ("https_proxy", proxy.clone()),
        ("NO_PROXY", direct.clone()),
        ("no_proxy", direct.clone()),
        ("npm_config_proxy", proxy.clone()),
        ("npm_config_https_proxy", proxy.clone()),
        ("npm_config_noproxy", direct),
        ("npm_config_offline", "false".to_owned()),
        ("NODE_USE_ENV_PROXY", "1".to_owned()),
        ("CARGO_HTTP_PROXY", proxy.clone()),
        ("CARGO_NET_OFFLINE", "false".to_owned()),
        ("PIP_PROXY", proxy),
    ]
}

/// Whether the host sets a variable where there is a network. npm reads its own in any case of letters.
pub fn sets(name: &str) -> bool {
    variables(&AllowList::default()).iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
}

/// The variables of a program besides its own; over them, because they come last. None where nothing is granted.
/// `services` are the stage's own, like what is called `.stage`.
pub fn environment(allow: &AllowList, services: &[String]) -> Vec<(String, String)> {
    if allow.0.is_empty() {
        return Vec::new();
    }
    let mut variables = variables(allow);
    for (_, direct) in variables.iter_mut().filter(|(name, _)| DIRECT.contains(name)) {
        services.iter().for_each(|service| *direct += &format!(",{service}"));
    }
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Tells of a connection that has ended, or was refused, and of whoever asked for it. A refusal is handed back: it is a denial besides.
pub fn tell(boundary: &Boundary, command: Option<u32>, contact: Contact) -> Option<(Host, u16, Refusal)> {
    let Contact { host, port, outcome, bytes_in, bytes_out, took } = contact;
    let (allowed, reason) = match &outcome {
        Outcome::Reached => (true, None),
        Outcome::Failed(why) => (true, Some(why.clone())),
        Outcome::Refused(refusal) => (false, Some(refusal.to_string())),
    };
    boundary.emit(Kind::Connection {
        stage: boundary.stage().clone(),
        command,
        host: host.to_string(),
        port,
        allowed,
        reason,
        bytes_in,
        bytes_out,
        nanos: u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
    });
    match outcome {
        Outcome::Refused(refusal) => Some((host, port, refusal)),
        _ => None,
    }
}

/// The list as it would have to be for what was refused; none if no list opens that.
pub fn wider(allow: &AllowList, host: &Host, port: u16, refusal: &Refusal) -> Option<AllowList> {
    let mut entries = allow.0.clone();
    match refusal {
        Refusal::NotGranted => entries.push(Entry::exact(host.clone(), port)),
        Refusal::Address(address) if !matches!(egress::reach(*address), Reach::Never(_)) => {
            entries.iter_mut().find(|entry| entry.fits(host, port))?.private = true;
        }
        _ => return None,
    }
    Some(AllowList(entries))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(entries: &[&str]) -> AllowList {
        AllowList(entries.iter().map(|entry| Entry::parse(entry).unwrap()).collect())
    }

    #[test]
    fn services_are_reached_directly() {
        let environment = environment(&granted(&["registry.example:443"]), &["redis".to_owned()]);
        assert_eq!(environment.iter().filter(|(_, value)| value.ends_with(",redis")).count(), DIRECT.len());
    }

    #[test]
    fn a_name_of_this_machine_that_is_granted_goes_through_the_proxy() {
        let direct = |entries: &[&str]| variables(&granted(entries)).into_iter().find(|(name, _)| *name == "NO_PROXY").unwrap().1;
        assert_eq!(direct(&["registry.example:443"]), "localhost,127.0.0.1,::1,.stage");
        assert_eq!(direct(&["localhost:4873"]), "127.0.0.1,::1,.stage");
        assert_eq!(direct(&["npm.localhost:4873"]), "127.0.0.1,::1,.stage");
        assert_eq!(direct(&["127.0.0.1:4873", "[::1]:4873"]), "localhost,.stage");
    }
}
