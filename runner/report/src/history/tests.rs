use std::io::Write as _;
use std::time::Duration;

use event::{Artifact, DenialRecord, Event, FailureKind, Kind, Outcome, PlannedStage, StageRef, Verdict};
use jiff::tz::TimeZone;
use journal::{Approval, AttemptRow, Begin, Class, End, Header, InDoubt, Line, LineVerdict, Overview, Session};

use super::*;

/// 2026-11-22 00:48:47 UTC.
const START: u64 = 1_795_308_527 * SECOND;

fn view() -> View {
    let options = Options { width: Some(80), ..Options::default() };
    View { options, now: START + 200 * SECOND, zone: TimeZone::UTC }
}

fn header(run: &str) -> Header {
    Header {
        run: run.to_owned(),
        pipeline: "shop".to_owned(),
        file: "ci/pipeline.toml".to_owned(),
        root: "/home/ana/shop".into(),
        text: String::new(),
        inputs: vec![("environment".to_owned(), "staging".to_owned())],
        git_branch: Some("feature/a-rather-long-name-of-a-branch".to_owned()),
        git_sha: Some("1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d".to_owned()),
        facts: String::new(),
        included: Vec::new(),
        unconfined: false,
        jobs: 2,
        fail_fast: false,
        grace: Duration::from_secs(10),
        only: Vec::new(),
        skip: Vec::new(),
        seed: [0; 32],
        runner: "0.1.0".to_owned(),
        engine: "1".to_owned(),
        started: START,
    }
}

fn passed() -> Outcome {
    Outcome::Passed { summary: "12 tests".to_owned() }
}

fn denial() -> DenialRecord {
    DenialRecord {
        effect: "http.request".to_owned(),
        subject: "GET https://api.example/v1".to_owned(),
        code: "not-granted".to_owned(),
        reason: "the stage has no http grant".to_owned(),
        remedy: Some("[stage.test.grants]\nhttp = [{ url = \"https://api.example/v1\", methods = [\"GET\"] }]".to_owned()),
    }
}

fn denied() -> Outcome {
    let message = "cannot \u{1b}[31mreach\u{7} the service".to_owned();
    Outcome::Failed { kind: FailureKind::Denied, message, soft: false, denial: Some(denial()) }
}

fn overview(run: &str) -> Overview {
    let outcomes = [("lint", passed()), ("test", denied())].map(|(stage, outcome)| (StageRef::new(stage), outcome));
    Overview {
        header: header(run),
        last: START + 62 * SECOND,
        finished: Some((Verdict::Denied, START + 62 * SECOND)),
        took: Some(Duration::from_secs(62)),
        stages: 3,
        outcomes: outcomes.into(),
        unapproved: Vec::new(),
        in_doubt: Vec::new(),
    }
}

fn text(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    for line in text.lines() {
        assert!(crate::style::width(line) <= 80 || line.contains("http = ["), "{} columns: {line}", crate::style::width(line));
        assert!(!line.chars().any(crate::sanitize::acts), "{line:?}");
    }
    text
}

#[test]
fn the_list_fits_and_shows_what_cannot_be_read() {
    let mut running = overview("20261122-004900-aaaaaa");
    running.finished = None;
    running.took = None;
    running.outcomes.clear();
    let mut old = overview("20251020-004900-bbbbbb");
    old.header.started = START - 500 * DAY;
    old.header.pipeline = "a pipeline with a name that takes a lot of room".to_owned();
    let rows = [
        Row { run: "20261122-004900-aaaaaa".to_owned(), told: Ok((RunState::of(&running, true), running)) },
        Row { run: "20261122-004847-9f3a1c".to_owned(), told: Ok((RunState::of(&overview("x"), false), overview("x"))) },
        Row { run: "20261121-000000-cccccc".to_owned(), told: Err("the journal is damaged: \u{1b}]0;not a database".to_owned()) },
        Row { run: "20251020-004900-bbbbbb".to_owned(), told: Ok((RunState::of(&old, false), old)) },
    ];
    insta::assert_snapshot!(text(|out| runs(&rows, &view(), out)));
    let json = runs_json(&rows, view().now);
    assert_eq!(json[0]["took-seconds"], 200.0);
    assert_eq!(json[1]["stages"]["passed"], 1);
    assert_eq!(json[2]["state"], "unreadable");
}

