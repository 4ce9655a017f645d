//! The re-executed runner that is process 1 of a jail.
//!
//! It comes to life in three steps. First as an ordinary child of the runner: it maps its user into a new user namespace and forks into
//! a new pid namespace, as a sibling (`CLONE_PARENT`), so that the runner is its parent and can wait for it; the first process
//! ends there. Then it makes the other namespaces and enters the root. Then it serves: it starts one `init` for each command and tells the
//! runner how they end.
//!
//! It ends when the runner does, by two ways that do not depend on each other: the kernel kills it with its parent thread, and it sees the
//! end of its socket. With it ends every process inside.
//!
//! Deliberately absent: threads, an async runtime, logging, and any decision about what may run.

use std::{
    ffi::CString,
    fs::{self, File},
    io::{self, Write},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::{Errno, fcntl_dupfd_cloexec},
    net::{AddressFamily, RecvFlags, SocketFlags, SocketType, socket_with},
    pipe::{PipeFlags, pipe_with},
    process::{
        Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getegid, geteuid, getpid, pidfd_open, pidfd_send_signal,
        set_parent_process_death_signal, setsid, waitid,
    },
    system::sethostname,
    thread::{UnshareFlags, set_thread_groups},
};

use super::{
    error::{During, SetupError, SpawnError, Step},
    init::{self, Confinement, Launch, Report},
    paths, privileges,
    root::{self, Root},
    spec::{ExitStatus, HOME, JailSpec},
    sys,
    syscalls::Filter,
    wire::{Command, Incoming, IpVersion, Outgoing, Reply, Request},
};

/// The user and group number that a program sees itself as.
const INSIDE: u32 = 1000;

/// Turns this process into a warden, and never returns. To be called first thing in `main`, when there is one thread only, if the first
/// argument is [`super::WARDEN_ARGUMENT`]. Standard input must be the socket that [`super::Jail::start`] made.
pub fn warden_main() -> ! {
    let Ok(control) = fcntl_dupfd_cloexec(io::stdin(), 3) else { sys::exit_now(2) };
    // Whatever the runner's own parent had left open is nobody's business here. 0, 1 and 2 stay taken, by nothing.
    sys::close_all_but(&[control.as_raw_fd()]);
    if sys::null_stdin().is_err() {
        sys::exit_now(2);
    }
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    sys::fresh_session_keyring();
    let result = match separate() {
        Ok(Some(_)) => sys::exit_now(0),
        Ok(None) => Warden::raise(&control).and_then(|mut warden| warden.serve().during(Step::Protocol)),
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        let _ = say(&control, &Reply::Failed(error), Vec::new());
    }
    sys::exit_now(1)
}

fn say(control: &OwnedFd, reply: &Reply, descriptors: Vec<OwnedFd>) -> io::Result<()> {
    Outgoing::new(reply, descriptors)?.send(control)?;
    Ok(())
}

/// Forks into a new user and pid namespace. None is the new process.
fn separate() -> Result<Option<Pid>, SetupError> {
    let (user, group) = (geteuid(), getegid());
    // Only who could become anybody may drop groups; for everybody else they stay, and open nothing that is not bound.
    let _ = set_thread_groups(&[]);
    sys::unshare(UnshareFlags::NEWUSER).during(Step::UserNamespace)?;
    // Without this an ordinary user may not map a group: dropping one could open what is closed to its members.
    fs::write("/proc/self/setgroups", "deny").during(Step::MapUser)?;
    fs::write("/proc/self/uid_map", format!("{INSIDE} {} 1", user.as_raw())).during(Step::MapUser)?;
    fs::write("/proc/self/gid_map", format!("{INSIDE} {} 1", group.as_raw())).during(Step::MapUser)?;
    sys::unshare(UnshareFlags::NEWPID).during(Step::Namespaces)?;
    // SAFETY: this process has a single thread (`warden_main` is called first), and the flag shares nothing.
    unsafe { sys::clone_process(libc::CLONE_PARENT | libc::SIGCHLD) }.during(Step::Namespaces)
}

