//! From the text of a pipeline file to a plan that leaves nothing to decide.
//!
//! `text → raw (a spanned tree) → model (valid once built) → plan (with plugins and grants)`. Pure: no file is read here but the
//! one that the caller gives as text; plugins and capabilities come in through the ports [`manifest::Plugins`] and
//! [`grant::GrantSchema`]. Every mistake is collected with its place, code and hint ([`diagnostic`]).

mod around;
pub mod bind;
pub mod build;
pub mod ceilings;
pub mod compose;
mod compose_file;
pub mod diagnostic;
pub mod editor;
mod expand;
mod expanded;
pub mod facts;
pub mod grant;
mod graph;
mod inputs;
mod interpolate;
pub mod learning;
mod literal;
pub mod manifest;
pub mod model;
pub mod node;
pub mod plan;
pub mod raw;
mod recipe;
pub mod reference;
mod requests;
pub mod scalar;
mod schema;
pub mod secret;
mod settings;
pub mod source;
mod values;
pub mod when;
