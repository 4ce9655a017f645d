//! What is measured of a version that was deployed, and what that says: shared by `canary`, which asks while it sends traffic, and by `metrics`, which
//! asks afterwards.
//!
//! The one rule above all others: **it never fails open**. No data, a NaN, a source that does not answer, a condition that can't be told are never a pass.
//!
//! Deliberately absent: clocks and clusters. A [`Probe`] says what to ask of the port [`Web`]; [`Network`] is the one that the stage's grant leads to.

mod chart;
mod compare;
mod condition;
mod describe;
mod metric;
mod network;
mod probe;
mod reading;
mod settings;

pub use chart::chart;
pub use compare::{Comparison, Direction, Judgement, Margins, compare};
pub use condition::{Condition, Values};
pub use describe::{describe, time};
pub use metric::{Conditions, Limits, Point, Standing, Tally};
pub use network::Network;
pub use probe::{Failed, Probe, Side, Web};
pub use reading::{Reading, at_pointer, prometheus};
pub use settings::{Compare, MannWhitney, Metric, With};
