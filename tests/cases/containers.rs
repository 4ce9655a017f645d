//! Programs of a stage in containers: what they see, whom they reach, and that nothing is left of them.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use end_to_end::{Project, Registry, confined, docker, has};

use crate::RUNNER;

const READ: &str = "files = [{ path = \".\", access = \"read\" }]";
const WRITE: &str = "files = [{ path = \".\", access = \"write\" }]";

/// A stage that runs a script in a container. `more`: further keys of its `commands` grant.
fn pipeline(image: &str, more: &str, files: &str, stage: &str, script: &str) -> String {
    format!(
        "format = 1\nname = \"contained\"\n\n[stage.tool]\nuses = \"command\"\n{stage}\n[stage.tool.with]\nshell = [\"sh\", \"-eu\"]\nscript = '''\n{script}\n'''\n\
         [stage.tool.grants]\n{files}\ncommands = {{ in = \"container\", image = \"{image}\", programs = [\"sh\"]{more} }}\n"
    )
}

fn busybox(more: &str, files: &str, script: &str) -> String {
    pipeline("runner-test/busybox:1", more, files, "", script)
}

#[test]
fn a_program_sees_its_image_and_what_is_granted() {
    let Some(_docker) = docker("a_program_sees_its_image_and_what_is_granted") else { return };
    let script = "test \"$(cat a.txt)\" = granted; test -x /bin/busybox; test ! -e /etc/alternatives; pwd; echo \"$HOME $OF_STAGE\"\n\
                  echo \"EFF $(sed -n 's/^CapEff:.//p' /proc/self/status) NNP $(sed -n 's/^NoNewPrivs:.//p' /proc/self/status)\"\n\
                  echo \"IF $(ls /sys/class/net)\"\n\
                  echo t > /tmp/t; echo s > /scratch/s; echo h > ~/h; echo new > new.txt\n\
                  (echo x >> pipeline.toml) 2>/dev/null && echo WROTE the pipeline\n\
                  (echo x > .git/hook) 2>/dev/null && echo WROTE .git\n\
                  (mv sub moved) 2>/dev/null && echo MOVED the folder of a plugin\n\
                  (echo x > sub/deep/own.wasm) 2>/dev/null && echo WROTE a plugin\n\
                  test -S /var/run/docker.sock && echo SOCKET\n\
                  id -u; exit 0";
    let text = pipeline("runner-test/busybox:1", "", WRITE, "env.OF_STAGE = \"its own\"", script);
    let project = Project::with_pipeline(RUNNER, &format!("{text}\n[stage.other]\nuses = \"./sub/deep/own.wasm\"\nwhen = \"false\"\n"))
        .file("a.txt", "granted\n")
        .file("sub/deep/own.wasm", std::fs::read(end_to_end::guest("noop")).expect("a guest"));
    let told = project.exec_json().expect(0).told();
    let log = told.log("tool");
    assert!(log.contains("/workspace\n/home/stage its own\n"), "{log}");
    assert!(log.contains("EFF 0000000000000000 NNP 1\nIF lo\n"), "{log}");
    assert!(!log.lines().any(|line| line.starts_with("WROTE") || line.starts_with("MOVED") || line == "SOCKET"), "{log}");
    let user = std::process::Command::new("id").arg("-u").output().expect("id").stdout;
    assert!(log.ends_with(&*String::from_utf8_lossy(&user)), "{log}");
    assert!(!project.path().join("new.txt").exists(), "the stage had a copy of its own");
    // the checkout itself, where the runner's own folder is
    let script = "ls -d .runner; test -z \"$(ls -A .runner)\"; (echo x > a.txt) 2>/dev/null && echo WROTE the checkout; exit 0";
    let project = Project::with_pipeline(RUNNER, &busybox("", READ, script)).file("a.txt", "granted\n");
    let told = project.exec_json().expect(0).told();
    assert!(told.log("tool").ends_with("\n.runner\n"), "{}", told.log("tool"));
}

