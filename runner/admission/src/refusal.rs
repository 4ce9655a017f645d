//! A request that no rule admits.

/// What a denial is made of. Codes are those that `runner:kubernetes` documents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    pub code: &'static str,
    /// One sentence for people, with no full stop.
    pub reason: String,
    /// What the grant's table needs, as TOML. None where no grant can allow it.
    pub remedy: Option<String>,
}

impl Refusal {
    pub(crate) fn new(code: &'static str, reason: impl Into<String>) -> Refusal {
        Refusal { code, reason: reason.into(), remedy: None }
    }
}
