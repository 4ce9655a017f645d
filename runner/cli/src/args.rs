//! What can be typed: the command line as clap sees it, for parsing, completions and the man page alike.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use pipeline::facts::EventKind;
use report::history::RunState;

/// Run CI/CD pipelines whose stages are sandboxed WebAssembly components
#[derive(Debug, Parser)]
#[command(name = "runner", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = "Exit codes: 0 all passed · 1 a stage failed · 2 usage · 3 invalid pipeline · 5 a denied effect failed the run · \
    7 timed out · 70 a bug in runner · 130/143 interrupted")]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Work as if started in DIR
    #[arg(short = 'C', long, value_name = "DIR", global = true)]
    pub directory: Option<PathBuf>,
    /// Say less: failures and the verdict only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more: every line that stages print
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// When to use colour (NO_COLOR and CLICOLOR_FORCE are honoured)
    #[arg(long, value_enum, default_value_t = Color::Auto, global = true, value_name = "WHEN")]
    pub color: Color,
    /// How to report: `auto` is a live view on a terminal and plain lines elsewhere, with what GitHub Actions and GitLab CI make of them there
    #[arg(long, value_enum, default_value_t = Format::Auto, global = true, env = "PIPELINE_FORMAT", value_name = "FORMAT")]
    pub format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Auto,
    Plain,
    Json,
    /// Only of `ledger`: its denials for the finders of code scanners
    Sarif,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a pipeline
    Exec(Exec),
    /// Write a commented pipeline for this repository
    Init(Init),
    /// Go on with a run that was cut off, interrupted, or waits for a person
    Resume(Resume),
    /// Run a stage of a finished run again on what is recorded of it: offline, with nothing around it
    Replay(Replay),
    /// Approve a stage that waits for it
    Approve(Approve),
    /// Reject a stage that waits for approval
    Reject(Approve),
    /// Find the mistakes in a pipeline file without running anything
    Check(Check),
    /// Show order, authority, limits and expansions of every stage without running anything
    Plan(Planned),
    /// Show what a plugin says of itself: settings, requests, imports
    Inspect(Inspect),
    /// List the runs, newest first
    Runs(Runs),
    /// Show one run: its stages, what they found and left, what they were denied
    Show(Show),
    /// Print what the stages of a run printed
    Logs(Logs),
    /// List every effect that the stages of a run asked for, granted and denied, and the grants that were never used
    Ledger(Ledger),
    /// List what the stages of a run left, or take it out
    Artifacts(Artifacts),
    /// Write a run into one file, to look at it and replay it elsewhere
    Export(Export),
    /// Take in a run that was exported elsewhere
    Import(Import),
    /// Remove old runs, and what no remaining run needs
    Gc(Gc),
    /// Look at this machine: what works here, and how to mend what does not
    Doctor,
    /// Print the JSON Schema of pipeline files, for editors
    Schema,
    /// Print completions for a shell
    Completions {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the man page
    Man,
}

/// Which pipeline, and with which values.
#[derive(Debug, Clone, Args)]
pub struct Source {
    /// The pipeline file
    #[arg(default_value = "pipeline.toml", value_name = "FILE")]
    pub file: PathBuf,
    /// Set an input of the pipeline
    #[arg(short, long = "input", value_name = "NAME=VALUE", value_parser = pair)]
    pub inputs: Vec<(String, String)>,
    #[command(flatten)]
    pub occasion: Occasion,
    /// Run `in = "process"` commands on the host, unconfined: for machines without user namespaces
    #[arg(long, env = "PIPELINE_UNCONFINED", value_parser = clap::builder::FalseyValueParser::new(), action = clap::ArgAction::SetTrue)]
    pub unconfined: bool,
}

/// What the run is for, where the CI server or the checkout do not say it.
#[derive(Debug, Clone, Default, Args)]
pub struct Occasion {
    /// What set the run off [default: what the CI server says, else manual]
    #[arg(long, value_name = "EVENT", value_parser = PossibleValuesParser::new(EventKind::ALL.map(EventKind::name)).map(|name| kind(&name)))]
    pub event: Option<EventKind>,
    /// The branch, tag or pull request: refs/heads/x, refs/tags/x, refs/pull/7/head, or a short name [default: what is checked out]
    #[arg(long = "ref", value_name = "REF")]
    pub reference: Option<String>,
    /// What to compare with, for `if-changed` and `changed` [default: what the event says, else where it parted from the default branch]
    #[arg(long, value_name = "REV")]
    pub base: Option<String>,
    /// The commit that the run is of [default: what is checked out]
    #[arg(long, value_name = "REV")]
    pub rev: Option<String>,
    /// Take the changed files from this list, a path in each line, in the place of asking git
    #[arg(long, value_name = "FILE")]
    pub changed_from: Option<PathBuf>,
    /// Take the pipeline file, what it includes and its local plugins from this revision; the workspace stays the checkout
    #[arg(long, value_name = "REV")]
    pub pipeline_from: Option<String>,
}

