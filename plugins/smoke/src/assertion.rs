//! Does an answer hold what was expected of it?

use regex_lite::Regex;
use serde_json::Value;

use crate::answer::{Answer, excerpt};
use crate::settings::{Expect, Json, Text};
use crate::status::Statuses;
use crate::template::{Template, Values, fill_json, shown};

const SECONDS_A_DAY: i64 = 24 * 60 * 60;

/// One expectation and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What was expected, such as `status 2xx`.
    pub expected: String,
    /// What came instead; none if the expectation holds.
    pub got: Option<String>,
}

impl Verdict {
    fn of(expected: String, holds: bool, got: impl FnOnce() -> String) -> Verdict {
        Verdict { expected, got: (!holds).then(got) }
    }
}

/// Looks at every expectation. `now` is in seconds since 1970.
///
/// # Errors
/// A placeholder without a value, or a pattern that is none.
pub fn verdicts(expect: &Expect, answer: &Answer, values: &Values, now: i64) -> Result<Vec<Verdict>, String> {
    let mut verdicts = Vec::new();

    let statuses = expect.status.clone().unwrap_or_else(Statuses::success);
    verdicts.push(Verdict::of(format!("status {statuses}"), statuses.include(answer.status), || {
        format!("status {}, body: {}", answer.status, answer.excerpt())
    }));
    if let Some(budget) = expect.within {
        verdicts.push(Verdict::of(format!("an answer within {budget}"), answer.elapsed <= budget.0, || format!("{:.1?}", answer.elapsed)));
    }
    for (name, text) in &expect.headers {
        check_text(&format!("header {name}"), text, answer.header(name).as_deref(), values, &mut verdicts)?;
    }
    if let Some(text) = &expect.body {
        check_text("body", text, Some(&answer.body), values, &mut verdicts)?;
    }
    for json in &expect.json {
        check_json(json, answer, values, &mut verdicts)?;
    }
    if let Some(certificate) = &expect.certificate {
        verdicts.push(certificate_verdict(certificate.min_days, answer, now));
    }
    Ok(verdicts)
}

fn check_text(what: &str, text: &Text, found: Option<&str>, values: &Values, verdicts: &mut Vec<Verdict>) -> Result<(), String> {
    let Text { equals, contains, matches, exists } = text;
    if let Some(wanted) = exists {
        let expected = if *wanted { what.to_owned() } else { format!("no {what}") };
        verdicts.push(Verdict::of(expected, found.is_some() == *wanted, || found.map_or_else(|| "none".into(), excerpt)));
    }
    let mut check = |expected: String, holds: &dyn Fn(&str) -> bool| {
        verdicts.push(match found {
            Some(found) => Verdict::of(expected, holds(found), || excerpt(found)),
            None => Verdict::of(expected, false, || format!("no {what}")),
        });
    };
    if let Some(wanted) = equals {
        let wanted = Template::parse(wanted)?.text(values)?;
        check(format!("{what} equal to `{}`", excerpt(&wanted)), &|found| found == wanted);
    }
    if let Some(wanted) = contains {
        let wanted = Template::parse(wanted)?.text(values)?;
        check(format!("{what} with `{}` in it", excerpt(&wanted)), &|found| found.contains(&wanted));
    }
    if let Some(pattern) = matches {
        let pattern = regex(pattern)?;
        check(format!("{what} matching /{pattern}/"), &|found| pattern.is_match(found));
    }
    Ok(())
}

