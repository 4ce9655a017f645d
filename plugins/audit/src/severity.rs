//! How grave an advisory is: from its CVSS vectors, or else from what its database says in words.
//!
//! Scores and their five words are FIRST's (CVSS 4.0 specification, section 6; 3.1, section 5); the `cvss` crate computes them
//! and is tested against Red Hat's published vectors. The newest CVSS version that can be read wins. Databases' own words come
//! second: GitHub's `database_specific.severity`, and RustSec's `informational` for advisories that describe no vulnerability.

use cvss::{Cvss, Severity as Rating};
use serde_json::Value;

use crate::advisory::{Advisory, Affected, StatedSeverity as Stated};

/// How grave, least first: the severities of the report interface.
pub use runner_sdk::report::Severity as Level;

/// The levels, gravest first.
pub const GRAVEST_FIRST: [Level; 5] = [Level::Critical, Level::High, Level::Medium, Level::Low, Level::Info];

/// As it is written in settings and reports.
pub fn name(level: Level) -> &'static str {
    match level {
        Level::Info => "info",
        Level::Low => "low",
        Level::Medium => "medium",
        Level::High => "high",
        Level::Critical => "critical",
    }
}

/// What an advisory says of its severity for one package.
#[derive(Clone, Debug, PartialEq)]
pub struct Rated {
    /// `None` if the advisory does not say.
    pub level: Option<Level>,
    /// The CVSS score with its vector, if that is where the level comes from.
    pub score: Option<Score>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// 0.0 to 10.0
    pub value: f64,
    pub vector: String,
    /// As CycloneDX names the method: `CVSSv31`.
    pub method: &'static str,
}

/// Rates an advisory by the entries about the package at hand.
pub fn rate(advisory: &Advisory, entries: &[&Affected]) -> Rated {
    let word = |level| Rated { level: Some(level), score: None };
    // RustSec marks what is worth knowing but no vulnerability; `unsound` may still come with a vector.
    let informational = entries.iter().find_map(|affected| affected.database_specific.get("informational")?.as_str());
    if let Some("unmaintained" | "notice") = informational {
        return word(Level::Info);
    }
    // The schema lets a package's own severity take the place of the advisory's.
    let own: Vec<&Stated> = entries.iter().flat_map(|affected| &affected.severity).collect();
    let general: Vec<&Stated> = advisory.severity.iter().collect();
    if let Some(score) = best(&own).or_else(|| best(&general)).or_else(|| {
        let vector = entries.iter().find_map(|affected| affected.database_specific.get("cvss")?.as_str())?;
        read_vector(vector).map(|(_, score, level)| (score, level))
    }) {
        return Rated { level: Some(score.1), score: Some(score.0) };
    }
    // Records of malicious packages (`MAL-`) carry no score: the package itself is the attack.
    if advisory.id.starts_with("MAL-") {
        return word(Level::Critical);
    }
    let specific = entries.iter().flat_map(|affected| [&affected.database_specific, &affected.ecosystem_specific]);
    let words = std::iter::once(&advisory.database_specific).chain(specific);
    // Debian's word is an `urgency`.
    let words = words.flat_map(|value| [value.get("severity"), value.get("urgency")]).flatten().filter_map(Value::as_str);
    // Ubuntu's word stands where others have their vector.
    let stated = own.iter().chain(&general).filter(|stated| !stated.kind.starts_with("CVSS_")).map(|stated| stated.score.as_str());
    if let Some(level) = stated.chain(words).find_map(read_word) {
        return word(level);
    }
    match informational {
        Some(_) => word(Level::Low),
        None => Rated { level: None, score: None },
    }
}

/// The vector of the newest CVSS version that can be read.
fn best(stated: &[&Stated]) -> Option<(Score, Level)> {
    let vectors = stated.iter().filter(|stated| stated.kind.starts_with("CVSS_")).filter_map(|stated| read_vector(&stated.score));
    vectors.max_by_key(|(version, ..)| *version).map(|(_, score, level)| (score, level))
}

fn read_vector(vector: &str) -> Option<(u8, Score, Level)> {
    let parsed: Cvss = vector.trim().parse().ok()?;
    let (version, method) = match &parsed {
        Cvss::CvssV20(_) => (20, "CVSSv2"),
        // The crate takes a CVSS 3 vector without its mandatory metrics, and scores it 0: a grave advisory would be a note.
        Cvss::CvssV30(metrics) | Cvss::CvssV31(metrics) if !has_base_metrics(metrics) => return None,
        Cvss::CvssV30(_) => (30, "CVSSv3"),
        Cvss::CvssV31(_) => (31, "CVSSv31"),
        Cvss::CvssV40(_) => (40, "CVSSv4"),
        _ => return None,
    };
    let level = match parsed.severity() {
        Rating::None => Level::Info,
        Rating::Low => Level::Low,
        Rating::Medium => Level::Medium,
        Rating::High => Level::High,
        Rating::Critical => Level::Critical,
    };
    Some((version, Score { value: parsed.score(), vector: vector.trim().into(), method }, level))
}

/// CVSS 3.1 specification, table 15: all eight base metrics are mandatory.
fn has_base_metrics(metrics: &cvss::v3::Vector) -> bool {
    let exploitability = metrics.av.is_some() && metrics.ac.is_some() && metrics.pr.is_some() && metrics.ui.is_some();
    exploitability && metrics.s.is_some() && metrics.c.is_some() && metrics.i.is_some() && metrics.a.is_some()
}

