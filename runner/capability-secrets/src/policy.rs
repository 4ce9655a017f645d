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

/// Signing with a key that stays where it is: `secrets.sign`.
#[derive(Debug, Clone, Serialize)]
pub struct Sign {
    pub name: String,
    /// The secret that opens the key.
    pub password: Option<String>,
    #[serde(with = "in_base64")]
    pub payload: Vec<u8>,
}

/// What is recorded of a signature: all of it, since it is no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signed {
    /// In ASN.1 DER.
    Signature(#[serde(with = "in_base64")] Vec<u8>),
    /// Why the secret can't sign.
    Unusable(String),
    /// The bytes of this secret are not there.
    Missing(String),
}

/// Bytes as text, for the record.
mod in_base64 {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl Effect for Sign {
    const NAME: &'static str = "secrets.sign";
    type Question = Nothing;
    type Seen = ();
    type Reply = Signed;

    fn subject(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
    }

    /// It changes nothing, and the same key signs the same bytes in the same way.
    fn class(&self) -> Class {
        Class::Read
    }
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
        if self.grant.read.contains(&effect.name) { Decision::Allow } else { self.deny(&effect.name, "read") }
    }
}

impl Policy<Placeholder> for Rules<'_> {
    fn decide(&self, effect: &Placeholder, (): &()) -> Decision<Nothing> {
        let SecretsGrant { used, read, .. } = self.grant;
        if used.contains(&effect.name) || read.contains(&effect.name) { Decision::Allow } else { self.deny(&effect.name, "use") }
    }
}

impl Policy<Sign> for Rules<'_> {
    fn decide(&self, effect: &Sign, (): &()) -> Decision<Nothing> {
        let missing = [Some(&effect.name), effect.password.as_ref()].into_iter().flatten().find(|name| !self.grant.sign.contains(name));
        missing.map_or(Decision::Allow, |name| self.deny(name, "sign"))
    }
}

impl Rules<'_> {
    /// The remedy is the grant as it stands with the name in the list `key`.
    fn deny(&self, name: &str, key: &'static str) -> Decision<Nothing> {
        let SecretsGrant { used, read, sign } = self.grant;
        let lists = [("use", used), ("read", read), ("sign", sign)].map(|(list, names)| {
            let names = names.iter().map(String::as_str).chain((list == key).then_some(name));
            (list, names.map(toml_string).collect::<Vec<_>>())
        });
        let lists =
            lists.into_iter().filter(|(_, names)| !names.is_empty()).map(|(list, names)| format!("{list} = [{}]", names.join(", ")));
        let lines = format!("secrets = {{ {} }}", lists.collect::<Vec<_>>().join(", "));
        let what = if key == "sign" { "sign with" } else { key };
        let denial = Denial::new("not-granted", format!("the stage's grants do not allow to {what} the secret `{}`", name.escape_debug()));
        // a name that no secret can have is granted nowhere
        let plain = !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        Decision::Deny(if plain { denial.remedy(self.stage, lines) } else { denial })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        let grant = SecretsGrant { used: vec!["token".into()], read: vec!["key".into()], sign: vec!["cosign".into(), "password".into()] };
        let rules = Rules { grant: &grant, stage: "sign" };
        let read = |name: &str| rules.decide(&Read { name: name.into() }, &());
        let placeholder = |name: &str| rules.decide(&Placeholder { name: name.into() }, &());
        assert!(matches!(read("key"), Decision::Allow));
        assert!(matches!(placeholder("key"), Decision::Allow));
        assert!(matches!(placeholder("token"), Decision::Allow));
        let Decision::Deny(denial) = read("token") else { panic!("a placeholder is not the bytes") };
        assert_eq!(
            denial.remedy.unwrap(),
            "[stage.sign.grants]\nsecrets = { use = [\"token\"], read = [\"key\", \"token\"], sign = [\"cosign\", \"password\"] }"
        );
        let Decision::Deny(denial) = placeholder("other") else { panic!("not granted") };
        assert_eq!(
            denial.remedy.unwrap(),
            "[stage.sign.grants]\nsecrets = { use = [\"token\", \"other\"], read = [\"key\"], sign = [\"cosign\", \"password\"] }"
        );
        let Decision::Deny(denial) = placeholder("../x") else { panic!("not granted") };
        assert_eq!(denial.remedy, None);
    }

    #[test]
    fn a_key_signs_and_gives_nothing_else() {
        let grant = SecretsGrant { sign: vec!["cosign".into(), "password".into()], ..SecretsGrant::default() };
        let rules = Rules { grant: &grant, stage: "image" };
        let sign = |name: &str, password: Option<&str>| {
            rules.decide(&Sign { name: name.into(), password: password.map(str::to_owned), payload: b"x".to_vec() }, &())
        };
        assert!(matches!(sign("cosign", None), Decision::Allow));
        assert!(matches!(sign("cosign", Some("password")), Decision::Allow));
        assert!(matches!(rules.decide(&Read { name: "cosign".into() }, &()), Decision::Deny(_)));
        assert!(matches!(rules.decide(&Placeholder { name: "cosign".into() }, &()), Decision::Deny(_)));
        for (name, password) in [("other", None), ("cosign", Some("other"))] {
            let Decision::Deny(denial) = sign(name, password) else { panic!("{name} {password:?}") };
            assert_eq!(denial.remedy.unwrap(), "[stage.image.grants]\nsecrets = { sign = [\"cosign\", \"password\", \"other\"] }");
        }
    }

    #[test]
    fn a_record_holds_what_was_signed_and_the_signature() {
        let effect = Sign { name: "cosign".into(), password: None, payload: vec![0, 255] };
        assert_eq!(serde_json::to_value(&effect).unwrap()["payload"], "AP8=");
        let signed = Signed::Signature(vec![48, 1]);
        assert_eq!(serde_json::from_value::<Signed>(serde_json::to_value(&signed).unwrap()).unwrap(), signed);
    }
}
