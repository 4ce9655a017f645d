//! Conditions in CEL over `result`, and where there is a comparison `stable` and `ratio`.

use std::sync::{Arc, LazyLock};

use cel::{Context, Env, Program, Value};

static CEL: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib().with_optional_support(false)));

#[derive(Debug, Clone)]
pub struct Condition {
    source: String,
    program: Arc<Program>,
}

/// What a condition is about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Values {
    pub result: f64,
    /// The same query about the stable version, or the baseline.
    pub stable: Option<f64>,
}

impl Condition {
    /// # Errors
    /// If it is no CEL.
    pub fn parse(source: &str) -> Result<Condition, String> {
        let program = CEL.compile(source).map_err(|errors| match errors.errors.first() {
            Some(first) => format!("`{source}`: {}", first.msg),
            None => format!("`{source}` is no CEL"),
        })?;
        Ok(Condition { source: source.to_owned(), program: Arc::new(program) })
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    /// # Errors
    /// Why it has no answer. That is never taken for one.
    pub fn holds(&self, values: Values) -> Result<bool, String> {
        let mut context = Context::with_env(Arc::clone(&CEL));
        context.add_variable_from_value("result", Value::Float(values.result));
        if let Some(stable) = values.stable {
            context.add_variable_from_value("stable", Value::Float(stable));
            // twice nothing is once nothing; something after nothing is more than any ratio
            let ratio = if stable == 0.0 && values.result == 0.0 { 1.0 } else { values.result / stable };
            if !ratio.is_nan() {
                context.add_variable_from_value("ratio", Value::Float(ratio));
            }
        }
        match self.program.execute(&context) {
            Ok(Value::Bool(answer)) => Ok(answer),
            Ok(_) => Err(format!("`{}` gives no true or false", self.source)),
            Err(error) => Err(format!("`{}`: {error}", self.source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions() {
        let holds =
            |source: &str, result: f64, stable: Option<f64>| Condition::parse(source).unwrap().holds(Values { result, stable }).ok();
        for (wanted, source, result, stable) in [
            (Some(true), "result <= 0.01", 0.01, None),
            (Some(false), "result <= 0.01", 0.011, None),
            (Some(true), "result < 1.0 && result >= 0.0", 0.5, None),
            (Some(true), "result <= stable * 1.2", 1.1, Some(1.0)),
            (Some(false), "ratio < 1.5", 3.0, Some(2.0)),
            (Some(true), "ratio < 1.5", 0.0, Some(0.0)),
            (Some(false), "ratio < 1.5", 0.1, Some(0.0)),
            (None, "ratio < 1.5", 0.1, None),
            (None, "result", 1.0, None),
            (None, "other < 1.0", 1.0, None),
            (None, "result < 'a'", 1.0, None),
        ] {
            assert_eq!(holds(source, result, stable), wanted, "{source} {result}");
        }
        assert!(Condition::parse("result <").is_err());
    }
}
