//! May this stage start this program? A pure function of the grant and the command.
//!
//! What a started program does is not asked here: that is what the confinement bounds.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use capability::denial::toml_string;
use capability::outlet;
use capability::state::{SCRATCH, WORKSPACE};
use capability::{Class, Decision, Denial, Effect, Nothing, Policy};
use egress::AllowList;
use pipeline::plan::SecretUse;
use pipeline::secret::Destination;
use secret::Held;
use serde::{Deserialize, Serialize};

use crate::grant::{CommandsGrant, Place, Within, normal_path, normal_program};

/// What happens to an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Output {
    Log,
    Capture,
    Both,
    Discard,
}

/// Starting a program: `commands.start`.
#[derive(Debug, Clone, Serialize)]
pub struct Start {
    pub program: String,
    pub arguments: Vec<String>,
    pub env: Vec<(String, String)>,
    pub directory: Option<String>,
    #[serde(serialize_with = "digest")]
    pub stdin: Vec<u8>,
    pub stdout: Output,
    pub stderr: Output,
    pub timeout: Option<Duration>,
    /// Under which it answers as `<name>.stage`.
    pub name: Option<String>,
    /// The grant says that running it twice does no harm. No part of what was asked.
    #[serde(skip)]
    pub repeatable: bool,
}

/// Input is recorded as its length and its BLAKE3.
fn digest<S: serde::Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    (bytes.len(), blake3::hash(bytes).to_hex().as_str()).serialize(to)
}

/// What starting answered: the process's number.
pub type Started = Result<u32, StartError>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    System(String),
    #[error("{0}")]
    Limit(String),
}

impl Effect for Start {
    const NAME: &'static str = "commands.start";
    type Question = Nothing;
    type Seen = ();
    type Reply = Started;

    fn subject(&self) -> Cow<'_, str> {
        Cow::Owned(command_line(&self.program, &self.arguments))
    }

    fn class(&self) -> Class {
        // a background process is started again after a crash; a foreground one must not run twice unless the grant says so
        if self.may_run_again() { Class::Idempotent } else { Class::Once }
    }
}

impl Start {
    /// Whether a runner that was killed starts it again by itself.
    pub fn may_run_again(&self) -> bool {
        self.name.is_some() || self.repeatable
    }
}

/// A command line as a person would type it, for messages. Never given to a shell.
pub fn command_line(program: &str, arguments: &[String]) -> String {
    let mut line = quoted(program).into_owned();
    for argument in arguments {
        line.push(' ');
        line.push_str(&quoted(argument));
    }
    line
}

fn quoted(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) { Cow::Borrowed(word) } else { Cow::Owned(format!("'{}'", word.replace('\'', "'\\''"))) }
}

/// Variables that decide what a program loads or where programs are found: a stage that could set them could run what is not granted.
const DECIDING: &[&str] = &["PATH", "HOME", "TMPDIR", "IFS", "ENV", "BASH_ENV", "SHELLOPTS"];

/// Whether a secret may be in the environment of a program.
fn admits(one: &SecretUse, program: &str) -> bool {
    one.secret.to.iter().any(|to| match Destination::parse(to) {
        Ok(Destination::Environment(None)) => true,
        Ok(Destination::Environment(Some(only))) => normal_program(&only).as_deref() == Some(program),
        _ => false,
    })
}

/// The grant as policy sees it, with the stage that a remedy names.
pub struct Rules<'a> {
    pub grant: Option<&'a CommandsGrant>,
    pub stage: &'a str,
    /// The stage's `env`, which every program gets.
    pub env: &'a [(String, String)],
    pub held: &'a Held,
}

impl Policy<Start> for Rules<'_> {
    fn decide(&self, start: &Start, (): &()) -> Decision<Nothing> {
        match self.refusal(start) {
            Some(denial) => Decision::Deny(denial),
            None => Decision::Allow,
        }
    }
}

