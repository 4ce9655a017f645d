//! `[stage.<name>.grants] commands`: which programs, and where they run.

use std::any::Any;
use std::sync::Arc;

use capability::denial::toml_string;
use capability::outlet;
use egress::{AllowList, Entry};
use pipeline::ceilings::Ceilings;
use pipeline::diagnostic::Diagnostic;
use pipeline::grant::{Authority, Grant, GrantContext, GrantSchema, Used};
use pipeline::learning::{Learning, Lesson};
use pipeline::node::{Node, Spanned, TableReader, Value};

use crate::jail::toolchain::{self, Toolchain};
use crate::learned;

/// Where programs run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Confined: namespaces, a root of their own, no network but the granted hosts.
    Process,
    /// Each in a container of its own.
    Container(Within),
    /// On the host, with the rights of whoever started the runner.
    Host,
}

/// The container that a program runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Within {
    /// As the file names it.
    pub image: String,
    /// Whatever the engine's machine reaches, instead of the granted hosts.
    pub full_network: bool,
    /// Of each program.
    pub ceilings: Ceilings,
}

impl Place {
    /// As the file and the events call it.
    pub fn name(&self) -> &'static str {
        match self {
            Place::Process => "process",
            Place::Container(_) => "container",
            Place::Host => "host",
        }
    }

    pub fn container(&self) -> Option<&Within> {
        match self {
            Place::Container(within) => Some(within),
            _ => None,
        }
    }
}

/// The decoded grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandsGrant {
    pub place: Place,
    /// Names, and paths as [`normal_program`] writes them.
    pub programs: Vec<String>,
    /// Running any of them twice does no harm: one that was cut off with the runner is started again.
    pub repeatable: bool,
    /// With their expansions, in the order of the file. Empty but for confined processes.
    pub toolchains: Vec<(String, Toolchain)>,
    /// The hosts that programs reach through the proxy. Empty on the host.
    pub network: AllowList,
}

/// How the grant is read.
pub struct Schema {
    /// Take `in = "process"` for `in = "host"`.
    pub unconfined: bool,
}

