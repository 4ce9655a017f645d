use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use capability::{Decision, Policy};

use super::{Destination, HttpPolicy};
use crate::effect::{Aim, Answer, Header, Limits, Request, Resolved, Seen};
use crate::grant::{HttpGrant, HttpSchema};

fn policy(text: &str) -> HttpPolicy {
    if text.is_empty() {
        return HttpPolicy::new("test", None, Arc::default());
    }
    let grant = capability::testing::grant(&HttpSchema, text).unwrap_or_else(|d| panic!("{text}: {d:?}"));
    HttpPolicy::new("test", (*grant).as_any().downcast_ref::<HttpGrant>(), Arc::default())
}

fn request(method: &str, url: &str) -> Request {
    Request {
        method: method.into(),
        aim: Aim::parse(url),
        headers: Vec::new(),
        body: Bytes::new(),
        trailers: Vec::new(),
        limits: Limits { whole: None, deadline: None, connect: Duration::from_secs(1), head: None, pause: None, body: 1 },
        answer: Answer::Head,
    }
}

fn seen(addresses: &[&str]) -> Seen {
    let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
    Seen { resolved: Some(Resolved { addresses, error: None, took: 1 }) }
}

/// `allow`, `look up NAME`, or the denial's code.
fn verdict(policy: &HttpPolicy, request: &Request, seen: &Seen) -> String {
    match policy.decide(request, seen) {
        Decision::Allow => "allow".into(),
        Decision::Observe(question) => format!("look up {}", question.host),
        Decision::Deny(denial) => denial.code.into_owned(),
    }
}

#[test]
fn the_method_and_the_url_decide_first() {
    const RULES: &str = r#"
http = [
  { url = "https://api.example/v1/**" },
  { url = "https://api.example/v1/items", methods = ["POST"] },
  { url = "https://*.cdn.example/a/*", methods = ["GET"], query = ["v"] },
  { url = "http://app.stage:8080/**", methods = ["GET", "DELETE"] },
  { url = "http://10.1.2.3:9090/**" },
  { url = "http://localhost:8080/**" },
  { url = "https://empty.example/**", query = [] },
]
"#;
    const CASES: &[(&str, &str, &str)] = &[
        // granted: the name is looked up next
        ("GET", "https://api.example/v1/x", "look up api.example"),
        ("HEAD", "https://api.example/v1/x?any=1", "look up api.example"),
        ("POST", "https://api.example/v1/items", "look up api.example"),
        ("GET", "https://api.example/v1/items", "look up api.example"),
        ("GET", "https://API.EXAMPLE/v1/x", "look up api.example"),
        ("GET", "https://api.example./v1/x", "look up api.example"),
        ("GET", "https://x.cdn.example/a/b", "look up x.cdn.example"),
        ("GET", "https://x.y.cdn.example/a/b?v=1", "look up x.y.cdn.example"),
        ("GET", "https://empty.example/", "look up empty.example"),
        ("GET", "https://empty.example/?", "look up empty.example"),
        // needs no look
        ("GET", "http://app.stage:8080/health", "allow"),
        ("DELETE", "http://APP.stage:8080/health", "allow"),
        ("GET", "http://10.1.2.3:9090/metrics", "allow"),
        ("GET", "http://167838211:9090/metrics", "allow"),
        ("GET", "http://localhost:8080/", "allow"),
        ("GET", "http://localhost.:8080/", "allow"),
        // method
        ("POST", "https://api.example/v1/x", "not-granted"),
        ("get", "https://api.example/v1/x", "not-granted"),
        ("PUT", "https://api.example/v1/items", "not-granted"),
        ("HEAD", "https://x.cdn.example/a/b", "not-granted"),
        ("POST", "http://app.stage:8080/", "not-granted"),
        ("CONNECT", "https://api.example/v1/x", "not-granted"),
        ("TRACE", "https://api.example/v1/x", "not-granted"),
        // scheme, host, port
        ("GET", "http://api.example/v1/x", "not-granted"),
        ("GET", "https://api.example:8443/v1/x", "not-granted"),
        ("GET", "https://api.example.evil/v1/x", "not-granted"),
        ("GET", "https://evil-api.example/v1/x", "not-granted"),
        ("GET", "https://sub.api.example/v1/x", "not-granted"),
        ("GET", "https://cdn.example/a/b", "not-granted"),
        ("GET", "http://app.stage/health", "not-granted"),
        ("GET", "http://other.stage:8080/health", "not-granted"),
        ("GET", "http://10.1.2.4:9090/metrics", "not-granted"),
        ("GET", "http://[::ffff:10.1.2.3]:9090/metrics", "not-granted"),
        ("GET", "http://127.0.0.1:8080/", "not-granted"),
        ("GET", "http://x.localhost:8080/", "not-granted"),
        // path
        ("GET", "https://api.example/", "not-granted"),
        ("GET", "https://api.example/v2/x", "not-granted"),
        ("GET", "https://api.example/v1/../v2/x", "not-granted"),
        ("GET", "https://api.example/v1/%2e%2e/v2/x", "not-granted"),
        ("GET", "https://api.example/v1\\..\\v2/x", "not-granted"),
        ("POST", "https://api.example/v1/items/1", "not-granted"),
        ("GET", "https://x.cdn.example/a/b/c", "not-granted"),
        ("GET", "https://x.cdn.example/a/b%2Fc", "look up x.cdn.example"),
        // query
        ("GET", "https://x.cdn.example/a/b?v=1&w=2", "not-granted"),
        ("GET", "https://x.cdn.example/a/b?v=1;w=2", "not-granted"),
        ("GET", "https://x.cdn.example/a/b?V=1", "not-granted"),
        ("GET", "https://x.cdn.example/a/b?%76=1", "look up x.cdn.example"),
        ("GET", "https://empty.example/?x", "not-granted"),
        // no URL of a request
        ("GET", "https://user@api.example/v1/x", "bad-url"),
        ("GET", "https://api.example@evil.example/v1/x", "bad-url"),
        ("GET", "ftp://api.example/v1/x", "bad-url"),
        ("GET", "/v1/x", "bad-url"),
        ("GET", "https://api.example/v1/..%2fv2", "bad-url"),
        ("GET", "https://api.example/v1/..;/v2", "bad-url"),
        ("GET", "https://api.example/v1/x\r\nhost: evil", "bad-url"),
    ];
    let policy = policy(RULES);
    for (method, url, expected) in CASES {
        assert_eq!(verdict(&policy, &request(method, url), &Seen::default()), *expected, "{method} {url}");
    }
}

