//! Where a part of a string stands in the file, through quotes and escapes, so that a reference inside a string can be underlined.

use std::cell::OnceCell;

use crate::diagnostic::Span;

/// A string value and the literal that it was read from.
pub(crate) struct Literal<'a> {
    text: &'a str,
    span: &'a Span,
    value: &'a str,
    /// Made when it is first asked for: most strings have nothing to underline.
    starts: OnceCell<Option<Vec<usize>>>,
}

impl<'a> Literal<'a> {
    pub fn new(text: &'a str, span: &'a Span, value: &'a str) -> Self {
        Literal { text, span, value, starts: OnceCell::new() }
    }

    /// The place of a part, a byte range of the value. The whole literal if the two can't be brought together.
    pub fn place(&self, part: std::ops::Range<usize>) -> Span {
        let find = || byte_starts(self.text.get(self.span.clone())?, self.value);
        let Some(starts) = self.starts.get_or_init(find) else { return self.span.clone() };
        let start = starts[part.start.min(self.value.len())];
        let end = starts[part.end.clamp(part.start, self.value.len())];
        self.span.start + start..self.span.start + end
    }
}

/// The place of a part of the string `value` that stands at `span`.
pub(crate) fn place(text: &str, span: &Span, value: &str, part: std::ops::Range<usize>) -> Span {
    Literal::new(text, span, value).place(part)
}

/// For each byte of `value`, and for its end, the offset in `source` where it begins.
fn byte_starts(source: &str, value: &str) -> Option<Vec<usize>> {
    let (quote, basic) = if source.starts_with("\"\"\"") {
        (3, true)
    } else if source.starts_with("'''") {
        (3, false)
    } else if source.starts_with('"') {
        (1, true)
    } else if source.starts_with('\'') {
        (1, false)
    } else {
        return None;
    };
    let inner = source.get(quote..source.len().checked_sub(quote)?)?;
    let mut at = quote;
    if quote == 3 {
        at += if inner.starts_with("\r\n") { 2 } else { usize::from(inner.starts_with('\n')) };
    }
    let end = source.len() - quote;
    let mut starts = Vec::with_capacity(value.len() + 1);
    let mut decoded = value.chars();
    while at < end {
        let rest = &source[at..end];
        let first = rest.chars().next()?;
        if basic && first == '\\' {
            if let Some(skipped) = continuation(rest) {
                at += skipped;
                continue;
            }
            let width = match rest.as_bytes().get(1)? {
                b'x' => 4,
                b'u' => 6,
                b'U' => 10,
                _ => 2,
            };
            starts.extend(std::iter::repeat_n(at, decoded.next()?.len_utf8()));
            at += width;
            continue;
        }
        // The reader turns CRLF in multi-line strings into LF, or keeps it; both are met here.
        let next = decoded.next()?;
        if first == '\r' && next == '\n' {
            starts.push(at);
            at += 2;
        } else if first == next {
            starts.extend((0..first.len_utf8()).map(|byte| at + byte));
            at += first.len_utf8();
        } else {
            return None;
        }
    }
    starts.push(end);
    (decoded.next().is_none() && starts.len() == value.len() + 1).then_some(starts)
}

/// The length of a backslash at the end of a line with the white space that it swallows.
fn continuation(rest: &str) -> Option<usize> {
    let after = &rest[1..];
    let trimmed = after.trim_start_matches([' ', '\t', '\n', '\r']);
    after[..after.len() - trimmed.len()].contains('\n').then_some(rest.len() - trimmed.len())
}

#[cfg(test)]
mod tests {
    use super::place;
    use crate::node::Value;
    use crate::raw;

    fn shown<'a>(text: &'a str, part: &str) -> &'a str {
        let root = raw::tree(text).unwrap();
        let Value::Table(table) = &root.value else { panic!() };
        let node = table.get("a").unwrap();
        let Value::String(value) = &node.value else { panic!() };
        let start = value.find(part).unwrap();
        &text[place(text, &node.span, value, start..start + part.len())]
    }

    #[test]
    fn parts_of_strings_are_found_in_the_file() {
        for (text, part, expected) in [
            ("a = \"x ${y} z\"", "${y}", "${y}"),
            ("a = 'x ${y} z'", "${y}", "${y}"),
            ("a = \"\\t\\u00e4 ä ${y}\"", "${y}", "${y}"),
            ("a = \"${default(y, \\\"n\\\")}\"", "${default(y, \"n\")}", "${default(y, \\\"n\\\")}"),
            ("a = \"\"\"\nx ${y}\n\"\"\"", "${y}", "${y}"),
            ("a = \"\"\"\nx \\\n   ${y}\n\"\"\"", "${y}", "${y}"),
            ("a = '''\r\nx\r\n${y}\r\n'''", "${y}", "${y}"),
            ("a = \"\\x41\\e\\U0001F600${y}\"", "${y}", "${y}"),
            ("a = \"${y}\"", "", ""),
        ] {
            assert_eq!(shown(text, part), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_string_literal_is_underlined_whole() {
        assert_eq!(place("a = 12", &(4..6), "12", 0..1), 4..6);
        assert_eq!(place("short", &(0..900), "x", 0..1), 0..900);
    }
}
