//! The order of things: names, the image, its way to a registry, and what is attached to it there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use jiff::Timestamp;
use runner_sdk::log::Level;
use runner_sdk::{Failure, docker, files};

use crate::about;
use crate::attach::{self, Document};
use crate::base::{self, Layout, Remote};
use crate::blob::Descriptor;
use crate::engine;
use crate::image::{assemble, index};
use crate::layer::{Layer, pack};
use crate::publish::{self, Whole, bytes};
use crate::reference::{Reference, Repository};
use crate::registry::{Client, Error, Manifest};
use crate::sbom;
use crate::settings::{Base, Platform, Settings};
use crate::tags::{self, About};
use crate::world::{Patience, World};

/// What the stage has to say when all went well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub outputs: Vec<(&'static str, String)>,
    pub summary: String,
}

/// What everything is done with.
pub struct Work<'a> {
    pub world: &'a mut dyn World,
    pub settings: &'a Settings,
    pub about: &'a About,
    /// `SOURCE_DATE_EPOCH`, if the stage's `env` has it.
    pub epoch: Option<&'a str>,
    pub scratch: &'a Path,
}

/// An image under its names.
struct Image {
    names: Vec<Reference>,
    /// Of what the names point at; of an image that only the engine has, its id.
    digest: String,
    size: u64,
    pushed: bool,
    /// What the summary has to say of it.
    notes: Vec<String>,
}

