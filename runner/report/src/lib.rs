//! Events to output, one file per audience: a person at a terminal ([`terminal()`]), the log of a CI server ([`plain()`], and for those that take
//! more than text [`github()`] and [`gitlab()`]), a program ([`json()`]), whatever reads JUnit ([`junit()`]), SARIF ([`sarif()`]) or GitLab's code
//! quality ([`code_quality()`]), and GitHub's step summary ([`step_summary()`]).
//!
//! Each is an [`EventSink`] over anything that can be written to. A sink that cannot write says so once on stderr and stops
//! writing; the run goes on. Nothing here decides anything about the run, and nothing here reads a clock except the terminal, which
//! shows how long things take.

mod around;
mod code_quality;
mod detail;
pub mod detect;
mod duration;
mod file;
mod found;
mod frame;
mod github;
mod gitlab;
mod held;
pub mod history;
mod json;
mod junit;
mod model;
mod onward;
mod out;
mod plain;
mod sanitize;
pub mod sarif;
mod source;
mod step_summary;
mod style;
mod summary;
mod tail;
mod terminal;

#[cfg(test)]
mod script;

use std::io::Write;
use std::path::PathBuf;

use event::EventSink;

pub use detail::reason;
pub use duration::human as human_duration;
pub use file::File;
pub use frame::Size;
pub use github::Github;
pub use gitlab::Gitlab;
pub use json::Json;
pub use plain::Plain;
pub use sanitize::clean;
pub use source::Sources;
pub use step_summary::StepSummary;
pub use summary::bytes as human_bytes;
pub use terminal::Terminal;

/// How a report for people looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    pub color: bool,
    /// False: only ASCII is written.
    pub unicode: bool,
    /// Columns; none: what the terminal has, or no limit for a plain log.
    pub width: Option<usize>,
    pub verbosity: Verbosity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// `-q`: failures and the verdict.
    Quiet,
    Normal,
    /// `-v`: every line that a stage writes, and the details of stages that passed.
    Verbose,
}

impl Default for Options {
    /// No colour, Unicode, no limit: what suits a file.
    fn default() -> Self {
        Options { color: false, unicode: true, width: None, verbosity: Verbosity::Normal }
    }
}

/// What `--format` chooses; `auto` is decided by [`detect::live`] and [`detect::server`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    Terminal,
    Plain,
    Json,
    Github(Sources),
    Gitlab,
}

/// The reporter of a format, writing to `out`.
pub fn sink(format: Format, out: impl Write + Send + 'static, options: Options) -> Box<dyn EventSink> {
    match format {
        Format::Terminal => Box::new(terminal(out, options)),
        Format::Plain => Box::new(plain(out, options)),
        Format::Json => Box::new(json(out)),
        Format::Github(sources) => Box::new(github(out, options, sources)),
        Format::Gitlab => Box::new(gitlab(out, options)),
    }
}

/// A live view that redraws itself; `out` is a terminal.
pub fn terminal(out: impl Write + Send + 'static, options: Options) -> Terminal {
    Terminal::new(out, options)
}

/// Lines that only ever follow each other.
pub fn plain(out: impl Write + Send + 'static, options: Options) -> Plain {
    Plain::new(out, options)
}

/// Plain lines with workflow commands: groups and annotations.
pub fn github(out: impl Write + Send + 'static, options: Options, sources: Sources) -> Github {
    Github::new(out, options, sources)
}

/// Plain lines with sections.
pub fn gitlab(out: impl Write + Send + 'static, options: Options) -> Gitlab {
    Gitlab::new(out, options)
}

/// One JSON object a line.
pub fn json(out: impl Write + Send + 'static) -> Json {
    Json::new(out)
}

/// A JUnit file at `path`, written when the run has finished.
pub fn junit(path: impl Into<PathBuf>) -> File<junit::Suites> {
    File::of(path.into(), junit::Suites::default())
}

/// A SARIF file at `path`, written when the run has finished.
pub fn sarif(path: impl Into<PathBuf>, sources: Sources) -> File<sarif::Sarif> {
    File::of(path.into(), sarif::Sarif::new(sources))
}

/// A file at `path` in GitLab's code quality format, written when the run has finished.
pub fn code_quality(path: impl Into<PathBuf>, sources: Sources) -> File<code_quality::CodeQuality> {
    File::of(path.into(), code_quality::CodeQuality::new(sources))
}

/// Markdown, appended to the file at `path` when the run has finished.
pub fn step_summary(path: impl Into<PathBuf>) -> StepSummary {
    StepSummary::new(path.into())
}

/// The one complaint of a sink that cannot write. If stderr is gone too, there is nobody left to tell.
fn complain(what: &str, error: &std::io::Error) {
    let _ = writeln!(std::io::stderr(), "warning: {what}: {error}; the run goes on without it");
}
