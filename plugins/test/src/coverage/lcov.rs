//! lcov's tracefiles: `geninfo(1)` describes them.

use std::collections::HashMap;
use std::io::BufRead;

use runner_programs::ReadError;
use runner_programs::lines::Lines;

use super::{Coverage, File, Share, What, add};

pub fn read(coverage: &mut Coverage, input: impl BufRead) -> Result<(), ReadError> {
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
            coverage.files.entry(value.to_owned()).or_default();
            path = Some(value.to_owned());
            continue;
        }
        if matches!(key, "TN" | "VER") {
            continue;
        }
        let Some(file) = path.as_ref().and_then(|path| coverage.files.get_mut(path)) else {
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
                let share = if key.ends_with('H') { Share { hit: number, total: 0 } } else { Share { hit: 0, total: number } };
                self.give(what, share);
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
