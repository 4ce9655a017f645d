//! The containers of one attempt: started, watched, removed.
//!
//! Each has a task that moves its output to where it belongs and waits for its end, so that a stage that does not look holds nothing up, and a
//! container that floods ends with the stage's `log` limit. Whatever happens, all of them are gone when the attempt ends; what a killed runner
//! left is swept by the next one.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use capability::output::Sink;
use capability::{Boundary, Setting};
use docker::{Ceilings, Container, ContainerSpec, Engine, ExecSpec, Mount, NetworkMode, Owner, Printed};
use event::{Kind, Stream};
use futures::StreamExt;
use secret::Form;
use tokio::sync::{OnceCell, mpsc, watch};
use tokio::task::JoinHandle;

use crate::beneath;
use crate::effect::{Answer, Captured, Exec, Exit, Fault, Network, Output, Run};
use crate::grant::{DockerGrant, Login};
use crate::lost::Lost;
use crate::network::StageNetwork;
use crate::places::{Place, Root, View};
use crate::policy::{Rules, normal};
use crate::reference::Reference;

/// Containers of one attempt that run at the same time.
const AT_ONCE: usize = 64;
/// Between the stop signal and the end, for a time-out and at the end of the stage.
const GRACE: Duration = Duration::from_secs(5);
/// How long output is read after a container's end.
const LINGER: Duration = Duration::from_secs(2);
/// A container's number in logs and labels, beyond those of commands.
const FIRST: u32 = 1 << 20;
const TMP: u64 = 256 << 20;
/// Where captures are, below the scratch folder.
const FOLDER: &str = "docker";

type Removal = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Everything of Docker's in one attempt.
pub struct Attempt {
    pub setting: Arc<Setting>,
    grant: Option<Arc<DockerGrant>>,
    engine: OnceCell<Engine>,
    owner: Owner,
    live: Mutex<BTreeMap<u32, Arc<Live>>>,
    next: AtomicU32,
    /// Containers that an earlier process started, which was killed.
    pub(crate) lost: Mutex<BTreeMap<u32, Lost>>,
    /// Those of an earlier process that the guest has dropped since.
    pub(crate) dropped: Mutex<Vec<Run>>,
    /// The ends of containers that the guest has dropped, which are removed in the background.
    leaving: Mutex<Vec<Removal>>,
    network: OnceCell<StageNetwork>,
    /// Folders that stand where a repository could be made up.
    stand_ins: Mutex<Vec<PathBuf>>,
}

/// A container that was started.
pub struct Live {
    pub container: Arc<Container>,
    pub line: String,
    name: Option<String>,
    /// Where it has mounts.
    pub mounted: Vec<String>,
    ended: watch::Receiver<Option<Answer<Exit>>>,
    stop: mpsc::Sender<Duration>,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

impl Live {
    /// Waits for its end; the same answer every time.
    pub async fn wait(&self) -> Answer<Exit> {
        match self.ended.clone().wait_for(Option::is_some).await {
            Ok(ended) => ended.clone().unwrap_or_else(|| Ok(Exit::killed())),
            Err(_) => Ok(Exit::killed()),
        }
    }

    pub fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Asks it to end, and kills it after `grace`.
    pub async fn stop(&self, grace: Duration) -> Answer<Exit> {
        if !self.has_ended() {
            let _ = self.stop.send(grace).await;
        }
        self.wait().await
    }
}

impl Exit {
    /// Of a container that went with the runner.
    pub fn killed() -> Exit {
        Exit { code: 137, out_of_memory: false, timed_out: false, duration: Duration::ZERO, stdout: None, stderr: None }
    }
}

impl Attempt {
    pub fn new(setting: Arc<Setting>, grant: Option<Arc<DockerGrant>>) -> Attempt {
        let owner = Owner {
            run: setting.run.clone(),
            // services and commands of the stage are not this capability's to remove
            stage: format!("{} (docker)", setting.stage),
            attempt: setting.attempt,
            process: Owner::this_process(),
        };
        Attempt {
            setting,
            grant,
            engine: OnceCell::new(),
            owner,
            live: Mutex::default(),
            next: AtomicU32::new(1),
            lost: Mutex::default(),
            dropped: Mutex::default(),
            leaving: Mutex::default(),
            network: OnceCell::new(),
            stand_ins: Mutex::default(),
        }
    }

