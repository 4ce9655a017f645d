//! What `cargo test` prints: libtest's human output, of one test binary after the other.
//!
//! Which binary it is, cargo says on standard error (`Running unittests src/lib.rs (…)`, `Doc-tests shop`), libtest's own words
//! come on standard output: a block a binary, from `running 3 tests` to `test result: …`. The two are put together by their
//! order; where they do not match (a binary with a harness of its own prints no block) the blocks stay without a name. A
//! program that joins both streams is understood as well.
//!
//! Under `--nocapture` tests print in the middle of libtest's lines. What counts then is libtest's own account at the end of a
//! block: its totals and its list of failures; the lines only give the names. A block without that end is a process that died.

use std::collections::VecDeque;
use std::io::BufRead;
use std::time::Duration;

use runner_programs::ReadError;
use runner_programs::lines::Lines;
use runner_sdk::report::{Location, TestStatus};

use super::not_too_many;
use crate::case::{Case, Reading, seconds, shortened};

/// Characters of one test's output that are kept.
const OUTPUT_KEPT: usize = 32 * 1024;

pub fn read(stdout: impl BufRead, stderr: impl BufRead) -> Result<Reading, ReadError> {
    let Cargo { mut binaries, mut ending } = read_cargo(stderr)?;
    // where cargo's lines are on the other stream, those on this one are a test's own
    let mut parser = Parser { joined: binaries.is_empty(), ..Parser::default() };
    let mut lines = Lines::new(stdout);
    while let Some(line) = lines.next_text()? {
        parser.line(&line);
        not_too_many(parser.cases, || format!("line {}", lines.number()))?;
    }
    parser.end_block(None);
    let joined = std::mem::take(&mut parser.binaries);
    let interleaved = !joined.is_empty();
    if interleaved {
        binaries = joined;
        ending = parser.ending;
    }
    let mut reading = put_together(parser.blocks, binaries, interleaved);
    reading.partial = ending.failed && !ending.went_on;
    Ok(reading)
}

/// What cargo says on standard error.
#[derive(Default)]
struct Cargo {
    binaries: Vec<Binary>,
    ending: Ending,
}

/// Whether cargo went on after a failing binary.
#[derive(Clone, Copy, Default)]
struct Ending {
    failed: bool,
    went_on: bool,
}

impl Ending {
    /// `error: test failed, to rerun pass …` after each failing binary; `error: 2 targets failed:` at the end of a run that did
    /// not stop at the first (`--no-fail-fast`).
    fn line(&mut self, line: &str) {
        let Some(error) = line.strip_prefix("error: ") else { return };
        self.failed |= error.starts_with("test failed, to rerun pass") || error.starts_with("doctest failed, to rerun pass");
        self.went_on |= error.ends_with(" target failed:") || error.ends_with(" targets failed:");
    }
}

/// A test binary that cargo said it runs.
#[derive(Debug, Default)]
struct Binary {
    name: String,
    is_doc: bool,
    /// How its process ended, where that was not libtest's doing.
    died: Option<String>,
    /// The block that was the next one when the binary started; known only where the streams are one.
    block: usize,
}

/// `Running unittests src/lib.rs (target/debug/deps/shop-507999230d6984fa)`, `Running tests/checkout.rs (…)`, `Doc-tests shop`.
fn binary(line: &str) -> Option<Binary> {
    let line = line.trim();
    if let Some(name) = line.strip_prefix("Doc-tests ") {
        return Some(Binary { name: format!("{} (doc)", name.trim()), is_doc: true, ..Binary::default() });
    }
    let (what, path) = line.strip_prefix("Running ")?.strip_suffix(')')?.rsplit_once(" (")?;
    let file = path.rsplit(['/', '\\']).next()?;
    let file = file.strip_suffix(".exe").unwrap_or(file);
    let (name, hash) = file.rsplit_once('-')?;
    let hashed = hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    (hashed && !what.is_empty()).then(|| Binary { name: name.to_owned(), ..Binary::default() })
}

/// `process didn't exit successfully: `target/debug/deps/shop-…` (signal: 6, SIGABRT: process abort signal)`.
fn death(line: &str) -> Option<String> {
    let rest = line.trim().strip_prefix("process didn't exit successfully: `")?;
    let how = rest.rsplit_once("` (")?.1.strip_suffix(')')?;
    Some(how.to_owned())
}

fn read_cargo(stderr: impl BufRead) -> Result<Cargo, ReadError> {
    let mut cargo = Cargo::default();
    let mut lines = Lines::new(stderr);
    while let Some(line) = lines.next_text()? {
        cargo.ending.line(&line);
        if let Some(binary) = binary(&line) {
            cargo.binaries.push(binary);
        } else if let (Some(how), Some(binary)) = (death(&line), cargo.binaries.last_mut()) {
            binary.died.get_or_insert(how);
        }
    }
    Ok(cargo)
}

