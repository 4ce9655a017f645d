//! What a hostile program tries. Each attack says for every attempt whether it was stopped, and with which error, and ends with 1 if one was not.
//!
//! The same attacks run outside of a jail too, where most must succeed: an attack that nothing could ever make succeed proves nothing.

use std::{
    ffi::{CString, c_long},
    fs, io,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{
        fd::AsRawFd,
        linux::net::SocketAddrExt,
        unix::{
            fs::{OpenOptionsExt, PermissionsExt},
            net::{SocketAddr as UnixAddr, UnixStream},
            process::CommandExt,
        },
    },
    path::Path,
    process::{Command, Stdio},
    ptr,
    time::Duration,
};

/// Collects attempts.
struct Attempts {
    reached: bool,
}

impl Attempts {
    fn new() -> Attempts {
        Attempts { reached: false }
    }

    fn attempt<T>(&mut self, what: &str, result: io::Result<T>) {
        match result {
            Ok(_) => {
                self.reached = true;
                println!("{what}: REACHED");
            }
            Err(error) => println!("{what}: stopped, {error}"),
        }
    }

    /// Stopped only if by this very error: others may have nothing to do with the confinement.
    fn attempt_wants(&mut self, what: &str, errno: i32, result: io::Result<c_long>) {
        match result {
            Err(error) if error.raw_os_error() == Some(errno) => println!("{what}: stopped, {error}"),
            other => {
                self.reached = true;
                println!("{what}: REACHED, {other:?}");
            }
        }
    }
}

fn check(answer: c_long) -> io::Result<c_long> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

/// A raw system call. Attackers do not use wrappers.
fn call(number: c_long, arguments: [usize; 6]) -> io::Result<c_long> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: every pointer passed here is null, or a string or structure that outlives the call; calls that succeed do no more
    // harm than a test process can take.
    check(unsafe { libc::syscall(number, a, b, c, d, e, f) })
}

pub fn run(arguments: &[String]) -> bool {
    let mut attempts = Attempts::new();
    let rest: Vec<&str> = arguments[1..].iter().map(String::as_str).collect();
    match arguments[0].as_str() {
        "read" => rest.iter().for_each(|path| read(&mut attempts, Path::new(path))),
        "write" => rest.iter().for_each(|path| write(&mut attempts, Path::new(path))),
        "unix" => rest.iter().for_each(|path| attempts.attempt(path, UnixStream::connect(path))),
        "abstract" => {
            let address = UnixAddr::from_abstract_name(rest[0]).unwrap();
            attempts.attempt("abstract socket", UnixStream::connect_addr(&address));
        }
        "tcp" => {
            for address in &rest {
                let address: SocketAddr = address.parse().unwrap();
                attempts.attempt(&format!("tcp {address}"), TcpStream::connect_timeout(&address, Duration::from_secs(2)));
            }
        }
        "udp" => {
            for address in &rest {
                let socket = UdpSocket::bind("0.0.0.0:0");
                // Whether it arrived is for the receiver to say.
                println!("udp {address}: {:?}", socket.and_then(|socket| socket.send_to(b"out", address)));
            }
        }
        "names" => rest.iter().for_each(|name| attempts.attempt(name, std::net::ToSocketAddrs::to_socket_addrs(&(*name, 443)))),
        "sockets" => sockets(&mut attempts),
        "namespaces" => namespaces(&mut attempts),
        "mounts" => mounts(&mut attempts),
        "calls" => calls(&mut attempts, &rest),
        "processes" => processes(&mut attempts, rest[0].parse().unwrap()),
        "memory" => memory(&mut attempts, rest[0].parse().unwrap()),
        "devices" => devices(&mut attempts),
        "sysv" => {
            let key = rest[0].parse::<usize>().unwrap();
            attempts.attempt("shared memory of the host", call(libc::SYS_shmget, [key, 1, 0, 0, 0, 0]));
        }
        "x32" => attempts.attempt_wants("getpid by x32", libc::EPERM, call(0x4000_0000 | libc::SYS_getpid, [0; 6])),
        "i386" => i386(&mut attempts),
        "openat-stdin" => {
            let name = CString::new(rest[0]).unwrap();
            let flags = (libc::O_RDONLY) as usize;
            attempts.attempt("openat a descriptor of the host", call(libc::SYS_openat, [0, name.as_ptr() as usize, flags, 0, 0, 0]));
        }
        "forks" => forks(rest[0].parse().unwrap()),
        "daemon" => daemon(rest[0]),
        "serve" => serve(rest[0]),
        other => panic!("no attack {other}"),
    }
    attempts.reached
}

