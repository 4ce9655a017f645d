//! What is left of an image's files when all layers lie upon one another, as far as it says what is installed.
//!
//! A layer hides what it replaces and what its whiteouts name (OCI image specification, "Representing Changes"): `.wh.NAME` takes NAME
//! away, `.wh..wh..opq` everything that lower layers have in its folder. A package stays the layer's that first brought this
//! version, although later layers write the whole database anew.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Bound;

use super::ImageError;
use super::packages::{self, Installed};
use super::tar::{Entry, Kind};
use super::wanted::{self, Wanted};
use crate::inventory::Package;
use crate::search;

const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

/// What is kept of lockfiles and manifests together, until they are read.
const MOST_TEXT: u64 = 48 << 20;
const MOST_PACKAGES: usize = 250_000;

/// What one file says.
#[derive(Clone, Debug)]
pub enum Content {
    /// Read when all layers are known, since others may be needed with it.
    Text(Vec<u8>),
    Installed(Installed, Vec<usize>),
    /// It cannot be read, which only matters if no later layer replaces it.
    Broken(String),
}

#[derive(Clone, Debug)]
pub struct Found {
    pub wanted: Wanted,
    /// Index of the layer that this file is of.
    pub layer: usize,
    pub content: Content,
}

impl Found {
    /// Its packages, each with the index of the layer that brought it.
    pub fn packages(&self) -> impl Iterator<Item = (&Package, usize)> {
        let (packages, layers) = match &self.content {
            Content::Installed(installed, layers) => (&installed.packages[..], &layers[..]),
            Content::Text(_) | Content::Broken(_) => (&[][..], &[][..]),
        };
        packages.iter().zip(layers.iter().copied())
    }
}

/// The files, by their path.
#[derive(Debug, Default)]
pub struct Tree {
    pub files: BTreeMap<String, Found>,
    text: u64,
    packages: usize,
}

/// What is known of one layer while it is read.
pub struct Laying<'a> {
    tree: &'a mut Tree,
    layer: usize,
    /// The layer, for errors.
    place: &'a str,
    exclude: &'a [String],
    new: BTreeMap<String, Found>,
    /// What it hid so far at the very paths that it may fill again.
    replaced: BTreeMap<String, Found>,
    /// Wanted paths that are hard links to files which had been passed over, by those.
    links: BTreeMap<String, Vec<String>>,
    /// The same the other way round.
    linked: BTreeMap<String, String>,
}

impl Tree {
    pub fn lay<'a>(&'a mut self, layer: usize, place: &'a str, exclude: &'a [String]) -> Laying<'a> {
        let (new, replaced, links, linked) = Default::default();
        Laying { tree: self, layer, place, exclude, new, replaced, links, linked }
    }

    /// Takes away what lower layers have at a path and below it.
    fn hide(&mut self, path: &str) -> Option<Found> {
        self.hide_below(path);
        self.files.remove(path)
    }

    fn hide_below(&mut self, folder: &str) {
        let start = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let below = self.files.range::<str, _>((Bound::Included(start.as_str()), Bound::Unbounded));
        let below: Vec<String> = below.map(|(path, _)| path).take_while(|path| path.starts_with(&start)).cloned().collect();
        for path in below {
            self.files.remove(&path);
        }
    }
}

