use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use super::*;
use crate::{Collect, Consumed, Mode, Request, StageWorkspace, State, WorkspaceError, prepare};

struct Bench {
    folder: tempfile::TempDir,
    state: State,
}

impl Bench {
    fn new(plant: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let checkout = folder.path().join("checkout");
        std::fs::create_dir(&checkout).unwrap();
        plant(&checkout);
        let state = State::open(&checkout).unwrap();
        Bench { folder, state }
    }

    fn checkout(&self) -> PathBuf {
        self.folder.path().join("checkout")
    }

    fn prepare(&self, mode: Mode, consumed: &[Consumed<'_>]) -> Result<StageWorkspace, WorkspaceError> {
        let store = self.state.blobs();
        let protected = [".git".to_owned(), ".runner".to_owned(), "pipeline.toml".to_owned()];
        let folder = self.state.run_folder("r1").join("work/build.1/workspace");
        prepare(&Request { mode, checkout: &self.checkout(), folder: &folder, consumed, store: &store, protected: &protected })
    }

    fn private(&self) -> StageWorkspace {
        self.prepare(Mode::Private, &[]).unwrap()
    }

    fn artifact(&self, plant: impl FnOnce(&Path)) -> String {
        let from = tempfile::tempdir().unwrap();
        plant(from.path());
        let globs = ["**".to_owned()];
        let collect = Collect { name: "dist", folder: from.path(), globs: &globs, exclude: &[], limits: Default::default() };
        self.state.blobs().collect(&collect).unwrap().digest
    }
}

fn git(folder: &Path, args: &[&str]) {
    let status = std::process::Command::new("git").arg("-C").arg(folder).args(args).env("GIT_CONFIG_NOSYSTEM", "1").output().unwrap();
    assert!(status.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&status.stderr));
}