fn read(attempts: &mut Attempts, path: &Path) {
    attempts.attempt(&format!("read {}", path.display()), fs::read(path));
    attempts.attempt(&format!("list {}", path.display()), fs::read_dir(path).or_else(|_| fs::read_dir(path.parent().unwrap())));
}

/// Everything that changes a file or what leads to it.
fn write(attempts: &mut Attempts, path: &Path) {
    let text = path.display();
    let name = CString::new(path.to_str().unwrap()).unwrap();
    let pointer = name.as_ptr() as usize;
    let at = libc::AT_FDCWD as usize;
    attempts.attempt(&format!("open {text} for writing"), fs::File::options().append(true).open(path));
    attempts.attempt(&format!("truncate {text}"), call(libc::SYS_truncate, [pointer, 0, 0, 0, 0, 0]));
    attempts.attempt(&format!("chmod {text}"), fs::set_permissions(path, fs::Permissions::from_mode(0o777)));
    attempts.attempt(
        &format!("chown {text}"),
        std::os::unix::fs::chown(path, Some(1000), Some(1000)).or_else(|_| {
            // Outside, where the numbers are others.
            // SAFETY: no memory is involved.
            let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
            std::os::unix::fs::chown(path, Some(user), Some(group))
        }),
    );
    attempts.attempt(&format!("set the times of {text}"), call(libc::SYS_utimensat, [at, pointer, 0, 0, 0, 0]));
    let (attribute, value) = (c"user.attack", b"x");
    let arguments = [pointer, attribute.as_ptr() as usize, value.as_ptr() as usize, 1, 0, 0];
    attempts.attempt(&format!("set an attribute of {text}"), call(libc::SYS_setxattr, arguments));
    let link = std::env::current_dir().unwrap().join("attack-link");
    attempts.attempt(&format!("hard link to {text}"), fs::hard_link(path, &link));
    let _ = fs::remove_file(&link);
    attempts.attempt(&format!("rename {text}"), fs::rename(path, path.with_extension("gone")));
    attempts.attempt(&format!("write over {text}"), {
        let own = std::env::current_dir().unwrap().join("attack-own");
        fs::write(&own, "replaced").and_then(|()| fs::rename(&own, path))
    });
    attempts.attempt(&format!("remove {text}"), fs::remove_file(path).or_else(|_| fs::remove_dir_all(path)));
    attempts.attempt(&format!("make a file beside {text}"), fs::File::create_new(path.with_extension("new")));
}

/// Linux 2.0's packet sockets.
const SOCK_PACKET: i32 = 10;

