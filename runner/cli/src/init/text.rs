//! The pipeline file for what was found: a stage of its own for every job, each with the smallest grants, and comments for whoever changes it.
//!
//! A stage that can't run on this machine (its toolchain is missing, its modules would have to be fetched) is written as a comment that says
//! why, so that the file always passes `check`. Pure. Deliberately absent: image builds and deployments, which no grant of this version covers.

use std::fmt::Write;

use capability::denial::toml_string;

use super::detect::{Found, Go, Kind, Manager, Node, NodeTest, Project, Python, PythonTest, Rust};

/// Whether a toolchain of this machine has a program; the reason if not.
pub type Here<'a> = &'a dyn Fn(&str, &str) -> Result<(), String>;

/// A stage on its way to being text.
struct Job {
    name: String,
    uses: &'static str,
    /// What it is for, in the heading.
    about: &'static str,
    /// Further lines of comment below the heading.
    notes: Vec<String>,
    /// Why it is only a comment.
    blocked: Option<String>,
    only_below: Option<String>,
    env: Vec<(&'static str, &'static str)>,
    /// Lines of `[stage.x.with]`.
    with: Vec<String>,
    /// Lines of `[stage.x.grants]`.
    grants: Vec<String>,
}

/// The whole file.
pub fn text(name: &str, found: &Found, here: Here<'_>) -> String {
    let mut jobs: Vec<Job> = Vec::new();
    for project in &found.projects {
        jobs.extend(jobs_of(project, &suffix(project, found), here));
    }
    jobs.extend(audit(found));
    let mut text = head(name, found);
    for job in &jobs {
        job.write(&mut text);
    }
    if jobs.iter().all(|job| job.blocked.is_some()) {
        placeholder(&mut text);
    }
    containers(found, &mut text);
    text
}

/// What was found, in words.
pub fn summary(found: &Found) -> Vec<String> {
    let mut lines: Vec<String> = found.projects.iter().map(describe).collect();
    let mut named = |what: &str, files: &[String]| lines.extend((!files.is_empty()).then(|| format!("{what}: {}", files.join(", "))));
    named("lockfiles", &found.lockfiles);
    named("Dockerfiles", &found.dockerfiles);
    named("compose files", &found.compose);
    lines
}

fn describe(project: &Project) -> String {
    let what = match &project.kind {
        Kind::Rust(Rust { workspace: true, .. }) => "a Cargo workspace",
        Kind::Rust(_) => "a Rust crate",
        Kind::Node(Node { manager: Manager::Npm, .. }) => "a Node.js package (npm)",
        Kind::Node(Node { manager: Manager::Yarn, .. }) => "a Node.js package (Yarn)",
        Kind::Node(Node { manager: Manager::Pnpm, .. }) => "a Node.js package (pnpm)",
        Kind::Python(_) => "a Python project",
        Kind::Go(_) => "a Go module",
    };
    if project.folder == "." { what.to_owned() } else { format!("{what} in {}", project.folder) }
}

/// What tells the stages of one project from another's; empty if there is one only.
fn suffix(project: &Project, found: &Found) -> String {
    if found.projects.len() == 1 {
        return String::new();
    }
    let kind = match &project.kind {
        Kind::Rust(_) => "rust",
        Kind::Node(_) => "node",
        Kind::Python(_) => "python",
        Kind::Go(_) => "go",
    };
    let shared = found.projects.iter().filter(|other| other.folder == project.folder).count() > 1;
    let folder: String = project.folder.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    match (project.folder.as_str(), shared) {
        (".", _) => format!("-{kind}"),
        (_, true) => format!("-{}-{kind}", folder.trim_matches('-')),
        (_, false) => format!("-{}", folder.trim_matches('-')),
    }
}

fn head(name: &str, found: &Found) -> String {
    let mut text = String::from("# What runner does for this repository. `runner init` found:\n#\n");
    for line in summary(found) {
        // writing into a String never fails
        let _ = writeln!(text, "#   {line}");
    }
    if found.projects.is_empty() {
        text.push_str("#   nothing that it knows\n");
    }
    text.push_str(
        "#
#   runner check           finds the mistakes in this file; runs nothing
#   runner plan            what would run, in which order, and what each stage may do
#   runner exec            does it
#   runner exec --learn    finds out the smallest grants, when a stage needs others
#
# The folder of this file is the workspace: paths are relative to it, and no stage sees anything outside of it. A stage may do what its
# grants say and nothing else; what is denied is reported with the line that would allow it.

format = 1                                   # the format of this file
",
    );
    let _ = writeln!(text, "name = {}", toml_string(&name.replace("${", "$${")));
    text.push_str("timeout = \"30m\"                              # for the whole run\n");
    text
}

