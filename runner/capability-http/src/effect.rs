//! One request as an effect, what may be asked about it, and what came of it.
//!
//! Everything here is data and can be recorded. Bodies are recorded by digest, and so are the values of headers that bear credentials;
//! a reply holds the number of an exchange, never a connection. A redirect is a second effect. Deliberately absent: how any of it is
//! decided (`policy`) or carried out (`backend`).

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use capability::{Class, Effect};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::target::{BadUrl, Target};

/// All headers of a request or a response together, names and values.
pub const MAX_HEAD: usize = 64 << 10;
/// What `max-body` can be at most, and what it is for `wasi:http`.
pub const MAX_RESPONSE_BODY: u64 = 1 << 30;

/// The one effect of this capability.
#[derive(Clone)]
pub struct Request {
    /// A token; case matters.
    pub method: String,
    pub aim: Aim,
    /// Names in lower case.
    pub headers: Vec<Header>,
    pub body: Bytes,
    pub trailers: Vec<Header>,
    pub limits: Limits,
    pub answer: Answer,
}

/// Where a request goes, if it can go anywhere.
#[derive(Debug, Clone)]
pub enum Aim {
    At(Target),
    /// The whole URL is a secret; only the placeholder is known here.
    Secret {
        name: String,
        placeholder: String,
    },
    Nowhere {
        written: String,
        why: BadUrl,
    },
}

impl Aim {
    pub fn parse(text: &str) -> Aim {
        // by its form: what it stands for is not known where a record is replayed
        if let Some(name) = secret::placeholder_name(text) {
            return Aim::Secret { name: name.to_owned(), placeholder: text.to_owned() };
        }
        match Target::parse(text) {
            Ok(target) => Aim::At(target),
            Err(why) => Aim::Nowhere { written: shorten(text), why },
        }
    }

    pub fn url(&self) -> String {
        match self {
            Aim::At(target) => target.to_string(),
            Aim::Secret { placeholder, .. } => placeholder.clone(),
            Aim::Nowhere { written, .. } => written.clone(),
        }
    }
}

/// A text of the guest's that is shown to people: without a secret that may stand before an `@`, and not at any length.
fn shorten(text: &str) -> String {
    let text: String = text.chars().take(200).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let start = text.find("//").map_or(0, |i| i + 2);
    let end = text[start..].find(['/', '?', '#', '\\']).map_or(text.len(), |i| start + i);
    match text[start..end].rfind('@') {
        Some(at) => format!("{}…{}", &text[..start], &text[start + at..]),
        None => text,
    }
}

/// Names in lower case. Recorded with each byte of the value as one character (ISO 8859-1), which loses nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub name: String,
    #[serde(with = "latin1")]
    pub value: Bytes,
}

impl Header {
    pub fn new(name: &str, value: impl Into<Bytes>) -> Header {
        Header { name: name.to_ascii_lowercase(), value: value.into() }
    }

    /// Whether the value lets whoever knows it act for somebody.
    fn is_credential(&self) -> bool {
        matches!(self.name.as_str(), "authorization" | "cookie" | "set-cookie") || self.name.contains("token") || self.name.contains("key")
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_credential() { write!(f, "{}: …", self.name) } else { write!(f, "{}: {:?}", self.name, self.value) }
    }
}

mod latin1 {
    use bytes::Bytes;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&bytes.iter().map(|b| char::from(*b)).collect::<String>())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = text.chars().map(u8::try_from).collect::<Result<Vec<u8>, _>>();
        bytes.map(Bytes::from).map_err(|_| D::Error::custom("a header's value holds a character beyond U+00FF"))
    }
}

/// How long and how large. `None`: no such limit.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Limits {
    /// For the whole exchange, as the guest gave it.
    pub whole: Option<Duration>,
    /// When that time is over; redirects share it. A moment of this machine, so not recorded.
    #[serde(skip)]
    pub deadline: Option<Instant>,
    /// Connecting, each of name resolution, TCP and TLS.
    pub connect: Duration,
    /// From the end of the request to the head of the response.
    pub head: Option<Duration>,
    /// From one piece of the body to the next.
    pub pause: Option<Duration>,
    /// The largest body of a response, in bytes.
    pub body: u64,
}

/// Which moment the guest waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Answer {
    /// The head: it is the reply.
    Head,
    /// The start: the head is delivered later.
    Start,
}

/// Look up a name.
#[derive(Debug, Clone, Serialize)]
pub struct Resolve {
    pub host: String,
    pub within: Duration,
}

/// What a name led to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Seen {
    pub resolved: Option<Resolved>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Resolved {
    pub addresses: Vec<IpAddr>,
    /// Why there are none.
    pub error: Option<String>,
    /// How long it took, in nanoseconds.
    pub took: u64,
}

/// What came of a request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reply {
    /// The number of the exchange, from which the rest is read. The same in a replay.
    pub exchange: u64,
    /// `None` for [`Answer::Start`].
    pub head: Option<Result<Head, Failure>>,
}

/// The head of a response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub status: u16,
    pub headers: Vec<Header>,
    pub certificate: Option<Certificate>,
    pub timing: Timing,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    pub subject: String,
    pub issuer: String,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub not_before: i64,
    pub not_after: i64,
}

/// Nanoseconds; see the WIT.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    pub resolve: u64,
    pub connect: u64,
    pub tls: u64,
    pub wait: u64,
    pub total: u64,
}

impl Timing {
    /// Of a request and the one that it was redirected to.
    pub fn plus(self, next: Timing) -> Timing {
        Timing {
            resolve: self.resolve + next.resolve,
            connect: self.connect + next.connect,
            tls: self.tls + next.tls,
            wait: self.wait + next.wait,
            total: self.total + next.total,
        }
    }
}

