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
use std::time::Duration;

use capability::denial::toml_string;
use capability::{Boundary, Denial, Stream};
use egress::{AllowList, Contact, Entry, Host, Outcome, Proxy, Reach, Refusal, Witness};
use event::Kind;
use pipeline::diagnostic::Diagnostic;
use pipeline::grant::Authority;
use pipeline::node::{Node, Spanned, TableReader, Value, wrong_type};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OnceCell, Semaphore, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use crate::backend::Programs;
use crate::grant::CommandsGrant;
use crate::jail::Jail;

/// Where the proxy is in every jail and pod: the port that proxies are customarily at. Always the same, so that what programs see is, too.
pub const PORT: u16 = 3128;
/// Connections of one stage that are served at the same time; more wait.
const AT_ONCE: usize = 256;
/// Before a failed accept is tried again.
const PAUSE: Duration = Duration::from_millis(50);

/// Reads `network`.
pub fn decode(node: &Node, diagnostics: &mut Vec<Diagnostic>) -> AllowList {
    let Value::Array(items) = &node.value else {
        let hint = "write `network = [\"registry.example:443\"]`";
        diagnostics.push(wrong_type(&node.span, "`network`", "an array of hosts", &node.value).hint(hint));
        return AllowList::default();
    };
    AllowList(items.iter().filter_map(|item| decode_entry(item, diagnostics)).collect())
}

fn decode_entry(item: &Node, diagnostics: &mut Vec<Diagnostic>) -> Option<Entry> {
    let (host, private) = match &item.value {
        Value::String(host) => (Spanned { value: host.clone(), span: item.span.clone() }, false),
        Value::Table(_) => {
            let mut reader = TableReader::new(item, "an entry of `network`", diagnostics)?;
            let host = reader.require("host").and_then(|node| reader.expect_string(node, "host"));
            let private = reader.boolean("private").is_some_and(|private| private.value);
            reader.finish();
            (host?, private)
        }
        other => {
            diagnostics.push(
                wrong_type(&item.span, "an entry of `network`", "a host and a port", other)
                    .hint("write \"registry.example:443\", or { host = \"registry.example:443\", private = true }"),
            );
            return None;
        }
    };
    match Entry::parse(&host.value) {
        Ok(mut entry) => {
            entry.private = private;
            Some(entry)
        }
        Err(error) => {
            diagnostics.push(Diagnostic::error("bad-host", host.span, error.message).hint(error.hint));
            None
        }
    }
}

/// An entry as it would stand in a pipeline file.
pub fn written(entry: &Entry) -> String {
    let host = toml_string(&entry.to_string());
    if entry.private { format!("{{ host = {host}, private = true }}") } else { host }
}

/// An entry as `plan` shows it.
pub fn authority(entry: &Entry) -> Authority {
    let opens = entry.opens();
    let more = opens.map(|what| format!(" ({what})")).unwrap_or_default();
    Authority { text: format!("  connect to {entry}{more}"), alarming: opens.is_some() || entry.is_sweeping() }
}

/// Whether a recorded connection needed the entry.
pub fn fits(entry: &Entry, subject: &str) -> bool {
    let place = subject.rsplit_once(':').and_then(|(host, port)| Some((Host::parse(host).ok()??, port.parse().ok()?)));
    // what can't be read may have been any of them
    place.is_none_or(|(host, port)| entry.fits(&host, port))
}

/// The variables that hold what is reached directly.
const DIRECT: [&str; 3] = ["NO_PROXY", "no_proxy", "npm_config_noproxy"];

