//! Whatever a stage sees of the world is in its record: the same component on the same record does the same, in every language, and goes on
//! from any point of it.

use std::path::{Path, PathBuf};

use end_to_end::{Project, Server, confined, foreign, guest};

use crate::RUNNER;

/// So many points at which each stage is killed, spread over its effects.
const POINTS: u64 = 8;

/// A stage that does everything: reads, writes, appends, renames, deletes, lists, asks, runs programs, waits, draws and sleeps.
fn project(component: &Path, with: &str, server: &Server) -> Project {
    let url = server.url("/**");
    let project = Project::new(RUNNER).file("guest.wasm", std::fs::read(component).expect("the guest"));
    project.write("src/in.txt", "what is read\nin two lines\n");
    project.write("src/log.txt", "what is appended to\n");
    project.write("src/from.txt", "what is renamed\n");
    project.write("src/old.txt", "what is deleted\n");
    project.write(
        "pipeline.toml",
        format!(
            "format = 1\nname = \"determinism\"\n\n[stage.s]\nuses = \"./guest.wasm\"\n[stage.s.with]\n{with}\n[stage.s.grants]\n\
             files = [{{ path = \".\", access = \"write\" }}]\ncommands = {{ in = \"process\", programs = [\"sh\"] }}\n\
             http = [{{ url = \"{url}\", methods = [\"GET\", \"POST\"], private = true }}]\n"
        ),
    );
    project
}

/// The settings of the guests in other languages.
fn steps(server: &Server) -> String {
    format!(
        "random = 3\nclock = true\nread = \"src/in.txt\"\nwrite = \"src/out.txt\"\nappend = \"src/log.txt\"\n\
         rename = [\"src/from.txt\", \"src/to.txt\"]\ndelete = \"src/old.txt\"\nlist = \"src\"\nget = \"{}\"\npost = \"{}\"\n\
         run = [\"sh\", \"-c\", \"cat src/out.txt src/log.txt | wc -c; date +%N; echo $$$$ >&2; exit 3\"]\n\
         race = [[\"sh\", \"-c\", \"sleep 0.2; date +%N\"], [\"sh\", \"-c\", \"sleep 0.1; date +%N\"], [\"sh\", \"-c\", \"date +%N\"]]\n\
         sleep = 300\noutputs = true\n",
        server.url("/get"),
        server.url("/post")
    )
}

/// The same with the Rust guest, as far as it can.
fn tries(server: &Server) -> String {
    let file = |op: &str, path: &str, to: &str| format!("{{ do = \"files\", op = \"{op}\", path = \"{path}\", to = \"{to}\" }}");
    let http = |method: &str| format!("{{ do = \"http\", method = \"{method}\", url = \"{}\" }}", server.url("/"));
    let run = |script: &str| format!("{{ do = \"command\", run = [\"sh\", \"-c\", \"{script}\"] }}");
    let tries = [
        "{ do = \"random\" }".to_owned(),
        "{ do = \"clocks\" }".to_owned(),
        "{ do = \"ambient\" }".to_owned(),
        file("read", "src/in.txt", ""),
        file("write", "src/out.txt", "written"),
        file("rename", "src/from.txt", "src/to.txt"),
        file("unlink", "src/old.txt", ""),
        file("mkdir", "src/new", ""),
        file("utime", "src/to.txt", ""),
        file("stat", "src/to.txt", ""),
        file("list", "src", ""),
        http("GET"),
        http("POST"),
        run("cat src/out.txt src/to.txt | wc -c; date +%N; exit 3"),
        "{ do = \"connect\", to = \"127.0.0.1:1\" }".to_owned(),
        "{ do = \"sleep\", millis = 300 }".to_owned(),
        "{ do = \"output\", name = \"done\", value = \"yes\" }".to_owned(),
    ];
    format!("tries = [\n{}\n]", tries.join(",\n"))
}

/// Runs it, replays it with nothing around it, and kills and resumes it all over.
fn deterministic(component: &Path, with: impl Fn(&Server) -> String) {
    let server = Server::start();
    let once = project(component, &with(&server), &server);
    let told = once.exec_json().expect(0).told();
    assert!(!told.ended("s").outputs.is_empty(), "{}", told.printed());
    server.stop();
    once.strip(&["guest.wasm"]);
    let replayed = once.replayed("s");
    let records = replayed.same("same");
    assert!(records > POINTS, "only {records} effects");

    let mut passed = 0;
    for point in 1..=POINTS {
        let at = records * point / (POINTS + 1);
        let server = Server::start();
        let project = project(component, &with(&server), &server).env("PIPELINE_FAULT", &format!("after:{at}"));
        project.exec_json().expect(137);
        let project = project.without("PIPELINE_FAULT");
        let told = project.resume(&["--in-doubt", "retry"]).told();
        assert_eq!(told.started("s"), [1], "killed after {at}");
        server.stop();
        let ended = told.ended("s");
        // what a POST did is done: the rest of its answer is not worth doing it twice, and the stage is told so
        let lost = ended.message.contains("the exchange was cut off");
        assert!(ended.outcome == "passed" || lost, "killed after {at}: {}", told.printed());
        passed += u64::from(ended.outcome == "passed");
        // what it put out is made of all that it saw: that it can be replayed as a whole means that nothing was seen twice or otherwise
        let outputs = ended.outputs;
        project.strip(&["guest.wasm"]);
        let replayed = project.replayed("s");
        replayed.same("same");
        if let Some((_, digest)) = outputs.iter().find(|(name, _)| name == "digest") {
            assert_eq!(*digest, digest_of(&replayed.recorded), "killed after {at}");
        }
    }
    assert!(passed >= POINTS - 2, "only {passed} of {POINTS} passed");
}

/// As the guests make it: of all that was printed by themselves, in hexadecimal.
fn digest_of(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log);
    let own: String = text.lines().filter(|line| !line.starts_with("command ")).map(|line| format!("{line}\n")).collect();
    let mut crc = !0u32;
    for byte in own.bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    format!("{:02x}", !crc)
}

fn in_language(language: &str) -> Option<PathBuf> {
    let test = format!("determinism in {language}");
    confined(RUNNER, &test).then(|| foreign(language, &test))?
}

#[test]
fn rust() {
    if confined(RUNNER, "determinism in Rust") {
        deterministic(&guest("hostile"), tries);
    }
}

#[test]
fn javascript() {
    if let Some(component) = in_language("javascript") {
        deterministic(&component, steps);
    }
}

#[test]
fn python() {
    if let Some(component) = in_language("python") {
        deterministic(&component, steps);
    }
}
