//! The smallest `commands` that let a run pass: the programs that the stage itself started, and the toolchains that hold them.
//!
//! A learning run may start what the stage's settings name, confined, and its programs reach the hosts that somebody confirmed. Deliberately absent: what those programs start, which the
//! confinement bounds and no grant names; and learning from programs on the host, of which nobody sees what they do.

use std::collections::BTreeSet;
use std::path::Path;

use capability::denial::toml_string;
use capability::outlet;
use capability::state::WORKSPACE;
use egress::{AllowList, Entry};
use pipeline::grant::{GrantContext, Used};
use pipeline::learning::{Learning, Lesson, decode, refers, strings};
use pipeline::node::{Node, Value};

use crate::grant::{CommandsGrant, Schema, normal_program};
use crate::jail::toolchain::{self, Toolchain};

/// Settings whose arrays are command lines, and arrays of those.
const COMMAND_LINES: [&str; 5] = ["run", "rerun-with", "start", "command", "shell"];

/// Programs that say by their name whose they are; others are looked for.
const KNOWN: [(&str, &[&str]); 3] = [
    ("rust", &["cargo", "rustc", "rustfmt", "rustdoc", "clippy-driver"]),
    ("node", &["node", "npm", "npx", "yarn", "pnpm", "corepack"]),
    ("python", &["python", "python3", "pip", "pip3", "pytest", "ruff", "mypy", "poetry", "uv", "tox"]),
];

/// The grant of a learning run.
pub fn learning(stage: &Learning<'_>) -> Result<String, String> {
    let on_host = stage.granted.and_then(|granted| key(granted, "in")).is_some_and(|place| strings(place) == ["host"]);
    if on_host {
        return Err("its programs run on the host, unconfined: nobody sees what they do".to_owned());
    }
    if stage.granted.is_some_and(refers) {
        return Err("its `commands` grant holds references".to_owned());
    }
    let mut programs: BTreeSet<String> = BTreeSet::new();
    if let Some(settings) = stage.settings {
        collect(settings, &mut programs);
    }
    if let Some(granted) = stage.granted.and_then(|granted| key(granted, "programs")) {
        programs.extend(strings(granted).into_iter().map(str::to_owned));
    }
    programs.retain(|program| !program.contains("${") && normal_program(program).is_some());
    if programs.is_empty() {
        return Err("its settings name no program; grant `commands` by hand".to_owned());
    }
    let mut network: Vec<String> = entries(stage.granted, stage.context).iter().map(outlet::written).collect();
    for host in stage.hosts.iter().filter(|host| egress::confirmable(host).is_ok()) {
        let ported = if has_port(host) { vec![host.clone()] } else { vec![format!("{host}:443"), format!("{host}:80")] };
        network.extend(ported.iter().filter_map(|host| Entry::parse(host).ok()).map(|entry| outlet::written(&entry)));
    }
    Ok(written(&programs, &network, stage.granted, stage.context))
}

/// The grant that stands in the file.
fn before(granted: Option<&Node>, context: &GrantContext) -> Option<CommandsGrant> {
    let grant = granted.and_then(|granted| decode(&Schema { unconfined: false }, granted, context))?;
    grant.as_any().downcast_ref::<CommandsGrant>().cloned()
}

/// The hosts that stand in the file.
fn entries(granted: Option<&Node>, context: &GrantContext) -> Vec<Entry> {
    before(granted, context).map(|grant| grant.network.0).unwrap_or_default()
}

/// `[fd00::1]` has colons and no port.
fn has_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The host that a program was refused.
pub fn confirmable(denied: &Used<'_>) -> Option<String> {
    (denied.effect == event::CONNECT && egress::confirmable(denied.subject).is_ok()).then(|| denied.subject.to_owned())
}

/// The grant as it would stand in the file.
pub fn learned(lesson: &Lesson<'_>) -> Option<String> {
    let Lesson { used, context, granted, .. } = *lesson;
    #[derive(serde::Deserialize)]
    struct Start {
        program: String,
    }
    let started = used.iter().filter(|used| used.effect == "commands.start");
    let programs: BTreeSet<String> = started
        .filter_map(|used| serde_json::from_str::<Start>(used.request).ok())
        .filter_map(|start| normal_program(&start.program))
        .map(|program| match program.strip_prefix(WORKSPACE) {
            Some(inside) => format!(".{inside}"),
            None => program,
        })
        .collect();
    let contacted: BTreeSet<&str> = used.iter().filter(|used| used.effect == event::CONNECT).map(|used| used.subject).collect();
    let before = entries(granted, context);
    let contacted = contacted.into_iter().filter_map(|host| Some((host, Entry::parse(host).ok()?)));
    let network: Vec<String> = contacted
        .map(|(host, mut entry)| {
            // that it may be a private address is nothing that a contact shows
            entry.private = before.iter().any(|known| known.private && outlet::fits(known, host));
            outlet::written(&entry)
        })
        .collect();
    (!programs.is_empty()).then(|| written(&programs, &network, granted, context))
}

