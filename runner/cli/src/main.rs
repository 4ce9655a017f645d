//! The binary `runner`: reads the command line, hands it to one command, and turns how that ended into an exit code.
//!
//! Two of its own processes are this same executable: the first process of every jail, and the compiler of plugins. They are told
//! by their first argument, before anything else happens (a jail's first process must have no threads).

mod approvals;
mod args;
mod around;
mod attempt;
mod caches;
mod commands;
mod context;
mod drive;
mod engines;
mod error;
mod facts;
mod fault;
mod git;
mod groups;
mod history;
mod init;
mod learn;
mod load;
mod past;
mod results;
mod revision;
mod running;
mod runs;
mod services;
mod so_far;
mod style;
mod usage;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use args::{Cli, Command};
use error::{CliError, Ending};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(first) if first == capability_commands::jail::WARDEN_ARGUMENT => capability_commands::jail::warden_main(),
        Some(first) if first == host::COMPILE_ARGUMENT => return ExitCode::from(host::compile_main(arguments)),
        _ => {}
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // help and version are asked for; everything else is a slip
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            let _ = error.print();
            return ExitCode::from(if asked { 0 } else { Ending::Usage.code() });
        }
    };
    // a panic has said what and where on stderr by the time it arrives here
    let ending = match std::panic::catch_unwind(|| run(&cli)) {
        Ok(Ok(ending)) => ending,
        Ok(Err(error)) => {
            complain(&cli, &error);
            error.ending()
        }
        Err(_) => Ending::Bug,
    };
    ExitCode::from(ending.code())
}

/// Nanoseconds since 1970-01-01T00:00:00Z.
fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    now.as_nanos() as u64
}

fn run(cli: &Cli) -> Result<Ending, CliError> {
    if let Some(directory) = &cli.global.directory {
        std::env::set_current_dir(directory)
            .map_err(|e| CliError::usage(format!("{}: {e}", directory.display()), "-C wants a folder that exists"))?;
    }
    if cli.global.format == args::Format::Sarif && !matches!(cli.command, Command::Ledger(_)) {
        let hint = "`exec` and `resume` write a file with `--sarif FILE`; the others have `--format json`";
        return Err(CliError::usage("only `ledger` reports as SARIF", hint));
    }
    let mut out = std::io::stdout().lock();
    let printed = |result: std::io::Result<()>| match result {
        // a reader that has seen enough is no failure
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(CliError::from(anyhow::Error::from(e))),
        _ => Ok(Ending::Ok),
    };
    match &cli.command {
        Command::Exec(args) => {
            drop(out);
            commands::exec::run(args, &cli.global)
        }
        Command::Init(args) => commands::init::run(args, &cli.global, &mut out),
        Command::Resume(args) => {
            drop(out);
            commands::resume::run(args, &cli.global)
        }
        Command::Replay(args) => {
            drop(out);
            commands::replay::run(args, &cli.global)
        }
        Command::Approve(args) => commands::approve::run(args, true, &cli.global, &mut out),
        Command::Reject(args) => commands::approve::run(args, false, &cli.global, &mut out),
        Command::Runs(args) => commands::runs::run(args, &cli.global, &mut out),
        Command::Show(args) => commands::show::run(args, &cli.global, &mut out),
        Command::Logs(args) => commands::logs::run(args, &cli.global, &mut out),
        Command::Ledger(args) => commands::ledger::run(args, &cli.global, &mut out),
        Command::Artifacts(args) => commands::artifacts::run(args, &cli.global, &mut out),
        Command::Export(args) => commands::export::run(args, &cli.global, &mut out),
        Command::Import(args) => commands::import::run(args, &cli.global, &mut out),
        Command::Gc(args) => commands::gc::run(args, &cli.global, &mut out),
        Command::Check(args) => commands::check::run(args, &cli.global, &mut out),
        Command::Plan(args) => commands::plan::run(args, &cli.global, &mut out),
        Command::Inspect(args) => commands::inspect::run(args, &cli.global, &mut out),
        Command::Doctor => commands::doctor::run(&cli.global, &mut out),
        Command::Completions { shell } => printed(commands::completions::completions(*shell, &mut out)),
        Command::Schema => commands::schema::run(&mut out),
        Command::Man => printed(commands::completions::man(&mut out)),
    }
}

/// Errors go to stderr; with `--format json` as one object, so that a program sees them too.
fn complain(cli: &Cli, error: &CliError) {
    let mut err = std::io::stderr().lock();
    if let CliError::Environment(cause) = error
        && let Some(io) = cause.downcast_ref::<std::io::Error>()
        && io.kind() == std::io::ErrorKind::BrokenPipe
    {
        return;
    }
    let style = style::Style::new(load::color(&cli.global, &std::io::stderr()));
    let _ = match error {
        CliError::Invalid { rendered } => {
            let count = rendered.lines().filter(|line| plain(line).starts_with("error")).count();
            let mistakes = if count == 1 { "1 mistake".to_owned() } else { format!("{count} mistakes") };
            write!(err, "{rendered}").and_then(|()| writeln!(err, "{}: {mistakes}; nothing was run", style.bad("invalid pipeline")))
        }
        CliError::Usage { message, hint } => writeln!(err, "{}: {message}", style.bad("error"))
            .and_then(|()| hint.as_ref().map_or(Ok(()), |hint| writeln!(err, "  {} {hint}", style.note("help:")))),
        CliError::Environment(cause) => writeln!(err, "{}: {cause:#}", style.bad("error")),
    };
}

/// A line without escape sequences.
fn plain(line: &str) -> &str {
    line.trim_start_matches(|c: char| c == '\u{1b}' || c == '[' || c == ';' || c.is_ascii_digit()).trim_start_matches('m')
}
