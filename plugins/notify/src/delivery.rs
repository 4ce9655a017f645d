//! One request to a receiver: what is sent, when it is sent again, and what is said of a receiver that did not take it.
//!
//! Nothing here knows the network: the world outside is a trait, so that a case table tests what is repeated and what is not. No error names a
//! URL: it may be a secret as a whole.

use std::time::Duration;

use runner_sdk::Denial;
use serde_json::Value;

use crate::escape::{cut, one_line};

/// How often one request is sent at most.
const TRIES: u32 = 3;
/// The longest pause that a receiver may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// So much of an answer is repeated in an error.
const EXCERPT: usize = 300;

/// What is outside: the network and the clock.
pub trait World {
    fn send(&mut self, request: &Request) -> Result<Answer, Trouble>;
    fn pause(&mut self, duration: Duration);
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether sending it twice is the same as sending it once.
    pub repeatable: bool,
}

impl Request {
    /// Without a body.
    pub fn get(url: impl Into<String>) -> Request {
        Request { method: "GET".into(), url: url.into(), headers: Vec::new(), body: Vec::new(), repeatable: true }
    }

    /// With a body as JSON.
    pub fn json(method: &str, url: impl Into<String>, body: &Value) -> Request {
        Request::with(method, url, "application/json", body.to_string())
    }

