//! A condition against the names of the file, when the plan is made.

use std::collections::HashSet;
use std::sync::Arc;

use cel::common::ast::{ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SourceInfo};

use crate::diagnostic::{Diagnostic, Span, did_you_mean};
use crate::graph::{Graph, list};
use crate::interpolate::GIT;
use crate::literal;
use crate::model::shown;
use crate::node::Spanned;
use crate::values::{Own, Shared, Used};
use crate::when::{CEL, Checked, MAX_BYTES};

const VARIABLES: [&str; 9] = ["input", "matrix", "environment", "git", "run", "pipeline", "event", "trust", "stage"];
const FUNCTIONS: [&str; 14] =
    ["changed", "size", "contains", "startsWith", "endsWith", "matches", "int", "uint", "double", "string", "bytes", "bool", "dyn", "type"];
/// Macros are gone once a condition is parsed; they are here for "did you mean".
const MACROS: [&str; 6] = ["has", "all", "exists", "exists_one", "map", "filter"];
const TYPES: [&str; 10] = ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];
/// Loops in loops in loops are no condition any more.
const MAX_LOOPS: usize = 2;

/// What a condition may name.
pub(crate) struct Names<'a> {
    pub shared: &'a Shared,
    pub graph: &'a Graph<'a>,
    pub stage: usize,
    pub own: &'a Own,
    pub text: &'a str,
    /// Stages whose outputs can be told from those of their other instances.
    pub has_own_instance: &'a dyn Fn(usize) -> bool,
}

/// Pushes every mistake; `None` if there is one.
pub(crate) fn check(source: &Spanned<String>, names: &Names<'_>, used: &mut Used, diagnostics: &mut Vec<Diagnostic>) -> Option<Checked> {
    if source.value.len() > MAX_BYTES {
        let message = format!("a condition has at most {MAX_BYTES} bytes");
        diagnostics.push(Diagnostic::error("when-size", source.span.clone(), message));
        return None;
    }
    if source.value.contains("${") {
        diagnostics.push(
            Diagnostic::error("reference-here", source.span.clone(), "a condition names values without `${}`")
                .hint("write `git.branch == \"main\"`"),
        );
        return None;
    }
    let program = match CEL.compile(&source.value) {
        Ok(program) => program,
        Err(errors) => {
            // What follows the first mistake is mostly its consequence.
            diagnostics.extend(errors.errors.first().map(|error| syntax(error, source, names.text)));
            return None;
        }
    };
    let before = diagnostics.len();
    let mut walk = Walk {
        names,
        used,
        diagnostics,
        source,
        info: program.source_info(),
        bound: Vec::new(),
        loops: 0,
        stages: Vec::new(),
        outputs: Vec::new(),
        tested: HashSet::new(),
    };
    walk.expression(program.expression());
    walk.refuse_untested();
    let stages = std::mem::take(&mut walk.stages);
    (diagnostics.len() == before).then(|| Checked { source: Arc::from(source.value.as_str()), program: Arc::new(program), stages })
}

fn syntax(error: &cel::ParseError, source: &Spanned<String>, text: &str) -> Diagnostic {
    let (line, column) = (usize::try_from(error.pos.0).unwrap_or(1), usize::try_from(error.pos.1).unwrap_or(1));
    let start: usize = source.value.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let rest = &source.value[start.min(source.value.len())..];
    let at = start + rest.chars().take(column.saturating_sub(1)).map(char::len_utf8).sum::<usize>();
    let width = source.value[at.min(source.value.len())..].chars().next().map_or(0, char::len_utf8);
    let span = if width == 0 { source.span.clone() } else { literal::place(text, &source.span, &source.value, at..at + width) };
    let message = error.msg.trim_start_matches("Syntax error: ").replace('\n', " ");
    Diagnostic::error("when-syntax", span, format!("the condition is not CEL: {}", shown(&message))).hint(
        match source.value[at.min(source.value.len())..].starts_with('=') {
            true => "two `=` compare: git.branch == \"main\"",
            false => "for example: git.branch == \"main\" && input.environment != \"staging\"",
        },
    )
}

struct Walk<'a, 'b> {
    names: &'a Names<'b>,
    used: &'a mut Used,
    diagnostics: &'a mut Vec<Diagnostic>,
    source: &'a Spanned<String>,
    info: &'a SourceInfo,
    /// Variables of the loops around.
    bound: Vec<String>,
    loops: usize,
    stages: Vec<String>,
    /// Outputs that are read, of stages that may have none.
    outputs: Vec<(String, String, Span, String)>,
    /// Outputs that `has()` asks for.
    tested: HashSet<(String, String)>,
}