/// Process 1 of a jail that stands.
struct Warden<'a> {
    control: &'a OwnedFd,
    incoming: Incoming,
    confinement: Confinement,
    /// Variables of every command, later ones over earlier ones.
    base: Vec<(String, String)>,
    /// Of every command that is no service.
    env: Vec<(String, String)>,
    hosts: File,
    names: Vec<String>,
    running: Vec<Running>,
}

/// A command between its start and the end of the last process it left.
struct Running {
    id: u64,
    init: u32,
    /// Readable once its process 1 is gone, which is when all of its processes are.
    ended: OwnedFd,
    report: OwnedFd,
    words: Vec<u8>,
    started: bool,
    failure: Option<SpawnError>,
    status: Option<ExitStatus>,
    /// The report is at its end.
    silent: bool,
    reaped: bool,
}

impl<'a> Warden<'a> {
    /// Makes the jail, as process 1 of its pid namespace.
    fn raise(control: &'a OwnedFd) -> Result<Warden<'a>, SetupError> {
        let own = pidfd_open(getpid(), PidfdFlags::empty()).during(Step::Protocol)?;
        say(control, &Reply::Born, vec![own]).during(Step::Protocol)?;
        // Not inherited: the parent of this one is the runner too.
        set_parent_process_death_signal(Some(Signal::KILL)).during(Step::Protocol)?;
        let mut incoming = Incoming::default();
        // A runner that ended before the line above is seen here.
        let Some((Request::Build(spec), _)) = incoming.wait::<Request>(control).during(Step::Protocol)? else { sys::exit_now(1) };
        // A terminal's signals are for the runner, which then decides.
        let _ = setsid();
        privileges::hide_memory().during(Step::Protocol)?;
        sys::block_signals();

        sys::unshare(UnshareFlags::NEWNS | UnshareFlags::NEWNET | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS).during(Step::Namespaces)?;
        // Some kernels are built without control groups.
        let _ = sys::unshare(UnshareFlags::NEWCGROUP);
        sethostname(b"stage").during(Step::Namespaces)?;
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None).during(Step::Loopback)?;
        sys::loopback_up(socket.as_fd()).during(Step::Loopback)?;
        drop(socket);
        let Root { hosts, writable, covered, services } = root::enter(&spec)?;
        settle_kernel(&spec);

        let confinement = Confinement {
            covered,
            services,
            tmp_bytes: spec.tmp_bytes,
            limits: spec.limits.clone(),
            rules: paths::rules(&writable)?,
            filter: Filter::compile().map_err(io::Error::other).during(Step::Seccomp)?,
        };
        say(control, &Reply::Ready, Vec::new()).during(Step::Protocol)?;
        let (base, env) = (base_environment(&spec), spec.env);
        Ok(Warden { control, incoming, confinement, base, env, hosts, names: Vec::new(), running: Vec::new() })
    }

