use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use event::{Event, EventSink, Kind};
use rusqlite::Connection;

use super::bench;
use super::sample::*;
use crate::*;

/// A finished run, large enough to be damaged in many places.
fn finished(folder: &Path) {
    let journal = Journal::create(folder, &header()).unwrap();
    record_all(&journal);
    let record = journal.begin(&Begin { attempt: 2, ..begin() }, u64::MAX).unwrap();
    for position in 0..300 {
        record.delivered(&delivery(position, &body(900)), false).unwrap();
    }
    drop(record);
    journal.close().unwrap();
}

fn corrupt(result: Result<impl Sized>) -> String {
    match result {
        Err(error @ JournalError::Corrupt { .. }) => error.to_string(),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("nothing was found"),
    }
}

#[test]
fn nothing_there() {
    let bench = bench();
    assert!(matches!(Reader::open(&bench.folder), Err(JournalError::Missing { .. })));
    assert!(matches!(Journal::resume(&bench.folder), Err(JournalError::Missing { .. })));
    assert!(matches!(approve(&bench.folder.join("none"), &approval()), Err(JournalError::Missing { .. })));
    assert!(matches!(check(&bench.folder), Err(JournalError::Missing { .. })));
    finished(&bench.folder);
    assert!(matches!(Journal::create(&bench.folder, &header()), Err(JournalError::Exists { .. })));
}

#[test]
fn not_a_journal() {
    let bench = bench();
    let path = bench.folder.join(DATABASE);
    for text in ["", "not a database at all, but long enough to be looked at as one: ".repeat(20).as_str()] {
        std::fs::write(&path, text).unwrap();
        corrupt(Reader::open(&bench.folder));
        corrupt(Journal::resume(&bench.folder));
        corrupt(approve(&bench.folder, &approval()));
    }
    std::fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE other (x)").unwrap();
    assert!(corrupt(Reader::open(&bench.folder)).contains("not a journal of this runner"));
}

#[test]
fn a_newer_one() {
    let bench = bench();
    finished(&bench.folder);
    let connection = Connection::open(bench.folder.join(DATABASE)).unwrap();
    connection.pragma_update(None, "user_version", 7).unwrap();
    connection.close().unwrap();
    for error in [
        Reader::open(&bench.folder).err(),
        Journal::resume(&bench.folder).err(),
        approve(&bench.folder, &approval()).err(),
        check(&bench.folder).err(),
    ] {
        let error = error.unwrap();
        assert!(matches!(error, JournalError::Newer { found: 7, known: 1, .. }));
        assert!(error.to_string().contains("written by a newer runner (format 7, this runner knows up to 1)"));
    }
}

#[test]
fn damaged_pages() {
    let bench = bench();
    finished(&bench.folder);
    let path = bench.folder.join(DATABASE);
    let whole = std::fs::read(&path).unwrap();
    check(&bench.folder).unwrap();
    let pages = whole.len() / 4096;
    assert!(pages > 50);
    let mut found = 0;
    for page in 0..pages {
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[0x5a; 4096], page as u64 * 4096).unwrap();
        drop(file);
        // A page that nothing uses may hold anything.
        match check(&bench.folder) {
            Err(JournalError::Corrupt { .. }) => found += 1,
            Err(other) => panic!("page {page}: {other:?}"),
            Ok(()) => {}
        }
        std::fs::write(&path, &whole).unwrap();
    }
    assert!(found + 2 >= pages, "{found} of {pages}");
    for length in [whole.len() / 2, 4096, 100, 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        corrupt(check(&bench.folder));
    }
}

