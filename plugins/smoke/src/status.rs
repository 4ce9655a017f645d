//! Expected status codes: `200`, `"2xx"`, `[200, "3xx"]`.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// One or several statuses; a status that is any of them is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statuses(Vec<Status>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Code(u16),
    /// The first digit.
    Class(u16),
}

impl Statuses {
    /// What is expected where nothing else is said.
    pub fn success() -> Statuses {
        Statuses(vec![Status::Class(2)])
    }

    /// Whether this status is one of them.
    pub fn include(&self, status: u16) -> bool {
        self.0.iter().any(|expected| match expected {
            Status::Code(code) => *code == status,
            Status::Class(class) => *class == status / 100,
        })
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, status) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { " or " })?;
            match status {
                Status::Code(code) => write!(f, "{code}")?,
                Status::Class(class) => write!(f, "{class}xx")?,
            }
        }
        Ok(())
    }
}

impl Status {
    fn of_number(number: u64) -> Result<Status, String> {
        match u16::try_from(number) {
            Ok(code @ 100..=599) => Ok(Status::Code(code)),
            _ => Err(format!("{number} is no status: use 100 to 599")),
        }
    }

    fn of_text(text: &str) -> Result<Status, String> {
        if let Ok(number) = text.parse() {
            return Status::of_number(number);
        }
        match text.to_ascii_lowercase().strip_suffix("xx").and_then(|digit| digit.parse().ok()) {
            Some(class @ 1..=5) => Ok(Status::Class(class)),
            _ => Err(format!("`{text}` is no status: use a number such as 200 or a class such as \"2xx\"")),
        }
    }
}

struct One;

impl Visitor<'_> for One {
    type Value = Status;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a status such as 200 or \"2xx\"")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Status, E> {
        Status::of_number(number).map_err(E::custom)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Status, E> {
        Status::of_text(text).map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Status, D::Error> {
        deserializer.deserialize_any(One)
    }
}

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Statuses, D::Error> {
        struct Several;

        impl<'de> Visitor<'de> for Several {
            type Value = Statuses;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a status such as 200 or \"2xx\", or an array of them")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Statuses, E> {
                One.visit_u64(number).map(|status| Statuses(vec![status]))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Statuses, E> {
                One.visit_str(text).map(|status| Statuses(vec![status]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Statuses, A::Error> {
                let mut statuses = Vec::new();
                while let Some(status) = items.next_element()? {
                    statuses.push(status);
                }
                if statuses.is_empty() {
                    Err(A::Error::custom("an empty array of statuses: nothing could be expected"))
                } else {
                    Ok(Statuses(statuses))
                }
            }
        }

        deserializer.deserialize_any(Several)
    }
}

#[cfg(test)]
impl schemars::JsonSchema for Statuses {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Statuses".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let number = serde_json::json!({ "type": "integer", "minimum": 100, "maximum": 599 });
        let class = serde_json::json!({ "type": "string", "pattern": "^([1-5][xX][xX]|[1-5][0-9][0-9])$" });
        let several = serde_json::json!({ "type": "array", "items": { "anyOf": [number, class] }, "minItems": 1 });
        schemars::json_schema!({ "anyOf": [number, class, several] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statuses(json: &str) -> Result<Statuses, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn a_status_is_a_number_a_class_or_several() {
        for (json, shown, included, excluded) in [
            ("200", "200", &[200][..], &[201, 404][..]),
            ("\"2xx\"", "2xx", &[200, 204, 299], &[199, 300]),
            ("\"404\"", "404", &[404], &[400]),
            ("[200, \"3XX\"]", "200 or 3xx", &[200, 301], &[201]),
        ] {
            let statuses = statuses(json).unwrap();
            assert_eq!(statuses.to_string(), shown);
            assert!(included.iter().all(|status| statuses.include(*status)), "{json}");
            assert!(!excluded.iter().any(|status| statuses.include(*status)), "{json}");
        }
        assert!(Statuses::success().include(204) && !Statuses::success().include(302));
    }

    #[test]
    fn what_is_no_status_is_refused() {
        for json in ["99", "600", "\"6xx\"", "\"ok\"", "[]", "true", "-1"] {
            assert!(statuses(json).is_err(), "{json}");
        }
    }
}