fn check_json(json: &Json, answer: &Answer, values: &Values, verdicts: &mut Vec<Verdict>) -> Result<(), String> {
    let Json { at, equals, exists, length, min, max, matches } = json;
    let what = if at.is_empty() { "the JSON body".to_owned() } else { format!("JSON {at}") };
    let found = answer.json().map(|body| body.pointer(at));
    let nothing = || match &found {
        Err(why) => format!("{why}: {}", answer.excerpt()),
        Ok(_) => format!("nothing there, body: {}", answer.excerpt()),
    };
    if let Some(wanted) = exists {
        let expected = if *wanted { what.clone() } else { format!("nothing at {what}") };
        let holds = matches!(found, Ok(place) if place.is_some() == *wanted);
        verdicts.push(Verdict::of(expected, holds, || match found {
            Ok(Some(value)) => excerpt(&shown(value)),
            _ => nothing(),
        }));
    }
    let mut check = |expected: String, holds: &dyn Fn(&Value) -> bool| {
        verdicts.push(match found {
            Ok(Some(value)) => Verdict::of(expected, holds(value), || excerpt(&value.to_string())),
            _ => Verdict::of(expected, false, nothing),
        });
    };
    if let Some(wanted) = equals {
        let wanted = fill_json(wanted, values)?;
        check(format!("{what} equal to {}", excerpt(&wanted.to_string())), &|value| same(value, &wanted));
    }
    if let Some(wanted) = length {
        check(format!("{what} of length {wanted}"), &|value| length_of(value) == Some(*wanted));
    }
    if let Some(least) = min {
        check(format!("{what} of at least {least}"), &|value| value.as_f64().is_some_and(|number| number >= *least));
    }
    if let Some(greatest) = max {
        check(format!("{what} of at most {greatest}"), &|value| value.as_f64().is_some_and(|number| number <= *greatest));
    }
    if let Some(pattern) = matches {
        let pattern = regex(pattern)?;
        check(format!("{what} matching /{pattern}/"), &|value| pattern.is_match(&shown(value)));
    }
    Ok(())
}

/// Whether two values are the same, where 1 and 1.0 are.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(name, value)| y.get(name).is_some_and(|other| same(value, other)))
        }
        _ => a == b,
    }
}

fn length_of(value: &Value) -> Option<u64> {
    let length = match value {
        Value::Array(items) => items.len(),
        Value::Object(members) => members.len(),
        Value::String(text) => text.chars().count(),
        _ => return None,
    };
    Some(length as u64)
}

fn certificate_verdict(min_days: u32, answer: &Answer, now: i64) -> Verdict {
    let expected = format!("a certificate that is valid for {min_days} days");
    let Some(certificate) = &answer.certificate else {
        return Verdict { expected, got: Some("no certificate: the URL is not https".into()) };
    };
    let left = certificate.not_after - now;
    let valid = certificate.not_before <= now && left >= i64::from(min_days) * SECONDS_A_DAY;
    Verdict::of(expected, valid, || {
        let subject = &certificate.subject;
        if certificate.not_before > now {
            format!("{subject} is not valid yet")
        } else if left < 0 {
            format!("{subject} expired {} days ago", -left / SECONDS_A_DAY)
        } else {
            format!("{subject} expires in {} days", left / SECONDS_A_DAY)
        }
    })
}

