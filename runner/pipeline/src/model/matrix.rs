//! `matrix`: one stage, several instances.
//!
//! `matrix = { app = ["web", "api"], node = [20, 22] }` makes the product, the last key varying fastest. `exclude = [{ … }]` takes
//! away the instances that have all of an entry's values; `include = [{ … }]` adds an instance, and gives every key. With `include`
//! alone the instances are its entries.

use std::collections::{HashMap, HashSet};

use crate::diagnostic::{Diagnostic, Span, did_you_mean};
use crate::model::{check_name, shown};
use crate::node::{Key, Node, Table, Value, wrong_type};
use crate::scalar::Scalar;

/// More instances of one stage are taken for a mistake.
pub const MAX_INSTANCES: usize = 100_000;

#[derive(Debug, Clone, Default)]
pub struct Matrix {
    /// In the order of the file, with their places.
    pub keys: Vec<Key>,
    /// One value for each key. A stage without a matrix has one instance with no values.
    pub instances: Vec<Vec<Scalar>>,
    /// Something is wrong with it, and was reported: `instances` holds one stand-in.
    pub broken: bool,
}

impl Matrix {
    /// For a stage without one.
    pub fn single() -> Matrix {
        Matrix { keys: Vec::new(), instances: vec![Vec::new()], broken: false }
    }

    pub(super) fn read(node: &Node, diagnostics: &mut Vec<Diagnostic>) -> Matrix {
        let Value::Table(table) = &node.value else {
            diagnostics
                .push(wrong_type(&node.span, "`matrix`", "a table", &node.value).hint("write `matrix = { key = [\"one\", \"two\"] }`"));
            return Matrix { broken: true, ..Matrix::single() };
        };
        let mistakes = diagnostics.len();
        let mut axes: Vec<(Key, Vec<Scalar>)> = Vec::new();
        for (key, node) in &table.entries {
            if key.name != "include" && key.name != "exclude" {
                check_name(key, "matrix key", diagnostics);
                axes.push((key.clone(), axis(key, node, diagnostics)));
            }
        }
        let include = entries(table, "include", diagnostics);
        let exclude = entries(table, "exclude", diagnostics);
        let mut keys: Vec<Key> = axes.iter().map(|(key, _)| key.clone()).collect();
        if let (true, Some((first, _))) = (keys.is_empty(), include.first()) {
            keys = first.entries.iter().map(|(key, _)| key.clone()).collect();
            for key in &keys {
                check_name(key, "matrix key", diagnostics);
            }
        }
        let mut matrix = Matrix { keys, instances: Vec::new(), broken: false };
        matrix.product(&axes, &node.span, diagnostics);
        for (entry, _) in &exclude {
            matrix.exclude(entry, diagnostics);
        }
        for (entry, span) in &include {
            matrix.include(entry, span, diagnostics);
        }
        matrix.refuse_twins(&node.span, diagnostics);
        if matrix.instances.is_empty() && diagnostics.len() == mistakes {
            let message = "the matrix leaves no instance of this stage";
            diagnostics.push(Diagnostic::error("matrix-empty", node.span.clone(), message).hint("remove an `exclude` entry, or the stage"));
        }
        if diagnostics.len() > mistakes {
            let first = |axis: &Key| axes.iter().find(|(k, _)| k.name == axis.name).and_then(|(_, values)| values.first().cloned());
            matrix.instances = vec![matrix.keys.iter().map(|key| first(key).unwrap_or(Scalar::Text(key.name.clone()))).collect()];
            matrix.broken = true;
        }
        matrix
    }

    fn product(&mut self, axes: &[(Key, Vec<Scalar>)], span: &Span, diagnostics: &mut Vec<Diagnostic>) {
        if axes.is_empty() || axes.iter().any(|(_, values)| values.is_empty()) {
            return;
        }
        let count = axes.iter().try_fold(1usize, |count, (_, values)| count.checked_mul(values.len()));
        let Some(count) = count.filter(|count| *count <= MAX_INSTANCES) else {
            let message = format!("the matrix has more than {MAX_INSTANCES} instances");
            diagnostics.push(Diagnostic::error("matrix-size", span.clone(), message).hint("use fewer values, or several stages"));
            return;
        };
        self.instances = (0..count)
            .map(|mut index| {
                let mut values: Vec<Scalar> = axes
                    .iter()
                    .rev()
                    .map(|(_, values)| {
                        let value = values[index % values.len()].clone();
                        index /= values.len();
                        value
                    })
                    .collect();
                values.reverse();
                values
            })
            .collect();
    }

    fn column(&self, key: &Key, diagnostics: &mut Vec<Diagnostic>) -> Option<usize> {
        let found = self.keys.iter().position(|k| k.name == key.name);
        if found.is_none() {
            let mut diagnostic =
                Diagnostic::error("unknown-key", key.span.clone(), format!("the matrix has no key `{}`", shown(&key.name)));
            let names = self.keys.iter().map(|k| k.name.as_str());
            diagnostic.hint = Some(match did_you_mean(&key.name, names.clone()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("its keys: {}", names.collect::<Vec<_>>().join(", ")),
            });
            diagnostics.push(diagnostic);
        }
        found
    }