impl GrantSchema for Schema {
    fn name(&self) -> &'static str {
        "commands"
    }

    fn summary(&self) -> &'static str {
        "programs that the stage may start"
    }

    fn interfaces(&self) -> &'static [&'static str] {
        &["runner:commands/"]
    }

    fn json_schema(&self) -> serde_json::Value {
        let strings = || serde_json::json!({ "type": "array", "items": { "type": "string" }, "minItems": 1 });
        let toolchain = || serde_json::json!({ "enum": toolchain::NAMES });
        serde_json::json!({
            "type": "object", "required": ["in", "programs"], "additionalProperties": false,
            "properties": {
                "in": { "enum": ["process", "container", "host"] },
                "image": { "type": "string", "description": "With in = \"container\": what each program runs in." },
                "memory": { "oneOf": [{ "type": "string" }, { "type": "integer" }], "description": "Of a container." },
                "cpus": { "type": "number", "exclusiveMinimum": 0, "description": "Of a container." },
                "pids": { "type": "integer", "minimum": 1, "description": "Of a container: processes and threads." },
                "programs": strings(),
                "toolchain": { "oneOf": [toolchain(), { "type": "array", "items": toolchain(), "minItems": 1 }] },
                "repeatable": { "type": "boolean" },
                "network": { "oneOf": [{ "const": "full" }, { "type": "array", "items": { "oneOf": [{ "type": "string" }, {
                    "type": "object", "required": ["host"], "additionalProperties": false,
                    "properties": { "host": { "type": "string" }, "private": { "type": "boolean" } },
                }] } }] },
            },
        })
    }

    fn example(&self) -> &'static str {
        "commands = { in = \"process\", toolchain = \"system\", programs = [\"sh\"] }"
    }

    fn learning(&self, stage: &Learning<'_>) -> Result<Option<String>, String> {
        learned::learning(stage).map(Some)
    }

    fn learned(&self, lesson: &Lesson<'_>) -> Option<String> {
        learned::learned(lesson)
    }

    fn confirmable(&self, denied: &Used<'_>) -> Option<String> {
        learned::confirmable(denied)
    }

    fn decode(&self, node: &Node, context: &GrantContext, diagnostics: &mut Vec<Diagnostic>) -> Option<Arc<dyn Grant>> {
        let before = diagnostics.len();
        let what = format!("[stage.{}.grants.commands]", context.stage);
        let mut reader = TableReader::new(node, what, diagnostics)?;
        reader.require("in");
        let place = reader.word("in", &[("process", Word::Process), ("container", Word::Container), ("host", Word::Host)]);
        let word = place.as_ref().map(|place| place.value);
        reader.require("programs");
        let programs = programs(&mut reader);
        let repeatable = reader.boolean("repeatable").is_some_and(|repeatable| repeatable.value);
        let names = toolchain_names(&mut reader);
        let hosts = reader.take("network");
        let full = hosts.filter(|node| matches!(&node.value, Value::String(word) if word == "full"));
        let listed = hosts.filter(|_| full.is_none());
        let mut network = listed.map(|node| outlet::decode(node, reader.diagnostics)).unwrap_or_default();
        let within = match word {
            Some(Word::Container) => container(&mut reader, &names, full.is_some()),
            _ => {
                outside_of_containers(&mut reader, full);
                None
            }
        };
        let overruled = self.unconfined && word == Some(Word::Process);
        if let Some(Spanned { value, span }) = &place
            && (*value == Word::Host || overruled)
        {
            if !context.trusted_plugin {
                reader.diagnostics.push(
                    Diagnostic::error(
                        "untrusted-host-command",
                        span.clone(),
                        "only bundled and local plugins may run commands on the host",
                    )
                    .hint("use in = \"process\""),
                );
            }
            if let Some(name) = names.first().filter(|_| !overruled) {
                reader.diagnostics.push(
                    Diagnostic::error("toolchain-on-host", name.span.clone(), "commands on the host use the host's own PATH")
                        .hint("remove `toolchain`, or use in = \"process\""),
                );
            }
            if let Some(hosts) = hosts.filter(|_| !overruled) {
                reader.diagnostics.push(
                    Diagnostic::error("network-on-host", hosts.span.clone(), "commands on the host use the host's own network")
                        .hint("remove `network`, or use in = \"process\""),
                );
            }
            network = AllowList::default();
        }
        let toolchains = match &place {
            Some(place) if place.value == Word::Process && !overruled => expand(names, context, reader.diagnostics),
            _ => Vec::new(),
        };
        reader.finish();
        if diagnostics.len() > before {
            return None;
        }
        let place = match word? {
            Word::Process if !overruled => Place::Process,
            Word::Container => Place::Container(within?),
            Word::Process | Word::Host => Place::Host,
        };
        Some(Arc::new(CommandsGrant { place, programs, repeatable, toolchains, network }))
    }
}

/// The words that `in` takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Process,
    Container,
    Host,
}

/// The keys of `in = "container"`.
fn container(reader: &mut TableReader<'_>, toolchains: &[Spanned<String>], full_network: bool) -> Option<Within> {
    if let Some(name) = toolchains.first() {
        reader.diagnostics.push(
            Diagnostic::error("toolchain-in-container", name.span.clone(), "a container's programs are those of its image")
                .hint("remove `toolchain`, and name an image that has the programs"),
        );
    }
    let ceilings = Ceilings::read(reader);
    reader.require("image");
    let image = reader.string("image")?;
    // an engine says what exactly is wrong with a name; what could be taken for something else is refused here
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    if !image.value.starts_with(|c: char| c.is_ascii_alphanumeric()) || !image.value.chars().all(plain) {
        let message = format!("`{}` is no image's name", image.value.escape_debug());
        reader
            .diagnostics
            .push(Diagnostic::error("bad-image", image.span, message).hint("such as \"node:20\" or \"ghcr.io/acme/tools@sha256:…\""));
        return None;
    }
    Some(Within { image: image.value, full_network, ceilings })
}

/// Says of what only containers have that this is none.
fn outside_of_containers(reader: &mut TableReader<'_>, full: Option<&Node>) {
    for key in ["image", "memory", "cpus", "pids"] {
        if let Some(span) = reader.refused(key) {
            let message = format!("`{key}` is for containers");
            reader.diagnostics.push(Diagnostic::error("not-a-container", span, message).hint("write in = \"container\", or remove it"));
        }
    }
    if let Some(full) = full {
        reader.diagnostics.push(
            Diagnostic::error("not-a-container", full.span.clone(), "only a container can have the full network")
                .hint("list the hosts: network = [\"registry.example:443\"]"),
        );
    }
}

