//! `go test -json`: one event a line, as `go doc cmd/test2json` describes them, with what versions before 1.24 print instead of events
//! where a package does not build (`FAIL shop/cart [build failed]`).
//!
//! A test with subtests is a group, as in the other formats: its subtests count, and it counts itself only if it failed though none
//! of them did.

use std::collections::{HashMap, HashSet};
use std::io::BufRead;

use runner_programs::lines::Lines;
use runner_programs::{ReadError, json};
use runner_sdk::report::{Location, TestStatus};
use serde::Deserialize;

use super::not_too_many;
use crate::case::{Case, Reading, seconds};

/// Bytes of one test's output that are kept until it has ended.
const KEPT: usize = 32 * 1024;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Line {
    action: String,
    #[serde(default)]
    package: String,
    #[serde(default)]
    test: String,
    #[serde(default)]
    elapsed: f64,
    #[serde(default)]
    output: String,
    /// Of a package that is built.
    #[serde(default)]
    import_path: String,
    /// What a package failed for that was not built.
    #[serde(default)]
    failed_build: String,
}

#[derive(Default)]
struct Package {
    ended: bool,
    /// What it printed outside its tests.
    output: String,
    tests: Vec<Test>,
    places: HashMap<String, usize>,
}

#[derive(Default)]
struct Test {
    name: String,
    output: String,
    status: Option<TestStatus>,
    elapsed: f64,
}

#[derive(Default)]
struct Parser {
    /// In the order in which they came.
    names: Vec<String>,
    packages: HashMap<String, Package>,
    builds: HashMap<String, String>,
    tests: usize,
    reading: Reading,
}

pub fn read(input: impl BufRead) -> Result<Reading, ReadError> {
    let mut lines = Lines::new(input);
    let mut parser = Parser::default();
    let mut foreign: Option<(u64, String)> = None;
    while let Some(line) = lines.next_line()? {
        if line.first() == Some(&b'{') {
            match serde_json::from_slice(line) {
                Ok(line) => parser.event(line),
                Err(error) => return Err(json::explain(&error, lines.number() as usize - 1)),
            }
        } else if !line.trim_ascii().is_empty() {
            let text = String::from_utf8_lossy(line).into_owned();
            if !parser.plain(&text) {
                foreign.get_or_insert((lines.number(), text));
            }
        }
        not_too_many(parser.tests, || format!("line {}", lines.number()))?;
    }
    if let Some(name) = parser.names.iter().find(|name| !parser.packages[*name].ended) {
        return Err(ReadError::cut_off(format_args!("line {}", lines.number()), format!("the package {name} has no end")));
    }
    if parser.names.is_empty() && parser.reading.trouble.is_empty() {
        return Err(match foreign {
            Some((number, text)) => {
                let text: String = text.chars().take(80).collect();
                ReadError::malformed(
                    format_args!("line {number}"),
                    format!("`{text}` is no event, and none follows; does `run` say `-json`?"),
                )
            }
            None => ReadError::cut_off("its beginning", "go printed nothing"),
        });
    }
    Ok(parser.finish())
}

impl Parser {
    fn event(&mut self, line: Line) {
        if !line.import_path.is_empty() {
            keep(self.builds.entry(line.import_path).or_default(), &line.output);
            return;
        }
        if line.package.is_empty() {
            return;
        }
        if !self.packages.contains_key(&line.package) {
            self.names.push(line.package.clone());
        }
        let package = self.packages.entry(line.package.clone()).or_default();
        if line.test.is_empty() {
            match line.action.as_str() {
                "output" => keep(&mut package.output, &line.output),
                "pass" | "skip" => package.ended = true,
                "fail" => {
                    package.ended = true;
                    let any_failed = package.tests.iter().any(|test| matches!(test.status, None | Some(TestStatus::Failed)));
                    if !any_failed {
                        let words = self.builds.get(&line.failed_build).unwrap_or(&package.output);
                        let what = if line.failed_build.is_empty() { "failed outside its tests" } else { "cannot be built" };
                        self.reading.trouble.push(format!("{} {what}: {}", line.package, telling(words)));
                    }
                }
                _ => {}
            }
            return;
        }
        let at = *package.places.entry(line.test.clone()).or_insert_with(|| {
            self.tests += 1;
            package.tests.push(Test { name: line.test.clone(), ..Test::default() });
            package.tests.len() - 1
        });
        let test = &mut package.tests[at];
        match line.action.as_str() {
            "output" if !is_frame(&line.output) => keep(&mut test.output, &line.output),
            "pass" | "bench" => {
                test.status = Some(TestStatus::Passed);
                // what a test that passed printed is of no use any more
                test.output = String::new();
            }
            "fail" => test.status = Some(TestStatus::Failed),
            "skip" => test.status = Some(TestStatus::Skipped),
            // with `-count=2` it begins anew, and a failure stays
            _ => {}
        }
        test.elapsed = test.elapsed.max(line.elapsed);
    }

