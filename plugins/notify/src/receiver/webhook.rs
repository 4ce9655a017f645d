//! Any HTTP endpoint: a method, headers, and a body from templates, or without one all that is known of the run as JSON.
//!
//! Deliberately absent: signatures. They need the secret itself, and a stage has only its placeholder.

use serde_json::{Value, json};

use super::Prepared;
use crate::delivery::{Request, deliver};
use crate::escape::Escape;
use crate::message::Teller;
use crate::run::{length, word};
use crate::settings::Webhook;

pub fn prepare<'a>(webhook: &'a Webhook, teller: &'a Teller<'a>) -> Result<Prepared<'a>, String> {
    let Webhook { url, method, headers, bearer, .. } = webhook;
    let mut request = match (&webhook.json, &webhook.body) {
        (Some(_), Some(_)) => return Err("`json` and `body` are two bodies: keep one of them".into()),
        (_, Some(body)) => Request::with(method, url, "text/plain; charset=utf-8", teller.fill("body", body, Escape::Plain)?),
        (Some(template), None) => Request::json(method, url, &fill(template, teller)?),
        (None, None) => Request::json(method, url, &summary(webhook, teller)?),
    };
    for (name, template) in headers {
        let value = teller.fill(&format!("headers.{name}"), template, Escape::Line)?;
        request.repeatable |= name.eq_ignore_ascii_case("idempotency-key") && !value.is_empty();
        request = request.header(name, value);
    }
    if let Some(bearer) = bearer {
        request = request.header("authorization", format!("Bearer {bearer}"));
    }
    Ok(Box::new(move |world| deliver(world, &request).map(|_| String::new())))
}

/// A JSON value with all its texts filled in.
fn fill(template: &Value, teller: &Teller<'_>) -> Result<Value, String> {
    Ok(match template {
        Value::String(text) => Value::String(teller.fill("json", text, Escape::Plain)?),
        Value::Array(items) => Value::Array(items.iter().map(|item| fill(item, teller)).collect::<Result<_, _>>()?),
        Value::Object(members) => {
            Value::Object(members.iter().map(|(name, member)| Ok((name.clone(), fill(member, teller)?))).collect::<Result<_, String>>()?)
        }
        other => other.clone(),
    })
}

/// All that is known of the run.
fn summary(webhook: &Webhook, teller: &Teller<'_>) -> Result<Value, String> {
    let run = teller.run;
    let message = teller.message(webhook.title.as_ref(), webhook.text.as_ref(), Escape::Plain)?;
    let stage = |stage: &runner_sdk::run::Stage| {
        let tests = &stage.tests;
        json!({
            "id": stage.id, "outcome": word(stage.outcome), "fails-run": stage.fails_run, "message": stage.message,
            "duration": length(stage.duration), "nanos": u64::try_from(stage.duration.as_nanos()).unwrap_or(u64::MAX), "attempts": stage.attempts,
            "findings": stage.findings,
            "tests": {
                "passed": tests.passed, "failed": tests.failed, "errored": tests.errored, "skipped": tests.skipped, "flaky": tests.flaky,
            },
        })
    };
    Ok(json!({
        "pipeline": run.pipeline, "run": run.id, "status": run.status(), "title": message.title, "text": message.text,
        "started": humantime::format_rfc3339_seconds(run.origin.started).to_string(),
        "event": run.origin.event, "trust": run.origin.trust, "branch": run.origin.branch, "tag": run.origin.tag, "base": run.origin.base,
        "pull-request": run.origin.pull_request, "sha": run.origin.sha, "dirty": run.origin.dirty,
        "stages": run.stages.iter().map(stage).collect::<Vec<_>>(),
        "previous": run.previous.as_ref().map(|previous| json!({
            "run": previous.run, "status": if previous.passed { "passed" } else { "failed" }, "sha": previous.sha,
        })),
        "links": message.links.iter().map(|(title, url)| json!({ "title": title, "url": url })).collect::<Vec<_>>(),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::delivery::tests::answer;
    use crate::receiver::tests::{mistake, tell};

    #[test]
    fn without_a_body_it_is_all_that_is_known() {
        let (_, world) = tell(json!({ "webhook": { "url": "u" } }), true, [answer(204, "")]);
        insta::assert_json_snapshot!(world.bodies()[0]);
    }

    #[test]
    fn a_body_of_ones_own() {
        let receiver = json!({ "webhook": {
            "url": "__secret-url__", "method": "PUT", "bearer": "__secret-token__",
            "headers": { "X-Branch": "{{ branch }}", "content-type": "application/vnd.x+json" },
            "json": { "text": "{{ pipeline }} \"{{ branch }}\"", "list": ["{{ status }}", 1], "key": "__secret-key__" },
        } });
        let (_, world) = tell(receiver, true, [answer(502, ""), answer(200, "")]);
        let request = &world.sent[1];
        assert_eq!((&*request.method, &*request.url), ("PUT", "__secret-url__"));
        assert_eq!(
            request.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>(),
            ["x-branch: feature/<@U1>@org", "content-type: application/vnd.x+json", "authorization: Bearer __secret-token__"]
        );
        let expected = json!({ "text": "shop \"feature/<@U1>@org\"", "list": ["failed", 1], "key": "__secret-key__" });
        assert_eq!(world.bodies()[1], expected);
    }

    #[test]
    fn text_is_sent_once_unless_it_has_a_key() {
        let receiver = |headers| json!({ "webhook": { "url": "u", "body": "{{ status }}", "headers": headers } });
        let (told, world) = tell(receiver(json!({})), true, [answer(500, "")]);
        assert_eq!((told.unwrap_err().why.as_str(), &*world.sent[0].body), ("it answered 500", &b"failed"[..]));
        let (told, _) = tell(receiver(json!({ "Idempotency-Key": "{{ run }}" })), true, [answer(500, ""), answer(200, "")]);
        assert!(told.is_ok());
    }

    #[test]
    fn two_bodies_are_a_mistake() {
        assert!(mistake(json!({ "webhook": { "url": "u", "json": {}, "body": "" } })).contains("keep one of them"));
        assert!(mistake(json!({ "webhook": { "url": "u", "json": { "a": ["{{ x }}"] } } })).starts_with("`json` is no template"));
    }
}
