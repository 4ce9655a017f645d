//! The URL of a request in the one form in which it is matched, shown and sent.
//!
//! Parsing follows the URL standard of browsers (WHATWG), so a host written as a number is the address that it means, and dot segments are
//! gone however they were encoded. On top of that, percent-encodings are brought to one spelling (RFC 3986, 6.2.2), and a path that a
//! server could read as leading elsewhere than it was matched (`..%2F`, `..;`) is refused. Deliberately absent: patterns (`pattern`), and
//! any second form of the URL: what was matched is what goes out.

use std::fmt;

pub use egress::Host;
use url::Url;

/// Longer URLs are refused; servers seldom take more than 8 KiB.
pub const MAX_URL: usize = 16 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// An absolute http or https URL with nothing in it that is not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub scheme: Scheme,
    pub host: Host,
    pub port: u16,
    /// Begins with `/`.
    pub path: String,
    /// Without the question mark.
    pub query: Option<String>,
}

/// Why a text is no URL that a request can have. One clause with no full stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    #[error("the URL is longer than {MAX_URL} bytes")]
    TooLong,
    #[error("the URL holds a control character or white space")]
    Control,
    #[error("the URL can't be parsed: {0}")]
    Syntax(url::ParseError),
    #[error("the scheme is `{0}`; only http and https are spoken")]
    Scheme(String),
    #[error("the URL has user information; put credentials into a header")]
    UserInfo,
    #[error("the URL has no host")]
    NoHost,
    #[error("a percent sign in the path is not followed by two hexadecimal digits")]
    Percent,
    #[error("a segment of the path hides a way up (`..` behind an encoding or a semicolon) or a NUL")]
    HiddenWay,
}

impl Target {
    pub fn parse(text: &str) -> Result<Target, BadUrl> {
        Target::of(&Url::parse(checked(text)?).map_err(BadUrl::Syntax)?)
    }

    /// Where a `Location` leads from here (RFC 9110, 10.2.2).
    pub fn join(&self, location: &str) -> Result<Target, BadUrl> {
        let base = Url::parse(&self.to_string()).map_err(BadUrl::Syntax)?;
        Target::of(&base.join(checked(location)?).map_err(BadUrl::Syntax)?)
    }

    fn of(url: &Url) -> Result<Target, BadUrl> {
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => return Err(BadUrl::Scheme(other.to_owned())),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadUrl::UserInfo);
        }
        let host = Host::of(url).ok_or(BadUrl::NoHost)?;
        let mut path = String::with_capacity(url.path().len());
        for segment in url.path().strip_prefix('/').unwrap_or(url.path()).split('/') {
            path.push('/');
            normalise(segment, &mut path)?;
        }
        let target =
            Target { scheme, host, port: url.port().unwrap_or(scheme.default_port()), path, query: url.query().map(str::to_owned) };
        if target.path.len() + target.query.as_ref().map_or(0, String::len) > MAX_URL {
            return Err(BadUrl::TooLong);
        }
        Ok(target)
    }

    /// Same scheme, host and port (RFC 6454, 4).
    pub fn same_origin(&self, other: &Target) -> bool {
        self.scheme == other.scheme && self.port == other.port && self.host == other.host
    }

    /// `host` or `host:port`, as the Host header has it.
    pub fn authority(&self) -> String {
        if self.port == self.scheme.default_port() { self.host.to_string() } else { format!("{}:{}", self.host, self.port) }
    }

    /// What follows the authority.
    pub fn path_and_query(&self) -> String {
        match &self.query {
            None => self.path.clone(),
            Some(query) => format!("{}?{query}", self.path),
        }
    }

    /// The decoded names of the query's parameters. A semicolon parts them too, because some servers read it so.
    pub fn query_names(&self) -> impl Iterator<Item = String> {
        let query = self.query.as_deref().unwrap_or("");
        query.split(['&', ';']).filter(|pair| !pair.is_empty()).map(|pair| {
            let name = pair.split('=').next().unwrap_or(pair);
            let (decoded, _) = url::form_urlencoded::parse(name.as_bytes()).next().unwrap_or_default();
            decoded.into_owned()
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.host)?;
        if self.port != self.scheme.default_port() {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(&self.path)?;
        match &self.query {
            None => Ok(()),
            Some(query) => write!(f, "?{query}"),
        }
    }
}

/// The URL standard drops some control characters; what was checked must be what was written.
fn checked(text: &str) -> Result<&str, BadUrl> {
    if text.len() > MAX_URL {
        return Err(BadUrl::TooLong);
    }
    if text.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return Err(BadUrl::Control);
    }
    Ok(text)
}

