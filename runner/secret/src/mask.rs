//! Keeps the bytes of secrets out of everything that is shown, written or handed to a stage.
//!
//! A match is replaced by as many `*`, so that lengths (of a body, of a JSON text) stay true. Looked for are the bytes themselves and the
//! forms in which programs print them without meaning to: base64 at each of its three alignments and in both alphabets, percent-encoded,
//! escaped for JSON, in hexadecimal, and the lines of a value that has several. A stream holds back what may be the beginning of one of
//! them, and no more. Deliberately absent: what a program does on purpose (a cipher, one letter a line): no mask can find that.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::value::{SHORTEST, Value, is_unreserved, json, percent};

/// What stands in the place of a secret's byte.
pub const MASK: u8 = b'*';
/// A line of a value with several is looked for on its own from this length on.
const LINE: usize = 16;
/// Where tools break base64: `base64` and MIME, PEM.
const WRAPPED: [usize; 2] = [76, 64];

/// All that is to be hidden in one run; grows as secrets are fetched.
#[derive(Default)]
pub struct Mask {
    known: RwLock<Option<Arc<Needles>>>,
}

struct Needles {
    automaton: AhoCorasick,
    needles: BTreeSet<Vec<u8>>,
    longest: usize,
}

impl Mask {
    /// From now on this value is hidden.
    pub fn learn(&self, value: &Value) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let mut needles = known.as_ref().map(|known| known.needles.clone()).unwrap_or_default();
        needles.extend(parts(value.expose()).into_iter().flat_map(forms));
        let longest = needles.iter().map(Vec::len).max().unwrap_or(0);
        // not a DFA, whose building takes the square of a long value that repeats itself
        let automaton = AhoCorasick::builder().match_kind(MatchKind::Standard).kind(Some(AhoCorasickKind::ContiguousNFA)).build(&needles);
        // it fails only for more needles than a machine can hold; without an automaton nothing could be shown safely
        let automaton = automaton.expect("the needles of a run fit");
        *known = Some(Arc::new(Needles { automaton, needles, longest }));
    }

    fn needles(&self) -> Option<Arc<Needles>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn is_empty(&self) -> bool {
        self.needles().is_none()
    }

    pub fn hides(&self, bytes: &[u8]) -> bool {
        self.needles().is_some_and(|needles| needles.automaton.is_match(bytes))
    }

    pub fn bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        match self.needles() {
            Some(needles) if needles.automaton.is_match(bytes) => {
                let mut masked = bytes.to_vec();
                needles.cover(bytes, &mut masked);
                Cow::Owned(masked)
            }
            _ => Cow::Borrowed(bytes),
        }
    }

    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.bytes(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            // a value that is no text can end inside a character
            Cow::Owned(bytes) => {
                Cow::Owned(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
            }
        }
    }

    /// Every string of a JSON value. The keys are names and stay.
    pub fn json(&self, value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) => {
                if let Cow::Owned(masked) = self.text(text) {
                    *text = masked;
                }
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(|item| self.json(item)),
            serde_json::Value::Object(fields) => fields.values_mut().for_each(|field| self.json(field)),
            _ => {}
        }
    }
}

impl Needles {
    /// Overwrites every match of `raw` in `out`, overlapping ones too.
    fn cover(&self, raw: &[u8], out: &mut [u8]) {
        for found in self.automaton.find_overlapping_iter(raw) {
            out[found.range()].fill(MASK);
        }
    }

    /// How many bytes at the end may be the beginning of something to hide.
    fn pending(&self, raw: &[u8]) -> usize {
        let most = raw.len().min(self.longest.saturating_sub(1));
        (1..=most)
            .rev()
            .find(|length| {
                let end = &raw[raw.len() - length..];
                // in order, those that begin with `end` come first of all that are not smaller
                let from = (std::ops::Bound::Excluded(end), std::ops::Bound::Unbounded);
                self.needles.range::<[u8], _>(from).next().is_some_and(|needle| needle.starts_with(end))
            })
            .unwrap_or(0)
    }
}

/// One stream of bytes on its way to where people or stages see it.
#[derive(Default)]
pub struct Stream {
    /// What is held back, as it came and as it would be shown: a match that ended in it stays hidden.
    raw: Vec<u8>,
    shown: Vec<u8>,
}