#[test]
fn commands_of_a_stage_share_a_home_folder_and_nothing_of_their_images() {
    let Some(_docker) = docker("commands_of_a_stage_share_a_home_folder_and_nothing_of_their_images") else { return };
    let run = "run = [[\"sh\", \"-c\", \"echo kept > ~/f; echo x > /bin/planted; echo y > /tmp/t\"], [\"sh\", \"-c\", \"cat ~/f; ls /tmp; test ! -e /bin/planted\"]]";
    let text = busybox("", READ, "").replace("shell = [\"sh\", \"-eu\"]\nscript = '''\n\n'''", run);
    let told = Project::with_pipeline(RUNNER, &text).exec_json().expect(0).told();
    assert!(told.log("tool").contains("kept\n"), "{}", told.printed());
    let places: Vec<_> = told.all("command-started").map(|event| event["place"].clone()).collect();
    assert_eq!(places, ["container", "container"]);
}

#[test]
fn only_the_grant_says_where_a_stage_runs() {
    let test = "only_the_grant_says_where_a_stage_runs";
    let Some(_docker) = docker(test) else { return };
    if !confined(RUNNER, test) {
        return;
    }
    let text = busybox("", READ, "echo out; cat; exit 3");
    let inside = Project::with_pipeline(RUNNER, &text);
    let beside = text.replace("in = \"container\", image = \"runner-test/busybox:1\"", "in = \"process\", toolchain = \"system\"");
    let beside = Project::with_pipeline(RUNNER, &beside);
    let [one, other] = [&inside, &beside].map(|project| project.exec_json().expect(1).told());
    assert_eq!(one.log("tool"), other.log("tool"));
    assert_eq!(one.ended("tool").message, other.ended("tool").message);
}

#[test]
fn what_the_image_lacks_is_said() {
    let Some(_docker) = docker("what_the_image_lacks_is_said") else { return };
    let project = Project::with_pipeline(RUNNER, &busybox("", READ, "true").replace("\"sh\"", "\"bash\""));
    project.exec().expect(1).says("the image has no program `bash` that could be started");
    let missing = busybox("", READ, "true").replace("runner-test/busybox:1", "127.0.0.1:1/no/such:image");
    Project::with_pipeline(RUNNER, &missing).exec().expect(1).says("127.0.0.1:1/no/such:image");
    let folder = busybox("", READ, "")
        .replace("shell = [\"sh\", \"-eu\"]\nscript = '''\n\n'''", "run = [\"sh\", \"-c\", \"true\"]\ndirectory = \"nowhere\"");
    Project::with_pipeline(RUNNER, &folder).exec().expect(1).says("working directory");
}

#[test]
fn ceilings_hold() {
    let Some(_docker) = docker("ceilings_hold") else { return };
    let hungry = "s=x; while :; do s=$s$s$s$s; done";
    let project = Project::with_pipeline(RUNNER, &busybox(", memory = \"16MiB\", cpus = 0.5", READ, hungry));
    project.exec().expect(1).says("not enough memory: raise `memory`");
    let many = "i=0; while [ $i -lt 50 ]; do sleep 100 & i=$((i + 1)); done";
    let project = Project::with_pipeline(RUNNER, &busybox(", pids = 20", READ, many));
    project.exec().expect(1).says("can't fork");
}

#[test]
fn a_stage_reaches_what_it_started_by_name() {
    let Some(_docker) = docker("a_stage_reaches_what_it_started_by_name") else { return };
    let text = "format = 1\nname = \"contained\"\n\n[stage.smoke]\nuses = \"smoke\"\n[stage.smoke.with]\nbase = \"http://app.stage:8080\"\n\
                start = [{ name = \"app\", run = [\"busybox\", \"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/workspace\"] }]\n\
                checks = [{ name = \"alive\", url = \"/a.txt\", timeout = \"20s\", expect = { status = 200 } }]\n\
                [stage.smoke.grants]\nfiles = [{ path = \".\", access = \"read\" }]\nhttp = [{ url = \"http://app.stage:8080/**\" }]\n\
                commands = { in = \"container\", image = \"runner-test/busybox:1\", programs = [\"busybox\"] }\n";
    Project::with_pipeline(RUNNER, text).file("a.txt", "served").exec().expect(0);
}