impl Job {
    fn write(&self, to: &mut String) {
        let heading = format!("# ---- {}: {} ", self.name, self.about);
        let dashes = "-".repeat(120usize.saturating_sub(heading.chars().count()));
        let _ = writeln!(to, "\n{heading}{dashes}");
        for note in &self.notes {
            let _ = writeln!(to, "# {note}");
        }
        if let Some(why) = &self.blocked {
            let _ = writeln!(to, "# Not run here: {why}. Take the `# ` away to use it.");
        }
        let mut text = String::new();
        let _ = writeln!(text, "[stage.{}]", self.name);
        let _ = writeln!(text, "uses = \"{}\"  # `runner inspect {0}` lists its settings", self.uses);
        text.push_str("timeout = \"10m\"\n");
        if let Some(folder) = &self.only_below {
            let _ = writeln!(text, "if-changed = [{}]  # skipped where nothing below it changed", toml_string(&format!("{folder}/**")));
        }
        if !self.env.is_empty() {
            let pairs: Vec<String> = self.env.iter().map(|(name, value)| format!("{name} = \"{value}\"")).collect();
            let scratch = self.env.iter().any(|(_, value)| value.starts_with("/scratch"));
            let why = if scratch { "  # /scratch is the stage's own, and gone afterwards" } else { "" };
            let _ = writeln!(text, "env = {{ {} }}{why}", pairs.join(", "));
        }
        for (table, lines) in [("with", &self.with), ("grants", &self.grants)] {
            let _ = writeln!(text, "\n[stage.{}.{table}]", self.name);
            for line in lines {
                let _ = writeln!(text, "{line}");
            }
        }
        to.push('\n');
        match self.blocked {
            None => to.push_str(&text),
            Some(_) => text.lines().for_each(|line| {
                let _ = writeln!(to, "{}", format!("# {line}").trim_end());
            }),
        }
    }
}

fn jobs_of(project: &Project, suffix: &str, here: Here<'_>) -> Vec<Job> {
    let folder = project.folder.as_str();
    let mut jobs = match &project.kind {
        Kind::Rust(rust) => self::rust(rust, folder),
        Kind::Node(node) => self::node(node, folder),
        Kind::Python(python) => self::python(python, folder),
        Kind::Go(go) => self::go(go, folder),
    };
    let (toolchain, program) = match &project.kind {
        Kind::Rust(_) => ("rust", "cargo"),
        Kind::Node(_) => ("node", "node"),
        Kind::Python(_) => ("python", "python3"),
        Kind::Go(_) => ("system", "go"),
    };
    for job in &mut jobs {
        job.name.push_str(suffix);
        job.only_below = (folder != ".").then(|| folder.to_owned());
        if let Err(why) = here(toolchain, program) {
            job.blocked.get_or_insert(why);
        }
    }
    jobs
}

fn job(name: &str, uses: &'static str, about: &'static str) -> Job {
    let (notes, with, grants, env) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    Job { name: name.to_owned(), uses, about, notes, blocked: None, only_below: None, env, with, grants }
}

const LINT: &str = "does the code follow the rules?";
const TEST: &str = "does it do what it should?";

/// `{ run = [...], format = "..." }`, in a folder.
fn line(run: &[&str], format: &str, folder: &str) -> String {
    let run: Vec<String> = run.iter().map(|word| toml_string(word)).collect();
    let directory = if folder == "." { String::new() } else { format!(", directory = {}", toml_string(folder)) };
    format!("  {{ run = [{}], {format}{directory} }},", run.join(", "))
}

fn list(key: &str, lines: Vec<String>) -> Vec<String> {
    let mut all = vec![format!("{key} = [  # no shell in between: nothing needs quotes")];
    all.extend(lines);
    all.push("]".to_owned());
    all
}

fn files(folder: &str, access: &str, why: &str) -> String {
    format!("files = [{{ path = {}, access = \"{access}\" }}]  # {why}", toml_string(folder))
}

const READ: &str = "it sees this and can change nothing of it; \"write\" gives it a copy to change";

fn commands(toolchain: &str, programs: &[&str]) -> String {
    let mut names: Vec<String> = programs.iter().map(|program| toml_string(program)).collect();
    names.dedup();
    format!(
        "commands = {{ in = \"process\", toolchain = \"{toolchain}\", programs = [{}] }}  # confined: no network, no home folder",
        names.join(", ")
    )
}

