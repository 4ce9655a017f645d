//! Times as a person reads them: `0.4ms`, `12ms`, `1.2s`, `2m 03s`, `1h 05m`. ASCII only, never more than seven columns below a
//! hundred hours.

/// `nanos` as text.
pub fn human(nanos: u64) -> String {
    let rounded = |unit: u64| nanos / unit + u64::from(nanos % unit >= unit / 2);
    let (tenths_of_ms, ms, tenths, seconds, minutes) =
        (rounded(100_000), rounded(1_000_000), rounded(100_000_000), rounded(1_000_000_000), rounded(60_000_000_000));
    // Each step asks the rounded number, so that 59.96 s is `1m 00s` and not `60.0s`.
    if tenths_of_ms < 100 {
        format!("{}.{}ms", tenths_of_ms / 10, tenths_of_ms % 10)
    } else if ms < 1000 {
        format!("{ms}ms")
    } else if tenths < 600 {
        format!("{}.{}s", tenths / 10, tenths % 10)
    } else if seconds < 3600 {
        format!("{}m {:02}s", seconds / 60, seconds % 60)
    } else {
        format!("{}h {:02}m", minutes / 60, minutes % 60)
    }
}

/// Time that is still passing: tenths of seconds at the finest, so that the figure stands still long enough to be read.
pub fn elapsed(nanos: u64) -> String {
    let tenths = nanos / 100_000_000;
    if tenths < 600 { format!("{}.{}s", tenths / 10, tenths % 10) } else { human(tenths / 10 * 1_000_000_000) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_length_has_its_own_unit_and_rounding_never_shows_sixty() {
        for (nanos, text) in [
            (0, "0.0ms"),
            (72_000, "0.1ms"),
            (9_949_999, "9.9ms"),
            (9_950_000, "10ms"),
            (12_400_000, "12ms"),
            (999_499_999, "999ms"),
            (999_500_000, "1.0s"),
            (1_234_000_000, "1.2s"),
            (59_949_000_000, "59.9s"),
            (59_960_000_000, "1m 00s"),
            (123_000_000_000, "2m 03s"),
            (3_599_600_000_000, "1h 00m"),
            (3_900_000_000_000, "1h 05m"),
            (u64::MAX, "5124095h 35m"),
        ] {
            assert_eq!(human(nanos), text, "{nanos}");
        }
    }

    #[test]
    fn time_that_passes_is_never_ahead() {
        assert_eq!(elapsed(0), "0.0s");
        assert_eq!(elapsed(1_299_999_999), "1.2s");
        assert_eq!(elapsed(59_999_999_999), "59.9s");
        assert_eq!(elapsed(60_000_000_000), "1m 00s");
        assert_eq!(elapsed(119_900_000_000), "1m 59s");
    }
}
