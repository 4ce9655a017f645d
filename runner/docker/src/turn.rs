//! Runners of one user on one machine take turns at taking over and sweeping away: what one is about to remove, no other takes over meanwhile.
//!
//! Between users and machines that share an engine there is no such order; there the sweep goes by names and labels alone.

use std::fs::{DirBuilder, File, Metadata, TryLockError};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::time::{Duration, Instant};

/// Nobody holds it for long; who does has hung.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);

/// Waits for the turn, which ends with the file. None: there is no place for it that is this user's alone, or it never comes.
pub(crate) async fn turn() -> Option<File> {
    let own = |found: Metadata| std::fs::metadata("/proc/self").is_ok_and(|this| this.uid() == found.uid());
    let folder = std::env::temp_dir().join(format!("runner-docker-{}", std::fs::metadata("/proc/self").ok()?.uid()));
    let _ = DirBuilder::new().mode(0o700).create(&folder);
    if !std::fs::symlink_metadata(&folder).is_ok_and(|found| found.is_dir() && found.mode() & 0o022 == 0 && own(found)) {
        return None;
    }
    let file = File::options().create(true).append(true).open(folder.join("turn")).ok()?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Some(file),
            Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => tokio::time::sleep(PAUSE).await,
            Err(_) => return None,
        }
    }
}
