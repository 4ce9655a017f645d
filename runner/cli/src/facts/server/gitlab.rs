//! GitLab CI: `CI_*`.

use pipeline::facts::{EventKind, Trust};

use super::{Since, Surroundings, Told, before, is_commit, merged, request_trust};

pub fn told(around: &Surroundings<'_>) -> Told {
    let source = around.get("CI_PIPELINE_SOURCE").unwrap_or_default();
    let mut told = Told {
        server: "GitLab CI",
        event: EventKind::Manual,
        trust: Trust::Fork,
        branch: around.get("CI_COMMIT_BRANCH"),
        sha: around.sha("CI_COMMIT_SHA"),
        tag: around.get("CI_COMMIT_TAG"),
        base: None,
        pull_request: None,
        since: Since::Unsaid,
        default_branch: around.get("CI_DEFAULT_BRANCH"),
    };
    // the child of a merge request's pipeline has the variables too, under another source
    if source == "merge_request_event" || around.get("CI_MERGE_REQUEST_IID").is_some() {
        let from = around.get("CI_MERGE_REQUEST_SOURCE_PROJECT_ID");
        let into = around.get("CI_MERGE_REQUEST_PROJECT_ID").or_else(|| around.get("CI_PROJECT_ID"));
        told.trust = request_trust(from.as_deref(), into.as_deref());
        // a pipeline of a fork that runs in the fork names the fork as its project
        if from.is_some() && around.get("CI_PROJECT_ID").is_some_and(|project| Some(project) != from) {
            told.trust = Trust::Fork;
        }
        told.pull_request = around.get("CI_MERGE_REQUEST_IID");
        told.branch = around.get("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME").or(told.branch);
        told.base = around.get("CI_MERGE_REQUEST_TARGET_BRANCH_NAME");
        let commit = around.get("CI_MERGE_REQUEST_DIFF_BASE_SHA").filter(|sha| is_commit(sha));
        return request(told, commit);
    }
    if source == "external_pull_request_event" {
        let repository = |side: &str| around.get(&format!("CI_EXTERNAL_PULL_REQUEST_{side}_REPOSITORY"));
        told.trust = request_trust(repository("SOURCE").as_deref(), repository("TARGET").as_deref());
        told.pull_request = around.get("CI_EXTERNAL_PULL_REQUEST_IID");
        told.branch = around.get("CI_EXTERNAL_PULL_REQUEST_SOURCE_BRANCH_NAME").or(told.branch);
        told.base = around.get("CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_NAME");
        let commit = around.get("CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_SHA").filter(|sha| is_commit(sha));
        return request(told, commit);
    }
    told.trust = merged(told.tag.as_ref());
    told.event = match source.as_str() {
        "push" => EventKind::Push,
        "schedule" => EventKind::Schedule,
        _ => EventKind::Manual,
    };
    if told.event == EventKind::Push {
        told.since = before(around.get("CI_COMMIT_BEFORE_SHA"));
    }
    told
}

fn request(told: Told, commit: Option<String>) -> Told {
    let branch = told.base.clone();
    Told { event: EventKind::PullRequest, tag: None, since: Since::Parting { commit, branch }, ..told }
}
