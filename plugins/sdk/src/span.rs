//! Lengths of time in settings.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// A length of time as people write it: `"300ms"`, `"30s"`, `"1h 30m"`. Not zero: a limit that is not wanted is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

impl Span {
    /// For `#[serde(default = "…")]` functions and constants.
    pub const fn from_secs(seconds: u64) -> Span {
        Span(Duration::from_secs(seconds))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        let text = String::deserialize(deserializer)?;
        let duration = humantime::parse_duration(&text)
            .map_err(|error| de::Error::custom(format!("`{text}` is not a length of time such as `30s` or `5m`: {error}")))?;
        if duration.is_zero() {
            return Err(de::Error::custom(format!("`{text}` is no time at all: leave the setting out")));
        }
        Ok(Span(duration))
    }
}

impl serde::Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl schemars::JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "A length of time such as `300ms`, `30s` or `5m`" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str) -> Result<Span, serde_json::Error> {
        serde_json::from_value(serde_json::Value::from(text))
    }

    #[test]
    fn spans_are_read_and_shown_as_people_write_them() {
        for (text, duration) in
            [("300ms", Duration::from_millis(300)), ("30s", Duration::from_secs(30)), ("1h 30m", Duration::from_secs(5400))]
        {
            assert_eq!(span(text).unwrap(), Span(duration));
            assert_eq!(Span(duration).to_string(), text);
        }
        assert!(span("5").unwrap_err().to_string().contains("`5` is not a length of time"));
        assert!(span("0s").unwrap_err().to_string().contains("no time at all"));
    }
}
