//! End-to-end tests of the runner
