//! What only `git` itself can tell: which files differ, what a file was in another revision.
//!
//! A repository's configuration can make `git` run programs, and the variables of the process can send it to another repository. So it is
//! asked with nothing but the user's home (whose `safe.directory` and ignore rules are meant), no hooks, no monitor of the file system, no
//! external diff, no terminal, no locks and no fetching. Filters that the user's own configuration names (Git LFS) may still run: without
//! them every file that they concern would count as changed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One checkout.
pub struct Git {
    top: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("`git` can't be started: {0}; install it, or add it to PATH")]
    NotThere(std::io::Error),
    #[error("`{0}` is no revision of this repository")]
    NoRevision(String),
    #[error("`git {command}` failed: {message}")]
    Failed { command: String, message: String },
    #[error("{commit} has no file `{path}`")]
    NoFile { commit: String, path: String },
    #[error("`{path}` is no ordinary file in {commit}")]
    NotAFile { commit: String, path: String },
}

impl Git {
    /// `top`: the folder of the repository.
    pub fn at(top: &Path) -> Git {
        Git { top: top.to_owned() }
    }

    /// The commit that a revision names.
    pub fn commit(&self, revision: &str) -> Result<String, GitError> {
        let unknown = || GitError::NoRevision(revision.to_owned());
        let asked = format!("{revision}^{{commit}}");
        match self.run(&["rev-parse", "--verify", "--quiet", "--end-of-options", &asked]) {
            Ok(answer) => Some(text(&answer)).filter(|sha| !sha.is_empty()).ok_or_else(unknown),
            // quiet means that it says nothing of what is not there
            Err(GitError::Failed { message, .. }) if message.is_empty() => Err(unknown()),
            Err(error) => Err(error),
        }
    }

    /// Where two commits parted; none if they have nothing in common, as far as the history goes.
    pub fn parting(&self, one: &str, other: &str) -> Result<Option<String>, GitError> {
        match self.run(&["merge-base", one, other]) {
            Ok(answer) => Ok(Some(text(&answer)).filter(|sha| !sha.is_empty())),
            Err(GitError::Failed { message, .. }) if message.is_empty() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The files that differ between two commits, relative to the repository's folder.
    pub fn differing(&self, base: &str, head: &str) -> Result<Vec<String>, GitError> {
        let common = ["diff", "--name-only", "-z", "--no-renames", "--no-ext-diff", "--no-textconv", "--ignore-submodules=dirty"];
        let answer = self.run(&[&common[..], &[base, head, "--"]].concat())?;
        Ok(pieces(&answer).collect())
    }

    /// The files that differ from the commit, and those that it does not know and nothing ignores.
    pub fn uncommitted(&self) -> Result<Vec<String>, GitError> {
        let answer = self.run(&["status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames", "--ignore-submodules=dirty"])?;
        // two letters and a space before each
        Ok(pieces(&answer).filter_map(|line| line.get(3..).map(str::to_owned)).collect())
    }

    /// The content of a file in a commit. `path` is relative to the repository's folder.
    pub fn file(&self, commit: &str, path: &str) -> Result<Vec<u8>, GitError> {
        let named = |of: fn(String, String) -> GitError| of(short(commit), path.to_owned());
        let missing = || named(|commit, path| GitError::NoFile { commit, path });
        let answer = self.run(&["ls-tree", "-z", "--full-tree", commit, "--", path])?;
        // mode, kind, name of the object, a tab, the path
        let entry = pieces(&answer).find(|entry| entry.split_once('\t').is_some_and(|(_, name)| name == path)).ok_or_else(missing)?;
        let words: Vec<&str> = entry.split_whitespace().collect();
        match words.as_slice() {
            // a link would be read as the path that it leads to
            [mode, "blob", object, ..] if *mode != "120000" => self.run(&["cat-file", "blob", object]),
            _ => Err(named(|commit, path| GitError::NotAFile { commit, path })),
        }
    }

    fn run(&self, arguments: &[&str]) -> Result<Vec<u8>, GitError> {
        let mut command = Command::new("git");
        command.args(["--no-pager", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "diff.external="]);
        command.args(["-c", "core.quotePath=false", "-c", "protocol.allow=never", "-C"]).arg(&self.top).args(arguments);
        command.env_clear();
        for name in ["PATH", "HOME", "XDG_CONFIG_HOME"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        let quiet = [("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_ATTR_NOSYSTEM", "1"), ("GIT_OPTIONAL_LOCKS", "0"), ("GIT_TERMINAL_PROMPT", "0")];
        command.envs(quiet).env("GIT_NO_LAZY_FETCH", "1").env("GIT_LITERAL_PATHSPECS", "1").env("LC_ALL", "C");
        let output = command.stdin(Stdio::null()).output().map_err(GitError::NotThere)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let message = said.trim().lines().next().unwrap_or_default().to_owned();
        Err(GitError::Failed { command: arguments.first().copied().unwrap_or_default().to_owned(), message })
    }
}

/// The first digits of a commit, for people.
pub fn short(commit: &str) -> String {
    commit.chars().take(12).collect()
}

fn text(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).trim().to_owned()
}

/// What stands between zeros.
fn pieces(answer: &[u8]) -> impl Iterator<Item = String> {
    answer.split(|byte| *byte == 0).filter(|piece| !piece.is_empty()).map(|piece| String::from_utf8_lossy(piece).into_owned())
}
