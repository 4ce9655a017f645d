//! The end of an output: what is shown of a program that failed.

use std::io::{self, Read, Seek, SeekFrom};

/// Bytes looked at from the end of a file: its last lines, however long the file is.
const LOOKED_AT: u64 = 64 * 1024;

/// The last lines of `text` that say something, `most` at most, without colours. Blank lines are left out.
pub fn last_lines(text: &str, most: usize) -> Vec<String> {
    let plain = crate::ansi::strip(text);
    let mut lines: Vec<String> =
        plain.lines().rev().map(str::trim_end).filter(|line| !line.trim().is_empty()).take(most).map(str::to_owned).collect();
    lines.reverse();
    lines
}

/// The last lines of a file, without reading what is before them.
pub fn last_lines_of(mut file: impl Read + Seek, most: usize) -> io::Result<Vec<String>> {
    let size = file.seek(SeekFrom::End(0))?;
    let from = size.saturating_sub(LOOKED_AT);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(LOOKED_AT).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = last_lines(&text, most + 1);
    if lines.len() > most || (from > 0 && !lines.is_empty()) {
        // the first line may have lost its beginning
        lines.remove(0);
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn the_last_lines_that_say_something() {
        assert_eq!(last_lines("a\n\nb\n   \n\u{1b}[1mc\u{1b}[0m  \n\n", 2), ["b", "c"]);
        assert_eq!(last_lines("", 2), Vec::<String>::new());
        assert_eq!(last_lines_of(Cursor::new("a\nb\nc\n"), 2).unwrap(), ["b", "c"]);
        assert_eq!(last_lines_of(Cursor::new("a\n"), 2).unwrap(), ["a"]);
    }

    #[test]
    fn a_large_file_is_read_from_its_end() {
        let mut text = "x".repeat(200_000);
        text.push_str("\nthe reason\nthe end\n");
        assert_eq!(last_lines_of(Cursor::new(text), 5).unwrap(), ["the reason", "the end"]);
    }
}
