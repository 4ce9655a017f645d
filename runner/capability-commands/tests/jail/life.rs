//! What works inside: starting, waiting, stopping, files, the loopback network, limits, and errors that say what is wrong.

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use capability_commands::jail::{Bind, BindKind, ExitStatus, Jail, JailError, SpawnError, SpawnSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    Case,
    world::{SELF, World, command, marker, processes_with, run, run_spec, start, until},
};

pub const CASES: &[Case] = &[
    ("exit codes and signals", exit_codes_and_signals),
    ("standard input and output", streams),
    ("files written inside are the caller's, at once", files),
    ("binds of every kind", binds),
    ("binds that cannot be", bad_binds),
    ("programs are found on the path inside", programs),
    ("errors of starting are typed", spawn_errors),
    ("terminate reaches everything, kill too", terminate_and_kill),
    ("waiting may be given up and begun again", waiting),
    ("dropping a process kills it", dropping),
    ("many at once", many),
    ("ending a jail", ending),
    ("a server inside is reached from inside and from the host", servers),
    ("names of background processes", names),
    ("ceilings", ceilings),
    ("a thread that ends does not take the jail along", threads),
    ("a runtime that ends takes its jails along", runtimes),
    ("kill -9 of the runner leaves nothing", runner_killed),
];

fn exit_codes_and_signals() {
    let world = World::new();
    world.with(world.spec(), async |jail| {
        for code in [0, 1, 127, 255] {
            let output = run(jail, "sh", &["-c", &format!("exit {code}")]).await;
            assert_eq!(output.status, ExitStatus::Code(code));
        }
        assert_eq!(run(jail, "sh", &["-c", "kill -SEGV $$"]).await.status, ExitStatus::Signal(libc::SIGSEGV));
        // Dispositions are those of a fresh login, whatever the runner ignores.
        assert_eq!(run(jail, "sh", &["-c", "kill -PIPE $$"]).await.status, ExitStatus::Signal(libc::SIGPIPE));
        let output = run(jail, "grep", &["-E", "Sig(Blk|Ign)", "/proc/self/status"]).await.ok();
        assert_eq!(output.matches("0000000000000000").count(), 2, "{output}");
    });
}

fn streams() {
    let world = World::new();
    world.with(world.spec(), async |jail| {
        let (stdin, mut input) = std::io::pipe().unwrap();
        let mut spec = command("cat", &[]);
        spec.stdin = stdin.into();
        let (process, output) = start(jail, spec).await.unwrap();
        let long = "0123456789".repeat(100_000);
        let copy = long.clone();
        std::thread::spawn(move || input.write_all(copy.as_bytes()).unwrap());
        assert_eq!(output.await.0, long);
        assert!(process.wait().await.success());

        // A stream that the program closes is closed, although the program goes on.
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut spec = command("sh", &["-c", "echo first; exec >&- 2>&-; sleep 30"]);
        spec.stdout = writer.into();
        let process = jail.spawn(spec).await.unwrap();
        let (mut text, began) = (String::new(), Instant::now());
        reader.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), process.try_wait()), ("first\n", None));
        assert!(began.elapsed() < Duration::from_secs(20), "it was held open until the program ended");

        // Reopening a stream by its name works as on any machine.
        let output =
            run(jail, "sh", &["-c", "echo out > /dev/stdout; echo err > /dev/stderr; echo x > /dev/null; head -c3 /dev/zero | wc -c"])
                .await;
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n3\n", "err\n"));
    });
}

fn files() {
    let world = World::new();
    let work = world.workspace();
    world.with(world.spec(), async |jail| {
        let (process, _output) = start(jail, command("sh", &["-c", "echo early > early; sleep 30"])).await.unwrap();
        until("it is there while the program runs", || fs::read_to_string(work.join("early")).is_ok_and(|text| text == "early\n"));
        drop(process);
        fs::write(work.join("from-host"), "late").unwrap();
        assert_eq!(run(jail, "cat", &["from-host"]).await.ok(), "late");
        run(jail, "sh", &["-c", "mkdir d && echo x > d/f && ln -s f d/l && ln d/f d/h && mv d/h d/m && touch ~/a /tmp/b /dev/shm/c"])
            .await
            .ok();
        // In memory, and seen by the next command.
        assert_eq!(run(jail, "sh", &["-c", "ls ~ /tmp /dev/shm | grep -c '^[abc]$'"]).await.ok(), "3\n");
    });
    let made = fs::metadata(work.join("d/m")).unwrap();
    // SAFETY: these ask only.
    assert_eq!((made.uid(), made.gid()), unsafe { (libc::geteuid(), libc::getegid()) });
    assert_eq!(made.permissions().mode() & 0o777, 0o644);
}

