//! For programs: newline-delimited JSON, one event a line as `event` defines it, written through at once so that a reader is never
//! behind.
//!
//! The first line is `{"event":"schema","schema":1}`, before anything that depends on it. A reader skips events and fields that it does
//! not know; a field that changes its meaning raises the number.

use std::io::Write;
use std::sync::Mutex;

use event::{Event, EventSink};

use crate::complain;

pub struct Json {
    state: Mutex<State>,
}

struct State {
    out: Box<dyn Write + Send>,
    line: Vec<u8>,
    broken: bool,
}

impl Json {
    pub fn new(out: impl Write + Send + 'static) -> Self {
        let mut state = State { out: Box::new(out), line: Vec::new(), broken: false };
        state.line.extend_from_slice(format!("{{\"event\":\"schema\",\"schema\":{}}}\n", event::SCHEMA).as_bytes());
        state.write();
        Json { state: Mutex::new(state) }
    }
}

impl State {
    fn write(&mut self) {
        if let Err(error) = self.out.write_all(&self.line).and_then(|()| self.out.flush()) {
            self.broken = true;
            complain("the JSON report cannot be written", &error);
        }
        self.line.clear();
    }
}

impl EventSink for Json {
    fn emit(&self, event: &Event) {
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if state.broken {
            return;
        }
        match serde_json::to_writer(&mut state.line, event) {
            Ok(()) => {
                state.line.push(b'\n');
                state.write();
            }
            Err(error) => {
                state.broken = true;
                complain("an event cannot be written as JSON", &error.into());
            }
        }
    }
}

#[cfg(test)]
mod tests;
