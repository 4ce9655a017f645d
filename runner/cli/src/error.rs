//! One door from every kind of failure to an exit code.

use event::Verdict;

/// What a run of the command line ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Ok,
    /// A stage failed; the machine is not fit (`doctor`).
    Failed,
    Usage,
    InvalidPipeline,
    Denied,
    TimedOut,
    /// For an approval, or for a choice about an effect in doubt.
    Waiting,
    Bug,
    Interrupted,
    Terminated,
}

impl Ending {
    pub fn code(self) -> u8 {
        match self {
            Ending::Ok => 0,
            Ending::Failed => 1,
            Ending::Usage => 2,
            Ending::InvalidPipeline => 3,
            Ending::Denied => 5,
            Ending::TimedOut => 7,
            Ending::Waiting => 8,
            Ending::Bug => 70,
            Ending::Interrupted => 130,
            Ending::Terminated => 143,
        }
    }
}

impl From<Verdict> for Ending {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Passed => Ending::Ok,
            Verdict::Failed => Ending::Failed,
            Verdict::Denied => Ending::Denied,
            Verdict::TimedOut => Ending::TimedOut,
            Verdict::Interrupted => Ending::Interrupted,
            Verdict::Terminated => Ending::Terminated,
            Verdict::Waiting => Ending::Waiting,
        }
    }
}

/// A failure before or around the run, with how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// What was typed can't be done: a file that is not there, an unknown stage.
    #[error("{message}")]
    Usage { message: String, hint: Option<String> },
    /// Diagnostics, rendered already.
    #[error("{rendered}")]
    Invalid { rendered: String },
    /// The machine is at fault: a folder that can't be written, an engine that does not start.
    #[error("{0:#}")]
    Environment(anyhow::Error),
}

impl CliError {
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        CliError::Usage { message: message.into(), hint: Some(hint.into()) }
    }

    pub fn ending(&self) -> Ending {
        match self {
            CliError::Usage { .. } => Ending::Usage,
            CliError::Invalid { .. } => Ending::InvalidPipeline,
            CliError::Environment(_) => Ending::Failed,
        }
    }
}

impl From<anyhow::Error> for CliError {
    fn from(error: anyhow::Error) -> Self {
        CliError::Environment(error)
    }
}
