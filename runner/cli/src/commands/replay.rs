//! `replay`: runs a stage's component again on what is recorded of it. No network, no cluster, no workspace: where the record ends, it ends.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use capability::{Clock, Mode, StageLog};
use event::{Artifact, EventSink, FailureKind, Kind, Outcome, StageRef};
use host::{Attempt, Finished, Host, PluginFile, PluginFiles, Stop, Track};
use journal::{AttemptRecord, Begin, End, Reader};
use report::Sources;
use tokio::sync::watch;

use crate::args::{Format, Global, Replay};
use crate::commands::doctor;
use crate::context::Context;
use crate::error::{CliError, Ending};
use crate::style::Style;
use crate::{history, load, running, runs};

/// An attempt as it is recorded.
struct Recorded {
    begin: Begin,
    end: Option<End>,
    record: Arc<AttemptRecord>,
    /// As the run's schedule judged it: a component that was stopped does not know why.
    outcome: Option<Outcome>,
}

pub fn run(args: &Replay, global: &Global) -> Result<Ending, CliError> {
    let history::Recorded { state, run, reader } = history::open(&args.run)?;
    let header = reader.header();
    if args.against.is_none() && header.engine != host::CONFIGURATION {
        let message = format!("run {run} was made with the engine {}, this runner has {}", header.engine, host::CONFIGURATION);
        return Err(CliError::usage(message, "replay it with the runner that made it"));
    }
    let attempts = chosen(&reader, args, &run)?;
    // of one stage its whole log is shown, of a run the stages
    let shown =
        if args.stage.is_some() { Global { verbose: true, ..global.clone() } } else { Global { quiet: !global.verbose, ..global.clone() } };
    let sink: Arc<dyn EventSink> = Arc::from(running::screen(&shown, &Sources::default()));
    let host = host::Options {
        code: doctor::cache_folder()?.join("compiled"),
        exe: load::exe(),
        registry: load::registry(false),
        sink: sink.clone(),
        seed: header.seed,
        at_once: 1,
    };
    let host = Host::new(host).map_err(anyhow::Error::from)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(running::processors())
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)?;
    let (folder, root, began) = (state.run_folder(&run), runs::root(&state), Instant::now());
    let mut differ = 0;
    for (stage, attempt) in &attempts {
        let recorded = recorded(&reader, stage, *attempt)?;
        let found = match &args.against {
            Some(path) => against(path),
            None => same_plugin(&recorded.begin, &root, state.path()),
        };
        let (result, took) = match found {
            Ok(plugin) => {
                let log = folder.join("logs").join(workspace::attempt_name(stage.as_str(), *attempt) + ".log");
                let log = Log { recorded: &log, made: args.log.as_deref(), sink: sink.clone() };
                let (finished, missing, took) = runtime.block_on(replay(&host, &run, &recorded, &plugin, log))?;
                (Verdict::of(&recorded, &finished, missing), took)
            }
            // the other stages can be replayed all the same
            Err(missing) if args.stage.is_none() => (Verdict::Incomplete(missing.to_string()), Duration::ZERO),
            Err(missing) => return Err(missing),
        };
        say(&result, &recorded, took, args, global)?;
        differ += usize::from(!result.same());
    }
    runtime.shutdown_background();
    if args.stage.is_none() {
        conclude(attempts.len(), differ, began.elapsed(), global);
    }
    Ok(if differ == 0 { Ending::Ok } else { Ending::Failed })
}

/// One attempt of the stage that is named, or all of them in the order in which they began.
fn chosen(reader: &Reader, args: &Replay, run: &str) -> Result<Vec<(StageRef, u32)>, CliError> {
    let attempts = reader.attempts().map_err(anyhow::Error::from)?;
    let all: Vec<(StageRef, u32)> = attempts.iter().map(|a| (a.begin.stage.clone(), a.begin.attempt)).collect();
    let Some(stage) = args.stage.as_deref().map(StageRef::new) else {
        if all.is_empty() {
            return Err(CliError::usage(format!("no stage of run {run} has begun"), "`runner show` says what came of it"));
        }
        return Ok(all);
    };
    let of_stage: Vec<u32> = all.iter().filter(|(of, _)| *of == stage).map(|(_, attempt)| *attempt).collect();
    let Some(last) = of_stage.last() else {
        let mut stages: Vec<&str> = all.iter().map(|(of, _)| of.as_str()).collect();
        stages.dedup();
        let hint = format!("stages that ran: {}", stages.join(", "));
        return Err(CliError::usage(format!("stage `{stage}` of run {run} did not run"), hint));
    };
    let attempt = args.attempt.unwrap_or(*last);
    if !of_stage.contains(&attempt) {
        let hint = format!("attempts: {}", of_stage.iter().map(u32::to_string).collect::<Vec<_>>().join(", "));
        return Err(CliError::usage(format!("stage `{stage}` of run {run} has no attempt {attempt}"), hint));
    }
    Ok(vec![(stage, attempt)])
}

