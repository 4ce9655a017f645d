//! `[stage.<name>.grants.docker]`: which operations on which images, and what containers and builds may have.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use capability::denial::toml_string;
use capability::outlet;
use egress::AllowList;
use pipeline::ceilings::Ceilings;
use pipeline::diagnostic::Diagnostic;
use pipeline::grant::{Authority, Grant, GrantContext, GrantSchema, Used};
use pipeline::node::{Node, Spanned, TableReader, Value, wrong_type};
use pipeline::secret::Destination;

use crate::reference::{Pattern, Reference};

/// What can be done with an image; the keys of the grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Run,
    Pull,
    Inspect,
    Build,
    From,
    Push,
    Tag,
    Save,
    Remove,
}

impl Operation {
    pub const ALL: [Operation; 9] = [
        Operation::Run,
        Operation::Pull,
        Operation::Inspect,
        Operation::Build,
        Operation::From,
        Operation::Push,
        Operation::Tag,
        Operation::Save,
        Operation::Remove,
    ];

    pub fn key(self) -> &'static str {
        match self {
            Operation::Run => "run",
            Operation::Pull => "pull",
            Operation::Inspect => "inspect",
            Operation::Build => "build",
            Operation::From => "from",
            Operation::Push => "push",
            Operation::Tag => "tag",
            Operation::Save => "save",
            Operation::Remove => "remove",
        }
    }
}

/// What containers of [`network::granted`](crate::effect::Network) reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Network {
    #[default]
    None,
    /// The stage's own containers and services.
    Stage,
    /// These, and the stage's own.
    Hosts(AllowList),
    /// Whatever the engine's machine reaches.
    Full,
}

/// A registry's login. The password stays in the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    pub registry: String,
    pub user: String,
    /// The secret's name.
    pub secret: String,
}

/// The decoded grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerGrant {
    pub images: BTreeMap<Operation, Vec<Pattern>>,
    /// URLs that a build may add, as they stand in the Dockerfile.
    pub urls: Vec<String>,
    pub network: Network,
    /// `RUN` steps may have the engine's network.
    pub build_network: bool,
    /// Of each container; what the file leaves out is [`DEFAULT`]'s.
    pub ceilings: Ceilings,
    pub context: Option<String>,
    pub logins: Vec<Login>,
    /// Where builds may keep layers, and have them from.
    pub cache: Vec<Pattern>,
}

/// The ceilings of a container, where the file says nothing.
pub const DEFAULT: Ceilings = Ceilings { memory: Some(2 << 30), cpus: Some(2000), pids: Some(512) };

impl DockerGrant {
    pub fn allows(&self, operation: Operation, reference: &Reference) -> bool {
        self.images.get(&operation).is_some_and(|patterns| patterns.iter().any(|pattern| pattern.fits(reference)))
    }

    /// What may be done with an image may be looked at before.
    pub fn shows(&self, reference: &Reference) -> bool {
        Operation::ALL.into_iter().any(|operation| self.allows(operation, reference))
    }

    pub fn caches(&self, reference: &Reference) -> bool {
        self.cache.iter().any(|pattern| pattern.fits(reference))
    }

    /// Whether a build may fetch it: a URL that is listed, or one below a listed `…/**`.
    pub fn fetches(&self, url: &str) -> bool {
        self.urls.iter().any(|listed| match listed.strip_suffix("**") {
            Some(below) => url.strip_prefix(below).is_some_and(|rest| !rest.is_empty() && !rest.contains("..")),
            None => listed == url,
        })
    }

    pub fn login(&self, reference: &Reference) -> Option<&Login> {
        self.logins.iter().find(|login| login.registry == reference.registry)
    }

    /// With what is left out filled in.
    pub fn ceiling(&self) -> Ceilings {
        let Ceilings { memory, cpus, pids } = self.ceilings;
        Ceilings { memory: memory.or(DEFAULT.memory), cpus: cpus.or(DEFAULT.cpus), pids: pids.or(DEFAULT.pids) }
    }
}

/// How the grant is read.
pub struct Schema;

