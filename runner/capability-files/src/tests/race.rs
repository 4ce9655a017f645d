//! A thread (a command of the stage, say) swaps a directory for a link, and a link for another, while the guest opens through it.

use std::os::unix::fs::symlink as link;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::*;

/// Exchanges two names for as long as it lives.
struct Swapper {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<u64>>,
}

impl Swapper {
    fn new(one: PathBuf, other: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut swaps = 0;
            while !stopped.load(Ordering::Relaxed) {
                use rustix::fs::{CWD, RenameFlags, renameat_with};
                renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
                swaps += 1;
            }
            swaps
        });
        Swapper { stop, thread: Some(thread) }
    }

    fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

fn for_a_while() -> impl Iterator<Item = u32> {
    let end = Instant::now() + Duration::from_millis(700);
    (0..).take_while(move |n| *n < 200 || Instant::now() < end)
}

#[tokio::test]
async fn a_directory_that_turns_into_a_link_out() {
    let mut stage = stage(r#"files = [{ path = ".", access = "write" }]"#, |root| {
        std::fs::create_dir(root.parent().unwrap().join("outside")).unwrap();
        std::fs::write(root.parent().unwrap().join("outside/file"), "secret").unwrap();
        tree(root, &["dir/file"]);
        link("../outside", root.join("other")).unwrap();
    });
    let swapper = Swapper::new(stage.path("dir"), stage.path("other"));
    let (mut read, mut refused) = (0, 0);
    for n in for_a_while() {
        match stage.read("dir/file").await {
            Ok(text) => {
                assert_ne!(text, "secret", "after {n}");
                read += 1;
            }
            Err(ErrorCode::NotPermitted) => refused += 1,
            Err(code) => assert_eq!(code, ErrorCode::NoEntry),
        }
        let _ = stage.write("dir/new", "owned").await;
        let _ = stage.mkdir("dir/made").await;
        let _ = stage.rename("dir/new", "dir/moved").await;
    }
    assert!(swapper.end() > 0);
    assert!(read > 0 && refused > 0, "read {read}, refused {refused}");
    let outside: Vec<_> = std::fs::read_dir(stage.folder.path().join("outside")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(outside, ["file"], "nothing was made outside");
}

#[tokio::test]
async fn a_link_that_turns_to_what_is_not_granted() {
    let mut stage = stage(r#"files = [{ path = "in", access = "read" }, { path = "out", access = "write" }]"#, |root| {
        tree(root, &["in/file", "out/file", "secret/file", ".git/hooks/file"]);
        link("../in", root.join("out/link")).unwrap();
        link("../secret", root.join("out/other")).unwrap();
        link("file", root.join("out/leaf")).unwrap();
        link("../.git/hooks/file", root.join("out/leaf2")).unwrap();
    });
    let swapper = Swapper::new(stage.path("out/link"), stage.path("out/other"));
    let leaves = Swapper::new(stage.path("out/leaf"), stage.path("out/leaf2"));
    let (mut read, mut refused, mut wrote) = (0, 0, 0);
    for n in for_a_while() {
        match stage.read("out/link/file").await {
            Ok(text) => {
                assert_eq!(text, "in/file", "after {n}");
                read += 1;
            }
            Err(ErrorCode::Access) => refused += 1,
            Err(code) => panic!("{code:?}"),
        }
        match stage.write("out/leaf", "mine").await {
            Ok(()) => wrote += 1,
            Err(code) => assert!(matches!(code, ErrorCode::NotPermitted | ErrorCode::Access), "{code:?}"),
        }
    }
    assert!(swapper.end() > 0 && leaves.end() > 0);
    assert!(read > 0 && refused > 0 && wrote > 0, "read {read}, refused {refused}, wrote {wrote}");
    assert_eq!(stage.on_disk(".git/hooks/file"), ".git/hooks/file");
    assert_eq!(stage.on_disk("secret/file"), "secret/file");
}
