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
    plan.says("read-only").says("private copy").says("run cargo (confined, no network)").says("http://app.stage:8080/**").says("timeout 5m");
    let json = project.run(&["plan", "--format", "json"]).expect(0);
    let value: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(value["stages"].as_array().map(Vec::len), Some(5));
    assert!(!project.path().join(".runner").exists(), "plan leaves nothing behind");
}
