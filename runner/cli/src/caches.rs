//! The caches of an attempt: found before it, saved after it.
//!
//! A path of the home folder is mounted where the stage's programs are confined: the entry below, unchanged, and what the stage writes in a
//! folder of the attempt. Where that can't be done it is copied. A path of the workspace is always copied into the stage's own copy, where the
//! component and the artifacts find it too. What is saved is moved.
//!
//! An attempt that was cut off goes on with what it had: that stands in a file beside its folders.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use capability::{CacheFolder, StageLog};
use capability_commands::{Place, jail};
use event::{CacheResult, Event, EventSink, Kind};
use pipeline::facts::{Facts, Trust};
use pipeline::plan::{Bound, CacheUse, KeyPart, Stage};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use workspace::{CACHE_LIMIT, CacheContent, CacheEntry, CacheKey, CacheSaved, CacheStore, KeySource, Scopes};

use crate::{around, attempt::blocking, history, load, now};

/// Branches whose caches others may start from: what a forge calls its default branch is mostly one of these.
const DEFAULT_BRANCHES: [&str; 2] = ["main", "master"];

/// What all attempts of a run share.
pub struct Caches {
    store: CacheStore,
    scopes: Scopes,
    sink: Arc<dyn EventSink>,
    /// Whether entries can be mounted here.
    mounts: OnceCell<bool>,
}

/// Where an attempt works.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    pub stage: &'a Stage,
    pub attempt: u32,
    /// For what is neither the workspace's nor the store's.
    pub work: &'a Path,
    /// The private copy, if there is one; and where keys find their files.
    pub workspace: Option<&'a Path>,
    pub root: &'a Path,
    pub log: &'a StageLog,
    /// It was begun by an earlier session.
    pub again: bool,
}

/// The caches of one attempt.
#[derive(Default)]
pub struct InUse {
    caches: Vec<Held>,
    /// For the stage's programs.
    pub folders: Vec<CacheFolder>,
}

struct Held {
    name: String,
    key: CacheKey,
    /// Where each path's content is.
    contents: Vec<CacheContent>,
    /// What is saved after a pass; a hit needs no saving.
    saves: bool,
    /// Below the mounts, as long as they stand.
    _entry: Option<CacheEntry>,
}

/// A path as the pipeline file has it, the folder that stands there, and where writes to it are kept apart.
type KeptFolder = (String, PathBuf, Option<(PathBuf, PathBuf)>);

/// Whose the home folder of a stage's programs is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Home {
    /// The jail's, where one folder can lie over another.
    Jail,
    /// The containers'.
    Containers,
    /// The user's own, which is left alone.
    Users,
}

impl Home {
    fn of(place: Option<&Place>) -> Home {
        match place {
            Some(Place::Process) => Home::Jail,
            Some(Place::Container(_)) => Home::Containers,
            Some(Place::Host) | None => Home::Users,
        }
    }
}

/// What is kept for a session that goes on.
#[derive(Serialize, Deserialize)]
struct Kept {
    key: CacheKey,
    contents: Vec<CacheContent>,
    folders: Vec<KeptFolder>,
    saves: bool,
    entry: Option<PathBuf>,
}

impl Caches {
    pub fn new(store: CacheStore, facts: &Facts, sink: Arc<dyn EventSink>) -> Self {
        Caches { store, scopes: scopes(facts), sink, mounts: OnceCell::new() }
    }

    /// Finds the caches of an attempt and puts them in place.
    ///
    /// # Errors
    /// In words for people.
    pub async fn prepare(&self, site: Site<'_>, bound: &Bound) -> Result<InUse, String> {
        let mut used = InUse::default();
        for cache in &site.stage.caches {
            let home = Home::of(around::commands(&bound.grants).map(|grant| &grant.place));
            let held = if site.again { self.take_up(cache, site)? } else { None };
            let (held, folders) = match held {
                Some(found) => found,
                None => match self.find(cache, site, home).await? {
                    Some(found) => found,
                    None => continue,
                },
            };
            used.folders.extend(folders);
            used.caches.push(held);
        }
        Ok(used)
    }

