//! Secrets in a request: where their placeholders stand, whether they may, and what the request is with the values in their places.
//!
//! A placeholder may stand in a header's value (in `Basic` credentials too, which the stage has encoded), in the path, in the query, in a
//! string of a JSON body and in a form; or it is the whole URL. The secret's `to` must allow the URL, and nothing goes out in the open. The
//! decision knows placeholders alone, but for a URL that is itself secret: of that it is told the place. Deliberately absent: how values
//! are written (`secret`), the stage's own rules (`policy`).

use bytes::Bytes;
use capability::Denial;
use capability::denial::toml_string;
use pipeline::plan::SecretUse;
use pipeline::secret::Destination;
use secret::{Form, Held, basic, basic_header};

use crate::effect::{Aim, Failure, Header, Request};
use crate::pattern::UrlPattern;
use crate::target::{Scheme, Target};

/// How a body is written, if a secret can stand in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Json,
    Form,
    Other,
}

/// The URL that a request has in truth.
pub fn target(request: &Request, held: &Held) -> Result<Target, Denial> {
    match &request.aim {
        Aim::At(target) => Ok(target.clone()),
        Aim::Nowhere { why, .. } => Err(Denial::new("bad-url", why.to_string())),
        Aim::Secret { name, placeholder } => {
            let Some(value) = held.named(placeholder.as_bytes()).and_then(|one| held.value(&one.secret.name)) else {
                return Err(Denial::new("bad-url", format!("`{name}` is no secret of this stage")));
            };
            // what is wrong with it may be a part of it
            let url = std::str::from_utf8(value.expose()).ok().and_then(|text| Target::parse(text).ok());
            url.ok_or_else(|| Denial::new("bad-url", format!("the secret `{name}` is no http or https URL")))
        }
    }
}

/// Refuses a request with a placeholder where none may be.
pub fn check(request: &Request, target: &Target, held: &Held) -> Result<(), Denial> {
    if held.uses().is_empty() {
        return Ok(());
    }
    let misplaced = |one: &SecretUse, place: &str| {
        let reason = format!(
            "the secret `{}` stands in {place}; it can stand in a header, in the path or query, in a string of a JSON body or in a form",
            one.secret.name
        );
        Err(Denial::new("secret-place", reason))
    };
    let mut used: Vec<&SecretUse> = Vec::new();
    match &request.aim {
        Aim::Secret { placeholder, .. } => used.extend(held.named(placeholder.as_bytes())),
        _ => {
            if let Some(one) = held.within(target.host.to_string().as_bytes()).next() {
                return misplaced(one, "the host");
            }
            used.extend(held.within(target.path_and_query().as_bytes()));
        }
    }
    if let Some(one) = held.within(request.method.as_bytes()).next() {
        return misplaced(one, "the method");
    }
    for header in &request.headers {
        if let Some(one) = held.within(header.name.as_bytes()).next() {
            return misplaced(one, "the name of a header");
        }
        used.extend(held.within(&header.value));
        used.extend(basic_credentials(header).iter().flat_map(|credentials| held.within(credentials)));
    }
    if let Some(one) = request.trailers.iter().flat_map(|t| held.within(&t.value).chain(held.within(t.name.as_bytes()))).next() {
        return misplaced(one, "a trailer");
    }
    if let Some(one) = held.within(&request.body).next() {
        if content(request) == Content::Other {
            return misplaced(one, "a body that is neither JSON nor a form (by its `content-type`, and not encoded)");
        }
        used.extend(held.within(&request.body));
    }
    used.into_iter().try_for_each(|one| allowed(one, target, request))
}