    /// Serves the runner until it hangs up.
    fn serve(&mut self) -> io::Result<()> {
        loop {
            let mut waiting = vec![PollFd::new(self.control, PollFlags::IN)];
            waiting.extend(self.running.iter().flat_map(|one| one.watched().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))));
            match poll(&mut waiting, None) {
                Err(Errno::INTR) => continue,
                other => other?,
            };
            let ready: Vec<bool> = waiting.iter().map(|one| !one.revents().is_empty()).collect();
            for (index, ready) in ready[1..].chunks(2).enumerate() {
                if ready[0] || ready[1] {
                    self.listen(index)?;
                }
                if ready[1] {
                    self.running[index].reap();
                }
            }
            self.bury()?;
            if ready[0] {
                if !self.incoming.receive(self.control, RecvFlags::DONTWAIT)? {
                    sys::exit_now(0);
                }
                while let Some((request, descriptors)) = self.incoming.next::<Request>()? {
                    self.answer(request, descriptors)?;
                }
            }
        }
    }

    fn answer(&mut self, request: Request, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        match request {
            Request::Build(_) => Err(io::Error::other("a jail is built once")),
            Request::Spawn { id, command } => match self.spawn(id, command, descriptors) {
                Ok(running) => {
                    self.running.push(running);
                    Ok(())
                }
                Err(error) => say(self.control, &Reply::Refused { id, error }, Vec::new()),
            },
            Request::Terminate { id } => {
                self.signal(Signal::TERM, |one| one.id == id);
                Ok(())
            }
            Request::Kill { id } => {
                self.signal(Signal::KILL, |one| one.id == id);
                Ok(())
            }
            Request::TerminateAll => {
                self.signal(Signal::TERM, |_| true);
                Ok(())
            }
            Request::Socket { id, version } => {
                let family = match version {
                    IpVersion::V4 => AddressFamily::INET,
                    IpVersion::V6 => AddressFamily::INET6,
                };
                // A socket belongs to the network it was made in, wherever it is connected from.
                match socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None) {
                    Ok(socket) => say(self.control, &Reply::Socket { id, errno: 0 }, vec![socket]),
                    Err(errno) => say(self.control, &Reply::Socket { id, errno: errno.raw_os_error() }, Vec::new()),
                }
            }
        }
    }

    /// To process 1 of the commands: it passes SIGTERM on to all of its own, and SIGKILL kills them all with it.
    fn signal(&self, signal: Signal, which: impl Fn(&Running) -> bool) {
        for one in self.running.iter().filter(|one| which(one)) {
            // What has ended meanwhile needs no signal.
            let _ = pidfd_send_signal(&one.ended, signal);
        }
    }

    fn spawn(&mut self, id: u64, command: Command, descriptors: Vec<OwnedFd>) -> Result<Running, SpawnError> {
        let system = |doing: &str, errno: i32| match errno {
            libc::EAGAIN => SpawnError::Processes,
            errno => SpawnError::System { doing: doing.to_owned(), errno },
        };
        let streams = descriptors.try_into().map_err(|_| system("receive the streams", libc::EBADF))?;
        self.name(command.name.as_deref())?;
        let launch = self.launch(command, streams)?;
        let (report, writer) =
            pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(|errno| system("make a pipe", errno.raw_os_error()))?;
        // SAFETY: a warden has one thread from its start, and the flags share nothing: the child is a copy in new namespaces.
        let child = unsafe { sys::clone_process(libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::SIGCHLD) };
        let Some(init) = child.map_err(|error| system("start a process", error.raw_os_error().unwrap_or(libc::EAGAIN)))? else {
            init::live(launch, &self.confinement, writer)
        };
        // A child that is not yet reaped keeps its number.
        match pidfd_open(init, PidfdFlags::empty()) {
            Ok(ended) => Ok(Running {
                id,
                init: init.as_raw_nonzero().get() as u32,
                ended,
                report,
                words: Vec::new(),
                started: false,
                failure: None,
                status: None,
                silent: false,
                reaped: false,
            }),
            Err(errno) => {
                let _ = rustix::process::kill_process(init, Signal::KILL);
                let _ = waitid(WaitId::Pid(init), WaitIdOptions::EXITED);
                Err(system("watch a process", errno.raw_os_error()))
            }
        }
    }

    /// Makes `<name>.stage` resolve to the loopback address.
    fn name(&mut self, name: Option<&str>) -> Result<(), SpawnError> {
        let Some(name) = name.filter(|name| !self.names.iter().any(|known| known == name)) else { return Ok(()) };
        let label = (1..=63).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !name.starts_with('-')
            && !name.ends_with('-');
        if !label {
            return Err(SpawnError::Invalid(format!(
                "`{name}` cannot be a host name: 1 to 63 lower-case letters, digits and hyphens, none at an end"
            )));
        }
        self.hosts.write_all(format!("127.0.0.1 {name}.stage\n").as_bytes()).map_err(|error| SpawnError::System {
            doing: "write /etc/hosts".to_owned(),
            errno: error.raw_os_error().unwrap_or(libc::EIO),
        })?;
        self.names.push(name.to_owned());
        Ok(())
    }

    fn launch(&self, command: Command, streams: [OwnedFd; 3]) -> Result<Launch, SpawnError> {
        let string = |text: &str| {
            CString::new(text).map_err(|_| SpawnError::Invalid(format!("{:?} holds a NUL byte, which no program can receive", text)))
        };
        if command.program.is_empty() {
            return Err(SpawnError::Invalid("the program is empty".to_owned()));
        }
        if !command.dir.is_absolute() {
            return Err(SpawnError::Invalid(format!("the working directory `{}` is not absolute", command.dir.display())));
        }
        let mut environment: Vec<(&str, &str)> = Vec::new();
        let own = if command.view.is_some() { &[] } else { self.env.as_slice() };
        for (name, value) in self.base.iter().chain(own).chain(&command.env) {
            if name.is_empty() || name.contains('=') {
                return Err(SpawnError::Invalid(format!("{name:?} cannot be the name of a variable")));
            }
            environment.retain(|(known, _)| known != name);
            environment.push((name, value));
        }
        let search = environment.iter().find(|(name, _)| *name == "PATH").map_or("", |(_, value)| *value);
        let candidates = if command.program.contains('/') {
            vec![PathBuf::from(&command.program)]
        } else {
            search.split(':').filter(|dir| dir.starts_with('/')).map(|dir| Path::new(dir).join(&command.program)).collect()
        };
        Ok(Launch {
            candidates,
            arguments: [&command.program].into_iter().chain(&command.args).map(|text| string(text)).collect::<Result<_, _>>()?,
            environment: environment.iter().map(|(name, value)| string(&format!("{name}={value}"))).collect::<Result<_, _>>()?,
            program: command.program,
            dir: command.dir,
            view: command.view,
            streams,
        })
    }

    /// Takes in what a command's process 1 has to say.
    fn listen(&mut self, index: usize) -> io::Result<()> {
        let one = &mut self.running[index];
        let mut chunk = [0; 4096];
        loop {
            match rustix::io::read(&one.report, &mut chunk) {
                Ok(0) => {
                    one.silent = true;
                    break;
                }
                Err(Errno::AGAIN) => break,
                Ok(count) => one.words.extend_from_slice(&chunk[..count]),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        while let Some(end) = one.words.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = one.words.drain(..=end).collect();
            match serde_json::from_slice(&line)? {
                Report::Started => {
                    one.started = true;
                    say(self.control, &Reply::Started { id: one.id, init: one.init }, Vec::new())?;
                }
                Report::Failed(error) => one.failure = Some(error),
                Report::Ended(status) => one.status = Some(status),
            }
        }
        Ok(())
    }

    /// Tells the runner of the commands of which nothing is left.
    fn bury(&mut self) -> io::Result<()> {
        let control = self.control;
        let (dead, alive) = std::mem::take(&mut self.running).into_iter().partition(|one| one.reaped);
        self.running = alive;
        for one in dead {
            let Running { id, started, failure, status, .. } = one;
            let reply = if started {
                // Process 1 was killed before it could tell: so was everything else.
                Reply::Ended { id, status: status.unwrap_or(ExitStatus::Signal(libc::SIGKILL)) }
            } else {
                let died = || SpawnError::System { doing: "start the program: it was killed before it ran".to_owned(), errno: libc::ESRCH };
                Reply::Refused { id, error: failure.unwrap_or_else(died) }
            };
            say(control, &reply, Vec::new())?;
        }
        Ok(())
    }
}

impl Running {
    /// Its report, and its end.
    fn watched(&self) -> [BorrowedFd<'_>; 2] {
        // A pipe at its end is always ready; from then on there is only the end of the process to wait for.
        [if self.silent { self.ended.as_fd() } else { self.report.as_fd() }, self.ended.as_fd()]
    }

    fn reap(&mut self) {
        if let Ok(Some(_)) = waitid(WaitId::PidFd(self.ended.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            self.reaped = true;
        }
    }
}

/// Settings of the new namespaces. All of them are extras: older kernels refuse some.
fn settle_kernel(spec: &JailSpec) {
    // Process numbers of the whole jail, and so the number of its processes, whoever the user outside is.
    let _ = fs::write("/proc/sys/kernel/pid_max", spec.limits.processes.clamp(301, 1 << 22).to_string());
    // A server may listen on 80 as it would in a container.
    let _ = fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
}

fn base_environment(spec: &JailSpec) -> Vec<(String, String)> {
    let path = spec.path.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(":");
    let base = [("HOME", HOME), ("PATH", &path), ("TMPDIR", "/tmp"), ("LANG", "C.UTF-8")];
    base.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
