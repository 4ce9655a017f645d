//! The only file that starts programs: in the stage's jail, in its containers, or on the host.
//!
//! A started program is a number. Its output is pumped into the stage's log and into capture files by a task of its own, so a guest that
//! does not look never blocks a program, and a program that floods ends with the stage's `log` limit.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use capability::outlet;
use capability::state::{SCRATCH, WORKSPACE};
use capability::{Backend, Boundary, Permitted, Setting, StageLog};
use egress::Serving;
use event::{Kind, Stream};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::process::{Pid, Signal, kill_process_group};
use secret::{Form, mask};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinHandle;

use crate::containers::{Program, Running, StageContainers};
use crate::grant::{CommandsGrant, Place, normal_path, normal_program};
use crate::jail::{ExitStatus, Jail, JailError, JailProcess, SpawnError, SpawnSpec};
use crate::lost::Lost;
use crate::name::{self, Door};
use crate::network::{self, Outlet};
use crate::policy::{Output, Rules, Start, StartError, Started, command_line};
use crate::stage_jail::StageJail;

/// Commands of one attempt that run at the same time.
const AT_ONCE: usize = 256;
/// Between SIGTERM and SIGKILL, for a command's own timeout.
const TIMEOUT_GRACE: Duration = Duration::from_secs(5);
/// Between SIGTERM and SIGKILL, at the end of the stage.
const END_GRACE: Duration = Duration::from_secs(5);
/// How long output that is still open is read after a program on the host has ended: something it started may hold it for ever.
const LINGER: Duration = Duration::from_millis(500);
const CHUNK: usize = 64 << 10;
/// What a program on the host inherits besides the stage's own variables.
const HOST_ENV: &[&str] = &["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TMPDIR", "RUSTUP_HOME", "CARGO_HOME", "RUSTUP_TOOLCHAIN"];

/// How a program ended, as the guest gets to see it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ended {
    pub code: Option<u32>,
    pub signal: Option<u32>,
    pub timed_out: bool,
    pub duration: Duration,
    pub stdout: Option<Captured>,
    pub stderr: Option<Captured>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Captured {
    /// `/scratch/commands/1.stdout`
    pub path: String,
    pub size: u64,
}

/// The programs of one attempt.
pub struct Programs {
    setting: Arc<Setting>,
    grant: Option<Arc<CommandsGrant>>,
    jail: Arc<StageJail>,
    /// Where the grant says so. Whoever made them ends them.
    containers: Option<Arc<StageContainers>>,
    /// Services run in the jail too, and whoever started them ends it.
    shared: bool,
    /// The way out, where hosts are granted.
    network: OnceCell<()>,
    open: Mutex<Option<Serving>>,
    running: Mutex<BTreeMap<u32, Arc<Process>>>,
    next: AtomicU32,
    /// Programs that an earlier process started, which was killed.
    pub(crate) lost: Mutex<BTreeMap<u32, Lost>>,
}

/// A started program.
pub struct Process {
    control: Control,
    name: Option<String>,
    /// As a person would type it.
    pub(crate) line: String,
    ended: watch::Receiver<Option<Ended>>,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

enum Control {
    Jail(JailProcess),
    Container(Running),
    Host(Pid),
}

impl Control {
    fn terminate(&self) {
        match self {
            Control::Jail(process) => process.terminate(),
            Control::Container(running) => running.terminate(),
            Control::Host(pid) => drop(kill_process_group(*pid, Signal::TERM)),
        }
    }

    fn kill(&self) {
        match self {
            Control::Jail(process) => process.kill(),
            Control::Container(running) => running.kill(),
            Control::Host(pid) => drop(kill_process_group(*pid, Signal::KILL)),
        }
    }
}

impl Process {
    /// Waits for the end; the same answer every time.
    pub async fn wait(&self) -> Ended {
        let gone = || Ended { code: None, signal: Some(9), timed_out: false, duration: Duration::ZERO, stdout: None, stderr: None };
        match self.ended.clone().wait_for(Option::is_some).await {
            Ok(ended) => ended.clone().unwrap_or_else(gone),
            Err(_) => gone(),
        }
    }

    pub fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// SIGTERM, and SIGKILL after `grace`.
    pub async fn stop(&self, grace: Duration) -> Ended {
        if !self.has_ended() {
            self.control.terminate();
            if let Ok(ended) = tokio::time::timeout(grace, self.wait()).await {
                return ended;
            }
            self.control.kill();
        }
        self.wait().await
    }

