//! The order of RubyGems, as `Gem::Version` documents it: numbers above words, zeros at the end of a part say nothing.

use std::cmp::Ordering;

#[derive(Clone, Debug)]
pub struct Version(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    /// A word makes a prerelease, so it comes before any number.
    Word(String),
    Number(u64),
}

impl Version {
    pub fn parse(text: &str) -> Option<Self> {
        let (release, prerelease) = match text.split_once('-') {
            Some((release, prerelease)) => (release, Some(prerelease)),
            None => (text, None),
        };
        let word = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let starts_with_number = release.split('.').next().is_some_and(|first| first.bytes().all(|byte| byte.is_ascii_digit()));
        if !starts_with_number
            || !release.split('.').all(|part| word(part) && !part.contains('-'))
            || !prerelease.is_none_or(|parts| parts.split('.').all(word))
        {
            return None;
        }
        let mut segments = split(release)?;
        if let Some(prerelease) = prerelease {
            segments.push(Segment::Word("pre".into()));
            segments.extend(split(&prerelease.replace('-', ".pre."))?);
        }
        // The numbers before the first word and what starts with it lose their zeros at the end, each of its own.
        let first_word = segments.iter().position(|segment| matches!(segment, Segment::Word(_))).unwrap_or(segments.len());
        let mut after = segments.split_off(first_word);
        for part in [&mut segments, &mut after] {
            while part.last() == Some(&Segment::Number(0)) {
                part.pop();
            }
        }
        segments.append(&mut after);
        Some(Self(segments))
    }
}

/// Runs of digits and runs of letters; `None` for a number that no release has.
fn split(text: &str) -> Option<Vec<Segment>> {
    let mut segments = Vec::new();
    for part in text.split(|letter: char| !letter.is_ascii_alphanumeric()) {
        let mut rest = part;
        while let Some(first) = rest.chars().next() {
            let digits = first.is_ascii_digit();
            let end = rest.find(|letter: char| letter.is_ascii_digit() != digits).unwrap_or(rest.len());
            let (run, after) = rest.split_at(end);
            segments.push(if digits { Segment::Number(run.parse().ok()?) } else { Segment::Word(run.into()) });
            rest = after;
        }
    }
    Some(segments)
}

impl Version {
    pub fn compare(&self, other: &Self) -> Ordering {
        const NOTHING: Segment = Segment::Number(0);
        let length = self.0.len().max(other.0.len());
        (0..length)
            .map(|at| self.0.get(at).unwrap_or(&NOTHING).cmp(other.0.get(at).unwrap_or(&NOTHING)))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }
}
