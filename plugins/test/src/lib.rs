//! The test stage
