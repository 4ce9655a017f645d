//! Git in a project's folder, and what GitHub says of the run.

use std::process::Command;

use serde_json::json;

use crate::Project;

/// Git with nothing of the machine's own settings.
#[track_caller]
pub fn git(project: &Project, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(project.path()).args(["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]).args(arguments);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").env_remove("GIT_DIR").env_remove("GIT_INDEX_FILE");
    let output = command.output().expect("git is there");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

#[track_caller]
pub fn commit(project: &Project, message: &str) -> String {
    git(project, &["add", "-A"]);
    git(project, &["commit", "-q", "-m", message]);
    git(project, &["rev-parse", "HEAD"])
}

/// As GitHub starts it. `name`: the full name of the reference.
#[must_use]
pub fn github(project: Project, event: &str, name: &str) -> Project {
    let project = ["GITHUB_EVENT_NAME", "GITHUB_REF", "GITHUB_EVENT_PATH"].into_iter().fold(project, Project::without);
    project.env("GITHUB_ACTIONS", "true").env("CI", "true").env("GITHUB_EVENT_NAME", event).env("GITHUB_REF", name)
}

/// As GitHub starts it for a push to `main`, the default branch.
#[must_use]
pub fn push(project: Project) -> Project {
    let event = event(&project, &json!({ "repository": { "default_branch": "main" } }));
    github(project, "push", "refs/heads/main").env("GITHUB_EVENT_PATH", &event)
}

/// As GitHub starts it for pull request 7 into `main`. `head`: the repository that it comes from; its branch is called `main` too.
#[must_use]
pub fn pull_request(project: Project, head: &str) -> Project {
    let body = json!({
        "number": 7,
        "repository": { "default_branch": "main" },
        "pull_request": {
            "number": 7,
            "head": { "ref": "main", "sha": git(&project, &["rev-parse", "HEAD"]), "repo": { "full_name": head } },
            "base": { "ref": "main", "sha": git(&project, &["rev-parse", "main"]), "repo": { "full_name": "acme/shop" } },
        },
    });
    let event = event(&project, &body);
    github(project, "pull_request", "refs/pull/7/merge").env("GITHUB_EVENT_PATH", &event)
}

/// Where nothing of the repository is.
fn event(project: &Project, body: &serde_json::Value) -> String {
    project.write(".git/event.json", body.to_string());
    project.path().join(".git/event.json").display().to_string()
}
