//! `plan`: order, authority, limits and expansions of every stage. Executes nothing.

use std::io::{self, Write};
use std::time::Duration;

use capability::Registry;
use pipeline::facts::Trust;
use pipeline::grant::Authority;
use pipeline::manifest::Provenance;
use pipeline::plan::{
    Backoff, Concurrency, KeyPart, Limits, MountSource, OnBusy, Plan, Probe, RunOn, Service, ServiceSource, Stage, WorkspaceMode,
};
use pipeline::when::Condition;
use serde_json::{Value, json};

use crate::args::{Format, Global, Planned};
use crate::error::{CliError, Ending};
use crate::load::{self, Loaded};
use crate::style::Style;

pub fn run(args: &Planned, global: &Global, out: &mut dyn Write) -> Result<Ending, CliError> {
    let loaded = load::load(&args.source, global, "plan", [0; 32], false)?;
    let write = |out: &mut dyn Write| match global.format {
        _ if args.expanded => expanded(&loaded.plan, Style::new(load::color(global, &io::stdout())), out),
        Format::Json => writeln!(out, "{}", as_json(&loaded)),
        Format::Auto | Format::Plain | Format::Sarif => as_text(&loaded, Style::new(load::color(global, &io::stdout())), out),
    };
    write(out).map_err(anyhow::Error::from)?;
    Ok(Ending::Ok)
}

/// The file without `include` and `extends`, with the origin of each line as a comment: TOML that means the same.
fn expanded(plan: &Plan, style: Style, out: &mut dyn Write) -> io::Result<()> {
    const COLUMN: usize = 60;
    for line in plan.expanded() {
        match line.origin {
            Some(origin) => {
                let gap = COLUMN.saturating_sub(line.text.chars().count()).max(2);
                writeln!(out, "{}{}{}", line.text, " ".repeat(gap), style.faint(&format!("# {origin}")))?;
            }
            None => writeln!(out, "{}", line.text)?,
        }
    }
    Ok(())
}

fn as_text(loaded: &Loaded, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let plan = &loaded.plan;
    let order = plan.order();
    let stages = if plan.stages.len() == 1 { "1 stage".into() } else { format!("{} stages", plan.stages.len()) };
    let steps = if order.len() == 1 { "1 step".into() } else { format!("{} steps", order.len()) };
    let timeout = plan.timeout.map(|t| format!(", timeout {}", duration(t))).unwrap_or_default();
    writeln!(out, "{} {}", style.strong(&plan.name), style.faint(&format!("· {stages} in {steps}{timeout}")))?;
    let facts = &loaded.facts;
    if facts.event_given || facts.trust != Trust::Local {
        writeln!(out, "  event   {} of {}, trust: {}", facts.event, facts.subject(), facts.trust)?;
    }
    if let Some(revision) = &facts.pipeline_from {
        writeln!(out, "  from    {revision}, and not from the checkout")?;
    }
    for (name, value) in &plan.inputs {
        writeln!(out, "  input   {name} = {value}")?;
    }
    for secret in &plan.secrets {
        writeln!(out, "  secret  {} from {} to {}", secret.name, secret.from, secret.to.join(", "))?;
    }
    for service in &plan.services {
        writeln!(out, "  service {}: {}", service.name, service_text(plan, service))?;
    }
    if let Some(concurrency) = &plan.concurrency {
        writeln!(out, "  group   {}", group(concurrency))?;
    }
    if let Some(subject) = &plan.nothing_to_do {
        writeln!(out, "  {}", style.note(&format!("nothing to do: {subject}")))?;
    }
    for (number, wave) in order.iter().enumerate() {
        for &index in wave {
            writeln!(out)?;
            stage_text(loaded, &plan.stages[index], number + 1, style, out)?;
        }
    }
    if !loaded.warnings.is_empty() {
        writeln!(out)?;
        write!(out, "{}", pipeline::diagnostic::render(&loaded.warnings, &plan.sources, style.colored()))?;
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
        line("expands", &format!("{}: {} → {}", expansion.place, expansion.template, named(stage, value)))?;
    }
    for used in &stage.secrets {
        let to = if used.secret.to.is_empty() { "nowhere".to_owned() } else { used.secret.to.join(", ") };
        let text = format!("{} to {to}", used.secret.name);
        let text = if used.read { style.bad(&format!("READS {text}")) } else { text };
        line("secret", &text)?;
    }
    if !stage.services.is_empty() {
        let names: Vec<&str> = stage.services.iter().map(|&index| plan.services[index].name.as_str()).collect();
        line("services", &names.join(", "))?;
    }
    for cache in &stage.caches {
        let parts: Vec<String> = cache.key.iter().map(key_part).collect();
        line("cache", &format!("{}: {} by {}", cache.name, cache.paths.join(", "), parts.join(" + ")))?;
    }
    if let Some(concurrency) = &stage.concurrency {
        line("group", &group(concurrency))?;
    }
    for artifact in &stage.artifacts {
        line("artifact", &format!("{}: {}{}", artifact.name, artifact.paths.join(", "), on(artifact.on)))?;
    }
    for consume in &stage.consumes {
        line("consumes", &format!("{}.{}", plan.stages[consume.stage].id, consume.artifact))?;
    }
    line("limits", &limits(stage))
}

