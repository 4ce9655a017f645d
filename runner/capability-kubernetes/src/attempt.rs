//! What one attempt has of the cluster: a connection, made when it is first needed, and what is open: watches, logs, names of forwarded ports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use admission::{Kind, Target};
use capability::Setting;
use kubernetes::Cluster;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::effect::{Answer, Fault, Logs, Watch};
use crate::grant::KubernetesGrant;
use crate::logs::OpenLog;
use crate::policy::{DEFAULT_NAMESPACE, Rules};
use crate::watches::OpenWatch;

/// Watches, logs and names of one attempt that are open at the same time, each.
const AT_ONCE: usize = 64;
/// The longest name that Kubernetes takes for a field manager.
const MANAGER: usize = 128;

/// Everything of Kubernetes' in one attempt.
pub struct Attempt {
    pub setting: Arc<Setting>,
    grant: Option<KubernetesGrant>,
    cluster: OnceCell<Cluster>,
    manager: String,
    next: AtomicU32,
    watches: Mutex<BTreeMap<u32, Arc<OpenWatch>>>,
    logs: Mutex<BTreeMap<u32, Arc<OpenLog>>>,
    names: Mutex<BTreeSet<String>>,
}

impl Attempt {
    pub fn new(setting: Arc<Setting>, grant: Option<KubernetesGrant>) -> Attempt {
        let manager = manager(&setting.pipeline, &setting.stage.to_string());
        Attempt {
            setting,
            grant,
            cluster: OnceCell::new(),
            manager,
            next: AtomicU32::new(1),
            watches: Mutex::default(),
            logs: Mutex::default(),
            names: Mutex::default(),
        }
    }

    /// The grant as policy sees it.
    pub fn rules(&self) -> Rules<'_> {
        Rules { grant: self.grant.as_ref(), stage: &self.setting.name, held: &self.setting.secrets }
    }

    /// What `admission` says, where there is a grant.
    pub fn admission(&self) -> Option<&admission::Rules> {
        self.grant.as_ref().map(|grant| &grant.rules)
    }

    /// Where an object is of which a stage does not say it.
    pub fn namespace(&self) -> &str {
        self.admission().map_or(DEFAULT_NAMESPACE, |rules| &rules.namespace)
    }

    /// In whose name the stage writes: the same in all its attempts.
    pub fn manager(&self) -> &str {
        &self.manager
    }

    /// The number of the next watch, log or output; the same ones when a stage is run again.
    pub fn number(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub async fn cluster(&self) -> Answer<&Cluster> {
        let context = self.grant.as_ref().and_then(|grant| grant.context.as_deref());
        Ok(self.cluster.get_or_try_init(|| Cluster::connect(context)).await?)
    }

    /// An object; none if there is no such object.
    pub async fn found(&self, target: &Target) -> Answer<Option<Value>> {
        match self.cluster().await?.get(target).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A watch; one that an earlier process opened is opened when it is needed.
    pub fn remember_watch(self: &Arc<Self>, watch: Watch) -> Arc<OpenWatch> {
        let number = watch.number;
        lock(&self.watches).entry(number).or_insert_with(|| Arc::new(OpenWatch::new(self, watch))).clone()
    }

    pub fn watch(&self, number: u32) -> Option<Arc<OpenWatch>> {
        lock(&self.watches).get(&number).cloned()
    }

    pub fn forget_watch(&self, number: u32) {
        lock(&self.watches).remove(&number);
    }

    pub fn remember_log(self: &Arc<Self>, logs: Logs) -> Arc<OpenLog> {
        let number = logs.number;
        lock(&self.logs).entry(number).or_insert_with(|| Arc::new(OpenLog::new(self, logs))).clone()
    }

    pub fn log(&self, number: u32) -> Option<Arc<OpenLog>> {
        lock(&self.logs).get(&number).cloned()
    }

    pub fn forget_log(&self, number: u32) {
        lock(&self.logs).remove(&number);
    }

    pub fn names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        lock(&self.names)
    }

    /// # Errors
    /// If so much is open already.
    pub fn room_for_more(&self) -> Answer<()> {
        if lock(&self.watches).len().max(lock(&self.logs).len()).max(lock(&self.names).len()) < AT_ONCE {
            return Ok(());
        }
        Err(Fault::Limit(format!("a stage has at most {AT_ONCE} watches, logs or forwarded ports open at the same time")))
    }

    /// The only container of a Pod needs no name, and one of several may be the Pod's default.
    pub async fn container(&self, pod: &Target, asked: Option<&String>) -> Answer<Option<String>> {
        if asked.is_some() {
            return Ok(asked.cloned());
        }
        let whole = match self.cluster().await?.get(&pod.whole()).await {
            Ok(whole) => whole,
            // the cluster will say what is missing
            Err(error) if error.is_forbidden() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let default = whole.pointer("/metadata/annotations/kubectl.kubernetes.io~1default-container").and_then(Value::as_str);
        let containers = whole.pointer("/spec/containers").and_then(Value::as_array);
        let names: Vec<&str> =
            containers.into_iter().flatten().filter_map(|container| container.get("name").and_then(Value::as_str)).collect();
        match (default, names.as_slice()) {
            (Some(default), _) => Ok(Some(default.to_owned())),
            (None, [] | [_]) => Ok(None),
            (None, names) => Err(Fault::Invalid(format!("{} has the containers {}: name one", pod.whole(), names.join(", ")))),
        }
    }

    /// Closes everything.
    pub fn end(&self) {
        lock(&self.watches).clear();
        lock(&self.logs).clear();
        for name in std::mem::take(&mut *lock(&self.names)) {
            self.setting.endpoints.remove(&name);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names that are too long for a field manager keep their beginning, and end in what tells them apart.
fn manager(pipeline: &str, stage: &str) -> String {
    let whole = format!("runner/{pipeline}/{stage}");
    if whole.len() <= MANAGER && whole.chars().all(|c| !c.is_control()) {
        return whole;
    }
    let digest = blake3::hash(whole.as_bytes()).to_hex();
    let mut plain: String = whole.chars().filter(|c| !c.is_control()).collect();
    while plain.len() > MANAGER - 17 {
        plain.pop();
    }
    format!("{plain}-{}", &digest[..16])
}

/// A kind of the core group, or of `apps`.
pub fn kind(group: &str, plural: &str) -> Answer<Kind> {
    Kind::new(group, "v1", plural).map_err(|error| Fault::Invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_manager_is_never_too_long_and_tells_stages_apart() {
        assert_eq!(manager("shop", "canary"), "runner/shop/canary");
        let (one, other) = (manager("shop", &"é".repeat(100)), manager("shop", &format!("{}x", "é".repeat(100))));
        assert!(one.len() <= MANAGER && other.len() <= MANAGER && one != other, "{one} {other}");
    }
}
