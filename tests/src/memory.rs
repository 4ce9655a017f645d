//! The linear memories of the components that a runner runs, read from outside.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// What a 32-bit component could address is reserved behind what it has. Nothing else of a process is followed by so much that nobody may touch.
const RESERVED: u64 = 1 << 30;

/// All of them as they are now, of the runner with this process id, each from its first byte to its last.
///
/// # Errors
/// A process that has secrets may be read by root alone.
pub fn of_guests(runner: u32) -> io::Result<Vec<Vec<u8>>> {
    let memory = File::open(format!("/proc/{runner}/mem"))?;
    let maps = std::fs::read_to_string(format!("/proc/{runner}/maps"))?;
    let (mut found, mut run): (Vec<Vec<u8>>, Option<(u64, u64)>) = (Vec::new(), None);
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (range, rights) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let number = |text: &str| u64::from_str_radix(text, 16).map_err(io::Error::other);
        let (start, end) =
            range.split_once('-').map(|(start, end)| Ok::<_, io::Error>((number(start)?, number(end)?))).transpose()?.unwrap_or_default();
        let whole = run.filter(|(_, before)| *before == start);
        match rights {
            // the pages of its data segments are mapped on their own
            "rw-p" => run = Some((whole.map_or(start, |(first, _)| first), end)),
            "---p" => {
                if let Some((first, last)) = whole.filter(|_| end - start >= RESERVED) {
                    let mut bytes = vec![0; usize::try_from(last - first).map_err(io::Error::other)?];
                    memory.read_exact_at(&mut bytes, first)?;
                    found.push(bytes);
                }
                run = None;
            }
            _ => run = None,
        }
    }
    Ok(found)
}