/// Appends a path segment in its one spelling: unreserved characters plain, the digits of all other encodings in upper case, and `*`
/// encoded, so that it can't be taken for a wildcard in a pattern made from it.
pub(crate) fn normalise(segment: &str, out: &mut String) -> Result<(), BadUrl> {
    if segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'~')) {
        out.push_str(segment);
        return Ok(());
    }
    let start = out.len();
    let bytes = segment.as_bytes();
    // what a server that decodes the segment once would see
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                let digits = bytes.get(at + 1..at + 3).ok_or(BadUrl::Percent)?;
                let byte = hex(digits[0]).zip(hex(digits[1])).map(|(h, l)| h << 4 | l).ok_or(BadUrl::Percent)?;
                if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                    out.push(char::from(byte));
                } else {
                    out.push('%');
                    out.extend(digits.iter().map(|d| char::from(d.to_ascii_uppercase())));
                }
                decoded.push(byte);
                at += 3;
            }
            b'*' => {
                out.push_str("%2A");
                decoded.push(b'*');
                at += 1;
            }
            byte => {
                out.push(char::from(byte));
                decoded.push(byte);
                at += 1;
            }
        }
    }
    let up = |part: &[u8]| matches!(part.split(|b| *b == b';').next(), Some(b"." | b".."));
    if decoded.contains(&0) || decoded.split(|b| matches!(b, b'/' | b'\\')).any(up) {
        out.truncate(start);
        return Err(BadUrl::HiddenWay);
    }
    Ok(())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|d| d as u8)
}

#[cfg(test)]
mod tests {
    use super::{BadUrl, Target};

    #[test]
    fn urls_have_one_form() {
        const CASES: &[(&str, &str)] = &[
            ("https://api.example", "https://api.example/"),
            ("https://API.Example:443/V1", "https://api.example/V1"),
            ("http://api.example:80/", "http://api.example/"),
            ("http://api.example:8080/", "http://api.example:8080/"),
            ("https://api.example./x", "https://api.example/x"),
            ("https://bücher.example/ä", "https://xn--bcher-kva.example/%C3%A4"),
            ("https://api.example/a/../b/./c", "https://api.example/b/c"),
            ("https://api.example/../../etc", "https://api.example/etc"),
            ("https://api.example/a/%2e%2e/b", "https://api.example/b"),
            ("https://api.example/a/.%2E/b", "https://api.example/b"),
            ("https://api.example\\a\\..\\b", "https://api.example/b"),
            ("https://api.example/%41%7e%2d%5f/b", "https://api.example/A~-_/b"),
            ("https://api.example/a%2eb", "https://api.example/a.b"),
            ("https://api.example/a%2fb", "https://api.example/a%2Fb"),
            ("https://api.example/a%252fb%252e%252e", "https://api.example/a%252fb%252e%252e"),
            ("https://api.example/a*b", "https://api.example/a%2Ab"),
            ("https://api.example//a//b/", "https://api.example//a//b/"),
            ("https://api.example/x?a=1&b=%2e#part", "https://api.example/x?a=1&b=%2e"),
            ("https://api.example/x?", "https://api.example/x?"),
            ("http://2130706433/", "http://127.0.0.1/"),
            ("http://0x7f.1/", "http://127.0.0.1/"),
            ("http://0177.0.0.1/", "http://127.0.0.1/"),
            ("http://127.1/", "http://127.0.0.1/"),
            ("http://127.0.0.1./", "http://127.0.0.1/"),
            ("http://①②⑦.0.0.1/", "http://127.0.0.1/"),
            ("http://0xA9FEA9FE/latest", "http://169.254.169.254/latest"),
            ("http://[0:0:0:0:0:0:0:1]:80/", "http://[::1]/"),
            ("http://[::ffff:127.0.0.1]/", "http://[::ffff:127.0.0.1]/"),
            ("HTTP://api.example/", "http://api.example/"),
            ("http:api.example/x", "http://api.example/x"),
        ];
        for (written, sent) in CASES {
            let target = Target::parse(written).unwrap_or_else(|e| panic!("{written}: {e}"));
            assert_eq!(target.to_string(), *sent, "{written}");
            assert_eq!(Target::parse(sent).unwrap(), target, "the form is its own form: {written}");
        }
    }

