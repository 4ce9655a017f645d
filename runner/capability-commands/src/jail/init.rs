//! Process 1 of one command: shuts itself in, starts the program, and waits.
//!
//! When it ends, the kernel kills whatever the program left behind: `setsid` and double forks lead nowhere. It is confined exactly as
//! the program is (the program inherits it from here), and keeps nothing open but the pipe to the warden. That nobody can look into
//! it, a copy of the warden, is inherited too (`privileges::hide_memory`).

use std::{
    ffi::CString,
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use landlock::RulesetCreated;
use rustix::{
    fs::{Mode, OFlags},
    mount::{MountFlags, mount, mount_bind, mount_remount},
    pipe::{PipeFlags, pipe_with},
    process::{Pid, WaitOptions, chdir, setsid, wait},
};
use serde::{Deserialize, Serialize};

use super::{
    error::SpawnError,
    mounts::Tree,
    paths, privileges,
    root::Cover,
    spec::{ExitStatus, Limits, View},
    sys,
    syscalls::Filter,
    view,
};

/// A command, worked out by the warden so that nothing is left to decide here.
pub(super) struct Launch {
    /// Absolute or with a slash: what to try to execute, in order.
    pub candidates: Vec<PathBuf>,
    pub program: String,
    /// With the program's own name in front.
    pub arguments: Vec<CString>,
    pub environment: Vec<CString>,
    pub dir: PathBuf,
    pub view: Option<View>,
    /// stdin, stdout, stderr.
    pub streams: [OwnedFd; 3],
}

/// What every command of the jail is confined by.
pub(super) struct Confinement {
    pub covered: Vec<(PathBuf, Cover)>,
    /// There are services' folders, each for its service alone.
    pub services: bool,
    /// Of a service's own `/tmp`.
    pub tmp_bytes: u64,
    pub limits: Limits,
    pub rules: RulesetCreated,
    pub filter: Filter,
}

/// What the warden reads from the pipe: one JSON value a line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    Started,
    Failed(SpawnError),
    Ended(ExitStatus),
}

/// The life of process 1 of a command, from the `clone` into its own pid and mount namespace on.
pub(super) fn live(launch: Launch, confinement: &Confinement, report: OwnedFd) -> ! {
    let mut report = File::from(report);
    match start(launch, confinement, report.as_raw_fd()) {
        Ok(program) => {
            say(&mut report, &Report::Started);
            let status = reap_until(program);
            say(&mut report, &Report::Ended(status));
        }
        Err(error) => say(&mut report, &Report::Failed(error)),
    }
    sys::exit_now(0)
}

fn say(report: &mut File, message: &Report) {
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    // The warden reads to the end of the pipe, unless it is gone, and then so are we.
    let _ = report.write_all(&line);
}

/// Puts the confinement on and starts the program. The order matters: /proc while mounting is possible, capabilities before
/// Landlock (which a process without `no_new_privs` may not use), the filter last (which refuses what the others need).
fn start(launch: Launch, confinement: &Confinement, report: RawFd) -> Result<Pid, SpawnError> {
    let Launch { candidates, program, arguments, environment, dir, view, streams } = launch;
    sys::become_streams(streams).map_err(failed_to("hand over the streams"))?;
    mount_processes(&confinement.covered).map_err(failed_to("mount a /proc of its own"))?;
    if confinement.services {
        view::enter(view.as_ref(), confinement.tmp_bytes).map_err(failed_to("show a service its own folder, and nobody else"))?;
    }
    privileges::set_limits(&confinement.limits).map_err(failed_to("set the limits"))?;
    privileges::drop_all().map_err(failed_to("drop privileges"))?;
    paths::restrict_self(&confinement.rules, view.as_ref().map(|_| Path::new(view::TMP))).map_err(failed_to("apply the Landlock rules"))?;
    let (failure, failed) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failed_to("make a pipe")(errno.into()))?;
    sys::close_all_but(&[report, failure.as_raw_fd(), failed.as_raw_fd()]);
    confinement.filter.apply().map_err(failed_to("apply the system call filter"))?;

    // SAFETY: this process has one thread, being a copy of the warden, and no flag shares anything.
    let pid = unsafe { sys::clone_process(libc::SIGCHLD) }.map_err(failed_to("start a process"))?;
    let Some(pid) = pid else {
        let error = become_program(candidates, program, &arguments, &environment, &dir);
        let _ = serde_json::to_writer(File::from(failed), &error);
        sys::exit_now(127)
    };
    drop(failed);
    // The streams are the program's alone: when it closes one, the other end must see it.
    sys::close_streams();
    // Ends without a word when the program is executed.
    let mut words = Vec::new();
    File::from(failure).read_to_end(&mut words).map_err(failed_to("start a process"))?;
    if words.is_empty() {
        return Ok(pid);
    }
    Err(serde_json::from_slice(&words)
        .unwrap_or(SpawnError::System { doing: "understand the new process".to_owned(), errno: libc::EPROTO }))
}

