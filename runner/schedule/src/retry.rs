//! Which failures are tried again, and after how long.
//!
//! Backoff with full jitter as in "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): the delay is drawn evenly
//! from zero to its full length, so that stages that failed together do not come back together.

use std::time::Duration;

use event::FailureKind;
use pipeline::plan::{Backoff, Retries};

/// Only what another attempt can change: verdicts, errors, crashes and time-outs. Refused settings, denials and limits would
/// end the same way again, a replay diverges at the same place, and a person who said no is not asked twice.
pub fn is_tried_again(kind: FailureKind) -> bool {
    match kind {
        FailureKind::Failed | FailureKind::Errored | FailureKind::TimedOut | FailureKind::Crashed => true,
        FailureKind::Misconfigured
        | FailureKind::Denied
        | FailureKind::Limit
        | FailureKind::Host
        | FailureKind::Rejected
        | FailureKind::Busy
        | FailureKind::Diverged => false,
    }
}

/// The wait after attempt `failed` (1 for the first), before the next. `random` is uniform over all of `u64`; without jitter
/// it is not used.
pub fn delay_before_retry(retries: &Retries, failed: u32, random: u64) -> Duration {
    let steps = failed.saturating_sub(1);
    let full = match retries.backoff {
        Backoff::Constant => retries.delay,
        Backoff::Linear => retries.delay.saturating_mul(steps.saturating_add(1)),
        Backoff::Exponential => retries.delay.saturating_mul(1u32.checked_shl(steps).unwrap_or(u32::MAX)),
    };
    let full = full.min(retries.max_delay);
    if !retries.jitter {
        return full;
    }
    // `random / 2^64` of the full length, in integers. A Duration's nanoseconds fit 94 bits, so the seconds are scaled apart.
    let scale = |amount: u128| (amount * u128::from(random)) >> 64;
    let nanos = full.as_nanos();
    let drawn = match nanos.checked_mul(u128::from(random)) {
        Some(product) => product >> 64,
        None => scale(u128::from(full.as_secs())) * 1_000_000_000,
    };
    Duration::from_nanos(u64::try_from(drawn).unwrap_or(u64::MAX))
}

/// A stream of random numbers that depends on nothing but the seed, the stage and the attempt: the same run replayed waits the
/// same time, whatever the order in which its stages failed. SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) fn random(seed: u64, stage: usize, attempt: u32) -> u64 {
    let mut state = seed;
    let mut next = |salt: u64| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_add(salt);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        state = z ^ (z >> 31);
        state
    };
    next(stage as u64);
    next(u64::from(attempt))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retries(backoff: Backoff, jitter: bool) -> Retries {
        Retries { count: 9, backoff, delay: Duration::from_secs(5), max_delay: Duration::from_secs(30), jitter }
    }

    #[test]
    fn each_backoff_grows_as_its_name_says_up_to_max_delay() {
        for (backoff, seconds) in [
            (Backoff::Constant, [5, 5, 5, 5, 5, 5, 5]),
            (Backoff::Linear, [5, 10, 15, 20, 25, 30, 30]),
            (Backoff::Exponential, [5, 10, 20, 30, 30, 30, 30]),
        ] {
            let got: Vec<u64> = (1..=7).map(|failed| delay_before_retry(&retries(backoff, false), failed, u64::MAX).as_secs()).collect();
            assert_eq!(got, seconds, "{backoff:?}");
        }
    }

    #[test]
    fn jitter_spans_zero_to_the_full_delay() {
        let retries = retries(Backoff::Exponential, true);
        assert_eq!(delay_before_retry(&retries, 1, 0), Duration::ZERO);
        assert_eq!(delay_before_retry(&retries, 1, 1 << 63), Duration::from_millis(2500));
        let most = delay_before_retry(&retries, 1, u64::MAX);
        assert!(most < Duration::from_secs(5) && most > Duration::from_nanos(4_999_999_990), "{most:?}");
    }

    #[test]
    fn jitter_is_spread_evenly_and_repeats_for_the_same_seed() {
        let retries = retries(Backoff::Constant, true);
        let mut buckets = [0u32; 5];
        for stage in 0..10_000 {
            let delay = delay_before_retry(&retries, 1, random(7, stage, 1));
            assert!(delay < Duration::from_secs(5));
            buckets[delay.as_secs() as usize] += 1;
        }
        for count in buckets {
            assert!((1_800..2_200).contains(&count), "{buckets:?}");
        }
        assert_eq!(random(7, 3, 2), random(7, 3, 2));
        assert_ne!(random(7, 3, 2), random(8, 3, 2));
        assert_ne!(random(7, 3, 2), random(7, 2, 3));
    }

    #[test]
    fn absurd_settings_neither_overflow_nor_exceed_max_delay() {
        for jitter in [false, true] {
            let retries =
                Retries { count: u32::MAX, backoff: Backoff::Exponential, delay: Duration::MAX, max_delay: Duration::MAX, jitter };
            for failed in [1, 2, 31, 32, 33, u32::MAX] {
                assert!(delay_before_retry(&retries, failed, u64::MAX) <= Duration::MAX);
            }
        }
        let capped = Retries { max_delay: Duration::from_secs(60), ..retries(Backoff::Linear, false) };
        assert_eq!(delay_before_retry(&capped, u32::MAX, 0), Duration::from_secs(60));
    }

    #[test]
    fn verdicts_errors_crashes_and_time_outs_are_tried_again() {
        use FailureKind::{Busy, Crashed, Denied, Diverged, Errored, Failed, Host, Limit, Misconfigured, Rejected, TimedOut};
        for kind in [Failed, Errored, Crashed, TimedOut] {
            assert!(is_tried_again(kind), "{kind:?}");
        }
        for kind in [Misconfigured, Denied, Limit, Host, Rejected, Busy, Diverged] {
            assert!(!is_tried_again(kind), "{kind:?}");
        }
    }
}
