//! A byte stream to a checked place, and no other.

use std::io;
use std::net::SocketAddr;

use capability::{Endpoints, Stream};
use egress::{DialError, dial};

use crate::effect::Failure;
use crate::policy::Destination;

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

pub async fn connect(destination: &Destination, endpoints: &Endpoints) -> Result<(Box<dyn Stream>, Place), Failure> {
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
            let (stream, address) = dial(addresses).await.map_err(|error| match error {
                DialError::Nowhere => Failure::Unreachable(error.to_string()),
                DialError::Failed { address, source } => io_failure(&address.to_string(), &source),
            })?;
            Ok((Box::new(stream), Place::Address(address)))
        }
        Destination::Unknown(why) => Err(Failure::Dns(why.clone())),
    }
}

fn io_failure(place: &str, error: &io::Error) -> Failure {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut};
    match error.kind() {
        // who connects for the stage may know more than a system's number tells: a Service without a Pod
        ConnectionRefused if error.get_ref().is_some() => Failure::Refused(format!("{place} refused the connection: {error}")),
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
    fn a_refusal_says_what_is_known_of_it() {
        let refused = |error: io::Error| io_failure("shop.stage:80", &error);
        let plain = refused(io::ErrorKind::ConnectionRefused.into());
        assert_eq!(plain, Failure::Refused("shop.stage:80 refused the connection".into()));
        let told = refused(io::Error::new(io::ErrorKind::ConnectionRefused, "no Pod is ready"));
        assert_eq!(told, Failure::Refused("shop.stage:80 refused the connection: no Pod is ready".into()));
    }
}