#[derive(Debug, Args)]
pub struct Exec {
    #[command(flatten)]
    pub source: Source,
    /// Stages at once [default: one per processor, 2 at least]
    #[arg(short, long, value_name = "N", env = "PIPELINE_JOBS")]
    pub jobs: Option<NonZeroUsize>,
    /// Run only these stages and what they need
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Leave these stages out
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub skip: Vec<String>,
    /// Stop at the first failure
    #[arg(long, overrides_with = "keep_going")]
    pub fail_fast: bool,
    /// Go on with what does not need a failed stage [default]
    #[arg(long)]
    pub keep_going: bool,
    #[command(flatten)]
    pub reports: Reports,
    /// Seconds that stages have to end after an interrupt
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub grace: u64,
    /// Don't wait for approvals: end with exit code 8 when nothing else is left to do
    #[arg(long)]
    pub no_wait: bool,
    #[command(flatten)]
    pub learning: Learning,
}

/// A run that finds out which grants its stages need.
#[derive(Debug, Args)]
pub struct Learning {
    /// For this run, permit what stages ask for inside a private copy of the workspace, and show the smallest grants that let it pass
    #[arg(long)]
    pub learn: bool,
    /// Permit requests to this host while learning
    #[arg(long, value_name = "HOST[:PORT]", requires = "learn")]
    pub learn_host: Vec<String>,
    /// Write what was learned into this file
    #[arg(long, value_name = "FILE", requires = "learn")]
    pub learn_out: Option<PathBuf>,
    /// Write what was learned into the pipeline file; its comments stay
    #[arg(long, requires = "learn")]
    pub learn_write: bool,
}

#[derive(Debug, Args)]
pub struct Init {
    /// The folder of the repository
    #[arg(default_value = ".", value_name = "DIR")]
    pub folder: PathBuf,
    /// Write over a pipeline file that is there
    #[arg(long, conflicts_with = "stdout")]
    pub force: bool,
    /// Print the pipeline instead of writing it
    #[arg(long)]
    pub stdout: bool,
}

#[derive(Debug, Args)]
pub struct Resume {
    /// The run: its id, the beginning of it, or `latest` [default: the latest that is not over; with `--failed`, that did not pass]
    pub run: Option<String>,
    /// Run again what failed, and what depends on it
    #[arg(long)]
    pub failed: bool,
    /// What to do about effects of which nobody can tell whether they happened
    #[arg(long, value_enum, value_name = "CHOICE")]
    pub in_doubt: Option<InDoubt>,
    /// Don't wait for approvals: end with exit code 8 when nothing else is left to do
    #[arg(long)]
    pub no_wait: bool,
    #[command(flatten)]
    pub reports: Reports,
}

