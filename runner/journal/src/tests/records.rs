use std::os::unix::fs::PermissionsExt;

use bytes::Bytes;
use event::{Event, EventSink, Kind};

use super::sample::*;
use super::{bench, names};
use crate::*;

#[test]
fn everything_is_read_back() {
    let bench = bench();
    let journal = Journal::create(&bench.folder, &header()).unwrap();
    assert_eq!((journal.header(), journal.session()), (&header(), 1));
    record_all(&journal);
    approve(&bench.folder, &approval()).unwrap();
    // While it is written, and when it was closed.
    assert_eq!(journal.approvals().unwrap(), [approval()]);
    assert_eq!(json(&journal.events().unwrap()), json(&events()));
    assert_all(&Reader::open(&bench.folder).unwrap());
    journal.close().unwrap();
    assert_eq!(names(&bench.folder), ["bodies", DATABASE]);
    assert_all(&Reader::open(&bench.folder).unwrap());
    check(&bench.folder).unwrap();
    assert_eq!(names(&bench.folder), ["bodies", DATABASE], "readers leave nothing behind");

    let journal = Journal::resume(&bench.folder).unwrap();
    assert_eq!(journal.session(), 2);
    let record = journal.begin(&begin(), LIMIT).unwrap();
    assert_eq!((record.len(), record.ended()), (12, Some(&end())));
    let read: Vec<_> = (0..12).map(|position| record.at(position).unwrap().unwrap()).collect();
    assert_eq!(read, records());
}

#[test]
fn nobody_else_may_look() {
    let bench = bench();
    std::fs::set_permissions(&bench.folder, PermissionsExt::from_mode(0o755)).unwrap();
    let journal = Journal::create(&bench.folder, &header()).unwrap();
    record_all(&journal);
    journal.flush().unwrap();
    let mut folders = vec![bench.folder.clone()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700, "{folder:?}");
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
                files += 1;
            }
        }
    }
    assert_eq!(files, 5, "the database, its log, the log's index, two bodies");
}

#[test]
fn roots_that_are_not_text() {
    use std::os::unix::ffi::OsStrExt;
    let bench = bench();
    let header = Header { root: std::ffi::OsStr::from_bytes(b"/srv/\xff").into(), ..header() };
    Journal::create(&bench.folder, &header).unwrap().close().unwrap();
    assert_eq!(*Reader::open(&bench.folder).unwrap().header(), header);
}

#[test]
fn a_record_comes_in_windows() {
    let bench = bench();
    let journal = Journal::create(&bench.folder, &header()).unwrap();
    let record = journal.begin(&begin(), u64::MAX).unwrap();
    let bytes = body(3000);
    for position in 0..5000 {
        record.delivered(&delivery(position, &bytes), false).unwrap();
    }
    assert_eq!(record.at(0).unwrap(), None, "it was fresh when it was opened");
    let again = journal.begin(&begin(), u64::MAX).unwrap();
    assert_eq!(again.len(), 5000);
    for position in (0..5000).chain([17, 4999, 3, 3]) {
        assert_eq!(again.at(position).unwrap().unwrap().position, position);
    }
    assert_eq!(again.at(5000).unwrap(), None);
}

