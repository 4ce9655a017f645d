//! Ways out, each really tried. Where an attack can succeed at all, it is first seen to succeed outside of a jail.

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::{FileTypeExt, OpenOptionsExt, PermissionsExt, symlink},
            net::{SocketAddr as UnixAddr, UnixListener},
        },
    },
    path::Path,
    process::Command,
    time::Duration,
};

use capability_commands::jail::{Bind, ExitStatus, Jail, JailError, JailSpec};

use crate::{
    Case,
    world::{Output, SELF, World, command, marker, processes_with, run, run_spec, start, until},
};

pub const CASES: &[Case] = &[
    ("paths outside", paths_outside),
    ("links planted by the host and by the program", planted_links),
    ("what is bound read-only", bound_read_only),
    ("a fifo is a name, a device is refused", fifos_and_devices),
    ("processes of the host, and process 1", processes),
    ("memory of another process", memory),
    ("unix sockets by path", unix_sockets_by_path),
    ("unix sockets by abstract name", unix_sockets_by_name),
    ("shared memory by key", shared_memory),
    ("tcp out", tcp_out),
    ("udp and names out", udp_and_names_out),
    ("sockets of odd families", odd_sockets),
    ("new namespaces", new_namespaces),
    ("mounts", mounts),
    ("other system calls", other_calls),
    ("another architecture's system calls", other_architectures),
    ("environment and descriptors", environment_and_descriptors),
    ("a directory handed in by mistake", descriptor_of_a_directory),
    ("privileges", privileges),
    ("set-user-id programs", set_user_id),
    ("protected paths", protected_paths),
    ("protected paths below folders that are renamed", protected_paths_below_folders),
    ("hidden paths", hidden_paths),
    ("a protected symbolic link is refused", protected_links),
    ("a daemon outlives neither command nor stage", daemons),
    ("commands do not see each other", commands_apart),
    ("two jails share nothing", jails_apart),
];

/// An attack by this binary, in a jail of the world's.
fn attack(world: &World, spec: JailSpec, arguments: &[&str]) -> Output {
    let arguments = [&["__attack"], arguments].concat();
    world.with(spec, async |jail| run(jail, SELF, &arguments).await)
}

#[track_caller]
fn stopped(output: Output) -> String {
    assert_eq!(output.status, ExitStatus::Code(0), "\n{}{}", output.stdout, output.stderr);
    assert!(output.stdout.contains("stopped"), "it tried nothing: {output:?}");
    output.stdout
}

/// The same attack by the same binary without a jail: how many of its attempts succeed.
fn unconfined(world: &World, arguments: &[&str]) -> usize {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.arg("__attack").args(arguments).current_dir(world.workspace()).output().unwrap();
    String::from_utf8(output.stdout).unwrap().matches("REACHED").count()
}

fn paths_outside() {
    let world = World::new();
    let secret = world.outside().join("secret");
    let absolute = secret.to_str().unwrap();
    let dots = format!("/workspace/../../../../../..{absolute}");
    let relative = format!("../../../../../..{absolute}");
    let by_root = format!("/proc/self/root{absolute}");
    let by_init = format!("/proc/1/root{absolute}");
    let by_cwd = format!("/proc/self/cwd/../../../../..{absolute}");
    let by_thread = format!("/proc/thread-self/root/../..{absolute}");
    let paths = [absolute, &dots, &relative, &by_root, &by_init, &by_cwd, &by_thread];
    for kind in ["read", "write"] {
        let output = stopped(attack(&world, world.spec(), &[&[kind], &paths[..]].concat()));
        assert!(output.lines().count() >= 2 * paths.len());
    }
    let machine =
        ["/etc/shadow", "/home/dev/.ssh/id_rsa", "/home", "/var/run/docker.sock", "/run/systemd/private", "/sys/kernel", "/boot/vmlinuz"];
    for path in machine {
        let answer = world.run("test", &["-e", path]);
        assert_eq!(answer.status, ExitStatus::Code(if path == "/home" { 0 } else { 1 }), "{path}");
    }
    assert_eq!(world.sh("ls /home").ok(), "stage\n");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "secret of the host");

    assert_eq!(unconfined(&world, &["read", absolute]), 2);
    // All of them, or all but the attribute, which some file systems do not have.
    assert!(unconfined(&world, &["write", absolute]) >= 10);
}

