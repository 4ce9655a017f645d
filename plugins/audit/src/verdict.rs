//! From what applies to what is said: findings, counts, and whether the stage passes.
//!
//! Pure: the lockfiles, the vulnerabilities, the settings and the date go in. Everything that is known is shown; what counts
//! against the stage is a vulnerability of at least `fail-on` that no valid ignore covers, and a licence that is not allowed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use runner_sdk::report::{Finding, Location};

use crate::image::{Note, described};
use crate::inventory::{Ecosystem, Lockfile, Package, ShortestPaths, StatedLicense};
use crate::license::{Policy, Verdict as LicenseVerdict};
use crate::matching::{NOT_PINNED, Subject, Subjects, Vulnerability};
use crate::purl;
use crate::settings::{Ignore, Settings, Unknown};
use crate::severity::{GRAVEST_FIRST, Level, name};

/// What an ignore does to a vulnerability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    No,
    /// By the ignore with this index.
    Until(usize),
    /// It once was; the ignore with this index has expired.
    Expired(usize),
}

/// A vulnerability with all that was decided about it.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Index of the subject.
    pub subject: usize,
    pub vulnerability: Vulnerability,
    pub level: Level,
    pub ignored: Ignored,
    pub counted: bool,
}

/// Everything that was decided.
#[derive(Debug)]
pub struct Verdict {
    pub judged: Vec<Judged>,
    /// In the order in which they are shown: gravest first.
    pub findings: Vec<Finding>,
    /// One line: `312 packages, 2 vulnerable (1 high, 1 medium)`.
    pub summary: String,
    /// Name, value and unit for the report's measures.
    pub measures: Vec<(String, f64, &'static str)>,
    pub passed: bool,
}

/// What is to be judged.
pub struct Evidence<'a> {
    pub lockfiles: &'a [Lockfile],
    pub subjects: &'a Subjects,
    /// For each subject what applies to it.
    pub vulnerabilities: Vec<Vec<Vulnerability>>,
    /// The ecosystems about which the source of advisories holds nothing.
    pub gaps: BTreeSet<Ecosystem>,
    /// What reading an image left to say.
    pub notes: Vec<Note>,
}

/// Judges. `today` is the date in UTC.
pub fn judge(evidence: Evidence<'_>, settings: &Settings, policy: Option<&Policy>, today: Date) -> Verdict {
    let Evidence { lockfiles, subjects, vulnerabilities, gaps, notes } = evidence;
    let mut used = vec![false; settings.ignore.len()];
    let mut judged = Vec::new();
    for (subject, list) in vulnerabilities.into_iter().enumerate() {
        for vulnerability in list {
            let level = vulnerability.level.unwrap_or(settings.unscored());
            let ignored = ignored(&settings.ignore, &subjects.list[subject], &vulnerability, today, &mut used);
            let counted = level >= settings.fail_on() && !matches!(ignored, Ignored::Until(_));
            judged.push(Judged { subject, vulnerability, level, ignored, counted });
        }
    }
    judged.sort_by_key(|one| {
        (!one.counted, std::cmp::Reverse(one.level), subjects.list[one.subject].places[0], one.vulnerability.id.clone())
    });

    let mut findings: Vec<Finding> = Vec::new();
    for one in &judged {
        findings.extend(vulnerability_findings(lockfiles, &subjects.list[one.subject], one, settings));
    }
    let licenses = policy.map(|policy| licenses(lockfiles, settings, policy)).unwrap_or_default();
    findings.extend(licenses.findings);
    findings.extend(settings.ignore.iter().zip(&used).filter(|(_, used)| !**used).map(|(ignore, _)| unused(ignore, today)));
    findings.extend(subjects.unmatched.iter().map(|&(lockfile, package, why)| unmatched(&lockfiles[lockfile], package, why)));

    findings.extend(gaps.iter().map(|&ecosystem| gap(ecosystem, &subjects.list)));
    findings.extend(notes.into_iter().map(|note| setting_finding(note.rule, note.message, &note.help)));

    let counts = Counts::of(lockfiles, settings, subjects, &judged);
    let passed = !findings.iter().any(|finding| finding.counted);
    let mut summary = counts.summary();
    for (count, one, several) in [
        (licenses.not_allowed, "licence not allowed", "licences not allowed"),
        (licenses.unknown, "licence unknown", "licences unknown"),
        (subjects.unmatched.len(), "package that no advisory can be looked up for", "packages that no advisory can be looked up for"),
    ] {
        if count > 0 {
            summary.push_str(&format!(", {count} {}", if count == 1 { one } else { several }));
        }
    }
    let mut measures = counts.measures();
    if policy.is_some() {
        measures.push(("audit.licenses.not-allowed".into(), licenses.not_allowed as f64, "packages"));
        measures.push(("audit.licenses.unknown".into(), licenses.unknown as f64, "packages"));
    }
    Verdict { judged, findings, summary, measures, passed }
}

