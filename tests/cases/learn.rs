//! `exec --learn`: the smallest grants that let a run pass, on repositories that the ecosystems' own tools made; and what it never grants.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use end_to_end::repository::{commit, git, pull_request, push};
use end_to_end::{Finished, Project, Registry, Server, confined, has, skipped};

use crate::RUNNER;

/// Runs a tool of an ecosystem in the project. `None`: it is not here, or could not do it; then the words say what is missing.
fn tool(project: &Project, program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).current_dir(project.path()).stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => Err(format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr))),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

/// Whether a test can go on. A tool that must be there is missing: it is skipped with a word on why, or fails where everything must be there.
fn there(test: &str, result: Result<String, String>) -> bool {
    match result {
        Ok(_) => true,
        Err(why) if std::env::var_os("PIPELINE_TEST_REQUIRE_ENGINES").is_some() => panic!("{test}: {why}"),
        Err(why) => {
            skipped(&format!("{test}: {why}"));
            false
        }
    }
}

/// Takes every grant out of a pipeline that `init` wrote.
fn without_grants(text: &str) -> String {
    let mut kept = String::new();
    let mut in_grants = false;
    for line in text.lines() {
        if line.starts_with('[') {
            in_grants = line.ends_with(".grants]");
        } else if line.starts_with("# ----") {
            in_grants = false;
        }
        if !in_grants {
            writeln!(kept, "{line}").expect("writing to a string");
        }
    }
    kept
}

/// The grants of a pipeline, as they stand in its text.
fn grants(text: &str) -> String {
    let mut found = String::new();
    let mut in_grants = false;
    for line in text.lines() {
        if line.starts_with('[') || line.starts_with('#') {
            in_grants = line.ends_with(".grants]");
        }
        if in_grants && !line.is_empty() {
            writeln!(found, "{line}").expect("writing to a string");
        }
    }
    found
}

