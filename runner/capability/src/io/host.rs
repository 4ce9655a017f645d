//! The host functions of `wasi:io`.

use bytes::Bytes;
use futures::future::select_all;
use wasmtime::Result;
use wasmtime::component::{Resource, ResourceTable};

use super::bindings::wasi::io::{error, poll, streams};
use super::{InputStream, IoError, OutputStream, Pollable, StreamError};
use crate::boundary::{Ask, Boundary};
use crate::state::StageState;

/// Nobody reads more than this at once, whatever a guest asks for: the buffer is ours.
const READ_MAX: u64 = 1 << 20;
/// What `check-write` offers.
const WRITE_MAX: u64 = 1 << 20;
/// A wait for a time that is further away is recorded when it begins, so that it does not begin anew after a crash. In nanoseconds.
const LONG_WAIT: u64 = 100_000_000;

impl Pollable {
    fn is_ready(&self, boundary: &Boundary) -> bool {
        match self {
            Pollable::Ready => true,
            Pollable::At(deadline) => boundary.clock().passed(*deadline),
            Pollable::When(completion) => completion.ready(),
        }
    }

    async fn wait(&self, boundary: &Boundary) {
        match self {
            Pollable::Ready => {}
            Pollable::At(deadline) => boundary.clock().sleep_until(*deadline).await,
            Pollable::When(completion) => completion.wait().await,
        }
    }
}

/// Waits until at least one is ready and answers all that are. What was answered is recorded.
async fn poll_all(boundary: &Boundary, pollables: &[Pollable]) -> Result<Vec<u32>> {
    // only things that the world decides need a record; what is ready by its nature is ready in a replay too
    if pollables.iter().all(|p| matches!(p, Pollable::Ready)) {
        return Ok((0..pollables.len() as u32).collect());
    }
    let ready = || -> Vec<u32> {
        boundary.clock().catch_up();
        pollables.iter().enumerate().filter(|(_, p)| p.is_ready(boundary)).map(|(i, _)| i as u32).collect()
    };
    let deadline = pollables.iter().filter_map(|p| if let Pollable::At(deadline) = p { Some(*deadline) } else { None }).min();
    let mut ask = Ask::new("poll", &(pollables.len(), deadline))?;
    if let Some(deadline) = deadline.filter(|deadline| *deadline > boundary.clock().now().saturating_add(LONG_WAIT)) {
        ask = ask.waits(Some(boundary.clock().epoch().saturating_add(deadline)));
    }
    let look = async {
        let mut now = ready();
        while now.is_empty() {
            select_all(pollables.iter().map(|p| Box::pin(p.wait(boundary)))).await;
            now = ready();
        }
        Ok((now, Bytes::new()))
    };
    Ok(boundary.deliver(&ask, look).await?.0)
}

impl poll::Host for StageState {
    async fn poll(&mut self, list: Vec<Resource<Pollable>>) -> Result<Vec<u32>> {
        if list.is_empty() {
            return Err(wasmtime::Error::msg("wasi:io/poll: the list of pollables is empty"));
        }
        let pollables = list.iter().map(|p| Ok(self.table.get(p)?.clone())).collect::<Result<Vec<_>>>()?;
        poll_all(&self.boundary, &pollables).await
    }
}

impl poll::HostPollable for StageState {
    fn ready(&mut self, pollable: Resource<Pollable>) -> Result<bool> {
        let pollable = self.table.get(&pollable)?;
        if matches!(pollable, Pollable::Ready) {
            return Ok(true);
        }
        let look = || {
            self.boundary.clock().catch_up();
            (pollable.is_ready(&self.boundary), Bytes::new())
        };
        Ok(self.boundary.deliver_now(&Ask::new("ready", &())?, look)?.0)
    }

    async fn block(&mut self, pollable: Resource<Pollable>) -> Result<()> {
        let pollable = self.table.get(&pollable)?.clone();
        poll_all(&self.boundary, &[pollable]).await?;
        Ok(())
    }

    fn drop(&mut self, pollable: Resource<Pollable>) -> Result<()> {
        self.table.delete(pollable)?;
        Ok(())
    }
}

impl error::Host for StageState {}

impl error::HostError for StageState {
    fn to_debug_string(&mut self, error: Resource<IoError>) -> Result<String> {
        Ok(self.table.get(&error)?.message.clone())
    }

    fn drop(&mut self, error: Resource<IoError>) -> Result<()> {
        self.table.delete(error)?;
        Ok(())
    }
}

impl streams::Host for StageState {
    fn convert_stream_error(&mut self, error: StreamError) -> Result<streams::StreamError> {
        match error {
            StreamError::Closed => Ok(streams::StreamError::Closed),
            StreamError::Failed(error) => Ok(streams::StreamError::LastOperationFailed(self.table.push(error)?)),
            StreamError::Trap(error) => Err(error),
        }
    }
}

type StreamResult<T> = std::result::Result<T, StreamError>;

impl StageState {
    fn read_now(&mut self, stream: &Resource<InputStream>, len: u64) -> StreamResult<Vec<u8>> {
        let max = len.min(READ_MAX) as usize;
        let input = self.table.get_mut(stream)?;
        if max == 0 {
            return Ok(Vec::new());
        }
        Ok(input.0.read(max)?.into())
    }

