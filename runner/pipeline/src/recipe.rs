//! What one instance of a stage is completed from: the same steps when the plan is made and when the stage's needs have ended.

use std::path::PathBuf;
use std::sync::Arc;

use jsonschema::Validator;

use crate::diagnostic::{Diagnostic, Span};
use crate::expand::{Expander, Place, Values};
use crate::grant::{GrantContext, GrantSchema};
use crate::manifest::PluginInfo;
use crate::node::{Key, Node, Value};
use crate::plan::{Bound, Expansion, PlannedGrant, SecretUse};
use crate::scalar::Scalar;
use crate::schema::Check;
use crate::settings;

pub(crate) struct Recipe {
    pub stage: String,
    /// Of the stage's name.
    pub span: Span,
    pub text: Arc<str>,
    pub env: Vec<(Key, Node)>,
    pub with: Option<Node>,
    /// Only those that a capability knows.
    pub grants: Vec<(Key, Node, Arc<dyn GrantSchema>)>,
    /// `None` if there is no such plugin, which was reported: the settings are then not checked.
    pub plugin: Option<Plugin>,
    /// All secrets that the stage could use.
    pub secrets: Vec<SecretUse>,
    pub root: PathBuf,
    pub host_env: fn(&str) -> Option<String>,
}

#[derive(Clone)]
pub(crate) struct Plugin {
    pub info: Arc<PluginInfo>,
    /// Of `with`.
    pub validator: Arc<Validator>,
}

pub(crate) struct Completed {
    /// `None` if there were mistakes.
    pub bound: Option<Bound>,
    /// Some values are not there yet.
    pub late: bool,
    pub expansions: Vec<Expansion>,
}

impl Recipe {
    pub fn complete(&self, values: &dyn Values, diagnostics: &mut Vec<Diagnostic>) -> Completed {
        let mut expander = Expander { text: &self.text, values, diagnostics, late: false };
        let env = self.env(&mut expander);
        let settings = settings::expand(&mut expander, self.with.as_ref());
        let mut expansions = Vec::new();
        let mut nodes: Vec<Option<Node>> = Vec::with_capacity(self.grants.len());
        for (key, node, schema) in &self.grants {
            nodes.push(expander.grant(node, &format!("grants.{}", key.name), schema.path_keys(), &mut expansions));
        }
        let late = expander.late;
        let good = settings.good;
        let settings = match &self.plugin {
            Some(plugin) => {
                let check = Check {
                    validator: &plugin.validator,
                    schema: &plugin.info.manifest.schema,
                    with: self.with.as_ref(),
                    stage: self.span.clone(),
                    plugin: &plugin.info.manifest.name,
                };
                check.settings(settings, diagnostics)
            }
            None => Some(settings.json),
        };
        let settings = settings.filter(|_| good);
        let grants = self.grants(&nodes, diagnostics);
        let bound = match (env, settings, grants) {
            (Some(env), Some(settings), Some(grants)) => Some(Bound { env, settings, grants }),
            _ => None,
        };
        Completed { bound, late, expansions }
    }

    fn env(&self, expander: &mut Expander<'_>) -> Option<Vec<(String, String)>> {
        let mut env = Vec::with_capacity(self.env.len());
        let mut good = true;
        for (key, node) in &self.env {
            let text = match &node.value {
                Value::String(text) => match expander.fill(text, &node.span, Place::Data) {
                    Some(filled) => filled.text,
                    None => {
                        good = false;
                        continue;
                    }
                },
                _ => Scalar::of(node).map(|value| value.text()).unwrap_or_default(),
            };
            if text.contains('\0') {
                let message = format!("the value of `{}` holds a NUL character, which no variable can", key.name);
                expander.diagnostics.push(Diagnostic::error("bad-value", node.span.clone(), message));
                good = false;
            }
            env.push((key.name.clone(), text));
        }
        good.then_some(env)
    }

    fn grants(&self, nodes: &[Option<Node>], diagnostics: &mut Vec<Diagnostic>) -> Option<Vec<PlannedGrant>> {
        let context = GrantContext {
            stage: self.stage.clone(),
            trusted_plugin: self.plugin.as_ref().is_none_or(|plugin| plugin.info.provenance.trusted()),
            secrets: self.secrets.clone(),
            root: self.root.clone(),
            host_env: self.host_env,
        };
        let mut grants = Vec::with_capacity(nodes.len());
        let mut good = true;
        for ((_, _, schema), node) in self.grants.iter().zip(nodes) {
            let before = diagnostics.len();
            match node.as_ref().and_then(|node| schema.decode(node, &context, diagnostics)) {
                Some(grant) => grants.push(PlannedGrant { capability: schema.name(), grant }),
                None => good = false,
            }
            good &= diagnostics[before..].iter().all(|d| d.severity == crate::diagnostic::Severity::Warning);
        }
        good.then_some(grants)
    }
}
