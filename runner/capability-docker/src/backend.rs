//! The effects, carried out. What they need of the engine is in `containers` and `transfer`.

use std::sync::Arc;
use std::time::Duration;

use capability::{Backend, Boundary, Nothing, Permitted, Recovery};

use crate::beneath;
use crate::containers::Attempt;
use crate::effect::{
    Answer, Copy, Exec, Exit, Fault, Image, ImageOperation, Inspect, List, Look, OnImages, Pull, PullBase, Push, Pushed, Remove, Run, Save,
    Sights, Standing, State, Tag, Way,
};
use crate::reference::Reference;
use crate::transfer;

/// How long an image waits for a container of it that the stage has dropped.
const PATIENCE: Duration = Duration::from_secs(5);

/// The attempt, for one crossing.
pub struct Starter<'a> {
    pub attempt: &'a Arc<Attempt>,
    pub boundary: &'a Boundary,
}

impl Starter<'_> {
    fn look(&self, Look(places): Look, seen: &mut Sights) {
        seen.0 = Some(places.iter().map(|place| beneath::sight(&self.attempt.setting, place)).collect());
    }
}

impl Backend<Run> for Starter<'_> {
    async fn observe(&self, question: Look, seen: &mut Sights) {
        self.look(question, seen);
    }

    async fn act(&self, permitted: Permitted<Run>) -> Answer<()> {
        self.attempt.start(permitted.effect(), self.boundary).await
    }

    /// A container has its label from its first moment on: what is found was started. What is not may have been swept.
    async fn recover(&self, run: &Run, _: &Sights, _: &mut Sights) -> Recovery<Answer<()>> {
        if run.name.is_some() {
            self.attempt.take_away(run).await;
            return Recovery::Repeat;
        }
        if self.attempt.take_up(run, self.boundary).await { Recovery::Happened(Ok(())) } else { Recovery::Unknown }
    }

    fn skipped(&self, run: &Run) -> Option<Answer<()>> {
        Some(Err(Fault::Engine(format!("a container of `{}` was cut off with the runner, and was not started again", run.image))))
    }
}

impl Backend<Exec> for Starter<'_> {
    async fn observe(&self, question: Nothing, (): &mut ()) {
        match question {}
    }

    async fn act(&self, permitted: Permitted<Exec>) -> Answer<Exit> {
        let (exec, ()) = permitted.into_parts();
        let live = self.attempt.reachable(exec.container, self.boundary).await?;
        self.attempt.exec(&live, &exec).await
    }

    fn skipped(&self, exec: &Exec) -> Option<Answer<Exit>> {
        let program = exec.arguments.first().map_or("nothing", String::as_str);
        Some(Err(Fault::Engine(format!("`{program}` was cut off with the runner, and was not run again"))))
    }
}

impl Backend<State> for Starter<'_> {
    async fn observe(&self, question: Nothing, (): &mut ()) {
        match question {}
    }

    async fn act(&self, permitted: Permitted<State>) -> Answer<Standing> {
        let live = self.attempt.reachable(permitted.effect().container, self.boundary).await?;
        let state = live.container.inspect().await?;
        let nanos = |time: Option<jiff::Timestamp>| time.and_then(|time| u64::try_from(time.as_nanosecond()).ok());
        let (started, ended) = (nanos(state.started), nanos(state.ended).filter(|_| !state.running));
        Ok(Standing { running: state.running, id: state.id, image: state.image, started, ended })
    }
}

impl Backend<Copy> for Starter<'_> {
    async fn observe(&self, question: Look, seen: &mut Sights) {
        self.look(question, seen);
    }

    async fn act(&self, permitted: Permitted<Copy>) -> Answer<()> {
        let (copy, _) = permitted.into_parts();
        let live = self.attempt.reachable(copy.container, self.boundary).await?;
        match copy.way {
            Way::In => transfer::copy_in(&self.attempt.setting, &live.container, &copy.here, &copy.there).await,
            Way::Out => transfer::copy_out(&self.attempt.setting, &live.container, &copy.there, &copy.here).await,
        }
    }
}

fn reference(text: &str) -> Answer<Reference> {
    Reference::parse(text).map_err(|mistake| Fault::Invalid(mistake.to_string()))
}

/// Carries an operation on images out.
pub trait Carry: ImageOperation {
    fn carry(&self, starter: &Starter<'_>) -> impl Future<Output = Answer<Self::Reply>> + Send;

    /// The reply of one that was cut off, if the engine shows that it happened and asking again would be a mistake.
    fn happened(&self, _: &Starter<'_>) -> impl Future<Output = Option<Self::Reply>> + Send {
        async { None }
    }
}

impl<O: Carry> Backend<OnImages<O>> for Starter<'_> {
    async fn observe(&self, question: Look, seen: &mut Sights) {
        self.look(question, seen);
    }

