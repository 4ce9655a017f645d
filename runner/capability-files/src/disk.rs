//! `limits.disk`: how much more than at its start a stage may hold on the disk through its files.
//!
//! What is counted: how far files grow, and a block for every file, directory and link that is made. What is removed or shortened is given
//! back, but never more than was taken, so that removing what was copied into the workspace buys nothing. A file that is removed while it
//! is open is given back when it is closed.

use std::sync::atomic::{AtomicU64, Ordering};

/// What an entry costs beside its bytes.
pub const ENTRY: u64 = 4096;

#[derive(Debug)]
pub struct Disk {
    limit: u64,
    used: AtomicU64,
}

impl Disk {
    pub fn new(limit: u64) -> Self {
        Disk { limit, used: AtomicU64::new(0) }
    }

    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// False, and nothing taken, where the limit would be passed.
    #[must_use]
    pub fn take(&self, bytes: u64) -> bool {
        let more = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    pub fn give_back(&self, bytes: u64) {
        let less = |used: u64| Some(used.saturating_sub(bytes));
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_gained_by_giving_back_more_than_was_taken() {
        let disk = Disk::new(10);
        disk.give_back(100);
        assert!(disk.take(10));
        assert!(!disk.take(1));
        disk.give_back(4);
        assert!(disk.take(4));
        assert!(!disk.take(u64::MAX));
    }
}
