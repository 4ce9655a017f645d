//! Caches on real trees: keys and their beginnings, scopes, what a stage may have planted, two runners at once, what goes.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use super::{shape, tree};
use crate::{CACHE_LIMIT, CacheContent, CacheKey, CacheSaved, CacheStore, KeySource, Scopes, State};

struct Scene {
    folder: TempDir,
    store: CacheStore,
}

fn text(text: &str) -> KeySource {
    KeySource::Text(text.to_owned())
}

fn files(globs: &[&str]) -> KeySource {
    KeySource::Files(globs.iter().map(|glob| (*glob).to_owned()).collect())
}

fn own(scope: &str, others: &[&str]) -> Scopes {
    Scopes { own: Some(scope.to_owned()), others: others.iter().map(|scope| (*scope).to_owned()).collect() }
}

impl Scene {
    fn new() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let store = State::open(folder.path()).unwrap().caches();
        Scene { folder, store }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn key(&self, sources: &[KeySource]) -> CacheKey {
        CacheKey::new(&["~/.npm".to_owned()], sources, self.folder.path()).unwrap()
    }

    /// Saves a folder with one file, whose text is `word`.
    fn save(&self, scope: &str, key: &CacheKey, word: &str) -> CacheSaved {
        std::fs::create_dir_all(self.path("work/content")).unwrap();
        std::fs::write(self.path("work/content/word"), word).unwrap();
        self.save_what_is_there(scope, key)
    }

    fn save_what_is_there(&self, scope: &str, key: &CacheKey) -> CacheSaved {
        let content = CacheContent { root: self.path("work"), path: "content".into() };
        self.store.save(scope, "npm", key, &[content], CACHE_LIMIT).unwrap()
    }

    /// The word that is found, and how many parts of the key were shared.
    fn found(&self, scopes: &Scopes, key: &CacheKey) -> Option<(String, usize)> {
        let found = self.store.find(scopes, "npm", key).unwrap()?;
        Some((std::fs::read_to_string(found.entry.content(0).join("word")).unwrap(), found.shared))
    }
}

#[test]
fn a_key_is_its_parts_the_files_content_and_the_paths() {
    let scene = Scene::new();
    tree(scene.folder.path(), &["a/package-lock.json", "b/package-lock.json", "b/other.json", ".git/package-lock.json"]);
    let sources = [text("node20"), files(&["**/package-lock.json"])];
    let key = scene.key(&sources);
    assert_eq!(key, scene.key(&sources));
    std::fs::write(scene.path("b/other.json"), "new").unwrap();
    std::fs::write(scene.path(".git/package-lock.json"), "new").unwrap();
    assert_eq!(key, scene.key(&sources), "what does not fit does not count");
    std::fs::write(scene.path("b/package-lock.json"), "new").unwrap();
    let changed = scene.key(&sources);
    assert_ne!(key, changed);
    std::fs::rename(scene.path("b"), scene.path("c")).unwrap();
    assert_ne!(changed, scene.key(&sources), "where a file lies counts");
    let other = CacheKey::new(&["~/.yarn".to_owned()], &sources, scene.folder.path()).unwrap();
    assert_ne!(scene.key(&sources), other, "what is kept counts");
    assert_ne!(scene.key(&[text("ab"), text("c")]), scene.key(&[text("a"), text("bc")]));
    assert_eq!(scene.key(&[files(&["none.lock"])]).fits_nothing(), ["none.lock"]);
    assert_eq!(key.part(1), Some("the files \"**/package-lock.json\""));
}

#[test]
fn files_that_are_links_never_count() {
    let scene = Scene::new();
    std::fs::write(scene.path("secret"), "1").unwrap();
    std::os::unix::fs::symlink(scene.path("secret"), scene.path("package-lock.json")).unwrap();
    let key = scene.key(&[files(&["package-lock.json"])]);
    std::fs::write(scene.path("secret"), "2").unwrap();
    assert_eq!(key, scene.key(&[files(&["package-lock.json"])]));
    assert_eq!(key.fits_nothing(), ["package-lock.json"]);
}

