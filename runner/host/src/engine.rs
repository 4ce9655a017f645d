//! The two engines. They share every setting that shapes compiled code, so one artifact serves both: stages that fit the pool
//! start in the pool (three times faster), the others on demand.

use std::thread;
use std::time::Duration;

use pipeline::plan::Limits;
use wasmtime::{Config, Enabled, Engine, EngineWeak, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Result};

/// Part of the key of compiled code: raised by hand when [`base`] changes in a way that wasmtime's own compatibility hash does not see.
pub const CONFIGURATION: &str = "wasmtime-48/1";

/// How often a running component looks whether others wait.
const TICK: Duration = Duration::from_millis(5);
/// Linear memory of a pooled stage: the default limit.
const POOLED_MEMORY: u64 = 256 << 20;
/// Slots in the pool at the most. Every slot costs system calls when the pool is made, and address space.
const MOST_POOLED: u32 = 1_000;
/// Core instances and tables that a pooled component may have.
const INSTANCES: u32 = 64;
const TABLES: u32 = 16;

pub struct Engines {
    pub pooled: Engine,
    pub on_demand: Engine,
    at_once: usize,
}

/// Settings that shape the code. Deterministic where WebAssembly leaves a choice.
fn base() -> Config {
    let mut config = Config::new();
    config.wasm_component_model(true);
    // component-model async is a later ABI; without it a host call costs half
    config.concurrency_support(false);
    config.epoch_interruption(true);
    config.cranelift_opt_level(OptLevel::Speed);
    config.cranelift_nan_canonicalization(true);
    config.relaxed_simd_deterministic(true);
    config.max_wasm_stack(512 << 10);
    config.async_stack_size(1 << 20);
    config.memory_init_cow(true);
    config
}

/// What the compiling process uses: the same code, no pool.
pub fn compiler() -> Result<Engine> {
    Engine::new(&base())
}

impl Engines {
    /// Both engines, and the thread that ticks them, which ends with them. `at_once`: so many stages run at the same time.
    pub fn new(at_once: usize) -> Result<Self> {
        let slots = u32::try_from(at_once).unwrap_or(MOST_POOLED).clamp(1, MOST_POOLED);
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(slots)
            // a component made by componentize-py has 16 instances: whatever one may have, all may have at once
            .total_core_instances(slots * INSTANCES)
            .total_memories(slots)
            .total_tables(slots * TABLES)
            .total_stacks(slots)
            .max_memory_size(POOLED_MEMORY as usize)
            .max_core_instances_per_component(INSTANCES)
            .max_memories_per_component(1)
            .max_tables_per_component(TABLES)
            .table_elements(20_000)
            .max_unused_warm_slots(64)
            // a slot is cleaned by writing the pages that were written to, which the kernel names where it can (Linux 6.7): giving them back costs
            // every processor a flush of its translations, a third of the time of a stage that does nothing
            .linear_memory_keep_resident(1 << 20)
            .table_keep_resident(64 << 10)
            .pagemap_scan(Enabled::Auto);
        let mut pooled = base();
        pooled.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engines = Engines { pooled: Engine::new(&pooled)?, on_demand: compiler()?, at_once };
        let weak = [engines.pooled.weak(), engines.on_demand.weak()];
        thread::Builder::new()
            .name("epoch".into())
            .spawn(move || {
                // both end at the same time
                while let [Some(pooled), Some(on_demand)] = weak.each_ref().map(EngineWeak::upgrade) {
                    pooled.increment_epoch();
                    on_demand.increment_epoch();
                    drop((pooled, on_demand));
                    thread::sleep(TICK);
                }
            })
            .map_err(wasmtime::Error::new)?;
        Ok(engines)
    }

    /// Whether a stage with these limits may use the pool. Whether its component fits is known only to wasmtime.
    pub fn pool_suits(&self, limits: &Limits) -> bool {
        self.at_once <= MOST_POOLED as usize && limits.memory <= POOLED_MEMORY
    }
}
