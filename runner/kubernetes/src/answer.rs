//! What a cluster says when it says no: a `Status` object, or somebody else's page.

use serde_json::Value;

use crate::error::ClusterError;

pub(crate) fn said(doing: &str, status: u16, body: &[u8]) -> ClusterError {
    let object: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |key: &str| object.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let reason = text("reason").map_or_else(|| words_of(status).to_owned(), str::to_owned);
    let words = match text("message") {
        Some(words) => words.to_owned(),
        None => String::from_utf8_lossy(body).chars().filter(|c| !c.is_control()).take(200).collect(),
    };
    ClusterError::Said { doing: doing.to_owned(), status, reason, words: if words.is_empty() { "nothing".to_owned() } else { words } }
}

/// Of an event of a watch, whose status is in the object.
pub(crate) fn said_in(doing: &str, object: &Value) -> ClusterError {
    let status = object.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok()).unwrap_or(500);
    said(doing, status, object.to_string().as_bytes())
}

fn words_of(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("no reason")
}
