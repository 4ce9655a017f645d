//! A pull request from a fork, with the pipeline of the base: all that it may try at once, and what the next run of the base finds.

use std::fs;

use end_to_end::repository::{commit, git, pull_request, push};
use end_to_end::{Project, Told, confined};
use serde_json::Value;

use crate::RUNNER;

/// A stage that installs by a script of the checkout, which a fork may change, and keeps what it installed.
const PIPELINE: &str = r#"
format = 1
name = "shop"

[cache.deps]
paths = ["~/.deps"]
key = ["v1", { files = ["deps.lock"] }]

[stage.install]
uses = "command"
caches = ["deps"]
[stage.install.with]
run = ["sh", "ci/install.sh"]
[stage.install.grants]
files = [{ path = ".", access = "read" }]
commands = { in = "process", toolchain = "system", programs = ["sh"] }
"#;

const INSTALL: &str = "if [ -f ~/.deps/of ]; then echo \"FOUND $(cat ~/.deps/of)\"; else echo FOUND nothing; fi\nmkdir -p ~/.deps && echo good > ~/.deps/of\n";

/// What the fork's own script does, as far as a stage of the base lets it.
const EVIL: &str = r#"if [ -f ~/.deps/of ]; then echo "FOUND $(cat ~/.deps/of)"; else echo FOUND nothing; fi
rm -rf ~/.deps/of; mkdir -p ~/.deps && echo poison > ~/.deps/of
can() { what=$1; shift; if "$@" >/dev/null 2>&1; then echo "CAN $what"; else echo "CANNOT $what"; fi; }
can run true
can write sh -c 'echo poison > /workspace/stolen'
can pipeline sh -c 'echo poison >> /workspace/pipeline.toml'
can caches ls /workspace/.runner/caches
can poison sh -c 'echo poison > /workspace/.runner/caches/branch-main'
can token sh -c 'env | grep -q DEPLOY_TOKEN'
"#;

/// What the fork makes of the pipeline: wider grants, a host, a secret, a stage that prints it, and one that works in the checkout.
fn widened() -> String {
    let wider = PIPELINE
        .replace("access = \"read\"", "access = \"write\"")
        .replace("programs = [\"sh\"]", "programs = [\"sh\"], network = [\"evil.example:443\"]")
        .replace("caches = [\"deps\"]", "caches = [\"deps\"]\nworkspace = \"shared\"");
    assert_ne!(wider, PIPELINE);
    format!(
        "{wider}\n[secret.deploy]\nfrom = \"env:DEPLOY_TOKEN\"\nto = [\"env:sh\"]\n\n[stage.steal]\nuses = \"command\"\nenv = {{ TOKEN = \"${{secret.deploy}}\" }}\n\
         with.script = \"echo STOLEN\"\ngrants.commands = {{ in = \"process\", programs = [\"sh\"] }}\n"
    )
}

/// What the cache said, and what the stage found in it.
fn ran(project: &Project, arguments: &[&str]) -> (Vec<String>, String, Told) {
    let told = project.run(&[&["exec", "--format", "json"], arguments].concat()).expect(0).told();
    let cached = told.all("cache").map(|event: &Value| event["result"].as_str().unwrap_or_default().to_owned()).collect();
    let found = told.log("install").lines().find_map(|line| line.strip_prefix("FOUND ").map(str::to_owned)).expect("it says what it found");
    (cached, found, told)
}

/// The fork is first, so that its poison is there before the base has anything, under the key that the base looks for now and under the one
/// that it will look for after its next change.
#[test]
fn nothing_that_a_fork_brings_takes_effect() {
    let test = "nothing_that_a_fork_brings_takes_effect";
    if !confined(RUNNER, test) {
        return;
    }
    let token = "ghp_0123456789abcdefghij";
    let project = Project::with_pipeline(RUNNER, PIPELINE).file("ci/install.sh", INSTALL).file("deps.lock", "1").env("DEPLOY_TOKEN", token);
    git(&project, &["init", "-q", "-b", "main"]);
    commit(&project, "first");
    git(&project, &["checkout", "-q", "-b", "evil"]);
    project.write("pipeline.toml", widened());
    project.write("ci/install.sh", EVIL);
    commit(&project, "evil");
    let changed = fs::read(project.path().join("pipeline.toml")).expect("the fork's file");

    let project = pull_request(project, "mallory/shop");
    let from_main = ["--pipeline-from", "main"];
    let fork = |project: &Project| {
        let (cached, _, told) = ran(project, &from_main);
        let log = told.log("install");
        for tried in ["write", "pipeline", "caches", "poison", "token"] {
            assert!(log.contains(&format!("CANNOT {tried}")), "{tried}\n{log}");
        }
        assert!(log.contains("CAN run"), "{log}");
        let printed = told.printed();
        assert!(!printed.contains("steal") && !printed.contains("STOLEN") && !printed.contains(token), "{printed}");
        assert_eq!(told.all("run-started").next().expect("it began")["trigger"]["trust"], "fork");
        assert!(!project.path().join("stolen").exists());
        assert_eq!(fs::read(project.path().join("pipeline.toml")).expect("the fork's file"), changed);
        cached
    };
    assert_eq!(fork(&project), ["missed", "saved"]);
    project
        .run(&["plan", "--pipeline-from", "main"])
        .expect(0)
        .never_says("evil.example")
        .never_says("steal")
        .never_says("write the whole");
    project.write("deps.lock", "2");
    commit(&project, "a newer lockfile");
    assert_eq!(fork(&project), ["restored", "saved"]);

    // the base: it has nothing yet, and what it has afterwards is its own
    git(&project, &["checkout", "-q", "main"]);
    let project = push(project);
    let (cached, found, _) = ran(&project, &[]);
    assert_eq!((cached.join(" ").as_str(), found.as_str()), ("missed saved", "nothing"));
    project.write("deps.lock", "2");
    commit(&project, "a newer lockfile");
    let (cached, found, _) = ran(&project, &[]);
    assert_eq!((cached.join(" ").as_str(), found.as_str()), ("restored saved", "good"));

    // a fork may use what the base has, and spoils a copy
    git(&project, &["checkout", "-q", "-b", "another", "main"]);
    project.write("ci/install.sh", EVIL);
    commit(&project, "evil again");
    let text = project.read(".git/event.json");
    let project = pull_request(project, "mallory/shop");
    assert_ne!(text, project.read(".git/event.json"));
    project.replace(".git/event.json", "\"number\":7", "\"number\":8");
    let project = project.without("GITHUB_REF").env("GITHUB_REF", "refs/pull/8/merge");
    let (cached, found, _) = ran(&project, &from_main);
    assert_eq!((cached.join(" ").as_str(), found.as_str()), ("hit", "good"));

    git(&project, &["checkout", "-q", "main"]);
    let project = push(project);
    for _ in 0..2 {
        let (cached, found, _) = ran(&project, &[]);
        assert_eq!((cached.join(" ").as_str(), found.as_str()), ("hit", "good"));
    }
}