/// A text with the names of secrets instead of what stands for them.
fn named(stage: &Stage, text: &str) -> String {
    stage.secrets.iter().fold(text.to_owned(), |text, used| text.replace(&used.placeholder, &format!("${{secret.{}}}", used.secret.name)))
}

fn key_part(part: &KeyPart) -> String {
    match part {
        KeyPart::Text(text) => text.clone(),
        KeyPart::Files(globs) => format!("content of {}", globs.join(", ")),
    }
}

fn group(concurrency: &Concurrency) -> String {
    let on_busy = match concurrency.on_busy {
        OnBusy::Queue => "waits while another run has it",
        OnBusy::CancelOlder => "stops the run that has it",
        OnBusy::Fail => "fails while another run has it",
    };
    format!("{} ({on_busy})", concurrency.group)
}

fn service_text(plan: &Plan, service: &Service) -> String {
    let what = match &service.source {
        ServiceSource::Command(command) => command.join(" "),
        ServiceSource::Image(service) => {
            let most = if service.ceilings.is_empty() { String::new() } else { format!(", at most {}", service.ceilings) };
            let seen = service.mounts.iter().filter_map(|mount| match &mount.from {
                MountSource::Checkout(path) => Some(path.as_str()),
                MountSource::Volume { .. } => None,
            });
            let seen: Vec<&str> = seen.collect();
            let seen = if seen.is_empty() { String::new() } else { format!(", reads {}", seen.join(", ")) };
            format!("image {}{most}{seen}", service.image)
        }
    };
    let ready = service.ready.as_ref().map(|ready| {
        let gate = match &ready.probe {
            Probe::Command(command) => format!("`{}` exits with 0", command.join(" ")),
            Probe::Tcp(port) => format!("port {port} takes connections"),
            Probe::Http(url) => format!("{url} answers"),
            Probe::Log(text) => format!("it prints \"{text}\""),
            Probe::Exit(code) => format!("it ends with {code}"),
        };
        format!(", ready when {gate}, within {}", duration(ready.timeout))
    });
    let needs: Vec<&str> = service.needs.iter().map(|&index| plan.services[index].name.as_str()).collect();
    let needs = if needs.is_empty() { String::new() } else { format!(", after {}", needs.join(", ")) };
    let network = if service.network.is_empty() { String::new() } else { format!(", may reach {}", service.network.join(", ")) };
    format!("{what}{}{needs}{network}{}", ready.unwrap_or_default(), if service.optional { ", may be missing" } else { "" })
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
    if !stage.if_changed.is_empty() {
        lines.push(format!("if {} changed", stage.if_changed.join(", ")));
    }
    if let Some(condition) = stage.when.as_ref().filter(|condition| !condition.source().is_empty()) {
        lines.push(format!("if {}", condition.source()));
    }
    if let Some(refusal) = stage.when.as_ref().and_then(Condition::refusal) {
        lines.push(format!("refused: {refusal}"));
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
    let (plan, facts) = (&loaded.plan, &loaded.facts);
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
                "expansions": stage.expansions.iter().map(|e| json!({ "place": e.place, "template": e.template, "value": e.value.as_ref().map(|v| named(stage, v)) })).collect::<Vec<_>>(),
                "settings": serde_json::from_str::<Value>(&named(stage, &stage.settings.to_string())).unwrap_or(Value::Null),
                "env": stage.env.iter().map(|(name, value)| (name.clone(), named(stage, value))).collect::<std::collections::BTreeMap<_, _>>(),
                "if-changed": stage.if_changed,
                "secrets": stage.secrets.iter().map(|s| json!({ "name": s.secret.name, "to": s.secret.to, "read": s.read })).collect::<Vec<_>>(),
                "services": stage.services.iter().map(|&index| &plan.services[index].name).collect::<Vec<_>>(),
                "caches": stage.caches.iter().map(|c| json!({ "name": c.name, "paths": c.paths, "key": c.key.iter().map(key_part).collect::<Vec<_>>() })).collect::<Vec<_>>(),
                "concurrency": stage.concurrency.as_ref().map(|c| &c.group),
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
        "services": plan.services.iter().map(|s| json!({ "name": s.name, "text": service_text(plan, s) })).collect::<Vec<_>>(),
        "nothing-to-do": plan.nothing_to_do,
        "event": facts.event,
        "trust": facts.trust,
        "git": { "branch": facts.git_branch, "sha": facts.git_sha, "tag": facts.git_tag, "base": facts.git_base, "pull-request": facts.pull_request },
        "changed": facts.changed,
        "pipeline-from": facts.pipeline_from,
        "order": plan.order().iter().map(|wave| wave.iter().map(id).collect::<Vec<_>>()).collect::<Vec<_>>(),
        "stages": stages,
    })
}
