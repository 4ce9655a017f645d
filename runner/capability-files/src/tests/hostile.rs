//! Ways out that a component may try, each stopped where it should be.

use std::ffi::CString;
use std::time::Duration;

use super::*;

const ALL: &str = r#"files = [{ path = ".", access = "write" }]"#;

/// Beside the workspace: what must never be reached.
fn secret(root: &Path) {
    std::fs::write(root.parent().unwrap().join("secret"), "secret").unwrap();
}

fn fifo(path: &Path) {
    let path = CString::new(path.to_str().unwrap()).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
}

#[tokio::test]
async fn out_by_name_or_by_link() {
    let mut stage = stage(ALL, |root| {
        secret(root);
        tree(root, &["dir/file"]);
        symlink("../secret", root.join("up"));
        symlink("../../secret", root.join("dir/up"));
        symlink("/etc/passwd", root.join("absolute"));
        symlink("/", root.join("slash"));
        symlink("..", root.join("dotdot"));
        symlink("dotdot", root.join("chain"));
        symlink("dir/../up", root.join("detour"));
        symlink("../workspace/dir/file", root.join("out-and-in"));
        symlink("/proc/self/root", root.join("magic"));
    });
    for path in [
        "../secret",
        "dir/../../secret",
        "/etc/passwd",
        "//etc/passwd",
        "up",
        "dir/up",
        "absolute",
        "slash/etc/passwd",
        "dotdot/secret",
        "chain/secret",
        "detour",
        "out-and-in",
        "magic/etc/passwd",
    ] {
        assert_eq!(stage.read(path).await, Err(ErrorCode::NotPermitted), "{path}");
        assert_eq!(stage.denied().as_deref(), Some("outside-workspace"), "{path}");
        assert_eq!(stage.write(path, "owned").await, Err(ErrorCode::NotPermitted), "{path}");
        assert_eq!(stage.stat(path).await.err(), Some(ErrorCode::NotPermitted), "{path}");
    }
    for path in ["dotdot/new", "chain/new", "slash/tmp/new"] {
        assert_eq!(stage.mkdir(path).await, Err(ErrorCode::NotPermitted), "{path}");
        assert_eq!(stage.unlink(path).await, Err(ErrorCode::NotPermitted), "{path}");
        assert_eq!(stage.rename("dir/file", path).await, Err(ErrorCode::NotPermitted), "{path}");
        assert_eq!(stage.rename(path, "in").await, Err(ErrorCode::NotPermitted), "{path}");
        assert_eq!(stage.link("dir/file", path).await, Err(ErrorCode::NotPermitted), "{path}");
        assert_eq!(stage.symlink("x", path).await, Err(ErrorCode::NotPermitted), "{path}");
    }
    assert_eq!(stage.readlink("absolute").await, Err(ErrorCode::NotPermitted));
    assert_eq!(stage.link("up", "hard").await, Err(ErrorCode::NotPermitted), "a link to the link would be one to follow");
    assert_eq!(stage.symlink("/etc/passwd", "new").await, Err(ErrorCode::NotPermitted));
    assert_eq!(stage.symlink("../secret", "new").await, Err(ErrorCode::NotPermitted));
    assert_eq!(std::fs::read_to_string(stage.folder.path().join("secret")).unwrap(), "secret");
}

#[tokio::test]
async fn a_directory_is_the_root_of_its_descriptor() {
    let mut stage = stage(ALL, |root| {
        tree(root, &["a/b/file", "a/other"]);
        symlink("../other", root.join("a/b/link"));
    });
    let inner = stage.open("a/b", OpenFlags::DIRECTORY, READ).await.unwrap();
    for path in ["../other", "link", "file/../../other"] {
        assert_eq!(stage.open_from(inner, path, OpenFlags::empty(), READ).await, Err(ErrorCode::NotPermitted), "{path}");
    }
    assert!(stage.open_from(inner, "file", OpenFlags::empty(), READ).await.is_ok());
    assert_eq!(stage.read("a/b/link").await.unwrap(), "a/other", "from the workspace it stays inside");
}

