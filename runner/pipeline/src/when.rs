//! Conditions: `when`, in CEL (the Common Expression Language).
//!
//! ```text
//! input.<name>  matrix.<key>  git.branch  git.sha  git.short  git.tag  git.base  run.id  pipeline.name
//! event                          "push" | "pull-request" | "schedule" | "manual"
//! trust                          "local" | "branch" | "tag" | "pull-request" | "fork"
//! environment.name  environment.<variable>
//! changed(["frontend/**"])       whether a file that fits differs from the base
//! stage.<name>.outcome           "passed" | "failed" | "soft-failed" | "skipped" | "blocked" | "cancelled"
//! stage.<name>.outputs.<output>
//! ```
//!
//! Names with a `-` are written `stage["build-image"]`. What git can't say is "". Of a matrix stage `outcome` is the gravest of its
//! instances, unless one instance has the values of the stage that asks. But for `changed` the functions are CEL's own, and none of them
//! reads the world: the same values give the same answer for ever.

mod check;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use cel::{Context, Env, Program, Value};
use event::Outcome;

use crate::bind::Results;
use crate::facts::Changed;
use crate::plan::StageIndex;
use crate::scalar::Scalar;
use crate::values::{MatrixValues, Shared};

pub(crate) use check::{Names, check};

/// Longer ones belong into a stage of their own.
pub(crate) const MAX_BYTES: usize = 4096;

static CEL: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib().with_optional_support(false)));

/// A condition that was checked when the plan was made.
#[derive(Debug, Clone)]
pub struct Condition {
    source: Arc<str>,
    /// None: there is only the gate.
    program: Option<Arc<Program>>,
    gate: Gate,
    constants: Arc<Constants>,
    matrix: Arc<MatrixValues>,
    /// The stages that it refers to.
    stages: Arc<HashMap<String, Instances>>,
}

/// What stands before a stage apart from its `when`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate {
    /// `if-changed`, and nothing did: why the stage is skipped.
    pub unchanged: Option<String>,
    /// Why the stage may not run, should it come to that.
    pub refusal: Option<String>,
    /// The variables of its environment.
    pub environment: Option<Vec<(String, Scalar)>>,
}

impl Gate {
    /// The condition of a stage that has no `when`; none if nothing is in its way.
    pub fn alone(self, constants: &Arc<Constants>) -> Option<Condition> {
        (self.unchanged.is_some() || self.refusal.is_some()).then(|| Condition {
            source: Arc::from(self.unchanged.as_deref().unwrap_or_default()),
            program: None,
            gate: self,
            constants: Arc::clone(constants),
            matrix: Arc::default(),
            stages: Arc::default(),
        })
    }
}

/// The values that are the same for all stages, and what `changed` asks.
#[derive(Debug)]
pub(crate) struct Constants {
    variables: Vec<(&'static str, Value)>,
    changed: Arc<Changed>,
}

/// The instances of a stage that a condition refers to.
#[derive(Debug, Clone)]
pub(crate) struct Instances {
    pub all: std::ops::Range<StageIndex>,
    /// The one with the same matrix values, or the only one.
    pub own: Option<StageIndex>,
}

/// A condition that is right for a stage, before its instances are known.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    pub source: Arc<str>,
    pub program: Arc<Program>,
    /// The names of the stages that it refers to.
    pub stages: Vec<String>,
}

impl Checked {
    pub fn condition(
        &self,
        constants: &Arc<Constants>,
        matrix: &MatrixValues,
        stages: HashMap<String, Instances>,
        gate: Gate,
    ) -> Condition {
        Condition {
            source: gate.unchanged.as_deref().map_or_else(|| Arc::clone(&self.source), Arc::from),
            program: Some(Arc::clone(&self.program)),
            gate,
            constants: Arc::clone(constants),
            matrix: Arc::new(matrix.clone()),
            stages: Arc::new(stages),
        }
    }
}

/// The variables that are the same for all stages.
pub(crate) fn constants(shared: &Shared) -> Arc<Constants> {
    let text = |value: Option<String>| Value::from(value.unwrap_or_default());
    let inputs = shared.inputs.iter().filter_map(|input| Some((input.name.clone(), cel(input.value.as_ref()?)))).collect();
    let git = HashMap::from([
        ("branch".to_owned(), text(shared.facts.git_branch.clone())),
        ("sha".to_owned(), text(shared.facts.git_sha.clone())),
        ("short".to_owned(), text(shared.facts.git_short())),
        ("tag".to_owned(), text(shared.facts.git_tag.clone())),
        ("base".to_owned(), text(shared.facts.git_base.clone())),
    ]);
    let variables = vec![
        ("event", Value::from(shared.facts.event.name())),
        ("trust", Value::from(shared.facts.trust.name())),
        ("input", map(inputs)),
        ("git", map(git)),
        ("run", map(HashMap::from([("id".to_owned(), text(Some(shared.facts.run.clone())))]))),
        ("pipeline", map(HashMap::from([("name".to_owned(), text(Some(shared.pipeline.clone())))]))),
    ];
    Arc::new(Constants { variables, changed: Arc::new(shared.facts.changed.clone()) })
}

fn map(values: HashMap<String, Value>) -> Value {
    Value::from(values)
}

