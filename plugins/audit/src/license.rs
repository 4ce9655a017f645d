//! Whether a package's licence is on the project's list of allowed ones.
//!
//! Licences are SPDX expressions (<https://spdx.github.io/spdx-spec/>, annex "SPDX license expressions"), evaluated by the
//! `spdx` crate: `OR` needs one side, `AND` both, `WITH` the very exception. Older spellings that both registries hold are read
//! too: `MIT/Apache-2.0`, deprecated ids, npm's `{ "type": … }` objects. Deliberately absent: reading licence files.

use spdx::{Expression, Licensee, ParseMode};

use crate::inventory::StatedLicense;

/// The list of allowed licences, read.
pub struct Policy {
    allow: Vec<Licensee>,
    exceptions: Vec<Exception>,
}

/// One package may be used under a licence that is not on the list, or whose licence is stated nowhere.
pub struct Exception {
    pub package: String,
    /// As in the settings: an SPDX expression, or the very text that the package states.
    pub license: String,
    pub reason: String,
    expression: Option<Expression>,
}

/// What the policy says about one package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// Allowed by the exception with this index.
    Excepted(usize),
    /// The text says which licences are missing from the list.
    NotAllowed(String),
    /// Nobody can tell: no licence is stated, or it is no SPDX expression. The text says which.
    Unknown(String),
}

impl Policy {
    /// Reads the settings. The error names the entry and says how to mend it.
    pub fn new(allow: &[String], exceptions: &[(String, String, String)]) -> Result<Self, String> {
        let mut read = Vec::with_capacity(allow.len());
        for text in allow {
            match licensee(text) {
                Ok(licensee) => read.push(licensee),
                Err(error) => {
                    let advice = suggestion(text);
                    return Err(format!("`licenses.allow`: `{text}` is no SPDX license id ({}). {advice}", error.reason));
                }
            }
        }
        let mut list = Vec::with_capacity(exceptions.len());
        for (package, license, reason) in exceptions {
            let empty =
                [("package", package), ("license", license), ("reason", reason)].into_iter().find(|(_, text)| text.trim().is_empty());
            if let Some((name, _)) = empty {
                return Err(format!("`licenses.exceptions`: the entry for `{package}` has an empty `{name}`"));
            }
            list.push(Exception {
                package: package.clone(),
                license: license.trim().into(),
                reason: reason.clone(),
                expression: parse(license).ok(),
            });
        }
        Ok(Self { allow: read, exceptions: list })
    }

    pub fn exceptions(&self) -> &[Exception] {
        &self.exceptions
    }

    /// Judges the licence that a package states.
    pub fn judge(&self, package: &str, stated: &StatedLicense) -> Verdict {
        let exception = self.exceptions.iter().position(|exception| exception.package == package && exception.covers(stated));
        let (verdict, text) = match stated {
            StatedLicense::Unknown => (Verdict::Unknown("no licence is known for it".into()), ""),
            StatedLicense::Text(text) => (self.judge_text(text), text.as_str()),
        };
        match (verdict, exception) {
            (Verdict::Allowed, _) => Verdict::Allowed,
            (_, Some(index)) => Verdict::Excepted(index),
            (Verdict::NotAllowed(_), None) if text == "UNLICENSED" => {
                Verdict::NotAllowed("it is UNLICENSED: nobody may use it without its owner's consent".into())
            }
            (verdict, None) => verdict,
        }
    }

    fn judge_text(&self, text: &str) -> Verdict {
        if text == "UNLICENSED" {
            return Verdict::NotAllowed(String::new());
        }
        let expression = match parse(text) {
            Ok(expression) => expression,
            Err(why) => return Verdict::Unknown(why),
        };
        match expression.evaluate_with_failures(|requirement| self.allow.iter().any(|licensee| licensee.satisfies(requirement))) {
            Ok(()) => Verdict::Allowed,
            Err(missing) => {
                let mut missing: Vec<String> = missing.iter().map(|requirement| requirement.req.to_string()).collect();
                missing.dedup();
                Verdict::NotAllowed(format!("its licence {text} is not allowed (missing: {})", missing.join(", ")))
            }
        }
    }
}