#[test]
fn damaged_bodies() {
    let bench = bench();
    finished(&bench.folder);
    let reader = Reader::open(&bench.folder).unwrap();
    let (_, _, record) = reader.record(&stage(), 1).unwrap().unwrap();
    for file in reader.bodies().unwrap() {
        let path = bench.folder.join(file);
        let whole = std::fs::read(&path).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().write_all_at(b"?", 7).unwrap();
        assert!(corrupt(check(&bench.folder)).contains("other bytes than its name says"));
        std::fs::remove_file(&path).unwrap();
        assert!(corrupt(check(&bench.folder)).contains("the body is gone"));
        std::fs::write(&path, whole).unwrap();
    }
    check(&bench.folder).unwrap();
    drop((record, reader));
    let connection = Connection::open(bench.folder.join(DATABASE)).unwrap();
    connection.execute("UPDATE body SET bytes = x'00'", []).unwrap();
    connection.close().unwrap();
    let reader = Reader::open(&bench.folder).unwrap();
    let (_, _, record) = reader.record(&stage(), 1).unwrap().unwrap();
    assert!(corrupt(record.at(6)).contains("other bytes than its name says"));
    record.at(5).unwrap();
}

#[test]
fn a_half_written_body_is_written_again() {
    let bench = bench();
    let journal = Journal::create(&bench.folder, &header()).unwrap();
    let path = bench.folder.join(body::relative(&body::digest(&body(100_000))));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::File::create(&path).unwrap().write_all(&body(10)).unwrap();
    journal.begin(&begin(), u64::MAX).unwrap().delivered(&delivery(0, &body(100_000)), false).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), body(100_000));
}

#[test]
fn a_full_disk() {
    let bench = bench();
    let journal = Journal::create(&bench.folder, &header()).unwrap();
    let record = journal.begin(&begin(), u64::MAX).unwrap();
    record.intent(&intent(0, Class::Idempotent)).unwrap();
    journal.limit_pages(40);
    let error = (1..10_000).find_map(|position| record.intent(&intent(position, Class::Idempotent)).err()).unwrap();
    assert!(matches!(error, JournalError::Full { .. }), "{error:?}");
    assert!(error.to_string().contains("free some"));
    // It stays so, for everybody, and quietly for events.
    journal.limit_pages(1_000_000);
    assert!(matches!(journal.failed(), Some(JournalError::Full { .. })));
    journal.emit(&Event { at: 0, kind: Kind::Warning { message: String::new() } });
    assert!(matches!(record.end(&end(), true), Err(JournalError::Full { .. })));
    assert!(matches!(journal.begin(&Begin { attempt: 2, ..begin() }, 0), Err(JournalError::Full { .. })));
    assert!(matches!(journal.flush(), Err(JournalError::Full { .. })));
    drop((record, journal));
    // What was written before is whole, and the run can be taken up again.
    check(&bench.folder).unwrap();
    let journal = Journal::resume(&bench.folder).unwrap();
    let record = journal.begin(&begin(), u64::MAX).unwrap();
    assert!(record.len() > 1);
    record.intent(&intent(record.len(), Class::Once)).unwrap();
}

#[test]
fn a_full_disk_that_events_find() {
    let bench = bench();
    let journal = Journal::create(&bench.folder, &header()).unwrap();
    let record = journal.begin(&begin(), u64::MAX).unwrap();
    journal.flush().unwrap();
    journal.limit_pages(20);
    for at in 0..5000 {
        journal.emit(&Event { at, kind: Kind::Warning { message: "w".repeat(100) } });
    }
    assert!(matches!(journal.failed(), Some(JournalError::Full { .. })));
    assert!(matches!(record.intent(&intent(0, Class::Read)), Err(JournalError::Full { .. })), "nothing may happen any more");
}

#[test]
fn somebody_else_writes() {
    let bench = bench();
    let journal = Journal::create(&bench.folder, &header()).unwrap();
    journal.flush().unwrap();
    let other = Connection::open(bench.folder.join(DATABASE)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // A reader does not mind.
    Reader::open(&bench.folder).unwrap().events().unwrap();
    // For a while it waits.
    let record = journal.begin(&begin(), LIMIT).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| record.intent(&intent(0, Class::Idempotent)));
        std::thread::sleep(std::time::Duration::from_millis(200));
        other.execute_batch("COMMIT").unwrap();
        waiting.join().unwrap().unwrap();
    });
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let start = std::time::Instant::now();
    assert!(matches!(approve(&bench.folder, &approval()), Err(JournalError::Busy { .. })));
    assert!(start.elapsed() >= std::time::Duration::from_secs(4));
    assert!(matches!(record.intent(&intent(1, Class::Idempotent)), Err(JournalError::Busy { .. })));
}