#[test]
fn states_have_names_that_are_read_back() {
    for state in RunState::ALL {
        assert_eq!(state.name().parse(), Ok(state));
    }
    assert!("paused".parse::<RunState>().unwrap_err().contains("cut-off"));
    let mut cut = overview("x");
    cut.finished = None;
    assert_eq!(RunState::of(&cut, false), RunState::CutOff);
}

fn story(state: RunState, mut overview: Overview) -> Story {
    let planned = |id: &str| PlannedStage { id: StageRef::new(id), uses: "command".to_owned(), needs: Vec::new(), place: None };
    let started = |stage: &str, attempt| Kind::StageStarted {
        stage: StageRef::new(stage),
        attempt,
        plugin: "test".to_owned(),
        digest: "00".to_owned(),
    };
    let finished = |stage: &str, attempt, outcome, artifacts| Kind::StageFinished {
        stage: StageRef::new(stage),
        attempt,
        outcome,
        nanos: SECOND,
        outputs: Vec::new(),
        artifacts,
        log: ".runner/runs/x/logs/test.1.log".to_owned(),
    };
    let artifact = Artifact { name: "coverage".to_owned(), files: 3, bytes: 1_200_000, digest: "ab".repeat(32) };
    let begun = Kind::RunStarted {
        schema: event::SCHEMA,
        runner: "0.1.0".to_owned(),
        run: "x".to_owned(),
        pipeline: "shop".to_owned(),
        file: "pipeline.toml".to_owned(),
        jobs: 2,
        stages: ["lint", "test", "deploy"].map(planned).into(),
        git: None,
        trigger: None,
    };
    let again = Outcome::Failed { kind: FailureKind::Errored, message: "no luck".to_owned(), soft: false, denial: None };
    let retrying = Kind::StageRetrying { stage: StageRef::new("test"), attempt: 1, outcome: again.clone(), delay: 0 };
    let asked = Kind::ApprovalWaiting {
        stage: StageRef::new("deploy"),
        environment: "production".to_owned(),
        question: None,
        count: 2,
        given: 1,
        expires: None,
    };
    let events: Vec<Event> = [
        (0, begun),
        (1, started("lint", 1)),
        (11, finished("lint", 1, passed(), vec![artifact])),
        (12, started("test", 1)),
        (20, retrying),
        // an hour between two sessions takes no room in the bars
        (3612, started("test", 2)),
        (3615, Kind::Denied { stage: StageRef::new("test"), denial: denial() }),
        (3640, finished("test", 2, denied(), Vec::new())),
        (3641, asked),
    ]
    .into_iter()
    .map(|(at, kind)| Event { at: START + at * SECOND, kind })
    .collect();
    let session = |number, from: u64, until: u64| Session {
        number,
        started: START + from * SECOND,
        last: START + until * SECOND,
        pid: 4242,
        runner: "0.1.0".to_owned(),
    };
    let attempt = |stage: &str, attempt, from: u64, until: u64, outcome| AttemptRow {
        begin: Begin {
            stage: StageRef::new(stage),
            attempt,
            name: stage.to_owned(),
            uses: "test".to_owned(),
            plugin: "cd".repeat(32),
            epoch: START + from * SECOND,
            context: "{}".to_owned(),
        },
        end: Some(End { at: START + until * SECOND, outcome, outputs: Vec::new(), artifacts: Vec::new(), cut_off: false }),
        records: 7,
    };
    let attempts = vec![attempt("lint", 1, 1, 11, passed()), attempt("test", 1, 12, 20, again), attempt("test", 2, 3612, 3640, denied())];
    let approval = Approval {
        stage: StageRef::new("deploy"),
        approved: true,
        by: "ana".to_owned(),
        note: "go ahead".to_owned(),
        at: START + 150 * SECOND,
    };
    overview.last = START + 3641 * SECOND;
    Story::new(state, overview, vec![session(1, 0, 20), session(2, 3610, 3641)], attempts, vec![approval], &events)
}

