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
    if matches!(request.aim, Aim::Secret { .. }) {
        // where it leads is a part of the secret
        let reason = format!("the URL that the secret `{name}` holds is outside of its `to`");
        return Err(Denial::new("secret-place", reason));
    }
    if target.scheme == Scheme::Http && !is_here(target) {
        let reason = format!("the secret `{name}` would go out in the open; only https, and this machine, can take one");
        return Err(Denial::new("secret-place", reason));
    }
    let denial = Denial::new("secret-place", format!("the secret `{name}` may not be put there: no `to` of it allows this URL"));
    let mut shown = target.clone();
    shown.path = shown.path.replace(&one.placeholder, "*");
    let exact = UrlPattern::exact(&shown).to_string();
    // a segment with more than the placeholder has no pattern of its own
    let exact = if exact.contains("%2A") {
        exact.split("%2A").next().unwrap_or_default().rsplit_once('/').map_or_else(String::new, |(folder, _)| format!("{folder}/**"))
    } else {
        exact
    };
    let places = one.secret.to.iter().map(String::as_str).chain([exact.as_str()]).map(toml_string).collect::<Vec<_>>();
    Err(Denial { remedy: Some(format!("[secret.{name}]\nto = [{}]", places.join(", "))), ..denial })
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
pub fn fill(request: &Request, target: Target, held: &Held) -> Result<(Request, Target), Failure> {
    let mut request = request.clone();
    let unfit = |error: secret::Misfit| Failure::Invalid(error.to_string());
    let bytes = |text: &[u8], form| Ok(Bytes::from(held.fill(text, form).map_err(unfit)?.to_vec()));
    let mut sent = target;
    if matches!(request.aim, Aim::At(_)) && held.stands_in(sent.path_and_query().as_bytes()) {
        let text = |text: &str| Ok(String::from_utf8_lossy(&held.fill(text.as_bytes(), Form::Percent).map_err(unfit)?).into_owned());
        sent.path = text(&sent.path)?;
        sent.query = sent.query.as_deref().map(text).transpose()?;
        // it is what it was, with one segment or value in another's place
        sent = Target::parse(&sent.to_string()).map_err(|_| {
            Failure::Invalid("with the secret in it, the URL can't be sent: it is too long, or a segment hides a way up".to_owned())
        })?;
    }
    for header in &mut request.headers {
        if let Some(credentials) = basic_credentials(header).filter(|credentials| held.stands_in(credentials)) {
            let filled = held.fill(&credentials, Form::Raw).map_err(unfit)?;
            header.value = Bytes::from(basic_header(&filled).to_vec());
        } else if held.stands_in(&header.value) {
            header.value = bytes(&header.value, Form::Raw)?;
        }
    }
    if held.stands_in(&request.body) {
        let form = if content(&request) == Content::Form { Form::Percent } else { Form::Json };
        request.body = bytes(&request.body, form)?;
    }
    Ok((request, sent))
}