impl Exception {
    /// An exception for a package covers the licence it names, however that is written, and a package that states none.
    fn covers(&self, stated: &StatedLicense) -> bool {
        let StatedLicense::Text(text) = stated else { return true };
        let same = |one: &Expression, other: &Expression| one.iter().eq(other.iter());
        *text == self.license || matches!((parse(text), &self.expression), (Ok(one), Some(other)) if same(&one, other))
    }
}

/// Reads an expression, strictly first, then with the old spellings. The error says why it is none.
pub fn parse(text: &str) -> Result<Expression, String> {
    let upper = text.trim().to_ascii_uppercase();
    if upper.starts_with("SEE LICENSE IN") || upper.starts_with("SEE LICENCE IN") {
        return Err(format!("its licence is stated in a file only ({})", text.trim()));
    }
    Expression::parse(text)
        .or_else(|_| {
            // The old ids of the GNU licences mean `-only` (SPDX license list 3.0), `+` after them `-or-later`.
            let canonical = Expression::canonicalize(text)?;
            Expression::parse_mode(canonical.as_deref().unwrap_or(text), ParseMode::LAX)
        })
        .map_err(|error| format!("its licence `{text}` is no SPDX expression: {}", error.reason))
}

/// One licence of the list, in today's spelling of the GNU ids.
fn licensee(text: &str) -> Result<Licensee, spdx::ParseError> {
    let gnu = spdx::license_id(text).filter(|id| id.is_gnu() && id.is_deprecated());
    let canonical = if gnu.is_some() { Expression::canonicalize(text)? } else { None };
    Licensee::parse_mode(canonical.as_deref().unwrap_or(text), ParseMode { allow_deprecated: true, ..ParseMode::STRICT })
}

