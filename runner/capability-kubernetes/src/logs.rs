//! What containers printed, as a stage reads it.
//!
//! A log has no places but times. Of each piece that the stage was given it is recorded behind which line it ends, and how far it went into the next, so that
//! a runner that was killed goes on where the stage was.

use std::sync::{Arc, Weak};

use capability::Boundary;
use capability::Deadline;
use futures::FutureExt;
use kubernetes::{LogOptions, Place};
use serde::{Deserialize, Serialize};

use crate::attempt::Attempt;
use crate::effect::{Answer, Fault, Logs};

/// The most that is read at once.
const MOST: usize = 1 << 20;

/// A piece of a log, beside its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    pub ended: bool,
    /// Behind the last line that was given whole.
    place: Place,
    /// So much of the next was given.
    into: usize,
}

pub struct OpenLog {
    attempt: Weak<Attempt>,
    logs: Logs,
    state: tokio::sync::Mutex<State>,
}

#[derive(Default)]
struct State {
    open: Option<kubernetes::Log>,
    /// Where the stage is.
    at: Piece,
    /// The line that it is in.
    line: Vec<u8>,
}

impl OpenLog {
    pub fn new(attempt: &Arc<Attempt>, logs: Logs) -> OpenLog {
        OpenLog { attempt: Arc::downgrade(attempt), logs, state: tokio::sync::Mutex::default() }
    }

    pub async fn open(&self) -> Answer<()> {
        self.opened(&mut *self.state.lock().await).await
    }

    async fn opened(&self, state: &mut State) -> Answer<()> {
        if state.open.is_some() {
            return Ok(());
        }
        let attempt = self.attempt.upgrade().ok_or_else(|| Fault::Cluster("the log is closed".to_owned()))?;
        let Logs { target, container, follow, previous, tail, since, timestamps, .. } = &self.logs;
        let options = LogOptions {
            container: attempt.container(target, container.as_ref()).await?,
            follow: *follow,
            previous: *previous,
            tail: *tail,
            since: *since,
            timestamps: *timestamps,
        };
        state.open = Some(attempt.cluster().await?.logs_from(target, options, state.at.place.clone()).await?);
        Ok(())
    }

    /// The record has told this.
    pub async fn recalled(&self, piece: &Piece) {
        self.state.lock().await.at = piece.clone();
    }

    /// At most `max` bytes; none if nothing came before the deadline.
    pub async fn read(&self, max: u32, deadline: Deadline, boundary: &Boundary) -> (Answer<Piece>, Vec<u8>) {
        let most = if max == 0 { MOST } else { MOST.min(max as usize) };
        let mut state = self.state.lock().await;
        let mut bytes = Vec::new();
        let began = boundary.before(deadline, self.some(&mut state)).await;
        match began {
            None => {}
            Some(Err(fault)) => return (Err(fault), bytes),
            Some(Ok(())) => {
                while bytes.len() < most && !state.at.ended {
                    take(&mut state, most - bytes.len(), &mut bytes);
                    // what is there already, and no more
                    if bytes.len() < most && self.some(&mut state).now_or_never().is_none_or(|more| more.is_err()) {
                        break;
                    }
                }
            }
        }
        (Ok(state.at.clone()), bytes)
    }

    /// Waits until there is a line, or the end.
    async fn some(&self, state: &mut State) -> Answer<()> {
        if state.at.ended || state.at.into < state.line.len() {
            return Ok(());
        }
        self.opened(state).await?;
        let Some(open) = &mut state.open else { return Ok(()) };
        match open.line().await? {
            Some(line) => {
                let attempt = self.attempt.upgrade();
                // a line is masked whole, so that no border of pieces goes through a secret
                state.line = attempt.map_or_else(Vec::new, |attempt| attempt.setting.secrets.mask().bytes(&line).into_owned());
            }
            None => state.at.ended = true,
        }
        Ok(())
    }
}

/// Gives the stage more of the line that it is in.
fn take(state: &mut State, most: usize, bytes: &mut Vec<u8>) {
    let rest = state.line.get(state.at.into..).unwrap_or_default();
    let given = &rest[..rest.len().min(most)];
    bytes.extend_from_slice(given);
    let into = state.at.into + given.len();
    if into >= state.line.len() {
        state.line.clear();
        state.at.into = 0;
        if let Some(open) = &state.open {
            state.at.place = open.place();
        }
    } else {
        state.at.into = into;
    }
}
