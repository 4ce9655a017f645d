//! Builds: what is seen of them before, and how they are carried out.
//!
//! The Dockerfile that was decided about is the one that is sent, whatever has become of the file since. Its context is read beneath a descriptor
//! (`transfer`), without what `.dockerignore` leaves out.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use capability::{Backend, Permitted, Recovery};
use docker::{BuildSpec, Login, Told};
use rustix::fs::{Mode, OFlags};
use secret::mask;
use tar::{Builder, EntryType};

use crate::backend::Starter;
use crate::beneath;
use crate::containers::{Attempt, stream, text};
use crate::dockerfile::{self, cache};
use crate::effect::{Answer, Bases, Build, BuildLook, Built, Fault, Missing, Scene};
use crate::ignore::Ignore;
use crate::places::Place;
use crate::policy::build::dockerfile_of;
use crate::reference::Reference;
use crate::transfer::{self, Ids};

/// A Dockerfile that is larger is none.
const LARGEST: u64 = 256 << 10;

impl Starter<'_> {
    async fn see(&self, question: BuildLook, scene: &mut Scene) {
        match question {
            BuildLook::Dockerfile(place) => {
                let text = read_text(self.attempt, &place);
                scene.dockerfile = Some(text.map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => format!("there is no `{place}`"),
                    _ => format!("`{place}` can't be read: {error}"),
                }));
            }
            BuildLook::Engine(bases) => scene.engine = Some(self.bases(&bases).await),
        }
    }

    async fn bases(&self, bases: &[Reference]) -> Answer<Bases> {
        let engine = self.attempt.engine().await?;
        let about = engine.about().await?;
        let major = about.version.split('.').next().and_then(|major| major.parse::<u32>().ok()).unwrap_or_default();
        let mut seen = Bases { on_build: Vec::new(), buildkit: about.buildkit, documents: major >= 23 };
        for base in bases {
            seen.on_build.push(engine.image(&base.to_string()).await?.map(|image| image.on_build));
        }
        Ok(seen)
    }

    async fn build(&self, build: &Build, scene: Scene, began: Instant) -> Answer<Built> {
        let attempt = self.attempt;
        let engine = attempt.engine().await?;
        let text = scene.dockerfile.and_then(Result::ok).ok_or_else(|| Fault::Invalid("the build has no Dockerfile".to_owned()))?;
        let bases = scene.engine.unwrap_or_else(|| Ok(Bases::default()))?;
        let (context, path) = dockerfile_of(build).ok_or_else(|| Fault::Invalid(build.context.clone()))?;
        let text = if bases.buildkit { cache::own(&text, &attempt.setting.pipeline).map_err(Fault::Invalid)? } else { text };
        let names = build.tags.iter().chain(&build.cache_to).map(|tag| parsed(tag)).collect::<Answer<Vec<_>>>()?;
        let cache_from = build.cache_from.iter().map(|tag| parsed(tag)).collect::<Answer<Vec<_>>>()?;
        let mut labels: std::collections::HashMap<String, String> = build.labels.iter().cloned().collect();
        if names.is_empty() {
            // nobody can ask for it again: it goes with the attempt
            labels.extend(attempt.owner().labels());
        }
        let mut args = build.build_args.clone();
        if bases.buildkit && !build.cache_to.is_empty() {
            args.push(("BUILDKIT_INLINE_CACHE".to_owned(), "1".to_owned()));
        }
        let logins = attempt.logins()?;
        for reference in cache_from.iter().filter(|_| !bases.buildkit) {
            // the classic builder takes layers of images that are there; a cache that is not is only not used
            let login = attempt.login(reference)?;
            if let Err(error) = engine.pull(&reference.to_string(), None, login.as_ref(), &|_| {}).await {
                attempt.setting.log.note(&format!("no cached layers from {}: {error}", reference.familiar()));
            }
        }
        let spec = BuildSpec {
            dockerfile: path.clone(),
            tag: names.first().map(Reference::to_string),
            args,
            target: build.target.clone(),
            labels,
            platform: build.platform.clone(),
            network: build.network,
            cache_from: cache_from.iter().map(Reference::to_string).collect(),
            no_cache: build.no_cache,
            buildkit: bases.buildkit,
        };
        let tar = archive(attempt, &context, &path, text)?;
        let log = Log { attempt, masked: Mutex::default() };
        let built = engine.build(&spec, tar, &logins, &|told| log.tell(told)).await;
        log.end();
        let built = built?;
        for name in names.iter().skip(1) {
            engine.tag(&built.id, &name.to_string()).await?;
        }
        for cache in &build.cache_to {
            let reference = parsed(cache)?;
            attempt.setting.log.note(&format!("keeping layers at {}", reference.familiar()));
            engine.push(&reference.to_string(), attempt.login(&reference)?.as_ref(), &|_| {}).await?;
        }
        let size = engine.image(&built.id).await?.map(|image| image.size).unwrap_or_default();
        let docker::Built { id, steps, cached } = built;
        Ok(Built { id, size, duration: began.elapsed(), cached, steps, buildkit: bases.buildkit })
    }
}

fn parsed(text: &str) -> Answer<Reference> {
    Reference::parse(text).map_err(|mistake| Fault::Invalid(mistake.to_string()))
}

