//! The lint stage
