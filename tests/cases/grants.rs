//! The quickstart without one of its grants: the plan or the run names the line that is missing, and with it the stage passes again.

use std::path::Path;

use end_to_end::{Project, confined};

use crate::RUNNER;

/// One grant, as it stands in the file, what is left without it, and the stages to run.
struct Removal {
    stage: &'static str,
    line: &'static str,
    without: &'static str,
    only: &'static str,
    /// Whether the plan tells; otherwise the run does.
    planned: bool,
    /// What names the missing line.
    named: &'static str,
}

const READ_SHOP: &str = "files = [{ path = \"shop\", access = \"read\" }]";
const CARGO: &str = "commands = { in = \"process\", toolchain = \"rust\", programs = [\"cargo\"] }";
const BUILD: &str = "commands = { in = \"process\", toolchain = \"rust\", programs = [\"cargo\", \"./shop/target/release/shop\"] }";

const REMOVALS: &[Removal] = &[
    Removal { stage: "lint", line: READ_SHOP, without: "", only: "lint", planned: true, named: "needs the grant `files`" },
    Removal { stage: "lint", line: CARGO, without: "", only: "lint", planned: true, named: "needs the grant `commands`" },
    Removal { stage: "test", line: READ_SHOP, without: "", only: "test", planned: true, named: "needs the grant `files`" },
    Removal { stage: "test", line: CARGO, without: "", only: "test", planned: true, named: "needs the grant `commands`" },
    Removal {
        stage: "audit",
        line: "  { path = \"shop/Cargo.lock\", access = \"read\" },\n",
        without: "",
        only: "audit",
        planned: false,
        named: "{ path = \"shop/Cargo.lock\", access = \"read\" }",
    },
    Removal {
        stage: "audit",
        line: "  { path = \"osv\", access = \"read\" },\n",
        without: "",
        only: "audit",
        planned: false,
        named: "{ path = \"osv\", access = \"read\" }",
    },
    Removal {
        stage: "build",
        line: "files = [{ path = \"shop\", access = \"write\" }]",
        without: "",
        only: "build",
        planned: true,
        named: "files = [{ path = \"shop/target/release\", access = \"write\" }]",
    },
    Removal { stage: "build", line: BUILD, without: "", only: "build", planned: true, named: "needs the grant `commands`" },
    Removal { stage: "build", line: BUILD, without: CARGO, only: "build", planned: false, named: BUILD },
    Removal {
        stage: "smoke",
        line: "files = [{ path = \"shop/target/release/shop\", access = \"read\" }]",
        without: "",
        only: "build,smoke",
        planned: true,
        named: "files = [{ path = \"shop/target/release/shop\", access = \"read\" }]",
    },
    Removal {
        stage: "smoke",
        line: "commands = { in = \"process\", programs = [\"./shop/target/release/shop\"] }",
        without: "",
        only: "build,smoke",
        planned: false,
        named: "commands = { in = \"process\", programs = [\"./shop/target/release/shop\"] }",
    },
    Removal {
        stage: "smoke",
        line: "http = [{ url = \"http://app.stage:8080/**\", methods = [\"GET\"] }]",
        without: "",
        only: "build,smoke",
        planned: true,
        named: "needs the grant `http`",
    },
];

/// Removes the grant from its own stage: others have the same line.
fn remove(text: &str, removal: &Removal) -> String {
    let head = format!("[stage.{}.grants]", removal.stage);
    let (before, after) = text.split_once(&head).expect("the stage has grants");
    assert!(after.contains(removal.line), "{} has no {}", removal.stage, removal.line);
    format!("{before}{head}{}", after.replacen(removal.line, removal.without, 1))
}

#[test]
fn each_missing_grant_is_named() {
    if !confined(RUNNER, "each_missing_grant_is_named") {
        return;
    }
    let project = Project::copy_of(RUNNER, &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/quickstart"));
    let whole = project.read("pipeline.toml");
    let mut wrong = Vec::new();
    for removal in REMOVALS {
        project.write("pipeline.toml", remove(&whole, removal));
        let what = format!("{} without {}", removal.stage, removal.line.trim());
        let plan = project.run(&["plan"]);
        if (plan.code == 3) != removal.planned {
            wrong.push(format!("{what}: plan exits with {}\n{}", plan.code, plan.stderr));
        }
        let finished = if plan.code == 3 { plan } else { project.run(&["exec", "--format", "plain", "--only", removal.only]) };
        let said = format!("{}{}", finished.stdout, finished.stderr);
        let head = format!("[stage.{}", removal.stage);
        if finished.code == 0 || !said.contains(removal.named) || !said.contains(&head) {
            wrong.push(format!("{what}: exit {}, nothing names {:?}\n{said}", finished.code, removal.named));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    // with all of them, everything passes
    project.write("pipeline.toml", whole);
    project.exec().expect(0);
}