fn suggestion(text: &str) -> String {
    let near = spdx::imprecise_license_id(text).map(|(id, _)| id.name);
    // ` OR ` in an allow list is two entries.
    match near {
        _ if text.contains(" OR ") || text.contains(" AND ") || text.contains('/') => "List each licence of its own".into(),
        Some(near) => format!("Did you mean `{near}`?"),
        None => "The ids stand at spdx.org/licenses; own licences are written `LicenseRef-…`".into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(allow: &[&str], exceptions: &[(&str, &str)]) -> Policy {
        let allow: Vec<String> = allow.iter().map(|&text| text.into()).collect();
        let exceptions: Vec<_> = exceptions.iter().map(|&(package, license)| (package.into(), license.into(), "agreed".into())).collect();
        Policy::new(&allow, &exceptions).unwrap()
    }

    fn text(text: &str) -> StatedLicense {
        StatedLicense::Text(text.into())
    }

    #[test]
    fn expressions_are_evaluated() {
        let policy = policy(&["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "GPL-3.0-only"], &[]);
        for (stated, allowed) in [
            ("MIT", true),
            ("ISC", false),
            ("MIT OR GPL-2.0-only", true),
            ("MIT AND ISC", false),
            ("(MIT OR ISC) AND Apache-2.0", true),
            ("MIT/Apache-2.0", true),
            ("ISC/BSD-3-Clause", false),
            ("Apache-2.0+", true),
            ("Apache-1.1+", true),
            ("Apache-2.0 WITH LLVM-exception OR ISC", true),
            ("MIT WITH LLVM-exception", false),
            ("GPL-2.0-or-later", false),
            ("GPL-3.0-only", true),
            ("GPL-2.0", false),
            ("GPL-3.0", true),
            ("LicenseRef-Own", false),
        ] {
            let verdict = policy.judge("x", &text(stated));
            assert_eq!(verdict == Verdict::Allowed, allowed, "{stated}: {verdict:?}");
            assert!(!matches!(verdict, Verdict::Unknown(_)), "{stated}: {verdict:?}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let verdict = policy(&["MIT"], &[]).judge("x", &text("MIT AND (ISC OR Zlib)"));
        assert_eq!(verdict, Verdict::NotAllowed("its licence MIT AND (ISC OR Zlib) is not allowed (missing: ISC, Zlib)".into()));
    }

    #[test]
    fn what_nobody_can_tell_is_unknown() {
        let policy = policy(&["MIT"], &[]);
        assert_eq!(policy.judge("x", &StatedLicense::Unknown), Verdict::Unknown("no licence is known for it".into()));
        for stated in ["SEE LICENSE IN LICENSE.md", "Public Domain", "BSD-like", "MIT OR", "(MIT"] {
            assert!(matches!(policy.judge("x", &text(stated)), Verdict::Unknown(_)), "{stated}");
        }
    }

    #[test]
    fn unlicensed_is_not_the_unlicense() {
        let policy = policy(&["MIT", "Unlicense"], &[]);
        assert_eq!(policy.judge("x", &text("Unlicense")), Verdict::Allowed);
        let Verdict::NotAllowed(why) = policy.judge("x", &text("UNLICENSED")) else { panic!("UNLICENSED is not allowed") };
        assert!(why.contains("nobody may use it"), "{why}");
    }

    #[test]
    fn an_exception_is_for_one_package_and_one_licence() {
        let policy = policy(&["MIT"], &[("ring", "ISC AND OpenSSL"), ("odd", "SEE LICENSE IN LICENSE.md"), ("own", "UNLICENSED")]);
        assert_eq!(policy.judge("ring", &text("ISC AND OpenSSL")), Verdict::Excepted(0));
        assert_eq!(policy.judge("ring", &text("(ISC AND OpenSSL)")), Verdict::Excepted(0));
        assert_eq!(policy.judge("ring", &StatedLicense::Unknown), Verdict::Excepted(0));
        assert!(matches!(policy.judge("ring", &text("GPL-3.0-only")), Verdict::NotAllowed(_)));
        assert!(matches!(policy.judge("other", &text("ISC AND OpenSSL")), Verdict::NotAllowed(_)));
        assert_eq!(policy.judge("odd", &text("SEE LICENSE IN LICENSE.md")), Verdict::Excepted(1));
        assert_eq!(policy.judge("own", &text("UNLICENSED")), Verdict::Excepted(2));
    }

    #[test]
    fn old_and_new_spellings_of_gnu_licences_meet() {
        for (allow, stated, allowed) in [
            ("GPL-2.0", "GPL-2.0-only", true),
            ("GPL-2.0-only", "GPL-2.0", true),
            ("GPL-2.0-or-later", "GPL-2.0+", true),
            ("LGPL-2.1-only", "LGPL-3.0", false),
            ("GPL-2.0-only WITH Classpath-exception-2.0", "GPL-2.0 WITH Classpath-exception-2.0", true),
        ] {
            assert_eq!(policy(&[allow], &[]).judge("x", &text(stated)) == Verdict::Allowed, allowed, "{allow}: {stated}");
        }
    }

    #[test]
    fn a_bad_list_says_what_is_meant() {
        let error = |allow: &str| Policy::new(&[allow.into()], &[]).err().unwrap();
        assert!(error("Apache 2.0").contains("`Apache 2.0` is no SPDX license id"));
        assert!(error("apache2").contains("Did you mean `Apache-2.0`?"), "{}", error("apache2"));
        assert!(error("MIT OR ISC").contains("List each licence of its own"));
        let reason = Policy::new(&[], &[("x".into(), "MIT".into(), " ".into())]).err().unwrap();
        assert_eq!(reason, "`licenses.exceptions`: the entry for `x` has an empty `reason`");
    }

    proptest! {
        #[test]
        fn no_stated_licence_makes_it_panic(stated in "[A-Za-z0-9+/() .:-]{0,40}|\\PC{0,20}") {
            let policy = policy(&["MIT"], &[("x", "ISC")]);
            let _ = policy.judge("x", &text(&stated));
        }
    }
}
