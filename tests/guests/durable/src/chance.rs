//! Randomness, clocks and waiting.

use std::time::{Duration, Instant, SystemTime};

use runner_sdk::{Failure, files};

/// What was drawn before a kill is what is known of it afterwards.
pub fn everything() -> Result<(), Failure> {
    let drawn = draw();
    println!("random {drawn:016x}");
    let (began, wall) = (Instant::now(), SystemTime::now());
    let kept = "/scratch/drawn.txt";
    files::write(kept, format!("{drawn:016x}"))?;
    for millis in [150, 1] {
        let before = Instant::now();
        std::thread::sleep(Duration::from_millis(millis));
        println!("slept {millis} ms: {}", before.elapsed() >= Duration::from_millis(millis));
    }
    println!("clocks went forward: {}", began.elapsed() >= Duration::from_millis(151) && SystemTime::now() > wall);
    println!("what was drawn was kept: {}", files::read_to_string(kept)? == format!("{drawn:016x}"));
    println!("random {:016x}", draw());
    Ok(())
}

/// From the seed of `HashMap`, which is the way to randomness that `std` has.
fn draw() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}
