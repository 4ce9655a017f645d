use std::collections::VecDeque;

use runner_sdk::Denial;
use serde_json::{Value, json};

use super::*;

/// A service that gives prepared answers, each after 100 ms, on a clock that only it moves.
#[derive(Default)]
struct Fake {
    answers: VecDeque<Result<Answer, Trouble>>,
    sent: Vec<Request>,
    clock: Duration,
    told: Vec<String>,
    /// After how many pauses the service under test is gone.
    gone_after: Option<usize>,
    pauses: usize,
}

impl Fake {
    fn answering(answers: impl IntoIterator<Item = Result<Answer, Trouble>>) -> Fake {
        Fake { answers: answers.into_iter().collect(), ..Fake::default() }
    }
}

impl World for Fake {
    fn send(&mut self, request: &Request) -> Result<Answer, Trouble> {
        self.sent.push(request.clone());
        self.clock += Duration::from_millis(100);
        self.answers.pop_front().expect("no more answers were prepared")
    }

    fn pause(&mut self, duration: Duration) -> Result<(), String> {
        self.clock += duration;
        self.pauses += 1;
        if self.gone_after.is_some_and(|pauses| self.pauses >= pauses) { Err("`app` has ended: exit code 1".into()) } else { Ok(()) }
    }

    fn elapsed(&self) -> Duration {
        self.clock
    }

    fn unix_time(&self) -> i64 {
        1_800_000_000
    }

    fn tell(&mut self, line: &str) {
        self.told.push(line.to_owned());
    }
}

fn settings(json: Value) -> Settings {
    serde_json::from_value(json).unwrap()
}

fn ok(body: &str) -> Result<Answer, Trouble> {
    status(200, body)
}

fn status(status: u16, body: &str) -> Result<Answer, Trouble> {
    Ok(Answer::new(status, vec![("location".into(), "/orders/9".into())], body.into(), Duration::from_millis(100)))
}

fn refused() -> Result<Answer, Trouble> {
    Err(Trouble::Transport("no connection: refused".into()))
}

/// What was answered, and the steps that were reported: by name and status, and whole.
type Walked = (Result<bool, Failure>, Vec<(String, TestStatus)>, Vec<TestCase>);

fn walk(settings: &Settings, fake: &mut Fake) -> Walked {
    let mut cases = Vec::new();
    let mut result = run_checks(settings, fake, &mut cases);
    for journey in &settings.journeys {
        if result == Ok(true) {
            result = run_journey(settings, journey, fake, &mut cases);
        }
    }
    let statuses = cases.iter().map(|case| (format!("{} › {}", case.suite, case.name), case.status)).collect();
    (result, statuses, cases)
}

