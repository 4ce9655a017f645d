//! `exec`: runs a pipeline.

use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use capability::MemoryLedger;
use event::{EventSink, Fanout};
use host::Host;
use pipeline::diagnostic::render;
use schedule::{Graph, Signal};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::args::{Exec, Format, Global};
use crate::attempt::{Attempts, protected};
use crate::commands::doctor;
use crate::drive::Drive;
use crate::error::{CliError, Ending};
use crate::load::{self, Loaded};

pub fn run(args: &Exec, global: &Global) -> Result<Ending, CliError> {
    let run = run_id();
    let loaded = load::load(&args.source, global, &run, true)?;
    let jobs = args.jobs.unwrap_or_else(default_jobs);
    let selection = Graph::of(&loaded.plan)
        .select(&args.only, &args.skip)
        .map_err(|e| CliError::usage(e.to_string(), format!("stages: {}", names(&loaded))))?;
    let mut seed = [0; 32];
    rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty()).map_err(|e| anyhow::anyhow!("no random seed: {e}"))?;
    let options = schedule::Options {
        jobs,
        fail_fast: args.fail_fast,
        grace: Duration::from_secs(args.grace),
        seed: u64::from_le_bytes(seed[..8].try_into().unwrap_or_default()),
        selection,
    };
    if !loaded.warnings.is_empty() && !global.quiet {
        let color = load::color(global, &std::io::stderr());
        let file = loaded.plan.file.display().to_string();
        write_stderr(&render(&loaded.warnings, &file, &loaded.plan.text, color));
    }
    raise_open_files();
    // TLS is set up once, with the one provider there is
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(default_jobs().get().max(2))
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)?;
    let ending = runtime.block_on(drive(args, global, loaded, run, seed, options))?;
    // nothing is left to wait for: what runs on other threads belongs to nobody
    runtime.shutdown_background();
    Ok(ending)
}

async fn drive(
    args: &Exec,
    global: &Global,
    loaded: Loaded,
    run: String,
    seed: [u8; 32],
    options: schedule::Options,
) -> Result<Ending, CliError> {
    let Loaded { plan, registry, plugins, .. } = loaded;
    let plan = Arc::new(plan);
    let state = workspace::State::open(&plan.root).map_err(anyhow::Error::from)?;
    let folder = state.begin(&run).map_err(anyhow::Error::from)?;
    // what a run that was killed left behind; what can't be removed is no reason not to run
    let _ = state.sweep();
    let sink: Arc<dyn EventSink> = Arc::new(sinks(args, global));
    let ledger = Arc::new(MemoryLedger::default());
    let host = Host::new(host::Options {
        code: doctor::cache_folder()?.join("compiled"),
        exe: load::exe(),
        registry,
        ledger,
        sink: sink.clone(),
        seed,
        at_once: options.jobs.get(),
    })
    .map_err(anyhow::Error::from)?;
    let signals = signals()?;
    let protected = protected(&plan);
    let attempts =
        Arc::new(Attempts { plan: plan.clone(), host, plugins, sink: sink.clone(), run: folder, blobs: state.blobs(), protected });
    let verdict = Drive { plan, run, options, attempts: attempts.clone(), sink, signals }.run().await;
    attempts.run.clear().map_err(anyhow::Error::from)?;
    Ok(Ending::from(verdict))
}

fn sinks(args: &Exec, global: &Global) -> Fanout {
    use report::Verbosity;
    let stdout = std::io::stdout();
    let color = load::color(global, &stdout);
    let verbosity = match (global.quiet, global.verbose) {
        (true, _) => Verbosity::Quiet,
        (_, true) => Verbosity::Verbose,
        _ => Verbosity::Normal,
    };
    let env = |name: &str| std::env::var(name).ok();
    let unicode = report::detect::unicode(stdout.is_terminal(), &env);
    let format = match global.format {
        Format::Json => report::Format::Json,
        Format::Auto if report::detect::live(stdout.is_terminal(), &env) => report::Format::Terminal,
        Format::Auto | Format::Plain => report::Format::Plain,
    };
    let options = report::Options { color, unicode, width: None, verbosity };
    let mut sinks: Vec<Box<dyn EventSink>> = vec![report::sink(format, std::io::stdout(), options)];
    if let Some(path) = &args.junit {
        sinks.push(Box::new(report::junit(path)));
    }
    Fanout(sinks)
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

/// One stage per processor; two at least, because most stages wait for programs.
fn default_jobs() -> NonZeroUsize {
    let processors = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
    NonZeroUsize::new(processors.max(2)).unwrap_or(NonZeroUsize::MIN)
}

fn names(loaded: &Loaded) -> String {
    let mut names: Vec<&str> = loaded.plan.stages.iter().map(|stage| stage.name.as_str()).collect();
    names.dedup();
    names.join(", ")
}

/// Sortable by time, unique on this machine: `20261121-214501-9f3a1c`.
fn run_id() -> String {
    let mut random = [0; 3];
    let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    let now = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S");
    format!("{now}-{:02x}{:02x}{:02x}", random[0], random[1], random[2])
}

#[allow(clippy::print_stderr)] // warnings of the pipeline file, before any report exists
fn write_stderr(text: &str) {
    eprint!("{text}");
}
