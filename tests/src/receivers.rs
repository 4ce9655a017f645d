//! Slack, Teams, PagerDuty, GitHub, Jira and three mail services on one loopback port, as far as they are documented: each checks what it is
//! sent, keeps what the real one would keep, and answers like it. What does not have the documented shape gets 400 and is kept as a complaint.
//!
//! Below `/slack`, `/teams`, `/pagerduty`, `/github`, `/jira`, `/sendgrid`, `/mailgun`, `/postmark` and `/hook`; `/state` says 200 or 500, as it
//! is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::server::{Asked, Reply, Server};

/// What the services know.
#[derive(Debug, Default, Clone)]
pub struct Known {
    /// What was sent in a shape that is not documented.
    pub complaints: Vec<String>,
    /// The bodies that were taken, by the first segment of the path.
    pub taken: BTreeMap<String, Vec<Value>>,
    /// Open alerts, by their key.
    pub alerts: Vec<String>,
    /// Comments on GitHub, by number.
    pub comments: Vec<(u64, String)>,
    /// Open issues of Jira: key, labels, and how many comments they have.
    pub issues: Vec<(String, Vec<String>, usize)>,
    broken: bool,
    /// How long PagerDuty takes for its first answer.
    slow: Duration,
    limited: bool,
}

pub struct Receivers {
    server: Server,
    known: Arc<Mutex<Known>>,
}

impl Receivers {
    pub fn start() -> Receivers {
        let known = Arc::new(Mutex::new(Known::default()));
        let shared = known.clone();
        Receivers { server: Server::answering(move |_, asked| answer(asked, &shared)), known }
    }

    pub fn url(&self, path: &str) -> String {
        self.server.url(path)
    }

    pub fn asked(&self) -> Vec<String> {
        self.server.asked()
    }

    /// Whether `/state` says that all is well.
    pub fn break_down(&self, broken: bool) {
        lock(&self.known).broken = broken;
    }

    /// The next answer of PagerDuty takes this long.
    pub fn slow_down(&self, by: Duration) {
        lock(&self.known).slow = by;
    }

    #[track_caller]
    pub fn known(&self) -> Known {
        let known = lock(&self.known).clone();
        assert!(known.complaints.is_empty(), "what was sent is not what is documented: {:#?}", known.complaints);
        known
    }
}

impl Known {
    /// The last body that a service took.
    #[track_caller]
    pub fn last(&self, service: &str) -> &Value {
        self.taken.get(service).and_then(|bodies| bodies.last()).unwrap_or_else(|| panic!("{service} took nothing: {:?}", self.taken))
    }

    /// Whether Slack has said that it is too much.
    pub fn limited_once(&self) -> bool {
        self.limited
    }

