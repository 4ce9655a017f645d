//! Secrets in use: where they come from, where they are put, and how they are kept out of everything else.
//!
//! A stage never has a secret. It has a placeholder, a random text of its own for this run, and puts that where the secret belongs; the
//! host puts the bytes there as the request leaves, if the secret's `to` allows the place. So the stage's memory, the journal, the events
//! and the logs hold placeholders, and what comes back from the world is masked ([`mask`]) before anybody sees it. A stage that must have the
//! bytes themselves needs `secrets = { read = [..] }`, and one that wants a signature ([`sign`]) names the key and never has it.
//!
//! Values are fetched ([`provider`]) when the first stage that uses them starts, kept for the run and overwritten at its end. Deliberately
//! absent: the pipeline file (`pipeline::secret`), the decision whether a request may take a secret along (`capability-http`,
//! `capability-commands`), and any protection against a program that was given a secret and sends it on in a cipher of its own.

mod events;
mod held;
pub mod mask;
mod oidc;
pub mod provider;
pub mod sign;
#[cfg(test)]
mod testing;
mod value;

pub use events::MaskedSink;
pub use held::{FetchError, Held, Secrets, basic, basic_header, may_hold_placeholder, placeholder_name};
pub use mask::Mask;
pub use provider::{Client, Machine, Request, Response};
pub use value::{Form, LONGEST, Misfit, SHORTEST, Unfit, Value};
