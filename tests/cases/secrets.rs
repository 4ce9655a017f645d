//! Secrets in use: they reach where they belong, and are found nowhere else.
//!
//! They come from files outside of the project, so that nothing but the runner has them. The server on loopback sends back all that it is
//! sent, and the guest tells everything that it is told.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use end_to_end::{Mirror, Needles, Project, Told, confined, processes, runs};
use tempfile::TempDir;

use crate::RUNNER;

const TOKEN: &str = "tok\"3n/with+everything%&=";
pub const SIMPLE: &str = "ghp_0123456789abcdefghij";

/// Files with secrets, and what the pipeline says of them.
pub struct Vault {
    folder: TempDir,
    text: String,
}

impl Vault {
    pub fn new() -> Vault {
        Vault { folder: tempfile::Builder::new().prefix("vault-").tempdir().expect("a folder"), text: String::new() }
    }

    pub fn with(mut self, name: &str, value: &str, to: &[&str]) -> Vault {
        let path = self.put(name, value);
        let to = to.iter().map(|to| format!("\"{to}\"")).collect::<Vec<_>>().join(", ");
        self.text.push_str(&format!("\n[secret.{name}]\nfrom = \"file:{path}\"\nto = [{to}]\n"));
        self
    }

    fn put(&self, name: &str, value: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, format!("{value}\n")).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("permissions");
        path.display().to_string()
    }

    /// The guest tries all of this with these secrets.
    pub fn tries(&self, project: &Project, stage: &str, grants: &str, tries: &[&str]) {
        project.tries(stage, grants, tries);
        let text = project.read("pipeline.toml");
        project.write("pipeline.toml", text + &self.text);
    }
}

/// Answers of the guest, in order.
fn answers(told: &Told) -> Vec<String> {
    told.attempts("try").into_iter().map(|attempt| attempt.answer).collect()
}

fn http(server: &Mirror, path: &str, rest: &str) -> String {
    format!("{{ do = \"http\", url = \"{}\"{rest} }}", server.url(path))
}