impl Stream {
    /// Takes what comes and answers with what can be shown.
    pub fn push<'a>(&mut self, mask: &Mask, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(needles) = mask.needles() else { return Cow::Borrowed(bytes) };
        if self.raw.is_empty() && !needles.automaton.is_match(bytes) && needles.pending(bytes) == 0 {
            return Cow::Borrowed(bytes);
        }
        self.raw.extend_from_slice(bytes);
        self.shown.extend_from_slice(bytes);
        needles.cover(&self.raw, &mut self.shown);
        let ready = self.raw.len() - needles.pending(&self.raw);
        self.raw.drain(..ready);
        Cow::Owned(self.shown.drain(..ready).collect())
    }

    /// What was held back, at the end of the stream.
    pub fn finish(&mut self) -> Vec<u8> {
        self.raw.clear();
        std::mem::take(&mut self.shown)
    }
}

/// Whether what is printed now is what was recorded, hidden or not: a run that is replayed need not know its secrets.
pub fn alike(now: &[u8], recorded: &[u8]) -> bool {
    now.len() == recorded.len() && now.iter().zip(recorded).all(|(now, recorded)| now == recorded || *recorded == MASK)
}

/// A secret that is a URL is so for what follows the host, and for the password in it: servers repeat those alone.
fn parts(value: &[u8]) -> Vec<&[u8]> {
    let mut parts = vec![value];
    let Some(start) = value.windows(3).position(|window| window == b"://") else { return parts };
    let rest = &value[start + 3..];
    let slash = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(slash);
    if let Some(at) = authority.iter().rposition(|b| *b == b'@') {
        let password = authority[..at].split(|b| *b == b':').next_back().unwrap_or_default();
        parts.extend(Some(password).filter(|password| password.len() >= SHORTEST));
    }
    parts.extend(Some(path).filter(|path| path.len() >= LINE));
    parts
}

