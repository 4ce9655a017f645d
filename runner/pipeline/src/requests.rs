//! What a plugin asks for and imports, against what the stage grants.

use std::sync::Arc;

use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::grant::GrantSchema;
use crate::graph::list;
use crate::manifest::PluginInfo;
use crate::model::{Stage, shown};

/// Interfaces that every stage has: the runner's own, and standard WASI 0.2, which refuses what is not granted.
const ALWAYS: [&str; 2] = ["runner:stage/", "runner:boundary/"];
const STANDARD: [&str; 7] = ["wasi:io/", "wasi:cli/", "wasi:clocks/", "wasi:random/", "wasi:filesystem/", "wasi:sockets/", "wasi:http/"];

/// Refuses grants that no capability knows.
pub(crate) fn refuse_unknown(stage: &Stage, schemas: &[Arc<dyn GrantSchema>], diagnostics: &mut Vec<Diagnostic>) {
    for (key, _) in &stage.grants {
        if schemas.iter().any(|schema| schema.name() == key.name) {
            continue;
        }
        let names = schemas.iter().map(|schema| schema.name());
        let hint = match did_you_mean(&key.name, names.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("capabilities: {}", list(names)),
        };
        let message = format!("there is no capability `{}`", shown(&key.name));
        diagnostics.push(Diagnostic::error("unknown-grant", key.span.clone(), message).hint(hint));
    }
}

/// Refuses grants that the plugin can't use, and stages without a grant that it can't do without.
pub(crate) fn check(stage: &Stage, plugin: &PluginInfo, schemas: &[Arc<dyn GrantSchema>], diagnostics: &mut Vec<Diagnostic>) {
    let manifest = &plugin.manifest;
    let name = shown(&manifest.name);
    for (key, _) in &stage.grants {
        let Some(schema) = schemas.iter().find(|schema| schema.name() == key.name) else { continue };
        if !can_use(plugin, &**schema) {
            let message = format!("the plugin `{name}` can't use `{}`: it neither asks for it nor imports it", schema.name());
            diagnostics.push(Diagnostic::error("grant-unused", key.span.clone(), message).hint("remove the grant"));
        }
    }
    let span = stage.uses.as_ref().map_or(stage.span.clone(), |uses| uses.span.clone());
    for request in &manifest.requests {
        let granted = stage.grants.iter().any(|(key, _)| key.name == request.capability);
        let capability = shown(&request.capability);
        match schemas.iter().find(|schema| schema.name() == request.capability) {
            None if request.required => {
                let message = format!("the plugin `{name}` needs `{capability}`, which this runner does not have");
                diagnostics.push(
                    Diagnostic::error("unknown-capability", span.clone(), message)
                        .label(shown(&request.reason))
                        .hint("install a newer version of runner"),
                );
            }
            Some(schema) if request.required && !granted => {
                let message = format!("the plugin `{name}` needs the grant `{capability}`");
                let hint = format!(
                    "decide what it may reach, and add for example:\n\n[stage.{}.grants]\n{}",
                    shown(&stage.name),
                    schema.example().trim()
                );
                diagnostics.push(Diagnostic::error("grant-missing", span.clone(), message).label(shown(&request.reason)).hint(hint));
            }
            _ => {}
        }
    }
    for import in &plugin.imports {
        let provided = ALWAYS.iter().any(|prefix| import.starts_with(prefix)) || is_standard(import);
        let schema = schemas.iter().find(|s| s.interfaces().iter().chain(s.standard()).any(|prefix| import.starts_with(prefix)));
        match schema {
            Some(schema) => {
                let asked = manifest.request(schema.name()).is_some() || stage.grants.iter().any(|(key, _)| key.name == schema.name());
                if !asked && !provided {
                    let message = format!("the plugin `{name}` imports `{}`, asks for no grant, and gets nothing of it", shown(import));
                    let hint = format!("grant `{}`, or expect that it is denied when the stage runs", schema.name());
                    diagnostics.push(Diagnostic::warning("import-denied", span.clone(), message).hint(hint));
                }
            }
            None if !provided => {
                let message = format!("the plugin `{name}` imports `{}`, which this runner does not provide", shown(import));
                let hint = if import.starts_with("wasi:") {
                    "build it for WASI 0.2, with standard interfaces only"
                } else {
                    "build it against this runner's interfaces, or install a newer version of runner"
                };
                diagnostics.push(Diagnostic::error("unknown-import", span.clone(), message).hint(hint));
            }
            None => {}
        }
    }
}

/// Whether a plugin has any use for a grant: it asks for it, or imports what the grant is about.
pub fn can_use(plugin: &PluginInfo, schema: &dyn GrantSchema) -> bool {
    plugin.manifest.request(schema.name()).is_some() || imports(plugin, schema.interfaces()) || imports(plugin, schema.standard())
}

fn imports(plugin: &PluginInfo, prefixes: &[&str]) -> bool {
    plugin.imports.iter().any(|import| prefixes.iter().any(|prefix| import.starts_with(prefix)))
}

fn is_standard(import: &str) -> bool {
    let version = import.rsplit_once('@').map_or("0.2", |(_, version)| version);
    STANDARD.iter().any(|prefix| import.starts_with(prefix)) && (version == "0.2" || version.starts_with("0.2."))
}