fn binds() {
    let world = World::new();
    let outside = world.outside();
    fs::create_dir_all(outside.join("tree/below")).unwrap();
    fs::write(outside.join("tree/below/file"), "deep").unwrap();
    let mut spec = world.spec();
    spec.binds.extend([
        // A child before its parent, twice the same, a writable part of something read-only, and a name with a space.
        Bind::directory(outside.join("tree/below"), "/a/tree/below").writable(),
        Bind::directory(outside.join("tree"), "/a/tree"),
        Bind::directory(outside.join("tree"), "/a/tree"),
        Bind::directory(outside.join("tree"), "/a name"),
        Bind::file(outside.join("secret"), "/a/file"),
        Bind::symlink("file", "/a/link"),
        Bind::file(outside.join("secret"), "/home/stage/.config/tool/token"),
    ]);
    world.with(spec, async |jail| {
        let script = "cat /a/link '/a name/below/file' ~/.config/tool/token; echo new > /a/tree/below/new; readlink /a/link; echo own > ~/.config/own";
        assert_eq!(run(jail, "sh", &["-c", script]).await.ok(), "secret of the hostdeepsecret of the hostfile\n");
        for script in ["echo > /a/tree/x", "echo > '/a name/below/x'", "echo > ~/.config/tool/token", "echo > /a/x", "mkdir /new"] {
            assert!(!run(jail, "sh", &["-c", script]).await.status.success(), "{script}");
        }
    });
    assert_eq!(fs::read_to_string(outside.join("tree/below/new")).unwrap(), "new\n");
}

fn bad_binds() {
    let world = World::new();
    let secret = world.outside().join("secret");
    let missing = world.outside().join("missing");
    symlink("/etc", world.workspace().join("etc")).unwrap();
    let file_as_directory = Bind { kind: BindKind::Directory, ..Bind::file(&secret, "/x") };
    for (bind, says) in [
        (Bind::file(&missing, "/x"), "No such file"),
        (file_as_directory, "granted as a Directory and is a RegularFile"),
        (Bind::directory(world.outside(), "/x/../y"), "without `..`"),
        (Bind::directory(world.outside(), "/"), "not an absolute path inside"),
        (Bind::directory(world.outside(), "relative"), "not an absolute path inside"),
        // Nothing is ever made in what belongs to the user, and no link of the workspace's is followed.
        (Bind::file(&secret, "/workspace/new"), "no such mount point"),
        (Bind::file(&secret, "/workspace/etc/passwd"), "`/workspace/etc` is a symbolic link"),
        (Bind::symlink("/elsewhere", "/workspace/etc"), "to somewhere else"),
    ] {
        let mut spec = world.spec();
        spec.binds.push(bind.clone());
        let error = world.runtime.block_on(Jail::start(spec)).unwrap_err();
        assert!(matches!(&error, JailError::Setup(_)) && error.to_string().contains(says), "{bind:?}: {error}");
    }
    assert!(!world.workspace().join("new").exists());
}