/// The variables by which programs find the proxy, and the ones by which toolchains without a network say so at once.
fn variables(allow: &AllowList) -> Vec<(&'static str, String)> {
    let proxy = format!("http://{}:{PORT}", Ipv4Addr::LOCALHOST);
    // a stage's own servers are reached directly; where this machine's are granted by one of these names, that name means them
    let mut direct = vec!["localhost", "127.0.0.1", "::1", ".stage"];
    for host in allow.0.iter().filter_map(Entry::names_this_machine) {
        direct.retain(|name| match host.address() {
            Some(address) => *name != address.to_string(),
            None => *name != "localhost",
        });
    }
    let direct = direct.join(",");
    vec![
        ("HTTP_PROXY", proxy.clone()),
        ("HTTPS_PROXY", proxy.clone()),
        ("http_proxy", proxy.clone()),
        ("https_proxy", proxy.clone()),
        ("NO_PROXY", direct.clone()),
        ("no_proxy", direct.clone()),
        ("npm_config_proxy", proxy.clone()),
        ("npm_config_https_proxy", proxy.clone()),
        ("npm_config_noproxy", direct),
        ("npm_config_offline", "false".to_owned()),
        ("NODE_USE_ENV_PROXY", "1".to_owned()),
        ("CARGO_HTTP_PROXY", proxy.clone()),
        ("CARGO_NET_OFFLINE", "false".to_owned()),
        ("PIP_PROXY", proxy),
    ]
}

/// Whether the host sets a variable where there is a network. npm reads its own in any case of letters.
pub fn sets(name: &str) -> bool {
    variables(&AllowList::default()).iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
}

