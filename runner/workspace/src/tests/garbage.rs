use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use super::*;
use crate::State;

fn state() -> (tempfile::TempDir, State) {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).unwrap();
    (folder, state)
}

fn age(path: &Path) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(7200)).unwrap();
}

fn hour_ago() -> SystemTime {
    SystemTime::now() - Duration::from_secs(3600)
}

#[test]
fn only_old_blobs_that_nobody_names_go() {
    let (_folder, state) = state();
    let blobs = state.blobs();
    let [named, unnamed, young] = [&b"named"[..], b"unnamed", b"young"].map(|bytes| blobs.put(bytes).unwrap());
    age(&blobs.blob_path(&named));
    age(&blobs.blob_path(&unnamed));
    let names = HashSet::from([named]);
    let dry = blobs.remove_unnamed(&names, hour_ago(), true).unwrap();
    assert_eq!((dry.files, dry.bytes), (1, 7));
    assert!(blobs.blob_path(&unnamed).exists());
    assert_eq!(blobs.remove_unnamed(&names, hour_ago(), false).unwrap(), dry);
    assert!(!blobs.blob_path(&unnamed).exists());
    assert!(blobs.get(&named).is_ok() && blobs.get(&young).is_ok());
}

#[test]
fn a_blob_that_is_stored_again_is_young_again() {
    let (_folder, state) = state();
    let blobs = state.blobs();
    let digest = blobs.put(b"the same bytes").unwrap();
    age(&blobs.blob_path(&digest));
    blobs.put(b"the same bytes").unwrap();
    assert_eq!(blobs.remove_unnamed(&HashSet::new(), hour_ago(), false).unwrap().files, 0);
    assert!(blobs.get(&digest).is_ok());
}

#[test]
fn storing_and_removing_at_once_never_loses_what_was_stored() {
    let (_folder, state) = state();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                state.blobs().remove_unnamed(&HashSet::new(), hour_ago(), false).unwrap();
            }
        });
        let mut lost = Vec::new();
        for _ in 0..300 {
            let blobs = state.blobs();
            let digest = blobs.put(b"wanted").unwrap();
            lost.extend(blobs.get(&digest).err().map(|error| error.to_string()));
            if let Ok(file) = std::fs::File::options().write(true).open(blobs.blob_path(&digest)) {
                file.set_modified(SystemTime::now() - Duration::from_secs(7200)).unwrap();
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(lost, [""; 0], "what was just stored is gone");
    });
}

#[test]
fn a_run_that_is_worked_on_stays() {
    let (_folder, state) = state();
    let run = state.begin("busy").unwrap();
    assert!(state.is_running("busy") && state.is_running("busy"));
    assert_eq!(state.remove_run("busy", false).unwrap(), None);
    drop(run);
    assert!(!state.is_running("busy"));
    std::fs::write(state.run_folder("busy").join("log"), "12345").unwrap();
    let dry = state.remove_run("busy", true).unwrap().unwrap();
    assert_eq!((dry.files, dry.bytes), (2, 5));
    assert_eq!(state.remove_run("busy", false).unwrap(), Some(dry));
    assert!(state.runs().unwrap().is_empty() && !state.run_folder("busy").exists());
}

#[test]
fn an_interrupted_removal_is_finished_and_is_no_run() {
    let (_folder, state) = state();
    std::fs::create_dir_all(state.run_folder(".removed-old/logs")).unwrap();
    std::fs::write(state.run_folder(".removed-old/logs/a"), "123").unwrap();
    assert!(state.runs().unwrap().is_empty());
    assert_eq!(state.remove_leftovers().unwrap().bytes, 3);
    assert!(!state.run_folder(".removed-old").exists());
}