fn programs() {
    let world = World::new();
    let script = |name: &str, text: &str| {
        fs::write(world.workspace().join(name), text).unwrap();
        fs::set_permissions(world.workspace().join(name), fs::Permissions::from_mode(0o755)).unwrap();
    };
    fs::create_dir(world.workspace().join("bin")).unwrap();
    script("bin/tool", "#!/bin/sh\necho tool \"$0\" \"$@\"\n");
    // A shell passes by what it may not execute.
    fs::create_dir(world.workspace().join("first")).unwrap();
    fs::write(world.workspace().join("first/tool"), "not executable").unwrap();
    let mut spec = world.spec();
    spec.path = ["/workspace/absent", "/workspace/first", "/workspace/bin", "/usr/bin", "/bin"].map(Into::into).to_vec();
    world.with(spec, async |jail| {
        assert_eq!(run(jail, "tool", &["a b", ""]).await.ok(), "tool /workspace/bin/tool a b \n");
        assert_eq!(run(jail, "./bin/tool", &[]).await.ok(), "tool ./bin/tool\n");
        let mut spec = command("./tool", &[]);
        spec.dir = "/workspace/bin".into();
        assert_eq!(run_spec(jail, spec).await.unwrap().ok(), "tool ./tool\n");
        // The command's own PATH counts.
        let mut spec = command("tool", &[]);
        spec.env.push(("PATH".into(), "/usr/bin:/bin".into()));
        assert!(matches!(run_spec(jail, spec).await, Err(JailError::Spawn(SpawnError::NotFound { .. }))));
    });
}

