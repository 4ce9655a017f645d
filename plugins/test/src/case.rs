//! One test and how it ended, and what was read of a suite, in the terms that all formats share.

use std::time::Duration;

use runner_sdk::report::{Location, TestStatus};

/// Characters of a message that are kept: the reason comes first, and the whole output is in the log.
const LONGEST: usize = 16 * 1024;

/// One test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What it belongs to: a test binary, a class; empty where the format has no such thing.
    pub group: String,
    /// Its name, with the names of the tests and suites around it first.
    pub parts: Vec<String>,
    pub status: TestStatus,
    /// Zero where the format does not say.
    pub took: Duration,
    /// Why it failed or was skipped; empty if there is nothing to say.
    pub message: String,
    /// Where the format says that the test is, with the path as printed.
    pub location: Option<Location>,
    /// Where it failed, where the format knows that better than the message's own words.
    pub failed_at: Option<Location>,
    /// The file that the test came from, as printed; empty where the format does not say.
    pub file: String,
}

impl Case {
    pub fn new(group: impl Into<String>, name: impl Into<String>, status: TestStatus) -> Self {
        Self {
            group: group.into(),
            parts: vec![name.into()],
            status,
            took: Duration::ZERO,
            message: String::new(),
            location: None,
            failed_at: None,
            file: String::new(),
        }
    }

    pub fn with_message(mut self, message: impl AsRef<str>) -> Self {
        self.message = shortened(message.as_ref());
        self
    }

    /// Its name within the group: `cart > with one item > throws`.
    pub fn name(&self) -> String {
        self.parts.join(" > ")
    }

    /// Its name within the suite.
    pub fn full_name(&self) -> String {
        let name = self.name();
        // jest-junit gives the whole name as class and as name
        if self.group.is_empty() || name.starts_with(&self.group) { name } else { format!("{} {name}", self.group) }
    }

    pub fn failed(&self) -> bool {
        matches!(self.status, TestStatus::Failed | TestStatus::Errored)
    }

    /// Whether the other is the same test in another run.
    pub fn is(&self, other: &Self) -> bool {
        // a binary is not always known, see `libtest`
        self.parts == other.parts && (self.group == other.group || self.group.is_empty() || other.group.is_empty())
    }
}

/// What was read of one run of a suite.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reading {
    pub cases: Vec<Case>,
    /// What kept the suite from running to its end: the suite is errored.
    pub trouble: Vec<String>,
    /// Worth a line in the log.
    pub notes: Vec<String>,
    /// The run ended at a failure, before everything had its turn: re-running what failed cannot make it whole.
    pub partial: bool,
}

impl Reading {
    pub fn join(&mut self, other: Self) {
        self.cases.extend(other.cases);
        self.trouble.extend(other.trouble);
        self.notes.extend(other.notes);
        self.partial |= other.partial;
    }
}

/// The beginning of a text, without blank lines around it.
pub fn shortened(text: &str) -> String {
    let text = text.trim_matches(['\n', '\r']).trim_end();
    match text.char_indices().nth(LONGEST) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}\n[… {} bytes left out]", &text[..at], text.len() - at),
    }
}

/// A number of seconds as reports have it: `0.013`, `1,234.567` (Surefire groups the thousands), `0,5` (a decimal comma).
pub fn seconds(text: &str) -> Duration {
    let text = text.trim();
    let plain = match (text.contains(','), text.contains('.')) {
        (true, true) => text.replace(',', ""),
        (true, false) if text.matches(',').count() == 1 => text.replace(',', "."),
        (true, false) => text.replace(',', ""),
        _ => text.to_owned(),
    };
    let number: f64 = plain.parse().unwrap_or(0.0);
    // a test that took a year did not
    if number.is_finite() && number > 0.0 { Duration::from_secs_f64(number.min(31_536_000.0)) } else { Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, millis) in [
            ("0.013", 13),
            ("1,234.567", 1_234_567),
            ("0,5", 500),
            ("1,234,567", 1_234_567_000),
            ("", 0),
            ("NaN", 0),
            ("-1", 0),
            ("inf", 0),
        ] {
            assert_eq!(seconds(text).as_millis(), millis, "{text}");
        }
    }

    #[test]
    fn names() {
        let case = |group: &str, name: &str| Case::new(group, name, TestStatus::Passed).full_name();
        assert_eq!(case("shop", "tests::adds"), "shop tests::adds");
        assert_eq!(case("cart adds up", "cart adds up"), "cart adds up");
        assert_eq!(case("", "adds"), "adds");
    }

    #[test]
    fn long_messages_keep_their_beginning() {
        let text = shortened(&"ä".repeat(20_000));
        assert!(text.starts_with("ää") && text.ends_with("[… 7232 bytes left out]"), "{}", &text[text.len() - 40..]);
    }
}