fn allowed(one: &SecretUse, target: &Target, request: &Request) -> Result<(), Denial> {
    let patterns = || one.secret.to.iter().filter_map(|to| pattern(to));
    if patterns().any(|pattern| pattern.matches(target)) {
        return Ok(());
    }
    let name = &one.secret.name;
    if let Aim::Secret { name: url, .. } = &request.aim {
        // where it leads is a part of the secret
        let reason = if url == name {
            format!("the URL that the secret `{name}` holds is outside of its `to`")
        } else {
            format!("the secret `{name}` may not be put there: no `to` of it allows the URL that the secret `{url}` holds")
        };
        return Err(Denial::new("secret-place", reason));
    }
    if target.scheme == Scheme::Http && !is_here(target) {
        let reason = format!("the secret `{name}` would go out in the open; only https, and this machine, can take one");
        return Err(Denial::new("secret-place", reason));
    }
    let denial = Denial::new("secret-place", format!("the secret `{name}` may not be put there: no `to` of it allows this URL"));
    let exact = place(target, one);
    let places = one.secret.to.iter().map(String::as_str).chain([exact.as_str()]).map(toml_string).collect::<Vec<_>>();
    Err(Denial { remedy: Some(format!("[secret.{name}]\nto = [{}]", places.join(", "))), ..denial })
}

/// The smallest place that would allow the URL: with `*` for a segment that is the placeholder, and everything from one on that holds it.
fn place(target: &Target, one: &SecretUse) -> String {
    let Some(at) = target.path.find(&one.placeholder) else { return UrlPattern::exact(target).to_string() };
    let (before, after) = (&target.path[..at], &target.path[at + one.placeholder.len()..]);
    let authority = format!("{}://{}", target.scheme.as_str(), target.authority());
    if before.ends_with('/') && (after.is_empty() || after.starts_with('/')) && !after.contains(&one.placeholder) {
        return format!("{authority}{before}*{after}");
    }
    let folder = before.rfind('/').map_or("/", |slash| &before[..=slash]);
    format!("{authority}{folder}**")
}

/// The pattern of a `to` that is a URL. One that is none was reported by `check`, and allows nothing.
pub fn pattern(to: &str) -> Option<UrlPattern> {
    match Destination::parse(to) {
        Ok(Destination::Url(url)) => UrlPattern::parse(&url).ok(),
        _ => None,
    }
}

fn is_here(target: &Target) -> bool {
    target.host.is_localhost() || target.host.process().is_some() || target.host.address().is_some_and(|address| address.is_loopback())
}

fn basic_credentials(header: &Header) -> Option<Vec<u8>> {
    (header.name == "authorization").then(|| basic(&header.value)).flatten()
}

fn content(request: &Request) -> Content {
    let header = |name: &'static str| {
        request.headers.iter().filter(move |header| header.name == name).map(|header| header.value.to_ascii_lowercase())
    };
    if header("content-encoding").any(|encoding| encoding.trim_ascii() != b"identity") {
        return Content::Other;
    }
    let mut types = header("content-type");
    let kind = types.next();
    if types.next().is_some() {
        return Content::Other;
    }
    let kind = kind.map(|kind| kind.split(|b| *b == b';').next().unwrap_or_default().trim_ascii().to_vec());
    let json = || serde_json::from_slice::<serde::de::IgnoredAny>(&request.body).is_ok();
    match kind.as_deref() {
        Some(b"application/x-www-form-urlencoded") => Content::Form,
        Some(kind) if kind == b"application/json" || kind.ends_with(b"+json") => {
            if json() {
                Content::Json
            } else {
                Content::Other
            }
        }
        None if json() => Content::Json,
        _ => Content::Other,
    }
}

/// What is sent: values in the places of placeholders. Nothing of it is shown or recorded.
pub struct Filled {
    pub request: Request,
    pub target: Target,
    /// A secret is in it: its response has to be one in which secrets can be found.
    pub secret: bool,
}

