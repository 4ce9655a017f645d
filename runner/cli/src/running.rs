//! A run from its plan and its journal to its verdict: what `exec` and `resume` share.

use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use capability::InDoubt;
use event::{EventSink, Fanout};
use host::Host;
use journal::{Header, Journal};
use report::Sources;
use report::detect::{self, Server};
use schedule::{Graph, Options, Signal, UnknownStages};
use secret::{Machine, MaskedSink, Secrets};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use workspace::{Run, State};

use crate::args::{Format, Global, Reports};
use crate::attempt::{Attempts, protected};
use crate::caches::Caches;
use crate::commands::doctor;
use crate::drive::{Drive, Ended};
use crate::engines::Sweep;
use crate::error::{CliError, Ending};
use crate::git;
use crate::groups::{self, Groups};
use crate::learn::Watch;
use crate::load::{self, Loaded};
use crate::past::{Past, Recorded};
use crate::so_far::Origin;

/// A run that is about to begin, or to go on.
pub struct Running {
    pub loaded: Loaded,
    pub state: State,
    pub folder: Run,
    pub journal: Journal,
    pub options: Options,
    /// What earlier sessions left; none for a new run.
    pub past: Option<Recorded>,
    pub in_doubt: Option<InDoubt>,
    /// Of a run that finds out which grants its stages need.
    pub watch: Option<Arc<Watch>>,
    /// What the user should know before it begins.
    pub notices: Vec<String>,
}

/// Runs it to its end, or to where it waits for a person.
pub fn run(running: Running, reports: &Reports, global: &Global) -> Result<Ending, CliError> {
    raise_open_files();
    // TLS is set up once, with the one provider there is
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(processors()).enable_all().build().map_err(anyhow::Error::from)?;
    let ending = runtime.block_on(drive(running, reports, global))?;
    // nothing is left to wait for: what runs on other threads belongs to nobody
    runtime.shutdown_background();
    Ok(ending)
}

async fn drive(running: Running, reports: &Reports, global: &Global) -> Result<Ending, CliError> {
    let Running { loaded, state, folder, journal, options, mut past, in_doubt, notices, watch } = running;
    let Loaded { plan, registry, plugins, facts, .. } = loaded;
    let plan = Arc::new(plan);
    let secrets = Secrets::new(machine(&plan.root));
    let mask = secrets.mask();
    let reports: Arc<dyn EventSink> = Arc::new(MaskedSink::new(mask.clone(), sinks(reports, &plan.root, global)));
    let tally = Arc::new(past.as_mut().map(|recorded| std::mem::take(&mut recorded.tally)).unwrap_or_default());
    let ended = past.as_ref().and_then(|recorded| recorded.ended);
    // the one door for events: what is secret does not pass it. First what must not be lost, then what is shown
    let recorded = Fanout(vec![Box::new(journal.clone()), Box::new(tally.clone())]);
    let sink: Arc<dyn EventSink> = Arc::new(Fanout(vec![Box::new(MaskedSink::new(mask.clone(), recorded)), Box::new(reports.clone())]));
    let header = journal.header().clone();
    let (seed, run) = (header.seed, header.run.clone());
    let sweep = Sweep::begin(&state, &plan, &run);
    let at_once = options.jobs.get();
    let code = doctor::cache_folder()?.join("compiled");
    let host = host::Options { code, exe: load::exe(), registry, sink: sink.clone(), seed, at_once };
    let host = Host::new(host).map_err(anyhow::Error::from)?;
    let signals = signals()?;
    let takes_turns = plan.concurrency.is_some() || plan.stages.iter().any(|stage| stage.concurrency.is_some());
    let folder_of_groups = if takes_turns { groups::folder(&plan.root)? } else { std::path::PathBuf::new() };
    let groups = Groups::new(folder_of_groups, &run, sink.clone());
    let protected = protected(&plan);
    let (mut begun, mut told) = (std::collections::HashMap::new(), Vec::new());
    let past: Option<Past> = match past {
        None => None,
        Some(mut recorded) => {
            told = recorded.told();
            begun = std::mem::take(&mut recorded.begun);
            let asked = journal.approvals_asked().map_err(anyhow::Error::from)?;
            let said = journal.approvals().map_err(anyhow::Error::from)?;
            Some(recorded.past(&plan, options.clone(), &asked, &said).map_err(anyhow::Error::from)?)
        }
    };
    let attempts = Arc::new(Attempts {
        plan: plan.clone(),
        host,
        plugins,
        sink: sink.clone(),
        run: folder,
        blobs: state.blobs(),
        caches: Caches::new(state.caches(), &facts, sink.clone()),
        origin: Arc::new(Origin::new(state, header, facts.clone(), ended)),
        protected,
        journal: journal.clone(),
        begun,
        secrets,
        in_doubt,
        watch,
    });
    let journal_of_run = journal.clone();
    let drive = Drive {
        plan,
        run,
        options,
        attempts: attempts.clone(),
        sink,
        reports,
        told,
        journal: journal_of_run,
        facts,
        notices,
        groups,
        past,
        tally,
        signals,
    };
    let Ended { verdict, began } = drive.run().await;
    sweep.end().await;
    // what could not be recorded is done again, in the folders that it was done in
    if began && verdict != event::Verdict::Waiting && journal.failed().is_none() {
        attempts.run.clear().map_err(anyhow::Error::from)?;
    }
    // what components were given goes with the process, or beside the last of the work
    tokio::task::spawn_blocking(move || drop(attempts));
    let broken = journal.failed();
    journal.close().map_err(anyhow::Error::from)?;
    match broken {
        Some(error) => Err(CliError::Environment(error.into())),
        None => Ok(Ending::from(verdict)),
    }
}

