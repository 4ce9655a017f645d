//! Ways out that a confined process tries, through the `command` plugin and a shell.
//!
//! Every script says of each thing that it tries `CAN name` or `CANNOT name`; what must work is tried too, so that a script that can do
//! nothing at all does not pass.

use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use end_to_end::{Project, Told, confined, processes, skipped};
use tempfile::TempDir;

use crate::RUNNER;

const CAN: &str = r#"
can() { what=$1; shift; if "$@" >/dev/null 2>&1; then echo "CAN $what"; else echo "CANNOT $what"; fi; }
sees() { what=$1; shift; if sh -c "$1" >/dev/null 2>&1; then echo "CAN $what"; else echo "CANNOT $what"; fi; }
"#;

const ALL: &str = "files = [{ path = \".\", access = \"write\" }]";

/// A pipeline of one stage, `try`, that runs the script in a shell.
fn pipeline(stage: &str, files: &str, script: &str) -> String {
    format!(
        "format = 1\nname = \"confined\"\n\n[stage.try]\nuses = \"command\"\ntimeout = \"2m\"\n{stage}\n\n[stage.try.with]\nshell = [\"sh\"]\n\
         script = '''\n{CAN}\n{script}\n'''\n\n[stage.try.grants]\n{files}\n\
         commands = {{ in = \"process\", toolchain = \"system\", programs = [\"sh\"] }}\n"
    )
}

/// What the script could do, and could not.
fn could(told: &Told) -> BTreeMap<String, bool> {
    let log = told.log("try");
    let lines = log.lines().filter_map(|line| {
        let can = line.strip_prefix("CAN ").map(|name| (name.to_owned(), true));
        can.or_else(|| line.strip_prefix("CANNOT ").map(|name| (name.to_owned(), false)))
    });
    lines.collect()
}

/// Runs the script and compares what it could do; everything else it must not have been able to do.
#[track_caller]
fn check(project: &Project, stage: &str, files: &str, script: &str, may: &[&str]) -> Told {
    project.write("pipeline.toml", pipeline(stage, files, script));
    check_written(project, script, may)
}

/// The same for a pipeline that is written already.
#[track_caller]
fn check_written(project: &Project, script: &str, may: &[&str]) -> Told {
    let told = project.exec_json().expect(0).told();
    let could = could(&told);
    let tried = script.lines().filter(|line| line.starts_with("can ") || line.starts_with("sees ")).count();
    assert_eq!(could.len(), tried, "not everything was tried\n{}", told.log("try"));
    let able: Vec<&str> = could.iter().filter(|(_, can)| **can).map(|(name, _)| name.as_str()).collect();
    let mut may: Vec<&str> = may.to_vec();
    may.sort_unstable();
    assert_eq!(able, may, "what the script could do, and what it may\n{}", told.log("try"));
    told
}

/// A project beside a folder that is nobody's business.
fn scene() -> (Project, TempDir) {
    let outside = tempfile::Builder::new().prefix("outside-").tempdir().expect("a temporary folder");
    fs::write(outside.path().join("secret.txt"), "the secret").expect("a file");
    let project = Project::new(RUNNER)
        .file("src/a.txt", "hi")
        .file("docs/readme.md", "read me")
        .file("secret.txt", "not granted")
        .file(".git/config", "[core]")
        .file(".git/hooks/pre-commit", "#!/bin/sh");
    (project, outside)
}

/// A process of this machine that is not the runner's. Ended when dropped.
struct Bystander(Child);

