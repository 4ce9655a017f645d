//! Buildkite: `BUILDKITE_*`.

use pipeline::facts::{EventKind, Trust};

use super::{Since, Surroundings, Told, merged, request_trust};
use crate::git::repository_name;

pub fn told(around: &Surroundings<'_>) -> Told {
    let tag = around.get("BUILDKITE_TAG");
    let mut told = Told {
        server: "Buildkite",
        event: EventKind::Manual,
        trust: Trust::Fork,
        // of a tag it is the tag's name once more
        branch: around.get("BUILDKITE_BRANCH").filter(|_| tag.is_none()),
        sha: around.sha("BUILDKITE_COMMIT"),
        tag,
        base: None,
        pull_request: None,
        since: Since::Unsaid,
        default_branch: around.get("BUILDKITE_PIPELINE_DEFAULT_BRANCH"),
    };
    if let Some(number) = around.get("BUILDKITE_PULL_REQUEST").filter(|number| number != "false") {
        let repository = |name: &str| around.get(name).map(|url| repository_name(&url));
        told.event = EventKind::PullRequest;
        told.trust = request_trust(repository("BUILDKITE_PULL_REQUEST_REPO").as_deref(), repository("BUILDKITE_REPO").as_deref());
        told.pull_request = Some(number);
        told.base = around.get("BUILDKITE_PULL_REQUEST_BASE_BRANCH");
        told.since = Since::Parting { commit: None, branch: told.base.clone() };
        return told;
    }
    told.trust = merged(told.tag.as_ref());
    told.event = match around.get("BUILDKITE_SOURCE").as_deref() {
        Some("webhook") => EventKind::Push,
        Some("schedule") => EventKind::Schedule,
        _ => EventKind::Manual,
    };
    told
}
