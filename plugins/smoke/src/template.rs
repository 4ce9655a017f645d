//! Texts with `{{name}}` in them, and how a value gets into a URL, a header, a text or JSON.
//!
//! A captured value comes from the service under test, so it is data wherever it stands: it can't begin another path segment, query
//! parameter or header.

use std::collections::BTreeMap;

use serde_json::Value;

/// Values by name.
pub type Values = BTreeMap<String, Value>;

/// A text with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Name(String),
}

impl Template {
    /// Reads a text. `{{{{` stands for `{{` itself.
    ///
    /// # Errors
    /// Says what is wrong with a placeholder.
    pub fn parse(text: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("{{") {
            plain.push_str(&rest[..at]);
            rest = &rest[at + 2..];
            if let Some(behind) = rest.strip_prefix("{{") {
                plain.push_str("{{");
                rest = behind;
                continue;
            }
            let Some(end) = rest.find("}}") else {
                return Err(format!("`{{{{` has no `}}}}` in `{text}` (write `{{{{{{{{` for `{{{{` itself)"));
            };
            let name = rest[..end].trim();
            if !is_name(name) {
                return Err(format!("`{{{{{name}}}}}` names no value: use a letter, then letters, digits, `-` and `_`"));
            }
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Name(name.to_owned()));
            rest = &rest[end + 2..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Template { parts })
    }

    /// The names in it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Name(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The text with values as they are.
    ///
    /// # Errors
    /// A name without a value.
    pub fn text(&self, values: &Values) -> Result<String, String> {
        self.fill(values, |_, _, value| Ok(value.to_owned()))
    }

    /// The text as a header's value.
    ///
    /// # Errors
    /// A name without a value, or a value that would begin another line.
    pub fn header(&self, values: &Values) -> Result<String, String> {
        self.fill(values, |name, _, value| {
            if value.contains(|c: char| c.is_control() && c != '\t') {
                return Err(format!("the value of `{name}` has control characters and cannot stand in a header"));
            }
            Ok(value.to_owned())
        })
    }

    /// The text as a URL: values are percent-encoded, all but the unreserved characters of RFC 3986. A value at the very start may
    /// be a URL or path of its own, such as a captured `location`, and stands as it is.
    ///
    /// # Errors
    /// A name without a value, or a value in the path that is empty, `.` or `..`, which would lead elsewhere.
    pub fn url(&self, values: &Values) -> Result<String, String> {
        self.fill(values, |name, before, value| {
            if before.is_empty() && ["http://", "https://", "/"].iter().any(|start| value.starts_with(start)) {
                return Ok(value.to_owned());
            }
            if !before.contains(['?', '#']) && matches!(value, "" | "." | "..") {
                return Err(format!("the value of `{name}` is `{value}`, which cannot stand in a path"));
            }
            Ok(percent_encoded(value))
        })
    }

    /// If the text is one placeholder and nothing else, the value with its type; otherwise the text.
    fn json(&self, values: &Values) -> Result<Value, String> {
        match &self.parts[..] {
            [Part::Name(name)] => lookup(values, name).cloned(),
            _ => self.text(values).map(Value::String),
        }
    }

    fn fill(&self, values: &Values, shape: impl Fn(&str, &str, &str) -> Result<String, String>) -> Result<String, String> {
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Name(name) => {
                    let shaped = shape(name, &filled, &shown(lookup(values, name)?))?;
                    filled.push_str(&shaped);
                }
            }
        }
        Ok(filled)
    }
}

/// Whether a value can be called this.
pub fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

fn lookup<'a>(values: &'a Values, name: &str) -> Result<&'a Value, String> {
    values.get(name).ok_or_else(|| format!("there is no value for `{{{{{name}}}}}`"))
}