    pub fn kill(&self) {
        if !self.has_ended() {
            self.control.kill();
        }
    }
}

impl Programs {
    pub fn new(setting: Arc<Setting>, grant: Option<Arc<CommandsGrant>>, warden: PathBuf) -> Self {
        let prepared = setting.prepared.get::<StageJail>();
        let shared = prepared.is_some();
        let jail = prepared.unwrap_or_else(|| Arc::new(StageJail::new(warden, grant.clone(), Vec::new())));
        let containers = setting.prepared.get::<StageContainers>();
        let (network, open, running, lost) = (OnceCell::new(), Mutex::default(), Mutex::default(), Mutex::default());
        Programs { setting, grant, jail, containers, shared, network, open, running, next: AtomicU32::new(1), lost }
    }

    pub fn grant(&self) -> Option<&CommandsGrant> {
        self.grant.as_deref()
    }

    pub fn setting(&self) -> &Setting {
        &self.setting
    }

    /// The grant as policy sees it.
    pub fn rules(&self) -> Rules<'_> {
        Rules { grant: self.grant(), stage: &self.setting.name, env: &self.setting.env, held: &self.setting.secrets }
    }

    /// Sees to it that no number is given out twice.
    pub fn number_is_taken(&self, number: u32) {
        self.next.fetch_max(number + 1, Ordering::Relaxed);
    }

    pub fn process(&self, number: u32) -> Option<Arc<Process>> {
        self.lock().get(&number).cloned()
    }

    /// Kills a program whose handle the guest dropped, and forgets it.
    pub fn forget(&self, number: u32) {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        let process = self.lock().remove(&number);
        if let Some(process) = process {
            process.kill();
            if let Some(name) = &process.name {
                self.setting.endpoints.remove(name);
            }
        }
    }

