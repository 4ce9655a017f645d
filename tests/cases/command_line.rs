//! The command line: exit codes, mistakes, plan, inspect, signals.

use end_to_end::Project;

use crate::RUNNER;

const TEN_MISTAKES: &str = r#"format = 1
name = "ten"
timeout = "soon"
colour = "red"

[input.level]
type = "numbr"

[stage.lint]
uses = "lnt"

[stage.build]
uses = "command"
needs = ["tset"]
retries = -1
when = 'inputs.level == 1'
with = { run = ["true"], tiemout = "1s" }
grants = { files = [{ path = "../up", access = "read" }], commands = { in = "procces", programs = ["true"] } }

[stage.ship]
uses = "command"
needs = ["ship"]
with = { run = ["true"] }
grants = { commands = { in = "process", programs = ["true"] } }
"#;

#[test]
fn ten_mistakes_are_ten_diagnostics() {
    let finished = Project::with_pipeline(RUNNER, TEN_MISTAKES).run(&["check"]).expect(3);
    let errors = finished.stderr.lines().filter(|line| line.starts_with("error[")).count();
    assert!(errors >= 10, "{errors} diagnostics\n{}", finished.stderr);
    finished.says("did you mean").says("pipeline.toml:3:").says("nothing was run");
}

#[test]
fn exec_of_an_invalid_pipeline_runs_nothing() {
    let project = Project::with_pipeline(RUNNER, TEN_MISTAKES);
    project.exec().expect(3);
    assert!(!project.path().join(".runner").exists(), "an invalid pipeline leaves nothing behind");
}

#[test]
fn a_missing_file_names_a_near_one() {
    let project = Project::with_pipeline(RUNNER, "format = 1\nname = \"x\"\n").file("deep/er/file", "");
    project.run(&["check", "-C", "deep/er"]).expect(2).says("there is no pipeline file").says("there is ");
    project.run(&["check", "nothing.toml"]).expect(2);
}

#[test]
fn usage_mistakes_exit_2() {
    let project = Project::new(RUNNER);
    project.run(&["exce"]).expect(2).says("exec");
    project.run(&["exec", "--input", "novalue"]).expect(2).says("NAME=VALUE");
    project.run(&["--help"]).expect(0).says("Exit codes");
    project.run(&["--version"]).expect(0).says("runner ");
}

#[test]
fn completions_and_the_man_page_are_printed() {
    let project = Project::new(RUNNER);
    for shell in ["bash", "zsh", "fish"] {
        project.run(&["completions", shell]).expect(0).says("exec");
    }
    project.run(&["man"]).expect(0).says(".TH runner").says("unconfined");
}

#[test]
fn inspect_shows_what_a_plugin_wants() {
    let project = Project::new(RUNNER);
    project.run(&["inspect"]).expect(0).says("smoke");
    project.run(&["inspect", "lint"]).expect(0).says("requests").says("commands").says("fail-on");
    project.run(&["inspect", "lnt"]).expect(2).says("bundled:");
    let json = project.run(&["inspect", "audit", "--format", "json"]).expect(0);
    let value: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(value["name"], "audit");
}