impl GrantSchema for Schema {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn summary(&self) -> &'static str {
        "containers, images and builds of a Docker engine"
    }

    fn interfaces(&self) -> &'static [&'static str] {
        &["runner:docker/"]
    }

    fn json_schema(&self) -> serde_json::Value {
        let images = |what: &str| {
            serde_json::json!({ "type": "array", "items": { "type": "string" }, "minItems": 1, "description": format!(
                "{what} `*` is any text without `/`; `node` is `node:latest`, `node:*` any tag, `node@*` any digest."
            ) })
        };
        serde_json::json!({
            "type": "object", "additionalProperties": false, "minProperties": 1,
            "properties": {
                "run": images("Images that containers may be made from."),
                "pull": images("Images that may be pulled from their registry."),
                "inspect": images("Images that may be looked at; those of the other keys may be anyway."),
                "build": images("Names that a build may give."),
                "from": images("Images that a Dockerfile may use, which are pulled where they are missing; and URLs that it may add."),
                "push": images("Images that may be pushed to their registry."),
                "tag": images("Names that an image may be given."),
                "save": images("Images that may be written into a file of the stage."),
                "remove": images("Names that may be taken away from the engine."),
                "network": { "oneOf": [
                    { "enum": ["none", "stage", "full"] },
                    { "type": "array", "minItems": 1, "items": { "oneOf": [{ "type": "string" }, {
                        "type": "object", "required": ["host"], "additionalProperties": false,
                        "properties": { "host": { "type": "string" }, "private": { "type": "boolean" } },
                    }] } },
                ] },
                "build-network": { "enum": ["none", "full"] },
                "memory": { "oneOf": [{ "type": "string" }, { "type": "integer" }], "description": "Of each container." },
                "cpus": { "type": "number", "exclusiveMinimum": 0, "description": "Of each container." },
                "pids": { "type": "integer", "minimum": 1, "description": "Of each container: processes and threads." },
                "context": { "type": "string", "description": "The Docker context to use." },
                "registries": { "type": "array", "items": {
                    "type": "object", "required": ["host", "user", "password"], "additionalProperties": false,
                    "properties": {
                        "host": { "type": "string" }, "user": { "type": "string" },
                        "password": { "type": "string", "description": "A reference to a secret whose `to` has \"registry:host\"." },
                    },
                } },
                "cache": images("Where builds may keep layers, and have them from."),
            },
        })
    }

    fn example(&self) -> &'static str {
        "docker = { run = [\"node:20\"], pull = [\"node:20\"] }"
    }

    fn path_keys(&self) -> &'static [&'static str] {
        &[]
    }

    fn decode(&self, node: &Node, context: &GrantContext, diagnostics: &mut Vec<Diagnostic>) -> Option<Arc<dyn Grant>> {
        let before = diagnostics.len();
        let what = format!("[stage.{}.grants.docker]", context.stage);
        let mut reader = TableReader::new(node, what, diagnostics)?;
        let (mut images, mut urls) = (BTreeMap::new(), Vec::new());
        for operation in Operation::ALL {
            let Some(texts) = reader.strings(operation.key()) else { continue };
            if texts.is_empty() {
                let span = reader.key(operation.key()).unwrap_or_else(|| reader.span());
                let message = format!("`{}` is empty, so it allows nothing", operation.key());
                reader.diagnostics.push(Diagnostic::error("empty", span, message).hint("name an image, or remove it"));
            }
            let (remote, texts): (Vec<_>, Vec<_>) =
                texts.into_iter().partition(|text| operation == Operation::From && text.value.contains("://"));
            urls.extend(remote.into_iter().filter_map(|url| decode_url(url, reader.diagnostics)));
            images.insert(operation, patterns(texts, reader.diagnostics));
        }
        let cache = reader.strings("cache").unwrap_or_default();
        let cache = patterns(cache, reader.diagnostics);
        let network = reader.take("network").and_then(|node| decode_network(node, reader.diagnostics)).unwrap_or_default();
        let build_network = reader.word("build-network", &[("none", false), ("full", true)]).is_some_and(|word| word.value);
        let ceilings = Ceilings::read(&mut reader);
        let engine = reader.string("context").and_then(|name| decode_context(name, reader.diagnostics));
        let logins = reader.take("registries").map(|node| decode_logins(node, context, reader.diagnostics)).unwrap_or_default();
        reader.finish();
        if diagnostics.len() > before {
            return None;
        }
        Some(Arc::new(DockerGrant { images, urls, network, build_network, ceilings, context: engine, logins, cache }))
    }
}

