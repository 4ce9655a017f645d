//! A security advisory as the OSV schema writes it (<https://ossf.github.io/osv-schema/>), as far as an audit reads it.
//!
//! Unknown members are passed over, as the schema asks of its readers. Members of the wrong type are an error: an advisory
//! that is not understood must not count as one that does not apply.

use serde::Deserialize;
use serde_json::Value;

use crate::inventory::Ecosystem;

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Advisory {
    pub id: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub modified: String,
    /// The time of its withdrawal; such an advisory no longer applies.
    #[serde(default)]
    pub withdrawn: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub aliases: Vec<String>,
    /// The vulnerabilities that a distribution's record is about.
    #[serde(default, deserialize_with = "null_is_default")]
    pub upstream: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub summary: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub details: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub severity: Vec<StatedSeverity>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub affected: Vec<Affected>,
    #[serde(default)]
    pub database_specific: Value,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct StatedSeverity {
    /// `CVSS_V2`, `CVSS_V3`, `CVSS_V4` or one of later versions of the schema.
    #[serde(rename = "type")]
    pub kind: String,
    /// For the CVSS types: a vector.
    pub score: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Affected {
    #[serde(default)]
    pub package: Option<AffectedPackage>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub severity: Vec<StatedSeverity>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub ranges: Vec<Range>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub versions: Vec<String>,
    #[serde(default)]
    pub ecosystem_specific: Value,
    #[serde(default)]
    pub database_specific: Value,
}

#[derive(Clone, Debug, Deserialize)]
pub struct AffectedPackage {
    pub ecosystem: String,
    pub name: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Range {
    /// `SEMVER`, `ECOSYSTEM` or `GIT`.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub events: Vec<Event>,
}

/// One point of a range's timeline. The schema allows exactly one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Introduced(String),
    Fixed(String),
    LastAffected(String),
    Limit(String),
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Members {
            introduced: Option<String>,
            fixed: Option<String>,
            last_affected: Option<String>,
            limit: Option<String>,
        }
        let members = Members::deserialize(deserializer)?;
        match (members.introduced, members.fixed, members.last_affected, members.limit) {
            (Some(version), None, None, None) => Ok(Self::Introduced(version)),
            (None, Some(version), None, None) => Ok(Self::Fixed(version)),
            (None, None, Some(version), None) => Ok(Self::LastAffected(version)),
            (None, None, None, Some(version)) => Ok(Self::Limit(version)),
            _ => Err(serde::de::Error::custom("an event has exactly one of `introduced`, `fixed`, `last_affected` and `limit`")),
        }
    }
}

impl Advisory {
    /// Reads one record. The error says what is wrong and on which line of it.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let advisory: Self = serde_json::from_slice(json).map_err(|invalid| invalid.to_string())?;
        if advisory.id.is_empty() { Err("it has an empty `id`".into()) } else { Ok(advisory) }
    }

    /// An advisory of which nothing but the id is known.
    pub fn without_details(id: &str) -> Self {
        Self { id: id.into(), ..Self::default() }
    }

    /// Its entries about one package.
    pub fn about<'a>(&'a self, ecosystem: Ecosystem, name: &'a str) -> impl Iterator<Item = &'a Affected> {
        self.affected.iter().filter(move |affected| {
            affected.package.as_ref().is_some_and(|package| {
                ecosystem.is_named(&package.ecosystem) && ecosystem.canonical(&package.name) == ecosystem.canonical(name)
            })
        })
    }

    /// Other ids of the very same vulnerability. A distribution's record about one vulnerability counts as that one; one about
    /// several (`DSA-…`, `RLSA-…`) is more than each of them.
    pub fn same_as(&self) -> impl Iterator<Item = &str> {
        let upstream = if let [only] = &self.upstream[..] { Some(only) } else { None };
        self.aliases.iter().chain(upstream).map(String::as_str)
    }

    /// The page of the advisory on osv.dev.
    pub fn url(&self) -> String {
        format!("https://osv.dev/vulnerability/{}", self.id)
    }

    /// One line that says what it is about.
    pub fn headline(&self) -> String {
        let text = [&self.summary, &self.details].into_iter().find(|text| !text.trim().is_empty());
        let line = text.and_then(|text| text.lines().map(str::trim).find(|line| !line.is_empty())).unwrap_or("no summary");
        let line = line.trim_start_matches('#').trim();
        match line.char_indices().nth(160) {
            Some((end, _)) => format!("{}…", line[..end].trim_end()),
            None => line.to_owned(),
        }
    }
}

/// Some exporters write `null` for an empty list or text.
fn null_is_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minimal_record_is_enough() {
        let advisory = Advisory::parse(br#"{"id": "OSV-1", "modified": "2024-01-01T00:00:00Z"}"#).unwrap();
        assert_eq!(advisory.headline(), "no summary");
        assert!(advisory.about(Ecosystem::Npm, "x").next().is_none());
    }

    #[test]
    fn nulls_unknown_members_and_unknown_types_are_fine() {
        let advisory = Advisory::parse(
            br#"{"id": "A", "modified": "", "aliases": null, "new": [1], "severity": [{"type": "Ubuntu", "score": "high"}],
                "affected": [{"package": {"ecosystem": "npm", "name": "x", "purl": "pkg:npm/x"}, "versions": null,
                "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}], "database_specific": {}}]}]}"#,
        )
        .unwrap();
        let affected: Vec<_> = advisory.about(Ecosystem::Npm, "x").collect();
        assert_eq!(affected[0].ranges[0].events, [Event::Introduced("0".into())]);
        assert_eq!(advisory.about(Ecosystem::CratesIo, "x").count(), 0);
    }

    #[test]
    fn a_record_that_is_not_understood_is_an_error() {
        for (json, part) in [
            (r#"{"id": "A", "affected": "all"}"#, "sequence"),
            (r#"{"modified": ""}"#, "missing field `id`"),
            (r#"{"id": ""}"#, "empty `id`"),
            (
                r#"{"id": "A", "affected": [{"ranges": [{"type": "SEMVER", "events": [{"introduced": "0", "fixed": "1"}]}]}]}"#,
                "exactly one",
            ),
            (r#"{"id": "A", "affected": [{"ranges": [{"type": "SEMVER", "events": [{"since": "0"}]}]}]}"#, "exactly one"),
        ] {
            let error = Advisory::parse(json.as_bytes()).unwrap_err();
            assert!(error.contains(part), "{json}: {error}");
        }
    }

    #[test]
    fn the_headline_is_one_short_line() {
        let advisory = Advisory { details: format!("\n# Overflow\n{}", "x".repeat(9)), ..Advisory::without_details("A") };
        assert_eq!(advisory.headline(), "Overflow");
        let advisory = Advisory { summary: "é".repeat(400), ..Advisory::without_details("A") };
        assert_eq!(advisory.headline().chars().count(), 161);
    }
}
