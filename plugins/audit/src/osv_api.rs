//! The OSV service (<https://google.github.io/osv.dev/api/>): batched queries, their further pages, and the records they name.
//!
//! `POST /v1/querybatch` takes up to 1000 packages and answers with ids only; `GET /v1/vulns/{id}` gives a record. Nothing here
//! sends or sleeps: both go through [`Transport`], so that pages, retries and errors are tested without a server.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::advisory::Advisory;
use crate::inventory::Ecosystem;
use crate::matching::Subject;

/// What needs no encoding in a segment of a URL's path.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');
/// How many packages one query may name.
const BATCH: usize = 1000;
/// How many pages of one package are asked for: OSV gives 1000 advisories a page, no package has near as many.
const PAGES: usize = 20;
/// How many records are fetched at most. What is over it is reported by its id alone.
pub const MOST_DETAILS: usize = 2000;
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What a request ended with.
pub struct Reply {
    pub status: u16,
    /// The header `Retry-After`, if it is there.
    pub retry_after: Option<String>,
    pub body: Vec<u8>,
}

/// Why there was no reply.
pub enum TransportError<E> {
    /// Trying again may help: no connection, no answer in time.
    Passing(E),
    /// It will not: denied, invalid.
    Lasting(E),
}

/// Sends requests and waits.
pub trait Transport {
    type Error: std::fmt::Display;
    /// `body` is JSON to POST; none: a GET.
    fn send(&mut self, url: &str, body: Option<&Value>) -> Result<Reply, TransportError<Self::Error>>;
    fn pause(&mut self, duration: Duration);
}

/// Why the service could not be asked.
#[derive(Debug)]
pub enum Error<E> {
    /// The transport's own error, such as a denial.
    Transport { url: String, error: E },
    /// The service answered, but not with what was asked for. Says what and from where.
    Service(String),
}

/// What the service knows about the subjects.
#[derive(Debug, Default)]
pub struct Answer {
    /// For each subject the ids of what applies to it, sorted.
    pub ids: Vec<Vec<String>>,
    pub records: BTreeMap<String, Advisory>,
    /// How many records were not fetched for being over [`MOST_DETAILS`], or are gone from the service.
    pub without_details: usize,
}

#[derive(Deserialize)]
struct Batch {
    results: Vec<Page>,
}

