//! `plan`: order, authority, limits and expansions of every stage. Executes nothing.

use std::io::{self, Write};
use std::time::Duration;

use capability::Registry;
use pipeline::grant::Authority;
use pipeline::manifest::Provenance;
use pipeline::plan::{Backoff, Limits, Plan, RunOn, Stage, WorkspaceMode};
use serde_json::{Value, json};

use crate::args::{Format, Global, Planned};
use crate::error::{CliError, Ending};
use crate::load::{self, Loaded};
use crate::style::Style;

pub fn run(args: &Planned, global: &Global, out: &mut dyn Write) -> Result<Ending, CliError> {
    let loaded = load::load(&args.source, global, "plan", false)?;
    let write = |out: &mut dyn Write| match global.format {
        Format::Json => writeln!(out, "{}", as_json(&loaded)),
        Format::Auto | Format::Plain | Format::Sarif => as_text(&loaded, Style::new(load::color(global, &io::stdout())), out),
    };
    write(out).map_err(anyhow::Error::from)?;
    Ok(Ending::Ok)
}

fn as_text(loaded: &Loaded, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let plan = &loaded.plan;
    let order = plan.order();
    let stages = if plan.stages.len() == 1 { "1 stage".into() } else { format!("{} stages", plan.stages.len()) };
    let steps = if order.len() == 1 { "1 step".into() } else { format!("{} steps", order.len()) };
    let timeout = plan.timeout.map(|t| format!(", timeout {}", duration(t))).unwrap_or_default();
    writeln!(out, "{} {}", style.strong(&plan.name), style.faint(&format!("· {stages} in {steps}{timeout}")))?;
    for (name, value) in &plan.inputs {
        writeln!(out, "  input   {name} = {value}")?;
    }
    for secret in &plan.secrets {
        writeln!(out, "  secret  {} from {} to {}", secret.name, secret.from, secret.to.join(", "))?;
    }
    for (number, wave) in order.iter().enumerate() {
        for &index in wave {
            writeln!(out)?;
            stage_text(loaded, &plan.stages[index], number + 1, style, out)?;
        }
    }
    if !loaded.warnings.is_empty() {
        writeln!(out)?;
        write!(out, "{}", pipeline::diagnostic::render(&loaded.warnings, &plan.file.display().to_string(), &plan.text, style.colored()))?;
    }
    Ok(())
}

fn stage_text(loaded: &Loaded, stage: &Stage, step: usize, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let plan = &loaded.plan;
    let info = &stage.plugin;
    let from = match &info.provenance {
        Provenance::Bundled => "bundled".to_owned(),
        _ => info.uses.clone(),
    };
    writeln!(
        out,
        "{} {}  {}",
        style.faint(&format!("{step}.")),
        style.strong(stage.id.as_str()),
        style.faint(&format!("{} {} ({from}, {})", info.manifest.name, info.manifest.version, &info.digest[..12]))
    )?;
    let mut line = |label: &str, text: &str| writeln!(out, "   {} {text}", style.note(&format!("{label:<10}")));
    for text in when(plan, stage) {
        line("when", &text)?;
    }
    line("workspace", workspace(stage.workspace))?;
    for row in authority(&loaded.registry, stage) {
        let text = if row.alarming { style.bad(&row.text) } else { row.text };
        line(&row.label, &text)?;
    }
    for expansion in &stage.expansions {
        let value = expansion.value.as_deref().unwrap_or("known when its needs have run");
        line("expands", &format!("{}: {} → {value}", expansion.place, expansion.template))?;
    }
    for artifact in &stage.artifacts {
        line("artifact", &format!("{}: {}{}", artifact.name, artifact.paths.join(", "), on(artifact.on)))?;
    }
    for consume in &stage.consumes {
        line("consumes", &format!("{}.{}", plan.stages[consume.stage].id, consume.artifact))?;
    }
    line("limits", &limits(stage))
}

/// A row of a stage's authority.
struct Row {
    label: String,
    text: String,
    alarming: bool,
}

/// What the stage may do: granted capabilities, those it asked for in vain, and standard interfaces that give nothing.
fn authority(registry: &Registry, stage: &Stage) -> Vec<Row> {
    let mut rows = Vec::new();
    for (schema, _) in registry.iter() {
        let name = schema.name();
        if let Some(granted) = stage.grants.iter().find(|g| g.capability == name) {
            for Authority { text, alarming } in granted.grant.authority() {
                let label = if rows.iter().any(|r: &Row| r.label == name) { String::new() } else { name.to_owned() };
                rows.push(Row { label, text, alarming });
            }
            continue;
        }
        if let Some(request) = stage.plugin.manifest.request(name) {
            rows.push(Row { label: name.into(), text: format!("asked for ({}), not granted", request.reason), alarming: false });
        } else if stage.plugin.imports.iter().any(|i| schema.standard().iter().any(|prefix| i.starts_with(prefix))) {
            let text = if name == "files" { "its own scratch folder" } else { "imports, gets nothing" };
            rows.push(Row { label: name.into(), text: text.into(), alarming: false });
        }
    }
    rows
}

