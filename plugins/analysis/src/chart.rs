//! Measurements in one line, for a report that is read in a log.

use crate::describe::number;
use crate::metric::Point;

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// `▁▁▂·█  0.001 … 0.05 in 40 s`: the last `width` measurements, `·` where there was no number. Empty if there was none at all.
pub fn chart(points: &[Point], width: usize) -> String {
    let points = &points[points.len().saturating_sub(width.max(1))..];
    let numbers = || points.iter().filter_map(|point| point.value.filter(|value| value.is_finite()));
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return String::new() };
    let (low, high) = (numbers().fold(f64::INFINITY, f64::min), numbers().fold(f64::NEG_INFINITY, f64::max));
    let bars: String =
        points.iter().map(|point| point.value.filter(|value| value.is_finite()).map_or('·', |value| bar(value, low, high))).collect();
    let reach = match low.is_finite() {
        true if low < high => format!("{} … {}", number(low), number(high)),
        true => number(low),
        false => "no number".to_owned(),
    };
    format!("{bars}  {reach} in {} s", last.at.saturating_sub(first.at).as_secs())
}

/// From 0 where all is above it, so that a small change looks small.
fn bar(value: f64, low: f64, high: f64) -> char {
    let floor = low.min(0.0);
    let part = if high > floor { (value - floor) / (high - floor) } else { 0.0 };
    let height = BARS.iter().enumerate().rev().find(|(place, _)| part >= f64::from(u32::try_from(*place).unwrap_or_default()) / 7.0 - 1e-9);
    height.map_or(BARS[0], |(_, bar)| *bar)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn lines() {
        let points = |values: &[Option<f64>]| -> Vec<Point> {
            values.iter().zip(0..).map(|(value, at)| Point { at: Duration::from_secs(at * 10), value: *value, stable: None }).collect()
        };
        for (wanted, values, width) in [
            ("", vec![], 10),
            ("··  no number in 10 s", vec![None, None], 10),
            ("▁▁▁  0 in 20 s", vec![Some(0.0); 3], 10),
            ("▁·█  0.001 … 0.05 in 20 s", vec![Some(0.001), None, Some(0.05)], 10),
            ("▇█  0.9 … 1 in 10 s", vec![Some(0.5), Some(0.9), Some(1.0)], 2),
            ("▁█  -1 … 1 in 10 s", vec![Some(-1.0), Some(1.0)], 10),
            ("·█  1 in 10 s", vec![Some(f64::NAN), Some(1.0)], 10),
        ] {
            assert_eq!(chart(&points(&values), width), wanted);
        }
    }
}
