//! `runner:docker` on a real engine and a real registry: what a stage is granted works, and nothing of it is left.

use std::time::{Duration, Instant};

use end_to_end::{Docker, ImageRegistry, Project, docker, processes};

use crate::RUNNER;

const IMAGE: &str = "runner-test/busybox:1";

fn grants(docker: &str) -> String {
    format!(
        "files = [{{ path = \".\", access = \"read\" }}, {{ path = \"out\", access = \"write\" }}]\n[stage.try.grants.docker]\n{docker}\n"
    )
}

fn run(script: &str, more: &str) -> String {
    format!("{{ do = \"docker\", op = \"run\", image = \"{IMAGE}\", args = [\"sh\", \"-c\", '''{script}'''], {more} }}")
}

fn op(op: &str, rest: &str) -> String {
    format!("{{ do = \"docker\", op = \"{op}\", {rest} }}")
}

fn project() -> Project {
    Project::hostile(RUNNER).file("out/.keep", "").file("src/a.txt", "hello").file(".git/config", "[core]")
}

/// Tries everything, and answers with what each said.
#[track_caller]
fn tried(project: &Project, granted: &str, tries: &[String]) -> Vec<String> {
    let tries: Vec<&str> = tries.iter().map(String::as_str).collect();
    project.attempts("timeout = \"5m\"", &grants(granted), &tries).into_iter().map(|attempt| attempt.answer).collect()
}

#[test]
fn containers_are_what_they_are_granted() {
    let Some(engine) = docker("containers_are_what_they_are_granted") else { return };
    let granted = format!("run = [\"{IMAGE}\"]\nmemory = \"64MiB\"\npids = 32");
    let answers = tried(
        &project(),
        &granted,
        &[
            run("echo hi; exit 3", ""),
            run("id -u; grep -E \"CapEff|NoNewPrivs\" /proc/self/status; ls /sys/class/net; hostname | wc -c", ""),
            run("cat; pwd; echo $NAME", "stdin = \"fed\\n\", dir = \"/tmp\", env = [[\"NAME\", \"value\"]]"),
            run(
                "cat /w/src/a.txt; ls -A /w/.runner /w/.git; echo x > /w/new || echo readonly",
                "mounts = [[\"/workspace\", \"/w\", \"ro\"]]",
            ),
            run(
                "echo made > /o/made; echo s > /s/made; cat /o/made",
                "mounts = [[\"/workspace/out\", \"/o\", \"rw\"], [\"/scratch\", \"/s\", \"rw\"]]",
            ),
            "{ do = \"std-read\", path = \"/workspace/out/made\" }".to_owned(),
            run("echo x > /x || echo closed; echo y > /tmp/y && echo open", "read-only = true"),
            run("sleep 100", "timeout-ms = 1000"),
            run("sleep 100", "stop = true"),
            run(
                "sleep 100",
                "exec = [[\"sh\", \"-c\", \"echo in; exit 4\"], [\"cat\", \"/in/a.txt\"]], copy-in = [[\"/workspace/src\", \"/\"], [\"/workspace/src/a.txt\", \"/src\"]], copy-out = [[\"/src\", \"/workspace/out\"]], stop = true",
            ),
            "{ do = \"std-read\", path = \"/workspace/out/src/a.txt\" }".to_owned(),
            run("a=x; while true; do a=$a$a; done", ""),
            run("for i in $(seq 100); do sleep 5 & done; echo all", "timeout-ms = 20000"),
            op("run", &format!("image = \"{IMAGE}\", args = [\"no-such-program\"]")),
        ],
    );
    let user = std::process::Command::new("id").arg("-u").output().expect("id").stdout;
    let user = String::from_utf8_lossy(&user).trim().to_owned();
    assert_eq!(answers[0], "ok exit code 3: hi\\n");
    assert!(
        answers[1].starts_with(&format!("ok exit code 0: {user}\\nCapEff:\\t0000000000000000\\nNoNewPrivs:\\t1\\nlo\\n")),
        "{}",
        answers[1]
    );
    assert_eq!(answers[2], "ok exit code 0: fed\\n/tmp\\nvalue\\n");
    assert!(answers[3].starts_with("ok exit code 0: hello") && answers[3].contains("readonly"), "{}", answers[3]);
    assert!(!answers[3].contains("runs"), "the runner's own folder is empty in there: {}", answers[3]);
    assert_eq!(answers[4], "ok exit code 0: made\\n");
    assert_eq!(answers[5], "ok made\\n");
    assert_eq!(answers[6], "ok exit code 0: closed\\nopen\\n");
    assert!(answers[7].starts_with("ok timed out"), "{}", answers[7]);
    assert!(answers[8].starts_with("ok exit code"), "{}", answers[8]);
    assert!(answers[9].starts_with("ok exit code 4: in\\nexit code 1: "), "there is no /in: {}", answers[9]);
    assert_eq!(answers[10], "ok hello");
    assert!(answers[11].starts_with("ok out of memory") || answers[11].starts_with("ok exit code"), "{}", answers[11]);
    assert!(!answers[11].starts_with("ok exit code 0"), "{}", answers[11]);
    assert!(!answers[12].contains("all"), "more processes than granted: {}", answers[12]);
    // by then there is a container, whose first process finds out
    assert_eq!(answers[13], "ok exit code 127: ");
    engine.nothing_left();
}

