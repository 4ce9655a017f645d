//! A run with one of everything, and what must be read back.

use std::time::Duration;

use bytes::Bytes;
use event::{Artifact, DenialRecord, Event, EventSink, FailureKind, Kind, Outcome, StageRef, Verdict};

use crate::*;

pub const LIMIT: u64 = 200_000;

pub fn stage() -> StageRef {
    StageRef::new("test (app=backend)")
}

pub fn header() -> Header {
    Header {
        run: "0199-shop".to_owned(),
        pipeline: "shop".to_owned(),
        file: "ci/pipeline.toml".to_owned(),
        root: "/srv/shop".into(),
        text: "format = 1\nname = \"shop\"\n".to_owned(),
        inputs: vec![("environment".to_owned(), "staging".to_owned())],
        git_branch: Some("main".to_owned()),
        git_sha: None,
        facts: String::new(),
        included: Vec::new(),
        unconfined: false,
        jobs: 4,
        fail_fast: true,
        grace: Duration::from_millis(10_500),
        only: vec!["test".to_owned()],
        skip: Vec::new(),
        seed: [0x5e; 32],
        runner: "0.1.0".to_owned(),
        engine: "48.0.0 1".to_owned(),
        started: 1_700_000_000_000_000_000,
    }
}

pub fn begin() -> Begin {
    Begin {
        stage: stage(),
        attempt: 1,
        name: "test".to_owned(),
        uses: "test".to_owned(),
        plugin: "ab".repeat(32),
        epoch: 1_700_000_001_000_000_000,
        context: r#"{"with":{"suites":[]}}"#.to_owned(),
    }
}

pub fn end() -> End {
    End {
        at: 1_700_000_002_000_000_000,
        outcome: Outcome::Failed { kind: FailureKind::TimedOut, message: "10m passed".to_owned(), soft: true, denial: Some(denial()) },
        outputs: vec![("ref".to_owned(), "sha256:1".to_owned())],
        artifacts: vec![Artifact { name: "dist".to_owned(), files: 2, bytes: 20, digest: "cd".repeat(32) }],
        cut_off: true,
    }
}

pub fn denial() -> DenialRecord {
    DenialRecord {
        effect: "http.request".to_owned(),
        subject: "GET https://example.com/".to_owned(),
        code: "http::no-rule".to_owned(),
        reason: "no rule allows this host".to_owned(),
        remedy: Some("http = [{ url = \"https://example.com/\" }]".to_owned()),
    }
}

pub fn approval() -> Approval {
    Approval { stage: stage(), approved: true, by: "ana".to_owned(), note: "looks good".to_owned(), at: 1_700_000_003_000_000_000 }
}

pub fn body(length: usize) -> Bytes {
    (0..length).map(|at| (at % 251) as u8).collect::<Vec<_>>().into()
}

/// JSON that is too long for its row.
pub fn long_json() -> String {
    format!("{{\"text\":\"{}\"}}", "long ".repeat(14_000))
}

pub fn events() -> Vec<Event> {
    let stage = stage();
    let kinds = [
        Kind::StageStarted { stage: stage.clone(), attempt: 1, plugin: "test".to_owned(), digest: "ab".repeat(32) },
        Kind::Measured { stage: stage.clone(), name: "tests".to_owned(), value: 12.5, unit: "s".to_owned() },
        Kind::Denied { stage, denial: denial() },
        Kind::RunFinished { verdict: Verdict::Failed, nanos: 5 },
    ];
    kinds.into_iter().enumerate().map(|(number, kind)| Event { at: number as u64, kind }).collect()
}

pub fn json(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| serde_json::to_string(event).unwrap()).collect()
}

pub fn intent(position: u64, class: Class) -> Intent<'static> {
    let effect = "files.open";
    Intent { position, effect, class, subject: "src/main.rs", asked: [position as u8; 32], request: r#"{"path":"src"}"#, seen: "{}" }
}

pub fn reply(position: u64, body: &str, promptly: bool) -> Reply<'_> {
    Reply { position, clock: position * 10, body, promptly }
}

pub fn delivery(position: u64, bytes: &Bytes) -> Delivery<'_> {
    let what = "files.read";
    Delivery {
        position,
        clock: position * 10,
        what,
        subject: "src/main.rs",
        asked: [position as u8; 32],
        body: r#"{"n":1}"#,
        bytes,
        secret: false,
    }
}