fn planted_links() {
    let world = World::new();
    let secret = world.outside().join("secret");
    symlink(&secret, world.workspace().join("absolute")).unwrap();
    symlink(world.outside(), world.workspace().join("folder")).unwrap();
    symlink("../outside/secret", world.workspace().join("relative")).unwrap();
    let links = ["/workspace/absolute", "/workspace/folder/secret", "/workspace/relative"];
    world.with(world.spec(), async |jail| {
        for link in links {
            let output = run(jail, "cat", &[link]).await;
            assert_eq!(output.status, ExitStatus::Code(1), "{output:?}");
            let output = run(jail, "sh", &["-c", "echo planted > $0; chmod 777 $0; touch $0", link]).await;
            assert!(!output.status.success(), "{output:?}");
        }
        // The program plants its own, and hard links.
        let secret = secret.to_str().unwrap();
        let output = run(jail, "sh", &["-c", "ln -s $0 mine && cat mine", secret]).await;
        assert!(output.stderr.contains("No such file"), "{output:?}");
        let output = run(jail, "ln", &[secret, "hard"]).await;
        assert!(output.stderr.contains("No such file"), "{output:?}");
        // Between what is bound read-only and what is writable there is a border too.
        let output = run(jail, "ln", &["/etc/passwd", "hard"]).await;
        assert!(!output.status.success(), "{output:?}");
        let output = run(jail, "ln", &[SELF, "hard"]).await;
        assert!(!output.status.success(), "{output:?}");
    });
    assert_eq!(fs::read_to_string(&secret).unwrap(), "secret of the host");
    assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o644);
}

fn bound_read_only() {
    let world = World::new();
    fs::write(world.outside().join("file"), "granted for reading").unwrap();
    let mut spec = world.spec();
    spec.binds.push(Bind::directory(world.outside(), "/granted"));
    spec.binds.push(Bind::file(world.outside().join("file"), "/single"));
    stopped(attack(
        &world,
        spec.clone(),
        &["write", "/granted/secret", "/single", "/granted", SELF, "/usr/bin/env", "/etc/passwd", "/etc/hosts"],
    ));
    world.with(spec, async |jail| {
        assert_eq!(run(jail, "cat", &["/granted/file", "/single"]).await.ok(), "granted for readinggranted for reading");
    });
    assert_eq!(fs::read_to_string(world.outside().join("secret")).unwrap(), "secret of the host");
}

fn fifos_and_devices() {
    let world = World::new();
    stopped(attack(&world, world.spec(), &["devices"]));
    world.sh("mkfifo /workspace/fifo").ok();
    let fifo = world.workspace().join("fifo");
    assert!(fs::metadata(&fifo).unwrap().file_type().is_fifo());
    // Nobody inside is left at the other end to feed, or to hang on.
    let error = fs::File::options().write(true).custom_flags(libc::O_NONBLOCK).open(&fifo).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENXIO));
}

fn processes() {
    let world = World::new();
    let own = std::process::id().to_string();
    stopped(attack(&world, world.spec(), &["processes", &own]));
    assert!(unconfined(&world, &["processes", &own]) >= 3);
}

fn memory() {
    let world = World::new();
    // Its own parent inside, which is of the same user; and a child that it made is no easier prey.
    stopped(attack(&world, world.spec(), &["memory", "1"]));
    let output = world.sh(&format!("sleep 30 & {SELF} __attack memory $!"));
    assert!(output.status.success(), "{output:?}");

    let mut victim = Command::new("sleep").arg("30").spawn().unwrap();
    let reached = unconfined(&world, &["memory", &victim.id().to_string()]);
    victim.kill().unwrap();
    victim.wait().unwrap();
    // Yama, where it is on, keeps processes of an ordinary user apart by itself.
    let yama = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").is_ok_and(|scope| scope.trim() != "0");
    assert!(yama || reached >= 2, "{reached}");
}

