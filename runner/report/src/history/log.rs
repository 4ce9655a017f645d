//! The text of a log on its way to a terminal: whole lines, with nothing in them that a terminal acts on.

use std::io::{self, Write};

use crate::sanitize;

/// A line that never ends is passed on in pieces of this length.
const LONGEST: usize = 64 << 10;

/// Takes the bytes of a log as they come and passes them on as clean lines.
pub struct LogText<'a> {
    out: &'a mut dyn Write,
    begun: Vec<u8>,
}

impl<'a> LogText<'a> {
    pub fn new(out: &'a mut dyn Write) -> Self {
        LogText { out, begun: Vec::new() }
    }

    fn line(&mut self) -> io::Result<()> {
        let line = sanitize::log_line(&self.begun);
        self.begun.clear();
        writeln!(self.out, "{line}")
    }

    /// What is left without the end of a line.
    ///
    /// # Errors
    /// What writing says.
    pub fn finish(mut self) -> io::Result<()> {
        if self.begun.is_empty() { self.out.flush() } else { self.line().and_then(|()| self.out.flush()) }
    }
}

impl Write for LogText<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.begun.len() >= LONGEST {
                self.line()?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
