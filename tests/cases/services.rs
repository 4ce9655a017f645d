//! Services beside stages: real ones, and all the ways in which one can fail to serve.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use end_to_end::{Project, Told, confined, docker, processes, skipped};

use crate::RUNNER;

const READ: &str = "files = [{ path = \".\", access = \"read\" }]";
const WRITE: &str = "files = [{ path = \".\", access = \"write\" }]";

fn pipeline(services: &str, wanted: &str, files: &str, script: &str) -> String {
    format!(
        "format = 1\nname = \"served\"\n\n{services}\n\n[stage.test]\nuses = \"command\"\nservices = [{wanted}]\nenv.OF_STAGE = \"the stage's\"\n\
         [stage.test.with]\nshell = [\"sh\", \"-eu\"]\nscript = '''\n{script}\n'''\n[stage.test.grants]\n{files}\n\
         commands = {{ in = \"process\", toolchain = \"system\", programs = [\"sh\"] }}\n"
    )
}

/// A service that is a shell script.
fn shell(name: &str, script: &str, more: &str) -> String {
    format!("[service.{name}]\ncommand = [\"sh\", \"-c\", '''{script}''']\n{more}\n")
}

/// Whether a program that a test needs is here; where not, the test is skipped, or fails if everything must be there.
fn has(program: &str, how: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().is_ok_and(|output| output.status.success());
    let why = format!("there is no `{program}` on this machine: {how}");
    assert!(found || std::env::var_os("PIPELINE_TEST_REQUIRE_ENGINES").is_none(), "{why}");
    if !found {
        skipped(&why);
    }
    found
}

/// `ready: a connection to port 80` and so on, by service.
fn states(told: &Told, service: &str) -> Vec<String> {
    let of = told.all("service").filter(|event| event["service"] == service);
    of.map(|event| event["state"].as_str().unwrap_or_default().to_owned()).collect()
}

/// The services' logs that are still there.
fn logs(project: &Project) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                walk(&entry.path(), found);
            } else if entry.file_name().to_string_lossy().contains(".service-") {
                found.push(entry.path());
            }
        }
    }
    let mut found = Vec::new();
    walk(&project.path().join(".runner/runs"), &mut found);
    found
}

#[test]
fn redis_is_reached_by_its_name() {
    let test = "redis_is_reached_by_its_name";
    if !confined(RUNNER, test) || !has("redis-server", "apt-get install redis-server") {
        return;
    }
    let services = "[service.redis]\ncommand = [\"redis-server\", \"--port\", \"6379\", \"--appendonly\", \"yes\"]\n\
                    ready = { command = [\"redis-cli\", \"-h\", \"redis\", \"ping\"], timeout = \"30s\" }\n";
    let script = "redis-cli -h redis set greeting hello\nredis-cli -h redis.stage get greeting\nredis-cli -h redis dbsize";
    let project = Project::with_pipeline(RUNNER, &pipeline(services, "\"redis\"", READ, script));
    for _ in 0..2 {
        let told = project.exec_json().expect(0).told();
        assert!(told.log("test").contains("OK\nhello\n1\n"), "fresh for each attempt: {}", told.printed());
        assert_eq!(states(&told, "redis"), ["started", "ready"]);
    }
    assert_eq!(logs(&project), [] as [PathBuf; 0], "the log of what served is gone");
    processes::wait_for_none_within(project.path());
}

#[test]
fn redis_keeps_its_log_where_the_stage_fails_and_dies_with_it() {
    let test = "redis_keeps_its_log_where_the_stage_fails_and_dies_with_it";
    if !confined(RUNNER, test) || !has("redis-server", "apt-get install redis-server") {
        return;
    }
    let services = "[service.redis]\ncommand = [\"redis-server\", \"--port\", \"6379\", \"--save\", \"\"]\nready = { tcp = 6379, timeout = \"30s\" }\n";
    let with = |end: &str| {
        let script = format!("redis-cli -h redis set greeting hello\nredis-cli -h redis get greeting\n{end}");
        Project::with_pipeline(RUNNER, &pipeline(services, "\"redis\"", READ, &script))
    };
    let project = with("exit 3");
    let told = project.exec_json().expect(1).told();
    assert!(told.log("test").contains("OK\nhello\n"), "{}", told.printed());
    let [log] = logs(&project).try_into().expect("one log");
    let log = fs::read_to_string(log).expect("the log of redis");
    assert!(log.contains("Ready to accept connections"), "{log}");
    processes::wait_for_none_within(project.path());

    for signal in ["INT", "KILL"] {
        let project = with("echo WAITING; sleep 1000");
        let running = project.start(&["exec", "--format", "plain", "-v"]);
        running.wait_until("| WAITING");
        assert!(!processes::within(project.path()).is_empty(), "redis runs");
        running.signal(signal);
        running.finish();
        processes::wait_for_none_within(project.path());
    }
}

