//! What a stage does with a Docker engine: an image that it builds, names, pushes and takes away, and containers that leave a line behind.

use std::time::Duration;

use runner_sdk::docker::{Build, Container, Error, Exec, Running, images, wait_any};
use runner_sdk::{Failure, files};

use crate::commands::{TRIES, there};

/// With the project's word as an argument.
fn shell(image: &str, script: &str) -> Container {
    let word = std::env::var("MARKER").unwrap_or_else(|_| "sh".to_owned());
    Container::new(image).args(["sh", "-c", script]).args([word]).mount("/workspace/work", "/w", true)
}

/// None if it was cut off with the runner, and nobody knows how far it came.
fn known<T>(answer: Result<T, Error>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Error::Engine(text)) if text.contains("was cut off") => Ok(None),
        // the container, or what was in one that was started again
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub fn everything(repository: &str) -> Result<(), Failure> {
    let (one, two) = (format!("{repository}:1"), format!("{repository}:2"));
    let built = Build::new("/workspace/given/image").tag(&one).label("of", "a test").run()?;
    println!("built: {} steps", built.steps);
    images::tag(&one, &two)?;
    println!("layers: {}", images::inspect(&two)?.layers.len());
    appends(&one, "line-in-container")?;
    alongside(&one)?;
    println!("saved: {}", images::save([one.as_str()], "/scratch/image.tar")? > 1000);
    println!("pushed: {}", images::push(&one)?.digest.starts_with("sha256:"));
    images::remove(&one)?;
    println!("pulled: {}", images::pull(&one)?.tags.contains(&one));
    images::remove(&one)?;
    images::remove(&two)?;
    let left = images::list()?.into_iter().any(|image| image.tags.contains(&one) || image.tags.contains(&two));
    println!("left: {left}; not granted: {}", matches!(images::push("elsewhere:1"), Err(Error::Denied(_))));
    println!("lines: {:?}", files::read_to_string("work/lines.txt")?);
    Ok(())
}

/// A container that must not run twice.
fn appends(image: &str, line: &str) -> Result<(), Failure> {
    for _ in 0..TRIES {
        let exit = known(shell(image, &format!("echo {line} >> /w/lines.txt; echo cmd: appended")).run())?;
        if exit.is_some_and(|exit| exit.success()) || there(line)? {
            println!("{line} is there");
            return Ok(());
        }
    }
    Err(Failure::errored(format_args!("{line} never came")))
}

/// Programs in a container that runs, and files into it and out of it.
fn alongside(image: &str) -> Result<(), Failure> {
    for _ in 0..TRIES {
        let Some(running) = known(shell(image, "sleep 300").spawn())? else { continue };
        if beside(&running)?.is_some() {
            println!("ended: {}", running.stop(Duration::ZERO)?.success());
            return Ok(());
        }
    }
    Err(Failure::errored("no container lasted"))
}

fn beside(running: &Running) -> Result<Option<()>, Failure> {
    let Some(()) = known(running.copy_in("/workspace/given/text.txt", "/tmp"))? else { return Ok(None) };
    let line = "line-in-exec";
    if !there(line)? {
        let exec = Exec::new(["sh", "-c", &format!("echo {line} >> /w/lines.txt; echo cmd: alongside")]);
        let exit = known(running.exec(&exec))?;
        if !exit.is_some_and(|exit| exit.success()) && !there(line)? {
            return Ok(None);
        }
    }
    let Some(()) = known(running.copy_out("/tmp/text.txt", "/workspace/work"))? else { return Ok(None) };
    let Some(state) = known(running.inspect())? else { return Ok(None) };
    println!("{line} is there");
    println!("runs: {}; copied: {}", state.running, files::read_to_string("work/text.txt")?.lines().count());
    println!("ends by itself: {}", wait_any(&[running], Some(Duration::from_millis(20))).is_some());
    Ok(Some(()))
}
