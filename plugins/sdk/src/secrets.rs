//! Secrets of the pipeline, by name.
//!
//! A stage seldom needs this: `${secret.<name>}` in its settings or `env` is a placeholder, a text that it puts into a header, a URL, a JSON body or a
//! program's variable as if it were the secret. The host puts the bytes there as the request leaves.
//!
//! ```no_run
//! # use runner_sdk::{Failure, http, secrets};
//! # fn main() -> Result<(), Failure> {
//! let token = secrets::placeholder("registry")?; // secrets = { use = ["registry"] }
//! http::get("https://ghcr.io/v2/").header("authorization", format!("Bearer {token}")).send()?;
//! # Ok(()) }
//! ```

use std::fmt;

use crate::bindings::runner::secrets::secrets as wit;
use crate::{Denial, Failure};

/// Why a secret was not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// No `secrets` grant of the stage names it.
    Denied(Denial),
    /// It can't sign. Says why.
    Unusable(String),
}

/// The text that stands for a secret. Needs `secrets = { use = [..] }`.
pub fn placeholder(name: &str) -> Result<String, Error> {
    crate::inside("secrets");
    wit::placeholder(name).map_err(lift)
}

/// The bytes themselves. Needs `secrets = { read = [..] }`, which `plan` shows in red: prefer [`placeholder`].
pub fn read(name: &str) -> Result<Vec<u8>, Error> {
    crate::inside("secrets");
    wit::read(name).map_err(lift)
}

/// The signature of `payload` (ECDSA on P-256 with SHA-256, in ASN.1 DER) by a key that stays with the host. Needs `secrets = { sign = [..] }`, with the name of
/// the key and, if it is encrypted, the one of its password.
pub fn sign(key: &str, password: Option<&str>, payload: &[u8]) -> Result<Vec<u8>, Error> {
    crate::inside("secrets");
    wit::sign(key, password, payload).map_err(lift)
}

fn lift(error: wit::Error) -> Error {
    match error {
        wit::Error::Denied(denial) => Error::Denied(denial.into()),
        wit::Error::Unusable(why) => Error::Unusable(why),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Denied(denial) => denial.fmt(f),
            Error::Unusable(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::Denied(denial) => Failure::Denied(denial),
            Error::Unusable(why) => Failure::Errored(why),
        }
    }
}