/// `stage["build"].outcome` as names, with the id of the first.
fn path<'e>(expr: &'e IdedExpr, tested: &mut bool) -> Option<(u64, Vec<&'e str>)> {
    match &expr.expr {
        Expr::Ident(name) => Some((expr.id, vec![name.as_str()])),
        Expr::Select(select) => {
            let (id, mut names) = path(&select.operand, tested)?;
            *tested |= select.test;
            names.push(&select.field);
            Some((id, names))
        }
        Expr::Call(call) if call.func_name == "_[_]" && call.args.len() == 2 && call.target.is_none() => {
            let Expr::Literal(LiteralValue::String(field)) = &call.args[1].expr else { return None };
            let (id, mut names) = path(&call.args[0], tested)?;
            names.push(field.inner());
            Some((id, names))
        }
        _ => None,
    }
}

impl Walk<'_, '_> {
    fn expression(&mut self, expr: &IdedExpr) {
        let mut tested = false;
        if let Some((id, names)) = path(expr, &mut tested) {
            if !self.bound.iter().any(|name| name == names[0]) {
                self.variable(id, &names, tested);
            }
            return;
        }
        match &expr.expr {
            Expr::Call(call) => {
                self.function(expr.id, &call.func_name);
                if let Some(target) = &call.target {
                    self.expression(target);
                }
                call.args.iter().for_each(|arg| self.expression(arg));
            }
            Expr::Comprehension(comprehension) => self.comprehension(expr.id, comprehension),
            Expr::List(list) => list.elements.iter().for_each(|item| self.expression(item)),
            Expr::Map(map) => map.entries.iter().for_each(|entry| self.entry(&entry.expr)),
            Expr::Struct(object) => object.entries.iter().for_each(|entry| self.entry(&entry.expr)),
            Expr::Select(select) => self.expression(&select.operand),
            Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
        }
    }

    fn entry(&mut self, entry: &EntryExpr) {
        match entry {
            EntryExpr::StructField(field) => self.expression(&field.value),
            EntryExpr::MapEntry(entry) => {
                self.expression(&entry.key);
                self.expression(&entry.value);
            }
        }
    }

    fn comprehension(&mut self, id: u64, comprehension: &ComprehensionExpr) {
        self.expression(&comprehension.iter_range);
        self.expression(&comprehension.accu_init);
        if self.loops == MAX_LOOPS {
            let span = self.span(id, "");
            let message = format!("more than {MAX_LOOPS} loops in each other are no condition any more");
            self.diagnostics.push(Diagnostic::error("when-size", span, message));
            return;
        }
        self.loops += 1;
        let outer = self.bound.len();
        self.bound.push(comprehension.iter_var.clone());
        self.bound.extend(comprehension.iter_var2.clone());
        self.bound.push(comprehension.accu_var.clone());
        self.expression(&comprehension.loop_cond);
        self.expression(&comprehension.loop_step);
        self.expression(&comprehension.result);
        self.bound.truncate(outer);
        self.loops -= 1;
    }

    fn function(&mut self, id: u64, name: &str) {
        // Operators are calls of functions such as `_==_`.
        let operator = name.chars().any(|c| !c.is_alphanumeric() && c != '.') && !name.starts_with(char::is_alphabetic);
        if operator || FUNCTIONS.contains(&name) {
            return;
        }
        let span = self.span_before(id, name);
        let mut diagnostic = Diagnostic::error("when-name", span, format!("CEL has no function `{}`", shown(name)));
        let known = FUNCTIONS.iter().chain(&MACROS).copied();
        diagnostic.hint = Some(match did_you_mean(name, known.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("functions: {}", list(known)),
        });
        self.diagnostics.push(diagnostic);
    }

