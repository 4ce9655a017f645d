//! Text without terminal escapes: tools colour their output when a setting of the project says so, even into a pipe.

use std::borrow::Cow;

const ESC: char = '\u{1b}';

/// `text` without escape sequences as ECMA-48 gives them: control sequences (`ESC [ … final byte`), operating system
/// commands (`ESC ] … BEL` or `ESC \`), and the two- and three-byte escapes such as `ESC ( B`.
pub fn strip(text: &str) -> Cow<'_, str> {
    if !text.contains(ESC) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(next) = rest.next() {
        if next != ESC {
            plain.push(next);
            continue;
        }
        match rest.next() {
            Some('[') => {
                let _ = rest.find(|c| ('\u{40}'..='\u{7e}').contains(c));
            }
            Some(']') => {
                let mut before = '\0';
                for c in rest.by_ref() {
                    if c == '\u{7}' || (before == ESC && c == '\\') {
                        break;
                    }
                    before = c;
                }
            }
            // an intermediate byte, then the final one
            Some('\u{20}'..='\u{2f}') => {
                let _ = rest.next();
            }
            Some(_) | None => {}
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::strip;

    #[test]
    fn colours_go_and_text_stays() {
        let cases = [
            ("plain", "plain"),
            ("\u{1b}[1m\u{1b}[92m    Running\u{1b}[0m tests/a.rs", "    Running tests/a.rs"),
            ("\u{1b}[31m-old\n\u{1b}(B\u{1b}[m+new", "-old\n+new"),
            ("\u{1b}]8;;https://example.test\u{7}link\u{1b}]8;;\u{1b}\\ end", "link end"),
            ("cut \u{1b}", "cut "),
            ("cut \u{1b}[3", "cut "),
            ("größe \u{1b}[0m✔", "größe ✔"),
        ];
        for (text, plain) in cases {
            assert_eq!(strip(text), plain, "{text:?}");
        }
    }
}