impl Bystander {
    fn start(marker: &str) -> Bystander {
        Bystander(Command::new("sleep").arg(marker).spawn().expect("sleep"))
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn files_outside_are_not_there() {
    if !confined(RUNNER, "files_outside_are_not_there") {
        return;
    }
    let (project, outside) = scene();
    let (out, own) = (outside.path().display(), project.path().display().to_string());
    symlink(outside.path().join("secret.txt"), project.path().join("src/planted")).expect("a symbolic link");
    fs::set_permissions(project.path().join("docs/readme.md"), fs::Permissions::from_mode(0o666)).expect("permissions");
    let files = "files = [{ path = \"src\", access = \"write\" }, { path = \"docs\", access = \"read\" }]";
    let script = format!(
        "can write-granted sh -c 'echo new > src/new.txt'
can write-scratch sh -c 'echo x > /scratch/x'
can write-tmp sh -c 'echo x > /tmp/x && cp /tmp/x {out}-mine'
can write-home sh -c 'echo x > ~/x'
can read-granted cat docs/readme.md
can read-ungranted cat secret.txt
can read-pipeline cat pipeline.toml
can read-git cat .git/config
can read-outside cat {out}/secret.txt
can see-outside ls {out}
can see-project ls {own}
can see-checkout-above ls {own}/..
can follow-planted cat src/planted
can follow-own sh -c 'ln -s {out}/secret.txt src/link && cat src/link'
can climb cat /workspace/../../{out}/secret.txt
can write-outside sh -c 'echo x > {out}/new'
can make-outside mkdir {out}/new
can write-readable sh -c 'echo x >> docs/readme.md'
can chmod-readable chmod 600 docs/readme.md
can touch-readable touch -d 2001-01-01 docs/readme.md
can remove-readable rm -f docs/readme.md
can hard-link-readable ln docs/readme.md src/hard
can write-etc sh -c 'echo x > /etc/new'
can append-passwd sh -c 'echo x >> /etc/passwd'
can chmod-passwd chmod 666 /etc/passwd
can chmod-usr chmod 777 /usr/bin
can chown-usr chown 1000 /usr/bin/env
can touch-usr touch /usr/bin/env
can write-usr sh -c 'echo x > /usr/bin/new'
can write-root sh -c 'echo x > /new'
can write-proc sh -c 'echo x > /proc/sys/kernel/core_pattern'
can see-root ls /root
can see-boot ls /boot
can see-var ls /var/run
can see-sys ls /sys/kernel
can see-shadow cat /etc/shadow
can device-disk sh -c 'ls /dev/sd* /dev/vd* /dev/nvme* /dev/mem /dev/kmsg'
can make-device mknod /tmp/null c 1 3"
    );
    let may = ["read-granted", "write-granted", "write-home", "write-scratch"];
    // whether `/tmp/x` can be written shows in the second half failing: the folder beside it is not there
    check(&project, "", files, &script.replace("&& cp /tmp/x {out}-mine", ""), &[&may[..], &["write-tmp"]].concat());
    assert_eq!(project.read("docs/readme.md"), "read me");
    assert!(!project.path().join("src/new.txt").exists(), "the checkout was written");
    assert!(
        !Path::new("/tmp/x").exists() || fs::read_to_string("/tmp/x").is_ok_and(|text| text != "x\n"),
        "the machine's /tmp was written"
    );
    let left: Vec<_> = fs::read_dir(outside.path()).expect("the folder").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["secret.txt"]);
}

#[test]
fn what_is_protected_stays() {
    if !confined(RUNNER, "what_is_protected_stays") {
        return;
    }
    for stage in ["", "workspace = \"shared\""] {
        let (project, _outside) = scene();
        let script = "can write sh -c 'echo new > src/new.txt'
can read-git cat .git/config
can write-hook sh -c 'echo evil > .git/hooks/pre-commit'
can new-hook sh -c 'echo evil > .git/hooks/post-checkout'
can chmod-hook chmod 777 .git/hooks/pre-commit
can write-config sh -c 'echo evil >> .git/config'
can move-git mv .git moved
can replace-git sh -c 'rm -rf .git && mkdir .git'
can bind-git mount --bind src .git
can unmount-git umount .git
can write-pipeline sh -c 'echo evil >> pipeline.toml'
can move-pipeline mv pipeline.toml old.toml
can replace-pipeline sh -c 'cp src/a.txt p && mv p pipeline.toml'
can see-runs sh -c 'ls .runner/* | grep .'
can write-runs sh -c 'echo evil > .runner/x'
can move-runs mv .runner moved-runs";
        check(&project, stage, ALL, script, &["write", "read-git"]);
        assert_eq!(project.read(".git/hooks/pre-commit"), "#!/bin/sh");
        assert_eq!(project.read(".git/config"), "[core]");
        assert!(!project.path().join(".git/hooks/post-checkout").exists());
        assert!(!project.read("pipeline.toml").contains("evil\n"));
        assert!(project.path().join(".runner/runs").is_dir());
        assert_eq!(project.path().join("src/new.txt").exists(), !stage.is_empty(), "only a shared workspace is written");
    }
}

/// The next `git` in this folder would run the hooks of a repository that a stage made up.
#[test]
fn a_repository_is_not_made_up() {
    if !confined(RUNNER, "a_repository_is_not_made_up") {
        return;
    }
    let (project, _outside) = scene();
    fs::remove_dir_all(project.path().join(".git")).expect("removed");
    let script = "can write sh -c 'echo new > src/new.txt'
can make-hook sh -c 'mkdir -p .git/hooks && echo evil > .git/hooks/post-checkout'
can make-file sh -c 'echo gitdir: src > .git'
can move-there sh -c 'mkdir -p other/hooks && mv -T other .git'
can link-there sh -c 'ln -sT src .git'";
    check(&project, "workspace = \"shared\"", ALL, script, &["write"]);
    assert!(!project.path().join(".git").exists(), "a repository was left behind");
}

/// What a command leaves in the workspace for the component of the same stage.
#[test]
fn what_a_command_plants_leads_the_component_nowhere() {
    if !confined(RUNNER, "what_a_command_plants_leads_the_component_nowhere") {
        return;
    }
    let project = Project::hostile(RUNNER).file("src/a.txt", "hi").file("secret.txt", "not granted");
    let plant = "ln -s /etc/passwd src/absolute; ln -s ../.. src/up; ln -s ../secret.txt src/beside; mkfifo src/fifo; ln -s /etc/passwd /scratch/link";
    let plant = format!("{{ do = \"command\", run = [\"sh\", \"-c\", \"{plant}\"] }}");
    let file = |op: &str, path: &str| format!("{{ do = \"files\", op = \"{op}\", path = \"{path}\" }}");
    let grants = "files = [{ path = \"src\", access = \"write\" }]\ncommands = { in = \"process\", programs = [\"sh\"] }";
    project.cases(
        "timeout = \"30s\"",
        grants,
        &[
            (&plant, "ok exit code 0", ""),
            (&file("read", "src/absolute"), "refused", "outside-workspace"),
            (&file("list", "src/up"), "refused", "outside-workspace"),
            (&file("read", "src/beside"), "refused", "not-granted"),
            (&file("open", "src/fifo"), "refused", "special-file"),
            ("{ do = \"files\", op = \"read\", from = \"/scratch\", path = \"link\" }", "refused", "outside-workspace"),
            ("{ do = \"command\", run = [\"sh\", \"-c\", \"rm -rf src; ln -s /etc src\"] }", "ok", ""),
            (&file("read", "src/passwd"), "", "*"),
        ],
    );
}

#[test]
fn only_what_is_granted_is_started() {
    let project = Project::hostile(RUNNER).script("src/tool.sh", "#!/bin/sh\necho started\n");
    let run = |argv: &str, more: &str| format!("{{ do = \"command\", run = [{argv}]{more} }}");
    let grants = "files = [{ path = \"src\", access = \"read\" }]\ncommands = { in = \"process\", programs = [\"true\"] }";
    project.cases(
        "",
        grants,
        &[
            (&run("\"sh\", \"-c\", \"true\"", ""), "refused not-granted", "not-granted"),
            (&run("\"/bin/true\"", ""), "refused program-path", "program-path"),
            (&run("\"./src/tool.sh\"", ""), "refused program-path", "program-path"),
            (&run("\"../tool.sh\"", ""), "refused program-path", "program-path"),
            (&run("\"true\"", ", env = [[\"LD_PRELOAD\", \"/workspace/src/x.so\"]]"), "refused protected-variable", "protected-variable"),
            (&run("\"true\", \"1\"", ", env = [[\"PATH\", \"/workspace/src\"]]"), "refused protected-variable", "protected-variable"),
            (&run("\"true\", \"2\"", ", dir = \"/etc\""), "refused outside-workspace", "outside-workspace"),
            (&run("\"true\", \"3\"", ", dir = \"../..\""), "refused outside-workspace", "outside-workspace"),
        ],
    );
    project.cases("", "", &[(&run("\"true\"", ""), "refused not-granted", "not-granted")]);
}

#[test]
fn unix_sockets_outside_are_not_reached() {
    if !confined(RUNNER, "unix_sockets_outside_are_not_reached") {
        return;
    }
    let (project, outside) = scene();
    // as docker.sock, as an ssh-agent in /tmp, and one without a path
    let docker = outside.path().join("docker.sock");
    let agent = tempfile::Builder::new().prefix("ssh-").tempdir_in("/tmp").expect("a folder in /tmp");
    let agent_socket = agent.path().join("agent.1");
    let name = format!("end-to-end-{}", std::process::id());
    let hidden = SocketAddr::from_abstract_name(&name).expect("a name");
    let listeners = [
        UnixListener::bind(&docker).expect("a socket"),
        UnixListener::bind(&agent_socket).expect("a socket"),
        UnixListener::bind_addr(&hidden).expect("a socket"),
    ];
    UnixStream::connect(&docker).expect("it can be reached from here");
    UnixStream::connect_addr(&hidden).expect("it can be reached from here");
    for listener in &listeners {
        listener.set_nonblocking(true).expect("a flag");
        while listener.accept().is_ok() {}
    }
    let project = project.env("SSH_AUTH_SOCK", &agent_socket.display().to_string());
    // perl reads its programs from files: a shell's quotes would stand inside another's
    project.write("src/connect.pl", "use Socket; my $p = $ARGV[0]; $p =~ s/^@/\\0/; socket(my $s, PF_UNIX, SOCK_STREAM, 0) or exit 2;\n\
        if ($ARGV[1]) { bind($s, sockaddr_un($p)) && listen($s, 1) or exit 3; socket($s2, PF_UNIX, SOCK_STREAM, 0); connect($s2, sockaddr_un($p)) or exit 1; exit 0 }\n\
        connect($s, sockaddr_un($p)) or exit 1;\n");
    let script = format!(
        "can have-perl perl src/connect.pl /tmp/own.sock listen
can docker perl src/connect.pl {}
can agent perl src/connect.pl {}
can abstract perl src/connect.pl @{name}
can know-agent test -n \"$SSH_AUTH_SOCK\"
can real-docker perl src/connect.pl /var/run/docker.sock
can real-docker-too perl src/connect.pl /run/docker.sock
can dbus perl src/connect.pl /run/dbus/system_bus_socket",
        docker.display(),
        agent_socket.display()
    );
    check(&project, "", ALL, &script, &["have-perl"]);
    for listener in &listeners {
        assert!(listener.accept().is_err(), "somebody connected to {:?}", listener.local_addr());
    }
}

#[test]
fn no_network_is_reached() {
    if !confined(RUNNER, "no_network_is_reached") {
        return;
    }
    let (project, _outside) = scene();
    let tcp = TcpListener::bind("0.0.0.0:0").expect("a port");
    let udp = UdpSocket::bind("0.0.0.0:0").expect("a port");
    let port = tcp.local_addr().expect("an address").port();
    let udp_port = udp.local_addr().expect("an address").port();
    tcp.set_nonblocking(true).expect("a flag");
    udp.set_nonblocking(true).expect("a flag");
    // no packet is sent by this: it asks which address this machine would use
    let own = UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr()));
    let own = own.map_or("127.0.0.1".to_owned(), |address| address.ip().to_string());
    project.write("src/tcp.pl", "use Socket; $SIG{ALRM} = sub { exit 4 }; alarm 5; socket(my $s, PF_INET, SOCK_STREAM, 0) or exit 2;\n\
        if ($ARGV[2]) { bind($s, sockaddr_in(8099, INADDR_LOOPBACK)) && listen($s, 1) or exit 3; socket($s, PF_INET, SOCK_STREAM, 0) or exit 2 if 0;\n\
        socket(my $t, PF_INET, SOCK_STREAM, 0) or exit 2; connect($t, sockaddr_in(8099, INADDR_LOOPBACK)) or exit 1; exit 0 }\n\
        connect($s, sockaddr_in($ARGV[1], inet_aton($ARGV[0]))) or exit 1;\n");
    project.write("src/udp.pl", "use Socket; socket(my $s, PF_INET, SOCK_DGRAM, 0) or exit 2; send($s, 'x', 0, sockaddr_in($ARGV[1], inet_aton($ARGV[0]))) or exit 1;\n");
    project.write("src/raw.pl", "use Socket; socket(my $s, $ARGV[0], $ARGV[1], $ARGV[2]) or exit 1;\n");
    let script = format!(
        "can own-loopback perl src/tcp.pl 0 0 listen
can tcp-loopback perl src/tcp.pl 127.0.0.1 {port}
can tcp-machine perl src/tcp.pl {own} {port}
can tcp-metadata perl src/tcp.pl 169.254.169.254 80
can tcp-internet perl src/tcp.pl 1.1.1.1 53
can udp-machine perl src/udp.pl {own} {udp_port}
can udp-internet perl src/udp.pl 1.1.1.1 53
can resolve getent hosts example.com
can raw perl src/raw.pl 2 3 1
can packet perl src/raw.pl 17 3 768
can netlink-audit perl src/raw.pl 16 3 9
can vsock perl src/raw.pl 40 1 0
can alg perl src/raw.pl 38 5 0
can route sh -c 'tail -n +2 /proc/net/route | grep .'
can add-address ip address add 10.9.9.9/24 dev lo"
    );
    check(&project, "", ALL, &script, &["own-loopback"]);
    // a granted host opens the proxy, and no other way
    let host = "programs = [\"sh\"], network = [\"registry.example:443\"] }";
    project.write("pipeline.toml", pipeline("", ALL, &script).replace("programs = [\"sh\"] }", host));
    let told = check_written(&project, &script, &["own-loopback"]);
    assert_eq!(told.all("connection").count(), 0, "what goes past the proxy is no connection");
    assert!(tcp.accept().is_err(), "somebody connected");
    assert!(udp.recv_from(&mut [0; 16]).is_err(), "a packet arrived");
}

