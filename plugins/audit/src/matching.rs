//! Which advisories apply to which packages.
//!
//! A package version that stands in several places or lockfiles is one subject. The records of several databases about the same
//! vulnerability become one: the schema makes aliases symmetric and transitive, so everything that shares an id belongs together.

use std::collections::{BTreeMap, BTreeSet};

use crate::advisory::{Advisory, Affected};
use crate::inventory::{Ecosystem, Lockfile, Origin, Package};
use crate::range::{Remedy, Verdict, evaluate};
use crate::severity::{Level, Score, rate};
use crate::version::Version;

/// A third-party package version, or a commit of a git dependency, to look for in advisories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub ecosystem: Ecosystem,
    pub name: String,
    pub version: String,
    /// For a git dependency: advisories are found by its commit, since its version says nothing of what was patched.
    pub commit: Option<String>,
    /// Where it stands: index of the lockfile, index of the package; never empty.
    pub places: Vec<(usize, usize)>,
}

/// What was found to look for.
#[derive(Debug, Default)]
pub struct Subjects {
    pub list: Vec<Subject>,
    /// Third-party packages for which no advisory can be looked up, with the reason.
    pub unmatched: Vec<(usize, usize, &'static str)>,
}

/// Of Python's formats only a list of requirements can leave the version open, and then the installer decides.
pub const NOT_PINNED: &str = "it is not pinned: can't be audited";

/// Collects the subjects of all lockfiles, sorted by ecosystem, name and version.
pub fn subjects(lockfiles: &[Lockfile], includes: impl Fn(&Package) -> bool) -> Subjects {
    type Key<'a> = (Ecosystem, &'a str, &'a str, Option<&'a str>);
    let mut found: BTreeMap<Key<'_>, Vec<(usize, usize)>> = BTreeMap::new();
    let mut unmatched = Vec::new();
    // What OSV knows nothing of is reported once for the image, not for each package.
    for (at, lockfile) in lockfiles.iter().enumerate().filter(|(_, lockfile)| lockfile.ecosystem.osv_name().is_some()) {
        for (index, package) in lockfile.packages.iter().enumerate().filter(|(_, package)| package.is_third_party() && includes(package)) {
            let commit = match &package.origin {
                Origin::Git { commit, .. } if commit.is_empty() => {
                    unmatched.push((at, index, "it comes from a git repository at no known commit"));
                    continue;
                }
                Origin::Git { commit, .. } => Some(commit.as_str()),
                Origin::OtherRegistry(_) => {
                    unmatched.push((at, index, "it comes from another registry, where the name can mean another package"));
                    continue;
                }
                _ if package.version.is_empty() => {
                    let pinned = lockfile.ecosystem != Ecosystem::PyPi;
                    unmatched.push((at, index, if pinned { "the lockfile does not say its version" } else { NOT_PINNED }));
                    continue;
                }
                _ => None,
            };
            let (name, version) = package.sought();
            found.entry((lockfile.ecosystem, name, version, commit)).or_default().push((at, index));
        }
    }
    let list = found
        .into_iter()
        .map(|((ecosystem, name, version, commit), places)| Subject {
            ecosystem,
            name: name.into(),
            version: version.into(),
            commit: commit.map(str::to_owned),
            places,
        })
        .collect();
    Subjects { list, unmatched }
}

/// One advisory that applies to a subject.
#[derive(Clone, Debug)]
pub struct Match<'a> {
    pub advisory: &'a Advisory,
    pub remedy: Remedy,
    /// Why it is not certain that it applies.
    pub doubt: Option<String>,
}

/// Decides from the advisories themselves (an offline export): the schema's evaluation.
pub fn decide<'a>(subject: &Subject, advisories: impl Iterator<Item = &'a Advisory>) -> Vec<Match<'a>> {
    let version = Version::parse(subject.ecosystem, &subject.version);
    advisories
        .filter(|advisory| advisory.withdrawn.is_none())
        .filter_map(|advisory| {
            let entries: Vec<&Affected> = advisory.about(subject.ecosystem, &subject.name).collect();
            match evaluate(subject.ecosystem, &subject.version, version.as_ref(), entries.into_iter()) {
                Verdict::NotAffected => None,
                Verdict::Affected(remedy) => Some(Match { advisory, remedy, doubt: None }),
                Verdict::Unreadable(what) => Some(Match { advisory, remedy: Remedy::default(), doubt: Some(what) }),
            }
        })
        .collect()
}

