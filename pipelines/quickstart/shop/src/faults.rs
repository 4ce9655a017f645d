//! Faults on demand: how a pipeline that watches the service is tried out.

use std::sync::Mutex;
use std::thread;

use crate::settings::Settings;

/// Makes a share of requests fail and all of them slow.
#[derive(Debug)]
pub struct Faults {
    rate: f64,
    latency: std::time::Duration,
    /// What has built up towards the next error.
    debt: Mutex<f64>,
}

impl Faults {
    /// As the settings say.
    pub fn new(settings: &Settings) -> Faults {
        Faults { rate: settings.error_rate, latency: settings.latency, debt: Mutex::new(0.0) }
    }

    /// Takes as long as it was told to.
    pub fn delay(&self) {
        if !self.latency.is_zero() {
            thread::sleep(self.latency);
        }
    }

    /// Whether this request is to fail. The errors are spread evenly and not by chance: at a rate of 0.25 every fourth request fails,
    /// so that a test of ten requests sees what a test of ten thousand sees.
    pub fn strikes(&self) -> bool {
        let mut debt = self.debt.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *debt += self.rate;
        // Sums of such fractions as 0.1 end just below the whole number.
        if *debt < 1.0 - 1e-9 {
            return false;
        }
        *debt -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors_of(rate: f64, requests: usize) -> usize {
        let faults = Faults::new(&Settings { error_rate: rate, ..Settings::default() });
        (0..requests).filter(|_| faults.strikes()).count()
    }

    #[test]
    fn the_share_of_errors_is_exact() {
        for (rate, requests, errors) in
            [(0.0, 1000, 0), (1.0, 1000, 1000), (0.25, 8, 2), (0.1, 100, 10), (0.05, 1000, 50)]
        {
            assert_eq!(errors_of(rate, requests), errors, "{rate} of {requests}");
        }
    }
}