#[test]
fn then_the_addresses_decide() {
    const PUBLIC: &str = r#"http = [{ url = "https://a.example/**" }]"#;
    const PRIVATE: &str = r#"http = [{ url = "https://a.example/**", private = true }]"#;
    const OTHER: &str = r#"http = [{ url = "https://a.example/x", private = true }, { url = "https://a.example/**" }]"#;
    const CASES: &[(&str, &[&str], &str, &[&str])] = &[
        (PUBLIC, &["93.184.215.14"], "allow", &["93.184.215.14"]),
        (PUBLIC, &["2606:4700::1", "93.184.215.14"], "allow", &["2606:4700::1", "93.184.215.14"]),
        (PUBLIC, &["127.0.0.1"], "private-address", &[]),
        (PUBLIC, &["10.0.0.1"], "private-address", &[]),
        (PUBLIC, &["169.254.169.254"], "private-address", &[]),
        (PUBLIC, &["fd00:ec2::254"], "private-address", &[]),
        (PUBLIC, &["100.64.0.1"], "private-address", &[]),
        (PUBLIC, &["0.0.0.0"], "private-address", &[]),
        (PUBLIC, &["::"], "private-address", &[]),
        (PUBLIC, &["::1"], "private-address", &[]),
        (PUBLIC, &["::ffff:169.254.169.254"], "private-address", &[]),
        (PUBLIC, &["64:ff9b::a9fe:a9fe"], "private-address", &[]),
        (PUBLIC, &["2002:7f00:1::"], "private-address", &[]),
        (PUBLIC, &["198.18.0.1", "192.0.0.1"], "private-address", &[]),
        (PUBLIC, &["224.0.0.1"], "private-address", &[]),
        // what is left of a mixed answer is all that is connected to
        (PUBLIC, &["10.0.0.1", "93.184.215.14", "::1"], "allow", &["93.184.215.14"]),
        (PRIVATE, &["10.0.0.1", "127.0.0.1", "169.254.169.254"], "allow", &["10.0.0.1", "127.0.0.1", "169.254.169.254"]),
        (PRIVATE, &["224.0.0.1", "10.0.0.1"], "allow", &["10.0.0.1"]),
        (PRIVATE, &["255.255.255.255", "ff02::1"], "private-address", &[]),
        // `private` of a rule that does not match changes nothing
        (OTHER, &["10.0.0.1"], "private-address", &[]),
    ];
    for (rules, addresses, expected, reached) in CASES {
        let policy = policy(rules);
        let request = request("GET", "https://a.example/y");
        let seen = seen(addresses);
        assert_eq!(verdict(&policy, &request, &seen), *expected, "{rules} {addresses:?}");
        match policy.destination(&request, &seen) {
            Destination::Addresses(found) => {
                let found: Vec<String> = found.iter().map(|a| a.ip().to_string()).collect();
                assert_eq!(found, *reached, "{rules} {addresses:?}");
                assert_eq!(*expected, "allow");
            }
            other => assert!(reached.is_empty(), "{rules} {addresses:?}: {other:?}"),
        }
    }
}