fn programs(reader: &mut TableReader<'_>) -> Vec<String> {
    let mut programs = Vec::new();
    for program in reader.strings("programs").unwrap_or_default() {
        match normal_program(&program.value) {
            Some(normal) => programs.push(normal),
            None => reader.diagnostics.push(
                Diagnostic::error("bad-program", program.span, format!("`{}` names no program", program.value))
                    .hint("a name such as \"cargo\", or a path such as \"./scripts/check.sh\" or \"/usr/bin/env\""),
            ),
        }
    }
    programs
}

fn toolchain_names(reader: &mut TableReader<'_>) -> Vec<Spanned<String>> {
    match reader.take("toolchain") {
        None => Vec::new(),
        Some(node @ Node { value: Value::Array(items), .. }) => {
            let names: Vec<_> = items.iter().filter_map(|item| reader.expect_string(item, "toolchain")).collect();
            if items.is_empty() {
                reader.diagnostics.push(
                    Diagnostic::error("no-toolchain", node.span.clone(), "`toolchain` is empty: no program could run")
                        .hint(format!("one or more of {}", toolchain::NAMES.join(", "))),
                );
            }
            names
        }
        Some(node) => reader.expect_string(node, "toolchain").into_iter().collect(),
    }
}

/// Works out the toolchains on this machine; without any, programs see the system's.
fn expand(names: Vec<Spanned<String>>, context: &GrantContext, diagnostics: &mut Vec<Diagnostic>) -> Vec<(String, Toolchain)> {
    if names.is_empty() {
        return vec![("system".into(), toolchain::expand("system", &context.root, &context.host_env).unwrap_or_default())];
    }
    let mut expanded = Vec::new();
    for name in names {
        match toolchain::expand(&name.value, &context.root, &context.host_env) {
            Ok(toolchain) => expanded.push((name.value, toolchain)),
            Err(error @ toolchain::ToolchainError::Unknown(_)) => {
                let mut diagnostic = Diagnostic::error("unknown-toolchain", name.span, error.to_string());
                diagnostic.hint =
                    pipeline::diagnostic::did_you_mean(&name.value, toolchain::NAMES).map(|near| format!("did you mean \"{near}\"?"));
                diagnostics.push(diagnostic);
            }
            Err(error) => diagnostics.push(Diagnostic::error("toolchain-missing", name.span, error.to_string())),
        }
    }
    expanded
}

impl Grant for CommandsGrant {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn authority(&self) -> Vec<Authority> {
        let programs = self.programs.join(", ");
        let reach = if self.network.0.is_empty() { "no network" } else { "a network of the hosts below" };
        match &self.place {
            Place::Host => vec![Authority { text: format!("run {programs} on the host, UNCONFINED"), alarming: true }],
            Place::Process => {
                let mut lines = vec![Authority { text: format!("run {programs} (confined, {reach})"), alarming: false }];
                lines.extend(self.network.0.iter().map(outlet::authority));
                for (name, toolchain) in &self.toolchains {
                    lines.push(Authority { text: format!("  see toolchain {name}: {}", shown(toolchain)), alarming: false });
                }
                lines
            }
            Place::Container(within) => {
                let reach = if within.full_network { "the FULL network" } else { reach };
                let text = format!("run {programs} (in a container of {}, {reach})", within.image);
                let mut lines = vec![Authority { text, alarming: within.full_network }];
                lines.extend(self.network.0.iter().map(outlet::authority));
                let most = (!within.ceilings.is_empty()).then(|| format!("  take at most {} each", within.ceilings));
                lines.extend(most.map(|text| Authority { text, alarming: false }));
                lines
            }
        }
    }

    fn unused(&self, used: &mut dyn Iterator<Item = Used<'_>>) -> Vec<String> {
        self.idle(used)
    }
}

impl CommandsGrant {
    /// Programs that were never started, and hosts that no program contacted.
    fn idle(&self, used: &mut dyn Iterator<Item = Used<'_>>) -> Vec<String> {
        #[derive(serde::Deserialize)]
        struct Start {
            program: String,
        }
        let mut idle: Vec<&String> = self.programs.iter().collect();
        let mut silent: Vec<&Entry> = self.network.0.iter().collect();
        for used in used {
            if used.effect == event::CONNECT {
                silent.retain(|entry| !outlet::fits(entry, used.subject));
            }
            if used.effect != "commands.start" {
                continue;
            }
            // what can't be read may have been any of them
            let Some(program) = serde_json::from_str::<Start>(used.request).ok().and_then(|start| normal_program(&start.program)) else {
                return Vec::new();
            };
            idle.retain(|known| **known != program);
        }
        if idle.len() == self.programs.len() {
            return vec!["the whole grant: no program was started".to_owned()];
        }
        let idle = idle.into_iter().map(|program| format!("{} in `programs`: never started", toml_string(program)));
        let silent = silent.into_iter().map(|entry| format!("{} in `network`: never contacted", toml_string(&entry.to_string())));
        idle.chain(silent).collect()
    }
}

