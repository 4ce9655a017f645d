//! The containers of one attempt: every program of `in = "container"` runs in one of its own.
//!
//! A program sees what a confined process sees ([`Seen`]), at the same places, and besides that its image. It runs as the runner's user, without
//! capabilities, and shares with the other programs of the stage a home folder and, where there is anything to reach, the loopback of a pod.
//! What its container is started with is in the crate `docker`.
//!
//! An engine follows links in what it mounts, and a stage may write where they could be planted. So what is mounted is found out once, before the
//! first program runs; from then on each mount, and each folder on the way to one, is a mount point in every container, which nobody can rename.
//!
//! Deliberately absent: overlays (an engine has none to offer, so caches are copied), and anything that a grant could loosen.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use capability::Setting;
use docker::{Ceilings, Container, ContainerSpec, EngineError, Image, Mount, NetworkMode, Printed, StagePod, pour};
use futures::{Stream, StreamExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, mpsc, watch};
use tokio::task::JoinSet;

use crate::grant::{CommandsGrant, Within};
use crate::jail::{BindKind, ExitStatus, HOME};
use crate::policy::StartError;
use crate::seen::{Seen, StandIns};

/// Of `/tmp`. It is memory, but only what is used of it.
const TMP: u64 = 1 << 30;
const HOSTS: &str = "/etc/hosts";
/// How long containers that are on their way out are waited for before the engine is asked about them.
const PATIENCE: Duration = Duration::from_secs(5);

/// The containers of one attempt.
pub struct StageContainers {
    pod: Arc<StagePod>,
    /// Of the attempt, for the home folder and the names; nobody but the runner writes to it.
    folder: PathBuf,
    stand_ins: StandIns,
    mounts: OnceCell<Vec<Mount>>,
    image: OnceCell<Image>,
    user: OnceCell<String>,
    /// A program has a name that others reach it by.
    named: AtomicBool,
    hosts: Mutex<BTreeSet<String>>,
    /// One task for each container, until it is gone; false if it may not be.
    watched: Mutex<JoinSet<bool>>,
    /// Programs that have not ended, or may have been started.
    running: Arc<AtomicUsize>,
    /// Something may be there that no task watches.
    unwatched: AtomicBool,
}

/// One program.
pub struct Program {
    pub program: String,
    pub arguments: Vec<String>,
    /// The later of two equal names wins.
    pub env: Vec<(String, String)>,
    pub directory: PathBuf,
    pub stdin: Vec<u8>,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
    pub name: Option<String>,
}

impl StageContainers {
    /// `folder`: of the attempt, where `home` and `hosts` are made. `again`: another process had begun the attempt.
    pub fn new(pod: Arc<StagePod>, folder: PathBuf, again: bool) -> Self {
        StageContainers {
            pod,
            folder,
            stand_ins: StandIns::default(),
            mounts: OnceCell::new(),
            image: OnceCell::new(),
            user: OnceCell::new(),
            named: AtomicBool::new(false),
            hosts: Mutex::default(),
            watched: Mutex::default(),
            running: Arc::default(),
            unwatched: AtomicBool::new(again),
        }
    }

    /// Finds the engine and the image while the component gets ready. What is wrong is said when a program is started.
    pub fn warm(self: &Arc<Self>, within: &Within) {
        let (this, reference) = (self.clone(), within.image.clone());
        let find = async move {
            // who starts a program meanwhile waits for this answer, and asks no second time
            let found = this.image.get_or_try_init(|| async {
                let image = this.pod.engine().await.map_err(drop)?.image(&reference).await;
                image.ok().flatten().ok_or(())
            });
            let _ = found.await;
        };
        // from another thread: the worker that is here has the component to load, and keeps for afterwards what is spawned on it
        let runtime = Handle::current();
        tokio::task::spawn_blocking(move || drop(runtime.spawn(find)));
    }

    /// Connects to a port of the loopback that the stage's containers share.
    pub async fn connect(&self, port: u16) -> io::Result<UnixStream> {
        self.pod.standing().await.map_err(io::Error::other)?.connect(port).await
    }

    /// What arrives at the proxy's place inside; the pod stands from now on.
    pub(crate) async fn outlet(&self) -> Result<UnixListener, StartError> {
        self.pod.standing().await.map_err(failed)?;
        self.pod.outlet().ok_or_else(|| StartError::System("the way out of the stage's containers is served already".to_owned()))
    }