fn recorded(reader: &Reader, stage: &StageRef, attempt: u32) -> Result<Recorded, CliError> {
    let found = reader.record(stage, attempt).map_err(anyhow::Error::from)?;
    let (begin, end, record) =
        found.ok_or_else(|| anyhow::anyhow!("attempt {attempt} of stage `{stage}` is not in the journal any more"))?;
    let mut outcome = None;
    for event in reader.events().map_err(anyhow::Error::from)? {
        match event.kind {
            Kind::StageFinished { stage: of, attempt: n, outcome: judged, .. }
            | Kind::StageRetrying { stage: of, attempt: n, outcome: judged, .. }
                if of == *stage && n == attempt =>
            {
                outcome = Some(judged);
            }
            _ => {}
        }
    }
    Ok(Recorded { begin, end, record, outcome })
}

/// The very component that ran: bundled, by its path, or as it was imported.
fn same_plugin(begin: &Begin, root: &Path, state: &Path) -> Result<Arc<PluginFile>, CliError> {
    let fits = |plugin: &Arc<PluginFile>| plugin.info.digest == begin.plugin;
    let files = PluginFiles::new(bundled::PLUGINS.iter().copied(), root);
    if let Some(plugin) = files.get(&begin.uses).ok().filter(fits) {
        return Ok(plugin);
    }
    let imported = state.join("plugins").join(format!("{}.wasm", begin.plugin));
    if let Some(plugin) = against(&imported).ok().filter(fits) {
        return Ok(plugin);
    }
    let message = format!("the plugin `{}` with the digest {:.16} is not here", begin.uses, begin.plugin);
    let hint = "bring it back, or run another build on the record with `--against PLUGIN.wasm`";
    Err(CliError::usage(message, hint))
}

fn against(path: &Path) -> Result<Arc<PluginFile>, CliError> {
    let path = path.canonicalize().map_err(|e| CliError::usage(format!("{}: {e}", path.display()), "name a component file"))?;
    let files = PluginFiles::new([], Path::new("/"));
    let name = path.to_string_lossy();
    files.get(&name).map_err(|error| CliError::usage(error.message, error.hint.unwrap_or_default()))
}

/// Where the log of an attempt is, where the one that the replay makes goes, and who shows it.
struct Log<'a> {
    recorded: &'a Path,
    made: Option<&'a Path>,
    sink: Arc<dyn EventSink>,
}

async fn replay(
    host: &Host,
    run: &str,
    recorded: &Recorded,
    plugin: &Arc<PluginFile>,
    log: Log<'_>,
) -> Result<(Finished, u64, Duration), CliError> {
    let begin = &recorded.begin;
    let context = Context::parse(&begin.context).map_err(anyhow::Error::from)?;
    let stage_log = StageLog::replayed(log.recorded, log.made, begin.stage.clone(), context.log_limit(), log.sink)
        .map_err(|error| anyhow::anyhow!("the log {}: {error}", log.recorded.display()))?;
    let stage_log = Arc::new(stage_log);
    let (setting, given) = context.offline(run, begin, stage_log.clone());
    let cut_off = recorded.end.as_ref().is_none_or(|end| end.cut_off);
    let track = Track {
        ledger: recorded.record.clone(),
        clock: Clock::since(begin.epoch),
        mode: Mode::Offline,
        ends_after: cut_off.then(|| recorded.record.len()),
    };
    let (_stop, stopped) = watch::channel(Stop::No);
    let began = Instant::now();
    let finished = host.run(Attempt { plugin, given, setting: Arc::new(setting), track, stop: stopped, people: None }).await;
    stage_log.flush(None);
    let missing = match stage_log.closed() {
        Some(closed) if finished.outcome.passed() => {
            return Ok((Finished::failed(FailureKind::Diverged, closed.to_string()), 0, began.elapsed()));
        }
        _ => stage_log.missing(),
    };
    Ok((finished, missing, began.elapsed()))
}

/// What the replay came to.
enum Verdict {
    /// The same log, outputs and outcome.
    Same,
    /// The attempt was cut off; so far as it is recorded it did the same.
    SameSoFar,
    Differs(String),
    /// The record does not hold what it takes.
    Incomplete(String),
}

impl Verdict {
    fn of(recorded: &Recorded, finished: &Finished, missing: u64) -> Verdict {
        let Some(end) = recorded.end.as_ref().filter(|end| !end.cut_off) else {
            return match &finished.outcome {
                Outcome::Cancelled { .. } => Verdict::SameSoFar,
                Outcome::Failed { kind: FailureKind::Diverged, message, .. } => Verdict::Differs(message.clone()),
                Outcome::Failed { kind: FailureKind::Host, message, .. } => Verdict::Incomplete(message.clone()),
                // it was cut off when all was done, or before it was recorded how it ended
                _ if finished.crossed >= recorded.record.len() && missing == 0 => Verdict::SameSoFar,
                other => Verdict::Differs(format!(
                    "it had not ended when it was cut off; now it came to an end after {} of {} recorded effects: {}",
                    finished.crossed,
                    recorded.record.len(),
                    shown(other)
                )),
            };
        };
        match &finished.outcome {
            Outcome::Failed { kind: FailureKind::Diverged, message, .. } => Verdict::Differs(message.clone()),
            outcome if alike(outcome, &end.outcome) && finished.outputs == end.outputs && missing == 0 => Verdict::Same,
            // bytes that were not kept, a record that can't be read
            Outcome::Failed { kind: FailureKind::Host, message, .. } => Verdict::Incomplete(message.clone()),
            Outcome::Cancelled { .. } => Verdict::Differs("it asks for more than is recorded of it".to_owned()),
            outcome if !alike(outcome, &end.outcome) => {
                Verdict::Differs(format!("its outcome was {}, now {}", shown(&end.outcome), shown(outcome)))
            }
            _ if finished.outputs != end.outputs => {
                Verdict::Differs(format!("its outputs were {:?}, now {:?}", end.outputs, finished.outputs))
            }
            _ => Verdict::Differs(format!("it printed {missing} bytes less than it did")),
        }
    }

