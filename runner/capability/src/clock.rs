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
    /// When this process took the attempt up, and how old it was by then.
    taken_up: Instant,
    age: Duration,
    /// Nanoseconds since the start, as the guest sees them.
    now: AtomicU64,
}

impl Clock {
    /// The clock of an attempt that starts now.
    pub fn start() -> Self {
        Clock::since(wall_now())
    }

    /// The clock of an attempt that started at `epoch`, in nanoseconds since 1970, perhaps in another process: time went on meanwhile.
    pub fn since(epoch: u64) -> Self {
        // a machine whose clock was set back meanwhile does not make the attempt younger than its record: see `reach`
        let age = Duration::from_nanos(wall_now().saturating_sub(epoch));
        Clock { shared: Arc::new(Shared { epoch, taken_up: Instant::now(), age, now: AtomicU64::new(0) }) }
    }

    /// Nanoseconds since 1970-01-01 at the attempt's start.
    pub fn epoch(&self) -> u64 {
        self.shared.epoch
    }

    /// Moves the guest's time up to the real one, and answers it. Called where something recorded reaches the guest.
    pub fn catch_up(&self) -> u64 {
        let real = (self.shared.age + self.shared.taken_up.elapsed()).as_nanos() as u64;
        self.reach(real);
        self.shared.now.load(Ordering::Relaxed)
    }

    /// Moves the guest's time up to a recorded one.
    pub fn reach(&self, recorded: u64) {
        self.shared.now.fetch_max(recorded, Ordering::Relaxed);
    }

    /// The guest's time, without reading it in the guest's name.
    pub fn now(&self) -> u64 {
        self.shared.now.load(Ordering::Relaxed)
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
        let left = Duration::from_nanos(deadline).saturating_sub(self.shared.age);
        match self.shared.taken_up.checked_add(left) {
            Some(moment) => tokio::time::sleep_until(moment.into()).await,
            // a time that this machine's clock can't count to
            None => std::future::pending().await,
        }
    }

    /// Whether the guest has already seen this time pass.
    pub fn passed(&self, deadline: u64) -> bool {
        self.now() >= deadline
    }
}

/// The real time, in nanoseconds since 1970-01-01T00:00:00Z: for events, never for a guest.
pub(crate) fn wall_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos() as u64
}
