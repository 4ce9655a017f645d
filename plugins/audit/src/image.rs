//! A container image: which packages it holds, and which layer brought each.
//!
//! [`store`] opens its files, [`manifest`] says which of them are layers, [`layer`] reads each as a stream, [`tree`] lays them upon one
//! another and keeps what [`wanted`] names, and [`packages`] reads that. Here it becomes lockfiles like those of the workspace, so
//! that everything after it knows nothing of images. Nothing is unpacked, and no layer is ever whole in memory.
//!
//! Deliberately absent: programs that carry their dependencies inside of them (Go, Rust, Java archives), which name them in no file.

mod error;
mod layer;
mod manifest;
mod packages;
pub mod store;
mod tar;
mod tree;
mod wanted;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

pub use self::error::ImageError;
pub use self::layer::Limits;
use self::manifest::Manifest;
use self::store::Store;
use self::tree::{Content, Found, Tree};
use self::wanted::Wanted;
use crate::distribution::{Format as Packaging, OsRelease};
use crate::inventory::{Ecosystem, InImage, Layer, Lockfile, Package};
use crate::lockfile::{self, Companions, Format, beside};

/// What was found in the images of a store.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    pub lockfiles: Vec<Lockfile>,
    pub notes: Vec<Note>,
    /// What was read, in a line for each image.
    pub log: Vec<String>,
}

/// Something about the audit that people should know, and that fails nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub rule: &'static str,
    pub message: String,
    pub help: String,
}

/// How to read.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// Globs of paths inside of the image.
    pub exclude: &'a [String],
    pub limits: Limits,
}

/// Reads all images of a store; `name` is what the settings call it. `progress` is told which layer of how many is next.
pub fn read(name: &str, store: &mut dyn Store, options: &Options<'_>, progress: &mut dyn FnMut(&Layer)) -> Result<Contents, ImageError> {
    let images = manifest::images(store).map_err(|error| error.of(name))?;
    if images.is_empty() {
        return Err(ImageError::new(name, "there is no image in it", "Save one with `docker save -o image.tar IMAGE`"));
    }
    let mut contents = Contents::default();
    let several = images.len() > 1;
    let unpacked = Rc::default();
    for image in images {
        let label = if several { format!("{name} ({})", image.name) } else { name.to_owned() };
        let tree = read_layers(&label, store, &image, options, &unpacked, progress).map_err(|error| error.of(&label))?;
        let layers: Vec<Rc<Layer>> = image.layers.into_iter().map(|file| Rc::new(file.layer)).collect();
        Reading { label: label.into(), image: name.into(), tree, layers, placed: BTreeMap::new() }.finish(&mut contents)?;
    }
    Ok(contents)
}

fn read_layers(
    label: &str,
    store: &mut dyn Store,
    image: &Manifest,
    options: &Options<'_>,
    unpacked: &Rc<Cell<u64>>,
    progress: &mut dyn FnMut(&Layer),
) -> Result<Tree, ImageError> {
    let mut tree = Tree::default();
    for (index, file) in image.layers.iter().enumerate() {
        progress(&file.layer);
        let place = format!("{label}: {}", described(&file.layer));
        let open = |store: &mut dyn Store, visit: Visit<'_>| {
            let blob = store.open(&file.path)?.ok_or_else(|| manifest::missing(&file.path, &described(&file.layer)))?;
            layer::walk(&place, blob, file.expected.as_ref(), &options.limits, unpacked, visit)
        };
        let mut laying = tree.lay(index, &place, options.exclude);
        open(store, &mut |entry, content| laying.add(entry, content))?;
        if laying.needs_links() {
            open(store, &mut |entry, content| laying.add_link(entry, content))?;
        }
        laying.finish();
    }
    Ok(tree)
}

type Visit<'a> = &'a mut dyn FnMut(&tar::Entry, &mut dyn std::io::Read) -> Result<(), ImageError>;

