//! The runner's side of a jail.
//!
//! Requests go out through one task and replies come in through another, so that no caller's cancelled future can cut a frame in
//! two or miss an answer that others wait for. All waiting is on state that stays: it may be dropped and begun again.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::{fd::OwnedFd, unix::net::UnixStream as StdUnixStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::{
    net::RecvFlags,
    process::{Signal, pidfd_send_signal},
};
use tokio::{
    io::Interest,
    net::{TcpListener, TcpSocket, TcpStream, UnixStream},
    sync::{mpsc, oneshot, watch},
};

use super::{
    error::{JailError, NOT_A_WARDEN, SpawnError},
    keeper::Keeper,
    owner, probe,
    spec::{ExitStatus, JailSpec, SpawnSpec},
    wire::{Command, Incoming, IpVersion, Outgoing, Reply, Request},
};

/// Longer than any machine needs that is able to do it at all.
const UP: Duration = Duration::from_secs(30);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// A standing jail. Dropping it kills everything inside at once; [`Jail::end`] asks first.
#[derive(Debug)]
pub struct Jail {
    link: Arc<Link>,
}

/// What the jail, its processes and the two tasks share.
#[derive(Debug)]
struct Link {
    requests: mpsc::UnboundedSender<Outgoing>,
    warden: OwnedFd,
    /// True once the warden has ended and was reaped.
    buried: watch::Receiver<bool>,
    /// True once nothing more will be heard from the warden.
    over: watch::Sender<bool>,
    state: Mutex<State>,
    /// How many commands there are, from the request to the last process's end.
    commands: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    starting: HashMap<u64, oneshot::Sender<Result<(), SpawnError>>>,
    running: HashMap<u64, watch::Sender<Option<ExitStatus>>>,
    sockets: HashMap<u64, oneshot::Sender<io::Result<OwnedFd>>>,
    /// Commands by the number of their process 1 in the jail.
    inits: HashMap<u32, u64>,
    /// Set once the warden is gone; then nothing of the above is ever added.
    gone: Option<Option<String>>,
}

impl Jail {
    /// Makes a jail. Needs a tokio runtime with io and time, and costs some milliseconds, most of them for starting the runner anew.
    ///
    /// # Errors
    /// [`JailError::Unsupported`] if this machine allows none, with the remedy; [`JailError::Setup`] if something about this one
    /// is wrong.
    pub async fn start(spec: JailSpec) -> Result<Jail, JailError> {
        // In a task of its own: if the caller loses interest half-way, somebody must still receive the warden, and drop it.
        tokio::spawn(raise(spec)).await.map_err(|error| JailError::Gone(Some(error.to_string())))?
    }

    /// Starts a program. Several may run at once.
    ///
    /// # Errors
    /// [`JailError::Spawn`] if it could not be executed; that is never told as an exit code.
    pub async fn spawn(&self, spec: SpawnSpec) -> Result<JailProcess, JailError> {
        let SpawnSpec { program, args, env, dir, stdin, stdout, stderr, name, view } = spec;
        let command = Command { program, args, env, dir, name, view };
        let (exit, ended) = watch::channel(None);
        let (told, answer) = oneshot::channel();
        let id = {
            let mut state = self.link.state();
            let id = state.next_id()?;
            state.starting.insert(id, told);
            state.running.insert(id, exit);
            self.link.commands.send_modify(|count| *count += 1);
            id
        };
        // From here on the process is killed when the future, or what it returns, is dropped.
        let process = JailProcess { id, link: self.link.clone(), ended };
        if let Err(error) = self.link.send(&Request::Spawn { id, command }, vec![stdin, stdout, stderr]) {
            self.link.state().starting.remove(&id);
            self.link.finish(id, ExitStatus::Signal(libc::SIGKILL));
            return Err(error);
        }
        match answer.await {
            Ok(Ok(())) => Ok(process),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(self.link.state().why_gone()),
        }
    }