/// The end of a block in libtest's words.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Totals {
    passed: u64,
    failed: u64,
    ignored: u64,
    measured: u64,
}

fn totals(line: &str) -> Option<Totals> {
    let rest = line.strip_prefix("test result: ")?;
    let rest = rest.strip_prefix("ok. ").or_else(|| rest.strip_prefix("FAILED. "))?;
    let mut parts = rest.split("; ");
    let mut next = |word: &str| parts.next()?.strip_suffix(word)?.trim().parse::<u64>().ok();
    let totals = Totals { passed: next("passed")?, failed: next("failed")?, ignored: next("ignored")?, measured: next("measured")? };
    next("filtered out")?;
    Some(totals)
}

/// `running 3 tests`.
fn running(line: &str) -> Option<u64> {
    let rest = line.strip_prefix("running ")?;
    rest.strip_suffix(" tests").or_else(|| rest.strip_suffix(" test"))?.parse().ok()
}

#[derive(Debug, Default)]
struct Block {
    expected: u64,
    cases: Vec<Case>,
    /// Names that were announced and whose answer was not seen.
    pending: Vec<String>,
    totals: Option<Totals>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Tests,
    /// `failures:` or `successes:` with each test's output.
    Outputs { of_failures: bool },
}

#[derive(Default)]
struct Parser {
    blocks: Vec<Block>,
    open: Option<Block>,
    part: Part,
    /// The test whose output is being read.
    output: Option<(String, String)>,
    outputs: Vec<(String, String)>,
    /// The indented names under the last `failures:`.
    listed: Vec<String>,
    listing: bool,
    before_blank: bool,
    /// Both streams come as one.
    joined: bool,
    binaries: Vec<Binary>,
    ending: Ending,
    /// Of all blocks that are closed, and of the open one as libtest announced it.
    cases: usize,
}

impl Parser {
    fn line(&mut self, line: &str) {
        let after_blank = std::mem::replace(&mut self.before_blank, line.is_empty());
        if self.open.is_none() || self.part == Part::Tests {
            // a test may print such lines itself; libtest's come after a blank one
            if let Some(expected) = running(line).filter(|_| self.open.is_none() || after_blank) {
                self.end_block(None);
                self.cases = self.cases.saturating_add(usize::try_from(expected).unwrap_or(usize::MAX));
                self.open = Some(Block { expected, ..Block::default() });
                return;
            }
            if let Some(binary) = binary(line).filter(|_| self.joined) {
                self.end_block(None);
                self.binaries.push(Binary { block: self.blocks.len(), ..binary });
                return;
            }
        }
        self.ending.line(line);
        if let (Some(how), Some(binary)) = (death(line), self.binaries.last_mut()) {
            binary.died.get_or_insert(how);
        }
        let Some(block) = &mut self.open else { return };
        if let Some(totals) = totals(line)
            // what a test printed about tests of its own does not add up
            && totals.passed + totals.failed + totals.ignored + totals.measured == block.expected
        {
            self.end_block(Some(totals));
            return;
        }
        match self.part {
            Part::Tests if line == "failures:" => self.part = Part::Outputs { of_failures: true },
            Part::Tests if line == "successes:" => self.part = Part::Outputs { of_failures: false },
            Part::Tests => block.test_line(line),
            Part::Outputs { .. } => self.output_line(line),
        }
    }

    /// A line between `failures:` and the end of the block: outputs under their headings, then the names once more.
    fn output_line(&mut self, line: &str) {
        if line == "failures:" || line == "successes:" {
            self.end_output();
            self.listed.clear();
            self.listing = true;
            self.part = Part::Outputs { of_failures: line == "failures:" };
            return;
        }
        let heading = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" ----"));
        let heading = heading.and_then(|heading| heading.strip_suffix(" stdout").or_else(|| heading.strip_suffix(" stderr")));
        if let Some(name) = heading
            && self.open.as_ref().is_some_and(|block| block.cases.is_empty() || block.knows(name))
        {
            self.end_output();
            self.listing = false;
            self.output = Some((name.to_owned(), String::new()));
            return;
        }
        if let Some((_, text)) = &mut self.output
            && text.len() < OUTPUT_KEPT
        {
            text.push_str(line);
            text.push('\n');
        } else if self.listing
            && let Some(name) = line.strip_prefix("    ")
        {
            self.listed.push(name.trim_end().to_owned());
        }
    }

    fn end_output(&mut self) {
        self.outputs.extend(self.output.take());
    }

    /// Closes the open block: with its totals, or without where its process died.
    fn end_block(&mut self, totals: Option<Totals>) {
        self.end_output();
        let of_failures = self.part == Part::Outputs { of_failures: true };
        let outputs = std::mem::take(&mut self.outputs);
        let listed = std::mem::take(&mut self.listed);
        self.part = Part::Tests;
        self.listing = false;
        let Some(mut block) = self.open.take() else { return };
        block.close(totals, if of_failures { listed } else { Vec::new() }, outputs);
        self.blocks.push(block);
    }
}