    /// # Errors
    /// What the engine, or the files of the stage, say against it.
    pub(crate) async fn start(
        &self,
        program: Program,
        within: &Within,
        grant: &CommandsGrant,
        setting: &Setting,
    ) -> Result<Running, StartError> {
        let note = |text: &str| setting.log.note(text);
        let image = self.image.get_or_try_init(|| self.pod.image(&within.image, &note)).await.map_err(failed)?;
        let network = self.network(&program, within, grant, setting).await?;
        let mut mounts = self.mounts.get_or_try_init(|| async { self.shown(setting) }).await?.clone();
        if let NetworkMode::Pod(_) = network {
            mounts.push(Mount::Bind { from: self.names(program.name.as_deref(), setting)?, to: HOSTS.to_owned(), writable: false });
        }
        let spec = ContainerSpec {
            image: image.id.clone(),
            entrypoint: Some(vec![program.program.clone()]),
            arguments: program.arguments,
            env: self.environment(setting, program.env),
            directory: Some(program.directory.to_string_lossy().into_owned()),
            user: Some(self.user().await?.clone()),
            mounts,
            network,
            limits: Ceilings {
                memory: within.ceilings.memory,
                cpus: within.ceilings.cpus,
                pids: Some(within.ceilings.pids.unwrap_or(setting.limits.processes)),
            },
            init: true,
            stdin: program.stdin,
            ..ContainerSpec::default()
        };
        let engine = self.pod.engine().await.map_err(failed)?;
        // for good, if nobody waits for the engine's answer
        self.running.fetch_add(1, Ordering::AcqRel);
        let container = engine.run(self.pod.owner(), &spec).await.map_err(|error| {
            self.unwatched.store(true, Ordering::Relaxed);
            not_started(&program.program, error)
        })?;
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(gone) = watched.try_join_next() {
            self.note(gone.unwrap_or(false));
        }
        Ok(Running::watch(container, program.program, (program.stdout, program.stderr), self.running.clone(), &mut watched))
    }

    fn note(&self, gone: bool) {
        self.unwatched.fetch_or(!gone, Ordering::Relaxed);
    }

    /// Whether nothing runs any more, so that [`StageContainers::end`] has only to take away what is left.
    pub fn at_rest(&self) -> bool {
        self.running.load(Ordering::Acquire) == 0 && !self.pod.stands() && !self.unwatched.load(Ordering::Relaxed)
    }

    /// Takes away all that is left, and returns when it is gone.
    ///
    /// # Errors
    /// In words for people.
    pub async fn end(&self) -> Result<(), String> {
        let mut watched = std::mem::take(&mut *self.watched.lock().unwrap_or_else(PoisonError::into_inner));
        // those whose program has ended are on their way already
        let going = async {
            while let Some(gone) = watched.join_next().await {
                self.note(gone.unwrap_or(false));
            }
        };
        let mut going = pin!(going);
        let ended = if self.at_rest() && tokio::time::timeout(PATIENCE, &mut going).await.is_ok() {
            // the engine is asked what there is unless all of it is known to be gone
            if self.at_rest() { Ok(()) } else { self.pod.end().await }
        } else {
            tokio::join!(self.pod.end(), going).0
        };
        self.stand_ins.remove();
        ended.map_err(|error| error.to_string())
    }

    /// A program that reaches nobody, and is reached by nobody, needs no pod.
    async fn network(
        &self,
        program: &Program,
        within: &Within,
        grant: &CommandsGrant,
        setting: &Setting,
    ) -> Result<NetworkMode, StartError> {
        let named = program.name.is_some() || self.named.load(Ordering::Relaxed);
        self.named.store(named, Ordering::Relaxed);
        if named || !setting.services.is_empty() || !grant.network.0.is_empty() {
            return Ok(self.pod.standing().await.map_err(failed)?.network());
        }
        Ok(if within.full_network { NetworkMode::Full } else { NetworkMode::None })
    }

    /// The runner's own. The root of an engine without root is the runner's user.
    async fn user(&self) -> Result<&String, StartError> {
        let found = self.user.get_or_try_init(|| async {
            let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
            let rootless = !user.is_root() && self.pod.engine().await?.about().await?.rootless;
            Ok(if rootless { "0:0".to_owned() } else { format!("{}:{}", user.as_raw(), group.as_raw()) })
        });
        found.await.map_err(failed)
    }

