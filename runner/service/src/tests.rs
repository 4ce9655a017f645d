//! The orchestration, with services that are tasks of the test.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex};

use event::{Event, EventSink, Kind, StageRef};
use pipeline::plan::{Probe, Ready, ServiceSource};
use tokio::sync::watch;

use super::*;

/// What a service of a test does.
#[derive(Clone, Default)]
struct Script {
    refused: Option<&'static str>,
    prints: &'static str,
    /// Ends at once, this way.
    ends: Option<&'static str>,
    /// How often its command fails before it passes.
    failures: usize,
}

#[derive(Default)]
struct Stage {
    scripts: HashMap<&'static str, Script>,
    told: Arc<Mutex<Vec<String>>>,
}

struct Fake {
    name: String,
    script: Script,
    left: Mutex<usize>,
    over: watch::Sender<bool>,
    told: Arc<Mutex<Vec<String>>>,
    _outputs: (OwnedFd, OwnedFd),
}

impl Launcher for Stage {
    fn launch<'a>(&'a self, order: Order<'a>) -> Launching<'a> {
        Box::pin(async move {
            let name = order.service.name.clone();
            let script = self.scripts.get(name.as_str()).cloned().unwrap_or_default();
            if let Some(why) = script.refused {
                return Err(LaunchError(why.to_owned()));
            }
            self.told.lock().unwrap().push(format!("start {name}"));
            let mut out = std::fs::File::from(order.stdout);
            out.write_all(script.prints.as_bytes()).unwrap();
            let left = Mutex::new(script.failures);
            let fake =
                Fake { name, script, left, over: watch::Sender::new(false), told: self.told.clone(), _outputs: (out.into(), order.stderr) };
            Ok(Box::new(fake) as Box<dyn Launched>)
        })
    }
}

impl Launched for Fake {
    fn ended(&self) -> Pin<Box<dyn Future<Output = String> + Send + '_>> {
        Box::pin(async move {
            match self.script.ends {
                Some(how) => {
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    how.to_owned()
                }
                None => {
                    let _ = self.over.subscribe().wait_for(|over| *over).await;
                    "signal 15".to_owned()
                }
            }
        })
    }

    fn run<'a>(&'a self, _: &'a [String]) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>> {
        Box::pin(async move {
            let mut left = self.left.lock().unwrap();
            if *left == 0 {
                self.told.lock().unwrap().push(format!("ready {}", self.name));
                return Ok("exit 0".to_owned());
            }
            *left -= 1;
            Err("exit 1".to_owned())
        })
    }

    fn connect(&self, _: u16) -> Pin<Box<dyn Future<Output = io::Result<Box<dyn crate::Stream>>> + Send + '_>> {
        Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) })
    }

    fn stop(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.over.send_replace(true);
        self.told.lock().unwrap().push(format!("stop {}", self.name));
        Box::pin(async {})
    }
}

#[derive(Default)]
struct Told(Mutex<Vec<Kind>>);

impl EventSink for Told {
    fn emit(&self, event: &Event) {
        self.0.lock().unwrap().push(event.kind.clone());
    }
}

fn service(name: &str, needs: &[usize], probe: Option<Probe>) -> Service {
    let ready = probe.map(|probe| Ready {
        probe,
        timeout: Duration::from_millis(300),
        interval: Duration::from_millis(5),
        try_timeout: Duration::from_secs(5),
    });
    Service {
        name: name.to_owned(),
        span: 0..0,
        source: ServiceSource::Command(vec![name.to_owned()]),
        env: Vec::new(),
        toolchains: Vec::new(),
        network: Vec::new(),
        ready,
        needs: needs.to_vec(),
        optional: false,
        grace: Duration::from_secs(10),
    }
}

fn command() -> Option<Probe> {
    Some(Probe::Command(vec!["check".to_owned()]))
}

struct Outcome {
    started: Result<Services, ServiceError>,
    told: Vec<Kind>,
    folder: tempfile::TempDir,
}

async fn bring_up(stage: &Stage, all: &[Service]) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let sink = Arc::new(Told::default());
    let wanted: Vec<usize> = (0..all.len()).collect();
    let log = |name: &str| (folder.path().join(format!("{name}.log")), format!("{name}.log"));
    let attempt = Attempt {
        stage: StageRef::new("test"),
        attempt: 1,
        all,
        wanted: &wanted,
        launcher: stage,
        log: &log,
        log_limit: 1 << 20,
        mask: Arc::default(),
        sink: sink.clone(),
    };
    let started = start(&attempt).await;
    let told = sink.0.lock().unwrap().clone();
    Outcome { started, told, folder }
}

fn error(outcome: &Outcome) -> String {
    outcome.started.as_ref().err().map(ToString::to_string).unwrap()
}

