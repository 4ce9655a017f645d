//! Inputs: what the file declares against what the command line gives.

use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::graph::list;
use crate::model::{Input, InputKind, Pipeline, shown};
use crate::scalar::Scalar;
use crate::values::InputValue;

/// One value for each declared input. `may_miss`: a required one may be absent (`check`).
pub(crate) fn resolve(
    pipeline: &Pipeline,
    given: &[(String, String)],
    may_miss: bool,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<InputValue> {
    for (index, (name, _)) in given.iter().enumerate() {
        if pipeline.input(name).is_none() {
            let names = pipeline.inputs.iter().map(|input| input.name.as_str());
            let hint = match did_you_mean(name, names.clone()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if pipeline.inputs.is_empty() => "the pipeline has no inputs".into(),
                None => format!("inputs: {}", list(names)),
            };
            let message = format!("--input {}: there is no such input", shown(name));
            diagnostics.push(Diagnostic::error("unknown-input", None, message).hint(hint));
        } else if given[..index].iter().any(|(earlier, _)| earlier == name) {
            let message = format!("--input {} is given twice", shown(name));
            diagnostics.push(Diagnostic::error("duplicate", None, message).hint("give it once"));
        }
    }
    pipeline.inputs.iter().map(|input| value(input, given, may_miss, diagnostics)).collect()
}

fn value(input: &Input, given: &[(String, String)], may_miss: bool, diagnostics: &mut Vec<Diagnostic>) -> InputValue {
    let found = given.iter().find(|(name, _)| *name == input.name);
    let value = match found {
        Some((name, text)) => match input.parse(text) {
            Ok(value) => Some(value),
            Err((message, hint)) => {
                let message = format!("--input {name} {message}");
                diagnostics.push(Diagnostic::error("bad-input", input.span.clone(), message).label("declared here").hint(hint));
                None
            }
        },
        None if input.required && !may_miss && input.kind.is_some() => {
            let message = format!("the input `{}` has no value", input.name);
            let hint = format!("pass `--input {}=…`, or give it a `default`", input.name);
            diagnostics.push(Diagnostic::error("missing-input", input.span.clone(), message).hint(hint));
            None
        }
        None => input.default.clone(),
    };
    // Where a grant's host depends on a choice, only a choice can be looked at: the first stands in.
    let stand_in = match &input.kind {
        Some(InputKind::Choice(options)) => options.first().map(|first| Scalar::Text(first.clone())),
        Some(InputKind::Boolean) => Some(Scalar::Boolean(false)),
        _ => None,
    };
    InputValue { name: input.name.clone(), given: value.is_some(), value: value.or(stand_in), fixed: input.fixed_by_file() }
}
