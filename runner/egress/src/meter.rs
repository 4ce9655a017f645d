//! What is told of each connection, and how it is counted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::host::Host;
use crate::proxy::Refusal;

/// A connection that was asked for: told when it has ended, or when it was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    pub host: Host,
    pub port: u16,
    pub outcome: Outcome,
    /// What came from the host, and what went there.
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub took: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Reached,
    Refused(Refusal),
    /// It was allowed, and did not come about.
    Failed(String),
}

/// Who is told.
pub trait Witness: Send + Sync {
    fn contact(&self, contact: Contact);
}

/// A connection that is open. Tells of itself when it is dropped, also with the task that carried it.
pub struct Open {
    pub host: Host,
    pub port: u16,
    pub outcome: Outcome,
    counts: Arc<Counts>,
    since: Instant,
    witness: Arc<dyn Witness>,
}

#[derive(Default)]
struct Counts {
    read: AtomicU64,
    written: AtomicU64,
}

impl Open {
    pub fn new(host: &Host, port: u16, witness: &Arc<dyn Witness>) -> Open {
        let (counts, witness) = (Arc::default(), witness.clone());
        Open { host: host.clone(), port, outcome: Outcome::Reached, counts, since: Instant::now(), witness }
    }

    /// What goes through the stream counts as this connection's.
    pub fn meter(&self, stream: TcpStream) -> Metered {
        Metered { stream, counts: self.counts.clone() }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.witness.contact(Contact {
            host: self.host.clone(),
            port: self.port,
            outcome: self.outcome.clone(),
            bytes_in: self.counts.read.load(Ordering::Relaxed),
            bytes_out: self.counts.written.load(Ordering::Relaxed),
            took: self.since.elapsed(),
        });
    }
}

/// A stream that counts.
pub struct Metered {
    stream: TcpStream,
    counts: Arc<Counts>,
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.counts.read.fetch_add((buffer.filled().len() - before) as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.counts.written.fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
