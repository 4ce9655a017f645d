//! What can be learnt without being told.

use std::time::{Duration, Instant, SystemTime};

use runner_sdk::Context;

use crate::bindings::wasi::filesystem::preopens::get_directories;
use crate::bindings::wasi::random::random::get_random_u64;
use crate::result::Attempted;

/// Arguments, environment, current directory, open directories, standard input, and what the context says.
pub fn everything(context: &Context) -> Attempted {
    let args: Vec<String> = std::env::args().collect();
    let env: Vec<String> = std::env::vars().map(|(name, value)| format!("{name}={value}")).collect();
    let dirs: Vec<String> = get_directories().into_iter().map(|(_, path)| path).collect();
    let mut line = String::new();
    let stdin = std::io::stdin().read_line(&mut line);
    Attempted::Ok(format!(
        "args={args:?} env={env:?} cwd={:?} dirs={dirs:?} stdin={:?} grants={:?}",
        std::env::current_dir().ok(),
        stdin.ok(),
        context.grants,
    ))
}

/// Whether both clocks only go forwards, and how far the wall clock says it is since 1970.
pub fn clocks() -> Attempted {
    let readings: Vec<Instant> = (0..1_000).map(|_| Instant::now()).collect();
    let walls: Vec<SystemTime> = (0..1_000).map(|_| SystemTime::now()).collect();
    let monotonic = readings.windows(2).all(|pair| pair[0] < pair[1]);
    let wall = walls.windows(2).all(|pair| pair[0] < pair[1]);
    let before = Instant::now();
    std::thread::sleep(Duration::from_millis(20));
    let slept = before.elapsed() >= Duration::from_millis(20);
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map(|time| time.as_secs()).unwrap_or_default();
    Attempted::Ok(format!("monotonic={monotonic} wall={wall} slept={slept} unix={since}"))
}

/// Eight numbers, and the seed of a hash map.
pub fn random() -> Attempted {
    use std::hash::{BuildHasher, RandomState};
    let numbers: Vec<String> = (0..8).map(|_| format!("{:016x}", get_random_u64())).collect();
    Attempted::Ok(format!("{} hash={:016x}", numbers.join(" "), RandomState::new().hash_one(1)))
}
