//! Runs for tests: a scripted sequence of events with every kind of ending, and a writer that keeps what it is given.

use std::io::Write;
use std::sync::{Arc, Mutex};

use event::{
    Artifact, Blocked, DenialRecord, Event, EventSink, FailureKind, FileLine, Finding, GitFacts, Kind, Location, Outcome, Place,
    PlannedStage, Severity, StageRef, Stream, TestCase, TestStatus, Trigger, Verdict,
};

/// 2026-01-31T12:00:00Z.
pub const START: u64 = 1_769_860_800_000_000_000;

pub const SECOND: u64 = 1_000_000_000;

#[derive(Clone, Default)]
pub struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A pipe whose reader has gone.
pub struct Broken;

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub fn stage(id: &str) -> StageRef {
    StageRef::new(id)
}

/// `at` is in seconds since the run began.
pub fn at(seconds: f64, kind: Kind) -> Event {
    Event { at: START + (seconds * SECOND as f64) as u64, kind }
}

pub fn started(stages: &[&str]) -> Event {
    let stages = stages.iter().enumerate().map(|(index, id)| PlannedStage {
        id: stage(id),
        uses: "command".to_owned(),
        needs: vec![],
        place: Some(place(10 * index as u32 + 10)),
    });
    let kind = Kind::RunStarted {
        schema: event::SCHEMA,
        runner: "0.1.0".to_owned(),
        run: "0197-cafe".to_owned(),
        pipeline: "shop".to_owned(),
        file: "pipeline.toml".to_owned(),
        jobs: 4,
        stages: stages.collect(),
        git: None,
        trigger: None,
    };
    at(0.0, kind)
}

/// A stage that begins at that line, with a grant for files and one for HTTP.
fn place(line: u32) -> Place {
    let at = |line| FileLine { line, file: None };
    Place { at: at(line), grants: Some(at(line + 2)), grant: vec![("files".to_owned(), at(line + 2)), ("http".to_owned(), at(line + 3))] }
}

/// The first event of a run on a checkout.
pub fn started_on(stages: &[&str], git: GitFacts) -> Event {
    let Event { at, mut kind } = started(stages);
    if let Kind::RunStarted { git: facts, .. } = &mut kind {
        *facts = Some(git);
    }
    Event { at, kind }
}

/// The first event of a run that a push set off, with a pipeline of another revision.
pub fn started_for(stages: &[&str]) -> Event {
    let git = GitFacts { branch: Some("main".to_owned()), sha: None, dirty: Some(true) };
    let Event { at, mut kind } = started_on(stages, git);
    if let Kind::RunStarted { trigger, .. } = &mut kind {
        let words = ["push", "branch", "main", "stable (0123456789ab)"].map(str::to_owned);
        let [event, trust, subject, from] = words;
        *trigger = Some(Trigger { event, trust, subject, pipeline_from: Some(from) });
    }
    Event { at, kind }
}

pub fn begin(seconds: f64, id: &str, attempt: u32, plugin: &str) -> Event {
    at(seconds, Kind::StageStarted { stage: stage(id), attempt, plugin: plugin.to_owned(), digest: format!("digest-of-{plugin}") })
}

pub fn output(seconds: f64, id: &str, text: &str) -> Event {
    at(seconds, Kind::Output { stage: stage(id), stream: Stream::Command(1), bytes: Arc::from(text.as_bytes()) })
}

pub fn ended(seconds: f64, id: &str, attempt: u32, took: f64, outcome: Outcome) -> Event {
    let log = if attempt > 0 { format!(".runner/runs/0197-cafe/{}.log", id.replace(' ', "-")) } else { String::new() };
    let artifacts = match id {
        "build" => vec![Artifact { name: "dist".to_owned(), files: 3, bytes: 1_234_567, digest: "ab12".to_owned() }],
        _ => vec![],
    };
    let nanos = (took * SECOND as f64) as u64;
    at(seconds, Kind::StageFinished { stage: stage(id), attempt, outcome, nanos, outputs: vec![], artifacts, log })
}

pub fn passed(summary: &str) -> Outcome {
    Outcome::Passed { summary: summary.to_owned() }
}

pub fn failed(kind: FailureKind, message: &str) -> Outcome {
    Outcome::Failed { kind, message: message.to_owned(), soft: false, denial: None }
}

