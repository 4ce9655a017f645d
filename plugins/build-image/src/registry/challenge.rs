//! What a registry says that it wants (`WWW-Authenticate`, RFC 9110, 11.6.1), and the request for a token that answers it.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What stands in a query as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// A user and a password with each request.
    Basic,
    /// A token of this place.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

impl Challenge {
    /// The one to answer, among several: a token, if one is offered.
    pub fn choose<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
        let mut found: Vec<Challenge> = headers.filter_map(Challenge::parse).collect();
        found.sort_by_key(|challenge| matches!(challenge, Challenge::Basic));
        found.into_iter().next()
    }

    fn parse(header: &str) -> Option<Challenge> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Challenge::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let fields = parameters(rest);
        let field = |name: &str| fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
        Some(Challenge::Bearer { realm: field("realm")?, service: field("service"), scope: field("scope") })
    }
}

/// The URL that a token is fetched from: the challenge's scopes, and more that the same token should have.
pub fn token_url(realm: &str, service: Option<&str>, scopes: &[String]) -> String {
    let scopes = scopes.iter().map(|scope| ("scope", scope.as_str()));
    let mut url = realm.to_owned();
    for (name, value) in service.map(|service| ("service", service)).into_iter().chain(scopes) {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str(&format!("{name}={}", utf8_percent_encode(value, PLAIN)));
    }
    url
}

/// `name="value", name=value`.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', ',']).to_owned();
        let (value, after) = match after.strip_prefix('"') {
            None => after.split_once(',').map_or((after.trim().to_owned(), ""), |(value, after)| (value.trim().to_owned(), after)),
            Some(quoted) => {
                let mut value = String::new();
                let mut chars = quoted.char_indices();
                let mut end = quoted.len();
                while let Some((at, c)) = chars.next() {
                    match c {
                        '\\' => value.extend(chars.next().map(|(_, c)| c)),
                        '"' => {
                            end = at + 1;
                            break;
                        }
                        c => value.push(c),
                    }
                }
                (value, &quoted[end..])
            }
        };
        found.push((name, value));
        rest = after;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.into(), service: service.map(str::to_owned), scope: scope.map(str::to_owned) }
    }

    #[test]
    fn challenges_are_read() {
        for (header, expected) in [
            ("Basic realm=\"x\"", Some(Challenge::Basic)),
            ("basic", Some(Challenge::Basic)),
            (
                r#"Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:acme/shop:pull,push""#,
                Some(bearer("https://ghcr.io/token", Some("ghcr.io"), Some("repository:acme/shop:pull,push"))),
            ),
            (r#"bearer scope="a\"b" , realm=https://x/t"#, Some(bearer("https://x/t", None, Some("a\"b")))),
            ("Bearer service=\"x\"", None),
            ("Negotiate", None),
            ("", None),
        ] {
            assert_eq!(Challenge::parse(header), expected, "{header}");
        }
        let both = ["Basic realm=\"x\"", "Bearer realm=\"https://x/t\""];
        assert_eq!(Challenge::choose(both.into_iter()), Some(bearer("https://x/t", None, None)));
    }

    #[test]
    fn a_token_is_asked_for_with_all_scopes() {
        let scopes = ["repository:a/b:pull,push".to_owned(), "repository:c:pull".to_owned()];
        assert_eq!(
            token_url("https://auth.example/token?x=1", Some("reg istry"), &scopes),
            "https://auth.example/token?x=1&service=reg%20istry&scope=repository%3Aa%2Fb%3Apull%2Cpush&scope=repository%3Ac%3Apull"
        );
        assert_eq!(token_url("https://auth.example/token", None, &[]), "https://auth.example/token");
    }
}