#[test]
fn an_address_in_a_url_is_judged_without_a_look() {
    const CASES: &[(&str, &str, &str)] = &[
        // named by the rule
        (r#"http = [{ url = "http://127.0.0.1:8080/**" }]"#, "http://127.0.0.1:8080/x", "allow"),
        (r#"http = [{ url = "http://169.254.169.254/**" }]"#, "http://0xa9fea9fe/latest", "allow"),
        (r#"http = [{ url = "http://[::1]/**" }]"#, "http://[::1]/x", "allow"),
        (r#"http = [{ url = "http://224.0.0.1/**" }]"#, "http://224.0.0.1/x", "private-address"),
        (r#"http = [{ url = "http://255.255.255.255/**", private = true }]"#, "http://255.255.255.255/x", "private-address"),
        (r#"http = [{ url = "http://*.localhost/**" }]"#, "http://x.localhost/x", "allow"),
    ];
    for (rules, url, expected) in CASES {
        assert_eq!(verdict(&policy(rules), &request("GET", url), &Seen::default()), *expected, "{rules} {url}");
    }
}

#[test]
fn localhost_is_this_machine_whatever_a_resolver_says() {
    let policy = policy(r#"http = [{ url = "http://localhost:81/**" }]"#);
    let found = policy.destination(&request("GET", "http://localhost:81/"), &seen(&["10.0.0.1"]));
    assert_eq!(found, Destination::Addresses(vec!["127.0.0.1:81".parse().unwrap(), "[::1]:81".parse().unwrap()]));
}

#[test]
fn a_name_that_leads_nowhere_is_an_answer_and_no_denial() {
    let policy = policy(r#"http = [{ url = "https://a.example/**" }]"#);
    let seen = Seen { resolved: Some(Resolved { addresses: Vec::new(), error: Some("no such name".into()), took: 1 }) };
    let request = request("GET", "https://a.example/");
    assert_eq!(verdict(&policy, &request, &seen), "allow");
    assert_eq!(policy.destination(&request, &seen), Destination::Unknown("no such name".into()));
}

#[test]
fn a_request_that_was_never_decided_leads_nowhere_private() {
    let policy = policy("");
    let request = request("GET", "https://a.example/");
    assert!(matches!(policy.destination(&request, &seen(&["10.0.0.1"])), Destination::Unknown(_)));
}

#[test]
fn headers_of_the_connection_are_the_hosts() {
    let policy = policy(r#"http = [{ url = "http://127.0.0.1/**" }]"#);
    for (name, expected) in [
        ("host", "host-header"),
        ("Host", "host-header"),
        ("content-length", "host-header"),
        ("Connection", "host-header"),
        ("transfer-encoding", "host-header"),
        ("upgrade", "host-header"),
        ("te", "host-header"),
        ("trailer", "host-header"),
        ("keep-alive", "host-header"),
        ("proxy-authorization", "host-header"),
        ("proxy-anything", "host-header"),
        ("authorization", "allow"),
        ("x-forwarded-host", "allow"),
        ("cookie", "allow"),
    ] {
        let mut with = request("GET", "http://127.0.0.1/");
        with.headers.push(Header::new(name, "x"));
        assert_eq!(verdict(&policy, &with, &Seen::default()), expected, "{name}");
        let mut with = request("POST", "http://127.0.0.1/");
        with.trailers.push(Header::new(name, "x"));
        if expected == "host-header" {
            assert_eq!(verdict(&policy, &with, &Seen::default()), expected, "{name} as a trailer");
        }
    }
}

/// The rules, a request, what its name leads to.
const DENIED: &[(&str, &str, &str, &[&str])] = &[
    ("", "GET", "https://api.example/v1/x?page=1", &[]),
    ("http = []", "POST", "http://app.stage:8080/a*b", &[]),
    (r#"http = [{ url = "https://api.example/v1/**" }]"#, "GET", "https://other.example/x", &[]),
    (r#"http = [{ url = "https://api.example/v1/**" }]"#, "POST", "https://api.example/v1/x", &[]),
    (r#"http = [{ url = "https://api.example/v1/**", query = ["page"] }]"#, "PUT", "https://api.example/v1/x?page=1&q=2&r=3", &[]),
    (r#"http = [{ url = "https://a.example/**" }, { url = "http://db.example/**" }]"#, "GET", "http://db.example/x", &["10.0.0.1"]),
    (r#"http = [{ url = "http://db.example/**" }]"#, "GET", "http://db.example/x", &["169.254.169.254", "::1"]),
    (r#"http = [{ url = "https://a.example/**" }]"#, "GET", "http://169.254.169.254/latest", &[]),
];

#[test]
fn a_denial_says_why_and_shows_the_lines_that_allow_it() {
    let mut shown = String::new();
    for (rules, method, url, addresses) in DENIED {
        let seen = if addresses.is_empty() { Seen::default() } else { seen(addresses) };
        let Decision::Deny(denial) = policy(rules).decide(&request(method, url), &seen) else { panic!("{rules} {method} {url}") };
        let remedy = denial.remedy.unwrap();
        writeln!(shown, "{rules}\n{method} {url} {addresses:?}\n{}: {}\n{remedy}\n", denial.code, denial.reason).unwrap();

        // the lines are what they claim to be
        let lines = remedy.strip_prefix("[stage.test.grants]\n").unwrap();
        let mended = policy(lines);
        let verdict = verdict(&mended, &request(method, url), &seen);
        assert!(verdict == "allow" || verdict.starts_with("look up"), "{url}: {lines} gives {verdict}");
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn what_no_grant_can_allow_has_no_remedy() {
    let policy = policy(r#"http = [{ url = "http://224.0.0.1/**" }]"#);
    for (method, url) in [("GET", "http://224.0.0.1/"), ("CONNECT", "https://a.example/"), ("GET", "ftp://a.example/")] {
        let Decision::Deny(denial) = policy.decide(&request(method, url), &Seen::default()) else { panic!("{method} {url}") };
        assert_eq!(denial.remedy, None, "{method} {url}");
    }
}

#[test]
fn many_rules_are_not_repeated_in_a_remedy() {
    let rules: Vec<String> = (0..20).map(|i| format!("{{ url = \"https://a{i}.example/**\" }}")).collect();
    let policy = policy(&format!("http = [{}]", rules.join(", ")));
    let Decision::Deny(denial) = policy.decide(&request("GET", "https://b.example/"), &Seen::default()) else { panic!() };
    let expected = "[stage.test.grants]\n# with the other rules\nhttp = [{ url = \"https://b.example/\", methods = [\"GET\"] }]";
    assert_eq!(denial.remedy.as_deref(), Some(expected));
}

/// What one decision costs; run it alone with `--ignored --nocapture`, in release for figures.
#[test]
#[ignore = "prints figures"]
#[allow(clippy::print_stderr)]
fn cost_of_a_decision() {
    let policy =
        policy(r#"http = [{ url = "https://a.example/**" }, { url = "https://b.example/x/*/y" }, { url = "https://api.example/v1/**" }]"#);
    let seen = seen(&["93.184.215.14", "2606:4700::1"]);
    let granted = request("GET", "https://api.example/v1/projects/42/items?page=2");
    let denied = request("GET", "https://evil.example/v1/projects/42/items?page=2");
    for (name, request, seen) in [("granted", &granted, &seen), ("denied", &denied, &Seen::default())] {
        const ROUNDS: u32 = 100_000;
        let started = Instant::now();
        for _ in 0..ROUNDS {
            std::hint::black_box(policy.decide(std::hint::black_box(request), seen));
        }
        let each = started.elapsed() / ROUNDS;
        eprintln!("one {name} decision: {each:?}");
        assert!(each < Duration::from_micros(50), "{each:?}");
    }
}
