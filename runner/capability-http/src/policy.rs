//! Whether a request may be made: first its method and URL, then the addresses that its host leads to.
//!
//! The threat is a stage that was granted one place and reaches another: through a path that means more than it says (`target`), a
//! redirect (a new crossing), a name that leads to a metadata service or a machine of the internal network, or a name that leads there only
//! the second time it is asked. So names are looked up once, here between the two halves of the decision, each address is judged by what it
//! leads to, and [`HttpPolicy::destination`] gives the backend the addresses that passed and no others. Deliberately absent: any I/O.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use capability::{Decision, Denial, Policy};
use egress::{Reach, Scope, reach};
use secret::Held;

use crate::effect::{Aim, Request, Resolve, Seen};
use crate::grant::{HttpGrant, REFUSED_METHODS, Rule, SecretRule};
use crate::pattern::UrlPattern;
use crate::secrets;
use crate::target::{Host, Target};

/// More rules than this are not repeated in a remedy.
const SHOWN_RULES: usize = 8;

/// Headers that the host sets itself, besides all that begin with `proxy-`.
const HOST_HEADERS: [&str; 9] =
    ["host", "content-length", "connection", "transfer-encoding", "upgrade", "te", "trailer", "keep-alive", "http2-settings"];

/// `name` in lower case.
pub fn is_host_header(name: &str) -> bool {
    HOST_HEADERS.contains(&name) || name.starts_with("proxy-")
}

/// The rules of one stage.
pub struct HttpPolicy {
    stage: String,
    services: Vec<String>,
    rules: Vec<Rule>,
    /// For URLs that are secret.
    hidden: Vec<SecretRule>,
    pub(crate) held: Arc<Held>,
    /// Each rule as it is written, for remedies.
    written: Vec<String>,
}

/// Where an allowed request is to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// The stage's own process of that name.
    Process { name: String, port: u16 },
    /// Each was checked. At least one.
    Addresses(Vec<SocketAddr>),
    /// The name leads nowhere, with the resolver's words.
    Unknown(String),
}

impl HttpPolicy {
    /// Without a grant, nothing is allowed.
    pub fn new(stage: &str, grant: Option<&HttpGrant>, held: Arc<Held>) -> HttpPolicy {
        let rules = grant.map(|grant| grant.rules.clone()).unwrap_or_default();
        let hidden = grant.map(|grant| grant.hidden.clone()).unwrap_or_default();
        let written = rules.iter().map(Rule::to_string).collect();
        HttpPolicy { stage: stage.to_owned(), services: Vec::new(), written, rules, hidden, held }
    }

    /// With the stage's services, which are its own also by their bare names.
    #[must_use]
    pub fn with_services(self, services: &[String]) -> HttpPolicy {
        HttpPolicy { services: services.to_vec(), ..self }
    }