#[test]
fn secrets_reach_the_server_and_nobody_else() {
    let server = Mirror::start();
    let hook = server.url("/services/T0000/B1111/hook-that-nobody-knows");
    let vault = Vault::new().with("token", TOKEN, &[&server.url("/**")]).with("simple", SIMPLE, &[&server.url("/**")]).with(
        "hook",
        &hook,
        &[&server.url("/services/**")],
    );
    let project = Project::hostile(RUNNER);
    let json =
        ", method = \"POST\", headers = [[\"content-type\", \"application/json\"]], body = '{\"a\":[{\"b\":\"x ${secret.token}\"}]}'";
    let form =
        ", method = \"POST\", headers = [[\"content-type\", \"application/x-www-form-urlencoded\"]], body = 'a=1&token=${secret.token}'";
    let tries = [
        http(
            &server,
            "/header",
            ", headers = [[\"authorization\", \"Bearer ${secret.token}\"], [\"x-two\", \"${secret.simple} ${secret.token}\"]]",
        ),
        http(&server, "/basic", ", basic = [\"user\", \"${secret.token}\"]"),
        http(&server, "/bot${secret.token}/send", ""),
        http(&server, "/query?a=1&token=${secret.token}&b=2", ""),
        http(&server, "/json", json),
        http(&server, "/form", form),
        "{ do = \"http\", url = \"${secret.hook}\", method = \"POST\", body = \"hello\" }".to_owned(),
        "{ do = \"memory-to\", path = \"/workspace/memory\" }".to_owned(),
    ];
    let tries: Vec<&str> = tries.iter().map(String::as_str).collect();
    let grants = format!(
        "files = [{{ path = \".\", access = \"write\" }}]\nhttp = [{{ url = \"{}\", methods = [\"GET\", \"POST\"] }}, {{ url = \"${{secret.hook}}\", methods = [\"POST\"] }}]",
        server.url("/**")
    );
    vault.tries(&project, "workspace = \"shared\"", &grants, &tries);

    let finished = project.run(&["exec", "--format", "json", "--junit", "junit.xml"]).expect(0);
    let told = finished.told();
    let answers = answers(&told);
    assert!(answers.iter().all(|answer| answer.starts_with("ok ")), "{answers:#?}\n{:#?}", told.denials("try"));

    // the server has them, as each place wants them
    let sent = server.sent();
    assert!(sent[0].contains(&format!("authorization: Bearer {TOKEN}\r\n")), "{}", sent[0]);
    assert!(sent[0].contains(&format!("x-two: {SIMPLE} {TOKEN}\r\n")), "{}", sent[0]);
    assert!(sent[1].contains("authorization: Basic dXNlcjp0b2siM24vd2l0aCtldmVyeXRoaW5nJSY9\r\n"), "{}", sent[1]);
    assert!(sent[2].starts_with("GET /bottok%223n%2Fwith%2Beverything%25%26%3D/send HTTP/1.1\r\n"), "{}", sent[2]);
    assert!(sent[3].starts_with("GET /query?a=1&token=tok%223n%2Fwith%2Beverything%25%26%3D&b=2 HTTP"), "{}", sent[3]);
    assert!(sent[4].ends_with("\r\n\r\n{\"a\":[{\"b\":\"x tok\\\"3n/with+everything%&=\"}]}"), "{}", sent[4]);
    assert!(sent[4].contains("content-length: 44\r\n"), "{}", sent[4]);
    assert!(sent[5].ends_with("\r\n\r\na=1&token=tok%223n%2Fwith%2Beverything%25%26%3D"), "{}", sent[5]);
    assert!(sent[6].starts_with("POST /services/T0000/B1111/hook-that-nobody-knows HTTP/1.1\r\n"), "{}", sent[6]);
    assert_eq!(sent.len(), 7);

    // the guest saw as many asterisks, and its memory holds none of it
    assert!(answers[0].contains(&format!("authorization: Bearer {}", "*".repeat(TOKEN.len()))), "{}", answers[0]);
    let needles = Needles::of(&[TOKEN, SIMPLE, &hook, "/services/T0000/B1111/hook-that-nobody-knows"]);
    let memory = std::fs::read(project.path().join("memory")).expect("an image of the memory");
    assert!(memory.len() > 1 << 20 && Needles::of(&["Bearer __secret-token-"]).within(&memory).is_some(), "it is the guest's memory");
    assert_eq!(needles.within(&memory), None);

    // nor does anything that was printed or written
    assert_eq!(needles.within(finished.stdout.as_bytes()), None);
    assert_eq!(needles.within(finished.stderr.as_bytes()), None);
    assert!(needles.nowhere_below(project.path()) > 5);
    assert_eq!(needles.within(project.run(&["show", "--format", "json"]).stdout.as_bytes()), None);
    assert_eq!(needles.within(project.run(&["ledger", &project.the_run()]).expect(0).stdout.as_bytes()), None);

    // a replay needs none of them
    drop(vault);
    project.replayed("try").same("same");
    assert_eq!(server.sent().len(), 7);
}