/// Records one of everything.
pub fn record_all(journal: &Journal) {
    for event in &events()[..3] {
        journal.emit(event);
    }
    let record = journal.begin(&begin(), LIMIT).unwrap();
    record.intent(&intent(0, Class::Read)).unwrap();
    record.reply(&reply(0, "{}", false)).unwrap();
    record.intent(&intent(1, Class::Idempotent)).unwrap();
    record.reply(&reply(1, &long_json(), false)).unwrap();
    record.intent(&intent(2, Class::Once)).unwrap();
    record.reply(&reply(2, "{}", true)).unwrap();
    record.denied(&Denied { position: 3, clock: 30, asked: [3; 32], denial: &denial() }).unwrap();
    for (position, length) in (4..).zip(LENGTHS) {
        record.delivered(&delivery(position, &body(length)), false).unwrap();
    }
    record.waiting(&Waiting { position: 9, what: "poll", asked: [9; 32], until: Some(u64::MAX) }).unwrap();
    record.delivered(&delivery(9, &Bytes::new()), true).unwrap();
    record.waiting(&Waiting { position: 10, what: "poll", asked: [10; 32], until: None }).unwrap();
    record.intent(&intent(11, Class::Once)).unwrap();
    record.end(&end(), true).unwrap();
    journal.approval_asked(&stage(), 77).unwrap();
    journal.emit(&events()[3]);
}

/// In the row, at its limit, in the table, in a file, beyond the record limit.
pub const LENGTHS: [usize; 5] = [0, 4 << 10, 64 << 10, (64 << 10) + 1, 70_000];

pub fn records() -> Vec<Record> {
    let crossed = |position: u64, class, answer: Option<&str>| {
        let kind = RecordKind::Crossed {
            class,
            request: r#"{"path":"src"}"#.to_owned(),
            seen: "{}".to_owned(),
            answer: answer.map(|body| Answer { clock: position * 10, body: body.to_owned(), bytes: Payload::Here(Bytes::new()) }),
        };
        Record { position, what: "files.open".to_owned(), subject: "src/main.rs".to_owned(), asked: [position as u8; 32], kind }
    };
    let delivered = |position: u64, bytes| {
        let kind = RecordKind::Delivered(Answer { clock: position * 10, body: r#"{"n":1}"#.to_owned(), bytes });
        Record { position, what: "files.read".to_owned(), subject: "src/main.rs".to_owned(), asked: [position as u8; 32], kind }
    };
    let mut records = vec![
        crossed(0, Class::Read, Some("{}")),
        crossed(1, Class::Idempotent, Some(&long_json())),
        crossed(2, Class::Once, Some("{}")),
        Record {
            position: 3,
            what: "http.request".to_owned(),
            subject: "GET https://example.com/".to_owned(),
            asked: [3; 32],
            kind: RecordKind::Denied { clock: 30, denial: denial() },
        },
    ];
    records.extend((4..).zip(&LENGTHS[..4]).map(|(position, length)| delivered(position, Payload::Here(body(*length)))));
    let last = body(LENGTHS[4]);
    records.push(delivered(8, Payload::Digest { length: last.len() as u64, digest: *blake3::hash(&last).as_bytes() }));
    records.push(delivered(9, Payload::Here(Bytes::new())));
    let waiting = RecordKind::Waiting;
    records.push(Record { position: 10, what: "poll".to_owned(), subject: String::new(), asked: [10; 32], kind: waiting });
    records.push(crossed(11, Class::Once, None));
    records
}

/// Everything that is read back of what [`record_all`] wrote and a person approved.
pub fn assert_all(reader: &Reader) {
    assert_eq!(*reader.header(), header());
    assert_eq!(json(&reader.events().unwrap()), json(&events()));
    assert_eq!(json(&[reader.last_event().unwrap().unwrap()]), json(&events()[3..]));
    assert_eq!(reader.finished().unwrap(), Some((Verdict::Failed, 3)));
    assert_eq!(reader.attempts().unwrap(), [AttemptRow { begin: begin(), end: Some(end()), records: 12 }]);
    assert_eq!(reader.approvals().unwrap(), [approval()]);
    assert_eq!(reader.approval_asked().unwrap(), [(stage(), 77)]);
    let (began, ended, record) = reader.record(&stage(), 1).unwrap().unwrap();
    assert_eq!((began, ended, record.len()), (begin(), Some(end()), 12));
    let read: Vec<_> = (0..12).map(|position| record.at(position).unwrap().unwrap()).collect();
    assert_eq!(read, records());
    assert_eq!(record.at(12).unwrap(), None);
    assert!(reader.record(&stage(), 2).unwrap().is_none());
}