#[test]
fn nothing_of_the_runner_is_inherited() {
    if !confined(RUNNER, "nothing_of_the_runner_is_inherited") {
        return;
    }
    let (_, outside) = scene();
    let marker = processes::marker();
    let _bystander = Bystander::start(&marker);
    // a descriptor that is not closed on exec, as a shell or a CI agent may leave it behind
    let wrapper = outside.path().join("runner");
    let text = format!("#!/bin/sh\nexec 9<>{}/secret.txt\nexec {RUNNER} \"$@\"\n", outside.path().display());
    fs::write(&wrapper, text).expect("a file");
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).expect("permissions");
    let project = Project::new(wrapper.to_str().expect("a path")).file("src/a.txt", "hi").env("SECRET_X", "ambient-secret");
    let script = format!(
        "can given test \"$GIVEN\" = value
can variable test -n \"$SECRET_X\"
sees variable-of-others 'cat /proc/*/environ | tr \"\\\\0\" \"\\\\n\" | grep SECRET_X='
sees descriptor 'cat <&9'
sees descriptor-by-name 'cat /proc/self/fd/9 || cat /proc/1/fd/9'
sees more-descriptors 'ls /proc/self/fd | grep -vx \"[0-3]\"'
sees descriptors-of-pid-1 'cat /proc/1/fd/*'
sees bystander 'for p in /proc/[0-9]*; do test \"$(tr \"\\\\0\" \" \" < $p/cmdline)\" = \"sleep {marker} \" && exit 0; done; exit 1'
can signal-runner kill -0 {}
can signal-bystander kill -0 {}",
        std::process::id(),
        _bystander.0.id(),
    );
    let told = check(&project, "env = { GIVEN = \"value\" }", ALL, &script, &["given"]);
    assert!(!told.printed().contains("ambient-secret") && !told.log("try").contains("the secret"));
}

