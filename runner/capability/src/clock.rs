//! The stage's clock. It stands still while the guest computes, moves to the real time whenever a reply or a delivery reaches the
//! guest, and by one microsecond at each reading, so that a run that is given the same replies reads the same times.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What a reading costs, in nanoseconds: successive readings differ.
const READING: u64 = 1_000;

#[derive(Clone)]
pub struct Clock {
    shared: Arc<Shared>,
}

struct Shared {
    /// Nanoseconds since 1970-01-01 at the attempt's start.
    epoch: u64,
    started: Instant,
    /// Nanoseconds since the start, as the guest sees them.
    now: AtomicU64,
}

impl Clock {
    pub fn start() -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos() as u64;
        Clock { shared: Arc::new(Shared { epoch, started: Instant::now(), now: AtomicU64::new(0) }) }
    }

    /// Moves the guest's time up to the real one. Called where something recorded reaches the guest.
    pub fn catch_up(&self) {
        let real = self.shared.started.elapsed().as_nanos() as u64;
        self.shared.now.fetch_max(real, Ordering::Relaxed);
    }

    /// Nanoseconds since the attempt's start; each reading is later than the one before.
    pub fn monotonic(&self) -> u64 {
        self.shared.now.fetch_add(READING, Ordering::Relaxed) + READING
    }

    /// Nanoseconds since 1970-01-01T00:00:00Z.
    pub fn wall(&self) -> u64 {
        self.shared.epoch + self.monotonic()
    }

    /// Resolves when the real time reaches this guest time.
    pub async fn sleep_until(&self, deadline: u64) {
        let real = self.shared.started + Duration::from_nanos(deadline);
        tokio::time::sleep_until(real.into()).await;
    }

    /// Whether the guest has already seen this time pass.
    pub fn passed(&self, deadline: u64) -> bool {
        self.shared.now.load(Ordering::Relaxed) >= deadline
    }
}
