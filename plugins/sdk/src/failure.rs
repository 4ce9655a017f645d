//! Why a stage did not pass, and the way in which the errors of the other modules become that by `?`.

use std::fmt::{self, Display};
use std::io;

use crate::bindings::Failure as WitFailure;
use crate::bindings::runner::boundary::types::Denial as WitDenial;

/// Why a stage did not pass. Only `Failed` and `Errored` are tried again where the stage has `retries`.
///
/// Which one to choose: would the author of the code mend it (`Failed`), the author of the pipeline file (`Misconfigured`,
/// `Denied`), or is the world at fault (`Errored`)?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The stage did what it is for, and the answer is no: tests failed, findings above the limit. One line.
    Failed(String),
    /// The settings cannot be used, in a way that their schema could not tell. Says which setting and how to mend it.
    Misconfigured(String),
    /// A denied effect without which the stage cannot do its work. `exec` ends with exit code 5.
    Denied(Denial),
    /// The stage could not do its work: a tool was missing or crashed, a server did not answer, output was unreadable.
    Errored(String),
}

impl Failure {
    /// The answer is no.
    pub fn failed(message: impl Display) -> Failure {
        Failure::Failed(message.to_string())
    }

    /// A setting cannot be used; names it and says how to mend it.
    pub fn misconfigured(message: impl Display) -> Failure {
        Failure::Misconfigured(message.to_string())
    }

    /// The stage could not do its work.
    pub fn errored(message: impl Display) -> Failure {
        Failure::Errored(message.to_string())
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Failed(text) | Failure::Misconfigured(text) | Failure::Errored(text) => f.write_str(text),
            Failure::Denied(denial) => denial.fmt(f),
        }
    }
}

impl std::error::Error for Failure {}

/// An effect that the stage's grants do not allow. A denial is an answer: the stage may go on without the effect, or end with
/// [`Failure::Denied`]. The user sees every denial, whether or not the stage passes it on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The effect that was refused, as `capability.operation`: `files.open`, `http.request`, `commands.start`.
    pub effect: String,
    /// What the effect was aimed at: a path, `GET https://host/path`, a program.
    pub subject: String,
    /// A stable code to match on: `not-granted`, `read-only`, `private-address`, ….
    pub code: String,
    /// One sentence for people, with no full stop.
    pub reason: String,
    /// The TOML that would allow the effect, ready for the pipeline file. None where no grant can.
    pub remedy: Option<String>,
}

impl Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "denied: {} {}: {} ({})", self.effect, self.subject, self.reason, self.code)
    }
}

impl From<WitDenial> for Denial {
    fn from(WitDenial { effect, subject, code, reason, remedy }: WitDenial) -> Denial {
        Denial { effect, subject, code, reason, remedy }
    }
}

impl From<Denial> for WitDenial {
    fn from(Denial { effect, subject, code, reason, remedy }: Denial) -> WitDenial {
        WitDenial { effect, subject, code, reason, remedy }
    }
}

impl From<Failure> for WitFailure {
    fn from(failure: Failure) -> WitFailure {
        match failure {
            Failure::Failed(text) => WitFailure::Failed(text),
            Failure::Misconfigured(text) => WitFailure::Misconfigured(text),
            Failure::Denied(denial) => WitFailure::Denied(denial.into()),
            Failure::Errored(text) => WitFailure::Errored(text),
        }
    }
}

impl From<Denial> for Failure {
    fn from(denial: Denial) -> Failure {
        Failure::Denied(denial)
    }
}

/// WASI knows only errno: a denied file is `PermissionDenied` or `ReadOnlyFilesystem`, with no word of which file. Prefer
/// [`files`](crate::files), whose errors name the path.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match denial_code(&error) {
            Some(code) => Failure::Denied(files_denial(code, "a file")),
            None => Failure::Errored(error.to_string()),
        }
    }
}

/// The denial code that an I/O error stands for, if it is a refusal.
pub(crate) fn denial_code(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Some("not-granted"),
        io::ErrorKind::ReadOnlyFilesystem => Some("read-only"),
        _ => None,
    }
}

/// The host has already told the user which path and which grant; this one only carries the refusal to the end of the stage.
pub(crate) fn files_denial(code: &str, subject: &str) -> Denial {
    let reason = match code {
        "read-only" => "the stage's `files` grant lets it read here and not write",
        _ => "the stage's `files` grant does not allow it",
    };
    Denial { effect: "files.open".into(), subject: subject.into(), code: code.into(), reason: reason.into(), remedy: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_file_is_a_denial_and_a_missing_one_is_not() {
        let refused = Failure::from(io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(matches!(refused, Failure::Denied(denial) if denial.code == "not-granted" && denial.effect == "files.open"));
        let read_only = Failure::from(io::Error::from(io::ErrorKind::ReadOnlyFilesystem));
        assert!(matches!(read_only, Failure::Denied(denial) if denial.code == "read-only"));
        assert!(matches!(Failure::from(io::Error::from(io::ErrorKind::NotFound)), Failure::Errored(_)));
    }

    #[test]
    fn a_denial_keeps_every_part_on_its_way_to_the_host() {
        let denial = Denial {
            effect: "http.request".into(),
            subject: "GET https://example.com/".into(),
            code: "not-granted".into(),
            reason: "no rule allows it".into(),
            remedy: Some("http = [{ url = \"https://example.com/\" }]".into()),
        };
        let WitFailure::Denied(wit) = WitFailure::from(Failure::from(denial.clone())) else { panic!("not a denial") };
        assert_eq!(Denial::from(wit), denial);
    }
}