#[test]
fn a_copy_is_what_the_checkout_is() {
    let bench = Bench::new(|root| {
        tree(root, &["src/main.rs", "empty/", "deep/er/still/x", "tool.sh", ".hidden/file", "target/debug/app"]);
        std::fs::write(root.join("big"), vec![7; 3 << 20]).unwrap();
        set_mode(&root.join("tool.sh"), 0o755);
        set_mode(&root.join("src/main.rs"), 0o444);
        symlink("src/main.rs", root.join("link")).unwrap();
        symlink("/etc/passwd", root.join("absolute")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        std::fs::hard_link(root.join("tool.sh"), root.join("hard")).unwrap();
        fifo(&root.join("pipe"));
        let old = SystemTime::UNIX_EPOCH + Duration::new(1_000_000, 123_456_789);
        for path in ["tool.sh", "deep/er/still", "deep"] {
            std::fs::File::open(root.join(path)).unwrap().set_modified(old).unwrap();
        }
    });
    let workspace = bench.private();
    let mut expected: Vec<_> = shape_without_pipe(&bench.checkout());
    expected.retain(|line| !line.starts_with(".runner"));
    assert_eq!(shape(&workspace.folder), expected);
    let (from, to) = (bench.checkout(), &workspace.folder);
    for path in ["src/main.rs", "tool.sh", "deep", "deep/er/still", "big", "link"] {
        let (a, b) = (from.join(path).symlink_metadata().unwrap(), to.join(path).symlink_metadata().unwrap());
        assert_eq!((a.mtime(), a.mtime_nsec(), a.mode()), (b.mtime(), b.mtime_nsec(), b.mode()), "{path}");
        assert_ne!(a.ino(), b.ino(), "{path}");
    }
    assert_eq!(to.join("hard").metadata().unwrap().nlink(), 1, "a file of its own");
    assert_eq!(workspace.copied.unwrap().files, 10);
    std::fs::write(to.join("tool.sh"), "changed").unwrap();
    assert_eq!(std::fs::read_to_string(from.join("tool.sh")).unwrap(), "tool.sh");
    workspace.remove().unwrap();
    assert!(!workspace.folder.exists() && from.join("tool.sh").exists());
}

fn shape_without_pipe(root: &Path) -> Vec<String> {
    std::fs::remove_file(root.join("pipe")).unwrap();
    shape(root)
}

#[test]
fn what_git_ignores_is_left_out_unless_it_is_tracked() {
    let bench = Bench::new(|root| {
        tree(
            root,
            &["src/a.rs", "target/debug/app", "web/node_modules/x/index.js", "web/app.js", "bin/tool", "bin/other", "a.log", "logs/keep"],
        );
        std::fs::write(root.join(".gitignore"), "/target/\nnode_modules/\nbin/\n*.log\nlogs\n").unwrap();
        git(root, &["init", "-q"]);
        git(root, &["add", "."]);
        git(root, &["add", "-f", "bin/tool"]);
        // not committed yet: copied
        std::fs::write(root.join("src/a.rs"), "changed").unwrap();
        std::fs::write(root.join("src/new.rs"), "new").unwrap();
    });
    let workspace = bench.private();
    let copied: Vec<_> = shape(&workspace.folder).into_iter().filter(|line| !line.starts_with(".git/")).collect();
    assert_eq!(
        copied,
        [
            ".gitignore=/target/\nnode_modules/\nbin/\n*.log\nlogs\n",
            "bin/",
            "bin/tool=bin/tool",
            "src/",
            "src/a.rs=changed",
            "src/new.rs=new",
            "web/",
            "web/app.js=web/app.js",
        ]
    );
    // the repository is whole: `logs` in .gitignore does not apply inside
    assert!(workspace.folder.join(".git/HEAD").exists() && workspace.folder.join(".git/objects").is_dir());
    git(&workspace.folder, &["fsck", "--strict"]);
}

#[test]
fn a_folder_of_a_repository_obeys_the_rules_above_it() {
    let folder = tempfile::tempdir().unwrap();
    let repository = folder.path();
    tree(repository, &["app/src/a", "app/out/x", "app/forced/y", "other/z"]);
    std::fs::write(repository.join(".gitignore"), "out/\nforced/\n").unwrap();
    git(repository, &["init", "-q"]);
    git(repository, &["add", "-f", "app/forced/y", "app/src/a"]);
    let checkout = repository.join("app");
    let state = State::open(&checkout).unwrap();
    let store = state.blobs();
    let target = state.run_folder("r").join("work/w");
    let workspace =
        prepare(&Request { mode: Mode::Private, checkout: &checkout, folder: &target, consumed: &[], store: &store, protected: &[] })
            .unwrap();
    assert_eq!(shape(&workspace.folder), ["forced/", "forced/y=app/forced/y", "src/", "src/a=app/src/a"]);
}

#[test]
fn readers_share_the_checkout_until_they_consume_something() {
    let bench = Bench::new(|root| tree(root, &["a"]));
    let shared = bench.prepare(Mode::ReadOnly, &[]).unwrap();
    assert_eq!((shared.folder.clone(), shared.copied), (bench.checkout().canonicalize().unwrap(), None));
    shared.remove().unwrap();
    assert!(bench.checkout().join("a").exists(), "the checkout stays");

    let digest = bench.artifact(|root| tree(root, &["dist/app"]));
    let consumed = [Consumed { name: "build.dist", digest: &digest }];
    let own = bench.prepare(Mode::ReadOnly, &consumed).unwrap();
    assert_eq!(shape(&own.folder), ["a=a", "dist/", "dist/app=dist/app"]);
    assert!(!bench.checkout().join("dist").exists());
    own.remove().unwrap();

    let through = bench.prepare(Mode::Shared, &consumed).unwrap();
    assert_eq!(through.folder, bench.checkout().canonicalize().unwrap());
    assert!(bench.checkout().join("dist/app").exists());
    through.remove().unwrap();
    assert!(bench.checkout().join("dist/app").exists());
}

#[test]
fn artifacts_replace_files_and_follow_no_link() {
    let bench = Bench::new(|root| {
        tree(root, &["dist/app", "other/"]);
        symlink("../other", root.join("dist/linked")).unwrap();
        set_mode(&root.join("dist/app"), 0o444);
    });
    let digest = bench.artifact(|root| {
        tree(root, &["dist/app", "dist/ro/x"]);
        std::fs::write(root.join("dist/app"), "new").unwrap();
        set_mode(&root.join("dist/app"), 0o755);
        set_mode(&root.join("dist/ro"), 0o555);
        symlink("app", root.join("dist/link")).unwrap();
    });
    let workspace = bench.prepare(Mode::Private, &[Consumed { name: "build.dist", digest: &digest }]).unwrap();
    assert_eq!(std::fs::read_to_string(workspace.folder.join("dist/app")).unwrap(), "new");
    assert_eq!(mode(&workspace.folder.join("dist/app")), 0o755);
    assert_eq!(mode(&workspace.folder.join("dist/ro")), 0o555);
    assert_eq!(std::fs::read_to_string(bench.checkout().join("dist/app")).unwrap(), "dist/app");
    workspace.remove().unwrap();

    for plant in [&["dist/linked/x"] as &[&str], &["dist/app/x"]] {
        let digest = bench.artifact(|root| tree(root, plant));
        let error = bench.prepare(Mode::Private, &[Consumed { name: "build.dist", digest: &digest }]).unwrap_err();
        assert!(error.to_string().ends_with("a symbolic link or a file is in the way"), "{error}");
        assert!(!bench.state.run_folder("r1").join("work/build.1/workspace").exists(), "nothing half-made is left");
    }
    assert!(bench.checkout().join("other").read_dir().unwrap().next().is_none());
    let digest = bench.artifact(|root| tree(root, &["other"]));
    let error = bench.prepare(Mode::Private, &[Consumed { name: "build.dist", digest: &digest }]).unwrap_err();
    assert!(matches!(error, WorkspaceError::Occupied { .. }), "{error}");
}

#[test]
fn an_artifact_never_writes_what_is_protected() {
    let bench = Bench::new(|root| tree(root, &["pipeline.toml", ".git/HEAD"]));
    for path in [".git/hooks/pre-commit", "pipeline.toml", ".runner/blobs/x", ".GIT/config"] {
        let digest = bench.artifact(|root| tree(root, &[path]));
        for mode in [Mode::Private, Mode::Shared] {
            let error = bench.prepare(mode, &[Consumed { name: "evil.dist", digest: &digest }]).unwrap_err();
            assert!(matches!(error, WorkspaceError::Protected { .. }), "{path}: {error}");
        }
    }
    assert!(!bench.checkout().join(".git/hooks").exists());
}

#[test]
fn odd_checkouts() {
    let bench = Bench::new(|root| tree(root, &["a b/ü/x"]));
    let link = bench.folder.path().join("by link");
    symlink("checkout", &link).unwrap();
    let store = bench.state.blobs();
    let target = bench.folder.path().join("copy");
    let request = Request { mode: Mode::Private, checkout: &link, folder: &target, consumed: &[], store: &store, protected: &[] };
    assert_eq!(shape(&prepare(&request).unwrap().folder), ["a b/", "a b/ü/", "a b/ü/x=a b/ü/x"]);
    let file = bench.checkout().join("a b/ü/x");
    let error = prepare(&Request { checkout: &file, ..request }).unwrap_err();
    assert!(matches!(error, WorkspaceError::NotADirectory { .. }), "{error}");
    let error = prepare(&Request { checkout: Path::new("/nowhere/at/all"), ..request }).unwrap_err();
    assert!(error.to_string().starts_with("/nowhere/at/all: "), "{error}");
}

#[test]
fn errors_of_the_disk_say_where_and_what_to_do() {
    use rustix::io::Errno;
    for (errno, part) in [
        (Errno::NOSPC, "no space is left on the disk of /x/y (copying it); free some there"),
        (Errno::DQUOT, "no space is left"),
        (Errno::ROFS, "/x/y is on a read-only file system (copying it)"),
        (Errno::ACCESS, "/x/y is not accessible (copying it)"),
        (Errno::IO, "/x/y: Input/output error"),
    ] {
        let error = WorkspaceError::io("copying it", "/x/y", errno).to_string();
        assert!(error.contains(part), "{error}");
    }
}

/// A second is wanted on an idle machine; here it is measured by how long the machine takes to make the files in the first place.
#[test]
fn ten_thousand_small_files() {
    let start = Instant::now();
    let bench = Bench::new(|root| {
        for directory in 0..100 {
            let path = root.join(format!("d{directory}"));
            std::fs::create_dir(&path).unwrap();
            for file in 0..100 {
                std::fs::write(path.join(format!("f{file}")), "some text\n").unwrap();
            }
        }
    });
    let making = start.elapsed();
    let start = Instant::now();
    let workspace = bench.private();
    let copying = start.elapsed();
    assert_eq!(workspace.copied.unwrap().files, 10_000);
    let start = Instant::now();
    workspace.remove().unwrap();
    let removing = start.elapsed();
    let bound = making * 4 + Duration::from_secs(2);
    assert!(copying < bound && removing < bound, "made in {making:?}, copied in {copying:?}, removed in {removing:?}");
}

#[test]
fn parts_are_copied_through_no_link_and_nothing_beside_them() {
    let bench = Bench::new(|checkout| {
        std::fs::create_dir_all(checkout.join("db/sub")).unwrap();
        std::fs::write(checkout.join("db/init.sql"), "create").unwrap();
        std::fs::write(checkout.join("db/sub/more.sql"), "insert").unwrap();
        std::fs::write(checkout.join("secret.txt"), "secret").unwrap();
        symlink("/etc/passwd", checkout.join("db/link")).unwrap();
        symlink("/etc", checkout.join("etc")).unwrap();
    });
    let to = bench.folder.path().join("parts/checkout");
    crate::copy_parts(&bench.checkout(), ["db/init.sql", "db/sub", "db"], &to).unwrap();
    assert_eq!(std::fs::read_to_string(to.join("db/init.sql")).unwrap(), "create");
    assert_eq!(std::fs::read_to_string(to.join("db/sub/more.sql")).unwrap(), "insert");
    assert_eq!(std::fs::read_link(to.join("db/link")).unwrap(), Path::new("/etc/passwd"), "a link stays one");
    assert_eq!(std::fs::read_dir(&to).unwrap().count(), 1);
    for part in ["etc", "etc/passwd", "db/link", "gone", "../checkout/secret.txt"] {
        let to = bench.folder.path().join("other");
        assert!(crate::copy_parts(&bench.checkout(), [part], &to).is_err(), "{part}");
        assert!(!to.exists(), "{part}");
    }
}