#[test]
fn containers_of_a_stage_meet_on_their_own_network_alone() {
    let Some(engine) = docker("containers_of_a_stage_meet_on_their_own_network_alone") else { return };
    let listener = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    // how the rest of the world would reach this machine
    let way = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr()));
    let own = way.map(|address| address.ip().to_string()).unwrap_or_default();
    let script = format!(
        "ls /sys/class/net; for a in 127.0.0.1 172.17.0.1 10.0.2.2 {own}; do nc -w 2 $a {port} </dev/null && echo REACHED $a; done; cat /proc/net/route | wc -l; \
         nc -l -p 4000 </dev/null >/dev/null & n=0; until echo | nc -w 5 127.0.0.1 4000 2>/dev/null || [ $n = 20 ]; do n=$((n + 1)); sleep 1; done; \
         [ $n = 20 ] || echo HERE"
    );
    let answers = tried(
        &project(),
        &format!("run = [\"{IMAGE}\"]\nnetwork = \"stage\""),
        &[run(&script, ""), run(&script, "network = \"stage\""), run(&script, "network = \"granted\"")],
    );
    for answer in answers {
        assert!(answer.starts_with("ok exit code 0: lo\\n"), "{answer}");
        assert!(answer.contains("\\n1\\n"), "there is no route: {answer}");
        assert!(!answer.contains("REACHED") && answer.ends_with("HERE\\n"), "{answer}");
    }
    engine.nothing_left();
}

#[test]
fn granted_hosts_are_reached_and_others_are_told() {
    let Some(engine) = docker("granted_hosts_are_reached_and_others_are_told") else { return };
    let server = end_to_end::Server::start();
    let port = server.url("").rsplit(':').next().expect("a port").trim_end_matches('/').to_owned();
    let granted = format!("run = [\"{IMAGE}\"]\nnetwork = [{{ host = \"127.0.0.1:{port}\", private = true }}]");
    // as programs ask a proxy
    let fetch = |place: &str| {
        let request = format!("GET http://{place}/x HTTP/1.1\\r\\nHost: {place}\\r\\nConnection: close\\r\\n\\r\\n");
        let script = format!("echo $HTTP_PROXY; (printf \"{request}\"; sleep 2) | nc -w 10 127.0.0.1 3128 | head -1");
        run(&script, "network = \"granted\"")
    };
    let answers = tried(&project(), &granted, &[fetch(&format!("127.0.0.1:{port}")), fetch("evil.example")]);
    assert!(answers[0].starts_with("ok exit code 0: http://127.0.0.1:3128\\nHTTP/1.1 200"), "{answers:?}");
    assert!(answers[1].contains("HTTP/1.1 403"), "{answers:?}");
    let told = project();
    told.tries("", &grants(&granted), &[&fetch("evil.example")]);
    let told = told.exec_json().told();
    let denied: Vec<String> = told.denials("try").into_iter().map(|denial| denial.code).collect();
    assert_eq!(denied, ["network"], "{}", told.printed());
    engine.nothing_left();
}