#[test]
fn privileges_are_not_gained() {
    if !confined(RUNNER, "privileges_are_not_gained") {
        return;
    }
    let (project, _outside) = scene();
    let (ptrace, keyctl, bpf) = if cfg!(target_arch = "aarch64") { (117, 219, 280) } else { (101, 250, 321) };
    let perl = |name: &str, call: String| project.write(&format!("src/{name}.pl"), format!("exit(syscall({call}) == -1 ? 1 : 0);\n"));
    // PTRACE_SEIZE of the shell that started it; KEYCTL_GET_KEYRING_ID of the session; BPF_MAP_CREATE
    perl("ptrace", format!("{ptrace}, 0x4206, getppid(), 0, 0"));
    perl("keyctl", format!("{keyctl}, 0, -3, 1, 0, 0"));
    perl("bpf", format!("{bpf}, 0, \"\\0\" x 120, 120"));
    let script = "can have-perl perl -e 1
can ptrace perl src/ptrace.pl
can keyctl perl src/keyctl.pl
can bpf perl src/bpf.pl
can unshare-user unshare --user true
can unshare-mount unshare --mount true
can unshare-net unshare --net true
can unshare-pid unshare --pid --fork true
can enter-pid-1 nsenter --target 1 --mount true
can mount-tmpfs mount -t tmpfs none /tmp
can mount-bind mount --bind /usr /workspace/src
can remount mount -o remount,rw /usr
can mount-proc mount -t proc proc /tmp
can unmount umount /proc
can pivot pivot_root /workspace /workspace/src
can chroot chroot /usr true
can hostname hostname evil
can become-root setpriv --reuid 0 true
can capabilities sh -c 'grep CapEff /proc/self/status | grep -v 0000000000000000'
can ambient sh -c 'grep CapBnd /proc/self/status | grep -v 0000000000000000'
can new-privileges sh -c 'grep \"NoNewPrivs:.*0\" /proc/self/status'
can no-filter sh -c 'grep \"^Seccomp:.*0\" /proc/self/status'
can dump-core sh -c 'test \"$(ulimit -c)\" != 0'";
    check(&project, "", ALL, script, &["have-perl"]);
}

