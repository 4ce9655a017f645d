//! The order of Alpine's packages, which Wolfi's and Chainguard's share: `1.2.3a_rc4_p5-r6` (apk-tools, `doc/apk-package.5`).
//!
//! Numbers, then at most one letter, then any number of suffixes, then a hash that does not count, then the build (`-r`).

use std::cmp::Ordering;

#[derive(Clone, Debug)]
pub struct Version {
    /// The digits of each number. From the second on, one with a zero in front counts as a fraction does.
    numbers: Vec<String>,
    letter: Option<u8>,
    /// Rank (0 for none, below for what comes before a release) and number.
    suffixes: Vec<(i8, u64)>,
    build: u64,
}

const BEFORE: [&str; 4] = ["alpha", "beta", "pre", "rc"];
const AFTER: [&str; 5] = ["cvs", "svn", "git", "hg", "p"];

impl Version {
    pub fn parse(text: &str) -> Option<Self> {
        let (text, build) = match text.rsplit_once("-r") {
            Some((text, build)) => (text, build.parse().ok()?),
            None => (text, 0),
        };
        let text = match text.split_once('~') {
            Some((text, hash)) if hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => text,
            Some(_) => return None,
            None => text,
        };
        let mut parts = text.split('_');
        let numbers = parts.next()?;
        let (numbers, letter) = match numbers.as_bytes().last()? {
            letter @ b'a'..=b'z' => (&numbers[..numbers.len() - 1], Some(*letter)),
            _ => (numbers, None),
        };
        let numbers = numbers
            .split('.')
            .map(|number| (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then(|| number.to_owned()))
            .collect::<Option<Vec<_>>>()?;
        let suffixes = parts.map(suffix).collect::<Option<Vec<_>>>()?;
        Some(Self { numbers, letter, suffixes, build })
    }

    pub fn compare(&self, other: &Self) -> Ordering {
        compare_numbers(&self.numbers, &other.numbers)
            .then_with(|| self.letter.cmp(&other.letter))
            .then_with(|| compare_suffixes(&self.suffixes, &other.suffixes))
            .then_with(|| self.build.cmp(&other.build))
    }
}

fn suffix(text: &str) -> Option<(i8, u64)> {
    let end = text.find(|letter: char| letter.is_ascii_digit()).unwrap_or(text.len());
    let (name, number) = text.split_at(end);
    let rank = |names: &[&str]| names.iter().position(|known| *known == name).and_then(|at| i8::try_from(at).ok());
    let rank = rank(&BEFORE).map(|at| at - 4).or_else(|| rank(&AFTER).map(|at| at + 1))?;
    Some((rank, if number.is_empty() { 0 } else { number.parse().ok()? }))
}

fn compare_numbers(one: &[String], other: &[String]) -> Ordering {
    for (at, (left, right)) in one.iter().zip(other).enumerate() {
        let order = match at > 0 && (left.starts_with('0') || right.starts_with('0')) {
            true => left.cmp(right),
            false => {
                let (left, right) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
                left.len().cmp(&right.len()).then_with(|| left.cmp(right))
            }
        };
        if order.is_ne() {
            return order;
        }
    }
    one.len().cmp(&other.len())
}

/// One that is missing counts as neither before nor after.
fn compare_suffixes(one: &[(i8, u64)], other: &[(i8, u64)]) -> Ordering {
    let count = one.len().max(other.len());
    let at = |list: &[(i8, u64)], at: usize| list.get(at).copied().unwrap_or_default();
    (0..count).map(|index| at(one, index).cmp(&at(other, index))).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}
