use event::{DenialRecord, Event, EventSink, Finding, Kind, Severity, StageRef};

use super::bench;
use super::sample::*;
use crate::*;

fn started(stage: &StageRef, attempt: u32) -> Kind {
    Kind::StageStarted { stage: stage.clone(), attempt, plugin: "test".to_owned(), digest: String::new() }
}

fn finding(stage: &StageRef, message: &str) -> Kind {
    let (tool, rule, message) = ("t".to_owned(), "r".to_owned(), message.to_owned());
    let (help, url, location, counted) = (String::new(), String::new(), None, true);
    let severity = Severity::Low;
    Kind::Findings { stage: stage.clone(), findings: vec![Finding { severity, tool, rule, message, location, help, url, counted }] }
}

fn denied(stage: &StageRef, subject: &str) -> Kind {
    Kind::Denied { stage: stage.clone(), denial: DenialRecord { subject: subject.to_owned(), ..denial() } }
}

fn connection(stage: &StageRef, host: &str, allowed: bool) -> Kind {
    let (stage, host, reason) = (stage.clone(), host.to_owned(), (!allowed).then(|| "not granted".to_owned()));
    Kind::Connection { stage, command: Some(1), host, port: 443, allowed, reason, bytes_in: 5, bytes_out: 2, nanos: 1 }
}

fn command(stage: &StageRef, command: u32) -> Kind {
    Kind::CommandStarted { stage: stage.clone(), command, line: String::new(), place: String::new() }
}

fn emit(journal: &Journal, kinds: impl IntoIterator<Item = Kind>) {
    kinds.into_iter().for_each(|kind| journal.emit(&Event { at: 1, kind }));
}

