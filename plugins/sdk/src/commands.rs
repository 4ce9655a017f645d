//! Programs that the stage may start, as far as `[stage.<name>.grants] commands` allows.
//!
//! There is no shell in between: arguments arrive as they are given. Where a program runs, confined or on the host, is the
//! grant's choice.
//!
//! ```no_run
//! # use runner_sdk::{Failure, commands::Command};
//! # use std::time::Duration;
//! # fn main() -> Result<(), Failure> {
//! let exit = Command::new("git").args(["log", "-1", "--format=%s"]).capture_stdout().timeout(Duration::from_secs(10)).run()?;
//! let subject = exit.stdout.expect("it was captured").read_to_string()?;
//! # Ok(()) }
//! ```

use std::fmt::{self, Display};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::bindings::runner::commands::commands as wit;
use crate::{Denial, Failure, files};

/// What happens to the output of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Output {
    /// Line by line into the stage's log, as it comes.
    #[default]
    Log,
    /// Into a file of the scratch folder, see [`Exit`].
    Capture,
    /// Both.
    Both,
    /// Nowhere.
    Discard,
}

/// A command to start. Its output goes to the stage's log unless something else is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    program: String,
    arguments: Vec<String>,
    env: Vec<(String, String)>,
    directory: Option<String>,
    stdin: Vec<u8>,
    stdout: Output,
    stderr: Output,
    timeout: Duration,
    name: String,
}

impl Command {
    /// A program by a name that the grant lists, or by a path that starts with `/`, `./` or `/workspace/`.
    pub fn new(program: impl Into<String>) -> Command {
        Command {
            program: program.into(),
            arguments: Vec::new(),
            env: Vec::new(),
            directory: None,
            stdin: Vec::new(),
            stdout: Output::Log,
            stderr: Output::Log,
            timeout: Duration::ZERO,
            name: String::new(),
        }
    }

    /// A program and its arguments in one list, as settings have them. None if the list is empty.
    pub fn from_argv<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Option<Command> {
        let mut argv = argv.into_iter();
        Some(Command::new(argv.next()?).args(argv))
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl Into<String>) -> Command {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    pub fn args<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Command {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable, on top of the stage's `env` and of what the grant's toolchains set.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Command {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Sets variables.
    pub fn envs<K: Into<String>, V: Into<String>>(mut self, variables: impl IntoIterator<Item = (K, V)>) -> Command {
        self.env.extend(variables.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// Where it runs: `/workspace/…` or `/scratch/…`, or relative to `/workspace`, which is where it runs otherwise.
    pub fn dir(mut self, directory: impl Into<String>) -> Command {
        self.directory = Some(directory.into());
        self
    }

    /// Feeds the program's standard input, which is empty otherwise.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Command {
        self.stdin = bytes.into();
        self
    }

    /// Says what happens to standard output.
    pub fn stdout(mut self, output: Output) -> Command {
        self.stdout = output;
        self
    }

    /// Says what happens to standard error.
    pub fn stderr(mut self, output: Output) -> Command {
        self.stderr = output;
        self
    }

    /// Standard output goes to a file instead of the log; see [`Exit::stdout`].
    pub fn capture_stdout(self) -> Command {
        self.stdout(Output::Capture)
    }

    /// Standard error goes to a file instead of the log; see [`Exit::stderr`].
    pub fn capture_stderr(self) -> Command {
        self.stderr(Output::Capture)
    }

    /// After this long the program gets SIGTERM and, 5 seconds later, SIGKILL. Without it, the stage's own limit stands.
    pub fn timeout(mut self, timeout: Duration) -> Command {
        self.timeout = timeout;
        self
    }

    /// A DNS label: in the background the program answers at `http://<name>.stage:<port>` for this stage, on whatever port it listens.
    pub fn name(mut self, name: impl Into<String>) -> Command {
        self.name = name.into();
        self
    }

    /// Starts the program and does not wait for it. It is killed when the [`Process`] is dropped.
    pub fn spawn(&self) -> Result<Process, Error> {
        crate::inside("commands");
        let command = wit::Command {
            program: self.program.clone(),
            arguments: self.arguments.clone(),
            env: self.env.clone(),
            directory: self.directory.clone(),
            stdin: self.stdin.clone(),
            stdout: self.stdout.into(),
            stderr: self.stderr.into(),
            timeout: nanoseconds(self.timeout),
            name: self.name.clone(),
        };
        Ok(Process { handle: wit::start(&command)? })
    }

    /// Starts the program and waits for its end, whatever that is: see [`Exit::success`].
    pub fn run(&self) -> Result<Exit, Error> {
        Ok(self.spawn()?.wait())
    }
}

/// The command line as a shell would take it, for logs and messages.
impl Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quoted(&self.program))?;
        self.arguments.iter().try_for_each(|argument| write!(f, " {}", quoted(argument)))
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A started program. It is killed, with all that it started, when this is dropped or the stage ends.
#[derive(Debug)]
pub struct Process {
    handle: wit::Process,
}

impl Process {
    /// Counts from 1 within an attempt; the log shows it.
    pub fn id(&self) -> u32 {
        self.handle.id()
    }

    /// Waits for the end; the same answer every time.
    pub fn wait(&self) -> Exit {
        self.handle.wait().into()
    }

    /// Asks the program and all that it started to end (SIGTERM), and kills what is left after `grace`.
    pub fn stop(&self, grace: Duration) -> Exit {
        self.handle.stop(nanoseconds(grace)).into()
    }
}

/// Waits until one of several has ended, or until `timeout` has passed (none: for ever).
///
/// Answers with the lowest index among those that have ended, or none on time-out. An empty list is answered with none at once.
pub fn wait_any(processes: &[&Process], timeout: Option<Duration>) -> Option<usize> {
    crate::inside("commands");
    let handles: Vec<&wit::Process> = processes.iter().map(|process| &process.handle).collect();
    // 0 means "for ever" to the host; a limit of nothing is the shortest one.
    let timeout = timeout.map_or(0, |limit| nanoseconds(limit).max(1));
    wit::wait_any(&handles, timeout).map(|index| index as usize)
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The exit code; none if a signal ended it.
    pub code: Option<u32>,
    /// The signal's number, if one ended it.
    pub signal: Option<u32>,
    /// Whether it was ended because of its `timeout`.
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
        self.code == Some(0) && !self.timed_out
    }
}

/// `exit code 101`, `killed by SIGSEGV`, `timed out after 30s`.
impl Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.timed_out, self.code, self.signal) {
            (true, ..) => write!(f, "timed out after {:.0?}", self.duration),
            (_, Some(code), _) => write!(f, "exit code {code}"),
            (_, _, Some(signal)) => match signal_name(signal) {
                Some(name) => write!(f, "killed by {name}"),
                None => write!(f, "killed by signal {signal}"),
            },
            (_, None, None) => f.write_str("ended in an unknown way"),
        }
    }
}

