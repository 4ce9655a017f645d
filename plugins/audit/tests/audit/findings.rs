//! What people read, and whether the stage passes.

use jiff::civil::date;
use plugin_audit::inventory::Lockfile;
use plugin_audit::lockfile::{Companions, read};
use plugin_audit::settings::Settings;
use plugin_audit::verdict::{Evidence, Verdict, judge};
use runner_sdk::report::{Finding, Severity};
use serde_json::{Value, json};

use crate::export::look_up;
use crate::formats::{COMPOSER, GEMFILE, REQUIREMENTS, YARN_V1};
use crate::lockfiles::{CARGO_V4, NPM_V1, NPM_V3, cargo, npm};

fn audit(lockfiles: &[Lockfile], settings: Value) -> Verdict {
    let settings: Settings = serde_json::from_value(settings).unwrap();
    let policy = settings.policy().unwrap();
    let (subjects, vulnerabilities) = look_up(lockfiles);
    judge(
        Evidence { lockfiles, subjects: &subjects, vulnerabilities, gaps: Default::default(), notes: Vec::new() },
        &settings,
        policy.as_ref(),
        date(2026, 11, 21),
    )
}

fn rules(verdict: &Verdict, counted: bool) -> Vec<&str> {
    verdict.findings.iter().filter(|finding| finding.counted == counted).map(|finding| finding.rule.as_str()).collect()
}

fn finding<'a>(verdict: &'a Verdict, rule: &str) -> &'a Finding {
    verdict.findings.iter().find(|finding| finding.rule == rule).unwrap_or_else(|| panic!("{rule} is reported"))
}

#[test]
fn a_cargo_workspace_is_audited() {
    let verdict = audit(&[cargo(CARGO_V4)], json!({}));
    assert_eq!(rules(&verdict, true), ["RUSTSEC-2021-0003", "RUSTSEC-2020-0159", "RUSTSEC-2021-0145"]);
    assert_eq!(rules(&verdict, false), ["RUSTSEC-2024-0375"]);
    assert!(!verdict.passed);
    assert_eq!(verdict.summary, "13 packages, 3 vulnerable (1 critical, 1 high, 1 low), 1 notice");

    let smallvec = finding(&verdict, "RUSTSEC-2021-0003");
    assert_eq!(smallvec.severity, Severity::Critical);
    assert_eq!(
        smallvec.message,
        "smallvec 1.6.0: insert_many writes past the end of the buffer (CVSS 9.8; also CVE-2021-25900, GHSA-43w2-9j62-hq99); \
         needed by shop → smallvec 1.6.0"
    );
    assert_eq!(smallvec.help, "upgrade smallvec to ≥ 1.6.1");
    assert_eq!(smallvec.url, "https://osv.dev/vulnerability/RUSTSEC-2021-0003");
    let location = smallvec.location.as_ref().unwrap();
    assert_eq!(location.path, "Cargo.lock");
    assert_eq!(CARGO_V4.lines().nth(location.line as usize), Some("name = \"smallvec\""));

    let chrono = finding(&verdict, "RUSTSEC-2020-0159");
    assert_eq!(chrono.severity, Severity::High);
    assert!(chrono.message.contains("no severity stated, taken as high"), "{}", chrono.message);
    assert!(finding(&verdict, "RUSTSEC-2024-0375").help.starts_with("no fixed version of atty is known"));
}

#[test]
fn an_npm_workspace_is_audited() {
    for text in [NPM_V1, NPM_V3] {
        let verdict = audit(&[npm(text)], json!({}));
        assert_eq!(
            rules(&verdict, true),
            ["GHSA-xvch-5gv4-984h", "GHSA-xvch-5gv4-984h", "GHSA-93q8-gq69-wqmw", "GHSA-35jh-r3h4-6jhm", "GHSA-hrpp-h998-j3pp"]
        );
        assert_eq!(verdict.summary, "9 packages, 5 vulnerable (2 critical, 3 high)");
        let lodash = finding(&verdict, "GHSA-35jh-r3h4-6jhm");
        assert!(lodash.message.ends_with("needed by shop → lodash4 (lodash 4.17.20)"), "{}", lodash.message);
        assert_eq!(finding(&verdict, "GHSA-hrpp-h998-j3pp").help, "upgrade qs to 6.5.3 within its release line, or to ≥ 6.10.3");
    }
}