fn when(plan: &Plan, stage: &Stage) -> Vec<String> {
    let mut lines = Vec::new();
    let names = |indexes: &[usize]| indexes.iter().map(|&i| plan.stages[i].id.to_string()).collect::<Vec<_>>().join(", ");
    let mut first = match stage.run_on {
        RunOn::Success => String::new(),
        RunOn::Failure => "a need failed: ".into(),
        RunOn::Always => "always, ".into(),
    };
    match (stage.needs.is_empty(), stage.needs_any.is_empty()) {
        (true, true) => {}
        (false, true) => first.push_str(&format!("after {}", names(&stage.needs))),
        (true, false) => first.push_str(&format!("after any of {}", names(&stage.needs_any))),
        (false, false) => first.push_str(&format!("after {} and any of {}", names(&stage.needs), names(&stage.needs_any))),
    }
    let first = first.trim_end_matches([' ', ',', ':']).to_owned();
    if !first.is_empty() {
        lines.push(first);
    }
    if let Some(condition) = &stage.when {
        lines.push(format!("if {}", condition.source()));
    }
    lines
}

fn workspace(mode: WorkspaceMode) -> &'static str {
    match mode {
        WorkspaceMode::None => "none",
        WorkspaceMode::ReadOnly => "the checkout, read-only",
        WorkspaceMode::Private => "a private copy, gone at the end",
        WorkspaceMode::Shared => "the checkout itself: WRITES THROUGH",
    }
}

fn on(on: RunOn) -> &'static str {
    match on {
        RunOn::Success => "",
        RunOn::Failure => " (when it fails)",
        RunOn::Always => " (always)",
    }
}

fn limits(stage: &Stage) -> String {
    let limits = &stage.limits;
    let mut parts = Vec::new();
    if let Some(timeout) = stage.timeout {
        parts.push(format!("timeout {}", duration(timeout)));
    }
    parts.push(format!("memory {}", size(limits.memory)));
    parts.push(format!("log {}", size(limits.log)));
    let usual = Limits::default();
    for (name, now, default) in [
        ("hostcall", limits.hostcall, usual.hostcall),
        ("component", limits.component, usual.component),
        ("outputs", limits.outputs, usual.outputs),
        ("disk", limits.disk, usual.disk),
    ] {
        if now != default {
            parts.push(format!("{name} {}", size(now)));
        }
    }
    for (name, now, default) in [("handles", limits.handles, usual.handles), ("processes", limits.processes, usual.processes)] {
        if now != default {
            parts.push(format!("{name} {now}"));
        }
    }
    if stage.retries.count > 0 {
        let backoff = match stage.retries.backoff {
            Backoff::Constant => "constant",
            Backoff::Linear => "linear",
            Backoff::Exponential => "exponential",
        };
        parts.push(format!("{} retries ({backoff}, from {})", stage.retries.count, duration(stage.retries.delay)));
    }
    if stage.soft_fail {
        parts.push("may fail".into());
    }
    parts.join(" · ")
}

fn duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

fn size(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 30 && b % (1 << 30) == 0 => format!("{} GiB", b >> 30),
        b if b >= 1 << 20 && b % (1 << 20) == 0 => format!("{} MiB", b >> 20),
        b if b >= 1 << 10 && b % (1 << 10) == 0 => format!("{} KiB", b >> 10),
        b => format!("{b} B"),
    }
}

fn as_json(loaded: &Loaded) -> Value {
    let plan = &loaded.plan;
    let id = |index: &usize| plan.stages[*index].id.to_string();
    let stages: Vec<Value> = plan
        .stages
        .iter()
        .map(|stage| {
            let info = &stage.plugin;
            json!({
                "id": stage.id,
                "name": stage.name,
                "matrix": stage.matrix.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
                "plugin": { "uses": info.uses, "version": info.manifest.version, "digest": info.digest, "imports": info.imports },
                "needs": stage.needs.iter().map(id).collect::<Vec<_>>(),
                "needs-any": stage.needs_any.iter().map(id).collect::<Vec<_>>(),
                "when": stage.when.as_ref().map(|c| c.source()),
                "workspace": workspace(stage.workspace),
                "authority": stage.grants.iter().map(|g| (g.capability, g.grant.authority())).map(|(name, lines)| json!({
                    "capability": name,
                    "lines": lines.iter().map(|l| json!({ "text": l.text, "alarming": l.alarming })).collect::<Vec<_>>(),
                })).collect::<Vec<_>>(),
                "expansions": stage.expansions.iter().map(|e| json!({ "place": e.place, "template": e.template, "value": e.value })).collect::<Vec<_>>(),
                "settings": stage.settings,
                "env": stage.env.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
                "artifacts": stage.artifacts.iter().map(|a| json!({ "name": a.name, "paths": a.paths })).collect::<Vec<_>>(),
                "timeout-seconds": stage.timeout.map(|t| t.as_secs_f64()),
                "limits": {
                    "memory": stage.limits.memory, "log": stage.limits.log, "handles": stage.limits.handles, "hostcall": stage.limits.hostcall,
                    "component": stage.limits.component, "compile-seconds": stage.limits.compile.as_secs_f64(),
                    "outputs": stage.limits.outputs, "disk": stage.limits.disk, "processes": stage.limits.processes,
                },
                "retries": stage.retries.count,
                "soft-fail": stage.soft_fail,
            })
        })
        .collect();
    json!({
        "file": plan.file,
        "name": plan.name,
        "digest": plan.digest,
        "timeout-seconds": plan.timeout.map(|t| t.as_secs_f64()),
        "inputs": plan.inputs.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "secrets": plan.secrets.iter().map(|s| json!({ "name": s.name, "from": s.from, "to": s.to })).collect::<Vec<_>>(),
        "order": plan.order().iter().map(|wave| wave.iter().map(id).collect::<Vec<_>>()).collect::<Vec<_>>(),
        "stages": stages,
    })
}