    /// With any body.
    pub fn with(method: &str, url: impl Into<String>, content: &str, body: String) -> Request {
        let repeatable = matches!(method, "GET" | "HEAD" | "PUT" | "DELETE");
        let headers = if body.is_empty() { Vec::new() } else { vec![("content-type".into(), content.into())] };
        Request { method: method.into(), url: url.into(), headers, body: body.into_bytes(), repeatable }
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Request {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// The receiver recognises it by what is in it, so that it may be repeated: after an error of the server, and by a run that goes on
    /// after a crash, which looks at this header.
    pub fn repeatable(self, key: &str) -> Request {
        // header values are visible ASCII; a branch need not be
        let key: String = key.chars().map(|c| if c.is_ascii_graphic() { c } else { '-' }).take(200).collect();
        Request { repeatable: true, ..self.header("idempotency-key", key) }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<String>,
    pub body: String,
}

impl Answer {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    Denied(Denial),
    /// The request can't be sent as it is.
    Invalid(String),
    /// The network, or the time.
    Transport(String),
}

/// Why a receiver was not told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undelivered {
    pub why: String,
    /// The refused effect, if that is why.
    pub denial: Option<Box<Denial>>,
}

impl From<String> for Undelivered {
    fn from(why: String) -> Undelivered {
        Undelivered { why, denial: None }
    }
}

/// Sends a request until it is taken: again after 429, which says that it was not looked at, and for a request that may be repeated also
/// after errors of the server and of the network.
///
/// # Errors
/// What the receiver said, or why it could not be asked.
pub fn deliver(world: &mut dyn World, request: &Request) -> Result<Answer, Undelivered> {
    let mut tries = 1;
    loop {
        let mut pause = Duration::from_secs(1 << (tries - 1));
        let why = match world.send(request) {
            Ok(answer) if (200..300).contains(&answer.status) => return Ok(answer),
            Ok(answer) => {
                let again = answer.status == 429 || (answer.status >= 500 && request.repeatable);
                if let Some(asked) = answer.retry_after.as_deref().and_then(|text| text.trim().parse().ok()).map(Duration::from_secs) {
                    pause = asked;
                }
                let said = refused(&answer);
                if !again {
                    return Err(said.into());
                }
                said
            }
            Err(Trouble::Denied(denial)) => {
                return Err(Undelivered { why: shortened(&denial.to_string()), denial: Some(Box::new(denial)) });
            }
            Err(Trouble::Invalid(why)) => return Err(shortened(&why).into()),
            Err(Trouble::Transport(why)) if !request.repeatable => return Err(shortened(&why).into()),
            Err(Trouble::Transport(why)) => shortened(&why),
        };
        if tries == TRIES {
            return Err(format!("{why}; {TRIES} tries").into());
        }
        if pause > LONGEST_PAUSE {
            return Err(format!("{why}; it wants to be asked again in {}s, which is too late", pause.as_secs()).into());
        }
        world.pause(pause);
        tries += 1;
    }
}

/// What to say of an answer that is a refusal.
pub fn refused(answer: &Answer) -> String {
    let body = shortened(&answer.body);
    if body.is_empty() { format!("it answered {}", answer.status) } else { format!("it answered {}: {body}", answer.status) }
}

fn shortened(text: &str) -> String {
    cut(one_line(text.trim()).trim(), EXCERPT).into_owned()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A world with answers up its sleeve, that keeps what it was sent and how long it was let wait.
    #[derive(Default)]
    pub struct Scripted {
        pub answers: Vec<Result<Answer, Trouble>>,
        pub sent: Vec<Request>,
        pub paused: Vec<u64>,
    }

    impl Scripted {
        pub fn new(answers: impl IntoIterator<Item = Result<Answer, Trouble>>) -> Scripted {
            let mut answers: Vec<_> = answers.into_iter().collect();
            answers.reverse();
            Scripted { answers, ..Scripted::default() }
        }

        /// The bodies that were sent, as JSON.
        pub fn bodies(&self) -> Vec<Value> {
            self.sent.iter().map(|request| serde_json::from_slice(&request.body).unwrap_or_default()).collect()
        }
    }

    impl World for Scripted {
        fn send(&mut self, request: &Request) -> Result<Answer, Trouble> {
            self.sent.push(request.clone());
            self.answers.pop().expect("no more requests than answers")
        }

        fn pause(&mut self, duration: Duration) {
            self.paused.push(duration.as_secs());
        }
    }

    pub fn answer(status: u16, body: &str) -> Result<Answer, Trouble> {
        Ok(Answer { status, retry_after: None, body: body.into() })
    }

    fn later(status: u16, retry_after: &str) -> Result<Answer, Trouble> {
        Ok(Answer { status, retry_after: Some(retry_after.into()), body: String::new() })
    }

    fn network() -> Result<Answer, Trouble> {
        Err(Trouble::Transport("no connection: refused".into()))
    }

    #[test]
    fn only_what_may_be_repeated_is() {
        let once = Request::json("POST", "u", &Value::Null);
        let again = once.clone().repeatable("shop/main");
        for (request, answers, paused, expected) in [
            (&once, vec![answer(200, "ok")], vec![], Ok("ok")),
            (&once, vec![later(429, "7"), answer(200, "ok")], vec![7], Ok("ok")),
            (&once, vec![answer(429, ""), answer(429, ""), answer(429, "slow")], vec![1, 2], Err("it answered 429: slow; 3 tries")),
            (&once, vec![later(429, "3600")], vec![], Err("it answered 429; it wants to be asked again in 3600s, which is too late")),
            (&once, vec![answer(503, "")], vec![], Err("it answered 503")),
            (&once, vec![network()], vec![], Err("no connection: refused")),
            (&again, vec![answer(503, ""), network(), answer(202, "")], vec![1, 2], Ok("")),
            (&again, vec![answer(404, "no_service")], vec![], Err("it answered 404: no_service")),
            (&again, vec![network(), network(), network()], vec![1, 2], Err("no connection: refused; 3 tries")),
            (&again, vec![Err(Trouble::Invalid("bad header".into()))], vec![], Err("bad header")),
        ] {
            let mut world = Scripted::new(answers);
            let delivered = deliver(&mut world, request).map(|answer| answer.body).map_err(|undelivered| undelivered.why);
            assert_eq!(delivered.as_deref().map_err(String::as_str), expected);
            assert_eq!(world.paused, paused);
            assert!(world.answers.is_empty());
        }
    }

    #[test]
    fn a_long_answer_is_not_repeated_as_a_whole() {
        let why = deliver(&mut Scripted::new([answer(400, &format!("no\n{}", "x".repeat(9000)))]), &Request::get("u")).unwrap_err().why;
        assert!(why.starts_with("it answered 400: no xxx") && why.chars().count() < 330, "{why}");
    }

    #[test]
    fn a_key_is_a_header_whatever_the_branch_is_called() {
        let request = Request::json("POST", "u", &Value::Null).repeatable("shop/füß\nx");
        assert_eq!(request.headers.last().unwrap().1, "shop/f---x");
    }
}
