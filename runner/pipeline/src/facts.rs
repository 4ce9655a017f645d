//! What is known of the world when a run is planned: where the code came from, what set the run off, and how far it is trusted.
//!
//! Found out by the command line, never by a file of the repository: whoever can write the file must not be able to say how far it is
//! trusted. Kept with the run, so that a resumed run is planned with the same.

use std::fmt;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Facts {
    /// `${run.id}`.
    pub run: String,
    pub event: EventKind,
    /// Somebody said which event it is (`--event`, a CI's variables), so that `[on]` decides whether there is anything to do. A run that a
    /// person starts by hand is always meant.
    pub event_given: bool,
    pub trust: Trust,
    /// `${git.branch}`; of a pull request, the branch that it wants to be merged from. None on a detached head and outside of a repository.
    pub git_branch: Option<String>,
    /// `${git.sha}`, 40 or 64 hex digits; `${git.short}` is the first seven.
    pub git_sha: Option<String>,
    /// `${git.tag}`: the tag that set the run off.
    pub git_tag: Option<String>,
    /// `${git.base}`: the branch that a pull request wants to be merged into.
    pub git_base: Option<String>,
    /// The number of the pull request, as the forge tells it.
    pub pull_request: Option<String>,
    /// Whether files differ from the commit; none where nobody looked.
    pub dirty: Option<bool>,
    /// The pipeline file, what it includes and its local plugins are those of this revision, whatever the checkout holds.
    pub pipeline_from: Option<Revision>,
    pub changed: Changed,
    /// Of the placeholders that stand for secrets: the run's seed.
    #[serde(skip)]
    pub placeholder_seed: [u8; 32],
}

impl Facts {
    pub(crate) fn git_short(&self) -> Option<String> {
        self.git_sha.as_ref().map(|sha| sha.chars().take(7).collect())
    }

    /// What the run is of, for people: `tag v1.2`, `pull request 7 into main`, `feature/x`.
    pub fn subject(&self) -> String {
        match (&self.git_tag, self.event) {
            (Some(tag), _) => format!("tag {tag}"),
            (None, EventKind::PullRequest) => {
                let number = self.pull_request.as_ref().map(|number| format!(" {number}")).unwrap_or_default();
                let base = self.git_base.as_ref().map(|base| format!(" into {base}")).unwrap_or_default();
                format!("pull request{number}{base}")
            }
            (None, _) => match (&self.git_branch, &self.git_sha) {
                (Some(branch), _) => branch.clone(),
                (None, Some(_)) => self.git_short().unwrap_or_default(),
                (None, None) => "no repository".to_owned(),
            },
        }
    }
}

/// A revision as it was named, and the commit that it was then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    pub name: String,
    pub commit: String,
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = self.commit.get(..12).unwrap_or(&self.commit);
        if self.commit.starts_with(&self.name) { f.write_str(short) } else { write!(f, "{} ({short})", self.name) }
    }
}

/// What set a run off: `event` in conditions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    Push,
    PullRequest,
    Schedule,
    /// A person.
    #[default]
    Manual,
}

impl EventKind {
    pub const ALL: [EventKind; 4] = [EventKind::Push, EventKind::PullRequest, EventKind::Schedule, EventKind::Manual];

    pub fn name(self) -> &'static str {
        match self {
            EventKind::Push => "push",
            EventKind::PullRequest => "pull-request",
            EventKind::Schedule => "schedule",
            EventKind::Manual => "manual",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How far what runs is trusted, most first: `trust` in conditions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// On the machine of the person who started it.
    #[default]
    Local,
    /// A branch of the repository itself: somebody who may write to it pushed.
    Branch,
    /// A tag of the repository itself.
    Tag,
    /// A pull request from a branch of the repository.
    PullRequest,
    /// A pull request from somebody else's copy.
    Fork,
}

impl Trust {
    pub const ALL: [Trust; 5] = [Trust::Local, Trust::Branch, Trust::Tag, Trust::PullRequest, Trust::Fork];

    pub fn name(self) -> &'static str {
        match self {
            Trust::Local => "local",
            Trust::Branch => "branch",
            Trust::Tag => "tag",
            Trust::PullRequest => "pull-request",
            Trust::Fork => "fork",
        }
    }

    /// Whether what runs was merged or pushed by somebody who may, so that `git.branch` names a branch of the repository itself.
    pub fn is_merged(self) -> bool {
        matches!(self, Trust::Local | Trust::Branch | Trust::Tag)
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which files differ from the base: what `if-changed` and `changed([...])` ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Changed {
    /// Relative to the pipeline file's folder, with `/`. Files outside of it begin with `../`.
    Files(Vec<String>),
    /// Nobody can tell, so everything counts as changed; the reason, for people.
    Unknown(String),
}

impl Default for Changed {
    fn default() -> Self {
        Changed::Unknown("nothing to compare with is known".to_owned())
    }
}

impl Changed {
    /// Whether a changed file fits one of the globs. `*` does not cross `/`, `**` does.
    ///
    /// # Errors
    /// The glob that is none, and why.
    pub fn any(&self, globs: &[String]) -> Result<bool, String> {
        let mut set = globset::GlobSetBuilder::new();
        for glob in globs {
            let built = globset::GlobBuilder::new(glob).literal_separator(true).build();
            set.add(built.map_err(|error| format!("\"{glob}\" is no glob: {}", error.kind()))?);
        }
        let set = set.build().map_err(|error| error.to_string())?;
        Ok(match self {
            Changed::Unknown(_) => true,
            Changed::Files(files) => files.iter().any(|file| set.is_match(file)),
        })
    }
}
