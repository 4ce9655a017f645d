//! The smoke stage