    pub fn grant(&self) -> Option<&DockerGrant> {
        self.grant.as_deref()
    }

    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// The grant as policy sees it.
    pub fn rules(&self) -> Rules<'_> {
        Rules {
            grant: self.grant(),
            stage: &self.setting.name,
            view: View::of(&self.setting),
            held: &self.setting.secrets,
            uid: rustix::process::getuid().as_raw(),
        }
    }

    /// The next container's number; the same ones when a stage is run again.
    pub fn number(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub async fn engine(&self) -> Answer<&Engine> {
        let context = self.grant().and_then(|grant| grant.context.as_deref());
        let connected = self.engine.get_or_try_init(|| Engine::connect(context)).await;
        connected.map_err(|error| Fault::Engine(error.to_string()))
    }

    /// The login of an image's registry, if there is one.
    pub fn login<'a>(&'a self, reference: &Reference) -> Answer<Option<docker::Login<'a>>> {
        let Some(Login { user, secret, .. }) = self.grant().and_then(|grant| grant.login(reference)) else { return Ok(None) };
        let password = self.setting.secrets.value(secret);
        let password = password.ok_or_else(|| Fault::Registry(format!("the secret `{secret}` was not fetched")))?;
        Ok(Some(docker::Login { user, password: text(secret, password)? }))
    }

    pub fn live(&self, number: u32) -> Option<Arc<Live>> {
        self.lock().get(&number).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<Live>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes a container whose handle the guest dropped. One of an earlier process waits for the end of its record: until then nothing here
    /// speaks with an engine.
    pub fn forget(self: &Arc<Self>, number: u32, replays: bool) {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner).remove(&number).map(Lost::into_run);
        match lost {
            Some(run) if replays => self.dropped.lock().unwrap_or_else(PoisonError::into_inner).push(run),
            Some(run) => {
                let attempt = self.clone();
                let away = tokio::spawn(async move { attempt.take_away(&run).await });
                self.leaving().push(Box::pin(async move { drop(away.await) }));
            }
            None => {}
        }
        let live = self.lock().remove(&number);
        if let Some(live) = live {
            self.leaving().push(Box::pin(live.container.removal()));
            live.supervisor.lock().unwrap_or_else(PoisonError::into_inner).take().inspect(JoinHandle::abort);
            if let Some(name) = &live.name {
                self.setting.endpoints.remove(name);
            }
        }
    }

    /// Waits until the containers that the guest has dropped are gone.
    pub async fn removals(&self) {
        let leaving = std::mem::take(&mut *self.leaving());
        futures::future::join_all(leaving).await;
    }

    fn leaving(&self) -> MutexGuard<'_, Vec<Removal>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends and removes everything.
    pub async fn end(&self) {
        let live = std::mem::take(&mut *self.lock());
        let stops = live.values().map(|live| async {
            if let Some(name) = &live.name {
                self.setting.endpoints.remove(name);
            }
            let stopped = live.stop(GRACE).await;
            let supervisor = live.supervisor.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(supervisor) = supervisor {
                // the last lines of the log are its work
                let _ = tokio::time::timeout(LINGER, supervisor).await;
            }
            drop(stopped);
        });
        futures::future::join_all(stops).await;
        let lost = std::mem::take(&mut *self.lost.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(network) = self.network.get() {
            network.close().await;
        }
        drop(live);
        // an engine that nobody asked for anything has nothing of the attempt's, unless an earlier process did
        let engine = if lost.is_empty() { self.engine.get() } else { self.engine().await.ok() };
        if let Some(engine) = engine {
            let cleared = engine.clear(&self.owner).await;
            let stuck = cleared.map_or_else(|error| vec![error.to_string()], |swept| swept.stuck);
            stuck.iter().for_each(|why| self.setting.log.note(&format!("something of the stage's is left in the engine: {why}")));
        }
        for place in self.stand_ins.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // what is not empty is not ours
            let _ = std::fs::remove_dir(place);
        }
    }

    /// Starts a container that policy has allowed.
    pub async fn start(self: &Arc<Self>, run: &Run, boundary: &Boundary) -> Answer<()> {
        if self.lock().values().filter(|live| !live.has_ended()).count() >= AT_ONCE {
            return Err(Fault::Limit(format!("{AT_ONCE} containers run already; wait for one of them")));
        }
        let reference = Reference::parse(&run.image).map_err(|mistake| Fault::Invalid(mistake.to_string()))?;
        if let Some(name) = &run.name {
            if !is_label(name) {
                return Err(Fault::Invalid(format!("`{name}` is no name: lower-case letters, digits and `-`, 63 at most")));
            }
            if run.network == Network::None {
                return Err(Fault::Invalid(format!("nobody could reach `{name}`: a container with a name needs a network")));
            }
        }
        let engine = self.engine().await?;
        if !run.mounts.is_empty() && !engine.is_local() {
            let endpoint = engine.endpoint();
            return Err(Fault::Engine(format!(
                "the engine at {endpoint} is not on this machine and sees none of its folders; use `copy-in`"
            )));
        }
        let image = engine.image(&reference.to_string()).await?;
        let image = image.ok_or_else(|| Fault::NotFound(format!("the engine has no image `{}`; pull it first", reference.familiar())))?;
        let spec = self.spec(run, image.id, boundary).await?;
        let mounted = run.mounts.iter().map(|mount| normal(&mount.target)).collect();
        let container = engine.run(&self.owner, &spec).await?;
        self.watch(run, container, mounted, boundary)
    }

    /// Takes a container that an earlier process started; what it printed so far is printed again.
    pub fn adopt(self: &Arc<Self>, run: &Run, container: Container, boundary: &Boundary) -> Answer<()> {
        self.setting.log.note(&format!("container {} ran on while the runner was gone; what it prints begins anew", run.number));
        let mounted = run.mounts.iter().map(|mount| normal(&mount.target)).collect();
        self.watch(run, container, mounted, boundary)
    }

    /// The label by which a container is found again.
    pub fn label(number: u32) -> u64 {
        u64::from(FIRST + number)
    }

    fn watch(self: &Arc<Self>, run: &Run, container: Container, mounted: Vec<String>, boundary: &Boundary) -> Answer<()> {
        let container = Arc::new(container);
        if let Some(name) = &run.name {
            let door = self.network.get().map(StageNetwork::door);
            let door = door.ok_or_else(|| Fault::Engine("the stage's network is gone".to_owned()))?;
            if !self.setting.endpoints.insert(name, door) {
                return Err(Fault::Conflict(format!("something is named `{name}` already")));
            }
        }
        let (told, ended) = watch::channel(None);
        let (stop, stops) = mpsc::channel(1);
        let line = capability::Effect::subject(run).into_owned();
        boundary.emit(Kind::CommandStarted {
            stage: self.setting.stage.clone(),
            command: FIRST + run.number,
            line: line.clone(),
            place: "container".to_owned(),
        });
        let output = container.output().unwrap_or_else(|| container.logs());
        let task = Supervisor {
            attempt: self.clone(),
            container: container.clone(),
            number: run.number,
            began: Instant::now(),
            timeout: run.timeout,
            boundary: boundary.clone(),
        };
        let supervisor = tokio::spawn(task.run(output, [run.stdout, run.stderr], stops, told));
        let live = Live { container, line, name: run.name.clone(), mounted, ended, stop, supervisor: Mutex::new(Some(supervisor)) };
        self.lock().insert(run.number, Arc::new(live));
        Ok(())
    }

    async fn spec(self: &Arc<Self>, run: &Run, image: String, boundary: &Boundary) -> Answer<ContainerSpec> {
        let ceiling = self.grant().map(DockerGrant::ceiling).unwrap_or_default();
        let limits = Ceilings { memory: run.memory.or(ceiling.memory), cpus: run.cpus.or(ceiling.cpus), pids: run.pids.or(ceiling.pids) };
        let mut mounts = Vec::new();
        for mount in &run.mounts {
            self.mount(mount, &mut mounts)?;
        }
        if run.read_only_root && !run.mounts.iter().any(|mount| normal(&mount.target) == "/tmp") {
            mounts.push(Mount::Tmpfs { to: "/tmp".to_owned(), bytes: TMP });
        }
        let mut env = self.filled(&run.env)?;
        let network = match (run.network, self.grant().map(|grant| &grant.network)) {
            (Network::None, _) | (_, None | Some(crate::grant::Network::None)) => NetworkMode::None,
            (Network::Granted, Some(crate::grant::Network::Full)) if run.name.is_none() => NetworkMode::Full,
            _ => {
                let network = self.stage_network(run, boundary).await?;
                if run.network == Network::Granted {
                    env.extend(network.variables());
                }
                network.mode()
            }
        };
        let own = || format!("{}:{}", rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        Ok(ContainerSpec {
            name: None,
            image,
            entrypoint: (!run.entrypoint.is_empty()).then(|| run.entrypoint.clone()),
            arguments: run.arguments.clone(),
            env,
            directory: run.directory.clone(),
            user: Some(run.user.clone().unwrap_or_else(own)),
            mounts,
            network,
            limits,
            read_only_root: run.read_only_root,
            keep_capabilities: Vec::new(),
            init: true,
            stop_signal: None,
            stdin: run.stdin.clone(),
            effect: Some(Self::label(run.number)),
        })
    }

    async fn stage_network(self: &Arc<Self>, run: &Run, boundary: &Boundary) -> Answer<&StageNetwork> {
        let opened = self.network.get_or_try_init(|| async {
            let engine = self.engine().await?;
            StageNetwork::open(engine, self, run.name.as_deref(), boundary).await
        });
        opened.await
    }

    /// A bind, with what lies below it and is not to be written or seen.
    fn mount(&self, mount: &crate::effect::Mount, mounts: &mut Vec<Mount>) -> Answer<()> {
        let broken = |error: io::Error| Fault::Engine(format!("{}: {error}", mount.source));
        let place = Place::parse(&mount.source).ok_or_else(|| Fault::Invalid(mount.source.clone()))?;
        let root = beneath::folder(&self.setting, place.root).map_err(broken)?;
        let on_host = |path: &str| if path == "." { root.clone() } else { root.join(path) };
        let to = normal(&mount.target);
        if place.root == Root::Workspace && mount.writable {
            self.stand_in(&place, &root);
        }
        mounts.push(Mount::Bind { from: on_host(&place.path), to: to.clone(), writable: mount.writable });
        let (read_only, hidden) = View::of(&self.setting).exceptions(&place, mount.writable);
        let inside = |path: &str| match place.path.as_str() {
            "." => format!("{to}/{path}"),
            folder => format!("{to}{}", &path[folder.len()..]),
        };
        let there = |path: &str| on_host(path).symlink_metadata().is_ok_and(|found| found.is_dir() || found.is_file());
        for path in read_only.iter().filter(|path| there(path)) {
            mounts.push(Mount::Bind { from: on_host(path), to: inside(path), writable: false });
        }
        for path in hidden.iter().filter(|path| there(path)) {
            mounts.push(Mount::Tmpfs { to: inside(path), bytes: 4096 });
        }
        Ok(())
    }

    /// A folder that could be written and has no `.git` yet gets an empty one, shown read-only like any other: the next `git` there would run
    /// the hooks of a repository that a container made up.
    fn stand_in(&self, place: &Place, root: &std::path::Path) {
        for path in &self.setting.protected {
            let git = root.join(path);
            let below = place.path == "." || path.starts_with(&format!("{}/", place.path));
            if below && git.file_name().is_some_and(|name| name == ".git") && std::fs::create_dir(&git).is_ok() {
                self.stand_ins.lock().unwrap_or_else(PoisonError::into_inner).push(git);
            }
        }
    }

    /// Variables with the secrets in their places, which policy has looked at.
    fn filled(&self, env: &[(String, String)]) -> Answer<Vec<(String, String)>> {
        let filled = env.iter().map(|(name, value)| {
            let value = self.setting.secrets.fill(value.as_bytes(), Form::Raw).map_err(|error| Fault::Engine(error.to_string()))?;
            let text = String::from_utf8(value.to_vec());
            let text = text.map_err(|_| Fault::Invalid(format!("the secret in `{name}` is no text, which a variable must be")))?;
            Ok((name.clone(), text))
        });
        filled.collect()
    }

    /// Runs a program in a container to its end.
    pub async fn exec(&self, live: &Live, exec: &Exec) -> Answer<Exit> {
        let began = Instant::now();
        let spec = ExecSpec {
            command: exec.arguments.clone(),
            env: self.filled(&exec.env)?,
            directory: exec.directory.clone(),
            user: None,
            stdin: Vec::new(),
        };
        if spec.command.is_empty() {
            return Err(Fault::Invalid("there is no program to run".to_owned()));
        }
        let mut running = live.container.exec(&spec).await?;
        let output = running.output().ok_or_else(|| Fault::Engine("the engine gave no output".to_owned()))?;
        let pump = pump(&self.setting, exec.number, [exec.stdout, exec.stderr], output);
        let pumped = match exec.timeout {
            None => pump.await,
            Some(timeout) => match tokio::time::timeout(timeout, pump).await {
                Ok(pumped) => pumped,
                Err(_) => {
                    // an engine can't end it alone
                    live.stop(Duration::ZERO).await?;
                    return Ok(Exit { timed_out: true, duration: began.elapsed(), ..Exit::killed() });
                }
            },
        };
        self.setting.log.flush(Some(stream(exec.number)));
        if let Some(why) = pumped.broken {
            return Err(why);
        }
        let code = running.code().await?;
        let [stdout, stderr] = pumped.captured;
        Ok(Exit { code: code as i32, out_of_memory: false, timed_out: false, duration: began.elapsed(), stdout, stderr })
    }
}

