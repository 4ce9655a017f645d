//! Coverage from lcov's tracefiles: `geninfo(1)` describes them. What counts is recomputed from the single records, so that a
//! file that several test processes report is counted once, with the hits of all.

use std::collections::{BTreeMap, HashMap};
use std::io::BufRead;

use runner_programs::lines::Lines;
use serde::Deserialize;

use crate::format::ReadError;

/// Thresholds on the coverage that a tracefile reports.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// lcov's tracefile: a path relative to the workspace, or a pattern with `*`, `?` and `**` for several
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub lcov: String,
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
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Lines,
    Functions,
    Branches,
}

impl What {
    pub const ALL: [Self; 3] = [Self::Lines, Self::Functions, Self::Branches];

    pub fn word(self) -> &'static str {
        match self {
            Self::Lines => "lines",
            Self::Functions => "functions",
            Self::Branches => "branches",
        }
    }

    pub fn threshold(self, settings: &Settings) -> Option<f64> {
        match self {
            Self::Lines => settings.lines,
            Self::Functions => settings.functions,
            Self::Branches => settings.branches,
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
    given: [Share; 3],
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
        };
        if counted.total == 0 { self.given[what as usize] } else { counted }
    }
}

/// What tracefiles say about a project.
#[derive(Debug, Default)]
pub struct Coverage {
    files: BTreeMap<String, File>,
}