fn patterns(texts: Vec<Spanned<String>>, diagnostics: &mut Vec<Diagnostic>) -> Vec<Pattern> {
    let mut patterns = Vec::new();
    for text in texts {
        match Pattern::parse(&text.value) {
            Ok(pattern) => patterns.push(pattern),
            Err(mistake) => diagnostics.push(
                Diagnostic::error("bad-image", text.span, mistake.to_string())
                    .hint("such as \"node:20\", \"ghcr.io/acme/*:*\" or \"ghcr.io/acme/shop@*\""),
            ),
        }
    }
    patterns
}

fn decode_url(url: Spanned<String>, diagnostics: &mut Vec<Diagnostic>) -> Option<String> {
    let host = ["https://", "http://"].iter().find_map(|scheme| url.value.strip_prefix(scheme));
    let literal = url.value.strip_suffix("/**").unwrap_or(&url.value);
    let plain = host.is_some_and(|rest| {
        let authority = rest.split('/').next().unwrap_or_default();
        !authority.is_empty() && !authority.contains(['@', '*']) && rest.contains('/')
    });
    if plain && !literal.contains('*') && !url.value.contains(['$', '#', ' ', '"']) {
        return Some(url.value);
    }
    let hint = "such as \"https://dl.example/tool-1.2.tar.gz\", or \"https://dl.example/**\" for all below";
    diagnostics.push(Diagnostic::error("bad-url", url.span, "that is no URL that a Dockerfile could add").hint(hint));
    None
}

fn decode_network(node: &Node, diagnostics: &mut Vec<Diagnostic>) -> Option<Network> {
    const HINT: &str = "\"none\", \"stage\", \"full\", or hosts: [\"registry.example:443\"]";
    match &node.value {
        Value::String(word) => match word.as_str() {
            "none" => Some(Network::None),
            "stage" => Some(Network::Stage),
            "full" => Some(Network::Full),
            other => {
                let message = format!("`network` can't be \"{}\"", other.escape_debug());
                diagnostics.push(Diagnostic::error("unknown-word", node.span.clone(), message).hint(HINT));
                None
            }
        },
        Value::Array(items) => Some(Network::Hosts(outlet::decode_list(items, diagnostics))),
        other => {
            diagnostics.push(wrong_type(&node.span, "`network`", "a word or an array of hosts", other).hint(HINT));
            None
        }
    }
}

/// A context's name becomes a part of a path, by its digest; what Docker itself refuses is refused here too.
fn decode_context(name: Spanned<String>, diagnostics: &mut Vec<Diagnostic>) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.+-".contains(c);
    if name.value.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.value.chars().all(plain) {
        return Some(name.value);
    }
    let message = format!("`{}` is no name of a Docker context", name.value.escape_debug());
    diagnostics.push(Diagnostic::error("bad-context", name.span, message).hint("`docker context ls` lists those that exist"));
    None
}

fn decode_logins(node: &Node, context: &GrantContext, diagnostics: &mut Vec<Diagnostic>) -> Vec<Login> {
    let Value::Array(items) = &node.value else {
        let hint = "registries = [{ host = \"ghcr.io\", user = \"acme\", password = \"${secret.registry}\" }]";
        diagnostics.push(wrong_type(&node.span, "`registries`", "an array of logins", &node.value).hint(hint));
        return Vec::new();
    };
    items.iter().filter_map(|item| decode_login(item, context, diagnostics)).collect()
}

fn decode_login(item: &Node, context: &GrantContext, diagnostics: &mut Vec<Diagnostic>) -> Option<Login> {
    let mut reader = TableReader::new(item, "an entry of `registries`", diagnostics)?;
    let host = reader.require("host").and_then(|node| reader.expect_string(node, "host"));
    let user = reader.require("user").and_then(|node| reader.expect_string(node, "user"));
    let password = reader.require("password").and_then(|node| reader.expect_string(node, "password"));
    let (host, user, password) = (host?, user?, password?);
    reader.finish();
    if Pattern::parse(&format!("{}/x", host.value)).is_ok_and(|pattern| pattern.registry() != host.value) {
        let message = format!("`{}` is no registry", host.value.escape_debug());
        let hint = "write its host, with its port if it has one: \"ghcr.io\", \"localhost:5000\"";
        diagnostics.push(Diagnostic::error("bad-registry", host.span, message).hint(hint));
        return None;
    }
    let Some(one) = context.secrets.iter().find(|one| one.placeholder == password.value) else {
        diagnostics.push(
            Diagnostic::error("bad-secret", password.span, "a password is a reference to a secret, and nothing else")
                .hint("write password = \"${secret.name}\", and declare [secret.name]"),
        );
        return None;
    };
    let name = one.secret.name.clone();
    if !one.secret.to.iter().any(|to| Destination::parse(to) == Ok(Destination::Registry(host.value.clone()))) {
        let message = format!("the secret `{name}` may not go to the registry {}", host.value);
        let places: Vec<String> = one.secret.to.iter().cloned().chain([format!("registry:{}", host.value)]).collect();
        let places = places.iter().map(|to| toml_string(to)).collect::<Vec<_>>().join(", ");
        diagnostics.push(Diagnostic::error("bad-secret", password.span, message).hint(format!("[secret.{name}]\nto = [{places}]")));
        return None;
    }
    Some(Login { registry: host.value, user: user.value, secret: name })
}