impl Rules<'_> {
    fn refusal(&self, start: &Start) -> Option<Denial> {
        let Some(program) = normal_program(&start.program) else {
            return Some(Denial::new("program-path", format!("`{}` names no program", start.program.escape_debug())));
        };
        let Some(grant) = self.grant.filter(|grant| grant.programs.contains(&program)) else {
            let code = if program.contains('/') { "program-path" } else { "not-granted" };
            let reason = format!("the stage's grants do not allow to start `{program}`");
            return Some(Denial::new(code, reason).remedy(self.stage, self.with_program(&start.program)));
        };
        for (name, _) in &start.env {
            let set_by_toolchain = grant.toolchains.iter().any(|(_, t)| t.env.iter().any(|(n, _)| n == name));
            let set_by_network = !grant.network.0.is_empty() && outlet::sets(name);
            if DECIDING.contains(&name.as_str()) || name.starts_with("LD_") || set_by_toolchain || set_by_network {
                let reason = format!("`{name}` decides what a program runs or how it reaches the network; only the host sets it");
                return Some(Denial::new("protected-variable", reason));
            }
        }
        if let Some(directory) = &start.directory {
            let inside = |root: &str, path: &str| path == root || path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'));
            let normal = normal_path(directory);
            if !normal.is_some_and(|path| inside(WORKSPACE, &path) || inside(SCRATCH, &path)) {
                let reason = format!("the working directory `{}` is outside {WORKSPACE} and {SCRATCH}", directory.escape_debug());
                return Some(Denial::new("outside-workspace", reason));
            }
        }
        self.misplaced(start, &program)
    }

    /// A secret can stand in a variable alone: everybody on the machine can see arguments, and a file that is fed outlives its program.
    fn misplaced(&self, start: &Start, program: &str) -> Option<Denial> {
        let misplaced = |one: &SecretUse, place: &str| {
            let reason = format!("the secret `{}` stands in {place}; a program can have it in a variable of `env`", one.secret.name);
            Some(Denial::new("secret-place", reason))
        };
        for word in start.arguments.iter().chain([&start.program]).chain(&start.directory).chain(&start.name) {
            if let Some(one) = self.held.within(word.as_bytes()).next() {
                return misplaced(one, "the command line");
            }
        }
        if let Some(one) = self.held.within(&start.stdin).next() {
            return misplaced(one, "the program's input");
        }
        for (name, value) in self.env.iter().chain(&start.env) {
            if let Some(one) = self.held.within(name.as_bytes()).next() {
                return misplaced(one, "the name of a variable");
            }
            if let Some(one) = self.held.within(value.as_bytes()).find(|one| !admits(one, program)) {
                let places = one
                    .secret
                    .to
                    .iter()
                    .map(String::as_str)
                    .chain([&*format!("env:{program}")])
                    .map(toml_string)
                    .collect::<Vec<_>>()
                    .join(", ");
                let reason = format!("the secret `{}` may not be put into the environment of `{program}`", one.secret.name);
                let remedy = Some(format!("[secret.{}]\nto = [{places}]", one.secret.name));
                return Some(Denial { remedy, ..Denial::new("secret-place", reason) });
            }
        }
        None
    }

    /// The grant as it stands, and one program more.
    fn with_program(&self, program: &str) -> String {
        let none = CommandsGrant {
            place: Place::Process,
            programs: Vec::new(),
            repeatable: false,
            toolchains: Vec::new(),
            network: AllowList::default(),
        };
        let mut grant = self.grant.cloned().unwrap_or(none);
        grant.programs.push(program.to_owned());
        grant.to_string()
    }
}

/// As it would stand in a pipeline file.
impl fmt::Display for CommandsGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place.name();
        let toolchains: Vec<String> = self.toolchains.iter().map(|(name, _)| name.clone()).collect();
        let list = |items: &[String]| items.iter().map(|item| toml_string(item)).collect::<Vec<_>>().join(", ");
        let toolchain = match toolchains.as_slice() {
            [] => String::new(),
            [one] => format!("toolchain = {}, ", toml_string(one)),
            several => format!("toolchain = [{}], ", list(several)),
        };
        let within = self.place.container();
        let image = within.map(|within| format!("image = {}, ", toml_string(&within.image))).unwrap_or_default();
        write!(f, "commands = {{ in = \"{place}\", {image}{toolchain}programs = [{}]", list(&self.programs))?;
        if self.repeatable {
            f.write_str(", repeatable = true")?;
        }
        if !self.network.0.is_empty() {
            write!(f, ", network = [{}]", self.network.0.iter().map(outlet::written).collect::<Vec<_>>().join(", "))?;
        }
        if let Some(Within { full_network, ceilings, .. }) = within {
            let full = full_network.then(|| "network = \"full\"".to_owned());
            full.into_iter().chain(ceilings.written()).try_for_each(|key| write!(f, ", {key}"))?;
        }
        f.write_str(" }")
    }
}

