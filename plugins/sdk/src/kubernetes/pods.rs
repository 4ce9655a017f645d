//! What goes on in Pods: logs, programs, and ways to their ports.

use std::time::Duration;

use super::{Error, limit, nanoseconds};
use crate::bindings::runner::kubernetes::pods as wit;
use crate::commands::{Captured, Output};

/// A container of a Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    namespace: Option<String>,
    name: String,
    container: Option<String>,
}

impl Pod {
    /// In the grant's namespace: its only container, or the one that `kubectl.kubernetes.io/default-container` names.
    pub fn new(name: impl Into<String>) -> Pod {
        Pod { namespace: None, name: name.into(), container: None }
    }

    /// In another namespace than the grant's.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Pod {
        self.namespace = Some(namespace.into());
        self
    }

    /// This container.
    pub fn container(mut self, container: impl Into<String>) -> Pod {
        self.container = Some(container.into());
        self
    }

    /// What a container printed: all of it. Verb `get` on `pods/log`.
    pub fn logs(&self, options: LogOptions) -> Result<Log, Error> {
        crate::inside("kubernetes");
        let options = wit::LogOptions {
            follow: options.follow,
            previous: options.previous,
            tail: options.tail,
            since: options.since.map_or(0, |since| nanoseconds(since).max(1)),
            timestamps: options.timestamps,
        };
        Ok(Log { handle: wit::logs(&self.into(), options)? })
    }

    /// Runs a program in it and waits for its end. Verb `create` on `pods/exec`, in a rule that names it.
    pub fn exec(&self, exec: &Exec) -> Result<Exit, Error> {
        crate::inside("kubernetes");
        let command = wit::Command {
            arguments: exec.arguments.clone(),
            stdin: exec.stdin.clone(),
            stdout: exec.stdout.into(),
            stderr: exec.stderr.into(),
            timeout: nanoseconds(exec.timeout),
        };
        let wit::Exit { code, timed_out, duration, stdout, stderr } = wit::exec(&self.into(), &command)?;
        let captured = |wit: wit::Captured| Captured { path: wit.path.into(), size: wit.size };
        let duration = Duration::from_nanos(duration);
        Ok(Exit { code, timed_out, duration, stdout: stdout.map(captured), stderr: stderr.map(captured) })
    }
}

/// Which part of a log, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogOptions {
    /// Waits for more at the end.
    pub follow: bool,
    /// Of the container before the last restart.
    pub previous: bool,
    /// Only the last lines.
    pub tail: Option<u32>,
    /// Only what is younger.
    pub since: Option<Duration>,
    /// Each line begins with its time (RFC 3339).
    pub timestamps: bool,
}

/// What a container printed. A connection that broke while following is taken up again where it was.
#[derive(Debug)]
pub struct Log {
    handle: wit::Log,
}

impl Log {
    /// The next bytes, `max` at most (0: as many as came; never more than 1 MiB), waiting up to `timeout` (none: for ever). None at the end; empty if none
    /// came in time.
    pub fn read(&self, max: u32, timeout: Option<Duration>) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.handle.read(max, limit(timeout))?)
    }

    /// All to its end, but no more than `most` bytes, as text. Not for one that is followed.
    pub fn text(&self, most: usize) -> Result<String, Error> {
        let mut bytes = Vec::new();
        while bytes.len() < most
            && let Some(more) = self.read(0, None)?
        {
            bytes.extend_from_slice(&more);
        }
        bytes.truncate(most);
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// A program to run in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    arguments: Vec<String>,
    stdin: Vec<u8>,
    stdout: Output,
    stderr: Output,
    timeout: Duration,
}

impl Exec {
    /// A program and its arguments.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Exec {
        let arguments = argv.into_iter().map(Into::into).collect();
        Exec { arguments, stdin: Vec::new(), stdout: Output::Log, stderr: Output::Log, timeout: Duration::ZERO }
    }

    /// Feeds its standard input, which is empty otherwise.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Exec {
        self.stdin = bytes.into();
        self
    }

    /// Says what happens to standard output.
    pub fn stdout(mut self, output: Output) -> Exec {
        self.stdout = output;
        self
    }

    /// Says what happens to standard error.
    pub fn stderr(mut self, output: Output) -> Exec {
        self.stderr = output;
        self
    }

    /// After this long the connection is closed: whether the program ends then is its own affair.
    pub fn timeout(mut self, timeout: Duration) -> Exec {
        self.timeout = timeout;
        self
    }
}

/// How a program in a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code.
    pub code: i32,
    /// Whether it was not waited for any longer.
    pub timed_out: bool,
    /// From start to end.
    pub duration: Duration,
    /// What it wrote, if that was captured.
    pub stdout: Option<Captured>,
    /// What it wrote to standard error, if that was captured.
    pub stderr: Option<Captured>,
}

impl Exit {
    /// Whether it ended by itself, with exit code 0.
    pub fn success(&self) -> bool {
        self.code == 0 && !self.timed_out
    }
}

/// What a forward leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// This Pod.
    Pod(String),
    /// For each connection a Pod that the Service selects and that is ready at that moment.
    Service(String),
}

/// A way for the stage's `http` requests into the cluster. It ends when this is dropped.
#[derive(Debug)]
pub struct Forwarding {
    handle: wit::Forwarding,
}

impl Forwarding {
    /// `http://<name>.stage:<port>`
    pub fn url(&self) -> String {
        self.handle.url()
    }
}

/// Makes a port known as `http://<name>.stage:<port>` to the stage's `http` requests, under the grant for them. The port of a Service is the Service's own.
/// Verb `create` on `pods/portforward` or `services/portforward`. `name` is a DNS label; `namespace` is the grant's without one.
pub fn forward(namespace: Option<&str>, destination: &Destination, port: u16, name: &str) -> Result<Forwarding, Error> {
    crate::inside("kubernetes");
    let destination = match destination {
        Destination::Pod(pod) => wit::Destination::Pod(pod.clone()),
        Destination::Service(service) => wit::Destination::Service(service.clone()),
    };
    Ok(Forwarding { handle: wit::forward(namespace, &destination, port, name)? })
}

impl From<&Pod> for wit::Pod {
    fn from(pod: &Pod) -> wit::Pod {
        wit::Pod { namespace: pod.namespace.clone(), name: pod.name.clone(), container: pod.container.clone() }
    }
}

impl From<Output> for wit::Output {
    fn from(output: Output) -> wit::Output {
        match output {
            Output::Log => wit::Output::Log,
            Output::Capture => wit::Output::Capture,
            Output::Both => wit::Output::Both,
            Output::Discard => wit::Output::Discard,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_was_not_waited_for_did_not_succeed() {
        let exit = |code, timed_out| Exit { code, timed_out, duration: Duration::ZERO, stdout: None, stderr: None };
        assert!(exit(0, false).success() && !exit(0, true).success() && !exit(1, false).success());
    }
}
