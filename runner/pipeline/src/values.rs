//! What the references of one stage's instance stand for, when the plan is made and when the stage's needs have ended.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use crate::bind::Results;
use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::expand::{Origin, Resolved, Values};
use crate::facts::Facts;
use crate::graph::{Graph, list};
use crate::interpolate::{Reference, Source};
use crate::model::shown;
use crate::plan::{SecretUse, StageIndex};
use crate::scalar::Scalar;

/// The values that are the same for all stages.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared {
    pub pipeline: String,
    /// In the order of the file.
    pub inputs: Vec<InputValue>,
    pub facts: Facts,
}

#[derive(Debug, Clone)]
pub(crate) struct InputValue {
    pub name: String,
    /// `None` where it may be missing (`check`), and where a mistake about it was reported.
    pub value: Option<Scalar>,
    /// `value` is what the run has, and no stand-in.
    pub given: bool,
    pub fixed: bool,
}

pub(crate) type MatrixValues = Vec<(String, Scalar)>;

/// The values that a stage has of its own: those of its environment, and its secrets' placeholders.
#[derive(Debug, Clone, Default)]
pub(crate) struct Own {
    /// The name, and the variables with `name` among them.
    pub environment: Option<Vec<(String, Scalar)>>,
    /// All that it could use.
    pub secrets: Vec<SecretUse>,
}

impl Own {
    fn lookup(&self, source: &Source) -> Option<Resolved> {
        let value = match source {
            Source::Environment(name) => self.environment.as_ref()?.iter().find(|(key, _)| key == name)?.1.clone(),
            Source::Secret(name) => Scalar::Text(self.secrets.iter().find(|one| one.secret.name == *name)?.placeholder.clone()),
            _ => return None,
        };
        Some(Resolved { value: Some(value), origin: Origin::Fixed })
    }
}

impl Shared {
    fn input(&self, name: &str) -> Option<&InputValue> {
        self.inputs.iter().find(|input| input.name == name)
    }

    /// Everything but outputs. `None` if there is no such name.
    fn lookup(&self, source: &Source, matrix: &MatrixValues, own: &Own) -> Option<Resolved> {
        let outside = |value: Option<Scalar>| Some(Resolved { value, origin: Origin::Outside });
        match source {
            Source::Input(name) => {
                let input = self.input(name)?;
                Some(Resolved { value: input.value.clone(), origin: if input.fixed { Origin::Fixed } else { Origin::Outside } })
            }
            Source::Matrix(name) => {
                let (_, value) = matrix.iter().find(|(key, _)| key == name)?;
                Some(Resolved { value: Some(value.clone()), origin: Origin::Fixed })
            }
            Source::PipelineName => Some(Resolved { value: Some(Scalar::Text(self.pipeline.clone())), origin: Origin::Fixed }),
            Source::RunId => outside(Some(Scalar::Text(self.facts.run.clone()))),
            Source::GitBranch => outside(Some(Scalar::Text(self.facts.git_branch.clone()?))),
            Source::GitSha => outside(Some(Scalar::Text(self.facts.git_sha.clone()?))),
            Source::GitShort => outside(Some(Scalar::Text(self.facts.git_short()?))),
            Source::GitTag => outside(Some(Scalar::Text(self.facts.git_tag.clone()?))),
            Source::GitBase => outside(Some(Scalar::Text(self.facts.git_base.clone()?))),
            Source::Event => Some(Resolved { value: Some(Scalar::Text(self.facts.event.to_string())), origin: Origin::Fixed }),
            Source::Trust => Some(Resolved { value: Some(Scalar::Text(self.facts.trust.to_string())), origin: Origin::Fixed }),
            Source::Environment(_) | Source::Secret(_) => own.lookup(source),
            Source::Output { .. } => None,
        }
    }

    /// What is neither in the file nor an output: git's facts outside of a repository.
    fn missing(reference: &Reference, diagnostics: &mut Vec<Diagnostic>) -> Option<Resolved> {
        if let Some(default) = &reference.default {
            return Some(Resolved { value: Some(Scalar::Text(default.clone())), origin: Origin::Outside });
        }
        let path = reference.source.path();
        let label = match reference.source {
            Source::GitTag => "no tag set this run off",
            Source::GitBase => "this run is of no pull request",
            _ => "there is no repository, no commit, or no branch is checked out",
        };
        diagnostics.push(
            Diagnostic::error("no-value", reference.span.clone(), format!("`{path}` has no value here"))
                .label(label)
                .hint(format!("write what stands in for it: `${{default({path}, 'none')}}`")),
        );
        None
    }
}