#[test]
fn a_secret_goes_nowhere_else() {
    let (here, elsewhere) = (Mirror::start(), Mirror::start());
    let vault =
        Vault::new().with("token", TOKEN, &[&here.url("/v1/**")]).with("hook", &elsewhere.url("/hook/abcdefghijklm"), &[&here.url("/**")]);
    let bearer = ", headers = [[\"authorization\", \"Bearer ${secret.token}\"]]";
    let cases: [(String, &str); 14] = [
        (http(&here, "/v1/x", bearer), "ok 200"),
        (http(&here, "/v2/x", bearer), "refused secret-place"),
        (http(&elsewhere, "/v1/x", bearer), "refused secret-place"),
        ("{ do = \"http\", url = \"http://192.0.2.1/v1/x\", headers = [[\"x\", \"${secret.token}\"]] }".to_owned(), "refused secret-place"),
        (http(&elsewhere, "/x", ", basic = [\"user\", \"${secret.token}\"]"), "refused secret-place"),
        (http(&elsewhere, "/${secret.token}", ""), "refused secret-place"),
        (http(&elsewhere, "/?x=${secret.token}", ""), "refused secret-place"),
        (http(&here, "/v1/x", ", headers = [[\"${secret.token}\", \"x\"]]"), "refused secret-place"),
        (
            http(&here, "/v1/x", ", method = \"POST\", headers = [[\"content-type\", \"text/plain\"]], body = \"${secret.token}\""),
            "refused secret-place",
        ),
        (
            http(&here, "/v1/x", ", method = \"POST\", headers = [[\"content-type\", \"application/json\"]], body = '${secret.token}'"),
            "refused secret-place",
        ),
        ("{ do = \"http\", url = \"${secret.hook}\", method = \"POST\" }".to_owned(), "refused secret-place"),
        ("{ do = \"http\", url = \"${secret.token}\" }".to_owned(), "refused bad-url"),
        // to another origin, headers stay behind; a body that is sent on is decided like any other
        (http(&here, &format!("/to/302/{}", elsewhere.url("/open")), ", redirects = 3"), "ok 200"),
        (http(&here, "/v1/x?not=__secret-token-00000000000000000000000000000000__", ""), "ok 200"),
    ];
    let project = Project::hostile(RUNNER);
    let tries: Vec<&str> = cases.iter().map(|(what, _)| what.as_str()).collect();
    let grants = format!(
        "http = [{{ url = \"{}\", methods = [\"GET\", \"POST\"] }}, {{ url = \"{}\" }}, {{ url = \"http://192.0.2.1/**\" }}, {{ url = \"${{secret.hook}}\", methods = [\"POST\"] }}]",
        here.url("/**"),
        elsewhere.url("/**")
    );
    vault.tries(&project, "", &grants, &tries);
    let told = project.exec_json().told();
    let answers = answers(&told);
    assert_eq!(answers.len(), cases.len(), "{answers:#?}");
    for ((what, expected), answer) in cases.iter().zip(&answers) {
        assert!(answer.starts_with(expected), "{what}\n  wanted {expected:?}\n  got    {answer:?}\n{:#?}", told.denials("try"));
    }
    assert_eq!(elsewhere.sent().len(), 1, "what was refused was not sent");
    assert_eq!(Needles::of(&[TOKEN]).within(elsewhere.sent().concat().as_bytes()), None);
    // the denial says what would allow it
    let remedies: Vec<String> = told.denials("try").into_iter().filter_map(|denial| denial.remedy).collect();
    assert!(remedies.contains(&format!("[secret.token]\nto = [\"{}\", \"{}\"]", here.url("/v1/**"), here.url("/v2/x"))), "{remedies:#?}");
}

#[test]
fn redirects_leave_secrets_behind() {
    let (here, elsewhere) = (Mirror::start(), Mirror::start());
    let vault = Vault::new().with("token", SIMPLE, &[&here.url("/**")]);
    let to = |status: u16, url: String| here.url(&format!("/to/{status}/{url}"));
    let headers = ", redirects = 3, headers = [[\"x-token\", \"${secret.token}\"], [\"content-type\", \"application/json\"]]";
    let body = ", method = \"POST\", body = '{\"t\":\"${secret.token}\"}'";
    let cases = [
        (format!("{{ do = \"http\", url = \"{}\"{headers} }}", to(302, here.url("/same"))), "ok 200"),
        (format!("{{ do = \"http\", url = \"{}\"{headers} }}", to(302, elsewhere.url("/other"))), "ok 200"),
        (format!("{{ do = \"http\", url = \"{}\"{headers}{body} }}", to(307, elsewhere.url("/body"))), "refused secret-place"),
    ];
    let project = Project::hostile(RUNNER);
    let tries: Vec<&str> = cases.iter().map(|(what, _)| what.as_str()).collect();
    let grants = format!(
        "http = [{{ url = \"{}\", methods = [\"GET\", \"POST\"] }}, {{ url = \"{}\", methods = [\"GET\", \"POST\"] }}]",
        here.url("/**"),
        elsewhere.url("/**")
    );
    vault.tries(&project, "", &grants, &tries);
    let told = project.exec_json().told();
    for ((what, expected), answer) in cases.iter().zip(answers(&told)) {
        assert!(answer.starts_with(expected), "{what}: {answer}\n{:#?}", told.denials("try"));
    }
    let same: Vec<String> = here.sent().into_iter().filter(|sent| sent.starts_with("GET /same")).collect();
    assert!(same[0].contains(&format!("x-token: {SIMPLE}\r\n")), "{same:?}");
    let other = elsewhere.sent();
    assert_eq!(other.len(), 1);
    assert!(!other[0].contains("x-token") && !other[0].contains("__secret"), "{other:?}");
}

