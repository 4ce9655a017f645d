//! Bringing services up in the order of their needs, and down again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use event::{Event, EventSink, Kind, ServiceState, StageRef};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use pipeline::plan::{Probe, Ready, Service, ServiceSource};
use secret::Mask;
use tokio::task::JoinHandle;

use crate::log::Log;
use crate::probe::{gate, look};
use crate::{LastWords, Launched, Launcher, Order, ServiceError};

/// How long output is read after a service has ended.
const LINGER: Duration = Duration::from_millis(500);

/// Whose services they are.
pub struct Attempt<'a> {
    pub stage: StageRef,
    pub attempt: u32,
    /// All services of the pipeline.
    pub all: &'a [Service],
    /// Those of the stage, as indexes into them, the needed first.
    pub wanted: &'a [usize],
    pub launcher: &'a dyn Launcher,
    /// Where a service's log goes, by its name; and how it is shown.
    pub log: &'a (dyn Fn(&str) -> (PathBuf, String) + Send + Sync),
    /// Of each log.
    pub log_limit: u64,
    /// What no log may hold.
    pub mask: Arc<Mask>,
    pub sink: Arc<dyn EventSink>,
}

/// Services that run.
pub struct Services {
    /// In the order in which they were started.
    up: Vec<Up>,
}

/// A service that runs.
struct Up {
    name: String,
    grace: Duration,
    /// It has ended, as it had to.
    done: bool,
    launched: Arc<dyn Launched>,
    log: Arc<Log>,
    readers: Vec<JoinHandle<()>>,
    /// Tells of its end while nobody has asked for it.
    watcher: Option<JoinHandle<()>>,
}

/// Starts the services of an attempt and waits until all of them are ready. If one is not that has to be, all are ended again.
///
/// # Errors
/// The first service that could not be had.
pub async fn start(attempt: &Attempt<'_>) -> Result<Services, ServiceError> {
    let mut waiting: Vec<usize> = attempt.wanted.to_vec();
    let mut settled: Vec<usize> = Vec::new();
    let mut coming = FuturesUnordered::new();
    let mut up: Vec<(Instant, Up)> = Vec::new();
    loop {
        let ready = |index: &usize| attempt.all[*index].needs.iter().all(|need| settled.contains(need));
        let (now, later): (Vec<usize>, Vec<usize>) = std::mem::take(&mut waiting).into_iter().partition(ready);
        waiting = later;
        coming.extend(now.into_iter().map(|index| async move { (index, attempt.bring_up(&attempt.all[index]).await) }));
        let Some((index, brought)) = coming.next().await else { break };
        match brought {
            Ok(one) => up.push(one),
            Err((error, since)) => {
                attempt.tell(&attempt.all[index].name, ServiceState::Failed, error.to_string(), since);
                if !attempt.all[index].optional {
                    // those on their way end with their futures
                    drop(coming);
                    in_order(up).stop(true).await;
                    return Err(error);
                }
                let first = error.to_string().lines().next().unwrap_or_default().to_owned();
                attempt.emit(Kind::Warning { message: format!("stage `{}` goes on without an optional service: {first}", attempt.stage) });
            }
        }
        settled.push(index);
    }
    let mut services = in_order(up);
    services.up.iter_mut().for_each(|one| one.watch(attempt));
    Ok(services)
}

fn in_order(mut up: Vec<(Instant, Up)>) -> Services {
    up.sort_by_key(|(since, _)| *since);
    Services { up: up.into_iter().map(|(_, one)| one).collect() }
}