pub fn denial() -> DenialRecord {
    DenialRecord {
        effect: "http".to_owned(),
        subject: "POST https://hooks.example/services/T0".to_owned(),
        code: "http.host".to_owned(),
        reason: "no rule of the `http` grant names the host hooks.example".to_owned(),
        remedy: Some("[[stage.notify.grants.http]]\nurl = \"https://hooks.example/services/*\"\nmethods = [\"POST\"]".to_owned()),
    }
}

fn location(path: &str, line: u32, column: u32) -> Option<Location> {
    Some(Location { path: path.to_owned(), line, column, end_line: 0, end_column: 0 })
}

fn test(suite: &str, name: &str, status: TestStatus, millis: u64, message: &str) -> TestCase {
    TestCase {
        suite: suite.to_owned(),
        name: name.to_owned(),
        status,
        nanos: millis * 1_000_000,
        message: message.to_owned(),
        location: if status == TestStatus::Failed { location("src/cart.rs", 88, 9) } else { None },
    }
}

/// What happens in the run up to the moment when three stages run and one waits for its retry, 45 seconds in.
pub fn first_half() -> Vec<Event> {
    let finding = |severity, rule: &str, message: &str, counted| Finding {
        severity,
        tool: "clippy".to_owned(),
        rule: rule.to_owned(),
        message: message.to_owned(),
        location: location("src/main.rs", 3, 5),
        help: "prefix it with an underscore".to_owned(),
        url: "https://rules.example/unused".to_owned(),
        counted,
    };
    let findings = vec![
        finding(Severity::High, "unused_variables", "unused variable: `x`", true),
        finding(Severity::Low, "needless_return", "unneeded `return`", false),
    ];
    vec![
        started(&["lint", "build", "test (app=backend)", "測試 (app=前端)", "audit", "deploy", "smoke", "rollback", "notify"]),
        at(0.0, Kind::Compiling { plugin: "lint".to_owned(), digest: "digest-of-lint".to_owned() }),
        at(0.9, Kind::Compiled { plugin: "lint".to_owned(), digest: "digest-of-lint".to_owned() }),
        begin(0.9, "lint", 1, "lint"),
        begin(0.9, "build", 1, "command"),
        output(1.0, "lint", "checking\n"),
        at(1.1, Kind::Findings { stage: stage("lint"), findings }),
        output(1.2, "lint", "\u{1b}[31mwarning\u{1b}[0m: unused variable\r\n\u{1b}]0;owned\u{7}error: aborting\n"),
        ended(2.1, "lint", 1, 1.2, failed(FailureKind::Failed, "1 finding of severity high or more")),
        begin(2.1, "audit", 1, "audit"),
        at(2.2, Kind::Warning { message: "the advisory export is 40 days old".to_owned() }),
        at(
            3.0,
            Kind::CommandStarted {
                stage: stage("build"),
                command: 1,
                line: "cargo build --release".to_owned(),
                place: "confined".to_owned(),
            },
        ),
        output(4.0, "build", "   Compiling shop v0.1.0 (/workspace)\n"),
        begin(5.0, "測試 (app=前端)", 1, "test"),
        at(6.0, Kind::Progress { stage: stage("測試 (app=前端)"), done: 42, total: 100, message: "suite 購物車".to_owned() }),
        at(
            6.5,
            Kind::StageRetrying {
                stage: stage("audit"),
                attempt: 1,
                outcome: failed(FailureKind::Errored, "the OSV server answered 503"),
                delay: 50 * SECOND,
            },
        ),
        begin(7.0, "test (app=backend)", 2, "test"),
        output(8.0, "test (app=backend)", "running 214 tests\ntest cart::adds ... ok\ntest cart::removes ... \u{1b}[2J"),
    ]
}