/// `network`: entries as they are written. What runs in containers goes on running in them.
fn written(programs: &BTreeSet<String>, network: &[String], granted: Option<&Node>, context: &GrantContext) -> String {
    if let Some(grant) = before(granted, context).filter(|grant| grant.place.container().is_some()) {
        let programs = programs.iter().map(|program| program.replace("${", "$${")).collect();
        let grant = CommandsGrant { programs, network: AllowList::default(), ..grant }.to_string();
        let grant = grant.strip_prefix("commands = ").unwrap_or(&grant);
        let network = if network.is_empty() { String::new() } else { format!(", network = [{}]", network.join(", ")) };
        return format!("{}{network} }}", grant.strip_suffix(" }").unwrap_or(grant));
    }
    let list = |items: Vec<&str>| items.into_iter().map(|item| toml_string(&item.replace("${", "$${"))).collect::<Vec<_>>().join(", ");
    let toolchain = match &toolchains(programs, context)[..] {
        [one] => toml_string(one),
        several => format!("[{}]", list(several.to_vec())),
    };
    let programs = list(programs.iter().map(String::as_str).collect());
    let network = if network.is_empty() { String::new() } else { format!(", network = [{}]", network.join(", ")) };
    format!("{{ in = \"process\", toolchain = {toolchain}, programs = [{programs}]{network} }}")
}

/// Those that hold the programs; at least one. All of them show the system's programs too.
fn toolchains(programs: &BTreeSet<String>, context: &GrantContext) -> Vec<&'static str> {
    let mut found: Vec<&'static str> = Vec::new();
    for program in programs {
        let known = KNOWN.iter().find(|(_, names)| names.contains(&program.as_str())).map(|(name, _)| *name);
        let installed = || {
            let below = |folder: &str| program.split('/').any(|part| part == folder);
            if below("node_modules") { Some("node") } else { (below(".venv") || below("venv")).then_some("python") }
        };
        let holds = |name: &&str| toolchain::expand(name, &context.root, &context.host_env).is_ok_and(|it| provides(&it, program));
        let by_name = known.or_else(installed);
        let searched = || (!program.contains('/')).then(|| toolchain::NAMES.into_iter().find(holds)).flatten();
        let name = by_name.or_else(searched).unwrap_or("system");
        if !found.contains(&name) {
            found.push(name);
        }
    }
    if found.len() > 1 {
        found.retain(|name| *name != "system");
    }
    found.sort_by_key(|name| toolchain::NAMES.iter().position(|known| known == name));
    found
}

/// Whether a toolchain of this machine has a program, for a project in `root`.
///
/// # Errors
/// Why not, for people.
pub fn provided(name: &str, program: &str, root: &Path, host_env: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
    let toolchain = toolchain::expand(name, root, host_env).map_err(|error| error.to_string())?;
    provides(&toolchain, program).then_some(()).ok_or_else(|| format!("the toolchain `{name}` of this machine has no `{program}`"))
}

/// Whether a toolchain has a program on its `PATH`.
fn provides(toolchain: &Toolchain, program: &str) -> bool {
    toolchain.path.iter().any(|folder| {
        let inside = folder.join(program);
        let on_host = toolchain.binds.iter().filter_map(|bind| {
            let rest = inside.strip_prefix(&bind.inside).ok()?;
            Some(bind.host.join(rest))
        });
        on_host.chain([inside.clone()].into_iter().filter(|path| path.starts_with("/usr"))).any(|path| is_file(&path))
    })
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file())
}

/// The programs of every command line in a stage's settings.
fn collect(node: &Node, programs: &mut BTreeSet<String>) {
    match &node.value {
        Value::Table(table) => {
            for (key, value) in &table.entries {
                if COMMAND_LINES.contains(&key.name.as_str()) {
                    programs_of(value, programs);
                }
                // a script without a shell of its own
                if key.name == "script" && table.get("shell").is_none() {
                    programs.insert("sh".to_owned());
                }
                collect(value, programs);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, programs)),
        _ => {}
    }
}

