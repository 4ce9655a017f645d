//! The schema of `grants.secrets`: three lists of names.

use std::any::Any;
use std::sync::Arc;

use pipeline::diagnostic::{Diagnostic, did_you_mean};
use pipeline::grant::{Authority, Grant, GrantContext, GrantSchema, Used};
use pipeline::node::{Node, TableReader};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretsGrant {
    /// Their placeholders may be asked for.
    pub used: Vec<String>,
    /// Their bytes may be read; their placeholders too.
    pub read: Vec<String>,
    /// They sign what the stage hands over; neither their bytes nor their placeholders are given.
    pub sign: Vec<String>,
}

impl Grant for SecretsGrant {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn authority(&self) -> Vec<Authority> {
        let read = self.read.iter().map(|name| Authority { text: format!("READ the bytes of secret {name}"), alarming: true });
        let used = self.used.iter().map(|name| Authority { text: format!("use secret {name} (within its `to`)"), alarming: false });
        let sign = self.sign.iter().map(|name| Authority { text: format!("SIGN anything with secret {name}"), alarming: true });
        read.chain(sign).chain(used).collect()
    }

    fn secrets(&self) -> Vec<(String, bool)> {
        let named = |names: &[String], read| names.iter().map(|name| (name.clone(), read)).collect::<Vec<_>>();
        [named(&self.used, false), named(&self.sign, false), named(&self.read, true)].concat()
    }

    fn unused(&self, used: &mut dyn Iterator<Item = Used<'_>>) -> Vec<String> {
        // of `sign` nothing is said: what names a key's password is no subject of an effect
        let mut idle: Vec<&String> = self.read.iter().collect();
        for used in used.filter(|used| used.effect == "secrets.read") {
            idle.retain(|name| *name != used.subject);
        }
        idle.into_iter().map(|name| format!("\"{name}\" in `read`: never read")).collect()
    }
}

/// Decodes `grants.secrets`.
pub(crate) struct Schema;

impl GrantSchema for Schema {
    fn name(&self) -> &'static str {
        "secrets"
    }

    fn summary(&self) -> &'static str {
        "the placeholders of secrets, their bytes, and signatures with them"
    }

    fn interfaces(&self) -> &'static [&'static str] {
        &["runner:secrets/"]
    }

    fn json_schema(&self) -> serde_json::Value {
        let names = || serde_json::json!({ "type": "array", "items": { "type": "string" }, "minItems": 1 });
        serde_json::json!({ "type": "object", "additionalProperties": false, "properties": { "use": names(), "read": names(), "sign": names() } })
    }

    fn example(&self) -> &'static str {
        r#"secrets = { read = ["signing-key"] }"#
    }

    fn path_keys(&self) -> &'static [&'static str] {
        &[]
    }

    fn decode(&self, node: &Node, context: &GrantContext, diagnostics: &mut Vec<Diagnostic>) -> Option<Arc<dyn Grant>> {
        let before = diagnostics.len();
        let what = format!("[stage.{}.grants] secrets", context.stage);
        let mut reader = TableReader::new(node, what, diagnostics)?;
        let lists = ["use", "read", "sign"].map(|key| reader.strings(key).unwrap_or_default());
        for name in lists.iter().flatten() {
            let known = || context.secrets.iter().map(|one| one.secret.name.as_str());
            if !known().any(|one| one == name.value) {
                let hint = match did_you_mean(&name.value, known()) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => format!("declare it:\n\n[secret.{}]\nfrom = \"env:NAME\"\nto = [\"https://host/path/**\"]", name.value),
                };
                let message = format!("there is no secret `{}`", name.value.escape_debug());
                reader.diagnostics.push(Diagnostic::error("unknown-secret", name.span.clone(), message).hint(hint));
            }
        }
        if lists.iter().all(Vec::is_empty) {
            reader.diagnostics.push(Diagnostic::error("empty", node.span.clone(), "the grant names no secret").hint(self.example()));
        }
        reader.finish();
        let [used, read, sign] = lists.map(|list| list.into_iter().map(|name| name.value).collect());
        (diagnostics.len() == before).then(|| Arc::new(SecretsGrant { used, read, sign }) as Arc<dyn Grant>)
    }
}

#[cfg(test)]
mod tests {
    use capability::testing;
    use pipeline::node::Value;
    use pipeline::plan::{Secret, SecretUse};

    use super::*;

    fn decode(text: &str) -> Result<SecretsGrant, Vec<String>> {
        let root = pipeline::raw::tree(text).map_err(|_| Vec::new())?;
        let Value::Table(table) = &root.value else { unreachable!("a document is a table") };
        let secret =
            |name: &str| Secret { name: name.into(), from: String::new(), to: Vec::new(), audience: None, scope: None, token: None };
        let one = |name: &str| SecretUse { secret: secret(name), placeholder: String::new(), read: false };
        let context = GrantContext { secrets: vec![one("token"), one("key")], ..testing::context() };
        let mut diagnostics = Vec::new();
        let grant = Schema.decode(table.get("secrets").unwrap(), &context, &mut diagnostics);
        match grant {
            Some(grant) => Ok(grant.as_any().downcast_ref::<SecretsGrant>().unwrap().clone()),
            None => Err(diagnostics.into_iter().map(|d| d.code.to_string()).collect()),
        }
    }

    #[test]
    fn grants() {
        let grant = decode("secrets = { use = ['token'], read = ['key'], sign = ['key'] }").unwrap();
        assert_eq!(grant, SecretsGrant { used: vec!["token".into()], read: vec!["key".into()], sign: vec!["key".into()] });
        let authority = grant.authority();
        assert!(authority[0].alarming && authority[0].text == "READ the bytes of secret key");
        assert!(authority[1].alarming && authority[1].text == "SIGN anything with secret key");
        assert!(!authority[2].alarming && authority[2].text == "use secret token (within its `to`)");
        assert_eq!(decode("secrets = { read = ['tokn'] }"), Err(vec!["unknown-secret".into()]));
        assert_eq!(decode("secrets = {}"), Err(vec!["empty".into()]));
        assert_eq!(decode("secrets = { read = ['key'], write = ['key'] }"), Err(vec!["unknown-key".into()]));
    }

    #[test]
    fn what_was_never_read_can_go() {
        let grant = SecretsGrant { read: vec!["key".into(), "token".into()], ..SecretsGrant::default() };
        let used = [Used { effect: "secrets.read", subject: "key", request: "{}" }];
        assert_eq!(grant.unused(&mut used.into_iter()), ["\"token\" in `read`: never read"]);
    }
}