fn sockets(attempts: &mut Attempts) {
    let raw = libc::SOCK_RAW;
    for (what, family, kind, protocol) in [
        ("raw IPv4", libc::AF_INET, raw, libc::IPPROTO_ICMP),
        ("raw IPv4, closed on exec", libc::AF_INET, raw | libc::SOCK_CLOEXEC, libc::IPPROTO_RAW),
        ("raw IPv6", libc::AF_INET6, raw, libc::IPPROTO_ICMPV6),
        ("packet", libc::AF_PACKET, raw, 0x300),
        ("old packet", libc::AF_INET, SOCK_PACKET, 0x300),
        ("vsock", libc::AF_VSOCK, libc::SOCK_STREAM, 0),
        ("kernel crypto", libc::AF_ALG, libc::SOCK_SEQPACKET, 0),
        ("bluetooth", libc::AF_BLUETOOTH, raw, 1),
        ("can", libc::AF_CAN, raw, 1),
        ("netlink audit", libc::AF_NETLINK, raw, libc::NETLINK_AUDIT),
        ("netlink netfilter", libc::AF_NETLINK, raw, libc::NETLINK_NETFILTER),
        ("netlink uevents", libc::AF_NETLINK, raw, libc::NETLINK_KOBJECT_UEVENT),
    ] {
        attempts.attempt_wants(what, libc::EPERM, call(libc::SYS_socket, [family as usize, kind as usize, protocol as usize, 0, 0, 0]));
    }
    attempts.attempt_wants("tipc pair", libc::EPERM, call(libc::SYS_socketpair, [30, 1, 0, 0, 0, 0]));
}

fn namespaces(attempts: &mut Attempts) {
    for (what, flag) in [
        ("user", libc::CLONE_NEWUSER),
        ("mount", libc::CLONE_NEWNS),
        ("pid", libc::CLONE_NEWPID),
        ("net", libc::CLONE_NEWNET),
        ("ipc", libc::CLONE_NEWIPC),
        ("uts", libc::CLONE_NEWUTS),
        ("cgroup", libc::CLONE_NEWCGROUP),
    ] {
        attempts.attempt_wants(&format!("unshare {what}"), libc::EPERM, call(libc::SYS_unshare, [flag as usize, 0, 0, 0, 0, 0]));
        let flags = (flag | libc::SIGCHLD) as usize;
        let child = call(libc::SYS_clone, [flags, 0, 0, 0, 0, 0]);
        if child.as_ref().is_ok_and(|pid| *pid == 0) {
            std::process::exit(0);
        }
        attempts.attempt_wants(&format!("clone {what}"), libc::EPERM, child);
    }
    // The flags lie in memory: user namespace, SIGCHLD.
    let arguments: [u64; 8] = [libc::CLONE_NEWUSER as u64, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0];
    let child = call(libc::SYS_clone3, [arguments.as_ptr() as usize, size_of_val(&arguments), 0, 0, 0, 0]);
    if child.as_ref().is_ok_and(|pid| *pid == 0) {
        std::process::exit(0);
    }
    attempts.attempt_wants("clone3", libc::ENOSYS, child);
    for name in ["user", "mnt", "pid", "net"] {
        // A name may also be refused before there is anything to enter.
        if let Ok(namespace) = fs::File::open(format!("/proc/1/ns/{name}")).or_else(|_| fs::File::open(format!("/proc/self/ns/{name}"))) {
            let answer = call(libc::SYS_setns, [namespace.as_raw_fd() as usize, 0, 0, 0, 0, 0]);
            attempts.attempt_wants(&format!("setns {name}"), libc::EPERM, answer);
        }
    }
}