#[tokio::test]
async fn links_within_the_workspace_open_nothing_that_is_not_granted() {
    let mut stage = stage(r#"files = [{ path = "in", access = "read" }, { path = "out", access = "write" }]"#, |root| {
        tree(root, &["in/file", "out/", "secret/key", ".runner/runs/key", ".git/hooks/"]);
        symlink("../secret/key", root.join("in/link"));
        symlink("../secret", root.join("in/dir"));
        symlink("../.runner/runs/key", root.join("in/runner"));
        symlink("../secret/new", root.join("out/new"));
        symlink("../.git/hooks/post-checkout", root.join("out/hook"));
        symlink("../in/file", root.join("out/readonly"));
        symlink("../out", root.join("secret/back"));
    });
    for (path, error, code) in [
        ("in/link", ErrorCode::Access, "not-granted"),
        ("in/dir/key", ErrorCode::Access, "not-granted"),
        ("in/dir/back/x", ErrorCode::Access, "not-granted"),
        ("in/runner", ErrorCode::NoEntry, "hidden-path"),
        ("secret/key", ErrorCode::Access, "not-granted"),
        ("secret/nothing", ErrorCode::Access, "not-granted"),
        (".runner", ErrorCode::NoEntry, "hidden-path"),
        (".runner/nothing", ErrorCode::NoEntry, "hidden-path"),
    ] {
        assert_eq!(stage.read(path).await, Err(error), "{path}");
        assert_eq!(stage.denied().as_deref(), Some(code), "{path}");
    }
    for (path, error, code) in [
        ("out/new", ErrorCode::Access, "not-granted"),
        ("out/hook", ErrorCode::NotPermitted, "protected-path"),
        ("out/readonly", ErrorCode::ReadOnly, "read-only"),
        ("in/file", ErrorCode::ReadOnly, "read-only"),
    ] {
        assert_eq!(stage.write(path, "x").await, Err(error), "{path}");
        assert_eq!(stage.denied().as_deref(), Some(code), "{path}");
    }
    assert!(!stage.path("secret/new").exists() && !stage.path(".git/hooks/post-checkout").exists());
    // links of its own making
    for to in ["../secret/key", "../.runner/runs/key", "../.git/hooks/post-commit"] {
        stage.symlink(to, "out/planted").await.unwrap();
        assert!(stage.read("out/planted").await.is_err(), "{to}");
        assert!(stage.write("out/planted", "x").await.is_err(), "{to}");
        assert!(stage.link("out/planted", "out/hard").await.is_err(), "{to}");
        stage.unlink("out/planted").await.unwrap();
    }
    assert_eq!(stage.on_disk("secret/key"), "secret/key");
    assert_eq!(stage.on_disk("in/file"), "in/file");
    // what is not granted can't be linked in, under a name that is
    assert_eq!(stage.link("secret/key", "out/hard").await, Err(ErrorCode::Access));
    assert_eq!(stage.link("in/file", "out/hard").await, Err(ErrorCode::ReadOnly));
    assert_eq!(stage.rename("secret/key", "out/key").await, Err(ErrorCode::Access));
    assert_eq!(stage.rename("in/file", "out/file").await, Err(ErrorCode::ReadOnly));
}

#[tokio::test]
async fn protected_paths_stay_as_they_are() {
    let mut stage = limited(
        ALL,
        |root| {
            tree(root, &[".git/config", ".git/hooks/", "pipeline.toml", "plugins/lint.wasm", "file", "dir/"]);
            symlink(".git", root.join("git"));
            symlink("../.git/config", root.join("dir/config"));
        },
        |setting| setting.protected.push("plugins/lint.wasm".into()),
    );
    for path in [
        ".git/config",
        ".git/hooks/pre-commit",
        "pipeline.toml",
        "plugins/lint.wasm",
        "git/config",
        "dir/config",
        "git/hooks/x",
        ".git/./new",
    ] {
        assert_eq!(stage.write(path, "owned").await, Err(ErrorCode::NotPermitted), "{path}");
        assert_eq!(stage.denied().as_deref(), Some("protected-path"), "{path}");
    }
    for path in [".git", ".git/config", "pipeline.toml", "plugins", "plugins/lint.wasm", "git/config"] {
        assert_eq!(stage.rename(path, "away").await, Err(ErrorCode::NotPermitted), "{path}");
        assert_eq!(stage.rename("file", path).await, Err(ErrorCode::NotPermitted), "onto {path}");
        assert_eq!(stage.link(path, "hard").await.err(), Some(ErrorCode::NotPermitted), "{path}");
        assert!(
            stage.rmdir(path).await == Err(ErrorCode::NotPermitted) || stage.unlink(path).await == Err(ErrorCode::NotPermitted),
            "{path}"
        );
    }
    let now = crate::host::bindings::wasi::filesystem::types::NewTimestamp::Now;
    assert_eq!(code(stage.state.set_times_at(stage.root(), FOLLOW, ".git/config".into(), now, now).await), Err(ErrorCode::NotPermitted));
    assert_eq!(stage.mkdir(".runner").await, Err(ErrorCode::NoEntry));
    assert_eq!(stage.symlink("dir", ".runner").await, Err(ErrorCode::NoEntry));
    // reading them is what the grant says
    assert_eq!(stage.read(".git/config").await.unwrap(), ".git/config");
    assert_eq!(stage.read("dir/config").await.unwrap(), ".git/config");
    // the link may go, what it leads to stays
    stage.unlink("git").await.unwrap();
    assert_eq!(stage.on_disk(".git/config"), ".git/config");
    // a repository can't be made where there is none
    let mut bare = super::stage(ALL, |_| {});
    assert_eq!(bare.mkdir(".git").await, Err(ErrorCode::NotPermitted));
    assert_eq!(bare.symlink("x", ".git").await, Err(ErrorCode::NotPermitted));
    assert_eq!(bare.write("pipeline.toml", "").await, Err(ErrorCode::NotPermitted));
}