#[test]
fn images_are_named_saved_pushed_pulled_and_removed() {
    let test = "images_are_named_saved_pushed_pulled_and_removed";
    let (Some(engine), Some(registry)) = (docker(test), ImageRegistry::start(test)) else { return };
    let name = format!("{}/capability/app", registry.address());
    let granted = format!(
        "inspect = [\"{IMAGE}\"]\ntag = [\"{name}:*\"]\npush = [\"{name}:*\"]\npull = [\"{name}:*\"]\nsave = [\"{name}:*\"]\nremove = [\"{name}:*\"]\nrun = [\"{name}:*\"]"
    );
    let answers = tried(
        &project(),
        &granted,
        &[
            op("tag", &format!("image = \"{IMAGE}\", to = \"{name}:1\"")),
            op("list", ""),
            op("save", &format!("images = [\"{name}:1\"], to = \"/workspace/out/app.tar\"")),
            op("push", &format!("image = \"{name}:1\"")),
            op("remove", &format!("image = \"{name}:1\"")),
            op("inspect", &format!("image = \"{name}:1\"")),
            op("pull", &format!("image = \"{name}:1\"")),
            op("run", &format!("image = \"{name}:1\", args = [\"echo\", \"pulled\"]")),
            op("pull", &format!("image = \"{name}:2\"")),
            op("remove", &format!("image = \"{name}:1\"")),
        ],
    );
    assert_eq!(answers[0], "ok ");
    assert!(answers[1].contains(&format!("{name}:1")) && !answers[1].contains("runner-test/node"), "{}", answers[1]);
    assert!(answers[2].strip_prefix("ok ").and_then(|size| size.parse::<u64>().ok()).is_some_and(|size| size > 100_000), "{}", answers[2]);
    assert!(answers[3].starts_with("ok sha256:"), "{}", answers[3]);
    assert_eq!(answers[4], "ok ");
    assert!(answers[5].starts_with("error the engine has no image"), "{}", answers[5]);
    assert!(answers[6].contains(&format!("{name}:1")), "{}", answers[6]);
    assert_eq!(answers[7], "ok exit code 0: pulled\\n");
    assert!(answers[8].starts_with("error pulling"), "{}", answers[8]);
    assert_eq!(answers[9], "ok ");
    engine.nothing_left();
}

#[test]
fn images_are_built_from_what_is_granted() {
    let Some(engine) = docker("images_are_built_from_what_is_granted") else { return };
    let project = project()
        .file("app/Dockerfile", "FROM runner-test/busybox:1\nARG WHO=nobody\nCOPY . /app/\nRUN echo built for $WHO > /app/who && ls -A /app && ! ls /sys/class/net | grep -v lo\n")
        .file("app/.dockerignore", "ignored\n*.log\n!kept.log\n")
        .file("app/ignored/x", "x")
        .file("app/a.log", "x")
        .file("app/kept.log", "x")
        .file("app/broken", "FROM runner-test/busybox:1\nRUN echo last words; exit 7\n");
    let outside = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(outside.path(), "of this machine").expect("a file");
    std::os::unix::fs::symlink(outside.path(), project.path().join("app/link")).expect("a link");
    let granted = "build = [\"capability/made:*\"]\nfrom = [\"runner-test/busybox:1\"]\nrun = [\"capability/made:*\"]\nremove = [\"capability/made:*\"]";
    let build =
        |more: &str| op("build", &format!("context = \"/workspace/app\", tags = [\"capability/made:1\", \"capability/made:2\"]{more}"));
    let answers = tried(
        &project,
        granted,
        &[
            build(", args = [[\"WHO\", \"somebody\"]], labels = [[\"a\", \"b\"]], no-cache = true"),
            op("run", "image = \"capability/made:2\", args = [\"sh\", \"-c\", \"cat /app/who; ls /app; cat /app/link\"]"),
            build(", args = [[\"WHO\", \"somebody\"]], labels = [[\"a\", \"b\"]]"),
            build(", dockerfile = \"broken\", no-cache = true"),
            op("build", "context = \"/workspace/app\", dockerfile = \"missing\", tags = [\"capability/made:1\"]"),
            op("build", "context = \"/workspace/app\""),
            op("remove", "image = \"capability/made:1\""),
            op("remove", "image = \"capability/made:2\""),
        ],
    );
    assert!(answers[0].starts_with("ok "), "{}", answers[0]);
    assert!(
        answers[1].starts_with("ok exit code 0: built for somebody\\n") || answers[1].contains("built for somebody\\n"),
        "{}",
        answers[1]
    );
    assert!(answers[1].contains("kept.log") && !answers[1].contains("ignored") && !answers[1].contains("a.log"), "{}", answers[1]);
    assert!(!answers[1].contains("of this machine"), "{}", answers[1]);
    assert!(!answers[2].contains(" 0 cached"), "{}", answers[2]);
    assert!(answers[3].starts_with("error building an image, at `") && answers[3].contains("last words"), "{}", answers[3]);
    assert!(answers[4].starts_with("refused mount-outside"), "{}", answers[4]);
    assert!(answers[5].starts_with("ok "), "{}", answers[5]);
    assert_eq!(answers[6..], ["ok ", "ok "]);
    engine.nothing_left();
}