/// Takes the OSV service's word for it that these advisories apply, and reads from them only how to get out.
pub fn accept<'a>(subject: &Subject, advisories: impl Iterator<Item = &'a Advisory>) -> Vec<Match<'a>> {
    let version = Version::parse(subject.ecosystem, &subject.version).filter(|_| subject.commit.is_none());
    advisories
        .filter(|advisory| advisory.withdrawn.is_none())
        .map(|advisory| {
            let entries: Vec<&Affected> = advisory.about(subject.ecosystem, &subject.name).collect();
            let remedy = match evaluate(subject.ecosystem, &subject.version, version.as_ref(), entries.into_iter()) {
                Verdict::Affected(remedy) => remedy,
                Verdict::NotAffected | Verdict::Unreadable(_) => Remedy::default(),
            };
            Match { advisory, remedy, doubt: None }
        })
        .collect()
}

/// One vulnerability of a subject, told by one or more databases.
#[derive(Clone, Debug)]
pub struct Vulnerability {
    /// The id of the record that leads.
    pub id: String,
    /// All other ids of the same vulnerability, sorted.
    pub aliases: Vec<String>,
    pub headline: String,
    pub url: String,
    /// The gravest that a record says; `None` if none does.
    pub level: Option<Level>,
    pub score: Option<Score>,
    pub remedy: Remedy,
    pub doubt: Option<String>,
}

/// What applies to a subject, as vulnerabilities.
pub fn join_all(subject: &Subject, matches: Vec<Match<'_>>) -> Vec<Vulnerability> {
    join(subject.ecosystem, &subject.name, matches)
}

