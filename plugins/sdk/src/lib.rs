//! Write a stage for runner in Rust
