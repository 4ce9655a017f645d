//! What reaches a component without a grant: nothing of the network, nothing of the machine.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use end_to_end::{Case, Project, confined, skipped};

use crate::RUNNER;

/// An HTTP server on loopback that answers by path and remembers what it was asked.
struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// `/to/<url>` redirects there, `/again` to `/ok`; everything else is answered with `hello`.
    fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let told = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let told = told.clone();
                std::thread::spawn(move || answer(stream, &told));
            }
        });
        Server { port, asked }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// A request that redirects to another place.
    fn redirect(&self, to: &str) -> String {
        get_with(&self.url(&format!("/to/{to}")), ", redirects = 5")
    }

    /// The requests so far: first lines and headers.
    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("the server runs").clone()
    }
}

fn answer(mut stream: TcpStream, told: &Mutex<Vec<String>>) {
    let mut head = String::new();
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|read| read > 0) {}
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    told.lock().expect("the test runs").push(head);
    let location = path.strip_prefix("/to/").map(str::to_owned).or_else(|| (path == "/again").then(|| "/ok".to_owned()));
    let answer = match location {
        Some(to) => format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
        None => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello".to_owned(),
    };
    let _ = stream.write_all(answer.as_bytes());
}

fn get(url: &str) -> String {
    get_with(url, "")
}

fn get_with(url: &str, more: &str) -> String {
    format!("{{ do = \"http\", url = \"{url}\"{more} }}")
}

fn wasi(scheme: &str, authority: &str) -> String {
    format!("{{ do = \"wasi-http\", scheme = \"{scheme}\", authority = \"{authority}\", path = \"/ok\" }}")
}

fn check(grants: &str, cases: &[(String, &str, &str)]) {
    let cases: Vec<Case<'_>> = cases.iter().map(|(what, answer, code)| (what.as_str(), *answer, *code)).collect();
    Project::hostile(RUNNER).cases("", grants, &cases);
}

/// The metadata service and this machine, in all the ways in which URLs spell addresses. No name server is asked.
const SPELLINGS: &[&str] = &[
    "169.254.169.254",
    "2852039166",
    "0xA9FEA9FE",
    "0251.0376.0251.0376",
    "169.254.43518",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[fd00:ec2::254]",
    "[64:ff9b::a9fe:a9fe]",
    "169.254.169.254.",
    "%31%36%39.254.169.254",
    "１６９.254.169.254",
    "100.100.100.200",
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f.1",
    "017700000001",
    "0.0.0.0",
    "0",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[0:0:0:0:0:0:0:1]",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "x.localhost",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "[fe80::1]",
    "[fc00::1]",
];

#[test]
fn nothing_is_asked_without_a_grant() {
    let cases: Vec<_> =
        SPELLINGS.iter().map(|host| (get(&format!("http://{host}/latest/meta-data/")), "refused not-granted", "*")).collect();
    check("", &cases);
    let server = Server::start();
    let authority = format!("127.0.0.1:{}", server.port);
    check(
        "",
        &[
            (get(&server.url("/ok")), "refused not-granted", "not-granted"),
            (get("https://example.com/"), "refused not-granted", "not-granted"),
            (wasi("http", &authority), "refused", "*"),
            (wasi("http", "169.254.169.254"), "refused", "not-granted"),
            (wasi("https", "example.org"), "refused", "not-granted"),
        ],
    );
    assert_eq!(server.asked(), Vec::<String>::new());
}