    #[test]
    fn what_is_no_url_of_a_request_is_refused() {
        let long = format!("https://api.example/{}", "a".repeat(20_000));
        // each of these bytes becomes three
        let swollen = format!("https://api.example/{}", "*".repeat(8_000));
        #[allow(clippy::type_complexity)]
        let cases: &[(&str, fn(&BadUrl) -> bool)] = &[
            ("", |e| matches!(e, BadUrl::Syntax(_))),
            ("/v1/x", |e| matches!(e, BadUrl::Syntax(_))),
            ("api.example/x", |e| matches!(e, BadUrl::Syntax(_))),
            ("https://", |e| matches!(e, BadUrl::Syntax(_))),
            ("https://./", |e| matches!(e, BadUrl::NoHost)),
            ("https://a b/", |e| matches!(e, BadUrl::Control)),
            ("https://api.example/\r\nHost: x", |e| matches!(e, BadUrl::Control)),
            ("https://api.example:70000/", |e| matches!(e, BadUrl::Syntax(_))),
            ("https://1.2.3.4.5/", |e| matches!(e, BadUrl::Syntax(_))),
            ("https://256.1.1.1/", |e| matches!(e, BadUrl::Syntax(_))),
            ("https://[fe80::1%25eth0]/", |e| matches!(e, BadUrl::Syntax(_))),
            ("https://a%00b/", |e| matches!(e, BadUrl::Syntax(_))),
            ("https://user@api.example/", |e| matches!(e, BadUrl::UserInfo)),
            ("https://user:pass@api.example/", |e| matches!(e, BadUrl::UserInfo)),
            ("https://good.example:80@evil.example/", |e| matches!(e, BadUrl::UserInfo)),
            ("ftp://api.example/", |e| matches!(e, BadUrl::Scheme(_))),
            ("file:///etc/passwd", |e| matches!(e, BadUrl::Scheme(_))),
            ("ws://api.example/", |e| matches!(e, BadUrl::Scheme(_))),
            ("https://api.example/%", |e| matches!(e, BadUrl::Percent)),
            ("https://api.example/%2", |e| matches!(e, BadUrl::Percent)),
            ("https://api.example/%zz", |e| matches!(e, BadUrl::Percent)),
            ("https://api.example/v1/..%2fadmin", |e| matches!(e, BadUrl::HiddenWay)),
            ("https://api.example/v1/%2e%2e%2Fadmin", |e| matches!(e, BadUrl::HiddenWay)),
            ("https://api.example/v1/x%2f..", |e| matches!(e, BadUrl::HiddenWay)),
            ("https://api.example/v1/..%5cadmin", |e| matches!(e, BadUrl::HiddenWay)),
            ("https://api.example/v1/..;/admin", |e| matches!(e, BadUrl::HiddenWay)),
            ("https://api.example/v1/..;a=b/admin", |e| matches!(e, BadUrl::HiddenWay)),
            ("https://api.example/v1/x%00.png", |e| matches!(e, BadUrl::HiddenWay)),
            (&long, |e| matches!(e, BadUrl::TooLong)),
            (&swollen, |e| matches!(e, BadUrl::TooLong)),
        ];
        for (text, expected) in cases {
            let found = Target::parse(text).expect_err(text);
            assert!(expected(&found), "{text}: {found}");
        }
    }

    #[test]
    fn locations_are_relative_to_the_request() {
        let base = Target::parse("https://api.example:8443/v1/a?q=1").unwrap();
        for (location, expected) in [
            ("b", "https://api.example:8443/v1/b"),
            ("/b", "https://api.example:8443/b"),
            ("?q=2", "https://api.example:8443/v1/a?q=2"),
            ("//other.example/x", "https://other.example/x"),
            ("http://169.254.169.254/latest/#x", "http://169.254.169.254/latest/"),
            ("../../x", "https://api.example:8443/x"),
        ] {
            assert_eq!(base.join(location).unwrap().to_string(), expected, "{location}");
        }
        assert_eq!(base.join("//user@other.example/"), Err(BadUrl::UserInfo));
        assert!(matches!(base.join("javascript:1"), Err(BadUrl::Scheme(_))));
    }

    #[test]
    fn query_names_are_read_as_the_loosest_server_would() {
        let names = |query: &str| -> Vec<String> { Target::parse(&format!("https://a.example/?{query}")).unwrap().query_names().collect() };
        assert_eq!(names("a=1&b&c="), ["a", "b", "c"]);
        assert_eq!(names("a=1;admin=2"), ["a", "admin"]);
        assert_eq!(names("%61dm%69n=1&x+y=2"), ["admin", "x y"]);
        assert_eq!(names("&&"), Vec::<String>::new());
        assert_eq!(names("=1"), [""]);
    }
}