fn failed_to(doing: &'static str) -> impl FnOnce(io::Error) -> SpawnError {
    move |error| match error.raw_os_error() {
        Some(libc::EAGAIN) => SpawnError::Processes,
        errno => SpawnError::System { doing: doing.to_owned(), errno: errno.unwrap_or(libc::EINVAL) },
    }
}

/// This command's own /proc, over the warden's: other commands are not in it.
fn mount_processes(covered: &[(PathBuf, Cover)]) -> io::Result<()> {
    let place = rustix::fs::open("/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Tree::processes()?.attach(place)?;
    let mut empty: Option<&Path> = None;
    for (path, cover) in covered {
        match cover {
            Cover::EmptyFile => mount_bind("/dev/null", path)?,
            Cover::EmptyDirectory => match empty {
                // One empty file system covers them all.
                Some(first) => mount_bind(first, path)?,
                None => {
                    mount("tmpfs", path, "tmpfs", MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV, c"size=4k")?;
                    empty = Some(path);
                }
            },
            Cover::ReadOnly => {
                mount_bind(path, path)?;
                let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::BIND;
                mount_remount(path, flags, c"")?;
            }
        }
    }
    Ok(())
}

/// The program's own process, up to its first instruction. Comes back only with why not.
fn become_program(candidates: Vec<PathBuf>, program: String, arguments: &[CString], environment: &[CString], dir: &Path) -> SpawnError {
    sys::default_signals();
    // A session of its own: no terminal, and a group that signals reach as a whole.
    let _ = setsid();
    if let Err(errno) = chdir(dir) {
        return SpawnError::Directory { dir: dir.to_owned(), reason: io::Error::from(errno).to_string() };
    }
    let mut refused = None;
    for path in &candidates {
        let Ok(name) = CString::new(path.as_os_str().as_bytes()) else { continue };
        let error = sys::execute(&name, arguments, environment);
        let not_executable = |reason: &str| SpawnError::NotExecutable { path: path.clone(), reason: reason.to_owned() };
        // As a shell does: a file that cannot be executed does not end the search, but is what is told if nothing better is found.
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) if !path.exists() => {}
            Some(libc::ENOENT) => return SpawnError::Interpreter { path: path.clone() },
            Some(libc::EACCES | libc::EPERM) => {
                let why = if path.is_dir() { "it is a directory" } else { "permission denied; is it marked executable?" };
                refused = refused.or(Some(not_executable(why)));
            }
            Some(libc::ENOEXEC) => return not_executable("it is no program; a script needs a first line such as `#!/bin/sh`"),
            Some(libc::EAGAIN) => return SpawnError::Processes,
            errno => return SpawnError::System { doing: format!("execute `{}`", path.display()), errno: errno.unwrap_or(libc::EINVAL) },
        }
    }
    refused.unwrap_or(SpawnError::NotFound { program, looked: candidates })
}

/// Reaps whatever ends until the program itself has. SIGTERM from the warden goes to everything inside.
fn reap_until(program: Pid) -> ExitStatus {
    loop {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid == program {
                return match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => ExitStatus::Code(code),
                    (None, signal) => ExitStatus::Signal(signal.unwrap_or(libc::SIGKILL)),
                };
            }
        }
        if sys::next_signal() == libc::SIGTERM {
            sys::signal_all(libc::SIGTERM);
            // What is stopped must run to notice.
            sys::signal_all(libc::SIGCONT);
        }
    }
}
