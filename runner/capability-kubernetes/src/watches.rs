//! Watches of one attempt.
//!
//! A watch is opened when it is asked for, and again when a runner that was killed comes back: by then the record has told what the stage knows, so only
//! what differs is told again. Objects that the grant's names don't cover are passed over.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use admission::{Target, Verb};
use capability::io::Completion;
use kubernetes::{Change, Known, Selection};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::attempt::Attempt;
use crate::effect::{Answer, Fault, Watch};

/// An event as the stage is told it, and as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    pub change: Kind,
    pub namespace: String,
    pub name: String,
    /// As JSON; empty for [`Kind::Synced`].
    pub object: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Added,
    Modified,
    Deleted,
    Synced,
}

pub struct OpenWatch {
    attempt: Weak<Attempt>,
    watch: Watch,
    /// What an earlier process was told.
    known: Mutex<Known>,
    next: Mutex<VecDeque<Answer<Told>>>,
    source: tokio::sync::Mutex<Source>,
}

#[derive(Default)]
struct Source {
    open: Option<kubernetes::Watch>,
    /// Why it went wrong last; for good, if nothing comes any more.
    wrong: Option<Fault>,
}

impl OpenWatch {
    pub fn new(attempt: &Arc<Attempt>, watch: Watch) -> OpenWatch {
        OpenWatch {
            attempt: Arc::downgrade(attempt),
            watch,
            known: Mutex::default(),
            next: Mutex::default(),
            source: tokio::sync::Mutex::default(),
        }
    }

    /// Begins to listen.
    pub async fn open(&self) -> Answer<()> {
        let mut source = self.source.lock().await;
        if source.open.is_none() {
            let attempt = self.attempt.upgrade().ok_or_else(over)?;
            let selection = Selection { labels: self.watch.selection.labels.clone(), fields: self.watch.selection.fields.clone() };
            let known = std::mem::take(&mut *lock(&self.known));
            source.open = Some(attempt.cluster().await?.watch_on(&self.watch.target, &selection, known));
        }
        Ok(())
    }

    /// The record has told this.
    pub fn recalled(&self, told: &Told) {
        let change = match told.change {
            Kind::Added => Change::Added,
            Kind::Modified => Change::Modified,
            Kind::Deleted => Change::Deleted,
            Kind::Synced => Change::Synced,
        };
        lock(&self.known).told(change, serde_json::from_str(&told.object).unwrap_or_default());
    }

    pub async fn next(&self) -> Answer<Told> {
        loop {
            if let Some(next) = lock(&self.next).pop_front() {
                return next;
            }
            self.fill().await;
        }
    }

    /// Waits until there is something to tell. It may be given up at any moment.
    async fn fill(&self) {
        loop {
            if self.ready() {
                return;
            }
            if let Err(fault) = self.open().await {
                lock(&self.next).push_back(Err(fault));
                return;
            }
            let mut source = self.source.lock().await;
            // another one waited for the same
            if self.ready() {
                return;
            }
            let Some(open) = &mut source.open else { continue };
            let came = match open.next().await {
                Some(Ok(event)) => self.shown(event).map(Ok),
                Some(Err(error)) => {
                    let fault = Fault::from(error);
                    source.wrong = Some(fault.clone());
                    Some(Err(fault))
                }
                None => Some(Err(source.wrong.clone().unwrap_or_else(over))),
            };
            lock(&self.next).extend(came);
        }
    }

    /// What of an event the stage may know.
    fn shown(&self, event: kubernetes::Event) -> Option<Told> {
        let kubernetes::Event { change, object } = event;
        let change = match change {
            Change::Added => Kind::Added,
            Change::Modified => Kind::Modified,
            Change::Deleted => Kind::Deleted,
            Change::Synced => {
                return Some(Told { change: Kind::Synced, namespace: String::new(), name: String::new(), object: String::new() });
            }
        };
        let (namespace, name) = identity(&object);
        let attempt = self.attempt.upgrade()?;
        shows(&attempt, Verb::Watch, &self.watch.target, &namespace, &name).then(|| Told {
            change,
            object: object.to_string(),
            namespace,
            name,
        })
    }
}

/// Whether an object of a list is one that the grant names.
pub fn shows(attempt: &Attempt, verb: Verb, target: &Target, namespace: &str, name: &str) -> bool {
    let namespace = (!namespace.is_empty()).then_some(namespace);
    attempt.admission().is_some_and(|rules| rules.shows(verb, target, namespace, name))
}

pub fn identity(object: &Value) -> (String, String) {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    (text("/metadata/namespace"), text("/metadata/name"))
}

fn over() -> Fault {
    Fault::Cluster("the watch is over".to_owned())
}

/// For `wait-any`.
pub struct Waited(pub Arc<OpenWatch>);

impl OpenWatch {
    fn ready(&self) -> bool {
        !lock(&self.next).is_empty()
    }
}

impl Completion for Waited {
    fn ready(&self) -> bool {
        self.0.ready()
    }

    fn wait(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.0.fill())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