/// Watches one container to its end.
struct Supervisor {
    attempt: Arc<Attempt>,
    container: Arc<Container>,
    number: u32,
    began: Instant,
    timeout: Option<Duration>,
    boundary: Boundary,
}

impl Supervisor {
    async fn run(
        self,
        output: docker::Output,
        to: [Output; 2],
        mut stops: mpsc::Receiver<Duration>,
        told: watch::Sender<Option<Answer<Exit>>>,
    ) {
        let setting = self.attempt.setting.clone();
        let mut pumping = std::pin::pin!(pump(&setting, self.number, to, output));
        let mut waiting = std::pin::pin!(self.container.wait());
        let deadline = self.timeout.map(|timeout| tokio::time::Instant::now() + timeout);
        let (mut pumped, mut timed_out): (Option<Pumped>, bool) = (None, false);
        let (mut stopping, mut open) = (None, true);
        let ended = loop {
            tokio::select! {
                ended = &mut waiting => break ended,
                result = &mut pumping, if pumped.is_none() => {
                    if result.broken.is_some() {
                        stopping = Some(stop(self.container.clone(), Duration::ZERO));
                    }
                    pumped = Some(result);
                }
                () = at(deadline), if !timed_out && deadline.is_some() => {
                    timed_out = true;
                    stopping = Some(stop(self.container.clone(), GRACE));
                }
                grace = stops.recv(), if open => match grace {
                    Some(grace) => stopping = Some(stop(self.container.clone(), grace)),
                    None => open = false,
                },
                () = finished(&mut stopping), if stopping.is_some() => stopping = None,
            }
        };
        let duration = self.began.elapsed();
        let pumped = match pumped {
            Some(pumped) => pumped,
            None => tokio::time::timeout(LINGER, pumping).await.unwrap_or_default(),
        };
        setting.log.flush(Some(stream(self.number)));
        let [stdout, stderr] = pumped.captured;
        let exit = match (ended, pumped.broken) {
            (Ok(_), Some(Fault::Limit(why))) => Err(Fault::Limit(why)),
            (Ok(ended), _) => Ok(Exit { code: ended.code as i32, out_of_memory: ended.out_of_memory, timed_out, duration, stdout, stderr }),
            (Err(error), _) => Err(Fault::from(error)),
        };
        let result = match &exit {
            Ok(exit) if timed_out => format!("timed out, exit {}", exit.code),
            Ok(exit) if exit.out_of_memory => format!("out of memory, exit {}", exit.code),
            Ok(exit) => format!("exit {}", exit.code),
            Err(fault) => fault.to_string(),
        };
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.boundary.emit(Kind::CommandEnded { stage: setting.stage.clone(), command: FIRST + self.number, result, nanos });
        told.send_replace(Some(exit));
    }
}

