//! The thread that starts wardens and buries them.
//!
//! A warden asks the kernel to be killed when the *thread* that started it ends. Threads of an async runtime come and go, so wardens are
//! started from one that stays for the life of the process. The same thread reaps what has ended, so that nothing is left a
//! zombie when a future that waited for it is dropped.

use std::{
    collections::VecDeque,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid},
};

use super::WARDEN_ARGUMENT;

/// The thread's mailbox.
pub(super) struct Keeper {
    jobs: Mutex<VecDeque<Job>>,
    wake: OwnedFd,
}

enum Job {
    Start { warden: PathBuf, control: UnixStream, done: Box<dyn FnOnce(io::Result<()>) + Send> },
    Bury { child: OwnedFd, done: Box<dyn FnOnce() + Send> },
}

impl Keeper {
    /// The one of this process, started at the first call.
    pub(super) fn get() -> io::Result<&'static Keeper> {
        static KEEPER: OnceLock<&'static Keeper> = OnceLock::new();
        static STARTING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keeper) = KEEPER.get() {
            return Ok(keeper);
        }
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let keeper: &'static Keeper = Box::leak(Box::new(Keeper { jobs: Mutex::default(), wake }));
        std::thread::Builder::new().name("jail-keeper".to_owned()).stack_size(256 << 10).spawn(|| keeper.keep())?;
        Ok(KEEPER.get_or_init(|| keeper))
    }

    /// Starts a warden that speaks over `control`, and tells `done`.
    pub(super) fn start(&self, warden: PathBuf, control: UnixStream, done: impl FnOnce(io::Result<()>) + Send + 'static) {
        self.post(Job::Start { warden, control, done: Box::new(done) });
    }

    /// Reaps a child of this process once it has ended, and tells `done`.
    pub(super) fn bury(&self, child: OwnedFd, done: impl FnOnce() + Send + 'static) {
        self.post(Job::Bury { child, done: Box::new(done) });
    }

    fn post(&self, job: Job) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).push_back(job);
        // Fails only when the counter is full, and then the thread is awake anyway.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    fn keep(&self) {
        let mut children: Vec<(OwnedFd, Box<dyn FnOnce() + Send>)> = Vec::new();
        loop {
            loop {
                let job = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                match job {
                    Some(Job::Start { warden, control, done }) => {
                        done(start(&warden, control).map(|child| children.push((child, Box::new(|| {})))))
                    }
                    Some(Job::Bury { child, done }) => children.push((child, done)),
                    None => break,
                }
            }
            let watched = children.iter().map(|(child, _)| child.as_fd()).chain([self.wake.as_fd()]);
            let mut waiting: Vec<PollFd<'_>> = watched.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
            if poll(&mut waiting, None).is_err() {
                continue;
            }
            let ended: Vec<bool> = waiting.iter().map(|one| !one.revents().is_empty()).collect();
            let _ = rustix::io::read(&self.wake, &mut [0; 8]);
            for index in (0..children.len()).rev().filter(|index| ended[*index]) {
                let (child, done) = children.swap_remove(index);
                let _ = waitid(WaitId::PidFd(child.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
                done();
            }
        }
    }
}

/// Without `pre_exec`, so that the standard library can use `posix_spawn`: a copy of a large runner's page tables would cost more than
/// all the rest. The socket becomes descriptor 0; nothing else is inherited, and no variable.
fn start(warden: &PathBuf, control: UnixStream) -> io::Result<OwnedFd> {
    let child = Command::new(warden)
        .arg(WARDEN_ARGUMENT)
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(control)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let pid = Pid::from_raw(child.id() as i32).ok_or_else(|| io::Error::other("a child without a number"))?;
    // Not yet reaped, so the number is still this child's.
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}
