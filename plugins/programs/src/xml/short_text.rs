//! XML whose long texts are cut, on its way to the parser.
//!
//! A report may carry a hundred megabytes of one test's output in a single CDATA section or attribute. The parser holds a text
//! whole, and a stage's memory is bounded; nothing here needs more of a text than its beginning.

use std::io::{self, BufRead, Read};

/// Bytes of one text, CDATA section or attribute that pass.
const KEPT: usize = 128 * 1024;

/// Passes XML through. Only text, attributes and the inside of CDATA sections are cut: between two characters, never inside a
/// reference.
pub(super) struct ShortText<R> {
    input: R,
    output: Vec<u8>,
    given: usize,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Between tags: bytes so far, and whether a reference (`&amp;`) is open.
    Text { length: usize, reference: bool },
    /// Behind `<`, while it is not known what it opens: how much of `![CDATA[` or `!--` has been seen.
    Open { cdata: usize, comment: usize },
    /// In a tag, outside quotes.
    Tag,
    /// In quotes in a tag: like a text.
    Quoted { quote: u8, length: usize, reference: bool },
    /// Bytes so far, and how many `]` were the last ones.
    CData { length: usize, brackets: usize },
    /// How many `-` were the last bytes.
    Comment { dashes: usize },
}

const TEXT: State = State::Text { length: 0, reference: false };

impl<R: BufRead> ShortText<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, output: Vec::with_capacity(64 * 1024), given: 0, state: TEXT }
    }

    fn take(&mut self, byte: u8) {
        // not in the middle of a character
        let starts = byte & 0xc0 != 0x80;
        let (state, passes) = match self.state {
            State::Text { .. } if byte == b'<' => (State::Open { cdata: 0, comment: 0 }, true),
            State::Text { length, reference } => {
                let (length, reference) = text_goes_on(length, reference, byte, starts);
                (State::Text { length, reference }, length != usize::MAX)
            }
            State::Open { cdata, comment } => {
                const CDATA: &[u8] = b"![CDATA[";
                const COMMENT: &[u8] = b"!--";
                let seen = cdata.max(comment);
                let cdata = if cdata == seen && CDATA[cdata] == byte { cdata + 1 } else { 0 };
                let comment = if comment == seen && COMMENT[comment] == byte { comment + 1 } else { 0 };
                let state = match byte {
                    _ if cdata == CDATA.len() => State::CData { length: 0, brackets: 0 },
                    _ if comment == COMMENT.len() => State::Comment { dashes: 0 },
                    _ if cdata + comment > 0 => State::Open { cdata, comment },
                    b'>' => TEXT,
                    b'"' | b'\'' => State::Quoted { quote: byte, length: 0, reference: false },
                    _ => State::Tag,
                };
                (state, true)
            }
            State::Tag => match byte {
                b'>' => (TEXT, true),
                b'"' | b'\'' => (State::Quoted { quote: byte, length: 0, reference: false }, true),
                _ => (State::Tag, true),
            },
            State::Quoted { quote, .. } if quote == byte => (State::Tag, true),
            State::Quoted { quote, length, reference } => {
                let (length, reference) = text_goes_on(length, reference, byte, starts);
                (State::Quoted { quote, length, reference }, length != usize::MAX)
            }
            State::CData { length, brackets } => {
                if byte == b'>' && brackets >= 2 {
                    if length == usize::MAX {
                        self.output.extend_from_slice(b"]]");
                    }
                    (TEXT, true)
                } else {
                    let cut = length >= KEPT && (starts || length == usize::MAX) && (length == usize::MAX || byte != b']');
                    let length = if cut { usize::MAX } else { length.saturating_add(1) };
                    let brackets = if byte == b']' { brackets + 1 } else { 0 };
                    (State::CData { length, brackets }, !cut)
                }
            }
            State::Comment { dashes } => match byte {
                b'>' if dashes >= 2 => (TEXT, true),
                b'-' => (State::Comment { dashes: dashes + 1 }, true),
                _ => (State::Comment { dashes: 0 }, true),
            },
        };
        self.state = state;
        if passes {
            self.output.push(byte);
        }
    }
}

/// How long a text is with one byte more, `usize::MAX` from where it is cut, and whether a reference is open.
fn text_goes_on(length: usize, reference: bool, byte: u8, starts: bool) -> (usize, bool) {
    let cut = length >= KEPT && !reference && starts;
    let length = if cut { usize::MAX } else { length.saturating_add(1) };
    (length, !cut && (byte == b'&' || (reference && byte != b';' && length < KEPT + 64)))
}

impl<R: BufRead> Read for ShortText<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let taken = available.len().min(out.len());
        out[..taken].copy_from_slice(&available[..taken]);
        self.consume(taken);
        Ok(taken)
    }
}

impl<R: BufRead> BufRead for ShortText<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.given == self.output.len() {
            self.output.clear();
            self.given = 0;
            let bytes = match self.input.fill_buf() {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if bytes.is_empty() {
                break;
            }
            // a copy, because `take` needs the whole of `self`
            let bytes = bytes[..bytes.len().min(64 * 1024)].to_vec();
            self.input.consume(bytes.len());
            bytes.iter().for_each(|byte| self.take(*byte));
        }
        Ok(&self.output[self.given..])
    }

    fn consume(&mut self, amount: usize) {
        self.given = (self.given + amount).min(self.output.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn through(xml: &str) -> String {
        let mut out = String::new();
        ShortText::new(xml.as_bytes()).read_to_string(&mut out).unwrap();
        out
    }

    #[test]
    fn short_texts_pass_as_they_are() {
        for xml in [
            "",
            "<a b=\"1 > 0\" c='<'>text &amp; more</a>",
            "<a><![CDATA[ x ]] ]> <b> ]]]></a>",
            "<!-- a -> b -- c --><a/><!DOCTYPE x>",
            "<![CDAT[<![CDATA[",
            "größe",
        ] {
            assert_eq!(through(xml), xml);
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let long = "ä".repeat(KEPT);
        for (open, close) in [("<a>", "</a>"), ("<a><![CDATA[", "]]></a>"), ("<a x='>", "'></a>")] {
            let cut = through(&format!("{open}{long}]] >{close}<b>{long}</b>"));
            assert!(cut.len() < 2 * KEPT + 64 && cut.len() > 2 * KEPT, "{}", cut.len());
            assert!(cut.contains(&format!("ä{close}<b>")), "{open}");
        }
        let references = through(&format!("<a>{}</a>", "&amp;".repeat(KEPT)));
        assert!(references.ends_with("&amp;</a>") && references.len() < KEPT + 64);
        let brackets = through(&format!("<a><![CDATA[{}]]></a>", "x]".repeat(KEPT)));
        assert!(brackets.ends_with("]]></a>") && brackets.len() < KEPT + 64, "{}", brackets.len());
    }

    proptest! {
        #[test]
        fn what_is_short_is_never_changed(xml in "([<>\"'&;\\-\\]\\[!a]|CDATA|ä|<!\\[CDATA\\[|\\]\\]>){0,80}") {
            prop_assert_eq!(through(&xml), xml);
        }
    }
}
