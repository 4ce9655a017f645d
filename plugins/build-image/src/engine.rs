//! Images that Docker makes from a Dockerfile: one build for each platform, names, and pushes that are tried again.

use std::collections::BTreeMap;

use runner_sdk::docker::images::Pushed;
use runner_sdk::docker::{self, Build, Built};
use runner_sdk::log::Level;
use runner_sdk::{Failure, files};

use crate::reference::{Reference, is_tag};
use crate::settings::{Platform, Settings};
use crate::world::{Patience, World};

/// An image as the engine has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// `None`: the engine's own.
    pub platform: Option<Platform>,
    pub built: Built,
    /// The names that it has.
    pub names: Vec<Reference>,
}

/// What the builds came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Builds {
    pub images: Vec<Made>,
    /// Platforms that were given up, each with the reason.
    pub given_up: Vec<(Platform, String)>,
}

/// Builds for every platform. One that fails is given up if `fallback` says what is enough without it; then the image is for these alone.
///
/// # Errors
/// If a build fails, or is denied: a denial is no reason to do with less.
pub fn build(
    world: &mut dyn World,
    settings: &Settings,
    names: &[Reference],
    annotations: &BTreeMap<String, String>,
) -> Result<Builds, Failure> {
    check_dockerfile(settings)?;
    let several = settings.platforms.len() > 1;
    let platforms: Vec<Option<&Platform>> =
        if settings.platforms.is_empty() { vec![None] } else { settings.platforms.iter().map(Some).collect() };
    let (mut images, mut given_up) = (Vec::new(), Vec::new());
    for platform in platforms {
        // once one is given up, only what is enough is built
        let needed = |platform: &Platform| given_up.is_empty() || settings.fallback.contains(platform);
        if !platform.is_none_or(needed) {
            continue;
        }
        let names = match platform.filter(|_| several) {
            Some(platform) => own_names(names, platform)?,
            None => names.to_vec(),
        };
        match world.build(&request(settings, platform, &names, annotations)) {
            Ok(built) => images.push(Made { platform: platform.cloned(), built, names }),
            Err(docker::Error::Denied(denial)) => return Err(Failure::Denied(denial)),
            Err(error) => {
                let why = explain(&error, platform);
                match platform {
                    Some(platform) if !settings.fallback.is_empty() && !settings.fallback.contains(platform) => {
                        let enough = list(&settings.fallback);
                        world.say(Level::Warn, &format!("{platform} CAN'T BE BUILT: {why}. The image will be for {enough} ALONE"));
                        given_up.push((platform.clone(), why));
                    }
                    Some(platform) if several && matches!(error, docker::Error::Engine(_)) => {
                        let remedy = "name in `fallback` the platforms that are enough without it";
                        return Err(Failure::Failed(format!("{platform} can't be built: {why}; {remedy}")));
                    }
                    _ if matches!(error, docker::Error::Engine(_)) => return Err(Failure::Failed(why)),
                    _ => return Err(Failure::from(error)),
                }
            }
        }
    }
    if !given_up.is_empty() {
        images.retain(|image| image.platform.as_ref().is_some_and(|platform| settings.fallback.contains(platform)));
    }
    Ok(Builds { images, given_up })
}

pub fn list(platforms: &[Platform]) -> String {
    platforms.iter().map(Platform::to_string).collect::<Vec<_>>().join(", ")
}

fn check_dockerfile(settings: &Settings) -> Result<(), Failure> {
    let name = settings.dockerfile.as_deref().unwrap_or("Dockerfile");
    let path = files::resolve(&settings.context).join(name);
    match std::fs::metadata(&path) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(_) => Err(Failure::misconfigured(format_args!("dockerfile: {name} in {} is no file", settings.context))),
        Err(source) => {
            let error = files::Error { operation: "read", path, source };
            match error.denial() {
                Some(denial) => Err(Failure::Denied(denial)),
                None => Err(Failure::misconfigured(format_args!(
                    "dockerfile: there is no {name} in {}; name it in `dockerfile`, relative to `context`, or make the image of files with `from-files`",
                    if settings.context == "." { "the workspace" } else { &settings.context }
                ))),
            }
        }
    }
}

/// What an image is called while it is one of several: `1.2-linux-arm64`, once in each repository.
fn own_names(names: &[Reference], platform: &Platform) -> Result<Vec<Reference>, Failure> {
    let mut own: Vec<Reference> = Vec::new();
    for name in names {
        if own.iter().any(|known| known.repository == name.repository) {
            continue;
        }
        let tag = format!("{}-{}", name.wanted(), platform.slug());
        if !is_tag(&tag) {
            return Err(Failure::misconfigured(format_args!(
                "tags: `{tag}`, the name of the image for {platform} alone, is too long; shorten the first tag"
            )));
        }
        own.push(Reference { tag: Some(tag), ..name.clone() });
    }
    Ok(own)
}

fn request(settings: &Settings, platform: Option<&Platform>, names: &[Reference], annotations: &BTreeMap<String, String>) -> Build {
    // `/workspace/.` is the same, and would be shown to people
    let context = if settings.context == "." { files::WORKSPACE.into() } else { files::resolve(&settings.context) };
    let mut build = Build::new(context.display().to_string());
    build = settings.dockerfile.iter().fold(build, |build, path| build.dockerfile(path));
    build = names.iter().fold(build, |build, name| build.tag(name.to_string()));
    build = settings.build_args.iter().fold(build, |build, (name, value)| build.build_arg(name, value));
    build = annotations.iter().chain(&settings.labels).fold(build, |build, (name, value)| build.label(name, value));
    build = settings.target.iter().fold(build, |build, target| build.target(target));
    build = platform.iter().fold(build, |build, platform| build.platform(platform.to_string()));
    build = settings.cache_from.iter().fold(build, |build, reference| build.cache_from(reference));
    build = settings.cache_to.iter().fold(build, |build, reference| build.cache_to(reference));
    build = settings.timeout.iter().fold(build, |build, limit| build.timeout(limit.0));
    if settings.network {
        build = build.network();
    }
    if settings.no_cache {
        build = build.no_cache();
    }
    if settings.pull { build.pull() } else { build }
}

/// The kernel's words for a program of another architecture say nothing to most people.
fn explain(error: &docker::Error, platform: Option<&Platform>) -> String {
    let text = error.to_string();
    let foreign = ["exec format error", "exec user process caused"].iter().any(|words| text.contains(words));
    match platform.filter(|_| foreign) {
        Some(platform) => format!(
            "{text}: the engine can't run programs of {platform}. Install an emulator on its machine (qemu-user-static with binfmt), build only what \
             it can, or name what is enough in `fallback`"
        ),
        None => text,
    }
}

/// Pushes one name until it is taken, or what is wrong lasts.
///
/// # Errors
/// What the registry or the engine said last.
pub fn push(world: &mut dyn World, name: &Reference, patience: Patience) -> Result<Pushed, docker::Error> {
    let mut retry = 0;
    loop {
        match world.push(&name.to_string()) {
            Err(error) if passes(&error) && retry < patience.retries => {
                retry += 1;
                patience.pause(world, retry, None, &format!("{name} was not pushed: {error}"));
            }
            other => return other,
        }
    }
}

/// Whether it may work the next time.
pub fn passes(error: &docker::Error) -> bool {
    const REFUSED: [&str; 5] = ["unauthorized", "denied", "authentication", "forbidden", "no basic auth"];
    match error {
        docker::Error::Registry(text) | docker::Error::Engine(text) => {
            let text = text.to_ascii_lowercase();
            !REFUSED.iter().any(|word| text.contains(word))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