pub fn second_half() -> Vec<Event> {
    let tests = vec![
        test("cart", "adds", TestStatus::Passed, 12, ""),
        test(
            "cart",
            "removes <all>",
            TestStatus::Failed,
            1_200,
            "assertion `left == right` failed\n  left: 1\n right: \u{1b}[31m2\u{1b}[0m\u{0}",
        ),
        test("checkout", "pays", TestStatus::Flaky, 30, "timed out at first"),
        test("checkout", "refunds", TestStatus::Skipped, 0, "needs a bank"),
        test("", "boots", TestStatus::Errored, 0, "the database did not start"),
    ];
    vec![
        at(45.5, Kind::Tests { stage: stage("test (app=backend)"), tests }),
        at(
            45.5,
            Kind::Measured { stage: stage("test (app=backend)"), name: "coverage.lines".to_owned(), value: 87.5, unit: "%".to_owned() },
        ),
        ended(46.0, "test (app=backend)", 2, 39.0, failed(FailureKind::Failed, "2 of 5 tests did not pass")),
        ended(47.0, "build", 1, 46.1, passed("")),
        ended(48.0, "測試 (app=前端)", 1, 43.0, passed("100 tests")),
        begin(56.5, "audit", 2, "audit"),
        ended(
            57.0,
            "audit",
            2,
            54.9,
            Outcome::Failed { kind: FailureKind::Failed, message: "3 vulnerabilities".to_owned(), soft: true, denial: None },
        ),
        ended(57.0, "deploy", 0, 0.0, Outcome::Blocked { why: Blocked::Need(stage("lint")) }),
        ended(57.0, "smoke", 0, 0.0, Outcome::Skipped { why: Blocked::When("git.branch == \"main\"".to_owned()) }),
        ended(57.0, "rollback", 0, 0.0, Outcome::Skipped { why: Blocked::NotSelected }),
        begin(57.0, "notify", 1, "notify"),
        at(57.1, Kind::Denied { stage: stage("notify"), denial: denial() }),
        ended(
            57.2,
            "notify",
            1,
            0.2,
            Outcome::Failed {
                kind: FailureKind::Denied,
                message: "the message could not be sent".to_owned(),
                soft: false,
                denial: Some(denial()),
            },
        ),
        at(57.2, Kind::RunFinished { verdict: Verdict::Denied, nanos: 57 * SECOND + 200_000_000 }),
    ]
}

const SHOP: [&str; 5] = ["test", "publish", "deploy (region=eu)", "smoke", "docs"];

fn planned() -> Vec<PlannedStage> {
    SHOP.iter().map(|id| PlannedStage { id: stage(id), uses: "command".to_owned(), needs: vec![], place: None }).collect()
}

fn asks(seconds: f64, given: u32) -> Event {
    let kind = Kind::ApprovalWaiting {
        stage: stage("deploy (region=eu)"),
        environment: "production".to_owned(),
        question: None,
        count: 2,
        given,
        expires: Some(START + 4 * 3600 * SECOND),
    };
    at(seconds, kind)
}

fn given(seconds: f64, approved: bool, by: &str, note: &str) -> Event {
    at(seconds, Kind::ApprovalGiven { stage: stage("deploy (region=eu)"), approved, by: by.to_owned(), note: note.to_owned() })
}

/// The first stages of a run that then waits for two people.
fn before_the_wait() -> Vec<Event> {
    let tests = vec![test("cart", "adds", TestStatus::Passed, 12, "")];
    vec![
        begin(0.1, "test", 1, "test"),
        at(1.9, Kind::Tests { stage: stage("test"), tests }),
        ended(2.0, "test", 1, 1.9, passed("1 test")),
        begin(2.0, "docs", 1, "command"),
        ended(2.5, "docs", 1, 0.5, failed(FailureKind::Failed, "`mdbook` ended with code 1")),
    ]
}

/// A run that ends because only people can make it go on.
pub fn waiting() -> Vec<Event> {
    let mut events = vec![started(&SHOP)];
    events.extend(before_the_wait());
    events.extend([asks(2.6, 0), given(4.0, true, "ana", "looks good"), asks(4.0, 1)]);
    events.push(at(5.0, Kind::RunFinished { verdict: Verdict::Waiting, nanos: 5 * SECOND }));
    events
}

/// Its second session, an hour later: the other approval, and an effect that was cut off.
pub fn resumed() -> Vec<Event> {
    let kind = Kind::RunResumed {
        schema: event::SCHEMA,
        runner: "0.1.0".to_owned(),
        run: "0197-cafe".to_owned(),
        pipeline: "shop".to_owned(),
        file: "pipeline.toml".to_owned(),
        jobs: 4,
        session: 2,
        stages: planned(),
        settled: 2,
    };
    let mut events = vec![at(3600.0, kind)];
    events.extend(before_the_wait());
    events.extend([
        begin(3600.1, "publish", 2, "command"),
        asks(3600.1, 1),
        given(3601.0, false, "bob", ""),
        ended(3601.0, "deploy (region=eu)", 0, 0.0, failed(FailureKind::Rejected, "bob rejected it")),
        output(3602.0, "publish", "pushing the image\n"),
        at(
            3603.0,
            Kind::StageSuspended {
                stage: stage("publish"),
                attempt: 2,
                effect: "http".to_owned(),
                subject: "POST https://registry.example/v2/shop".to_owned(),
                message: "the runner ended between the request and its answer, and nobody can tell whether it arrived".to_owned(),
            },
        ),
        at(3603.0, Kind::RunFinished { verdict: Verdict::Waiting, nanos: 3 * SECOND }),
    ]);
    events
}

