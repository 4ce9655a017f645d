//! Programs a stage may start, and the confinement they run in

pub mod jail;
