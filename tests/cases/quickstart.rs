//! The quickstart: green as it ships, and red in the right place when it is broken.

use std::path::Path;

use end_to_end::{Project, confined};

use crate::RUNNER;

fn quickstart() -> Project {
    Project::copy_of(RUNNER, &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/quickstart"))
}

#[test]
fn quickstart_is_green_and_leaves_nothing() {
    if !confined(RUNNER, "quickstart") {
        return;
    }
    let project = quickstart();
    let finished = project.run(&["exec", "--format", "plain", "--junit", "junit.xml"]).expect(0);
    for stage in ["lint", "test", "audit", "build", "smoke"] {
        assert!(finished.stdout.contains(stage), "{stage} is missing\n{}", finished.stdout);
    }
    assert!(project.read("junit.xml").contains("<testsuite"));
    assert!(!project.path().join("shop/target").exists(), "a build wrote into the checkout");
}

#[test]
fn plan_shows_order_authority_and_limits() {
    let project = quickstart();
    let plan = project.run(&["plan"]).expect(0);
    let at = |text: &str| plan.stdout.find(text).unwrap_or_else(|| panic!("no {text}\n{}", plan.stdout));
    assert!(at("lint") < at("build") && at("build") < at("smoke"));
    plan.says("read-only")
        .says("private copy")
        .says("run cargo (confined, no network)")
        .says("http://app.stage:8080/**")
        .says("timeout 5m");
    let json = project.run(&["plan", "--format", "json"]).expect(0);
    let value: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(value["stages"].as_array().map(Vec::len), Some(5));
    assert!(!project.path().join(".runner").exists(), "plan leaves nothing behind");
}

/// Runs the stage twice, for people and for programs: exit code 1 both times, and the same fault in plain text, JSON and JUnit.
#[track_caller]
fn broken(project: &Project, stage: &str, faults: &[&str]) {
    let only = format!("--only={stage}");
    let plain = project.run(&["exec", "--format", "plain", &only]).expect(1);
    let json = project.run(&["exec", "--format", "json", "--junit", "junit.xml", &only]).expect(1);
    let junit = project.read("junit.xml");
    let failed = json.events().iter().any(|e| e["event"] == "stage-finished" && e["stage"] == stage && e["outcome"]["outcome"] == "failed");
    assert!(failed, "no event says that {stage} failed\n{}", json.stdout);
    for fault in faults {
        for (report, text) in [("plain", &plain.stdout), ("json", &json.stdout), ("junit", &junit)] {
            assert!(text.contains(fault), "{report} does not say {fault:?}\n{text}");
        }
    }
}

#[test]
fn a_clippy_warning_is_told_at_its_line() {
    if !confined(RUNNER, "a clippy warning") {
        return;
    }
    let project = quickstart();
    let main = project.read("shop/src/main.rs");
    project.write("shop/src/main.rs", format!("{main}\n#[allow(dead_code)]\nfn needless() -> u8 {{\n    return 1;\n}}\n"));
    broken(&project, "lint", &["needless_return", "shop/src/main.rs"]);
}

#[test]
fn a_failing_test_is_told_by_name_and_line() {
    if !confined(RUNNER, "a failing test") {
        return;
    }
    let project = quickstart();
    project.write("shop/tests/broken.rs", "#[test]\nfn two_and_two() {\n    assert_eq!(2 + 2, 5, \"arithmetic\");\n}\n");
    broken(&project, "test", &["two_and_two", "tests/broken.rs", "arithmetic"]);
}

#[test]
fn a_vulnerable_dependency_is_told_with_its_mend() {
    let project = quickstart();
    let lock = project.read("shop/Cargo.lock");
    let package =
        "\n[[package]]\nname = \"smallvec\"\nversion = \"1.6.0\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n";
    project.write("shop/Cargo.lock", format!("{lock}{package}"));
    broken(&project, "audit", &["smallvec", "1.6.0", "shop/Cargo.lock"]);
}

#[test]
fn a_sick_service_is_told_by_its_check() {
    if !confined(RUNNER, "a sick service") {
        return;
    }
    let project = quickstart();
    project.replace("pipeline.toml", "env = { PORT = \"8080\" }", "env = { PORT = \"8080\", FAIL_HEALTH = \"true\" }");
    broken(&project, "smoke", &["alive", "500"]);
}
