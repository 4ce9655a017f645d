//! What a container prints, into pipes.

use std::io;
use std::os::fd::OwnedFd;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;

use crate::{EngineError, Printed};

/// Until the container has closed both outputs. Who stops reading loses the rest, and does not hold the container up.
///
/// # Errors
/// If the descriptors are no pipes, or the connection to the engine broke.
pub async fn pour(
    mut output: impl Stream<Item = Result<(Printed, Bytes), EngineError>> + Unpin,
    stdout: OwnedFd,
    stderr: OwnedFd,
) -> Result<(), PourError> {
    let mut stdout = Some(pipe::Sender::from_owned_fd(stdout)?);
    let mut stderr = Some(pipe::Sender::from_owned_fd(stderr)?);
    while let Some(piece) = output.next().await {
        let (printed, bytes) = piece?;
        let to = match printed {
            Printed::Stdout => &mut stdout,
            Printed::Stderr => &mut stderr,
        };
        if let Some(open) = to
            && open.write_all(&bytes).await.is_err()
        {
            *to = None;
        }
    }
    Ok(())
}

#[derive(Debug, thiserror::Error)]
pub enum PourError {
    #[error("an output can't be written: {0}")]
    Pipe(#[from] io::Error),
    #[error(transparent)]
    Engine(#[from] EngineError),
}
