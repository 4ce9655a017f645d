//! `wasi:sockets`: no grant opens a socket. Making one or resolving a name is answered with `access-denied`, recorded, and told as a
//! denial that names the `http` grant; the methods of the sockets that nobody ever gets are linked only because components import them.

use std::borrow::Cow;

use capability::{Class, Denial, Effect, Nothing, StageState};
use serde::Serialize;
use wasmtime::Result;
use wasmtime::component::{HasSelf, Linker, Resource, ResourceType};

use super::bindings::wasi::sockets::{instance_network, ip_name_lookup, network, tcp_create_socket, udp_create_socket};
use capability::io::{IoError, Pollable};

/// The network that a stage is handed: a name for nothing.
pub struct NoNetwork;
/// Never made, as are the others.
pub enum NoTcp {}
pub enum NoUdp {}
pub enum NoIncoming {}
pub enum NoOutgoing {}
pub enum NoAddresses {}

const VERSION: &str = "0.2.12";

const TCP: &[&str] = &[
    "start-bind",
    "finish-bind",
    "start-connect",
    "finish-connect",
    "start-listen",
    "finish-listen",
    "accept",
    "local-address",
    "remote-address",
    "is-listening",
    "address-family",
    "set-listen-backlog-size",
    "keep-alive-enabled",
    "set-keep-alive-enabled",
    "keep-alive-idle-time",
    "set-keep-alive-idle-time",
    "keep-alive-interval",
    "set-keep-alive-interval",
    "keep-alive-count",
    "set-keep-alive-count",
    "hop-limit",
    "set-hop-limit",
    "receive-buffer-size",
    "set-receive-buffer-size",
    "send-buffer-size",
    "set-send-buffer-size",
    "subscribe",
    "shutdown",
];
const UDP: &[&str] = &[
    "start-bind",
    "finish-bind",
    "stream",
    "local-address",
    "remote-address",
    "address-family",
    "unicast-hop-limit",
    "set-unicast-hop-limit",
    "receive-buffer-size",
    "set-receive-buffer-size",
    "send-buffer-size",
    "set-send-buffer-size",
    "subscribe",
];
const INCOMING: &[&str] = &["receive", "subscribe"];
const OUTGOING: &[&str] = &["check-send", "send", "subscribe"];

pub fn link(linker: &mut Linker<StageState>) -> Result<()> {
    network::add_to_linker::<_, HasSelf<StageState>>(linker, &Default::default(), |s| s)?;
    instance_network::add_to_linker::<_, HasSelf<StageState>>(linker, |s| s)?;
    tcp_create_socket::add_to_linker::<_, HasSelf<StageState>>(linker, |s| s)?;
    udp_create_socket::add_to_linker::<_, HasSelf<StageState>>(linker, |s| s)?;
    ip_name_lookup::add_to_linker::<_, HasSelf<StageState>>(linker, |s| s)?;
    unreachable(linker, "tcp", &[("tcp-socket", ResourceType::host::<NoTcp>(), TCP)])?;
    unreachable(
        linker,
        "udp",
        &[
            ("udp-socket", ResourceType::host::<NoUdp>(), UDP),
            ("incoming-datagram-stream", ResourceType::host::<NoIncoming>(), INCOMING),
            ("outgoing-datagram-stream", ResourceType::host::<NoOutgoing>(), OUTGOING),
        ],
    )
}

/// Defines methods that can't be called, because nothing makes the resource that they belong to.
fn unreachable(linker: &mut Linker<StageState>, interface: &str, resources: &[(&str, ResourceType, &[&str])]) -> Result<()> {
    let mut instance = linker.instance(&format!("wasi:sockets/{interface}@{VERSION}"))?;
    for (resource, kind, methods) in resources {
        instance.resource(resource, *kind, |_, _| Ok(()))?;
        for method in *methods {
            instance.func_new(&format!("[method]{resource}.{method}"), |_, _, _, _| {
                Err(wasmtime::Error::msg("a method of a socket that was never made"))
            })?;
        }
    }
    Ok(())
}

/// What a stage wanted of the network.
#[derive(Debug, Serialize)]
struct Socket {
    wanted: String,
}

impl Effect for Socket {
    const NAME: &'static str = "sockets.open";
    type Question = Nothing;
    type Seen = ();
    type Reply = ();

    fn subject(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.wanted)
    }

    fn class(&self) -> Class {
        Class::Once
    }
}

fn refuse(state: &StageState, wanted: &str) -> Result<network::ErrorCode> {
    let denial = Denial::new("no-sockets", "stages have no sockets; HTTP goes through the `http` grant");
    state.boundary.refuse(&Socket { wanted: wanted.to_owned() }, denial)?;
    Ok(network::ErrorCode::AccessDenied)
}

impl network::Host for StageState {
    fn network_error_code(&mut self, _: Resource<IoError>) -> Result<Option<network::ErrorCode>> {
        Ok(None)
    }
}

impl network::HostNetwork for StageState {
    fn drop(&mut self, network: Resource<NoNetwork>) -> Result<()> {
        self.table.delete(network)?;
        Ok(())
    }
}

impl instance_network::Host for StageState {
    fn instance_network(&mut self) -> Result<Resource<NoNetwork>> {
        Ok(self.table.push(NoNetwork)?)
    }
}

impl tcp_create_socket::Host for StageState {
    fn create_tcp_socket(&mut self, _: network::IpAddressFamily) -> Result<std::result::Result<Resource<NoTcp>, network::ErrorCode>> {
        Ok(Err(refuse(self, "TCP")?))
    }
}

impl udp_create_socket::Host for StageState {
    fn create_udp_socket(&mut self, _: network::IpAddressFamily) -> Result<std::result::Result<Resource<NoUdp>, network::ErrorCode>> {
        Ok(Err(refuse(self, "UDP")?))
    }
}

impl ip_name_lookup::Host for StageState {
    fn resolve_addresses(
        &mut self,
        _: Resource<NoNetwork>,
        name: String,
    ) -> Result<std::result::Result<Resource<NoAddresses>, network::ErrorCode>> {
        Ok(Err(refuse(self, &format!("the address of {name}"))?))
    }
}

impl ip_name_lookup::HostResolveAddressStream for StageState {
    fn resolve_next_address(
        &mut self,
        _: Resource<NoAddresses>,
    ) -> Result<std::result::Result<Option<network::IpAddress>, network::ErrorCode>> {
        Ok(Ok(None))
    }

    fn subscribe(&mut self, _: Resource<NoAddresses>) -> Result<Resource<Pollable>> {
        Ok(self.table.push(Pollable::Ready)?)
    }

    fn drop(&mut self, stream: Resource<NoAddresses>) -> Result<()> {
        self.table.delete(stream)?;
        Ok(())
    }
}