pub fn fill(request: &Request, target: Target, held: &Held) -> Result<Filled, Failure> {
    let mut secret = matches!(request.aim, Aim::Secret { .. });
    let mut request = request.clone();
    let unfit = |error: secret::Misfit| Failure::Invalid(error.to_string());
    let bytes = |text: &[u8], form| Ok(Bytes::from(held.fill(text, form).map_err(unfit)?.to_vec()));
    let mut sent = target;
    if matches!(request.aim, Aim::At(_)) && held.stands_in(sent.path_and_query().as_bytes()) {
        let text = |text: &str| Ok(String::from_utf8_lossy(&held.fill(text.as_bytes(), Form::Percent).map_err(unfit)?).into_owned());
        sent.path = text(&sent.path)?;
        sent.query = sent.query.as_deref().map(text).transpose()?;
        secret = true;
        // it is what it was, with one segment or value in another's place
        sent = Target::parse(&sent.to_string()).map_err(|_| {
            Failure::Invalid("with the secret in it, the URL can't be sent: it is too long, or a segment hides a way up".to_owned())
        })?;
    }
    for header in &mut request.headers {
        if let Some(credentials) = basic_credentials(header).filter(|credentials| held.stands_in(credentials)) {
            secret = true;
            let filled = held.fill(&credentials, Form::Raw).map_err(unfit)?;
            header.value = Bytes::from(basic_header(&filled).to_vec());
        } else if held.stands_in(&header.value) {
            secret = true;
            header.value = bytes(&header.value, Form::Raw)?;
        }
    }
    if held.stands_in(&request.body) {
        let form = if content(&request) == Content::Form { Form::Percent } else { Form::Json };
        secret = true;
        request.body = bytes(&request.body, form)?;
    }
    if secret {
        request.headers.retain(|header| header.name != "accept-encoding");
        request.headers.push(Header::new("accept-encoding", "identity"));
    }
    Ok(Filled { request, target: sent, secret })
}