/// A layer, for people: `layer 3 of 5, sha256:… (RUN npm ci)`.
pub fn described(layer: &Layer) -> String {
    let digest = if layer.digest.is_empty() { String::new() } else { format!(", {}", layer.digest) };
    let created_by = if layer.created_by.is_empty() { String::new() } else { format!(" ({})", layer.created_by) };
    format!("layer {} of {}{digest}{created_by}", layer.number, layer.of)
}

/// An image whose layers have been read.
struct Reading {
    /// As errors name it.
    label: Rc<str>,
    image: Rc<str>,
    tree: Tree,
    layers: Vec<Rc<Layer>>,
    placed: BTreeMap<(String, usize), Rc<InImage>>,
}

impl Reading {
    fn finish(mut self, contents: &mut Contents) -> Result<(), ImageError> {
        if let Some((path, what)) = self.tree.files.iter().find_map(|(path, found)| match &found.content {
            Content::Broken(what) => Some((path, what)),
            _ => None,
        }) {
            return Err(self.unreadable(path, what));
        }
        let owned: BTreeSet<String> = self.owned();
        let files = std::mem::take(&mut self.tree.files);
        let release = ["etc/os-release", "usr/lib/os-release"].iter().find_map(|path| match &files.get(*path)?.content {
            Content::Text(bytes) => Some(OsRelease::parse(&String::from_utf8_lossy(bytes))),
            _ => None,
        });
        let mut groups: BTreeMap<(Ecosystem, String), Vec<Package>> = BTreeMap::new();
        for (path, found) in files.iter().filter(|(path, _)| !owned.contains(*path)) {
            let Some((ecosystem, group)) = group(found.wanted, release.as_ref()) else { continue };
            let packages = groups.entry((ecosystem, group.to_owned())).or_default();
            for (package, layer) in found.packages() {
                let mut package = package.clone();
                package.in_image = Some(self.place(path, layer));
                if matches!(ecosystem, Ecosystem::Distribution(distribution) if distribution.names_binaries()) {
                    package.source = None;
                }
                packages.push(package);
            }
        }
        let before = contents.lockfiles.len();
        for ((ecosystem, group), packages) in groups.into_iter().filter(|(_, packages)| !packages.is_empty()) {
            if ecosystem.osv_name().is_none() {
                contents.notes.push(unknown(&self.label, release.as_ref(), packages.len()));
            }
            contents.lockfiles.push(Lockfile { path: format!("{}: {group}", self.label), ecosystem, packages });
        }
        for (path, found) in &files {
            if let Wanted::Lockfile(format) = found.wanted
                && !stands_aside(path, format, &files)
            {
                contents.lockfiles.push(self.lockfile(path, found, &files)?);
            }
        }
        let found = &contents.lockfiles[before..];
        let system = release.map_or_else(|| "no os-release".into(), |release| release.name());
        let counts: Vec<String> = found.iter().map(|lockfile| format!("{} in {}", lockfile.packages.len(), lockfile.path)).collect();
        let counts = if counts.is_empty() { "no packages".into() } else { counts.join("; ") };
        contents.log.push(format!("{}: {} layers, {system}; {counts}", self.label, self.layers.len()));
        if found.is_empty() {
            contents.notes.push(Note {
                rule: "nothing-installed",
                message: format!("{}: there is no package database and no lockfile in it, so nothing could be looked up", self.label),
                help: "audit the lockfiles of what was put there, in the workspace".into(),
            });
        }
        Ok(())
    }

    /// Files of languages' packages that the distribution installed.
    fn owned(&self) -> BTreeSet<String> {
        let lists = self.tree.files.values().filter_map(|found| match &found.content {
            Content::Installed(installed, _) => Some(&installed.owns),
            _ => None,
        });
        lists.flatten().cloned().collect()
    }

