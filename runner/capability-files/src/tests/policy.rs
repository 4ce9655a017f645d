//! The policy as a case table: no disk, no backend.

use capability::{Decision, Denial, Policy, Setting};
use std::sync::Arc;

use crate::FilesSchema;
use crate::effect::*;
use crate::policy::FilePolicy;

fn setting(files: &str) -> (tempfile::TempDir, Arc<Setting>) {
    let folder = tempfile::tempdir().unwrap();
    let grant = capability::testing::grant(&FilesSchema, files).unwrap();
    let setting = capability::testing::setting(folder.path(), Some(&*grant));
    (folder, setting)
}

const RULES: &str = r#"files = [
    { path = "src", access = "read" },
    { path = "out", access = "write" },
    { path = "out/keep", access = "read" },
    { path = "deep/er/dist", access = "write" },
    { path = "notes.md", access = "read" },
    { path = ".git", access = "read" },
    { path = "pipeline.toml", access = "write" },
]"#;

fn target(path: &str, mutable: bool) -> Target {
    let base = Base { mount: Mount::Workspace, handle: 1, path: ".".into(), mutable };
    Target { base, path: path.into(), follow: true }
}

fn seen(path: &str, passed: &[&str], found: Found) -> Sight {
    let passed = passed.iter().map(|p| (*p).to_owned()).collect();
    Sight(Some(Resolved { path: path.into(), passed, found, pins: Pins::default() }))
}

fn told<Q: std::fmt::Debug>(decision: Decision<Q>) -> String {
    match decision {
        Decision::Allow => "allow".into(),
        Decision::Observe(_) => "look".into(),
        Decision::Deny(denial) => denial.code.into_owned(),
    }
}

fn read() -> Open {
    Open { read: true, ..Open::default() }
}

fn write() -> Open {
    Open { write: true, ..Open::default() }
}

fn create() -> Open {
    Open { write: true, create: true, truncate: true, ..Open::default() }
}

const FILE: Found = Found::Object(Kind::File);
const DIRECTORY: Found = Found::Object(Kind::Directory);
const FIFO: Found = Found::Object(Kind::Fifo);
const LINK: Found = Found::Object(Kind::Symlink);
const GONE: Found = Found::Missing;

#[test]
fn as_text() {
    let (_folder, setting) = setting(RULES);
    let policy = FilePolicy::new(&setting);
    for (path, expected) in [
        ("src", "look"),
        ("src/a/b.rs", "look"),
        ("./src//a", "look"),
        ("src/a/..", "look"),
        ("out/../src/a", "look"),
        (".", "look"),
        ("deep", "look"),
        ("deep/er", "look"),
        ("deep/er/dist/x", "look"),
        ("notes.md", "look"),
        ("deep/other", "not-granted"),
        ("srcs", "not-granted"),
        ("secret", "not-granted"),
        ("secret/../src/a", "not-granted"),
        ("Src/a", "not-granted"),
        ("..", "outside-workspace"),
        ("../workspace/src", "outside-workspace"),
        ("src/../../x", "outside-workspace"),
        ("/etc/passwd", "outside-workspace"),
        ("/", "outside-workspace"),
        (".runner", "hidden-path"),
        (".runner/runs/1/log", "hidden-path"),
        (".RUNNER/runs", "hidden-path"),
        ("src/../.runner", "hidden-path"),
    ] {
        let effect = At { target: target(path, true), operation: read() };
        assert_eq!(told(policy.decide(&effect, &Sight::default())), expected, "{path}");
    }
    let effect = At { target: target("out/x", false), operation: create() };
    assert_eq!(told(policy.decide(&effect, &Sight::default())), "read-only", "through a directory that can't be changed");
}

