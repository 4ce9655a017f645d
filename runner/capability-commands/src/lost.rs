//! Programs that were started by a runner that was killed, and died with it.
//!
//! The record answers for them until it ends. From there on, a background program and one that may run twice are started again with
//! the recorded command and the same number; of any other one nobody can tell how far it came, and the user is asked.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use capability::io::Completion;
use capability::{Boundary, Effect, InDoubt, LedgerError, Refusal, Revive};

use crate::backend::{Ended, Process, Programs, Starter};
use crate::policy::{Start, command_line};

/// A program without a process.
pub struct Lost {
    start: Start,
    /// How it ended, if the record says so.
    ended: Option<Ended>,
}

/// What a number leads to.
pub enum Found {
    Process(Arc<Process>),
    Ended(Ended),
}

impl Found {
    pub async fn wait(&self) -> Ended {
        match self {
            Found::Process(process) => process.wait().await,
            Found::Ended(ended) => ended.clone(),
        }
    }
}

impl Completion for Found {
    fn ready(&self) -> bool {
        match self {
            Found::Process(process) => process.has_ended(),
            Found::Ended(_) => true,
        }
    }

    fn wait(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            Found::wait(self).await;
        })
    }
}

impl Programs {
    /// A program that was started; if by an earlier process, it is remembered how.
    pub fn adopt(&self, number: u32, start: Start) {
        if self.process(number).is_none() {
            self.number_is_taken(number);
            self.lost().insert(number, Lost { start, ended: None });
        }
    }

    /// The guest has been told how a program ended.
    pub fn known(&self, number: u32, ended: &Ended) {
        if let Some(lost) = self.lost().get_mut(&number) {
            lost.ended = Some(ended.clone());
        }
    }

    /// The command line of a program; for people.
    pub fn line(&self, number: u32) -> String {
        if let Some(process) = self.process(number) {
            return process.line.clone();
        }
        self.lost().get(&number).map(|lost| command_line(&lost.start.program, &lost.start.arguments)).unwrap_or_default()
    }

    /// What a number leads to. A program that was cut off is started again if the user chose so.
    pub async fn found(self: &Arc<Self>, number: u32, boundary: &Boundary) -> Result<Found, LedgerError> {
        if let Some(process) = self.process(number) {
            return Ok(Found::Process(process));
        }
        let start = match self.lost().get(&number) {
            None => return Err(LedgerError::Unrecorded(format!("command {number} is not known"))),
            Some(Lost { ended: Some(ended), .. }) => return Ok(Found::Ended(ended.clone())),
            Some(Lost { start, .. }) => start.clone(),
        };
        match boundary.in_doubt(Start::NAME, &start.subject())? {
            InDoubt::Retry => {
                self.start_again(number, start, boundary).await?;
                Box::pin(self.found(number, boundary)).await
            }
            _ => Ok(Found::Ended(Ended::killed())),
        }
    }

    /// Ends a program; one that was cut off has ended.
    pub async fn stop(&self, number: u32, grace: Duration) -> Ended {
        match self.process(number) {
            Some(process) => process.stop(grace).await,
            None => self.lost().get(&number).and_then(|lost| lost.ended.clone()).unwrap_or_else(Ended::killed),
        }
    }

    async fn start_again(self: &Arc<Self>, number: u32, start: Start, boundary: &Boundary) -> Result<(), LedgerError> {
        let line = start.subject().into_owned();
        self.setting().log.note(&format!("command {number} was cut off with the runner and is started again: {line}"));
        let starter = Starter { programs: self, boundary, number: Some(number) };
        match boundary.again(&self.rules(), start, &starter).await {
            Ok(Ok(_)) => {}
            // the guest finds it ended
            Ok(Err(error)) => self.not_started(number, &error.to_string()),
            Err(Refusal::Denied(denial)) => self.not_started(number, &denial.reason),
            Err(Refusal::Ledger(error)) => return Err(error),
        }
        Ok(())
    }

    fn not_started(&self, number: u32, why: &str) {
        self.setting().log.note(&format!("command {number} can't be started again: {why}"));
        self.known(number, &Ended::killed());
    }

    fn lost(&self) -> std::sync::MutexGuard<'_, std::collections::BTreeMap<u32, Lost>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts again, where the record ends, what may be.
pub struct Revival {
    pub programs: Arc<Programs>,
    pub boundary: Boundary,
}

impl Revive for Revival {
    fn revive(&self) -> Pin<Box<dyn Future<Output = Result<(), LedgerError>> + Send + '_>> {
        Box::pin(async move {
            let lost: Vec<(u32, Start)> = {
                let lost = self.programs.lost();
                let again = lost.iter().filter(|(_, lost)| lost.ended.is_none() && lost.start.may_run_again());
                again.map(|(number, lost)| (*number, lost.start.clone())).collect()
            };
            for (number, start) in lost {
                self.programs.start_again(number, start, &self.boundary).await?;
            }
            Ok(())
        })
    }
}

impl Ended {
    /// Of a program that died with the runner.
    fn killed() -> Self {
        Ended { code: None, signal: Some(libc::SIGKILL as u32), timed_out: false, duration: Duration::ZERO, stdout: None, stderr: None }
    }
}
