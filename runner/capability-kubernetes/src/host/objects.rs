//! `runner:kubernetes/objects`.

use admission::{PatchKind, Subresource, Write};
use bytes::Bytes;
use capability::{Ask, StageState};
use wasmtime::Result;
use wasmtime::component::Resource;

use super::bindings::runner::kubernetes::objects as wit;
use super::bindings::runner::kubernetes::types::{Error, Target as WitTarget};
use super::{Call, Reply, lift_json, lifted, lower_fault};
use crate::effect::{self, Answer, Events, Get, List, Propagation, Selection, Watch};
use crate::place::Place;
use crate::watches::{Kind, Told, Waited};
use crate::{Room, WatchHandle};

impl Call {
    fn many(&self, selection: &wit::Selection) -> std::result::Result<(Place, Selection), Error> {
        let target = Place::all(self.kind(&selection.kind)?, selection.namespace.as_deref(), self.attempt.namespace());
        let target = target.map_err(|mistake| Error::Invalid(mistake.to_string()))?;
        Ok((target, Selection { labels: selection.labels.clone(), fields: selection.fields.clone() }))
    }
}

impl wit::Host for StageState {
    async fn get(&mut self, target: WitTarget) -> Reply<String> {
        let call = Call::of(self);
        let target = lifted!(call.one(&target));
        call.read(Get { target }).await
    }

    async fn list(&mut self, selection: wit::Selection, limit: u32, next: String) -> Reply<wit::Page> {
        let call = Call::of(self);
        let (target, selection) = lifted!(call.many(&selection));
        let page = call.read(List { target, selection, limit, next }).await?;
        Ok(page.map(|page| wit::Page { items: page.items, resource_version: page.resource_version, continue_: page.next }))
    }

    async fn watch_all(&mut self, selection: wit::Selection) -> Reply<Resource<WatchHandle>> {
        let call = Call::of(self);
        let (target, selection) = lifted!(call.many(&selection));
        let watch = Watch { number: call.attempt.number(), target, selection };
        lifted!(call.read(watch.clone()).await?);
        let number = watch.number;
        call.attempt.remember_watch(watch);
        Ok(Ok(self.table.push(WatchHandle(number))?))
    }

    async fn wait_any(&mut self, watches: Vec<Resource<WatchHandle>>, timeout: u64) -> Result<Option<u32>> {
        let numbers = watches.iter().map(|handle| Ok(self.table.get(handle)?.0)).collect::<Result<Vec<u32>>>()?;
        if numbers.is_empty() {
            return Ok(None);
        }
        let Call { attempt, boundary } = Call::of(self);
        let find = async { Ok(numbers.iter().filter_map(|number| attempt.watch(*number)).map(Waited).collect()) };
        Ok(boundary.wait_any("kubernetes.wait-any", &numbers, timeout, find).await?)
    }

    async fn create(&mut self, target: WitTarget, object: String) -> Reply<String> {
        let call = Call::of(self);
        let (target, object) = (lifted!(call.one(&target)), lifted!(lift_json(&object)));
        Ok(call.write::<effect::Create>(target, Write::Create { object }, None).await?.map(|written| written.object))
    }

    async fn apply(&mut self, target: WitTarget, object: String, options: wit::ApplyOptions) -> Reply<String> {
        let call = Call::of(self);
        let (target, object) = (lifted!(call.one(&target)), lifted!(lift_json(&object)));
        let write = Write::Apply { object, force: options.force };
        Ok(call.write::<effect::Apply>(target, write, None).await?.map(|written| written.object))
    }

    async fn patch(&mut self, target: WitTarget, kind: wit::PatchKind, patch: String) -> Reply<String> {
        let call = Call::of(self);
        let (target, patch) = (lifted!(call.one(&target)), lifted!(lift_json(&patch)));
        let kind = match kind {
            wit::PatchKind::Merge => PatchKind::Merge,
            wit::PatchKind::Strategic => PatchKind::Strategic,
            wit::PatchKind::Json => PatchKind::Json,
        };
        Ok(call.write::<effect::Patch>(target, Write::Patch { kind, patch }, None).await?.map(|written| written.object))
    }

    async fn scale(&mut self, target: WitTarget, replicas: u32) -> Reply<u32> {
        let call = Call::of(self);
        let target = lifted!(call.one(&target));
        let target = lifted!(target.part(Subresource::Scale).map_err(|mistake| Error::Invalid(mistake.to_string())));
        let written = call.write::<effect::Scale>(target, Write::Scale { replicas }, None).await?;
        Ok(written.map(|written| written.replicas.unwrap_or_default()))
    }

    async fn delete(&mut self, target: WitTarget, propagation: wit::Propagation) -> Reply<()> {
        let call = Call::of(self);
        let target = lifted!(call.one(&target));
        let propagation = match propagation {
            wit::Propagation::Background => Propagation::Background,
            wit::Propagation::Foreground => Propagation::Foreground,
            wit::Propagation::Orphan => Propagation::Orphan,
        };
        Ok(call.write::<effect::Delete>(target, Write::Delete, Some(propagation)).await?.map(drop))
    }

    async fn events(&mut self, target: WitTarget) -> Reply<Vec<wit::Occurrence>> {
        let call = Call::of(self);
        let target = lifted!(call.one(&target));
        let lower = |one: effect::Occurrence| wit::Occurrence {
            severity: one.severity,
            reason: one.reason,
            message: one.message,
            count: one.count,
            first: one.first,
            last: one.last,
            source: one.source,
        };
        Ok(call.read(Events { target }).await?.map(|all| all.into_iter().map(lower).collect()))
    }
}

impl wit::HostWatch for StageState {
    async fn next(&mut self, handle: Resource<WatchHandle>, timeout: u64) -> Reply<Option<wit::Event>> {
        let number = self.table.get(&handle)?.0;
        let Call { attempt, boundary } = Call::of(self);
        let Some(watch) = attempt.watch(number) else {
            return Ok(Err(Error::NotFound(format!("watch {number} is closed"))));
        };
        let deadline = boundary.deadline(timeout);
        let ask = Ask::new("kubernetes.event", &(number, timeout))?.waits(deadline.until);
        let replays = boundary.replays();
        let look = async { Ok((boundary.before(deadline, watch.next()).await, Bytes::new())) };
        let (came, _): (Option<Answer<Told>>, _) = boundary.deliver(&ask, look).await?;
        match came {
            None => Ok(Ok(None)),
            Some(Err(fault)) => Ok(Err(lower_fault(fault))),
            Some(Ok(told)) => {
                if replays {
                    watch.recalled(&told);
                }
                Ok(Ok(Some(lower_event(told))))
            }
        }
    }

    fn drop(&mut self, handle: Resource<WatchHandle>) -> Result<()> {
        let WatchHandle(number) = self.table.delete(handle)?;
        self.room::<Room>().attempt.forget_watch(number);
        Ok(())
    }
}

fn lower_event(told: Told) -> wit::Event {
    let change = match told.change {
        Kind::Added => wit::Change::Added,
        Kind::Modified => wit::Change::Modified,
        Kind::Deleted => wit::Change::Deleted,
        Kind::Synced => wit::Change::Synced,
    };
    wit::Event { change, namespace: told.namespace, name: told.name, object: told.object }
}