    /// Ends everything: asked first, killed after the grace.
    pub async fn end(&self) {
        let running = std::mem::take(&mut *self.lock());
        let stops = running.values().map(|process| async {
            if let Some(name) = &process.name {
                self.setting.endpoints.remove(name);
            }
            process.stop(END_GRACE).await;
            let supervisor = process.supervisor.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(supervisor) = supervisor {
                // the last lines of the log are its work
                let _ = tokio::time::timeout(LINGER, supervisor).await;
            }
        });
        futures::future::join_all(stops).await;
        drop(running);
        if !self.shared {
            self.jail.end().await;
        }
        let network = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(network) = network {
            network.close().await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, Arc<Process>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The jail, with its way out where hosts are granted.
    async fn jail(self: &Arc<Self>, grant: &Arc<CommandsGrant>, boundary: &Boundary) -> Result<&Arc<Jail>, StartError> {
        let jail = self.jail.standing(&self.setting).await?;
        let outlet = async {
            let listener = jail.listen(outlet::PORT).await.map_err(|error| StartError::System(error.to_string()))?;
            Ok(Outlet::Jail(listener, Arc::downgrade(jail)))
        };
        self.opened(outlet, grant, boundary).await?;
        Ok(jail)
    }

    /// The stage's containers, with their way out where hosts are granted.
    async fn containers(self: &Arc<Self>, grant: &Arc<CommandsGrant>, boundary: &Boundary) -> Result<&Arc<StageContainers>, StartError> {
        let containers = self.containers.as_ref();
        let containers = containers.ok_or_else(|| StartError::System("the attempt was prepared for no containers".to_owned()))?;
        self.opened(async { Ok(Outlet::Pod(containers.outlet().await?)) }, grant, boundary).await?;
        Ok(containers)
    }

    /// Serves the way out, once, where hosts are granted.
    async fn opened(
        self: &Arc<Self>,
        outlet: impl Future<Output = Result<Outlet, StartError>> + Send,
        grant: &Arc<CommandsGrant>,
        boundary: &Boundary,
    ) -> Result<(), StartError> {
        if grant.network.0.is_empty() {
            return Ok(());
        }
        let open = || async move {
            let network = network::open(outlet.await?, grant, self, boundary);
            *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(network);
            Ok(())
        };
        self.network.get_or_try_init(open).await?;
        Ok(())
    }

    /// The one command that runs, if nothing else could have asked for a connection.
    pub fn only(&self) -> Option<u32> {
        let running = self.lock();
        let mut running = running.iter().filter(|(_, process)| !process.has_ended());
        let (number, _) = running.next()?;
        (running.next().is_none() && self.setting.services.is_empty()).then_some(*number)
    }

    /// The number of a command that the jail knows by its own.
    pub fn number_of(&self, id: u64) -> Option<u32> {
        let is = |process: &Process| matches!(&process.control, Control::Jail(process) if process.id() == id);
        self.lock().iter().find(|(_, process)| is(process)).map(|(number, _)| *number)
    }

    /// The variables of one program, with the secrets in their places: those of the stage that hold one, and its own. Policy has looked at
    /// each of them.
    fn env_of(&self, start: &Start) -> Result<Vec<(String, String)>, StartError> {
        let (stage, secrets) = (&self.setting.env, &self.setting.secrets);
        let of_stage = stage.iter().filter(|(_, value)| secrets.stands_in(value.as_bytes()));
        let filled = of_stage.chain(&start.env).map(|(name, value)| {
            let value = secrets.fill(value.as_bytes(), Form::Raw).map_err(|error| StartError::System(error.to_string()))?;
            let text = String::from_utf8(value.to_vec());
            let text = text.map_err(|_| StartError::Invalid(format!("the secret in `{name}` is no text, which a variable must be")))?;
            Ok((name.clone(), text))
        });
        filled.collect()
    }

    fn directory(&self, start: &Start) -> PathBuf {
        let default = if self.setting.workspace.is_some() && !self.setting.mounts.is_empty() { WORKSPACE } else { SCRATCH };
        // policy has refused every directory that has no normal form inside
        PathBuf::from(start.directory.as_deref().and_then(normal_path).unwrap_or_else(|| default.to_owned()))
    }

    /// An engine would make a working directory that is not there.
    fn has_directory(&self, start: &Start) -> Result<(), StartError> {
        let directory = self.directory(start);
        let root = if directory.starts_with(SCRATCH) { SCRATCH } else { WORKSPACE };
        let below = directory.strip_prefix(root).unwrap_or(Path::new(""));
        let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(root) = rustix::fs::open(self.on_host(Path::new(root))?, flags, Mode::empty()) else { return Ok(()) };
        match rustix::fs::openat2(root, below, flags, Mode::empty(), ResolveFlags::BENEATH) {
            // what leads elsewhere is judged by what is there in the container
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {
                Err(StartError::Invalid(format!("there is no working directory `{}`", directory.display())))
            }
            _ => Ok(()),
        }
    }

    /// A guest's path on the host.
    fn on_host(&self, inside: &Path) -> Result<PathBuf, StartError> {
        let scratch = self.setting.scratch.path().map_err(|e| StartError::System(format!("the scratch folder: {e}")))?;
        if let (Ok(rest), Some(workspace)) = (inside.strip_prefix(WORKSPACE), &self.setting.workspace) {
            return Ok(workspace.join(rest));
        }
        Ok(inside.strip_prefix(SCRATCH).map_or_else(|_| inside.to_owned(), |rest| scratch.join(rest)))
    }

    async fn start(self: &Arc<Self>, start: Start, boundary: &Boundary, number: Option<u32>) -> Started {
        let Some(grant) = self.grant.clone() else { return Err(StartError::System("nothing is granted".into())) };
        if self.lock().values().filter(|p| !p.has_ended()).count() >= AT_ONCE {
            return Err(StartError::Limit(format!("{AT_ONCE} commands run already; wait for one of them")));
        }
        if let Some(name) = &start.name
            && !is_label(name)
        {
            return Err(StartError::Invalid(format!("`{name}` is no name: lower-case letters, digits and `-`, 63 at most")));
        }
        let again = number.is_some();
        let number = number.unwrap_or_else(|| self.next.fetch_add(1, Ordering::Relaxed));
        let invalid = |error: io::Error| StartError::System(format!("the command's pipes: {error}"));
        let (stdout, stdout_end) = output().map_err(invalid)?;
        let (stderr, stderr_end) = output().map_err(invalid)?;
        let env = self.env_of(&start)?;
        let began = Instant::now();
        let mut feed = None;
        let (control, host_child, door) = match &grant.place {
            Place::Process => {
                let (stdin, fed) = stdin(&start.stdin).map_err(invalid)?;
                feed = fed;
                let jail = self.jail(&grant, boundary).await?.clone();
                let spec = SpawnSpec {
                    program: normal_program(&start.program).unwrap_or_default(),
                    args: start.arguments.clone(),
                    env: env.into_iter().chain(outlet::environment(&grant.network, &self.setting.services)).collect(),
                    dir: self.directory(&start),
                    stdin,
                    stdout: stdout_end,
                    stderr: stderr_end,
                    name: start.name.clone(),
                    view: None,
                };
                let process = jail.spawn(spec).await.map_err(spawn_error)?;
                (Control::Jail(process), None, name::Place::Jail(jail))
            }
            Place::Container(within) => {
                self.has_directory(&start)?;
                let containers = self.containers(&grant, boundary).await?;
                let program = Program {
                    program: normal_program(&start.program).unwrap_or_default(),
                    arguments: start.arguments.clone(),
                    env: env.into_iter().chain(outlet::environment(&grant.network, &self.setting.services)).collect(),
                    directory: self.directory(&start),
                    stdin: start.stdin.clone(),
                    stdout: stdout_end,
                    stderr: stderr_end,
                    name: start.name.clone(),
                };
                let running = containers.start(program, within, &grant, &self.setting).await?;
                (Control::Container(running), None, name::Place::Pod(containers.clone()))
            }
            Place::Host => {
                let (stdin, fed) = stdin(&start.stdin).map_err(invalid)?;
                feed = fed;
                let child = self.start_on_host(&start, env, stdin, stdout_end, stderr_end)?;
                let pid = child.id().and_then(|id| Pid::from_raw(id as i32));
                let pid = pid.ok_or_else(|| StartError::System("the command ended before it could be watched".into()))?;
                (Control::Host(pid), Some(child), name::Place::Host)
            }
        };
        if let Some(name) = &start.name
            && !self.setting.endpoints.insert(name, Arc::new(Door::new(door, again)))
        {
            control.kill();
            return Err(StartError::Invalid(format!("there is a process named `{name}` already")));
        }
        let (told, ended) = watch::channel(None);
        let line = command_line(&start.program, &start.arguments);
        let process = Arc::new(Process { control, name: start.name.clone(), line: line.clone(), ended, supervisor: Mutex::new(None) });
        let place = grant.place.name().to_owned();
        boundary.emit(Kind::CommandStarted { stage: self.setting.stage.clone(), command: number, line, place });
        let supervisor = Supervisor {
            programs: self.clone(),
            process: process.clone(),
            child: host_child,
            number,
            began,
            timeout: start.timeout,
            boundary: boundary.clone(),
        };
        let feed = feed.map(|feed| (feed, start.stdin));
        let task = tokio::spawn(supervisor.run((stdout, start.stdout), (stderr, start.stderr), feed, told));
        *process.supervisor.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        self.lock().insert(number, process);
        Ok(number)
    }

    fn start_on_host(
        &self,
        start: &Start,
        env: Vec<(String, String)>,
        stdin: OwnedFd,
        stdout: OwnedFd,
        stderr: OwnedFd,
    ) -> Result<tokio::process::Child, StartError> {
        let program = normal_program(&start.program).unwrap_or_default();
        let program = if program.contains('/') { self.on_host(Path::new(&program))? } else { PathBuf::from(program) };
        let directory = self.on_host(&self.directory(start))?;
        let mut command = tokio::process::Command::new(&program);
        command
            .args(&start.arguments)
            .current_dir(&directory)
            .env_clear()
            .envs(HOST_ENV.iter().filter_map(|name| std::env::var_os(name).map(|value| (name, value))))
            .envs(self.setting.env.iter().map(|(k, v)| (k, v)))
            .envs(env)
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::from(stdout))
            .stderr(Stdio::from(stderr))
            .process_group(0);
        // SAFETY: between fork and exec only prctl is called, which is async-signal-safe and allocates nothing.
        unsafe {
            command.pre_exec(|| {
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
                Ok(())
            });
        }
        command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound if directory.is_dir() => {
                StartError::NotFound(format!("no program `{}` on the host's PATH", start.program))
            }
            io::ErrorKind::NotFound => StartError::Invalid(format!("there is no working directory `{}`", directory.display())),
            io::ErrorKind::InvalidInput => StartError::Invalid(error.to_string()),
            _ => StartError::System(format!("`{}` can't be started: {error}", start.program)),
        })
    }

    /// A file for what is captured, made where the stage can't have planted anything: the scratch folder is the stage's to write, so every
    /// step of the path refuses symbolic links.
    fn capture_file(&self, name: &str) -> io::Result<File> {
        let scratch = rustix::fs::open(self.setting.scratch.path()?, OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        match rustix::fs::mkdirat(&scratch, "commands", Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let path = format!("commands/{name}");
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        // what a program that was cut off left of it
        if let Ok(folder) =
            rustix::fs::openat2(&scratch, "commands", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), beneath)
        {
            let _ = rustix::fs::unlinkat(&folder, name, rustix::fs::AtFlags::empty());
        }
        let file = rustix::fs::openat2(
            &scratch,
            &path,
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::from_raw_mode(0o600),
            beneath,
        )?;
        Ok(file.into())
    }
}