fn rust(rust: &Rust, folder: &str) -> Vec<Job> {
    let all = rust.workspace.then_some("--workspace");
    let locked = rust.locked.then_some("--locked");
    let run = |words: &[&'static str], after: &[&'static str]| -> Vec<&'static str> {
        words.iter().copied().chain(locked).chain(all).chain(after.iter().copied()).collect()
    };
    let fmt: &[&str] = if rust.workspace { &["cargo", "fmt", "--all", "--check"] } else { &["cargo", "fmt", "--check"] };
    let mut lint = job("lint", "lint", LINT);
    lint.with = list(
        "tools",
        vec![
            line(&run(&["cargo", "clippy"], &["--all-targets", "--message-format=json"]), "format = \"cargo\"", folder),
            line(fmt, "format = \"diff\"", folder),
        ],
    );
    let mut test = job("test", "test", TEST);
    test.with = list("suites", vec![line(&run(&["cargo", "test"], &["--no-fail-fast"]), "format = \"libtest\"", folder)]);
    for job in [&mut lint, &mut test] {
        job.notes.push(
            "Crates come from cargo's registry on this machine, which it may read: run `cargo fetch` where they are not there yet.".into(),
        );
        job.env.push(("CARGO_TARGET_DIR", "/scratch/target"));
        // cargo writes the lockfile that is missing
        job.grants.push(match rust.locked || folder != "." {
            true => files(if rust.locked { folder } else { "." }, "read", READ),
            false => files(folder, "write", "a copy, in which cargo writes Cargo.lock; commit that file, and \"read\" is enough"),
        });
        job.grants.push(commands("rust", &["cargo"]));
    }
    vec![lint, test]
}

fn node(node: &Node, folder: &str) -> Vec<Job> {
    let (start, program): (&[&str], &str) = match node.manager {
        // `yarn run` prints lines of its own between those of the tool
        Manager::Npm | Manager::Yarn => (&["npx"], "npx"),
        Manager::Pnpm => (&["pnpm", "exec"], "pnpm"),
    };
    let manager = match node.manager {
        Manager::Npm => "npm",
        Manager::Yarn => "yarn",
        Manager::Pnpm => "pnpm",
    };
    let install = if node.manager == Manager::Npm { "npm ci" } else { manager };
    let tool = |words: &[&str], format: &str| line(&[start, words].concat(), format, folder);
    let finish = |job: &mut Job, program: &str| {
        if node.dependencies {
            job.notes.push(format!("Packages are those in node_modules: run `{install}` where they are not there yet."));
        }
        job.grants.push(files(folder, "read", READ));
        job.grants.push(commands("node", &[program]));
    };
    let mut jobs = Vec::new();
    let mut tools = Vec::new();
    tools.extend(node.eslint.then(|| tool(&["eslint", ".", "-f", "json"], "format = \"eslint\"")));
    tools.extend(node.typescript.then(|| tool(&["tsc", "--noEmit", "--pretty", "false"], "format = \"tsc\"")));
    tools.extend(node.prettier.then(|| tool(&["prettier", "--check", "."], "format = \"exit\"")));
    let script = tools.is_empty() && node.lint_script;
    if script {
        tools.push(line(&[manager, "run", "lint"], "format = \"exit\"", folder));
    }
    if !tools.is_empty() {
        let mut lint = job("lint", "lint", LINT);
        lint.with = list("tools", tools);
        finish(&mut lint, if script { manager } else { program });
        jobs.push(lint);
    }
    let own = |words: &[String]| -> Vec<String> {
        // without a folder to look in, node would look into node_modules too
        ["node", "--test"].into_iter().map(str::to_owned).chain(words.iter().cloned()).collect()
    };
    match &node.test {
        None => {}
        Some(NodeTest::Script) => {
            let mut test = job("test", "command", TEST);
            test.notes.push("The script `test` says itself how it went. With `uses = \"test\"` each test would be counted by name.".into());
            test.with.push(format!("run = [\"{manager}\", \"test\"]"));
            test.with.extend((folder != ".").then(|| format!("directory = {}", toml_string(folder))));
            finish(&mut test, manager);
            jobs.push(test);
        }
        Some(known) => {
            let mut test = job("test", "test", TEST);
            let (suite, program) = match known {
                NodeTest::Jest => (tool(&["jest", "--json"], "format = \"jest\""), program),
                NodeTest::Vitest => (tool(&["vitest", "run", "--reporter=json"], "format = \"jest\""), program),
                NodeTest::Node(words) => {
                    let words = own(words);
                    (line(&words.iter().map(String::as_str).collect::<Vec<_>>(), "format = \"node\"", folder), "node")
                }
                NodeTest::Script => return jobs,
            };
            test.with = list("suites", vec![suite]);
            finish(&mut test, program);
            jobs.push(test);
        }
    }
    jobs
}

