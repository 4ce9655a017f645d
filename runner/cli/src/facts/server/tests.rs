//! Case tables: a server's variables, and what they come to.

use super::*;

const HEAD: &str = "1111111111111111111111111111111111111111";
const BASE: &str = "2222222222222222222222222222222222222222";
const ZEROS: &str = "0000000000000000000000000000000000000000";

/// `body`: the file at GITHUB_EVENT_PATH.
fn ask(variables: &[(&str, &str)], body: Option<&str>) -> Option<Told> {
    let env = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    let read = |path: &str| body.filter(|_| path == "/event.json").map(str::to_owned);
    told(&Surroundings { env: &env, read: &read })
}

/// `push branch main, tag -, base -, request -, trust branch, since …`
fn line(told: &Told) -> String {
    let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let shown = |sha: &str| sha.chars().take(2).collect::<String>();
    let since = match &told.since {
        Since::Unsaid => "-".to_owned(),
        Since::First => "first".to_owned(),
        Since::Before(sha) => format!("before {}", shown(sha)),
        Since::Parting { commit, branch } => format!("parting {}/{}", commit.as_deref().map_or("-".to_owned(), shown), or(branch)),
    };
    let (sha, trust) = (told.sha.as_deref().map_or("-".to_owned(), shown), told.trust);
    let names = format!("{}, tag {}, base {}, request {}", or(&told.branch), or(&told.tag), or(&told.base), or(&told.pull_request));
    format!("{} of {names}, at {sha}, trust {trust}, since {since}", told.event)
}

fn github(event: &str, name: &str, body: &str) -> String {
    let variables = [
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_EVENT_NAME", event),
        ("GITHUB_REF", name),
        ("GITHUB_SHA", BASE),
        ("GITHUB_EVENT_PATH", "/event.json"),
    ];
    line(&ask(&variables, Some(body)).expect("it is GitHub"))
}

fn request_body(head: &str) -> String {
    format!(
        r#"{{"number": 7, "repository": {{"default_branch": "trunk"}}, "pull_request": {{"number": 7,
            "head": {{"ref": "main", "sha": "{HEAD}", "repo": {head}}},
            "base": {{"ref": "trunk", "sha": "{BASE}", "repo": {{"full_name": "acme/shop"}}}}}}}}"#
    )
}

