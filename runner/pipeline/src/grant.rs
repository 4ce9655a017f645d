//! What the plan needs to know of a capability: how its grants are decoded, and what they show of themselves.
//!
//! This is a port. `pipeline` knows no capability by name; the command line hands in the schemas of those that exist.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::learning::{Learning, Lesson};
use crate::node::Node;
use crate::plan::SecretUse;

/// How `[stage.<name>.grants.<capability>]` is read.
pub trait GrantSchema: Send + Sync {
    /// The key under `grants`, and the name that a plugin's manifest requests: `http`.
    fn name(&self) -> &'static str;

    /// One line for `plan` and `inspect`: "HTTP requests to granted places".
    fn summary(&self) -> &'static str;

    /// Prefixes of the component imports that this grant links: `runner:http/`.
    fn interfaces(&self) -> &'static [&'static str];

    /// Prefixes of the standard WASI imports that stay linkable without the grant, and then refuse: `wasi:http/`.
    fn standard(&self) -> &'static [&'static str] {
        &[]
    }

    /// TOML for a hint: the smallest grant of this kind, as it would stand in the file.
    fn example(&self) -> &'static str;

    /// JSON Schema of the grant, for editors. What it refuses, `decode` refuses too.
    fn json_schema(&self) -> serde_json::Value;

    /// Keys whose strings are paths or URLs. Only there may a value from outside (git, a string input, an output) stand, and only as one
    /// whole segment between `/`, percent-encoded; anywhere else `pipeline` refuses it before `decode` is called.
    fn path_keys(&self) -> &'static [&'static str] {
        &["path", "paths", "url"]
    }

    /// Decodes a grant after interpolation. Pushes every mistake; `None` if the grant can't be used at all.
    fn decode(&self, node: &Node, context: &GrantContext, diagnostics: &mut Vec<Diagnostic>) -> Option<Arc<dyn Grant>>;

    /// The grant for a learning run, as TOML that could stand behind the key: wide enough to see what the stage wants, and no wider than
    /// what somebody confirmed. None: it stays as it stands in the file.
    ///
    /// # Errors
    /// Why nothing can be learned of this stage.
    fn learning(&self, stage: &Learning<'_>) -> Result<Option<String>, String> {
        let _ = stage;
        Ok(None)
    }

    /// The smallest grant that allows what a learning run saw, as TOML that could stand behind the key; none where nothing of it was used.
    fn learned(&self, lesson: &Lesson<'_>) -> Option<String> {
        let _ = lesson;
        None
    }

    /// The host that somebody could confirm so that this effect, which was denied, would be granted: `api.example`, `localhost:8080`.
    fn confirmable(&self, denied: &Used<'_>) -> Option<String> {
        let _ = denied;
        None
    }
}

/// What a grant may depend on besides its own table.
#[derive(Debug, Clone)]
pub struct GrantContext {
    /// The stage, for messages and for the tables named in remedies.
    pub stage: String,
    /// Bundled and local plugins may be given what a stranger's may not (`commands` with `in = "host"`).
    pub trusted_plugin: bool,
    /// The secrets that the stage could use: an `http` grant's `url` may be the placeholder of one.
    pub secrets: Vec<SecretUse>,
    /// The folder of the pipeline file, where toolchains look for the versions that the project names.
    pub root: std::path::PathBuf,
    /// A variable of the environment that the runner was started in, for toolchains. Never shown to the stage as it is.
    pub host_env: fn(&str) -> Option<String>,
}

/// A decoded grant. Capabilities get theirs back by downcasting (`as_any`).
pub trait Grant: Any + Debug + Send + Sync {
    fn as_any(&self) -> &dyn Any;

    /// The authority that this grant gives, one line each, complete: nothing that it allows is missing here.
    fn authority(&self) -> Vec<Authority>;

    /// The parts of the workspace that it opens, for the stage itself and for its commands.
    fn mounts(&self) -> Vec<MountRule> {
        Vec::new()
    }

    /// The secrets that it lets the stage use besides those that its text refers to, and whether it may read them.
    fn secrets(&self) -> Vec<(String, bool)> {
        Vec::new()
    }

    /// What of the runner's own rights the stage works with, in words: a pull request from a fork gets none of it, whatever the file says.
    fn lends(&self) -> Option<&'static str> {
        None
    }

    /// What of it could go, a line each with the TOML as it stands or should, given every effect that was granted to the stage. A stage
    /// that does the same again must not miss it. None where the capability can't tell.
    fn unused(&self, used: &mut dyn Iterator<Item = Used<'_>>) -> Vec<String> {
        let _ = used;
        Vec::new()
    }

    /// The same after a learning run, which saw what the stage's programs did with files too.
    fn removable(&self, lesson: &Lesson<'_>) -> Vec<String> {
        self.unused(&mut lesson.used.iter().copied())
    }
}

/// An effect that was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used<'a> {
    /// `files.open`.
    pub effect: &'a str,
    pub subject: &'a str,
    /// The effect as JSON.
    pub request: &'a str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// `write src/**`, `GET https://api.example/v1/**`, `run cargo (confined, no network)`.
    pub text: String,
    /// Shown in red: unconfined commands, private addresses, writing through to the checkout.
    pub alarming: bool,
}

/// A subtree of the workspace that a grant opens. The longest matching path decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountRule {
    /// Relative to the workspace, normalised, with `/`; `.` for all of it.
    pub path: String,
    pub writable: bool,
}
