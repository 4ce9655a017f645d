//! `init`: what it writes for a repository, and that it never writes over anything.

use end_to_end::Project;

use crate::RUNNER;

#[test]
fn a_crate_gets_a_pipeline_that_is_checked() {
    let project = Project::new(RUNNER)
        .file("Cargo.toml", "[package]\nname = \"shop\"\nversion = \"0.1.0\"\nedition = \"2024\"\n")
        .file("Cargo.lock", "version = 4\n")
        .file("src/lib.rs", "");
    project.run(&["init"]).expect(0).says("found a Rust crate").says("wrote pipeline.toml").says("`runner exec`");
    project.run(&["check"]).expect(0).says("3 stages, no mistakes");
    let plan = project.run(&["plan"]).expect(0);
    plan.says("read the whole workspace").says("run cargo (confined, no network)").says("GET, POST https://api.osv.dev/v1/**");
}

#[test]
fn what_is_there_is_not_written_over() {
    let project = Project::new(RUNNER).file("pipeline.toml", "# mine\n").file("Cargo.toml", "[package]\nname = \"x\"\n");
    project.run(&["init"]).expect(2).says("is there already").says("--force");
    assert_eq!(project.read("pipeline.toml"), "# mine\n");
    let printed = project.run(&["init", "--stdout"]).expect(0);
    assert!(printed.stdout.contains("[stage.lint]"), "{}", printed.stdout);
    assert_eq!(project.read("pipeline.toml"), "# mine\n");
    project.run(&["init", "--force"]).expect(0);
    assert_eq!(project.read("pipeline.toml"), printed.stdout);
}

#[test]
fn an_empty_folder_gets_a_stage_to_begin_with() {
    let project = Project::new(RUNNER);
    project.run(&["init"]).expect(0).says("found no project");
    project.run(&["check"]).expect(0).says("1 stage, no mistakes");
}

#[test]
fn several_ecosystems_and_containers_are_checked_whatever_is_installed_here() {
    let project = Project::new(RUNNER)
        .file("web/package.json", r#"{"scripts":{"test":"x"},"devDependencies":{"eslint":"10","typescript":"5","jest":"30"}}"#)
        .file("web/package-lock.json", "{}")
        .file("web/tsconfig.json", "{}")
        .file("api/pyproject.toml", "[dependency-groups]\ndev = [\"pytest\", \"ruff\", \"mypy\"]\n")
        .file("api/uv.lock", "")
        .file("tool/go.mod", "module tool\n\ngo 1.24\n")
        .file("core/Cargo.toml", "[package]\nname = \"core\"\n")
        .file("Dockerfile", "FROM scratch\n")
        .file("compose.yaml", "services: {}\n");
    project.run(&["init"]).expect(0).says("a Node.js package (npm) in web").says("Dockerfiles: Dockerfile");
    project.run(&["check"]).expect(0).says("no mistakes");
    let text = project.read("pipeline.toml");
    for stage in ["lint-web", "test-web", "lint-api", "test-api", "lint-tool", "test-tool", "lint-core", "test-core", "audit"] {
        assert!(text.contains(&format!("[stage.{stage}]")), "{stage} is missing\n{text}");
    }
    assert!(text.contains("if-changed = [\"web/**\"]"), "{text}");
}
