//! Where a secret comes from and where it may be put, as the pipeline file says it.
//!
//! ```toml
//! [secret.api]
//! from = "env:API_TOKEN"                        # a variable of the runner
//! to   = ["https://api.example/v1/**"]          # the only places it may be put
//! [secret.npm]
//! from = "cmd:pass show npm"                    # a program's output; no shell
//! to   = ["env:npm", "registry:ghcr.io"]        # the environment of one program; the login of a registry
//! [secret.deploy]
//! from     = "oidc:https://sts.example/token"   # the CI's own token, exchanged (RFC 8693)
//! audience = "https://deploy.example"
//! to       = ["https://deploy.example/**"]
//! ```
//!
//! Deliberately absent: the values (`secret` fetches them when a stage that uses them starts), and whether a URL is within a pattern
//! (`capability-http`, which has the same patterns in its grants).

use std::net::{Ipv4Addr, Ipv6Addr};

/// One entry of `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A pattern as in `grants.http`, of one authority: `https://`, or `http://` on this machine.
    Url(String),
    /// The login of a registry: `ghcr.io`, `localhost:5000`.
    Registry(String),
    /// The environment of the stage's programs, or of one of them, as it is started.
    Environment(Option<String>),
}

/// Why a text says no place or no source, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub message: String,
    pub hint: String,
}

fn mistake<T>(message: impl Into<String>, hint: impl Into<String>) -> Result<T, Mistake> {
    Err(Mistake { message: message.into(), hint: hint.into() })
}

impl Destination {
    /// # Errors
    /// If a secret can't be put there.
    pub fn parse(text: &str) -> Result<Destination, Mistake> {
        const SHAPES: &str = "write \"https://host/path/**\", \"registry:host\", \"env\" or \"env:program\"";
        if text.trim().is_empty() {
            return mistake("an empty place can't take a secret", SHAPES);
        }
        if text.contains("${") {
            return mistake("a place is written as it is, without references", SHAPES);
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return mistake("a place holds no white space", SHAPES);
        }
        if text == "env" {
            return Ok(Destination::Environment(None));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return url(scheme, rest, text);
        }
        match text.split_once(':') {
            Some(("env", program)) if !program.is_empty() => Ok(Destination::Environment(Some(program.to_owned()))),
            Some(("registry", host)) if !host.is_empty() && !host.contains(['/', '*', '@']) => Ok(Destination::Registry(host.to_owned())),
            Some(("registry", host)) => {
                mistake(format!("`{host}` is no registry"), "write its host, with its port if it has one: \"registry:ghcr.io\"")
            }
            _ => mistake("a secret can't be put there", SHAPES),
        }
    }
}

fn url(scheme: &str, rest: &str, text: &str) -> Result<Destination, Mistake> {
    let Some(slash) = rest.find('/') else {
        return mistake("the URL has no path", format!("write \"{text}/**\" for everything there"));
    };
    let authority = &rest[..slash];
    if authority.is_empty() || authority.contains('*') {
        return mistake("a secret goes to hosts that are named", "write the host without `*`, and one entry for each");
    }
    if authority.contains('@') {
        return mistake("the URL has user information", "leave it out; the secret is put into the header by the stage");
    }
    if rest.contains(['?', '#']) {
        return mistake("the URL has a query or a fragment", "leave it out: any query is allowed with the path");
    }
    match scheme {
        "https" => Ok(Destination::Url(text.to_owned())),
        "http" if is_here(authority) => Ok(Destination::Url(text.to_owned())),
        "http" => mistake("`http://` would send the secret in the open", "write `https://`; `http://` is for this machine alone"),
        other => mistake(format!("the scheme is `{other}`"), "write `https://`"),
    }
}

/// Whether what is sent there stays on this machine: loopback, or the stage's own process.
fn is_here(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => authority.split(':').next().unwrap_or(authority),
    };
    let host = host.to_ascii_lowercase();
    host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        || host.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback())
        || host == "localhost"
        || host.ends_with(".localhost")
        || host.ends_with(".stage")
}