#[test]
fn the_longest_beginning_is_found_and_the_newest_of_it() {
    let scene = Scene::new();
    let scopes = own("local", &[]);
    let key = |parts: &[&str]| scene.key(&parts.iter().map(|part| text(part)).collect::<Vec<_>>());
    assert_eq!(scene.found(&scopes, &key(&["a", "b", "c"])), None);
    assert!(!scene.store.holds(&scopes, "npm"));
    scene.save("local", &key(&["a", "x", "y"]), "axy");
    scene.save("local", &key(&["a", "b", "d"]), "abd");
    std::thread::sleep(Duration::from_millis(2));
    scene.save("local", &key(&["a", "b", "e"]), "abe");
    assert!(scene.store.holds(&scopes, "npm"));
    assert_eq!(scene.found(&scopes, &key(&["a", "b", "c"])), Some(("abe".to_owned(), 2)));
    assert_eq!(scene.found(&scopes, &key(&["a", "b", "d"])), Some(("abd".to_owned(), 3)));
    assert_eq!(scene.found(&scopes, &key(&["a", "z", "d"])), Some(("abe".to_owned(), 1)));
    assert_eq!(scene.found(&scopes, &key(&["z", "b", "d"])), None);
}

#[test]
fn a_scope_is_read_by_those_alone_who_name_it() {
    let scene = Scene::new();
    let key = scene.key(&[text("a")]);
    assert!(matches!(scene.save("fork-7", &key, "poison"), CacheSaved::Saved { files: 1, .. }));
    assert_eq!(scene.found(&own("branch-main", &[]), &key), None);
    assert_eq!(scene.found(&own("fork-8", &["branch-main"]), &key), None);
    assert_eq!(scene.found(&own("fork-7", &["branch-main"]), &key), Some(("poison".to_owned(), 1)));
    scene.save("branch-main", &key, "good");
    assert_eq!(scene.found(&own("branch-main", &[]), &key), Some(("good".to_owned(), 1)));
    assert_eq!(scene.found(&own("fork-7", &["branch-main"]), &key).unwrap().0, "poison", "its own before others'");
    assert_eq!(scene.found(&own("fork-8", &["branch-main"]), &key).unwrap().0, "good");
}