    /// Reads, and waits for the first byte or the end.
    async fn read_waiting(&mut self, stream: &Resource<InputStream>, len: u64) -> StreamResult<Vec<u8>> {
        loop {
            let bytes = self.read_now(stream, len)?;
            if !bytes.is_empty() || len == 0 {
                return Ok(bytes);
            }
            let Some(completion) = self.table.get(stream)?.0.completion() else { return Ok(bytes) };
            poll_all(&self.boundary, &[Pollable::When(completion)]).await.map_err(StreamError::Trap)?;
        }
    }
}

impl streams::HostInputStream for StageState {
    fn read(&mut self, stream: Resource<InputStream>, len: u64) -> StreamResult<Vec<u8>> {
        self.read_now(&stream, len)
    }

    async fn blocking_read(&mut self, stream: Resource<InputStream>, len: u64) -> StreamResult<Vec<u8>> {
        self.read_waiting(&stream, len).await
    }

    fn skip(&mut self, stream: Resource<InputStream>, len: u64) -> StreamResult<u64> {
        Ok(self.read_now(&stream, len)?.len() as u64)
    }

    async fn blocking_skip(&mut self, stream: Resource<InputStream>, len: u64) -> StreamResult<u64> {
        Ok(self.read_waiting(&stream, len).await?.len() as u64)
    }

    fn subscribe(&mut self, stream: Resource<InputStream>) -> Result<Resource<Pollable>> {
        let pollable = match self.table.get(&stream)?.0.completion() {
            None => Pollable::Ready,
            Some(completion) => Pollable::When(completion),
        };
        push_child(&mut self.table, pollable, &stream)
    }

    fn drop(&mut self, stream: Resource<InputStream>) -> Result<()> {
        self.table.delete(stream)?;
        Ok(())
    }
}

impl streams::HostOutputStream for StageState {
    fn check_write(&mut self, stream: Resource<OutputStream>) -> StreamResult<u64> {
        self.table.get(&stream)?;
        Ok(WRITE_MAX)
    }

    fn write(&mut self, stream: Resource<OutputStream>, contents: Vec<u8>) -> StreamResult<()> {
        self.table.get_mut(&stream)?.0.write(&contents)
    }

    fn blocking_write_and_flush(&mut self, stream: Resource<OutputStream>, contents: Vec<u8>) -> StreamResult<()> {
        let output = self.table.get_mut(&stream)?;
        output.0.write(&contents)?;
        output.0.flush()
    }

    fn flush(&mut self, stream: Resource<OutputStream>) -> StreamResult<()> {
        self.table.get_mut(&stream)?.0.flush()
    }

    fn blocking_flush(&mut self, stream: Resource<OutputStream>) -> StreamResult<()> {
        self.table.get_mut(&stream)?.0.flush()
    }

    fn subscribe(&mut self, stream: Resource<OutputStream>) -> Result<Resource<Pollable>> {
        push_child(&mut self.table, Pollable::Ready, &stream)
    }

    fn write_zeroes(&mut self, stream: Resource<OutputStream>, len: u64) -> StreamResult<()> {
        const ZEROES: [u8; 4096] = [0; 4096];
        if len > WRITE_MAX {
            return Err(StreamError::Trap(wasmtime::Error::msg("wasi:io/streams: write-zeroes of more than check-write permits")));
        }
        let output = self.table.get_mut(&stream)?;
        let mut left = len as usize;
        while left > 0 {
            let now = left.min(ZEROES.len());
            output.0.write(&ZEROES[..now])?;
            left -= now;
        }
        Ok(())
    }

    fn blocking_write_zeroes_and_flush(&mut self, stream: Resource<OutputStream>, len: u64) -> StreamResult<()> {
        let again: Resource<OutputStream> = Resource::new_borrow(stream.rep());
        self.write_zeroes(stream, len)?;
        self.table.get_mut(&again)?.0.flush()
    }

    fn splice(&mut self, stream: Resource<OutputStream>, from: Resource<InputStream>, len: u64) -> StreamResult<u64> {
        let bytes = self.read_now(&from, len)?;
        self.table.get_mut(&stream)?.0.write(&bytes)?;
        Ok(bytes.len() as u64)
    }

    async fn blocking_splice(&mut self, stream: Resource<OutputStream>, from: Resource<InputStream>, len: u64) -> StreamResult<u64> {
        let bytes = self.read_waiting(&from, len).await?;
        self.table.get_mut(&stream)?.0.write(&bytes)?;
        Ok(bytes.len() as u64)
    }

    fn drop(&mut self, stream: Resource<OutputStream>) -> Result<()> {
        let mut stream = self.table.delete(stream)?;
        // a stream that is dropped unflushed keeps what was written, as POSIX does
        match stream.0.flush() {
            Err(StreamError::Trap(trap)) => Err(trap),
            _ => Ok(()),
        }
    }
}

fn push_child<P: 'static>(table: &mut ResourceTable, pollable: Pollable, parent: &Resource<P>) -> Result<Resource<Pollable>> {
    Ok(table.push_child(pollable, parent)?)
}
