//! HTTP requests to granted places.
//!
//! ```toml
//! [stage.smoke.grants]
//! http = [
//!   { url = "https://api.example/v1/**", methods = ["GET", "POST"] },  # without `methods`: GET and HEAD
//!   { url = "https://*.cdn.example/assets/*", query = ["v"] },         # any subdomain; one segment; only `?v=…`
//!   { url = "http://prometheus:9090/api/**", private = true },         # a name of the internal network
//!   { url = "http://127.0.0.1:8080/health" },                          # an address that is named need not be public
//!   { url = "http://app.stage:8080/**" },                              # the stage's own process called `app`
//! ]
//! ```
//!
//! What is checked, for every request and again for every redirect:
//! 1. the URL, in the one form in which it is sent ([`target`]); user information, other schemes and paths with a hidden way up are refused;
//! 2. the headers: those of the connection are the host's;
//! 3. scheme, host, port, path, method and query against the rules ([`grant`], [`pattern`]);
//! 4. each address that the host's name leads to ([`egress::reach`]): those that are not public need `private = true` or a rule that
//!    names the address; the connection goes to a checked address and no other ([`policy`], [`backend`]).
//!
//! A URL in a rule always has a path: `/` is the root alone and `/**` is everything. Values from outside the file (git, outputs) arrive here
//! already percent-encoded as one whole segment, so they can bring neither a `/` nor a wildcard.
//!
//! **Secrets.** A placeholder in a header, the path, the query, a JSON body or a form is replaced as the request leaves, if the secret's `to`
//! allows the URL ([`secrets`]); `http = [{ url = "${secret.hook}", methods = ["POST"] }]` grants the URL that a secret holds, within its `to`. What comes
//! back has its secrets hidden, byte for byte, before the stage and the record see it.
//!
//! Two interfaces, one policy: `runner:http/client`, which any language can speak, and `wasi:http`, which is always linked and answers
//! `HTTP-request-denied` where nothing is granted. Request bodies are collected before they are sent; response bodies stream. Bodies are not
//! decompressed, proxies of the environment are not used, and `.stage` names and `localhost` are never looked up.

pub mod backend;
pub mod effect;
mod exchange;
pub mod grant;
mod host;
mod learned;
pub mod pattern;
pub mod policy;
mod redirect;
mod room;
mod secrets;
pub mod target;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use capability::registry::EnterError;
use capability::{Capability, Room, Setting, StageState};
use pipeline::grant::{Grant, GrantSchema};
use wasmtime::component::{HasSelf, Linker};

pub use crate::backend::{Asker, Resolver, SystemResolver};
use crate::backend::{HttpBackend, Trust};
pub use crate::grant::{HttpGrant, HttpSchema};
use crate::host::bindings;
use crate::policy::HttpPolicy;
pub use crate::room::HttpRoom;

/// How the capability meets the machine.
pub struct Options {
    /// Looks up names.
    pub resolver: Arc<dyn Resolver>,
    /// Certificates in PEM that are trusted besides the machine's own.
    pub extra_authorities: Vec<u8>,
}

impl Default for Options {
    fn default() -> Self {
        Options { resolver: Arc::new(SystemResolver), extra_authorities: Vec::new() }
    }
}

/// The capability. One serves all stages; the trusted certificates are read once, at the first https request.
pub struct Http {
    resolver: Arc<dyn Resolver>,
    trust: Arc<Trust>,
}

impl Http {
    /// # Errors
    /// If `extra_authorities` holds something that is no certificate.
    pub fn new(options: Options) -> Result<Http, String> {
        Ok(Http { resolver: options.resolver, trust: Arc::new(Trust::new(&options.extra_authorities)?) })
    }
}

impl Http {
    /// For the runner's own requests, with the same certificates and names.
    pub fn asker(&self) -> Asker {
        Asker { resolver: self.resolver.clone(), trust: self.trust.clone() }
    }
}

impl Default for Http {
    fn default() -> Self {
        Http { resolver: Arc::new(SystemResolver), trust: Arc::default() }
    }
}

impl Capability for Http {
    fn schema(&self) -> Arc<dyn GrantSchema> {
        Arc::new(HttpSchema)
    }

    fn link_standard(&self, linker: &mut Linker<StageState>) -> wasmtime::Result<()> {
        bindings::wasi::http::types::add_to_linker::<_, HasSelf<StageState>>(
            linker,
            &bindings::wasi::http::types::LinkOptions::default(),
            |s| s,
        )?;
        bindings::wasi::http::outgoing_handler::add_to_linker::<_, HasSelf<StageState>>(linker, |s| s)?;
        Ok(())
    }

    fn link(&self, linker: &mut Linker<StageState>) -> wasmtime::Result<()> {
        bindings::runner::http::client::add_to_linker::<_, HasSelf<StageState>>(linker, |s| s)?;
        Ok(())
    }

    fn enter(&self, grant: Option<&Arc<dyn Grant>>, setting: &Arc<Setting>) -> Result<Box<dyn Room>, EnterError> {
        let grant = match grant {
            None => None,
            Some(grant) => Some(
                (**grant)
                    .as_any()
                    .downcast_ref::<HttpGrant>()
                    .ok_or_else(|| EnterError("the grant of `http` is of another kind".to_owned()))?,
            ),
        };
        let policy = HttpPolicy::new(&setting.name, grant, setting.secrets.clone()).with_services(&setting.services);
        let policy = Arc::new(policy);
        let backend = HttpBackend::new(policy.clone(), setting.clone(), self.resolver.clone(), self.trust.clone());
        Ok(Box::new(HttpRoom::new(policy, Arc::new(backend))))
    }
}
