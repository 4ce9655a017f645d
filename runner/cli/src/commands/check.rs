//! `check`: every mistake of a pipeline file. Executes nothing.

use std::io::Write;

use serde_json::json;

use crate::args::{Check, Format, Global};
use crate::error::{CliError, Ending};
use crate::load;

pub fn run(args: &Check, global: &Global, out: &mut dyn Write) -> Result<Ending, CliError> {
    if args.codes {
        codes(global, out).map_err(anyhow::Error::from)?;
        return Ok(Ending::Ok);
    }
    let loaded = load::load(&args.source, global, "check", [0; 32], false)?;
    let plan = &loaded.plan;
    let file = plan.file.display().to_string();
    let write = |out: &mut dyn Write| {
        if global.format == Format::Json {
            let warnings: Vec<_> = loaded
                .warnings
                .iter()
                .map(|w| {
                    let place = w.span.as_ref().map(|span| plan.sources.place(span.start));
                    let file = place.as_ref().map(|place| place.file.display().to_string());
                    let (line, column) = (place.as_ref().map(|place| place.line), place.as_ref().map(|place| place.column));
                    json!({ "code": w.code, "message": w.message, "hint": w.hint, "file": file, "line": line, "column": column })
                })
                .collect();
            return writeln!(out, "{}", json!({ "file": file, "stages": plan.stages.len(), "warnings": warnings }));
        }
        let color = load::color(global, &std::io::stdout());
        write!(out, "{}", pipeline::diagnostic::render(&loaded.warnings, &plan.sources, color))?;
        if global.quiet {
            return Ok(());
        }
        let stages = match plan.stages.len() {
            1 => "1 stage".to_owned(),
            count => format!("{count} stages"),
        };
        let warnings = match loaded.warnings.len() {
            0 => String::new(),
            1 => ", 1 warning".to_owned(),
            count => format!(", {count} warnings"),
        };
        writeln!(out, "{file}: {stages}, no mistakes{warnings}")
    };
    write(out).map_err(anyhow::Error::from)?;
    Ok(Ending::Ok)
}

fn codes(global: &Global, out: &mut dyn Write) -> std::io::Result<()> {
    let codes = pipeline::reference::CODES;
    if global.format == Format::Json {
        let list: Vec<_> = codes.iter().map(|(code, meaning)| json!({ "code": code, "meaning": meaning })).collect();
        return writeln!(out, "{}", json!(list));
    }
    let width = codes.iter().map(|(code, _)| code.len()).max().unwrap_or(0);
    for (code, meaning) in codes {
        writeln!(out, "{code:width$}  {meaning}")?;
    }
    Ok(())
}
