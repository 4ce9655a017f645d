//! `runs`: the list of runs, newest first.

use std::io::Write;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use journal::Reader;
use report::history::{Row, RunState};
use workspace::State;

use crate::args::{Global, Runs};
use crate::error::{CliError, Ending};
use crate::{history, now, runs};

pub fn run(args: &Runs, global: &Global, out: &mut dyn Write) -> Result<Ending, CliError> {
    let since = args.since.as_deref().map(|text| since(text, now())).transpose()?;
    let state = runs::state()?;
    let mut rows = Vec::new();
    for run in state.runs().map_err(anyhow::Error::from)?.into_iter().rev() {
        if rows.len() == args.limit {
            break;
        }
        let row = row(&state, run);
        if fits(&row, args, since) {
            rows.push(row);
        }
    }
    let view = history::view(global);
    let written = if history::json(global) {
        writeln!(out, "{}", report::history::runs_json(&rows, view.now))
    } else if rows.is_empty() {
        writeln!(out, "no run is like that")
    } else {
        report::history::runs(&rows, &view, out)
    };
    written.map_err(anyhow::Error::from)?;
    Ok(Ending::Ok)
}

/// What can't be read is a row that says so: one damaged run hides no other.
pub fn row(state: &State, run: String) -> Row {
    // before the journal, or a run that ends in between would look cut off
    let running = state.is_running(&run);
    let overview = Reader::open(&state.run_folder(&run)).and_then(|reader| reader.overview());
    let told = overview.map(|overview| (RunState::of(&overview, running), overview)).map_err(|error| error.to_string());
    Row { run, told }
}

fn fits(row: &Row, args: &Runs, since: Option<u64>) -> bool {
    let filtered = args.pipeline.is_some() || !args.state.is_empty() || since.is_some();
    match &row.told {
        // nobody knows what it was
        Err(_) => !filtered,
        Ok((state, overview)) => {
            args.pipeline.as_ref().is_none_or(|name| *name == overview.header.pipeline)
                && (args.state.is_empty() || args.state.contains(state))
                && since.is_none_or(|since| overview.header.started >= since)
        }
    }
}

/// `2d`, `90m`, or a date: nanoseconds since 1970.
fn since(text: &str, now: u64) -> Result<u64, CliError> {
    if let Ok(ago) = humantime::parse_duration(text) {
        let ago: Duration = ago;
        return Ok(now.saturating_sub(u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX)));
    }
    let moment = text.parse::<Timestamp>().ok().or_else(|| {
        let midnight = text.parse::<Date>().ok()?.to_zoned(TimeZone::system()).ok()?;
        Some(midnight.timestamp())
    });
    let moment = moment.and_then(|moment| u64::try_from(moment.as_nanosecond()).ok());
    moment.ok_or_else(|| {
        CliError::usage(
            format!("`{text}` is no time"),
            "write how long ago (`2d`, `90m`), a date (`2026-11-22`) or a time (`2026-11-22T08:00:00Z`)",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::since;

    #[test]
    fn times_of_the_past() {
        let day = 86_400_000_000_000;
        assert_eq!(since("2d", 3 * day).unwrap(), day);
        assert_eq!(since("9999d", day).unwrap(), 0);
        assert_eq!(since("1970-01-02T00:00:00Z", 0).unwrap(), day);
        assert!(since("2026-11-22", 0).unwrap() > 20_000 * day);
        assert!(since("tomorrow", 0).is_err());
    }
}
