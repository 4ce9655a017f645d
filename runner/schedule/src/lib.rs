//! When each stage runs: a pure state machine