/// A valid ignore wins over an expired one.
fn ignored(ignores: &[Ignore], subject: &Subject, vulnerability: &Vulnerability, today: Date, used: &mut [bool]) -> Ignored {
    let mut answer = Ignored::No;
    for (index, ignore) in ignores.iter().enumerate() {
        let same_id = ignore.id == vulnerability.id || vulnerability.aliases.contains(&ignore.id);
        let canonical = |name| subject.ecosystem.canonical(name);
        if !same_id || ignore.package.as_ref().is_some_and(|package| canonical(package) != canonical(&subject.name)) {
            continue;
        }
        used[index] = true;
        match answer {
            Ignored::Until(_) => {}
            _ if today <= ignore.expires => answer = Ignored::Until(index),
            Ignored::No => answer = Ignored::Expired(index),
            Ignored::Expired(_) => {}
        }
    }
    answer
}

/// One finding for each lockfile that has the package.
fn vulnerability_findings(lockfiles: &[Lockfile], subject: &Subject, judged: &Judged, settings: &Settings) -> Vec<Finding> {
    let vulnerability = &judged.vulnerability;
    let mut by_lockfile: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for &(lockfile, package) in &subject.places {
        by_lockfile.entry(lockfile).or_default().push(package);
    }
    let mut findings = Vec::new();
    for (lockfile, mut places) in by_lockfile {
        let lockfile = &lockfiles[lockfile];
        let paths = lockfile.shortest_paths();
        places.sort_by_key(|&package| (paths.to(package).len(), lockfile.packages[package].line));
        let package = &lockfile.packages[places[0]];
        let mut message = format!("{}: {}", installed_as(lockfile, &places), vulnerability.headline);
        let also: Vec<String> = vulnerability
            .score
            .iter()
            .map(|score| format!("CVSS {:.1}", score.value))
            .chain(vulnerability.level.is_none().then(|| format!("no severity stated, taken as {}", name(judged.level))))
            .chain((!vulnerability.aliases.is_empty()).then(|| format!("also {}", vulnerability.aliases.join(", "))))
            .collect();
        if !also.is_empty() {
            message.push_str(&format!(" ({})", also.join("; ")));
        }
        message.push_str(&needed_by(&paths, places[0]));
        message.push_str(&brought_by(package));
        if places.len() > 1 && places.iter().all(|&place| lockfile.packages[place].source.is_none()) {
            message.push_str(&format!(" and in {} more place{}", places.len() - 1, if places.len() == 2 { "" } else { "s" }));
        }
        if let Some(doubt) = &vulnerability.doubt {
            message.push_str(&format!("; whether it is affected cannot be told: {doubt}"));
        }
        match judged.ignored {
            Ignored::No => {}
            Ignored::Until(index) => {
                let ignore = &settings.ignore[index];
                message.push_str(&format!("; ignored until {}: {}", ignore.expires, ignore.reason));
            }
            Ignored::Expired(index) => {
                let ignore = &settings.ignore[index];
                message.push_str(&format!("; it was ignored until {}, which has passed: {}", ignore.expires, ignore.reason));
            }
        }
        findings.push(Finding {
            severity: judged.level,
            tool: "osv".into(),
            rule: vulnerability.id.clone(),
            message,
            location: Some(place(lockfile, package)),
            help: vulnerability.remedy.describe(&subject.name),
            url: vulnerability.url.clone(),
            counted: judged.counted,
        });
    }
    findings
}

