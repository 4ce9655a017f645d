//! Lines in the stage's log. `print!` and `eprint!` go to the same log, without a level.
//!
//! A message counts towards the stage's `log` limit. At the limit the stage fails, and the message says so.

use std::fmt::Display;

use crate::bindings::runner::stage::log as wit;

pub use wit::Level;

/// One message; a line feed in it makes it several lines.
pub fn log(level: Level, message: impl Display) {
    crate::inside("log");
    wit::log(level, &message.to_string());
}

/// Shown only to those who ask for more.
pub fn debug(message: impl Display) {
    log(Level::Debug, message);
}

/// `info("text")` or `info(format_args!("{count} tests"))`.
pub fn info(message: impl Display) {
    log(Level::Info, message);
}

/// Something that a person should see, though the stage goes on.
pub fn warn(message: impl Display) {
    log(Level::Warn, message);
}

/// Something that makes the stage fail.
pub fn error(message: impl Display) {
    log(Level::Error, message);
}