#[test]
fn each_ecosystem_is_audited() {
    for (path, text, rule, message, help) in [
        (
            "requirements.txt",
            REQUIREMENTS,
            "GHSA-g3rq-g295-4j3m",
            "jinja2 2.11.2: urlize takes very long for some texts (CVSS 5.3; also CVE-2020-28493); needed by (root) → jinja2 2.11.2",
            "upgrade jinja2 to ≥ 2.11.3",
        ),
        (
            "Gemfile.lock",
            GEMFILE,
            "GHSA-hxqx-xwvh-44m2",
            "rack 2.2.3: some multipart requests take very long to parse (CVSS 7.5; also CVE-2022-30122); needed by engine → rack 2.2.3",
            "upgrade rack to ≥ 2.2.3.1",
        ),
        (
            "composer.lock",
            COMPOSER,
            "GHSA-52m2-vc4m-jj33",
            "twig/twig v2.14.0: template names can lead out of the template folder (CVSS 7.5; also CVE-2022-39261); needed by (root) → twig/twig v2.14.0",
            "upgrade twig/twig to 2.15.3 within its release line, or to ≥ 3.4.3",
        ),
        ("yarn.lock", YARN_V1, "GHSA-35jh-r3h4-6jhm", "lodash 4.17.20: ", "upgrade lodash to ≥ 4.17.21"),
    ] {
        let verdict = audit(&[read(path, text.as_bytes(), &Companions::new()).unwrap()], json!({}));
        let found = finding(&verdict, rule);
        assert!(found.counted && found.message.starts_with(message), "{path}: {}", found.message);
        assert_eq!((found.help.as_str(), found.location.as_ref().unwrap().path.as_str()), (help, path));
    }
}

#[test]
fn names_are_the_same_however_they_are_spelled() {
    let lockfiles = [read("requirements.txt", REQUIREMENTS.as_bytes(), &Companions::new()).unwrap()];
    let ignore = json!({ "id": "CVE-2020-28493", "package": "Jinja2", "reason": "no such texts", "expires": "2027-01-31" });
    assert!(audit(&lockfiles, json!({ "ignore": [ignore] })).passed);
}

#[test]
fn what_is_not_pinned_is_said_to_be_unaudited() {
    let verdict = audit(&[read("requirements.txt", b"requests>=2\nflask==3.0.0\n", &Companions::new()).unwrap()], json!({}));
    assert!(verdict.passed);
    let open = finding(&verdict, "not-matched");
    assert_eq!(open.message, "requests: no advisory can be looked up for it, since it is not pinned: can't be audited");
    assert!(open.help.starts_with("pin it with `==`") && open.location.as_ref().unwrap().line == 1, "{}", open.help);
    assert!(verdict.summary.ends_with(", 1 package that no advisory can be looked up for"), "{}", verdict.summary);
}

#[test]
fn the_threshold_decides_what_counts() {
    let lockfiles = [cargo(CARGO_V4)];
    assert_eq!(rules(&audit(&lockfiles, json!({ "fail-on": "critical" })), true), ["RUSTSEC-2021-0003"]);
    assert_eq!(rules(&audit(&lockfiles, json!({ "fail-on": "info" })), false), [""; 0]);
    let lenient = audit(&lockfiles, json!({ "fail-on": "high", "unscored": "medium" }));
    assert_eq!(rules(&lenient, true), ["RUSTSEC-2021-0003"]);
    assert_eq!(rules(&lenient, false), ["RUSTSEC-2020-0159", "RUSTSEC-2021-0145", "RUSTSEC-2024-0375"]);
}

#[test]
fn development_dependencies_can_be_left_out() {
    let lockfiles = [npm(NPM_V3)];
    let settings: Settings = serde_json::from_value(json!({ "include-dev": false })).unwrap();
    let subjects = plugin_audit::matching::subjects(&lockfiles, |package| plugin_audit::verdict::audited(package, &settings));
    let names: Vec<&str> = subjects.list.iter().map(|subject| subject.name.as_str()).collect();
    assert_eq!(names, ["fsevents", "lodash", "minimist", "minimist", "mkdirp", "ms", "qs"]);
    let vulnerabilities = vec![Vec::new(); names.len()];
    let verdict = judge(
        Evidence { lockfiles: &lockfiles, subjects: &subjects, vulnerabilities, gaps: Default::default(), notes: Vec::new() },
        &settings,
        None,
        date(2026, 11, 21),
    );
    assert_eq!(verdict.summary, "7 packages, 0 vulnerable");
    assert!(verdict.passed);
}

#[test]
fn ignores_need_the_right_id_package_and_date() {
    let lockfiles = [cargo(CARGO_V4)];
    let ignore = |id: &str, expires: &str, package: Option<&str>| {
        let mut one = json!({ "id": id, "reason": "behind a feature that is off", "expires": expires });
        if let Some(package) = package {
            one["package"] = package.into();
        }
        audit(&lockfiles, json!({ "fail-on": "critical", "ignore": [one] }))
    };

    let by_alias = ignore("CVE-2021-25900", "2026-11-21", None);
    assert!(by_alias.passed);
    assert_eq!(by_alias.summary, "13 packages, 2 vulnerable (1 high, 1 low), 1 notice, 1 ignored");
    let ignored = finding(&by_alias, "RUSTSEC-2021-0003");
    assert!(
        !ignored.counted && ignored.message.ends_with("; ignored until 2026-11-21: behind a feature that is off"),
        "{}",
        ignored.message
    );

    let expired = ignore("RUSTSEC-2021-0003", "2026-11-20", Some("smallvec"));
    assert!(!expired.passed);
    let counted = finding(&expired, "RUSTSEC-2021-0003");
    assert!(counted.counted && counted.message.contains("; it was ignored until 2026-11-20, which has passed: "), "{}", counted.message);

    let elsewhere = ignore("RUSTSEC-2021-0003", "2027-01-31", Some("time"));
    assert!(!elsewhere.passed);
    let unused = finding(&elsewhere, "unused-ignore");
    assert_eq!(unused.message, "the ignore of RUSTSEC-2021-0003 in time matches nothing");
    assert!(!unused.counted && unused.severity == Severity::Info);
    assert!(finding(&ignore("X", "2020-01-01", None), "unused-ignore").message.ends_with("matches nothing, and it expired on 2020-01-01"));
}