fn spawn_errors() {
    let world = World::new();
    let work = world.workspace();
    let write = |name: &str, text: &str, mode: u32| {
        fs::write(work.join(name), text).unwrap();
        fs::set_permissions(work.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    write("plain", "#!/bin/sh\n", 0o644);
    write("orphan", "#!/no/such/interpreter\n", 0o755);
    write("noise", "\u{1}\u{2}\u{3}", 0o755);
    let mut spec = world.spec();
    spec.path = vec!["/usr/bin".into(), "/bin".into()];
    world.with(spec, async |jail| {
        let refused = async |spec: SpawnSpec| match run_spec(jail, spec).await {
            Err(JailError::Spawn(error)) => error,
            other => panic!("{other:?}"),
        };
        let at = |program: &str| command(program, &[]);
        let looked = vec!["/usr/bin/no-such".into(), "/bin/no-such".into()];
        assert_eq!(refused(at("no-such")).await, SpawnError::NotFound { program: "no-such".into(), looked });
        assert!(matches!(refused(at("./no-such")).await, SpawnError::NotFound { .. }));
        assert!(matches!(refused(at("./plain")).await, SpawnError::NotExecutable { reason, .. } if reason.contains("executable")));
        assert!(matches!(refused(at("/workspace")).await, SpawnError::NotExecutable { reason, .. } if reason.contains("directory")));
        assert!(matches!(refused(at("./noise")).await, SpawnError::NotExecutable { reason, .. } if reason.contains("#!/bin/sh")));
        assert!(matches!(refused(at("./orphan")).await, SpawnError::Interpreter { .. }));
        let mut elsewhere = at("true");
        elsewhere.dir = "/workspace/absent".into();
        assert!(matches!(refused(elsewhere).await, SpawnError::Directory { reason, .. } if reason.contains("No such file")));
        assert!(matches!(refused(at("")).await, SpawnError::Invalid(_)));
        assert!(matches!(refused(command("true", &["a\0b"])).await, SpawnError::Invalid(reason) if reason.contains("NUL")));
        let mut variable = at("true");
        variable.env.push(("A=B".into(), String::new()));
        assert!(matches!(refused(variable).await, SpawnError::Invalid(_)));
        let mut named = at("true");
        named.name = Some("Not a label".into());
        assert!(matches!(refused(named).await, SpawnError::Invalid(reason) if reason.contains("host name")));
        let huge = "x".repeat(200_000);
        assert!(matches!(refused(command("true", &[&huge])).await, SpawnError::System { errno: libc::E2BIG, .. }));
        // And after all of that it still works.
        assert!(run(jail, "true", &[]).await.status.success());
    });
}

fn terminate_and_kill() {
    let world = World::new();
    let marker = marker(2);
    world.with(world.spec(), async |jail| {
        // The grandchild is in a session of its own and still hears it.
        let script =
            format!("trap 'echo got it; exit 3' TERM; setsid sh -c 'trap \"echo me too; exit\" TERM; sleep {marker} & wait' & wait; wait");
        let (process, output) = start(jail, command("sh", &["-c", &script])).await.unwrap();
        until("it sleeps", || processes_with(&marker).len() == 1);
        process.terminate();
        assert_eq!(process.wait().await, ExitStatus::Code(3));
        assert!(output.await.0.contains("got it"));
        assert_eq!(processes_with(&marker), [0u32; 0]);

        let (process, _output) =
            start(jail, command("sh", &["-c", &format!("trap '' TERM; sleep {marker} & while :; do wait; done")])).await.unwrap();
        until("it sleeps", || processes_with(&marker).len() == 1);
        process.terminate();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(process.try_wait(), None);
        process.kill();
        assert_eq!(process.wait().await, ExitStatus::Signal(libc::SIGKILL));
        assert_eq!(processes_with(&marker), [0u32; 0]);
    });
}

fn waiting() {
    let world = World::new();
    world.with(world.spec(), async |jail| {
        let (process, _output) = start(jail, command("sh", &["-c", "sleep 0.3; exit 7"])).await.unwrap();
        for _ in 0..5 {
            assert!(tokio::time::timeout(Duration::from_millis(10), process.wait()).await.is_err());
        }
        let (one, other) = tokio::join!(process.wait(), process.wait());
        assert_eq!((one, other, process.wait().await, process.try_wait()), (ExitStatus::Code(7), one, one, Some(one)));
        // A start that is given up leaves nothing behind.
        for _ in 0..20 {
            let _ = tokio::time::timeout(Duration::from_micros(200), jail.spawn(command("sleep", &["30"]))).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    });
}

fn dropping() {
    let world = World::new();
    let marker = marker(3);
    world.with(world.spec(), async |jail| {
        let (process, _output) = start(jail, command("sh", &["-c", &format!("sleep {marker} & sleep {marker}")])).await.unwrap();
        until("both sleep", || processes_with(&marker).len() == 2);
        drop(process);
        until("both are gone", || processes_with(&marker).is_empty());
    });
    let jail = world.runtime.block_on(Jail::start(world.spec())).unwrap();
    let process = world.runtime.block_on(jail.spawn(command("sleep", &[&marker]))).unwrap();
    until("it sleeps", || processes_with(&marker).len() == 1);
    drop(jail);
    until("it is gone", || processes_with(&marker).is_empty());
    assert_eq!(world.runtime.block_on(process.wait()), ExitStatus::Signal(libc::SIGKILL));
}

fn many() {
    let world = World::new();
    world.with(world.spec(), async |jail| {
        let jobs = (0..40).map(|number| async move {
            let output = run(jail, "sh", &["-c", &format!("echo {number}; exit {number}")]).await;
            assert_eq!((output.status, output.stdout), (ExitStatus::Code(number), format!("{number}\n")));
        });
        let mut jobs: Vec<_> = jobs.map(Box::pin).collect();
        std::future::poll_fn(|context| {
            jobs.retain_mut(|job| job.as_mut().poll(context).is_pending());
            if jobs.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    });
}

fn ending() {
    let world = World::new();
    let marker = marker(4);
    let jail = world.runtime.block_on(Jail::start(world.spec())).unwrap();
    let spawn = |script: String| world.runtime.block_on(jail.spawn(command("sh", &["-c", &script]))).unwrap();
    let polite = spawn(format!("trap 'echo asked > asked; exit 0' TERM; touch ready; sleep {marker} & wait; wait"));
    let stubborn = spawn(format!("trap '' TERM; sleep {marker} & while :; do wait; done"));
    until("both sleep", || processes_with(&marker).len() == 2 && world.workspace().join("ready").exists());
    let began = Instant::now();
    world.runtime.block_on(jail.end(Duration::from_millis(500)));
    assert_eq!(processes_with(&marker), [0u32; 0], "nothing is left once it returns");
    assert!((Duration::from_millis(500)..Duration::from_secs(5)).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert_eq!(fs::read_to_string(world.workspace().join("asked")).unwrap(), "asked\n");
    assert_eq!(world.runtime.block_on(polite.wait()), ExitStatus::Code(0));
    assert_eq!(world.runtime.block_on(stubborn.wait()), ExitStatus::Signal(libc::SIGKILL));

    // Nothing can be done with it any more.
    let again = world.runtime.block_on(jail.spawn(command("true", &[])));
    assert!(matches!(again, Err(JailError::Gone(None))), "{again:?}");
    assert!(matches!(world.runtime.block_on(jail.connect(80)), Err(JailError::Gone(_))));

    let jail = world.runtime.block_on(Jail::start(world.spec())).unwrap();
    let process = world.runtime.block_on(jail.spawn(command("sleep", &[&marker]))).unwrap();
    jail.kill();
    world.runtime.block_on(jail.gone());
    assert_eq!((processes_with(&marker).len(), process.try_wait()), (0, Some(ExitStatus::Signal(libc::SIGKILL))));

    // With nobody to wait for it takes no grace.
    let jail = world.runtime.block_on(Jail::start(world.spec())).unwrap();
    let began = Instant::now();
    world.runtime.block_on(jail.end(Duration::from_secs(30)));
    assert!(began.elapsed() < Duration::from_secs(5));
    // No zombies of ours.
    let children = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    assert_eq!(children, "");
}

fn servers() {
    let world = World::new();
    world.with(world.spec(), async |jail| {
        let refused = jail.connect(8080).await.unwrap_err();
        assert!(
            matches!(&refused, JailError::Connect { port: 8080, source } if source.kind() == std::io::ErrorKind::ConnectionRefused),
            "{refused}"
        );
        for address in ["127.0.0.1:8080", "[::1]:8081", "0.0.0.0:80"] {
            let (server, _output) = start(jail, command(SELF, &["__attack", "serve", address])).await.unwrap();
            let port = address.rsplit(':').next().unwrap().parse().unwrap();
            let began = Instant::now();
            let mut stream = loop {
                match jail.connect(port).await {
                    Ok(stream) => break stream,
                    Err(error) => assert!(began.elapsed() < Duration::from_secs(10), "{address}: {error}"),
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            };
            stream.write_all(b"hello").await.unwrap();
            stream.shutdown().await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer, "hello", "{address}");
            // Another command of the stage reaches it too; the host's own network does not have it.
            if !address.contains(':') || !address.starts_with('[') {
                assert_eq!(run(jail, SELF, &["__attack", "tcp", &format!("127.0.0.1:{port}")]).await.status, ExitStatus::Code(1));
            }
            drop(server);
        }
        let (_server, _output) = start(jail, command(SELF, &["__attack", "serve", "127.0.0.1:47813"])).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(std::net::TcpStream::connect("127.0.0.1:47813").is_err());
    });
}

fn names() {
    let world = World::new();
    world.with(world.spec(), async |jail| {
        let mut spec = command("sleep", &["30"]);
        spec.name = Some("app".into());
        let (_app, _output) = start(jail, spec).await.unwrap();
        let mut spec =
            command("sh", &["-c", "getent hosts app.stage; getent hosts db.stage; getent hosts localhost >/dev/null && echo local"]);
        spec.name = Some("db".into());
        let output = run_spec(jail, spec).await.unwrap();
        let lines: Vec<Vec<&str>> = output.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines, [vec!["127.0.0.1", "app.stage"], vec!["127.0.0.1", "db.stage"], vec!["local"]], "{output:?}");
        assert!(!run(jail, "sh", &["-c", "echo 1.2.3.4 evil >> /etc/hosts"]).await.status.success());
    });
}

fn ceilings() {
    let world = World::new();
    let mut spec = world.spec();
    spec.tmp_bytes = 1 << 20;
    spec.home_bytes = 2 << 20;
    spec.limits.processes = 400;
    spec.limits.open_files = Some(64);
    spec.limits.file_size = Some(4 << 20);
    world.with(spec, async |jail| {
        for (file, megabytes) in [("/tmp/x", 1), ("/home/stage/x", 2), ("/dev/shm/x", 1)] {
            let output = run(jail, "sh", &["-c", &format!("head -c 3M /dev/zero > {file}; wc -c < {file}; rm {file}")]).await;
            assert!(output.stderr.contains("No space left"), "{output:?}");
            assert_eq!(output.stdout.trim(), (megabytes << 20).to_string());
        }
        assert_eq!(run(jail, "sh", &["-c", "ulimit -n"]).await.ok(), "64\n");
        assert_eq!(run(jail, "sh", &["-c", "exec head -c 5M /dev/zero > big"]).await.status, ExitStatus::Signal(libc::SIGXFSZ));
        // Where neither the kernel's per-jail number nor an ordinary user's limit holds, there is no ceiling, and the docs say so.
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut numbers = kernel.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
        // SAFETY: this asks only.
        if (numbers.next(), numbers.next()) >= (Some(6), Some(14)) || unsafe { libc::geteuid() } != 0 {
            let forks = run(jail, SELF, &["__attack", "forks", "2000"]).await.ok();
            let count: u32 = forks.trim().trim_start_matches("forks: ").parse().unwrap();
            assert!((50..400).contains(&count), "{count}");
        }
        assert!(run(jail, "true", &[]).await.status.success());
    });
}

/// A runtime that goes away takes its jails along, and leaves nobody waiting.
fn runtimes() {
    let world = World::new();
    let marker = marker(6);
    let other = World::new();
    let (jail, process) = other.runtime.block_on(async {
        let jail = Jail::start(world.spec()).await.unwrap();
        let process = jail.spawn(command("sleep", &[&marker])).await.unwrap();
        (jail, process)
    });
    until("it sleeps", || processes_with(&marker).len() == 1);
    drop(other);
    world.runtime.block_on(jail.gone());
    assert_eq!((processes_with(&marker).len(), process.try_wait()), (0, Some(ExitStatus::Signal(libc::SIGKILL))));
}

fn threads() {
    let world = World::new();
    let handle = world.runtime.handle().clone();
    let spec = world.spec();
    // The first jail of the process, made by a thread that then ends, as threads of a runtime do.
    let jail = std::thread::spawn(move || handle.block_on(Jail::start(spec)).unwrap()).join().unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert!(world.runtime.block_on(run(&jail, "true", &[])).status.success());
}

/// The life of a runner that is going to be killed: two jails, with programs that do not want to end.
pub fn run_until_killed(marker: &str) -> ! {
    let world = World::new();
    let script = format!(
        "trap '' TERM HUP INT; setsid sh -c 'trap \"\" TERM HUP; sleep {marker}; :' & {SELF} __attack daemon {marker}; sleep {marker}; :"
    );
    let jails: Vec<_> = (0..2)
        .map(|_| {
            let jail = world.runtime.block_on(Jail::start(world.spec())).unwrap();
            let process = world.runtime.block_on(jail.spawn(command("sh", &["-c", &script]))).unwrap();
            (jail, process)
        })
        .collect();
    // The folder is removed by the test: this process will not come to it.
    println!("{}", world.workspace().parent().unwrap().display());
    loop {
        std::thread::sleep(Duration::from_secs(60));
        assert_eq!(jails.len(), 2);
    }
}

fn runner_killed() {
    let marker = marker(5);
    let mut runner = Command::new(std::env::current_exe().unwrap()).args(["__runner", &marker]).stdout(Stdio::piped()).spawn().unwrap();
    let mut folder = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(runner.stdout.take().unwrap()), &mut folder).unwrap();
    // Three sleeps each, and the shells that mention the number.
    until("all sleep", || sleeping(&marker) == 6);
    let wardens = children_of(runner.id());
    assert_eq!(wardens.len(), 2, "a warden a jail, and nothing between it and the runner");
    runner.kill().unwrap();
    runner.wait().unwrap();
    until("nothing is left of the programs", || processes_with(&marker).is_empty());
    until("nothing is left of the wardens", || wardens.iter().all(|number| !is_alive(*number)));
    fs::remove_dir_all(folder.trim()).unwrap();
}

fn sleeping(marker: &str) -> usize {
    let named = |number: &u32| fs::read_to_string(format!("/proc/{number}/comm")).is_ok_and(|name| name.trim() == "sleep");
    processes_with(marker).iter().filter(|number| named(number)).count()
}

fn children_of(parent: u32) -> Vec<u32> {
    let numbers = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok());
    let parent_of = |number: u32| -> Option<u32> {
        let status = fs::read_to_string(format!("/proc/{number}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
    };
    numbers.filter(|number| parent_of(*number) == Some(parent)).collect()
}

/// A zombie that nobody has reaped yet is dead.
fn is_alive(number: u32) -> bool {
    fs::read_to_string(format!("/proc/{number}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}
