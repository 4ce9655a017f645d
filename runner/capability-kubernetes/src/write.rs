//! Writes: looked at, tried without effect, written for the object that was looked at.

use admission::{Request, Scene, Write, conceal};
use capability::{Backend, Permitted, Recovery};
use kubernetes::{Cluster, ClusterError, Writing};
use serde_json::Value;

use crate::attempt::Attempt;
use crate::backend::Connected;
use crate::became::Became;
use crate::effect::{Answer, Change, Fault, Looking, Manner, Propagation, Sight, Stood, Written};

/// How often a write whose connection broke is sent again, once it is known that it did not happen.
const SENDS: u32 = 3;

impl<M: Manner> Backend<Change<M>> for Connected<'_> {
    async fn observe(&self, question: Looking, seen: &mut Sight) {
        seen.held = question.held;
        let mut scene = match self.0.found(&question.request.target).await {
            Ok(before) => Scene { before, ..Scene::default() },
            Err(fault) => {
                seen.fault = Some(fault);
                return;
            }
        };
        seen.fault = self.0.look(&question, &mut scene).await.err();
        seen.stood = Stood::of(scene.before.as_ref(), scene.after.as_ref());
        seen.scene = Some(scene);
    }

    async fn act(&self, permitted: Permitted<Change<M>>) -> Answer<Written> {
        let (change, seen) = permitted.into_parts();
        match seen.fault {
            Some(fault) => Err(fault),
            None => self.0.write(&change.request(), change.propagation, &seen).await,
        }
    }

    async fn recover(&self, change: &Change<M>, recorded: &Sight, fresh: &mut Sight) -> Recovery<Answer<Written>> {
        // it would have been answered with that
        if let Some(fault) = &recorded.fault {
            return Recovery::Happened(Err(fault.clone()));
        }
        let Some(scene) = &fresh.scene else { return Recovery::Unknown };
        let (now, then) = (scene.before.as_ref(), scene.after.as_ref());
        let request = change.request();
        match recorded.stood.became(&request, self.0.manager(), now, then) {
            Became::Happened => Recovery::Happened(Ok(self.0.written(&request, now.cloned().unwrap_or_default(), recorded.stood.replicas))),
            Became::Again => Recovery::Repeat,
            Became::Unknown => Recovery::Unknown,
        }
    }

    fn skipped(&self, change: &Change<M>) -> Option<Answer<Written>> {
        Some(Err(Fault::Cluster(format!("a write to {} was cut off with the runner, and was not sent again", *change.target))))
    }
}

impl Attempt {
    /// Looks at what else a decision needs, as far as there is anything to see.
    async fn look(&self, looking: &Looking, scene: &mut Scene) -> Answer<()> {
        let Looking { request, look, .. } = looking;
        let makes = matches!(request.write, Write::Create { .. } | Write::Apply { .. });
        if scene.before.is_none() && !makes {
            return Err(Fault::NotFound(format!("there is no {}", request.target)));
        }
        if scene.before.is_some() && matches!(request.write, Write::Create { .. }) {
            return Err(Fault::Conflict(format!("{} is there already", request.target)));
        }
        if look.dry_run {
            let version = version(scene.before.as_ref());
            let writing = Writing { manager: self.manager(), dry_run: true, resource_version: version };
            let tried = self.cluster().await?.write(request, writing).await;
            scene.after = Some(tried.map_err(|error| fault(error, version.is_some()))?);
        }
        for name in &look.others {
            let other = request.target.sibling(name).map_err(|error| Fault::Invalid(error.to_string()))?;
            scene.others.insert(name.clone(), self.found(&other).await?);
        }
        Ok(())
    }

    async fn write(&self, request: &Request, propagation: Option<Propagation>, seen: &Sight) -> Answer<Written> {
        let version = seen.stood.version.as_deref();
        let cluster = self.cluster().await?;
        let mut sends = 0;
        loop {
            sends += 1;
            let sent = self.send(cluster, request, propagation, seen).await;
            let lost = match sent {
                Ok(object) => return Ok(self.written(request, object, seen.stood.replicas)),
                Err(lost @ ClusterError::Lost { .. }) => lost,
                Err(error) => return Err(fault(error, version.is_some())),
            };
            self.setting.log.note(&format!("{lost}; looking what became of it"));
            let now = self.found(&request.target).await?;
            match seen.stood.became(request, self.manager(), now.as_ref(), None) {
                Became::Happened => return Ok(self.written(request, now.unwrap_or_default(), seen.stood.replicas)),
                Became::Again if sends < SENDS => {}
                // it bears a version, so what was sent before can't happen as well
                _ => return Err(lost.into()),
            }
        }
    }

    async fn send(
        &self,
        cluster: &Cluster,
        request: &Request,
        propagation: Option<Propagation>,
        seen: &Sight,
    ) -> Result<Value, ClusterError> {
        let version = seen.stood.version.as_deref();
        if !matches!(request.write, Write::Delete) {
            return cluster.write(request, Writing { manager: self.manager(), dry_run: false, resource_version: version }).await;
        }
        let propagation = match propagation {
            Some(Propagation::Foreground) => kubernetes::Propagation::Foreground,
            Some(Propagation::Orphan) => kubernetes::Propagation::Orphan,
            Some(Propagation::Background) | None => kubernetes::Propagation::Background,
        };
        // what changes all the time could never be deleted as it stood
        let version = version.filter(|_| seen.held);
        cluster.delete(&request.target, propagation, version).await.map(|()| Value::Null)
    }

    /// What the stage is told of it.
    fn written(&self, request: &Request, mut object: Value, replicas: Option<u32>) -> Written {
        if self.admission().is_none_or(|rules| rules.conceals(&request.target)) {
            conceal(&mut object);
        }
        let object = if matches!(request.write, Write::Delete) { String::new() } else { object.to_string() };
        Written { object, replicas }
    }
}

fn version(object: Option<&Value>) -> Option<&str> {
    object?.pointer("/metadata/resourceVersion")?.as_str()
}

/// A conflict with somebody who wrote meanwhile is judged again; with one who has a field, or made the object, it is not.
fn fault(error: ClusterError, versioned: bool) -> Fault {
    match &error {
        ClusterError::Said { status: 409, reason, words, .. }
            if versioned && reason == "Conflict" && !words.starts_with("Apply failed") =>
        {
            Fault::Outrun(error.to_string())
        }
        _ => Fault::from(error),
    }
}