#[cfg(test)]
mod tests {
    use pipeline::plan::Secret;

    use super::*;

    fn grant(programs: &[&str]) -> CommandsGrant {
        CommandsGrant {
            repeatable: false,
            place: Place::Process,
            programs: programs.iter().map(|p| normal_program(p).unwrap()).collect(),
            toolchains: vec![(
                "rust".into(),
                crate::jail::toolchain::Toolchain { env: vec![("CARGO_HOME".into(), "/home/stage/.cargo".into())], ..Default::default() },
            )],
            network: AllowList::default(),
        }
    }

    fn start(program: &str, env: &[&str], directory: Option<&str>) -> Start {
        Start {
            program: program.into(),
            arguments: vec!["--flag".into(), "two words".into()],
            env: env.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect(),
            directory: directory.map(str::to_owned),
            stdin: Vec::new(),
            stdout: Output::Log,
            stderr: Output::Log,
            timeout: None,
            name: None,
            repeatable: false,
        }
    }

    fn rules<'a>(grant: Option<&'a CommandsGrant>, held: &'a Held) -> Rules<'a> {
        Rules { grant, stage: "lint", env: &[], held }
    }

    fn verdict(programs: &[&str], start: &Start) -> &'static str {
        let grant = grant(programs);
        match rules(Some(&grant), &Held::default()).decide(start, &()) {
            Decision::Allow => "allow",
            Decision::Deny(denial) => match denial.code {
                Cow::Borrowed(code) => code,
                Cow::Owned(_) => unreachable!("codes are literals"),
            },
            Decision::Observe(never) => match never {},
        }
    }

    #[test]
    fn cases() {
        let some = &["cargo", "./scripts/check.sh", "/usr/bin/env"][..];
        for (wanted, command) in [
            ("allow", start("cargo", &[], None)),
            ("allow", start("cargo", &["RUST_LOG"], Some("/workspace/shop"))),
            ("allow", start("cargo", &[], Some("shop/../api"))),
            ("allow", start("cargo", &[], Some("/scratch"))),
            ("allow", start("./scripts/check.sh", &[], None)),
            ("allow", start("/workspace/scripts/check.sh", &[], None)),
            ("allow", start("scripts/../scripts/./check.sh", &[], None)),
            ("allow", start("/usr/bin/env", &[], None)),
            ("not-granted", start("rustc", &[], None)),
            ("not-granted", start("cargo ", &[], None)),
            ("program-path", start("./cargo", &[], None)),
            ("program-path", start("/usr/bin/cargo", &[], None)),
            ("program-path", start("/scratch/cargo", &[], None)),
            ("program-path", start("../cargo", &[], None)),
            ("program-path", start("", &[], None)),
            ("program-path", start("car\0go", &[], None)),
            ("program-path", start("..", &[], None)),
            ("protected-variable", start("cargo", &["LD_PRELOAD"], None)),
            ("protected-variable", start("cargo", &["LD_AUDIT"], None)),
            ("protected-variable", start("cargo", &["PATH"], None)),
            ("protected-variable", start("cargo", &["CARGO_HOME"], None)),
            ("outside-workspace", start("cargo", &[], Some("/"))),
            ("outside-workspace", start("cargo", &[], Some("/workspaces"))),
            ("outside-workspace", start("cargo", &[], Some("/workspace/../etc"))),
            ("outside-workspace", start("cargo", &[], Some("../.."))),
            ("outside-workspace", start("cargo", &[], Some("/etc"))),
        ] {
            assert_eq!(verdict(some, &command), wanted, "{command:?}");
        }
    }

    #[test]
    fn the_remedy_keeps_what_is_granted() {
        let grant = grant(&["cargo"]);
        let Decision::Deny(denial) = rules(Some(&grant), &Held::default()).decide(&start("npx", &[], None), &()) else {
            panic!("npx is not granted")
        };
        assert_eq!(
            denial.remedy.unwrap(),
            "[stage.lint.grants]\ncommands = { in = \"process\", toolchain = \"rust\", programs = [\"cargo\", \"npx\"] }"
        );
    }

    #[test]
    fn the_variables_of_the_proxy_are_the_hosts() {
        let mut grant = grant(&["cargo"]);
        let denied = |grant: &CommandsGrant, name| {
            let decision = rules(Some(grant), &Held::default()).decide(&start("cargo", &[name], None), &());
            matches!(decision, Decision::Deny(denial) if denial.code == "protected-variable")
        };
        assert!(!denied(&grant, "HTTPS_PROXY"));
        grant.network.0.push(egress::Entry::parse("registry.example:443").unwrap());
        for name in ["HTTPS_PROXY", "http_proxy", "NPM_CONFIG_PROXY", "no_proxy", "CARGO_HTTP_PROXY", "PIP_PROXY"] {
            assert!(denied(&grant, name), "{name}");
        }
        assert!(!denied(&grant, "RUST_LOG"));
    }

    #[test]
    fn without_a_grant_nothing_starts() {
        assert!(matches!(rules(None, &Held::default()).decide(&start("cargo", &[], None), &()), Decision::Deny(_)));
    }

    #[test]
    fn secrets_stand_in_variables_that_their_places_allow() {
        let placeholder = "__secret-token-0123456789abcdef0123456789abcdef__";
        let held = |to: &[&str]| {
            let to = to.iter().map(|to| (*to).to_owned()).collect();
            let secret = Secret { name: "token".into(), from: "env:TOKEN".into(), to, audience: None, scope: None, token: None };
            Held::placeholders(vec![SecretUse { secret, placeholder: placeholder.into(), read: false }])
        };
        let grant = grant(&["cargo", "./scripts/check.sh"]);
        let plain = |program: &str| Start { env: Vec::new(), ..start(program, &[], None) };
        let with = |program: &str| Start { env: vec![("TOKEN".into(), format!("x{placeholder}"))], ..plain(program) };
        let decide = |to: &[&str], start: &Start| match rules(Some(&grant), &held(to)).decide(start, &()) {
            Decision::Allow => String::new(),
            Decision::Deny(denial) => denial.remedy.unwrap_or(denial.reason),
            Decision::Observe(never) => match never {},
        };
        assert_eq!(decide(&["env"], &with("cargo")), "");
        assert_eq!(decide(&["https://a.example/**", "env:cargo"], &with("cargo")), "");
        assert_eq!(decide(&["env:scripts/check.sh"], &with("./scripts/check.sh")), "");
        assert_eq!(
            decide(&["https://a.example/**", "env:npm"], &with("cargo")),
            "[secret.token]\nto = [\"https://a.example/**\", \"env:npm\", \"env:cargo\"]"
        );
        let argument = Start { arguments: vec![format!("--token={placeholder}")], ..plain("cargo") };
        assert!(decide(&["env"], &argument).contains("the command line"));
        let fed = Start { stdin: placeholder.into(), ..plain("cargo") };
        assert!(decide(&["env"], &fed).contains("input"));
        // the stage's own variables go to every program
        let (held, env) = (held(&["env:npm"]), [("TOKEN".to_owned(), placeholder.to_owned())]);
        let rules = Rules { grant: Some(&grant), stage: "lint", env: &env, held: &held };
        assert!(matches!(rules.decide(&plain("cargo"), &()), Decision::Deny(_)));
    }

    #[test]
    fn the_subject_reads_like_a_command_line() {
        assert_eq!(start("cargo", &[], None).subject(), "cargo --flag 'two words'");
    }
}