/// Refuses a response in which a secret that the server repeats could not be found: a compressed one.
pub fn readable(headers: &[Header]) -> Result<(), Failure> {
    let mut encodings = headers.iter().filter(|header| header.name == "content-encoding");
    if encodings.all(|header| header.value.trim_ascii().eq_ignore_ascii_case(b"identity")) {
        return Ok(());
    }
    Err(Failure::Protocol(
        "the server compressed its answer to a request with a secret, though it was asked not to; what it repeats of the secret could not be hidden"
            .to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pipeline::plan::Secret;
    use secret::Value;

    use super::*;
    use crate::effect::{Answer, Limits};

    const TOKEN: &str = "__secret-token-0123456789abcdef0123456789abcdef__";
    const HOOK: &str = "__secret-hook-0123456789abcdef0123456789abcdef__";

    fn held() -> Held {
        let one = |name: &str, placeholder: &str, to: &[&str]| {
            let to = to.iter().map(|to| (*to).to_owned()).collect();
            let secret = Secret { name: name.into(), from: "env:X".into(), to, audience: None, scope: None, token: None };
            SecretUse { secret, placeholder: placeholder.into(), read: false }
        };
        let value = |text: &str| Value::new(text.as_bytes().to_vec()).unwrap();
        let uses = vec![
            one("token", TOKEN, &["https://api.example/v1/**", "http://127.0.0.1:8080/**", "env"]),
            one("hook", HOOK, &["https://hooks.example/services/**"]),
        ];
        Held::with(uses, [("token".into(), value("va/ue \"1\"")), ("hook".into(), value("https://hooks.example/services/T0?x=1"))])
    }

    fn request(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Request {
        let text = |text: &str| text.replace("$t", TOKEN).replace("$h", HOOK);
        Request {
            method: text(method),
            aim: Aim::parse(&text(url)),
            headers: headers.iter().map(|(name, value)| Header::new(&text(name), text(value))).collect(),
            body: text(body).into(),
            trailers: Vec::new(),
            limits: Limits { whole: None, deadline: None, connect: Duration::from_secs(1), head: None, pause: None, body: 1 },
            answer: Answer::Head,
        }
    }

    /// The remedy or the reason of a denial; empty if it is allowed.
    fn verdict(request: &Request) -> String {
        let held = held();
        let result = target(request, &held).and_then(|target| check(request, &target, &held));
        result.err().map(|denial| denial.remedy.unwrap_or(denial.reason)).unwrap_or_default()
    }

    #[test]
    fn where_a_secret_may_stand() {
        const JSON: &[(&str, &str)] = &[("content-type", "application/vnd.api+json; charset=utf-8")];
        const FORM: &[(&str, &str)] = &[("content-type", "application/x-www-form-urlencoded")];
        let api = "https://api.example/v1/x";
        for (allowed, request) in [
            (true, request("GET", api, &[("authorization", "Bearer $t")], "")),
            (true, request("GET", "https://api.example/v1/$t/x?a=$t", &[], "")),
            (true, request("GET", "http://127.0.0.1:8080/", &[("x", "$t")], "")),
            (true, request("POST", api, JSON, "{\"a\":[\"$t\"]}")),
            (true, request("POST", api, &[], "[\"$t\"]")),
            (true, request("POST", api, FORM, "a=$t")),
            (true, request("POST", "$h", &[], "")),
            (false, request("POST", "$t", &[], "")),
            (false, request("GET", "https://api.example/v2/x", &[("x", "$t")], "")),
            (false, request("GET", "https://api.example:8443/v1/x", &[("x", "$t")], "")),
            (false, request("GET", "http://api.example/v1/x", &[("x", "$t")], "")),
            (false, request("GET", "http://127.0.0.1:8081/", &[("x", "$t")], "")),
            (false, request("GET", "https://$t/v1/x", &[], "")),
            (false, request("GET", api, &[("$t", "x")], "")),
            (false, request("$t", api, &[], "")),
            (false, request("POST", api, &[("content-type", "text/plain")], "$t")),
            (false, request("POST", api, JSON, "$t")),
            (false, request("POST", api, &[], "$t")),
            (false, request("POST", api, &[("content-encoding", "gzip"), JSON[0]], "[\"$t\"]")),
            // one secret does not open the way for another
            (false, request("POST", "$h", &[("x", "$t")], "")),
            (false, request("POST", api, &[("x", "$h")], "")),
        ] {
            assert_eq!(verdict(&request).is_empty(), allowed, "{request:?}: {}", verdict(&request));
        }
    }

    #[test]
    fn a_denial_names_the_place_that_is_missing() {
        let other = request("GET", "https://api.example/v2/x/$t?q", &[], "");
        assert_eq!(
            verdict(&other),
            "[secret.token]\nto = [\"https://api.example/v1/**\", \"http://127.0.0.1:8080/**\", \"env\", \"https://api.example/v2/x/*\"]"
        );
        let within = request("GET", "https://api.example/bot$t/send", &[], "");
        assert!(verdict(&within).ends_with("\"https://api.example/**\"]"), "{}", verdict(&within));
        assert!(verdict(&request("GET", "http://api.example/v1/x", &[("x", "$t")], "")).contains("in the open"));
    }

    #[test]
    fn what_is_sent() {
        let held = held();
        let sent = |request: &Request| fill(request, target(request, &held).unwrap(), &held).unwrap();
        let Filled { request: filled, target, .. } =
            sent(&request("POST", "https://api.example/v1/$t?a=$t", &[("x", "a $t")], "{\"a\":\"$t\"}"));
        assert_eq!(target.to_string(), "https://api.example/v1/va%2Fue%20%221%22?a=va%2Fue%20%221%22");
        assert_eq!(&filled.headers[0].value[..], b"a va/ue \"1\"");
        assert_eq!(&filled.body[..], b"{\"a\":\"va/ue \\\"1\\\"\"}");
        assert_eq!(filled.headers.last().unwrap().value, "identity");
        let Filled { target, secret, .. } = sent(&request("POST", "$h", &[], ""));
        assert!(secret);
        assert_eq!(target.to_string(), "https://hooks.example/services/T0?x=1");
        // and what is not a secret's is left alone
        let Filled { request: filled, target, secret } = sent(&request("GET", "https://other.example/x?y=%2e", &[("x", "y")], "text"));
        assert_eq!((target.to_string().as_str(), &filled.body[..]), ("https://other.example/x?y=%2e", &b"text"[..]));
        assert!(!secret && filled.headers.len() == 1);
        assert!(readable(&[Header::new("content-encoding", "gzip")]).is_err());
        assert!(readable(&[Header::new("content-encoding", "Identity"), Header::new("x", "gzip")]).is_ok());
    }
}
