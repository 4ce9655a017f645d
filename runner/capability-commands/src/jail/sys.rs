//! The system calls that rustix does not offer, each behind a safe function: the only unsafe code of the jail's set-up.
//!
//! Everything here is for the warden and what it forks: processes with a single thread from their first instruction on. That is why
//! a forked child may allocate and use the standard library: no other thread can hold a lock that the child would wait for.
//!
//! Deliberately absent: anything that decides.

use std::{
    ffi::{CStr, CString, c_char, c_int},
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
    ptr,
};

use rustix::{
    io::Errno,
    process::Pid,
    thread::{UnshareFlags, unshare_unsafe},
};

/// Forks with `clone` flags. None is the child's answer.
///
/// # Safety
/// The caller has one thread only, and `flags` holds nothing that shares memory or makes a thread.
pub(super) unsafe fn clone_process(flags: c_int) -> io::Result<Option<Pid>> {
    // SAFETY: with no stack given and no CLONE_VM this is fork: the child goes on here on a copy of everything.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags as libc::c_ulong, 0usize, 0usize, 0usize, 0usize) };
    if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(Pid::from_raw(pid as i32)) }
}

/// Moves this process into new namespaces.
pub(super) fn unshare(flags: UnshareFlags) -> Result<(), Errno> {
    assert!(!flags.contains(UnshareFlags::FILES), "descriptors stay shared");
    // SAFETY: unsafe only for unsharing the descriptor table, which the line above rules out.
    unsafe { unshare_unsafe(flags) }
}

/// Ends this process at once: no destructors, no exit handlers of the parent's that it is a copy of.
pub(super) fn exit_now(code: c_int) -> ! {
    // SAFETY: _exit touches nothing of this process.
    unsafe { libc::_exit(code) }
}

/// Replaces this process. Comes back only with an error.
pub(super) fn execute(path: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let vector = |strings: &[CString]| strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect::<Vec<*const c_char>>();
    let (arguments, environment) = (vector(arguments), vector(environment));
    // SAFETY: both vectors end with a null pointer, and they and the strings they point to live until the call returns.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Sets and clears attributes of a mount, and of all below it if `recursive`. ENOSYS before Linux 5.12.
pub(super) fn mount_setattr(mount: BorrowedFd<'_>, set: u64, recursive: bool) -> Result<(), Errno> {
    let attributes = libc::mount_attr { attr_set: set, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string and the structure is as long as we say.
    let answer = unsafe {
        libc::syscall(libc::SYS_mount_setattr, mount.as_raw_fd(), c"".as_ptr(), flags, &raw const attributes, size_of::<libc::mount_attr>())
    };
    if answer == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Closes every descriptor from 3 up except `keep`.
pub(super) fn close_all_but(keep: &[RawFd]) {
    let mut keep: Vec<u32> = keep.iter().filter(|fd| **fd > 2).map(|fd| *fd as u32).collect();
    keep.sort_unstable();
    let mut first = 3u32;
    for fd in keep {
        close_range(first, fd.saturating_sub(1));
        first = fd + 1;
    }
    close_range(first, u32::MAX);
}

/// Makes these the standard streams of this process.
pub(super) fn become_streams(streams: [OwnedFd; 3]) -> io::Result<()> {
    for (number, stream) in streams.iter().enumerate() {
        // A stream that had one of these numbers would be lost to the next one's move.
        assert!(stream.as_raw_fd() > 2, "a warden has its own standard streams");
        // SAFETY: whoever owned this number was the parent that this process is a copy of.
        if unsafe { libc::dup2(stream.as_raw_fd(), number as c_int) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Keeps number 0 taken, by nothing.
pub(super) fn null_stdin() -> io::Result<()> {
    let null = std::fs::File::open("/dev/null")?;
    // SAFETY: whoever reads standard input after this reads nothing.
    if unsafe { libc::dup2(null.as_raw_fd(), 0) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Closes the standard streams of a process that will not use them.
pub(super) fn close_streams() {
    close_range(0, 2);
}

fn close_range(first: u32, last: u32) {
    if first > last {
        return;
    }
    // SAFETY: descriptors that are closed here have owners only in the parent that this process is a copy of, or came over `exec`.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if answer != 0 {
        // Before Linux 5.9: one by one, up to the limit (a descriptor may be higher only if the limit was lowered since).
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(1 << 20).min(1 << 20) as u32;
        for fd in first..=last.min(limit) {
            // SAFETY: as above.
            unsafe { libc::close(fd as c_int) };
        }
    }
}

/// Blocks SIGCHLD and SIGTERM, to be taken with [`next_signal`].
pub(super) fn block_signals() {
    let set = signal_set();
    // SAFETY: `set` is initialised; the old mask is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) };
}

/// Waits for SIGCHLD or SIGTERM, both of which must be blocked.
pub(super) fn next_signal() -> c_int {
    let set = signal_set();
    loop {
        // SAFETY: `set` is initialised; details are not asked for.
        let signal = unsafe { libc::sigwaitinfo(&raw const set, ptr::null_mut()) };
        if signal > 0 {
            return signal;
        }
    }
}

fn signal_set() -> libc::sigset_t {
    // SAFETY: sigset_t is plain bits; sigemptyset then initialises it as the C library wants it.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        set
    }
}

/// Gives every signal its default action and blocks none: a program starts as from a fresh login, whatever the runner ignores.
pub(super) fn default_signals() {
    // The kernel's own structure, all zeroes: SIG_DFL, no flags, no mask. The C library's function would leave out the two signals
    // that it keeps to itself, which its own `posix_spawn` hands on ignored.
    let default = [0u64; 4];
    for signal in 1..=64 {
        // SAFETY: the structure is at least as long as any of the kernel's, and no function of ours is installed. The two that cannot
        // be changed answer with an error.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), ptr::null::<u64>(), 8usize) };
    }
    // SAFETY: as in `signal_set`.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// Sends a signal to every process of this pid namespace except its process 1, which must be the caller.
pub(super) fn signal_all(signal: c_int) {
    assert_eq!(rustix::process::getpid(), Pid::INIT, "only the first process of a pid namespace may signal all of it");
    // SAFETY: no memory is involved.
    unsafe { libc::kill(-1, signal) };
}

/// Removes every capability from the bounding set. Needs CAP_SETPCAP.
pub(super) fn empty_bounding_set() -> io::Result<()> {
    for capability in 0..64 {
        // SAFETY: no memory is involved.
        let answer = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability as libc::c_ulong, 0, 0, 0) };
        if answer != 0 {
            let error = io::Error::last_os_error();
            // The first number that the kernel does not know ends the list.
            return if error.raw_os_error() == Some(libc::EINVAL) && capability > 0 { Ok(()) } else { Err(error) };
        }
    }
    Ok(())
}

/// Leaves the session keyring of whoever started the runner for an empty one. Kernels without keyrings have nothing to leave.
pub(super) fn fresh_session_keyring() {
    // SAFETY: a null name asks for an anonymous keyring.
    unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING as libc::c_ulong, ptr::null::<c_char>()) };
}

/// Sets the interface `lo` of this network namespace up.
pub(super) fn loopback_up(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: ifreq is plain data, for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *to = *from as c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: this request reads an ifreq, and `request` is one.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}

/// The version of Landlock that this kernel has; none if it is off or not built in.
pub(super) fn landlock_abi() -> Option<u32> {
    const VERSION: libc::c_ulong = 1;
    // SAFETY: with this flag the call reads no structure and answers with a number.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, ptr::null::<u8>(), 0usize, VERSION) };
    u32::try_from(version).ok().filter(|version| *version > 0)
}
