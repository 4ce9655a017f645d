//! Whether a version lies in what an advisory says is affected, and which version mends it.
//!
//! The rules are the OSV schema's ("Evaluation", <https://ossf.github.io/osv-schema/#evaluation>), with the order of
//! [`crate::version`], which is each ecosystem's own. `GIT` ranges need the repository's history and are left to the OSV
//! service, which has it; what they cover is listed in `versions` too, as the schema demands.

use std::cmp::Ordering;

use crate::advisory::{Affected, Event, Range};
use crate::distribution::Format;
use crate::inventory::Ecosystem;
use crate::version::Version;

/// What an advisory says about one version of one package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    NotAffected,
    Affected(Remedy),
    /// Something in the range is no version. The text says what.
    Unreadable(String),
}

/// How to get out of an affected range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remedy {
    /// The lowest version above the installed one that is fixed; `None` if there is none yet.
    pub fixed: Option<Version>,
    /// The version from which on all are fixed: another one where fixes went to several release lines. `None` if a range
    /// that the advisory names has no end.
    pub settled: Option<Version>,
    /// Where the advisory knows no fix, the last version known to be affected.
    pub last_affected: Option<Version>,
}

impl Remedy {
    /// What to do, in words; `name` is the package's.
    pub fn describe(&self, name: &str) -> String {
        match (&self.fixed, &self.settled, &self.last_affected) {
            (Some(fixed), Some(settled), _) if settled > fixed => {
                format!("upgrade {name} to {fixed} within its release line, or to ≥ {settled}")
            }
            (Some(fixed), None, _) => format!("upgrade {name} to {fixed}; later versions can be affected again"),
            (Some(fixed), ..) => format!("upgrade {name} to ≥ {fixed}"),
            (None, _, Some(last)) => format!("no fixed version is named; versions after {last} are not known to be affected"),
            (None, ..) => format!("no fixed version of {name} is known: replace it, or ignore the advisory with a reason until a date"),
        }
    }
}

/// Whether `version`, written as `text` in the lockfile, is affected according to the entries about its package.
pub fn evaluate<'a>(ecosystem: Ecosystem, text: &str, version: Option<&Version>, entries: impl Iterator<Item = &'a Affected>) -> Verdict {
    let mut remedy: Option<Remedy> = None;
    let mut unreadable = None;
    let mut settled = Some(None);
    for affected in entries {
        let ranges = || affected.ranges.iter().filter(|range| range.kind == "SEMVER" || range.kind == "ECOSYSTEM");
        let listed = affected.versions.iter().any(|listed| {
            listed == text || version.is_some_and(|version| Version::parse(ecosystem, listed).is_some_and(|listed| listed == *version))
        });
        let mut here = None;
        for range in ranges() {
            settled = settled.and_then(|before: Option<Version>| Some(before.max(Some(end_of(ecosystem, range)?))));
            let Some(version) = version else {
                unreadable.get_or_insert_with(|| format!("the installed version `{text}` is no {}", kind(ecosystem)));
                continue;
            };
            match contains(ecosystem, range, version) {
                Ok(false) => {}
                Ok(true) => here = Some(merge(here.unwrap_or_default(), way_out(ecosystem, range, version))),
                Err(what) => {
                    unreadable.get_or_insert(what);
                }
            }
        }
        if listed && here.is_none() {
            // No range of the entry says how to get out; the next fix that it names at all is the best there is.
            let fixes = version.iter().flat_map(|version| ranges().filter_map(|range| way_out(ecosystem, range, version).fixed));
            here = Some(Remedy { fixed: fixes.min(), ..Remedy::default() });
        }
        if let Some(found) = here {
            remedy = Some(merge(remedy.unwrap_or_default(), found));
        }
    }
    match (remedy, unreadable) {
        (Some(remedy), _) => Verdict::Affected(Remedy { settled: settled.flatten(), ..remedy }),
        (None, Some(what)) => Verdict::Unreadable(what),
        (None, None) => Verdict::NotAffected,
    }
}

/// Both must be left behind, so the higher fix counts.
fn merge(one: Remedy, other: Remedy) -> Remedy {
    Remedy { fixed: one.fixed.max(other.fixed), settled: None, last_affected: one.last_affected.max(other.last_affected) }
}

