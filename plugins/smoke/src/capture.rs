//! Values that an answer gives to later steps.

use serde_json::Value;

use crate::answer::Answer;
use crate::assertion::regex;
use crate::settings::Capture;
use crate::template::shown;

/// The value that a capture takes from an answer.
///
/// # Errors
/// Says what is not there.
pub fn value(capture: &Capture, answer: &Answer) -> Result<Value, String> {
    let source = match (&capture.json, &capture.header) {
        (Some(pointer), _) => {
            let body = answer.json().map_err(|why| format!("{why}: {}", answer.excerpt()))?;
            body.pointer(pointer).cloned().ok_or_else(|| format!("nothing at JSON {pointer}, body: {}", answer.excerpt()))?
        }
        (None, Some(name)) => Value::String(answer.header(name).ok_or_else(|| format!("no header {name}"))?),
        (None, None) => Value::String(answer.body.clone()),
    };
    let Some(pattern) = &capture.pattern else { return Ok(source) };
    let pattern = regex(pattern)?;
    let text = shown(&source);
    let found = pattern.captures(&text).ok_or_else(|| format!("/{pattern}/ matches nothing in {}", crate::answer::excerpt(&text)))?;
    let group = if pattern.captures_len() > 1 { found.get(1) } else { found.get(0) };
    Ok(Value::String(group.map_or_else(String::new, |group| group.as_str().to_owned())))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn captured(capture: Value) -> Result<Value, String> {
        let headers = vec![("location".into(), "/orders/42".into())];
        let answer = Answer::new(201, headers, r#"{"order":{"id":42,"token":"t-1"}}"#.into(), Duration::ZERO);
        value(&serde_json::from_value(capture).unwrap(), &answer)
    }

    #[test]
    fn values_come_from_json_headers_and_text() {
        for (capture, expected) in [
            (json!({ "json": "/order/id" }), json!(42)),
            (json!({ "json": "/order/token", "pattern": "t-(\\d)" }), json!("1")),
            (json!({ "header": "Location" }), json!("/orders/42")),
            (json!({ "header": "location", "pattern": "\\d+$" }), json!("42")),
            (json!({ "pattern": "\"token\":\"([^\"]+)\"" }), json!("t-1")),
        ] {
            assert_eq!(captured(capture.clone()), Ok(expected), "{capture}");
        }
    }

    #[test]
    fn what_is_not_there_is_named() {
        assert!(captured(json!({ "json": "/nothing" })).unwrap_err().starts_with("nothing at JSON /nothing, body: {"));
        assert_eq!(captured(json!({ "header": "etag" })), Err("no header etag".into()));
        assert!(captured(json!({ "pattern": "cookie=(.*)" })).unwrap_err().starts_with("/cookie=(.*)/ matches nothing in"));
    }
}
