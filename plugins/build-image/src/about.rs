//! What an image says of itself: the annotations that the OCI has names for, from the run and the settings.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::reference::Repository;
use crate::settings::Settings;
use crate::tags::About;

/// `org.opencontainers.image.*`, but for what the user's own labels say.
pub fn annotations(settings: &Settings, about: &About, repository: &Repository, created: &str) -> BTreeMap<String, String> {
    let version = settings.version.clone().or_else(|| about.version().map(|version| version.to_string()));
    let title = settings.title.clone().unwrap_or_else(|| repository.title().to_owned());
    [
        ("created", Some(created.to_owned())),
        ("revision", about.sha.clone()),
        ("source", settings.source.clone()),
        ("title", Some(title)),
        ("version", version),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((format!("org.opencontainers.image.{name}"), value?)))
    .filter(|(name, _)| !settings.labels.contains_key(name))
    .collect()
}

/// When the image was made: what the settings say, or SOURCE_DATE_EPOCH, or the default. An image of files has no default but the beginning of
/// time, so that the same files are the same image.
///
/// # Errors
/// If it is no time.
pub fn created(settings: &Settings, epoch: Option<&str>, default: Timestamp) -> Result<Timestamp, String> {
    match (&settings.created, epoch) {
        (Some(text), _) => text.parse().map_err(|error| format!("created: `{text}` is no time such as 2026-01-31T12:00:00Z: {error}")),
        (None, Some(text)) => text
            .parse()
            .ok()
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .ok_or_else(|| format!("env: `SOURCE_DATE_EPOCH = \"{text}\"` is no number of seconds")),
        (None, None) => Ok(Timestamp::from_second(default.as_second()).unwrap_or(default)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::reference::Reference;
    use crate::settings::tests::settings;

    #[test]
    fn annotations_say_where_an_image_is_from() {
        let repository = Reference::parse("ghcr.io/acme/shop").unwrap().repository;
        let about = About { sha: Some("0123".into()), tag: Some("v1.2.3".into()), ..About::default() };
        let settings =
            settings(json!({ "source": "https://github.com/acme/shop", "labels": { "org.opencontainers.image.title": "mine" } }));
        let annotations = annotations(&settings, &about, &repository, "2026-01-31T12:00:00Z");
        let told: Vec<(&str, &str)> =
            annotations.iter().map(|(name, value)| (name.strip_prefix("org.opencontainers.image.").unwrap(), value.as_str())).collect();
        let expected =
            [("created", "2026-01-31T12:00:00Z"), ("revision", "0123"), ("source", "https://github.com/acme/shop"), ("version", "1.2.3")];
        assert_eq!(told, expected);
    }

    #[test]
    fn the_time_is_said_or_none() {
        let default = "2026-01-31T12:00:00.25Z".parse().unwrap();
        let created = |value, epoch| created(&settings(value), epoch, default).map(|time| time.to_string());
        assert_eq!(created(json!({}), None).unwrap(), "2026-01-31T12:00:00Z");
        assert_eq!(created(json!({}), Some("1")).unwrap(), "1970-01-01T00:00:01Z");
        assert_eq!(created(json!({ "created": "2025-01-01T00:00:00Z" }), Some("1")).unwrap(), "2025-01-01T00:00:00Z");
        assert!(created(json!({}), Some("now")).unwrap_err().contains("SOURCE_DATE_EPOCH"));
        assert!(created(json!({ "created": "now" }), None).unwrap_err().contains("is no time"));
    }
}