#[test]
fn a_granted_place_is_reached_and_no_other() {
    let (server, other) = (Server::start(), Server::start());
    let grants = format!("http = [{{ url = \"http://127.0.0.1:{}/**\", methods = [\"GET\"], private = true }}]", server.port);
    let at = |host: &str| get(&format!("http://{host}:{}/ok", server.port));
    check(
        &grants,
        &[
            (get(&server.url("/ok")), "ok 200 hello", ""),
            (get_with(&server.url("/again"), ", redirects = 1"), "ok 200 hello", ""),
            (get(&server.url("/again")), "ok 302", ""),
            (wasi("http", &format!("127.0.0.1:{}", server.port)), "ok 200", ""),
            // the same address, spelled in another way, is the same place
            (at("2130706433"), "ok 200", ""),
            (at("0x7f000001"), "ok 200", ""),
            (at("localhost"), "refused not-granted", "not-granted"),
            (at("[::ffff:127.0.0.1]"), "refused not-granted", "not-granted"),
            (at("127.0.0.2"), "refused not-granted", "not-granted"),
            (get(&other.url("/ok")), "refused not-granted", "not-granted"),
            (wasi("http", &format!("127.0.0.1:{}", other.port)), "refused", "*"),
            (get(&server.url("/ok").replace("http:", "https:")), "refused not-granted", "not-granted"),
            (get_with(&server.url("/ok"), ", method = \"POST\""), "refused not-granted", "not-granted"),
            (get_with(&server.url("/ok"), ", method = \"CONNECT\""), "refused not-granted", "not-granted"),
            (get_with(&server.url("/ok"), ", headers = [[\"host\", \"metadata\"]]"), "refused host-header", "host-header"),
            (get_with(&server.url("/ok?2"), ", headers = [[\"Proxy-Authorization\", \"x\"]]"), "refused host-header", "*"),
            (get_with(&server.url("/ok?3"), ", headers = [[\"transfer-encoding\", \"chunked\"]]"), "refused host-header", "*"),
            (get_with(&server.url("/ok"), ", headers = [[\"x\", \"a\\r\\nhost: b\"]]"), "error", ""),
            (get(&format!("http://me:secret@127.0.0.1:{}/ok", server.port)), "refused bad-url", "bad-url"),
            (get("file:///etc/passwd"), "refused bad-url", "bad-url"),
            (get("ftp://127.0.0.1/"), "refused bad-url", "bad-url"),
            (get("http:///"), "refused", "*"),
        ],
    );
    assert_eq!(other.asked(), Vec::<String>::new());
}

#[test]
fn redirects_are_decided_anew() {
    let (server, other) = (Server::start(), Server::start());
    let grants = format!("http = [{{ url = \"http://127.0.0.1:{}/**\", methods = [\"GET\"], private = true }}]", server.port);
    check(
        &grants,
        &[
            (server.redirect(&other.url("/stolen")), "refused not-granted", "not-granted"),
            (server.redirect("http://169.254.169.254/latest/meta-data/"), "refused not-granted", "not-granted"),
            (server.redirect("http://[::ffff:a9fe:a9fe]/"), "refused not-granted", "not-granted"),
            (server.redirect("http://2852039166/"), "refused not-granted", "*"),
            (server.redirect(&format!("//localhost:{}/ok", server.port)), "refused not-granted", "not-granted"),
            (server.redirect(&format!("http://me@127.0.0.1:{}/ok", server.port)), "refused bad-url", "bad-url"),
            (server.redirect("file:///etc/passwd"), "refused bad-url", "bad-url"),
            (server.redirect(&server.url("/ok")), "ok 200 hello", ""),
            (get_with(&server.url(&format!("/to/{}", server.url("/again"))), ", redirects = 1"), "error more than 1 redirects", ""),
        ],
    );
    assert_eq!(other.asked(), Vec::<String>::new());
}

#[test]
fn credentials_stay_with_the_origin_that_they_were_for() {
    let (server, other) = (Server::start(), Server::start());
    let rule = |port: u16| format!("{{ url = \"http://127.0.0.1:{port}/**\", methods = [\"GET\"] }}");
    let grants = format!("http = [{}, {}]", rule(server.port), rule(other.port));
    let headers = ", redirects = 5, headers = [[\"Authorization\", \"Bearer t0ken\"], [\"cookie\", \"s=1\"], [\"x-plain\", \"kept\"]]";
    check(&grants, &[(get_with(&server.url(&format!("/to/{}", other.url("/ok"))), headers), "ok 200 hello", "")]);
    let (first, second) = (server.asked().join("").to_lowercase(), other.asked().join("").to_lowercase());
    assert!(first.contains("bearer t0ken") && first.contains("s=1"), "{first}");
    assert!(!second.contains("t0ken") && !second.contains("s=1") && second.contains("x-plain: kept"), "{second}");
}

#[test]
fn a_path_means_what_the_server_would_make_of_it() {
    let server = Server::start();
    let grants = format!("http = [{{ url = \"http://127.0.0.1:{}/api/*\", query = [\"page\"] }}]", server.port);
    check(
        &grants,
        &[
            (get(&server.url("/api/one?page=2")), "ok 200", ""),
            (get(&server.url("/api/")), "refused", "not-granted"),
            (get(&server.url("/api/one/two")), "refused", "not-granted"),
            (get(&server.url("/api/../admin")), "refused", "not-granted"),
            (get(&server.url("/api/%2e%2e/secrets")), "refused", "*"),
            (get(&server.url("/api/..%2fadmin2")), "refused", "*"),
            (get(&server.url("/api/one?page=2&token=1")), "refused", "not-granted"),
        ],
    );
    let asked = server.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
}

