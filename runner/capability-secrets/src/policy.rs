//! May this stage have this secret, or its placeholder? A pure function of the grant and the name.

use std::borrow::Cow;

use capability::denial::toml_string;
use capability::{Class, Decision, Denial, Effect, Nothing, Policy};
use serde::{Deserialize, Serialize};

use crate::grant::SecretsGrant;

/// Reading the bytes: `secrets.read`.
#[derive(Debug, Clone, Serialize)]
pub struct Read {
    pub name: String,
}

/// What is recorded of bytes that were read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Keyed with the run's placeholder, so that it can't be looked up in a table.
    pub digest: String,
}

/// Asking for the placeholder: `secrets.placeholder`.
#[derive(Debug, Clone, Serialize)]
pub struct Placeholder {
    pub name: String,
}

impl Effect for Read {
    const NAME: &'static str = "secrets.read";
    type Question = Nothing;
    type Seen = ();
    type Reply = Option<Told>;

    fn subject(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
    }

    fn class(&self) -> Class {
        Class::Read
    }
}

impl Effect for Placeholder {
    const NAME: &'static str = "secrets.placeholder";
    type Question = Nothing;
    type Seen = ();
    type Reply = Option<String>;

    fn subject(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
    }

    fn class(&self) -> Class {
        Class::Read
    }
}

/// The grant as policy sees it, with the stage that a remedy names.
pub struct Rules<'a> {
    pub grant: &'a SecretsGrant,
    pub stage: &'a str,
}

impl Policy<Read> for Rules<'_> {
    fn decide(&self, effect: &Read, (): &()) -> Decision<Nothing> {
        let SecretsGrant { used, read } = self.grant;
        if read.contains(&effect.name) { Decision::Allow } else { self.deny(&effect.name, "read", used, &extended(read, &effect.name)) }
    }
}

impl Policy<Placeholder> for Rules<'_> {
    fn decide(&self, effect: &Placeholder, (): &()) -> Decision<Nothing> {
        let SecretsGrant { used, read } = self.grant;
        if used.contains(&effect.name) || read.contains(&effect.name) {
            Decision::Allow
        } else {
            self.deny(&effect.name, "use", &extended(used, &effect.name), read)
        }
    }
}

impl Rules<'_> {
    fn deny(&self, name: &str, what: &str, used: &[String], read: &[String]) -> Decision<Nothing> {
        let lists = [("use", used), ("read", read)].into_iter().filter(|(_, names)| !names.is_empty());
        let lists =
            lists.map(|(key, names)| format!("{key} = [{}]", names.iter().map(|name| toml_string(name)).collect::<Vec<_>>().join(", ")));
        let lines = format!("secrets = {{ {} }}", lists.collect::<Vec<_>>().join(", "));
        let denial = Denial::new("not-granted", format!("the stage's grants do not allow to {what} the secret `{}`", name.escape_debug()));
        // a name that no secret can have is granted nowhere
        let plain = !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        Decision::Deny(if plain { denial.remedy(self.stage, lines) } else { denial })
    }
}

fn extended(names: &[String], name: &str) -> Vec<String> {
    names.iter().map(String::as_str).chain([name]).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        let grant = SecretsGrant { used: vec!["token".into()], read: vec!["key".into()] };
        let rules = Rules { grant: &grant, stage: "sign" };
        let read = |name: &str| rules.decide(&Read { name: name.into() }, &());
        let placeholder = |name: &str| rules.decide(&Placeholder { name: name.into() }, &());
        assert!(matches!(read("key"), Decision::Allow));
        assert!(matches!(placeholder("key"), Decision::Allow));
        assert!(matches!(placeholder("token"), Decision::Allow));
        let Decision::Deny(denial) = read("token") else { panic!("a placeholder is not the bytes") };
        assert_eq!(denial.remedy.unwrap(), "[stage.sign.grants]\nsecrets = { use = [\"token\"], read = [\"key\", \"token\"] }");
        let Decision::Deny(denial) = placeholder("other") else { panic!("not granted") };
        assert_eq!(denial.remedy.unwrap(), "[stage.sign.grants]\nsecrets = { use = [\"token\", \"other\"], read = [\"key\"] }");
        let Decision::Deny(denial) = placeholder("../x") else { panic!("not granted") };
        assert_eq!(denial.remedy, None);
    }
}
