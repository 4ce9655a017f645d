//! HTTP/1.1 (RFC 9112) as far as this service speaks it: requests with small bodies that are ignored, responses of known length.
//!
//! The client decides what arrives and when, so everything here is bounded: the head's size and the number of its fields, a
//! body's size, and (by the caller's `Source`) time.

use std::io::{self, Write};

/// The largest head of a request, in bytes.
pub const LARGEST_HEAD: usize = 8 * 1024;

/// The most header fields.
pub const MOST_FIELDS: usize = 64;

/// The largest body, in bytes; it is read and thrown away, so that the connection stays usable.
pub const LARGEST_BODY: u64 = 64 * 1024;

/// A request, as far as anybody looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// Without the query.
    pub path: String,
    /// Whether the client wants to send another request on this connection.
    pub keep_alive: bool,
    /// How many bytes of body follow the head.
    pub body: u64,
}

/// Why a request cannot be answered as it is, and the status that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub reason: &'static str,
}

const fn refuse(status: u16, reason: &'static str) -> Refusal {
    Refusal { status, reason }
}

/// Where the head ends: the index behind the empty line.
pub fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|start| start + 4)
}

/// Reads a head, which ends with an empty line.
///
/// # Errors
/// The refusal to answer with. The connection cannot be used after it: where the next request starts is not known.
pub fn parse(head: &[u8]) -> Result<Request, Refusal> {
    let head = std::str::from_utf8(head).map_err(|_| refuse(400, "the head is not text"))?;
    let mut lines = head.trim_end_matches("\r\n").split("\r\n");

    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(refuse(400, "the request line has not three parts"));
    };
    if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(refuse(400, "the method is no word"));
    }
    if !target.starts_with('/') {
        return Err(refuse(400, "the target is no path"));
    }
    let modern = match version {
        "HTTP/1.1" => true,
        "HTTP/1.0" => false,
        _ => return Err(refuse(505, "HTTP/1.1 is spoken here")),
    };

    let (mut keep_alive, mut body, mut hosts) = (modern, None, 0);
    for (count, line) in lines.enumerate() {
        if count == MOST_FIELDS {
            return Err(refuse(431, "too many header fields"));
        }
        let Some((name, value)) = line.split_once(':').filter(|(name, _)| is_token(name)) else {
            return Err(refuse(400, "a header line is no field"));
        };
        let value = value.trim_matches([' ', '\t']);
        if name.eq_ignore_ascii_case("host") {
            hosts += 1;
        } else if name.eq_ignore_ascii_case("connection") {
            for option in value.split(',').map(str::trim) {
                if option.eq_ignore_ascii_case("close") {
                    keep_alive = false;
                } else if option.eq_ignore_ascii_case("keep-alive") && !modern {
                    keep_alive = true;
                }
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(refuse(411, "a body needs a content-length"));
        } else if name.eq_ignore_ascii_case("content-length") {
            let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            let length: u64 =
                value.parse().ok().filter(|_| digits).ok_or(refuse(400, "content-length is no number"))?;
            // Two lengths that differ are how requests are smuggled past a proxy (RFC 9112, section 6.3).
            if body.is_some_and(|before| before != length) {
                return Err(refuse(400, "content-length is given twice"));
            }
            body = Some(length);
        }
    }
    if modern && hosts != 1 {
        return Err(refuse(400, "one host field is needed"));
    }
    let body = body.unwrap_or(0);
    if body > LARGEST_BODY {
        return Err(refuse(413, "the body is too large"));
    }
    let path = target.split(['?', '#']).next().unwrap_or_default();
    Ok(Request { method: method.into(), path: path.into(), keep_alive, body })
}

/// RFC 9110, section 5.6.2.
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub content_type: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Response {
    /// A JSON body.
    pub fn json(status: u16, body: impl Into<String>) -> Response {
        Response { status, content_type: "application/json", headers: Vec::new(), body: body.into() }
    }

    /// `{"error": …}`.
    pub fn error(status: u16, reason: &str) -> Response {
        Response::json(status, format!(r#"{{"error":{}}}"#, crate::catalogue::quoted(reason)))
    }

    /// Another header.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Response {
        self.headers.push((name, value.into()));
        self
    }

    /// Writes the response in one piece. `head_only` leaves the body out, as an answer to HEAD does.
    ///
    /// # Errors
    /// The connection's.
    pub fn write(&self, to: &mut impl Write, keep_alive: bool, head_only: bool) -> io::Result<()> {
        let mut text = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: {}\r\ncontent-length: {}\r\nconnection: {}\r\n",
            self.status,
            phrase(self.status),
            self.content_type,
            self.body.len(),
            if keep_alive { "keep-alive" } else { "close" },
        );
        for (name, value) in &self.headers {
            // A line feed in a value would begin another header.
            let value: String = value.chars().filter(|character| !character.is_control()).collect();
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        if !head_only {
            text.push_str(&self.body);
        }
        to.write_all(text.as_bytes())?;
        to.flush()
    }
}

fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read() {
        let head = b"GET /products/1?x=/ HTTP/1.1\r\nHost: shop\r\nAccept: */*\r\ncontent-length: 3\r\n\r\n";
        let request = Request { method: "GET".into(), path: "/products/1".into(), keep_alive: true, body: 3 };
        assert_eq!(parse(head), Ok(request));
        assert_eq!(end_of_head(head), Some(head.len()));
        assert_eq!(end_of_head(b"GET / HTTP/1.1\r\nHost: shop\r\n"), None);
    }

    #[test]
    fn the_connection_is_kept_as_the_client_wants() {
        for (head, keep_alive) in [
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nhost: a\r\nConnection: Close\r\n\r\n", false),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n", true),
        ] {
            assert_eq!(parse(head.as_bytes()).map(|request| request.keep_alive), Ok(keep_alive), "{head}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MOST_FIELDS + 1));
        for (head, status) in [
            ("\r\n", 400),
            ("GET /\r\n\r\n", 400),
            ("get / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
            ("GET http://a/ HTTP/1.1\r\nhost: a\r\n\r\n", 400),
            ("GET / HTTP/2\r\nhost: a\r\n\r\n", 505),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nhost : a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nhost: a\r\n folded\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 999999\r\n\r\n", 413),
            ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n", 411),
            (many.as_str(), 431),
        ] {
            assert_eq!(parse(head.as_bytes()).map_err(|refusal| refusal.status), Err(status), "{head:?}");
        }
        assert_eq!(parse(b"GET /\xff HTTP/1.1\r\nhost: a\r\n\r\n").map_err(|refusal| refusal.status), Err(400));
    }

    #[test]
    fn a_response_is_written_in_one_piece() {
        let response = Response::json(200, "{}").with("x-version", "1\r\nx-evil: 2");
        let mut written = Vec::new();
        response.write(&mut written, true, false).expect("a Vec takes everything");
        let text = String::from_utf8(written).expect("text");
        let expected = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: keep-alive\r\nx-version: 1x-evil: 2\r\n\r\n{}";
        assert_eq!(text, expected);

        let mut head = Vec::new();
        response.write(&mut head, false, true).expect("a Vec takes everything");
        assert!(head.ends_with(b"\r\n\r\n") && !head.ends_with(b"{}"));
    }
}
