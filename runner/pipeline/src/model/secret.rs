//! `[secret.<name>]`, and the secrets of an environment: where the bytes come from, and the only places they may be put.

use crate::diagnostic::Diagnostic;
use crate::model::{is_env_name, shown};
use crate::node::{Key, Node, Spanned, TableReader};
use crate::plan::Secret;

/// `what` is how messages call the table.
pub(super) fn read(key: &Key, node: &Node, what: String, diagnostics: &mut Vec<Diagnostic>) -> Option<(Key, Secret)> {
    let mut reader = TableReader::new(node, what, diagnostics)?;
    reader.require("from");
    let from = reader.string("from");
    let to = reader.strings("to").unwrap_or_default();
    let exchanged = from.as_ref().is_some_and(|from| from.value.starts_with("oidc:"));
    let audience = reader.string("audience");
    let scope = reader.string("scope");
    for (name, found) in [("audience", &audience), ("scope", &scope)] {
        if let (Some(found), false) = (found, exchanged) {
            let message = format!("`{name}` is for secrets that come from `oidc:`");
            reader.diagnostics.push(Diagnostic::error("contradiction", found.span.clone(), message).hint(format!("remove `{name}`")));
        }
    }
    if let Some(from) = &from {
        check_source(from, reader.diagnostics);
    }
    for place in &to {
        if place.value.trim().is_empty() || place.value.contains("${") {
            let message = format!("`{}` can't take a secret", shown(&place.value));
            reader.diagnostics.push(
                Diagnostic::error("bad-value", place.span.clone(), message)
                    .hint("write the place as it is: a URL such as \"https://api.example/v1/**\", or \"registry:ghcr.io\""),
            );
        }
    }
    reader.finish();
    let secret = Secret {
        name: key.name.clone(),
        from: from.map_or_else(String::new, |f| f.value),
        to: to.into_iter().map(|t| t.value).collect(),
        audience: audience.map(|text| text.value),
        scope: scope.map(|text| text.value),
    };
    Some((key.clone(), secret))
}

fn check_source(from: &Spanned<String>, diagnostics: &mut Vec<Diagnostic>) {
    let (good, hint) = match from.value.split_once(':') {
        Some(("env", name)) => (is_env_name(name), "write the variable's name: \"env:REGISTRY_TOKEN\""),
        Some(("file", path)) => (!path.is_empty() && !path.contains('\0'), "write a path: \"file:/run/secrets/token\""),
        Some(("cmd", line)) => (!line.trim().is_empty() && !line.contains('\0'), "write a command: \"cmd:pass show token\""),
        Some(("oidc", url)) => (
            (url.starts_with("https://") || url.starts_with("http://127.0.0.1") || url.starts_with("http://localhost"))
                && !url.contains(char::is_whitespace),
            "write where tokens are exchanged: \"oidc:https://sts.example/token\"",
        ),
        _ => (false, "write \"env:NAME\", \"file:/path\", \"cmd:program argument\" or \"oidc:https://…\""),
    };
    if !good {
        let message = "a secret can't come from there";
        diagnostics.push(Diagnostic::error("bad-secret", from.span.clone(), message).hint(hint));
    }
}