    /// Takes up a line that is no event, and answers whether it is known.
    fn plain(&mut self, line: &str) -> bool {
        let Some((package, why)) = line.strip_prefix("FAIL\t").and_then(|rest| rest.split_once(" [")) else { return false };
        let what = match why.trim_end_matches(']') {
            "build failed" => "cannot be built",
            "setup failed" => "cannot be set up",
            _ => return false,
        };
        self.reading.trouble.push(format!("{package} {what}: go says why on its standard error"));
        true
    }

    fn finish(mut self) -> Reading {
        for name in self.names {
            let Some(package) = self.packages.remove(&name) else { continue };
            let groups: HashSet<&str> = package.tests.iter().flat_map(|test| above(&test.name)).collect();
            let not_passed = |test: &&Test| !matches!(test.status, Some(TestStatus::Passed | TestStatus::Skipped));
            let failing: HashSet<&str> = package.tests.iter().filter(not_passed).flat_map(|test| above(&test.name)).collect();
            for test in &package.tests {
                let is_group = groups.contains(test.name.as_str());
                let own_failure = not_passed(&test) && !failing.contains(test.name.as_str());
                if !is_group || own_failure {
                    self.reading.cases.push(case(&name, test));
                }
            }
        }
        self.reading
    }
}

/// The names of the tests around a subtest: of `TestA/b/c` these are `TestA/b` and `TestA`.
fn above(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('/').map(|(at, _)| &name[..at])
}

fn case(package: &str, test: &Test) -> Case {
    let (status, message) = match test.status {
        Some(status) => (status, test.output.clone()),
        None => (TestStatus::Errored, format!("it never ended: its process died\n{}", test.output)),
    };
    let mut case = Case::new(package, "", status).with_message(message);
    case.parts = test.name.split('/').map(str::to_owned).collect();
    case.took = seconds(&test.elapsed.to_string());
    // go names a file without its folder; the folder is somewhere at the end of the package's name
    case.failed_at = crate::place::places(&case.message)
        .next()
        .filter(|place| case.failed() && !place.path.contains('/'))
        .map(|place| Location { path: format!("/{package}/{}", place.path), ..place });
    case
}

/// `=== RUN   TestA`, `--- FAIL: TestA (0.00s)`: what go says itself.
fn is_frame(output: &str) -> bool {
    ["=== RUN ", "=== PAUSE ", "=== CONT ", "=== NAME "].iter().any(|frame| output.starts_with(frame))
        || ["--- PASS: ", "--- FAIL: ", "--- SKIP: ", "--- BENCH: "].iter().any(|frame| output.trim_start().starts_with(frame))
}

fn keep(kept: &mut String, output: &str) {
    if kept.len() < KEPT {
        kept.extend(output.chars().take(KEPT));
    }
}

/// The line that says most about why a package failed.
fn telling(output: &str) -> String {
    let lines = || output.lines().map(str::trim).filter(|line| !line.is_empty());
    let says_more = |line: &&str| !line.starts_with(['#', '?']) && !line.starts_with("FAIL") && *line != "PASS";
    lines().find(says_more).or(lines().next()).unwrap_or("go does not say why").chars().take(300).collect()
}
