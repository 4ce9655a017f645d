//! Coverage as suites report it. What counts is recomputed from the single records where a report has them, so that a file that
//! several test processes report is counted once, with the hits of all.

use std::collections::{BTreeMap, HashMap};
use std::io::BufRead;

use runner_programs::ReadError;
use serde::Deserialize;

mod cobertura;
mod istanbul;
mod lcov;

/// Thresholds on the coverage that the suites report. At least one report is named.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// lcov's tracefile: a path relative to the workspace, or a pattern with `*`, `?` and `**` for several
    #[serde(default)]
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub lcov: Option<String>,
    /// Cobertura's XML, likewise
    #[serde(default)]
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub cobertura: Option<String>,
    /// Istanbul's `coverage-summary.json`, likewise
    #[serde(default)]
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub istanbul: Option<String>,
    /// The least percentage of lines
    #[serde(default)]
    #[cfg_attr(test, schemars(range(min = 0, max = 100)))]
    pub lines: Option<f64>,
    /// The least percentage of functions
    #[serde(default)]
    #[cfg_attr(test, schemars(range(min = 0, max = 100)))]
    pub functions: Option<f64>,
    /// The least percentage of branches
    #[serde(default)]
    #[cfg_attr(test, schemars(range(min = 0, max = 100)))]
    pub branches: Option<f64>,
    /// The least percentage of statements, which only Istanbul counts
    #[serde(default)]
    #[cfg_attr(test, schemars(range(min = 0, max = 100)))]
    pub statements: Option<f64>,
}

impl Settings {
    /// The reports that are named, each with its path or pattern.
    pub fn reports(&self) -> impl Iterator<Item = (Report, &str)> {
        let named = [(Report::Lcov, &self.lcov), (Report::Cobertura, &self.cobertura), (Report::Istanbul, &self.istanbul)];
        named.into_iter().filter_map(|(report, path)| Some((report, path.as_deref()?)))
    }
}

/// How coverage is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    Lcov,
    Cobertura,
    Istanbul,
}

impl Report {
    /// What is read, for a file that turned out to be something else.
    pub fn reads(self) -> &'static str {
        match self {
            Self::Lcov => "`coverage.lcov` reads lcov's tracefile",
            Self::Cobertura => "`coverage.cobertura` reads Cobertura's XML",
            Self::Istanbul => "`coverage.istanbul` reads what the reporter `json-summary` writes",
        }
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Lines,
    Functions,
    Branches,
    Statements,
}

impl What {
    pub const ALL: [Self; 4] = [Self::Lines, Self::Functions, Self::Branches, Self::Statements];

    pub fn word(self) -> &'static str {
        match self {
            Self::Lines => "lines",
            Self::Functions => "functions",
            Self::Branches => "branches",
            Self::Statements => "statements",
        }
    }

    pub fn threshold(self, settings: &Settings) -> Option<f64> {
        match self {
            Self::Lines => settings.lines,
            Self::Functions => settings.functions,
            Self::Branches => settings.branches,
            Self::Statements => settings.statements,
        }
    }
}

/// How many there are, and how many were reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    pub hit: u64,
    pub total: u64,
}

impl Share {
    /// In percent, rounded down to hundredths, so that 79.999 is not shown as the 80 that it misses. None of nothing.
    pub fn percent(self) -> Option<f64> {
        (self.total > 0).then(|| (self.hit as f64 * 10_000.0 / self.total as f64).floor() / 100.0)
    }

    fn reaches(self, threshold: f64) -> bool {
        self.hit as f64 * 100.0 >= threshold * self.total as f64
    }
}

/// One source file.
#[derive(Debug, Default)]
struct File {
    lines: BTreeMap<u32, u64>,
    functions: HashMap<String, u64>,
    branches: HashMap<(u32, String, String), u64>,
    /// Totals as given, for files that list nothing.
    given: [Share; 4],
}

impl File {
    fn share(&self, what: What) -> Share {
        let of = |hits: &mut dyn Iterator<Item = u64>| {
            hits.fold(Share::default(), |share, hits| Share { hit: share.hit + u64::from(hits > 0), total: share.total + 1 })
        };
        let counted = match what {
            What::Lines => of(&mut self.lines.values().copied()),
            What::Functions => of(&mut self.functions.values().copied()),
            What::Branches => of(&mut self.branches.values().copied()),
            What::Statements => Share::default(),
        };
        if counted.total == 0 { self.given[what as usize] } else { counted }
    }

    /// Takes totals up. The same file in several reports: the largest of its totals, never their sum.
    fn give(&mut self, what: What, share: Share) {
        let given = &mut self.given[what as usize];
        *given = Share { hit: given.hit.max(share.hit), total: given.total.max(share.total) };
    }
}

/// What the reports say about a project.
#[derive(Debug, Default)]
pub struct Coverage {
    files: BTreeMap<String, File>,
}

impl Coverage {
    /// Adds what a report says. Files that are there already are merged.
    pub fn add(&mut self, report: Report, input: impl BufRead) -> Result<(), ReadError> {
        match report {
            Report::Lcov => lcov::read(self, input),
            Report::Cobertura => cobertura::read(self, input),
            Report::Istanbul => istanbul::read(self, input),
        }
    }

    /// The file of that name, which may have been in another report.
    fn file(&mut self, path: &str) -> &mut File {
        self.files.entry(path.to_owned()).or_default()
    }

    pub fn share(&self, what: What) -> Share {
        self.files
            .values()
            .map(|file| file.share(what))
            .fold(Share::default(), |a, b| Share { hit: a.hit + b.hit, total: a.total + b.total })
    }

    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The files with the least coverage, the worst first; among equals the one that misses most.
    pub fn least(&self, what: What, most: usize) -> Vec<(&str, Share)> {
        let mut files: Vec<(&str, Share)> = self.files.iter().map(|(path, file)| (path.as_str(), file.share(what))).collect();
        files.retain(|(_, share)| share.hit < share.total);
        // a / b < c / d without dividing
        files.sort_by(|(a, x), (b, y)| {
            let left = u128::from(x.hit) * u128::from(y.total);
            let right = u128::from(y.hit) * u128::from(x.total);
            left.cmp(&right).then((y.total - y.hit).cmp(&(x.total - x.hit))).then(a.cmp(b))
        });
        files.truncate(most);
        files
    }

    /// The thresholds that are missed, in words: `lines 72.5 % of 80 %`.
    pub fn missed(&self, settings: &Settings) -> Vec<(What, String)> {
        let mut missed = Vec::new();
        for what in What::ALL {
            let Some(threshold) = what.threshold(settings) else { continue };
            let (word, share) = (what.word(), self.share(what));
            match share.percent() {
                // a threshold that nothing is measured against would hold for ever
                None => missed.push((what, format!("no {word} are recorded, of which {threshold} % should be covered"))),
                Some(percent) if !share.reaches(threshold) => missed.push((what, format!("{word} {percent} %, below {threshold} %"))),
                Some(_) => {}
            }
        }
        missed
    }
}

fn add(to: &mut u64, hits: u64) {
    *to = to.saturating_add(hits);
}

#[cfg(test)]
#[path = "coverage/tests.rs"]
mod tests;