    fn same(&self) -> bool {
        matches!(self, Verdict::Same | Verdict::SameSoFar)
    }
}

/// Whether two outcomes are one. A missing artifact fails a stage after its component has passed: that is not the component's.
fn alike(now: &Outcome, then: &Outcome) -> bool {
    match (now, then) {
        (Outcome::Failed { kind, message, denial, .. }, Outcome::Failed { kind: k, message: m, denial: d, .. }) => {
            (kind, message, denial) == (k, m, d)
        }
        (now, then) => now == then,
    }
}

fn shown(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Passed { summary } if summary.is_empty() => "passed".to_owned(),
        Outcome::Passed { summary } => format!("passed ({summary})"),
        Outcome::Failed { message, .. } => format!("failed ({message})"),
        Outcome::Cancelled { message } => format!("cancelled ({message})"),
        Outcome::Skipped { .. } => "skipped".to_owned(),
        Outcome::Blocked { .. } => "blocked".to_owned(),
    }
}

#[allow(clippy::print_stdout)] // the command's own last line, after the log
fn say(verdict: &Verdict, recorded: &Recorded, took: Duration, args: &Replay, global: &Global) -> Result<(), CliError> {
    let style = Style::new(load::color(global, &std::io::stdout()));
    let (begin, records) = (&recorded.begin, recorded.record.len());
    let judged = recorded.outcome.as_ref().or(recorded.end.as_ref().map(|end| &end.outcome));
    let outcome = judged.map_or_else(|| "cut off".to_owned(), shown);
    let artifacts: &[Artifact] = recorded.end.as_ref().map_or(&[], |end| &end.artifacts);
    if global.format == Format::Json {
        let (same, detail) = match verdict {
            Verdict::Same => ("same", None),
            Verdict::SameSoFar => ("same-so-far", None),
            Verdict::Differs(detail) => ("differs", Some(detail)),
            Verdict::Incomplete(detail) => ("incomplete", Some(detail)),
        };
        let line = serde_json::json!({
            "event": "replayed", "stage": begin.stage, "attempt": begin.attempt, "records": records, "nanos": took.as_nanos() as u64,
            "result": same, "detail": detail, "outcome": outcome, "against": args.against,
        });
        println!("{line}");
        return Ok(());
    }
    let ms = took.as_secs_f64() * 1e3;
    let what = format!("{} attempt {}: {records} recorded effects in {ms:.1} ms", begin.stage, begin.attempt);
    match verdict {
        Verdict::Same => {
            println!("{} {what}; same log, outputs and outcome: {outcome}", style.good("REPLAYED"));
            match artifacts.len() {
                0 => {}
                _ if args.stage.is_none() => {}
                1 => println!("  its artifact is files and was not made again"),
                more => println!("  its {more} artifacts are files and were not made again"),
            }
        }
        Verdict::SameSoFar => println!("{} {what}; the same up to where it was cut off: {outcome}", style.good("REPLAYED")),
        Verdict::Differs(detail) => println!("{} {what}\n  {detail}", style.bad("DIFFERS")),
        Verdict::Incomplete(detail) => println!("{} {what}\n  {detail}", style.bad("INCOMPLETE")),
    }
    Ok(())
}

/// After the last stage of a whole run.
#[allow(clippy::print_stdout)] // the command's own last line
fn conclude(attempts: usize, differ: usize, took: Duration, global: &Global) {
    if global.format == Format::Json {
        let line = serde_json::json!({
            "event": "run-replayed", "attempts": attempts, "differ": differ, "nanos": took.as_nanos() as u64,
            "result": if differ == 0 { "same" } else { "differs" },
        });
        println!("{line}");
        return;
    }
    let style = Style::new(load::color(global, &std::io::stdout()));
    let (seconds, plural) = (took.as_secs_f64(), if attempts == 1 { "" } else { "s" });
    if differ == 0 {
        println!("{} the whole run: {attempts} attempt{plural} in {seconds:.1} s, byte for byte", style.good("REPLAYED"));
    } else {
        println!("{} {differ} of {attempts} attempt{plural} can't be replayed as they were", style.bad("DIFFERS"));
    }
}