#[test]
fn another_stage_is_not_seen() {
    if !confined(RUNNER, "another_stage_is_not_seen") {
        return;
    }
    let (project, _outside) = scene();
    let name = format!("mark-{}", std::process::id());
    let stage = |stage: &str, script: &str| {
        let text = pipeline("", ALL, script).replace("[stage.try", &format!("[stage.{stage}"));
        text.split_once("\n\n").map(|(_, rest)| rest.to_owned()).expect("a head")
    };
    let writer = stage("writer", &format!("echo mine > {name}; echo mine > /tmp/{name}; echo mine > /scratch/{name}; sleep 3"));
    let find = format!("sleep 1; can find sh -c 'find / -name {name} 2>/dev/null | grep .'; can see ls -d {name}; can write touch {name}");
    let reader = stage("try", &find);
    let later = stage("later", "true").replace("timeout = \"2m\"", "timeout = \"2m\"\nneeds = [\"writer\"]");
    let later = later.replace("true\n'''", &format!("can find sh -c 'find / -name {name} 2>/dev/null | grep .'\n'''"));
    project.write("pipeline.toml", format!("format = 1\nname = \"apart\"\n\n{writer}\n{reader}\n{later}"));
    let told = project.run(&["exec", "--format", "json", "--jobs", "2"]).expect(0).told();
    let wanted = BTreeMap::from([("find".to_owned(), false), ("see".to_owned(), false), ("write".to_owned(), true)]);
    assert_eq!(could(&told), wanted, "{}", told.printed());
    assert!(told.log("later").contains("CANNOT find"), "{}", told.printed());
    assert!(!project.path().join(&name).exists());
}