/// Which names of the file are referred to, for warnings.
#[derive(Debug, Default)]
pub(crate) struct Used {
    pub inputs: HashSet<String>,
    /// The stage's index and the key.
    pub matrix: HashSet<(usize, String)>,
    /// Of one stage: the names of the secrets.
    pub secrets: HashSet<String>,
}

/// While the plan is made: names are checked, outputs have no value yet.
pub(crate) struct Planning<'a> {
    pub shared: &'a Shared,
    pub graph: &'a Graph<'a>,
    /// The stage that refers, as an index into the stages of the file.
    pub stage: usize,
    pub matrix: &'a MatrixValues,
    pub own: &'a Own,
    /// The instance of another stage whose outputs are meant; `None` if that is ambiguous.
    pub producer: &'a dyn Fn(usize) -> Option<StageIndex>,
    pub used: &'a RefCell<Used>,
    /// The outputs that were referred to, by the name of their stage.
    pub producers: &'a RefCell<HashMap<String, StageIndex>>,
}

impl Values for Planning<'_> {
    fn resolve(&self, reference: &Reference, diagnostics: &mut Vec<Diagnostic>) -> Option<Resolved> {
        match &reference.source {
            Source::Output { stage, .. } => return self.output(stage, reference, diagnostics),
            Source::Input(name) => drop(self.used.borrow_mut().inputs.insert(name.clone())),
            Source::Matrix(name) => drop(self.used.borrow_mut().matrix.insert((self.stage, name.clone()))),
            Source::Secret(name) => {
                if reference.default.is_some() {
                    let message = "nothing stands in for a secret";
                    diagnostics.push(Diagnostic::error("secret-use", reference.span.clone(), message).hint("remove `default(…)`"));
                    return None;
                }
                self.used.borrow_mut().secrets.insert(name.clone());
            }
            _ => {}
        }
        if let Some(found) = self.shared.lookup(&reference.source, self.matrix, self.own) {
            return Some(found);
        }
        let (message, hint) = match &reference.source {
            Source::Input(name) => {
                let names = self.shared.inputs.iter().map(|input| input.name.as_str());
                let hint = match did_you_mean(name, names.clone()) {
                    Some(near) => format!("did you mean `input.{near}`?"),
                    None => format!("declare it:\n\n[input.{name}]\ntype = \"string\""),
                };
                (format!("there is no input `{}`", shown(name)), hint)
            }
            Source::Matrix(name) => {
                let names = self.matrix.iter().map(|(key, _)| key.as_str());
                let hint = match did_you_mean(name, names.clone()) {
                    Some(near) => format!("did you mean `matrix.{near}`?"),
                    None if self.matrix.is_empty() => format!("this stage has no matrix: add `matrix = {{ {name} = [\"…\"] }}`"),
                    None => format!("its keys: {}", list(names)),
                };
                (format!("the matrix has no key `{}`", shown(name)), hint)
            }
            Source::Environment(name) => self.no_variable(name),
            Source::Secret(name) => {
                let names = self.own.secrets.iter().map(|one| one.secret.name.as_str());
                let hint = match did_you_mean(name, names.clone()) {
                    Some(near) => format!("did you mean `secret.{near}`?"),
                    None => format!(
                        "declare it:\n\n[secret.{}]\nfrom = \"env:{}\"\nto = [\"https://…\"]",
                        shown(name),
                        name.to_uppercase().replace('-', "_")
                    ),
                };
                (format!("there is no secret `{}`", shown(name)), hint)
            }
            _ => return Shared::missing(reference, diagnostics),
        };
        diagnostics.push(Diagnostic::error("unknown-reference", reference.span.clone(), message).hint(hint));
        None
    }
}

