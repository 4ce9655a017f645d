//! The order of rpm: `[epoch:]version[-release]`, each part by `rpmvercmp` (rpm's manual page `rpm-version(7)`).
//!
//! A part is split into runs of digits and of letters; everything else only separates. Digits are newer than letters, more runs
//! newer than fewer. `~` comes before everything, the end included; `^` after the end and before everything else.

use std::cmp::Ordering;

#[derive(Clone, Debug)]
pub struct Version {
    epoch: u64,
    version: String,
    /// `None`: advisories may leave it out, and then it does not count.
    release: Option<String>,
}

impl Version {
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) => (epoch.parse().ok()?, rest),
            None => (0, text),
        };
        let (version, release) = match rest.rsplit_once('-') {
            Some((version, release)) => (version, Some(release)),
            None => (rest, None),
        };
        let valid =
            |text: &str| text.contains(|c: char| c.is_ascii_alphanumeric()) && !text.contains(|c: char| c.is_whitespace() || c == ':');
        let valid = valid(version) && release.is_none_or(valid);
        valid.then(|| Self { epoch, version: version.into(), release: release.map(str::to_owned) })
    }

    pub fn compare(&self, other: &Self) -> Ordering {
        self.epoch.cmp(&other.epoch).then_with(|| compare_part(&self.version, &other.version)).then_with(|| {
            match (&self.release, &other.release) {
                (Some(one), Some(other)) => compare_part(one, other),
                // A total order needs one of them to be first.
                (one, other) => one.is_some().cmp(&other.is_some()),
            }
        })
    }
}

/// rpm's own `rpmvercmp`, rule by rule.
pub(super) fn compare_part(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    loop {
        (one, other) = (separated(one), separated(other));
        match (one.first(), other.first()) {
            (Some(b'~'), Some(b'~')) | (Some(b'^'), Some(b'^')) => {
                (one, other) = (&one[1..], &other[1..]);
                continue;
            }
            (Some(b'~'), _) => return Ordering::Less,
            (_, Some(b'~')) => return Ordering::Greater,
            (Some(b'^'), None) => return Ordering::Greater,
            (None, Some(b'^')) => return Ordering::Less,
            (Some(b'^'), Some(_)) => return Ordering::Less,
            (Some(_), Some(b'^')) => return Ordering::Greater,
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(left), Some(right)) => match (left.is_ascii_digit(), right.is_ascii_digit()) {
                (true, false) => return Ordering::Greater,
                (false, true) => return Ordering::Less,
                (numeric, _) => {
                    let (left, right);
                    let order = if numeric {
                        ((left, one), (right, other)) = (super::digits(one), super::digits(other));
                        left.len().cmp(&right.len()).then_with(|| left.cmp(right))
                    } else {
                        ((left, one), (right, other)) = (letters(one), letters(other));
                        left.cmp(right)
                    };
                    if order.is_ne() {
                        return order;
                    }
                }
            },
        }
    }
}

fn separated(text: &[u8]) -> &[u8] {
    let counts = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'~' | b'^');
    &text[text.iter().position(counts).unwrap_or(text.len())..]
}

fn letters(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(text.len()))
}