/// The variables of a command besides its own; over them, because they come last.
/// `services` are the stage's own, like what is called `.stage`.
pub fn environment(grant: &CommandsGrant, services: &[String]) -> Vec<(String, String)> {
    if grant.network.0.is_empty() {
        return Vec::new();
    }
    let mut variables = variables(&grant.network);
    for (_, direct) in variables.iter_mut().filter(|(name, _)| DIRECT.contains(name)) {
        services.iter().for_each(|service| *direct += &format!(",{service}"));
    }
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The proxy of one attempt. Dropping it closes everything.
pub struct Network {
    /// Ends with this.
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

/// Where programs reach the proxy.
pub enum Outlet {
    /// A socket that listens inside the jail.
    Jail(TcpListener, Weak<Jail>),
    /// What the holder of a pod passes on.
    Pod(UnixListener),
}

impl Network {
    /// Serves what comes out, before any program runs inside.
    pub fn open(outlet: Outlet, grant: &Arc<CommandsGrant>, programs: &Arc<Programs>, boundary: &Boundary) -> Network {
        let service = Service {
            outlet,
            proxy: Arc::new(Proxy::new(grant.network.clone()).known_as(Host::V4(Ipv4Addr::LOCALHOST), PORT)),
            rules: Arc::new(Granted { stage: programs.setting().name.clone(), grant: grant.clone() }),
            programs: Arc::downgrade(programs),
            boundary: boundary.clone(),
        };
        let (stop, stopped) = oneshot::channel();
        Network { stop, serving: tokio::spawn(service.run(stopped)) }
    }

    /// Closes what is open, and returns when all of it has been told.
    pub async fn close(self) {
        drop(self.stop);
        let _ = self.serving.await;
    }
}

struct Service {
    outlet: Outlet,
    proxy: Arc<Proxy>,
    rules: Arc<Granted>,
    programs: Weak<Programs>,
    boundary: Boundary,
}

impl Outlet {
    /// A connection, and what is known of who made it.
    async fn accept(&self, programs: &Weak<Programs>) -> io::Result<(Box<dyn Stream>, Owner)> {
        let owner = |asked| Owner { asked, programs: programs.clone(), command: OnceCell::new() };
        match self {
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
}

impl Service {
    async fn run(self, mut stopped: oneshot::Receiver<()>) {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        let mut clients = JoinSet::new();
        loop {
            let next = async {
                let slot = slots.clone().acquire_owned().await.map_err(io::Error::other)?;
                let (stream, owner) = self.outlet.accept(&self.programs).await?;
                Ok::<_, io::Error>((slot, stream, owner))
            };
            let accepted = tokio::select! {
                accepted = next => accepted,
                _ = &mut stopped => break,
            };
            while clients.try_join_next().is_some() {}
            let Ok((slot, stream, owner)) = accepted else {
                // out of descriptors, most likely: some of those that are open will end
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let told = Arc::new(Told { owner, rules: self.rules.clone(), boundary: self.boundary.clone() });
            let proxy = self.proxy.clone();
            clients.spawn(async move {
                // while the process that asks is still there
                told.owner.find().await;
                proxy.serve(stream, told).await;
                drop(slot);
            });
        }
        clients.shutdown().await;
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
        let Contact { host, port, outcome, bytes_in, bytes_out, took } = contact;
        let (allowed, reason) = match &outcome {
            Outcome::Reached => (true, None),
            Outcome::Failed(why) => (true, Some(why.clone())),
            Outcome::Refused(refusal) => (false, Some(refusal.to_string())),
        };
        self.boundary.emit(Kind::Connection {
            stage: self.boundary.stage().clone(),
            command: self.owner.number(),
            host: host.to_string(),
            port,
            allowed,
            reason,
            bytes_in,
            bytes_out,
            nanos: u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
        });
        if let Outcome::Refused(refusal) = outcome {
            self.boundary.tell(&self.rules.denial(host, port, &refusal));
        }
    }
}

/// The grant, with the stage that a remedy names.
struct Granted {
    stage: String,
    grant: Arc<CommandsGrant>,
}

impl Granted {
    fn denial(&self, host: Host, port: u16, refusal: &Refusal) -> Denial {
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
        match self.wider(host, port, refusal) {
            Some(grant) => denial.remedy(&self.stage, grant.to_string()),
            None => denial,
        }
    }

    /// The grant as it would have to be.
    fn wider(&self, host: Host, port: u16, refusal: &Refusal) -> Option<CommandsGrant> {
        let mut grant = (*self.grant).clone();
        let entries = &mut grant.network.0;
        match refusal {
            Refusal::NotGranted => entries.push(Entry::exact(host, port)),
            Refusal::Address(address) if !matches!(egress::reach(*address), Reach::Never(_)) => {
                entries.iter_mut().find(|entry| entry.fits(&host, port))?.private = true;
            }
            _ => return None,
        }
        Some(grant)
    }
}

#[cfg(test)]
mod tests {
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
        let remedy = |host: &str, port, refusal| granted.denial(Host::parse(host).unwrap().unwrap(), port, &refusal).remedy;
        let head = "[stage.install.grants]\ncommands = { in = \"process\", programs = [\"npm\"], repeatable = true, network = [";
        assert_eq!(remedy("[fd00::1]", 80, Refusal::NotGranted).unwrap(), format!("{head}\"registry.example:443\", \"[fd00::1]:80\"] }}"));
        assert_eq!(
            remedy("registry.example", 443, Refusal::Address("10.0.0.1".parse().unwrap())).unwrap(),
            format!("{head}{{ host = \"registry.example:443\", private = true }}] }}")
        );
        assert_eq!(remedy("registry.example", 443, Refusal::Address("224.0.0.1".parse().unwrap())), None);
        assert_eq!(remedy("registry.example", 443, Refusal::ServerName("evil.example".into())), None);
    }

    #[test]
    fn services_are_reached_directly() {
        let environment = environment(&granted(&["registry.example:443"]).grant, &["redis".to_owned()]);
        assert_eq!(environment.iter().filter(|(_, value)| value.ends_with(",redis")).count(), DIRECT.len());
    }

    #[test]
    fn a_name_of_this_machine_that_is_granted_goes_through_the_proxy() {
        let direct = |entries: &[&str]| {
            let allow = &granted(entries).grant.network;
            variables(allow).into_iter().find(|(name, _)| *name == "NO_PROXY").unwrap().1
        };
        assert_eq!(direct(&["registry.example:443"]), "localhost,127.0.0.1,::1,.stage");
        assert_eq!(direct(&["localhost:4873"]), "127.0.0.1,::1,.stage");
        assert_eq!(direct(&["npm.localhost:4873"]), "127.0.0.1,::1,.stage");
        assert_eq!(direct(&["127.0.0.1:4873", "[::1]:4873"]), "localhost,.stage");
    }
}