#[test]
fn one_that_needs_another_waits_for_it_and_the_component_reaches_both() {
    let test = "one_that_needs_another_waits_for_it_and_the_component_reaches_both";
    if !confined(RUNNER, test) || !has("/usr/bin/python3", "apt-get install python3-minimal") {
        return;
    }
    let services = format!(
        "{}\n{}",
        shell(
            "web",
            "echo from the other > index.html; echo serving; exec /usr/bin/python3 -m http.server 8000",
            "ready = { http = \"http://web:8000/\" }"
        ),
        shell(
            "proxy",
            "/usr/bin/python3 -c 'import urllib.request as u; open(\"index.html\", \"wb\").write(u.urlopen(\"http://web:8000/\").read())' && exec /usr/bin/python3 -m http.server 8001",
            "needs = [\"web\"]\nready = { tcp = 8001 }",
        )
    );
    let stage = "[stage.test]\nuses = \"smoke\"\nservices = [\"proxy\"]\n[stage.test.with]\nchecks = [\n\
                 { name = \"bare\", url = \"http://proxy:8001/\", expect = { status = 200, body = { contains = \"from the other\" } } },\n\
                 { name = \"long\", url = \"http://web.stage:8000/\", expect = { status = 200 } },\n]\n\
                 [stage.test.grants]\nhttp = [{ url = \"http://proxy:8001/**\" }, { url = \"http://web.stage:8000/**\" }]\n";
    let project = Project::with_pipeline(RUNNER, &format!("format = 1\nname = \"served\"\n\n{services}\n{stage}"));
    let told = project.exec_json().expect(0).told();
    assert_eq!(
        (states(&told, "web"), states(&told, "proxy")),
        (vec!["started".into(), "ready".into()], vec!["started".into(), "ready".into()])
    );
}

#[test]
fn a_service_has_a_folder_of_its_own_and_nothing_of_the_stages() {
    if !confined(RUNNER, "a_service_has_a_folder_of_its_own_and_nothing_of_the_stages") {
        return;
    }
    let script = "echo mine > kept; echo \"IN $(pwd) $HOME\"; echo \"ENV [$OF_STAGE] $OWN\"; ls -A /services /scratch; cat /workspace/a.txt; \
                  (echo x > /workspace/a.txt) 2>/dev/null && echo WROTE; echo of service > /tmp/shared; echo up; sleep 1000";
    let services = format!(
        "{}\n{}",
        shell("one", script, "env = { OWN = \"own\" }\nready = { log = \"up\" }"),
        shell("two", "ls -A ~ /tmp; echo up; sleep 1000", "needs = [\"one\"]\nready = { log = \"up\" }")
    );
    let probe = "ls -A /services ~; test ! -e /tmp/shared; echo ok > a.txt; exit 1";
    let project = Project::with_pipeline(RUNNER, &pipeline(&services, "\"two\"", WRITE, probe)).file("a.txt", "of the workspace\n");
    let told = project.exec_json().expect(1).told();
    assert_eq!(told.ended("test").message.lines().next(), Some("`script (sh -eu)`: exit code 1"), "{}", told.printed());
    let mut logs = logs(&project);
    logs.sort();
    let read = |path: &PathBuf| fs::read_to_string(path).expect("a log");
    let [one, two] = logs.iter().map(read).collect::<Vec<_>>().try_into().expect("the logs of a failure stay");
    assert_eq!(one, "IN /home/stage /home/stage\nENV [] own\n/scratch:\n\n/services:\nof the workspace\nup\n");
    assert_eq!(two, "/home/stage:\n\n/tmp:\nup\n");
}