    /// Connects to a port that something inside listens on, on 127.0.0.1 or else on [::1].
    ///
    /// # Errors
    /// [`JailError::Connect`], with `ConnectionRefused` when nothing listens (yet).
    pub async fn connect(&self, port: u16) -> Result<TcpStream, JailError> {
        match self.connect_to(IpVersion::V4, port).await {
            Err(JailError::Connect { source, .. }) if source.kind() == io::ErrorKind::ConnectionRefused => {
                // What the first said is what counts on a machine without IPv6.
                match self.connect_to(IpVersion::V6, port).await {
                    Err(JailError::Connect { .. }) => Err(JailError::Connect { port, source }),
                    other => other,
                }
            }
            other => other,
        }
    }

    /// Connecting can be waited for, and given up, here.
    async fn connect_to(&self, version: IpVersion, port: u16) -> Result<TcpStream, JailError> {
        let refused = |source| JailError::Connect { port, source };
        let socket = self.socket(version).await?.map_err(refused)?;
        let address: IpAddr = match version {
            IpVersion::V4 => Ipv4Addr::LOCALHOST.into(),
            IpVersion::V6 => Ipv6Addr::LOCALHOST.into(),
        };
        socket.connect(SocketAddr::new(address, port)).await.map_err(refused)
    }

    /// A socket that listens on 127.0.0.1 inside, for what is served out here.
    ///
    /// # Errors
    /// [`JailError::Listen`], with `AddrInUse` when something inside has the port.
    pub async fn listen(&self, port: u16) -> Result<TcpListener, JailError> {
        let refused = |source| JailError::Listen { port, source };
        let socket = self.socket(IpVersion::V4).await?.map_err(refused)?;
        socket.bind(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)).map_err(refused)?;
        socket.listen(BACKLOG).map_err(refused)
    }

    /// The warden makes it, which binds it to the jail's network for good, whoever uses it.
    async fn socket(&self, version: IpVersion) -> Result<io::Result<TcpSocket>, JailError> {
        let (told, answer) = oneshot::channel();
        let id = {
            let mut state = self.link.state();
            let id = state.next_id()?;
            state.sockets.insert(id, told);
            id
        };
        self.link.send(&Request::Socket { id, version }, Vec::new())?;
        let socket = answer.await.map_err(|_| self.link.state().why_gone())?;
        Ok(socket.map(|socket| TcpSocket::from_std_stream(socket.into())))
    }

    /// The [`JailProcess::id`] of the command that has a connection open from `peer` to `port`, both on the jail's loopback. None if nobody
    /// has it any more, or the kernel does not tell. Looks through the jail's processes: not for an async task.
    pub fn owner(&self, peer: u16, port: u16) -> Option<u64> {
        let init = owner::init_of(&self.link.warden, peer, port)?;
        self.link.state().inits.get(&init).copied()
    }

    /// Sends SIGTERM to everything inside, waits up to `grace` for it to end, kills what is left, and returns when no process is left.
    /// From then on every other call answers [`JailError::Gone`]. If the future is dropped, dropping the jail does the rest.
    pub async fn end(&self, grace: Duration) {
        if self.link.send(&Request::TerminateAll, Vec::new()).is_ok() {
            let mut commands = self.link.commands.subscribe();
            let _ = tokio::time::timeout(grace, commands.wait_for(|count| *count == 0)).await;
        }
        self.kill();
        self.gone().await;
    }

    /// Kills everything inside, and does not wait for it.
    pub fn kill(&self) {
        self.link.kill();
    }

    /// Waits until no process of the jail is left, for whatever reason.
    pub async fn gone(&self) {
        // A process 1 ends after the last process of its namespace has.
        let _ = self.link.buried.clone().wait_for(|buried| *buried).await;
        // And its last words have been read.
        let _ = self.link.over.subscribe().wait_for(|over| *over).await;
    }
}

impl Drop for Jail {
    fn drop(&mut self) {
        self.link.kill();
    }
}

/// A program that was started, with all that it starts. Dropping it kills them.
#[derive(Debug)]
pub struct JailProcess {
    id: u64,
    link: Arc<Link>,
    ended: watch::Receiver<Option<ExitStatus>>,
}

impl JailProcess {
    /// Tells the jail's commands apart.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Waits until the program has ended and nothing that it started is left. The same answer every time; may be dropped and
    /// called again.
    pub async fn wait(&self) -> ExitStatus {
        match self.ended.clone().wait_for(Option::is_some).await {
            Ok(status) => status.unwrap_or(ExitStatus::Signal(libc::SIGKILL)),
            Err(_) => ExitStatus::Signal(libc::SIGKILL),
        }
    }