/// Names that this machine resolves to itself, other than `localhost`, which needs no look-up.
fn names_of_this_machine() -> Vec<String> {
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let loopback = hosts.lines().filter(|line| line.starts_with("127.") || line.starts_with("::1"));
    let names = loopback.flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace().skip(1));
    let mut names: Vec<String> =
        names.filter(|name| !name.starts_with("localhost") && !name.ends_with("localhost")).map(str::to_owned).collect();
    names.dedup();
    names
}

/// The rule names a host and a port; where the name leads is looked at only when it is asked.
#[test]
#[allow(clippy::print_stdout)] // what a test was skipped for belongs in its output
fn a_name_that_leads_to_this_machine_is_refused_unless_that_was_meant() {
    let Some(name) = names_of_this_machine().into_iter().next() else {
        skipped("no name in /etc/hosts leads to a loopback address, other than localhost");
        return;
    };
    let server = Server::start();
    let url = format!("http://{name}:{}/ok", server.port);
    let project = Project::hostile(RUNNER);
    let grants = format!("http = [{{ url = \"{url}\" }}]");
    let wasi = wasi("http", &format!("{name}:{}", server.port));
    let attempts = project.cases("", &grants, &[(&get(&url), "refused private-address", "private-address"), (&wasi, "refused", "*")]);
    assert_eq!(server.asked(), Vec::<String>::new());
    let remedy = attempts[0].denials[0].remedy.clone().expect("a remedy");
    assert!(remedy.contains("private = true"), "{remedy}");
    let grants = remedy.strip_prefix("[stage.try.grants]\n").expect("a grant");
    project.cases("", grants, &[(&get(&url), "ok 200 hello", ""), (&wasi, "ok 200", "")]);
}

#[test]
fn the_remedy_of_a_denied_request_is_what_was_missing() {
    let server = Server::start();
    let other = format!("http = [{{ url = \"http://127.0.0.1:{}/other\" }}]", server.port);
    let project = Project::hostile(RUNNER);
    for (grants, what) in [
        ("", get(&server.url("/ok"))),
        (other.as_str(), get(&server.url("/ok"))),
        (other.as_str(), get_with(&server.url("/other"), ", method = \"POST\"")),
        ("", wasi("http", &format!("127.0.0.1:{}", server.port))),
    ] {
        let attempt = project.attempts("", grants, &[&what]).remove(0);
        assert!(attempt.answer.starts_with("refused"), "{what}: {attempt:?}");
        let remedy = attempt.denials.first().and_then(|denial| denial.remedy.as_deref());
        let lines = remedy.and_then(|remedy| remedy.strip_prefix("[stage.try.grants]\n")).unwrap_or_else(|| panic!("{what}: {attempt:?}"));
        project.cases("", lines, &[(&what, "ok", "")]);
    }
}

#[test]
fn sockets_are_refused_whatever_is_granted() {
    let server = Server::start();
    let to = format!("{{ do = \"connect\", to = \"127.0.0.1:{}\" }}", server.port);
    for grants in ["", "http = [{ url = \"http://localhost:*/**\", private = true }]"] {
        let project = Project::hostile(RUNNER);
        let attempts = project.cases(
            "",
            grants,
            &[
                (&to, "refused", "no-sockets"),
                ("{ do = \"udp\", at = \"0.0.0.0:0\" }", "refused", "no-sockets"),
                ("{ do = \"listen\", at = \"127.0.0.1:0\" }", "refused", "*"),
                ("{ do = \"lookup\", name = \"localhost\" }", "refused", "no-sockets"),
                ("{ do = \"lookup\", name = \"example.com\" }", "refused", "no-sockets"),
            ],
        );
        assert!(attempts[0].denials[0].reason.contains("`http`"), "{:?}", attempts[0].denials);
    }
    assert_eq!(server.asked(), Vec::<String>::new());
}

#[test]
fn nothing_of_the_machine_is_in_a_component() {
    let project = Project::hostile(RUNNER).env("SECRET_X", "ambient-secret");
    project.tries("env = { GIVEN = \"by the file\" }", "", &["{ do = \"ambient\" }"]);
    let finished = project.exec_json().expect(0).never_says("ambient-secret");
    let attempt = finished.told().attempts("try").remove(0);
    let wanted = r#"ok args=["try"] env=["GIVEN=by the file"] cwd=Some("/") dirs=["/scratch"] stdin=Some(0) grants=[]"#;
    assert_eq!(attempt.answer.replace('\\', ""), wanted);
}

