//! A single value: of an input, of a matrix, of a default.

use crate::node::{Node, Value};

#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
}

impl Scalar {
    /// `None` for tables, arrays and date-times.
    pub fn of(node: &Node) -> Option<Scalar> {
        match &node.value {
            Value::String(text) => Some(Scalar::Text(text.clone())),
            Value::Integer(number) => Some(Scalar::Integer(*number)),
            Value::Float(number) => Some(Scalar::Float(*number)),
            Value::Boolean(flag) => Some(Scalar::Boolean(*flag)),
            Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
        }
    }

    /// As it stands in a text: `3`, `0.5`, `true`.
    pub fn text(&self) -> String {
        match self {
            Scalar::Text(text) => text.clone(),
            Scalar::Integer(number) => number.to_string(),
            Scalar::Float(number) => number.to_string(),
            Scalar::Boolean(flag) => flag.to_string(),
        }
    }

    /// `None` for text, and for what JSON cannot say.
    pub(crate) fn json(&self) -> Option<serde_json::Value> {
        match self {
            Scalar::Text(_) => None,
            Scalar::Integer(number) => Some((*number).into()),
            Scalar::Float(number) => serde_json::Number::from_f64(*number).map(serde_json::Value::Number),
            Scalar::Boolean(flag) => Some((*flag).into()),
        }
    }
}