/// `init`, then learning from no grants, then a run with what was learned.
#[track_caller]
fn init_learn_and_run(project: &Project, learned: &str) {
    project.run(&["init"]).expect(0);
    project.run(&["check"]).expect(0);
    let written = project.read("pipeline.toml");
    let stripped = without_grants(&written);
    assert_ne!(stripped, written);
    project.write("pipeline.toml", &stripped);
    project.run(&["exec", "--format", "plain"]).expect(3).says("needs the grant");
    let run = project.run(&["exec", "--format", "plain", "--learn", "--learn-write"]).expect(0);
    let now = project.read("pipeline.toml");
    assert_eq!(grants(&now), learned, "--- printed\n{}", run.stdout);
    let comments = |text: &str| text.lines().filter(|line| line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(comments(&now), comments(&written), "the comments have changed");
    project.run(&["check"]).expect(0).says("no mistakes");
    project.exec().expect(0).says("PASSED");
}

#[test]
fn a_crate_made_by_cargo() {
    if !confined(RUNNER, "learning of a crate") {
        return;
    }
    let project = Project::new(RUNNER);
    let made = tool(&project, "cargo", &["init", "--quiet", "--lib", "--name", "shop"])
        .and_then(|_| tool(&project, "cargo", &["generate-lockfile", "--offline"]));
    if !there("a crate", made) {
        return;
    }
    init_learn_and_run(
        &project,
        r#"[stage.lint.grants]
files = [{ path = ".", access = "read" }]
commands = { in = "process", toolchain = "rust", programs = ["cargo"] }
[stage.test.grants]
files = [{ path = ".", access = "read" }]
commands = { in = "process", toolchain = "rust", programs = ["cargo"] }
[stage.audit.grants]
files = [{ path = "Cargo.lock", access = "read" }]
"#,
    );
}

#[test]
fn a_package_made_by_npm() {
    if !confined(RUNNER, "learning of a package") {
        return;
    }
    let project = Project::new(RUNNER)
        .file(".gitignore", "node_modules\n")
        .file("lib/price.js", "exports.total = (prices) => prices.reduce((sum, price) => sum + price, 0);\n")
        .file(
            "test/price.test.js",
            "const test = require(\"node:test\");\nconst assert = require(\"node:assert\");\nconst { total } = require(\"../lib/price.js\");\n\n\
             test(\"adds up\", () => assert.equal(total([1, 2]), 3));\n",
        );
    let made = tool(&project, "git", &["init", "--quiet"])
        .and_then(|_| tool(&project, "npm", &["init", "-y"]))
        .and_then(|_| tool(&project, "npm", &["pkg", "set", "scripts.test=node --test test/"]));
    if !there("a package", made) {
        return;
    }
    // without a registry there is no linter, and so no stage for one
    let linted = match tool(&project, "npm", &["install", "--save-dev", "--no-package-lock", "--no-audit", "--no-fund", "prettier"]) {
        Ok(_) => {
            assert!(tool(&project, "npx", &["prettier", "--write", "."]).is_ok());
            "[stage.lint.grants]\nfiles = [{ path = \".\", access = \"read\" }]\n\
             commands = { in = \"process\", toolchain = \"node\", programs = [\"npx\"] }\n"
        }
        Err(why) => {
            skipped(&format!("a package with a linter: {why}"));
            ""
        }
    };
    // the tests' folder is listed, and with the rest that they load that is most of the package
    let tested = "[stage.test.grants]\nfiles = [{ path = \".\", access = \"read\" }]\n\
                  commands = { in = \"process\", toolchain = \"node\", programs = [\"node\"] }\n";
    init_learn_and_run(&project, &format!("{linted}{tested}"));
}

/// Nothing to fetch: the whole chain, with the lockfile that npm wrote.
#[test]
fn a_package_with_its_lockfile_made_by_npm() {
    if !confined(RUNNER, "learning of a package with a lockfile") {
        return;
    }
    let project = Project::new(RUNNER).file(
        "test/price.test.js",
        "const test = require(\"node:test\");\nconst assert = require(\"node:assert\");\n\ntest(\"adds up\", () => assert.equal(1 + 2, 3));\n",
    );
    let made = tool(&project, "npm", &["init", "-y"])
        .and_then(|_| tool(&project, "npm", &["pkg", "set", "scripts.test=node --test test/"]))
        .and_then(|_| tool(&project, "npm", &["install", "--no-audit", "--no-fund"]));
    if !there("a package with a lockfile", made) {
        return;
    }
    assert!(project.read("package-lock.json").contains("lockfileVersion"));
    init_learn_and_run(
        &project,
        r#"[stage.test.grants]
files = [
  { path = "package.json", access = "read" },
  { path = "test", access = "read" },
]
commands = { in = "process", toolchain = "node", programs = ["node"] }
[stage.audit.grants]
files = [{ path = "package-lock.json", access = "read" }]
"#,
    );
}

#[test]
fn a_python_project_with_unittest() {
    if !confined(RUNNER, "learning of a Python project with unittest") || !has("python3", "`apt-get install python3`", "unittest") {
        return;
    }
    let project = Project::new(RUNNER)
        .file("pyproject.toml", "[project]\nname = \"shop\"\nversion = \"0.1.0\"\n")
        .file("shop/__init__.py", "def total(prices):\n    return sum(prices)\n")
        .file("tests/test_shop.py", "import unittest\n\nimport shop\n\n\nclass Shop(unittest.TestCase):\n    def test_total(self):\n        self.assertEqual(shop.total([1, 2]), 3)\n")
        .file("tests/__init__.py", "");
    init_learn_and_run(
        &project,
        r#"[stage.test.grants]
files = [{ path = ".", access = "read" }]
commands = { in = "process", toolchain = "python", programs = ["python3"] }
"#,
    );
}

#[test]
fn a_python_project() {
    if !confined(RUNNER, "learning of a Python project") {
        return;
    }
    let project = Project::new(RUNNER)
        .file("shop/__init__.py", "def total(prices):\n    return sum(prices)\n")
        .file("tests/test_shop.py", "import unittest\n\nimport shop\n\n\nclass Shop(unittest.TestCase):\n    def test_total(self):\n        self.assertEqual(shop.total([1, 2]), 3)\n")
        .file("tests/__init__.py", "");
    let environment = project.path().join(".venv");
    if !there("a Python project", tool(&project, "python3", &["-m", "venv", ".venv"])) {
        return;
    }
    let pip = environment.join("bin/pip");
    let pytest = tool(&project, &pip.to_string_lossy(), &["install", "--quiet", "--disable-pip-version-check", "pytest"]);
    let (dependencies, program) = match &pytest {
        Ok(_) => ("[dependency-groups]\ndev = [\"pytest\"]\n", "pytest"),
        Err(why) => {
            skipped(&format!("a Python project with pytest: {why}"));
            ("", "python3")
        }
    };
    let project = project
        .file("pyproject.toml", format!("[project]\nname = \"shop\"\nversion = \"0.1.0\"\n\n{dependencies}"))
        .env("VIRTUAL_ENV", &environment.to_string_lossy());
    init_learn_and_run(
        &project,
        &format!(
            "[stage.test.grants]\nfiles = [{{ path = \".\", access = \"read\" }}]\n\
             commands = {{ in = \"process\", toolchain = \"python\", programs = [\"{program}\"] }}\n"
        ),
    );
}

/// A pipeline of one stage that runs a script.
fn script(text: &str, grants: &str) -> String {
    format!(
        "format = 1\nname = \"learn\"\n\n[stage.try] # the one\nuses = \"command\"\n\n[stage.try.with]\nscript = '''\n{text}\n'''\n{grants}"
    )
}

fn learn(project: &Project, more: &[&str]) -> Finished {
    project.run(&[&["exec", "--format", "plain", "--learn"], more].concat())
}

#[test]
fn files_are_granted_where_they_were_used_and_written() {
    if !confined(RUNNER, "learning of files") {
        return;
    }
    let project = Project::new(RUNNER);
    for path in ["src/a", "src/b", "src/c", "docs/x", "docs/y", "notes", "out/old", "other/1", "other/2", "more", "a/1", "b/1", "c/1"] {
        project.write(path, path);
    }
    project.write("pipeline.toml", script("cat src/a src/b src/c docs/x > /dev/null; echo new > out/new; echo more >> notes", ""));
    learn(&project, &["--learn-out", "learned.toml"]).expect(0);
    assert_eq!(
        project.read("learned.toml"),
        "[stage.try.grants]\nfiles = [\n  { path = \"docs/x\", access = \"read\" },\n  { path = \"notes\", access = \"write\" },\n  \
         { path = \"out\", access = \"write\" },\n  { path = \"src\", access = \"read\" },\n]\n\
         commands = { in = \"process\", toolchain = \"system\", programs = [\"sh\"] }\n"
    );
    assert!(!project.path().join("out/new").exists(), "it was written into the checkout");
    let grants = format!("\n{}", project.read("learned.toml"));
    project.write("pipeline.toml", script("cat src/a src/b src/c docs/x > /dev/null; echo new > out/new; echo more >> notes", &grants));
    project.exec().expect(0);
}

#[test]
fn what_is_granted_and_not_used_is_told() {
    if !confined(RUNNER, "learning with grants") {
        return;
    }
    let grants = "\n[stage.try.grants]\nhttp = [{ url = \"https://api.example/**\" }]\ncommands = { in = \"process\", programs = [\"sh\", \"make\"] } # two\n";
    let project = Project::with_pipeline(RUNNER, &script("true", grants));
    let learned = learn(&project, &["--learn-write"]).expect(0);
    learned.says("removable: [stage.try.grants] commands: \"make\" in `programs`: never started").says("http: { url = ");
    let text = project.read("pipeline.toml");
    assert!(text.contains("programs = [\"sh\"], toolchain = \"system\" } # two") && text.contains("https://api.example/**"), "{text}");
}

/// What programs did with files is seen while learning, and so is what they left alone.
#[test]
fn files_that_no_program_used_are_told_to_go() {
    if !confined(RUNNER, "learning with grants for files") {
        return;
    }
    let grants = "\n[stage.try.grants]\nfiles = [{ path = \"src\", access = \"write\" }, { path = \"docs\", access = \"read\" }, { path = \"out\", access = \"write\" }]\n\
                  commands = { in = \"process\", programs = [\"sh\"] }\n";
    let project =
        Project::with_pipeline(RUNNER, &script("cat src/a > out/new", grants)).file("src/a", "a").file("docs/x", "x").file("out/old", "o");
    learn(&project, &[])
        .expect(0)
        .says("removable: [stage.try.grants] files: { path = \"docs\", access = \"read\" }: nothing there was used")
        .says("removable: [stage.try.grants] files: { path = \"src\", access = \"write\" }: never written; { path = \"src\", access = \"read\" } is enough")
        .never_says("{ path = \"out\", access = \"write\" }: ")
        .says("  { path = \"out\", access = \"write\" },\n  { path = \"src/a\", access = \"read\" },\n");
}

/// From empty grants to an installation: the host is refused by name, confirmed, learned, and enough. Without any host that was confirmed, programs have no
/// network that could tell what they ask for.
#[test]
fn a_host_that_was_confirmed_is_learned_for_programs() {
    let test = "a_host_that_was_confirmed_is_learned_for_programs";
    if !confined(RUNNER, test) || !has("npm", "install Node.js, such as with `apt-get install npm`", test) {
        return;
    }
    let registry = Registry::start();
    registry.npm_package("greet", "true");
    let host = registry.host();
    let stage = "format = 1\nname = \"learn\"\n\n[stage.install]\nuses = \"command\"\n\n[stage.install.with]\nrun = [\"npm\", \"install\", \"--no-audit\", \"--no-fund\", \"greet\"]\n";
    let project = Project::with_pipeline(RUNNER, stage)
        .file("package.json", "{ \"name\": \"shop\", \"version\": \"1.0.0\" }")
        .file(".npmrc", format!("registry=http://{host}/\nfetch-retries=0\n"));
    let wanted = format!("asked for, not confirmed: {host} (install); if you mean it, run again with --learn-host {host}");
    learn(&project, &[]).expect(1).says("not learned: install: it did not pass");
    learn(&project, &["--learn-host", "idle.example"]).expect(1).says(&wanted).says("not learned: install: it did not pass");
    assert_eq!(registry.asked(), [""; 0], "nobody confirmed it");

    let confirmed = ["--learn-host", &host, "--learn-host", "idle.example", "--learn-write"];
    learn(&project, &confirmed).expect(0).never_says("not confirmed");
    assert_eq!(
        project.read("pipeline.toml"),
        format!(
            "{stage}\n[stage.install.grants]\nfiles = [{{ path = \".\", access = \"write\" }}]\n\
             commands = {{ in = \"process\", toolchain = \"node\", programs = [\"npm\"], network = [\"{host}\"] }}\n"
        )
    );
    project.exec().expect(0);
    assert!(!project.path().join("node_modules").exists(), "it was installed into a copy");

    // what stands in the file and is not needed
    let more = format!("network = [\"{host}\", \"idle.example:443\"]");
    project.replace("pipeline.toml", &format!("network = [\"{host}\"]"), &more);
    learn(&project, &[]).expect(0).says("removable: [stage.install.grants] commands: \"idle.example:443\" in `network`: never contacted");
}

/// Learning grants what the code asks for, so whoever starts it must be the one whose code it is.
#[test]
fn only_a_run_of_ones_own_learns() {
    let project = Project::with_pipeline(RUNNER, &script("echo RAN", ""));
    git(&project, &["init", "-q", "-b", "main"]);
    commit(&project, "first");
    let text = project.read("pipeline.toml");
    let refused = |project: &Project, more: &[&str], trust: &str| {
        let finished = learn(project, &[&["--learn-write", "--learn-out", "learned.toml"], more].concat()).expect(2);
        finished.says(&format!("this one is of trust `{trust}`")).never_says("RAN");
        assert_eq!(project.runs(), [""; 0], "no run was made");
        assert_eq!(project.read("pipeline.toml"), text);
        assert!(!project.path().join("learned.toml").exists());
    };
    refused(&project, &["--event", "push"], "branch");
    refused(&project, &["--event", "push", "--ref", "refs/tags/v1"], "tag");
    refused(&project, &["--event", "pull-request", "--base", "main"], "pull-request");
    let project = push(project);
    refused(&project, &[], "branch");
    let project = pull_request(project, "acme/shop");
    refused(&project, &[], "pull-request");
    let project = pull_request(project, "mallory/shop");
    refused(&project, &[], "fork");
}

#[test]
fn a_hostile_stage_learns_nothing() {
    if !confined(RUNNER, "a hostile stage that learns") {
        return;
    }
    let home = tempfile::tempdir().expect("a home");
    std::fs::create_dir(home.path().join(".ssh")).expect("a folder");
    let key = home.path().join(".ssh/id_ed25519");
    std::fs::write(&key, "KEY-THAT-NOBODY-GETS").expect("a key");
    let server = Server::start();
    let address = server.url("").replace("http://", "");
    let project = Project::hostile(RUNNER).file("real", "x");
    let tries = [
        format!("{{ do = \"std-read\", path = {:?} }}", up_to(project.path(), &key)),
        format!("{{ do = \"command\", run = [\"sh\", \"-c\", \"cat {} /workspace/.git/config; echo done\"] }}", key.display()),
        format!("{{ do = \"http\", url = \"http://{address}/home\" }}"),
        "{ do = \"http\", url = \"http://169.254.169.254/latest/meta-data/\" }".to_owned(),
        "{ do = \"std-read\", path = \"/workspace/.runner/runs\" }".to_owned(),
    ];
    project.tries("", "", &tries.iter().map(String::as_str).collect::<Vec<_>>());
    learn(&project, &["--learn-host", "169.254.169.254"]).expect(2).says("a cloud's metadata address");
    let run = learn(&project, &["--verbose"]).expect(0);
    let run = run.never_says("KEY-THAT-NOBODY-GETS").says(&format!("asked for, not confirmed: {address}")).says("denied, not learned:");
    assert_eq!(server.asked().len(), 0, "it phoned home");
    let learned = run.stdout.split("the smallest grants").nth(1).expect("something was learned");
    assert!(!learned.contains(".ssh\"") && !learned.contains("http = "), "{learned}");
    // what somebody confirms is granted, by its path and method
    let run = learn(&project, &["--learn-host", &address]).expect(0);
    run.says(&format!("http = [{{ url = \"http://{address}/home\", methods = [\"GET\"] }}]"));
    assert_eq!(server.asked().len(), 1);
}

/// A path by `..` alone.
fn up_to(from: &Path, to: &Path) -> String {
    format!("{}{}", "../".repeat(from.components().count() + 8), to.strip_prefix("/").expect("absolute").display())
}

#[test]
fn a_file_that_changes_meanwhile_is_not_written() {
    if !confined(RUNNER, "learning while the file changes") {
        return;
    }
    let project = Project::with_pipeline(RUNNER, &script("echo begun; sleep 3", ""));
    let running = project.start(&["exec", "--format", "plain", "--verbose", "--learn", "--learn-write"]);
    running.wait_until("begun");
    project.write("pipeline.toml", "# somebody's\n");
    running.finish().expect(2).says("was changed while the stages ran");
    assert_eq!(project.read("pipeline.toml"), "# somebody's\n");
}

#[test]
fn learning_is_refused_where_nobody_would_see_what_happens() {
    let project = Project::with_pipeline(RUNNER, &script("true", ""));
    learn(&project, &["--unconfined"]).expect(2).says("unconfined");
    learn(&project, &["--learn-host", "https://x/"]).expect(2).says("is no host");
    project.run(&["exec", "--learn-host", "x"]).expect(2);
}