    /// The name of what is the stage's own: `app` of `app.stage`, `db` of a service.
    fn own<'a>(&self, target: &'a Target) -> Option<&'a str> {
        let service = match &target.host {
            Host::Name(name) if self.services.contains(name) => Some(name.as_str()),
            _ => None,
        };
        target.host.process().or(service)
    }

    /// Where an allowed request connects: a part of what `decide` saw, never more.
    pub fn destination(&self, request: &Request, seen: &Seen) -> Destination {
        let Ok(target) = &secrets::target(request, &self.held) else { return Destination::Unknown("the URL can't be used".to_owned()) };
        if let Some(name) = self.own(target) {
            return Destination::Process { name: name.to_owned(), port: target.port };
        }
        let scope = self.scope(request, target).unwrap_or_default();
        match candidates(target, seen) {
            Candidates::Unasked => Destination::Unknown("the name has not been looked up".to_owned()),
            Candidates::Unknown(error) => Destination::Unknown(error.to_owned()),
            Candidates::Known(addresses) => {
                let admitted = addresses.iter().filter(|address| scope.admits(**address));
                let sockets: Vec<SocketAddr> = admitted.map(|address| SocketAddr::new(*address, target.port)).collect();
                if sockets.is_empty() {
                    Destination::Unknown("the name has no addresses".to_owned())
                } else {
                    Destination::Addresses(sockets)
                }
            }
        }
    }

    fn scope(&self, request: &Request, target: &Target) -> Option<Scope> {
        if let Aim::Secret { name, .. } = &request.aim {
            let rule = self.hidden.iter().find(|rule| rule.name == *name && rule.methods.contains(&request.method))?;
            let allowed = rule.to.iter().filter(|to| to.matches(target));
            let start = Scope { private: rule.private, ..Scope::default() };
            return Some(allowed.fold(start, |scope, to| Scope {
                named: scope.named || to.names_address(),
                localhost: scope.localhost || to.names_localhost(),
                ..scope
            }));
        }
        let mut scope = None;
        for rule in self.rules.iter().filter(|rule| rule.allows(&request.method, target)) {
            let scope: &mut Scope = scope.get_or_insert_default();
            scope.private |= rule.private;
            scope.named |= rule.url.names_address();
            scope.localhost |= rule.url.names_localhost();
        }
        scope
    }

    fn not_granted(&self, request: &Request, target: &Target) -> Denial {
        let method = &*request.method;
        if REFUSED_METHODS.contains(&method) {
            return Denial::new("not-granted", format!("{method} is never granted"));
        }
        if let Aim::Secret { name, .. } = &request.aim {
            let denial = Denial::new("not-granted", format!("no http rule allows {method} to the URL that the secret `{name}` holds"));
            return self.lines(denial, None, format!("{{ url = \"${{secret.{name}}}\", methods = [\"{method}\"] }}"));
        }
        // the rule that nearly fits says what is missing
        if let Some(rule) = self.rules.iter().find(|rule| rule.url.matches(target)) {
            let mut wider = rule.clone();
            let mut missing = Vec::new();
            if !rule.allows_method(method) {
                wider.methods.push(method.to_owned());
                missing.push(format!("the method {method}"));
            }
            if let Some(names) = &mut wider.query {
                for name in target.query_names() {
                    if !names.contains(&name) {
                        missing.push(format!("the query parameter `{}`", name.escape_debug()));
                        names.push(name);
                    }
                }
            }
            let reason = format!("the rule for {} does not allow {}", rule.url, missing.join(" and "));
            return self.remedy(Denial::new("not-granted", reason), Some(rule), &wider);
        }
        let reason = if self.rules.is_empty() { "the stage has no http grant" } else { "no http rule matches this URL" };
        let rule = Rule { url: UrlPattern::exact(target), methods: vec![method.to_owned()], private: false, query: None };
        self.remedy(Denial::new("not-granted", reason), None, &rule)
    }

    fn private_address(&self, request: &Request, target: &Target, addresses: &[IpAddr]) -> Denial {
        if let Aim::Secret { name, .. } = &request.aim {
            let reason = format!(
                "the URL that the secret `{name}` holds leads to an address that is not public; add `private = true` to its rule if that is meant"
            );
            return Denial::new("private-address", reason);
        }
        let described: Vec<String> = addresses.iter().take(3).map(|a| format!("{a}, {}", reach(*a).describe())).collect();
        let reason = format!("{} leads to {}", target.host, described.join("; "));
        let denial = Denial::new("private-address", reason);
        if addresses.iter().all(|address| matches!(reach(*address), Reach::Never(_))) {
            return denial;
        }
        match self.rules.iter().find(|rule| rule.allows(&request.method, target)) {
            Some(rule) => self.remedy(denial, Some(rule), &Rule { private: true, ..rule.clone() }),
            None => denial,
        }
    }

    /// The grant as it would have to be: all its rules, so that the lines replace those in the file.
    fn remedy(&self, denial: Denial, replaced: Option<&Rule>, new: &Rule) -> Denial {
        self.lines(denial, replaced, new.to_string())
    }

    fn lines(&self, denial: Denial, replaced: Option<&Rule>, new: String) -> Denial {
        if self.rules.len() > SHOWN_RULES {
            return denial.remedy(&self.stage, format!("# with the other rules\nhttp = [{new}]"));
        }
        let hidden: Vec<String> = self.hidden.iter().map(SecretRule::to_string).collect();
        let rules = self.rules.iter().zip(&self.written).filter(|(rule, _)| replaced != Some(*rule)).map(|(_, written)| written);
        let kept = || rules.clone().chain(&hidden);
        if kept().next().is_none() {
            return denial.remedy(&self.stage, format!("http = [{new}]"));
        }
        let mut lines = String::with_capacity(96 * (self.rules.len() + 1));
        lines.push_str("http = [\n");
        for written in kept() {
            lines.push_str("  ");
            lines.push_str(written);
            lines.push_str(",\n");
        }
        // writing into a String never fails
        let _ = write!(lines, "  {new},\n]");
        denial.remedy(&self.stage, lines)
    }
}

impl Rule {
    pub(crate) fn allows(&self, method: &str, target: &Target) -> bool {
        self.allows_method(method) && self.url.matches(target) && self.allows_query(target)
    }

    fn allows_method(&self, method: &str) -> bool {
        self.methods.iter().any(|allowed| allowed == method)
    }

    fn allows_query(&self, target: &Target) -> bool {
        match &self.query {
            None => true,
            Some(names) => target.query_names().all(|name| names.contains(&name)),
        }
    }
}

enum Candidates<'a> {
    Unasked,
    Unknown(&'a str),
    Known(std::borrow::Cow<'a, [IpAddr]>),
}

/// Every address that the target's host leads to.
fn candidates<'a>(target: &Target, seen: &'a Seen) -> Candidates<'a> {
    if let Some(addresses) = target.host.known_addresses() {
        return Candidates::Known(addresses.into());
    }
    match &seen.resolved {
        None => Candidates::Unasked,
        Some(resolved) => match &resolved.error {
            Some(error) => Candidates::Unknown(error),
            None => Candidates::Known((&resolved.addresses[..]).into()),
        },
    }
}

impl Policy<Request> for HttpPolicy {
    fn decide(&self, request: &Request, seen: &Seen) -> Decision<Resolve> {
        let target = &match secrets::target(request, &self.held) {
            Ok(target) => target,
            Err(denial) => return Decision::Deny(denial),
        };
        if let Some(header) = request.headers.iter().chain(&request.trailers).find(|header| is_host_header(&header.name)) {
            let reason = format!("only the host sets the header `{}`; leave it out", header.name);
            return Decision::Deny(Denial::new("host-header", reason));
        }
        let Some(scope) = self.scope(request, target) else {
            return Decision::Deny(self.not_granted(request, target));
        };
        if let Err(denial) = secrets::check(request, target, &self.held) {
            return Decision::Deny(denial);
        }
        if self.own(target).is_some() {
            return Decision::Allow;
        }
        match candidates(target, seen) {
            Candidates::Unasked => Decision::Observe(Resolve { host: target.host.to_string(), within: request.limits.connect }),
            // that it leads nowhere is an answer, not a denial
            Candidates::Unknown(_) => Decision::Allow,
            Candidates::Known(addresses) if addresses.is_empty() => Decision::Allow,
            Candidates::Known(addresses) => {
                if addresses.iter().any(|address| scope.admits(*address)) {
                    Decision::Allow
                } else {
                    Decision::Deny(self.private_address(request, target, &addresses))
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
