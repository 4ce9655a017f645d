//! The URL pattern of a rule: what it looks like, and whether a URL matches it.
//!
//! `https://api.example/v1/**`: scheme, host (exact, or `*.` for one or more labels of subdomains), port (the scheme's own unless written,
//! `:*` for any), and a path in which `*` is one segment that is not empty and `**` is any number of segments, none included. A path is
//! always written: `https://api.example` could be meant as the root alone or as everything, and the difference is what grants are for.
//! Deliberately absent: methods, queries and addresses (`grant`, `policy`), and wildcards within a segment or label.

use std::fmt;

use url::Url;

use crate::target::{Host, Scheme, Target, normalise};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlPattern {
    scheme: Scheme,
    host: HostPattern,
    /// `None` for any.
    port: Option<u16>,
    path: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    Exact(Host),
    /// `.example.com` for `*.example.com`.
    Subdomains(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    /// As [`normalise`] spells it.
    Literal(String),
    One,
    Any,
}

/// Why a text is no pattern, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternError {
    pub message: String,
    pub hint: String,
}

fn mistake<T>(message: impl Into<String>, hint: impl Into<String>) -> Result<T, PatternError> {
    Err(PatternError { message: message.into(), hint: hint.into() })
}

impl UrlPattern {
    pub fn parse(text: &str) -> Result<UrlPattern, PatternError> {
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return mistake("the URL holds a control character or white space", "write it percent-encoded");
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return mistake("the URL has no scheme", format!("write the whole URL: \"https://{}\"", text.trim_start_matches('/')));
        };
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => return mistake(format!("the scheme is `{other}`"), "only `http://` and `https://` can be granted"),
        };
        if rest.contains('\\') {
            return mistake("the URL holds a backslash", "write `/` between segments, or `%5C` for the character itself");
        }
        if rest.contains('#') {
            return mistake("the URL has a fragment", "leave `#…` out: fragments are never sent");
        }
        if let Some((_, query)) = rest.split_once('?') {
            let names = query.split('&').map(|pair| pair.split('=').next().unwrap_or(pair)).filter(|name| !name.is_empty());
            let names: Vec<String> = names.map(|name| format!("\"{}\"", name.escape_default())).collect();
            return mistake(
                "the URL has a query",
                format!("leave `?…` out: any query is granted with the path, or only the parameters of `query = [{}]`", names.join(", ")),
            );
        }
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return mistake("the URL has user information", "leave it out; credentials are sent in a header");
        }
        let (host, port) = split_port(authority)?;
        let port = match port {
            None => Some(scheme.default_port()),
            Some("*") => None,
            Some(digits) => match digits.parse::<u16>() {
                Ok(port) if port > 0 && digits.bytes().all(|b| b.is_ascii_digit()) => Some(port),
                _ => return mistake(format!("`{digits}` is no port"), "write a number from 1 to 65535, or `:*` for any port"),
            },
        };
        let host = parse_host(host)?;
        if scheme == Scheme::Https && host.is_process() {
            return mistake("a stage's own processes are reached without TLS", "write `http://`");
        }
        if path.is_empty() {
            return mistake("the URL has no path", "end it with `/**` for everything on that host, or `/` for the root alone");
        }
        Ok(UrlPattern { scheme, host, port, path: parse_path(path)? })
    }

    /// The narrowest pattern that matches a URL. An empty segment within the path can't be written, so it is `**` from there on.
    pub fn exact(target: &Target) -> UrlPattern {
        let written: Vec<&str> = target.path[1..].split('/').collect();
        let last = written.len() - 1;
        let mut path = Vec::with_capacity(written.len());
        for (i, segment) in written.into_iter().enumerate() {
            if segment.is_empty() && i < last {
                path.push(Segment::Any);
                break;
            }
            path.push(Segment::Literal(segment.to_owned()));
        }
        UrlPattern { scheme: target.scheme, host: HostPattern::Exact(target.host.clone()), port: Some(target.port), path }
    }

    pub fn matches(&self, target: &Target) -> bool {
        self.scheme == target.scheme
            && self.port.is_none_or(|port| port == target.port)
            && self.host.matches(&target.host)
            && path_matches(&self.path, &target.path)
    }

    /// Whether the rule names an address outright, so that it need not be public.
    pub fn names_address(&self) -> bool {
        matches!(&self.host, HostPattern::Exact(Host::V4(_) | Host::V6(_)))
    }

    /// Whether the rule names this machine.
    pub fn names_localhost(&self) -> bool {
        match &self.host {
            HostPattern::Exact(host) => host.is_localhost(),
            HostPattern::Subdomains(suffix) => suffix == ".localhost",
        }
    }

    pub fn address(&self) -> Option<std::net::IpAddr> {
        match &self.host {
            HostPattern::Exact(host) => host.address(),
            HostPattern::Subdomains(_) => None,
        }
    }

    /// `*.com`: nobody means the whole of a top-level domain.
    pub fn is_sweeping(&self) -> bool {
        matches!(&self.host, HostPattern::Subdomains(suffix) if !suffix[1..].contains('.') && suffix != ".stage" && suffix != ".localhost")
    }
}

