//! Processes that are killed while they write.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use event::{Event, EventSink, Kind};

use super::order::numbers;
use super::sample::*;
use super::{bench, names};
use crate::*;

const FOLDER: &str = "JOURNAL_TEST_FOLDER";
const DIE_AT: &str = "JOURNAL_TEST_DIE_AT";

/// Positions of this class are on the disk when the call returns.
fn committed(position: u64) -> bool {
    position % 10 == 9
}

/// Not a test of its own: the process that is killed.
#[test]
#[ignore = "is started by the other tests of this file"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let die_at: Option<u64> = std::env::var(DIE_AT).ok().map(|at| at.parse().unwrap());
    let progress = std::fs::File::create(folder.with_file_name("progress")).unwrap();
    let journal = Journal::create(folder, &header()).unwrap();
    let record = journal.begin(&begin(), u64::MAX).unwrap();
    for position in 0.. {
        if die_at == Some(position) {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
        }
        if committed(position) {
            let class = if position % 500 == 499 { Class::Once } else { Class::Idempotent };
            record.intent(&intent(position, class)).unwrap();
            progress.write_all_at(&(position + 1).to_le_bytes(), 0).unwrap();
        } else {
            record.delivered(&delivery(position, &body(position as usize % 6000)), false).unwrap();
        }
        journal.emit(&Event { at: position, kind: Kind::Warning { message: String::new() } });
    }
}

fn start(folder: &Path, die_at: Option<u64>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "tests::crash::child", "--ignored", "--nocapture"]).env(FOLDER, folder).stdout(Stdio::null());
    if let Some(at) = die_at {
        command.env(DIE_AT, at.to_string());
    }
    command.spawn().unwrap()
}

/// The journal of a killed process: what was committed is there, and nothing stands behind a gap.
fn assert_sound(folder: &Path, at_least: u64) {
    let reader = Reader::open(folder).unwrap();
    let (seqs, positions) = numbers(&reader);
    let events = reader.events().unwrap();
    drop(reader);
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "nothing is missing in between");
    let count = positions.len() as u64;
    assert!(count >= at_least, "{count} are there, {at_least} were committed");
    assert_eq!(positions, (0..count).map(|position| (1, position)).collect::<Vec<_>>());
    // An event follows each record.
    assert!(events.len() as u64 == count || events.len() as u64 + 1 == count);
    assert!(events.iter().map(|event| event.at).eq(0..events.len() as u64));

    let journal = Journal::resume(folder).unwrap();
    let record = journal.begin(&begin(), u64::MAX).unwrap();
    assert_eq!(record.len(), count);
    for position in 0..count {
        assert_eq!(record.at(position).unwrap().unwrap().position, position);
    }
    record.delivered(&delivery(count, &body(5)), false).unwrap();
    drop(record);
    journal.close().unwrap();
    check(folder).unwrap();
    assert_eq!(names(folder), [DATABASE]);
}

#[test]
fn killed_by_itself() {
    for at in [0, 1, 9, 10, 13, 500, 2345] {
        let bench = bench();
        let status = start(&bench.folder, Some(at)).wait().unwrap();
        assert!(!status.success());
        assert_sound(&bench.folder, at - at % 10);
    }
}

#[test]
fn killed_at_any_time() {
    for round in 0..8 {
        let bench = bench();
        let mut child = start(&bench.folder, None);
        let started = Instant::now();
        while !bench.folder.join(DATABASE).exists() {
            assert!(started.elapsed() < Duration::from_secs(20), "it did not start");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(round * 7_300));
        child.kill().unwrap();
        child.wait().unwrap();
        let progress = std::fs::read(bench.folder.with_file_name("progress")).unwrap();
        let committed = progress.try_into().map_or(0, u64::from_le_bytes);
        assert_sound(&bench.folder, committed);
    }
}