fn unix_sockets_by_path() {
    let world = World::new();
    let path = world.outside().join("docker.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    let path = path.to_str().unwrap();
    let dots = format!("/workspace/../..{path}");
    let by_root = format!("/proc/self/root{path}");
    stopped(attack(&world, world.spec(), &["unix", path, &dots, &by_root, "/var/run/docker.sock", "/run/docker.sock"]));
    assert_eq!(unconfined(&world, &["unix", path]), 1);
}

fn unix_sockets_by_name() {
    let world = World::new();
    let name = format!("jail-test-{}", std::process::id());
    let _listener = UnixListener::bind_addr(&UnixAddr::from_abstract_name(&name).unwrap()).unwrap();
    stopped(attack(&world, world.spec(), &["abstract", &name]));
    assert_eq!(unconfined(&world, &["abstract", &name]), 1);
}

fn shared_memory() {
    let world = World::new();
    let key = 0x4a00_0000 | std::process::id() as i32;
    // SAFETY: makes a segment that nobody attaches.
    let segment = unsafe { libc::shmget(key, 4096, libc::IPC_CREAT | 0o600) };
    assert!(segment >= 0);
    let reached = unconfined(&world, &["sysv", &key.to_string()]);
    let output = attack(&world, world.spec(), &["sysv", &key.to_string()]);
    // SAFETY: removes it again.
    unsafe { libc::shmctl(segment, libc::IPC_RMID, std::ptr::null_mut()) };
    assert_eq!(reached, 1);
    stopped(output);
}

fn tcp_out() {
    let world = World::new();
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let loopback = format!("127.0.0.1:{port}");
    let mut addresses = vec![loopback.clone(), "169.254.169.254:80".to_owned(), "10.0.0.1:80".to_owned(), "1.1.1.1:443".to_owned()];
    // The machine's own address on the network, found by asking which one it would send from.
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    if socket.connect("192.0.2.1:9").is_ok() {
        addresses.push(format!("{}:{port}", socket.local_addr().unwrap().ip()));
    }
    let arguments: Vec<&str> = ["tcp"].into_iter().chain(addresses.iter().map(String::as_str)).collect();
    stopped(attack(&world, world.spec(), &arguments));
    assert_eq!(unconfined(&world, &["tcp", &loopback]), 1);
}

fn udp_and_names_out() {
    let world = World::new();
    let receiver = UdpSocket::bind("0.0.0.0:0").unwrap();
    receiver.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let address = format!("127.0.0.1:{}", receiver.local_addr().unwrap().port());
    let output = attack(&world, world.spec(), &["udp", &address, "1.1.1.1:53", "8.8.8.8:53", "169.254.169.254:53"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout.matches("NetworkUnreachable").count(), 3, "{output:?}");
    assert!(receiver.recv(&mut [0; 8]).is_err(), "a datagram came out");
    unconfined(&world, &["udp", &address]);
    assert_eq!(receiver.recv(&mut [0; 8]).unwrap(), 3);

    stopped(attack(&world, world.spec(), &["names", "example.com", "metadata.google.internal"]));
    let interfaces = world.sh("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '").ok();
    let extra = ["tunl0", "sit0", "ip6tnl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "ip6gre0"];
    assert!(interfaces.lines().all(|name| name == "lo" || extra.contains(&name)), "{interfaces}");
    let routes = world.sh("tail -n +2 /proc/net/route").ok();
    assert_eq!(routes, "");
}

fn odd_sockets() {
    let world = World::new();
    stopped(attack(&world, world.spec(), &["sockets"]));
}

fn new_namespaces() {
    let world = World::new();
    stopped(attack(&world, world.spec(), &["namespaces"]));
    let output = world.sh("unshare -Ur true");
    assert!(!output.status.success(), "{output:?}");
    assert!(unconfined(&world, &["namespaces"]) >= 1);
}

fn mounts() {
    let world = World::new();
    stopped(attack(&world, world.spec(), &["mounts"]));
}

fn other_calls() {
    let world = World::new();
    stopped(attack(&world, world.spec(), &["calls"]));
    // The harmless ones among them; the others would need more than a test should have.
    assert!(unconfined(&world, &["calls", "ptrace itself", "personality", "kcmp"]) >= 2);
}

fn other_architectures() {
    let world = World::new();
    if cfg!(target_arch = "x86_64") {
        stopped(attack(&world, world.spec(), &["x32"]));
        let output = attack(&world, world.spec(), &["i386"]);
        // SIGSYS from the filter; SIGSEGV from a kernel without 32-bit programs.
        assert!(matches!(output.status, ExitStatus::Signal(libc::SIGSYS | libc::SIGSEGV)), "{output:?}");
    }
}

fn environment_and_descriptors() {
    let world = World::new();
    // As a shell's `3<file` would: a descriptor that is not closed on exec.
    let inherited = fs::File::open(world.outside().join("secret")).unwrap();
    // SAFETY: the number is this file's, and stays open until the end of the test.
    assert_eq!(unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&inherited), libc::F_SETFD, 0) }, 0);
    assert!(std::env::vars().count() > 4, "there is something to inherit");

    let mut spec = world.spec();
    spec.env = vec![("FROM_JAIL".into(), "1".into()), ("CHANGED".into(), "jail".into())];
    world.with(spec, async |jail| {
        let mut env = command("env", &[]);
        env.env = vec![("CHANGED".into(), "command".into()), ("OWN".into(), "a b=c".into())];
        let mut lines: Vec<String> = run_spec(jail, env).await.unwrap().ok().lines().map(str::to_owned).collect();
        lines.retain(|line| !line.starts_with("PATH="));
        lines.sort();
        assert_eq!(lines, ["CHANGED=command", "FROM_JAIL=1", "HOME=/home/stage", "LANG=C.UTF-8", "OWN=a b=c", "TMPDIR=/tmp"]);

        // 3 is the folder that is being listed.
        let open = run(jail, "ls", &["/proc/self/fd"]).await.ok();
        assert_eq!(open.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
        let output = run(jail, "sh", &["-c", "cat /proc/1/environ; tr '\\0' '\\n' < /proc/self/environ"]).await;
        assert!(!output.stdout.contains("CARGO") && output.stderr.contains("denied"), "{output:?}");
        assert_eq!(run(jail, "sh", &["-c", "umask; ulimit -c"]).await.ok(), "0022\n0\n");
    });
}

/// No caller does this. If one ever did, the mounts would not help, and the second layer would.
fn descriptor_of_a_directory() {
    let world = World::new();
    let landlock = capability_commands::jail::probe().unwrap().landlock_abi;
    world.with(world.spec(), async |jail| {
        let mut spec = command(SELF, &["__attack", "openat-stdin", "secret"]);
        spec.stdin = fs::File::open(world.outside()).unwrap().into();
        let output = run_spec(jail, spec).await.unwrap();
        match landlock {
            Some(_) => drop(stopped(output)),
            None => println!("no Landlock here: {output:?}"),
        }
    });
}

fn privileges() {
    let world = World::new();
    let status = world.sh("cat /proc/self/status").ok();
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default().trim().to_owned();
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&field(set), 16), Ok(0), "{set}");
    }
    assert_eq!((field("NoNewPrivs"), field("Seccomp")), ("1".to_owned(), "2".to_owned()));
    assert_eq!(world.sh("id -u; id -g; cat /proc/sys/kernel/hostname").ok(), "1000\n1000\nstage\n");
    // One user and one group, and no way to become another.
    let map = world.sh("cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups").ok();
    // SAFETY: these ask only.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    let words: Vec<&str> = map.split_whitespace().collect();
    assert_eq!(words, ["1000", &user.to_string(), "1", "1000", &group.to_string(), "1", "deny"]);
    assert!(!world.sh("touch /tmp/x && chown 0 /tmp/x").status.success());
}