/// Everything that a stage starts ends with it, however it was started.
#[test]
fn daemons_end_with_their_stage() {
    if !confined(RUNNER, "daemons_end_with_their_stage") {
        return;
    }
    let (project, _outside) = scene();
    let marker = processes::marker();
    let script = format!(
        "setsid sh -c 'exec sleep {marker}' >/dev/null 2>&1 </dev/null &
(setsid sh -c 'sleep {marker} & sleep 0.1' >/dev/null 2>&1 </dev/null &)
nohup sleep {marker} >/dev/null 2>&1 &
trap '' TERM HUP INT
(trap '' TERM HUP INT; sleep {marker} >/dev/null 2>&1) &
while ! test -e /scratch/go; do sleep 0.05; test $((i=i+1)) -gt 40 && touch /scratch/go; done
echo done"
    );
    project.write("pipeline.toml", pipeline("", ALL, &script));
    let running = project.start(&["exec", "--format", "json"]);
    processes::wait_for(&marker, 4);
    let told = running.finish().expect(0).told();
    assert!(told.log("try").lines().any(|line| line == "done"));
    assert_eq!(processes::with(&marker), Vec::<u32>::new(), "processes outlived their stage");
}

#[test]
fn a_killed_runner_leaves_no_process() {
    if !confined(RUNNER, "a_killed_runner_leaves_no_process") {
        return;
    }
    let (project, _outside) = scene();
    let marker = processes::marker();
    project.write("pipeline.toml", pipeline("", ALL, &format!("setsid sleep {marker} & sleep {marker} & wait")));
    let running = project.start(&["exec", "--format", "json"]);
    processes::wait_for(&marker, 2);
    running.signal("KILL");
    assert_eq!(running.finish().code, 128 + 9);
    processes::wait_for(&marker, 0);
    // its folder is kept, because the run can be gone on with, and is gone once it has come to its end
    project.run(&["resume", "--in-doubt", "fail"]).expect(1);
    let work = fs::read_dir(project.path().join(".runner/runs")).expect("runs").flatten().map(|run| run.path().join("work"));
    let left: Vec<_> = work.filter(|work| work.exists() && fs::read_dir(work).is_ok_and(|mut entries| entries.next().is_some())).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_stage_out_of_time_leaves_no_process() {
    if !confined(RUNNER, "a_stage_out_of_time_leaves_no_process") {
        return;
    }
    let (project, _outside) = scene();
    let marker = processes::marker();
    let script = format!("trap '' TERM INT HUP; sleep {marker} & setsid sleep {marker} & while true; do sleep {marker}; done");
    project.write("pipeline.toml", pipeline("", ALL, &script).replace("timeout = \"2m\"", "timeout = \"2s\""));
    let running = project.start(&["exec", "--format", "json"]);
    processes::wait_for(&marker, 3);
    let told = running.finish().expect(1).told();
    assert_eq!(told.ended("try").kind, "timed-out");
    assert_eq!(processes::with(&marker), Vec::<u32>::new());
    let took = Duration::from_nanos(told.nanos("try"));
    assert!(took < Duration::from_secs(20), "two seconds and the grace, and it took {took:?}");
}

/// A stage that kills everything it can kills itself.
#[test]
fn killing_everything_reaches_nobody_else() {
    if !confined(RUNNER, "killing_everything_reaches_nobody_else") {
        return;
    }
    let (project, _outside) = scene();
    let marker = processes::marker();
    let mut bystander = Bystander::start(&marker);
    project.write("pipeline.toml", pipeline("", ALL, "kill -9 1; kill -9 -1; sleep 1; echo survived"));
    let told = project.exec_json().told();
    assert!(["passed", "failed"].contains(&told.ended("try").outcome.as_str()), "{}", told.printed());
    assert_ne!(told.verdict(), "", "the run came to its end");
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(bystander.0.try_wait().expect("it can be asked"), None, "the bystander was killed");
}

/// Where neither the kernel's own number per jail (Linux 6.14) nor an ordinary user's limit holds, there is no ceiling, and the docs say so.
fn processes_can_be_limited() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(14)) || !rustix::process::geteuid().is_root()
}

#[test]
fn processes_are_limited() {
    if !confined(RUNNER, "processes_are_limited") {
        return;
    }
    if !processes_can_be_limited() {
        return skipped("the kernel limits the processes of nobody but an ordinary user before Linux 6.14");
    }
    let (project, _outside) = scene();
    let marker = processes::marker();
    let script = format!("i=0; while [ $i -lt 500 ]; do sleep {marker} & i=$((i+1)); done; sleep 1; echo done");
    project.write("pipeline.toml", pipeline("limits = { processes = 310 }", ALL, &script));
    let running = project.start(&["exec", "--format", "json"]);
    let counter = {
        let marker = marker.clone();
        std::thread::spawn(move || {
            let mut most = 0;
            for _ in 0..60 {
                most = most.max(processes::with(&marker).len());
                std::thread::sleep(Duration::from_millis(50));
            }
            most
        })
    };
    let told = running.finish().told();
    let most = counter.join().expect("it counts");
    assert!(most > 50 && most < 310, "{most} processes\n{}", told.printed());
    assert_eq!(processes::with(&marker), Vec::<u32>::new());
}