#[test]
fn a_program_has_it_in_its_environment_alone() {
    if !confined(RUNNER, "a_program_has_it_in_its_environment_alone") {
        return;
    }
    let vault = Vault::new().with("token", SIMPLE, &["env:sh"]).with("other", TOKEN, &["env:cat"]);
    let project = Project::hostile(RUNNER);
    let marker = processes::marker();
    let sleeper = format!("printf 'have %s\\n' \"$TOKEN\"; exec sleep {marker}");
    let run = |script: &str| format!("{{ do = \"command\", run = [\"sh\", \"-c\", '''{script}'''] }}");
    let tries = [
        run(
            "printf '%s' \"$TOKEN\" | wc -c; printf '%s' \"$TOKEN\" | rev; printf '%s' \"$TOKEN\" | cut -c1-10; echo; printf '%s' \"$TOKEN\" | cut -c11-",
        ),
        // in pieces, in base64, and what others of the stage have
        run("printf 'ghp_0123'; sleep 0.1; echo 456789abcdefghij; printf '%s' \"$TOKEN\" | base64; printf 'x%s' \"$TOKEN\" | base64"),
        run("cat /proc/*/environ | tr '\\0' '\\n' | grep -c '^TOKEN=' ; true"),
        "{ do = \"command\", run = [\"sh\", \"-c\", \"env\"], env = [[\"OTHER\", \"${secret.other}\"]] }".to_owned(),
        run(&sleeper),
    ];
    let tries: Vec<&str> = tries.iter().map(String::as_str).collect();
    let grants =
        "files = [{ path = \".\", access = \"read\" }]\ncommands = { in = \"process\", toolchain = \"system\", programs = [\"sh\"] }";
    vault.tries(&project, "env = { TOKEN = \"${secret.token}\" }\ntimeout = \"60s\"", grants, &tries);

    let running = project.begin();
    processes::wait_for(&marker, 1);
    // all processes of this machine that have it in their environment
    let needles = Needles::of(&[SIMPLE]);
    let have = |file: &str| -> Vec<u32> {
        let all = std::fs::read_dir("/proc").expect("/proc").flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        all.filter(|pid| std::fs::read(format!("/proc/{pid}/{file}")).is_ok_and(|bytes| needles.within(&bytes).is_some())).collect()
    };
    assert_eq!(have("environ"), processes::with(&marker), "the program alone has it");
    assert_eq!(have("cmdline"), [] as [u32; 0]);
    running.signal("INT");
    let finished = running.finish();
    let told = finished.told();
    let log = told.log("try");
    let answers = answers(&told);
    assert!(log.contains(&format!("{}\n", SIMPLE.len())), "the whole of it was there\n{log}");
    assert!(log.contains("have ************************\n"), "{log}");
    assert!(log.contains("ghp_012345\n") && log.contains("6789abcdefghij\n"), "what a program does on purpose is its own\n{log}");
    assert_eq!(answers[3], "refused secret-place", "{answers:#?}");
    assert_eq!(needles.within(finished.stdout.as_bytes()), None, "{log}");
    needles.nowhere_below(project.path());
}

#[test]
fn reading_the_bytes_is_a_grant_of_its_own() {
    let vault = Vault::new().with("key", SIMPLE, &["https://sign.example/**"]).with("other", TOKEN, &["https://sign.example/**"]);
    let project = Project::hostile(RUNNER);
    let tries = [
        "{ do = \"read\", secret = \"key\" }",
        "{ do = \"read\", secret = \"other\" }",
        "{ do = \"read\", secret = \"none\" }",
        "{ do = \"placeholder\", secret = \"other\" }",
        "{ do = \"placeholder\", secret = \"key\" }",
        "{ do = \"print\", text = \"half way\" }",
        "{ do = \"sleep\", millis = 3000 }",
        "{ do = \"read\", secret = \"key\" }",
    ];
    vault.tries(&project, "", "secrets = { read = [\"key\"] }", &tries);
    project.run(&["plan"]).expect(0).says("READ the bytes of secret key");

    // cut off and taken up: the bytes are in no record, and are there again
    project.killed_when("half way");
    let finished = project.resume(&[]).expect(0);
    let told = finished.told();
    let log = std::fs::read_to_string(project.log("try")).expect("a log");
    let answers: Vec<&str> =
        log.lines().filter_map(|line| line.split_once("RESULT ")?.1.split_once(' ')).map(|(_, answer)| answer).collect();
    let expected = format!("ok {} bytes: {}", SIMPLE.len(), "*".repeat(SIMPLE.len()));
    assert_eq!((answers[0], answers[7]), (expected.as_str(), expected.as_str()), "{answers:#?}");
    assert!(answers[1..4].iter().all(|answer| *answer == "refused not-granted"), "{answers:#?}");
    assert!(answers[4].starts_with("ok __secret-key-"), "{answers:#?}");
    let remedies: Vec<String> = told.denials("try").into_iter().filter_map(|denial| denial.remedy).collect();
    assert!(remedies.iter().any(|r| r == "[stage.try.grants]\nsecrets = { read = [\"key\", \"other\"] }"), "{remedies:#?}");
    let needles = Needles::of(&[SIMPLE, TOKEN]);
    assert_eq!(needles.within(finished.stdout.as_bytes()), None);
    needles.nowhere_below(project.path());
    // a replay says what it lacks
    project.run(&["replay", &project.the_run(), "try"]).expect(1).says("the stage read the secret `key`, whose bytes are in no record");
}