#[tokio::test]
async fn what_is_needed_is_ready_first_and_stops_last() {
    let stage = Stage { scripts: [("db", Script { failures: 3, ..Script::default() })].into(), ..Stage::default() };
    let all = [service("app", &[1], command()), service("db", &[], command()), service("cache", &[], None)];
    let outcome = bring_up(&stage, &all).await;
    outcome.started.unwrap().stop(false).await;
    let told = stage.told.lock().unwrap().clone();
    let at = |what: &str| told.iter().position(|told| told == what).unwrap_or_else(|| panic!("{what}: {told:?}"));
    assert!(at("ready db") < at("start app") && at("stop app") < at("stop db"), "{told:?}");
    assert!(at("start cache") < at("ready db"), "what needs nothing waits for nothing: {told:?}");
    let left = std::fs::read_dir(outcome.folder.path()).unwrap().count();
    assert_eq!(left, 0, "the logs of services that served are removed");
}

#[tokio::test]
async fn one_that_dies_at_once_is_named_with_its_last_words() {
    let died = Script { ends: Some("exit 1"), prints: "reading the configuration\nno such file\n", failures: 1_000, ..Script::default() };
    let stage = Stage { scripts: [("app", died)].into(), ..Stage::default() };
    let all = [service("db", &[], None), service("app", &[0], command())];
    let outcome = bring_up(&stage, &all).await;
    let error = error(&outcome);
    assert_eq!(
        error,
        "service `app` ended before it was ready (exit 1); it waited for `check`\nthe last lines of its log:\n  reading the configuration\n  no such file\nwhole log: app.log"
    );
    assert!(stage.told.lock().unwrap().contains(&"stop db".to_owned()), "the others are ended");
    assert!(outcome.folder.path().join("app.log").exists() && outcome.folder.path().join("db.log").exists(), "logs of a failure stay");
}

#[tokio::test]
async fn one_that_never_gets_ready_says_what_the_gate_saw() {
    let outcome = bring_up(&Stage::default(), &[service("db", &[], Some(Probe::Tcp(5432)))]).await;
    let error = error(&outcome);
    assert_eq!(error, "service `db` was not ready within 300ms: a connection to port 5432: connection refused\nit printed nothing");
}

#[tokio::test]
async fn an_optional_one_degrades_with_a_warning() {
    let stage = Stage {
        scripts: [("cache", Script { refused: Some("there is no program `memcached`"), ..Script::default() })].into(),
        ..Stage::default()
    };
    let all = [Service { optional: true, ..service("cache", &[], None) }, service("app", &[0], command())];
    let outcome = bring_up(&stage, &all).await;
    assert!(outcome.started.is_ok());
    let warned = outcome.told.iter().filter_map(|kind| if let Kind::Warning { message } = kind { Some(message.as_str()) } else { None });
    assert_eq!(
        warned.collect::<Vec<_>>(),
        ["stage `test` goes on without an optional service: service `cache` can't be started: there is no program `memcached`"]
    );
}

#[tokio::test]
async fn a_line_of_the_log_is_waited_for_also_unfinished() {
    let prints = |prints| Stage { scripts: [("db", Script { prints, ..Script::default() })].into(), ..Stage::default() };
    let all = [service("db", &[], Some(Probe::Log("ready to accept".to_owned())))];
    assert!(bring_up(&prints("starting\nready to accept connections"), &all).await.started.is_ok());
    let outcome = bring_up(&prints("starting\nready to\naccept\n"), &all).await;
    assert!(
        error(&outcome).starts_with("service `db` was not ready within 300ms: a line of its log with \"ready to accept\":"),
        "{}",
        error(&outcome)
    );
}

#[tokio::test]
async fn a_job_is_ready_when_it_has_ended_well_and_is_not_missed_then() {
    let ends = |how| Stage { scripts: [("migrate", Script { ends: Some(how), ..Script::default() })].into(), ..Stage::default() };
    let all = [service("app", &[1], None), service("migrate", &[], Some(Probe::Exit(0)))];
    let stage = ends("exit 0");
    let outcome = bring_up(&stage, &all).await;
    outcome.started.unwrap().stop(false).await;
    assert_eq!(*stage.told.lock().unwrap(), ["start migrate", "start app", "stop app"]);
    let failed = |kind: &Kind| matches!(kind, Kind::Service { state: event::ServiceState::Failed, .. });
    assert!(!outcome.told.iter().any(failed), "{:?}", outcome.told);
    let outcome = bring_up(&ends("exit 1"), &all).await;
    let error = error(&outcome);
    assert_eq!(error, "service `migrate` ended before it was ready (exit 1); it waited for its end with exit 0\nit printed nothing");
}