/// A pattern of the settings.
///
/// # Errors
/// What is wrong with it.
pub fn regex(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|error| format!("`{pattern}` is no regular expression: {error}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use runner_sdk::http::Certificate;
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn answer() -> Answer {
        let headers = vec![("content-type".into(), "application/json".into()), ("x-version".into(), "1.2.3".into())];
        let body = r#"{"id":7,"price":24.0,"name":"cups","tags":["a","b"],"owner":null}"#;
        Answer::new(201, headers, body.into(), Duration::from_millis(250))
    }

    /// What does not hold, as `expected: got`.
    fn broken(expect: Value, answer: &Answer) -> Vec<String> {
        let expect: Expect = serde_json::from_value(expect).unwrap();
        let values = Values::from([("id".to_owned(), json!(7)), ("v".to_owned(), json!("1.2.3"))]);
        let verdicts = verdicts(&expect, answer, &values, NOW).unwrap();
        verdicts.into_iter().filter_map(|verdict| Some(format!("{}: {}", verdict.expected, verdict.got?))).collect()
    }

    #[test]
    fn what_holds_is_silent() {
        for expect in [
            json!({}),
            json!({ "status": 201 }),
            json!({ "status": ["3xx", 201], "within": "250ms" }),
            json!({ "headers": { "Content-Type": { "matches": "^application/json\\b" }, "x-version": { "equals": "{{v}}" } } }),
            json!({ "headers": { "x-powered-by": { "exists": false }, "x-version": { "exists": true, "contains": "2" } } }),
            json!({ "body": { "contains": "\"id\":{{id}}", "matches": "cups|cup" } }),
            json!({ "json": [{ "at": "/id", "equals": "{{id}}" }, { "at": "/price", "equals": 24, "min": 24.0, "max": 30 }] }),
            json!({ "json": [{ "at": "/tags", "length": 2, "equals": ["a", "b"] }, { "at": "/name", "length": 4, "matches": "^c" }] }),
            json!({ "json": [{ "at": "", "length": 5 }, { "at": "/owner", "exists": true }, { "at": "/nothing", "exists": false }] }),
        ] {
            assert_eq!(broken(expect.clone(), &answer()), [""; 0], "{expect}");
        }
    }

    #[test]
    fn what_does_not_hold_says_what_was_expected_and_what_came() {
        let body = r#"{"id":7,"price":24.0,"name":"cups","tags":["a","b"],"owner":null}"#;
        for (expect, messages) in [
            (json!({ "status": 200 }), vec![format!("status 200: status 201, body: {body}")]),
            (json!({ "within": "200ms" }), vec!["an answer within 200ms: 250.0ms".into()]),
            (json!({ "headers": { "x-version": { "equals": "2" } } }), vec!["header x-version equal to `2`: 1.2.3".into()]),
            (json!({ "headers": { "etag": { "matches": "." } } }), vec!["header etag matching /./: no header etag".into()]),
            (json!({ "headers": { "x-version": { "exists": false } } }), vec!["no header x-version: 1.2.3".into()]),
            (json!({ "body": { "contains": "mugs" } }), vec![format!("body with `mugs` in it: {body}")]),
            (json!({ "json": [{ "at": "/id", "equals": 8 }] }), vec!["JSON /id equal to 8: 7".into()]),
            (json!({ "json": [{ "at": "/id", "equals": "7" }] }), vec!["JSON /id equal to \"7\": 7".into()]),
            (json!({ "json": [{ "at": "/x", "equals": 8 }] }), vec![format!("JSON /x equal to 8: nothing there, body: {body}")]),
            (json!({ "json": [{ "at": "/id", "length": 1 }] }), vec!["JSON /id of length 1: 7".into()]),
            (
                json!({ "json": [{ "at": "/price", "min": 25, "max": 20 }] }),
                vec!["JSON /price of at least 25: 24.0".into(), "JSON /price of at most 20: 24.0".into()],
            ),
            (json!({ "json": [{ "at": "/name", "exists": false }] }), vec!["nothing at JSON /name: cups".into()]),
        ] {
            assert_eq!(broken(expect.clone(), &answer()), messages, "{expect}");
        }
    }

    #[test]
    fn a_body_that_is_no_json_is_shown() {
        let answer = Answer::new(200, vec![], "<html>oops</html>".into(), Duration::ZERO);
        let messages = broken(json!({ "json": [{ "at": "/id", "exists": false }] }), &answer);
        assert!(
            matches!(&messages[..], [one] if one.contains("the body is no JSON") && one.ends_with("<html>oops</html>")),
            "{messages:?}"
        );
    }

    #[test]
    fn a_certificate_must_last() {
        let day = SECONDS_A_DAY;
        for (not_before, not_after, got) in [
            (NOW - day, NOW + 15 * day, None),
            (NOW - day, NOW + 14 * day, None),
            (NOW - day, NOW + 13 * day, Some("shop expires in 13 days")),
            (NOW - 9 * day, NOW - 2 * day, Some("shop expired 2 days ago")),
            (NOW + day, NOW + 90 * day, Some("shop is not valid yet")),
        ] {
            let mut answer = answer();
            answer.certificate = Some(Certificate { subject: "shop".into(), issuer: "ca".into(), not_before, not_after });
            let expected: Vec<String> = got.iter().map(|got| format!("a certificate that is valid for 14 days: {got}")).collect();
            assert_eq!(broken(json!({ "certificate": { "min-days": 14 } }), &answer), expected);
        }
        assert!(broken(json!({ "certificate": { "min-days": 1 } }), &answer())[0].ends_with("no certificate: the URL is not https"));
    }
}
