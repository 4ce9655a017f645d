//! A refused effect: a value for the guest, an event for the user, and the TOML that would allow it.

use event::DenialRecord;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// `files.open`. Set by the boundary.
    pub effect: String,
    /// What the effect was aimed at. Set by the boundary.
    pub subject: String,
    /// Stable, kebab-case; each capability lists its own.
    pub code: std::borrow::Cow<'static, str>,
    /// One sentence for people, with no full stop.
    pub reason: String,
    /// Lines for the pipeline file. `None` where no grant can allow it.
    pub remedy: Option<String>,
}

impl Denial {
    pub fn new(code: &'static str, reason: impl Into<String>) -> Self {
        Denial { effect: String::new(), subject: String::new(), code: code.into(), reason: reason.into(), remedy: None }
    }

    /// The smallest grant that would allow it, as it would stand below `[stage.<stage>.grants]`.
    #[must_use]
    pub fn remedy(mut self, stage: &str, lines: impl AsRef<str>) -> Self {
        self.remedy = Some(format!("[stage.{stage}.grants]\n{}", lines.as_ref()));
        self
    }

    pub fn record(&self) -> DenialRecord {
        DenialRecord {
            effect: self.effect.clone(),
            subject: self.subject.clone(),
            code: self.code.clone().into_owned(),
            reason: self.reason.clone(),
            remedy: self.remedy.clone(),
        }
    }
}

/// A string as a TOML basic string, for remedies.
pub fn toml_string(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl From<DenialRecord> for Denial {
    fn from(record: DenialRecord) -> Self {
        let DenialRecord { effect, subject, code, reason, remedy } = record;
        Denial { effect, subject, code: code.into(), reason, remedy }
    }
}
