//! What a learning run (`exec --learn`) asks of the capabilities: a grant that is wide enough to see what a stage wants, and afterwards the
//! smallest one that would have been enough.
//!
//! Data goes one way here too: [`stages`] reads what stands in the file, each capability's [`GrantSchema::learning`] says what to grant for this
//! one run, the run is recorded like any other, and [`GrantSchema::learned`] makes a grant of what was used. Deliberately absent: changing the
//! file, and anything that weakens a check. A learning grant is a grant: what none can open stays shut.

use std::collections::BTreeSet;

use crate::build::Refused;
use crate::compose::{self, Files};
use crate::diagnostic::{Diagnostic, Severity};
use crate::grant::{GrantContext, GrantSchema, Used};
use crate::model::{Pipeline, Stage};
use crate::node::{Node, Value};
use crate::raw;
pub use crate::requests::can_use;
use crate::source::Sources;

/// A stage whose grants are to be learned.
pub struct Learning<'a> {
    pub context: &'a GrantContext,
    /// Its `with`, as it stands in the file.
    pub settings: Option<&'a Node>,
    /// Its grant of this kind, as it stands in the file.
    pub granted: Option<&'a Node>,
    /// `host` or `host:port`, as somebody confirmed them for this run.
    pub hosts: &'a [String],
}

/// What a learning run saw of a stage, all its instances and attempts together.
pub struct Lesson<'a> {
    pub context: &'a GrantContext,
    /// Its grant of this kind, as it stands in the file.
    pub granted: Option<&'a Node>,
    /// Every effect that was granted, each once.
    pub used: &'a [Used<'a>],
    /// What happened to its copy of the workspace.
    pub touched: &'a Touched,
}

impl Lesson<'_> {
    /// Whether it started programs, of which only `touched` knows what they did.
    pub fn started_programs(&self) -> bool {
        self.used.iter().any(|used| used.effect == "commands.start")
    }
}

/// What happened to a copy of the workspace. Paths are relative to it, with `/`; `.` is the copy itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// Files and links that were read.
    pub read: BTreeSet<String>,
    /// Directories whose entries were listed.
    pub listed: BTreeSet<String>,
    /// Files that were there before and were changed where they stood.
    pub changed: BTreeSet<String>,
    /// What was not there before, without what is below it.
    pub made: BTreeSet<String>,
    /// What is not there any more, without what was below it, and what was replaced by something of the same name.
    pub removed: BTreeSet<String>,
    /// The names in the copy itself, before.
    pub top: BTreeSet<String>,
    /// The file system keeps no access times: `read` and `listed` say nothing.
    pub reads_unknown: bool,
}

impl Touched {
    /// Takes in what another attempt, or another instance, did.
    pub fn add(&mut self, other: Touched) {
        self.read.extend(other.read);
        self.listed.extend(other.listed);
        self.changed.extend(other.changed);
        self.made.extend(other.made);
        self.removed.extend(other.removed);
        self.top.extend(other.top);
        self.reads_unknown |= other.reads_unknown;
    }
}

/// Reads the stages of a file, included and extended, whatever grants they lack.
///
/// # Errors
/// The mistakes, where the file is no pipeline.
pub fn stages(file: &std::path::Path, text: &str, files: &dyn Files) -> Result<Vec<Stage>, Refused> {
    let mut sources = Sources::new(file, text);
    read(text, files, &mut sources).map_err(|diagnostics| Refused { sources, diagnostics })
}

fn read(text: &str, files: &dyn Files, sources: &mut Sources) -> Result<Vec<Stage>, Vec<Diagnostic>> {
    let (root, mut diagnostics) = raw::read(text)?;
    let root = compose::include(root, sources, files, &mut diagnostics)?;
    let compose::Extended { root, .. } = compose::extend(root, &mut diagnostics);
    let pipeline = Pipeline::read(&root, &mut diagnostics);
    if diagnostics.iter().any(|d| d.severity == Severity::Error) { Err(diagnostics) } else { Ok(pipeline.stages) }
}

/// A grant as it stands in the file, decoded; none where it has mistakes or refers to what only a run knows.
pub fn decode(schema: &dyn GrantSchema, node: &Node, context: &GrantContext) -> Option<std::sync::Arc<dyn crate::grant::Grant>> {
    if refers(node) {
        return None;
    }
    schema.decode(node, context, &mut Vec::new())
}

/// Whether a value holds a reference such as `${matrix.app}`.
pub fn refers(node: &Node) -> bool {
    strings(node).into_iter().any(|text| text.replace("$${", "").contains("${"))
}

/// Every string in a value.
pub fn strings(node: &Node) -> Vec<&str> {
    match &node.value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        Value::Table(table) => table.entries.iter().flat_map(|(_, node)| strings(node)).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::NoFiles;

    #[test]
    fn stages_are_read_with_their_templates_and_without_their_grants() {
        let text = "format = 1\nname = \"x\"\n[template.node.with]\nrun = [\"npm\", \"test\"]\n[stage.test]\nextends = [\"node\"]\nuses = \"command\"\n";
        let stages = stages("pipeline.toml".as_ref(), text, &NoFiles).expect("it is a pipeline");
        let with = stages[0].with.as_ref().expect("settings");
        assert_eq!((stages[0].name.as_str(), strings(with)), ("test", vec!["npm", "test"]));
    }

    #[test]
    fn references_are_found_and_escapes_are_none() {
        let node = |text: &str| raw::tree(text).expect("TOML");
        assert!(refers(&node("a = [{ b = \"x${matrix.app}\" }]")));
        assert!(!refers(&node("a = \"$${x}\"")));
    }
}
