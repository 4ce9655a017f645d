//! What a redirect asks for: the next request, made from the one that was redirected (RFC 9110, 15.4).
//!
//! The next request is a new effect and is decided like any other. Deliberately absent: how many are followed (`host`).

use bytes::Bytes;

use crate::effect::{Aim, Head, Request};
use crate::target::Target;

/// Headers that say who asks: not for another origin.
const CREDENTIALS: [&str; 2] = ["authorization", "cookie"];
/// Headers that describe a body that is no longer sent.
const CONTENT: [&str; 6] = ["content-type", "content-encoding", "content-language", "content-location", "content-disposition", "digest"];

/// The place that a response points to, if it is a redirect that can be followed.
pub fn location(head: &Head) -> Option<&Bytes> {
    let follows = matches!(head.status, 301 | 302 | 303 | 307 | 308);
    head.headers.iter().find(|header| follows && header.name == "location").map(|header| &header.value)
}

pub fn follow(mut request: Request, status: u16, location: &Bytes) -> Request {
    let text = String::from_utf8_lossy(location);
    let next = match &request.aim {
        Aim::At(from) => from.join(&text),
        // the backend has made it a whole URL
        Aim::Secret { .. } => Target::parse(&text),
        Aim::Nowhere { .. } => return request,
    };
    // 303 asks for another document; with 301 and 302, every client since the first has turned POST into GET
    let rewrite = match status {
        303 => request.method != "HEAD",
        301 | 302 => request.method == "POST",
        _ => false,
    };
    let same_origin = match (&request.aim, &next) {
        (Aim::At(from), Ok(next)) => next.same_origin(from),
        _ => false,
    };
    request.aim = match next {
        Ok(target) => Aim::At(target),
        Err(why) => match Aim::parse(&text) {
            Aim::Nowhere { written, .. } => Aim::Nowhere { written, why },
            // a server has no say in where a secret is put
            other => Aim::Nowhere { written: other.url(), why },
        },
    };
    if rewrite {
        request.method = "GET".to_owned();
        request.body = Bytes::new();
        request.trailers.clear();
        request.headers.retain(|header| !CONTENT.contains(&header.name.as_str()));
    }
    if !same_origin {
        request.headers.retain(|header| !CREDENTIALS.contains(&header.name.as_str()) && !secret::may_hold_placeholder(&header.value));
    }
    request
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::effect::{Answer, Header, Limits, Timing};

    fn redirected(method: &str, status: u16, location: &'static str) -> Request {
        let request = Request {
            method: method.into(),
            aim: Aim::parse("https://api.example/a?b"),
            headers: [("authorization", "1"), ("cookie", "1"), ("content-type", "1"), ("x-kept", "1"), ("x-api", "a __secret-x-0__")]
                .map(|(name, value)| Header::new(name, value))
                .to_vec(),
            body: Bytes::from_static(b"body"),
            trailers: Vec::new(),
            limits: Limits { whole: None, deadline: None, connect: Duration::from_secs(1), head: None, pause: None, body: 1 },
            answer: Answer::Head,
        };
        follow(request, status, &Bytes::from_static(location.as_bytes()))
    }

    #[test]
    fn methods_and_bodies_follow_the_status() {
        const CASES: &[(&str, u16, &str, bool)] = &[
            ("GET", 301, "GET", true),
            ("GET", 302, "GET", true),
            ("POST", 301, "GET", false),
            ("POST", 302, "GET", false),
            ("PUT", 302, "PUT", true),
            ("POST", 303, "GET", false),
            ("PUT", 303, "GET", false),
            ("HEAD", 303, "HEAD", true),
            ("POST", 307, "POST", true),
            ("POST", 308, "POST", true),
        ];
        for (method, status, expected, body) in CASES {
            let next = redirected(method, *status, "/c");
            assert_eq!(next.method, *expected, "{method} {status}");
            assert_eq!(!next.body.is_empty(), *body, "{method} {status}");
            assert_eq!(next.headers.iter().any(|h| h.name == "content-type"), *body, "{method} {status}");
        }
    }

    #[test]
    fn credentials_stay_with_their_origin() {
        for (location, kept) in [
            ("/c", true),
            ("https://api.example:443/c", true),
            ("http://api.example/c", false),
            ("https://api.example:8443/c", false),
            ("https://www.api.example/c", false),
            ("//evil.example/", false),
            ("ftp://api.example/", false),
        ] {
            let next = redirected("GET", 302, location);
            assert_eq!(next.headers.iter().any(|h| h.name == "authorization"), kept, "{location}");
            assert_eq!(next.headers.iter().any(|h| h.name == "cookie"), kept, "{location}");
            assert_eq!(next.headers.iter().any(|h| h.name == "x-api"), kept, "{location}");
            assert!(next.headers.iter().any(|h| h.name == "x-kept"));
        }
    }

    #[test]
    fn a_location_that_leads_nowhere_is_for_the_policy_to_refuse() {
        let next = redirected("GET", 302, "https://user:secret@api.example/");
        let Aim::Nowhere { written, .. } = next.aim else { panic!("{:?}", next.aim) };
        assert!(!written.contains("secret"));
    }

    #[test]
    fn only_redirects_with_a_location_are_followed() {
        let head = |status, headers| Head { status, headers, certificate: None, timing: Timing::default() };
        let with = vec![Header::new("Location", "/x")];
        for status in [301, 302, 303, 307, 308] {
            assert!(location(&head(status, with.clone())).is_some());
            assert!(location(&head(status, Vec::new())).is_none());
        }
        for status in [200, 201, 300, 304, 305, 306] {
            assert!(location(&head(status, with.clone())).is_none(), "{status}");
        }
    }
}
