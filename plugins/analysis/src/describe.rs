//! A metric for people: what was asked, what was expected, and what came when.

use std::time::Duration;

use crate::chart::chart;
use crate::metric::{Standing, Tally};
use crate::probe::{Probe, Side};

/// So many of the last measurements are drawn.
const WIDTH: usize = 60;

/// Lines about a metric: the query, the threshold, the values and their moments, and why it does not stand well if it does not.
pub fn describe(probe: &Probe, side: &Side, tallies: &[&Tally]) -> Vec<String> {
    let mut lines = vec![format!("query      {}", probe.query(side)), format!("threshold  {}", probe.threshold())];
    for tally in tallies {
        let drawn = chart(tally.points(), WIDTH);
        if !drawn.is_empty() {
            lines.push(format!("values     {drawn}"));
        }
        if let Some(last) = tally.points().last() {
            let value = last.value.map_or_else(|| "no number".to_owned(), number);
            let beside = last.stable.map(|stable| format!(", beside {}", number(stable))).unwrap_or_default();
            lines.push(format!("last       {value}{beside}, {} after it began to be measured", time(last.at)));
        }
        match tally.standing() {
            Standing::Held(why) => lines.push(format!("held       {why}")),
            Standing::Breached(why) => lines.push(format!("breached   {why}")),
            Standing::Open | Standing::Passed => {}
        }
    }
    lines
}

/// With six digits that mean something, `0.0606061`, and not what a division leaves behind them; whole numbers are told whole.
pub fn number(value: f64) -> String {
    if value.abs() >= 1e5 {
        return value.round().to_string();
    }
    let rounded: Result<f64, _> = format!("{value:.5e}").parse();
    rounded.unwrap_or(value).to_string()
}

/// `2m 5s`
pub fn time(duration: Duration) -> String {
    match (duration.as_secs() / 60, duration.as_secs() % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, 0) => format!("{minutes}m"),
        (minutes, seconds) => format!("{minutes}m {seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let written = [2.0 / 33.0, 1.0, 0.05, -1500.25, 1_234_567.0, f64::NAN].map(number);
        assert_eq!(written, ["0.0606061", "1", "0.05", "-1500.25", "1234567", "NaN"]);
    }

    #[test]
    fn times() {
        for (seconds, wanted) in [(0, "0s"), (59, "59s"), (120, "2m"), (125, "2m 5s")] {
            assert_eq!(time(Duration::from_secs(seconds)), wanted);
        }
    }
}