impl HostPattern {
    fn matches(&self, host: &Host) -> bool {
        match (self, host) {
            (HostPattern::Exact(exact), host) => exact == host,
            (HostPattern::Subdomains(suffix), Host::Name(name)) => name.len() > suffix.len() && name.ends_with(suffix.as_str()),
            (HostPattern::Subdomains(_), _) => false,
        }
    }

    fn is_process(&self) -> bool {
        match self {
            HostPattern::Exact(host) => host.process().is_some(),
            HostPattern::Subdomains(suffix) => suffix.ends_with(".stage"),
        }
    }
}

impl fmt::Display for UrlPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.as_str())?;
        match &self.host {
            HostPattern::Exact(host) => write!(f, "{host}")?,
            HostPattern::Subdomains(suffix) => write!(f, "*{suffix}")?,
        }
        match self.port {
            None => f.write_str(":*")?,
            Some(port) if port == self.scheme.default_port() => {}
            Some(port) => write!(f, ":{port}")?,
        }
        for segment in &self.path {
            match segment {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::One => f.write_str("/*")?,
                Segment::Any => f.write_str("/**")?,
            }
        }
        Ok(())
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), PatternError> {
    if authority.starts_with('[') {
        let Some(end) = authority.find(']') else {
            return mistake("the bracket of an IPv6 address is not closed", "write `http://[fd00::1]:8080/**`");
        };
        let (host, rest) = authority.split_at(end + 1);
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => mistake("something follows the IPv6 address", "write `http://[fd00::1]:8080/**`"),
        };
    }
    Ok(match authority.split_once(':') {
        None => (authority, None),
        Some((host, port)) => (host, Some(port)),
    })
}

fn parse_host(text: &str) -> Result<HostPattern, PatternError> {
    if text.is_empty() {
        return mistake("the URL has no host", "write the host after `://`");
    }
    if text == "*" {
        return mistake("the host is a wildcard", "name the host, or its subdomains as in `*.example.com`");
    }
    let (name, subdomains) = match text.strip_prefix("*.") {
        Some(name) => (name, true),
        None => (text, false),
    };
    if name.contains('*') {
        return mistake(
            "`*` stands inside the host",
            "`*.` at the start means any subdomain, of one or more labels; no other wildcard exists in a host",
        );
    }
    let parsed = match Url::parse(&format!("http://{name}/")) {
        Ok(url) => Host::of(&url),
        Err(error) => {
            return mistake(format!("`{name}` is no host: {error}"), "write a name, an IPv4 address or an IPv6 address in brackets");
        }
    };
    let Some(host) = parsed else {
        return mistake(format!("`{name}` is no host"), "write a name, an IPv4 address or an IPv6 address in brackets");
    };
    match (&host, subdomains) {
        (Host::Name(name), true) => Ok(HostPattern::Subdomains(format!(".{name}"))),
        (_, true) => mistake("an address has no subdomains", format!("write `{host}` alone")),
        (Host::V4(address), false) if address.to_string() != name => {
            mistake(format!("`{name}` is another way to write {address}"), format!("write `{address}`, so that it can be read"))
        }
        (_, false) => Ok(HostPattern::Exact(host)),
    }
}

/// `path` begins with a slash.
fn parse_path(path: &str) -> Result<Vec<Segment>, PatternError> {
    let written: Vec<&str> = path[1..].split('/').collect();
    let last = written.len() - 1;
    let mut segments = Vec::with_capacity(written.len());
    for (i, segment) in written.into_iter().enumerate() {
        segments.push(match segment {
            "*" => Segment::One,
            "**" if matches!(segments.last(), Some(Segment::Any)) => continue,
            "**" => Segment::Any,
            "" if i < last => return mistake("the path has an empty segment", "write one `/` between segments"),
            _ if segment.contains('*') => {
                return mistake(
                    format!("`*` stands inside the segment `{segment}`"),
                    "`*` is one whole segment and `**` any number of them; write `%2A` for the character itself",
                );
            }
            _ => Segment::Literal(literal(segment)?),
        });
    }
    Ok(segments)
}