type Stopping = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

fn stop(container: Arc<Container>, grace: Duration) -> Stopping {
    Box::pin(async move {
        // that it ends is seen by who waits for that
        if grace.is_zero() || container.stop(grace).await.is_err() {
            let _ = container.kill().await;
        }
    })
}

async fn finished(stopping: &mut Option<Stopping>) {
    match stopping {
        Some(stopping) => stopping.await,
        None => std::future::pending().await,
    }
}

async fn at(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// What became of an output.
#[derive(Default)]
struct Pumped {
    captured: [Option<Captured>; 2],
    broken: Option<Fault>,
}

/// Moves output to where it belongs, to its end. What can't be kept ends the container: nothing is lost silently.
async fn pump(setting: &Setting, number: u32, to: [Output; 2], mut output: docker::Output) -> Pumped {
    let sink = |which: &str, to: Output| Sink::open(setting, stream(number), FOLDER, &format!("{number}.{which}"), to);
    let (mut stdout, mut stderr) = match (sink("stdout", to[0]), sink("stderr", to[1])) {
        (Ok(stdout), Ok(stderr)) => (stdout, stderr),
        (Err(broken), _) | (_, Err(broken)) => return Pumped { broken: Some(broken.into()), ..Pumped::default() },
    };
    let mut broken = None;
    while let Some(piece) = output.next().await {
        let kept = match piece {
            Ok((Printed::Stdout, bytes)) => stdout.write(&bytes).map_err(Fault::from),
            Ok((Printed::Stderr, bytes)) => stderr.write(&bytes).map_err(Fault::from),
            Err(error) => Err(Fault::from(error)),
        };
        if let Err(fault) = kept {
            broken = Some(fault);
            break;
        }
    }
    let captured = [stdout, stderr].map(|sink| {
        sink.finish().unwrap_or_else(|error| {
            broken.get_or_insert(error.into());
            None
        })
    });
    Pumped { captured, broken }
}

/// A password is text to the engine.
pub fn text<'a>(name: &str, value: &'a secret::Value) -> Answer<&'a str> {
    let text = std::str::from_utf8(value.expose());
    text.map_err(|_| Fault::Registry(format!("the secret `{name}` is no text, which a password must be")))
}

/// Where the output of a number belongs; 0: of builds.
pub fn stream(number: u32) -> Stream {
    Stream::Command(FIRST + number)
}

pub fn is_label(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.len() <= 63 && name.chars().all(plain) && !name.starts_with('-') && !name.ends_with('-') && name != "localhost"
}
