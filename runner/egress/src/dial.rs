//! A byte stream to one of several checked addresses.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::net::TcpStream;

/// How long an address may take before the next is tried beside it (RFC 8305, 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Why none of them connected: the last one's reason.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("the name has no addresses")]
    Nowhere,
    #[error("{address}: {source}")]
    Failed { address: SocketAddr, source: io::Error },
}

/// The first that connects, each with a head start before the next.
///
/// # Errors
/// If none does.
pub async fn dial(addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), DialError> {
    let ordered = interleave(addresses);
    let mut waiting = ordered.iter().copied();
    let mut trying = FuturesUnordered::new();
    let mut failure = DialError::Nowhere;
    loop {
        let more = waiting.len() > 0;
        let pause = if trying.is_empty() { Duration::ZERO } else { HEAD_START };
        tokio::select! {
            biased;
            Some((address, outcome)) = trying.next() => match outcome {
                Ok(stream) => return Ok((stream, address)),
                Err(source) => {
                    failure = DialError::Failed { address, source };
                    if let Some(next) = waiting.next() {
                        trying.push(attempt(next));
                    } else if trying.is_empty() {
                        return Err(failure);
                    }
                }
            },
            () = tokio::time::sleep(pause), if more => {
                if let Some(next) = waiting.next() {
                    trying.push(attempt(next));
                }
            }
            else => return Err(failure),
        }
    }
}

async fn attempt(address: SocketAddr) -> (SocketAddr, io::Result<TcpStream>) {
    let stream = TcpStream::connect(address).await;
    if let Ok(stream) = &stream {
        // a request is written whole; waiting for more only costs time
        let _ = stream.set_nodelay(true);
    }
    (address, stream)
}

/// The families in turn, beginning with that of the first, so that one that leads nowhere costs little.
fn interleave(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let family = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut ours, mut others) = (addresses.iter().filter(|a| a.is_ipv6() == family), addresses.iter().filter(|a| a.is_ipv6() != family));
    let mut ordered = Vec::with_capacity(addresses.len());
    loop {
        match (ours.next(), others.next()) {
            (None, None) => return ordered,
            (one, other) => ordered.extend(one.into_iter().chain(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let all: Vec<SocketAddr> =
            ["[::1]:1", "[::2]:1", "[::3]:1", "127.0.0.1:1", "127.0.0.2:1"].iter().map(|a| a.parse().unwrap()).collect();
        let ordered: Vec<String> = interleave(&all).iter().map(ToString::to_string).collect();
        assert_eq!(ordered, ["[::1]:1", "127.0.0.1:1", "[::2]:1", "127.0.0.2:1", "[::3]:1"]);
    }

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_refuses() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let bad = {
            let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            gone.local_addr().unwrap()
        };
        let (_, reached) = dial(&[bad, good]).await.unwrap();
        assert_eq!(reached, good);
        let refused =
            |error: &DialError| matches!(error, DialError::Failed { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused);
        assert!(refused(&dial(&[bad]).await.unwrap_err()));
        assert!(matches!(dial(&[]).await, Err(DialError::Nowhere)));
    }
}