impl Block {
    fn knows(&self, name: &str) -> bool {
        self.cases.iter().any(|case| case.parts[0] == name) || self.pending.iter().any(|pending| pending == name)
    }

    fn test_line(&mut self, line: &str) {
        if let Some((name, rest)) =
            line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ").or(rest.strip_suffix(" ...").map(|name| (name, ""))))
        {
            match status(rest, rest) {
                Some(answer) => self.add(name, answer),
                None => self.pending.push(plain(name).to_owned()),
            }
            return;
        }
        if line.starts_with("test ") && line.contains(" has been running for over ") {
            return;
        }
        // a test's own output without a line feed, then libtest's line
        if let Some(at) = line.rfind("test ")
            && let Some((name, rest)) = line[at + 5..].split_once(" ... ")
            && !name.contains(' ')
            && let Some(answer) = status(rest, "")
        {
            self.add(name, answer);
            return;
        }
        // a test's own output, then libtest's answer
        if self.pending.len() == 1
            && let Some(answer) = status(line, line)
        {
            let name = self.pending.remove(0);
            self.add(&name, answer);
        }
    }

    fn add(&mut self, name: &str, (status, message, took): (TestStatus, String, Duration)) {
        // rustdoc's names say where the code is: `src/lib.rs - total (line 11)`
        let name = plain(name);
        let mut case = Case::new("", name, status).with_message(message);
        case.took = took;
        case.location = doc_place(name);
        self.cases.push(case);
    }

    fn close(&mut self, totals: Option<Totals>, listed: Vec<String>, outputs: Vec<(String, String)>) {
        self.totals = totals;
        for name in std::mem::take(&mut self.pending) {
            let answer = match totals {
                None => (TestStatus::Errored, "was running when the process ended".to_owned(), Duration::ZERO),
                Some(_) => (TestStatus::Passed, String::new(), Duration::ZERO),
            };
            self.add(&name, answer);
        }
        for name in listed {
            match self.cases.iter_mut().find(|case| case.parts[0] == name) {
                Some(case) => case.status = TestStatus::Failed,
                None => self.add(&name, (TestStatus::Failed, String::new(), Duration::ZERO)),
            }
        }
        for (name, text) in outputs {
            if let Some(case) = self.cases.iter_mut().find(|case| case.parts[0] == name && case.failed()) {
                case.message = shortened(&without_backtrace(&text));
            }
        }
        let Some(totals) = totals else { return };
        // libtest's totals stand, whatever could be read of the lines
        for (status, number) in [
            (TestStatus::Passed, totals.passed + totals.measured),
            (TestStatus::Failed, totals.failed),
            (TestStatus::Skipped, totals.ignored),
        ] {
            let seen = self.cases.iter().filter(|case| case.status == status).count() as u64;
            for nth in seen..number {
                self.cases.push(Case::new("", format!("(test {}, its name was not shown)", nth + 1), status));
            }
        }
    }
}

