//! HTTP requests, as far as `[stage.<name>.grants] http` allows.
//!
//! ```no_run
//! # use runner_sdk::{Failure, http};
//! # use std::time::Duration;
//! # fn main() -> Result<(), Failure> {
//! let response = http::get("http://app.stage:8080/health").timeout(Duration::from_secs(2)).send()?;
//! let (status, body) = (response.status(), response.text()?);
//! # Ok(()) }
//! ```
//!
//! A response of any status is a response; only what kept it from arriving is an error.

use std::fmt;
use std::io;
use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use crate::bindings::runner::http::client as wit;
use crate::{Denial, Failure};

/// A GET request.
pub fn get(url: impl Into<String>) -> Request {
    Request::new("GET", url)
}

/// A POST request.
pub fn post(url: impl Into<String>) -> Request {
    Request::new("POST", url)
}

/// A request to send: no headers, no body, 30 seconds, no redirects, a response body of 16 MiB at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    method: String,
    url: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    timeout: Duration,
    redirects: u32,
    max_body: u64,
}

impl Request {
    /// Any method (case matters: RFC 9110, 9.1) and an absolute URL. `http://<name>.stage:<port>` is a process that this stage
    /// started under that name.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Request {
        Request {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: Duration::ZERO,
            redirects: 0,
            max_body: 0,
        }
    }

    /// Adds a header. `host`, `content-length`, `connection` and the other hop-by-hop headers are the host's and are denied.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Request {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Request {
        self.body = body.into();
        self
    }

    /// Sets the body to this value as JSON, and says so in `content-type`.
    ///
    /// # Panics
    /// If the value cannot be JSON: a map whose keys are not strings.
    pub fn json(self, value: &impl Serialize) -> Request {
        let body = serde_json::to_vec(value).expect("a value that JSON can hold");
        self.header("content-type", "application/json").body(body)
    }

    /// For the whole exchange, up to the last byte of the body.
    pub fn timeout(mut self, timeout: Duration) -> Request {
        self.timeout = timeout;
        self
    }

    /// How many redirects to follow; more are [`Error::TooManyRedirects`]. Without it, a redirect is itself the response.
    pub fn redirects(mut self, most: u32) -> Request {
        self.redirects = most;
        self
    }

    /// The largest response body in bytes, 1 GiB at most; more is [`Error::TooLarge`].
    pub fn max_body(mut self, bytes: u64) -> Request {
        self.max_body = bytes;
        self
    }

    /// Sends the request and waits for the head of its response.
    pub fn send(&self) -> Result<Response, Error> {
        crate::inside("http");
        let request = wit::Request {
            method: self.method.clone(),
            url: self.url.clone(),
            headers: self.headers.iter().map(|(name, value)| wit::Header { name: name.clone(), value: value.clone() }).collect(),
            body: self.body.clone(),
            timeout: u64::try_from(self.timeout.as_nanos()).unwrap_or(u64::MAX),
            redirects: self.redirects,
            max_body: self.max_body,
        };
        let handle = wit::send(&request)?;
        let headers = handle.headers().into_iter().map(|header| (header.name, header.value)).collect();
        Ok(Response { status: handle.status(), headers, handle })
    }
}

/// A response whose head has arrived. Dropping it ends the exchange.
#[derive(Debug)]
pub struct Response {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    handle: wit::Response,
}

impl Response {
    /// Such as 200.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// In the order in which they came, with names in lower case; several may bear the same name.
    pub fn headers(&self) -> &[(String, Vec<u8>)] {
        &self.headers
    }

    /// The first header of this name, in any case, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(candidate, _)| candidate.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }

    /// The URL that answered, after redirects.
    pub fn url(&self) -> String {
        self.handle.url()
    }

    /// The server's certificate, for https.
    pub fn certificate(&self) -> Option<Certificate> {
        self.handle.certificate().map(|wit| Certificate {
            subject: wit.subject,
            issuer: wit.issuer,
            not_before: wit.not_before,
            not_after: wit.not_after,
        })
    }

    /// Where the time went.
    pub fn timing(&self) -> Timing {
        let wit = self.handle.timing();
        Timing {
            resolve: Duration::from_nanos(wit.resolve),
            connect: Duration::from_nanos(wit.connect),
            tls: Duration::from_nanos(wit.tls),
            wait: Duration::from_nanos(wit.wait),
            total: Duration::from_nanos(wit.total),
        }
    }

    /// The next bytes of the body, `max` at most (0: as many as came; never more than 1 MiB). Empty at the end.
    pub fn chunk(&mut self, max: u32) -> Result<Vec<u8>, Error> {
        Ok(self.handle.read(max)?)
    }

