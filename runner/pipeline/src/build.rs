//! Makes the plan.

use std::path::Path;
use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::grant::GrantSchema;
use crate::manifest::Plugins;
use crate::plan::Plan;

/// What is known of the world when a run is planned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// `${run.id}`.
    pub run: String,
    /// `${git.branch}`; none on a detached head and outside of a repository.
    pub git_branch: Option<String>,
    /// `${git.sha}`, 40 or 64 hex digits; `${git.short}` is the first seven.
    pub git_sha: Option<String>,
}

pub struct PlanRequest<'a> {
    /// The pipeline file as it was named on the command line.
    pub file: &'a Path,
    /// Its folder: the workspace.
    pub root: &'a Path,
    pub text: &'a str,
    /// `--input name=value`, in order.
    pub inputs: &'a [(String, String)],
    /// For `check` and `plan` without all inputs: a missing one is no mistake, and a value that fits stands in for it.
    pub inputs_may_miss: bool,
    pub facts: &'a Facts,
    pub schemas: &'a [Arc<dyn GrantSchema>],
    pub plugins: &'a dyn Plugins,
    /// A variable of the environment that the runner was started in, for the toolchains of grants.
    pub host_env: fn(&str) -> Option<String>,
}

/// The plan and its warnings.
///
/// # Errors
/// Every mistake and warning of the file.
pub fn plan(_request: &PlanRequest<'_>) -> Result<(Plan, Vec<Diagnostic>), Vec<Diagnostic>> {
    unimplemented!()
}
