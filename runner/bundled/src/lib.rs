//! The plugins that ship inside the runner
