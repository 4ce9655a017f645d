//! Processes of this machine, found by a word of their command line that nobody else has.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A number of seconds that `sleep` takes for a very long time, and that no other process has in its command line.
pub fn marker() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("7{}.{number}", 1_000_000_000 + u64::from(std::process::id()))
}

/// The processes with this word among their arguments.
pub fn with(word: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has = |number: &u32| {
        let line = std::fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())
    };
    numbers.filter(has).collect()
}

/// Waits until as many processes have the word, for 30 seconds at most.
#[track_caller]
pub fn wait_for(word: &str, count: usize) {
    let began = Instant::now();
    while with(word).len() != count {
        assert!(began.elapsed() < Duration::from_secs(30), "{:?} have {word}, not {count}", with(word));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The processes that see this folder, or something below it, through a mount of their own: those of jails that show it.
pub fn within(folder: &Path) -> Vec<u32> {
    let name = folder.file_name().expect("a folder has a name").to_string_lossy().into_owned();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|number: &u32| std::fs::read_to_string(format!("/proc/{number}/mountinfo")).is_ok_and(|mounts| mounts.contains(&name))).collect()
}

/// Waits until no process sees the folder, for 30 seconds at most.
#[track_caller]
pub fn wait_for_none_within(folder: &Path) {
    let began = Instant::now();
    while let left @ [_, ..] = &*within(folder) {
        assert!(began.elapsed() < Duration::from_secs(30), "{left:?} still see {}", folder.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}