fn programs_of(line: &Node, programs: &mut BTreeSet<String>) {
    let Value::Array(words) = &line.value else { return };
    match words.first().map(|word| &word.value) {
        Some(Value::String(program)) => {
            programs.insert(program.clone());
        }
        _ => words.iter().for_each(|line| programs_of(line, programs)),
    }
}

fn key<'a>(node: &'a Node, name: &str) -> Option<&'a Node> {
    match &node.value {
        Value::Table(table) => table.get(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use pipeline::learning::Touched;

    use super::*;

    fn learning_of(settings: &str, granted: Option<&str>) -> Result<String, String> {
        let tree = |text: &str| pipeline::raw::tree(text).expect("TOML");
        let (settings, granted) = (tree(settings), granted.map(tree));
        let context = capability::testing::context();
        learning(&Learning { context: &context, settings: Some(&settings), granted: granted.as_ref(), hosts: &[] })
    }

    fn learned_of(used: &[Used<'_>]) -> Option<String> {
        let (context, touched) = (capability::testing::context(), Touched::default());
        learned(&Lesson { context: &context, granted: None, used, touched: &touched })
    }

    #[test]
    fn programs_are_those_that_the_settings_name() {
        let settings = "tools = [{ run = [\"cargo\", \"clippy\"] }, { run = [\"npx\", \"eslint\"] }]\n";
        assert_eq!(
            learning_of(settings, None).as_deref(),
            Ok("{ in = \"process\", toolchain = [\"rust\", \"node\"], programs = [\"cargo\", \"npx\"] }")
        );
        let lines = "run = [[\"./build.sh\"], [\"sh\", \"-c\", \"x\"]]\n";
        assert_eq!(
            learning_of(lines, None).as_deref(),
            Ok("{ in = \"process\", toolchain = \"system\", programs = [\"./build.sh\", \"sh\"] }")
        );
        assert_eq!(
            learning_of("script = \"ls\"\n", None).as_deref(),
            Ok("{ in = \"process\", toolchain = \"system\", programs = [\"sh\"] }")
        );
        assert!(learning_of("lockfiles = [\"Cargo.lock\"]\n", None).is_err());
    }

    #[test]
    fn hosts_are_those_that_were_confirmed_and_contacted() {
        let context = capability::testing::context();
        let settings = pipeline::raw::tree("run = [\"npm\", \"ci\"]\n").expect("TOML");
        let hosts = ["registry.example".to_owned(), "localhost:4873".to_owned()];
        let wide = learning(&Learning { context: &context, settings: Some(&settings), granted: None, hosts: &hosts }).expect("a grant");
        assert!(wide.contains(r#"network = ["registry.example:443", "registry.example:80", "localhost:4873"]"#), "{wide}");
        let start = Used { effect: "commands.start", subject: "npm ci", request: r#"{"program":"npm"}"# };
        let connect = Used { effect: event::CONNECT, subject: "registry.example:443", request: "" };
        let expected = r#"{ in = "process", toolchain = "node", programs = ["npm"], network = ["registry.example:443"] }"#;
        assert_eq!(learned_of(&[start, connect]).as_deref(), Some(expected));
        assert_eq!(confirmable(&connect).as_deref(), Some("registry.example:443"));
        assert_eq!(confirmable(&start), None);
    }

    #[test]
    fn nothing_is_learned_of_programs_on_the_host() {
        assert!(learning_of("run = [\"make\"]\n", Some("in = \"host\"\nprograms = [\"make\"]\n")).is_err());
    }

    #[test]
    fn programs_in_containers_stay_there() {
        let granted = "in = \"container\"\nimage = \"node:20\"\nprograms = [\"npm\"]\nmemory = \"1GiB\"\n";
        assert_eq!(
            learning_of("run = [\"npx\", \"eslint\"]\n", Some(granted)).as_deref(),
            Ok("{ in = \"container\", image = \"node:20\", programs = [\"npm\", \"npx\"], memory = \"1GiB\" }")
        );
    }

    #[test]
    fn programs_are_those_that_were_started() {
        let requests = ["cargo", "./scripts/check.sh", "cargo"].map(|program| serde_json::json!({ "program": program }).to_string());
        let used: Vec<Used<'_>> = requests.iter().map(|request| Used { effect: "commands.start", subject: "", request }).collect();
        assert_eq!(
            learned_of(&used).as_deref(),
            Some("{ in = \"process\", toolchain = \"rust\", programs = [\"./scripts/check.sh\", \"cargo\"] }")
        );
        assert_eq!(learned_of(&[]), None);
    }
}
