//! What a learning run found out, and how it is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use capability::Registry;
use event::Outcome;
use journal::{LineVerdict, Reader};
use pipeline::grant::Used;
use pipeline::learning::{Lesson, decode, refers};
use serde_json::json;

use super::{Known, Original, Watch};
use crate::args::Global;
use crate::error::CliError;
use crate::history;
use crate::load;
use crate::style::Style;
use crate::usage::{self, Usage};

/// A grant that would have been enough.
pub struct Grant {
    pub stage: String,
    pub capability: &'static str,
    /// What stands behind the key.
    pub toml: String,
    /// What stands there now holds references, which nobody but its author can put back.
    refers: bool,
}

/// Something that was denied and stays so.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Denied {
    stage: String,
    effect: String,
    subject: String,
    reason: String,
}

#[derive(Default)]
pub struct Learned {
    grants: Vec<Grant>,
    /// A stage, and why nothing was learned of it.
    left: Vec<(String, String)>,
    /// Hosts that nobody confirmed, with the stages that asked for them.
    unconfirmed: BTreeMap<String, BTreeSet<String>>,
    denied: BTreeSet<Denied>,
    /// A stage, a capability, and what could go.
    removable: Vec<(String, &'static str, String)>,
    /// Stages that write, and read what git ignores.
    installed: Vec<String>,
}

/// Whether somebody confirmed a host: with this port, or with none.
fn confirmed(hosts: &[String], host: &str) -> bool {
    hosts.iter().any(|known| known == host || host.strip_prefix(known.as_str()).is_some_and(|port| port == ":443" || port == ":80"))
}

impl Learned {
    pub fn of(reader: &Reader, original: &Original, registry: &Registry, watch: &Watch, hosts: &[String]) -> Result<Learned, CliError> {
        let mut learned = Learned::default();
        let mut usage = Usage::default();
        let names = usage::names(reader)?;
        history::lines(reader, None, |line| {
            let Some(name) = names.get(&line.stage) else { return Ok(()) };
            usage.add(name, &line);
            let (confirms, reason) = match &line.verdict {
                LineVerdict::Denied(denial) => (denial.code == "not-granted", denial.reason.clone()),
                LineVerdict::Connection { allowed: false, reason, .. } => (true, reason.clone().unwrap_or_default()),
                _ => return Ok(()),
            };
            let used = Used { effect: &line.what, subject: &line.subject, request: "" };
            let host = registry.schemas().iter().find_map(|schema| schema.confirmable(&used));
            // what is denied although it was confirmed is denied for another reason
            match host.filter(|host| confirms && !confirmed(hosts, host)) {
                Some(host) => {
                    learned.unconfirmed.entry(host).or_default().insert(name.clone());
                }
                None => {
                    let (stage, effect, subject) = (name.clone(), line.what.clone(), line.subject.clone());
                    learned.denied.insert(Denied { stage, effect, subject, reason });
                }
            }
            Ok(())
        })?;
        let overview = reader.overview().map_err(anyhow::Error::from)?;
        for known in &original.stages {
            let name = &known.stage.name;
            let mut outcomes = names.iter().filter(|(_, stage)| *stage == name).map(|(id, _)| overview.outcomes.get(id)).peekable();
            let why = match &known.left {
                Some(why) => Some(why.clone()),
                None if outcomes.peek().is_none() => Some("it did not run".to_owned()),
                None => (!outcomes.all(|outcome| matches!(outcome, Some(Outcome::Passed { .. })))).then(|| "it did not pass".to_owned()),
            };
            match why {
                Some(why) => learned.left.push((name.clone(), why)),
                None => learned.learn(known, registry, &usage, watch),
            }
        }
        Ok(learned)
    }

    fn learn(&mut self, known: &Known, registry: &Registry, usage: &Usage, watch: &Watch) {
        let name = &known.stage.name;
        let touched = watch.of(name);
        let used: Vec<Used<'_>> = usage.of(name).collect();
        let mut writes = false;
        for schema in registry.schemas() {
            let granted = known.stage.grants.iter().find(|(key, _)| key.name == schema.name()).map(|(_, node)| node);
            let lesson = Lesson { context: &known.context, granted, used: &used, touched: &touched };
            if let Some(toml) = schema.learned(&lesson) {
                writes |= schema.name() == "files" && toml.contains("access = \"write\"");
                self.grants.push(Grant { stage: name.clone(), capability: schema.name(), toml, refers: granted.is_some_and(refers) });
            }
            let Some(grant) = granted.and_then(|node| decode(&**schema, node, &known.context)) else { continue };
            self.removable.extend(grant.removable(&lesson).into_iter().map(|text| (name.clone(), schema.name(), text)));
        }
        let ignored = |path: &String| path.split('/').any(|part| matches!(part, "node_modules" | ".venv" | "venv"));
        if writes && touched.read.iter().any(ignored) {
            self.installed.push(name.clone());
        }
    }