impl Laying<'_> {
    /// One entry of the layer.
    pub fn add(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), ImageError> {
        let path = self.clean(&entry.path)?;
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if name == OPAQUE {
            self.tree.hide_below(folder);
            self.forget(folder);
            return Ok(());
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            // Other names with a second `.wh.` are bookkeeping of aufs.
            if !hidden.starts_with(WHITEOUT) {
                let path = if folder.is_empty() { hidden.to_owned() } else { format!("{folder}/{hidden}") };
                self.tree.hide(&path);
                self.forget(&path);
            }
            return Ok(());
        }
        if entry.kind == Kind::Folder {
            // A folder goes on with the one below it, but takes the place of a file.
            self.tree.files.remove(&path);
            return Ok(());
        }
        if let Some(hidden) = self.tree.hide(&path) {
            self.replaced.insert(path.clone(), hidden);
        }
        // A path that occurs twice is what its last entry says.
        self.new.remove(&path);
        let Some(wanted) = self.wanted(&path) else { return Ok(()) };
        match entry.kind {
            Kind::File => {
                let found = self.read(wanted, &path, entry.size, content)?;
                self.new.insert(path, found);
            }
            Kind::HardLink => {
                let target = self.clean(&entry.target)?;
                match self.new.get(&target) {
                    Some(found) if found.wanted == wanted => {
                        let found = found.clone();
                        self.new.insert(path, found);
                    }
                    _ => {
                        // A link to a link is one to what that leads to.
                        let target = self.linked.get(&target).cloned().unwrap_or(target);
                        self.linked.insert(path.clone(), target.clone());
                        self.links.entry(target).or_default().push(path);
                    }
                }
            }
            // A link leads to what is there under its own path.
            Kind::Symlink | Kind::Folder | Kind::Other => {}
        }
        Ok(())
    }

    /// Whether the layer must be read once more, since names that matter were links to files that did not seem to.
    pub fn needs_links(&self) -> bool {
        !self.links.is_empty()
    }

    /// One entry, when it is read for the links.
    pub fn add_link(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), ImageError> {
        let path = self.clean(&entry.path)?;
        let Some(links) = self.links.get(&path).filter(|_| entry.kind == Kind::File).cloned() else { return Ok(()) };
        let Some(wanted) = links.first().and_then(|link| self.wanted(link)) else { return Ok(()) };
        let found = self.read(wanted, &path, entry.size, content)?;
        self.links.remove(&path);
        for link in links {
            let wanted = self.wanted(&link).unwrap_or(wanted);
            self.new.insert(link, Found { wanted, ..found.clone() });
        }
        Ok(())
    }

    /// Puts the layer on top of those below it.
    pub fn finish(mut self) {
        for (target, links) in std::mem::take(&mut self.links) {
            for link in links {
                let content = Content::Broken(format!("it is a link to {target}, which its layer does not have"));
                let Some(wanted) = self.wanted(&link) else { continue };
                self.new.insert(link, Found { wanted, layer: self.layer, content });
            }
        }
        for (path, mut found) in self.new {
            if let Some(before) = self.replaced.get(&path) {
                inherit(&mut found, before);
            }
            self.tree.files.insert(path, found);
        }
    }

    /// What a whiteout took away was not there before, wherever among the entries the whiteout stands.
    fn forget(&mut self, path: &str) {
        self.replaced.retain(|replaced, _| {
            !path.is_empty() && !replaced.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
    }

    fn wanted(&self, path: &str) -> Option<Wanted> {
        wanted::of(path).filter(|_| !search::is_excluded(path, self.exclude))
    }

    fn read(&mut self, wanted: Wanted, path: &str, size: u64, content: &mut dyn Read) -> Result<Found, ImageError> {
        let found = |content| Found { wanted, layer: self.layer, content };
        let most = largest(wanted);
        if size > most {
            return Ok(found(Content::Broken(format!("it has {size} bytes, and {} MiB are the most that is read", most >> 20))));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        content.take(size).read_to_end(&mut bytes).map_err(|error| super::layer::failed(self.place, error.into()))?;
        if matches!(wanted, Wanted::OsRelease | Wanted::Lockfile(_) | Wanted::Companion) {
            self.tree.text += size;
            if self.tree.text > MOST_TEXT {
                return Err(self.too_much(format!("with {path} it has more than {} MiB of lockfiles and manifests", MOST_TEXT >> 20)));
            }
            return Ok(found(Content::Text(bytes)));
        }
        Ok(match packages::read(wanted, &bytes) {
            Ok(installed) => {
                let count = installed.packages.len();
                self.tree.packages += count;
                if self.tree.packages > MOST_PACKAGES {
                    return Err(self.too_much(format!("with {path} it has more than {MOST_PACKAGES} packages")));
                }
                found(Content::Installed(installed, vec![self.layer; count]))
            }
            Err(what) => found(Content::Broken(what)),
        })
    }

    fn too_much(&self, what: String) -> ImageError {
        ImageError::new(self.place, what, "Leave out with `exclude` what is not the image's own")
    }

    /// A path relative to the image's root.
    fn clean(&self, path: &str) -> Result<String, ImageError> {
        let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        if parts.contains(&"..") {
            let what = format!("the path {path} in it leads out of the image");
            return Err(ImageError::new(
                self.place,
                what,
                "No tool writes such a layer: find out where the image comes from, and build it anew",
            ));
        }
        Ok(parts.join("/"))
    }
}

fn largest(wanted: Wanted) -> u64 {
    match wanted {
        Wanted::Rpm(_) | Wanted::RpmJournal => 96 << 20,
        Wanted::Apk | Wanted::Dpkg | Wanted::Lockfile(_) => 32 << 20,
        Wanted::DpkgFiles | Wanted::Composer => 16 << 20,
        Wanted::OsRelease | Wanted::Node | Wanted::Python | Wanted::Gem | Wanted::Companion => 4 << 20,
    }
}

/// What was there before stays its layer's.
fn inherit(found: &mut Found, before: &Found) {
    match (&mut found.content, &before.content) {
        (Content::Text(new), Content::Text(old)) if new == old => found.layer = before.layer,
        (Content::Installed(installed, layers), Content::Installed(..)) => {
            let known: BTreeMap<(&str, &str), usize> =
                before.packages().map(|(package, layer)| ((package.name.as_str(), package.version.as_str()), layer)).collect();
            for (package, layer) in installed.packages.iter().zip(layers) {
                if let Some(first) = known.get(&(package.name.as_str(), package.version.as_str())) {
                    *layer = *first;
                }
            }
        }
        _ => {}
    }
}
