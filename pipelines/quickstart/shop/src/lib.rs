//! A small shop over HTTP: `/products`, `/products/<id>`, `/health`, `/health/ready` and `/metrics`.
//!
//! It exists to be linted, tested, audited, built and smoke-tested by the pipeline beside it, and later to be rolled out: how often it fails
//! and how slow it is can be set from outside. It is a real service all the same: bounded queues, limits and timeouts on what a client
//! may do, keep-alive, metrics, and an end that lets running requests finish. Deliberately absent: dependencies, TLS, a database.

pub mod catalogue;
pub mod faults;
pub mod http;
pub mod metrics;
pub mod routes;
pub mod server;
pub mod settings;
pub mod signal;

pub use server::Server;
pub use settings::Settings;