impl Attempt<'_> {
    async fn bring_up(&self, service: &Service) -> Result<(Instant, Up), (ServiceError, Instant)> {
        let since = Instant::now();
        self.try_to(service, since).await.map(|up| (since, up)).map_err(|error| (error, since))
    }

    async fn try_to(&self, service: &Service, since: Instant) -> Result<Up, ServiceError> {
        let name = || service.name.clone();
        let (path, shown) = (self.log)(&service.name);
        let wanted = match &service.ready {
            Some(Ready { probe: Probe::Log(text), .. }) => Some(text.as_str()),
            _ => None,
        };
        let unwritable = |error| ServiceError::Log { service: name(), log: shown.clone(), error };
        let log = Log::create(&path, self.log_limit, self.mask.clone(), wanted).map_err(unwritable)?;
        let (stdout, first) = log.stream().map_err(unwritable)?;
        let (stderr, second) = log.stream().map_err(unwritable)?;
        let launched = self.launcher.launch(Order { service, stdout, stderr }).await;
        let launched: Arc<dyn Launched> = launched.map_err(|error| ServiceError::Launch { service: name(), error })?.into();
        let job = matches!(service.ready, Some(Ready { probe: Probe::Exit(_), .. }));
        let up = Up { name: name(), grace: service.grace, done: job, launched, log, readers: vec![first, second], watcher: None };
        let line = match &service.source {
            ServiceSource::Command(words) => words.join(" "),
            ServiceSource::Image(container) => container.image.clone(),
        };
        self.tell(&service.name, ServiceState::Started, line, since);
        // how long an image took to come is no matter of the service's
        let started = Instant::now();
        let Some(ready) = &service.ready else { return Ok(up) };
        let gate = gate(&ready.probe);
        let mut last = "no answer yet".to_owned();
        let trying = async {
            loop {
                match look(ready, &*up.launched, &up.log).await {
                    Ok(()) => return,
                    Err(saw) => last = saw,
                }
                tokio::time::sleep(ready.interval).await;
            }
        };
        let left = ready.timeout.saturating_sub(started.elapsed());
        // a job that ends as it has to is ready, whoever hears of it first
        let end = match ready.probe {
            Probe::Exit(code) => Some(format!("exit {code}")),
            _ => None,
        };
        tokio::select! {
            biased;
            () = trying => {}
            how = up.launched.ended() => {
                up.drain().await;
                if end.as_ref() != Some(&how) {
                    let words = up.words(shown);
                    return Err(ServiceError::Ended { service: name(), how, gate, words });
                }
            }
            () = tokio::time::sleep(left) => {
                let words = up.words(shown);
                up.launched.stop(Duration::ZERO).await;
                return Err(ServiceError::NotReady { service: name(), timeout: ready.timeout, gate, last, words });
            }
        }
        self.tell(&service.name, ServiceState::Ready, gate, since);
        Ok(up)
    }

    fn tell(&self, service: &str, state: ServiceState, message: String, since: Instant) {
        let (stage, attempt, service) = (self.stage.clone(), self.attempt, service.to_owned());
        self.emit(Kind::Service { stage, attempt, service, state, message, nanos: since.elapsed().as_nanos() as u64 });
    }

    fn emit(&self, kind: Kind) {
        emit(&*self.sink, kind);
    }
}

fn emit(sink: &dyn EventSink, kind: Kind) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    sink.emit(&Event { at: now.as_nanos() as u64, kind });
}

impl Up {
    fn words(&self, log: String) -> LastWords {
        LastWords { lines: self.log.last(), log }
    }

    /// What it printed just before its end is on its way.
    async fn drain(&self) {
        let until = Instant::now() + LINGER;
        while Instant::now() < until && self.readers.iter().any(|reader| !reader.is_finished()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A service that ends while the stage runs explains what the stage meets then.
    fn watch(&mut self, attempt: &Attempt<'_>) {
        if self.done {
            return;
        }
        let (launched, sink) = (self.launched.clone(), attempt.sink.clone());
        let (stage, number, service) = (attempt.stage.clone(), attempt.attempt, self.name.clone());
        let since = Instant::now();
        self.watcher = Some(tokio::spawn(async move {
            let message = format!("it ended while the stage ran: {}", launched.ended().await);
            let nanos = since.elapsed().as_nanos() as u64;
            emit(&*sink, Kind::Service { stage, attempt: number, service, state: ServiceState::Failed, message, nanos });
        }));
    }
}

impl Services {
    /// Ends them all, in the reverse order of their start. `keep`: their logs stay.
    pub async fn stop(mut self, keep: bool) {
        for one in self.up.iter_mut().rev() {
            if let Some(watcher) = one.watcher.take() {
                watcher.abort();
            }
            if !one.done {
                one.launched.stop(one.grace).await;
            }
            one.drain().await;
            if !keep {
                // one that can't be removed is only one too many
                let _ = std::fs::remove_file(one.log.path());
            }
        }
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        // a watcher holds the service, which then would not end with this
        self.up.iter().filter_map(|one| one.watcher.as_ref()).for_each(JoinHandle::abort);
    }
}