fn cel(value: &Scalar) -> Value {
    match value {
        Scalar::Text(text) => Value::from(text.as_str()),
        Scalar::Integer(number) => Value::Int(*number),
        Scalar::Float(number) => Value::Float(*number),
        Scalar::Boolean(flag) => Value::Bool(*flag),
    }
}

impl Condition {
    /// As written, or why the stage is skipped in any case; empty where there is only [`Condition::refusal`].
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Why the stage fails, should it come to run: its environment or its secrets are not for this run.
    pub fn refusal(&self) -> Option<&str> {
        self.gate.refusal.as_deref()
    }

    /// Whether the stage runs. Asked once the stage's needs have ended.
    ///
    /// # Errors
    /// Why the condition has no answer: an output that is not there, a result that is not a boolean. Or why the stage may not run.
    pub fn evaluate(&self, results: &dyn Results) -> Result<bool, String> {
        if self.gate.unchanged.is_some() {
            return Ok(false);
        }
        let answer = self.try_out(results)?;
        match &self.gate.refusal {
            Some(refusal) if answer => Err(refusal.clone()),
            _ => Ok(answer),
        }
    }

    /// Whether the condition itself has an answer, whatever stands before the stage.
    ///
    /// # Errors
    /// Why it has none.
    pub(crate) fn try_out(&self, results: &dyn Results) -> Result<bool, String> {
        self.program.as_ref().map_or(Ok(true), |program| self.execute(program, results))
    }

    fn execute(&self, program: &Program, results: &dyn Results) -> Result<bool, String> {
        let mut context = Context::with_env(Arc::clone(&CEL));
        for (name, value) in &self.constants.variables {
            context.add_variable_from_value(*name, value.clone());
        }
        let vars = self.gate.environment.iter().flatten().map(|(key, value)| (key.clone(), cel(value))).collect();
        context.add_variable_from_value("environment", map(vars));
        let changed = Arc::clone(&self.constants.changed);
        let asked = move |globs: Arc<Vec<Value>>| any_changed(&changed, &globs);
        context.add_function("changed", asked).map_err(|error| format!("`changed`: {error:?}"))?;
        let matrix = self.matrix.iter().map(|(key, value)| (key.clone(), cel(value))).collect();
        context.add_variable_from_value("matrix", map(matrix));
        let mut stages = HashMap::with_capacity(self.stages.len());
        for (name, instances) in self.stages.iter() {
            stages.insert(name.clone(), stage(name, instances, results)?);
        }
        context.add_variable_from_value("stage", map(stages));
        match program.execute(&context) {
            Ok(Value::Bool(answer)) => Ok(answer),
            Ok(other) => Err(format!("the condition gives {}, not true or false", kind(&other))),
            Err(error) => Err(explain(&error)),
        }
    }
}

fn any_changed(changed: &Changed, globs: &[Value]) -> Result<Value, cel::ExecutionError> {
    let refuse = |message: &str| cel::ExecutionError::function_error("changed", message);
    let text = |glob: &Value| match glob {
        Value::String(text) => Ok(text.to_string()),
        _ => Err(refuse("it takes a list of globs")),
    };
    let globs = globs.iter().map(text).collect::<Result<Vec<String>, _>>()?;
    changed.any(&globs).map(Value::Bool).map_err(|message| refuse(&message))
}

fn stage(name: &str, instances: &Instances, results: &dyn Results) -> Result<Value, String> {
    let range = instances.own.map_or(instances.all.clone(), |own| own..own + 1);
    let mut gravest: (u8, &str) = (0, "passed");
    let mut outputs = HashMap::new();
    for index in range {
        let Some(ended) = results.ended(index) else { return Err(format!("the stage `{name}` has not ended")) };
        gravest = gravest.max(outcome(ended.outcome));
        if instances.own.is_some() {
            outputs.extend(ended.outputs.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))));
        }
    }
    Ok(map(HashMap::from([("outcome".to_owned(), Value::from(gravest.1)), ("outputs".to_owned(), map(outputs))])))
}

/// How grave, and the word for it.
fn outcome(outcome: &Outcome) -> (u8, &'static str) {
    match outcome {
        Outcome::Passed { .. } => (0, "passed"),
        Outcome::Skipped { .. } => (1, "skipped"),
        Outcome::Failed { soft: true, .. } => (2, "soft-failed"),
        Outcome::Blocked { .. } => (3, "blocked"),
        Outcome::Cancelled { .. } => (4, "cancelled"),
        Outcome::Failed { .. } => (5, "failed"),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
        Value::Int(_) | Value::UInt(_) | Value::Float(_) => "a number",
        Value::String(_) => "a text",
        Value::Null => "nothing",
        _ => "something else",
    }
}

/// CEL's messages name operators as `_>_`; people write `>`.
fn explain(error: &cel::ExecutionError) -> String {
    match error {
        cel::ExecutionError::NoSuchKey(key) => format!("there is no `{key}`"),
        cel::ExecutionError::NoSuchOverload(overload) => {
            let name = overload.function().trim_matches('_');
            format!("`{name}` can't be used on {}", overload.argument_types().join(" and "))
        }
        other => {
            let text = other.to_string();
            text.chars().take(300).collect()
        }
    }
}