/// The way to a package, unless the lockfile does not say who needs it.
fn needed_by(paths: &ShortestPaths<'_>, package: usize) -> String {
    if paths.to(package).len() > 1 { format!("; needed by {}", paths.describe(package)) } else { String::new() }
}

/// The package; of a distribution's source package all that was built from it and is installed.
fn installed_as(lockfile: &Lockfile, places: &[usize]) -> String {
    let Some(source) = places.iter().find_map(|&place| lockfile.packages[place].source.as_ref()) else {
        return lockfile.packages[places[0]].label();
    };
    let names: BTreeSet<&str> = places.iter().map(|&place| lockfile.packages[place].name.as_str()).collect();
    let names = names.into_iter().collect::<Vec<_>>().join(", ");
    format!("{} {} (installed: {names})", source.name, source.version)
}

/// For a package of an image, what says that it is there, and the layer that brought it.
fn brought_by(package: &Package) -> String {
    let Some(place) = &package.in_image else { return String::new() };
    format!("; in {}, brought by {}", place.file, described(&place.layer))
}

/// A place in the workspace: of an image's package, the image.
fn place(lockfile: &Lockfile, package: &Package) -> Location {
    match &package.in_image {
        Some(place) => Location::file(&*place.image),
        None => Location::line(lockfile.path.clone(), package.line),
    }
}

#[derive(Default)]
struct LicenseFindings {
    findings: Vec<Finding>,
    not_allowed: usize,
    unknown: usize,
}

fn licenses(lockfiles: &[Lockfile], settings: &Settings, policy: &Policy) -> LicenseFindings {
    let unknown_counts = settings.licenses.as_ref().is_some_and(|licenses| licenses.unknown == Unknown::Fail);
    let mut used = vec![false; policy.exceptions().len()];
    let mut result = LicenseFindings::default();
    for lockfile in lockfiles {
        let paths = lockfile.shortest_paths();
        let mut seen: BTreeSet<(&str, &str)> = BTreeSet::new();
        for (index, package) in
            lockfile.packages.iter().enumerate().filter(|(_, package)| package.is_third_party() && audited(package, settings))
        {
            if !seen.insert((&package.name, &package.version)) {
                continue;
            }
            let (what, counted) = match policy.judge(&package.name, &package.license) {
                LicenseVerdict::Allowed => continue,
                LicenseVerdict::Excepted(exception) => {
                    used[exception] = true;
                    continue;
                }
                LicenseVerdict::NotAllowed(what) => {
                    result.not_allowed += 1;
                    (what, true)
                }
                LicenseVerdict::Unknown(what) => {
                    result.unknown += 1;
                    (what, unknown_counts)
                }
            };
            let example = match &package.license {
                StatedLicense::Text(text) => text.as_str(),
                StatedLicense::Unknown => "…",
            };
            result.findings.push(Finding {
                severity: if counted { Level::High } else { Level::Low },
                tool: "licenses".into(),
                rule: if what.starts_with("no licence") { "license-unknown".into() } else { "license".into() },
                message: format!("{}: {what}{}", package.label(), needed_by(&paths, index)),
                location: Some(place(lockfile, package)),
                help: format!(
                    "replace it, add the licence to `licenses.allow`, or add {{ package = \"{}\", license = \"{example}\", reason = \"…\" }} to `licenses.exceptions`",
                    package.name
                ),
                url: String::new(),
                counted,
            });
        }
    }
    result.findings.sort_by_key(|finding| !finding.counted);
    for (exception, _) in policy.exceptions().iter().zip(used).filter(|(_, used)| !used) {
        result.findings.push(setting_finding(
            "unused-exception",
            format!(
                "the licence exception for {} ({}) is not needed: no such package has that licence, or it is allowed",
                exception.package, exception.license
            ),
            "take it out of `licenses.exceptions`",
        ));
    }
    result
}

fn unused(ignore: &Ignore, today: Date) -> Finding {
    let expired = if today > ignore.expires { format!(", and it expired on {}", ignore.expires) } else { String::new() };
    let about = ignore.package.as_ref().map_or_else(String::new, |package| format!(" in {package}"));
    setting_finding("unused-ignore", format!("the ignore of {}{about} matches nothing{expired}", ignore.id), "take it out of `ignore`")
}

