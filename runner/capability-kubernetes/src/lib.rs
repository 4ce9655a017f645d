//! Objects, Pods and rollouts of a Kubernetes cluster, as far as a stage is granted them. A stage never has the cluster's credentials.
//!
//! ```toml
//! [stage.canary.grants.kubernetes]
//! context = "production"                        # of the runner's kubeconfig; without it the current one, or the cluster that the runner is in
//! namespace = "shop"
//! rules = [
//!   { resources = ["deployments"], names = ["api", "api-canary"], verbs = ["get", "watch", "patch"], fields = { "spec.replicas" = { max = 3 } } },
//!   { resources = ["pods", "pods/log"], verbs = ["get", "list"] },
//! ]
//! ```
//!
//! What is checked is `admission`'s: each operation against the rules, in the shape of RBAC's; each write by itself, then by what a dry run makes of it,
//! and it is written for the very object that was looked at. What somebody else wrote meanwhile is judged anew, five times at most.
//!
//! A write that was cut off, by the end of the runner or of a connection, is looked for in the cluster before anything is sent again (`became`).
//!
//! Deliberately absent: `--learn`, which would have to write what it does not know; and what `runner:kubernetes` has no name for.

mod attempt;
mod backend;
mod became;
mod effect;
mod exec;
mod forward;
mod grant;
mod host;
mod logs;
mod place;
mod policy;
mod rollouts;
mod scope;
mod watches;
mod write;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use capability::registry::EnterError;
use capability::{Capability, Setting, StageState};
use pipeline::grant::{Grant, GrantSchema};
use wasmtime::component::{HasSelf, Linker};

use attempt::Attempt;
pub use grant::KubernetesGrant;

/// The representation of `runner:kubernetes/objects.watch`: its number.
pub struct WatchHandle(u32);

/// The representation of `runner:kubernetes/pods.log`: its number.
pub struct LogHandle(u32);

/// The representation of `runner:kubernetes/pods.forwarding`.
pub struct ForwardHandle {
    name: String,
    port: u16,
}

/// The capability.
pub struct Kubernetes;

impl Capability for Kubernetes {
    fn schema(&self) -> Arc<dyn GrantSchema> {
        Arc::new(grant::Schema)
    }

    fn link(&self, linker: &mut Linker<StageState>) -> wasmtime::Result<()> {
        use host::bindings::runner::kubernetes;
        kubernetes::types::add_to_linker::<_, HasSelf<StageState>>(linker, |s| s)?;
        kubernetes::objects::add_to_linker::<_, HasSelf<StageState>>(linker, |s| s)?;
        kubernetes::pods::add_to_linker::<_, HasSelf<StageState>>(linker, |s| s)?;
        kubernetes::rollouts::add_to_linker::<_, HasSelf<StageState>>(linker, |s| s)
    }

    fn enter(&self, grant: Option<&Arc<dyn Grant>>, setting: &Arc<Setting>) -> Result<Box<dyn capability::Room>, EnterError> {
        let grant = grant.and_then(|grant| grant.as_any().downcast_ref::<KubernetesGrant>()).cloned();
        Ok(Box::new(Room { attempt: Arc::new(Attempt::new(setting.clone(), grant)) }))
    }
}

/// What one attempt has of the cluster.
struct Room {
    attempt: Arc<Attempt>,
}

impl capability::Room for Room {
    fn leave(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move { self.attempt.end() })
    }
}