#[test]
fn as_what_it_leads_to() {
    let (_folder, setting) = setting(RULES);
    let policy = FilePolicy::new(&setting);
    type Case<'a> = (&'a str, Open, &'a str, &'a [&'a str], Found, &'a str);
    let cases: &[Case<'_>] = &[
        // plain paths
        ("src/a", read(), "src/a", &[], FILE, "allow"),
        ("src/a", read(), "src/a", &[], GONE, "allow"),
        ("src", read(), "src", &[], DIRECTORY, "allow"),
        (".", read(), ".", &[], DIRECTORY, "allow"),
        ("deep/er", read(), "deep/er", &[], DIRECTORY, "allow"),
        ("deep/er", read(), "deep/er", &[], FILE, "not-granted"),
        ("deep/er", read(), "deep/er", &[], LINK, "not-granted"),
        ("src/a", write(), "src/a", &[], FILE, "read-only"),
        ("src/new", create(), "src/new", &[], GONE, "read-only"),
        ("notes.md", create(), "notes.md", &[], FILE, "read-only"),
        ("out/x", write(), "out/x", &[], FILE, "allow"),
        ("out/x", create(), "out/x", &[], GONE, "allow"),
        ("out", create(), "out", &[], GONE, "allow"),
        ("deep/er", create(), "deep/er", &[], GONE, "read-only"),
        // the longest path decides
        ("out/keep/x", write(), "out/keep/x", &[], FILE, "read-only"),
        ("out/keeper/x", write(), "out/keeper/x", &[], FILE, "allow"),
        // an existing file opened with create alone is not changed
        ("src/a", Open { read: true, create: true, ..Open::default() }, "src/a", &[], FILE, "allow"),
        // protected, whatever is granted
        (".git/config", read(), ".git/config", &[], FILE, "allow"),
        (".git/config", write(), ".git/config", &[], FILE, "protected-path"),
        (".git/hooks/pre-commit", create(), ".git/hooks/pre-commit", &[], GONE, "protected-path"),
        ("pipeline.toml", read(), "pipeline.toml", &[], FILE, "allow"),
        ("pipeline.toml", write(), "pipeline.toml", &[], FILE, "protected-path"),
        // symbolic links
        ("src/link", read(), "src/a", &["src/link"], FILE, "allow"),
        ("src/link", read(), "secret", &["src/link"], FILE, "not-granted"),
        ("src/link", read(), "secret", &["src/link"], GONE, "not-granted"),
        ("src/link", read(), ".runner/key", &["src/link"], FILE, "hidden-path"),
        ("src/link", read(), "src/link", &["src/link"], Found::Outside, "outside-workspace"),
        ("src/link", read(), "src/a", &["src/link", "secret/link"], FILE, "not-granted"),
        ("src/link", read(), "src/a", &["src/link", ".runner"], FILE, "hidden-path"),
        ("src/link", write(), "out/x", &["src/link"], FILE, "allow"),
        ("out/link", write(), "src/a", &["out/link"], FILE, "read-only"),
        ("out/link", write(), ".git/config", &["out/link"], FILE, "protected-path"),
        ("out/link", create(), ".git/hooks/x", &["out/link"], GONE, "protected-path"),
        ("out/link", create(), "secret", &["out/link"], GONE, "not-granted"),
        // only files and directories
        ("out/pipe", read(), "out/pipe", &[], FIFO, "special-file"),
        ("out/pipe", write(), "out/pipe", &[], FIFO, "special-file"),
        ("out/s", read(), "out/s", &[], Found::Object(Kind::Socket), "special-file"),
        ("out/d", read(), "out/d", &[], Found::Object(Kind::CharacterDevice), "special-file"),
        ("out/d", read(), "out/d", &[], Found::Object(Kind::BlockDevice), "special-file"),
        ("out/u", read(), "out/u", &[], Found::Object(Kind::Unknown), "special-file"),
    ];
    for (asked, operation, real, passed, found, expected) in cases {
        let effect = At { target: target(asked, true), operation: *operation };
        assert_eq!(told(policy.decide(&effect, &seen(real, passed, *found))), *expected, "{asked} -> {real} {operation:?}");
    }
}

#[test]
fn looking_is_allowed_where_opening_is_not() {
    let (_folder, setting) = setting(RULES);
    let policy = FilePolicy::new(&setting);
    let stat = |path: &str, found| told(policy.decide(&At { target: target(path, true), operation: Stat }, &seen(path, &[], found)));
    assert_eq!(stat("out/pipe", FIFO), "allow");
    assert_eq!(stat("deep", DIRECTORY), "allow");
    assert_eq!(stat("secret", FILE), "not-granted");
}

