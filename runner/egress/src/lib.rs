//! The way out for programs that have no network: an HTTP proxy with a list of the hosts that it connects to.
//!
//! A program in a jail, or in a container without a network, can reach one thing: a socket whose other end is served here. [`Proxy::serve`]
//! takes such a connection, whatever it came over, and speaks HTTP/1 on it: `CONNECT host:port` for a tunnel, or a request with an absolute
//! `http://` URL. Each is decided by [`AllowList`], a pure function of the list, the host and the port; the name is then looked up here, every
//! address that it leads to is judged ([`reach`], [`Scope`]), and the connection goes to an address that passed and to no other. Each ends as
//! one [`Contact`] for the caller, refused or not.
//!
//! What a tunnel carries is not looked at, but for its beginning: where it opens TLS, the server name in the clear must be the host that the
//! tunnel was granted for, so that a server with many names is not reached under another one.
//!
//! What this does not stop: whoever is granted a host can send it anything, and a host that passes messages on (a package registry that
//! takes uploads, a paste service, another proxy) passes them on. Behind TLS the `Host` header may name another host than the server name
//! did, if the server lets it; so may an encrypted ClientHello. A granted wildcard lets data out in the labels of the names that are looked up.
//!
//! Deliberately absent: listening (the caller hands in a [`Door`] to be served, or single streams), who may be granted what (the capability's grant), naming who connected
//! (the caller's [`Witness`] knows the stream's other end), credentials, caching, and the proxies of the machine itself.

mod address;
mod allow;
mod dial;
mod forward;
mod hello;
mod host;
mod meter;
mod proxy;
mod resolve;
mod serving;
mod tunnel;

pub use address::{Reach, Scope, confirmable, reach};
pub use allow::{AllowList, Entry, EntryError};
pub use dial::{DialError, dial};
pub use host::Host;
pub use meter::{Contact, Outcome, Witness};
pub use proxy::{Proxy, Refusal};
pub use resolve::{Resolver, SystemResolver};
pub use serving::{Door, Serving};
