//! Runs one stage