/// Looks at the text of `from`: `env:`, `file:`, `cmd:` or `oidc:`.
///
/// # Errors
/// If a secret can't come from there.
pub fn check_source(from: &str) -> Result<(), Mistake> {
    const MESSAGE: &str = "a secret can't come from there";
    let (good, hint) = match from.split_once(':') {
        Some(("env", name)) => (crate::model::is_env_name(name), "write the variable's name: \"env:REGISTRY_TOKEN\""),
        Some(("file", path)) => (!path.is_empty() && !path.contains('\0'), "write a path: \"file:/run/secrets/token\""),
        Some(("cmd", line)) => (!line.trim().is_empty() && !line.contains('\0'), "write a command: \"cmd:pass show token\""),
        Some(("oidc", endpoint)) => match Destination::parse(endpoint) {
            Ok(Destination::Url(url)) => {
                (!url.contains('*'), "write the one URL of the token endpoint: \"oidc:https://sts.example/token\"")
            }
            Ok(_) => (false, "write the URL of the token endpoint: \"oidc:https://sts.example/token\""),
            Err(error) => return mistake(format!("the token endpoint: {}", error.message), error.hint),
        },
        _ => (false, "write \"env:NAME\", \"file:/path\", \"cmd:program argument\" or \"oidc:https://…\""),
    };
    if good { Ok(()) } else { mistake(MESSAGE, hint) }
}

/// Looks at where the CI's own token comes from: it is not itself exchanged.
pub(crate) fn check_token(from: &str) -> Result<(), Mistake> {
    if from.starts_with("oidc:") {
        return mistake("a token is not exchanged twice", "say where the CI puts it: \"env:NAME\", \"file:/path\" or \"cmd:program\"");
    }
    check_source(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let url = |text: &str| Some(Destination::Url(text.to_owned()));
        let cases: &[(&str, Option<Destination>)] = &[
            ("https://api.example/v1/**", url("https://api.example/v1/**")),
            ("https://api.example:8443/", url("https://api.example:8443/")),
            ("http://127.0.0.1:8080/**", url("http://127.0.0.1:8080/**")),
            ("http://127.9.9.9/**", url("http://127.9.9.9/**")),
            ("http://[::1]:8080/**", url("http://[::1]:8080/**")),
            ("http://localhost:1/**", url("http://localhost:1/**")),
            ("http://app.stage:8080/**", url("http://app.stage:8080/**")),
            ("env", Some(Destination::Environment(None))),
            ("env:npm", Some(Destination::Environment(Some("npm".into())))),
            ("registry:ghcr.io", Some(Destination::Registry("ghcr.io".into()))),
            ("registry:localhost:5000", Some(Destination::Registry("localhost:5000".into()))),
            ("", None),
            (" ", None),
            ("env:", None),
            ("registry:", None),
            ("registry:ghcr.io/acme", None),
            ("registry:*", None),
            ("http://api.example/**", None),
            ("http://localhost.evil.example/**", None),
            ("http://127.0.0.1.evil.example/**", None),
            ("http://10.0.0.1/**", None),
            ("https://*.api.example/**", None),
            ("https://api.example:*/**", None),
            ("https://api.example", None),
            ("https:///x", None),
            ("https://u:p@api.example/**", None),
            ("https://api.example/x?y", None),
            ("ftp://api.example/x", None),
            ("api.example", None),
            ("stdin", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Destination::parse(text).ok(), *expected, "{text}");
        }
    }

    #[test]
    fn sources() {
        for good in ["env:A_B", "file:/x", "file:token", "cmd:pass show x", "oidc:https://sts.example/token", "oidc:http://127.0.0.1:1/t"] {
            assert_eq!(check_source(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "env:",
            "env:1A",
            "file:",
            "cmd: ",
            "vault:x",
            "oidc:",
            "oidc:env",
            "oidc:http://sts.example/t",
            "oidc:https://sts.example/*",
        ] {
            assert!(check_source(bad).is_err(), "{bad}");
        }
    }
}
