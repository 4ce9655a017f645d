//! Containers that were started by a runner that was killed.
//!
//! They run on: an engine does not end with its clients. Where the record ends, one is found again by its label and its output read from the
//! beginning. One that is not there any more, swept by another runner, may have run or not, and the user is asked. A container with a name serves
//! in the background of a network that is gone: it is started again, as a background program is.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use capability::io::Completion;
use capability::{Boundary, Effect, InDoubt, LedgerError, Refusal, Revive};

use crate::backend::Starter;
use crate::containers::{Attempt, Live};
use crate::effect::{Answer, Exit, Fault, Run};

/// A container that this process did not start.
pub struct Lost {
    run: Run,
    /// How it ended, if the record says so.
    ended: Option<Answer<Exit>>,
}

impl Lost {
    pub fn into_run(self) -> Run {
        self.run
    }
}

/// What a number leads to.
pub enum Found {
    Live(Arc<Live>),
    Ended(Answer<Exit>),
}

impl Found {
    pub async fn wait(&self) -> Answer<Exit> {
        match self {
            Found::Live(live) => live.wait().await,
            Found::Ended(ended) => ended.clone(),
        }
    }
}

impl Completion for Found {
    fn ready(&self) -> bool {
        match self {
            Found::Live(live) => live.has_ended(),
            Found::Ended(_) => true,
        }
    }

    fn wait(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            let _ = Found::wait(self).await;
        })
    }
}

impl Attempt {
    /// A container that was started; if by an earlier process, it is remembered how.
    pub fn remember(&self, run: Run) {
        if self.live(run.number).is_none() {
            self.lost().insert(run.number, Lost { run, ended: None });
        }
    }

    /// The guest has been told how a container ended.
    pub fn known(&self, number: u32, ended: &Answer<Exit>) {
        if let Some(lost) = self.lost().get_mut(&number) {
            lost.ended = Some(ended.clone());
        }
    }

    /// What a container was started as; for people.
    pub fn line(&self, number: u32) -> String {
        match self.live(number) {
            Some(live) => live.line.clone(),
            None => self.lost().get(&number).map(|lost| lost.run.subject().into_owned()).unwrap_or_default(),
        }
    }

    /// Where a container has mounts.
    pub fn mounted(&self, number: u32) -> Vec<String> {
        if let Some(live) = self.live(number) {
            return live.mounted.clone();
        }
        let lost = self.lost();
        let mounts = lost.get(&number).into_iter().flat_map(|lost| &lost.run.mounts);
        mounts.map(|mount| crate::policy::normal(&mount.target)).collect()
    }

    /// What a number leads to. A container that is gone is started again if the user chose so.
    pub async fn found(self: &Arc<Self>, number: u32, boundary: &Boundary) -> Result<Found, LedgerError> {
        if let Some(live) = self.live(number) {
            return Ok(Found::Live(live));
        }
        let run = match self.lost().get(&number) {
            None => return Err(LedgerError::Unrecorded(format!("container {number} is not known"))),
            Some(Lost { ended: Some(ended), .. }) => return Ok(Found::Ended(ended.clone())),
            Some(Lost { run, .. }) => run.clone(),
        };
        if run.name.is_none() && self.take_up(&run, boundary).await {
            return Box::pin(self.found(number, boundary)).await;
        }
        match boundary.in_doubt(Run::NAME, &run.subject())? {
            InDoubt::Retry => {
                self.start_again(&run, boundary).await?;
                Box::pin(self.found(number, boundary)).await
            }
            _ => Ok(Found::Ended(Ok(Exit::killed()))),
        }
    }

    /// A container for an operation in it.
    pub async fn reachable(self: &Arc<Self>, number: u32, boundary: &Boundary) -> Answer<Arc<Live>> {
        match self.found(number, boundary).await {
            Ok(Found::Live(live)) => Ok(live),
            Ok(Found::Ended(_)) => Err(Fault::NotFound(format!("container {number} is gone"))),
            Err(error) => Err(Fault::Engine(error.to_string())),
        }
    }

    /// Finds the container of an effect in the engine. False: it is not there.
    pub async fn take_up(self: &Arc<Self>, run: &Run, boundary: &Boundary) -> bool {
        let Ok(engine) = self.engine().await else { return false };
        match engine.find(self.owner(), Self::label(run.number)).await {
            Ok(Some(container)) => self.adopt(run, container, boundary).is_ok(),
            _ => false,
        }
    }

    /// Removes what an earlier process started and nobody goes on with.
    pub async fn take_away(&self, run: &Run) {
        let Ok(engine) = self.engine().await else { return };
        if let Ok(Some(container)) = engine.find(self.owner(), Self::label(run.number)).await
            && let Err(error) = container.remove().await
        {
            self.setting.log.note(&format!("container {} can't be removed: {error}", run.number));
        }
    }

    /// Ends a container; one that is gone has ended.
    pub async fn stop(self: &Arc<Self>, number: u32, grace: Duration, boundary: &Boundary) -> Result<Answer<Exit>, LedgerError> {
        let known = self.lost().get(&number).map(|lost| (lost.run.clone(), lost.ended.clone()));
        match (self.live(number), known) {
            (Some(live), _) => Ok(live.stop(grace).await),
            (None, Some((_, Some(ended)))) => Ok(ended),
            (None, Some((run, None))) if self.take_up(&run, boundary).await => match self.live(number) {
                Some(live) => Ok(live.stop(grace).await),
                None => Ok(Ok(Exit::killed())),
            },
            (None, Some(_)) => Ok(Ok(Exit::killed())),
            (None, None) => Err(LedgerError::Unrecorded(format!("container {number} is not known"))),
        }
    }

    async fn start_again(self: &Arc<Self>, run: &Run, boundary: &Boundary) -> Result<(), LedgerError> {
        self.setting.log.note(&format!("container {} was cut off with the runner and is started again: {}", run.number, run.subject()));
        self.take_away(run).await;
        let starter = Starter { attempt: self, boundary };
        match boundary.again(&self.rules(), run.clone(), &starter).await {
            Ok(Ok(())) => {}
            // the guest finds it ended
            Ok(Err(fault)) => self.not_started(run.number, &fault.to_string()),
            Err(Refusal::Denied(denial)) => self.not_started(run.number, &denial.reason),
            Err(Refusal::Ledger(error)) => return Err(error),
        }
        Ok(())
    }

    fn not_started(&self, number: u32, why: &str) {
        self.setting.log.note(&format!("container {number} can't be started again: {why}"));
        self.known(number, &Ok(Exit::killed()));
    }

    fn lost(&self) -> MutexGuard<'_, std::collections::BTreeMap<u32, Lost>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the record ends: takes up what still runs, and starts again what serves in the background.
pub struct Revival {
    pub attempt: Arc<Attempt>,
    pub boundary: Boundary,
}

impl Revive for Revival {
    fn revive(&self) -> Pin<Box<dyn Future<Output = Result<(), LedgerError>> + Send + '_>> {
        Box::pin(async move {
            let dropped = std::mem::take(&mut *self.attempt.dropped.lock().unwrap_or_else(PoisonError::into_inner));
            for run in dropped {
                self.attempt.take_away(&run).await;
            }
            let open: Vec<Run> = self.attempt.lost().values().filter(|lost| lost.ended.is_none()).map(|lost| lost.run.clone()).collect();
            for run in open {
                if run.name.is_some() {
                    self.attempt.start_again(&run, &self.boundary).await?;
                } else {
                    // who asks for one that is not there is told then
                    self.attempt.take_up(&run, &self.boundary).await;
                }
            }
            Ok(())
        })
    }
}