#[test]
fn what_a_stage_says_of_itself_is_masked() {
    let vault = Vault::new().with("key", SIMPLE, &["https://sign.example/**"]);
    let project = Project::hostile(RUNNER);
    for (last, code) in [
        (format!("{{ do = \"answer\", as = \"failed\", message = \"because {SIMPLE}\" }}"), 1),
        (format!("{{ do = \"answer\", as = \"passed\", message = \"and {SIMPLE}\" }}"), 0),
    ] {
        let tries = [runs::output("key", &format!("it is {SIMPLE}")), runs::print(&format!("it is {SIMPLE}")), last];
        let tries: Vec<&str> = tries.iter().map(String::as_str).collect();
        vault.tries(&project, "", "secrets = { read = [\"key\"] }", &tries);
        // the pipeline's text is the user's own, and the record has it as it is
        let finished = project.run(&["exec", "--format", "json", "--junit", "junit.xml"]).expect(code);
        let needles = Needles::of(&[SIMPLE]);
        let told = finished.told();
        assert_eq!(needles.within(finished.stdout.as_bytes()), None, "{}", finished.stdout);
        assert_eq!(needles.within(project.read("junit.xml").as_bytes()), None);
        assert!(told.log("try").contains("it is ************************"), "{}", told.log("try"));
        let ended = told.ended("try");
        assert!(ended.message.contains("************************"), "{ended:?}");
        if code == 0 {
            assert_eq!(ended.outputs, [("key".to_owned(), "it is ************************".to_owned())]);
        }
    }
}

#[test]
fn a_stage_that_uses_secrets_goes_on_after_a_crash() {
    let server = Mirror::start();
    let vault = Vault::new().with("token", TOKEN, &[&server.url("/**")]);
    let post = |path: &str| {
        http(
            &server,
            path,
            ", method = \"POST\", headers = [[\"authorization\", \"Bearer ${secret.token}\"], [\"idempotency-key\", \"1\"]], body = \"x\"",
        )
    };
    let tries = [post("/one"), runs::print("half way"), post("/two")];
    let tries: Vec<&str> = tries.iter().map(String::as_str).collect();
    let grants = format!("http = [{{ url = \"{}\", methods = [\"POST\"] }}]", server.url("/**"));
    for fault in ["before:1", "between:1", "after:1", "between:4", "after:4"] {
        let project = Project::hostile(RUNNER).env("PIPELINE_FAULT", fault);
        vault.tries(&project, "", &grants, &tries);
        project.exec_json().expect(137);
        let project = project.without("PIPELINE_FAULT");
        let told = project.resume(&[]).expect(0).told();
        assert!(answers(&told).iter().all(|answer| answer.starts_with("ok ")), "{fault}: {:#?}", answers(&told));
        Needles::of(&[TOKEN]).nowhere_below(project.path());
        project.replayed("try").same("same");
    }
    assert!(server.sent().iter().all(|sent| sent.contains(&format!("authorization: Bearer {TOKEN}\r\n"))));
}

