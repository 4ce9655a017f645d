//! Services beside a stage.
//!
//! [`start`] brings them up in the order of their needs, each as soon as what it needs is ready, and answers when all are: ready, or optional
//! and given up with a warning. [`Services::stop`] ends them in the reverse order. Between the two, each one's output goes to a file of its own.
//!
//! What runs a service is behind a port, [`Launcher`]: confined processes (`capability-commands`), containers (`docker`).
//!
//! Deliberately absent: where a service runs and what it sees (the launcher's), and when (the attempt's).

mod log;
mod probe;
mod start;

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::time::Duration;

use pipeline::plan::Service;
use tokio::io::{AsyncRead, AsyncWrite};

pub use start::{Attempt, Services, start};

/// A service on its way up.
pub type Launching<'a> = Pin<Box<dyn Future<Output = Result<Box<dyn Launched>, LaunchError>> + Send + 'a>>;

/// What is to be started.
pub struct Order<'a> {
    pub service: &'a Service,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// Starts services.
pub trait Launcher: Send + Sync {
    /// Answers once the program runs. Dropping what it answers ends the program, with all that it started.
    fn launch<'a>(&'a self, order: Order<'a>) -> Launching<'a>;
}

/// Bytes both ways, over whatever leads there.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection on its way up.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + 'a>>;

/// A service that runs.
pub trait Launched: Send + Sync {
    /// Resolves when it has ended, with how: `exit 1`, and what else there is to say. May be dropped and called again.
    fn ended(&self) -> Pin<Box<dyn Future<Output = String> + Send + '_>>;

    /// Runs a program where the service runs. Ok if it ended well; else how it ended, or why it could not be started.
    fn run<'a>(&'a self, command: &'a [String]) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>>;

    /// Connects to a port of the service.
    fn connect(&self, port: u16) -> Connecting<'_>;

    /// Asks it to end, and ends it after the grace.
    fn stop(&self, grace: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// Why a service could not be started. One clause with no full stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LaunchError(pub String);

/// Why a stage can't have a service. The first line says it all; the service's last words follow.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error("service `{service}` can't be started: {error}")]
    Launch { service: String, error: LaunchError },
    #[error("service `{service}` ended before it was ready ({how}); it waited for {gate}{words}")]
    Ended { service: String, how: String, gate: String, words: LastWords },
    #[error("service `{service}` was not ready within {}: {gate}: {last}{words}", shown(*timeout))]
    NotReady { service: String, timeout: Duration, gate: String, last: String, words: LastWords },
    #[error("service `{service}`: its log {log} can't be written: {error}")]
    Log { service: String, log: String, error: io::Error },
}

/// The end of a service's log, and where the whole of it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastWords {
    pub lines: Vec<String>,
    pub log: String,
}

impl std::fmt::Display for LastWords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.lines.is_empty() {
            return f.write_str("\nit printed nothing");
        }
        f.write_str("\nthe last lines of its log:")?;
        self.lines.iter().try_for_each(|line| write!(f, "\n  {line}"))?;
        write!(f, "\nwhole log: {}", self.log)
    }
}

fn shown(time: Duration) -> String {
    if time.subsec_nanos() == 0 { format!("{}s", time.as_secs()) } else { format!("{time:?}") }
}

#[cfg(test)]
mod tests;
