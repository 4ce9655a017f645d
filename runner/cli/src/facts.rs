//! What is known of the world before a run is planned: what set it off, how far it is trusted, what it is of, what changed.
//!
//! Three voices, and which of them counts:
//! - **the CI server**, by its variables ([`server`]). How far it trusts what runs is never raised by anything else.
//! - **the command line**: `--event`, `--ref`, `--base`, `--rev`. On a person's machine they are the person's word and are believed; beside a
//!   CI server's they can say more precisely what runs, and lower the trust.
//! - **the checkout** ([`crate::git`]), for what nobody said: a run that a person starts is `manual` and `local`.
//!
//! No file of the repository is a voice. On a CI server that is not known nobody says where the code is from: it is taken for a push to the
//! repository, and a pull request for a fork's.

pub mod changes;
mod server;
#[cfg(test)]
mod tests;

use std::path::Path;

use pipeline::facts::{Changed, EventKind, Facts, Revision, Trust};

use crate::args::Occasion;
use crate::error::CliError;
use crate::git::{self, Head, ask::Git};
use changes::{Comparison, Found};
use server::{Name, Surroundings, Told, is_commit};

/// The facts of a run that is planned for the pipeline file in `root`. `asking`: `git` may be asked what changed.
///
/// # Errors
/// A revision of the command line that is not there, or a list of files that can't be read.
pub fn find(occasion: &Occasion, root: &Path, pipeline_from: Option<Revision>, asking: bool) -> Result<Facts, CliError> {
    let around = Surroundings { env: &|name| std::env::var(name).ok(), read: &|path| std::fs::read_to_string(path).ok() };
    let top = git::top(root).and_then(|top| top.canonicalize().ok());
    let rev = occasion.rev.as_deref().map(|rev| commit(top.as_deref(), rev)).transpose()?;
    let told = server::told(&around);
    let attended = told.is_none() && !around.unattended();
    let is_tag = |name: &str| git::has(root, &format!("refs/tags/{name}")) && !git::has(root, &format!("refs/heads/{name}"));
    let mut facts = decide(occasion, told.as_ref(), attended, git::head(root), &is_tag);
    if rev.is_some() {
        facts.git_sha.clone_from(&rev);
    }
    facts.pipeline_from = pipeline_from;
    let listed = occasion.changed_from.as_deref().map(listed).transpose()?;
    let Found { changed, dirty } = match &top {
        Some(top) if asking => {
            let branch = facts.git_branch.as_deref();
            let (base, rev, told) = (occasion.base.as_deref(), rev.as_deref(), told.as_ref());
            Comparison { top, root, event: facts.event, branch, base, rev, told, attended }.find()
        }
        Some(_) => {
            let why = "`check` and `plan` do not ask git; tell them the files with `--changed-from FILE`";
            Found { changed: Changed::Unknown(why.to_owned()), dirty: None }
        }
        None => Found { changed: Changed::Unknown("there is no git repository to compare in".to_owned()), dirty: None },
    };
    facts.dirty = dirty;
    facts.changed = listed.unwrap_or(changed);
    Ok(facts)
}

/// Weighs the three voices.
fn decide(occasion: &Occasion, told: Option<&Told>, attended: bool, head: Head, is_tag: &dyn Fn(&str) -> bool) -> Facts {
    let mut facts = match told {
        Some(told) => Facts {
            event: told.event,
            event_given: true,
            trust: told.trust,
            git_branch: told.branch.clone(),
            git_sha: told.sha.clone().or(head.sha),
            git_tag: told.tag.clone(),
            git_base: told.base.clone(),
            pull_request: told.pull_request.clone(),
            ..Facts::default()
        },
        None => Facts {
            event: if attended { EventKind::Manual } else { EventKind::Push },
            trust: if attended { Trust::Local } else { Trust::Branch },
            git_branch: head.branch,
            git_sha: head.sha,
            ..Facts::default()
        },
    };
    let name = occasion.reference.as_deref().map(|text| match Name::of(text) {
        Name::Branch(name) if is_tag(&name) => Name::Tag(name),
        name => name,
    });
    let is_request = matches!(name, Some(Name::PullRequest(_)));
    match name.clone() {
        Some(Name::Branch(branch)) => (facts.git_branch, facts.git_tag) = (Some(branch), None),
        Some(Name::Tag(tag)) => (facts.git_branch, facts.git_tag) = (None, Some(tag)),
        Some(Name::PullRequest(number)) => facts.pull_request = Some(number),
        None => {}
    }
    if let Some(event) = occasion.event.or(is_request.then_some(EventKind::PullRequest)) {
        (facts.event, facts.event_given) = (event, true);
    }
    if facts.event == EventKind::PullRequest && facts.git_base.is_none() {
        facts.git_base = occasion.base.as_deref().and_then(branch);
    }
    if name.is_some() || occasion.event.is_some() {
        let said = match facts.event {
            EventKind::PullRequest if told.is_none() && !attended => Trust::Fork,
            EventKind::PullRequest => Trust::PullRequest,
            _ if is_request => Trust::PullRequest,
            EventKind::Manual if attended => Trust::Local,
            _ if facts.git_tag.is_some() => Trust::Tag,
            _ => Trust::Branch,
        };
        facts.trust = if attended { said } else { lower(facts.trust, said) };
    }
    facts
}

/// The less trusted of two.
fn lower(one: Trust, other: Trust) -> Trust {
    let rank = |trust: Trust| Trust::ALL.iter().position(|known| *known == trust);
    if rank(other) > rank(one) { other } else { one }
}

/// The branch that a base names, if it names one and no commit or place in a history.
fn branch(base: &str) -> Option<String> {
    let name = ["refs/heads/", "refs/remotes/origin/", "origin/"].iter().find_map(|prefix| base.strip_prefix(prefix)).unwrap_or(base);
    let plain = name.chars().all(|c| c.is_alphanumeric() || "-_./".contains(c));
    (plain && name != "HEAD" && !is_commit(name)).then(|| name.to_owned())
}

/// The commit that `--rev` names. Only a name is looked up by `git`.
fn commit(top: Option<&Path>, rev: &str) -> Result<String, CliError> {
    if is_commit(rev) {
        return Ok(rev.to_ascii_lowercase());
    }
    let Some(top) = top else {
        return Err(CliError::usage(format!("--rev {rev}: this is no git repository"), "name the commit by all of its 40 digits"));
    };
    Git::at(top)
        .commit(rev)
        .map_err(|error| CliError::usage(format!("--rev {rev}: {error}"), "name a commit that is in this clone, or fetch it"))
}

/// The files of `--changed-from`: a line each, relative to the pipeline file's folder.
fn listed(file: &Path) -> Result<Changed, CliError> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        CliError::usage(format!("--changed-from {}: {error}", file.display()), "name a file with a changed path in each line")
    })?;
    Ok(Changed::Files(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()))
}
