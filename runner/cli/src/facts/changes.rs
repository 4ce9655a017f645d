//! Which files differ: from what, and why nobody can tell where nobody can.
//!
//! With a base (`--base`, the branch that a pull request goes into, else the default branch) it is what was done since the two parted. A push
//! is compared with what the branch was before it. Where there is nothing to compare with everything counts as changed: a stage too many
//! costs time, and one too few hides a mistake.

use std::path::{Component, Path};

use pipeline::facts::{Changed, EventKind};

use super::server::{Since, Told};
use crate::git;
use crate::git::ask::{Git, GitError, short};

/// What is known of the run when its files are compared.
pub struct Comparison<'a> {
    /// The folder of the repository, and of the pipeline file.
    pub top: &'a Path,
    pub root: &'a Path,
    pub event: EventKind,
    pub branch: Option<&'a str>,
    /// As on the command line.
    pub base: Option<&'a str>,
    /// The commit that `--rev` names.
    pub rev: Option<&'a str>,
    pub told: Option<&'a Told>,
    /// It is a person's machine: what is not committed is meant too.
    pub attended: bool,
}

/// What was found out.
pub struct Found {
    pub changed: Changed,
    /// None if that can't be told.
    pub dirty: Option<bool>,
}

impl Comparison<'_> {
    /// Asks `git`.
    pub fn find(&self) -> Found {
        let git = Git::at(self.top);
        let uncommitted = git.uncommitted();
        let dirty = uncommitted.as_ref().ok().map(|files| !files.is_empty());
        let changed = self.changed(&git, uncommitted).map_or_else(Changed::Unknown, Changed::Files);
        Found { changed, dirty }
    }

    fn changed(&self, git: &Git, uncommitted: Result<Vec<String>, GitError>) -> Result<Vec<String>, String> {
        let told = |error: GitError| error.to_string();
        let head = match self.rev {
            Some(rev) => rev.to_owned(),
            None => git.commit("HEAD").map_err(|error| match error {
                GitError::NoRevision(_) => "there is no commit yet".to_owned(),
                error => error.to_string(),
            })?,
        };
        let base = self.base(git, &head)?;
        let mut files = git.differing(&base, &head).map_err(told)?;
        if self.attended {
            files.extend(uncommitted.map_err(told)?);
        }
        let mut files: Vec<String> = files.iter().map(|file| relative(self.top, self.root, file)).collect();
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// The commit to compare with.
    fn base(&self, git: &Git, head: &str) -> Result<String, String> {
        if let Some(base) = self.base {
            return self.parted(git, head, &[base.to_owned()]);
        }
        match self.told.map(|told| &told.since) {
            Some(Since::First) => {
                Err("this is the first push of it, and nothing was before; name what to compare with: `--base REV`".to_owned())
            }
            Some(Since::Before(before)) => git.commit(before).map_err(|error| self.missing(error, &short(before))),
            Some(Since::Parting { commit, branch }) => {
                let branches = branch.iter().flat_map(|branch| [format!("origin/{branch}"), branch.clone()]);
                let candidates: Vec<String> = commit.iter().cloned().chain(branches).collect();
                let base = self.parted(git, head, &candidates)?;
                let of = self.told.and_then(|told| told.sha.as_deref());
                if base == head && of.is_some_and(|sha| sha != head) {
                    return Err("the checkout is the base, and not what the pull request brings".to_owned());
                }
                Ok(base)
            }
            Some(Since::Unsaid) | None => self.default_base(git, head),
        }
    }

    fn default_base(&self, git: &Git, head: &str) -> Result<String, String> {
        let by_itself = self.event == EventKind::Schedule || (self.event == EventKind::Manual && !self.attended);
        if by_itself {
            return Err(format!("a {} run has nothing to compare with; name something: `--base REV`", self.event));
        }
        let Some(branch) = self.branch else {
            return Err("the head is detached, so no branch is known; name what to compare with: `--base REV`".to_owned());
        };
        let said = self.told.and_then(|told| told.default_branch.clone()).or_else(|| git::default_branch(self.top));
        let there =
            |name: &&str| git::has(self.top, &format!("refs/heads/{name}")) || git::has(self.top, &format!("refs/remotes/origin/{name}"));
        let Some(default) = said.or_else(|| ["main", "master"].iter().find(|name| there(name)).map(|name| (*name).to_owned())) else {
            return Err("there is no branch `main` or `master` to compare with; name one: `--base REV`".to_owned());
        };
        if branch == default {
            return Err(format!("this is `{default}`, which others are compared with; name something else: `--base REV`"));
        }
        self.parted(git, head, &[format!("origin/{default}"), default])
    }

    /// Where the head parted from the first of these that is there.
    fn parted(&self, git: &Git, head: &str, candidates: &[String]) -> Result<String, String> {
        let shown = candidates.last().map_or("the base", |name| name.as_str());
        let mut found = Err(GitError::NoRevision(shown.to_owned()));
        for candidate in candidates {
            found = git.commit(candidate);
            if found.is_ok() {
                break;
            }
        }
        let base = found.map_err(|error| self.missing(error, shown))?;
        match git.parting(&base, head) {
            Ok(Some(parting)) => Ok(parting),
            Ok(None) => Err(self.missing(GitError::NoRevision(shown.to_owned()), &format!("where it parted from {shown}"))),
            Err(error) => Err(error.to_string()),
        }
    }

    fn missing(&self, error: GitError, what: &str) -> String {
        match error {
            GitError::NoRevision(_) if git::is_shallow(self.top) => format!(
                "the clone is shallow and does not reach {what}; fetch the whole history (`fetch-depth: 0` of actions/checkout, `GIT_DEPTH: 0` of GitLab)"
            ),
            GitError::NoRevision(_) => format!("{what} is not in this clone; fetch it, or name something else: `--base REV`"),
            error => error.to_string(),
        }
    }
}

/// A path of the repository as seen from the pipeline file's folder.
pub fn relative(top: &Path, root: &Path, file: &str) -> String {
    let names = |path: &Path| -> Vec<String> {
        let name = |part: Component<'_>| part.as_os_str().to_string_lossy().into_owned();
        path.components().map(name).collect()
    };
    let (root, file) = (names(root.strip_prefix(top).unwrap_or(Path::new(""))), names(Path::new(file)));
    let common = root.iter().zip(&file).take_while(|(one, other)| one == other).count();
    let up = root[common..].iter().map(|_| "..".to_owned());
    up.chain(file[common..].iter().cloned()).collect::<Vec<_>>().join("/")
}
