//! Where the image is: the one place that decides which store it is read from.

use runner_sdk::{Failure, files, log, progress};

use super::look;
use crate::image::store::{Archive, Folder, Store};
use crate::image::{self, Contents, ImageError, Limits, Options};
use crate::settings::Settings;

pub fn read(path: &str, settings: &Settings) -> Result<Contents, Failure> {
    let mut store = open(path)?;
    let options = Options { exclude: &settings.exclude, limits: Limits::new(settings.image_limit) };
    let shown = path.strip_prefix("./").unwrap_or(path);
    let contents = image::read(shown, store.as_mut(), &options, &mut |layer| {
        progress::update(layer.number as u64 - 1, layer.of as u64, format_args!("reading {}", image::described(layer)));
    });
    let contents = contents.map_err(failure)?;
    for line in &contents.log {
        log::info(line);
    }
    Ok(contents)
}

fn open(path: &str) -> Result<Box<dyn Store>, Failure> {
    if let Some(reference) = path.strip_prefix("docker:") {
        return Err(Failure::misconfigured(format_args!(
            "`image`: {path} names an image of an engine, and a file is needed. Save it first, with `docker save -o image.tar {reference}`"
        )));
    }
    match look(path)? {
        Some(found) if found.is_dir() => Ok(Box::new(Folder::new(path))),
        Some(_) => Ok(Box::new(Archive::index(path, files::open(path)?).map_err(failure)?)),
        None => Err(Failure::misconfigured(format_args!(
            "`image`: there is no {path} in the workspace. Mend the path, or let this stage consume the artifact that holds the image"
        ))),
    }
}

fn failure(error: ImageError) -> Failure {
    match error {
        ImageError::File(error) => error.into(),
        unusable => Failure::errored(unusable),
    }
}
