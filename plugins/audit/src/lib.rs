//! The audit stage