/// Why there is no response, or no more of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    #[error("{0}")]
    Dns(String),
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Unreachable(String),
    /// The connection ended too early.
    #[error("{0}")]
    Terminated(String),
    /// A name under `.stage` that no process of the stage has.
    #[error("{0}")]
    NoProcess(String),
    #[error("{0}")]
    TooMany(String),
    #[error("no connection in time")]
    ConnectTimeout,
    #[error("no response in time")]
    HeadTimeout,
    #[error("the response's body did not come in time")]
    BodyTimeout,
    #[error("{0}")]
    TlsCertificate(String),
    #[error("{text}")]
    TlsAlert { alert: u8, text: String },
    #[error("{0}")]
    Tls(String),
    #[error("the response's body is larger than {0} bytes")]
    BodyTooLarge(u64),
    #[error("the response's head is larger than {MAX_HEAD} bytes")]
    HeadTooLarge,
    #[error("{0}")]
    Protocol(String),
    /// What the host was given can't be sent.
    #[error("{0}")]
    Invalid(String),
}

/// A piece of a response as the guest got to see it: what is recorded at each delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Piece {
    /// Nothing yet.
    Pending,
    Head(Head),
    /// The bytes are recorded beside it.
    Body,
    End,
    Trailers(Vec<Header>),
    Failure(Failure),
}

impl Effect for Request {
    const NAME: &'static str = "http.request";

    type Question = Resolve;
    type Seen = Seen;
    type Reply = Reply;

    /// Without the query, which may hold what is nobody's business.
    fn subject(&self) -> Cow<'_, str> {
        let url = match &self.aim {
            Aim::At(target) => Target { query: None, ..target.clone() }.to_string(),
            Aim::Secret { name, .. } => format!("${{secret.{name}}}"),
            Aim::Nowhere { written, .. } => written.split(['?', '#']).next().unwrap_or("").to_owned(),
        };
        format!("{} {url}", self.method).into()
    }

    /// RFC 9110, 9.2: safe methods change nothing, idempotent ones nothing more. A request with an `Idempotency-Key`
    /// (draft-ietf-httpapi-idempotency-key-header) is recognised by its server.
    fn class(&self) -> Class {
        match self.method.as_str() {
            "GET" | "HEAD" | "OPTIONS" => Class::Read,
            "PUT" | "DELETE" => Class::Idempotent,
            _ if self.headers.iter().any(|h| h.name == "idempotency-key" && !h.value.is_empty()) => Class::Idempotent,
            _ => Class::Once,
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("aim", &self.aim)
            .field("headers", &self.headers)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish_non_exhaustive()
    }
}

/// What tells this request from another: enough to find that a replay has diverged, and no more than that.
impl Serialize for Request {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let digest = |bytes: &[u8]| format!("blake3:{}", blake3::hash(bytes).to_hex());
        let mut headers = self.headers.clone();
        for header in headers.iter_mut().filter(|h| h.is_credential()) {
            header.value = digest(&header.value).into();
        }
        let mut out = serializer.serialize_struct("Request", 8)?;
        out.serialize_field("method", &self.method)?;
        out.serialize_field("url", &self.aim.url())?;
        out.serialize_field("headers", &headers)?;
        out.serialize_field("body-length", &self.body.len())?;
        out.serialize_field("body", &digest(&self.body))?;
        out.serialize_field("trailers", &self.trailers)?;
        out.serialize_field("limits", &self.limits)?;
        out.serialize_field("answer", &self.answer)?;
        out.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(url: &str) -> Request {
        Request {
            method: "POST".into(),
            aim: Aim::parse(url),
            headers: vec![Header::new("Authorization", "Bearer s3cr3t"), Header::new("x-name", vec![0xe4, b'b'])],
            body: Bytes::from_static(b"hello"),
            trailers: Vec::new(),
            limits: Limits {
                whole: Some(Duration::from_secs(30)),
                deadline: Some(Instant::now()),
                connect: Duration::from_secs(10),
                head: None,
                pause: None,
                body: 16 << 20,
            },
            answer: Answer::Head,
        }
    }

    #[test]
    fn a_record_is_the_same_each_time_and_holds_no_credentials() {
        let first = serde_json::to_value(request("https://api.example/x?token=1")).unwrap();
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(first, serde_json::to_value(request("https://api.example/x?token=1")).unwrap());
        assert!(!first.to_string().contains("s3cr3t"), "{first}");
        assert!(!format!("{:?}", request("https://api.example/")).contains("s3cr3t"));
        assert_eq!(first["headers"][1]["value"], "\u{e4}b");
        assert_eq!(first["body-length"], 5);
    }

    #[test]
    fn a_reply_comes_back_from_its_record() {
        let reply = Reply {
            exchange: 3,
            head: Some(Ok(Head {
                status: 200,
                headers: vec![Header::new("x", vec![0, 0x80, 0xff])],
                certificate: None,
                timing: Timing { total: 7, ..Timing::default() },
            })),
        };
        let json = serde_json::to_string(&reply).unwrap();
        let back: Reply = serde_json::from_str(&json).unwrap();
        assert_eq!(back.head, reply.head);
        let failed = Reply { exchange: 4, head: Some(Err(Failure::TlsAlert { alert: 40, text: "handshake failure".into() })) };
        let back: Reply = serde_json::from_str(&serde_json::to_string(&failed).unwrap()).unwrap();
        assert_eq!(back.head, failed.head);
    }

    #[test]
    fn subjects_show_no_query_and_no_password() {
        assert_eq!(request("https://API.example/x?token=1").subject(), "POST https://api.example/x");
        assert_eq!(request("https://user:pass@api.example/x?q").subject(), "POST https://…@api.example/x");
        assert_eq!(request("no url\u{7}").subject(), "POST no url\u{fffd}");
    }
}
