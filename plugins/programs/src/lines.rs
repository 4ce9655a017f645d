//! Lines of a file that may be large and need not be text: read one at a time, each bounded.

use std::io::{self, BufRead};

/// A longer line is an error: no tool's line of output is, and one that is would be held in memory whole.
pub const LONGEST: usize = 32 * 1024 * 1024;

/// Reads lines into one buffer.
pub struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
    number: u64,
    ended: bool,
}

impl<R: BufRead> Lines<R> {
    pub fn new(input: R) -> Self {
        Self { input, buffer: Vec::new(), number: 0, ended: true }
    }

    /// The number of the line that `next` gave last, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether the line that `next` gave last had a line ending: one that has none may be cut off.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// The next line without its line ending, or none at the end. A line over [`LONGEST`] is an `InvalidData` error.
    pub fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        self.buffer.clear();
        loop {
            let available = match self.input.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                break;
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let taken = end.unwrap_or(available.len());
            if self.buffer.len() + taken > LONGEST {
                let reason = format!("line {} is longer than {} MiB", self.number + 1, LONGEST / 1024 / 1024);
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
            self.buffer.extend_from_slice(&available[..taken]);
            self.input.consume(taken + usize::from(end.is_some()));
            self.ended = end.is_some();
            if self.ended {
                break;
            }
        }
        self.number += 1;
        if self.buffer.last() == Some(&b'\r') {
            self.buffer.pop();
        }
        Ok(Some(&self.buffer))
    }

    /// The next line as text without colours; bytes that are not UTF-8 are replaced.
    pub fn next_text(&mut self) -> io::Result<Option<String>> {
        let line = self.next_line()?;
        Ok(line.map(|line| crate::ansi::strip(&String::from_utf8_lossy(line)).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_and_a_last_line_without_one() {
        let mut lines = Lines::new(&b"one\r\n\ntwo \xff\n\x1b[1mthree"[..]);
        let mut seen = Vec::new();
        while let Some(line) = lines.next_text().unwrap() {
            seen.push(line);
            assert_eq!(lines.ended(), lines.number() < 4);
        }
        assert_eq!(seen, ["one", "", "two \u{fffd}", "three"]);
        assert_eq!(lines.number(), 4);
    }

    #[test]
    fn an_endless_line_is_an_error() {
        struct Endless;
        impl io::Read for Endless {
            fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
                out.fill(b'x');
                Ok(out.len())
            }
        }
        let error = Lines::new(io::BufReader::new(Endless)).next_line().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("line 1 is longer than 32 MiB"), "{error}");
    }
}
