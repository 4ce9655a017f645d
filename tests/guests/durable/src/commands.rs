//! Commands of every class.
//!
//! The shell's `$0` is a word that the test finds processes by.

use std::time::Duration;

use runner_sdk::commands::{Command, Error, Exit, Process, wait_any};
use runner_sdk::{Failure, files, http};

use crate::files::Diary;

/// How often something is looked for and done again.
pub const TRIES: u32 = 5;

/// With the project's word as `$0`.
fn shell(script: &str) -> Command {
    let word = std::env::var("MARKER").unwrap_or_else(|_| "sh".to_owned());
    Command::new("sh").args(["-c", script]).arg(word)
}

/// Runs it; none if it was cut off with the runner, and nobody knows how far it came.
fn run(command: &Command) -> Result<Option<Exit>, Failure> {
    match command.run() {
        Ok(exit) if exit.signal == Some(9) => Ok(None),
        Ok(exit) => Ok(Some(exit)),
        Err(Error::System(text)) if text.contains("was cut off") => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Commands that leave a line behind, and one of which only the output counts.
pub fn once() -> Result<(), Failure> {
    for line in ["line-one", "line-two"] {
        appends(line)?;
    }
    for _ in 0..TRIES {
        let command = shell("printf captured; cat >&2").stdin("fed").capture_stdout().capture_stderr();
        let Some(exit) = run(&command)? else { continue };
        let (Some(out), Some(err)) = (&exit.stdout, &exit.stderr) else { continue };
        println!("captured: {exit}, {:?} and {:?}", out.read_to_string()?, err.read_to_string()?);
        break;
    }
    println!("not granted: {}", matches!(Command::new("perl").run(), Err(Error::Denied(_))));
    println!("lines: {:?}", files::read_to_string("work/lines.txt")?);
    Ok(())
}

fn appends(line: &str) -> Result<(), Failure> {
    let command = shell(&format!("echo {line} >> work/lines.txt; echo cmd: {line}"));
    for _ in 0..TRIES {
        let exit = run(&command)?;
        if exit.is_some_and(|exit| exit.success()) || there(line)? {
            println!("{line} is there");
            return Ok(());
        }
    }
    Err(Failure::errored(format_args!("{line} never came")))
}

pub fn there(line: &str) -> Result<bool, Failure> {
    let lines = files::read_optional("work/lines.txt")?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&lines).lines().any(|one| one == line))
}

/// Where the server in the background answers.
const APP: &str = "http://app.stage:8099/";

/// A server in the background, which is asked in between, and commands that may run twice.
pub fn repeatable(mut diary: Option<&mut Diary>) -> Result<(), Failure> {
    let word = std::env::var("MARKER").unwrap_or_default();
    let app = Command::new("perl").args(["given/serve.pl".to_owned(), word]).name("app").spawn()?;
    ready(&app)?;
    asked("at first")?;
    let exit = shell("echo again > work/again.txt; echo cmd: again").run()?;
    println!("again: {exit}");
    asked("after a command")?;
    if let Some(diary) = &mut diary {
        diary.note("the server is asked")?;
    }
    asked("after a file")?;
    println!("it runs: {}", wait_any(&[&app], Some(Duration::from_millis(20))).is_none());
    asked("after a wait")?;
    let slow = shell("sleep 0.05; echo slow > work/slow.txt").spawn()?;
    println!("first to end: {:?}", wait_any(&[&app, &slow], None));
    println!("slow: {}", slow.wait());
    asked("at last")?;
    println!("app: {}", app.stop(Duration::from_secs(1)));
    Ok(())
}

/// As services are waited for: until they answer.
fn ready(app: &Process) -> Result<(), Failure> {
    for _ in 0..200 {
        if http::get(APP).send().is_ok() {
            return Ok(());
        }
        if wait_any(&[app], Some(Duration::from_millis(10))).is_some() {
            break;
        }
    }
    Err(Failure::errored("the server in the background never answered"))
}

fn asked(when: &str) -> Result<(), Failure> {
    let response = http::get(APP).send()?;
    println!("app {when}: {} {:?}", response.status(), response.text()?);
    Ok(())
}