/// GitHub says MODERATE where CVSS says medium.
fn read_word(word: &str) -> Option<Level> {
    match word.to_ascii_lowercase().as_str() {
        // Debian calls unimportant what does no harm in the packages as it builds them.
        "none" | "info" | "informational" | "unimportant" => Some(Level::Info),
        "low" | "minor" | "negligible" => Some(Level::Low),
        "moderate" | "medium" => Some(Level::Medium),
        "high" | "important" => Some(Level::High),
        "critical" => Some(Level::Critical),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rated(advisory: Value) -> Rated {
        let advisory: Advisory = serde_json::from_value(advisory).unwrap();
        let entries: Vec<&Affected> = advisory.affected.iter().collect();
        rate(&advisory, &entries)
    }

    fn level(advisory: Value) -> Option<Level> {
        rated(advisory).level
    }

    #[test]
    fn published_vectors_have_their_published_scores() {
        // From FIRST's examples for CVSS 2, 3.1 and 4.0, the advisories named, and Red Hat's CVSS 4.0 calculator.
        for (vector, value, level) in [
            ("CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N", 6.4, Level::Medium), // CVE-2013-0375
            ("CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N", 3.1, Level::Low),    // CVE-2014-3566
            ("CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:C/C:H/I:H/A:H", 9.9, Level::Critical), // CVE-2012-1516
            ("CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N", 7.5, Level::High),   // CVE-2014-0160
            ("CVSS:3.1/AV:L/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H", 6.2, Level::Medium), // CVE-2020-26235
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 9.8, Level::Critical), // CVE-2021-44906
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", 0.0, Level::Info),
            ("CVSS:4.0/AV:L/AC:L/AT:P/PR:L/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", 7.3, Level::High), // CVE-2022-41741
            ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:A/VC:N/VI:N/VA:N/SC:L/SI:L/SA:N", 5.1, Level::Medium),
            ("CVSS:4.0/AV:N/AC:H/AT:N/PR:L/UI:A/VC:N/VI:N/VA:H/SC:N/SI:N/SA:H", 6.8, Level::Medium), // CVE-2026-25727
            ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N/E:U", 8.1, Level::High),
            ("CVSS:4.0/AV:P/AC:H/AT:P/PR:H/UI:A/VC:L/VI:N/VA:N/SC:N/SI:N/SA:N", 1.0, Level::Low),
            ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:H/SI:H/SA:H", 10.0, Level::Critical), // CVE-2021-44228
            ("AV:N/AC:L/Au:N/C:N/I:N/A:C", 7.8, Level::High),                                           // CVE-2002-0392
        ] {
            let (_, score, found) = read_vector(vector).unwrap_or_else(|| panic!("{vector} is readable"));
            assert!((score.value - value).abs() < 1e-9, "{vector}: {}", score.value);
            assert_eq!(found, level, "{vector}");
        }
        assert_eq!(read_vector("CVSS:3.1/AV:N/AC:L"), None);
        assert_eq!(read_vector("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H"), None);
        assert_eq!(read_vector("CVSS:4.0/AV:N/AC:L"), None);
        assert_eq!(read_vector("CVSS:9.0/AV:N/AC:L"), None);
        assert_eq!(read_vector("high"), None);
    }

    #[test]
    fn the_newest_readable_vector_wins() {
        let rated = rated(json!({ "id": "A", "severity": [
            { "type": "CVSS_V4", "score": "CVSS:4.0/AV:L/AC:L/AT:P/PR:L/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N" },
            { "type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N" }] }));
        assert_eq!((rated.level, rated.score.map(|score| score.method)), (Some(Level::High), Some("CVSSv4")));
        assert_eq!(
            level(json!({ "id": "A", "severity": [
                { "type": "CVSS_V4", "score": "CVSS:4.0/broken" },
                { "type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N" }] })),
            Some(Level::Low)
        );
    }

    #[test]
    fn a_packages_own_severity_comes_before_the_advisorys() {
        let general = json!({ "type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H" });
        let own = json!({ "type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N" });
        assert_eq!(level(json!({ "id": "A", "severity": [general], "affected": [{ "severity": [own] }] })), Some(Level::Low));
    }

    #[test]
    fn words_count_where_there_is_no_vector() {
        assert_eq!(level(json!({ "id": "GHSA-1", "database_specific": { "severity": "MODERATE" } })), Some(Level::Medium));
        assert_eq!(level(json!({ "id": "A", "affected": [{ "ecosystem_specific": { "severity": "HIGH" } }] })), Some(Level::High));
        assert_eq!(level(json!({ "id": "A", "severity": [{ "type": "Ubuntu", "score": "negligible" }] })), Some(Level::Low));
        assert_eq!(level(json!({ "id": "A", "affected": [{ "ecosystem_specific": { "urgency": "unimportant" } }] })), Some(Level::Info));
        assert_eq!(level(json!({ "id": "A", "affected": [{ "ecosystem_specific": { "urgency": "not yet assigned" } }] })), None);
        assert_eq!(level(json!({ "id": "MAL-2024-1" })), Some(Level::Critical));
        assert_eq!(level(json!({ "id": "A" })), None);
        assert_eq!(level(json!({ "id": "A", "database_specific": { "severity": "dire" } })), None);
    }

    #[test]
    fn what_rustsec_only_notes_is_no_vulnerability() {
        let of = |kind: &str| level(json!({ "id": "RUSTSEC-1", "affected": [{ "database_specific": { "informational": kind } }] }));
        assert_eq!(of("unmaintained"), Some(Level::Info));
        assert_eq!(of("notice"), Some(Level::Info));
        assert_eq!(of("unsound"), Some(Level::Low));
        let vector = json!({ "id": "RUSTSEC-1", "affected": [{ "database_specific": { "informational": null, "cvss": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H" } }] });
        assert_eq!(level(vector), Some(Level::Critical));
    }
}
