//! Ways to this machine through Docker that a stage tries. Each is denied with its code, and none reaches the engine: a socket between runner and
//! engine records what is asked of it.
//!
//! What has no words in `runner:docker` can't be tried at all: privileged containers, host namespaces, devices, capabilities, security options,
//! cgroup parents, runtimes, sysctls, links, `volumes-from`, volume drivers, published ports, restart policies.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, PoisonError};

use end_to_end::{Case, Project, docker};

use crate::RUNNER;

/// A socket that passes on to the engine what it is asked, and remembers it.
struct Recorder {
    folder: tempfile::TempDir,
    asked: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    fn start() -> Recorder {
        let folder = tempfile::Builder::new().prefix("recorder-").tempdir().expect("a temporary folder");
        let listener = UnixListener::bind(folder.path().join("docker.sock")).expect("a socket");
        let asked: Arc<Mutex<Vec<u8>>> = Arc::default();
        let known = asked.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(engine) = UnixStream::connect("/var/run/docker.sock") else { continue };
                let (mut from, mut to) = (engine.try_clone().expect("a socket"), client.try_clone().expect("a socket"));
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
                let known = known.clone();
                std::thread::spawn(move || pass_on(client, engine, &known));
            }
        });
        Recorder { folder, asked }
    }

    fn host(&self) -> String {
        format!("unix://{}/docker.sock", self.folder.path().display())
    }

    /// The requests so far: `POST /v1.41/containers/create`, without their queries.
    fn requests(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&asked);
        let line = |line: &str| {
            let (method, rest) = line.split_once(' ')?;
            let is = ["GET", "HEAD", "POST", "PUT", "DELETE"].contains(&method) && rest.ends_with(" HTTP/1.1");
            is.then(|| format!("{method} {}", rest.split([' ', '?']).next().unwrap_or_default()))
        };
        text.split("\r\n").filter_map(line).collect()
    }
}

fn pass_on(mut client: UnixStream, mut engine: UnixStream, known: &Mutex<Vec<u8>>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        known.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..read]);
        if engine.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = engine.shutdown(Shutdown::Write);
}

