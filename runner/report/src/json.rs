//! For programs: newline-delimited JSON, one event a line as `event` defines it, written through at once so that a reader is never
//! behind.
//!
//! The first line is `{"event":"schema","schema":1}`, before anything that depends on it. A reader skips events and fields that it does
//! not know; a field that changes its meaning raises the number.

use std::io::Write;
use std::sync::Mutex;

use event::{Event, EventSink};

use crate::out::Out;

pub struct Json {
    state: Mutex<State>,
}

struct State {
    out: Out,
    line: Vec<u8>,
}

impl Json {
    pub fn new(out: impl Write + Send + 'static) -> Self {
        let mut out = Out::new(out, "the JSON report");
        out.write(format!("{{\"event\":\"schema\",\"schema\":{}}}\n", event::SCHEMA).as_bytes());
        Json { state: Mutex::new(State { out, line: Vec::new() }) }
    }
}

impl EventSink for Json {
    fn emit(&self, event: &Event) {
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let State { out, line } = &mut *state;
        if out.broken() {
            return;
        }
        line.clear();
        match serde_json::to_writer(&mut *line, event) {
            Ok(()) => {
                line.push(b'\n');
                out.write(line);
            }
            Err(error) => out.give_up(&error.into()),
        }
    }
}

#[cfg(test)]
mod tests;