fn python(python: &Python, folder: &str) -> Vec<Job> {
    let mut jobs = Vec::new();
    let finish = |job: &mut Job, programs: &[&str]| {
        job.notes.push(format!(
            "Programs are those of the active virtual environment: run `{}` where they are not there yet.",
            python.installer
        ));
        job.grants.push(files(folder, "read", READ));
        job.grants.push(commands("python", programs));
    };
    let mut tools = Vec::new();
    let mut programs = Vec::new();
    if python.ruff {
        tools.push(line(&["ruff", "check", "--no-cache", "--output-format", "json"], "format = \"ruff\"", folder));
        tools.push(line(&["ruff", "format", "--no-cache", "--diff"], "format = \"diff\"", folder));
        programs.push("ruff");
    }
    if python.mypy {
        tools.push(line(&["mypy", "--cache-dir=/scratch/mypy", "."], "format = \"lines\"", folder));
        programs.push("mypy");
    }
    if !tools.is_empty() {
        let mut lint = job("lint", "lint", LINT);
        lint.with = list("tools", tools);
        finish(&mut lint, &programs);
        jobs.push(lint);
    }
    match python.test {
        Some(PythonTest::Pytest) => {
            let mut test = job("test", "test", TEST);
            let run = ["pytest", "-p", "no:cacheprovider", "--junitxml=/scratch/junit.xml"];
            let format = "format = \"junit\", from = { file = \"/scratch/junit.xml\" }";
            test.with = list("suites", vec![line(&run, format, folder)]);
            test.env.push(("PYTHONDONTWRITEBYTECODE", "1"));
            finish(&mut test, &["pytest"]);
            jobs.push(test);
        }
        Some(PythonTest::Unittest) => {
            let mut test = job("test", "command", TEST);
            test.notes.push("With pytest and `uses = \"test\"` each test would be counted by name.".into());
            test.with.push("run = [\"python3\", \"-m\", \"unittest\", \"discover\"]".into());
            test.with.extend((folder != ".").then(|| format!("directory = {}", toml_string(folder))));
            test.env.push(("PYTHONDONTWRITEBYTECODE", "1"));
            finish(&mut test, &["python3"]);
            jobs.push(test);
        }
        None => {}
    }
    jobs
}

fn go(go: &Go, folder: &str) -> Vec<Job> {
    let mut lint = job("lint", "lint", LINT);
    lint.with = list(
        "tools",
        vec![
            line(&["go", "vet", "./..."], "format = \"lines\", from = \"stderr\"", folder),
            line(&["gofmt", "-l", "."], "format = \"exit\"", folder),
        ],
    );
    let mut test = job("test", "test", TEST);
    test.with = list("suites", vec![line(&["go", "test", "-json", "./..."], "format = \"go\"", folder)]);
    for (job, programs) in [(&mut lint, &["go", "gofmt"][..]), (&mut test, &["go"][..])] {
        job.env.extend([("GOCACHE", "/scratch/go-build"), ("GOPATH", "/scratch/go"), ("GOTOOLCHAIN", "local")]);
        job.grants.push(files(folder, "read", READ));
        job.grants.push(commands("system", programs));
        job.blocked = go.fetches.then(|| "its modules would have to be fetched; `go mod vendor` puts them into the repository".to_owned());
    }
    vec![lint, test]
}

fn audit(found: &Found) -> Option<Job> {
    if found.lockfiles.is_empty() {
        return None;
    }
    let mut audit = job("audit", "audit", "is a dependency known to be vulnerable?");
    let quoted: Vec<String> = found.lockfiles.iter().map(|path| toml_string(path)).collect();
    audit.with.push(format!("lockfiles = [{}]", quoted.join(", ")));
    audit.with.push("fail-on = \"medium\"  # info | low | medium | high | critical".to_owned());
    audit.grants.push("files = [  # the lockfiles, and what says which packages are for development only".to_owned());
    for path in &found.lockfiles {
        audit.grants.push(format!("  {{ path = {}, access = \"read\" }},", toml_string(path)));
        let (folder, name) = path.rsplit_once('/').map_or(("", path.as_str()), |(folder, name)| (folder, name));
        let beside = match name {
            "yarn.lock" => Some("package.json"),
            "poetry.lock" => Some("pyproject.toml"),
            "go.sum" => Some("go.mod"),
            "composer.lock" => Some("composer.json"),
            _ => None,
        };
        if let Some(beside) = beside {
            let path = if folder.is_empty() { beside.to_owned() } else { format!("{folder}/{beside}") };
            audit.grants.push(format!("  {{ path = {}, access = \"read\" }},", toml_string(&path)));
        }
    }
    audit.grants.push("]".to_owned());
    audit.grants.push(
        "http = [{ url = \"https://api.osv.dev/v1/**\", methods = [\"GET\", \"POST\"] }]  # the advisories, and no other host".to_owned(),
    );
    Some(audit)
}

