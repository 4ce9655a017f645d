//! `wasi:clocks`: the stage's own clock (`capability::clock`). Waiting for a time is a completion like any other.

use std::time::Duration;

use capability::StageState;
use capability::io::Pollable;
use wasmtime::Result;
use wasmtime::component::Resource;

use super::bindings::wasi::clocks::{monotonic_clock, wall_clock};

/// Nanoseconds between two readings that differ.
const RESOLUTION: u64 = 1_000;

impl monotonic_clock::Host for StageState {
    fn now(&mut self) -> Result<u64> {
        Ok(self.boundary.clock().monotonic())
    }

    fn resolution(&mut self) -> Result<u64> {
        Ok(RESOLUTION)
    }

    fn subscribe_instant(&mut self, when: u64) -> Result<Resource<Pollable>> {
        Ok(self.table.push(Pollable::At(when))?)
    }

    fn subscribe_duration(&mut self, when: u64) -> Result<Resource<Pollable>> {
        let now = self.boundary.clock().monotonic();
        Ok(self.table.push(Pollable::At(now.saturating_add(when)))?)
    }
}

impl wall_clock::Host for StageState {
    fn now(&mut self) -> Result<wall_clock::Datetime> {
        Ok(datetime(self.boundary.clock().wall()))
    }

    fn resolution(&mut self) -> Result<wall_clock::Datetime> {
        Ok(datetime(RESOLUTION))
    }
}

fn datetime(nanos: u64) -> wall_clock::Datetime {
    let time = Duration::from_nanos(nanos);
    wall_clock::Datetime { seconds: time.as_secs(), nanoseconds: time.subsec_nanos() }
}
