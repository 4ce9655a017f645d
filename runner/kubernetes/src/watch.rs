//! Objects as they change, without a gap: what was missed while there was no connection is found by listing again and comparing.
//!
//! A task of its own does the watching, so that who waits for an event may stop waiting at any moment.

use std::collections::{BTreeMap, BTreeSet};

use admission::Target;
use futures::{AsyncBufReadExt, StreamExt, TryStreamExt};
use http::Method;
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::answer;
use crate::ask::{Call, Waits};
use crate::cluster::Cluster;
use crate::error::{ClusterError, chain};
use crate::objects::Selection;

/// The most objects that a watch remembers.
const MOST: usize = 10_000;
const PAGE: u32 = 500;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Added,
    Modified,
    Deleted,
    /// All that was there at the beginning has been told.
    Synced,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub change: Change,
    /// Of one that was deleted, the last state that was seen. Null for `Synced`.
    pub object: Value,
}

/// Ends when it is dropped.
#[derive(Debug)]
pub struct Watch {
    events: mpsc::Receiver<Result<Event, ClusterError>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    /// The next event. None after an error that can't be mended by waiting.
    ///
    /// # Errors
    /// If the cluster could not be reached for as long as patience lasts; the watch goes on then. If it said no: it does not.
    pub async fn next(&mut self) -> Option<Result<Event, ClusterError>> {
        self.events.recv().await
    }

    /// An event that is there already.
    pub fn ready(&mut self) -> Option<Result<Event, ClusterError>> {
        self.events.try_recv().ok()
    }
}

impl Cluster {
    /// Begins with what is there.
    pub fn watch(&self, target: &Target, selection: &Selection) -> Watch {
        self.watch_on(target, selection, Known::default())
    }

    /// Goes on with a watch of which so much was told: only what differs is told again.
    pub fn watch_on(&self, target: &Target, selection: &Selection, told_before: Known) -> Watch {
        let (told, events) = mpsc::channel(64);
        let Known { objects, synced } = told_before;
        let watching =
            Watching { cluster: self.clone(), target: target.whole(), selection: selection.clone(), told, known: objects, synced };
        Watch { events, task: tokio::spawn(watching.go()) }
    }
}

type Identity = (String, String);

/// What a watch has told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    objects: BTreeMap<Identity, Value>,
    synced: bool,
}

impl Known {
    pub fn told(&mut self, change: Change, object: Value) {
        match change {
            Change::Added | Change::Modified => drop(self.objects.insert(identity(&object), object)),
            Change::Deleted => drop(self.objects.remove(&identity(&object))),
            Change::Synced => self.synced = true,
        }
    }
}

struct Watching {
    cluster: Cluster,
    target: Target,
    selection: Selection,
    told: mpsc::Sender<Result<Event, ClusterError>>,
    known: BTreeMap<Identity, Value>,
    synced: bool,
}

/// Why a stream of changes came to an end.
enum End {
    /// Go on from this version.
    Again(String),
    /// Wait first.
    Later(String, String),
    /// The version is no longer known: list anew.
    Expired,
    /// Nobody listens any more.
    Dropped,
}