/// Joins the records of one package that tell of the same vulnerability.
pub fn join(ecosystem: Ecosystem, name: &str, matches: Vec<Match<'_>>) -> Vec<Vulnerability> {
    let mut groups: Vec<(BTreeSet<&str>, Vec<Match<'_>>)> = Vec::new();
    for found in matches {
        let mut ids: BTreeSet<&str> = std::iter::once(found.advisory.id.as_str()).chain(found.advisory.same_as()).collect();
        let mut members = vec![found];
        // A record can connect groups that had nothing in common before.
        let (joined, apart): (Vec<_>, Vec<_>) = groups.into_iter().partition(|(known, _)| !known.is_disjoint(&ids));
        groups = apart;
        for (known, others) in joined {
            ids.extend(known);
            members.splice(0..0, others);
        }
        groups.push((ids, members));
    }
    groups.into_iter().map(|(ids, members)| vulnerability(ecosystem, name, &ids, members)).collect()
}

fn vulnerability(ecosystem: Ecosystem, name: &str, ids: &BTreeSet<&str>, mut members: Vec<Match<'_>>) -> Vulnerability {
    members.sort_by_key(|member| (rank(ecosystem, &member.advisory.id), member.advisory.id.clone()));
    members.dedup_by(|one, other| one.advisory.id == other.advisory.id);
    let leader = members[0].advisory;
    let rated = members.iter().map(|member| {
        let entries: Vec<&Affected> = member.advisory.about(ecosystem, name).collect();
        rate(member.advisory, &entries)
    });
    // The gravest word counts; among equals the leading record's.
    let gravest = rated.reduce(|best, next| if next.level > best.level { next } else { best });
    let (level, score) = gravest.map_or((None, None), |rated| (rated.level, rated.score));
    let certain = members.iter().any(|member| member.doubt.is_none());
    Vulnerability {
        id: leader.id.clone(),
        aliases: ids.iter().filter(|id| **id != leader.id).map(|id| (*id).to_owned()).collect(),
        headline: leader.headline(),
        url: leader.url(),
        level,
        score,
        remedy: Remedy {
            fixed: members.iter().filter_map(|member| member.remedy.fixed.clone()).max(),
            settled: members.iter().filter_map(|member| member.remedy.settled.clone()).max(),
            last_affected: members.iter().filter_map(|member| member.remedy.last_affected.clone()).max(),
        },
        doubt: if certain { None } else { members[0].doubt.clone() },
    }
}

/// The ecosystem's own database leads, then GitHub's, then the number that everybody knows.
fn rank(ecosystem: Ecosystem, id: &str) -> usize {
    let order = match ecosystem {
        Ecosystem::CratesIo => ["RUSTSEC-", "MAL-", "GHSA-", "CVE-"],
        Ecosystem::PyPi => ["PYSEC-", "MAL-", "GHSA-", "CVE-"],
        Ecosystem::Go => ["GO-", "MAL-", "GHSA-", "CVE-"],
        Ecosystem::Npm | Ecosystem::RubyGems | Ecosystem::Packagist | Ecosystem::Distribution(_) => ["MAL-", "GHSA-", "CVE-", "OSV-"],
    };
    order.iter().position(|prefix| id.starts_with(prefix)).unwrap_or(order.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn advisory(value: serde_json::Value) -> Advisory {
        serde_json::from_value(value).unwrap()
    }

    fn affecting(id: &str, aliases: &[&str], fixed: &str, vector: Option<&str>) -> Advisory {
        let severity: Vec<_> = vector.iter().map(|vector| json!({ "type": "CVSS_V3", "score": vector })).collect();
        advisory(json!({ "id": id, "aliases": aliases, "summary": format!("summary of {id}"), "severity": severity, "affected": [{
            "package": { "ecosystem": "crates.io", "name": "time" },
            "ranges": [{ "type": "SEMVER", "events": [{ "introduced": "0" }, { "fixed": fixed }] }] }] }))
    }

    fn time() -> Subject {
        Subject { ecosystem: Ecosystem::CratesIo, name: "time".into(), version: "0.1.43".into(), commit: None, places: vec![(0, 0)] }
    }

    fn joined(advisories: &[Advisory]) -> Vec<Vulnerability> {
        join(Ecosystem::CratesIo, "time", decide(&time(), advisories.iter()))
    }

    #[test]
    fn aliases_become_one_finding_led_by_the_ecosystems_database() {
        let found = joined(&[
            affecting("GHSA-wcg3-cvx6-7396", &["CVE-2020-26235"], "0.2.23", Some("CVSS:3.1/AV:L/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H")),
            affecting("RUSTSEC-2020-0071", &["CVE-2020-26235"], "0.2.20", None),
        ]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].id, "RUSTSEC-2020-0071");
        assert_eq!(found[0].aliases, ["CVE-2020-26235", "GHSA-wcg3-cvx6-7396"]);
        assert_eq!(found[0].headline, "summary of RUSTSEC-2020-0071");
        assert_eq!((found[0].level, found[0].remedy.fixed.clone()), (Some(Level::Medium), Version::parse(Ecosystem::CratesIo, "0.2.23")));
    }

    #[test]
    fn a_record_can_connect_two_others() {
        let found = joined(&[
            affecting("A", &["X"], "1.0.0", None),
            affecting("B", &["Y"], "1.0.0", None),
            affecting("C", &["X", "Y"], "1.0.0", None),
        ]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].aliases, ["B", "C", "X", "Y"]);
        assert_eq!(joined(&[affecting("A", &["X"], "1.0.0", None), affecting("B", &["Y"], "1.0.0", None)]).len(), 2);
    }

    #[test]
    fn withdrawn_and_fixed_advisories_do_not_apply() {
        let mut withdrawn = affecting("A", &[], "1.0.0", None);
        withdrawn.withdrawn = Some("2023-01-01T00:00:00Z".into());
        assert!(joined(&[withdrawn.clone(), affecting("B", &[], "0.1.43", None)]).is_empty());
        assert!(accept(&time(), [&withdrawn].into_iter()).is_empty());
    }

    #[test]
    fn the_service_is_believed() {
        let elsewhere = affecting("B", &[], "0.1.0", None);
        assert_eq!(accept(&time(), [&elsewhere].into_iter()).len(), 1);
        let unknown = Advisory::without_details("GHSA-x");
        assert_eq!(accept(&time(), [&unknown].into_iter())[0].remedy, Remedy::default());
    }

    #[test]
    fn a_doubtful_match_stays_doubtful_only_alone() {
        let broken = advisory(json!({ "id": "A", "aliases": ["X"], "affected": [{ "package": { "ecosystem": "crates.io", "name": "time" },
            "ranges": [{ "type": "SEMVER", "events": [{ "introduced": "zero" }] }] }] }));
        assert!(joined(std::slice::from_ref(&broken))[0].doubt.is_some());
        assert!(joined(&[broken, affecting("B", &["X"], "1.0.0", None)])[0].doubt.is_none());
    }

    #[test]
    fn subjects_are_distinct_and_name_what_cannot_be_matched() {
        let git = |commit: &str| Origin::Git { repository: "https://example.com/x".into(), commit: commit.into() };
        let packages = vec![
            Package::new("app", "1.0.0", Origin::Local, 1),
            Package::new("b", "2.0.0", Origin::Registry, 2),
            Package::new("a", "1.0.0", Origin::Registry, 3),
            Package::new("b", "2.0.0", Origin::Registry, 4),
            Package::new("g", "1.0.0", git("abcdef0"), 5),
            Package::new("h", "1.0.0", git(""), 6),
            Package::new("o", "1.0.0", Origin::OtherRegistry("registry+https://example.com/index".into()), 7),
            Package::new("n", "", Origin::Archive("https://example.com/n.tgz".into()), 8),
        ];
        let lockfile = Lockfile { path: "package-lock.json".into(), ecosystem: Ecosystem::Npm, packages };
        let subjects = subjects(&[lockfile], |_| true);
        let names: Vec<_> =
            subjects.list.iter().map(|subject| (subject.name.as_str(), subject.places.len(), subject.commit.as_deref())).collect();
        assert_eq!(names, [("a", 1, None), ("b", 2, None), ("g", 1, Some("abcdef0"))]);
        assert_eq!(subjects.unmatched.iter().map(|(_, index, _)| *index).collect::<Vec<_>>(), [5, 6, 7]);
    }
}