#[test]
fn one_that_dies_or_never_serves_fails_the_stage_by_name() {
    if !confined(RUNNER, "one_that_dies_or_never_serves_fails_the_stage_by_name") {
        return;
    }
    for (script, ready, says) in [
        (
            "echo no configuration; exit 3",
            "tcp = 80",
            &["service `db` ended before it was ready (exit 3)", "no configuration", ".service-db.log"][..],
        ),
        (
            "echo waiting; sleep 1000",
            "tcp = 80, timeout = \"1s\"",
            &["service `db` was not ready within 1s: a connection to port 80: ", "waiting"][..],
        ),
        ("sleep 1000", "command = [\"false\"], timeout = \"1s\"", &["`false`: exit 1", "it printed nothing"][..]),
    ] {
        let services = shell("db", script, &format!("ready = {{ {ready} }}"));
        let project = Project::with_pipeline(RUNNER, &pipeline(&services, "\"db\"", READ, "echo RAN"));
        let finished = project.exec().expect(1).never_says("RAN");
        let _ = says.iter().fold(finished, |finished, text| finished.says(text));
        assert_eq!(logs(&project).len(), 1);
        processes::wait_for_none_within(project.path());
    }
    let missing = "[service.db]\ncommand = [\"no-such-program\"]\n";
    let project = Project::with_pipeline(RUNNER, &pipeline(missing, "\"db\"", READ, "echo RAN"));
    project.exec().expect(1).says("service `db` can't be started").says("no-such-program").never_says("RAN");
}

#[test]
fn a_stage_goes_on_without_an_optional_one() {
    if !confined(RUNNER, "a_stage_goes_on_without_an_optional_one") {
        return;
    }
    let services = "[service.cache]\ncommand = [\"no-such-program\"]\noptional = true\n";
    let project = Project::with_pipeline(RUNNER, &pipeline(services, "\"cache\"", READ, "echo RAN"));
    let told = project.exec_json().expect(0).told();
    let warnings: Vec<&str> = told.all("warning").filter_map(|event| event["message"].as_str()).collect();
    assert!(
        warnings.iter().any(|text| text.contains("goes on without an optional service: service `cache` can't be started")),
        "{warnings:?}"
    );
    assert!(told.log("test").contains("RAN"));
}

#[test]
fn nothing_is_left_of_services_when_a_run_is_stopped_or_killed() {
    if !confined(RUNNER, "nothing_is_left_of_services_when_a_run_is_stopped_or_killed") {
        return;
    }
    for signal in ["INT", "KILL"] {
        let (marker, stubborn) = (processes::marker(), processes::marker());
        let services = format!(
            "{}\n{}",
            shell("db", &format!("echo up; exec sleep {marker}"), "ready = { log = \"up\" }"),
            shell("late", &format!("trap '' TERM; exec sleep {stubborn}"), "needs = [\"db\"]\nready = { tcp = 80 }")
        );
        let project = Project::with_pipeline(RUNNER, &pipeline(&services, "\"late\"", READ, "echo RAN"));
        let running = project.start(&["exec", "--format", "plain", "-v"]);
        processes::wait_for(&marker, 1);
        processes::wait_for(&stubborn, 1);
        running.signal(signal);
        running.finish().never_says("RAN");
        processes::wait_for(&marker, 0);
        processes::wait_for(&stubborn, 0);
    }
}

#[test]
fn a_stage_that_was_cut_off_has_its_services_anew() {
    if !confined(RUNNER, "a_stage_that_was_cut_off_has_its_services_anew") {
        return;
    }
    let services = shell("db", "test ! -e used; touch used; echo up; sleep 1000", "ready = { log = \"up\" }");
    let script = "if [ ! -f ran ]; then touch ran; echo WAITING; sleep 1000; fi; echo through";
    let project = Project::with_pipeline(RUNNER, &pipeline(&services, "\"db\"", WRITE, script));
    project.replace("pipeline.toml", "programs = [\"sh\"]", "programs = [\"sh\"], repeatable = true");
    let running = project.start(&["exec", "--format", "plain", "-v"]);
    running.wait_until("| WAITING");
    running.kill().expect(137);
    let told = project.run(&["resume", "--format", "json"]).expect(0).told();
    assert!(told.log("test").contains("through"), "{}", told.printed());
    assert_eq!(states(&told, "db"), ["started", "ready"]);
}

#[test]
fn what_cannot_be_started_here_is_a_mistake() {
    let check = |service: &str| {
        let project = Project::with_pipeline(RUNNER, &pipeline(service, "\"db\"", READ, "true"));
        project.run(&["check"]).expect(3).says("[service.db]")
    };
    check("[service.db]\nimage = \"mysql:8.0\"\ntoolchain = \"node\"\n").says("contradiction").says("`toolchain` is for");
    check("[service.db]\ncommand = [\"x\"]\ntoolchain = \"cobol\"\n").says("there is no toolchain `cobol`");
}