    /// The answer of [`JailProcess::wait`], if it is there already.
    pub fn try_wait(&self) -> Option<ExitStatus> {
        *self.ended.borrow()
    }

    /// Sends SIGTERM to the program and everything it started. Nothing happens if it has ended.
    pub fn terminate(&self) {
        // If the warden is gone, so is the process.
        let _ = self.link.send(&Request::Terminate { id: self.id }, Vec::new());
    }

    /// Kills the program and everything it started. Nothing happens if it has ended.
    pub fn kill(&self) {
        let _ = self.link.send(&Request::Kill { id: self.id }, Vec::new());
    }
}

impl Drop for JailProcess {
    fn drop(&mut self) {
        if self.try_wait().is_none() {
            self.kill();
        }
    }
}

impl Link {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, request: &Request, descriptors: Vec<OwnedFd>) -> Result<(), JailError> {
        let frame = Outgoing::new(request, descriptors).map_err(|error| JailError::Invalid(error.to_string()))?;
        self.requests.send(frame).map_err(|_| self.state().why_gone())
    }

    fn kill(&self) {
        // Gone already is as good.
        let _ = pidfd_send_signal(&self.warden, Signal::KILL);
    }

    fn finish(&self, id: u64, status: ExitStatus) {
        let exit = {
            let mut state = self.state();
            state.inits.retain(|_, known| *known != id);
            state.running.remove(&id)
        };
        if let Some(exit) = exit {
            exit.send_replace(Some(status));
            self.commands.send_modify(|count| *count -= 1);
        }
    }

    fn take_in(&self, reply: Reply, descriptors: Vec<OwnedFd>) -> Result<(), String> {
        match reply {
            Reply::Started { id, init } => {
                let told = {
                    let mut state = self.state();
                    state.inits.insert(init, id);
                    state.starting.remove(&id)
                };
                told.map(|told| told.send(Ok(())));
            }
            Reply::Refused { id, error } => {
                let told = self.state().starting.remove(&id);
                told.map(|told| told.send(Err(error)));
                self.finish(id, ExitStatus::Signal(libc::SIGKILL));
            }
            Reply::Ended { id, status } => self.finish(id, status),
            Reply::Socket { id, errno } => {
                let answer = descriptors.into_iter().next().ok_or_else(|| io::Error::from_raw_os_error(errno));
                let told = self.state().sockets.remove(&id);
                told.map(|told| told.send(answer));
            }
            Reply::Failed(error) => return Err(error.to_string()),
            Reply::Born | Reply::Ready => return Err("the warden spoke out of turn".to_owned()),
        }
        Ok(())
    }

    /// After the warden's end: nobody waits any longer.
    fn give_up(&self, why: Option<String>) {
        self.kill();
        let State { starting, running, sockets, .. } = {
            let mut state = self.state();
            let last_id = state.last_id;
            std::mem::replace(&mut *state, State { last_id, gone: Some(why), ..State::default() })
        };
        drop((starting, sockets));
        for exit in running.into_values() {
            exit.send_replace(Some(ExitStatus::Signal(libc::SIGKILL)));
        }
        self.commands.send_replace(0);
        self.over.send_replace(true);
    }
}

impl State {
    fn next_id(&mut self) -> Result<u64, JailError> {
        if self.gone.is_some() {
            return Err(self.why_gone());
        }
        self.last_id += 1;
        Ok(self.last_id)
    }

    fn why_gone(&self) -> JailError {
        JailError::Gone(self.gone.clone().flatten())
    }
}

