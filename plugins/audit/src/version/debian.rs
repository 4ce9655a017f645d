//! The order of Debian's packages, which Ubuntu's share: `[epoch:]upstream[-revision]` (Debian Policy, section 5.6.12).
//!
//! Upstream version and revision are compared alike: runs of other characters and runs of digits by turns. In the former letters
//! come before everything else, and `~` before even the end.

use std::cmp::Ordering;

#[derive(Clone, Debug)]
pub struct Version {
    epoch: u64,
    upstream: String,
    revision: String,
}

impl Version {
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) => (epoch.parse().ok()?, rest),
            None => (0, text),
        };
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        let allowed = |text: &str, more: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.as_bytes().contains(&byte));
        // The policy wants a digit in front; some real packages (and advisories) start with a letter.
        let valid =
            !upstream.is_empty() && allowed(upstream, ".+-:~") && allowed(revision, ".+~") && text.contains(|c: char| c.is_ascii_digit());
        valid.then(|| Self { epoch, upstream: upstream.into(), revision: revision.into() })
    }

    pub fn compare(&self, other: &Self) -> Ordering {
        self.epoch
            .cmp(&other.epoch)
            .then_with(|| compare_part(&self.upstream, &other.upstream))
            .then_with(|| compare_part(&self.revision, &other.revision))
    }
}

fn compare_part(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    while !one.is_empty() || !other.is_empty() {
        loop {
            let (left, right) = (weight(one), weight(other));
            if left == 0 && right == 0 {
                break;
            }
            if left != right {
                return left.cmp(&right);
            }
            (one, other) = (&one[1..], &other[1..]);
        }
        let (left, right);
        ((left, one), (right, other)) = (super::digits(one), super::digits(other));
        let order = left.len().cmp(&right.len()).then_with(|| left.cmp(right));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// What the first character counts where no digit stands; 0 for a digit and for the end.
fn weight(text: &[u8]) -> i32 {
    match text.first() {
        None => 0,
        Some(byte) if byte.is_ascii_digit() => 0,
        Some(b'~') => -1,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    }
}
