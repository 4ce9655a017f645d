use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::{ArtifactLimits, BlobStore, Collect, Digest, Entry, WorkspaceError};

struct Bench {
    folder: tempfile::TempDir,
    store: BlobStore,
}

impl Bench {
    fn new(paths: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("workspace")).unwrap();
        tree(&folder.path().join("workspace"), paths);
        let store = BlobStore::at(folder.path().join("blobs"));
        Bench { folder, store }
    }

    fn workspace(&self) -> PathBuf {
        self.folder.path().join("workspace")
    }

    fn collect(&self, globs: &[&str]) -> Result<event::Artifact, WorkspaceError> {
        self.limited(globs, ArtifactLimits::default())
    }

    fn limited(&self, globs: &[&str], limits: ArtifactLimits) -> Result<event::Artifact, WorkspaceError> {
        let globs: Vec<String> = globs.iter().map(|g| (*g).to_owned()).collect();
        let exclude = [".runner".to_owned(), ".git".to_owned()];
        self.store.collect(&Collect { name: "dist", folder: &self.workspace(), globs: &globs, exclude: &exclude, limits })
    }

    fn paths(&self, globs: &[&str]) -> Vec<String> {
        let artifact = self.collect(globs).unwrap();
        self.store.manifest(&artifact.digest).unwrap().entries.iter().map(|entry| entry.path().to_owned()).collect()
    }

    fn restored(&self, digest: &str) -> Vec<String> {
        let into = tempfile::tempdir().unwrap();
        self.store.restore("build.dist", digest, into.path(), &[]).unwrap();
        shape(into.path())
    }
}

#[test]
fn there_and_back() {
    let bench = Bench::new(&["dist/app", "dist/lib/a.so", "dist/empty/", "src/main.rs", ".git/HEAD", ".runner/x"]);
    set_mode(&bench.workspace().join("dist/app"), 0o755);
    symlink("lib/a.so", bench.workspace().join("dist/link")).unwrap();
    symlink("nowhere", bench.workspace().join("dist/dangling")).unwrap();
    let artifact = bench.collect(&["dist"]).unwrap();
    assert_eq!((artifact.name.as_str(), artifact.files, artifact.bytes), ("dist", 4, 8 + 13));
    assert_eq!(
        bench.restored(&artifact.digest),
        [
            "dist/",
            "dist/app=dist/app",
            "dist/dangling->nowhere",
            "dist/empty/",
            "dist/lib/",
            "dist/lib/a.so=dist/lib/a.so",
            "dist/link->lib/a.so"
        ]
    );
    let into = tempfile::tempdir().unwrap();
    let restored = bench.store.restore("build.dist", &artifact.digest, into.path(), &[]).unwrap();
    assert_eq!((restored.files, restored.bytes), (4, 21));
    assert_eq!(mode(&into.path().join("dist/app")), 0o755);
    assert_eq!(mode(&bench.folder.path().join("blobs")), 0o700);
    let blob: Digest = artifact.digest.parse().unwrap();
    assert_eq!(mode(&bench.store.blob_path(&blob)), 0o600);
    // the same files are the same artifact
    assert_eq!(bench.collect(&["dist/**"]).unwrap().digest, artifact.digest);
    assert_eq!(bench.folder.path().join("blobs/tmp").read_dir().unwrap().count(), 0);
}

#[test]
fn globs() {
    let bench =
        Bench::new(&["dist/a.js", "dist/a.map", "dist/deep/b.js", "report.xml", "x/report.xml", ".git/report.xml", ".runner/report.xml"]);
    assert_eq!(bench.paths(&["dist/*.js"]), ["dist/a.js"]);
    assert_eq!(bench.paths(&["**/*.js"]), ["dist/a.js", "dist/deep/b.js"]);
    assert_eq!(bench.paths(&["**/report.xml"]), ["report.xml", "x/report.xml"]);
    assert_eq!(bench.paths(&["dist/deep", "report.xml"]), ["dist/deep", "dist/deep/b.js", "report.xml"]);
    assert_eq!(bench.paths(&["**"]).len(), 8, "never .git and .runner");
}