/// A value as text: a string without quotes, anything else as JSON.
pub fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// All templates in a JSON value, which are its strings.
///
/// # Errors
/// What is wrong with a placeholder.
pub fn in_json(value: &Value) -> Result<Vec<Template>, String> {
    Ok(match value {
        Value::String(text) => vec![Template::parse(text)?],
        Value::Array(items) => items.iter().map(in_json).collect::<Result<Vec<_>, _>>()?.concat(),
        Value::Object(members) => members.values().map(in_json).collect::<Result<Vec<_>, _>>()?.concat(),
        _ => Vec::new(),
    })
}

/// A JSON value with all its templates filled.
///
/// # Errors
/// A name without a value.
pub fn fill_json(value: &Value, values: &Values) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => Template::parse(text)?.json(values)?,
        Value::Array(items) => Value::Array(items.iter().map(|item| fill_json(item, values)).collect::<Result<_, _>>()?),
        Value::Object(members) => Value::Object(
            members.iter().map(|(name, member)| Ok((name.clone(), fill_json(member, values)?))).collect::<Result<_, String>>()?,
        ),
        other => other.clone(),
    })
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn values() -> Values {
        [
            ("id", json!(7)),
            ("name", json!("a/b ü?&=")),
            ("up", json!("..")),
            ("none", json!("")),
            ("next", json!("/orders/9?x=1")),
            ("other", json!("https://example.com/a")),
            ("lines", json!("a\r\nx: y")),
            ("tags", json!(["a", 1])),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    fn template(text: &str) -> Template {
        Template::parse(text).unwrap()
    }

    #[test]
    fn a_url_gets_values_as_data() {
        for (text, expected) in [
            ("/orders/{{id}}", Ok("/orders/7")),
            ("/find/{{name}}?q={{ name }}", Ok("/find/a%2Fb%20%C3%BC%3F%26%3D?q=a%2Fb%20%C3%BC%3F%26%3D")),
            ("{{next}}", Ok("/orders/9?x=1")),
            ("{{other}}/b", Ok("https://example.com/a/b")),
            ("/go{{next}}", Ok("/go%2Forders%2F9%3Fx%3D1")),
            ("/{{up}}/x", Err("the value of `up` is `..`, which cannot stand in a path")),
            ("/x/{{none}}", Err("the value of `none` is ``, which cannot stand in a path")),
            ("/x?y={{none}}&z={{up}}", Ok("/x?y=&z=..")),
            ("/{{missing}}", Err("there is no value for `{{missing}}`")),
        ] {
            assert_eq!(template(text).url(&values()).as_deref().map_err(String::as_str), expected, "{text}");
        }
    }

    #[test]
    fn a_header_gets_no_second_line() {
        assert_eq!(template("Bearer {{id}}").header(&values()), Ok("Bearer 7".into()));
        assert!(template("{{lines}}").header(&values()).unwrap_err().contains("control characters"));
    }

    #[test]
    fn json_keeps_types() {
        let filled = fill_json(&json!({ "id": "{{id}}", "text": "no. {{id}}", "list": ["{{tags}}", 1, null] }), &values());
        assert_eq!(filled, Ok(json!({ "id": 7, "text": "no. 7", "list": [["a", 1], 1, null] })));
    }

    #[test]
    fn two_braces_can_be_written() {
        let template = template("a {{{{id}} {{id}}");
        assert_eq!(template.names().collect::<Vec<_>>(), ["id"]);
        assert_eq!(template.text(&values()), Ok("a {{id}} 7".into()));
    }

    #[test]
    fn broken_placeholders_are_refused() {
        assert!(Template::parse("/a/{{id").unwrap_err().starts_with("`{{` has no `}}` in `/a/{{id`"));
        assert!(Template::parse("{{1st}}").unwrap_err().contains("`{{1st}}` names no value"));
        assert!(Template::parse("{{}}").is_err());
        assert_eq!(
            in_json(&json!({ "a": ["{{x}}", { "b": "{{y}}" }] })).unwrap().iter().flat_map(Template::names).collect::<Vec<_>>(),
            ["x", "y"]
        );
    }
}