impl Coverage {
    /// Adds what a tracefile says. Files that are there already are merged.
    pub fn add(&mut self, input: impl BufRead) -> Result<(), ReadError> {
        let mut lines = Lines::new(input);
        let mut path: Option<String> = None;
        // lcov 2.2 names a function's place and its name apart, by a number
        let mut numbered: HashMap<String, String> = HashMap::new();
        while let Some(line) = lines.next_text()? {
            let line = line.trim();
            let number = lines.number();
            let malformed = |reason: &str| ReadError::Malformed { place: format!("line {number}"), reason: format!("`{line}`: {reason}") };
            if line == "end_of_record" {
                if path.take().is_none() {
                    return Err(malformed("there is no `SF:` before it"));
                }
                numbered.clear();
                continue;
            }
            let Some((key, value)) = line.split_once(':') else {
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                return Err(malformed("no lcov record"));
            };
            if key == "SF" {
                if path.is_some() {
                    return Err(malformed("the record before it has no `end_of_record`"));
                }
                self.files.entry(value.to_owned()).or_default();
                path = Some(value.to_owned());
                continue;
            }
            if matches!(key, "TN" | "VER") {
                continue;
            }
            let Some(file) = path.as_ref().and_then(|path| self.files.get_mut(path)) else {
                return Err(malformed("there is no `SF:` before it"));
            };
            file.record(key, value, &mut numbered).ok_or_else(|| malformed("its fields cannot be read"))?;
        }
        match path {
            None if lines.number() == 0 => Err(ReadError::CutOff { place: "its beginning".into(), reason: "it is empty".into() }),
            None => Ok(()),
            Some(path) => {
                let reason = format!("the record of {path} has no `end_of_record`");
                Err(ReadError::CutOff { place: format!("line {}", lines.number()), reason })
            }
        }
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

impl File {
    /// None if the fields cannot be read; a record of an unknown kind says nothing here.
    fn record(&mut self, key: &str, value: &str, numbered: &mut HashMap<String, String>) -> Option<()> {
        match key {
            "DA" => {
                let mut fields = value.split(',');
                let (line, hits) = (fields.next()?.parse().ok()?, hits(fields.next()?)?);
                add(self.lines.entry(line).or_default(), hits);
            }
            "FN" => {
                // line,name or line,end,name; a C++ name has commas of its own
                let (_, rest) = number_and_rest(value)?;
                let name = number_and_rest(rest).map_or(rest, |(_, name)| name);
                self.functions.entry(name.to_owned()).or_default();
            }
            "FNDA" => {
                let (count, name) = value.split_once(',')?;
                add(self.functions.entry(name.to_owned()).or_default(), hits(count)?);
            }
            "FNL" => {
                let (index, _) = value.split_once(',')?;
                numbered.insert(index.to_owned(), String::new());
            }
            "FNA" => {
                let mut fields = value.splitn(3, ',');
                let (index, count, name) = (fields.next()?, hits(fields.next()?)?, fields.next()?);
                // several names of one place are one function
                let known = numbered.entry(index.to_owned()).or_default();
                if known.is_empty() {
                    *known = name.to_owned();
                }
                add(self.functions.entry(known.clone()).or_default(), count);
            }
            "BRDA" => {
                let mut fields = value.splitn(3, ',');
                let (line, block, rest) = (fields.next()?.parse().ok()?, fields.next()?, fields.next()?);
                let (branch, taken) = rest.rsplit_once(',')?;
                // `-`: the expression was never looked at
                let taken = if taken == "-" { 0 } else { hits(taken)? };
                add(self.branches.entry((line, block.to_owned(), branch.to_owned())).or_default(), taken);
            }
            "LF" | "LH" | "FNF" | "FNH" | "BRF" | "BRH" => {
                let number: u64 = value.trim().parse().ok()?;
                let what = match key.as_bytes()[0] {
                    b'L' => What::Lines,
                    b'F' => What::Functions,
                    _ => What::Branches,
                };
                let given = &mut self.given[what as usize];
                // the same file in several records: the largest of its totals, never their sum
                let field = if key.ends_with('H') { &mut given.hit } else { &mut given.total };
                *field = (*field).max(number);
            }
            _ => {}
        }
        Some(())
    }
}

fn number_and_rest(text: &str) -> Option<(u32, &str)> {
    let (number, rest) = text.split_once(',')?;
    Some((number.parse().ok()?, rest))
}

/// Compilers have been seen to write negative counts; they are read as none.
fn hits(text: &str) -> Option<u64> {
    let number: f64 = text.trim().parse().ok()?;
    Some(if number > 0.0 { number as u64 } else { 0 })
}

fn add(to: &mut u64, hits: u64) {
    *to = to.saturating_add(hits);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn coverage(text: &str) -> Result<Coverage, String> {
        let mut coverage = Coverage::default();
        coverage.add(text.as_bytes()).map_err(|error| error.to_string())?;
        Ok(coverage)
    }

    fn shares(coverage: &Coverage) -> [(u64, u64); 3] {
        What::ALL.map(|what| (coverage.share(what).hit, coverage.share(what).total))
    }

    const NODE: &str = include_str!("../fixtures/node.lcov");
    const JEST: &str = include_str!("../fixtures/jest.lcov");

    #[test]
    fn tracefiles_of_the_real_tools() {
        let node = coverage(NODE).unwrap();
        assert_eq!(shares(&node), [(10, 14), (2, 3), (4, 5)]);
        assert_eq!(node.least(What::Lines, 5), [("lib/stock.js", Share { hit: 8, total: 12 })]);
        let jest = coverage(JEST).unwrap();
        assert_eq!(shares(&jest), [(3, 5), (1, 2), (1, 4)]);
    }

    #[test]
    fn several_records_of_one_file_are_one_file() {
        let twice = coverage("SF:a\nFN:1,f\nFNDA:0,f\nDA:1,0\nDA:2,3\nBRDA:1,0,0,-\nBRDA:1,0,1,2\nLF:2\nLH:1\nend_of_record\nTN:other\nSF:a\nFN:1,9,f\nFNDA:2,f\nDA:1,1\nDA:2,0\nBRDA:1,0,0,0\nBRDA:1,0,1,0\nLF:2\nLH:1\nend_of_record\n").unwrap();
        assert_eq!(shares(&twice), [(2, 2), (1, 1), (1, 2)]);
    }

    #[test]
    fn records_of_newer_and_older_writers() {
        let new = coverage(
            "SF:a\nFNL:0,1,4\nFNA:0,3,f\nFNA:0,2,f_alias\nFNL:1,6\nFNA:1,0,g\nDA:1,1,checksum==\nBRDA:1,e0,a, b,1\nend_of_record\n",
        );
        assert_eq!(shares(&new.unwrap()), [(1, 1), (1, 2), (1, 1)]);
        let totals_alone = coverage("SF:a\nLF:10\nLH:5\nend_of_record\nSF:a\nLF:10\nLH:6\nend_of_record\n").unwrap();
        assert_eq!(shares(&totals_alone), [(6, 10), (0, 0), (0, 0)]);
        let odd = coverage("# comment\nSF:a\nDA:1,-2\nFN:1,std::map<int, int>::at(int, int)\nFNDA:1,std::map<int, int>::at(int, int)\nXYZ:1\nend_of_record\n").unwrap();
        assert_eq!(shares(&odd), [(0, 1), (1, 1), (0, 0)]);
    }

    #[test]
    fn thresholds() {
        let settings = Settings { lcov: String::new(), lines: Some(80.0), functions: Some(50.0), branches: Some(10.0) };
        // 79.999… % is not 80 %
        let mut text = "SF:a\nFN:1,f\nFNDA:1,f\n".to_owned();
        for line in 0..30_000 {
            text.push_str(&format!("DA:{line},{}\n", u8::from(line < 23_999)));
        }
        text.push_str("end_of_record\n");
        let missed: Vec<String> = coverage(&text).unwrap().missed(&settings).into_iter().map(|(_, text)| text).collect();
        assert_eq!(missed, ["lines 79.99 %, below 80 %", "no branches are recorded, of which 10 % should be covered"]);
        let exactly = coverage("SF:a\nDA:1,1\nDA:2,1\nDA:3,1\nDA:4,1\nDA:5,0\nFN:1,f\nFNDA:1,f\nBRDA:1,0,0,1\nend_of_record\n").unwrap();
        assert_eq!(exactly.missed(&settings), []);
    }

    #[test]
    fn the_least_covered_come_first() {
        let text = "SF:all\nDA:1,1\nend_of_record\nSF:half\nDA:1,1\nDA:2,0\nend_of_record\nSF:none-small\nDA:1,0\nend_of_record\nSF:none-large\nDA:1,0\nDA:2,0\nend_of_record\n";
        let coverage = coverage(text).unwrap();
        let names: Vec<&str> = coverage.least(What::Lines, 9).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["none-large", "none-small", "half"]);
        assert_eq!(coverage.least(What::Lines, 1).len(), 1);
    }

    #[test]
    fn what_is_no_tracefile() {
        for (text, expected) in [
            ("", "is cut off at its beginning: it is empty"),
            ("SF:a\nDA:1,1\n", "is cut off at line 2: the record of a has no `end_of_record`"),
            ("SF:a\nSF:b\n", "cannot be understood at line 2: `SF:b`: the record before it has no `end_of_record`"),
            ("DA:1,1\n", "cannot be understood at line 1: `DA:1,1`: there is no `SF:` before it"),
            ("SF:a\nDA:x,1\n", "cannot be understood at line 2: `DA:x,1`: its fields cannot be read"),
            ("<xml>\n", "cannot be understood at line 1: `<xml>`: no lcov record"),
        ] {
            assert_eq!(coverage(text).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_tracefile_that_is_cut_off_is_not_read_as_a_whole_one() {
        // but for a cut between two records, which lcov itself cannot tell from the end
        for text in [NODE, JEST] {
            for end in 0..text.len() {
                let cut = &text[..end];
                let whole_records = cut.trim_end().ends_with("end_of_record") || cut.trim_end().ends_with("TN:");
                assert!(coverage(cut).is_err() || whole_records || end == 0, "cut off at {end}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_input_breaks_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "(SF:a\n)?((DA|FN|FNDA|FNA|FNL|BRDA|LF|BRH):[0-9a,-]{0,12}\n){0,9}(end_of_record\n)?") {
            let _ = Coverage::default().add(&bytes[..]);
            let mut coverage = Coverage::default();
            let _ = coverage.add(text.as_bytes());
            for what in What::ALL {
                let share = coverage.share(what);
                let _ = (share.percent(), coverage.least(what, 3));
            }
        }
    }
}