#[test]
fn a_glob_that_matches_nothing_is_named_with_what_comes_near() {
    let bench = Bench::new(&["coverage/lcov.info", "target/release/app"]);
    for (glob, said) in [
        ("coverge/**", "artifact `dist`: nothing matches `coverge/**`; did you mean `coverage`?"),
        ("coverage/*.xml", "artifact `dist`: nothing matches `coverage/*.xml`; there is `coverage`, but nothing in it matches"),
        ("target/relase/app", "artifact `dist`: nothing matches `target/relase/app`; did you mean `target/release`?"),
        ("target/debug/app", "artifact `dist`: nothing matches `target/debug/app`; there is `target`, but no `debug` in it"),
        ("zzz", "artifact `dist`: nothing matches `zzz`; there is no `zzz` in the workspace"),
        ("*.zip", "artifact `dist`: nothing matches `*.zip`"),
        ("../x", "artifact `dist`: `../x` is not a glob: it must not hold `..`"),
    ] {
        assert_eq!(bench.collect(&["target/release/app", glob]).unwrap_err().to_string(), said);
    }
}

#[test]
fn planted_links_lead_nowhere() {
    let bench = Bench::new(&["dist/a"]);
    let secret = bench.folder.path().join("secret");
    std::fs::create_dir(&secret).unwrap();
    std::fs::write(secret.join("key"), "secret").unwrap();
    for (target, at) in [("../../secret/key", "dist/out"), ("/etc/passwd", "dist/out"), ("../../secret", "dist/out")] {
        let link = bench.workspace().join(at);
        symlink(target, &link).unwrap();
        let error = bench.collect(&["dist/**"]).unwrap_err();
        assert!(matches!(&error, WorkspaceError::LinkLeadsOut { path, .. } if path == at), "{error}");
        // nothing below a link is looked at
        assert!(matches!(bench.collect(&["dist/out/key"]).unwrap_err(), WorkspaceError::NothingMatches { .. }));
        std::fs::remove_file(link).unwrap();
    }
    // the artifact's own folder as a link
    std::fs::rename(bench.workspace().join("dist"), bench.workspace().join("real")).unwrap();
    symlink("../secret", bench.workspace().join("dist")).unwrap();
    assert!(matches!(bench.collect(&["dist"]).unwrap_err(), WorkspaceError::LinkLeadsOut { .. }));
    assert!(matches!(bench.collect(&["dist/**/key"]).unwrap_err(), WorkspaceError::NothingMatches { .. }));
    // inside it is kept as what it is
    std::fs::remove_file(bench.workspace().join("dist")).unwrap();
    symlink("real", bench.workspace().join("dist")).unwrap();
    assert_eq!(bench.paths(&["dist"]), ["dist"]);
}