#[test]
fn making_and_removing() {
    let (_folder, setting) = setting(
        r#"files = [
    { path = ".", access = "write" },
    { path = "docs/fixed", access = "read" },
    { path = "lib/x", access = "read" },
]"#,
    );
    let setting = {
        let mut setting = setting;
        Arc::get_mut(&mut setting).unwrap().protected.push("plugins/lint.wasm".into());
        setting
    };
    let policy = FilePolicy::new(&setting);
    let mkdir = |path: &str| told(policy.decide(&At { target: target(path, true), operation: MakeDirectory }, &seen(path, &[], GONE)));
    let rmdir =
        |path: &str| told(policy.decide(&At { target: target(path, true), operation: RemoveDirectory }, &seen(path, &[], DIRECTORY)));
    let unlink = |path: &str| told(policy.decide(&At { target: target(path, true), operation: RemoveFile }, &seen(path, &[], FILE)));
    let symlink = |path: &str, to: &str| {
        told(policy.decide(&At { target: target(path, true), operation: MakeSymlink { to: to.into() } }, &seen(path, &[], GONE)))
    };
    let rename = |from: &str, to: &str, found| {
        let effect = Between { from: target(from, true), to: target(to, true), operation: Rename };
        told(policy.decide(&effect, &Sights { from: seen(from, &[], DIRECTORY), to: seen(to, &[], found) }))
    };
    let link = |from: &str, kind, to: &str| {
        let effect = Between { from: target(from, true), to: target(to, true), operation: Link };
        told(policy.decide(&effect, &Sights { from: seen(from, &[], Found::Object(kind)), to: seen(to, &[], GONE) }))
    };
    for (what, told, expected) in [
        ("mkdir a", mkdir("a"), "allow"),
        ("mkdir .git", mkdir(".git"), "protected-path"),
        ("mkdir .Git", mkdir(".Git"), "protected-path"),
        ("mkdir .runner", mkdir(".runner"), "hidden-path"),
        ("mkdir docs/fixed/a", mkdir("docs/fixed/a"), "read-only"),
        ("rmdir a", rmdir("a"), "allow"),
        ("rmdir .git", rmdir(".git"), "protected-path"),
        ("rmdir plugins", rmdir("plugins"), "protected-path"),
        ("rmdir Plugins", rmdir("Plugins"), "protected-path"),
        ("rmdir docs", rmdir("docs"), "read-only"),
        ("rmdir .", rmdir("."), "protected-path"),
        ("unlink x", unlink("x"), "allow"),
        ("unlink pipeline.toml", unlink("pipeline.toml"), "protected-path"),
        ("unlink plugins/lint.wasm", unlink("plugins/lint.wasm"), "protected-path"),
        ("unlink lib/x", unlink("lib/x"), "read-only"),
        ("ln -s b a", symlink("a", "b"), "allow"),
        ("ln -s ../b d/a", symlink("d/a", "../b"), "allow"),
        ("ln -s ../../b d/a", symlink("d/a", "../../b"), "outside-workspace"),
        ("ln -s ../b a", symlink("a", "../b"), "outside-workspace"),
        ("ln -s /etc/passwd a", symlink("a", "/etc/passwd"), "outside-workspace"),
        ("ln -s x .git", symlink(".git", "x"), "protected-path"),
        ("mv a b", rename("a", "b", GONE), "allow"),
        ("mv a b/c", rename("a", "b/c", GONE), "allow"),
        ("mv plugins p", rename("plugins", "p", GONE), "protected-path"),
        ("mv docs d", rename("docs", "d", GONE), "read-only"),
        ("mv a plugins", rename("a", "plugins", DIRECTORY), "protected-path"),
        ("mv a docs", rename("a", "docs", GONE), "read-only"),
        ("mv a .git", rename("a", ".git", GONE), "protected-path"),
        ("mv a .git/hooks", rename("a", ".git/hooks", DIRECTORY), "protected-path"),
        ("mv .git a", rename(".git", "a", GONE), "protected-path"),
        ("mv a .runner", rename("a", ".runner", GONE), "hidden-path"),
        ("mv docs/fixed f", rename("docs/fixed", "f", GONE), "read-only"),
        ("ln a b", link("a", Kind::File, "b"), "allow"),
        ("ln .git/config b", link(".git/config", Kind::File, "b"), "protected-path"),
        ("ln docs/fixed/a b", link("docs/fixed/a", Kind::File, "b"), "read-only"),
        ("ln a .git/hooks/x", link("a", Kind::File, ".git/hooks/x"), "protected-path"),
        ("ln pipe b", link("pipe", Kind::Fifo, "b"), "special-file"),
        ("ln dir b", link("dir", Kind::Directory, "b"), "special-file"),
    ] {
        assert_eq!(told, expected, "{what}");
    }
}