/// Files for other systems, each of the whole run.
#[derive(Debug, Clone, Args)]
pub struct Reports {
    /// Write a JUnit report
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Write findings and denials as SARIF, for code scanning
    #[arg(long, value_name = "FILE")]
    pub sarif: Option<PathBuf>,
    /// Write findings and denials in GitLab's code quality format
    #[arg(long, value_name = "FILE")]
    pub code_quality: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InDoubt {
    /// Do them, perhaps a second time
    Retry,
    /// Leave them; the stage is told that they were cut off
    Skip,
    /// Fail the stage
    Fail,
}

impl From<InDoubt> for capability::InDoubt {
    fn from(choice: InDoubt) -> Self {
        match choice {
            InDoubt::Retry => capability::InDoubt::Retry,
            InDoubt::Skip => capability::InDoubt::Skip,
            InDoubt::Fail => capability::InDoubt::Fail,
        }
    }
}

#[derive(Debug, Args)]
pub struct Replay {
    /// The run: its id, the beginning of it, or `latest`
    pub run: String,
    /// The stage, as `plan` and `show` name it [default: every attempt of every stage that ran]
    pub stage: Option<String>,
    /// Which attempt [default: the last]
    #[arg(long, value_name = "N", requires = "stage")]
    pub attempt: Option<u32>,
    /// Run another build of the plugin on the recorded world, and show where it differs first
    #[arg(long, value_name = "PLUGIN.wasm", requires = "stage")]
    pub against: Option<PathBuf>,
    /// Write the log that the replay makes
    #[arg(long, value_name = "FILE", requires = "stage")]
    pub log: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Approve {
    /// The run: its id, the beginning of it, or `latest`
    pub run: String,
    /// The stage
    pub stage: String,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub note: String,
    /// In whose name [default: the user's login name]
    #[arg(long = "as", value_name = "NAME", env = "PIPELINE_APPROVER")]
    pub by: Option<String>,
}

#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    pub source: Source,
    /// List every code that a mistake can have
    #[arg(long)]
    pub codes: bool,
}

#[derive(Debug, Args)]
pub struct Planned {
    #[command(flatten)]
    pub source: Source,
    /// Print the file as it stands once everything is included and extended, with the origin of each line
    #[arg(long)]
    pub expanded: bool,
}

#[derive(Debug, Args)]
pub struct Inspect {
    /// A bundled plugin's name, or a path to a .wasm file; without it: a list of the bundled ones
    pub plugin: Option<String>,
}

#[derive(Debug, Args)]
pub struct Runs {
    /// Only those of this pipeline
    #[arg(long, value_name = "NAME")]
    pub pipeline: Option<String>,
    /// Only those that stand like this: running, passed, failed, denied, timed-out, interrupted, terminated, waiting, cut-off
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    pub state: Vec<RunState>,
    /// Only those that began since: `2d`, `90m`, or a date
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
}

#[derive(Debug, Args)]
pub struct Show {
    /// The run: its id, the beginning of it, or `latest`
    pub run: String,
    /// One stage from close by, with its effects
    pub stage: Option<String>,
    /// The effects of all stages too
    #[arg(long)]
    pub effects: bool,
}

#[derive(Debug, Args)]
pub struct Logs {
    /// The run: its id, the beginning of it, or `latest`
    pub run: String,
    /// Only this stage's
    pub stage: Option<String>,
    /// Of this attempt [default: the last]
    #[arg(long, value_name = "N")]
    pub attempt: Option<u32>,
    /// Go on with what comes, until the stage or the run has ended
    #[arg(short, long)]
    pub follow: bool,
    /// Only what came from here
    #[arg(long, value_enum, value_name = "STREAM")]
    pub stream: Option<LogStream>,
    /// The bytes as they are, without headings, also to a terminal
    #[arg(long)]
    pub raw: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogStream {
    /// The component itself
    Stage,
    /// The programs that it started
    Command,
    /// The runner
    Runner,
}

#[derive(Debug, Args)]
pub struct Ledger {
    /// The run: its id, the beginning of it, or `latest`
    pub run: String,
    /// Only this stage's
    pub stage: Option<String>,
    /// Only what was denied
    #[arg(long, conflicts_with = "granted")]
    pub denied: bool,
    /// Only what was granted
    #[arg(long)]
    pub granted: bool,
    /// Everything that is recorded, also how often a stage looked whether something had happened
    #[arg(long)]
    pub all: bool,
}

#[derive(Debug, Args)]
pub struct Artifacts {
    /// The run: its id, the beginning of it, or `latest`
    pub run: String,
    /// Only this one: `dist`, or `build.dist`
    pub name: Option<String>,
    /// Put its files into this folder, which is empty or not there
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Export {
    /// The run: its id, the beginning of it, or `latest`
    pub run: String,
    /// The file to write [default: RUN.tar.gz]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Import {
    /// A file that `runner export` wrote
    pub file: PathBuf,
    /// How many bytes it may hold at most when unpacked
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 30)]
    pub max_size: u64,
}

#[derive(Debug, Args)]
pub struct Gc {
    /// Keep the newest N runs
    #[arg(long, value_name = "N", default_value_t = 50, conflicts_with = "keep_days")]
    pub keep: usize,
    /// Keep the runs of the last D days instead
    #[arg(long, value_name = "D")]
    pub keep_days: Option<u64>,
    /// Remove every cache too, not only those that were not used for a month
    #[arg(long)]
    pub caches: bool,
    /// Only say what would be removed
    #[arg(long)]
    pub dry_run: bool,
}

/// clap lets only their names pass.
fn kind(name: &str) -> EventKind {
    EventKind::ALL.into_iter().find(|kind| kind.name() == name).unwrap_or_default()
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not of the form NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