    fn environment(&self, setting: &Setting, own: Vec<(String, String)>) -> Vec<(String, String)> {
        let base = [("HOME", HOME), ("TMPDIR", "/tmp")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        // a secret is for the programs that policy lets have it, one by one
        let of_stage = setting.env.iter().filter(|(_, value)| !setting.secrets.stands_in(value.as_bytes())).cloned();
        let mut environment: Vec<(String, String)> = Vec::new();
        for (name, value) in base.into_iter().chain(of_stage).chain(own) {
            environment.retain(|(known, _)| *known != name);
            environment.push((name, value));
        }
        environment
    }

    /// The file of names, with one more if there is one. Containers that run see it too.
    fn names(&self, name: Option<&str>, setting: &Setting) -> Result<PathBuf, StartError> {
        let path = self.folder.join("hosts");
        let mut known = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = String::new();
        if known.is_empty() {
            lines.push_str("127.0.0.1 localhost\n::1 localhost\n");
            known.insert("localhost".to_owned());
        }
        for name in setting.services.iter().filter(|name| !name.is_empty()) {
            if known.insert(format!("{name}.stage")) {
                lines.push_str(&format!("127.0.0.1 {name} {name}.stage\n"));
            }
        }
        if let Some(name) = name
            && known.insert(format!("{name}.stage"))
        {
            lines.push_str(&format!("127.0.0.1 {name}.stage\n"));
        }
        let written = || {
            use std::os::unix::fs::OpenOptionsExt;
            let mut file = std::fs::OpenOptions::new().create(true).append(true).mode(0o644).open(&path)?;
            file.write_all(lines.as_bytes())
        };
        written().map_err(|error| StartError::System(format!("{}: {error}", path.display())))?;
        Ok(path)
    }

    /// What every container has mounted.
    fn shown(&self, setting: &Setting) -> Result<Vec<Mount>, StartError> {
        let seen = Seen::of(setting, &self.stand_ins)?;
        let home = self.folder.join("home");
        let system = |error: io::Error| StartError::System(format!("{}: {error}", home.display()));
        std::fs::create_dir_all(&home).map_err(system)?;
        for bind in &seen.binds {
            // what the engine would make itself, and as its own user
            if let Ok(below) = bind.inside.strip_prefix(HOME) {
                std::fs::create_dir_all(home.join(below)).map_err(system)?;
            }
        }
        if let Some(overlay) = seen.overlays.first() {
            return Err(StartError::System(format!("a container can't have the cache at {} laid over another", overlay.inside.display())));
        }
        let mut mounts =
            vec![Mount::Tmpfs { to: "/tmp".to_owned(), bytes: TMP }, Mount::Bind { from: home, to: HOME.to_owned(), writable: true }];
        mounts.extend(mounted(&seen).into_iter().map(|(inside, mounted)| match mounted {
            Mounted::Bind { from, writable } => Mount::Bind { from, to: inside.to_string_lossy().into_owned(), writable },
            Mounted::Nothing => Mount::Tmpfs { to: inside.to_string_lossy().into_owned(), bytes: 4096 },
        }));
        Ok(mounts)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Mounted {
    Bind { from: PathBuf, writable: bool },
    Nothing,
}

/// Mount points, each once, the folders on the way to others among them.
fn mounted(seen: &Seen) -> Vec<(PathBuf, Mounted)> {
    let mut binds: Vec<_> = seen.binds.iter().filter(|bind| bind.kind != BindKind::Symlink).collect();
    binds.sort_by(|a, b| a.inside.cmp(&b.inside));
    let mut made: Vec<(PathBuf, Mounted)> = Vec::new();
    for bind in binds {
        // with the same right as what is around it, one mount does
        let same = around(&made, &bind.inside).is_some_and(|(from, writable, _)| writable == bind.writable && from == bind.host);
        if same || made.iter().any(|(inside, _)| *inside == bind.inside) {
            continue;
        }
        pin(&mut made, &bind.inside);
        made.push((bind.inside.clone(), Mounted::Bind { from: bind.host.clone(), writable: bind.writable }));
    }
    for path in &seen.read_only {
        pin(&mut made, path);
        if let Some((_, mounted)) = made.iter_mut().find(|(inside, _)| inside == path) {
            if let Mounted::Bind { writable, .. } = mounted {
                *writable = false;
            }
        } else if let Some((from, true, _)) = around(&made, path) {
            made.push((path.clone(), Mounted::Bind { from, writable: false }));
        }
    }
    for path in &seen.hidden {
        pin(&mut made, path);
        made.retain(|(inside, _)| !inside.starts_with(path));
        made.push((path.clone(), Mounted::Nothing));
    }
    made
}

/// Where a path inside is on the host by the mount around it, whether it can be written there, and that mount's place inside.
fn around(made: &[(PathBuf, Mounted)], path: &Path) -> Option<(PathBuf, bool, PathBuf)> {
    let outer = made.iter().filter(|(inside, _)| path.starts_with(inside) && path != inside);
    let (root, mounted) = outer.max_by_key(|(inside, _)| inside.components().count())?;
    match mounted {
        Mounted::Bind { from, writable } => Some((from.join(path.strip_prefix(root).ok()?), *writable, root.clone())),
        Mounted::Nothing => None,
    }
}

/// Makes a mount of each folder on the way to a path that could be renamed otherwise.
fn pin(made: &mut Vec<(PathBuf, Mounted)>, path: &Path) {
    let Some((_, true, root)) = around(made, path) else { return };
    let on_the_way: Vec<&Path> = path.ancestors().skip(1).take_while(|folder| *folder != root).collect();
    for folder in on_the_way.into_iter().rev() {
        if let Some((from, writable, _)) = around(made, folder) {
            made.push((folder.to_owned(), Mounted::Bind { from, writable }));
        }
    }
}

/// A program in its container. Dropping it ends and removes both.
pub struct Running {
    signals: mpsc::UnboundedSender<&'static str>,
    ended: watch::Receiver<Option<Ended>>,
    /// Somebody sent it a signal.
    signalled: AtomicBool,
}

/// How a program ended.
#[derive(Debug, Clone)]
struct Ended {
    code: i64,
    /// For people.
    note: Option<String>,
    /// The engine has said so.
    known: bool,
}

impl Running {
    fn watch(
        container: Container,
        program: String,
        (stdout, stderr): (OwnedFd, OwnedFd),
        running: Arc<AtomicUsize>,
        tasks: &mut JoinSet<bool>,
    ) -> Running {
        let (told, ended) = watch::channel(None);
        let (signals, wanted) = mpsc::unbounded_channel();
        tasks.spawn(async move {
            let ended = end(&container, &program, stdout, stderr, wanted).await;
            if ended.known {
                running.fetch_sub(1, Ordering::AcqRel);
            }
            told.send_replace(Some(ended));
            // nothing runs in it any more, and whoever waits for the program does not wait for the engine's tidying up; what can't be removed is swept
            container.remove().await.is_ok()
        });
        Running { signals, ended, signalled: AtomicBool::new(false) }
    }

    pub fn terminate(&self) {
        self.signal("TERM");
    }

    pub fn kill(&self) {
        self.signal("KILL");
    }

    fn signal(&self, name: &'static str) {
        if self.ended.borrow().is_none() {
            self.signalled.store(true, Ordering::Relaxed);
            // one that has ended meanwhile needs none
            let _ = self.signals.send(name);
        }
    }

    /// Waits until it has ended. The same answer every time.
    pub async fn wait(&self) -> (ExitStatus, Option<String>) {
        let ended = match self.ended.clone().wait_for(Option::is_some).await {
            Ok(ended) => ended.clone(),
            Err(_) => None,
        };
        let Some(Ended { code, note, .. }) = ended else { return (ExitStatus::Signal(libc::SIGKILL), None) };
        let code = i32::try_from(code).unwrap_or(i32::MAX);
        // an engine tells of signals as shells do; whether it was one is known here only for those that were sent from here
        let status = match code {
            129..=192 if self.signalled.load(Ordering::Relaxed) => ExitStatus::Signal(code - 128),
            code => ExitStatus::Code(code),
        };
        (status, note)
    }
}

/// Until it has ended and all that it printed was read. When nobody is there any more who could send it a signal, it is killed.
async fn end(
    container: &Container,
    program: &str,
    stdout: OwnedFd,
    stderr: OwnedFd,
    mut signals: mpsc::UnboundedReceiver<&'static str>,
) -> Ended {
    let never_ran = AtomicBool::new(false);
    let pouring = async {
        match container.output() {
            Some(output) => pour(watched(output, &never_ran), stdout, stderr).await.map_err(|error| error.to_string()),
            None => Ok(()),
        }
    };
    let passing_on = async {
        while let Some(signal) = signals.recv().await {
            let _ = container.signal(signal).await;
        }
        let _ = container.kill().await;
        std::future::pending::<()>().await;
    };
    let (poured, ended) = tokio::select! {
        both = async { tokio::join!(pouring, container.wait()) } => both,
        () = passing_on => (Ok(()), Ok(docker::Ended { code: 128 + i64::from(libc::SIGKILL), out_of_memory: false })),
    };
    match (ended, poured) {
        (Ok(docker::Ended { code, out_of_memory: true }), _) => {
            let note = Some("its container had not enough memory: raise `memory` of the `commands` grant".to_owned());
            Ended { code, note, known: true }
        }
        (Ok(docker::Ended { code, .. }), _) if never_ran.load(Ordering::Relaxed) => {
            Ended { code, note: Some(format!("the image has no program `{program}` that could be started")), known: true }
        }
        (Ok(docker::Ended { code, .. }), poured) => Ended { code, note: poured.err(), known: true },
        (Err(error), _) => Ended { code: 128 + i64::from(libc::SIGKILL), note: Some(error.to_string()), known: false },
    }
}

/// The container's process 1 says on its own standard error that it could not start the program, and nobody else is told.
fn watched<'a>(
    output: docker::Output,
    never_ran: &'a AtomicBool,
) -> impl Stream<Item = Result<(Printed, Bytes), EngineError>> + Unpin + 'a {
    let mut begun = false;
    output.inspect(move |piece| {
        if let Ok((printed, bytes)) = piece
            && !std::mem::replace(&mut begun, true)
            && *printed == Printed::Stderr
            && bytes.starts_with(b"[FATAL tini (")
        {
            never_ran.store(true, Ordering::Relaxed);
        }
    })
}

fn failed(error: EngineError) -> StartError {
    StartError::System(error.to_string())
}

/// The engine's words for a program that is not in the image, or a folder that is not there.
fn not_started(program: &str, error: EngineError) -> StartError {
    let words = error.to_string();
    let missing = ["executable file not found", "no such file or directory", "permission denied", "is a directory", "exec format error"];
    if words.contains("exec:") && missing.iter().any(|text| words.contains(text)) {
        return StartError::NotFound(format!("the image has no program `{program}` that could be started: {words}"));
    }
    failed(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jail::Bind;

    fn seen(binds: &[(&str, bool)], read_only: &[&str], hidden: &[&str]) -> Vec<String> {
        let bind = |(path, writable): &(&str, bool)| {
            let bind = Bind::directory(format!("/host{path}"), *path);
            if *writable { bind.writable() } else { bind }
        };
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect();
        let seen =
            Seen { binds: binds.iter().map(bind).collect(), overlays: Vec::new(), hidden: paths(hidden), read_only: paths(read_only) };
        let shown = mounted(&seen).into_iter().map(|(inside, mounted)| match mounted {
            Mounted::Nothing => format!("{} empty", inside.display()),
            Mounted::Bind { from, writable } => {
                assert_eq!(from, Path::new("/host").join(inside.strip_prefix("/").unwrap()));
                format!("{} {}", inside.display(), if writable { "rw" } else { "ro" })
            }
        });
        shown.collect()
    }

    #[test]
    fn folders_on_the_way_to_a_mount_are_mounts() {
        assert_eq!(
            seen(&[("/workspace", true)], &["/workspace/.git", "/workspace/a/b/plugin.wasm"], &["/workspace/.runner"]),
            [
                "/workspace rw",
                "/workspace/.git ro",
                "/workspace/a rw",
                "/workspace/a/b rw",
                "/workspace/a/b/plugin.wasm ro",
                "/workspace/.runner empty",
            ]
        );
        assert_eq!(
            seen(&[("/workspace", true), ("/workspace/x/y", false), ("/workspace/x/y/z", true)], &[], &[]),
            ["/workspace rw", "/workspace/x rw", "/workspace/x/y ro", "/workspace/x/y/z rw"]
        );
    }

    #[test]
    fn what_adds_nothing_is_no_mount() {
        assert_eq!(seen(&[("/workspace", false)], &["/workspace/.git"], &[]), ["/workspace ro"]);
        assert_eq!(seen(&[("/workspace", true), ("/workspace/a/b", true)], &[], &[]), ["/workspace rw"]);
        assert_eq!(
            seen(&[("/workspace/a", true), ("/workspace/b", false)], &["/workspace/a/x"], &[]),
            ["/workspace/a rw", "/workspace/b ro", "/workspace/a/x ro"]
        );
    }
}