#[test]
fn clocks_move_and_random_numbers_never_repeat() {
    let project = Project::hostile(RUNNER);
    let stage = |name: &str, tries: &str| format!("[stage.{name}]\nuses = \"./hostile.wasm\"\n{tries}\n");
    let again = "retries = { count = 1, delay = \"1ms\" }\nwith = { tries = [{ do = \"random\" }, { do = \"fail-before\", attempt = 2 }] }";
    let pipeline = [
        "format = 1\nname = \"chance\"\n".to_owned(),
        stage("one", "with = { tries = [{ do = \"random\" }, { do = \"clocks\" }] }"),
        stage("two", "with = { tries = [{ do = \"random\" }] }"),
        stage("again", again),
    ];
    project.write("pipeline.toml", pipeline.join("\n"));
    let mut drawn = Vec::new();
    for _ in 0..2 {
        let told = project.exec_json().expect(0).told();
        let clocks = &told.attempts("one")[1].answer;
        assert!(clocks.starts_with("ok monotonic=true wall=true slept=true unix="), "{clocks}");
        let unix: u64 = clocks.rsplit('=').next().and_then(|text| text.parse().ok()).expect("seconds");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
        assert!(now - unix < 60, "the guest's clock says {unix}, it is {now}");
        let again = told.attempts("again");
        assert_eq!(again.len(), 3, "two attempts, one of which fails");
        for attempt in [&told.attempts("one")[0], &told.attempts("two")[0], &again[0], &again[1]] {
            drawn.extend(attempt.answer.split_whitespace().skip(1).map(|word| word.rsplit('=').next().unwrap_or(word).to_owned()));
        }
    }
    assert_eq!(drawn.len(), 2 * 4 * 9);
    let mut different = drawn.clone();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), drawn.len(), "{drawn:?}");
}

/// `http://<name>.stage` is a process of the stage's own, and of no other's.
#[test]
fn a_service_answers_its_own_stage_alone() {
    if !confined(RUNNER, "a_service_answers_its_own_stage_alone") {
        return;
    }
    let server = "use Socket; socket(my $s, PF_INET, SOCK_STREAM, 0); bind($s, sockaddr_in(8099, INADDR_LOOPBACK)) && listen($s, 9) or die;\n\
        while (accept(my $c, $s)) { my $line = <$c>; print $c \"HTTP/1.1 200 OK\\r\\ncontent-length: 5\\r\\nconnection: close\\r\\n\\r\\nhello\"; close $c }\n";
    let project = Project::hostile(RUNNER).file("src/serve.pl", server);
    let grants = "files = [{ path = \"src\", access = \"read\" }]\ncommands = { in = \"process\", programs = [\"perl\", \"sleep\"] }";
    let http = |url: &str| format!("http = [{{ url = \"{url}\", private = true }}]");
    let tries = [
        "{ do = \"sleep\", millis = 1500 }".to_owned(),
        get("http://app.stage:8099/"),
        get("http://127.0.0.1:8099/"),
        get("http://app.owner.stage:8099/"),
    ];
    project.write(
        "pipeline.toml",
        format!(
            "format = 1\nname = \"services\"\n\n[stage.owner]\nuses = \"command\"\n[stage.owner.with]\nrun = [\"sleep\", \"4\"]\n\
         background = [{{ name = \"app\", run = [\"perl\", \"src/serve.pl\"], ready = {{ http = \"http://app.stage:8099/\" }} }}]\n\
         [stage.owner.grants]\n{grants}\n{}\n\n[stage.other]\nuses = \"./hostile.wasm\"\nwith.tries = [{}]\n[stage.other.grants]\n\
         http = [{{ url = \"http://app.stage:8099/**\" }}, {{ url = \"http://127.0.0.1:8099/**\" }}]\n",
            http("http://app.stage:8099/"),
            tries.join(", "),
        ),
    );
    let told = project.run(&["exec", "--format", "json", "--jobs", "2"]).expect(0).told();
    let answers: Vec<String> = told.attempts("other").into_iter().map(|attempt| attempt.answer).collect();
    assert_eq!(answers.len(), 4, "{}", told.printed());
    assert!(answers[1].starts_with("error") && answers[2].starts_with("error"), "{answers:?}");
    assert!(answers[3].starts_with("refused not-granted"), "{answers:?}");
}