/// Each way, and whether it led anywhere.
fn phone(port: u16) -> String {
    format!(
        "can() {{ what=$1; shift; if \"$@\" >/dev/null 2>&1; then echo \"CAN $what\"; else echo \"CANNOT $what\"; fi; }}\n\
         can run true\n\
         can gateway wget -q -T 3 -O - http://172.17.0.1:{port}/\n\
         can host wget -q -T 3 -O - http://127.0.0.1:{port}/\n\
         can name nslookup example.com\n\
         can address ping -c 1 -W 2 8.8.8.8\n\
         can six ping -6 -c 1 -W 2 2001:4860:4860::8888\n\
         can metadata wget -q -T 3 -O - http://169.254.169.254/\n\
         can route sh -c 'test -n \"$(ip route)\"'\n"
    )
}

#[test]
fn a_container_without_hosts_reaches_nothing() {
    let Some(_docker) = docker("a_container_without_hosts_reaches_nothing") else { return };
    let home = TcpListener::bind("0.0.0.0:0").expect("a port");
    home.set_nonblocking(true).expect("a flag");
    let phone = phone(home.local_addr().expect("an address").port());
    for more in ["", ", network = [\"registry.example:443\"]"] {
        let told = Project::with_pipeline(RUNNER, &busybox(more, READ, &phone)).exec_json().expect(0).told();
        let log = told.log("tool");
        let cannot = log.lines().filter(|line| line.starts_with("CANNOT ")).count();
        assert!(log.contains("CAN run") && cannot == 7, "{more}: {log}");
    }
    assert!(home.accept().is_err(), "nobody came");
}

#[test]
fn npm_in_a_container_reaches_the_granted_registry_and_a_postinstall_script_nothing_else() {
    let test = "npm_in_a_container_reaches_the_granted_registry_and_a_postinstall_script_nothing_else";
    let Some(docker) = docker(test) else { return };
    if !has("npm", "the registry of the test packs with it", test) {
        return;
    }
    docker.run(&["image", "inspect", "runner-test/node:20"]);
    let home = TcpListener::bind("127.0.0.1:0").expect("a port");
    home.set_nonblocking(true).expect("a flag");
    let port = home.local_addr().expect("an address").port();
    let packages = Registry::start();
    let host = packages.host();
    let phone = format!(
        "can() {{ what=$1; shift; if \"$@\" >/dev/null 2>&1; then echo \"CAN $what\"; else echo \"CANNOT $what\"; fi; }}\n\
         can run true\n\
         can tunnel node -e 'require(\"http\").request({{ host: \"127.0.0.1\", port: 3128, method: \"CONNECT\", path: \"evil.example:443\" }}).on(\"connect\", (r) => process.exit(r.statusCode === 200 ? 0 : 1)).on(\"error\", () => process.exit(1)).end()'\n\
         can socket node -e 'require(\"net\").connect({port}, \"127.0.0.1\").on(\"connect\", () => process.exit(0)).on(\"error\", () => process.exit(1))'\n\
         can name node -e 'require(\"dns\").lookup(\"example.com\", (e) => process.exit(e ? 1 : 0))'\n"
    );
    packages.npm_package("greet", &phone);
    let more = format!(", network = [{{ host = \"{host}\", private = true }}]");
    let text =
        pipeline("runner-test/node:20", &more, WRITE, "timeout = \"2m\"", "npm install --no-audit --no-fund --foreground-scripts greet");
    let project = Project::with_pipeline(RUNNER, &text)
        .file("package.json", "{ \"name\": \"shop\", \"version\": \"1.0.0\" }")
        .file(".npmrc", format!("registry=http://{host}/\n"));
    let told = project.exec_json().expect(0).told();
    let log = told.log("tool");
    for tried in ["tunnel", "socket", "name"] {
        assert!(log.contains(&format!("CANNOT {tried}")), "{tried}\n{log}");
    }
    assert!(log.contains("CAN run") && home.accept().is_err(), "{log}");
    assert!(packages.asked().iter().any(|path| path == "/greet/-/greet-1.0.0.tgz"), "{:?}", packages.asked());
    let denials = told.denials("tool");
    let evil = denials.iter().find(|denial| denial.subject == "evil.example:443").expect("it is told by name");
    assert_eq!((evil.effect.as_str(), evil.code.as_str()), ("commands.connect", "not-granted"));
    let remedy = evil.remedy.as_deref().expect("it could be granted");
    assert!(remedy.contains("in = \"container\", image = \"runner-test/node:20\"") && remedy.contains("\"evil.example:443\"]"), "{remedy}");
    assert!(told.all("connection").all(|connection| connection["command"] == 1), "{}", told.printed());
}