fn set_user_id() {
    let world = World::new();
    let program = world.workspace().join("id");
    fs::copy("/usr/bin/id", &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o6755)).unwrap();
    assert_eq!(world.run("./id", &["-u"]).ok(), "1000\n");
    let flags = world.sh("grep ' /workspace ' /proc/self/mountinfo").ok();
    assert!(flags.contains("nosuid,nodev"), "{flags}");
}

fn guarded(world: &World) -> JailSpec {
    let work = world.workspace();
    fs::create_dir_all(work.join(".git/hooks")).unwrap();
    fs::create_dir_all(work.join(".runner/runs")).unwrap();
    fs::create_dir_all(work.join("deploy/inner")).unwrap();
    fs::write(work.join(".git/config"), "config").unwrap();
    fs::write(work.join(".runner/runs/journal"), "journal").unwrap();
    fs::write(work.join("pipeline.toml"), "format = 1").unwrap();
    fs::write(work.join("deploy/inner/plugin.wasm"), "wasm").unwrap();
    let mut spec = world.spec();
    spec.hidden = vec!["/workspace/.runner".into(), "/workspace/absent".into()];
    spec.read_only = ["/workspace/.git", "/workspace/pipeline.toml", "/workspace/deploy/inner/plugin.wasm", "/workspace/absent/too"]
        .map(Into::into)
        .to_vec();
    spec
}