/// A file of the stage, as text.
fn read_text(attempt: &Attempt, place: &Place) -> io::Result<String> {
    let root = beneath::root(&attempt.setting, place.root)?;
    let file = File::from(beneath::open(&root, &place.path, OFlags::RDONLY, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut text = String::new();
    file.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST { Err(io::Error::other(format!("it is larger than {LARGEST} bytes"))) } else { Ok(text) }
}

/// The context, with the Dockerfile that was read in the place of the one that is there.
fn archive(
    attempt: &Attempt,
    context: &Place,
    dockerfile: &str,
    text: String,
) -> Answer<impl futures::Stream<Item = io::Result<bytes::Bytes>> + Send + 'static + use<>> {
    let own = format!("{dockerfile}.dockerignore");
    let ignore = [own.as_str(), ".dockerignore"].into_iter().find_map(|name| read_text(attempt, &context.join(name)).ok());
    let ignore = ignore.as_deref().map(Ignore::read).unwrap_or_default();
    let broken = |error: io::Error| Fault::Engine(format!("{context}: {error}"));
    let root = beneath::root(&attempt.setting, context.root).map_err(broken)?;
    let folder = beneath::open(&root, &context.path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty());
    let folder = folder.map_err(|error| broken(error.into()))?;
    let hidden = transfer::hidden_below(&attempt.setting, context);
    let (path, limit) = (dockerfile.to_owned(), attempt.setting.limits.disk);
    Ok(transfer::archive(move |to| {
        let ids = Ids { uid: 0, gid: 0 };
        let mut bounded = transfer::Bounded { to, left: limit };
        let to: &mut dyn io::Write = &mut bounded;
        let mut builder = Builder::new(to);
        let leaves_out = |entry: &Path| {
            let text = entry.to_string_lossy();
            text == path || hidden(entry) || (ignore.leaves_out(&text) && !ignore.takes_back())
        };
        // where something may be taken back, folders are looked through and what is left out is left out one by one
        let kept = |entry: &Path| !ignore.leaves_out(&entry.to_string_lossy());
        transfer::add(&mut builder, folder, Path::new(""), &leaves_out, &kept, ids)?;
        let mut header = transfer::header(EntryType::Regular, text.len() as u64, 0o644, 0, ids);
        builder.append_data(&mut header, &path, text.as_bytes())?;
        builder.into_inner()?.flush()
    }))
}

/// What a build tells, in the stage's log.
struct Log<'a> {
    attempt: &'a Attempt,
    masked: Mutex<mask::Stream>,
}

impl Log<'_> {
    fn tell(&self, told: Told) {
        let bytes = match told {
            Told::Step(name) => format!("{name}\n").into_bytes(),
            Told::Printed(bytes) => bytes.to_vec(),
        };
        let setting = &self.attempt.setting;
        let mut masked = self.masked.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // a log that is full ends the stage by itself
        let _ = setting.log.write(stream(0), &masked.push(setting.secrets.mask(), &bytes));
    }

    fn end(&self) {
        let setting = &self.attempt.setting;
        let rest = std::mem::take(&mut *self.masked.lock().unwrap_or_else(std::sync::PoisonError::into_inner)).finish();
        let _ = setting.log.write(stream(0), &rest);
        setting.log.flush(Some(stream(0)));
    }
}

impl Attempt {
    /// All logins of the grant, by their registries.
    fn logins(&self) -> Answer<Vec<(String, Login<'_>)>> {
        let known = self.grant().into_iter().flat_map(|grant| &grant.logins);
        let logins = known.map(|login| {
            let password = self.setting.secrets.value(&login.secret);
            let password = password.ok_or_else(|| Fault::Registry(format!("the secret `{}` was not fetched", login.secret)))?;
            Ok((login.registry.clone(), Login { user: &login.user, password: text(&login.secret, password)? }))
        });
        logins.collect()
    }
}

impl Backend<Missing> for Starter<'_> {
    async fn observe(&self, question: BuildLook, scene: &mut Scene) {
        self.see(question, scene).await;
    }

    async fn act(&self, permitted: Permitted<Missing>) -> Answer<Vec<String>> {
        let (Missing(build), scene) = permitted.into_parts();
        let text = scene.dockerfile.and_then(Result::ok).ok_or_else(|| Fault::Invalid("the build has no Dockerfile".to_owned()))?;
        let read = dockerfile::read(&text, &build.build_args).map_err(|trouble| Fault::Invalid(trouble.why))?;
        let seen = scene.engine.unwrap_or_else(|| Ok(Bases::default()))?;
        let missing = read.bases.iter().zip(&seen.on_build).filter(|(_, found)| build.pull || found.is_none());
        Ok(missing.map(|(base, _)| base.to_string()).collect())
    }
}

impl Backend<Build> for Starter<'_> {
    async fn observe(&self, question: BuildLook, scene: &mut Scene) {
        self.see(question, scene).await;
    }

    async fn recover(&self, _: &Build, recorded: &Scene, fresh: &mut Scene) -> Recovery<Answer<Built>> {
        // another Dockerfile is another build
        if recorded.dockerfile == fresh.dockerfile { Recovery::Repeat } else { Recovery::Unknown }
    }

    async fn act(&self, permitted: Permitted<Build>) -> Answer<Built> {
        let (build, scene) = permitted.into_parts();
        let building = self.build(&build, scene, Instant::now());
        let limit = build.timeout.unwrap_or(Duration::MAX);
        let over = || Fault::Limit(format!("the build took longer than {limit:.0?}"));
        tokio::time::timeout(limit, building).await.unwrap_or_else(|_| Err(over()))
    }
}