const GRANTS: &str = "files = [{ path = \".\", access = \"read\" }, { path = \"out\", access = \"write\" }]
[stage.try.grants.docker]
run = [\"runner-test/busybox:1\"]
inspect = [\"runner-test/busybox:1\"]
build = [\"hostile/made:*\"]
from = [\"runner-test/busybox:1\"]
tag = [\"hostile/made:*\"]
push = [\"127.0.0.1:1/hostile/made:*\"]
save = [\"hostile/made:*\"]
remove = [\"hostile/made:*\"]
memory = \"64MiB\"
cpus = 1
pids = 32
";

/// A container of the granted image.
fn run(more: &str) -> String {
    format!("{{ do = \"docker\", op = \"run\", image = \"runner-test/busybox:1\", {more} }}")
}

fn mount(source: &str, target: &str, access: &str) -> String {
    run(&format!("mounts = [[\"{source}\", \"{target}\", \"{access}\"]]"))
}

/// A build of a Dockerfile that the project holds.
fn build(dockerfile: &str, more: &str) -> String {
    format!(
        "{{ do = \"docker\", op = \"build\", context = \"/workspace\", dockerfile = \"{dockerfile}\", tags = [\"hostile/made:1\"]{more} }}"
    )
}

const DOCKERFILES: &[(&str, &str)] = &[
    ("from", "FROM debian:12\n"),
    ("copy-from", "FROM runner-test/busybox:1\nCOPY --from=debian:12 / /\n"),
    ("mount-from", "FROM runner-test/busybox:1\nRUN --mount=type=bind,from=debian:12,target=/x true\n"),
    ("metadata", "FROM runner-test/busybox:1\nADD http://169.254.169.254/latest/meta-data/ /x\n"),
    ("loopback", "FROM runner-test/busybox:1\nADD http://127.0.0.1:2375/info /x\n"),
    ("git", "FROM runner-test/busybox:1\nADD git@github.com:acme/secret.git /x\n"),
    ("variable", "FROM runner-test/busybox:1\nARG URL=http://127.0.0.1/\nADD $URL /x\n"),
    ("argument", "ARG BASE=debian:12\nFROM $BASE\n"),
    ("frontend", "# syntax=evil/frontend:1\nFROM runner-test/busybox:1\n"),
    ("known-frontend", "# syntax=docker/dockerfile:1\nFROM runner-test/busybox:1\n"),
    ("onbuild", "FROM runner-test/busybox:1 AS one\nONBUILD COPY --from=debian:12 / /\nFROM one\n"),
    ("insecure", "FROM runner-test/busybox:1\nRUN --security=insecure mount\n"),
    ("host-network", "FROM runner-test/busybox:1\nRUN --network=host ip link\n"),
    ("document", "FROM runner-test/busybox:1\nRUN <<EOF\nFROM debian:12\nEOF\n"),
    ("escape", "# escape=`\nFROM runner-test/busybox:1\nRUN true \\\nFROM debian:12\n"),
    ("space", "FROM runner-test/busybox:1\n\u{a0}FROM debian:12\n"),
];

#[test]
fn nothing_that_a_stage_may_not_reaches_the_engine() {
    let Some(engine) = docker("nothing_that_a_stage_may_not_reaches_the_engine") else { return };
    let recorder = Recorder::start();
    let mut project = Project::hostile(RUNNER).env("DOCKER_HOST", &recorder.host()).file("out/.keep", "").file("src/a.txt", "hi");
    for (name, text) in DOCKERFILES {
        project = project.file(&format!("{name}.Dockerfile"), text);
    }
    symlink("/etc", project.path().join("src/etc")).expect("a link");
    symlink("/var/run/docker.sock", project.path().join("src/socket")).expect("a link");
    let outside = "refused mount-outside";
    let place = "refused mount-place";
    let not_granted = "refused not-granted";
    let ceiling = "refused over-ceiling";
    let source = "refused build-source";
    let unresolved = "refused unresolved-source";
    let tried: Vec<(String, &str)> = vec![
        // the engine's socket and folders of this machine, in any spelling
        (mount("/var/run/docker.sock", "/s", "ro"), outside),
        (mount("/run/docker.sock", "/s", "rw"), outside),
        (mount("//var//run/./docker.sock", "/s", "ro"), outside),
        (mount("/workspace/../../../var/run/docker.sock", "/s", "ro"), outside),
        (mount("/workspace/src/socket", "/s", "ro"), outside),
        (mount("/workspace/src/etc", "/s", "ro"), outside),
        (mount("/workspace/src/etc/shadow", "/s", "ro"), outside),
        (mount("/", "/host", "ro"), outside),
        (mount("/etc", "/host", "rw"), outside),
        (mount("/proc/1/root", "/host", "ro"), outside),
        (mount("/proc/self/cwd", "/host", "ro"), outside),
        (mount("/sys/fs/cgroup", "/host", "rw"), outside),
        (mount("/dev", "/host", "rw"), outside),
        (mount("some-volume", "/host", "rw"), outside),
        (mount("", "/host", "rw"), outside),
        (mount("~", "/host", "rw"), outside),
        (mount("../..", "/host", "rw"), outside),
        (mount("/scratch/../../..", "/host", "rw"), outside),
        (mount("/workspace:/etc", "/host", "ro"), outside),
        // more of the workspace than is granted, and what could become a link
        (mount("/workspace", "/w", "rw"), outside),
        (mount("/workspace/.runner", "/w", "ro"), outside),
        (mount("/workspace/.git", "/w", "rw"), outside),
        (mount("/workspace/out/below", "/w", "rw"), outside),
        (mount("/scratch/below", "/w", "ro"), outside),
        (mount("/workspace/out/../src", "/w", "rw"), outside),
        // targets that cover what the kernel and the engine put there
        (mount("/workspace", "/proc", "ro"), place),
        (mount("/workspace", "/proc/sys/kernel", "ro"), place),
        (mount("/workspace", "/sys", "ro"), place),
        (mount("/workspace", "/dev/shm", "ro"), place),
        (mount("/workspace", "/etc", "ro"), place),
        (mount("/workspace", "/etc/hosts", "ro"), place),
        (mount("/workspace", "/x/../../proc", "ro"), place),
        (mount("/workspace", "/", "ro"), place),
        (mount("/workspace", "relative", "ro"), place),
        (mount("/workspace", "/run/runner", "ro"), place),
        // other images, by any name
        ("{ do = \"docker\", op = \"run\", image = \"debian:12\" }".to_owned(), not_granted),
        ("{ do = \"docker\", op = \"run\", image = \"runner-test/busybox:2\" }".to_owned(), not_granted),
        ("{ do = \"docker\", op = \"run\", image = \"runner-test/busybox\" }".to_owned(), not_granted),
        ("{ do = \"docker\", op = \"run\", image = \"evil.example/runner-test/busybox:1\" }".to_owned(), not_granted),
        ("{ do = \"docker\", op = \"run\", image = \"../../containers/json\" }".to_owned(), not_granted),
        (format!("{{ do = \"docker\", op = \"run\", image = \"{}\" }}", busybox_id(&engine)), not_granted),
        (format!("{{ do = \"docker\", op = \"run\", image = \"{}\" }}", &busybox_id(&engine)[7..19]), not_granted),
        ("{ do = \"docker\", op = \"inspect\", image = \"debian:12\" }".to_owned(), not_granted),
        ("{ do = \"docker\", op = \"pull\", image = \"runner-test/busybox:1\" }".to_owned(), not_granted),
        ("{ do = \"docker\", op = \"push\", image = \"runner-test/busybox:1\" }".to_owned(), not_granted),
        ("{ do = \"docker\", op = \"push\", image = \"evil.example/hostile/made:1\" }".to_owned(), not_granted),
        ("{ do = \"docker\", op = \"tag\", image = \"runner-test/busybox:1\", to = \"runner-test/node:20\" }".to_owned(), not_granted),
        ("{ do = \"docker\", op = \"tag\", image = \"runner-test/node:20\", to = \"hostile/made:1\" }".to_owned(), not_granted),
        ("{ do = \"docker\", op = \"remove\", image = \"runner-test/busybox:1\" }".to_owned(), not_granted),
        ("{ do = \"docker\", op = \"save\", images = [\"runner-test/busybox:1\"], to = \"/scratch/x.tar\" }".to_owned(), not_granted),
        ("{ do = \"docker\", op = \"save\", images = [\"hostile/made:1\"], to = \"/workspace/src/x.tar\" }".to_owned(), outside),
        ("{ do = \"docker\", op = \"save\", images = [\"hostile/made:1\"], to = \"/etc/cron.d/x\" }".to_owned(), outside),
        // more of the machine
        (run("memory = 67108865"), ceiling),
        (run("memory = 0"), ceiling),
        (run("cpus = 1001"), ceiling),
        (run("pids = 33"), ceiling),
        (run("pids = 0"), ceiling),
        (run("network = \"granted\""), "refused network"),
        (run("network = \"stage\""), "refused network"),
        (run("user = \"root\""), "refused user"),
        (run("user = \"0:0:0\""), "refused user"),
        (run("user = \"4242\", mounts = [[\"/workspace/out\", \"/w\", \"rw\"]]"), "refused user"),
        (run("env = [[\"A=B\", \"x\"]]"), "refused variable"),
        // what a Dockerfile brings in
        (build("from.Dockerfile", ""), source),
        (build("copy-from.Dockerfile", ""), source),
        (build("mount-from.Dockerfile", ""), source),
        (build("metadata.Dockerfile", ""), source),
        (build("loopback.Dockerfile", ""), source),
        (build("git.Dockerfile", ""), source),
        (build("onbuild.Dockerfile", ""), source),
        (build("argument.Dockerfile", ""), source),
        (build("known-frontend.Dockerfile", ""), source),
        (build("variable.Dockerfile", ""), unresolved),
        (build("frontend.Dockerfile", ""), unresolved),
        (build("insecure.Dockerfile", ""), unresolved),
        (build("host-network.Dockerfile", ""), unresolved),
        (build("space.Dockerfile", ""), unresolved),
        (build("escape.Dockerfile", ""), source),
        (build("argument.Dockerfile", ", args = [[\"BASE\", \"evil.example/x:1\"]]"), source),
        (build("argument.Dockerfile", ", args = [[\"BUILDKIT_SYNTAX\", \"evil/frontend\"]]"), unresolved),
        (build("from.Dockerfile", ", network = true"), "refused build-network"),
        (build("from.Dockerfile", ", cache-to = [\"127.0.0.1:1/hostile/made:1\"]"), "refused cache-place"),
        (build("from.Dockerfile", ", cache-from = [\"evil.example/cache:1\"]"), "refused cache-place"),
        (build("../../etc/passwd", ""), outside),
        (build("/etc/passwd", ""), outside),
        (build("src/etc/passwd", ""), outside),
        ("{ do = \"docker\", op = \"build\", context = \"/etc\", tags = [\"hostile/made:1\"] }".to_owned(), outside),
        ("{ do = \"docker\", op = \"build\", context = \"/workspace/src/etc\", tags = [\"hostile/made:1\"] }".to_owned(), outside),
        ("{ do = \"docker\", op = \"build\", context = \"/workspace/.runner\", tags = [\"hostile/made:1\"] }".to_owned(), outside),
        (
            "{ do = \"docker\", op = \"build\", context = \"https://github.com/acme/x.git\", tags = [\"hostile/made:1\"] }".to_owned(),
            outside,
        ),
        ("{ do = \"docker\", op = \"build\", context = \"/workspace\", tags = [\"runner-test/busybox:1\"] }".to_owned(), not_granted),
    ];
    // each is denied; where the same image was denied before, the user is not told once more
    let cases: Vec<Case<'_>> = tried.iter().map(|(what, answer)| (what.as_str(), *answer, "*")).collect();
    let attempts = project.cases("", GRANTS, &cases);
    assert!(attempts.iter().flat_map(|attempt| &attempt.denials).count() > 10);
    let reads = ["/_ping", "/version", "/info", "/containers/json", "/networks", "/volumes", "/images/json"];
    let requests = recorder.requests();
    assert!(!requests.is_empty(), "the engine was swept through the recorder");
    let reached: Vec<&String> = requests
        .iter()
        .filter(|request| {
            let read = request.starts_with("GET ") || request.starts_with("HEAD ");
            !(read && reads.iter().any(|known| request.ends_with(known)))
        })
        .collect();
    assert!(reached.is_empty(), "{reached:?}");
    engine.nothing_left();
}

/// A here document is told from instructions by knowing the engine: this one is asked, and nothing more.
#[test]
fn what_an_old_engine_reads_otherwise_is_denied() {
    let Some(engine) = docker("what_an_old_engine_reads_otherwise_is_denied") else { return };
    let version = engine.run(&["version", "--format", "{{.Server.Version}}"]);
    if version.split('.').next().and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major >= 23) {
        return;
    }
    let project = Project::hostile(RUNNER).file("document.Dockerfile", DOCKERFILES[13].1);
    let grants = GRANTS.replace("{ path = \"out\", access = \"write\" }", "");
    project.cases("", &grants, &[(&build("document.Dockerfile", ""), "refused unresolved-source", "unresolved-source")]);
    engine.nothing_left();
}

fn busybox_id(engine: &end_to_end::Docker) -> String {
    engine.run(&["image", "inspect", "--format", "{{.Id}}", "runner-test/busybox:1"])
}