#[test]
fn directories_on_the_way_to_something_writable_can_be_made_but_not_removed() {
    let (_folder, setting) = setting(r#"files = [{ path = "a/b/out", access = "write" }, { path = "c/in", access = "read" }]"#);
    let policy = FilePolicy::new(&setting);
    let mkdir = |path: &str| told(policy.decide(&At { target: target(path, true), operation: MakeDirectory }, &seen(path, &[], GONE)));
    assert_eq!(mkdir("a/b"), "allow");
    assert_eq!(mkdir("a/b/out"), "allow");
    assert_eq!(mkdir("c"), "read-only");
    let effect = At { target: target("a/b", true), operation: RemoveDirectory };
    assert_eq!(told(policy.decide(&effect, &seen("a/b", &[], DIRECTORY))), "read-only");
}

fn denial<Q: std::fmt::Debug>(decision: Decision<Q>) -> Denial {
    match decision {
        Decision::Deny(denial) => denial,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_denial_says_what_would_allow_it() {
    let (_folder, setting) = setting(r#"files = [{ path = "src", access = "read" }]"#);
    let policy = FilePolicy::new(&setting);
    let tried = |path: &str, open| denial(policy.decide(&At { target: target(path, true), operation: open }, &Sight::default()));
    let remedy = tried("docs/a \"b\".md", read()).remedy.unwrap();
    insta::assert_snapshot!(remedy, @r#"
    [stage.test.grants]
    files = [{ path = "src", access = "read" }, { path = 'docs/a "b".md', access = "read" }]
    "#);
    let through = denial(policy.decide(&At { target: target("src/a", true), operation: write() }, &seen("src/a", &[], FILE)));
    assert_eq!(through.reason, "`src/a` is granted for reading only");
    insta::assert_snapshot!(through.remedy.unwrap(), @r#"
    [stage.test.grants]
    files = [{ path = "src", access = "read" }, { path = "src/a", access = "write" }]
    "#);
    // a rule that is there is replaced, not doubled
    let whole = denial(policy.decide(&At { target: target("src", true), operation: MakeDirectory }, &seen("src", &[], GONE)));
    insta::assert_snapshot!(whole.remedy.unwrap(), @r#"
    [stage.test.grants]
    files = [{ path = "src", access = "write" }]
    "#);
    // nothing can allow these
    assert_eq!(tried("../x", read()).remedy, None);
    assert_eq!(tried(".runner/x", read()).remedy, None);
    assert_eq!(denial(policy.decide(&At { target: target(".git/x", true), operation: create() }, &seen(".git/x", &[], GONE))).remedy, None);
}

/// The remedy is the file's own language, and what it names is then allowed.
#[test]
fn a_remedy_works() {
    let (_folder, first) = setting(r#"files = [{ path = "src", access = "read" }]"#);
    let policy = FilePolicy::new(&first);
    for (path, open) in [("docs/x", read()), ("out/new", create()), ("we ird/\"q\"", read())] {
        let effect = At { target: target(path, true), operation: open };
        let remedy = denial(policy.decide(&effect, &Sight::default())).remedy.unwrap();
        let line = remedy.lines().nth(1).unwrap();
        let (_folder, second) = setting(line);
        let policy = FilePolicy::new(&second);
        assert_eq!(told(policy.decide(&effect, &seen(path, &[], if open.create { GONE } else { FILE }))), "allow", "{line}");
        let still = At { target: target("src/a", true), operation: read() };
        assert_eq!(told(policy.decide(&still, &seen("src/a", &[], FILE))), "allow", "{line}");
    }
}

#[test]
fn a_decision_is_cheap() {
    let (_folder, setting) = setting(RULES);
    let policy = FilePolicy::new(&setting);
    let effect = At { target: target("src/a/b/c/d.rs", true), operation: read() };
    let sight = seen("src/a/b/c/d.rs", &[], FILE);
    let mut best = f64::MAX;
    for _ in 0..20 {
        let start = std::time::Instant::now();
        for _ in 0..1000 {
            assert!(matches!(policy.decide(&effect, &Sight::default()), Decision::Observe(_)));
            assert!(matches!(policy.decide(&effect, &sight), Decision::Allow));
        }
        best = best.min(start.elapsed().as_nanos() as f64 / 1000.0);
    }
    // both decisions of one open; this crate is built with little optimisation in tests
    assert!(best < 4_000.0, "{best} ns");
}
