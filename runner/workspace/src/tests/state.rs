use std::os::unix::fs::symlink;

use rustix::fs::{Mode, OFlags, mkdirat, openat};

use super::*;
use crate::{State, WorkspaceError, remove_tree};

#[test]
fn the_state_folder_is_private_and_ignores_itself() {
    let checkout = tempfile::tempdir().unwrap();
    let state = State::open(checkout.path()).unwrap();
    assert_eq!(mode(state.path()), 0o700);
    assert_eq!(std::fs::read_to_string(state.path().join(".gitignore")).unwrap(), "*\n");
    // one that was opened to others is closed again
    set_mode(state.path(), 0o755);
    let state = State::open(checkout.path()).unwrap();
    assert_eq!(mode(state.path()), 0o700);

    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::remove_dir_all(state.path()).unwrap();
    symlink(elsewhere.path(), checkout.path().join(".runner")).unwrap();
    let error = State::open(checkout.path()).unwrap_err();
    assert!(matches!(error, WorkspaceError::StateOccupied { .. }), "{error}");
    assert_eq!(elsewhere.path().read_dir().unwrap().count(), 0, "nothing is written through the link");
}

#[test]
fn a_run_s_places() {
    let checkout = tempfile::tempdir().unwrap();
    let state = State::open(checkout.path()).unwrap();
    let run = state.begin("0192-run").unwrap();
    assert_eq!(run.path(), state.run_folder("0192-run"));
    let plain = run.attempt("lint", 1);
    assert_eq!(plain.log, run.path().join("logs/lint.1.log"));
    assert_eq!(plain.workspace, run.path().join("work/lint.1/workspace"));
    assert!(!plain.work.exists(), "nothing is made");
    let names: Vec<_> =
        ["test (app=backend)", "test (app-backend)", "../../etc", ".", "a/b"].map(|stage| run.attempt(stage, 2).work).into();
    for work in &names {
        assert_eq!(work.parent().unwrap(), run.path().join("work"), "{work:?}");
    }
    assert_ne!(names[0], names[1]);
    for bad in ["", "..", "a/b", "a.b", &"x".repeat(65)] {
        assert!(matches!(state.begin(bad), Err(WorkspaceError::BadRunId(_))), "{bad}");
    }
}

#[test]
fn what_dead_runs_left_is_swept_and_living_ones_are_left_alone() {
    let checkout = tempfile::tempdir().unwrap();
    let state = State::open(checkout.path()).unwrap();
    let (dead, alive) = (state.begin("dead").unwrap(), state.begin("alive").unwrap());
    for run in [&dead, &alive] {
        let attempt = run.attempt("build", 1);
        tree(&attempt.workspace, &["src/a", "src/b"]);
        tree(attempt.log.parent().unwrap(), &["build.1.log"]);
    }
    assert!(matches!(state.begin("dead"), Err(WorkspaceError::RunBusy { .. })));
    drop(dead);
    // for a week it may be gone on with
    assert_eq!(state.sweep().unwrap(), [""; 0]);
    for run in ["dead", "alive"] {
        let eight_days = std::time::Duration::from_secs(8 * 24 * 3600);
        let work = std::fs::File::open(state.run_folder(run).join("work")).unwrap();
        work.set_modified(std::time::SystemTime::now() - eight_days).unwrap();
    }
    assert_eq!(state.sweep().unwrap(), ["dead"]);
    assert!(!state.run_folder("dead").join("work").exists() && state.run_folder("dead").join("logs/build.1.log").exists());
    assert!(state.run_folder("alive").join("work/build.1/workspace/src/a").exists());
    assert_eq!(state.sweep().unwrap(), [""; 0]);
    alive.clear().unwrap();
    assert!(!alive.path().join("work").exists());
    state.begin("dead").unwrap();
}

#[test]
fn unfinished_blobs_are_swept_when_they_are_old() {
    let checkout = tempfile::tempdir().unwrap();
    let state = State::open(checkout.path()).unwrap();
    let tmp = state.path().join("blobs/tmp");
    tree(&tmp, &["old", "new"]);
    let day = std::time::Duration::from_secs(25 * 3600);
    std::fs::File::open(tmp.join("old")).unwrap().set_modified(std::time::SystemTime::now() - day).unwrap();
    state.sweep().unwrap();
    assert_eq!(shape(&tmp), ["new=new"]);
}

#[test]
fn a_hostile_tree_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path().join("top");
    tree(&top, &["a/b/c", "locked/inner/x", ".removing-1/x", ".removing-2"]);
    tree(folder.path(), &["keep/file"]);
    symlink("../keep", top.join("link")).unwrap();
    fifo(&top.join("pipe"));
    set_mode(&top.join("locked/inner"), 0o500);
    set_mode(&top.join("locked"), 0);
    // deeper than a path can be long
    let mut at = openat(rustix::fs::CWD, &top, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..3000 {
        mkdirat(&at, "deep", Mode::from_raw_mode(0o700)).unwrap();
        at = openat(&at, "deep", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    remove_tree(&top).unwrap();
    assert!(!top.exists());
    assert_eq!(std::fs::read_to_string(folder.path().join("keep/file")).unwrap(), "keep/file");
    remove_tree(&top).unwrap();
    symlink("keep", folder.path().join("link")).unwrap();
    remove_tree(&folder.path().join("link")).unwrap();
    assert!(folder.path().join("keep/file").exists());
    remove_tree(&folder.path().join("keep/file")).unwrap();
    assert!(!folder.path().join("keep/file").exists());
}
