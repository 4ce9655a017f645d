//! An answer as assertions and captures see it.

use std::cell::OnceCell;
use std::time::Duration;

use runner_sdk::http::Certificate;
use serde_json::Value;

/// The most characters of a body or value that a message shows.
const LONGEST_EXCERPT: usize = 300;

/// What came back for a request.
#[derive(Debug)]
pub struct Answer {
    /// Such as 200.
    pub status: u16,
    /// With names in lower case; several may bear the same name.
    pub headers: Vec<(String, String)>,
    /// Bytes that are not UTF-8 have become U+FFFD.
    pub body: String,
    /// From the request to the end of the body.
    pub elapsed: Duration,
    /// For https.
    pub certificate: Option<Certificate>,
    json: OnceCell<Result<Value, String>>,
}

impl Answer {
    /// An answer without a certificate.
    pub fn new(status: u16, headers: Vec<(String, String)>, body: String, elapsed: Duration) -> Answer {
        Answer { status, headers, body, elapsed, certificate: None, json: OnceCell::new() }
    }

    /// The values of a header, in any case of its name, joined as RFC 9110, section 5.3 allows.
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<&str> =
            self.headers.iter().filter(|(candidate, _)| candidate.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// The body as JSON, or why it is none.
    pub fn json(&self) -> Result<&Value, &str> {
        let parsed = self.json.get_or_init(|| serde_json::from_str(&self.body).map_err(|error| format!("the body is no JSON ({error})")));
        parsed.as_ref().map_err(String::as_str)
    }

    /// The beginning of the body, for messages.
    pub fn excerpt(&self) -> String {
        excerpt(&self.body)
    }
}

/// The beginning of a text, on one line.
pub fn excerpt(text: &str) -> String {
    let mut characters = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = characters.by_ref().take(LONGEST_EXCERPT).collect();
    if characters.next().is_some() {
        short.pop();
        short.push('…');
    }
    if short.is_empty() { "(empty)".into() } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_one_name_are_joined() {
        let headers = vec![("via".into(), "a".into()), ("x".into(), "1".into()), ("via".into(), "b".into())];
        let answer = Answer::new(200, headers, String::new(), Duration::ZERO);
        assert_eq!((answer.header("Via").as_deref(), answer.header("y")), (Some("a, b"), None));
    }

    #[test]
    fn an_excerpt_is_short_and_on_one_line() {
        assert_eq!(excerpt(" a\nb\t"), "a b");
        assert_eq!(excerpt("\n"), "(empty)");
        let long = excerpt(&"ü".repeat(1000));
        assert_eq!((long.chars().count(), long.chars().last()), (LONGEST_EXCERPT, Some('…')));
        assert_eq!(excerpt(&"x".repeat(LONGEST_EXCERPT)).chars().last(), Some('x'));
    }
}