#[test]
fn the_limit_counts_raw_bytes_over_sessions() {
    let bench = bench();
    let journal = Journal::create(&bench.folder, &header()).unwrap();
    let record = journal.begin(&begin(), 100).unwrap();
    record.delivered(&delivery(0, &body(60)), false).unwrap();
    drop(record);
    journal.close().unwrap();
    let journal = Journal::resume(&bench.folder).unwrap();
    let record = journal.begin(&begin(), 100).unwrap();
    record.delivered(&delivery(1, &body(40)), false).unwrap();
    record.delivered(&delivery(2, &body(1)), false).unwrap();
    record.delivered(&delivery(3, &Bytes::new()), false).unwrap();
    let record = journal.begin(&begin(), 100).unwrap();
    let kept: Vec<_> = (0..4)
        .map(|position| match record.at(position).unwrap().unwrap().kind {
            RecordKind::Delivered(Answer { bytes: Payload::Here(bytes), .. }) => Some(bytes),
            RecordKind::Delivered(Answer { bytes: Payload::Digest { length, digest }, .. }) => {
                assert_eq!((length, digest), (1, *blake3::hash(&body(1)).as_bytes()));
                None
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kept, [Some(body(60)), Some(body(40)), None, Some(Bytes::new())]);
}

#[test]
fn the_same_body_is_kept_once() {
    let bench = bench();
    let journal = Journal::create(&bench.folder, &header()).unwrap();
    let record = journal.begin(&begin(), u64::MAX).unwrap();
    for position in 0..10 {
        record.delivered(&delivery(position, &body(if position < 5 { 10_000 } else { 100_000 })), false).unwrap();
    }
    drop(record);
    journal.close().unwrap();
    let reader = Reader::open(&bench.folder).unwrap();
    let files = reader.bodies().unwrap();
    assert_eq!(files.len(), 1);
    assert_eq!(std::fs::read(bench.folder.join(&files[0])).unwrap(), body(100_000));
    assert_eq!(reader.read(|source| source.table_bodies(&[])).unwrap().len(), 1);
}

#[test]
fn the_ledger_is_in_the_order_of_time() {
    let bench = bench();
    let journal = Journal::create(&bench.folder, &header()).unwrap();
    let deploy = event::StageRef::new("deploy");
    let other = journal.begin(&Begin { stage: deploy.clone(), name: "deploy".to_owned(), ..begin() }, LIMIT).unwrap();
    other.intent(&intent(0, Class::Idempotent)).unwrap();
    record_all(&journal);
    other.delivered(&delivery(1, &body(7)), false).unwrap();
    journal.close().unwrap();
    let reader = Reader::open(&bench.folder).unwrap();
    let lines = |stage| {
        let mut lines = Vec::new();
        reader.lines(stage, &mut |line| lines.push(line)).unwrap();
        lines
    };
    let all = lines(None);
    assert_eq!(all.len(), 14);
    assert!(all.is_sorted_by_key(|line| line.at));
    assert_eq!((&all[0].stage, all[0].took), (&deploy, None));
    assert!(all[1].took.is_some(), "an answer came");
    let granted = LineVerdict::Granted { class: Class::Idempotent, request: r#"{"path":"src"}"#.to_owned() };
    assert_eq!((&all[0].verdict, &*all[0].what, &*all[0].subject), (&granted, "files.open", "src/main.rs"));
    assert_eq!((&all[4].verdict, &*all[4].what), (&LineVerdict::Denied(denial()), "http.request"));
    assert_eq!((&all[8].verdict, all[8].bytes, all[8].took), (&LineVerdict::Delivered, 65_537, None));
    assert_eq!((&all[10].verdict, all[10].took.is_some()), (&LineVerdict::Delivered, true));
    assert_eq!((&all[11].verdict, &all[13].stage, all[13].bytes), (&LineVerdict::Waiting, &deploy, 7));
    assert_eq!(lines(Some("test (app=backend)")), all[1..13]);
    assert_eq!(lines(Some("test")), all[1..13]);
    assert_eq!(lines(Some("nothing")), []);
}

#[test]
fn a_position_is_written_once() {
    let bench = bench();
    let journal = Journal::create(&bench.folder, &header()).unwrap();
    let record = journal.begin(&begin(), LIMIT).unwrap();
    // What was cut off may be repeated.
    record.intent(&intent(0, Class::Idempotent)).unwrap();
    record.intent(&intent(0, Class::Idempotent)).unwrap();
    record.reply(&reply(0, "{}", true)).unwrap();
    record.intent(&intent(1, Class::Read)).unwrap();
    record.denied(&Denied { position: 1, clock: 0, asked: [1; 32], denial: &denial() }).unwrap();
    journal.flush().unwrap();
    // What was answered may not.
    let error = record.intent(&intent(0, Class::Idempotent)).unwrap_err();
    assert!(error.to_string().contains("position 0 of `files.open` was recorded already"), "{error}");
    assert!(journal.failed().is_some());
    assert!(record.intent(&intent(2, Class::Read)).is_err(), "once broken, always broken");
    assert!(journal.clone().flush().is_err());
    assert!(journal.close().is_err());
    assert_eq!(Reader::open(&bench.folder).unwrap().attempts().unwrap()[0].records, 2);
}

#[test]
fn a_reply_has_an_intent() {
    let bench = bench();
    let journal = Journal::create(&bench.folder, &header()).unwrap();
    let record = journal.begin(&begin(), LIMIT).unwrap();
    record.waiting(&Waiting { position: 0, what: "poll", asked: [0; 32], until: None }).unwrap();
    assert!(record.reply(&reply(0, "{}", true)).unwrap_err().to_string().contains("no effect waits"));
}

#[test]
fn what_is_not_for_keeping() {
    let bench = bench();
    let journal = Journal::create(&bench.folder, &header()).unwrap();
    let (stream, bytes) = (event::Stream::Stage, b"x".as_slice().into());
    for kind in [
        Kind::Output { stage: stage(), stream, bytes },
        Kind::Progress { stage: stage(), done: 1, total: 2, message: String::new() },
        Kind::Measured { stage: stage(), name: "n".to_owned(), value: f64::NAN, unit: String::new() },
        Kind::Warning { message: "w".to_owned() },
    ] {
        journal.emit(&Event { at: 1, kind });
    }
    assert_eq!(json(&journal.events().unwrap()), [r#"{"at":1,"event":"warning","message":"w"}"#]);
}

#[test]
fn closed_is_closed() {
    let bench = bench();
    let journal = Journal::create(&bench.folder, &header()).unwrap();
    let record = journal.begin(&begin(), LIMIT).unwrap();
    journal.clone().close().unwrap();
    assert!(matches!(record.intent(&intent(0, Class::Read)), Err(JournalError::Closed { .. })));
    assert!(matches!(record.at(0), Ok(None)));
    assert!(matches!(journal.events(), Err(JournalError::Closed { .. })));
    assert!(matches!(journal.close(), Err(JournalError::Closed { .. })));
}

#[test]
fn what_nobody_asked_for_is_written_soon() {
    let bench = bench();
    let journal = Journal::create(&bench.folder, &header()).unwrap();
    let record = journal.begin(&begin(), LIMIT).unwrap();
    let reader = Reader::open(&bench.folder).unwrap();
    for position in 0..3 {
        record.delivered(&delivery(position, &body(7)), false).unwrap();
        let start = std::time::Instant::now();
        while reader.attempts().unwrap().first().is_none_or(|row| row.records != position + 1) {
            assert!(start.elapsed().as_secs() < 10, "nothing was written");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}
