//! `network = ["registry.example:443"]`: how confined programs and containers reach the hosts that are granted to them, and no others.
//!
//! A jail, or the pod of a stage's containers, has no network but its own loopback. On that something listens, and connections to it are served out
//! here by the allow-list proxy (`egress`); programs find it by the variables that they all know. Each connection is an event when it ends, with the command
//! that asked for it where the kernel tells; one that is refused is also a denial, once for each host. None has a position in the record: they
//! happen when programs want them to, which no component determines, and a replay makes none.
//!
//! Deliberately absent: the proxy itself, and any other way out. A program that ignores the variables reaches nothing.

use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Weak};

use capability::outlet::{self, PORT};
use capability::{Boundary, Denial, Stream};
use egress::{Contact, Door, Host, Proxy, Refusal, Serving, Witness};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::OnceCell;

use crate::backend::Programs;
use crate::grant::CommandsGrant;
use crate::jail::Jail;

/// Where programs reach the proxy.
pub enum Outlet {
    /// A socket that listens inside the jail.
    Jail(TcpListener, Weak<Jail>),
    /// What the holder of a pod passes on.
    Pod(UnixListener),
}

/// Serves what comes out, before any program runs inside.
pub fn open(outlet: Outlet, grant: &Arc<CommandsGrant>, programs: &Arc<Programs>, boundary: &Boundary) -> Serving {
    Serving::start(WayOut {
        outlet,
        proxy: Proxy::new(grant.network.clone()).known_as(Host::V4(Ipv4Addr::LOCALHOST), PORT),
        rules: Arc::new(Granted { stage: programs.setting().name.clone(), grant: grant.clone() }),
        programs: Arc::downgrade(programs),
        boundary: boundary.clone(),
    })
}

struct WayOut {
    outlet: Outlet,
    proxy: Proxy,
    rules: Arc<Granted>,
    programs: Weak<Programs>,
    boundary: Boundary,
}

impl Door for WayOut {
    type Client = (Box<dyn Stream>, Owner);

    /// A connection, and what is known of who made it.
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, Owner)> {
        let owner = |asked| Owner { asked, programs: self.programs.clone(), command: OnceCell::new() };
        match &self.outlet {
            Outlet::Jail(listener, jail) => {
                let (stream, peer) = listener.accept().await?;
                // what is small and waited for is not held back for more
                let _ = stream.set_nodelay(true);
                Ok((Box::new(stream), owner(Asked::Jail(jail.clone(), peer.port()))))
            }
            Outlet::Pod(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Box::new(stream), owner(Asked::Pod)))
            }
        }
    }

    async fn serve(self: Arc<Self>, (stream, owner): (Box<dyn Stream>, Owner)) {
        let told = Arc::new(Told { owner, rules: self.rules.clone(), boundary: self.boundary.clone() });
        // while the process that asks is still there
        told.owner.find().await;
        self.proxy.serve(stream, told).await;
    }
}

/// How it can be found out who asked for a connection.
enum Asked {
    /// From this port of the jail.
    Jail(Weak<Jail>, u16),
    /// The holder of the pod does not tell.
    Pod,
}

/// Who asked for a connection.
struct Owner {
    asked: Asked,
    programs: Weak<Programs>,
    /// The command's number in the stage.
    command: OnceCell<Option<u32>>,
}

impl Owner {
    async fn find(&self) {
        let look = || async move {
            match &self.asked {
                Asked::Jail(jail, peer) => {
                    let (jail, peer) = (jail.clone(), *peer);
                    let looked = tokio::task::spawn_blocking(move || jail.upgrade().and_then(|jail| jail.owner(peer, PORT)));
                    let id = looked.await.unwrap_or_default()?;
                    self.programs.upgrade()?.number_of(id)
                }
                Asked::Pod => self.programs.upgrade()?.only(),
            }
        };
        self.command.get_or_init(look).await;
    }

    fn number(&self) -> Option<u32> {
        self.command.get().copied().flatten()
    }
}

/// Tells of one client's connections.
struct Told {
    owner: Owner,
    rules: Arc<Granted>,
    boundary: Boundary,
}

impl Witness for Told {
    fn contact(&self, contact: Contact) {
        if let Some((host, port, refusal)) = outlet::tell(&self.boundary, self.owner.number(), contact) {
            self.boundary.tell(&self.rules.denial(&host, port, &refusal));
        }
    }
}

/// The grant, with the stage that a remedy names.
struct Granted {
    stage: String,
    grant: Arc<CommandsGrant>,
}

impl Granted {
    fn denial(&self, host: &Host, port: u16, refusal: &Refusal) -> Denial {
        let code = match refusal {
            Refusal::NotGranted => "not-granted",
            Refusal::Address(_) => "private-address",
            Refusal::OwnName | Refusal::Itself => "own-name",
            Refusal::HostHeader(_) => "host-header",
            Refusal::ServerName(_) | Refusal::NoServerName | Refusal::Unreadable => "server-name",
            Refusal::TooMany => "too-many",
        };
        let mut denial = Denial::new(code, refusal.to_string());
        denial.effect = event::CONNECT.to_owned();
        denial.subject = format!("{host}:{port}");
        match outlet::wider(&self.grant.network, host, port, refusal) {
            Some(network) => denial.remedy(&self.stage, CommandsGrant { network, ..(*self.grant).clone() }.to_string()),
            None => denial,
        }
    }
}

#[cfg(test)]
mod tests {
    use egress::{AllowList, Entry};

    use super::*;
    use crate::grant::Place;

    fn granted(entries: &[&str]) -> Granted {
        let network = AllowList(entries.iter().map(|entry| Entry::parse(entry).unwrap()).collect());
        let grant =
            CommandsGrant { place: Place::Process, programs: vec!["npm".into()], repeatable: true, toolchains: Vec::new(), network };
        Granted { stage: "install".into(), grant: Arc::new(grant) }
    }

    #[test]
    fn the_remedy_is_the_grant_with_the_host() {
        let granted = granted(&["registry.example:443"]);
        let remedy = |host: &str, port, refusal| granted.denial(&Host::parse(host).unwrap().unwrap(), port, &refusal).remedy;
        let head = "[stage.install.grants]\ncommands = { in = \"process\", programs = [\"npm\"], repeatable = true, network = [";
        assert_eq!(remedy("[fd00::1]", 80, Refusal::NotGranted).unwrap(), format!("{head}\"registry.example:443\", \"[fd00::1]:80\"] }}"));
        assert_eq!(
            remedy("registry.example", 443, Refusal::Address("10.0.0.1".parse().unwrap())).unwrap(),
            format!("{head}{{ host = \"registry.example:443\", private = true }}] }}")
        );
        assert_eq!(remedy("registry.example", 443, Refusal::Address("224.0.0.1".parse().unwrap())), None);
        assert_eq!(remedy("registry.example", 443, Refusal::ServerName("evil.example".into())), None);
    }
}
