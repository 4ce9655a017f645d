//! Where a report goes as it is made. The first write that fails is told, once, and is the last.

use std::io::Write;

use crate::complain;

pub struct Out {
    to: Box<dyn Write + Send>,
    what: &'static str,
    broken: bool,
}

impl Out {
    /// `what` is the report's name in the complaint: `the report`.
    pub fn new(to: impl Write + Send + 'static, what: &'static str) -> Self {
        Out { to: Box::new(to), what, broken: false }
    }

    pub fn broken(&self) -> bool {
        self.broken
    }

    /// Written through at once, so that a reader is never behind.
    pub fn write(&mut self, bytes: &[u8]) {
        if self.broken || bytes.is_empty() {
            return;
        }
        if let Err(error) = self.to.write_all(bytes).and_then(|()| self.to.flush()) {
            self.give_up(&error);
        }
    }

    pub fn give_up(&mut self, error: &std::io::Error) {
        self.broken = true;
        complain(&format!("{} cannot be written", self.what), error);
    }
}
