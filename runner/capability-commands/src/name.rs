//! `http://<name>.stage:<port>`: how the stage's own processes are reached.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use capability::Endpoint;
use tokio::net::TcpStream;

use crate::jail::{Jail, JailError};

/// Where a named process listens.
pub enum Door {
    /// On the loopback of the stage's own network, into which only the jail can reach.
    Jail(Arc<Jail>),
    /// On the host's loopback.
    Host,
}

impl Endpoint for Door {
    fn connect(&self, port: u16) -> Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send + '_>> {
        Box::pin(async move {
            match self {
                Door::Jail(jail) => jail.connect(port).await.map_err(|error| match error {
                    JailError::Connect { source, .. } => source,
                    other => io::Error::other(other),
                }),
                Door::Host => TcpStream::connect(("127.0.0.1", port)).await,
            }
        })
    }
}
