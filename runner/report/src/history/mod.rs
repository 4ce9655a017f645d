//! Runs read back from their journals, for people and for programs: the list ([`runs`]), one run ([`Story`]), its ledger ([`Ledger`]) and
//! its logs ([`log`]). Its denials as SARIF are [`crate::sarif`]'s.
//!
//! Everything is made of what the journal answers, and of the time and the zone that come in from outside. Deliberately absent: finding
//! runs, opening journals, and whether a runner still works on one.

mod ledger;
mod log;
mod runs;
mod show;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use event::Verdict;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use journal::Overview;

pub use ledger::{Ledger, line_json};
pub use log::LogText;
pub use runs::{Row, json as runs_json, table as runs};
pub use show::{Pick, Story};

use crate::Options;
use crate::style::{ASCII, Line, Role, Symbols, UNICODE};

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunState {
    Running,
    Passed,
    Failed,
    Denied,
    TimedOut,
    Interrupted,
    Terminated,
    /// For an approval, or for a decision about an effect in doubt.
    Waiting,
    /// It did not end, and nobody works on it.
    CutOff,
}

impl RunState {
    pub const ALL: [RunState; 9] = [
        RunState::Running,
        RunState::Passed,
        RunState::Failed,
        RunState::Denied,
        RunState::TimedOut,
        RunState::Interrupted,
        RunState::Terminated,
        RunState::Waiting,
        RunState::CutOff,
    ];

    /// `running`: whether a runner works on it.
    pub fn of(overview: &Overview, running: bool) -> RunState {
        match overview.finished {
            _ if running => RunState::Running,
            None => RunState::CutOff,
            Some((Verdict::Passed, _)) => RunState::Passed,
            Some((Verdict::Failed, _)) => RunState::Failed,
            Some((Verdict::Denied, _)) => RunState::Denied,
            Some((Verdict::TimedOut, _)) => RunState::TimedOut,
            Some((Verdict::Interrupted, _)) => RunState::Interrupted,
            Some((Verdict::Terminated, _)) => RunState::Terminated,
            Some((Verdict::Waiting, _)) => RunState::Waiting,
        }
    }

    /// For programs, and for `--state`.
    pub fn name(self) -> &'static str {
        match self {
            RunState::Running => "running",
            RunState::Passed => "passed",
            RunState::Failed => "failed",
            RunState::Denied => "denied",
            RunState::TimedOut => "timed-out",
            RunState::Interrupted => "interrupted",
            RunState::Terminated => "terminated",
            RunState::Waiting => "waiting",
            RunState::CutOff => "cut-off",
        }
    }

    fn word(self) -> &'static str {
        match self {
            RunState::TimedOut => "timed out",
            RunState::CutOff => "cut off",
            other => other.name(),
        }
    }

    fn role(self) -> Role {
        match self {
            RunState::Passed => Role::Good,
            RunState::Failed | RunState::Denied | RunState::TimedOut => Role::Bad,
            RunState::Running => Role::Accent,
            RunState::Interrupted | RunState::Terminated | RunState::Waiting | RunState::CutOff => Role::Warn,
        }
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for RunState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || RunState::ALL.map(RunState::name).join(", ");
        RunState::ALL.into_iter().find(|state| state.name() == text).ok_or_else(|| format!("no state of a run; there are {}", known()))
    }
}

/// How and when history is looked at.
#[derive(Debug, Clone)]
pub struct View {
    pub options: Options,
    /// Nanoseconds since 1970.
    pub now: u64,
    /// Of the times that are shown.
    pub zone: TimeZone,
}

impl View {
    /// With the times of this machine.
    pub fn here(options: Options, now: u64) -> View {
        View { options, now, zone: TimeZone::system() }
    }

    fn columns(&self) -> usize {
        self.options.width.unwrap_or(80).max(40)
    }

    fn symbols(&self) -> &'static Symbols {
        if self.options.unicode { &UNICODE } else { &ASCII }
    }

    fn write(&self, out: &mut dyn Write, line: Line) -> io::Result<()> {
        for line in line.wrap(self.columns(), 13) {
            writeln!(out, "{}", line.render(self.options.color, self.options.unicode))?;
        }
        Ok(())
    }

    fn local(&self, at: u64, format: &str) -> String {
        timestamp(at).map(|at| at.to_zoned(self.zone.clone()).strftime(format).to_string()).unwrap_or_default()
    }

    /// `2026-11-22 00:48:47`.
    fn moment(&self, at: u64) -> String {
        self.local(at, "%Y-%m-%d %H:%M:%S")
    }

    /// `3m ago, 00:48`; beyond a day `3d ago, Nov 20`; beyond a year the date alone.
    fn since(&self, at: u64) -> String {
        let ago = ago(self.now.saturating_sub(at));
        match self.now.saturating_sub(at) / DAY {
            0 => format!("{ago}, {}", self.local(at, "%H:%M")),
            1..=364 => format!("{ago}, {}", self.local(at, "%b %d")),
            _ => self.local(at, "%Y-%m-%d"),
        }
    }
}

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * SECOND;

fn ago(nanos: u64) -> String {
    let seconds = nanos / SECOND;
    match seconds {
        0..60 => format!("{seconds}s ago"),
        60..3600 => format!("{}m ago", seconds / 60),
        3600..86_400 => format!("{}h ago", seconds / 3600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}

fn timestamp(at: u64) -> Option<Timestamp> {
    Timestamp::from_nanosecond(i128::from(at)).ok()
}

/// RFC 3339, for programs.
pub fn rfc3339(at: u64) -> String {
    timestamp(at).map(|at| at.to_string()).unwrap_or_default()
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