impl Watching {
    async fn go(mut self) {
        loop {
            match self.relist().await {
                Ok(Some(version)) => {
                    if !self.follow(version).await {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    let over = !(error.is_unreachable() || error.is_expired());
                    if self.told.send(Err(error)).await.is_err() || over {
                        return;
                    }
                }
            }
        }
    }

    /// Lists, and tells what differs from what is known. Answers with the version of the list; none if nobody listens any more.
    async fn relist(&mut self) -> Result<Option<String>, ClusterError> {
        let (mut next, mut seen, mut version) = (String::new(), BTreeSet::new(), String::new());
        loop {
            let page = self.cluster.list(&self.target, &self.selection, PAGE, &next).await?;
            for object in page.items {
                let identity = identity(&object);
                seen.insert(identity.clone());
                if !self.note(identity, object).await {
                    return Ok(None);
                }
            }
            if seen.len() > MOST {
                return Err(ClusterError::TooMany { doing: format!("watching {}", self.target), most: MOST });
            }
            if version.is_empty() {
                version = page.resource_version;
            }
            next = page.next;
            if next.is_empty() {
                break;
            }
        }
        let gone: Vec<Identity> = self.known.keys().filter(|known| !seen.contains(*known)).cloned().collect();
        for identity in gone {
            if let Some(object) = self.known.remove(&identity)
                && !self.tell(Change::Deleted, object).await
            {
                return Ok(None);
            }
        }
        if !std::mem::replace(&mut self.synced, true) && !self.tell(Change::Synced, Value::Null).await {
            return Ok(None);
        }
        Ok(Some(version))
    }

    /// Follows the changes until a list is needed. False if nobody listens any more, or it is over.
    async fn follow(&mut self, mut version: String) -> bool {
        let mut waits = Waits::new(self.cluster.patience);
        loop {
            let before = version.clone();
            let end = match self.stream(version).await {
                Ok(end) => end,
                Err(error) if error.is_expired() => return true,
                Err(error) => {
                    let over = !error.is_unreachable();
                    return self.told.send(Err(error)).await.is_ok() && !over;
                }
            };
            version = match end {
                End::Again(version) => version,
                End::Later(version, why) => {
                    // a server that is well and ends each watch at once would be asked without end
                    if version != before {
                        waits = Waits::new(self.cluster.patience);
                    }
                    if let Err(waited) = waits.wait(None).await {
                        waits = Waits::new(self.cluster.patience);
                        let (doing, server) = (format!("watching {}", self.target), self.cluster.server().to_owned());
                        if self.told.send(Err(ClusterError::GaveUp { doing, server, why, waited })).await.is_err() {
                            return false;
                        }
                    }
                    version
                }
                End::Expired => return true,
                End::Dropped => return false,
            };
        }
    }

    async fn stream(&mut self, mut version: String) -> Result<End, ClusterError> {
        let call = Call::new(Method::GET, format!("watching {}", self.target), self.target.path())
            .query("watch", "true")
            .query("allowWatchBookmarks", "true")
            .query("labelSelector", &self.selection.labels)
            .query("fieldSelector", &self.selection.fields)
            .query("resourceVersion", &version)
            .query("timeoutSeconds", "290");
        let response = self.cluster.response(&call, &mut Waits::new(self.cluster.patience)).await?;
        let lines = response.into_body().into_data_stream().map_err(|error| std::io::Error::other(chain(&error))).into_async_read().lines();
        let mut lines = std::pin::pin!(lines);
        let mut heard = false;
        loop {
            let line = match tokio::time::timeout(self.cluster.patience.silence, lines.next()).await {
                Ok(Some(Ok(line))) => line,
                Ok(None) if heard => return Ok(End::Again(version)),
                Ok(None) => return Ok(End::Later(version, "the cluster ends the watch at once".to_owned())),
                Ok(Some(Err(error))) => return Ok(End::Later(version, chain(&error))),
                Err(_) => return Ok(End::Again(version)),
            };
            heard = true;
            // the last line of a connection that broke may be half of one
            let Ok(mut event) = serde_json::from_str::<Value>(&line) else {
                return Ok(End::Later(version, "the cluster says something that is no event".to_owned()));
            };
            let object = event.get_mut("object").map(Value::take).unwrap_or_default();
            let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
            if kind == "ERROR" {
                let error = answer::said_in(call.doing(), &object);
                return Ok(if error.is_expired() { End::Expired } else { End::Later(version, error.to_string()) });
            }
            if let Some(told) = object.pointer("/metadata/resourceVersion").and_then(Value::as_str) {
                version = told.to_owned();
            }
            let goes_on = match kind {
                "ADDED" | "MODIFIED" => self.note(identity(&object), object).await,
                "DELETED" => {
                    self.known.remove(&identity(&object));
                    self.tell(Change::Deleted, object).await
                }
                // a bookmark is a version and nothing else
                _ => true,
            };
            if !goes_on {
                return Ok(End::Dropped);
            }
            if self.known.len() > MOST {
                return Err(ClusterError::TooMany { doing: call.doing().to_owned(), most: MOST });
            }
        }
    }

    /// An object as it is now. False if nobody listens any more.
    async fn note(&mut self, identity: Identity, object: Value) -> bool {
        let version = |object: &Value| object.pointer("/metadata/resourceVersion").cloned();
        let uid = |object: &Value| object.pointer("/metadata/uid").cloned();
        let change = match self.known.insert(identity, object.clone()) {
            Some(old) if version(&old) == version(&object) => return true,
            // another one with the same name came while nobody looked
            Some(old) if uid(&old) != uid(&object) => {
                if !self.tell(Change::Deleted, old).await {
                    return false;
                }
                Change::Added
            }
            Some(_) => Change::Modified,
            None => Change::Added,
        };
        self.tell(change, object).await
    }

    async fn tell(&mut self, change: Change, object: Value) -> bool {
        self.told.send(Ok(Event { change, object })).await.is_ok()
    }
}

fn identity(object: &Value) -> Identity {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    (text("/metadata/namespace"), text("/metadata/name"))
}
