//! Limits that wasmtime asks about while a component runs.

use wasmtime::{ResourceLimiter, Result};

/// Tables are bounded by what the pool offers.
const TABLE_ELEMENTS: usize = 20_000;

/// Linear memory. A refused growth is an answer to the guest (`memory.grow` = -1), which most languages turn into an abort: `refused`
/// tells afterwards why it aborted.
pub struct MemoryLimit {
    pub limit: usize,
    pub refused: bool,
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        let fits = desired <= self.limit;
        self.refused |= !fits;
        Ok(fits)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        Ok(desired <= TABLE_ELEMENTS)
    }
}

impl capability::Room for MemoryLimit {
    fn leave(self: Box<Self>) -> std::pin::Pin<Box<dyn std::future::Future<Output = ()> + Send>> {
        Box::pin(async {})
    }
}
