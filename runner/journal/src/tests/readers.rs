use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::thread::UnshareFlags;

use super::sample::*;
use super::{bench, names};
use crate::*;

#[test]
fn two_readers_while_it_is_written() {
    let bench = bench();
    let journal = Journal::create(&bench.folder, &header()).unwrap();
    let record = journal.begin(&begin(), u64::MAX).unwrap();
    record.intent(&intent(0, Class::Idempotent)).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let (mut seen, mut looks) = (0, 0);
                while !done.load(Ordering::Relaxed) || looks == 0 {
                    let reader = Reader::open(&bench.folder).unwrap();
                    let (_, _, record) = reader.record(&stage(), 1).unwrap().unwrap();
                    assert!(record.len() >= seen, "what was there stays");
                    seen = record.len();
                    for position in seen.saturating_sub(5)..seen {
                        assert_eq!(record.at(position).unwrap().unwrap().position, position);
                    }
                    let mut lines = 0;
                    reader.lines(None, &mut |_| lines += 1).unwrap();
                    assert!(lines >= seen);
                    looks += 1;
                }
            });
        }
        for position in 1..3000 {
            record.intent(&intent(position, if position % 50 == 0 { Class::Idempotent } else { Class::Read })).unwrap();
            record.reply(&reply(position, "{}", false)).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    drop(record);
    journal.close().unwrap();
    assert_eq!(names(&bench.folder), [DATABASE]);
    assert_eq!(Reader::open(&bench.folder).unwrap().attempts().unwrap()[0].records, 3000);
}

#[test]
fn a_reader_follows_a_run_that_is_taken_up_again() {
    let bench = bench();
    Journal::create(&bench.folder, &header()).unwrap().close().unwrap();
    let reader = Reader::open(&bench.folder).unwrap();
    assert_eq!(reader.sessions().unwrap().len(), 1);
    let journal = Journal::resume(&bench.folder).unwrap();
    assert_eq!(reader.sessions().unwrap().len(), 2);
    let record = journal.begin(&begin(), LIMIT).unwrap();
    journal.flush().unwrap();
    let (_, _, read) = reader.record(&stage(), 1).unwrap().unwrap();
    assert!(matches!(read.intent(&intent(0, Class::Read)), Err(JournalError::ForReading { .. })));
    assert!(matches!(read.end(&end(), true), Err(JournalError::ForReading { .. })));
    drop(record);
}

#[test]
fn approvals_come_from_other_processes() {
    let bench = bench();
    let journal = Journal::create(&bench.folder, &header()).unwrap();
    record_all(&journal);
    let run = |by: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "tests::readers::approving", "--ignored"]).env("JOURNAL_TEST_APPROVE", &bench.folder);
        assert!(command.env("JOURNAL_TEST_BY", by).stdout(Stdio::null()).status().unwrap().success());
    };
    run("ana");
    run("bo");
    let people = |approvals: Vec<Approval>| approvals.into_iter().map(|approval| approval.by).collect::<Vec<_>>();
    assert_eq!(people(journal.approvals().unwrap()), ["ana", "bo"]);
    // The journal goes on as if nothing had been.
    let record = journal.begin(&Begin { attempt: 2, ..begin() }, LIMIT).unwrap();
    record.intent(&intent(0, Class::Once)).unwrap();
    drop(record);
    journal.close().unwrap();
    // Also while nobody works on the run.
    run("cy");
    assert_eq!(names(&bench.folder), ["bodies", DATABASE]);
    assert_eq!(people(Reader::open(&bench.folder).unwrap().approvals().unwrap()), ["ana", "bo", "cy"]);
    check(&bench.folder).unwrap();
}

#[test]
#[ignore = "is started by another test"]
fn approving() {
    let Some(folder) = std::env::var_os("JOURNAL_TEST_APPROVE") else { return };
    let by = std::env::var("JOURNAL_TEST_BY").unwrap();
    approve(Path::new(&folder), &Approval { by, ..approval() }).unwrap();
}

#[test]
fn a_run_is_carried_away() {
    let bench = bench();
    let journal = Journal::create(&bench.folder, &header()).unwrap();
    record_all(&journal);
    approve(&bench.folder, &approval()).unwrap();
    let there = super::bench();
    let carry = |reader: &Reader| {
        for file in reader.bodies().unwrap() {
            let to = there.folder.join(&file);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(reader.folder().join(&file), to).unwrap();
        }
    };
    // While it is worked on.
    let reader = Reader::open(&bench.folder).unwrap();
    carry(&reader);
    journal.flush().unwrap();
    reader.copy(&there.folder.join(DATABASE)).unwrap();
    assert_all(&Reader::open(&there.folder).unwrap());
    check(&there.folder).unwrap();
    drop(reader);
    // When it was closed, a plain copy will do.
    journal.close().unwrap();
    std::fs::copy(bench.folder.join(DATABASE), there.folder.join(DATABASE)).unwrap();
    assert_all(&Reader::open(&there.folder).unwrap());
    Journal::resume(&there.folder).unwrap().close().unwrap();
}

#[test]
fn folders_that_can_only_be_read() {
    let read = |closed: bool, indexed: bool| {
        let bench = bench();
        let journal = Journal::create(&bench.folder, &header()).unwrap();
        record_all(&journal);
        approve(&bench.folder, &approval()).unwrap();
        journal.flush().unwrap();
        // As a killed process leaves it: a copy of the files while they are open.
        let there = super::bench();
        if closed {
            journal.clone().close().unwrap();
        }
        assert!(Command::new("cp").arg("-r").arg(bench.folder.join(".")).arg(&there.folder).status().unwrap().success());
        let index = there.folder.join(format!("{DATABASE}-shm"));
        assert_eq!(index.exists(), !closed);
        if !closed && !indexed {
            std::fs::remove_file(index).unwrap();
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "tests::readers::reading_only", "--ignored", "--nocapture"]);
        let output = command.env("JOURNAL_TEST_READ", &there.folder).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    read(true, false);
    read(false, false);
    read(false, true);
}

/// In a process of its own, for its mounts are its own.
#[test]
#[ignore = "is started by another test"]
fn reading_only() {
    let Some(folder) = std::env::var_os("JOURNAL_TEST_READ") else { return };
    let folder = Path::new(&folder);
    // SAFETY: only this thread's view of mounts and users changes; no memory or descriptors are unshared.
    let unshared = unsafe {
        rustix::thread::unshare_unsafe(UnshareFlags::NEWNS)
            .or_else(|_| rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS))
    };
    // A machine that gives nobody mounts of their own can't show this.
    if unshared.is_err() {
        return;
    }
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
    rustix::mount::mount_bind(folder, folder).unwrap();
    rustix::mount::mount_remount(folder, MountFlags::BIND | MountFlags::RDONLY, "").unwrap();
    assert!(std::fs::write(folder.join("x"), "").is_err());
    let before = names(folder);
    assert_all(&Reader::open(folder).unwrap());
    check(folder).unwrap();
    assert_eq!(names(folder), before);
    assert!(matches!(Journal::resume(folder), Err(JournalError::ReadOnly { .. })));
    assert!(matches!(approve(folder, &approval()), Err(JournalError::ReadOnly { .. })));
    let elsewhere = folder.join("none");
    assert!(matches!(Journal::create(folder, &header()), Err(JournalError::Exists { .. })));
    assert!(matches!(Reader::open(&elsewhere), Err(JournalError::Missing { .. })));
}
