//! The order of Composer: a version is brought into its normal form (four numbers, stability, `-dev`), and two of those are
//! compared as PHP's `version_compare` does.
//!
//! Deliberately absent: branches (`dev-main`). Composer itself lets no range contain them, since nobody knows what they hold.

use std::cmp::Ordering;

#[derive(Clone, Debug)]
pub struct Version(Vec<Piece>);

#[derive(Clone, Copy, Debug)]
enum Piece {
    Number(u64),
    /// `dev` 0, `alpha` 1, `beta` 2, `RC` 3, `patch` 5; a number counts as 4 against these.
    Stability(u8),
}

const NUMBER: u8 = 4;
/// What Composer puts for the `x` of a branch such as `1.x-dev`.
const ANY: u64 = 9_999_999;

impl Version {
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.split_once('+').map_or(text, |(version, _)| version).to_ascii_lowercase();
        let text = text.strip_prefix('v').unwrap_or(&text);
        let (text, dev) = match text.strip_suffix("dev") {
            Some(before) => (before.strip_suffix(['-', '.']).unwrap_or(before), true),
            None => (text, false),
        };
        let (numbers, rest) = numbers(text, dev)?;
        let mut pieces: Vec<Piece> = numbers.into_iter().map(Piece::Number).collect();
        stability(rest, &mut pieces)?;
        if dev {
            pieces.push(Piece::Stability(0));
        }
        Some(Self(pieces))
    }
}

/// The numbers in front, filled up to four, and what comes after them. Of a branch, `x` stands for any number.
fn numbers(text: &str, branch: bool) -> Option<(Vec<u64>, &str)> {
    let mut numbers = Vec::new();
    let mut rest = text;
    let mut open = false;
    loop {
        if branch && !numbers.is_empty() && rest.starts_with(['x', '*']) {
            rest = &rest[1..];
            numbers.push(ANY);
            open = true;
        } else {
            let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
            numbers.push(rest[..end].parse().ok()?);
            rest = &rest[end..];
        }
        match rest.strip_prefix('.') {
            Some(after) if after.starts_with(|letter: char| letter.is_ascii_digit() || (branch && matches!(letter, 'x' | '*'))) => {
                rest = after
            }
            _ => break,
        }
    }
    // A longer list of numbers is a date, which keeps all of its parts.
    let date = numbers[0] > 99_999 || numbers.len() > 4;
    if !date || open {
        let filler = if open { ANY } else { 0 };
        while numbers.len() < 4 {
            numbers.push(filler);
        }
    }
    Some((numbers, rest))
}

/// `-RC1`, `beta.2`, `_p3`; nothing at all is stable.
fn stability(text: &str, pieces: &mut Vec<Piece>) -> Option<()> {
    let text = text.strip_prefix(['-', '.', '_']).unwrap_or(text);
    if text.is_empty() || text == "stable" {
        return Some(());
    }
    let end = text.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(text.len());
    pieces.push(Piece::Stability(match &text[..end] {
        "alpha" | "a" => 1,
        "beta" | "b" => 2,
        "rc" => 3,
        "patch" | "pl" | "p" => 5,
        _ => return None,
    }));
    for number in text[end..].split(['.', '-']).filter(|part| !part.is_empty()) {
        pieces.push(Piece::Number(number.parse().ok()?));
    }
    Some(())
}

impl Version {
    pub fn compare(&self, other: &Self) -> Ordering {
        for at in 0.. {
            let order = match (self.0.get(at), other.0.get(at)) {
                (None, None) => break,
                // More numbers are more; a stability is less or more than none.
                (Some(Piece::Number(_)), None) => Ordering::Greater,
                (None, Some(Piece::Number(_))) => Ordering::Less,
                (Some(Piece::Number(one)), Some(Piece::Number(other))) => one.cmp(other),
                (one, other) => rank(one).cmp(&rank(other)),
            };
            if order.is_ne() {
                return order;
            }
        }
        Ordering::Equal
    }
}

fn rank(piece: Option<&Piece>) -> u8 {
    match piece {
        Some(Piece::Stability(rank)) => *rank,
        Some(Piece::Number(_)) | None => NUMBER,
    }
}
