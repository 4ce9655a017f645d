//! What stages used of their grants, from the record of a run: for `ledger`, which shows what could go, and for `exec --learn`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use event::StageRef;
use journal::{Class, Line, LineVerdict, Reader};
use pipeline::grant::Used;

use crate::error::CliError;

/// What of its grants each stage of the pipeline file used, all its instances and attempts together.
#[derive(Default)]
pub struct Usage {
    stages: BTreeMap<String, BTreeSet<Use>>,
    /// Stage, effect and subject of what was only read.
    read: HashSet<(String, String, String)>,
    /// Stages that started programs. What those did with files is not recorded.
    with_programs: HashSet<String>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Use {
    effect: String,
    subject: String,
    request: String,
}

impl Usage {
    /// `name`: the stage's key in the pipeline file.
    pub fn add(&mut self, name: &str, line: &Line) {
        let (class, request) = match &line.verdict {
            LineVerdict::Granted { class, request } => (*class, request.as_str()),
            LineVerdict::Connection { allowed: true, .. } => (Class::Once, ""),
            _ => return,
        };
        if line.what == "commands.start" {
            self.with_programs.insert(name.to_owned());
        }
        // a stage that reads a file a million times uses its grant once
        let repeatable = class == Class::Read && line.what.starts_with("files.");
        if repeatable && !self.read.insert((name.to_owned(), line.what.clone(), line.subject.clone())) {
            return;
        }
        self.stages.entry(name.to_owned()).or_default().insert(Use {
            effect: line.what.clone(),
            subject: line.subject.clone(),
            request: request.to_owned(),
        });
    }

    pub fn of<'a>(&'a self, name: &str) -> impl Iterator<Item = Used<'a>> {
        let uses = self.stages.get(name).into_iter().flatten();
        uses.map(|used| Used { effect: &used.effect, subject: &used.subject, request: &used.request })
    }

    pub fn started_programs(&self, name: &str) -> bool {
        self.with_programs.contains(name)
    }
}

/// The key in the pipeline file of each stage that began.
pub fn names(reader: &Reader) -> Result<HashMap<StageRef, String>, CliError> {
    let attempts = reader.attempts().map_err(anyhow::Error::from)?;
    Ok(attempts.into_iter().map(|attempt| (attempt.begin.stage, attempt.begin.name)).collect())
}