/// What stands behind a test's name and is not part of it.
fn plain(name: &str) -> &str {
    [" - should panic", " - compile fail", " - compile"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

/// libtest's answer: all of `rest`, or the end of `ending` where a test printed something before it.
fn status(rest: &str, ending: &str) -> Option<(TestStatus, String, Duration)> {
    let none = |status| (status, String::new(), Duration::ZERO);
    // with `--report-time`: `ok <0.013s>`
    let (answer, took) = match rest.strip_suffix("s>").and_then(|timed| timed.rsplit_once(" <")) {
        Some((answer, time)) => (answer, seconds(time)),
        None => (rest, Duration::ZERO),
    };
    match answer {
        "ok" => Some((TestStatus::Passed, String::new(), took)),
        "FAILED" => Some((TestStatus::Failed, String::new(), took)),
        "FAILED (time limit exceeded)" => Some((TestStatus::Failed, "took longer than the time limit".to_owned(), took)),
        "ignored" => Some(none(TestStatus::Skipped)),
        _ if answer.starts_with("ignored, ") => Some((TestStatus::Skipped, answer[9..].to_owned(), took)),
        _ if answer.trim_start().starts_with("bench:") => Some(none(TestStatus::Passed)),
        _ if ending.ends_with("FAILED") => Some(none(TestStatus::Failed)),
        _ if ending.ends_with("ok") => Some(none(TestStatus::Passed)),
        _ => None,
    }
}

fn doc_place(name: &str) -> Option<Location> {
    let (path, rest) = name.split_once(" - ")?;
    let line = rest.strip_suffix(')')?.rsplit_once("(line ")?.1.parse().ok()?;
    Some(Location::line(path, line))
}

/// A panic's words without the frames, which say nothing in a report.
fn without_backtrace(text: &str) -> String {
    let mut kept = Vec::new();
    let mut frames = false;
    for line in text.lines() {
        let frame = line.starts_with(' ')
            && (line.trim_start().starts_with("at ") || line.trim_start().split_once(':').is_some_and(|(n, _)| n.parse::<u32>().is_ok()));
        match line {
            "stack backtrace:" => frames = true,
            _ if frames && frame => {}
            _ if line.starts_with("note: run with `RUST_BACKTRACE=") || line.starts_with("note: Some details are omitted") => {
                frames = false
            }
            _ => {
                frames = false;
                kept.push(line);
            }
        }
    }
    kept.join("\n")
}

fn put_together(blocks: Vec<Block>, binaries: Vec<Binary>, interleaved: bool) -> Reading {
    let mut reading = Reading::default();
    if let Some(silent) = binaries.len().checked_sub(blocks.len()).filter(|silent| *silent > 0) {
        let of = binaries.len();
        reading
            .notes
            .push(format!("{silent} of {of} test binaries printed no list of tests (`harness = false`?): their tests are not counted"));
    }
    let names = names(&blocks, &binaries, interleaved);
    let unfinished = blocks.iter().filter(|block| block.totals.is_none()).count();
    let mut deaths: VecDeque<&Binary> = binaries.iter().filter(|binary| binary.died.is_some()).collect();
    for (mut block, name) in blocks.into_iter().zip(names) {
        let binary = name.map(|index| &binaries[index]);
        if block.totals.is_none() {
            let died = binary
                .filter(|binary| binary.died.is_some())
                .or_else(|| if unfinished == deaths.len() { deaths.pop_front() } else { None });
            let name = binary.or(died).map_or("a test binary".to_owned(), |binary| format!("`{}`", binary.name));
            let how =
                died.and_then(|binary| binary.died.clone()).map_or("its output ends".to_owned(), |how| format!("its process died ({how})"));
            let seen = block.cases.iter().filter(|case| case.status != TestStatus::Errored).count();
            reading.trouble.push(format!("{name}: {how} after {seen} of {} tests", block.expected));
        }
        for case in &mut block.cases {
            case.group = binary.map(|binary| binary.name.clone()).unwrap_or_default();
        }
        reading.cases.append(&mut block.cases);
        if block.totals.is_none() {
            let group = binary.map(|binary| binary.name.clone()).unwrap_or_default();
            let trouble = reading.trouble.last().cloned().unwrap_or_default();
            reading.cases.push(Case::new(group, "(its process)", TestStatus::Errored).with_message(trouble));
        }
    }
    // a binary that died before its first word
    if reading.trouble.is_empty() {
        for binary in binaries.iter().filter(|binary| binary.died.is_some() && !reading.cases.iter().any(|case| case.group == binary.name))
        {
            let how = binary.died.as_deref().unwrap_or_default();
            reading.trouble.push(format!("`{}`: its process died ({how})", binary.name));
        }
    }
    reading
}

/// For each block, which binary it is of.
fn names(blocks: &[Block], binaries: &[Binary], interleaved: bool) -> Vec<Option<usize>> {
    if interleaved {
        let of_block = |block| binaries.iter().rposition(|binary| binary.block == block);
        return (0..blocks.len()).map(of_block).collect();
    }
    if blocks.len() == binaries.len() {
        return (0..blocks.len()).map(Some).collect();
    }
    // some binary printed no block; documentation tests are known by their names and run last
    let is_doc = |block: &Block| !block.cases.is_empty() && block.cases.iter().all(|case| case.location.is_some());
    let docs: Vec<usize> = (0..binaries.len()).filter(|index| binaries[*index].is_doc).collect();
    let doc_blocks: Vec<usize> = (0..blocks.len()).filter(|index| is_doc(&blocks[*index])).collect();
    let mut names = vec![None; blocks.len()];
    if docs.len() == 1 && doc_blocks.len() == 1 {
        names[doc_blocks[0]] = Some(docs[0]);
    }
    names
}
