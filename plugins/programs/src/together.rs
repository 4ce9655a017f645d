//! Several programs at once, never more than so many.

use runner_sdk::commands::{self, Command, Error, Exit, Process};

/// Starts `commands` in their order, `parallel` at most at once, and calls `ended` as each ends: with its index, and with
/// its end or why it was not started. An error of `ended` stops what still runs.
pub fn run<E>(commands: &[Command], parallel: usize, mut ended: impl FnMut(usize, Result<Exit, Error>) -> Result<(), E>) -> Result<(), E> {
    let mut waiting = commands.iter().enumerate();
    let mut running: Vec<(usize, Process)> = Vec::new();
    loop {
        while running.len() < parallel.max(1) {
            let Some((index, command)) = waiting.next() else { break };
            match command.spawn() {
                Ok(process) => running.push((index, process)),
                Err(error) => ended(index, Err(error))?,
            }
        }
        let handles: Vec<&Process> = running.iter().map(|(_, process)| process).collect();
        let Some(first) = commands::wait_any(&handles, None) else {
            return Ok(());
        };
        let (index, process) = running.remove(first);
        ended(index, Ok(process.wait()))?;
    }
}