/// A file without a stage is none.
fn placeholder(text: &mut String) {
    text.push_str(
        "
# ---- hello: a stage to begin with ----------------------------------------------------------------------------------------

[stage.hello]
uses = \"command\"  # runs what it is told to; `runner inspect` lists the other plugins
with = { run = [\"echo\", \"hello\"] }

[stage.hello.grants]
commands = { in = \"process\", programs = [\"echo\"] }  # confined: no network, no home folder, and no files
",
    );
}

fn containers(found: &Found, text: &mut String) {
    if let Some(compose) = found.compose.first() {
        let _ = write!(
            text,
            "
# ---- services: databases and servers of {compose}, beside a stage that names them -------------------------------------------
# They need a Docker engine and are fresh for each attempt. What of the file can't be had (`build`, published ports, ...) `runner check` says.
#
# [service.backend]
# compose = \"{compose}\"
# services = [\"db\"]  # these, and what they depend on; without it all that are in no profile
#
# And in the stage: services = [\"backend\"]
"
        );
    }
    if !found.dockerfiles.is_empty() {
        let _ = write!(
            text,
            "
# ---- containers: not yet ---------------------------------------------------------------------------------------------------
# Found: {}. Building images will be a grant of its own, `docker`. This version of runner has none, so nothing here builds them.
",
            found.dockerfiles.join(", ")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(_: &str, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn project(folder: &str, kind: Kind) -> Project {
        Project { folder: folder.to_owned(), kind }
    }

    fn node_of(test: Option<NodeTest>) -> Kind {
        let (eslint, typescript, dependencies) = (true, true, true);
        Kind::Node(Node { manager: Manager::Npm, eslint, prettier: false, typescript, lint_script: false, test, dependencies })
    }

    #[test]
    fn a_crate() {
        let kind = Kind::Rust(Rust { workspace: false, locked: true });
        let found = Found { projects: vec![project(".", kind)], lockfiles: vec!["Cargo.lock".into()], ..Found::default() };
        insta::assert_snapshot!(text("shop", &found, &here));
    }

    #[test]
    fn several_projects_with_containers() {
        let python = Python { ruff: true, mypy: false, test: Some(PythonTest::Pytest), installer: "uv sync" };
        let mut web = node_of(Some(NodeTest::Jest));
        if let Kind::Node(node) = &mut web {
            node.manager = Manager::Yarn;
        }
        let found = Found {
            projects: vec![project("api", Kind::Python(python)), project("web", web)],
            lockfiles: vec!["api/uv.lock".into(), "web/yarn.lock".into()],
            dockerfiles: vec!["Dockerfile".into()],
            compose: vec!["compose.yaml".into()],
        };
        insta::assert_snapshot!(text("shop", &found, &here));
    }

    #[test]
    fn what_cannot_run_here_is_a_comment() {
        let found = Found { projects: vec![project(".", Kind::Go(Go { fetches: true }))], ..Found::default() };
        let written = text("x", &found, &here);
        let table: toml::Table = written.parse().expect("TOML");
        assert_eq!(table["stage"].as_table().map(|stages| stages.keys().map(String::as_str).collect::<Vec<_>>()), Some(vec!["hello"]));
        assert!(written.contains("# Not run here: its modules would have to be fetched"), "{written}");
        let missing = |toolchain: &str, _: &str| Err(format!("no {toolchain}"));
        let found = Found { projects: vec![project(".", node_of(None))], ..Found::default() };
        assert!(text("x", &found, &missing).contains("# Not run here: no node."), "a toolchain is missing");
    }

    #[test]
    fn whatever_is_found_is_toml_with_a_stage() {
        let tests = || [None, Some(NodeTest::Jest), Some(NodeTest::Vitest), Some(NodeTest::Node(vec!["t".into()])), Some(NodeTest::Script)];
        for folder in [".", "we \"ird"] {
            for test in tests() {
                let found = Found { projects: vec![project(folder, node_of(test))], ..Found::default() };
                let table: toml::Table = text("a \"name\"", &found, &here).parse().expect("TOML");
                assert!(table["stage"].as_table().is_some_and(|stages| !stages.is_empty()));
            }
        }
    }
}
