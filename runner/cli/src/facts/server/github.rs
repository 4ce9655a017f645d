//! GitHub Actions: `GITHUB_*`, and the webhook's body at `GITHUB_EVENT_PATH`.

use pipeline::facts::{EventKind, Trust};
use serde_json::Value;

use super::{Name, Since, Surroundings, Told, before, is_commit, merged, request_trust};

pub fn told(around: &Surroundings<'_>) -> Told {
    let event = around.get("GITHUB_EVENT_NAME").unwrap_or_default();
    let body: Value = around
        .get("GITHUB_EVENT_PATH")
        .and_then(|path| (around.read)(&path))
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    let name = around.get("GITHUB_REF").map(|name| Name::of(&name));
    let mut told = Told {
        server: "GitHub Actions",
        event: EventKind::Manual,
        trust: Trust::Fork,
        branch: None,
        sha: around.sha("GITHUB_SHA"),
        tag: None,
        base: None,
        pull_request: None,
        since: Since::Unsaid,
        default_branch: text(&body, "/repository/default_branch"),
    };
    let comment = event == "issue_comment" && body.pointer("/issue/pull_request").is_some();
    match event.as_str() {
        // a comment on a pull request runs for it, and its body does not say from where the pull request comes
        _ if comment || event.starts_with("pull_request") => request(&mut told, around, &body, name.as_ref()),
        "merge_group" => {
            told.event = EventKind::PullRequest;
            told.trust = Trust::PullRequest;
            told.branch = text(&body, "/merge_group/head_ref").and_then(branch);
            told.base = text(&body, "/merge_group/base_ref").and_then(branch);
            told.since = Since::Parting { commit: sha(&body, "/merge_group/base_sha"), branch: told.base.clone() };
        }
        "workflow_run" => announced(&mut told, &body),
        _ => {
            match name {
                Some(Name::Branch(branch)) => told.branch = Some(branch),
                Some(Name::Tag(tag)) => told.tag = Some(tag),
                Some(Name::PullRequest(number)) => {
                    // whatever its name, it runs on what a pull request brings
                    told.event = EventKind::PullRequest;
                    told.pull_request = Some(number);
                    return told;
                }
                None => {}
            }
            told.trust = merged(told.tag.as_ref());
            told.event = match event.as_str() {
                "push" => EventKind::Push,
                "schedule" => EventKind::Schedule,
                _ => EventKind::Manual,
            };
            if told.event == EventKind::Push {
                told.since = before(text(&body, "/before"));
            }
        }
    }
    told
}

fn request(told: &mut Told, around: &Surroundings<'_>, body: &Value, name: Option<&Name>) {
    told.event = EventKind::PullRequest;
    told.branch = text(body, "/pull_request/head/ref").or_else(|| around.get("GITHUB_HEAD_REF"));
    told.base = text(body, "/pull_request/base/ref").or_else(|| around.get("GITHUB_BASE_REF"));
    // the commit of the pull request, not the one that merges it for the test
    told.sha = sha(body, "/pull_request/head/sha").or_else(|| told.sha.take());
    let numbered = ["/pull_request/number", "/issue/number", "/number"].iter().find_map(|at| body.pointer(at)?.as_u64());
    told.pull_request = numbered.map(|number| number.to_string()).or_else(|| match name {
        Some(Name::PullRequest(number)) => Some(number.clone()),
        _ => None,
    });
    let repository = |side: &str| text(body, &format!("/pull_request/{side}/repo/full_name"));
    told.trust = request_trust(repository("head").as_deref(), repository("base").as_deref());
    told.since = Since::Parting { commit: sha(body, "/pull_request/base/sha"), branch: told.base.clone() };
}

/// Another workflow ended: the run is for what set that one off.
fn announced(told: &mut Told, body: &Value) {
    let first = text(body, "/workflow_run/event").unwrap_or_default();
    told.branch = text(body, "/workflow_run/head_branch");
    told.sha = sha(body, "/workflow_run/head_sha").or_else(|| told.sha.take());
    let repository = |at: &str| text(body, at);
    let home = repository("/workflow_run/repository/full_name").or_else(|| repository("/repository/full_name"));
    let own = request_trust(repository("/workflow_run/head_repository/full_name").as_deref(), home.as_deref()) == Trust::PullRequest;
    match first.as_str() {
        "push" | "schedule" | "workflow_dispatch" | "repository_dispatch" if own => {
            told.event = match first.as_str() {
                "push" => EventKind::Push,
                "schedule" => EventKind::Schedule,
                _ => EventKind::Manual,
            };
            told.trust = Trust::Branch;
        }
        _ => {
            told.event = EventKind::PullRequest;
            told.trust = if own { Trust::PullRequest } else { Trust::Fork };
            told.pull_request =
                body.pointer("/workflow_run/pull_requests/0/number").and_then(Value::as_u64).map(|number| number.to_string());
            told.base = text(body, "/workflow_run/pull_requests/0/base/ref");
            told.since = Since::Parting { commit: sha(body, "/workflow_run/pull_requests/0/base/sha"), branch: told.base.clone() };
        }
    }
}

fn text(body: &Value, pointer: &str) -> Option<String> {
    body.pointer(pointer)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn sha(body: &Value, pointer: &str) -> Option<String> {
    text(body, pointer).filter(|sha| is_commit(sha))
}

fn branch(name: String) -> Option<String> {
    match Name::of(&name) {
        Name::Branch(branch) => Some(branch),
        _ => None,
    }
}