#[test]
fn what_a_replayed_guest_reports_again_is_recorded_once() {
    let bench = bench();
    let (stage, other) = (stage(), StageRef::new("other"));
    let journal = Journal::create(&bench.folder, &header()).unwrap();
    emit(&journal, [started(&stage, 1), finding(&stage, "first attempt")]);
    emit(&journal, [started(&stage, 2), finding(&stage, "a"), denied(&stage, "x"), command(&stage, 1), finding(&stage, "b")]);
    drop(journal);

    let journal = Journal::resume(&bench.folder).unwrap();
    assert_eq!(journal.session(), 2);
    emit(&journal, [started(&stage, 2), finding(&stage, "a"), started(&other, 1), finding(&other, "o"), denied(&stage, "x")]);
    emit(&journal, [command(&stage, 1), finding(&stage, "b"), finding(&stage, "c"), denied(&stage, "y")]);
    drop(journal);

    let journal = Journal::resume(&bench.folder).unwrap();
    emit(&journal, [started(&stage, 2), finding(&stage, "a"), finding(&stage, "b"), finding(&stage, "c"), finding(&stage, "d")]);
    emit(&journal, [started(&stage, 3), finding(&stage, "a")]);
    let told: Vec<_> = journal
        .events()
        .unwrap()
        .into_iter()
        .map(|event| match event.kind {
            Kind::StageStarted { stage, attempt, .. } => format!("start {stage} {attempt}"),
            Kind::Findings { findings, .. } => format!("finding {}", findings[0].message),
            Kind::Denied { denial, .. } => format!("denied {}", denial.subject),
            Kind::CommandStarted { command, .. } => format!("command {command}"),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        told,
        [
            "start test (app=backend) 1",
            "finding first attempt",
            "start test (app=backend) 2",
            "finding a",
            "denied x",
            "command 1",
            "finding b",
            // the second session
            "start other 1",
            "finding o",
            "command 1",
            "finding c",
            "denied y",
            // the third
            "finding d",
            "start test (app=backend) 3",
            "finding a",
        ]
    );
}

#[test]
fn a_cut_off_attempt_goes_on_where_its_record_ends() {
    let bench = bench();
    let journal = Journal::create(&bench.folder, &header()).unwrap();
    let record = journal.begin(&begin(), LIMIT).unwrap();
    assert!(record.is_empty());
    record.delivered(&delivery(0, &body(10)), false).unwrap();
    record.intent(&intent(1, Class::Once)).unwrap();
    drop((record, journal));

    let journal = Journal::resume(&bench.folder).unwrap();
    let changed = Begin { context: "{}".to_owned(), ..begin() };
    let record = journal.begin(&changed, LIMIT).unwrap();
    assert_eq!((record.len(), record.begun(), record.ended()), (2, &begin(), None), "the first begin stays");
    let RecordKind::Crossed { answer: None, class: Class::Once, .. } = record.at(1).unwrap().unwrap().kind else { panic!("in doubt") };
    record.reply(&reply(1, "{}", true)).unwrap();
    record.delivered(&delivery(2, &body(10)), false).unwrap();
    record.end(&end(), true).unwrap();
    let second = journal.begin(&Begin { attempt: 2, ..begin() }, LIMIT).unwrap();
    assert_eq!(second.len(), 0);
    let rows = journal.attempts().unwrap();
    assert_eq!(
        rows.iter().map(|row| (row.begin.attempt, row.records, row.end.is_some())).collect::<Vec<_>>(),
        [(1, 3, true), (2, 0, false)]
    );
}

#[test]
fn sessions_and_the_time_of_waiting() {
    let bench = bench();
    let journal = Journal::create(&bench.folder, &header()).unwrap();
    assert_eq!(journal.approval_asked(&stage(), 50).unwrap(), 50);
    emit(&journal, [Kind::Warning { message: String::new() }]);
    journal.close().unwrap();
    let journal = Journal::resume(&bench.folder).unwrap();
    assert_eq!(journal.approval_asked(&stage(), 60).unwrap(), 50, "the first time counts");
    let record = journal.begin(&begin(), LIMIT).unwrap();
    record.intent(&intent(0, Class::Read)).unwrap();
    drop(record);
    journal.close().unwrap();
    let reader = Reader::open(&bench.folder).unwrap();
    let sessions = reader.sessions().unwrap();
    assert_eq!(sessions.iter().map(|session| session.number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((sessions[0].started, sessions[0].last), (header().started, header().started));
    assert_eq!(sessions[0].pid, std::process::id());
    let mut at = 0;
    reader.lines(None, &mut |line| at = line.at).unwrap();
    assert_eq!(sessions[1].last, at);
    assert!(sessions[1].started <= at);
}

#[test]
fn what_must_survive_a_power_loss_is_synced_when_the_journal_is_closed() {
    let durable = |act: &dyn Fn(&Journal, &std::path::Path)| {
        let bench = bench();
        let journal = Journal::create(&bench.folder, &header()).unwrap();
        act(&journal, &bench.folder);
        journal.close().unwrap();
        let select = "SELECT durable FROM session ORDER BY number";
        let marked = |source: crate::query::Source<'_>| Ok(source.connection.query_row(select, [], |row| row.get::<_, bool>(0)).unwrap());
        Reader::open(&bench.folder).unwrap().read(marked).unwrap()
    };
    let crossed =
        |class| move |journal: &Journal, _: &std::path::Path| journal.begin(&begin(), 0).unwrap().intent(&intent(0, class)).unwrap();
    assert!(!durable(&|_, _| ()));
    assert!(!durable(&crossed(Class::Read)));
    assert!(!durable(&crossed(Class::Idempotent)));
    assert!(durable(&crossed(Class::Once)));
    assert!(!durable(&|journal, _| journal.settle().unwrap()));
    let settled = |journal: &Journal, folder: &std::path::Path| {
        journal.settle().unwrap();
        crossed(Class::Once)(journal, folder);
        journal.settle().unwrap();
    };
    assert!(durable(&settled));
    assert!(durable(&|_, folder| approve(folder, &approval()).unwrap()));
}

/// A program's connections are not the guest's: a replay makes none, so none is waited for.
#[test]
fn connections_are_recorded_whenever_they_come() {
    let bench = bench();
    let stage = stage();
    let refused = Kind::Denied { stage: stage.clone(), denial: DenialRecord { effect: event::CONNECT.to_owned(), ..denial() } };
    let journal = Journal::create(&bench.folder, &header()).unwrap();
    journal.begin(&begin(), 0).unwrap();
    emit(&journal, [started(&stage, 1), connection(&stage, "good.example", true), refused, connection(&stage, "evil.example", false)]);
    drop(journal);

    let journal = Journal::resume(&bench.folder).unwrap();
    emit(&journal, [started(&stage, 1), denied(&stage, "x"), connection(&stage, "good.example", true)]);
    journal.close().unwrap();
    let reader = Reader::open(&bench.folder).unwrap();
    let events = reader.events().unwrap();
    assert_eq!(events.iter().filter(|event| matches!(event.kind, Kind::Denied { .. })).count(), 2);
    let told = |which: Option<&str>| {
        let mut told = Vec::new();
        reader.lines(which, &mut |line| told.push((line.position, line.subject, line.bytes, line.verdict))).unwrap();
        told
    };
    let verdict = |allowed: bool| LineVerdict::Connection {
        command: Some(1),
        allowed,
        reason: (!allowed).then(|| "not granted".to_owned()),
        bytes_in: 5,
        bytes_out: 2,
    };
    let good = (None, "good.example:443".to_owned(), 7, verdict(true));
    assert_eq!(told(None), [good.clone(), (None, "evil.example:443".to_owned(), 7, verdict(false)), good]);
    assert_eq!((told(Some("test")).len(), told(Some("other")).len()), (3, 0));
}
