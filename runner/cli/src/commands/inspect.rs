//! `inspect`: what a plugin says of itself. Nothing of it is compiled or run.

use std::io::{self, Write};

use host::PluginFiles;
use pipeline::manifest::Plugins;
use serde_json::{Value, json};

use crate::args::{Format, Global, Inspect};
use crate::error::{CliError, Ending};
use crate::load;
use crate::style::Style;

pub fn run(args: &Inspect, global: &Global, out: &mut dyn Write) -> Result<Ending, CliError> {
    let folder = std::env::current_dir().map_err(anyhow::Error::from)?;
    let files = PluginFiles::new(bundled::PLUGINS.iter().copied(), &folder);
    let style = Style::new(load::color(global, &io::stdout()));
    let json = global.format == Format::Json;
    let result = match &args.plugin {
        None => list(&files, json, style, out)?,
        Some(name) => {
            // a person types `my.wasm` where the pipeline file says `./my.wasm`
            let uses = if name.ends_with(".wasm") && !name.starts_with(['.', '/']) { format!("./{name}") } else { name.clone() };
            let file = files.get(&uses).map_err(|e| CliError::Usage { message: e.message, hint: e.hint })?;
            if json { writeln!(out, "{}", as_json(&file)) } else { as_text(&file, style, out) }
        }
    };
    result.map_err(anyhow::Error::from)?;
    Ok(Ending::Ok)
}

fn list(files: &PluginFiles, json: bool, style: Style, out: &mut dyn Write) -> Result<io::Result<()>, CliError> {
    let mut rows = Vec::new();
    for name in files.names() {
        let file = files.get(&name).map_err(|e| CliError::Usage { message: e.message, hint: e.hint })?;
        rows.push(file);
    }
    if json {
        return Ok(writeln!(out, "{}", Value::Array(rows.iter().map(|f| as_json(f)).collect())));
    }
    for file in rows {
        let manifest = &file.info.manifest;
        if let Err(e) = writeln!(out, "{} {:<8} {}", style.strong(&format!("{:<10}", manifest.name)), manifest.version, manifest.summary) {
            return Ok(Err(e));
        }
    }
    Ok(Ok(()))
}

fn as_text(file: &host::PluginFile, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let info = &file.info;
    let manifest = &info.manifest;
    writeln!(out, "{} {}  {}", style.strong(&manifest.name), manifest.version, manifest.summary)?;
    writeln!(out, "{}", style.faint(&format!("{} · {} KiB · BLAKE3 {}", info.uses, file.bytes.len() >> 10, info.digest)))?;
    writeln!(out, "\n{}", style.note("requests"))?;
    if manifest.requests.is_empty() {
        writeln!(out, "  nothing")?;
    }
    for request in &manifest.requests {
        let need = if request.required { "required" } else { "optional" };
        writeln!(out, "  {:<10} {need}  {}", request.capability, request.reason)?;
    }
    writeln!(out, "\n{}", style.note("settings ([stage.<name>.with])"))?;
    settings(&manifest.schema, out)?;
    writeln!(out, "\n{}", style.note("imports"))?;
    for import in &info.imports {
        writeln!(out, "  {import}")?;
    }
    Ok(())
}

/// The schema's first level, a line a setting: the whole of it is in the JSON.
fn settings(schema: &Value, out: &mut dyn Write) -> io::Result<()> {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let Some(properties) = schema["properties"].as_object().filter(|p| !p.is_empty()) else { return writeln!(out, "  none") };
    for (name, property) in properties {
        let kind = kind(property);
        let mark = if required.contains(&name.as_str()) { "required" } else { "" };
        let text = property["description"].as_str().unwrap_or("").lines().next().unwrap_or("");
        writeln!(out, "  {name:<18} {kind:<10} {mark:<9} {text}")?;
        if let Some(default) = property.get("default").filter(|d| !d.is_null()) {
            writeln!(out, "  {:<18} default {default}", "")?;
        }
    }
    Ok(())
}

fn kind(property: &Value) -> String {
    match &property["type"] {
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).filter(|k| *k != "null").collect::<Vec<_>>().join("/"),
        _ => "any".into(),
    }
}

fn as_json(file: &host::PluginFile) -> Value {
    let info = &file.info;
    let manifest = &info.manifest;
    json!({
        "uses": info.uses,
        "name": manifest.name,
        "version": manifest.version,
        "summary": manifest.summary,
        "digest": info.digest,
        "bytes": file.bytes.len(),
        "requests": manifest.requests.iter().map(|r| json!({ "capability": r.capability, "required": r.required, "reason": r.reason })).collect::<Vec<_>>(),
        "settings": manifest.schema,
        "imports": info.imports,
    })
}
