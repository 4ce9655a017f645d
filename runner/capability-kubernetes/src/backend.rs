//! What changes nothing in the cluster, and programs in its containers, carried out. Writes are in `write`.

use std::sync::Arc;

use admission::Verb;
use capability::{Backend, Nothing, Permitted};

use crate::attempt::Attempt;
use crate::effect::{
    Answer, Back, Events, Exec, Exit, Fault, Forward, Get, History, List, Logs, Occurrence, Page, Progress, Read, Reading, Revision,
    Status, Wait, Watch, WayBack,
};
use crate::rollouts::occurrence;
use crate::watches::{identity, shows};

/// The most occurrences that are told of an object.
const OCCURRENCES: usize = 100;
/// The most objects of a page.
const PAGE: u32 = 500;

/// The attempt, for one crossing.
pub struct Connected<'a>(pub &'a Arc<Attempt>);

/// Carries a reading out.
pub trait Carry: Reading {
    fn carry(&self, attempt: &Arc<Attempt>) -> impl Future<Output = Answer<Self::Reply>> + Send;

    /// The record has answered it: what has to be there all the same.
    fn recalled(&self, _: &Arc<Attempt>) {}
}

impl<O: Carry> Backend<Read<O>> for Connected<'_> {
    async fn observe(&self, question: Nothing, (): &mut ()) {
        match question {}
    }

    async fn act(&self, permitted: Permitted<Read<O>>) -> Answer<O::Reply> {
        permitted.effect().0.carry(self.0).await
    }

    fn recalled(&self, effect: &Read<O>, _: impl FnOnce() -> Option<()>, reply: &Answer<O::Reply>) {
        if reply.is_ok() {
            effect.0.recalled(self.0);
        }
    }
}

impl Carry for Get {
    async fn carry(&self, attempt: &Arc<Attempt>) -> Answer<String> {
        Ok(attempt.cluster().await?.get(&self.target).await?.to_string())
    }
}

impl Carry for List {
    async fn carry(&self, attempt: &Arc<Attempt>) -> Answer<Page> {
        let selection = kubernetes::Selection { labels: self.selection.labels.clone(), fields: self.selection.fields.clone() };
        let limit = if self.limit == 0 { PAGE } else { self.limit.min(PAGE) };
        let page = attempt.cluster().await?.list(&self.target, &selection, limit, &self.next).await?;
        let shown = page.items.into_iter().filter(|item| {
            let (namespace, name) = identity(item);
            shows(attempt, Verb::List, &self.target, &namespace, &name)
        });
        Ok(Page { items: shown.map(|item| item.to_string()).collect(), resource_version: page.resource_version, next: page.next })
    }
}

impl Carry for Watch {
    async fn carry(&self, attempt: &Arc<Attempt>) -> Answer<()> {
        attempt.room_for_more()?;
        attempt.remember_watch(self.clone()).open().await
    }
}

impl Carry for Events {
    async fn carry(&self, attempt: &Arc<Attempt>) -> Answer<Vec<Occurrence>> {
        let cluster = attempt.cluster().await?;
        let object = cluster.get(&self.target).await?;
        Ok(cluster.events(&object, OCCURRENCES).await?.into_iter().map(occurrence).collect())
    }
}

impl Carry for Status {
    async fn carry(&self, attempt: &Arc<Attempt>) -> Answer<Progress> {
        attempt.progress(&self.target).await
    }
}

impl Carry for Wait {
    async fn carry(&self, attempt: &Arc<Attempt>) -> Answer<()> {
        attempt.progress(&self.target).await.map(drop)
    }
}

impl Carry for History {
    async fn carry(&self, attempt: &Arc<Attempt>) -> Answer<Vec<Revision>> {
        attempt.revisions(&self.target).await
    }
}

impl Carry for WayBack {
    async fn carry(&self, attempt: &Arc<Attempt>) -> Answer<Back> {
        attempt.way_back(&self.target, self.revision).await
    }
}

impl Carry for Logs {
    async fn carry(&self, attempt: &Arc<Attempt>) -> Answer<()> {
        attempt.room_for_more()?;
        let opened = attempt.remember_log(self.clone()).open().await;
        if opened.is_err() {
            attempt.forget_log(self.number);
        }
        opened
    }
}

impl Carry for Forward {
    async fn carry(&self, attempt: &Arc<Attempt>) -> Answer<()> {
        attempt.room_for_more()?;
        let found = attempt.cluster().await?.get(&self.target.whole()).await;
        // who may forward may be somebody who may not look
        match found {
            Err(error) if !error.is_forbidden() => return Err(error.into()),
            _ => {}
        }
        attempt.forward(self)
    }

    fn recalled(&self, attempt: &Arc<Attempt>) {
        if let Err(fault) = attempt.forward(self) {
            attempt.setting.log.note(&fault.to_string());
        }
    }
}

impl Backend<Exec> for Connected<'_> {
    async fn observe(&self, question: Nothing, (): &mut ()) {
        match question {}
    }

    async fn act(&self, permitted: Permitted<Exec>) -> Answer<Exit> {
        self.0.exec(permitted.effect()).await
    }

    fn skipped(&self, exec: &Exec) -> Option<Answer<Exit>> {
        let program = exec.arguments.first().map_or("nothing", String::as_str);
        Some(Err(Fault::Cluster(format!("`{program}` was cut off with the runner, and was not run again"))))
    }
}
