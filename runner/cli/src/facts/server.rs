//! What a CI server says of the run: pure functions of its variables and of the event's own description.
//!
//! The server is believed because it is the one that starts the runner. What it says counts for as little as it can be taken to mean: a pull
//! request is a fork's unless both repositories are named and are the same, and an event that only announces another (`workflow_run`,
//! `pull_request_target`) is the one that it announces, never one of the branch that it happens to run on.

mod buildkite;
mod github;
mod gitlab;
#[cfg(test)]
mod tests;

use pipeline::facts::{EventKind, Trust};

/// What is known of the run from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The server's name, for people.
    pub server: &'static str,
    pub event: EventKind,
    pub trust: Trust,
    pub branch: Option<String>,
    pub sha: Option<String>,
    pub tag: Option<String>,
    /// The branch that a pull request wants to be merged into.
    pub base: Option<String>,
    pub pull_request: Option<String>,
    pub since: Since,
    /// The branch that others are made from.
    pub default_branch: Option<String>,
}

/// What the files are to be compared with, as far as the server says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    Unsaid,
    /// There was nothing before: the first push of a branch.
    First,
    /// What the branch was before the push.
    Before(String),
    /// Where the pull request parted from its base: the base's commit, or its branch.
    Parting {
        commit: Option<String>,
        branch: Option<String>,
    },
}

/// The variables of the process, and the file that describes the event.
pub struct Surroundings<'a> {
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The text of a file that a variable names.
    pub read: &'a dyn Fn(&str) -> Option<String>,
}

impl Surroundings<'_> {
    /// A variable that says something.
    fn get(&self, name: &str) -> Option<String> {
        (self.env)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1")
    }

    fn sha(&self, name: &str) -> Option<String> {
        self.get(name).filter(|sha| is_commit(sha))
    }

    /// Whether any CI server is at work.
    pub fn unattended(&self) -> bool {
        self.get("CI").is_some_and(|value| !value.eq_ignore_ascii_case("false") && value != "0")
    }
}

/// What the server says; none where there is none that is known.
pub fn told(around: &Surroundings<'_>) -> Option<Told> {
    if around.is_true("GITHUB_ACTIONS") {
        Some(github::told(around))
    } else if around.is_true("GITLAB_CI") {
        Some(gitlab::told(around))
    } else if around.is_true("BUILDKITE") {
        Some(buildkite::told(around))
    } else {
        None
    }
}

/// A commit's whole name, and not the one of zeros that stands for none.
pub fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit()) && !is_none(text)
}

/// The name that stands for no commit.
fn is_none(text: &str) -> bool {
    text.len() >= 40 && text.bytes().all(|byte| byte == b'0')
}

/// What a push was before.
fn before(sha: Option<String>) -> Since {
    match sha {
        Some(sha) if is_none(&sha) => Since::First,
        Some(sha) if is_commit(&sha) => Since::Before(sha),
        _ => Since::Unsaid,
    }
}

/// A full name of git (`refs/heads/x`) in its parts, or a short one, which is a branch's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    Branch(String),
    Tag(String),
    /// By its number.
    PullRequest(String),
}

impl Name {
    pub fn of(text: &str) -> Name {
        if let Some(branch) = text.strip_prefix("refs/heads/") {
            return Name::Branch(branch.to_owned());
        }
        if let Some(tag) = text.strip_prefix("refs/tags/") {
            return Name::Tag(tag.to_owned());
        }
        let request = text.strip_prefix("refs/pull/").or_else(|| text.strip_prefix("refs/merge-requests/"));
        let number = request.and_then(|rest| rest.split('/').next()).filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
        match number.filter(|number| !number.is_empty()) {
            Some(number) => Name::PullRequest(number.to_owned()),
            None => Name::Branch(text.to_owned()),
        }
    }
}

/// The trust of what is no pull request.
fn merged(tag: Option<&String>) -> Trust {
    if tag.is_some() { Trust::Tag } else { Trust::Branch }
}

/// The trust of a pull request: both repositories must be named, and be the same.
fn request_trust(head: Option<&str>, base: Option<&str>) -> Trust {
    match (head, base) {
        (Some(head), Some(base)) if head.eq_ignore_ascii_case(base) => Trust::PullRequest,
        _ => Trust::Fork,
    }
}
