//! `memory`, `cpus` and `pids`: how much of the machine a container may take. The same keys wherever one can be asked for.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::diagnostic::Diagnostic;
use crate::node::{TableReader, Value};

/// What a container may take; none: what the engine gives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ceilings {
    /// Bytes, with what is swapped out.
    pub memory: Option<u64>,
    /// Thousandths of a processor.
    pub cpus: Option<u32>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

/// An engine refuses less.
const LEAST_MEMORY: u64 = 6 << 20;

impl Ceilings {
    /// Takes the three keys out of a table.
    pub fn read(reader: &mut TableReader<'_>) -> Ceilings {
        let memory = reader.size("memory").and_then(|size| {
            if size.value < LEAST_MEMORY {
                let message = "no container runs with less than 6 MiB of `memory`";
                reader.diagnostics.push(Diagnostic::error("out-of-range", size.span, message).hint("such as \"512MiB\""));
                return None;
            }
            Some(size.value)
        });
        let pids = reader.integer("pids", 1..=4_194_304).and_then(|pids| u32::try_from(pids.value).ok());
        Ceilings { memory, cpus: cpus(reader), pids }
    }

    pub fn is_empty(&self) -> bool {
        *self == Ceilings::default()
    }

    /// As keys of a pipeline file: `memory = "512MiB"`.
    pub fn written(&self) -> Vec<String> {
        let memory = self.memory.map(|bytes| format!("memory = \"{}\"", shown(bytes)));
        let cpus = self.cpus.map(|cpus| format!("cpus = {}", fraction(cpus)));
        let pids = self.pids.map(|pids| format!("pids = {pids}"));
        memory.into_iter().chain(cpus).chain(pids).collect()
    }
}

/// `512MiB of memory, 1.5 cpus, 100 processes`
impl fmt::Display for Ceilings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = self.memory.map(|bytes| format!("{} of memory", shown(bytes)));
        let cpus = self.cpus.map(|cpus| format!("{} cpus", fraction(cpus)));
        let pids = self.pids.map(|pids| format!("{pids} processes"));
        let parts: Vec<String> = memory.into_iter().chain(cpus).chain(pids).collect();
        f.write_str(&parts.join(", "))
    }
}

fn cpus(reader: &mut TableReader<'_>) -> Option<u32> {
    let node = reader.take("cpus")?;
    let number = match &node.value {
        Value::Integer(whole) => *whole as f64,
        Value::Float(number) => *number,
        _ => f64::NAN,
    };
    if !(0.01..=4096.0).contains(&number) {
        let message = "`cpus` is a number of processors, from 0.01 to 4096";
        reader.diagnostics.push(Diagnostic::error("out-of-range", node.span.clone(), message).hint("such as 2 or 0.5"));
        return None;
    }
    Some((number * 1000.0).round() as u32)
}

fn fraction(thousandths: u32) -> String {
    let text = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
    let short = text.trim_end_matches('0');
    if short.ends_with('.') { format!("{short}0") } else { short.to_owned() }
}

fn shown(bytes: u64) -> String {
    for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if bytes >= unit && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Ceilings, Vec<&'static str>> {
        let (tree, mut diagnostics) = (crate::raw::tree(text).unwrap(), Vec::new());
        let mut reader = TableReader::new(&tree, "[x]", &mut diagnostics).unwrap();
        let ceilings = Ceilings::read(&mut reader);
        reader.finish();
        if diagnostics.is_empty() { Ok(ceilings) } else { Err(diagnostics.iter().map(|one| one.code).collect()) }
    }

    #[test]
    fn they_are_written_as_they_are_read() {
        for text in ["memory = \"512MiB\"\ncpus = 1.5\npids = 100", "cpus = 2.0", "memory = \"1GiB\"", "cpus = 0.25", ""] {
            assert_eq!(read(text).unwrap().written().join("\n"), text);
        }
        assert_eq!(read("cpus = 2").unwrap().cpus, Some(2000));
        assert_eq!(read("memory = \"1GiB\"\npids = 5").unwrap().to_string(), "1GiB of memory, 5 processes");
    }

    #[test]
    fn what_no_engine_takes_is_a_mistake() {
        for text in ["memory = \"1MiB\"", "cpus = 0", "cpus = \"2\"", "cpus = nan", "pids = 0"] {
            assert_eq!(read(text), Err(vec!["out-of-range"]), "{text}");
        }
    }
}