    async fn find(&self, cache: &CacheUse, site: Site<'_>, own: Home) -> Result<Option<(Held, Vec<CacheFolder>)>, String> {
        let told = |error: workspace::WorkspaceError| format!("cache `{}`: {error}", cache.name);
        let began = Instant::now();
        if let Some(path) = cache.paths.iter().find(|path| home(path).is_some() && own == Home::Users) {
            site.log.note(&format!("cache {}: programs run on the host, where `{path}` is the user's own: it is left alone", cache.name));
            return Ok(None);
        }
        if let Some(path) = cache.paths.iter().find(|path| home(path).is_none() && occupied(site.workspace, path)) {
            site.log.note(&format!("cache {}: the checkout has `{path}` already: it is left as it is", cache.name));
            return Ok(None);
        }
        let key = {
            let (paths, sources) = (cache.paths.clone(), cache.key.iter().map(source).collect::<Vec<_>>());
            let workspace = site.workspace.unwrap_or(site.root).to_owned();
            blocking(move || CacheKey::new(&paths, &sources, &workspace)).await.map_err(told)?
        };
        for glob in key.fits_nothing() {
            site.log.note(&format!("cache {}: no file fits {glob:?}, so this part of its key never changes", cache.name));
        }
        let found = self.store.find(&self.scopes, &cache.name, &key).map_err(told)?;
        let hit = found.as_ref().is_some_and(|found| found.shared == key.len());
        let mounted = hit && own == Home::Jail && cache.paths.iter().any(|path| home(path).is_some()) && self.mounts(site.work).await;
        let place = site.work.join("caches").join(&cache.name);
        // of an attempt that was cut off before it was recorded
        workspace::remove_tree(&place).map_err(told)?;
        let (mut contents, mut folders, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        let mut copies = Vec::new();
        for (index, path) in cache.paths.iter().enumerate() {
            let own = place.join(index.to_string());
            match (home(path), site.workspace) {
                (Some(inside), _) => {
                    let over = match &found {
                        Some(found) if mounted => Some((found.entry.content(index), own.join("work"))),
                        _ => None,
                    };
                    let folder = own.join(if over.is_some() { "upper" } else { "content" });
                    copies.extend(over.is_none().then(|| (index, folder.clone())));
                    for made in [Some(&folder), over.as_ref().map(|(_, work)| work)].into_iter().flatten() {
                        make(made).map_err(|error| format!("cache `{}`: {}: {error}", cache.name, made.display()))?;
                    }
                    kept.push((inside.to_owned(), folder.clone(), over.clone()));
                    folders.push(CacheFolder { inside: inside.to_owned(), folder: folder.clone(), over });
                    contents.push(CacheContent { path: folder.file_name().map(PathBuf::from).unwrap_or_default(), root: own });
                }
                (None, Some(workspace)) => {
                    let folder = workspace.join(path);
                    if found.is_some() {
                        make(&folder).map_err(|error| format!("cache `{}`: {}: {error}", cache.name, folder.display()))?;
                        copies.push((index, folder.clone()));
                    }
                    contents.push(CacheContent { root: workspace.to_owned(), path: PathBuf::from(path) });
                }
                (None, None) => return Err(format!("cache `{}`: `{path}` needs a copy of the workspace", cache.name)),
            }
        }
        let (result, part, bytes) = match &found {
            Some(found) if hit => (CacheResult::Hit, None, found.entry.bytes()),
            Some(found) => (CacheResult::Restored, key.part(found.shared), found.entry.bytes()),
            None => (CacheResult::Missed, key.part(0).filter(|_| self.store.holds(&self.scopes, &cache.name)), 0),
        };
        let entry = match found {
            None => None,
            Some(found) => {
                let entry = blocking(move || {
                    copies.iter().try_for_each(|(index, to)| found.entry.copy(*index, to).map(drop)).map(|()| found.entry)
                });
                Some(entry.await.map_err(told)?)
            }
        };
        let saves = !hit && self.scopes.own.is_some();
        let keep = Kept {
            key: key.clone(),
            contents: contents.clone(),
            folders: kept,
            saves,
            entry: entry.as_ref().map(|e| e.folder().to_owned()),
        };
        write(&record(site.work, &cache.name), &keep).map_err(|error| format!("cache `{}`: {error}", cache.name))?;
        self.tell(site, &cache.name, result, part, bytes, began);
        // an entry that was copied is needed no more
        let held = Held { name: cache.name.clone(), key, contents, saves, _entry: entry.filter(|_| mounted) };
        Ok(Some((held, folders)))
    }

    /// What an attempt that was cut off had. None: it had not come so far.
    fn take_up(&self, cache: &CacheUse, site: Site<'_>) -> Result<Option<(Held, Vec<CacheFolder>)>, String> {
        let Some(kept) = std::fs::read(record(site.work, &cache.name)).ok().and_then(|text| serde_json::from_slice::<Kept>(&text).ok())
        else {
            return Ok(None);
        };
        let mounted = kept.folders.iter().any(|(_, _, over)| over.is_some());
        let entry = kept.entry.as_deref().filter(|_| mounted).map(|folder| self.store.again(folder));
        if matches!(entry, Some(None)) {
            return Err(format!("the cache `{}` that the stage worked on is gone; run it anew with `runner resume --failed`", cache.name));
        }
        let folders = kept.folders.into_iter().map(|(inside, folder, over)| CacheFolder { inside, folder, over }).collect();
        let held = Held { name: cache.name.clone(), key: kept.key, contents: kept.contents, saves: kept.saves, _entry: entry.flatten() };
        Ok(Some((held, folders)))
    }

    /// Saves what a stage that passed left, unless its key was found.
    pub async fn save(&self, used: InUse, site: Site<'_>) {
        let Some(own) = &self.scopes.own else { return };
        for held in used.caches.into_iter().filter(|held| held.saves) {
            let began = Instant::now();
            let (store, own, name) = (self.store.clone(), own.clone(), held.name.clone());
            let (key, contents) = (held.key, held.contents);
            let saved = blocking(move || {
                let saved = store.save(&own, &name, &key, &contents, CACHE_LIMIT)?;
                if matches!(saved, CacheSaved::Saved { .. }) {
                    store.shrink(CACHE_LIMIT, UNIX_EPOCH, false)?;
                }
                Ok::<_, workspace::WorkspaceError>(saved)
            });
            match saved.await {
                Ok(CacheSaved::Saved { bytes, .. }) => self.tell(site, &held.name, CacheResult::Saved, None, bytes, began),
                Ok(CacheSaved::Known) => site.log.note(&format!("cache {}: another run saved this key first", held.name)),
                Ok(CacheSaved::Empty) => site.log.note(&format!("cache {}: the stage left nothing in it", held.name)),
                Ok(CacheSaved::TooLarge { bytes }) => {
                    site.log.note(&format!("cache {}: {bytes} bytes are too much to be saved", held.name))
                }
                // the stage has passed; that it is slower the next time does not change it
                Err(error) => site.log.note(&format!("cache {}: it could not be saved: {error}", held.name)),
            }
        }
    }

    async fn mounts(&self, work: &Path) -> bool {
        let tried = self.mounts.get_or_init(|| async {
            let folder = work.join("overlay");
            let answer = jail::can_overlay(&load::exe(), &folder).await;
            let _ = workspace::remove_tree(&folder);
            if let Err(why) = &answer {
                let message = format!("caches are copied here, since they can't be mounted: {why}");
                self.sink.emit(&Event { at: now(), kind: Kind::Warning { message } });
            }
            answer.is_ok()
        });
        *tried.await
    }

    fn tell(&self, site: Site<'_>, name: &str, result: CacheResult, part: Option<&str>, bytes: u64, began: Instant) {
        let (stage, attempt, part) = (site.stage.id.clone(), site.attempt, part.map(str::to_owned));
        let nanos = began.elapsed().as_nanos() as u64;
        let what = match result {
            CacheResult::Hit => "hit",
            CacheResult::Restored => "restored from older content",
            CacheResult::Missed => "missed",
            CacheResult::Saved => "saved",
        };
        let why = part.as_ref().map(|part| format!("; the key differs at {part}")).unwrap_or_default();
        let cost = if result == CacheResult::Missed {
            String::new()
        } else {
            format!(", {} in {}", history::size(bytes), report::human_duration(nanos))
        };
        site.log.note(&format!("cache {name}: {what}{why}{cost}"));
        self.sink.emit(&Event { at: now(), kind: Kind::Cache { stage, attempt, name: name.to_owned(), result, part, bytes, nanos } });
    }
}

/// `.npm` of `~/.npm`.
fn home(path: &str) -> Option<&str> {
    path.strip_prefix("~/")
}

fn source(part: &KeyPart) -> KeySource {
    match part {
        KeyPart::Text(text) => KeySource::Text(text.clone()),
        KeyPart::Files(globs) => KeySource::Files(globs.clone()),
    }
}

/// Whether the copy has something there, or a link or a file on the way.
fn occupied(workspace: Option<&Path>, path: &str) -> bool {
    let Some(workspace) = workspace else { return false };
    let mut at = workspace.to_owned();
    let names: Vec<&str> = path.split('/').collect();
    for (index, name) in names.iter().enumerate() {
        at.push(name);
        match at.symlink_metadata() {
            Err(_) => return false,
            Ok(found) if !found.is_dir() || index + 1 == names.len() => return true,
            Ok(_) => {}
        }
    }
    false
}

fn record(work: &Path, name: &str) -> PathBuf {
    work.join("caches").join(format!("{name}.json"))
}

fn make(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)
}