fn protected_paths() {
    let world = World::new();
    let spec = guarded(&world);
    let output = attack(&world, spec.clone(), &["write", "/workspace/pipeline.toml"]);
    // A new file beside it is allowed, and the only thing.
    assert_eq!(output.stdout.matches("REACHED").count(), 1, "{}", output.stdout);
    assert!(output.stdout.contains("make a file beside /workspace/pipeline.toml: REACHED"), "{}", output.stdout);
    stopped(attack(&world, spec.clone(), &["write", "/workspace/.git/config", "/workspace/.git/hooks/pre-commit"]));
    world.with(spec, async |jail| {
        assert_eq!(run(jail, "cat", &[".git/config", "pipeline.toml"]).await.ok(), "configformat = 1");
        for script in [
            "echo evil > .git/hooks/pre-commit",
            "mv .git .git2",
            "rm -r .git",
            "rmdir .git/hooks",
            "chmod -R 777 .git",
            "ln pipeline.toml copy && echo >> copy",
            "cp pipeline.toml other && mv -f other pipeline.toml",
        ] {
            let output = run(jail, "sh", &["-c", script]).await;
            assert!(!output.status.success(), "{script}: {output:?}");
        }
        run(jail, "sh", &["-c", "echo fine > src.rs && mv src.rs main.rs"]).await.ok();
    });
    let work = world.workspace();
    assert_eq!(fs::read_to_string(work.join("pipeline.toml")).unwrap(), "format = 1");
    assert_eq!(fs::read_to_string(work.join(".git/config")).unwrap(), "config");
    assert_eq!(fs::read_dir(work.join(".git/hooks")).unwrap().count(), 0);
    assert!(work.join("main.rs").exists() && !work.join("absent").exists());
}

fn protected_paths_below_folders() {
    let world = World::new();
    let spec = guarded(&world);
    world.with(spec, async |jail| {
        for script in ["mv deploy old", "mv deploy/inner old", "rm -r deploy", "mv deploy/inner/plugin.wasm x"] {
            let output = run(jail, "sh", &["-c", script]).await;
            assert!(!output.status.success(), "{script}: {output:?}");
        }
        // The folders are still folders of the workspace.
        run(jail, "sh", &["-c", "echo 1 > deploy/new && echo 2 > deploy/inner/new && mv deploy/new deploy/newer"]).await.ok();
    });
    let deploy = world.workspace().join("deploy");
    assert_eq!(fs::read_to_string(deploy.join("inner/plugin.wasm")).unwrap(), "wasm");
    assert_eq!(fs::read_to_string(deploy.join("newer")).unwrap(), "1\n");
    assert_eq!(fs::read_to_string(deploy.join("inner/new")).unwrap(), "2\n");
}