/// A segment as a request for it would bear it.
fn literal(segment: &str) -> Result<String, PatternError> {
    let hint = "leave `.` and `..` out: requests are matched after they have been taken away";
    // the same parser that reads requests, so that both encode alike
    let url = Url::parse(&format!("http://host/{segment}")).ok();
    let Some(encoded) = url.as_ref().and_then(|url| url.path().strip_prefix('/')) else {
        return mistake(format!("`{segment}` is no segment of a path"), "write special characters percent-encoded");
    };
    if encoded.is_empty() != segment.is_empty() {
        return mistake(format!("the path holds `{segment}`"), hint);
    }
    let mut out = String::with_capacity(encoded.len());
    match normalise(encoded, &mut out) {
        Ok(()) => Ok(out),
        Err(crate::target::BadUrl::HiddenWay) => mistake(format!("the path holds `{segment}`"), hint),
        Err(error) => mistake(error.to_string(), "write `%25` for a percent sign"),
    }
}

/// Whether all of the path matches. The work is bounded by the product of the two lengths: the last `**` alone is taken back.
fn path_matches(pattern: &[Segment], path: &str) -> bool {
    let mut at = 0;
    let mut rest = path[1..].split('/');
    let mut back = None;
    loop {
        let mut following = rest.clone();
        match (pattern.get(at), following.next()) {
            (Some(Segment::Any), _) => {
                at += 1;
                if at == pattern.len() {
                    return true;
                }
                back = Some((at, rest.clone()));
            }
            (Some(Segment::Literal(literal)), Some(segment)) if literal == segment => {
                at += 1;
                rest = following;
            }
            (Some(Segment::One), Some(segment)) if !segment.is_empty() => {
                at += 1;
                rest = following;
            }
            (None, None) => return true,
            _ => {
                let Some((after, skipped)) = &mut back else { return false };
                if skipped.next().is_none() {
                    return false;
                }
                at = *after;
                rest = skipped.clone();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::UrlPattern;
    use crate::target::Target;

    fn matches(pattern: &str, url: &str) -> bool {
        let pattern = UrlPattern::parse(pattern).unwrap_or_else(|e| panic!("{pattern}: {}", e.message));
        pattern.matches(&Target::parse(url).unwrap_or_else(|e| panic!("{url}: {e}")))
    }

    #[test]
    fn urls_match_patterns() {
        const CASES: &[(&str, &str, bool)] = &[
            // scheme, host, port
            ("https://api.example/**", "https://api.example/", true),
            ("https://api.example/**", "http://api.example/", false),
            ("https://api.example/**", "https://API.EXAMPLE/x", true),
            ("https://API.example/**", "https://api.example/x", true),
            ("https://api.example/**", "https://api.example./x", true),
            ("https://api.example/**", "https://api.example.evil/x", false),
            ("https://api.example/**", "https://xapi.example/x", false),
            ("https://api.example/**", "https://sub.api.example/x", false),
            ("https://api.example/**", "https://api.example:443/x", true),
            ("https://api.example/**", "https://api.example:444/x", false),
            ("https://api.example:444/**", "https://api.example:444/x", true),
            ("https://api.example:444/**", "https://api.example/x", false),
            ("https://api.example:*/**", "https://api.example:1/x", true),
            ("https://api.example:*/**", "https://api.example/x", true),
            ("https://*.example.com/**", "https://a.example.com/x", true),
            ("https://*.example.com/**", "https://a.b.example.com/x", true),
            ("https://*.example.com/**", "https://example.com/x", false),
            ("https://*.example.com/**", "https://.example.com/x", false),
            ("https://*.example.com/**", "https://badexample.com/x", false),
            ("https://*.example.com/**", "https://example.com.evil/x", false),
            ("https://bücher.example/**", "https://xn--bcher-kva.example/x", true),
            ("http://127.0.0.1/**", "http://2130706433/x", true),
            ("http://127.0.0.1/**", "http://0x7f.1/x", true),
            ("http://127.0.0.1/**", "http://[::ffff:127.0.0.1]/x", false),
            ("http://127.0.0.1/**", "http://localhost/x", false),
            ("http://[::1]/**", "http://[0:0:0:0:0:0:0:1]/x", true),
            ("http://app.stage:8080/**", "http://app.stage:8080/health", true),
            ("http://*.stage:*/**", "http://app.stage:8080/health", true),
            // whole segments
            ("https://a.example/", "https://a.example/", true),
            ("https://a.example/", "https://a.example", true),
            ("https://a.example/", "https://a.example/x", false),
            ("https://a.example/v1", "https://a.example/v1", true),
            ("https://a.example/v1", "https://a.example/v1/", false),
            ("https://a.example/v1", "https://a.example/v10", false),
            ("https://a.example/v1", "https://a.example/V1", false),
            ("https://a.example/v1/*", "https://a.example/v1/x", true),
            ("https://a.example/v1/*", "https://a.example/v1/x/y", false),
            ("https://a.example/v1/*", "https://a.example/v1/x/", false),
            ("https://a.example/v1/*", "https://a.example/v1/", false),
            ("https://a.example/v1/*", "https://a.example/v1", false),
            ("https://a.example/*/x", "https://a.example//x", false),
            ("https://a.example/*/x", "https://a.example/y/x", true),
            // any number of segments
            ("https://a.example/v1/**", "https://a.example/v1", true),
            ("https://a.example/v1/**", "https://a.example/v1/", true),
            ("https://a.example/v1/**", "https://a.example/v1/a/b/c", true),
            ("https://a.example/v1/**", "https://a.example/v1x/a", false),
            ("https://a.example/v1/**", "https://a.example/v2/../v1/x", true),
            ("https://a.example/v1/**", "https://a.example/v1/../v2/x", false),
            ("https://a.example/v1/**", "https://a.example/v1/%2e%2e/v2/x", false),
            ("https://a.example/v1/**", "https://a.example/%76%31/x", true),
            ("https://a.example/**/x", "https://a.example/x", true),
            ("https://a.example/**/x", "https://a.example/a/b/x", true),
            ("https://a.example/**/x", "https://a.example/a/b/x/y", false),
            ("https://a.example/a/**/b/**/c", "https://a.example/a/c/b/b/c", true),
            ("https://a.example/a/**/b/**/c", "https://a.example/a/c/c", false),
            ("https://a.example/a/**/**/c", "https://a.example/a/c", true),
            ("https://a.example/**/a/*/b", "https://a.example/a/a/x/b", true),
            // encodings never cross a boundary, nor end one
            ("https://a.example/v1/*", "https://a.example/v1/x%2Fy", true),
            ("https://a.example/v1/x/y", "https://a.example/v1/x%2fy", false),
            ("https://a.example/v1/x%2fy", "https://a.example/v1/x%2Fy", true),
            ("https://a.example/v1/x%2Fy", "https://a.example/v1/x/y", false),
            ("https://a.example/v1/x%252Fy", "https://a.example/v1/x%2Fy", false),
            ("https://a.example/v1/%61", "https://a.example/v1/a", true),
            ("https://a.example/ä", "https://a.example/%c3%a4", true),
            ("https://a.example/a%2Ab", "https://a.example/a*b", true),
            ("https://a.example/%2A", "https://a.example/x", false),
            ("https://a.example/@scope%2fname", "https://a.example/@scope%2Fname", true),
            // queries are not the pattern's
            ("https://a.example/x", "https://a.example/x?y=/../z", true),
        ];
        for (pattern, url, expected) in CASES {
            assert_eq!(matches(pattern, url), *expected, "{pattern} {url}");
        }
    }

    #[test]
    fn a_pattern_shows_itself_in_one_form() {
        for (written, shown) in [
            ("https://API.example:443/v1/**", "https://api.example/v1/**"),
            ("http://*.Example.com:*/a/*/b", "http://*.example.com:*/a/*/b"),
            ("http://[0:0::1]:8080/", "http://[::1]:8080/"),
            ("https://a.example/**/**", "https://a.example/**"),
        ] {
            let pattern = UrlPattern::parse(written).unwrap();
            assert_eq!(pattern.to_string(), shown);
            assert_eq!(UrlPattern::parse(shown).unwrap(), pattern);
        }
    }

    #[test]
    fn the_pattern_of_a_url_matches_it_and_can_be_written() {
        for (url, shown) in [
            ("https://a.example/", "https://a.example/"),
            ("http://a.example:81/x/y/", "http://a.example:81/x/y/"),
            ("https://a.example/a*b/**", "https://a.example/a%2Ab/%2A%2A"),
            ("https://a.example/x//y/z", "https://a.example/x/**"),
            ("http://[::1]/%2fx", "http://[::1]/%2Fx"),
        ] {
            let target = Target::parse(url).unwrap();
            let pattern = UrlPattern::exact(&target);
            assert_eq!(pattern.to_string(), shown);
            assert_eq!(UrlPattern::parse(shown).unwrap(), pattern);
            assert!(pattern.matches(&target), "{url}");
            assert!(!pattern.matches(&Target::parse("https://a.example/a/b/c").unwrap()), "{url}");
        }
    }

    #[test]
    fn a_long_path_against_many_wildcards_is_quick() {
        let pattern = format!("https://a.example{}/end", "/**/a".repeat(50));
        let url = format!("https://a.example{}", "/a".repeat(7_000));
        let started = std::time::Instant::now();
        assert!(!matches(&pattern, &url));
        assert!(started.elapsed().as_millis() < 500, "{:?}", started.elapsed());
    }
}