    async fn act(&self, permitted: Permitted<OnImages<O>>) -> Answer<O::Reply> {
        permitted.effect().0.carry(self).await
    }

    async fn recover(&self, effect: &OnImages<O>, _: &Sights, _: &mut Sights) -> Recovery<Answer<O::Reply>> {
        effect.0.happened(self).await.map_or(Recovery::Repeat, |reply| Recovery::Happened(Ok(reply)))
    }
}

impl Carry for Inspect {
    async fn carry(&self, starter: &Starter<'_>) -> Answer<Image> {
        let reference = reference(&self.reference)?;
        let found = starter.attempt.engine().await?.image(&reference.to_string()).await?;
        found.map(Image::from).ok_or_else(|| Fault::NotFound(format!("the engine has no image `{}`", reference.familiar())))
    }
}

impl Carry for List {
    async fn carry(&self, starter: &Starter<'_>) -> Answer<Vec<Image>> {
        let shown = |name: &String| {
            let reference = Reference::parse(name).ok();
            reference.zip(starter.attempt.grant()).is_some_and(|(reference, grant)| grant.shows(&reference))
        };
        let all = starter.attempt.engine().await?.images().await?;
        let named = all.into_iter().map(Image::from).map(|mut image| {
            // other names of the same image are nothing to the stage
            image.tags.retain(shown);
            image.digests.retain(shown);
            image
        });
        Ok(named.filter(|image| !image.tags.is_empty() || !image.digests.is_empty()).collect())
    }
}

async fn pull(starter: &Starter<'_>, text: &str) -> Answer<Image> {
    let (attempt, reference) = (starter.attempt, reference(text)?);
    attempt.setting.log.note(&format!("pulling {}", reference.familiar()));
    let login = attempt.login(&reference)?;
    let pulled = attempt.engine().await?.pull(&reference.to_string(), None, login.as_ref(), &|_| {}).await?;
    Ok(pulled.into())
}

impl Carry for Pull {
    async fn carry(&self, starter: &Starter<'_>) -> Answer<Image> {
        pull(starter, &self.reference).await
    }
}

impl Carry for PullBase {
    async fn carry(&self, starter: &Starter<'_>) -> Answer<Image> {
        pull(starter, &self.reference).await
    }
}

impl Carry for Push {
    async fn carry(&self, starter: &Starter<'_>) -> Answer<Pushed> {
        let (attempt, reference) = (starter.attempt, reference(&self.reference)?);
        attempt.setting.log.note(&format!("pushing {}", reference.familiar()));
        let login = attempt.login(&reference)?;
        let docker::Pushed { digest, size } = attempt.engine().await?.push(&reference.to_string(), login.as_ref(), &|_| {}).await?;
        Ok(Pushed { digest, size })
    }
}

impl Carry for Tag {
    async fn carry(&self, starter: &Starter<'_>) -> Answer<()> {
        let (source, target) = (reference(&self.source)?, reference(&self.target)?);
        Ok(starter.attempt.engine().await?.tag(&source.to_string(), &target.to_string()).await?)
    }
}

impl Carry for Remove {
    async fn carry(&self, starter: &Starter<'_>) -> Answer<()> {
        let reference = reference(&self.reference)?;
        let (engine, name) = (starter.attempt.engine().await?, reference.to_string());
        match engine.remove_image(&name).await {
            Err(error) if error.is_conflict() => {
                // what uses it may be on its way out
                let _ = tokio::time::timeout(PATIENCE, starter.attempt.removals()).await;
                Ok(engine.remove_image(&name).await?)
            }
            removed => Ok(removed?),
        }
    }

    async fn happened(&self, starter: &Starter<'_>) -> Option<()> {
        let reference = reference(&self.reference).ok()?;
        let found = starter.attempt.engine().await.ok()?.image(&reference.to_string()).await.ok()?;
        found.is_none().then_some(())
    }
}

impl Carry for Save {
    async fn carry(&self, starter: &Starter<'_>) -> Answer<u64> {
        let names = self.references.iter().map(|text| Ok(reference(text)?.to_string())).collect::<Answer<Vec<_>>>()?;
        if names.is_empty() {
            return Err(Fault::Invalid("no image is named to be saved".to_owned()));
        }
        transfer::save(&starter.attempt.setting, starter.attempt.engine().await?, &names, &self.path).await
    }
}