#[test]
fn licences_are_judged() {
    let lockfiles = [npm(NPM_V3)];
    let allow = json!({ "fail-on": "critical", "licenses": { "allow": ["MIT"] }, "ignore": [
        { "id": "GHSA-xvch-5gv4-984h", "reason": "tests only", "expires": "2027-01-31" }] });
    let verdict = audit(&lockfiles, allow);
    assert_eq!(rules(&verdict, true), ["license"]);
    let qs = finding(&verdict, "license");
    assert_eq!(qs.message, "qs 6.5.2: its licence BSD-3-Clause is not allowed (missing: BSD-3-Clause); needed by @shop/api → qs 6.5.2");
    assert!(verdict.summary.ends_with(", 1 licence not allowed"), "{}", verdict.summary);
    assert_eq!(qs.location.as_ref().unwrap().path, "package-lock.json");

    let except = |license: &str| {
        let exceptions = json!([{ "package": "qs", "license": license, "reason": "agreed" }]);
        audit(&lockfiles, json!({ "licenses": { "allow": ["MIT"], "exceptions": exceptions } }))
    };
    assert!(!except("BSD-3-Clause").findings.iter().any(|finding| finding.tool == "licenses" || finding.rule == "unused-exception"));
    assert_eq!(finding(&except("ISC"), "unused-exception").severity, Severity::Info);

    let unknown = |what: &str| audit(&[npm(NPM_V1)], json!({ "licenses": { "allow": ["MIT"], "unknown": what } }));
    assert!(finding(&unknown("fail"), "license-unknown").counted);
    assert!(!finding(&unknown("warn"), "license-unknown").counted);
    assert!(unknown("warn").summary.ends_with(", 9 licences unknown"));
}

#[test]
fn a_package_of_two_lockfiles_is_one_vulnerable_package_found_twice() {
    let other = Lockfile { path: "web/package-lock.json".into(), ..npm(NPM_V3) };
    let verdict = audit(&[npm(NPM_V3), other], json!({}));
    assert_eq!(verdict.findings.iter().filter(|finding| finding.rule == "GHSA-35jh-r3h4-6jhm").count(), 2);
    assert_eq!(verdict.summary, "9 packages, 5 vulnerable (2 critical, 3 high)");
}

#[test]
fn what_no_advisory_can_be_looked_up_for_is_said() {
    let text = include_str!("../../fixtures/npm/sources-v1/package-lock.json");
    let verdict = audit(&[npm(text)], json!({}));
    assert!(verdict.passed);
    assert_eq!(rules(&verdict, false), ["not-matched", "not-matched"]);
    assert!(verdict.summary.ends_with("2 packages that no advisory can be looked up for"), "{}", verdict.summary);
}

#[test]
fn an_export_that_knows_nothing_of_an_ecosystem_is_said() {
    let lockfiles = [npm(NPM_V3)];
    let (subjects, _) = look_up(&lockfiles);
    let evidence = Evidence {
        lockfiles: &lockfiles,
        vulnerabilities: vec![Vec::new(); subjects.list.len()],
        subjects: &subjects,
        gaps: [plugin_audit::inventory::Ecosystem::Npm].into(),
        notes: Vec::new(),
    };
    let verdict = judge(evidence, &Settings::default(), None, date(2026, 11, 21));
    assert!(verdict.passed);
    let message = &finding(&verdict, "no-advisories").message;
    assert_eq!(message, "`osv.offline` holds no advisory about npm at all, so nothing could be found for its 9 packages");
}

#[test]
fn measures_give_the_numbers() {
    let verdict = audit(&[cargo(CARGO_V4)], json!({}));
    let measure = |name: &str| verdict.measures.iter().find(|(known, ..)| known == name).map(|(_, value, _)| *value);
    assert_eq!(measure("audit.packages"), Some(13.0));
    assert_eq!(measure("audit.vulnerable"), Some(3.0));
    assert_eq!(measure("audit.vulnerable.critical"), Some(1.0));
    assert_eq!(measure("audit.vulnerable.medium"), Some(0.0));
}
