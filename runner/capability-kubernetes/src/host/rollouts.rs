//! `runner:kubernetes/rollouts`.

use admission::{PatchKind, Target, Write};
use bytes::Bytes;
use capability::{Ask, StageState};
use serde_json::json;

use super::bindings::runner::kubernetes::rollouts as wit;
use super::bindings::runner::kubernetes::types::Target as WitTarget;
use super::{AGAIN, Call, Reply, Tried, lifted, lower_fault};
use crate::effect::{self, Answer, History, Progress, Revision, State, Status, Wait, WayBack};
use crate::place::Place;

impl wit::Host for StageState {
    async fn status(&mut self, target: WitTarget) -> Reply<wit::Progress> {
        let call = Call::of(self);
        let target = lifted!(call.one(&target));
        Ok(call.read(Status { target }).await?.map(lower_progress))
    }

    async fn wait(&mut self, target: WitTarget, timeout: u64) -> Reply<wit::Progress> {
        let call = Call::of(self);
        let target = lifted!(call.one(&target));
        lifted!(call.read(Wait { target: target.clone() }).await?);
        let Call { attempt, boundary } = call;
        let deadline = boundary.deadline(timeout);
        let ask = Ask::new("kubernetes.settled", &(&target, timeout))?.of(Target::to_string(&target)).waits(deadline.until);
        let look = async {
            let settled = match boundary.before(deadline, attempt.settled(&target)).await {
                Some(settled) => settled,
                None => attempt.progress(&target).await,
            };
            Ok((settled, Bytes::new()))
        };
        let (settled, _): (Answer<Progress>, _) = boundary.deliver(&ask, look).await?;
        Ok(settled.map(lower_progress).map_err(lower_fault))
    }

    async fn history(&mut self, target: WitTarget) -> Reply<Vec<wit::Revision>> {
        let call = Call::of(self);
        let target = lifted!(call.one(&target));
        Ok(call.read(History { target }).await?.map(|all| all.into_iter().map(lower_revision).collect()))
    }

    async fn undo(&mut self, target: WitTarget, revision: u64) -> Reply<u64> {
        let call = Call::of(self);
        let target = lifted!(call.one(&target));
        let mut tries = 0;
        loop {
            tries += 1;
            // places in a list may be others by now: the way back is looked for each time
            let back = lifted!(call.read(WayBack { target: target.clone(), revision }).await?);
            let write = Write::Patch { kind: PatchKind::Json, patch: back.patch };
            match call.try_write::<effect::Undo>(target.clone(), write, None).await? {
                Tried::Outrun(_) if tries <= AGAIN => {}
                tried => return Ok(tried.last().map(|_| back.revision)),
            }
        }
    }

    async fn restart(&mut self, target: WitTarget) -> Reply<()> {
        let call = Call::of(self);
        let target = lifted!(call.one(&target));
        // the stage's time, which is the same when it is run again on its record
        let now = jiff::Timestamp::from_nanosecond(i128::from(call.boundary.clock().wall())).unwrap_or_default();
        let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let patch = json!({ "spec": { "template": { "metadata": { "annotations": { "kubectl.kubernetes.io/restartedAt": now } } } } });
        merge::<effect::Restart>(&call, target, patch).await
    }

    async fn pause(&mut self, target: WitTarget, paused: bool) -> Reply<()> {
        let call = Call::of(self);
        let target = lifted!(call.one(&target));
        merge::<effect::Pause>(&call, target, json!({ "spec": { "paused": paused } })).await
    }
}

async fn merge<M: effect::Manner>(call: &Call, target: Place, patch: serde_json::Value) -> Reply<()> {
    let write = Write::Patch { kind: PatchKind::Merge, patch };
    Ok(call.write::<M>(target, write, None).await?.map(drop))
}

fn lower_progress(progress: Progress) -> wit::Progress {
    wit::Progress {
        state: match progress.state {
            State::Progressing => wit::State::Progressing,
            State::Complete => wit::State::Complete,
            State::Stalled => wit::State::Stalled,
            State::Paused => wit::State::Paused,
        },
        observed: progress.observed,
        desired: progress.desired,
        updated: progress.updated,
        ready: progress.ready,
        available: progress.available,
        old: progress.old,
        message: progress.message,
    }
}

fn lower_revision(revision: Revision) -> wit::Revision {
    wit::Revision {
        number: revision.number,
        cause: revision.cause,
        images: revision.images,
        created: revision.created,
        current: revision.current,
        template: revision.template,
    }
}