/// Runs a stage that sleeps in a container, does something to the runner, and sees that the container goes.
fn cut_off(engine: &Docker, project: &Project, how: impl FnOnce(&Project)) {
    project.tries(
        "timeout = \"3s\"\nretries = { count = 0 }",
        &grants(&format!("run = [\"{IMAGE}\"]")),
        &[&run("echo it is up; sleep 1000", "log = true")],
    );
    how(project);
    engine.nothing_left();
}

#[test]
fn nothing_is_left_whatever_ends_a_stage() {
    let Some(engine) = docker("nothing_is_left_whatever_ends_a_stage") else { return };
    let project = project();
    cut_off(&engine, &project, |project| drop(project.exec().expect(1).says("its timeout of 3s passed")));
    let long = |project: &Project| project.replace("pipeline.toml", "timeout = \"3s\"", "timeout = \"5m\"");
    cut_off(&engine, &project, |project| {
        long(project);
        let running = project.begin();
        running.wait_until("it is up");
        running.signal("INT");
        running.finish().expect(130);
    });
    project.tries("", &grants(&format!("run = [\"{IMAGE}\"]")), &[&run("sleep 1000", "name = \"x\""), "{ do = \"panic\" }"]);
    project.exec().expect(1);
    engine.nothing_left();
}

#[test]
fn what_a_killed_runner_left_goes_with_the_next() {
    let Some(engine) = docker("what_a_killed_runner_left_goes_with_the_next") else { return };
    for next in [["gc"].as_slice(), &["exec"]] {
        let project = project();
        project.tries("", &grants(&format!("run = [\"{IMAGE}\"]")), &[&run("echo it is up; sleep 1000", "log = true")]);
        let running = project.begin();
        running.wait_until("it is up");
        running.kill();
        assert!(!engine.left().is_empty(), "the container runs on");
        if next == ["exec"] {
            project.tries("", &grants(&format!("run = [\"{IMAGE}\"]")), &[&run("true", "")]);
        }
        project.run(next).expect(0);
        engine.nothing_left();
    }
}

#[test]
fn a_container_that_ran_on_is_taken_up_again() {
    let Some(engine) = docker("a_container_that_ran_on_is_taken_up_again") else { return };
    let project = project();
    project.tries("", &grants(&format!("run = [\"{IMAGE}\"]")), &[&run("echo it is up; sleep 6; echo and over; exit 5", "log = true")]);
    let running = project.begin();
    running.wait_until("it is up");
    running.kill();
    let began = Instant::now();
    let told = project.run(&["resume", "--format", "json"]).expect(0).told();
    assert_eq!(told.attempts("try")[0].answer, "ok exit code 5: ");
    assert!(told.log("try").contains("and over"), "{}", told.log("try"));
    assert!(began.elapsed() < Duration::from_secs(60));
    engine.nothing_left();
    assert_eq!(processes::within(project.path()), Vec::<u32>::new());
}

#[test]
fn an_engine_that_is_not_there_is_said() {
    let project = project().env("DOCKER_HOST", "unix:///nonexistent/docker.sock");
    let answers = tried(&project, &format!("run = [\"{IMAGE}\"]"), &[run("true", "")]);
    assert!(answers[0].starts_with("error no Docker engine answers at unix:///nonexistent/docker.sock (DOCKER_HOST)"), "{answers:?}");
    project.run(&["doctor"]).says("no Docker engine answers");
}
