//! What a capability is, and the list of those that exist.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use pipeline::grant::{Grant, GrantSchema};
use wasmtime::component::Linker;

use crate::state::{Setting, StageState};

/// A capability: the schema of its grant, the interfaces that it links, the live state of an attempt.
pub trait Capability: Send + Sync {
    fn schema(&self) -> Arc<dyn GrantSchema>;

    /// Links the standard WASI interfaces that belong to it. Always called: what is not granted refuses there.
    fn link_standard(&self, linker: &mut Linker<StageState>) -> wasmtime::Result<()> {
        let _ = linker;
        Ok(())
    }

    /// Links its `runner:*` interfaces. Called where it is granted, and where a plugin imports it as optional: then every effect is
    /// denied.
    fn link(&self, linker: &mut Linker<StageState>) -> wasmtime::Result<()> {
        let _ = linker;
        Ok(())
    }

    /// The live state of one attempt. Without a grant it is a state that refuses everything.
    fn enter(&self, grant: Option<&Arc<dyn Grant>>, setting: &Arc<Setting>) -> Result<Box<dyn Room>, EnterError>;
}

/// Why an attempt can't start with this grant on this machine.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct EnterError(pub String);

/// The live state of a capability in one attempt.
pub trait Room: Any + Send {
    /// Ends whatever still runs, when the attempt is over. Nothing of it outlives the future.
    fn leave(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// The capabilities that exist, in the order in which they are shown.
#[derive(Clone, Default)]
pub struct Registry {
    capabilities: Vec<Arc<dyn Capability>>,
    schemas: Vec<Arc<dyn GrantSchema>>,
}

impl Registry {
    #[must_use]
    pub fn with(mut self, capability: impl Capability + 'static) -> Self {
        let capability: Arc<dyn Capability> = Arc::new(capability);
        self.schemas.push(capability.schema());
        self.capabilities.push(capability);
        self
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Arc<dyn GrantSchema>, &Arc<dyn Capability>)> {
        self.schemas.iter().zip(&self.capabilities)
    }

    pub fn schemas(&self) -> &[Arc<dyn GrantSchema>] {
        &self.schemas
    }
}
