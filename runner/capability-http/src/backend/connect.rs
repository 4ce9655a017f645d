//! A byte stream to a checked place, and no other.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use capability::Endpoints;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::effect::Failure;
use crate::policy::Destination;

/// How long an address may take before the next is tried beside it (RFC 8305, 5).
const HEAD_START: Duration = Duration::from_millis(250);

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What a connection leads to; connections are reused for the same place alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    Process { name: String, port: u16 },
    Address(SocketAddr),
}

/// Every place that a destination allows.
pub fn places(destination: &Destination) -> Vec<Place> {
    match destination {
        Destination::Process { name, port } => vec![Place::Process { name: name.clone(), port: *port }],
        Destination::Addresses(addresses) => addresses.iter().copied().map(Place::Address).collect(),
        Destination::Unknown(_) => Vec::new(),
    }
}

pub async fn connect(destination: &Destination, endpoints: &Endpoints) -> Result<(TcpStream, Place), Failure> {
    match destination {
        Destination::Process { name, port } => {
            let Some(endpoint) = endpoints.get(name) else {
                let names = endpoints.names();
                let known = if names.is_empty() { "none is running".to_owned() } else { format!("running: {}", names.join(", ")) };
                return Err(Failure::NoProcess(format!("no process of this stage has the name `{name}` ({known})")));
            };
            let stream = endpoint.connect(*port).await.map_err(|error| io_failure(&format!("{name}.stage:{port}"), &error))?;
            Ok((stream, Place::Process { name: name.clone(), port: *port }))
        }
        Destination::Addresses(addresses) => {
            let (stream, address) = first(&interleave(addresses)).await?;
            Ok((stream, Place::Address(address)))
        }
        Destination::Unknown(why) => Err(Failure::Dns(why.clone())),
    }
}

/// The first that connects, each with a head start before the next.
async fn first(addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), Failure> {
    let mut waiting = addresses.iter().copied();
    let mut trying = FuturesUnordered::new();
    let mut failure = Failure::Unreachable("the name has no addresses".to_owned());
    loop {
        let more = waiting.len() > 0;
        let pause = if trying.is_empty() { Duration::ZERO } else { HEAD_START };
        tokio::select! {
            biased;
            Some((address, outcome)) = trying.next() => match outcome {
                Ok(stream) => return Ok((stream, address)),
                Err(error) => {
                    let error: io::Error = error;
                    failure = io_failure(&address.to_string(), &error);
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

fn io_failure(place: &str, error: &io::Error) -> Failure {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut};
    match error.kind() {
        ConnectionRefused => Failure::Refused(format!("{place} refused the connection")),
        HostUnreachable | NetworkUnreachable => Failure::Unreachable(format!("{place} can't be reached: {error}")),
        TimedOut => Failure::ConnectTimeout,
        _ => Failure::Terminated(format!("no connection to {place}: {error}")),
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
        let (_, reached) = first(&[bad, good]).await.unwrap();
        assert_eq!(reached, good);
        assert!(matches!(first(&[bad]).await, Err(Failure::Refused(_))));
        assert!(matches!(first(&[]).await, Err(Failure::Unreachable(_))));
    }
}