    fn exclude(&mut self, entry: &Table, diagnostics: &mut Vec<Diagnostic>) {
        let mut wanted: Vec<(usize, Scalar)> = Vec::new();
        for (key, node) in &entry.entries {
            let value = scalar(node, diagnostics);
            let (Some(column), Some(value)) = (self.column(key, diagnostics), value) else { return };
            wanted.push((column, value));
        }
        if !wanted.is_empty() {
            self.instances.retain(|values| !wanted.iter().all(|(column, value)| values[*column] == *value));
        }
    }

    fn include(&mut self, entry: &Table, span: &Span, diagnostics: &mut Vec<Diagnostic>) {
        let mut values: Vec<Option<Scalar>> = vec![None; self.keys.len()];
        let mut complete = true;
        for (key, node) in &entry.entries {
            let value = scalar(node, diagnostics);
            match (self.column(key, diagnostics), value) {
                (Some(column), Some(value)) => values[column] = Some(value),
                _ => complete = false,
            }
        }
        let missing: Vec<String> =
            self.keys.iter().zip(&values).filter(|(_, value)| value.is_none()).map(|(key, _)| format!("`{}`", key.name)).collect();
        if complete && !missing.is_empty() {
            let message = format!("the entry gives no value for {}", missing.join(", "));
            diagnostics.push(Diagnostic::error("matrix-include", span.clone(), message).hint("an entry of `include` is a whole instance"));
        }
        self.instances.extend(values.into_iter().collect::<Option<Vec<Scalar>>>());
    }

    /// Two instances with the same values would have the same id.
    fn refuse_twins(&self, span: &Span, diagnostics: &mut Vec<Diagnostic>) {
        let mut seen: HashSet<Vec<String>> = HashSet::with_capacity(self.instances.len());
        for values in &self.instances {
            let id: Vec<String> = values.iter().map(Scalar::text).collect();
            let line = id.join(", ");
            if !seen.insert(id) {
                let message = format!("the matrix has two instances with the values {}", shown(&line));
                diagnostics.push(Diagnostic::error("duplicate", span.clone(), message));
                return;
            }
        }
    }
}

fn axis(key: &Key, node: &Node, diagnostics: &mut Vec<Diagnostic>) -> Vec<Scalar> {
    let Value::Array(items) = &node.value else {
        let what = format!("`matrix.{}`", shown(&key.name));
        diagnostics.push(wrong_type(&node.span, &what, "an array of values", &node.value));
        return Vec::new();
    };
    if items.is_empty() {
        diagnostics.push(Diagnostic::error("matrix-empty", node.span.clone(), format!("`matrix.{}` has no values", shown(&key.name))));
    }
    let mut seen: HashMap<String, Span> = HashMap::with_capacity(items.len());
    let mut values = Vec::with_capacity(items.len());
    for item in items {
        let Some(value) = scalar(item, diagnostics) else { continue };
        if let Some(first) = seen.insert(value.text(), item.span.clone()) {
            diagnostics.push(
                Diagnostic::error(
                    "duplicate",
                    item.span.clone(),
                    format!("`{}` stands twice in `matrix.{}`", shown(&value.text()), key.name),
                )
                .related(first, "first here")
                .hint("remove one of them"),
            );
            continue;
        }
        values.push(value);
    }
    values
}

/// Values stand in stage ids, so they are single lines.
fn scalar(node: &Node, diagnostics: &mut Vec<Diagnostic>) -> Option<Scalar> {
    let Some(value) = Scalar::of(node) else {
        diagnostics.push(wrong_type(&node.span, "a matrix value", "a string, a number or a boolean", &node.value));
        return None;
    };
    let text = value.text();
    if text.chars().any(char::is_control) || text.len() > 256 {
        let message = "a matrix value is one line of at most 256 bytes";
        diagnostics.push(Diagnostic::error("bad-value", node.span.clone(), message));
        return None;
    }
    Some(value)
}

fn entries<'a>(table: &'a Table, key: &str, diagnostics: &mut Vec<Diagnostic>) -> Vec<(&'a Table, Span)> {
    let Some(node) = table.get(key) else { return Vec::new() };
    let Value::Array(items) = &node.value else {
        diagnostics.push(
            wrong_type(&node.span, &format!("`matrix.{key}`"), "an array of tables", &node.value)
                .hint(format!("`{key}` is no name for a matrix key: write `{key} = [{{ … }}]`")),
        );
        return Vec::new();
    };
    let mut found = Vec::new();
    for item in items {
        match &item.value {
            Value::Table(table) => found.push((table, item.span.clone())),
            other => diagnostics.push(wrong_type(&item.span, &format!("an entry of `matrix.{key}`"), "a table", other)),
        }
    }
    found
}