#[tokio::test]
async fn moving_a_directory_changes_nobody_s_rights() {
    let mut stage = stage(
        r#"files = [{ path = "a", access = "write" }, { path = "b", access = "write" }, { path = "b/d/fixed", access = "read" }, { path = "a/kept/fixed", access = "read" }]"#,
        |root| tree(root, &["a/d/fixed", "a/kept/fixed", "b/x"]),
    );
    let held = stage.open("a/d", OpenFlags::DIRECTORY, READ).await.unwrap();
    assert_eq!(stage.rename("a/d", "b/d").await, Err(ErrorCode::ReadOnly), "`b/d` holds what is read-only");
    assert_eq!(stage.rename("a/kept", "b/free").await, Err(ErrorCode::ReadOnly), "it holds what is read-only");
    stage.rename("a/d", "b/e").await.unwrap();
    let file = stage.open_from(held, "fixed", OpenFlags::empty(), WRITE).await;
    assert!(file.is_ok(), "writable before and after");
}

#[tokio::test]
async fn a_fifo_blocks_nobody() {
    let mut stage = stage(ALL, |root| {
        fifo(&root.join("pipe"));
        symlink("pipe", root.join("link"));
        std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    });
    let tried = async {
        for path in ["pipe", "link", "socket"] {
            assert_eq!(stage.read(path).await, Err(ErrorCode::NotPermitted), "{path}");
            assert_eq!(stage.denied().as_deref(), Some("special-file"), "{path}");
            assert_eq!(stage.write(path, "x").await, Err(ErrorCode::NotPermitted), "{path}");
        }
        assert!(stage.stat("pipe").await.is_ok());
        assert_eq!(stage.link("pipe", "again").await, Err(ErrorCode::NotPermitted));
        stage.unlink("pipe").await.unwrap();
    };
    // the watchdog is a thread: a blocked worker would not run a timer
    let (done, waits) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if waits.recv_timeout(Duration::from_secs(10)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            // a worker that is blocked in `open` can't be stopped in any other way
            std::process::abort();
        }
    });
    tried.await;
    drop(done);
    watchdog.join().unwrap();
}

#[tokio::test]
async fn what_the_runner_may_not_read_is_no_denial() {
    if rustix::process::geteuid().is_root() {
        return; // root reads everything
    }
    use std::os::unix::fs::PermissionsExt as _;
    let mut stage = stage(ALL, |root| {
        tree(root, &["locked"]);
        std::fs::set_permissions(root.join("locked"), std::fs::Permissions::from_mode(0o000)).unwrap();
    });
    assert_eq!(stage.read("locked").await, Err(ErrorCode::Access));
    assert_eq!(stage.denied(), None);
}

#[tokio::test]
async fn handles_are_limited_by_the_table() {
    let mut stage = limited(ALL, |root| tree(root, &["a"]), |setting| setting.limits.handles = 8);
    let mut opened = 0;
    let trap = loop {
        match stage.state.open_at(stage.root(), FOLLOW, "a".into(), OpenFlags::empty(), READ).await {
            Ok(_) => opened += 1,
            Err(FsError::Trap(trap)) => break trap,
            Err(FsError::Code(code)) => panic!("{code:?}"),
        }
        assert!(opened < 8);
    };
    assert!(trap.to_string().contains("resource table"), "{trap}");
}