/// Everything that a value may look like.
fn forms(value: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::from([value.to_vec()]);
    let mut add = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut form = Vec::with_capacity(value.len() * 2);
        write(&mut form);
        forms.insert(form);
    };
    for lower in [false, true] {
        add(&|out| percent(value, is_unreserved, lower, out));
        // ECMAScript's encodeURIComponent, and encodeURI
        add(&|out| percent(value, |b| is_unreserved(b) || b"!*'()".contains(&b), lower, out));
        add(&|out| percent(value, |b| is_unreserved(b) || b"!*'();/?:@&=+$,#".contains(&b), lower, out));
        // application/x-www-form-urlencoded
        add(&|out| {
            percent(value, |b| b == b' ' || b.is_ascii_alphanumeric() || b"*-._".contains(&b), lower, out);
            out.iter_mut().filter(|b| **b == b' ').for_each(|b| *b = b'+');
        });
        add(&|out| {
            percent(value, |_| false, lower, out);
            out.retain(|b| *b != b'%');
        });
    }
    if let Ok(text) = std::str::from_utf8(value) {
        add(&|out| json(text, false, out));
        add(&|out| json(text, true, out));
    }
    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        for before in 0..3 {
            let mut bytes = vec![0; before];
            bytes.extend_from_slice(value);
            let whole = engine.encode(&bytes);
            // only the characters that hold nothing of what stands around
            forms.insert(whole.as_bytes()[(before * 8).div_ceil(6)..bytes.len() * 8 / 6].to_vec());
        }
        let whole = engine.encode(value);
        for width in WRAPPED.into_iter().filter(|width| whole.len() > *width) {
            forms.extend(whole.as_bytes().chunks(width).filter(|line| line.len() >= LINE).map(<[u8]>::to_vec));
        }
    }
    let lines = value.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    forms.extend(lines.filter(|line| line.len() >= LINE).map(<[u8]>::to_vec));
    forms
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "s3cr3t/va+lue\"ä";

    fn mask(values: &[&[u8]]) -> Mask {
        let mask = Mask::default();
        for value in values {
            mask.learn(&Value::new(value.to_vec()).unwrap());
        }
        mask
    }

    #[test]
    fn every_form_is_hidden_and_lengths_stay() {
        let mask = mask(&[SECRET.as_bytes()]);
        let encoded = |before: &str, after: &str| {
            let text = format!("{before}{SECRET}{after}");
            [STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text)]
        };
        let mut cases = vec![
            SECRET.to_owned(),
            "s3cr3t%2Fva%2Blue%22%C3%A4".to_owned(),
            "s3cr3t%2fva%2blue%22%c3%a4".to_owned(),
            "s3cr3t/va+lue%22%C3%A4".to_owned(),
            "s3cr3t/va+lue\\\"ä".to_owned(),
            "s3cr3t/va+lue\\\"\\u00e4".to_owned(),
            "7333637233742f76612b6c756522c3a4".to_owned(),
        ];
        for before in ["", "u", "us", "user:"] {
            for after in ["", "x", "xy"] {
                cases.extend(encoded(before, after));
            }
        }
        for case in cases {
            let text = format!("a {case} b");
            let masked = mask.text(&text);
            assert_eq!(masked.len(), text.len(), "{case}");
            assert!(masked.contains("********"), "{case}: {masked}");
            assert!(!masked.contains("s3cr3t"), "{masked}");
            // what is left of base64 is what the neighbours decide
            let left = masked.trim_start_matches("a ").trim_end_matches(" b").bytes().filter(|b| *b != MASK).count();
            assert!(left <= 12, "{case}: {masked}");
        }
        assert!(matches!(mask.text("s3cr3t/va+lu and no more"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_stream_holds_back_only_what_may_be_a_secret() {
        let mask = mask(&[b"abcdefgh", b"defghxyz"]);
        let mut stream = Stream::default();
        assert_eq!(&*stream.push(&mask, b"one abc"), b"one ");
        assert_eq!(&*stream.push(&mask, b"d two\n"), b"abcd two\n");
        // the end of one is the beginning of the other
        assert_eq!(&*stream.push(&mask, b"abcdefgh"), b"***");
        assert_eq!(&*stream.push(&mask, b"xyz!"), b"********!");
        assert_eq!(&*stream.push(&mask, b"abcdefgh"), b"***");
        assert_eq!(stream.finish(), b"*****");
        assert_eq!(&*stream.push(&mask, b"abcdefg"), b"");
        assert_eq!(stream.finish(), b"abcdefg");
    }

    #[test]
    fn lines_and_wrapped_base64_are_hidden() {
        let key = "-----BEGIN KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v\r\nVpguoRK9JLsLMREScVpezJpGXA7r\n-----END KEY-----\n";
        let mask = mask(&[key.as_bytes()]);
        assert_eq!(mask.text("| MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v |"), "| **************************** |");
        let whole = STANDARD_NO_PAD.encode(key);
        for width in WRAPPED {
            let lines: Vec<&str> = whole.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).unwrap()).collect();
            assert!(lines.iter().filter(|line| line.len() >= LINE).all(|line| mask.text(line).bytes().all(|b| b == MASK)), "{width}");
        }
    }

    #[test]
    fn what_is_secret_in_a_url_is_hidden_without_its_host() {
        let mask = mask(&[b"https://hooks.example/services/T0/B1/abcdef", b"postgres://app:p4ssw0rd!@db/app"]);
        assert_eq!(mask.text("Cannot POST /services/T0/B1/abcdef"), "Cannot POST **********************");
        assert_eq!(mask.text("hooks.example is down"), "hooks.example is down");
        assert_eq!(mask.text("user app, password p4ssw0rd!"), "user app, password *********");
    }

    #[test]
    fn strings_within_json_are_hidden() {
        let mask = mask(&[b"pass\"word"]);
        let mut value = serde_json::json!({ "a": ["x pass\"word"], "b": { "c": "pass%22word" }, "n": 3 });
        mask.json(&mut value);
        assert_eq!(value, serde_json::json!({ "a": ["x *********"], "b": { "c": "***********" }, "n": 3 }));
    }

    #[test]
    fn what_was_hidden_is_like_what_was_printed() {
        assert!(alike(b"a secret", b"a ******"));
        assert!(!alike(b"a secret", b"b ******") && !alike(b"a secret", b"a *****"));
    }

    proptest! {
        /// However a text is cut, a stream shows what the whole text shows.
        #[test]
        fn chunks_make_no_difference(
            pieces in proptest::collection::vec(prop_oneof![Just("abcabcabd"), Just("abcabcab"), Just("abc"), Just("bcabd"), Just("aabcabca"), Just("-")], 0..12),
            cuts in proptest::collection::vec(1usize..9, 1..20),
        ) {
            let mask = mask(&[b"abcabcabd", b"cabdabca", b"aabcabca"]);
            let text = pieces.concat().into_bytes();
            let (mut stream, mut shown, mut at) = (Stream::default(), Vec::new(), 0);
            for cut in cuts.iter().cycle() {
                if at == text.len() { break; }
                let end = text.len().min(at + cut);
                shown.extend_from_slice(&stream.push(&mask, &text[at..end]));
                at = end;
            }
            shown.extend(stream.finish());
            prop_assert_eq!(shown, mask.bytes(&text).into_owned());
        }
    }
}