fn write(path: &Path, kept: &Kept) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), make)?;
    std::fs::write(path, serde_json::to_vec(kept)?)
}

/// Whose caches a run reads, and whose it writes. What came from outside writes where only its own pull request reads, whatever the pipeline
/// file says.
fn scopes(facts: &Facts) -> Scopes {
    let branch = |name: &str| format!("branch-{}", file_name(name));
    let base = facts.git_base.iter().map(String::as_str).chain(DEFAULT_BRANCHES).map(branch);
    let number = |kind: &str| facts.pull_request.as_deref().map(|number| format!("{kind}-{}", file_name(number)));
    let (own, others): (Option<String>, Vec<String>) = match facts.trust {
        Trust::Local => (Some("local".to_owned()), Vec::new()),
        Trust::Branch => (facts.git_branch.as_deref().map(branch), base.collect()),
        // nobody would ever read what a tag writes
        Trust::Tag => (None, facts.git_branch.as_deref().map(branch).into_iter().chain(base).collect()),
        Trust::PullRequest => (number("pull-request"), base.collect()),
        Trust::Fork => (number("fork"), base.collect()),
    };
    let mut seen = BTreeSet::from_iter(own.clone());
    Scopes { own, others: others.into_iter().filter(|scope| seen.insert(scope.clone())).collect() }
}

