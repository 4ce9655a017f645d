//! PagerDuty's Events API v2: a failure triggers an alert, a run that passes resolves it. Both bear the same `dedup_key`, so that the same
//! event sent twice is one alert.
//!
//! Limits: 1,024 characters a summary, 255 a key, 512 KB an event. The answer is 202.

use serde_json::{Value, json};

use super::Prepared;
use crate::delivery::{Request, deliver};
use crate::escape::{Escape, cut};
use crate::message::Teller;
use crate::run::word;
use crate::settings::{Pagerduty, Severity};

const SUMMARY: usize = 1_024;
const KEY: usize = 255;
const DETAILS: usize = 50_000;
const STAGES: usize = 100;

pub fn prepare<'a>(pagerduty: &'a Pagerduty, teller: &'a Teller<'a>) -> Result<Prepared<'a>, String> {
    let run = teller.run;
    let message = teller.message(pagerduty.title.as_ref(), pagerduty.text.as_ref(), Escape::Plain)?;
    let key = match &pagerduty.dedup_key {
        Some(template) => teller.fill("dedup-key", template, Escape::Line)?,
        None => run.key(),
    };
    if key.is_empty() {
        return Err("`dedup-key` is empty once it is filled in: nothing could be resolved by it".into());
    }
    let action = if run.failed() { "trigger" } else { "resolve" };
    let mut event = json!({ "routing_key": pagerduty.routing_key, "event_action": action, "dedup_key": bounded(&key) });
    if run.failed() {
        let failed = run.stages.iter().filter(|stage| stage.fails_run).take(STAGES);
        let failed: Vec<Value> = failed.map(|stage| json!({ "stage": stage.id, "outcome": word(stage.outcome) })).collect();
        event["payload"] = json!({
            "summary": cut(&message.title, SUMMARY),
            "source": run.pipeline,
            "severity": match pagerduty.severity {
                Severity::Critical => "critical",
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Info => "info",
            },
            "component": run.pipeline,
            "group": run.branch(),
            "class": "pipeline",
            "custom_details": {
                "text": cut(&message.text, DETAILS), "run": run.id, "branch": run.origin.branch, "sha": run.origin.sha, "stages": failed,
            },
        });
        event["client"] = "runner".into();
        event["links"] = message.links.iter().map(|(title, url)| json!({ "href": url, "text": title })).collect();
    }
    let request = Request::json("POST", &pagerduty.url, &event).repeatable(&teller.key("pagerduty"));
    Ok(Box::new(move |world| deliver(world, &request).map(|_| format!("{action} {}", bounded(&key)))))
}

/// A key that is too long keeps its beginning, and a hash of all of it: two branches must not share an alert.
fn bounded(key: &str) -> String {
    if key.len() <= KEY {
        return key.to_owned();
    }
    // FNV-1a: the same in every version and on every machine
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let end = key.floor_char_boundary(KEY - 17);
    format!("{}-{hash:016x}", &key[..end])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::delivery::tests::answer;
    use crate::receiver::tests::tell;

    fn receiver() -> Value {
        json!({ "pagerduty": { "routing-key": "__secret-pd__" } })
    }

    #[test]
    fn a_failure_triggers_and_a_recovery_resolves_with_the_same_key() {
        let taken = || answer(202, r#"{"status":"success","message":"Event processed","dedup_key":"shop/x"}"#);
        let (told, failed) = tell(receiver(), true, [answer(500, ""), taken()]);
        assert_eq!(told.unwrap(), "trigger shop/feature/<@U1>@org");
        assert_eq!(failed.sent[0], failed.sent[1], "the same event twice is one alert");
        let (_, recovered) = tell(receiver(), false, [taken()]);
        assert_eq!(failed.bodies()[0]["dedup_key"], recovered.bodies()[0]["dedup_key"]);
        insta::assert_json_snapshot!(failed.bodies()[0]);
        insta::assert_json_snapshot!(recovered.bodies()[0]);
    }

    #[test]
    fn a_long_key_stays_within_its_limit_and_its_own() {
        let (one, other) = (bounded(&"ü".repeat(300)), bounded(&("ü".repeat(299) + "x")));
        assert!(one.len() <= KEY && other.len() <= KEY && one != other, "{one}");
        assert_eq!(bounded("shop/main"), "shop/main");
    }
}