/// Where secrets come from.
fn machine(root: &Path) -> Machine {
    Machine { env: |name| std::env::var_os(name), root: root.to_owned(), client: Arc::new(capability_http::Http::default().asker()) }
}

/// The reports that the command line asks for.
fn sinks(reports: &Reports, root: &Path, global: &Global) -> Fanout {
    let sources = git::sources(root);
    let mut sinks: Vec<Box<dyn EventSink>> = vec![screen(global, &sources)];
    let Reports { junit, sarif, code_quality } = reports;
    if let Some(path) = junit {
        sinks.push(Box::new(report::junit(path)));
    }
    if let Some(path) = sarif {
        sinks.push(Box::new(report::sarif(path, sources.clone())));
    }
    if let Some(path) = code_quality {
        sinks.push(Box::new(report::code_quality(path, sources)));
    }
    let summary = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty());
    if let (Some(Server::Github), Some(path)) = (detect::server(&variable), summary) {
        sinks.push(Box::new(report::step_summary(path)));
    }
    Fanout(sinks)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What is shown on standard output while things happen.
pub fn screen(global: &Global, sources: &Sources) -> Box<dyn EventSink> {
    use report::Verbosity;
    let stdout = std::io::stdout();
    let color = load::color(global, &stdout);
    let verbosity = match (global.quiet, global.verbose) {
        (true, _) => Verbosity::Quiet,
        (_, true) => Verbosity::Verbose,
        _ => Verbosity::Normal,
    };
    let unicode = detect::unicode(stdout.is_terminal(), &variable);
    let format = match (global.format, detect::server(&variable)) {
        (Format::Json, _) => report::Format::Json,
        (Format::Auto, _) if detect::live(stdout.is_terminal(), &variable) => report::Format::Terminal,
        (Format::Auto, Some(Server::Github)) => report::Format::Github(sources.clone()),
        (Format::Auto, Some(Server::Gitlab)) => report::Format::Gitlab,
        (Format::Auto | Format::Plain | Format::Sarif, _) => report::Format::Plain,
    };
    let options = report::Options { color, unicode, width: None, verbosity };
    report::sink(format, std::io::stdout(), options)
}

/// Lifts the soft limit of open files to the hard one: a stage may hold more handles than the usual 1,024, and stages run side by side.
/// Programs that stages start get their own limit.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// SIGINT, SIGTERM and SIGHUP, in the order in which they come.
fn signals() -> Result<mpsc::UnboundedReceiver<Signal>, CliError> {
    let (told, received) = mpsc::unbounded_channel();
    for (kind, what) in [
        (SignalKind::interrupt(), Signal::Interrupt),
        (SignalKind::terminate(), Signal::Terminate),
        (SignalKind::hangup(), Signal::Terminate),
    ] {
        let mut stream = signal(kind).map_err(anyhow::Error::from)?;
        let told = told.clone();
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                if told.send(what).is_err() {
                    break;
                }
            }
        });
    }
    Ok(received)
}

/// Worker threads: one per processor, two at least, because most stages wait for programs.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(2, NonZeroUsize::get).max(2)
}

/// How a run is scheduled, from what it was started with: the same at its start and whenever it goes on.
pub fn options(header: &Header, graph: &Graph, wait: bool) -> Result<Options, UnknownStages> {
    Ok(Options {
        jobs: NonZeroUsize::new(header.jobs).unwrap_or(NonZeroUsize::MIN),
        fail_fast: header.fail_fast,
        grace: header.grace,
        wait,
        seed: u64::from_le_bytes(header.seed[..8].try_into().unwrap_or_default()),
        selection: graph.select(&header.only, &header.skip)?,
    })
}