    pub fn count(&self, service: &str) -> usize {
        self.taken.get(service).map_or(0, Vec::len)
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

fn reply(status: u16, body: impl ToString) -> Reply {
    Reply { status, headers: Vec::new(), body: body.to_string() }
}

fn answer(asked: &Asked, shared: &Mutex<Known>) -> Reply {
    let path = asked.path.split('?').next().unwrap_or_default();
    let (service, rest) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    if service == "pagerduty" {
        let slow = std::mem::take(&mut lock(shared).slow);
        std::thread::sleep(slow);
    }
    let mut known = lock(shared);
    let body = if service == "mailgun" { form(&asked.body) } else { serde_json::from_str(&asked.body).unwrap_or_default() };
    let checked = match service {
        "state" if known.broken => return reply(500, "broken"),
        "state" => return reply(200, "well"),
        "gone" => return reply(404, "no_service"),
        "slack" if !std::mem::replace(&mut known.limited, true) => {
            return Reply { status: 429, headers: vec![("retry-after", "1".into())], body: "rate_limited".into() };
        }
        "slack" => slack(asked, &body),
        "teams" => teams(asked, &body),
        "pagerduty" => pagerduty(&mut known, asked, rest, &body),
        "github" => github(&mut known, asked, rest, &body),
        "jira" => jira(&mut known, asked, rest, &body),
        "sendgrid" | "mailgun" | "postmark" => mail(service, asked, rest, &body),
        "hook" => Ok(reply(204, "")),
        _ => Err("nobody is there".to_owned()),
    };
    match checked {
        Ok(reply) => {
            known.taken.entry(service.to_owned()).or_default().push(body);
            reply
        }
        Err(why) => {
            known.complaints.push(format!("{} {}: {why}: {}", asked.method, asked.path, asked.body));
            reply(400, why)
        }
    }
}

type Checked = Result<Reply, String>;

fn holds(condition: bool, what: &str) -> Result<(), String> {
    if condition { Ok(()) } else { Err(format!("not so: {what}")) }
}

/// A text of this many characters at most, and not empty.
fn text(value: &Value, most: usize) -> Result<&str, String> {
    let text = value.as_str().ok_or_else(|| format!("{value} is no text"))?;
    holds(!text.is_empty() && text.encode_utf16().count() <= most, &format!("1 to {most} characters in {text:?}"))?;
    Ok(text)
}

fn list(value: &Value) -> Result<&Vec<Value>, String> {
    value.as_array().ok_or_else(|| format!("{value} is no list"))
}

fn is_json(asked: &Asked) -> Result<(), String> {
    holds(asked.method == "POST" && asked.header("content-type").starts_with("application/json"), "a POST of JSON")
}

fn slack(asked: &Asked, body: &Value) -> Checked {
    is_json(asked)?;
    // what is between angle brackets is a control sequence: here only links
    let mrkdwn = |value: &Value, most| -> Result<(), String> {
        holds(value["type"] == "mrkdwn", "a text of mrkdwn")?;
        let text = text(&value["text"], most)?;
        holds(
            text.split('<').skip(1).all(|part| part.starts_with("http") && part.contains('|') && part.contains('>')),
            "only links are sequences",
        )?;
        holds(text.split('&').skip(1).all(|part| ["amp;", "lt;", "gt;"].iter().any(|entity| part.starts_with(entity))), "`&` is encoded")
    };
    text(&body["text"], 4_000)?;
    let blocks = list(&body["blocks"])?;
    holds((1..=50).contains(&blocks.len()), "1 to 50 blocks")?;
    for block in blocks {
        match block["type"].as_str() {
            Some("section") => mrkdwn(&block["text"], 3_000)?,
            Some("context") => {
                let elements = list(&block["elements"])?;
                holds((1..=10).contains(&elements.len()), "1 to 10 elements")?;
                elements.iter().try_for_each(|element| mrkdwn(element, 3_000))?;
            }
            other => return Err(format!("block {other:?}")),
        }
    }
    Ok(reply(200, "ok"))
}

fn teams(asked: &Asked, body: &Value) -> Checked {
    is_json(asked)?;
    holds(asked.body.len() <= 28 * 1024 && body["type"] == "message", "a message of 28 KB at most")?;
    let [attachment] = list(&body["attachments"])?.as_slice() else { return Err("one attachment".into()) };
    holds(attachment["contentType"] == "application/vnd.microsoft.card.adaptive", "an Adaptive Card")?;
    let card = &attachment["content"];
    holds(card["type"] == "AdaptiveCard" && card["version"].is_string(), "a card with its version")?;
    for block in list(&card["body"])? {
        holds(block["type"] == "TextBlock", "a text block")?;
        text(&block["text"], 28 * 1024)?;
    }
    for action in card["actions"].as_array().into_iter().flatten() {
        holds(
            action["type"] == "Action.OpenUrl" && action["url"].as_str().is_some_and(|url| url.starts_with("http")),
            "an action with its URL",
        )?;
        text(&action["title"], 200)?;
    }
    Ok(reply(202, ""))
}

fn pagerduty(known: &mut Known, asked: &Asked, path: &str, body: &Value) -> Checked {
    is_json(asked)?;
    holds(path == "v2/enqueue" && asked.body.len() <= 512 * 1024, "an event of 512 KB at most at its place")?;
    holds(text(&body["routing_key"], 32)?.len() == 32, "a routing key of 32 characters")?;
    let key = text(&body["dedup_key"], 255)?.to_owned();
    match body["event_action"].as_str() {
        Some("trigger") => {
            let payload = &body["payload"];
            text(&payload["summary"], 1_024)?;
            text(&payload["source"], 255)?;
            let severity = payload["severity"].as_str();
            holds(matches!(severity, Some("critical" | "error" | "warning" | "info")), "a severity")?;
            holds(payload["custom_details"].is_object(), "details")?;
            for link in body["links"].as_array().into_iter().flatten() {
                text(&link["href"], 2_000)?;
            }
            known.alerts.retain(|open| *open != key);
            known.alerts.push(key.clone());
        }
        Some("resolve") => known.alerts.retain(|open| *open != key),
        other => return Err(format!("action {other:?}")),
    }
    Ok(reply(202, json!({ "status": "success", "message": "Event processed", "dedup_key": key })))
}

fn github(known: &mut Known, asked: &Asked, path: &str, body: &Value) -> Checked {
    holds(asked.header("authorization").starts_with("Bearer "), "a token")?;
    holds(!asked.header("user-agent").is_empty(), "a user agent")?;
    holds(asked.header("accept") == "application/vnd.github+json", "the API's own type")?;
    let path = path.strip_prefix("repos/acme/shop/").ok_or("another repository")?;
    match (asked.method.as_str(), path.split('/').collect::<Vec<_>>().as_slice()) {
        ("GET", ["issues", "7", "comments"]) => {
            let comments: Vec<Value> = known.comments.iter().map(|(id, body)| json!({ "id": id, "body": body })).collect();
            Ok(reply(200, Value::Array(comments)))
        }
        ("POST", ["issues", "7", "comments"]) => {
            let id = 100 + known.comments.len() as u64;
            known.comments.push((id, text(&body["body"], 65_536)?.to_owned()));
            Ok(reply(201, json!({ "id": id })))
        }
        ("PATCH", ["issues", "comments", id]) => {
            let new = text(&body["body"], 65_536)?.to_owned();
            let comment = known.comments.iter_mut().find(|(known, _)| known.to_string() == *id).ok_or("no such comment")?;
            comment.1 = new;
            Ok(reply(200, json!({ "id": comment.0 })))
        }
        ("POST", ["statuses", sha]) => {
            holds(sha.len() == 40, "a commit")?;
            holds(matches!(body["state"].as_str(), Some("error" | "failure" | "pending" | "success")), "a state")?;
            text(&body["description"], 140)?;
            text(&body["context"], 255)?;
            holds(body["target_url"].is_null() || body["target_url"].as_str().is_some_and(|url| url.starts_with("http")), "a target")?;
            Ok(reply(201, json!({ "id": 1, "state": body["state"] })))
        }
        _ => Err("no such call".into()),
    }
}

fn jira(known: &mut Known, asked: &Asked, path: &str, body: &Value) -> Checked {
    is_json(asked)?;
    holds(asked.header("authorization").starts_with("Basic "), "basic authorization")?;
    let document = |value: &Value| -> Result<(), String> {
        holds(value["type"] == "doc" && value["version"] == 1, "a document")?;
        for paragraph in list(&value["content"])? {
            holds(paragraph["type"] == "paragraph", "a paragraph")?;
            list(&paragraph["content"])?.iter().try_for_each(|part| text(&part["text"], 32_767).map(drop))?;
        }
        Ok(())
    };
    match path.strip_prefix("rest/api/3/").unwrap_or_default().split('/').collect::<Vec<_>>().as_slice() {
        ["search", "jql"] => {
            let jql = text(&body["jql"], 10_000)?;
            list(&body["fields"])?;
            let fits = |labels: &[String]| labels.iter().any(|label| jql.contains(&format!("labels = {label:?}")));
            let found: Vec<Value> =
                known.issues.iter().filter(|(_, labels, _)| fits(labels)).map(|(key, ..)| json!({ "key": key })).collect();
            Ok(reply(200, json!({ "issues": found, "isLast": true })))
        }
        ["issue"] => {
            let fields = &body["fields"];
            text(&fields["summary"], 255)?;
            text(&fields["project"]["key"], 10)?;
            text(&fields["issuetype"]["name"], 60)?;
            document(&fields["description"])?;
            let labels: Vec<String> =
                list(&fields["labels"])?.iter().map(|label| text(label, 255).map(str::to_owned)).collect::<Result<_, _>>()?;
            holds(labels.iter().all(|label| !label.contains(' ')), "labels without blanks")?;
            let key = format!("OPS-{}", known.issues.len() + 1);
            known.issues.push((key.clone(), labels, 0));
            Ok(reply(201, json!({ "id": "10000", "key": key, "self": "https://jira.example/rest/api/3/issue/10000" })))
        }
        ["issue", key, "comment"] => {
            document(&body["body"])?;
            let issue = known.issues.iter_mut().find(|(known, ..)| known == key).ok_or("no such issue")?;
            issue.2 += 1;
            Ok(reply(201, json!({ "id": "1" })))
        }
        _ => Err("no such call".into()),
    }
}

fn mail(service: &str, asked: &Asked, path: &str, body: &Value) -> Checked {
    holds(asked.method == "POST", "a POST")?;
    let address = |value: &Value| holds(value.as_str().is_some_and(|text| text.contains('@')), "an address");
    match (service, path) {
        ("sendgrid", "v3/mail/send") => {
            holds(asked.header("authorization").starts_with("Bearer "), "a key")?;
            for one in list(&body["personalizations"])? {
                list(&one["to"])?.iter().try_for_each(|to| address(&to["email"]))?;
            }
            address(&body["from"]["email"])?;
            text(&body["subject"], 998)?;
            let [content] = list(&body["content"])?.as_slice() else { return Err("one content".into()) };
            holds(content["type"] == "text/plain", "plain text")?;
            text(&content["value"], 1 << 20)?;
            Ok(reply(202, ""))
        }
        ("mailgun", "v3/mg.acme.example/messages") => {
            holds(asked.header("authorization").starts_with("Basic "), "a key")?;
            ["from", "to"].iter().try_for_each(|name| address(&body[name]))?;
            ["subject", "text"].iter().try_for_each(|name| text(&body[name], 1 << 20).map(drop))?;
            Ok(reply(200, json!({ "id": "<x@mg.acme.example>", "message": "Queued. Thank you." })))
        }
        ("postmark", "email") => {
            holds(!asked.header("x-postmark-server-token").is_empty(), "a token")?;
            holds(asked.header("accept") == "application/json", "JSON is accepted")?;
            ["From", "To"].iter().try_for_each(|name| address(&body[name]))?;
            ["Subject", "TextBody", "MessageStream"].iter().try_for_each(|name| text(&body[name], 1 << 20).map(drop))?;
            Ok(reply(
                200,
                json!({ "To": body["To"], "SubmittedAt": "2026-11-21T00:00:00Z", "MessageID": "x", "ErrorCode": 0, "Message": "OK" }),
            ))
        }
        _ => Err("no such call".into()),
    }
}

/// A form as an object.
fn form(body: &str) -> Value {
    let decoded = |text: &str| {
        let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
        while let [first, more @ ..] = rest {
            let hex =
                more.get(..2).filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
            bytes.push(hex.unwrap_or(*first));
            rest = if hex.is_some() { &more[2..] } else { more };
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    body.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (name.to_owned(), json!(decoded(value)))).collect()
}
