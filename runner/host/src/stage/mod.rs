//! `runner:stage`: what is always there, and the world that a plugin exports.

mod control;
mod results;
mod run;

pub use control::{ControlRoom, People, Word};
pub use results::ResultsRoom;

use capability::StageState;
use wasmtime::Result;
use wasmtime::component::{HasSelf, Linker};

pub mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package runner:host-stage;
            world plugin {
                import runner:stage/log@0.1.0;
                import runner:stage/report@0.1.0;
                import runner:stage/outputs@0.1.0;
                import runner:stage/progress@0.1.0;
                import runner:stage/run@0.1.0;
                import runner:stage/control@0.1.0;
                use runner:stage/types@0.1.0.{context, outcome, failure};
                export run: func(context: context) -> result<outcome, failure>;
            }
        ",
        world: "runner:host-stage/plugin",
        imports: { default: trappable },
        exports: { default: async },
    });
}

/// A component that imports it is told that it should stop, and ends by itself.
pub const CONTROL: &str = "runner:stage/control@";

/// Prefixes of the imports that are linked here.
pub const INTERFACES: &[&str] = &["runner:stage/", "runner:boundary/"];

pub fn link(linker: &mut Linker<StageState>) -> Result<()> {
    use bindings::runner::stage::{control, log, outputs, progress, report, run, types};
    bindings::runner::boundary::types::add_to_linker::<_, HasSelf<StageState>>(linker, |s| s)?;
    types::add_to_linker::<_, HasSelf<StageState>>(linker, |s| s)?;
    log::add_to_linker::<_, HasSelf<StageState>>(linker, |s| s)?;
    report::add_to_linker::<_, HasSelf<StageState>>(linker, |s| s)?;
    outputs::add_to_linker::<_, HasSelf<StageState>>(linker, |s| s)?;
    progress::add_to_linker::<_, HasSelf<StageState>>(linker, |s| s)?;
    run::add_to_linker::<_, HasSelf<StageState>>(linker, |s| s)?;
    control::add_to_linker::<_, HasSelf<StageState>>(linker, |s| s)?;
    Ok(())
}