#[derive(Default, Deserialize)]
struct Page {
    #[serde(default)]
    vulns: Vec<Named>,
    #[serde(default)]
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

/// Asks about all subjects. `url` is the service's base address, without `/v1`.
pub fn ask<T: Transport>(transport: &mut T, url: &str, subjects: &[Subject]) -> Result<Answer, Error<T::Error>> {
    let url = url.trim_end_matches('/');
    let mut found: Vec<BTreeSet<String>> = vec![BTreeSet::new(); subjects.len()];
    let mut open: Vec<(usize, Option<String>, usize)> = (0..subjects.len()).map(|index| (index, None, 1)).collect();
    let batch_url = format!("{url}/v1/querybatch");
    while !open.is_empty() {
        let now: Vec<_> = open.drain(..open.len().min(BATCH)).collect();
        let queries: Vec<Value> = now.iter().map(|(index, token, _)| query(&subjects[*index], token.as_deref())).collect();
        let body = get(transport, &batch_url, Some(&json!({ "queries": queries })))?
            .ok_or_else(|| Error::Service(format!("{batch_url} answered 404: is this the address of an OSV service?")))?;
        let batch: Batch = decode(&batch_url, &body)?;
        if batch.results.len() != now.len() {
            return Err(Error::Service(format!(
                "{batch_url} was asked about {} packages and answered about {}",
                now.len(),
                batch.results.len()
            )));
        }
        for ((index, _, page), result) in now.into_iter().zip(batch.results) {
            found[index].extend(result.vulns.into_iter().map(|named| named.id));
            match result.next_page_token.filter(|token| !token.is_empty()) {
                Some(_) if page == PAGES => {
                    return Err(Error::Service(format!("{batch_url} has more than {PAGES} pages about {}", subjects[index].name)));
                }
                Some(token) => open.push((index, Some(token), page + 1)),
                None => {}
            }
        }
    }

    let mut answer = Answer { ids: found.into_iter().map(|ids| ids.into_iter().collect()).collect(), ..Answer::default() };
    let wanted: BTreeSet<&String> = answer.ids.iter().flatten().collect();
    for (count, id) in wanted.into_iter().enumerate() {
        let record_url = format!("{url}/v1/vulns/{}", utf8_percent_encode(id, IN_PATH));
        let body = if count < MOST_DETAILS { get(transport, &record_url, None)? } else { None };
        let record = match body {
            Some(body) => Advisory::parse(&body).map_err(|what| Error::Service(format!("{record_url} is no OSV record: {what}")))?,
            None => {
                answer.without_details += 1;
                Advisory::without_details(id)
            }
        };
        answer.records.insert(id.clone(), record);
    }
    Ok(answer)
}

fn query(subject: &Subject, token: Option<&str>) -> Value {
    let mut query = match &subject.commit {
        Some(commit) => json!({ "commit": commit }),
        None => json!({ "package": { "ecosystem": subject.ecosystem.osv_name(), "name": subject.name }, "version": version(subject) }),
    };
    if let (Some(token), Some(query)) = (token, query.as_object_mut()) {
        query.insert("page_token".into(), token.into());
    }
    query
}

/// OSV writes Go's versions without their `v`.
fn version(subject: &Subject) -> &str {
    let text = subject.version.as_str();
    if subject.ecosystem == Ecosystem::Go { text.strip_prefix('v').unwrap_or(text) } else { text }
}

/// Sends until there is an answer or no hope; `None` for 404.
fn get<T: Transport>(transport: &mut T, url: &str, body: Option<&Value>) -> Result<Option<Vec<u8>>, Error<T::Error>> {
    let mut pause = FIRST_PAUSE;
    for attempt in 1.. {
        let last = attempt >= ATTEMPTS;
        match transport.send(url, body) {
            Ok(reply) if (200..300).contains(&reply.status) => return Ok(Some(reply.body)),
            Ok(reply) if reply.status == 404 => return Ok(None),
            Ok(reply) if (reply.status == 429 || reply.status >= 500) && !last => {
                let asked = reply.retry_after.and_then(|seconds| seconds.trim().parse().ok()).map(Duration::from_secs);
                transport.pause(asked.unwrap_or(pause).min(LONGEST_PAUSE));
            }
            Ok(reply) => {
                let said: String = String::from_utf8_lossy(&reply.body).chars().take(200).collect();
                let tries = if last { format!(" after {ATTEMPTS} attempts") } else { String::new() };
                return Err(Error::Service(format!("{url} answered {}{tries}: {}", reply.status, said.trim())));
            }
            Err(TransportError::Passing(_)) if !last => transport.pause(pause),
            Err(TransportError::Passing(error) | TransportError::Lasting(error)) => {
                return Err(Error::Transport { url: url.into(), error });
            }
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    Ok(None)
}

fn decode<E, D: for<'a> Deserialize<'a>>(url: &str, body: &[u8]) -> Result<D, Error<E>> {
    serde_json::from_slice(body).map_err(|invalid| Error::Service(format!("{url} did not answer as an OSV service does: {invalid}")))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::inventory::Ecosystem;

    /// Plays back replies and keeps what was asked.
    #[derive(Default)]
    struct Script {
        replies: VecDeque<Result<Reply, TransportError<String>>>,
        asked: Vec<(String, Option<Value>)>,
        pauses: Vec<u128>,
    }

    impl Transport for Script {
        type Error = String;
        fn send(&mut self, url: &str, body: Option<&Value>) -> Result<Reply, TransportError<String>> {
            self.asked.push((url.into(), body.cloned()));
            self.replies.pop_front().expect("a reply for every request")
        }
        fn pause(&mut self, duration: Duration) {
            self.pauses.push(duration.as_millis());
        }
    }

    fn reply(status: u16, body: Value) -> Result<Reply, TransportError<String>> {
        Ok(Reply { status, retry_after: None, body: body.to_string().into_bytes() })
    }

    fn script(replies: impl IntoIterator<Item = Result<Reply, TransportError<String>>>) -> Script {
        Script { replies: replies.into_iter().collect(), ..Script::default() }
    }

    fn subject(name: &str, commit: Option<&str>) -> Subject {
        Subject {
            ecosystem: Ecosystem::Npm,
            name: name.into(),
            version: "1.0.0".into(),
            commit: commit.map(Into::into),
            places: vec![(0, 0)],
        }
    }

    fn failure(error: Error<String>) -> String {
        match error {
            Error::Transport { url, error } => format!("{url}: {error}"),
            Error::Service(text) => text,
        }
    }

    #[test]
    fn pages_are_followed_and_records_fetched_once() {
        let mut script = script([
            reply(
                200,
                json!({ "results": [{ "vulns": [{ "id": "GHSA-1", "modified": "" }], "next_page_token": "more" }, {}, { "vulns": [{ "id": "GHSA-1" }] }] }),
            ),
            reply(200, json!({ "results": [{ "vulns": [{ "id": "GHSA-2" }] }] })),
            reply(200, json!({ "id": "GHSA-1", "summary": "one" })),
            reply(200, json!({ "id": "GHSA-2", "summary": "two" })),
        ]);
        let subjects = [subject("a", None), subject("b", None), subject("c", Some("abcdef0"))];
        let answer = ask(&mut script, "https://osv.example/", &subjects).map_err(failure).unwrap();
        assert_eq!(answer.ids, [vec!["GHSA-1".to_owned(), "GHSA-2".into()], vec![], vec!["GHSA-1".into()]]);
        assert_eq!(answer.records["GHSA-2"].summary, "two");
        let urls: Vec<&str> = script.asked.iter().map(|(url, _)| url.as_str()).collect();
        assert_eq!(urls[0], "https://osv.example/v1/querybatch");
        assert_eq!(urls[2..], ["https://osv.example/v1/vulns/GHSA-1", "https://osv.example/v1/vulns/GHSA-2"]);
        assert_eq!(script.asked[0].1.as_ref().unwrap()["queries"][2], json!({ "commit": "abcdef0" }));
        assert_eq!(
            script.asked[1].1.as_ref().unwrap(),
            &json!({ "queries": [{ "package": { "ecosystem": "npm", "name": "a" }, "version": "1.0.0", "page_token": "more" }] })
        );
    }

    #[test]
    fn more_than_a_thousand_packages_are_asked_about_in_turn() {
        let empty = |count: usize| reply(200, json!({ "results": vec![json!({}); count] }));
        let subjects: Vec<Subject> = (0..1001).map(|index| subject(&format!("p{index}"), None)).collect();
        let mut script = script([empty(1000), empty(1)]);
        assert!(ask(&mut script, "https://osv.example", &subjects).map_err(failure).unwrap().records.is_empty());
        assert_eq!(script.asked.len(), 2);
    }

    #[test]
    fn a_busy_service_is_asked_again() {
        let busy = |after: Option<&str>| Ok(Reply { status: 429, retry_after: after.map(Into::into), body: Vec::new() });
        let passing = Err(TransportError::Passing("no answer in time".to_owned()));
        let mut script = script([busy(None), busy(Some("7")), passing, reply(503, json!({})), reply(200, json!({ "results": [{}] }))]);
        ask(&mut script, "https://osv.example", &[subject("a", None)]).map_err(failure).unwrap();
        assert_eq!(script.pauses, [500, 7000, 2000, 4000]);
    }

    #[test]
    fn what_does_not_pass_is_said() {
        let one = [subject("a", None)];
        let error = |replies: Vec<Result<Reply, TransportError<String>>>| {
            failure(ask(&mut script(replies), "https://osv.example", &one).err().unwrap())
        };
        let down = (0..ATTEMPTS).map(|_| reply(500, json!("down"))).collect();
        assert_eq!(error(down), "https://osv.example/v1/querybatch answered 500 after 5 attempts: \"down\"");
        assert_eq!(error(vec![reply(400, json!({ "code": 3 }))]), "https://osv.example/v1/querybatch answered 400: {\"code\":3}");
        assert_eq!(error(vec![Err(TransportError::Lasting("denied".into()))]), "https://osv.example/v1/querybatch: denied");
        assert!(error(vec![reply(404, json!({}))]).contains("is this the address of an OSV service?"));
        assert!(error(vec![reply(200, json!({ "results": [] }))]).contains("asked about 1 packages and answered about 0"));
        assert!(error(vec![reply(200, json!([]))]).contains("did not answer as an OSV service does"));
    }

    #[test]
    fn a_record_that_is_gone_is_still_reported() {
        let mut script = script([reply(200, json!({ "results": [{ "vulns": [{ "id": "GHSA-1" }] }] })), reply(404, json!({}))]);
        let answer = ask(&mut script, "https://osv.example", &[subject("a", None)]).map_err(failure).unwrap();
        assert_eq!((answer.without_details, answer.records["GHSA-1"].id.as_str()), (1, "GHSA-1"));
    }

    #[test]
    fn endless_pages_end() {
        let pages = (0..=PAGES).map(|_| reply(200, json!({ "results": [{ "next_page_token": "again" }] })));
        let error = ask(&mut script(pages), "https://osv.example", &[subject("a", None)]).map_err(failure).err().unwrap();
        assert!(error.contains("more than 20 pages"), "{error}");
    }
}