impl Planning<'_> {
    fn no_variable(&self, name: &str) -> (String, String) {
        match &self.own.environment {
            None => (
                format!("there is no `environment.{}`: the stage works on no environment", shown(name)),
                "add `environment = \"…\"` to the stage".to_owned(),
            ),
            Some(vars) => {
                let names = vars.iter().map(|(key, _)| key.as_str());
                let hint = match did_you_mean(name, names.clone()) {
                    Some(near) => format!("did you mean `environment.{near}`?"),
                    None => format!("its variables: {}", list(names)),
                };
                (format!("the environment has no variable `{}`", shown(name)), hint)
            }
        }
    }

    fn output(&self, name: &str, reference: &Reference, diagnostics: &mut Vec<Diagnostic>) -> Option<Resolved> {
        let span = reference.span.clone();
        let own = &self.graph.stages[self.stage];
        let Some(producer) = self.graph.position(name) else {
            let message = format!("there is no stage `{}`", shown(name));
            diagnostics.push(Diagnostic::error("unknown-stage", span, message).hint(self.graph.suggest(name)));
            return None;
        };
        if producer == self.stage {
            diagnostics.push(Diagnostic::error("self-need", span, "a stage can't refer to its own outputs").hint("remove the reference"));
            return None;
        }
        if !self.graph.waits_for(self.stage, producer) {
            let message = format!("`{}` does not wait for `{name}`, so its outputs are not there", own.name);
            let mut needs: Vec<String> = own.needs.iter().map(|need| format!("\"{}\"", need.value)).collect();
            needs.push(format!("\"{name}\""));
            diagnostics.push(Diagnostic::error("not-needed", span, message).hint(format!("add `needs = [{}]`", needs.join(", "))));
            return None;
        }
        if reference.default.is_none()
            && let Some(reason) = self.graph.may_miss(self.stage, producer)
        {
            let path = reference.source.path();
            diagnostics.push(
                Diagnostic::error("needs-default", span, format!("`{path}` may have no value"))
                    .label(reason)
                    .hint(format!("write what stands in for it: `${{default({path}, 'none')}}`")),
            );
            return None;
        }
        let Some(index) = (self.producer)(producer) else {
            let message = format!("`{name}` has several instances, and it is not clear whose output is meant");
            let keys = self.graph.stages[producer].matrix.keys.iter().map(|key| key.name.as_str());
            let hint = format!("give `{}` a matrix with the same keys and values ({})", own.name, list(keys));
            diagnostics.push(Diagnostic::error("ambiguous-output", span, message).hint(hint));
            return None;
        };
        self.producers.borrow_mut().insert(name.to_owned(), index);
        Some(Resolved { value: None, origin: Origin::Outside })
    }
}

/// When the stage is about to run: outputs have values.
pub(crate) struct Running<'a> {
    pub shared: &'a Shared,
    pub matrix: &'a MatrixValues,
    pub own: &'a Own,
    pub producers: &'a HashMap<String, StageIndex>,
    pub results: &'a dyn Results,
}

impl Values for Running<'_> {
    fn resolve(&self, reference: &Reference, diagnostics: &mut Vec<Diagnostic>) -> Option<Resolved> {
        let Source::Output { stage, output } = &reference.source else {
            return match self.shared.lookup(&reference.source, self.matrix, self.own) {
                Some(found) => Some(found),
                None => Shared::missing(reference, diagnostics),
            };
        };
        let ended = self.producers.get(stage).and_then(|index| self.results.ended(*index));
        let found = ended.and_then(|ended| ended.outputs.iter().find(|(name, _)| name == output)).map(|(_, value)| value.clone());
        if let Some(value) = found.or_else(|| reference.default.clone()) {
            return Some(Resolved { value: Some(Scalar::Text(value)), origin: Origin::Outside });
        }
        let mut diagnostic =
            Diagnostic::error("no-value", reference.span.clone(), format!("`{stage}` ended without the output `{output}`"));
        let names = ended.map_or(&[][..], |ended| ended.outputs).iter().map(|(name, _)| name.as_str());
        diagnostic.hint = Some(match did_you_mean(output, names.clone()) {
            Some(near) => format!("did you mean `stage.{stage}.outputs.{near}`?"),
            None if names.clone().next().is_none() => "it has no outputs at all".into(),
            None => format!("its outputs: {}", list(names)),
        });
        diagnostics.push(diagnostic);
        None
    }
}