impl Work<'_> {
    /// Does what the settings say.
    ///
    /// # Errors
    /// What went wrong, and what to mend.
    pub fn run(mut self) -> Result<Told, Failure> {
        self.settings.check().map_err(Failure::Misconfigured)?;
        if let Some(existing) = &self.settings.existing {
            return self.describe(existing);
        }
        let named = tags::expand(&self.settings.tags, self.about).map_err(Failure::Misconfigured)?;
        named.left_out.iter().for_each(|left_out| self.world.say(Level::Info, &format!("left out: {left_out}")));
        // what can't be attached is told before anything is built
        let sbom = self.settings.sbom.as_deref().map(sbom::read).transpose()?;
        let default = if self.settings.is_assembled() { Timestamp::UNIX_EPOCH } else { self.about.started };
        let created = about::created(self.settings, self.epoch, default).map_err(Failure::Misconfigured)?;
        let annotations = about::annotations(self.settings, self.about, &named.references[0].repository, &created.to_string());

        let image = if self.settings.is_assembled() {
            self.of_files(&named.references, &annotations, created)?
        } else {
            self.of_dockerfile(&named.references, &annotations)?
        };
        let mut notes = image.notes.clone();
        if image.pushed {
            notes.extend(self.attach(&image, sbom, &created.to_string())?);
        }
        Ok(told(&image, &notes))
    }

    /// Attaches to an image that is there: what came between its making and this may have kept it from being signed.
    fn describe(mut self, existing: &str) -> Result<Told, Failure> {
        let name = Reference::parse(existing).map_err(|why| Failure::misconfigured(format_args!("existing: {why}")))?;
        let sbom = self.settings.sbom.as_deref().map(sbom::read).transpose()?;
        let created = about::created(self.settings, self.epoch, self.about.started).map_err(Failure::Misconfigured)?;
        let found = self.client().manifest(&name.repository, name.wanted())?;
        let Some(Manifest { descriptor, .. }) = found else {
            return Err(Failure::misconfigured(format_args!("existing: there is no {name} in its registry")));
        };
        let image = Image { names: vec![name], digest: descriptor.digest, size: descriptor.size, pushed: true, notes: Vec::new() };
        let done = self.attach(&image, sbom, &created.to_string())?;
        let told = told(&image, &[]);
        let summary = format!("{}@{}: {}", image.names[0].repository, image.digest, done.join(", "));
        Ok(Told { summary, outputs: told.outputs.into_iter().filter(|(name, _)| matches!(*name, "ref" | "digest")).collect() })
    }

    fn patience(&self) -> Patience {
        Patience { retries: self.settings.push_retries, delay: self.settings.push_delay.0 }
    }

    fn client(&mut self) -> Client<'_> {
        let patience = self.patience();
        Client::new(&mut *self.world, &self.settings.login, patience, self.scratch.to_owned())
    }

    fn of_files(&mut self, names: &[Reference], annotations: &BTreeMap<String, String>, created: Timestamp) -> Result<Image, Failure> {
        let settings = self.settings;
        let platforms = if settings.platforms.is_empty() { vec![Platform::usual()] } else { settings.platforms.clone() };
        let time = u64::try_from(created.as_second()).unwrap_or(0);
        let mut layers: Vec<(Option<&Platform>, Layer)> = Vec::with_capacity(settings.from_files.len());
        for (number, entry) in settings.from_files.iter().enumerate() {
            layers.push((entry.platform.as_ref(), pack(entry, time, self.scratch.join(format!("layer-{number}")))?));
        }
        let mut images = Vec::with_capacity(platforms.len());
        for platform in &platforms {
            let base = self.base(platform)?;
            let own = layers.iter().filter(|(only, _)| only.is_none_or(|only| only == platform));
            let own: Vec<Layer> = own.map(|(_, layer)| layer.clone()).collect();
            images.push(assemble(settings, platform, base.as_ref(), &own, annotations, &created.to_string()));
        }
        let whole = Whole::of(images, annotations);
        let mut image = Image {
            names: names.to_vec(),
            digest: whole.top.descriptor.digest.clone(),
            size: whole.size(),
            pushed: settings.push,
            notes: Vec::new(),
        };
        if let Some(path) = &settings.archive {
            let place = files::resolve(path);
            let file = File::create(&place).map_err(|source| files::Error { operation: "write", path: place, source })?;
            publish::archive(&mut self.client(), &whole, names, BufWriter::new(file))?;
            image.notes.push(format!("written to {path}"));
        }
        if settings.push {
            for (repository, names) in grouped(names) {
                let pushed = publish::push(&mut self.client(), &whole, &repository, &names);
                match pushed {
                    Ok(()) => {}
                    Err(Error::Passing { why, .. }) if settings.fallback_registry.is_some() => {
                        let moved = self.moved(&repository, &why, &mut image);
                        let names: Vec<&Reference> = moved.iter().collect();
                        publish::push(&mut self.client(), &whole, &moved[0].repository, &names)?;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(image)
    }

    fn base(&mut self, platform: &Platform) -> Result<Option<base::BaseImage>, Failure> {
        match &self.settings.base {
            None => Ok(None),
            Some(Base::Layout(path)) => base::find(&mut Layout::open(path)?, platform).map(Some),
            Some(Base::Image(text)) => {
                let reference = Reference::parse(text).map_err(|why| Failure::misconfigured(format_args!("base: {why}")))?;
                let mut client = self.client();
                let mut found = base::find(&mut Remote { client: &mut client, reference: reference.clone() }, platform)?;
                found.name = Some(reference.to_string());
                Ok(Some(found))
            }
        }
    }

    fn of_dockerfile(&mut self, names: &[Reference], annotations: &BTreeMap<String, String>) -> Result<Image, Failure> {
        let settings = self.settings;
        let made = engine::build(self.world, settings, names, annotations)?;
        let mut image = Image { names: names.to_vec(), digest: String::new(), size: 0, pushed: settings.push, notes: Vec::new() };
        for one in &made.images {
            let platform = one.platform.as_ref().map_or_else(String::new, |platform| format!(" for {platform}"));
            let cached = format!("{} of {} steps cached", one.built.cached, one.built.steps);
            self.world.say(Level::Info, &format!("built {}{platform}: {}, {cached}", one.built.id, bytes(one.built.size)));
            image.size += one.built.size;
        }
        if let Some((platform, why)) = made.given_up.first() {
            image.notes.push(format!("for {} ALONE, since {platform} can't be built: {why}", engine::list(&settings.fallback)));
        }
        // what is left of several has the names of one
        if let [one] = &made.images[..]
            && one.names != names
        {
            for name in names {
                self.world.tag(&one.names[0].to_string(), &name.to_string())?;
            }
        }
        if let Some(path) = &settings.archive {
            let size = self.world.save(&names[0].to_string(), &files::resolve(path).display().to_string())?;
            image.notes.push(format!("written to {path} ({})", bytes(size)));
        }
        image.digest = made.images.first().map(|one| one.built.id.clone()).unwrap_or_default();
        if settings.push {
            for (number, (repository, names)) in grouped(names).into_iter().enumerate() {
                let digest = match self.push_built(&made, &repository, &names, annotations) {
                    Ok(digest) => digest,
                    Err(Unpushed::Passing(why)) if settings.fallback_registry.is_some() => {
                        self.push_elsewhere(&made, &repository, &why, annotations, &mut image)?
                    }
                    Err(Unpushed::Passing(why)) => return Err(Failure::Errored(why)),
                    Err(Unpushed::Lasting(failure)) => return Err(failure),
                };
                if number == 0 {
                    image.digest = digest;
                }
            }
        }
        Ok(image)
    }

    /// Pushes what the engine has under its names; answers with the digest that they have there.
    fn push_built(
        &mut self,
        made: &engine::Builds,
        repository: &Repository,
        names: &[&Reference],
        annotations: &BTreeMap<String, String>,
    ) -> Result<String, Unpushed> {
        let patience = self.patience();
        if made.images.len() < 2 {
            let mut digest = String::new();
            for name in names {
                digest = engine::push(self.world, name, patience)?.digest;
            }
            return Ok(digest);
        }
        let mut manifests = Vec::new();
        for one in &made.images {
            for name in one.names.iter().filter(|name| name.repository == *repository) {
                let pushed = engine::push(self.world, name, patience)?;
                let platform = one.platform.clone().unwrap_or_else(Platform::usual);
                manifests.push((platform, self.there(repository, &pushed.digest)?));
            }
        }
        let index = index(&manifests, annotations);
        let mut client = self.client();
        for name in names {
            client.put_manifest(repository, name.wanted(), &index.descriptor.media_type, publish::content(&index))?;
        }
        Ok(index.descriptor.digest)
    }

    fn push_elsewhere(
        &mut self,
        made: &engine::Builds,
        repository: &Repository,
        why: &str,
        annotations: &BTreeMap<String, String>,
        image: &mut Image,
    ) -> Result<String, Failure> {
        let names: Vec<Reference> = image.names.iter().filter(|name| name.repository == *repository).cloned().collect();
        let moved = self.moved(repository, why, image);
        let mut elsewhere = made.clone();
        match &mut elsewhere.images[..] {
            // it has the names themselves
            [_] => {
                for (name, target) in names.iter().zip(&moved) {
                    self.world.tag(&name.to_string(), &target.to_string())?;
                }
            }
            several => {
                for name in several.iter_mut().flat_map(|one| &mut one.names).filter(|name| name.repository == *repository) {
                    let target = Reference { repository: moved[0].repository.clone(), ..name.clone() };
                    self.world.tag(&name.to_string(), &target.to_string())?;
                    *name = target;
                }
            }
        }
        let targets: Vec<&Reference> = moved.iter().collect();
        self.push_built(&elsewhere, &moved[0].repository, &targets, annotations).map_err(|unpushed| match unpushed {
            Unpushed::Passing(why) => Failure::Errored(why),
            Unpushed::Lasting(failure) => failure,
        })
    }

    /// The names at the fallback registry, which replace those that can't be pushed; said loudly.
    fn moved(&mut self, repository: &Repository, why: &str, image: &mut Image) -> Vec<Reference> {
        let place = self.settings.fallback_registry.as_deref().unwrap_or_default();
        let target = repository.moved_to(place);
        self.world.say(Level::Warn, &format!("{repository} CAN'T BE PUSHED TO: {why}. Pushing to {target} INSTEAD"));
        image.notes.push(format!("pushed to {place} INSTEAD of {}", repository.registry));
        let mut moved = Vec::new();
        for name in image.names.iter_mut().filter(|name| name.repository == *repository) {
            name.repository = target.clone();
            moved.push(name.clone());
        }
        moved
    }

    /// What a registry has under a digest.
    fn there(&mut self, repository: &Repository, digest: &str) -> Result<Descriptor, Error> {
        let found = self.client().manifest(repository, digest)?;
        found
            .map(|manifest| manifest.descriptor)
            .ok_or_else(|| Error::Said(format!("{repository} does not have {digest}, which was pushed to it")))
    }

    /// Attaches the bill of materials and the signature in every repository. Answers with what was done.
    fn attach(&mut self, image: &Image, sbom: Option<Vec<u8>>, created: &str) -> Result<Vec<String>, Failure> {
        let mut done = Vec::new();
        for (repository, names) in grouped(&image.names) {
            // a registry other than the first may know the image by another digest
            let wanted = if repository == image.names[0].repository { image.digest.as_str() } else { names[0].wanted() };
            if sbom.is_none() && self.settings.sign.is_none() {
                continue;
            }
            let subject = self.there(&repository, wanted)?;
            if let Some(bytes) = &sbom {
                let document = Document { artifact_type: sbom::MEDIA_TYPE, bytes: bytes.clone(), file: "sbom.cdx.json" };
                let digest = attach::document(&mut self.client(), &repository, &subject, document, created)?;
                self.world.say(Level::Info, &format!("{repository}: the bill of materials is {digest}"));
                done.push("bill of materials attached".to_owned());
            }
            if let Some(sign) = &self.settings.sign {
                let payload = attach::payload(&repository, &subject.digest);
                let signature = self.world.sign(&sign.key, sign.password.as_deref(), &payload)?;
                let tag = attach::signature(&mut self.client(), &repository, &subject.digest, payload, &signature)?;
                self.world.say(Level::Info, &format!("{repository}: signed with `{}` ({tag})", sign.key));
                done.push("signed".to_owned());
            }
        }
        done.dedup();
        Ok(done)
    }
}

/// Why an image is not in its registry.
enum Unpushed {
    /// Another registry may take it.
    Passing(String),
    Lasting(Failure),
}

impl From<docker::Error> for Unpushed {
    fn from(error: docker::Error) -> Unpushed {
        if engine::passes(&error) { Unpushed::Passing(error.to_string()) } else { Unpushed::Lasting(error.into()) }
    }
}

impl From<Error> for Unpushed {
    fn from(error: Error) -> Unpushed {
        match error {
            Error::Passing { why, .. } => Unpushed::Passing(why),
            other => Unpushed::Lasting(other.into()),
        }
    }
}

/// Names by repository, in their order.
fn grouped(names: &[Reference]) -> Vec<(Repository, Vec<&Reference>)> {
    let mut groups: Vec<(Repository, Vec<&Reference>)> = Vec::new();
    for name in names {
        match groups.iter_mut().find(|(repository, _)| *repository == name.repository) {
            Some((_, group)) => group.push(name),
            None => groups.push((name.repository.clone(), vec![name])),
        }
    }
    groups
}

fn told(image: &Image, notes: &[String]) -> Told {
    let first = &image.names[0];
    let reference = if image.pushed { format!("{}@{}", first.repository, image.digest) } else { first.to_string() };
    let names: Vec<String> = image.names.iter().map(Reference::to_string).collect();
    let more = match names.len() {
        1 => String::new(),
        2 => " and one more name".to_owned(),
        count => format!(" and {} more names", count - 1),
    };
    let did = if image.pushed { "pushed" } else { "made" };
    let short = image.digest.get(..19).unwrap_or(&image.digest);
    let mut summary = format!("{did} {first}{more}: {short}, {}", bytes(image.size));
    notes.iter().for_each(|note| summary.push_str(&format!("; {note}")));
    let outputs = vec![("ref", reference), ("digest", image.digest.clone()), ("size", image.size.to_string()), ("tags", names.join(" "))];
    Told { outputs, summary }
}

#[cfg(test)]
mod tests;