fn mounts(attempts: &mut Attempts) {
    let text = |text: &'static std::ffi::CStr| text.as_ptr() as usize;
    let (tmpfs, work, proc_sys, slash) = (text(c"tmpfs"), text(c"/workspace"), text(c"/proc/sys"), text(c"/"));
    let remount = (libc::MS_REMOUNT | libc::MS_BIND) as usize;
    let clone = libc::OPEN_TREE_CLONE as usize;
    let attributes = libc::mount_attr { attr_set: 0, attr_clr: libc::MOUNT_ATTR_RDONLY, propagation: 0, userns_fd: 0 };
    let attributes = [libc::AT_FDCWD as usize, text(c"/usr"), 0, &raw const attributes as usize, size_of_val(&attributes), 0];
    for (what, number, arguments) in [
        ("mount tmpfs", libc::SYS_mount, [tmpfs, work, tmpfs, 0, 0, 0]),
        ("mount /usr writable", libc::SYS_mount, [0, text(c"/usr"), 0, remount, 0, 0]),
        ("bind", libc::SYS_mount, [slash, work, 0, libc::MS_BIND as usize, 0, 0]),
        ("uncover /proc/sys", libc::SYS_umount2, [proc_sys, libc::MNT_DETACH as usize, 0, 0, 0, 0]),
        ("uncover /workspace", libc::SYS_umount2, [work, libc::MNT_DETACH as usize, 0, 0, 0, 0]),
        ("pivot_root", libc::SYS_pivot_root, [work, work, 0, 0, 0, 0]),
        ("chroot", libc::SYS_chroot, [work, 0, 0, 0, 0, 0]),
        ("fsopen", libc::SYS_fsopen, [tmpfs, 0, 0, 0, 0, 0]),
        ("fspick", libc::SYS_fspick, [libc::AT_FDCWD as usize, slash, 0, 0, 0, 0]),
        ("open_tree", libc::SYS_open_tree, [libc::AT_FDCWD as usize, slash, clone, 0, 0, 0]),
        ("mount_setattr", libc::SYS_mount_setattr, attributes),
        ("open_tree_attr", 467, [libc::AT_FDCWD as usize, slash, clone, 0, 0, 0]),
    ] {
        attempts.attempt_wants(what, libc::EPERM, call(number, arguments));
    }
}

/// Those that are named, or all.
fn calls(attempts: &mut Attempts, named: &[&str]) {
    let mut handle = [0u32; 40];
    handle[0] = 128;
    let mut number = 0i32;
    let uring = [0u8; 120];
    let handle_arguments =
        [libc::AT_FDCWD as usize, c"/workspace".as_ptr() as usize, handle.as_mut_ptr() as usize, &raw mut number as usize, 0, 0];
    for (what, number, arguments) in [
        ("io_uring_setup", libc::SYS_io_uring_setup, [4, uring.as_ptr() as usize, 0, 0, 0, 0]),
        ("io_uring_enter", libc::SYS_io_uring_enter, [0; 6]),
        ("io_uring_register", libc::SYS_io_uring_register, [0; 6]),
        // KEYCTL_GET_KEYRING_ID of the session keyring, made if missing
        ("keyctl", libc::SYS_keyctl, [0, -3isize as usize, 1, 0, 0, 0]),
        (
            "add_key",
            libc::SYS_add_key,
            [c"user".as_ptr() as usize, c"attack".as_ptr() as usize, c"x".as_ptr() as usize, 1, -3isize as usize, 0],
        ),
        ("request_key", libc::SYS_request_key, [c"user".as_ptr() as usize, c"attack".as_ptr() as usize, 0, 0, 0, 0]),
        ("bpf", libc::SYS_bpf, [0, 0, 0, 0, 0, 0]),
        ("perf_event_open", libc::SYS_perf_event_open, [0; 6]),
        ("userfaultfd", libc::SYS_userfaultfd, [1, 0, 0, 0, 0, 0]),
        ("name_to_handle_at", libc::SYS_name_to_handle_at, handle_arguments),
        ("open_by_handle_at", libc::SYS_open_by_handle_at, [0; 6]),
        ("fanotify_init", libc::SYS_fanotify_init, [0; 6]),
        ("kexec_load", libc::SYS_kexec_load, [0; 6]),
        ("kexec_file_load", libc::SYS_kexec_file_load, [0; 6]),
        ("init_module", libc::SYS_init_module, [0; 6]),
        ("finit_module", libc::SYS_finit_module, [0; 6]),
        ("delete_module", libc::SYS_delete_module, [0; 6]),
        ("swapon", libc::SYS_swapon, [0; 6]),
        ("reboot", libc::SYS_reboot, [0; 6]),
        ("acct", libc::SYS_acct, [0; 6]),
        ("quotactl", libc::SYS_quotactl, [0; 6]),
        ("syslog", libc::SYS_syslog, [2, 0, 0, 0, 0, 0]),
        ("settimeofday", libc::SYS_settimeofday, [0; 6]),
        ("kcmp", libc::SYS_kcmp, [1, 1, 0, 0, 0, 0]),
        ("ptrace itself", libc::SYS_ptrace, [libc::PTRACE_TRACEME as usize, 0, 0, 0, 0, 0]),
        // ADDR_NO_RANDOMIZE
        ("personality", libc::SYS_personality, [0x40000, 0, 0, 0, 0, 0]),
        ("TIOCSTI", libc::SYS_ioctl, [0, 0x5412, c"x".as_ptr() as usize, 0, 0, 0]),
        ("TIOCSTI with more bits", libc::SYS_ioctl, [0, 0x1_0000_5412, c"x".as_ptr() as usize, 0, 0, 0]),
        ("TIOCLINUX", libc::SYS_ioctl, [0, 0x541c, c"x".as_ptr() as usize, 0, 0, 0]),
    ] {
        if named.is_empty() || named.contains(&what) {
            attempts.attempt_wants(what, libc::EPERM, call(number, arguments));
        }
    }
    // What programs may ask.
    assert!(call(libc::SYS_personality, [0xffff_ffff, 0, 0, 0, 0, 0]).is_ok());
    assert!(call(libc::SYS_personality, [0, 0, 0, 0, 0, 0]).is_ok());
}