/// Watches one program to its end.
struct Supervisor {
    programs: Arc<Programs>,
    process: Arc<Process>,
    child: Option<tokio::process::Child>,
    number: u32,
    began: Instant,
    timeout: Option<Duration>,
    boundary: Boundary,
}

type Sourced = (pipe::Receiver, Output);

impl Supervisor {
    async fn run(mut self, stdout: Sourced, stderr: Sourced, feed: Option<(pipe::Sender, Vec<u8>)>, told: watch::Sender<Option<Ended>>) {
        let feed = async {
            if let Some((mut pipe, bytes)) = feed {
                // a program that does not read its input to the end is no mistake
                let _ = pipe.write_all(&bytes).await;
            }
        };
        let (programs, process, number) = (self.programs.clone(), self.process.clone(), self.number);
        let outputs = async {
            tokio::join!(pump(&programs, &process, number, "stdout", stdout), pump(&programs, &process, number, "stderr", stderr), feed)
        };
        let (mut status, mut captures, mut timed_out) = (None, None, false);
        let mut outputs = std::pin::pin!(outputs);
        let deadline = self.timeout.map(|timeout| tokio::time::Instant::now() + timeout);
        let mut kill_at = None;
        let mut linger: Option<tokio::time::Instant> = None;
        while status.is_none() || captures.is_none() {
            let ended = status.is_some();
            tokio::select! {
                result = &mut outputs, if captures.is_none() => captures = Some(result),
                result = exit_status(&self.process.control, &mut self.child, self.number, &self.programs.setting.log), if !ended => {
                    status = Some(result);
                    linger = Some(tokio::time::Instant::now() + LINGER);
                }
                () = at(deadline), if !ended && !timed_out => {
                    timed_out = true;
                    self.process.control.terminate();
                    kill_at = Some(tokio::time::Instant::now() + TIMEOUT_GRACE);
                }
                () = at(kill_at), if !ended && kill_at.is_some() => {
                    kill_at = None;
                    self.process.control.kill();
                }
                () = at(linger), if ended => break,
            }
        }
        let status = status.unwrap_or(ExitStatus::Signal(libc::SIGKILL));
        let (stdout, stderr) = captures.map_or((None, None), |(stdout, stderr, ())| (stdout, stderr));
        let duration = self.began.elapsed();
        self.programs.setting.log.flush(Some(Stream::Command(self.number)));
        self.boundary.emit(Kind::CommandEnded {
            stage: self.programs.setting.stage.clone(),
            command: self.number,
            result: describe(status, timed_out),
            nanos: duration.as_nanos() as u64,
        });
        let ended = Ended {
            code: status.code().map(|code| code as u32),
            signal: status.signal().map(|signal| signal as u32),
            timed_out,
            duration,
            stdout,
            stderr,
        };
        told.send_replace(Some(ended));
    }
}

