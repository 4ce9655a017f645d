//! Secrets by name: their placeholders, and their bytes for the few stages that must have them.
//!
//! ```toml
//! [stage.sign.grants]
//! secrets = { use = ["registry"], read = ["api-key"], sign = ["cosign"] }
//! ```
//!
//! Most stages need no such grant: `${secret.registry}` in `with` or `env` gives them the placeholder. `use` is for stages that name a secret in
//! their own words, `read` gives the bytes, and `sign` gives signatures with a key that stays here: both are shown in red by `plan`.
//!
//! What is checked: that the grant names the secret. Recorded is that it was read and a keyed digest of the bytes, so that a stage that goes on
//! after a crash is given the same ones or none; a signature is recorded as it is. Deliberately absent: where the bytes come from (`secret`), how a key signs (`secret::sign`), and where placeholders are replaced
//! (`capability-http`, `capability-commands`).

mod backend;
mod grant;
mod host;
mod policy;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use capability::registry::EnterError;
use capability::{Capability, Room, Setting, StageState};
use pipeline::grant::{Grant, GrantSchema};
use secret::Held;
use wasmtime::component::{HasSelf, Linker};

pub use grant::SecretsGrant;

/// The capability.
#[derive(Debug, Clone, Copy, Default)]
pub struct Secrets;

impl Capability for Secrets {
    fn schema(&self) -> Arc<dyn GrantSchema> {
        Arc::new(grant::Schema)
    }

    fn link(&self, linker: &mut Linker<StageState>) -> wasmtime::Result<()> {
        host::bindings::runner::secrets::secrets::add_to_linker::<_, HasSelf<StageState>>(linker, |s| s)
    }

    fn enter(&self, grant: Option<&Arc<dyn Grant>>, setting: &Arc<Setting>) -> Result<Box<dyn Room>, EnterError> {
        let grant = grant.and_then(|grant| grant.as_any().downcast_ref::<SecretsGrant>()).cloned().unwrap_or_default();
        Ok(Box::new(SecretsRoom { stage: setting.name.clone(), grant, held: setting.secrets.clone() }))
    }
}

/// What an attempt may name. Nothing of it is open.
struct SecretsRoom {
    stage: String,
    grant: SecretsGrant,
    held: Arc<Held>,
}

impl Room for SecretsRoom {
    fn leave(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::ready(()))
    }
}