#[test]
fn nothing_is_left_when_a_run_is_stopped_times_out_or_is_killed() {
    let Some(docker) = docker("nothing_is_left_when_a_run_is_stopped_times_out_or_is_killed") else { return };
    let text = busybox("", READ, "trap 'echo ASKED; exit 1' TERM; echo UP; sleep 1000 & wait");
    let project = Project::with_pipeline(RUNNER, &text);
    let running = project.start(&["exec", "--format", "plain", "-v"]);
    running.wait_until("| UP");
    running.signal("INT");
    running.finish().expect(130).says("ASKED");
    docker.nothing_left();

    project.replace("pipeline.toml", "uses = \"command\"", "uses = \"command\"\ntimeout = \"3s\"");
    let began = Instant::now();
    project.exec().expect(1).says("timed out");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    docker.nothing_left();
    project.replace("pipeline.toml", "timeout = \"3s\"", "");

    let running = project.start(&["exec", "--format", "plain", "-v"]);
    running.wait_until("| UP");
    running.kill().expect(137);
    assert_eq!(docker.left().iter().filter(|line| line.starts_with("container")).count(), 1, "{:?}", docker.left());
    // another pipeline's next run takes it away
    let other = Project::with_pipeline(RUNNER, &busybox("", READ, "echo next"));
    other.exec().expect(0);
    docker.nothing_left();
}

#[test]
fn a_stage_that_was_cut_off_starts_its_containers_anew() {
    let Some(docker) = docker("a_stage_that_was_cut_off_starts_its_containers_anew") else { return };
    let script = "if [ ! -f ran ]; then touch ran; echo WAITING; sleep 1000; fi; echo through";
    let project = Project::with_pipeline(RUNNER, &busybox(", repeatable = true", WRITE, script));
    let running = project.start(&["exec", "--format", "plain", "-v"]);
    running.wait_until("| WAITING");
    running.kill().expect(137);
    let told = project.run(&["resume", "--format", "json"]).expect(0).told();
    assert!(told.log("tool").contains("through"), "{}", told.printed());
    docker.nothing_left();
}

#[test]
fn caches_of_the_home_folder_are_the_containers_too() {
    let Some(_docker) = docker("caches_of_the_home_folder_are_the_containers_too") else { return };
    let script = "test -f ~/.kept/deep/f && echo HIT; mkdir -p ~/.kept/deep; echo x > ~/.kept/deep/f";
    let text = pipeline("runner-test/busybox:1", "", READ, "caches = [\"kept\"]", &script.replace("HIT;", "HIT || true;"));
    let text = text.replace("[stage.tool]\n", "[cache.kept]\npaths = [\"~/.kept\"]\nkey = [\"1\"]\n\n[stage.tool]\n");
    let project = Project::with_pipeline(RUNNER, &text);
    for hit in [false, true, true] {
        let told = project.exec_json().expect(0).told();
        assert_eq!(told.log("tool").lines().any(|line| line == "HIT"), hit, "{}", told.printed());
    }
}

#[test]
fn the_plan_shows_containers_and_mistakes_are_found_before_anything_runs() {
    let text = busybox(", network = \"full\", memory = \"1GiB\"", READ, "true");
    let project = Project::with_pipeline(RUNNER, &text);
    project.run(&["plan"]).expect(0).says("in a container of runner-test/busybox:1, the FULL network").says("at most 1GiB of memory each");
    project.replace("pipeline.toml", "image = \"runner-test/busybox:1\", ", "");
    project.run(&["check"]).expect(3).says("missing-key").says("`image`");
    let services = "[service.db]\ncommand = [\"sleep\", \"1\"]\n\n[stage.tool]\nservices = [\"db\"]";
    let mixed = busybox("", READ, "true").replace("[stage.tool]", services);
    Project::with_pipeline(RUNNER, &mixed).run(&["check"]).expect(3).says("mixed-places").says("[service.db]");
}

#[test]
fn without_an_engine_it_is_said_how_to_get_one() {
    let project = Project::with_pipeline(RUNNER, &busybox("", READ, "true")).env("DOCKER_HOST", "unix:///nowhere/docker.sock");
    project.exec().expect(1).says("no Docker engine answers at unix:///nowhere/docker.sock").says("DOCKER_HOST");
}