#[test]
fn a_secret_that_cannot_be_had_fails_its_stage() {
    let project = Project::hostile(RUNNER).script("give", "#!/bin/sh\necho no such entry: $1 >&2\nexit 4\n");
    let cases = [
        (
            "env:NO_SUCH_TOKEN",
            "the secret `x` can't be fetched from env:NO_SUCH_TOKEN: the variable `NO_SUCH_TOKEN` is not set; set it where the runner is started",
        ),
        ("env:SHORT_TOKEN", "it has 7 bytes; one with less than 8 can be guessed"),
        ("file:/nonexistent/token", "/nonexistent/token: No such file or directory (os error 2); put the secret there"),
        ("cmd:./give entry", "`./give` ended with exit status: 4: no such entry: entry; try the command in a terminal"),
    ];
    let project = project.env("SHORT_TOKEN", "s3cr3t!");
    for (from, message) in cases {
        project.tries("env = { X = \"${secret.x}\" }", "", &["{ do = \"print\", text = \"it ran\" }"]);
        let text = project.read("pipeline.toml") + &format!("\n[secret.x]\nfrom = \"{from}\"\nto = [\"env\"]\n");
        project.write("pipeline.toml", text);
        // nothing is fetched to look at the pipeline
        project.run(&["check"]).expect(0);
        project.run(&["plan"]).expect(0).says(from);
        let finished = project.exec_json().expect(1);
        let ended = finished.told().ended("try");
        assert!(ended.message.contains(message), "{from}: {}", ended.message);
        finished.never_says("it ran").never_says("s3cr3t!");
    }
}

#[test]
fn mistakes_about_secrets_are_found_by_check() {
    let mistakes = [
        ("from = \"env:X\"\nto = [\"http://api.example/**\"]", "`http://` would send the secret in the open"),
        ("from = \"env:X\"\nto = [\"https://*.example.com/**\"]", "a secret goes to hosts that are named"),
        ("from = \"env:X\"\nto = [\"https://api.example\"]", "the URL has no path"),
        ("from = \"env:X\"\nto = [\"stdin\"]", "a secret can't be put there"),
        ("from = \"vault:x\"\nto = [\"env\"]", "a secret can't come from there"),
        ("from = \"env:X\"\naudience = \"x\"\nto = [\"env\"]", "`audience` is for secrets that come from `oidc:`"),
        ("from = \"oidc:http://sts.example/token\"\nto = [\"env\"]", "the token endpoint: `http://`"),
    ];
    for (lines, message) in mistakes {
        let project = Project::hostile(RUNNER);
        project.tries("env = { X = \"${secret.x}\" }", "", &["{ do = \"print\", text = \"x\" }"]);
        let text = project.read("pipeline.toml") + &format!("\n[secret.x]\n{lines}\n");
        project.write("pipeline.toml", text);
        project.run(&["check"]).expect(3).says(message);
    }
}

#[test]
fn the_token_of_the_ci_is_exchanged() {
    let endpoint = TokenEndpoint::start();
    let server = Mirror::start();
    let project = Project::hostile(RUNNER).env("CI_ID_TOKEN", "header.payload.signature");
    let tries = [http(&server, "/", ", headers = [[\"authorization\", \"Bearer ${secret.deploy}\"]]")];
    project.tries("", &format!("http = [{{ url = \"{}\" }}]", server.url("/**")), &[&tries[0]]);
    let text = project.read("pipeline.toml")
        + &format!(
            "\n[secret.deploy]\nfrom = \"oidc:http://127.0.0.1:{}/token\"\ntoken = \"env:CI_ID_TOKEN\"\naudience = \"deploy\"\nto = [\"{}\"]\n",
            endpoint.port,
            server.url("/**")
        );
    project.write("pipeline.toml", text);
    let finished = project.exec_json().expect(0);
    assert!(server.sent()[0].contains("authorization: Bearer exchanged-for-this-run\r\n"), "{:?}", server.sent());
    let asked = endpoint.asked();
    assert!(asked.contains("subject_token=header.payload.signature"), "{asked}");
    let needles = Needles::of(&["exchanged-for-this-run", "header.payload.signature"]);
    assert_eq!(needles.within(finished.stdout.as_bytes()), None);
    needles.nowhere_below(Path::new(project.path()));
}

/// Gives a token for whatever it is asked.
struct TokenEndpoint {
    port: u16,
    asked: std::thread::JoinHandle<String>,
}

impl TokenEndpoint {
    fn start() -> TokenEndpoint {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let (mut text, mut piece) = (String::new(), [0; 4096]);
            while !text.contains("subject_token_type") {
                let read = stream.read(&mut piece).expect("a request");
                text.push_str(&String::from_utf8_lossy(&piece[..read]));
            }
            let body = "{\"access_token\":\"exchanged-for-this-run\",\"issued_token_type\":\"urn:ietf:params:oauth:token-type:access_token\",\"token_type\":\"Bearer\"}";
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                .expect("an answer");
            text
        });
        TokenEndpoint { port, asked }
    }

    fn asked(self) -> String {
        self.asked.join().expect("it was asked")
    }
}