    fn place(&mut self, file: &str, layer: usize) -> Rc<InImage> {
        let Self { image, layers, placed, .. } = self;
        let place =
            || Rc::new(InImage { image: image.clone(), file: file.to_owned(), layer: layers.get(layer).cloned().unwrap_or_default() });
        placed.entry((file.to_owned(), layer)).or_insert_with(place).clone()
    }

    fn lockfile(&mut self, path: &str, found: &Found, files: &BTreeMap<String, Found>) -> Result<Lockfile, ImageError> {
        let text = |path: &str| match &files.get(path)?.content {
            Content::Text(bytes) => Some(bytes.as_slice()),
            _ => None,
        };
        let bytes = text(path).unwrap_or_default();
        let mut companions = Companions::new();
        for path in lockfile::companions(path, bytes) {
            if let Some(bytes) = text(&path) {
                companions.insert(path, String::from_utf8_lossy(bytes).into_owned());
            }
        }
        let mut lockfile = lockfile::read(path, bytes, &companions)
            .map_err(|error| self.unreadable(path, &format!("{}{}", at_line(error.line), error.what)))?;
        let place = self.place(path, found.layer);
        for package in &mut lockfile.packages {
            package.in_image = Some(place.clone());
        }
        lockfile.path = format!("{}: {path}", self.label);
        Ok(lockfile)
    }

    fn unreadable(&self, path: &str, what: &str) -> ImageError {
        let mend = format!("Mend the image, or leave this file out with `exclude = [\"{path}\"]`: what it names then goes unseen");
        ImageError::new(format!("{}: {path}", self.label), what, mend)
    }
}

fn at_line(line: u32) -> String {
    if line == 0 { String::new() } else { format!("line {line}: ") }
}

/// The ecosystem of what a file lists, and what to call its like together.
fn group(wanted: Wanted, release: Option<&OsRelease>) -> Option<(Ecosystem, &'static str)> {
    let system = |packaging| Ecosystem::Distribution(release.cloned().unwrap_or_default().distribution(packaging));
    Some(match wanted {
        Wanted::Apk => (system(Packaging::Apk), "apk"),
        Wanted::Dpkg => (system(Packaging::Dpkg), "dpkg"),
        Wanted::Rpm(_) => (system(Packaging::Rpm), "rpm"),
        Wanted::Node => (Ecosystem::Npm, "node_modules"),
        Wanted::Python => (Ecosystem::PyPi, "Python packages"),
        Wanted::Gem => (Ecosystem::RubyGems, "gems"),
        Wanted::Composer => (Ecosystem::Packagist, "Composer packages"),
        Wanted::OsRelease | Wanted::DpkgFiles | Wanted::RpmJournal | Wanted::Lockfile(_) | Wanted::Companion => return None,
    })
}

/// Whether what a lockfile led to is there: then that is what the image holds, and the lockfile would add what was left out.
fn stands_aside(path: &str, format: Format, files: &BTreeMap<String, Found>) -> bool {
    match format {
        Format::Npm | Format::Yarn | Format::Pnpm => {
            let modules = beside(path, "node_modules/");
            files.range(modules.clone()..).take_while(|(path, _)| path.starts_with(&modules)).any(|(_, found)| found.wanted == Wanted::Node)
        }
        Format::Composer => files.contains_key(&beside(path, "vendor/composer/installed.json")),
        // A module's sums are read with its file, which is a lockfile only where it stands alone.
        Format::GoMod => files.contains_key(&beside(path, "go.sum")),
        _ => false,
    }
}

fn unknown(label: &str, release: Option<&OsRelease>, count: usize) -> Note {
    let (message, help) = match release {
        Some(release) => (
            format!(
                "OSV has no advisories of {} that can be told by its release, so its {count} packages were not looked up",
                release.name()
            ),
            "audit it with its distributor's own tool as well, or build on a distribution that OSV covers",
        ),
        None => (
            format!("there is no etc/os-release that says what its {count} packages are of, so they were not looked up"),
            "keep that file in the image",
        ),
    };
    Note { rule: "not-matched", message: format!("{label}: {message}"), help: help.into() }
}
