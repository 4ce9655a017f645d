//! One command, one file.

pub mod approve;
pub mod artifacts;
pub mod check;
pub mod completions;
pub mod doctor;
pub mod exec;
pub mod export;
pub mod gc;
pub mod import;
pub mod init;
pub mod inspect;
pub mod ledger;
pub mod logs;
pub mod plan;
pub mod replay;
pub mod resume;
pub mod runs;
pub mod schema;
pub mod show;
