//! What goes through a CONNECT: bytes, both ways, until both sides have ended.
//!
//! The host may speak first and is passed on at once. What the client says first is held until it is known to be no TLS, or TLS for the very
//! host: then it goes on unchanged.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, split};

use crate::hello::{self, First};
use crate::host::Host;
use crate::meter::{Metered, Open, Outcome};
use crate::proxy::Refusal;

/// From the first byte of a ClientHello to its last.
const HELLO: Duration = Duration::from_secs(20);

/// Why a tunnel ended early.
enum Cut {
    Refused(Refusal),
    Io,
}

impl From<io::Error> for Cut {
    fn from(_: io::Error) -> Cut {
        Cut::Io
    }
}

pub async fn run(client: impl AsyncRead + AsyncWrite + Unpin, upstream: Metered, open: &mut Open) {
    let (mut from_client, mut to_client) = split(client);
    let (mut from_host, mut to_host) = split(upstream);
    let host = open.host.clone();
    let out = async {
        let first = beginning(&mut from_client, &host).await?;
        to_host.write_all(&first).await?;
        copy(&mut from_client, &mut to_host).await?;
        Ok::<_, Cut>(to_host.shutdown().await?)
    };
    let back = async {
        copy(&mut from_host, &mut to_client).await?;
        Ok(to_client.shutdown().await?)
    };
    // one side that breaks ends both
    if let Err(Cut::Refused(refusal)) = tokio::try_join!(out, back) {
        open.outcome = Outcome::Refused(refusal);
    }
}

/// What the client says first, once it may go on.
async fn beginning(client: &mut (impl AsyncRead + Unpin), host: &Host) -> Result<Vec<u8>, Cut> {
    let mut bytes = Vec::with_capacity(2 << 10);
    // until it says something, it may wait for the host
    if client.read_buf(&mut bytes).await? == 0 {
        return Ok(bytes);
    }
    let whole = async {
        loop {
            match hello::first(&bytes) {
                First::Other => return Ok(()),
                First::Hello(name) => return named(name, host).map_or(Ok(()), |refusal| Err(Cut::Refused(refusal))),
                First::Unreadable => return Err(Cut::Refused(Refusal::Unreadable)),
                // one byte and then the end is no TLS
                First::More if client.read_buf(&mut bytes).await? == 0 => return Ok(()),
                First::More => {}
            }
        }
    };
    tokio::time::timeout(HELLO, whole).await.unwrap_or(Err(Cut::Refused(Refusal::Unreadable)))?;
    Ok(bytes)
}

/// Why the server that TLS asks for is not the granted one.
fn named(name: Option<String>, host: &Host) -> Option<Refusal> {
    match name {
        // an address is not named (RFC 6066, 3)
        None => host.address().is_none().then_some(Refusal::NoServerName),
        Some(name) if Host::parse(&name).ok().flatten().as_ref() == Some(host) => None,
        Some(name) => Some(Refusal::ServerName(name)),
    }
}