/// `IncludedInRanges` for one range.
fn contains(ecosystem: Ecosystem, range: &Range, version: &Version) -> Result<bool, String> {
    let mut limits = Vec::new();
    let mut timeline = Vec::new();
    for event in &range.events {
        match event {
            Event::Limit(limit) => limits.push(limit.as_str()),
            Event::Introduced(at) | Event::Fixed(at) | Event::LastAffected(at) => timeline.push((point(ecosystem, at)?, event)),
        }
    }
    if !before_limits(ecosystem, &limits, version)? {
        return Ok(false);
    }
    // Stable: events at the same version keep the order in which the record tells them.
    timeline.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut vulnerable = false;
    for (at, event) in timeline {
        let order = version.cmp(&at);
        match event {
            Event::Introduced(_) if order != Ordering::Less => vulnerable = true,
            Event::Fixed(_) if order != Ordering::Less => vulnerable = false,
            Event::LastAffected(_) if order == Ordering::Greater => vulnerable = false,
            _ => {}
        }
    }
    Ok(vulnerable)
}

fn before_limits(ecosystem: Ecosystem, limits: &[&str], version: &Version) -> Result<bool, String> {
    if limits.is_empty() {
        return Ok(true);
    }
    for limit in limits {
        if limit.contains('*') || *version < point(ecosystem, limit)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn point(ecosystem: Ecosystem, text: &str) -> Result<Version, String> {
    Version::point(ecosystem, text).ok_or_else(|| format!("`{text}` in its range is no {}", kind(ecosystem)))
}

/// What a version of the ecosystem is called.
fn kind(ecosystem: Ecosystem) -> &'static str {
    match ecosystem {
        Ecosystem::Npm | Ecosystem::CratesIo | Ecosystem::Go => "semantic version",
        Ecosystem::PyPi => "version by PEP 440",
        Ecosystem::RubyGems => "gem version",
        Ecosystem::Packagist => "version that Composer can order",
        Ecosystem::Distribution(distribution) => match distribution.format() {
            Format::Dpkg => "version of a Debian package",
            Format::Apk => "version of an Alpine package",
            Format::Rpm => "version of an rpm package",
        },
    }
}

/// The next fix above `version` in a range that contains it.
fn way_out(ecosystem: Ecosystem, range: &Range, version: &Version) -> Remedy {
    let above = |text: &String, least: Ordering| Version::parse(ecosystem, text).filter(|at| at.cmp(version) >= least);
    let lowest = |found: Vec<Version>| found.into_iter().min();
    let fixed = range.events.iter().filter_map(|event| match event {
        Event::Fixed(at) => above(at, Ordering::Greater),
        _ => None,
    });
    let last = range.events.iter().filter_map(|event| match event {
        Event::LastAffected(at) => above(at, Ordering::Equal),
        _ => None,
    });
    Remedy { fixed: lowest(fixed.collect()), settled: None, last_affected: lowest(last.collect()) }
}

/// The fix that ends a range for good; `None` if it has no end or its end is no fix.
fn end_of(ecosystem: Ecosystem, range: &Range) -> Option<Version> {
    let mut timeline = Vec::new();
    for event in &range.events {
        match event {
            Event::Introduced(at) => timeline.push((point(ecosystem, at).ok()?, false)),
            Event::Fixed(at) => timeline.push((point(ecosystem, at).ok()?, true)),
            Event::LastAffected(_) | Event::Limit(_) => return None,
        }
    }
    timeline.sort_by(|(one, _), (other, _)| one.cmp(other));
    timeline.pop().filter(|(_, fixed)| *fixed).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn verdict(version: &str, affected: serde_json::Value) -> Verdict {
        verdict_in(Ecosystem::Npm, version, affected)
    }

    fn verdict_in(ecosystem: Ecosystem, version: &str, affected: serde_json::Value) -> Verdict {
        let entries: Vec<Affected> = serde_json::from_value(affected).unwrap();
        evaluate(ecosystem, version, parse(ecosystem, version).as_ref(), entries.iter())
    }

    fn parse(ecosystem: Ecosystem, version: &str) -> Option<Version> {
        Version::parse(ecosystem, version)
    }

    fn fixed_in(version: &str, affected: serde_json::Value) -> Option<String> {
        match verdict(version, affected) {
            Verdict::Affected(remedy) => Some(remedy.fixed.map_or("none".into(), |fixed| fixed.to_string())),
            Verdict::NotAffected => None,
            Verdict::Unreadable(what) => panic!("{what}"),
        }
    }

    #[test]
    fn the_examples_of_the_schema_hold() {
        let range = |kind: &str, events: serde_json::Value| json!([{ "ranges": [{ "type": kind, "events": events }] }]);
        let unfixed = range("SEMVER", json!([{ "introduced": "0" }]));
        assert_eq!(fixed_in("99.0.0", unfixed.clone()).as_deref(), Some("none"));
        assert_eq!(fixed_in("0.0.0-alpha", unfixed).as_deref(), Some("none"));

        let fixed = range("SEMVER", json!([{ "introduced": "0" }, { "fixed": "1.0.2" }]));
        assert_eq!(fixed_in("1.0.1", fixed.clone()).as_deref(), Some("1.0.2"));
        assert_eq!(fixed_in("1.0.2-rc.1", fixed.clone()).as_deref(), Some("1.0.2"));
        assert_eq!(fixed_in("1.0.2", fixed), None);

        let several =
            range("SEMVER", json!([{ "fixed": "3.2.5" }, { "introduced": "1.0.0" }, { "introduced": "3.0.0" }, { "fixed": "1.0.2" }]));
        for (version, expected) in
            [("0.9.9", None), ("1.0.0", Some("1.0.2")), ("1.0.2", None), ("2.0.0", None), ("3.2.4", Some("3.2.5")), ("3.2.5", None)]
        {
            assert_eq!(fixed_in(version, several.clone()).as_deref(), expected, "{version}");
        }

        let last = range("ECOSYSTEM", json!([{ "introduced": "0" }, { "last_affected": "2.1.214" }]));
        let Verdict::Affected(remedy) = verdict("2.1.214", last.clone()) else { panic!("2.1.214 is affected") };
        assert_eq!((remedy.fixed, remedy.last_affected), (None, parse(Ecosystem::Npm, "2.1.214")));
        assert_eq!(fixed_in("2.1.215", last), None);

        let limited = range("SEMVER", json!([{ "introduced": "1.0.0" }, { "limit": "2.0.0" }]));
        assert!(fixed_in("1.9.0", limited.clone()).is_some());
        assert_eq!(fixed_in("2.0.0", limited), None);
    }

    #[test]
    fn listed_versions_count_beside_ranges_and_git_ranges_do_not() {
        let affected = json!([{ "versions": ["1.5.0"], "ranges": [
            { "type": "GIT", "events": [{ "introduced": "0" }] },
            { "type": "SEMVER", "events": [{ "introduced": "2.0.0" }, { "fixed": "2.0.1" }] }] }]);
        assert!(fixed_in("1.5.0", affected.clone()).is_some());
        assert_eq!(fixed_in("1.5.1", affected.clone()), None);
        assert_eq!(fixed_in("2.0.0", affected).as_deref(), Some("2.0.1"));
    }

    #[test]
    fn several_matching_entries_ask_for_the_higher_fix() {
        let affected = json!([
            { "ranges": [{ "type": "SEMVER", "events": [{ "introduced": "0" }, { "fixed": "1.2.0" }] }] },
            { "ranges": [{ "type": "SEMVER", "events": [{ "introduced": "1.0.0" }, { "fixed": "1.3.0" }] }] }]);
        assert_eq!(fixed_in("1.1.0", affected).as_deref(), Some("1.3.0"));
    }

    #[test]
    fn the_way_out_says_when_later_versions_are_affected_again() {
        let lines = json!([
            { "ranges": [{ "type": "ECOSYSTEM", "events": [{ "introduced": "6.5.0" }, { "fixed": "6.5.3" }] }] },
            { "ranges": [{ "type": "ECOSYSTEM", "events": [{ "introduced": "6.10.0" }, { "fixed": "6.10.3" }] }] }]);
        let reopened = json!([{ "ranges": [{ "type": "SEMVER", "events": [{ "introduced": "0" }, { "fixed": "0.2.0" }, { "introduced": "0.3.0" }] }] }]);
        let one = json!([{ "ranges": [{ "type": "SEMVER", "events": [{ "introduced": "0" }, { "fixed": "0.2.23" }] }] }]);
        let last = json!([{ "ranges": [{ "type": "SEMVER", "events": [{ "introduced": "0" }, { "last_affected": "7.0.0" }] }] }]);
        let open = json!([{ "ranges": [{ "type": "SEMVER", "events": [{ "introduced": "0" }] }] }]);
        for (version, affected, expected) in [
            ("6.5.2", lines.clone(), "upgrade x to 6.5.3 within its release line, or to ≥ 6.10.3"),
            ("6.10.1", lines, "upgrade x to ≥ 6.10.3"),
            ("0.1.43", reopened, "upgrade x to 0.2.0; later versions can be affected again"),
            ("0.1.43", one, "upgrade x to ≥ 0.2.23"),
            ("0.1.43", last, "no fixed version is named; versions after 7.0.0 are not known to be affected"),
            ("0.1.43", open, "no fixed version of x is known: replace it, or ignore the advisory with a reason until a date"),
        ] {
            let Verdict::Affected(remedy) = verdict(version, affected) else { panic!("{version} is affected") };
            assert_eq!(remedy.describe("x"), expected);
        }
    }

    #[test]
    fn what_is_no_version_is_said_and_not_passed_over() {
        let affected = json!([{ "ranges": [{ "type": "SEMVER", "events": [{ "introduced": "one" }] }] }]);
        assert_eq!(verdict("1.0.0", affected), Verdict::Unreadable("`one` in its range is no semantic version".into()));
        let affected = json!([{ "ranges": [{ "type": "SEMVER", "events": [{ "introduced": "0" }] }], "versions": ["latest"] }]);
        assert!(matches!(verdict("newest", affected.clone()), Verdict::Unreadable(_)));
        assert!(matches!(verdict("latest", affected), Verdict::Affected(_)));
    }

    #[test]
    fn build_metadata_does_not_order_versions() {
        let affected = json!([{ "ranges": [{ "type": "SEMVER", "events": [{ "introduced": "0.0.0-0" }, { "fixed": "1.0.0" }] }] }]);
        assert_eq!(fixed_in("1.0.0+build.5", affected.clone()), None);
        assert!(fixed_in("1.0.0-rc.1+build.5", affected).is_some());
    }

    #[test]
    fn each_ecosystem_is_judged_in_its_own_order() {
        let range = |kind: &str, introduced: &str, fixed: &str| json!([{ "ranges": [{ "type": kind, "events": [{ "introduced": introduced }, { "fixed": fixed }] }] }]);
        use Ecosystem::{Go, Packagist, PyPi, RubyGems};
        for (ecosystem, kind, introduced, fixed, version, affected) in [
            // A post-release is after its release, a release candidate before; neither is a semantic version.
            (PyPi, "ECOSYSTEM", "0", "2.11.3", "2.11.2.post1", true),
            (PyPi, "ECOSYSTEM", "0", "2.0", "2.0rc1", true),
            (PyPi, "ECOSYSTEM", "0", "2.0", "2.0.0", false),
            (PyPi, "ECOSYSTEM", "0", "2.0", "2.0.0.post1", false),
            (PyPi, "SEMVER", "0", "1.10.0", "1.9", true),
            (PyPi, "ECOSYSTEM", "0", "2021.1", "1!0.1", false),
            (RubyGems, "ECOSYSTEM", "2.0", "2.2.3.1", "2.2.3", true),
            (RubyGems, "ECOSYSTEM", "2.0", "2.2.3.1", "2.2.3.2", false),
            (RubyGems, "ECOSYSTEM", "6.0.0", "6.0.0.rc2", "6.0.0.rc1", false),
            (RubyGems, "ECOSYSTEM", "6.0.0.beta1", "6.0.0.rc2", "6.0.0.rc1", true),
            (Packagist, "ECOSYSTEM", "2.0.0", "2.14.1", "v2.14.0", true),
            (Packagist, "ECOSYSTEM", "2.0.0", "2.14", "v2.14.0", false),
            (Packagist, "ECOSYSTEM", "1.0.0-beta1", "1.0.0", "1.0.0-RC2", true),
            (Packagist, "ECOSYSTEM", "0", "1.0.0", "1.0.0-p1", false),
            (Go, "SEMVER", "0", "0.3.7", "v0.3.5", true),
            (Go, "SEMVER", "0", "0.0.0-20220412211240-33da011f77ad", "v0.0.0-20210101000000-0123456789ab", true),
            (Go, "SEMVER", "0", "3.2.1", "v3.2.1+incompatible", false),
        ] {
            let verdict = verdict_in(ecosystem, version, range(kind, introduced, fixed));
            assert_eq!(matches!(verdict, Verdict::Affected(_)), affected, "{ecosystem:?} {version}: {verdict:?}");
            assert!(!matches!(verdict, Verdict::Unreadable(_)), "{ecosystem:?} {version}: {verdict:?}");
        }
    }

    #[test]
    fn listed_versions_are_the_same_if_the_ecosystem_says_so() {
        let listed = |version: &str| json!([{ "versions": [version] }]);
        for (ecosystem, written, installed, same) in [
            (Ecosystem::PyPi, "1.0", "1.0.0", true),
            (Ecosystem::PyPi, "1.0rc1", "1.0.0-rc.1", true),
            (Ecosystem::Packagist, "v2.14.0", "2.14.0", true),
            (Ecosystem::Go, "0.3.5", "v0.3.5", true),
            (Ecosystem::PyPi, "1.0", "1.0.post1", false),
        ] {
            let verdict = verdict_in(ecosystem, installed, listed(written));
            assert_eq!(matches!(verdict, Verdict::Affected(_)), same, "{ecosystem:?} {installed}: {verdict:?}");
        }
    }

    #[test]
    fn a_branch_of_composer_cannot_be_judged() {
        let affected = json!([{ "ranges": [{ "type": "ECOSYSTEM", "events": [{ "introduced": "0" }, { "fixed": "2.0" }] }] }]);
        let verdict = verdict_in(Ecosystem::Packagist, "dev-main", affected);
        assert_eq!(verdict, Verdict::Unreadable("the installed version `dev-main` is no version that Composer can order".into()));
    }

    /// Versions on a small grid, with prereleases, so that events and versions often meet.
    const GRID: [&str; 9] = ["0.0.0-a", "0.0.0", "0.1.0-rc.1", "0.1.0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0", "1.0.1", "2.0.0"];

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Kind {
        Introduced,
        Fixed,
        LastAffected,
        Limit,
    }

    /// The naive reading: walk the whole grid once and write down, version by version, whether it is affected.
    fn naive(events: &[(Kind, usize)], version: usize) -> bool {
        let limits: Vec<usize> = events.iter().filter(|(kind, _)| *kind == Kind::Limit).map(|(_, at)| *at).collect();
        if !limits.is_empty() && limits.iter().all(|&limit| version >= limit) {
            return false;
        }
        let mut state = false;
        for at in 0..=version {
            // What ended with the version before ends now, then what the record says of this version, in its order.
            if at > 0 && ends_after(events, at - 1) {
                state = false;
            }
            for (kind, _) in events.iter().filter(|(_, place)| *place == at) {
                match kind {
                    Kind::Introduced => state = true,
                    Kind::Fixed => state = false,
                    Kind::LastAffected | Kind::Limit => {}
                }
            }
        }
        state
    }

    /// Whether the last word of a version is `last_affected`. A record that says `last_affected` before `introduced` or
    /// `fixed` of the very same version contradicts itself: there the spec's order of events decides.
    fn ends_after(events: &[(Kind, usize)], at: usize) -> bool {
        let here: Vec<Kind> = events.iter().filter(|(kind, place)| *place == at && *kind != Kind::Limit).map(|(kind, _)| *kind).collect();
        let last = here.iter().rposition(|kind| *kind == Kind::LastAffected);
        last.is_some_and(|last| !here[last..].contains(&Kind::Introduced))
    }

    proptest! {
        #[test]
        fn ranges_agree_with_a_naive_walk(
            events in prop::collection::vec((prop::sample::select(vec![Kind::Introduced, Kind::Fixed, Kind::LastAffected, Kind::Limit]), 0..GRID.len()), 0..7),
            version in 0..GRID.len(),
        ) {
            let written: Vec<serde_json::Value> = events.iter().map(|(kind, at)| {
                let name = match kind { Kind::Introduced => "introduced", Kind::Fixed => "fixed", Kind::LastAffected => "last_affected", Kind::Limit => "limit" };
                json!({ name: GRID[*at] })
            }).collect();
            let affected = json!([{ "ranges": [{ "type": "SEMVER", "events": written }] }]);
            prop_assert_eq!(fixed_in(GRID[version], affected).is_some(), naive(&events, version));
        }

        #[test]
        fn a_named_fix_is_above_the_version_and_not_in_the_range(
            events in prop::collection::vec((any::<bool>(), 0..GRID.len()), 1..6),
            version in 0..GRID.len(),
        ) {
            let written: Vec<serde_json::Value> = events.iter()
                .map(|(fixed, at)| if *fixed { json!({ "fixed": GRID[*at] }) } else { json!({ "introduced": GRID[*at] }) }).collect();
            let affected = json!([{ "ranges": [{ "type": "SEMVER", "events": written }] }]);
            if let Some(fix) = fixed_in(GRID[version], affected).filter(|fix| fix != "none") {
                prop_assert!(parse(Ecosystem::Npm, &fix).unwrap() > parse(Ecosystem::Npm, GRID[version]).unwrap());
            }
        }
    }
}