/// A name as one folder's name, different for different names.
fn file_name(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.chars().all(plain) && !name.contains("--") && !name.is_empty() && name.len() <= 100 {
        return name.to_owned();
    }
    let kept: String = name.chars().map(|c| if plain(c) { c } else { '-' }).take(60).collect();
    format!("{}--{}", kept.replace("--", "-"), &blake3::hash(name.as_bytes()).to_hex()[..32])
}

/// When a cache that is older was not used for so long that `gc` removes it.
pub fn idle() -> SystemTime {
    SystemTime::now().checked_sub(std::time::Duration::from_secs(30 * 24 * 3600)).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(trust: Trust) -> Facts {
        Facts {
            trust,
            git_branch: Some("feature/x".to_owned()),
            git_base: Some("develop".to_owned()),
            pull_request: Some("7".to_owned()),
            ..Facts::default()
        }
    }

    #[test]
    fn what_comes_from_outside_writes_where_nobody_else_reads() {
        let feature = format!("branch-{}", file_name("feature/x"));
        for (trust, own, others) in [
            (Trust::Local, Some("local"), vec![]),
            (Trust::Branch, Some(feature.as_str()), vec!["branch-develop", "branch-main", "branch-master"]),
            (Trust::Tag, None, vec![feature.as_str(), "branch-develop", "branch-main", "branch-master"]),
            (Trust::PullRequest, Some("pull-request-7"), vec!["branch-develop", "branch-main", "branch-master"]),
            (Trust::Fork, Some("fork-7"), vec!["branch-develop", "branch-main", "branch-master"]),
        ] {
            let Scopes { own: found, others: read } = scopes(&facts(trust));
            assert_eq!((found.as_deref(), read.iter().map(String::as_str).collect::<Vec<_>>()), (own, others), "{trust}");
        }
        // a pull request's branch may be called as it likes
        let named = Facts { git_branch: Some("main".to_owned()), ..facts(Trust::Fork) };
        assert_eq!(scopes(&named).own.as_deref(), Some("fork-7"));
        let nameless = Facts { pull_request: None, ..facts(Trust::Fork) };
        assert_eq!(scopes(&nameless).own, None);
    }

    #[test]
    fn names_that_differ_have_folders_that_differ() {
        let names = ["main", "a/b", "a-b", "a--b", "../main", "", "a b", &file_name("a/b"), "A/b"];
        let folders: BTreeSet<String> = names.iter().map(|name| file_name(name)).collect();
        assert_eq!(folders.len(), names.len(), "{folders:?}");
        assert!(folders.iter().all(|name| !name.contains('/') && !name.is_empty()), "{folders:?}");
    }
}
