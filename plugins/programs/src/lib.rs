//! Programs that a stage runs side by side, and what it takes to read their output.
//!
//! `lint` and `test` both start programs that the pipeline file names, wait for them together, and read what they wrote: to a
//! stream, or to files that they left in the workspace. What the two share is here: the settings of one program, its start and
//! end, the files it left, its lines without colours, JSON and XML of any size, why an output cannot be read, and the workspace
//! path behind whatever path it printed.
//!
//! Deliberately absent: any tool's format. Each plugin reads its own.

pub mod ansi;
pub mod glob;
pub mod json;
pub mod left;
pub mod lines;
pub mod output;
pub mod paths;
mod read_error;
pub mod settings;
pub mod tail;
pub mod together;
pub mod xml;

pub use paths::Paths;
pub use read_error::ReadError;
pub use settings::{Program, Source};
