//! The host functions against real servers on loopback, without a guest: what a component would call is called here.

mod client;
mod lifecycle;
mod redirects;
mod server;
mod stage;
mod tls;
mod wasi;
