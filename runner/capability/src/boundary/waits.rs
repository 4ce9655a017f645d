//! Waiting in the guest's name: with a deadline of the stage's clock, for the first of several.

use std::future::Future;

use bytes::Bytes;
use futures::future::select_all;

use super::{Ask, Boundary};
use crate::io::Completion;
use crate::ledger::LedgerError;

/// When a wait ends at the latest. It is a time of the stage's clock, so that a wait that was cut off goes on from where it was.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    /// Nanoseconds since the attempt's start. None: it waits for ever.
    at: Option<u64>,
    /// The same since 1970.
    pub until: Option<u64>,
}

impl Boundary {
    /// `timeout` nanoseconds from now; 0: never.
    pub fn deadline(&self, timeout: u64) -> Deadline {
        let at = (timeout > 0).then(|| self.clock().now().saturating_add(timeout));
        Deadline { at, until: at.map(|at| self.clock().epoch().saturating_add(at)) }
    }

    /// What came, or none if the time passed first.
    pub async fn before<T>(&self, deadline: Deadline, wait: impl Future<Output = T>) -> Option<T> {
        let Some(at) = deadline.at else { return Some(wait.await) };
        tokio::select! {
            biased;
            came = wait => Some(came),
            () = self.clock().sleep_until(at) => None,
        }
    }

    /// The index of the first of several that is ready, or none once `timeout` nanoseconds have passed (0: waits for ever). `find` is asked only if the
    /// record has no answer.
    ///
    /// # Errors
    /// If it can't be recorded, or not be answered from the record.
    pub async fn wait_any<C: Completion>(
        &self,
        what: &'static str,
        numbers: &[u32],
        timeout: u64,
        find: impl Future<Output = Result<Vec<C>, LedgerError>>,
    ) -> Result<Option<u32>, LedgerError> {
        let deadline = self.deadline(timeout);
        let ask = Ask::new(what, &(numbers, timeout))?.waits(deadline.until);
        let look = async {
            let waited = find.await?;
            let first = self.before(deadline, select_all(waited.iter().map(|one| one.wait()))).await;
            // several may be ready by now: the lowest index is the answer, whoever was first
            let index = first.map(|_| waited.iter().position(C::ready).unwrap_or(0) as u32);
            Ok((index, Bytes::new()))
        };
        Ok(self.deliver(&ask, look).await?.0)
    }
}