/// Process 1, which is a copy of the runner, and a process of the host.
fn processes(attempts: &mut Attempts, host: i32) {
    for path in ["mem", "environ", "exe", "maps", "root/etc/passwd", "cwd/etc/passwd", "auxv", "syscall"] {
        attempts.attempt(&format!("/proc/1/{path}"), fs::read(format!("/proc/1/{path}")));
    }
    attempts.attempt("/proc/1/exe, where it is", fs::read_link("/proc/1/exe"));
    // Their numbers may be seen, where they lead may not.
    for number in 0..20 {
        attempts.attempt(&format!("/proc/1/fd/{number}"), fs::read_link(format!("/proc/1/fd/{number}")));
    }
    attempts.attempt("/proc of the host", fs::read(format!("/proc/{host}/cmdline")));
    // SAFETY: signal 0 asks only.
    attempts.attempt("signal a process of the host", check(unsafe { libc::kill(host, 0) }.into()));
    let others = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok());
    let others: Vec<u32> = others.filter(|number| *number != 1 && *number != std::process::id()).collect();
    attempts.attempt("see other processes", if others.is_empty() { Err(io::Error::other("none")) } else { Ok(()) });
}

/// The memory of a process of the same user.
fn memory(attempts: &mut Attempts, process: usize) {
    attempts.attempt("ptrace attach", call(libc::SYS_ptrace, [libc::PTRACE_ATTACH as usize, process, 0, 0, 0, 0]));
    attempts.attempt("ptrace seize", call(libc::SYS_ptrace, [libc::PTRACE_SEIZE as usize, process, 0, 0, 0, 0]));
    let mut buffer = [0u8; 8];
    let own = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: 8 };
    // An address that no process has; what counts is who says so. Unconfined it is EFAULT.
    let theirs = libc::iovec { iov_base: ptr::null_mut(), iov_len: 8 };
    let arguments = [process, &raw const own as usize, 1, &raw const theirs as usize, 1, 0];
    for (what, number) in [("process_vm_readv", libc::SYS_process_vm_readv), ("process_vm_writev", libc::SYS_process_vm_writev)] {
        attempts.attempt_wants(what, libc::EPERM, call(number, arguments));
    }
    if let Ok(handle) = call(libc::SYS_pidfd_open, [process, 0, 0, 0, 0, 0]) {
        attempts.attempt("pidfd_getfd", call(libc::SYS_pidfd_getfd, [handle as usize, 0, 0, 0, 0, 0]));
    }
}