    fn variable(&mut self, id: u64, names: &[&str], tested: bool) {
        let root = names[0];
        let field = names.get(1).copied();
        match (root, field) {
            ("input", Some(name)) => {
                self.used.inputs.insert(name.to_owned());
                let shared = self.names.shared;
                self.known(id, "input", name, shared.inputs.iter().map(|input| input.name.as_str()).collect());
            }
            ("matrix", Some(key)) => {
                self.used.matrix.insert((self.names.stage, key.to_owned()));
                let matrix = &self.names.graph.stages[self.names.stage].matrix;
                self.known(id, "matrix", key, matrix.keys.iter().map(|key| key.name.as_str()).collect());
            }
            ("git", Some(name)) => self.known(id, "git", name, GIT.to_vec()),
            ("environment", Some(name)) => {
                let vars = self.names.own.environment.iter().flatten().map(|(key, _)| key.as_str()).collect();
                self.known(id, "environment", name, vars);
            }
            ("event" | "trust", None) => {}
            ("run", Some(name)) => self.known(id, "run", name, vec!["id"]),
            ("pipeline", Some(name)) => self.known(id, "pipeline", name, vec!["name"]),
            ("stage", Some(name)) => self.stage(id, name, &names[2..], tested),
            ("stage", None) => {
                let span = self.span(id, "stage");
                let hint = "write `stage.build.outcome`, or `stage[\"build-image\"].outcome`";
                self.diagnostics.push(Diagnostic::error("when-name", span, "a stage is called by its name, as a literal").hint(hint));
            }
            ("input" | "matrix" | "environment" | "git" | "run" | "pipeline", None) => {}
            (name, _) if TYPES.contains(&name) => {}
            (name, _) => {
                let span = self.span(id, name);
                let mut diagnostic = Diagnostic::error("when-name", span, format!("there is no variable `{}`", shown(name)));
                diagnostic.hint = Some(match did_you_mean(name, VARIABLES) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("variables: {}", list(VARIABLES.into_iter())),
                });
                self.diagnostics.push(diagnostic);
            }
        }
    }

    fn known(&mut self, id: u64, root: &str, name: &str, known: Vec<&str>) {
        if known.contains(&name) {
            return;
        }
        let span = self.span(id, name);
        let mut diagnostic = Diagnostic::error("when-name", span, format!("`{root}` has no `{}`", shown(name)));
        let dashed = known.iter().find(|k| k.strip_prefix(name).is_some_and(|rest| rest.starts_with('-')));
        diagnostic.hint = Some(match (dashed, did_you_mean(name, known.iter().copied())) {
            (Some(dashed), _) => format!("CEL takes `-` for minus: write `{root}[\"{dashed}\"]`"),
            (None, Some(near)) => format!("did you mean `{root}.{near}`?"),
            (None, None) if known.is_empty() => format!("there is no `{root}` here"),
            (None, None) => format!("there is {}", list(known.into_iter())),
        });
        self.diagnostics.push(diagnostic);
    }

    fn stage(&mut self, id: u64, name: &str, rest: &[&str], tested: bool) {
        let graph = self.names.graph;
        let own = &graph.stages[self.names.stage];
        let Some(producer) = graph.position(name) else {
            self.known(id, "stage", name, graph.names().collect());
            return;
        };
        if producer == self.names.stage || !graph.waits_for(self.names.stage, producer) {
            let span = self.span(id, name);
            let message = format!("`{}` does not wait for `{name}`, so its outcome is not known", own.name);
            let hint =
                if producer == self.names.stage { "a stage can't ask for itself".into() } else { format!("add \"{name}\" to `needs`") };
            self.diagnostics.push(Diagnostic::error("not-needed", span, message).hint(hint));
            return;
        }
        if !self.stages.iter().any(|stage| stage == name) {
            self.stages.push(name.to_owned());
        }
        match rest {
            [] | ["outcome", ..] => {}
            ["outputs", rest @ ..] => {
                let span = self.span(id, rest.first().unwrap_or(&"outputs"));
                if !(self.names.has_own_instance)(producer) {
                    let message = format!("`{name}` has several instances, and it is not clear whose output is meant");
                    let hint = format!("ask for `stage.{name}.outcome`, or give `{}` the same matrix", own.name);
                    self.diagnostics.push(Diagnostic::error("ambiguous-output", span, message).hint(hint));
                    return;
                }
                let Some(output) = rest.first() else { return };
                if tested {
                    self.tested.insert((name.to_owned(), (*output).to_owned()));
                } else if let Some(reason) = graph.may_miss(self.names.stage, producer) {
                    self.outputs.push((name.to_owned(), (*output).to_owned(), span, reason));
                }
            }
            [other, ..] => {
                let span = self.span(id, other);
                let hint = match did_you_mean(other, ["outcome", "outputs"]) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "there is `outcome` and `outputs`".into(),
                };
                self.diagnostics.push(Diagnostic::error("when-name", span, format!("a stage has no `{}`", shown(other))).hint(hint));
            }
        }
    }

    fn refuse_untested(&mut self) {
        for (stage, output, span, reason) in std::mem::take(&mut self.outputs) {
            if self.tested.contains(&(stage.clone(), output.clone())) {
                continue;
            }
            let message = format!("`stage.{stage}.outputs.{output}` may have no value");
            let hint = format!("ask first: `has(stage.{stage}.outputs.{output}) && …`");
            self.diagnostics.push(Diagnostic::error("needs-default", span, message).label(reason).hint(hint));
        }
    }

    /// Of `name`, which ends where the node `id` (the parenthesis of a call) stands, or begins there.
    fn span_before(&self, id: u64, name: &str) -> Span {
        let value = &self.source.value;
        let found = self.info.offset_for(id).and_then(|(at, _)| {
            let at = value.char_indices().nth(at as usize)?.0;
            let start = value[..(at + name.len()).min(value.len())].rfind(name)?;
            Some(literal::place(self.names.text, &self.source.span, value, start..start + name.len()))
        });
        found.unwrap_or_else(|| self.source.span.clone())
    }

    /// From the node `id` to the end of `last`, which follows it; the whole condition if that can't be told.
    fn span(&self, id: u64, last: &str) -> Span {
        let value = &self.source.value;
        let found = self.info.offset_for(id).and_then(|(start, _)| {
            // The parser counts characters.
            let start = value.char_indices().nth(start as usize)?.0;
            let end = start + value[start..].find(last)? + last.len();
            Some(literal::place(self.names.text, &self.source.span, value, start..end))
        });
        found.filter(|span| !span.is_empty()).unwrap_or_else(|| self.source.span.clone())
    }
}