/// What a stage would write to be read as something else: commands, marks, Markdown, markup, escapes.
pub const EVIL: &str = "::error file=a::owned\r\n  ::add-mask::x\n##[group]y] %0A::stop-commands::z\n\u{1b}[0Ksection_end:1:runner_log_1\r\u{1b}[0K\
    \n```\n| @all #1 [a](javascript:b) <script>&amp;</script> $x$ \\ *b* _c_ ]]> \u{202e} \u{0} \"";

/// A run in which every word that a stage or a file chooses is [`EVIL`].
pub fn hostile() -> Vec<Event> {
    let id = format!("a (b={EVIL})");
    let evil = || EVIL.to_owned();
    let at_evil = Some(Location { path: format!("src/{EVIL}"), line: 3, column: 9, end_line: 2, end_column: 1 });
    let outside = Some(Location { path: format!("../../{EVIL}"), line: 0, column: 0, end_line: 0, end_column: 0 });
    let finding = |severity, location| Finding {
        severity,
        tool: evil(),
        rule: evil(),
        message: evil(),
        location,
        help: evil(),
        url: format!("javascript:{EVIL}"),
        counted: true,
    };
    let findings = vec![finding(Severity::Critical, at_evil.clone()), finding(Severity::Medium, outside), finding(Severity::Info, None)];
    let tests = vec![TestCase { suite: evil(), name: evil(), status: TestStatus::Failed, nanos: 1, message: evil(), location: at_evil }];
    let denial = DenialRecord { effect: evil(), subject: evil(), code: evil(), reason: evil(), remedy: Some(evil()) };
    let mut started = started(&[&id]);
    if let Kind::RunStarted { pipeline, file, run, git, trigger, .. } = &mut started.kind {
        (*pipeline, *file, *run) = (evil(), evil(), evil());
        *git = Some(GitFacts { branch: Some(evil()), sha: Some(evil()), dirty: Some(true) });
        *trigger = Some(Trigger { event: evil(), trust: evil(), subject: evil(), pipeline_from: Some(evil()) });
    }
    let outcome = Outcome::Failed { kind: FailureKind::Failed, message: evil(), soft: false, denial: Some(denial.clone()) };
    vec![
        started,
        at(0.0, Kind::Warning { message: evil() }),
        at(0.0, Kind::GroupWaiting { stage: Some(stage(&id)), group: evil(), holder: Some(evil()), holder_stage: Some(evil()) }),
        begin(0.1, &id, 1, EVIL),
        output(0.2, &id, &format!("{EVIL}\n").repeat(20)),
        at(0.3, Kind::Findings { stage: stage(&id), findings }),
        at(0.4, Kind::Tests { stage: stage(&id), tests }),
        at(0.5, Kind::Measured { stage: stage(&id), name: evil(), value: 1.0, unit: evil() }),
        at(0.6, Kind::Denied { stage: stage(&id), denial }),
        at(
            0.7,
            Kind::StageFinished {
                stage: stage(&id),
                attempt: 1,
                outcome,
                nanos: SECOND,
                outputs: vec![(evil(), evil())],
                artifacts: vec![Artifact { name: evil(), files: 1, bytes: 1, digest: evil() }],
                log: evil(),
            },
        ),
        at(0.8, Kind::Stopping { reason: evil() }),
        at(1.0, Kind::RunFinished { verdict: Verdict::Failed, nanos: SECOND }),
    ]
}

/// A report's file after these events.
pub fn written(events: &[Event], sink: impl FnOnce(&std::path::Path) -> Box<dyn EventSink>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reports/file");
    play(&*sink(&path), events);
    let left: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["file"], "nothing is left beside it");
    std::fs::read_to_string(path).unwrap()
}

pub fn whole() -> Vec<Event> {
    [first_half(), second_half()].concat()
}

pub fn play(sink: &dyn EventSink, events: &[Event]) {
    for event in events {
        sink.emit(event);
    }
}