    /// The rest of the body.
    pub fn bytes(mut self) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        loop {
            let chunk = self.chunk(0)?;
            if chunk.is_empty() {
                return Ok(body);
            }
            body.extend_from_slice(&chunk);
        }
    }

    /// The rest of the body as text; bytes that are not UTF-8 become U+FFFD.
    pub fn text(self) -> Result<String, Error> {
        Ok(String::from_utf8(self.bytes()?).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// The rest of the body as JSON.
    pub fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        let url = self.url();
        serde_json::from_slice(&self.bytes()?)
            .map_err(|error| Error::Protocol(format!("{url} did not answer with the expected JSON: {error}")))
    }
}

impl io::Read for Response {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let max = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
        let chunk = self.chunk(max).map_err(io::Error::other)?;
        buffer[..chunk.len()].copy_from_slice(&chunk);
        Ok(chunk.len())
    }
}

/// The server's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Common name or first subject alternative name.
    pub subject: String,
    /// Who issued it.
    pub issuer: String,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub not_before: i64,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub not_after: i64,
}

/// Where the time went. A phase that did not happen is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timing {
    /// Finding the address.
    pub resolve: Duration,
    /// The TCP connection.
    pub connect: Duration,
    /// The TLS handshake.
    pub tls: Duration,
    /// From the request's last byte to the response's first.
    pub wait: Duration,
    /// From the start to the end of the head.
    pub total: Duration,
}

/// Why there is no response, or no more of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The grants do not allow it.
    Denied(Denial),
    /// The name could not be resolved.
    Dns(String),
    /// No connection: refused, reset, unreachable.
    Connect(String),
    /// No trust, or no common ground.
    Tls(String),
    /// The request's `timeout` has passed.
    Timeout,
    /// The body is larger than `max_body`, which is given.
    TooLarge(u64),
    /// The server did not speak HTTP.
    Protocol(String),
    /// The request cannot be sent as it is: a bad method, header or URL.
    Invalid(String),
    /// There were more redirects than `redirects`, which is given.
    TooManyRedirects(u32),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Denied(denial) => denial.fmt(f),
            Error::Dns(text) => write!(f, "the name could not be resolved: {text}"),
            Error::Connect(text) => write!(f, "no connection: {text}"),
            Error::Tls(text) => write!(f, "no TLS connection: {text}"),
            Error::Timeout => f.write_str("no answer in time"),
            Error::TooLarge(limit) => write!(f, "the response is larger than {limit} bytes"),
            Error::Protocol(text) => write!(f, "not the expected HTTP: {text}"),
            Error::Invalid(text) => write!(f, "the request cannot be sent: {text}"),
            Error::TooManyRedirects(limit) => write!(f, "more than {limit} redirects"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::Denied(denial) => Failure::Denied(denial),
            Error::Invalid(_) => Failure::misconfigured(error),
            _ => Failure::errored(error),
        }
    }
}

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Error {
        match error {
            wit::Error::Denied(denial) => Error::Denied(denial.into()),
            wit::Error::Dns(text) => Error::Dns(text),
            wit::Error::Connect(text) => Error::Connect(text),
            wit::Error::Tls(text) => Error::Tls(text),
            wit::Error::Timeout => Error::Timeout,
            wit::Error::TooLarge(limit) => Error::TooLarge(limit),
            wit::Error::Protocol(text) => Error::Protocol(text),
            wit::Error::Invalid(text) => Error::Invalid(text),
            wit::Error::TooManyRedirects(limit) => Error::TooManyRedirects(limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_body_says_what_it_is() {
        let request = post("http://app.stage/orders").json(&serde_json::json!({ "id": 7 }));
        assert_eq!(request.body, br#"{"id":7}"#);
        assert_eq!(request.headers, [("content-type".to_owned(), b"application/json".to_vec())]);
    }

    #[test]
    fn each_error_fails_the_stage_in_its_own_way() {
        let denial = Denial {
            effect: "http.request".into(),
            subject: "GET https://example.com/".into(),
            code: "not-granted".into(),
            reason: "no rule allows it".into(),
            remedy: None,
        };
        assert_eq!(Failure::from(Error::Denied(denial.clone())), Failure::Denied(denial));
        assert!(matches!(Failure::from(Error::Invalid("a space in the URL".into())), Failure::Misconfigured(_)));
        assert!(matches!(Failure::from(Error::Timeout), Failure::Errored(text) if text == "no answer in time"));
    }
}