fn gap(ecosystem: Ecosystem, subjects: &[Subject]) -> Finding {
    let count = subjects.iter().filter(|subject| subject.ecosystem == ecosystem).count();
    let name = ecosystem.osv_name().unwrap_or_default();
    setting_finding(
        "no-advisories",
        format!("`osv.offline` holds no advisory about {name} at all, so nothing could be found for its {count} packages"),
        "add osv.dev's export of that ecosystem to it",
    )
}

fn unmatched(lockfile: &Lockfile, package: usize, why: &str) -> Finding {
    let package = &lockfile.packages[package];
    let help = if why == NOT_PINNED { "pin it with `==`, as `pip-compile`, `uv pip compile` and `pip freeze` do" } else { "" };
    Finding {
        location: Some(place(lockfile, package)),
        ..setting_finding("not-matched", format!("{}: no advisory can be looked up for it, since {why}", package.label()), help)
    }
}

/// Something about the audit itself. Shown, never counted.
fn setting_finding(rule: &str, message: String, help: &str) -> Finding {
    Finding {
        severity: Level::Info,
        tool: "audit".into(),
        rule: rule.into(),
        message,
        location: None,
        help: help.into(),
        url: String::new(),
        counted: false,
    }
}

/// Whether a package is audited at all.
pub fn audited(package: &Package, settings: &Settings) -> bool {
    settings.include_dev() || !package.dev
}

struct Counts {
    packages: usize,
    /// How many package versions have this as their gravest vulnerability that is not ignored.
    vulnerable: BTreeMap<Level, usize>,
    /// Advisories that only inform, such as of an unmaintained package.
    notices: usize,
    ignored: usize,
}

impl Counts {
    fn of(lockfiles: &[Lockfile], settings: &Settings, subjects: &Subjects, judged: &[Judged]) -> Self {
        let mut packages = BTreeSet::new();
        for lockfile in lockfiles {
            let third_party = lockfile.packages.iter().filter(|package| package.is_third_party() && audited(package, settings));
            packages.extend(third_party.map(|package| purl::of(lockfile.ecosystem, package)));
        }
        let mut gravest: BTreeMap<usize, Level> = BTreeMap::new();
        let (mut notices, mut ignored) = (0, 0);
        for one in judged {
            match one.ignored {
                Ignored::Until(_) => ignored += 1,
                _ if one.level == Level::Info => notices += 1,
                _ => {
                    let level = gravest.entry(one.subject).or_insert(one.level);
                    *level = (*level).max(one.level);
                }
            }
        }
        let mut vulnerable = BTreeMap::new();
        for level in gravest.into_values() {
            *vulnerable.entry(level).or_insert(0) += 1;
        }
        debug_assert!(subjects.list.len() <= packages.len());
        Self { packages: packages.len(), vulnerable, notices, ignored }
    }

    fn summary(&self) -> String {
        let total: usize = self.vulnerable.values().sum();
        let mut text = format!("{} package{}, {total} vulnerable", self.packages, if self.packages == 1 { "" } else { "s" });
        if total > 0 {
            let each: Vec<String> =
                GRAVEST_FIRST.iter().filter_map(|level| Some(format!("{} {}", self.vulnerable.get(level)?, name(*level)))).collect();
            text.push_str(&format!(" ({})", each.join(", ")));
        }
        for (count, one, several) in [(self.notices, "notice", "notices"), (self.ignored, "ignored", "ignored")] {
            if count > 0 {
                text.push_str(&format!(", {count} {}", if count == 1 { one } else { several }));
            }
        }
        text
    }

    fn measures(&self) -> Vec<(String, f64, &'static str)> {
        let total: usize = self.vulnerable.values().sum();
        let mut measures = vec![
            ("audit.packages".to_owned(), self.packages as f64, "packages"),
            ("audit.vulnerable".to_owned(), total as f64, "packages"),
        ];
        for level in GRAVEST_FIRST.into_iter().filter(|level| *level != Level::Info) {
            measures.push((
                format!("audit.vulnerable.{}", name(level)),
                self.vulnerable.get(&level).copied().unwrap_or(0) as f64,
                "packages",
            ));
        }
        measures.push(("audit.ignored".to_owned(), self.ignored as f64, "advisories"));
        measures
    }
}
