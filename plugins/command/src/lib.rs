//! The command stage