#[test]
fn a_journey_hands_values_from_step_to_step() {
    let settings = settings(json!({
        "base": "http://app.stage:8080/",
        "variables": { "user": "Ada L" },
        "headers": { "accept": "application/json", "X-User": "nobody" },
        "timeout": "2s",
        "journeys": [{ "name": "buy", "steps": [
            { "name": "list", "url": "/products?for={{user}}", "capture": { "id": { "json": "/0/id" }, "name": { "json": "/0/name" } } },
            { "method": "POST", "url": "/orders", "headers": { "x-user": "{{user}}" }, "json": { "product": "{{id}}", "note": "a {{name}}" },
              "expect": { "status": 201 }, "capture": { "order": { "header": "location" } }, "timeout": "500ms" },
            { "url": "{{order}}", "expect": { "json": [{ "at": "/product", "equals": "{{id}}" }] } },
        ]}],
    }));
    let mut fake = Fake::answering([ok(r#"[{"id":3,"name":"cup"}]"#), status(201, ""), ok(r#"{"product":3}"#)]);
    let (result, statuses, _) = walk(&settings, &mut fake);

    assert_eq!(result, Ok(true));
    let names = ["buy › list", "buy › POST /orders", "buy › GET {{order}}"];
    assert_eq!(statuses, names.map(|name| (name.to_owned(), TestStatus::Passed)));
    assert_eq!(fake.sent[0].url, "http://app.stage:8080/products?for=Ada%20L");
    assert_eq!(fake.sent[0].timeout, Duration::from_secs(2));
    let order = &fake.sent[1];
    assert_eq!((order.method.as_str(), order.timeout), ("POST", Duration::from_millis(500)));
    assert_eq!(String::from_utf8_lossy(&order.body), r#"{"product":3,"note":"a cup"}"#);
    let headers = [("accept", "application/json"), ("x-user", "Ada L"), ("content-type", "application/json")];
    assert_eq!(order.headers, headers.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(fake.sent[2].url, "http://app.stage:8080/orders/9");
}

#[test]
fn the_first_failing_step_ends_its_journey() {
    let settings = settings(json!({ "journeys": [{ "name": "buy", "steps": [
        { "name": "one", "url": "http://a/1", "expect": { "json": [{ "at": "/n", "equals": 1 }], "headers": { "x": { "exists": true } } } },
        { "name": "two", "url": "http://a/2" },
    ]}]}));
    let mut fake = Fake::answering([status(500, r#"{"n":2}"#)]);
    let (result, statuses, cases) = walk(&settings, &mut fake);

    assert_eq!(result, Ok(false));
    assert_eq!(statuses, [("buy › one".into(), TestStatus::Failed), ("buy › two".into(), TestStatus::Skipped)]);
    assert_eq!(
        cases[0].message,
        "expected status 2xx, got status 500, body: {\"n\":2}\n\
         expected header x, got none\n\
         expected JSON /n equal to 1, got 2\n\
         GET http://a/1"
    );
    assert_eq!((cases[1].message.as_str(), fake.sent.len()), ("`one` did not pass", 1));
    assert!(fake.told[0].starts_with("✗ buy › one\n    expected status 2xx, got"), "{:?}", fake.told);
}

#[test]
fn a_value_that_cannot_be_captured_fails_the_step() {
    let settings = settings(json!({ "journeys": [{ "name": "j", "steps": [
        { "name": "one", "url": "http://a/1", "capture": { "id": { "json": "/id" } } },
    ]}]}));
    let (result, statuses, cases) = walk(&settings, &mut Fake::answering([ok("{}")]));
    assert_eq!((result, statuses[0].1), (Ok(false), TestStatus::Failed));
    assert!(cases[0].message.contains("expected a value for {{id}}, got nothing at JSON /id"), "{}", cases[0].message);
}

#[test]
fn checks_wait_for_each_other_and_each_has_its_own_time() {
    let checks = json!([
        { "name": "live", "url": "http://a/live", "timeout": "5s", "interval": "1s" },
        { "name": "ready", "url": "http://a/ready", "timeout": "3s", "interval": "1s", "expect": { "status": 204 } },
        { "name": "deep", "url": "http://a/deep" },
    ]);
    let settings = settings(json!({ "checks": checks, "journeys": [{ "name": "j", "steps": [{ "url": "http://a/" }] }] }));
    let mut fake = Fake::answering([refused(), status(503, "not yet"), ok(""), ok("a"), ok("b"), ok("c")]);
    let (result, statuses, cases) = walk(&settings, &mut fake);

    assert_eq!(result, Ok(false));
    assert_eq!(
        statuses,
        [
            ("checks › live".into(), TestStatus::Passed),
            ("checks › ready".into(), TestStatus::Failed),
            ("checks › deep".into(), TestStatus::Skipped)
        ]
    );
    // live: 3 requests and 2 pauses; ready: requests at 0, 1.1 and 2.2 s, and no time for another.
    assert_eq!((cases[0].duration, cases[1].duration), (Duration::from_millis(2300), Duration::from_millis(2300)));
    assert!(cases[1].message.ends_with("got status 200, body: c\nGET http://a/ready, asked 3 times in 3s"), "{}", cases[1].message);
    let timeouts: Vec<u128> = fake.sent.iter().map(|request| request.timeout.as_millis()).collect();
    assert_eq!(timeouts, [5000, 3900, 2800, 3000, 1900, 800], "a request takes no longer than its check may");
}

#[test]
fn a_service_that_is_gone_is_not_waited_for() {
    let settings = settings(json!({ "checks": [{ "name": "live", "url": "http://a/live" }] }));
    let mut fake = Fake { gone_after: Some(2), ..Fake::answering([refused(), refused(), refused()]) };
    let (result, statuses, cases) = walk(&settings, &mut fake);
    assert_eq!((result, statuses[0].1, fake.sent.len()), (Ok(false), TestStatus::Errored, 2));
    assert!(
        cases[0].message.ends_with("no connection: refused\nGET http://a/live, asked 2 times until `app` has ended: exit code 1"),
        "{}",
        cases[0].message
    );
}

#[test]
fn a_step_is_repeated_if_it_may_be() {
    let step = json!({ "name": "eventually", "url": "http://a/", "retry": { "timeout": "10s", "interval": "2s" },
        "expect": { "body": { "equals": "done" } }, "capture": { "x": { "pattern": "d" } } });
    let settings = settings(json!({ "journeys": [{ "name": "j", "steps": [step] }] }));
    let mut fake = Fake::answering([ok("busy"), ok("busy"), ok("done")]);
    let (result, ..) = walk(&settings, &mut fake);
    assert_eq!((result, fake.clock), (Ok(true), Duration::from_millis(4300)));
}

#[test]
fn a_denied_request_ends_the_stage() {
    let denial = Denial {
        effect: "http.request".into(),
        subject: "GET http://a/".into(),
        code: "not-granted".into(),
        reason: "no rule allows it".into(),
        remedy: None,
    };
    let settings = settings(json!({ "checks": [{ "url": "http://a/" }, { "url": "http://a/b" }] }));
    let mut fake = Fake::answering([Err(Trouble::Hopeless(Failure::Denied(denial.clone())))]);
    let (result, statuses, _) = walk(&settings, &mut fake);
    assert_eq!(result, Err(Failure::Denied(denial)));
    assert_eq!(statuses, [("checks › GET http://a/".into(), TestStatus::Errored), ("checks › GET http://a/b".into(), TestStatus::Skipped)]);
}
