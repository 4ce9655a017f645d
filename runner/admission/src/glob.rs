//! Patterns of names and texts: `*` is anything without a slash, `**` anything.

use std::fmt::{self, Display};

use serde::Serialize;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no pattern: it has to say something, and in one line", .0.escape_debug())]
pub struct GlobError(pub String);

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Glob(String);

impl Glob {
    /// # Errors
    /// If it is empty, or has control characters.
    pub fn parse(text: &str) -> Result<Glob, GlobError> {
        if text.is_empty() || text.chars().any(char::is_control) { Err(GlobError(text.to_owned())) } else { Ok(Glob(text.to_owned())) }
    }

    /// Whether it stands for one text alone.
    pub fn is_exact(&self) -> bool {
        !self.0.contains('*')
    }

    /// Byte by byte: two ways to write a letter are two letters. A text with blanks or control characters fits none that does not write them.
    pub fn fits(&self, text: &str) -> bool {
        fits(self.0.as_bytes(), text.as_bytes())
    }
}

impl Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a star stands, and how far the text was when it was met: enough to try again with one byte more. Two of them, because only the last `**` and the
/// last `*` behind it can still be wrong; so it is never slower than pattern times text squared.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut single = None;
    let mut double = None;
    loop {
        if pattern[p..].starts_with(b"**") {
            p += 2;
            double = Some((p, t));
            single = None;
        } else if pattern.get(p) == Some(&b'*') {
            p += 1;
            single = Some((p, t));
        } else if p == pattern.len() && t == text.len() {
            return true;
        } else if p < pattern.len() && pattern.get(p) == text.get(t) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((after, from)) = single.filter(|(_, from)| text.get(*from).is_some_and(|byte| plain(*byte) && *byte != b'/')) {
            single = Some((after, from + 1));
            (p, t) = (after, from + 1);
        } else if let Some((after, from)) = double.filter(|(_, from)| text.get(*from).is_some_and(|byte| plain(*byte))) {
            double = Some((after, from + 1));
            single = None;
            (p, t) = (after, from + 1);
        } else {
            return false;
        }
    }
}

/// What a star may stand for.
fn plain(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f
}