/// The folders and files that a toolchain shows, and its variables.
fn shown(toolchain: &Toolchain) -> String {
    use crate::jail::BindKind;
    let binds = toolchain.binds.iter().filter(|b| b.kind != BindKind::Symlink).map(|b| b.host.display().to_string());
    let env = toolchain.env.iter().map(|(name, value)| format!("{name}={value}"));
    binds.chain(env).collect::<Vec<_>>().join(", ")
}

/// A program as policy compares it: a name stays, `./x` becomes `/workspace/x`, a path loses `.`, `..` and double slashes. `None` if it names
/// nothing, or leaves the workspace by `..`.
pub fn normal_program(program: &str) -> Option<String> {
    if program.is_empty() || program.contains('\0') {
        return None;
    }
    if !program.contains('/') {
        return (program != "." && program != "..").then(|| program.to_owned());
    }
    normal_path(program).filter(|path| path != "/" && path != capability::state::WORKSPACE)
}

/// An absolute path with no `.`, `..` or double slashes; a relative one starts at `/workspace` and must stay there.
pub fn normal_path(path: &str) -> Option<String> {
    if path.contains('\0') {
        return None;
    }
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    Some(match (absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => capability::state::WORKSPACE.to_owned(),
        (false, false) => format!("{}/{joined}", capability::state::WORKSPACE),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(programs: &[&str], network: &[&str]) -> CommandsGrant {
        CommandsGrant {
            place: Place::Process,
            programs: programs.iter().map(|program| normal_program(program).unwrap()).collect(),
            repeatable: false,
            toolchains: Vec::new(),
            network: AllowList(network.iter().map(|entry| Entry::parse(entry).unwrap()).collect()),
        }
    }

    fn unused(programs: &[&str], started: &[&str]) -> Vec<String> {
        let grant = grant(programs, &[]);
        let requests: Vec<String> =
            started.iter().map(|program| serde_json::json!({ "program": program, "arguments": [] }).to_string()).collect();
        let mut used = requests.iter().map(|request| Used { effect: "commands.start", subject: "", request });
        grant.unused(&mut used)
    }

    #[test]
    fn programs_that_were_never_started_could_go() {
        let programs = &["cargo", "./scripts/check.sh", "git"];
        assert_eq!(unused(programs, &["cargo", "scripts/check.sh"]), ["\"git\" in `programs`: never started"]);
        assert_eq!(unused(programs, &["cargo", "git", "/workspace/scripts/./check.sh"]), [""; 0]);
        assert_eq!(unused(programs, &[]), ["the whole grant: no program was started"]);
    }

    #[test]
    fn what_cannot_be_read_takes_nothing_away() {
        let grant = grant(&["git"], &[]);
        let used = Used { effect: "commands.start", subject: "make", request: "{}" };
        assert_eq!(grant.unused(&mut [used].into_iter()), [""; 0]);
    }

    #[test]
    fn hosts_that_were_never_contacted_could_go() {
        let grant = grant(&["npm"], &["registry.example:443", "*.cdn.example:443", "idle.example:443"]);
        let start = Used { effect: "commands.start", subject: "npm ci", request: r#"{"program":"npm"}"# };
        let connect = |subject| Used { effect: "commands.connect", subject, request: "" };
        let mut used = [start, connect("registry.example:443"), connect("a.cdn.example:443"), connect("idle.example:80")].into_iter();
        assert_eq!(grant.unused(&mut used), ["\"idle.example:443\" in `network`: never contacted"]);
    }

    fn decoded(network: &str) -> Result<Vec<Authority>, Vec<Diagnostic>> {
        let text = format!("commands = {{ in = \"process\", programs = [\"npm\"], network = {network} }}");
        capability::testing::grant(&Schema { unconfined: false }, &text).map(|grant| grant.authority())
    }

    #[test]
    fn the_plan_shows_every_host() {
        let shown = decoded("[\"Registry.Example:443\", { host = \"localhost:4873\", private = true }, \"*.com:443\"]").unwrap();
        let shown: Vec<(&str, bool)> = shown.iter().map(|line| (line.text.trim(), line.alarming)).take(4).collect();
        assert_eq!(
            shown,
            [
                ("run npm (confined, a network of the hosts below)", false),
                ("connect to registry.example:443", false),
                ("connect to localhost:4873 (this machine)", true),
                ("connect to *.com:443", true),
            ]
        );
        assert_eq!(decoded("[]").unwrap()[0].text, "run npm (confined, no network)");
    }

    #[test]
    fn containers() {
        let grant = |keys: &str| {
            let text = format!("commands = {{ in = \"container\", programs = [\"npm\"], {keys} }}");
            capability::testing::grant(&Schema { unconfined: false }, &text)
        };
        let shown = |keys: &str| grant(keys).unwrap().authority().into_iter().map(|line| (line.text, line.alarming)).collect::<Vec<_>>();
        assert_eq!(
            shown("image = \"node:20\", memory = \"512MiB\", cpus = 1.5, network = [\"registry.example:443\"]"),
            [
                ("run npm (in a container of node:20, a network of the hosts below)".to_owned(), false),
                ("  connect to registry.example:443".to_owned(), false),
                ("  take at most 512MiB of memory, 1.5 cpus each".to_owned(), false),
            ]
        );
        assert_eq!(
            shown("image = \"node@sha256:ab\", network = \"full\""),
            [("run npm (in a container of node@sha256:ab, the FULL network)".to_owned(), true)]
        );
        let whole = "image = \"node:20\", network = \"full\", memory = \"512MiB\", cpus = 2.0, pids = 5";
        let decoded = grant(whole).unwrap();
        let written = decoded.as_any().downcast_ref::<CommandsGrant>().unwrap().to_string();
        assert_eq!(written, format!("commands = {{ in = \"container\", image = \"node:20\", programs = [\"npm\"], {} }}", &whole[19..]));
        for (keys, code) in [
            ("repeatable = true", "missing-key"),
            ("image = \"-v\"", "bad-image"),
            ("image = \"a b\"", "bad-image"),
            ("image = \"node\", toolchain = \"node\"", "toolchain-in-container"),
            ("image = \"node\", network = \"none\"", "wrong-type"),
            ("image = \"node\", cpus = 0", "out-of-range"),
            ("image = \"node\", privileged = true", "unknown-key"),
        ] {
            assert_eq!(grant(keys).unwrap_err()[0].code, code, "{keys}");
        }
        for keys in ["image = \"node\"", "pids = 5", "network = \"full\""] {
            let text = format!("commands = {{ in = \"process\", programs = [\"npm\"], {keys} }}");
            assert_eq!(capability::testing::grant(&Schema { unconfined: false }, &text).unwrap_err()[0].code, "not-a-container", "{keys}");
        }
    }

    #[test]
    fn mistakes_stand_where_they_are() {
        for (network, code, under) in [
            ("[\"registry.example\"]", "bad-host", "\"registry.example\""),
            ("[\"good.example:443\", \"*:443\"]", "bad-host", "\"*:443\""),
            ("\"registry.example:443\"", "wrong-type", "\"registry.example:443\""),
            ("[443]", "wrong-type", "443"),
            ("[{ private = true }]", "missing-key", "{ private = true }"),
            ("[{ host = \"x:1\", port = 2 }]", "unknown-key", "port"),
        ] {
            let text = format!("commands = {{ in = \"process\", programs = [\"npm\"], network = {network} }}");
            let mistakes = decoded(network).unwrap_err();
            let [mistake] = &mistakes[..] else { panic!("{network}: {mistakes:?}") };
            assert_eq!((mistake.code, &text[mistake.span.clone().unwrap()]), (code, under), "{network}: {mistake:?}");
        }
        let on_host = "commands = { in = \"host\", programs = [\"npm\"], network = [\"registry.example:443\"] }";
        let mistakes = capability::testing::grant(&Schema { unconfined: false }, on_host).unwrap_err();
        assert_eq!(mistakes[0].code, "network-on-host");
        assert!(
            capability::testing::grant(&Schema { unconfined: true }, &on_host.replace("host\", programs", "process\", programs")).is_ok()
        );
    }
}
