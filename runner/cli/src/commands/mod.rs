//! One command, one file.

pub mod approve;
pub mod check;
pub mod completions;
pub mod doctor;
pub mod exec;
pub mod inspect;
pub mod plan;
pub mod replay;
pub mod resume;