#[test]
fn what_is_saved_is_moved_and_the_first_wins() {
    let scene = Scene::new();
    let key = scene.key(&[text("a")]);
    tree(&scene.path("work/content"), &["deep/er/file", "empty/"]);
    std::os::unix::fs::symlink("/etc/passwd", scene.path("work/content/link")).unwrap();
    super::set_mode(&scene.path("work/content"), 0o555);
    assert!(matches!(scene.save_what_is_there("local", &key), CacheSaved::Saved { files: 2, .. }));
    assert!(!scene.path("work/content").exists());
    let found = scene.store.find(&own("local", &[]), "npm", &key).unwrap().unwrap();
    let shape_of_entry = shape(&found.entry.content(0));
    assert_eq!(shape_of_entry, ["deep/", "deep/er/", "deep/er/file=deep/er/file", "empty/", "link->/etc/passwd"]);
    std::fs::create_dir(scene.path("copy")).unwrap();
    found.entry.copy(0, &scene.path("copy")).unwrap();
    assert_eq!(shape(&scene.path("copy")), shape_of_entry);
    assert_eq!(scene.save("local", &key, "second"), CacheSaved::Known);
    assert_eq!(std::fs::read_dir(scene.store.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_planted_link_leads_nowhere() {
    let scene = Scene::new();
    let key = scene.key(&[text("a")]);
    tree(scene.folder.path(), &["outside/content/word"]);
    for (root, path) in [("link/", "content"), ("work", "link/content"), ("work", "content")] {
        let _ = std::fs::remove_dir_all(scene.path("work"));
        std::fs::create_dir_all(scene.path("work")).unwrap();
        if root == "work" {
            let (link, to) = if path == "content" { ("content", "outside/content") } else { ("link", "outside") };
            std::os::unix::fs::symlink(scene.path(to), scene.path("work").join(link)).unwrap();
        }
        let content = CacheContent { root: scene.path(root), path: path.into() };
        let saved = scene.store.save("local", "npm", &key, &[content], CACHE_LIMIT).unwrap();
        assert_eq!(saved, CacheSaved::Empty, "{root} {path}");
        assert!(scene.path("outside/content/word").exists(), "{root} {path}");
    }
}

#[test]
fn two_that_save_at_once_leave_one_whole_entry() {
    let scene = Scene::new();
    let key = scene.key(&[text("a")]);
    let saved: Vec<CacheSaved> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| {
                let (scene, key) = (&scene, &key);
                scope.spawn(move || {
                    let root = scene.path(&format!("work-{number}"));
                    tree(&root.join("content"), &["a/word", "b/word"]);
                    scene.store.save("local", "npm", key, &[CacheContent { root, path: "content".into() }], CACHE_LIMIT).unwrap()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let first = saved.iter().filter(|saved| matches!(saved, CacheSaved::Saved { .. })).count();
    assert_eq!(first, 1, "{saved:?}");
    let found = scene.store.find(&own("local", &[]), "npm", &key).unwrap().unwrap();
    assert_eq!(shape(&found.entry.content(0)), ["a/", "a/word=a/word", "b/", "b/word=b/word"]);
    assert_eq!(std::fs::read_dir(scene.store.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn what_was_not_used_for_longest_goes_and_what_is_in_use_stays() {
    let scene = Scene::new();
    let keys: Vec<CacheKey> = ["a", "b", "c"].iter().map(|part| scene.key(&[text(part)])).collect();
    for key in &keys {
        std::fs::create_dir_all(scene.path("work/content")).unwrap();
        std::fs::write(scene.path("work/content/word"), vec![b'x'; 8192]).unwrap();
        scene.save_what_is_there("local", key);
        std::thread::sleep(Duration::from_millis(5));
    }
    let scopes = own("local", &[]);
    let a = scene.store.find(&scopes, "npm", &keys[0]).unwrap().unwrap();
    let held = a.entry.folder().to_owned();
    assert!(scene.store.again(&held).is_some() && scene.store.again(&scene.path("work")).is_none());
    let listed = scene.store.list().unwrap();
    assert_eq!(listed.iter().map(|entry| entry.parts[0].as_str()).collect::<Vec<_>>(), ["\"a\"", "\"c\"", "\"b\""]);
    assert_eq!(scene.store.shrink(16 << 10, UNIX_EPOCH, true).unwrap().entries.len(), 1);
    assert_eq!(scene.store.list().unwrap().len(), 3, "a dry one removes nothing");
    let removed = scene.store.shrink(16 << 10, UNIX_EPOCH, false).unwrap();
    assert_eq!((removed.entries[0].parts[0].as_str(), removed.bytes), ("\"b\"", 8192));
    let removed = scene.store.shrink(0, SystemTime::now(), false).unwrap();
    assert_eq!(removed.entries.len(), 1, "what is in use stays");
    drop(a);
    scene.store.shrink(0, SystemTime::now(), false).unwrap();
    assert_eq!(scene.store.list().unwrap(), []);
    assert!(!Path::new(&held).exists() && !scene.store.path().join("local").exists());
}

#[test]
fn more_than_may_be_kept_is_not_saved() {
    let scene = Scene::new();
    let key = scene.key(&[text("a")]);
    tree(&scene.path("work/content"), &["file"]);
    std::fs::write(scene.path("work/content/file"), vec![b'x'; 8192]).unwrap();
    let content = CacheContent { root: scene.path("work"), path: "content".into() };
    let saved = scene.store.save("local", "npm", &key, &[content], 4096).unwrap();
    assert_eq!(saved, CacheSaved::TooLarge { bytes: 8192 });
    assert!(scene.path("work/content/file").exists());
}