/// A service in a container of the small image.
fn contained(name: &str, script: &str, more: &str) -> String {
    format!("[service.{name}]\nimage = \"runner-test/busybox:1\"\nentrypoint = [\"sh\", \"-c\"]\narguments = ['''{script}''']\n{more}\n")
}

const HTTPD: &str = "mkdir /www; echo from a container > /www/index.html; exec busybox httpd -f -p 8000 -h /www";

#[test]
fn a_container_is_reached_by_confined_programs_by_containers_and_by_the_component() {
    let test = "a_container_is_reached_by_confined_programs_by_containers_and_by_the_component";
    let Some(docker) = docker(test) else { return };
    if !confined(RUNNER, test) || !has("curl", "apt-get install curl") {
        return;
    }
    let web = contained("web", HTTPD, "ready = { http = \"http://web:8000/\" }\nports = [8000]");
    let second =
        contained("second", "wget -q -O - http://web:8000/ && exec nc -ll -p 9 -e echo nine", "needs = [\"web\"]\nready = { tcp = 9 }");
    let services = format!("{web}\n{second}");
    let confined = pipeline(
        &services,
        "\"second\"",
        READ,
        "curl -sf http://web:8000/; curl -sf http://web.stage:8000/; curl -s telnet://second:9 </dev/null || true",
    );
    let inside = confined
        .replace("in = \"process\", toolchain = \"system\"", "in = \"container\", image = \"runner-test/busybox:1\"")
        .replace("curl -sf", "wget -q -O -")
        .replace("curl -s telnet://second:9 </dev/null || true", "nc second 9");
    for text in [confined, inside] {
        let told = Project::with_pipeline(RUNNER, &text).exec_json().expect(0).told();
        assert!(told.log("test").contains("from a container\nfrom a container\n"), "{}", told.printed());
        assert!(told.log("test").contains("nine"), "{}", told.printed());
        assert_eq!(
            (states(&told, "web"), states(&told, "second")),
            (vec!["started".into(), "ready".into()], vec!["started".into(), "ready".into()])
        );
        docker.nothing_left();
    }
    let stage = "[stage.test]\nuses = \"smoke\"\nservices = [\"second\"]\n[stage.test.with]\nchecks = [{ name = \"bare\", url = \"http://web:8000/\", expect = { status = 200, body = { contains = \"from a container\" } } }]\n\
                 [stage.test.grants]\nhttp = [{ url = \"http://web:8000/**\" }]\n";
    Project::with_pipeline(RUNNER, &format!("format = 1\nname = \"served\"\n\n{services}\n{stage}")).exec().expect(0);
}

#[test]
fn one_in_a_container_has_the_same_gates_and_fails_by_name() {
    let Some(docker) = docker("one_in_a_container_has_the_same_gates_and_fails_by_name") else { return };
    for (script, ready, says) in [
        (
            "echo no configuration; exit 3",
            "tcp = 80",
            &["service `db` ended before it was ready (exit 3)", "no configuration", ".service-db.log"][..],
        ),
        (
            "echo waiting; exec sleep 1000",
            "tcp = 80, timeout = \"1s\"",
            &["service `db` was not ready within 1s: a connection to port 80: ", "waiting"][..],
        ),
        ("exec sleep 1000", "command = [\"false\"], timeout = \"1s\"", &["`false`: exit 1", "it printed nothing"][..]),
        ("exec sleep 1000", "command = [\"no-such\"], timeout = \"1s\"", &["`no-such`: "][..]),
        ("s=x; while :; do s=$s$s$s$s; done", "tcp = 80", &["its memory was not enough"][..]),
    ] {
        let services = contained("db", script, &format!("memory = \"16MiB\"\nready = {{ {ready} }}"));
        let project = Project::with_pipeline(RUNNER, &pipeline(&services, "\"db\"", READ, "echo RAN"));
        let finished = project.exec().expect(1).never_says("RAN");
        let _ = says.iter().fold(finished, |finished, text| finished.says(text));
        assert_eq!(logs(&project).len(), 1);
        docker.nothing_left();
    }
    let missing = "[service.db]\nimage = \"127.0.0.1:1/no/such:image\"\n";
    let project = Project::with_pipeline(RUNNER, &pipeline(missing, "\"db\"", READ, "echo RAN"));
    project.exec().expect(1).says("service `db` can't be started").says("127.0.0.1:1/no/such:image").never_says("RAN");
    project.replace("pipeline.toml", "no/such:image\"\n", "no/such:image\"\noptional = true\n");
    let told = project.exec_json().expect(0).told();
    assert!(told.log("test").contains("RAN"), "{}", told.printed());
}

