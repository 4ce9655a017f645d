//! `wasi:random`: ChaCha20 from a seed of the run, the stage and the attempt. The same attempt draws the same numbers; two stages, two
//! attempts or two runs never do.

use std::future::Future;
use std::pin::Pin;

use capability::{Room, StageState};
use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use wasmtime::Result;

use super::bindings::wasi::random::{insecure, insecure_seed, random};

/// The most that one call answers; a guest that wants more asks again.
const MOST: u64 = 1 << 20;

/// The attempt's random source.
pub struct RandomRoom(ChaCha20Rng);

impl RandomRoom {
    pub fn new(run_seed: &[u8; 32], stage: &str, attempt: u32) -> Self {
        let seed = blake3::Hasher::new_keyed(run_seed).update(stage.as_bytes()).update(&[0]).update(&attempt.to_le_bytes()).finalize();
        RandomRoom(ChaCha20Rng::from_seed(*seed.as_bytes()))
    }
}

impl Room for RandomRoom {
    fn leave(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async {})
    }
}

fn bytes(state: &mut StageState, len: u64) -> Result<Vec<u8>> {
    if len > MOST {
        return Err(wasmtime::Error::msg(format!("wasi:random: {len} bytes in one call are more than {MOST}")));
    }
    let mut bytes = vec![0; len as usize];
    state.room::<RandomRoom>().0.fill_bytes(&mut bytes);
    Ok(bytes)
}

fn number(state: &mut StageState) -> u64 {
    state.room::<RandomRoom>().0.next_u64()
}

impl random::Host for StageState {
    fn get_random_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        bytes(self, len)
    }

    fn get_random_u64(&mut self) -> Result<u64> {
        Ok(number(self))
    }
}

impl insecure::Host for StageState {
    fn get_insecure_random_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        bytes(self, len)
    }

    fn get_insecure_random_u64(&mut self) -> Result<u64> {
        Ok(number(self))
    }
}

impl insecure_seed::Host for StageState {
    fn insecure_seed(&mut self) -> Result<(u64, u64)> {
        Ok((number(self), number(self)))
    }
}