    /// Those that can stand in the file as they are.
    pub fn writable(&self) -> impl Iterator<Item = &Grant> {
        self.grants.iter().filter(|grant| !grant.refers)
    }

    /// The grants as they would stand in the file.
    pub fn toml(&self) -> String {
        let mut text = String::new();
        for grants in self.grants.chunk_by(|a, b| a.stage == b.stage) {
            let between = if text.is_empty() { "" } else { "\n" };
            // writing into a String never fails
            let _ = writeln!(text, "{between}[stage.{}.grants]", grants[0].stage);
            for grant in grants {
                let _ = writeln!(text, "{} = {}", grant.capability, grant.toml);
            }
        }
        text
    }

    /// `written`: the file that the grants were written to.
    pub fn show(&self, written: Option<&Path>, global: &Global, out: &mut dyn Write) -> std::io::Result<()> {
        if history::json(global) {
            return writeln!(out, "{}", self.json(written));
        }
        let style = Style::new(load::color(global, &std::io::stdout()));
        let clean = report::clean;
        if self.grants.is_empty() {
            writeln!(out, "\nnothing was learned")?;
        } else {
            let where_to = written.map_or(String::new(), |file| format!(", written to {}", file.display()));
            writeln!(out, "\n{}{where_to}:\n", style.strong("the smallest grants that let this run pass"))?;
            for line in self.toml().lines() {
                writeln!(out, "{}", clean(line))?;
            }
            writeln!(out)?;
        }
        for (host, stages) in &self.unconfirmed {
            let stages: Vec<&str> = stages.iter().map(String::as_str).collect();
            let note = style.note("asked for, not confirmed:");
            writeln!(out, "{note} {host} ({}); if you mean it, run again with --learn-host {host}", stages.join(", "))?;
        }
        for Denied { stage, effect, subject, reason } in &self.denied {
            writeln!(out, "{} [{stage}] {effect} {}: {}", style.bad("denied, not learned:"), clean(subject), clean(reason))?;
        }
        for (stage, why) in &self.left {
            writeln!(out, "{} {stage}: {}", style.note("not learned:"), clean(why))?;
        }
        for grant in self.grants.iter().filter(|grant| grant.refers) {
            writeln!(out, "{} [stage.{}.grants] {}: it holds references", style.note("not written:"), grant.stage, grant.capability)?;
        }
        for stage in &self.installed {
            let text = "writes, and a stage that writes works on a copy without what git ignores: let it write to /scratch, or install in the stage";
            writeln!(out, "{} {stage} {text}", style.note("note:"))?;
        }
        for (stage, capability, text) in &self.removable {
            writeln!(out, "{} [stage.{stage}.grants] {capability}: {}", style.note("removable:"), clean(text))?;
        }
        if written.is_none() && !self.grants.is_empty() {
            writeln!(out, "{}", style.faint("`--learn-write` puts them into the pipeline file, `--learn-out FILE` into another"))?;
        }
        Ok(())
    }

    fn json(&self, written: Option<&Path>) -> serde_json::Value {
        let pairs =
            |pairs: &[(String, String)]| -> Vec<_> { pairs.iter().map(|(stage, why)| json!({ "stage": stage, "why": why })).collect() };
        let hosts = self.unconfirmed.iter().map(|(host, stages)| json!({ "host": host, "stages": stages }));
        let denied = self.denied.iter().map(|d| json!({ "stage": d.stage, "effect": d.effect, "subject": d.subject, "reason": d.reason }));
        let removable =
            self.removable.iter().map(|(stage, capability, text)| json!({ "stage": stage, "capability": capability, "text": text }));
        json!({
            "learned": self.toml(),
            "written": written.map(|file| file.display().to_string()),
            "not-learned": pairs(&self.left),
            "unconfirmed": hosts.collect::<Vec<_>>(),
            "denied": denied.collect::<Vec<_>>(),
            "removable": removable.collect::<Vec<_>>(),
        })
    }
}