#[test]
fn a_run_from_close_by() {
    let story = story(RunState::Waiting, overview("20261122-004847-9f3a1c"));
    insta::assert_snapshot!(text(|out| story.write(&view(), out)));
    let json = story.json(Some(Pick("test")), view().now);
    assert_eq!(json["stages"].as_array().unwrap().len(), 1);
    assert_eq!(json["stages"][0]["attempts"][1]["outcome"]["kind"], "denied");
    assert_eq!(json["stages"][0]["took-seconds"], 36.0);
}

#[test]
fn ascii_is_all_that_an_old_terminal_gets() {
    let mut doubtful = overview("x");
    let subject = "make deploy".to_owned();
    doubtful.in_doubt.push(InDoubt { stage: StageRef::new("deploy"), attempt: 1, effect: "commands.start".to_owned(), subject });
    let story = story(RunState::Waiting, doubtful);
    let mut view = view();
    view.options.unicode = false;
    let text = text(|out| story.write(&view, out));
    assert!(text.is_ascii(), "{text}");
    assert!(text.contains("--in-doubt retry|skip|fail"), "{text}");
}

#[test]
fn a_stage_from_close_by() {
    let story = story(RunState::Denied, overview("x"));
    insta::assert_snapshot!(text(|out| story.write_stage(Pick("test"), &view(), out)));
}

fn lines() -> Vec<Line> {
    let line = |position, what: &str, subject: &str, verdict| Line {
        stage: StageRef::new("test (app=backend)"),
        attempt: 2,
        position: Some(position),
        at: START + position * SECOND,
        took: Some(Duration::from_micros(1500)),
        what: what.to_owned(),
        subject: subject.to_owned(),
        verdict,
        bytes: 0,
    };
    let connection = |refused: Option<&str>| LineVerdict::Connection {
        command: Some(1),
        allowed: refused.is_none(),
        reason: refused.map(str::to_owned),
        bytes_in: if refused.is_none() { 4096 } else { 0 },
        bytes_out: if refused.is_none() { 1024 } else { 0 },
    };
    let granted = |class| LineVerdict::Granted { class, request: r#"{"path":"src"}"#.to_owned() };
    vec![
        line(0, "files.open", "src/a/path/that/is/longer/than/what/is/left/of/the/line", granted(Class::Read)),
        Line { bytes: 123_456, ..line(1, "files.read", "src/main.rs", LineVerdict::Delivered) },
        Line { took: None, ..line(2, "commands.start", "make deploy", granted(Class::Once)) },
        line(3, "http.request", "GET https://api.example/v1", LineVerdict::Denied(denial())),
        Line { position: None, bytes: 5120, ..line(4, "commands.connect", "registry.example:443", connection(None)) },
        Line { position: None, ..line(5, "commands.connect", "evil.example:80", connection(Some("the host and port are not granted"))) },
    ]
}

#[test]
fn the_ledger_is_a_table_that_fits_and_objects_for_programs() {
    let view = view();
    let mut ledger = Ledger::new(&view);
    insta::assert_snapshot!(text(|out| lines().iter().try_for_each(|line| ledger.line(line, out))));
    assert_eq!(ledger.lines(), 6);
    let objects: Vec<String> = lines().iter().map(|line| line_json(line).to_string()).collect();
    insta::assert_snapshot!(objects.join("\n"));
}

#[test]
fn a_log_reaches_a_terminal_without_what_acts_on_it() {
    let mut out = Vec::new();
    let mut log = LogText::new(&mut out);
    for piece in [&b"plain\nhal"[..], b"f \x1b[31mred\x1b[0m\n 10%\r 20%\r30%\n\x1b]52;c;aGk=", b"\x07after\nno end"] {
        log.write_all(piece).unwrap();
    }
    log.finish().unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "plain\nhalf red\n30%\nafter\nno end\n");
}
