//! `http://<name>.stage:<port>`: how the stage's own processes are reached.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use capability::{Endpoint, Stream};
use tokio::net::TcpStream;

use crate::containers::StageContainers;
use crate::jail::{Jail, JailError};

/// How long a process that was started again may take until it listens: the stage has seen that it did, and does not wait any more.
const AGAIN: Duration = Duration::from_secs(10);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(10);

/// Where a named process listens.
pub struct Door {
    place: Place,
    /// Until when a refused connection is tried again.
    patience: Option<Instant>,
}

pub enum Place {
    /// On the loopback of the stage's own network, into which only the jail can reach.
    Jail(Arc<Jail>),
    /// On the loopback of the pod of the stage's containers.
    Pod(Arc<StageContainers>),
    /// On the host's loopback.
    Host,
}

impl Door {
    /// `again`: of a process that a runner that was killed had started.
    pub fn new(place: Place, again: bool) -> Self {
        Door { place, patience: again.then(|| Instant::now() + AGAIN) }
    }

    async fn connect_once(&self, port: u16) -> io::Result<Box<dyn Stream>> {
        match &self.place {
            Place::Jail(jail) => match jail.connect(port).await {
                Ok(stream) => Ok(Box::new(stream)),
                Err(JailError::Connect { source, .. }) => Err(source),
                Err(other) => Err(io::Error::other(other)),
            },
            Place::Pod(containers) => Ok(Box::new(containers.connect(port).await?)),
            Place::Host => Ok(Box::new(TcpStream::connect(("127.0.0.1", port)).await?)),
        }
    }
}

impl Endpoint for Door {
    fn connect(&self, port: u16) -> Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + '_>> {
        Box::pin(async move {
            loop {
                match self.connect_once(port).await {
                    Err(error)
                        if error.kind() == io::ErrorKind::ConnectionRefused
                            && self.patience.is_some_and(|until| Instant::now() < until) =>
                    {
                        tokio::time::sleep(PAUSE).await;
                    }
                    done => return done,
                }
            }
        })
    }
}