#[test]
fn a_link_that_is_swapped_in_while_files_are_taken() {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use std::sync::atomic::{AtomicBool, Ordering};
    let bench = Bench::new(&["dist/sub/key", "other/"]);
    std::fs::create_dir(bench.folder.path().join("secret")).unwrap();
    std::fs::write(bench.folder.path().join("secret/key"), "secret").unwrap();
    // outside of the globs, so that only the swap brings it in
    symlink("../../secret", bench.workspace().join("other/link")).unwrap();
    let stop = AtomicBool::new(false);
    let (one, two) = (bench.workspace().join("dist/sub"), bench.workspace().join("other/link"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                renameat_with(CWD, &one, CWD, &two, RenameFlags::EXCHANGE).unwrap();
            }
        });
        for _ in 0..300 {
            match bench.collect(&["dist/**"]) {
                Ok(artifact) => {
                    let lines = bench.restored(&artifact.digest);
                    assert!(lines.iter().all(|line| !line.contains("=secret")), "{lines:?}");
                }
                Err(WorkspaceError::LinkLeadsOut { .. } | WorkspaceError::Io { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn what_an_artifact_does_not_hold() {
    let bench = Bench::new(&["dist/a"]);
    fifo(&bench.workspace().join("dist/pipe"));
    let error = bench.collect(&["dist"]).unwrap_err();
    assert_eq!(error.to_string(), "artifact `dist`: `dist/pipe` is a FIFO; artifacts hold files, directories and symbolic links");
    std::fs::remove_file(bench.workspace().join("dist/pipe")).unwrap();

    let odd = bench.workspace().join("dist").join(std::ffi::OsStr::from_bytes(b"\xff"));
    std::fs::write(&odd, "").unwrap();
    assert!(matches!(bench.collect(&["dist"]).unwrap_err(), WorkspaceError::NotUtf8 { .. }));
    assert_eq!(bench.paths(&["dist/a"]), ["dist/a"], "only where it would be taken");
    std::fs::remove_file(&odd).unwrap();

    tree(&bench.workspace(), &["dist/b", "dist/c"]);
    let error = bench.limited(&["dist"], ArtifactLimits { entries: 3, bytes: 100 }).unwrap_err();
    assert_eq!(error.to_string(), "artifact `dist` holds more than 3 files; narrow its `paths`");
    let error = bench.limited(&["dist"], ArtifactLimits { entries: 100, bytes: 17 }).unwrap_err();
    assert_eq!(error.to_string(), "artifact `dist` holds more than 17 bytes; narrow its `paths`");
}

#[test]
fn a_corrupt_blob_is_named_and_nothing_is_left_of_it() {
    let bench = Bench::new(&["dist/a"]);
    let artifact = bench.collect(&["dist"]).unwrap();
    let manifest = bench.store.manifest(&artifact.digest).unwrap();
    let Some(Entry::File { digest, .. }) = manifest.entries.last() else { panic!("{manifest:?}") };
    let blob = bench.store.blob_path(digest);
    std::fs::write(&blob, "dist/b").unwrap();
    let into = tempfile::tempdir().unwrap();
    let error = bench.store.restore("build.dist", &artifact.digest, into.path(), &[]).unwrap_err();
    assert!(matches!(&error, WorkspaceError::CorruptBlob { path, .. } if *path == blob), "{error}");
    assert!(error.to_string().contains(&digest.to_string()) && error.to_string().contains("remove"), "{error}");
    assert!(!into.path().join("dist/a").exists());
    // one of another length is replaced when the content comes again
    std::fs::write(&blob, "short").unwrap();
    bench.collect(&["dist"]).unwrap();
    assert_eq!(bench.store.get(digest).unwrap(), b"dist/a");
    // one that is gone
    std::fs::remove_file(&blob).unwrap();
    let error = bench.store.restore("build.dist", &artifact.digest, into.path(), &[]).unwrap_err();
    assert!(matches!(error, WorkspaceError::MissingBlob { .. }), "{error}");
    // the manifest itself
    let own: Digest = artifact.digest.parse().unwrap();
    std::fs::write(bench.store.blob_path(&own), "{}").unwrap();
    assert!(matches!(bench.store.manifest(&artifact.digest).unwrap_err(), WorkspaceError::CorruptBlob { .. }));
    assert!(matches!(bench.store.manifest("../../etc/passwd").unwrap_err(), WorkspaceError::BadDigest(_)));
}

#[test]
fn manifests_are_not_believed() {
    let bench = Bench::new(&[]);
    let digest = "ab".repeat(32);
    for (text, part) in [
        (r#"{"format":2,"entries":[],"new":1}"#.to_owned(), "use a newer one"),
        (r#"{"format":1,"entries":[],"new":1}"#.to_owned(), "unknown field"),
        (r#"{"format":1,"entries":[{"kind":"symlink","path":"../x","target":"y"}]}"#.to_owned(), "`../x` is not a path"),
        (r#"{"format":1,"entries":[{"kind":"symlink","path":"/x","target":"y"}]}"#.to_owned(), "is not a path"),
        (r#"{"format":1,"entries":[{"kind":"symlink","path":"x","target":"/etc"}]}"#.to_owned(), "leads out"),
        (
            r#"{"format":1,"entries":[{"kind":"symlink","path":"x","target":"y"},{"kind":"symlink","path":"x","target":"y"}]}"#.to_owned(),
            "is not a path",
        ),
        (
            format!(r#"{{"format":1,"entries":[{{"kind":"file","path":"a/../b","mode":420,"size":1,"digest":"{digest}"}}]}}"#),
            "is not a path",
        ),
        ("not json".to_owned(), "expected"),
    ] {
        let stored = bench.store.put(text.as_bytes()).unwrap().to_string();
        let error = bench.store.manifest(&stored).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    // a file below its own link
    let link = r#"{"format":1,"entries":[{"kind":"symlink","path":"a","target":"b"},{"kind":"directory","path":"a/c","mode":493}]}"#;
    let stored = bench.store.put(link.as_bytes()).unwrap().to_string();
    let into = tempfile::tempdir().unwrap();
    std::fs::create_dir(into.path().join("b")).unwrap();
    let error = bench.store.restore("evil.dist", &stored, into.path(), &[]).unwrap_err();
    assert!(error.to_string().contains("in the way"), "{error}");
    assert!(!into.path().join("b/c").exists());
}

#[test]
fn several_stores_at_once() {
    let paths: Vec<String> = (0..200).map(|n| format!("dist/{}/{n}", n % 7)).collect();
    let bench = Bench::new(&paths.iter().map(String::as_str).collect::<Vec<_>>());
    let digests: Vec<String> = std::thread::scope(|scope| {
        let stores: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    // a store of its own, as another runner has
                    let other = Bench { folder: tempfile::tempdir().unwrap(), store: BlobStore::at(bench.store.path().to_owned()) };
                    let globs = ["dist".to_owned()];
                    let what =
                        Collect { name: "dist", folder: &bench.workspace(), globs: &globs, exclude: &[], limits: Default::default() };
                    other.store.collect(&what).unwrap().digest
                })
            })
            .collect();
        stores.into_iter().map(|store| store.join().unwrap()).collect()
    });
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
    assert_eq!(bench.restored(&digests[0]).len(), 200 + 7 + 1);
    assert_eq!(bench.folder.path().join("blobs/tmp").read_dir().unwrap().count(), 0);
}

/// A name or two, no dots alone.
fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9 _ü.-]{0,8}[a-zA-Z0-9_ü]"
}

#[derive(Debug, Clone)]
enum Leaf {
    File(Vec<u8>, u32),
    Link(String),
    Directory,
}

fn leaf() -> impl Strategy<Value = Leaf> {
    prop_oneof![
        4 => (prop::collection::vec(any::<u8>(), 0..200), prop_oneof![Just(0o644), Just(0o755), Just(0o600), Just(0o444)]).prop_map(|(b, m)| Leaf::File(b, m)),
        1 => name().prop_map(Leaf::Link),
        1 => Just(Leaf::Directory),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_collected_comes_back(planned in prop::collection::btree_map(prop::collection::vec(name(), 1..4), leaf(), 1..12)) {
        let bench = Bench::new(&[]);
        let root = bench.workspace().join("dist");
        std::fs::create_dir(&root).unwrap();
        let mut modes = BTreeMap::new();
        for (names, leaf) in &planned {
            let path: PathBuf = names.iter().collect();
            let full = root.join(&path);
            // a name that is already a file, or a file below one, is left out
            if full.symlink_metadata().is_ok() || std::fs::create_dir_all(full.parent().unwrap()).is_err() {
                continue;
            }
            match leaf {
                Leaf::File(bytes, bits) => {
                    std::fs::write(&full, bytes).unwrap();
                    set_mode(&full, *bits);
                    modes.insert(path, *bits);
                }
                Leaf::Link(to) => symlink(to, &full).unwrap(),
                Leaf::Directory => std::fs::create_dir(&full).unwrap(),
            }
        }
        let artifact = bench.collect(&["dist"]).unwrap();
        let into = tempfile::tempdir().unwrap();
        bench.store.restore("build.dist", &artifact.digest, into.path(), &[]).unwrap();
        prop_assert_eq!(shape(&into.path().join("dist")), shape(&root));
        for (path, bits) in modes {
            prop_assert_eq!(mode(&into.path().join("dist").join(path)), bits);
        }
        // and over itself
        bench.store.restore("build.dist", &artifact.digest, into.path(), &[]).unwrap();
        let again = bench.collect(&["dist"]).unwrap();
        prop_assert_eq!(again.digest, artifact.digest);
    }
}