fn hidden_paths() {
    let world = World::new();
    let mut spec = guarded(&world);
    fs::write(world.workspace().join("token"), "hush").unwrap();
    spec.hidden.push("/workspace/token".into());
    world.with(spec, async |jail| {
        assert_eq!(run(jail, "sh", &["-c", "ls -A .runner; cat token"]).await.ok(), "");
        for script in [
            "cat .runner/runs/journal",
            "echo > .runner/x",
            "mv .runner x",
            "rmdir .runner",
            "echo > token",
            "rm token",
            "mkdir .runner/runs",
        ] {
            let output = run(jail, "sh", &["-c", script]).await;
            assert!(!output.status.success(), "{script}: {output:?}");
        }
        let found = run(jail, "sh", &["-c", "grep -rl -e journal -e hush . ; true"]).await;
        assert_eq!(found.stdout, "", "{found:?}");
    });
    assert_eq!(fs::read_to_string(world.workspace().join(".runner/runs/journal")).unwrap(), "journal");
    assert_eq!(fs::read_to_string(world.workspace().join("token")).unwrap(), "hush");
}

fn protected_links() {
    let world = World::new();
    symlink(world.outside(), world.workspace().join("linked")).unwrap();
    for (path, hide) in [("/workspace/linked", true), ("/workspace/linked", false), ("/workspace/linked/secret", false)] {
        let mut spec = world.spec();
        if hide {
            spec.hidden.push(path.into())
        } else {
            spec.read_only.push(path.into())
        }
        let error = world.runtime.block_on(Jail::start(spec)).unwrap_err();
        let JailError::Setup(error) = error else { panic!("{error}") };
        assert!(error.to_string().contains("`/workspace/linked` is a symbolic link"), "{error}");
    }
}

fn daemons() {
    let world = World::new();
    let marker = marker(1);
    world.with(world.spec(), async |jail| {
        let output = run(jail, SELF, &["__attack", "daemon", &marker]).await;
        assert!(output.status.success(), "{output:?}");
        assert_eq!(processes_with(&marker), [0u32; 0], "it outlived its command");

        // One that is still alive when the stage ends, and does not listen.
        let script = format!("{SELF} __attack daemon {marker}; trap '' TERM; while :; do sleep 1; done");
        let (process, _output) = start(jail, command("sh", &["-c", &script])).await.unwrap();
        until("the daemon runs", || processes_with(&marker).len() == 1);
        std::mem::forget(process);
    });
    assert_eq!(processes_with(&marker), [0u32; 0], "it outlived the stage");

    // Outside it does live on.
    unconfined(&world, &["daemon", &marker]);
    let alive = processes_with(&marker);
    alive.iter().for_each(|number| drop(Command::new("kill").args(["-9", &number.to_string()]).status()));
    assert_eq!(alive.len(), 1);
}

fn commands_apart() {
    let world = World::new();
    world.with(world.spec(), async |jail| {
        let (sleeper, _output) = start(jail, command("sleep", &["30"])).await.unwrap();
        let seen = run(jail, "sh", &["-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]).await.ok();
        assert!(!seen.contains("sleep"), "{seen}");
        // Numbers are its own too: the other's cannot even be named.
        let output = run(jail, "sh", &["-c", "kill -9 -1; kill -9 1 2>/dev/null; true"]).await;
        assert!(sleeper.try_wait().is_none(), "{output:?}");
    });
}

fn jails_apart() {
    let (one, other) = (World::new(), World::new());
    one.with(one.spec(), async |first| {
        let (_server, _output) = start(first, command("sh", &["-c", "echo mine > /tmp/x; echo mine > ~/x; sleep 30"])).await.unwrap();
        let second = Jail::start(other.spec()).await.unwrap();
        let seen = run(&second, "sh", &["-c", "ls -A /tmp ~ /dev/shm /workspace"]).await.ok();
        assert!(!seen.contains('x'), "{seen}");
        second.end(Duration::ZERO).await;
        assert_eq!(run(first, "sh", &["-c", "cat /tmp/x ~/x"]).await.ok(), "mine\nmine\n");
        assert!(Path::new(&one.workspace()).exists());
    });
}