#[test]
fn pushes_on_github() {
    let body = |before: &str| format!(r#"{{"before": "{before}", "after": "{HEAD}", "repository": {{"default_branch": "main"}}}}"#);
    let push = |name, before| github("push", name, &body(before));
    assert_eq!(push("refs/heads/feature/x", HEAD), "push of feature/x, tag -, base -, request -, at 22, trust branch, since before 11");
    assert_eq!(push("refs/heads/new", ZEROS), "push of new, tag -, base -, request -, at 22, trust branch, since first");
    assert_eq!(push("refs/tags/v1.2", ZEROS), "push of -, tag v1.2, base -, request -, at 22, trust tag, since first");
    let without = github("push", "refs/heads/main", "not JSON");
    assert_eq!(without, "push of main, tag -, base -, request -, at 22, trust branch, since -");
}

#[test]
fn pull_requests_on_github() {
    let own = request_body(r#"{"full_name": "Acme/Shop"}"#);
    let fork = request_body(r#"{"full_name": "mallory/shop"}"#);
    let gone = request_body("null");
    let wanted = |trust: &str| format!("pull-request of main, tag -, base trunk, request 7, at 11, trust {trust}, since parting 22/trunk");
    assert_eq!(github("pull_request", "refs/pull/7/merge", &own), wanted("pull-request"));
    assert_eq!(github("pull_request", "refs/pull/7/merge", &fork), wanted("fork"));
    assert_eq!(github("pull_request", "refs/pull/7/merge", &gone), wanted("fork"), "its repository was deleted");
    // it runs on the base and carries a pull request all the same
    assert_eq!(github("pull_request_target", "refs/heads/trunk", &fork), wanted("fork"));
    assert_eq!(github("pull_request_review", "refs/pull/7/merge", &own), wanted("pull-request"));
    // nothing is known of it but its name
    let blind = github("pull_request", "refs/pull/7/merge", "{}");
    assert_eq!(blind, "pull-request of -, tag -, base -, request 7, at 22, trust fork, since parting -/-");
    let comment = github("issue_comment", "refs/heads/trunk", r#"{"issue": {"number": 9, "pull_request": {"url": "u"}}}"#);
    assert_eq!(comment, "pull-request of -, tag -, base -, request 9, at 22, trust fork, since parting -/-");
    let comment = github("issue_comment", "refs/heads/trunk", r#"{"issue": {"number": 9}}"#);
    assert_eq!(comment, "manual of trunk, tag -, base -, request -, at 22, trust branch, since -");
}

#[test]
fn what_only_announces_another_event_is_that_event() {
    let body = |event: &str, head: &str| {
        format!(
            r#"{{"repository": {{"full_name": "acme/shop"}}, "workflow_run": {{"event": "{event}", "head_branch": "main",
                "head_sha": "{HEAD}", "head_repository": {{"full_name": "{head}"}}, "repository": {{"full_name": "acme/shop"}}}}}}"#
        )
    };
    let run = |event, head| github("workflow_run", "refs/heads/main", &body(event, head));
    assert_eq!(run("push", "acme/shop"), "push of main, tag -, base -, request -, at 11, trust branch, since -");
    assert_eq!(run("schedule", "acme/shop"), "schedule of main, tag -, base -, request -, at 11, trust branch, since -");
    let fork = "pull-request of main, tag -, base -, request -, at 11, trust fork, since parting -/-";
    assert_eq!(run("pull_request", "mallory/shop"), fork);
    assert_eq!(run("push", "mallory/shop"), fork, "a push elsewhere is not one here");
    assert_eq!(github("workflow_run", "refs/heads/main", "{}"), fork.replace("main", "-").replace("at 11", "at 22"));
    let queue = format!(
        r#"{{"merge_group": {{"head_ref": "refs/heads/gh-readonly-queue/main/pr-7", "base_ref": "refs/heads/main", "base_sha": "{BASE}"}}}}"#
    );
    let told = github("merge_group", "refs/heads/gh-readonly-queue/main/pr-7", &queue);
    assert_eq!(
        told,
        "pull-request of gh-readonly-queue/main/pr-7, tag -, base main, request -, at 22, trust pull-request, since parting 22/main"
    );
}

#[test]
fn other_events_on_github() {
    assert_eq!(github("schedule", "refs/heads/main", "{}"), "schedule of main, tag -, base -, request -, at 22, trust branch, since -");
    assert_eq!(github("workflow_dispatch", "refs/heads/x", "{}"), "manual of x, tag -, base -, request -, at 22, trust branch, since -");
    assert_eq!(github("release", "refs/tags/v1", "{}"), "manual of -, tag v1, base -, request -, at 22, trust tag, since -");
    // nobody expects it, and it runs on what a pull request brings
    assert_eq!(github("check_run", "refs/pull/7/merge", "{}"), "pull-request of -, tag -, base -, request 7, at 22, trust fork, since -");
}

fn gitlab(variables: &[(&str, &str)]) -> String {
    let common = [("GITLAB_CI", "true"), ("CI_COMMIT_SHA", HEAD), ("CI_PROJECT_ID", "10"), ("CI_DEFAULT_BRANCH", "main")];
    line(&ask(&[&common, variables].concat(), None).expect("it is GitLab"))
}

#[test]
fn gitlab_variables() {
    let push = [("CI_PIPELINE_SOURCE", "push"), ("CI_COMMIT_BRANCH", "x"), ("CI_COMMIT_BEFORE_SHA", BASE)];
    assert_eq!(gitlab(&push), "push of x, tag -, base -, request -, at 11, trust branch, since before 22");
    let first = [("CI_PIPELINE_SOURCE", "push"), ("CI_COMMIT_BRANCH", "x"), ("CI_COMMIT_BEFORE_SHA", ZEROS)];
    assert_eq!(gitlab(&first), "push of x, tag -, base -, request -, at 11, trust branch, since first");
    let tag = [("CI_PIPELINE_SOURCE", "push"), ("CI_COMMIT_TAG", "v1"), ("CI_COMMIT_BEFORE_SHA", ZEROS)];
    assert_eq!(gitlab(&tag), "push of -, tag v1, base -, request -, at 11, trust tag, since first");
    let schedule = [("CI_PIPELINE_SOURCE", "schedule"), ("CI_COMMIT_BRANCH", "main"), ("CI_COMMIT_BEFORE_SHA", ZEROS)];
    assert_eq!(gitlab(&schedule), "schedule of main, tag -, base -, request -, at 11, trust branch, since -");
    let web = [("CI_PIPELINE_SOURCE", "web"), ("CI_COMMIT_BRANCH", "main")];
    assert_eq!(gitlab(&web), "manual of main, tag -, base -, request -, at 11, trust branch, since -");

    let request = |source: &str, from: &[(&str, &str)]| {
        let common = [
            ("CI_PIPELINE_SOURCE", source),
            ("CI_MERGE_REQUEST_IID", "7"),
            ("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "main"),
            ("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "trunk"),
            ("CI_MERGE_REQUEST_DIFF_BASE_SHA", BASE),
        ];
        gitlab(&[&common, from].concat())
    };
    let wanted = |trust: &str| format!("pull-request of main, tag -, base trunk, request 7, at 11, trust {trust}, since parting 22/trunk");
    let own = [("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "10"), ("CI_MERGE_REQUEST_PROJECT_ID", "10")];
    let fork = [("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "66"), ("CI_MERGE_REQUEST_PROJECT_ID", "10")];
    let in_the_fork = [("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "10"), ("CI_MERGE_REQUEST_PROJECT_ID", "9")];
    let elsewhere = [("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "66"), ("CI_MERGE_REQUEST_PROJECT_ID", "66")];
    assert_eq!(request("merge_request_event", &own), wanted("pull-request"));
    assert_eq!(request("merge_request_event", &fork), wanted("fork"));
    assert_eq!(request("merge_request_event", &in_the_fork), wanted("fork"));
    assert_eq!(request("merge_request_event", &elsewhere), wanted("fork"));
    assert_eq!(request("merge_request_event", &own[1..]), wanted("fork"), "nobody says from where");
    assert_eq!(request("merge_request_event", &own[..1]), wanted("pull-request"), "the project itself is the other side");
    assert_eq!(request("parent_pipeline", &fork), wanted("fork"), "the child is what the parent is");

    let external = |from: &str| {
        gitlab(&[
            ("CI_PIPELINE_SOURCE", "external_pull_request_event"),
            ("CI_EXTERNAL_PULL_REQUEST_IID", "7"),
            ("CI_EXTERNAL_PULL_REQUEST_SOURCE_REPOSITORY", from),
            ("CI_EXTERNAL_PULL_REQUEST_TARGET_REPOSITORY", "acme/shop"),
            ("CI_EXTERNAL_PULL_REQUEST_SOURCE_BRANCH_NAME", "main"),
            ("CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_NAME", "trunk"),
            ("CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_SHA", BASE),
        ])
    };
    assert_eq!(external("acme/shop"), wanted("pull-request"));
    assert_eq!(external("mallory/shop"), wanted("fork"));
}

fn buildkite(variables: &[(&str, &str)]) -> String {
    let common = [("BUILDKITE", "true"), ("BUILDKITE_COMMIT", HEAD), ("BUILDKITE_REPO", "git@github.com:acme/shop.git")];
    line(&ask(&[&common, variables].concat(), None).expect("it is Buildkite"))
}

#[test]
fn buildkite_variables() {
    let none = ("BUILDKITE_PULL_REQUEST", "false");
    let push = [none, ("BUILDKITE_SOURCE", "webhook"), ("BUILDKITE_BRANCH", "x"), ("BUILDKITE_TAG", "")];
    assert_eq!(buildkite(&push), "push of x, tag -, base -, request -, at 11, trust branch, since -");
    let tag = [none, ("BUILDKITE_SOURCE", "webhook"), ("BUILDKITE_BRANCH", "v1"), ("BUILDKITE_TAG", "v1")];
    assert_eq!(buildkite(&tag), "push of -, tag v1, base -, request -, at 11, trust tag, since -");
    let schedule = [none, ("BUILDKITE_SOURCE", "schedule"), ("BUILDKITE_BRANCH", "main"), ("BUILDKITE_COMMIT", "HEAD")];
    assert_eq!(buildkite(&schedule), "schedule of main, tag -, base -, request -, at 11, trust branch, since -");
    let ui = [none, ("BUILDKITE_SOURCE", "ui"), ("BUILDKITE_BRANCH", "main")];
    assert_eq!(buildkite(&ui), "manual of main, tag -, base -, request -, at 11, trust branch, since -");

    let request = |source: &str, from: &str| {
        buildkite(&[
            ("BUILDKITE_PULL_REQUEST", "7"),
            ("BUILDKITE_PULL_REQUEST_REPO", from),
            ("BUILDKITE_PULL_REQUEST_BASE_BRANCH", "trunk"),
            ("BUILDKITE_SOURCE", source),
            ("BUILDKITE_BRANCH", "main"),
        ])
    };
    let wanted = |trust: &str| format!("pull-request of main, tag -, base trunk, request 7, at 11, trust {trust}, since parting -/trunk");
    assert_eq!(request("webhook", "https://github.com/acme/shop.git"), wanted("pull-request"));
    assert_eq!(request("webhook", "https://github.com/mallory/shop.git"), wanted("fork"));
    assert_eq!(request("webhook", ""), wanted("fork"));
    // a person who builds a pull request once more builds a pull request
    assert_eq!(request("ui", "git://github.com/mallory/shop.git"), wanted("fork"));
}

#[test]
fn no_server_and_others() {
    assert_eq!(ask(&[], None), None);
    assert_eq!(ask(&[("CI", "true")], None), None);
    assert_eq!(ask(&[("GITHUB_ACTIONS", "false")], None), None);
    let unattended = |value: &str| Surroundings { env: &|_| Some(value.to_owned()), read: &|_| None }.unattended();
    assert!(unattended("true") && unattended("1") && unattended("woodpecker"));
    assert!(!unattended("false") && !unattended("0") && !unattended(""));
    for (text, name) in [
        ("refs/heads/a/b", Name::Branch("a/b".into())),
        ("refs/tags/v1", Name::Tag("v1".into())),
        ("refs/pull/7/head", Name::PullRequest("7".into())),
        ("refs/merge-requests/8/merge", Name::PullRequest("8".into())),
        ("refs/pull/x/head", Name::Branch("refs/pull/x/head".into())),
        ("v1", Name::Branch("v1".into())),
    ] {
        assert_eq!(Name::of(text), name);
    }
}
