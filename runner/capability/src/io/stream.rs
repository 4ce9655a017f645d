//! The two ends of a stream, and how one fails.

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;

use super::poll::Completion;

/// The representation of `wasi:io/error.error`. Capabilities may look into the cause (`wasi:filesystem` and `wasi:http` do).
#[derive(Debug)]
pub struct IoError {
    pub message: String,
    pub cause: Option<Box<dyn Any + Send>>,
}

impl IoError {
    pub fn new(message: impl Into<String>) -> Self {
        IoError { message: message.into(), cause: None }
    }
}

#[derive(Debug)]
pub enum StreamError {
    /// The end was reached.
    Closed,
    /// The guest gets it as a value; the stream is closed from then on.
    Failed(IoError),
    /// The attempt ends.
    Trap(wasmtime::Error),
}

impl From<wasmtime::component::ResourceTableError> for StreamError {
    fn from(error: wasmtime::component::ResourceTableError) -> Self {
        StreamError::Trap(error.into())
    }
}

/// Where a guest reads from.
pub trait Input: Send {
    /// The next bytes, `max` at most. Without any: nothing is here yet (only where there is a completion) or [`StreamError::Closed`].
    fn read(&mut self, max: usize) -> Result<Bytes, StreamError>;

    /// What a wait for more waits for; `None`: it is always ready.
    fn completion(&self) -> Option<Arc<dyn Completion>> {
        None
    }
}

/// Where a guest writes to. Every output takes bytes at once; one that can't keep up blocks the guest inside `write`.
pub trait Output: Send {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StreamError>;

    /// Makes what was written visible to others.
    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }
}

/// The representation of `wasi:io/streams.input-stream`.
pub struct InputStream(pub Box<dyn Input>);

/// The representation of `wasi:io/streams.output-stream`.
pub struct OutputStream(pub Box<dyn Output>);

/// An input that has everything from the start.
impl Input for Bytes {
    fn read(&mut self, max: usize) -> Result<Bytes, StreamError> {
        if self.is_empty() {
            return Err(StreamError::Closed);
        }
        Ok(self.split_to(max.min(self.len())))
    }
}