impl Grant for DockerGrant {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn authority(&self) -> Vec<Authority> {
        let mut lines = Vec::new();
        for (operation, patterns) in &self.images {
            let list = patterns.iter().map(Pattern::to_string).chain(self.urls_of(*operation)).collect::<Vec<_>>().join(", ");
            let text = match operation {
                Operation::Run => format!("run containers of {list} ({}; at most {} each)", self.reach(), self.ceiling()),
                Operation::Pull => format!("pull {list}"),
                Operation::Inspect => format!("inspect {list}"),
                Operation::Build => format!("build {list} ({})", if self.build_network { "with the FULL network" } else { "no network" }),
                Operation::From => format!("build from {list}, and pull what of it is missing"),
                Operation::Push => format!("PUSH {list}"),
                Operation::Tag => format!("name images {list}"),
                Operation::Save => format!("save {list} as files"),
                Operation::Remove => format!("REMOVE {list} from the engine"),
            };
            let alarming = match operation {
                Operation::Push | Operation::Remove => true,
                Operation::Run => self.network == Network::Full,
                Operation::Build => self.build_network,
                _ => false,
            };
            lines.push(Authority { text, alarming });
        }
        if let Network::Hosts(hosts) = &self.network {
            lines.extend(hosts.0.iter().map(outlet::authority));
        }
        if !self.cache.is_empty() {
            let list = self.cache.iter().map(Pattern::to_string).collect::<Vec<_>>().join(", ");
            lines.push(Authority { text: format!("keep layers of builds at {list}, and PUSH them there"), alarming: true });
        }
        lines.extend(self.logins.iter().map(|login| {
            let text = format!("log in to {} as {} with the secret `{}` (the host does)", login.registry, login.user, login.secret);
            Authority { text, alarming: false }
        }));
        lines.extend(self.context.iter().map(|name| Authority { text: format!("in the Docker context {name}"), alarming: false }));
        lines
    }

    /// Patterns that no image of a recorded effect fits.
    fn unused(&self, used: &mut dyn Iterator<Item = Used<'_>>) -> Vec<String> {
        let mut idle: Vec<(Operation, &Pattern)> =
            self.images.iter().flat_map(|(operation, patterns)| patterns.iter().map(|pattern| (*operation, pattern))).collect();
        // which images a build came from is told by what was seen, not by what was asked
        idle.retain(|(operation, _)| *operation != Operation::From);
        let all = idle.len();
        for used in used.filter(|used| used.effect.starts_with("docker.")) {
            let Some((operation, named)) = crate::effect::images_of(used) else { continue };
            idle.retain(|(known, pattern)| *known != operation || !named.iter().any(|reference| pattern.fits(reference)));
        }
        if all > 0 && idle.len() == all {
            return vec!["the whole grant: no image was used".to_owned()];
        }
        idle.into_iter()
            .map(|(operation, pattern)| format!("{} in `{}`: never used", toml_string(&pattern.to_string()), operation.key()))
            .collect()
    }
}

impl DockerGrant {
    fn urls_of(&self, operation: Operation) -> impl Iterator<Item = String> {
        self.urls.iter().filter(move |_| operation == Operation::From).cloned()
    }

    fn reach(&self) -> &'static str {
        match &self.network {
            Network::None => "no network",
            Network::Stage => "the stage's own network",
            Network::Hosts(_) => "a network of the hosts below",
            Network::Full => "the FULL network",
        }
    }
}

#[cfg(test)]
#[path = "grant_tests.rs"]
mod tests;