#[test]
fn nothing_is_left_of_containers_when_a_run_is_stopped_or_killed() {
    let Some(docker) = docker("nothing_is_left_of_containers_when_a_run_is_stopped_or_killed") else { return };
    let db = contained("db", "echo up; trap '' TERM; exec sleep 1000", "ready = { log = \"up\" }\ntmpfs = [\"/data\"]");
    let late = contained("late", "exec sleep 1000", "needs = [\"db\"]\nready = { tcp = 80 }");
    let text = pipeline(&format!("{db}\n{late}"), "\"late\"", READ, "echo RAN");
    let project = Project::with_pipeline(RUNNER, &text);
    for signal in ["INT", "KILL"] {
        let running = project.start(&["exec", "--format", "plain", "-v"]);
        let began = std::time::Instant::now();
        while docker.left().iter().filter(|line| line.starts_with("container")).count() < 3 {
            assert!(began.elapsed().as_secs() < 60, "{:?}", docker.left());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        running.signal(signal);
        running.finish().never_says("RAN");
        if signal == "INT" {
            docker.nothing_left();
        }
    }
    // the next run takes away what a killed one left
    project.replace("pipeline.toml", "services = [\"late\"]", "services = [\"db\"]");
    project.exec().expect(0);
    docker.nothing_left();
}

#[test]
fn databases_serve_a_stage_in_containers() {
    let test = "databases_serve_a_stage_in_containers";
    let Some(docker) = docker(test) else { return };
    for image in ["runner-test/mariadb:1", "runner-test/redis:1", "runner-test/postgres:1"] {
        if !docker.output(&["image", "inspect", image]).status.success() {
            skipped(&format!("{test} needs the image {image}: `tests/engines/docker up`"));
            return;
        }
    }
    let services = "[service.mysql]\nimage = \"runner-test/mariadb:1\"\nready = { command = [\"mysqladmin\", \"ping\"], timeout = \"90s\" }\n\
                    [service.redis]\nimage = \"runner-test/redis:1\"\nready = { command = [\"redis-cli\", \"ping\"] }\n";
    let script = "mysql -h mysql -u root -e 'create database fresh; show databases'\nredis-cli -h redis set greeting hello";
    let text =
        pipeline(services, "\"mysql\", \"redis\"", READ, script).replace("script = '''", "script = '''\n# both are reached over TCP");
    let of_image = |image: &str, script: &str| {
        text.replace("in = \"process\", toolchain = \"system\"", &format!("in = \"container\", image = \"{image}\""))
            .replace("mysql -h mysql -u root -e 'create database fresh; show databases'\nredis-cli -h redis set greeting hello", script)
    };
    for _ in 0..2 {
        let mysql = of_image("runner-test/mariadb:1", "mysql -h mysql -u root -e 'create database fresh; show databases'");
        let told = Project::with_pipeline(RUNNER, &mysql).exec_json().expect(0).told();
        assert!(told.log("test").contains("fresh"), "fresh for each attempt: {}", told.printed());
    }
    let redis = of_image("runner-test/redis:1", "redis-cli -h redis dbsize; redis-cli -h redis.stage set a b");
    let told = Project::with_pipeline(RUNNER, &redis).exec_json().expect(0).told();
    assert!(told.log("test").contains("0\nOK\n"), "{}", told.printed());

    // one that asks for a password, and is ready when it says so
    let services = "[service.postgres]\nimage = \"runner-test/postgres:1\"\nenv = { POSTGRES_PASSWORD = \"wrong horse\", POSTGRES_DB = \"shop\" }\n\
                    ready = { log = \"database system is ready to accept connections\", timeout = \"90s\" }\n";
    let script = "psql -h postgres -U postgres -d shop -Atc 'create table made (id int); select count(*) from made'\n\
                  ! PGPASSWORD=other psql -h postgres -U postgres -d shop -c 'select 1'";
    let text = pipeline(services, "\"postgres\"", READ, script)
        .replace("in = \"process\", toolchain = \"system\"", "in = \"container\", image = \"runner-test/postgres:1\"")
        .replace("env.OF_STAGE = \"the stage's\"", "env.PGPASSWORD = \"wrong horse\"");
    for _ in 0..2 {
        let told = Project::with_pipeline(RUNNER, &text).exec_json().expect(0).told();
        assert!(
            told.log("test").contains("CREATE TABLE\n0\n") && told.log("test").contains("password authentication failed"),
            "{}",
            told.printed()
        );
    }
    docker.nothing_left();
}

/// A database with what a job put into it, and a cache: the shape of what projects test with.
const COMPOSE: &str = "\
x-image: &image { image: \"runner-test/mariadb:${TAG}\", volumes: [\"./db/init.sql:/init.sql:ro\"] }
services:
  mysql:
    <<: *image
    restart: always
    volumes: [\"data:/var/lib/mysql\"]
    env_file: mysql.env
    ports: [3306]
    healthcheck: { test: [CMD, mysqladmin, ping], interval: 1s, timeout: 5s, retries: 30 }
  seed:
    <<: *image
    entrypoint: [sh, -c]
    command: [\"mysql -h mysql -u root $$MYSQL_DATABASE < /init.sql\"]
    env_file: [mysql.env, { path: none.env, required: false }]
    depends_on: { mysql: { condition: service_healthy } }
    read_only: true
    tmpfs: /tmp
  redis:
    image: runner-test/redis:1
    depends_on: { seed: { condition: service_completed_successfully } }
    healthcheck: { test: redis-cli ping, interval: 1s }
  web:
    build: .
    privileged: true
volumes:
  data:
";

#[test]
fn services_of_a_compose_file_serve_a_stage() {
    let test = "services_of_a_compose_file_serve_a_stage";
    let Some(docker) = docker(test) else { return };
    for image in ["runner-test/mariadb:1", "runner-test/redis:1", "runner-test/postgres:1"] {
        if !docker.output(&["image", "inspect", image]).status.success() {
            skipped(&format!("{test} needs the image {image}: `tests/engines/docker up`"));
            return;
        }
    }
    let services = "[service.backend]\ncompose = \"ci/compose.yaml\"\nservices = [\"redis\"]\nenv = { TAG = 1 }\n";
    let script = "mysql -h mysql -u root -N -e 'select name from shop.items'\nmysql -h mysql -u root -e 'drop table shop.items'";
    let text = pipeline(services, "\"backend\"", READ, script)
        .replace("in = \"process\", toolchain = \"system\"", "in = \"container\", image = \"runner-test/mariadb:1\"");
    let project = Project::with_pipeline(RUNNER, &text)
        .file("ci/compose.yaml", COMPOSE)
        .file("ci/mysql.env", "MYSQL_DATABASE=shop\n")
        .file("ci/db/init.sql", "create table items (name varchar(20));\ninsert into items values ('of-the-job');\n");
    project.run(&["check"]).expect(0).says("`restart` has no effect");
    let plan = ["image runner-test/mariadb:1, reads ci/db/init.sql", "ready when it ends with 0", "after seed", "mysql, seed, redis"];
    let _ = plan.iter().fold(project.run(&["plan"]).expect(0), |finished, text| finished.says(text));
    project.run(&["plan", "--expanded"]).expect(0).says("[service.seed]").says("ci/compose.yaml:12").never_says("service.web");
    for _ in 0..2 {
        let told = project.exec_json().expect(0).told();
        assert!(told.log("test").contains("of-the-job\n"), "fresh for each attempt: {}", told.printed());
        for service in ["mysql", "seed", "redis"] {
            assert_eq!(states(&told, service), ["started", "ready"]);
        }
        docker.nothing_left();
    }
    project.replace("ci/db/init.sql", "insert into items", "insert into nothing");
    project.exec().expect(1).says("service `seed` ended before it was ready (exit 1)").says("nothing");
    docker.nothing_left();

    std::fs::remove_file(project.path().join("ci/db/init.sql")).expect("the file is there");
    std::os::unix::fs::symlink("/etc/passwd", project.path().join("ci/db/init.sql")).expect("a link");
    project.exec().expect(1).says("what a service mounts can't be had").says("ci/db/init.sql").never_says("root:");
    docker.nothing_left();

    project.replace("pipeline.toml", "services = [\"redis\"]", "services = [\"web\"]");
    project.run(&["check"]).expect(3).says("compose-unsupported").says("ci/compose.yaml:23:5").says("ci/compose.yaml:24:5");
}