async fn raise(spec: JailSpec) -> Result<Jail, JailError> {
    let cannot = |source| JailError::Warden { warden: spec.warden.clone(), source };
    let (ours, theirs) = StdUnixStream::pair().map_err(cannot)?;
    ours.set_nonblocking(true).map_err(cannot)?;
    let ours = UnixStream::from_std(ours).map_err(cannot)?;
    let mut build = Outgoing::new(&Request::Build(spec.clone()), Vec::new()).map_err(|error| JailError::Invalid(error.to_string()))?;

    let keeper = Keeper::get().map_err(cannot)?;
    let (told, started) = oneshot::channel();
    keeper.start(spec.warden.clone(), theirs, move |result| drop(told.send(result)));
    started.await.unwrap_or_else(|_| Err(io::Error::other("the thread that starts wardens has ended"))).map_err(cannot)?;

    let mut incoming = Incoming::default();
    let mut warden = None;
    let (bury, buried) = watch::channel(false);
    let coming_up = async {
        // A process that has ended already says less than its silence does.
        match ours.async_io(Interest::WRITABLE, || build.send(&ours)).await {
            Err(error) if !matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => return Err(cannot(error)),
            _ => {}
        }
        loop {
            match receive(&ours, &mut incoming).await.map_err(cannot)? {
                Some((Reply::Born, descriptors)) => {
                    warden = descriptors.into_iter().next();
                    let child = warden.as_ref().map(OwnedFd::try_clone).transpose().map_err(cannot)?;
                    if let Some(child) = child {
                        let bury = bury.clone();
                        keeper.bury(child, move || bury.send_modify(|buried| *buried = true));
                    }
                }
                Some((Reply::Ready, _)) => return Ok(()),
                Some((Reply::Failed(error), _)) => return Err(probe::explain(error)),
                Some(_) => return Err(JailError::Gone(Some("the warden spoke out of turn".to_owned()))),
                None => return Err(JailError::Gone(Some(NOT_A_WARDEN.to_owned()))),
            }
        }
    };
    let up = tokio::time::timeout(UP, coming_up).await.unwrap_or(Err(JailError::TimedOut(UP)));
    let warden = match (up, warden) {
        (Ok(()), Some(warden)) => warden,
        (up, warden) => {
            // It would end with the socket, unless the kernel holds it up.
            warden.map(|warden| pidfd_send_signal(warden, Signal::KILL));
            return Err(up.err().unwrap_or_else(|| JailError::Gone(Some("the warden gave no handle".to_owned()))));
        }
    };

    let (requests, outgoing) = mpsc::unbounded_channel();
    let link = Arc::new(Link {
        requests,
        warden,
        buried,
        over: watch::Sender::new(false),
        state: Mutex::default(),
        commands: watch::Sender::new(0),
    });
    let ours = Arc::new(ours);
    tokio::spawn(write(ours.clone(), outgoing));
    tokio::spawn(read(ours, incoming, link.clone()));
    Ok(Jail { link })
}

/// Ends when nobody is left who could send.
async fn write(socket: Arc<UnixStream>, mut outgoing: mpsc::UnboundedReceiver<Outgoing>) {
    while let Some(mut frame) = outgoing.recv().await {
        if socket.async_io(Interest::WRITABLE, || frame.send(&*socket)).await.is_err() {
            // The reader sees it too, and tells everybody.
            return;
        }
    }
}

/// Ends with the warden, or with the runtime: whichever way, nobody is left waiting.
async fn read(socket: Arc<UnixStream>, mut incoming: Incoming, link: Arc<Link>) {
    struct Farewell(Arc<Link>, Option<String>);
    impl Drop for Farewell {
        fn drop(&mut self) {
            self.0.give_up(self.1.take());
        }
    }

    let mut farewell = Farewell(link, None);
    farewell.1 = loop {
        match receive(&socket, &mut incoming).await {
            Ok(Some((reply, descriptors))) => {
                if let Err(why) = farewell.0.take_in(reply, descriptors) {
                    break Some(why);
                }
            }
            Ok(None) => break None,
            Err(error) => break Some(error.to_string()),
        }
    };
}

/// The next frame; none at the end. A warden that is killed with unread requests resets the socket, which is an end like any other.
async fn receive(socket: &UnixStream, incoming: &mut Incoming) -> io::Result<Option<(Reply, Vec<OwnedFd>)>> {
    loop {
        if let Some(frame) = incoming.next()? {
            return Ok(Some(frame));
        }
        match socket.async_io(Interest::READABLE, || incoming.receive(socket, RecvFlags::DONTWAIT)).await {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}