fn describe(status: ExitStatus, timed_out: bool) -> String {
    let how = match status {
        ExitStatus::Code(code) => format!("exit {code}"),
        ExitStatus::Signal(signal) => format!("signal {signal}"),
    };
    if timed_out { format!("timed out, {how}") } else { how }
}

async fn at(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn exit_status(control: &Control, child: &mut Option<tokio::process::Child>, number: u32, log: &StageLog) -> ExitStatus {
    use std::os::unix::process::ExitStatusExt;
    match (control, child) {
        (Control::Jail(process), _) => process.wait().await,
        (Control::Container(running), _) => {
            let (status, note) = running.wait().await;
            if let Some(note) = note {
                log.note(&format!("command {number}: {note}"));
            }
            status
        }
        (Control::Host(_), Some(child)) => match child.wait().await {
            Ok(status) => match status.code() {
                Some(code) => ExitStatus::Code(code),
                None => ExitStatus::Signal(status.signal().unwrap_or(libc::SIGKILL)),
            },
            Err(_) => ExitStatus::Signal(libc::SIGKILL),
        },
        (Control::Host(_), None) => ExitStatus::Signal(libc::SIGKILL),
    }
}

/// Moves one output to where it belongs, to its end. What can't be kept ends the program: nothing is lost silently.
async fn pump(programs: &Programs, process: &Process, number: u32, which: &str, (mut from, to): Sourced) -> Option<Captured> {
    let setting = &*programs.setting;
    let name = format!("{number}.{which}");
    let mut file = match to {
        Output::Capture | Output::Both => match programs.capture_file(&name) {
            Ok(file) => Some(file),
            Err(error) => {
                setting.log.note(&format!("command {number}: its {which} can't be captured: {error}"));
                process.kill();
                None
            }
        },
        Output::Log | Output::Discard => None,
    };
    let logged = matches!(to, Output::Log | Output::Both);
    let mut size = 0u64;
    let mut buffer = vec![0; CHUNK];
    let (mask, mut masked, mut over) = (setting.secrets.mask(), mask::Stream::default(), false);
    while !over {
        let bytes = match from.read(&mut buffer).await {
            Ok(read @ 1..) => masked.push(mask, &buffer[..read]),
            Ok(0) | Err(_) => {
                over = true;
                Cow::Owned(masked.finish())
            }
        };
        if logged && setting.log.write(Stream::Command(number), &bytes).is_err() {
            process.kill();
            break;
        }
        if let Some(open) = &mut file {
            size += bytes.len() as u64;
            let result = if size > setting.limits.disk {
                Err(io::Error::other(format!("`limits.disk` of {} bytes is reached", setting.limits.disk)))
            } else {
                open.write_all(&bytes)
            };
            if let Err(error) = result {
                setting.log.note(&format!("command {number}: its {which} can't be captured any further: {error}"));
                process.kill();
                break;
            }
        }
    }
    file.map(|_| Captured { path: format!("{SCRATCH}/commands/{name}"), size })
}

/// The program's end of its standard input, and ours if there is something to feed.
fn stdin(bytes: &[u8]) -> io::Result<(OwnedFd, Option<pipe::Sender>)> {
    if bytes.is_empty() {
        return Ok((File::open("/dev/null")?.into(), None));
    }
    let (theirs, ours) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    Ok((theirs, Some(pipe::Sender::from_owned_fd(ours)?)))
}

/// Our end of an output, and the program's.
fn output() -> io::Result<(pipe::Receiver, OwnedFd)> {
    let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // larger than the default 64 KiB if the user's quota allows it: fewer switches for a program that prints much
    let _ = rustix::pipe::fcntl_setpipe_size(&ours, 1 << 20);
    Ok((pipe::Receiver::from_owned_fd(ours)?, theirs))
}

fn is_label(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.len() <= 63 && name.chars().all(plain) && !name.starts_with('-') && !name.ends_with('-')
}

pub(crate) fn spawn_error(error: JailError) -> StartError {
    match error {
        JailError::Spawn(SpawnError::Invalid(what)) => StartError::Invalid(what),
        JailError::Spawn(error @ SpawnError::Directory { .. }) => StartError::Invalid(error.to_string()),
        JailError::Spawn(error @ SpawnError::Processes) => StartError::Limit(format!("{error}; raise `limits.processes`")),
        JailError::Spawn(error @ (SpawnError::NotFound { .. } | SpawnError::NotExecutable { .. } | SpawnError::Interpreter { .. })) => {
            StartError::NotFound(error.to_string())
        }
        other => StartError::System(other.to_string()),
    }
}

/// The programs, for one crossing.
pub struct Starter<'a> {
    pub programs: &'a Arc<Programs>,
    pub boundary: &'a Boundary,
    /// Of a program that is started again.
    pub number: Option<u32>,
}

impl Backend<Start> for Starter<'_> {
    async fn observe(&self, question: capability::Nothing, (): &mut ()) {
        match question {}
    }

    async fn act(&self, permitted: Permitted<Start>) -> Started {
        let (start, ()) = permitted.into_parts();
        self.programs.start(start, self.boundary, self.number).await
    }

    fn skipped(&self, start: &Start) -> Option<Started> {
        Some(Err(StartError::System(format!("`{}` was cut off with the runner, and was not started again", start.program))))
    }
}