/// The signals that end programs and have the same number on all Linux architectures (signal(7)).
fn signal_name(number: u32) -> Option<&'static str> {
    Some(match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        _ => return None,
    })
}

/// A file of the scratch folder with what a program wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// `/scratch/…`
    pub path: PathBuf,
    /// In bytes.
    pub size: u64,
}

impl Captured {
    /// All of it.
    pub fn read(&self) -> Result<Vec<u8>, files::Error> {
        files::read(&self.path)
    }

    /// All of it as text; bytes that are not UTF-8 become U+FFFD.
    pub fn read_to_string(&self) -> Result<String, files::Error> {
        Ok(String::from_utf8(self.read()?).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// To read it piece by piece.
    pub fn open(&self) -> Result<File, files::Error> {
        files::open(&self.path)
    }
}

/// Why a program was not started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The grants do not allow it.
    Denied(Denial),
    /// The grant allows it, but there is no such program where it would run. Says where was looked.
    NotFound(String),
    /// The command cannot be started as it is: a NUL byte, an empty program, a name taken already.
    Invalid(String),
    /// The confinement or the system refused: says what and how to mend it.
    System(String),
    /// A limit of the stage: how many processes may run at once.
    Limit(String),
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Denied(denial) => denial.fmt(f),
            Error::NotFound(text) | Error::Invalid(text) | Error::System(text) | Error::Limit(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::Denied(denial) => Failure::Denied(denial),
            Error::Invalid(text) => Failure::Misconfigured(text),
            Error::NotFound(text) | Error::System(text) | Error::Limit(text) => Failure::Errored(text),
        }
    }
}

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Error {
        match error {
            wit::Error::Denied(denial) => Error::Denied(denial.into()),
            wit::Error::NotFound(text) => Error::NotFound(text),
            wit::Error::Invalid(text) => Error::Invalid(text),
            wit::Error::System(text) => Error::System(text),
            wit::Error::Limit(text) => Error::Limit(text),
        }
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

impl From<wit::Exit> for Exit {
    fn from(exit: wit::Exit) -> Exit {
        let captured = |wit: wit::Captured| Captured { path: Path::new(&wit.path).to_owned(), size: wit.size };
        Exit {
            code: exit.code,
            signal: exit.signal,
            timed_out: exit.timed_out,
            duration: Duration::from_nanos(exit.duration),
            stdout: exit.stdout.map(captured),
            stderr: exit.stderr.map(captured),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_can_be_pasted_into_a_shell() {
        let command = Command::new("cargo").args(["test", "--", "it's a $test", "", "a=b", "--json=*"]);
        assert_eq!(command.to_string(), r"cargo test -- 'it'\''s a $test' '' a=b '--json=*'");
    }

    #[test]
    fn an_empty_argv_is_no_command() {
        assert_eq!(Command::from_argv(Vec::<String>::new()), None);
        assert_eq!(Command::from_argv(["cargo", "fmt"]), Some(Command::new("cargo").arg("fmt")));
    }

    #[test]
    fn an_exit_says_how() {
        let exit =
            |code, signal, timed_out| Exit { code, signal, timed_out, duration: Duration::from_secs(30), stdout: None, stderr: None };
        for (exit, text, success) in [
            (exit(Some(0), None, false), "exit code 0", true),
            (exit(Some(101), None, false), "exit code 101", false),
            (exit(None, Some(11), false), "killed by SIGSEGV", false),
            (exit(None, Some(64), false), "killed by signal 64", false),
            (exit(None, Some(15), true), "timed out after 30s", false),
            (exit(Some(0), None, true), "timed out after 30s", false),
        ] {
            assert_eq!((exit.to_string().as_str(), exit.success()), (text, success));
        }
    }

    #[test]
    #[should_panic(expected = "was called outside a stage")]
    fn outside_a_stage_it_says_so() {
        let _ = Command::new("true").run();
    }
}