fn devices(attempts: &mut Attempts) {
    for (what, kind, device) in [("disk", libc::S_IFBLK, libc::makedev(254, 0)), ("memory", libc::S_IFCHR, libc::makedev(1, 1))] {
        let mode = (kind | 0o666) as usize;
        let at = [libc::AT_FDCWD as usize, c"attack-device".as_ptr() as usize, mode, device as usize, 0, 0];
        attempts.attempt(&format!("make a device, {what}"), call(libc::SYS_mknodat, at));
        let _ = fs::remove_file("attack-device");
    }
    for path in [
        "/dev/mem",
        "/dev/kmsg",
        "/dev/tty",
        "/dev/ptmx",
        "/dev/fuse",
        "/dev/kvm",
        "/dev/net/tun",
        "/dev/vda",
        "/dev/sda",
        "/dev/loop-control",
    ] {
        attempts.attempt(path, fs::File::open(path));
    }
    for path in [
        "/proc/sysrq-trigger",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/vm/drop_caches",
        "/proc/sys/kernel/hostname",
        "/proc/sys/net/ipv4/ip_forward",
    ] {
        attempts.attempt(&format!("write {path}"), fs::File::options().write(true).custom_flags(libc::O_CLOEXEC).open(path));
    }
    for path in [
        "/proc/kcore",
        "/proc/keys",
        "/proc/timer_list",
        "/proc/kallsyms",
        "/proc/kmsg",
        "/proc/slabinfo",
        "/proc/config.gz",
        "/proc/cmdline",
    ] {
        let content = fs::read(path).map_err(|error| io::Error::other(error.to_string()));
        attempts.attempt(
            &format!("read {path}"),
            content.and_then(|bytes| if bytes.is_empty() { Err(io::Error::other("empty")) } else { Ok(()) }),
        );
    }
}

/// Through the table of 32-bit programs, which no filter for 64-bit numbers fits.
fn i386(attempts: &mut Attempts) {
    #[cfg(target_arch = "x86_64")]
    {
        let answer: i32;
        // SAFETY: 20 is getpid there; it takes nothing and touches nothing but the answer's register.
        unsafe { std::arch::asm!("int 0x80", inlateout("eax") 20 => answer, out("r8") _, out("r9") _, out("r10") _, out("r11") _) };
        attempts.attempt("getpid by int 0x80", Ok(answer));
    }
    #[cfg(not(target_arch = "x86_64"))]
    attempts.attempt("int 0x80", Err::<(), _>(io::Error::other("not on this machine")));
}

/// Forks until it cannot, and says how often it could. The children live until then.
fn forks(most: usize) {
    let (mut reader, writer) = io::pipe().unwrap();
    let mut count = 0;
    while count < most {
        // SAFETY: this process has one thread; the child only waits for the pipe to close.
        match unsafe { libc::fork() } {
            0 => {
                drop(writer);
                let _ = io::Read::read(&mut reader, &mut [0]);
                std::process::exit(0);
            }
            -1 => break,
            _ => count += 1,
        }
    }
    println!("forks: {count}");
}

/// The classic: a new session, two forks, all signals ignored, and on it lives.
fn daemon(marker: &str) {
    // SAFETY: this process has one thread, and every child goes on by itself.
    unsafe {
        if libc::fork() != 0 {
            // The grandchild has said that it is there.
            std::thread::sleep(Duration::from_millis(100));
            return;
        }
        libc::setsid();
        if libc::fork() != 0 {
            libc::_exit(0);
        }
        for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT] {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
    let mut sleep = Command::new("sleep");
    let error = sleep.arg(marker).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).exec();
    panic!("{error}");
}

/// No attack: gives back what it is sent, for ever.
fn serve(address: &str) {
    for stream in TcpListener::bind(address).unwrap().incoming() {
        let mut stream = stream.unwrap();
        let _ = stream.try_clone().and_then(|mut reader| io::copy(&mut reader, &mut stream));
    }
}
