//! Mail through an HTTP API, in the shape of SendGrid, Mailgun or Postmark. Plain text: nothing in it is markup.
//!
//! None of the three recognises a mail that it was sent before, so only 429 is tried again.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Prepared, below};
use crate::delivery::{Answer, Request, deliver, refused};
use crate::escape::{Escape, cut};
use crate::message::Teller;
use crate::settings::{Email, EmailApi};

const SUBJECT: usize = 200;
const TEXT: usize = 100_000;

pub fn prepare<'a>(email: &'a Email, teller: &'a Teller<'a>) -> Result<Prepared<'a>, String> {
    let message = teller.message(email.title.as_ref(), email.text.as_ref(), Escape::Plain)?;
    let subject = cut(&message.title, SUBJECT);
    let links = message.links.iter().map(|(title, url)| format!("\n{title}: {url}")).collect::<String>();
    let text = format!("{}\n{links}", cut(&message.text, TEXT));
    let at = |place: &str, path: &str| below(email.url.as_deref().unwrap_or(place), path);
    let request = match email.api {
        EmailApi::Sendgrid => {
            let body = json!({
                "personalizations": [{ "to": email.to.iter().map(|to| address(to)).collect::<Vec<_>>() }],
                "from": address(&email.from),
                "subject": subject,
                "content": [{ "type": "text/plain", "value": text }],
            });
            Request::json("POST", at("https://api.sendgrid.com", "/v3/mail/send"), &body)
                .header("authorization", format!("Bearer {}", email.key))
        }
        EmailApi::Mailgun => {
            let domain = email.domain.as_deref().ok_or("Mailgun wants the sending domain: name it with `domain`")?;
            if domain.is_empty() || !domain.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.') {
                return Err(format!("`domain` is `{domain}`, which is no domain"));
            }
            let fields = [("from", &*email.from), ("subject", &*subject), ("text", &*text)];
            let fields = fields.into_iter().chain(email.to.iter().map(|to| ("to", to.as_str())));
            let form: Vec<String> = fields.map(|(name, value)| format!("{name}={}", Escape::Url.value(value))).collect();
            let url = at("https://api.mailgun.net", &format!("/v3/{domain}/messages"));
            Request::with("POST", url, "application/x-www-form-urlencoded", form.join("&"))
                .header("authorization", format!("Basic {}", STANDARD.encode(format!("api:{}", email.key))))
        }
        EmailApi::Postmark => {
            let body = json!({
                "From": email.from, "To": email.to.join(", "), "Subject": subject, "TextBody": text, "MessageStream": "outbound",
            });
            Request::json("POST", at("https://api.postmarkapp.com", "/email"), &body)
                .header("x-postmark-server-token", email.key.clone())
                .header("accept", "application/json")
        }
    };
    Ok(Box::new(move |world| {
        let answer = deliver(world, &request)?;
        taken(email.api, &answer)?;
        Ok(String::new())
    }))
}

/// Postmark says in the body whether it took the mail.
fn taken(api: EmailApi, answer: &Answer) -> Result<(), String> {
    let error = answer.json()["ErrorCode"].as_u64().unwrap_or_default();
    if api == EmailApi::Postmark && error != 0 { Err(refused(answer)) } else { Ok(()) }
}

/// `CI <ci@example.com>` in its parts.
fn address(text: &str) -> Value {
    match text.trim().strip_suffix('>').and_then(|text| text.rsplit_once('<')) {
        Some((name, address)) if !name.trim().is_empty() => json!({ "email": address.trim(), "name": name.trim().trim_matches('"') }),
        Some((_, address)) => json!({ "email": address.trim() }),
        None => json!({ "email": text.trim() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::delivery::tests::answer;
    use crate::receiver::tests::{mistake, tell};

    fn email(api: &str, more: Value) -> Value {
        let mut email = json!({
            "api": api, "key": "__secret-mail__", "from": "CI <ci@acme.example>", "to": ["a@acme.example", "B <b@acme.example>"], "text": "{{ status }}",
        });
        email.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "email": email })
    }

    fn header(world: &crate::delivery::tests::Scripted, name: &str) -> String {
        world.sent[0].headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).unwrap_or_default()
    }

    #[test]
    fn sendgrid() {
        let (told, world) = tell(email("sendgrid", json!({})), true, [answer(202, "")]);
        assert!(told.is_ok());
        assert_eq!(world.sent[0].url, "https://api.sendgrid.com/v3/mail/send");
        assert_eq!(header(&world, "authorization"), "Bearer __secret-mail__");
        insta::assert_json_snapshot!(world.bodies()[0]);
    }

    #[test]
    fn mailgun() {
        let (told, world) = tell(
            email("mailgun", json!({ "domain": "mg.acme.example", "url": "https://api.eu.mailgun.net" })),
            true,
            [answer(200, r#"{"id":"<x>","message":"Queued. Thank you."}"#)],
        );
        assert!(told.is_ok());
        assert_eq!(world.sent[0].url, "https://api.eu.mailgun.net/v3/mg.acme.example/messages");
        assert_eq!(header(&world, "authorization"), format!("Basic {}", STANDARD.encode("api:__secret-mail__")));
        insta::assert_snapshot!(String::from_utf8_lossy(&world.sent[0].body).replace('&', "\n"));
        assert!(mistake(email("mailgun", json!({}))).contains("name it with `domain`"));
        assert!(mistake(email("mailgun", json!({ "domain": "../x" }))).contains("no domain"));
    }

    #[test]
    fn postmark() {
        let taken = r#"{"To":"a","SubmittedAt":"x","MessageID":"y","ErrorCode":0,"Message":"OK"}"#;
        let (told, world) = tell(email("postmark", json!({})), true, [answer(200, taken)]);
        assert!(told.is_ok());
        assert_eq!(
            (header(&world, "x-postmark-server-token"), &*world.sent[0].url),
            ("__secret-mail__".into(), "https://api.postmarkapp.com/email")
        );
        insta::assert_json_snapshot!(world.bodies()[0]);
        let (told, _) = tell(email("postmark", json!({})), true, [answer(200, r#"{"ErrorCode":406,"Message":"inactive"}"#)]);
        assert_eq!(told.unwrap_err().why, r#"it answered 200: {"ErrorCode":406,"Message":"inactive"}"#);
    }

    #[test]
    fn nothing_begins_another_header() {
        let (_, world) = tell(email("sendgrid", json!({ "title": "a\r\nbcc: x@evil.example" })), true, [answer(202, "")]);
        assert_eq!(world.bodies()[0]["subject"], "a bcc: x@evil.example");
    }
}
