//! May this stage build this? Every source of the Dockerfile is one of the grant's, and so is what its base images bring along.

use capability::{Decision, Denial, Policy};

use super::{Rules, Verdict, decision};
use crate::dockerfile::{self, Source};
use crate::effect::{Build, BuildLook, Missing, Scene};
use crate::grant::{DockerGrant, Operation};
use crate::places::{Access, Place};
use crate::reference::{Reference, Version};

impl Policy<Build> for Rules<'_> {
    fn decide(&self, build: &Build, seen: &Scene) -> Decision<BuildLook> {
        decision(self.build(build, seen, true))
    }
}

impl Policy<Missing> for Rules<'_> {
    fn decide(&self, missing: &Missing, seen: &Scene) -> Decision<BuildLook> {
        decision(self.build(&missing.0, seen, false))
    }
}

/// Where the Dockerfile of a build is.
pub fn dockerfile_of(build: &Build) -> Option<(Place, String)> {
    let context = Place::parse(&build.context)?;
    let name = if build.dockerfile.is_empty() { "Dockerfile" } else { &build.dockerfile };
    let parts: Vec<&str> = name.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let inside = !name.starts_with('/') && !parts.is_empty() && !parts.contains(&"..") && !name.contains(['\0', '\\']);
    inside.then(|| (context, parts.join("/")))
}

impl Rules<'_> {
    /// `whole`: the base images have to be there, so that what they bring along can be looked at.
    fn build(&self, build: &Build, seen: &Scene, whole: bool) -> Verdict<Option<BuildLook>> {
        let grant = self.granted()?;
        let context = self.place(&build.context, Access::Read)?;
        let Some((_, path)) = dockerfile_of(build) else {
            let reason = format!("`{}` is no path below the context", build.dockerfile.escape_debug());
            return Err(Denial::new("mount-outside", reason));
        };
        let dockerfile = self.place(&context.join(&path).to_string(), Access::Read)?;
        self.named(build)?;
        if build.network && !grant.build_network {
            let reason = "the steps of the stage's builds have no network";
            return Err(Denial { remedy: self.key("build-network = \"full\""), ..Denial::new("build-network", reason) });
        }
        let text = match &seen.dockerfile {
            None => return Ok(Some(BuildLook::Dockerfile(dockerfile))),
            Some(Ok(text)) => text,
            Some(Err(why)) => return Err(Denial::new("mount-outside", why.clone())),
        };
        let read = dockerfile::read(text, &build.build_args);
        let read = read.map_err(|trouble| Denial::new("unresolved-source", format!("{path}:{}: {}", trouble.line, trouble.why)))?;
        for (line, source) in &read.sources {
            self.source_of_build(grant, source, &format!("{path}:{line}"))?;
        }
        let engine = match &seen.engine {
            None => return Ok(Some(BuildLook::Engine(read.bases))),
            // what is wrong with the engine is told by the build
            Some(Err(_)) => return Ok(None),
            Some(Ok(engine)) => engine,
        };
        if read.documents && !(engine.buildkit && engine.documents) {
            let reason =
                format!("{path}: this engine would read its here documents as instructions; Docker 23 or newer with BuildKit does not");
            return Err(Denial::new("unresolved-source", reason));
        }
        for (base, brought) in read.bases.iter().zip(&engine.on_build) {
            let Some(brought) = brought else {
                if whole {
                    let reason = format!("the engine does not have `{}`, so what it brings along can't be told", base.familiar());
                    return Err(Denial::new("unresolved-source", reason));
                }
                continue;
            };
            let brought = dockerfile::on_build(brought);
            let brought = brought
                .map_err(|trouble| Denial::new("unresolved-source", format!("`ONBUILD` of `{}`: {}", base.familiar(), trouble.why)))?;
            for source in &brought {
                self.source_of_build(grant, source, &format!("`ONBUILD` of `{}`", base.familiar()))?;
            }
        }
        Ok(None)
    }

    /// All that a build is given by name.
    fn named(&self, build: &Build) -> Verdict {
        for tag in &build.tags {
            let reference = self.image(tag, &[Operation::Build])?;
            if matches!(reference.version, Version::Digest(_)) {
                return Err(Denial::new("not-granted", format!("`{}` is a digest, and only a tag can be given", reference.familiar())));
            }
        }
        for cache in build.cache_from.iter().chain(&build.cache_to) {
            let reference = Reference::parse(cache).map_err(|mistake| Denial::new("cache-place", mistake.to_string()))?;
            let pushes = build.cache_to.contains(cache);
            let fine = self.grant.is_some_and(|grant| grant.caches(&reference) || (!pushes && grant.allows(Operation::From, &reference)))
                && !(pushes && matches!(reference.version, Version::Digest(_)));
            if !fine {
                let list = self.grant.iter().flat_map(|grant| &grant.cache).map(ToString::to_string).chain([reference.familiar()]);
                let list = list.map(|text| capability::denial::toml_string(&text)).collect::<Vec<_>>().join(", ");
                let reason = format!("the stage's builds may not keep layers at `{}`", reference.familiar());
                return Err(Denial { remedy: self.key(&format!("cache = [{list}]")), ..Denial::new("cache-place", reason) });
            }
        }
        let given = build.build_args.iter().chain(&build.labels).flat_map(|(name, value)| [name, value]);
        let words = given.chain([&build.target, &build.platform, &build.dockerfile]).chain(&build.tags).chain(&build.cache_from);
        if let Some(one) = words.clone().find_map(|word| self.held.within(word.as_bytes()).next()) {
            let reason = format!("the secret `{}` stands in a build, whose image would keep it", one.secret.name);
            return Err(Denial::new("secret-place", reason));
        }
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b));
        if !plain(&build.platform) || !plain(&build.target) {
            return Err(Denial::new("unresolved-source", "a platform or target is letters, digits, `.`, `_`, `-` and `/`"));
        }
        if let Some((name, _)) = build.labels.iter().find(|(name, _)| name.is_empty() || name.starts_with("dev.runner.")) {
            return Err(Denial::new("not-granted", format!("the label `{}` is the runner's own", name.escape_debug())));
        }
        if let Some((name, _)) = build.build_args.iter().find(|(name, _)| name.starts_with("BUILDKIT_") && name != "BUILDKIT_SYNTAX") {
            return Err(Denial::new("unresolved-source", format!("the argument `{name}` changes how a Dockerfile is built")));
        }
        Ok(())
    }

    fn source_of_build(&self, grant: &DockerGrant, source: &Source, place: &str) -> Verdict {
        let (fine, shown, known) = match source {
            Source::Image(reference) => (grant.allows(Operation::From, reference), reference.familiar(), true),
            Source::Url(url) => (grant.fetches(url), url.clone(), url.starts_with("https://") || url.starts_with("http://")),
        };
        if fine {
            return Ok(());
        }
        let reason = format!("{place}: the stage's grants do not allow to build from `{shown}`");
        let denial = Denial::new("build-source", reason);
        let from = grant.images.get(&Operation::From).into_iter().flatten().map(ToString::to_string);
        let list: Vec<String> =
            from.chain(grant.urls.iter().cloned()).chain([shown]).map(|text| capability::denial::toml_string(&text)).collect();
        let remedy = known.then(|| self.key(&format!("from = [{}]", list.join(", ")))).flatten();
        Err(Denial { remedy, ..denial })
    }
}
