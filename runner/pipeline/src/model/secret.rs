//! `[secret.<name>]`, and the secrets of an environment: where the bytes come from, and the only places they may be put.

use crate::diagnostic::Diagnostic;
use crate::node::{Key, Node, TableReader};
use crate::plan::Secret;
use crate::secret::{Destination, Mistake, check_source, check_token};

/// `what` is how messages call the table.
pub(super) fn read(key: &Key, node: &Node, what: String, diagnostics: &mut Vec<Diagnostic>) -> Option<(Key, Secret)> {
    let mut reader = TableReader::new(node, what, diagnostics)?;
    reader.require("from");
    let from = reader.string("from");
    let to = reader.strings("to").unwrap_or_default();
    let exchanged = from.as_ref().is_some_and(|from| from.value.starts_with("oidc:"));
    let audience = reader.string("audience");
    let scope = reader.string("scope");
    let token = reader.string("token");
    for (name, found) in [("audience", &audience), ("scope", &scope), ("token", &token)] {
        if let (Some(found), false) = (found, exchanged) {
            let message = format!("`{name}` is for secrets that come from `oidc:`");
            reader.diagnostics.push(Diagnostic::error("contradiction", found.span.clone(), message).hint(format!("remove `{name}`")));
        }
    }
    let sources =
        from.iter().map(|from| (from, check_source(&from.value))).chain(token.iter().map(|token| (token, check_token(&token.value))));
    let places = to.iter().map(|place| (place, Destination::parse(&place.value).map(drop)));
    for (text, found) in sources.chain(places) {
        if let Err(Mistake { message, hint }) = found {
            reader.diagnostics.push(Diagnostic::error("bad-secret", text.span.clone(), message).hint(hint));
        }
    }
    reader.finish();
    let secret = Secret {
        name: key.name.clone(),
        from: from.map_or_else(String::new, |f| f.value),
        to: to.into_iter().map(|t| t.value).collect(),
        audience: audience.map(|text| text.value),
        scope: scope.map(|text| text.value),
        token: token.map(|text| text.value),
    };
    Some((key.clone(), secret))
}
