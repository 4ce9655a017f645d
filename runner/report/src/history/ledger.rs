//! The ledger: every effect that a run's stages asked for, granted and denied, in the order of time. Written line by line, so that the
//! length of a ledger does not matter.

use std::io::{self, Write};

use journal::{Class, LineVerdict};
use serde_json::{Value, json};

use super::{View, rfc3339, seconds};
use crate::duration;
use crate::style::{Line, Role};
use crate::summary::bytes;

/// Where the columns end.
const TIME: usize = 9;
const STAGE: usize = 22;
const EFFECT: usize = 41;
const CLASS: usize = 47;
const TOOK: usize = 54;
const BYTES: usize = 63;

/// The table, a line at a time.
pub struct Ledger<'a> {
    view: &'a View,
    lines: u64,
}

impl<'a> Ledger<'a> {
    pub fn new(view: &'a View) -> Self {
        Ledger { view, lines: 0 }
    }

    /// How many lines were written.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Writes a line, and the heads before the first.
    ///
    /// # Errors
    /// What writing says.
    pub fn line(&mut self, line: &journal::Line, out: &mut dyn Write) -> io::Result<()> {
        if self.lines == 0 {
            let mut heads = Line::new();
            for (head, until) in
                [("TIME", TIME), ("  STAGE", STAGE), ("EFFECT", EFFECT), ("CLASS", CLASS), ("TOOK", TOOK), ("BYTES", BYTES), ("SUBJECT", 0)]
            {
                heads.push(Role::Faint, head);
                heads.pad(until);
            }
            self.view.write(out, heads)?;
        }
        self.lines += 1;
        self.view.write(out, self.row(line))?;
        let (reason, code) = match &line.verdict {
            LineVerdict::Denied(denial) => (&denial.reason, format!(" ({})", denial.code)),
            LineVerdict::Connection { reason: Some(reason), .. } => (reason, String::new()),
            _ => return Ok(()),
        };
        let mut why = Line::new();
        why.pad(TIME + 2);
        self.view.write(out, why.and(Role::Text, reason).and(Role::Faint, &code))
    }

    fn row(&self, line: &journal::Line) -> Line {
        let symbols = self.view.symbols();
        let cut = symbols.cut;
        let (role, sign, class) = match &line.verdict {
            LineVerdict::Granted { class, .. } => (Role::Good, symbols.passed, short(*class)),
            LineVerdict::Denied(_) => (Role::Bad, symbols.failed, ""),
            LineVerdict::Delivered => (Role::Faint, symbols.dot, ""),
            LineVerdict::Waiting => (Role::Warn, symbols.dot, ""),
            LineVerdict::Connection { allowed: true, .. } => (Role::Good, symbols.passed, ""),
            LineVerdict::Connection { allowed: false, .. } => (Role::Bad, symbols.failed, ""),
        };
        let mut row = Line::of(Role::Faint, &self.view.local(line.at, "%H:%M:%S"));
        let cell = |row: &mut Line, from: usize, until: usize, text: Line| {
            row.pad(from);
            row.append(text.fit(until - from - 1, cut));
            row.pad(until);
        };
        cell(&mut row, TIME, TIME + 2, Line::of(role, sign));
        let stage = if line.attempt > 1 { format!("{} #{}", line.stage, line.attempt) } else { line.stage.to_string() };
        cell(&mut row, TIME + 2, STAGE, Line::of(Role::Text, &stage));
        cell(&mut row, STAGE, EFFECT, Line::of(Role::Strong, &line.what));
        cell(&mut row, EFFECT, CLASS, Line::of(Role::Text, class));
        let took = match (&line.verdict, line.took) {
            (_, Some(took)) => duration::human(took.as_nanos() as u64),
            // an effect of which nobody knows whether it happened
            (LineVerdict::Granted { .. }, None) => "?".to_owned(),
            _ => String::new(),
        };
        cell(&mut row, CLASS, TOOK, Line::of(Role::Text, &took));
        let size = if line.bytes > 0 { bytes(line.bytes) } else { String::new() };
        cell(&mut row, TOOK, BYTES, Line::of(Role::Text, &size));
        row.and(Role::Text, &line.subject).fit(self.view.columns(), cut)
    }
}

fn short(class: Class) -> &'static str {
    match class {
        Class::Read => "read",
        Class::Idempotent => "idem",
        Class::Once => "once",
    }
}

/// A line for programs, one object.
pub fn line_json(line: &journal::Line) -> Value {
    let mut object = json!({
        "time": rfc3339(line.at),
        "stage": line.stage,
        "attempt": line.attempt,
        "position": line.position,
        "effect": line.what,
        "subject": line.subject,
        "verdict": "",
        "took-seconds": line.took.map(|took| seconds(took.as_nanos() as u64)),
        "bytes": line.bytes,
    });
    match &line.verdict {
        LineVerdict::Granted { class, request } => {
            object["verdict"] = "granted".into();
            object["class"] = match class {
                Class::Read => "read",
                Class::Idempotent => "idempotent",
                Class::Once => "once",
            }
            .into();
            object["request"] = serde_json::from_str(request).unwrap_or(Value::Null);
        }
        LineVerdict::Denied(denial) => {
            object["verdict"] = "denied".into();
            object["code"] = denial.code.as_str().into();
            object["reason"] = denial.reason.as_str().into();
            object["remedy"] = denial.remedy.as_deref().into();
        }
        LineVerdict::Delivered => object["verdict"] = "delivered".into(),
        LineVerdict::Waiting => object["verdict"] = "waiting".into(),
        LineVerdict::Connection { command, allowed, reason, bytes_in, bytes_out } => {
            object["verdict"] = if *allowed { "granted" } else { "denied" }.into();
            object["command"] = (*command).into();
            object["reason"] = reason.as_deref().into();
            object["bytes-in"] = (*bytes_in).into();
            object["bytes-out"] = (*bytes_out).into();
        }
    }
    object
}
