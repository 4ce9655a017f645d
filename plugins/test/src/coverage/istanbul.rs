//! Istanbul's `coverage-summary.json`, as nyc, c8, Jest and Vitest write it with the reporter `json-summary`: totals a file, and of all
//! files as `total`, which is passed over where files are listed.

use std::collections::BTreeMap;
use std::io::BufRead;

use runner_programs::{ReadError, json};
use serde::Deserialize;

use super::{Coverage, Share, What};

#[derive(Deserialize)]
struct Totals {
    lines: Total,
    functions: Total,
    branches: Total,
    statements: Total,
}

// `pct` is left out: it is rounded, and "Unknown" of nothing
#[derive(Deserialize)]
struct Total {
    total: u64,
    covered: u64,
}

pub fn read(coverage: &mut Coverage, input: impl BufRead) -> Result<(), ReadError> {
    let mut files: BTreeMap<String, Totals> = json::document(input)?;
    let Some(total) = files.remove("total") else {
        return Err(ReadError::malformed("the top", "there is no `total`: this is no coverage summary"));
    };
    if files.is_empty() && total.lines.total + total.statements.total > 0 {
        files.insert("all files".to_owned(), total);
    }
    for (path, totals) in files {
        let file = coverage.file(&path);
        for (what, total) in [
            (What::Lines, totals.lines),
            (What::Functions, totals.functions),
            (What::Branches, totals.branches),
            (What::Statements, totals.statements),
        ] {
            file.give(what, Share { hit: total.covered.min(total.total), total: total.total });
        }
    }
    Ok(())
}
