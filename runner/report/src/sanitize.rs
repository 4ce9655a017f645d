//! Text from stages made harmless for a terminal.
//!
//! Whatever a stage writes (its log, its summary, the name of a test) may hold escape sequences that move the cursor, retitle the
//! window, fill the clipboard or answer as if typed, and direction marks that make text read as something else ("Trojan
//! Source", CVE-2021-42574). Nothing of that passes: complete escape sequences vanish, so that coloured logs stay readable, and every
//! other control character becomes U+FFFD, so that nothing is hidden. The log file keeps the bytes as they were.

/// Appends `text` to `to` with nothing in it that a terminal acts on. Line breaks become spaces, tabs four of them.
pub fn clean_into(text: &str, to: &mut String) {
    if text.bytes().all(|byte| (b' '..0x7f).contains(&byte)) {
        to.push_str(text);
        return;
    }
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '\u{1b}' => match escape_length(after) {
                Some(length) => &after[length..],
                None => {
                    to.push(char::REPLACEMENT_CHARACTER);
                    after
                }
            },
            '\t' => {
                to.push_str("    ");
                after
            }
            '\n' => {
                to.push(' ');
                after
            }
            '\r' => after,
            c => {
                to.push(if acts(c) { char::REPLACEMENT_CHARACTER } else { c });
                after
            }
        };
    }
}

pub fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    clean_into(text, &mut cleaned);
    cleaned
}

/// Each line cleaned, and the lines kept.
pub fn lines(text: &str) -> String {
    text.trim_end().lines().map(clean).collect::<Vec<_>>().join("\n")
}

/// One line of a log. What a carriage return overwrote is left out, as a terminal would show it: progress bars end in their last state.
pub fn log_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches(['\r', '\n']);
    clean(text.rsplit('\r').next().unwrap_or_default())
}

/// Whether a character does something instead of being shown: control characters (C0, DEL, C1), line and paragraph separators, and
/// marks that override the direction of text.
pub fn acts(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The length of the escape sequence that follows an ESC, by ECMA-48; none if it is not complete. An incomplete one must not swallow
/// the text behind it: a stage could hide lines that way.
fn escape_length(after: &str) -> Option<usize> {
    let bytes = after.as_bytes();
    match *bytes.first()? {
        // CSI: parameters, intermediates, one final byte.
        b'[' => {
            let end = bytes[1..].iter().position(|byte| !(0x20..0x40).contains(byte))? + 1;
            (0x40..0x7f).contains(&bytes[end]).then_some(end + 1)
        }
        // OSC, DCS, SOS, PM, APC: up to ST, or BEL after OSC.
        b']' | b'P' | b'X' | b'^' | b'_' => {
            let end = bytes.iter().position(|&byte| byte == 0x07 || byte == 0x1b)?;
            match bytes[end] {
                0x07 => Some(end + 1),
                _ => (bytes.get(end + 1) == Some(&b'\\')).then_some(end + 2),
            }
        }
        // Intermediates and a final byte: character sets, save and restore, reset.
        byte if (0x20..0x7f).contains(&byte) => {
            let end = bytes.iter().position(|byte| !(0x20..0x30).contains(byte))?;
            (0x30..0x7f).contains(&bytes[end]).then_some(end + 1)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sequences_vanish_and_lone_controls_show() {
        for (text, cleaned) in [
            ("plain", "plain"),
            ("\u{1b}[1;31merror\u{1b}[0m: x", "error: x"),
            ("a\u{1b}[2Jb\u{1b}[10;10Hc", "abc"),
            ("\u{1b}]0;title\u{7}x\u{1b}]52;c;aGk=\u{1b}\\y", "xy"),
            ("\u{1b}Pq#0\u{1b}\\z", "z"),
            ("\u{1b}(Bx\u{1b}7y\u{1b}cz", "xyz"),
            ("\u{1b}]0;never ended", "\u{fffd}]0;never ended"),
            ("\u{1b}[31", "\u{fffd}[31"),
            ("\u{1b}", "\u{fffd}"),
            ("\u{1b}\u{1b}[31mx", "\u{fffd}x"),
            ("bell\u{7} back\u{8} nul\0 csi\u{9b}31m", "bell\u{fffd} back\u{fffd} nul\u{fffd} csi\u{fffd}31m"),
            ("tab\tline\nend\r", "tab    line end"),
            ("trojan \u{202e}txet", "trojan \u{fffd}txet"),
            ("日本語 ✓ é", "日本語 ✓ é"),
        ] {
            assert_eq!(clean(text), cleaned, "{text:?}");
        }
    }

    #[test]
    fn a_log_line_is_what_a_terminal_would_end_up_with() {
        assert_eq!(log_line(b" 10%\r 50%\r100%\r\n"), "100%");
        assert_eq!(log_line(b"bad \xff byte"), "bad \u{fffd} byte");
        assert_eq!(log_line(b""), "");
    }

    proptest! {
        #[test]
        fn nothing_that_acts_passes(text in "[\\x00-\\x20\\[\\]\\\\;0-9mHJPX^_a\\u{7f}-\\u{9f}\\u{2028}-\\u{202e}日]{0,60}") {
            prop_assert!(!clean(&text).chars().any(acts), "{:?}", clean(&text));
        }
    }
}
