//! `retries` and `limits`: numbers with defaults.

use std::time::Duration;

use crate::diagnostic::Diagnostic;
use crate::model::positive_duration;
use crate::node::{Node, Spanned, TableReader, Value, wrong_type};
use crate::plan::{Backoff, Limits, Retries};

/// Further attempts of one stage; more are taken for a mistake.
const MAX_RETRIES: i64 = 100;

/// A number, or a table with `count`.
pub(super) fn retries(node: &Node, stage: &str, diagnostics: &mut Vec<Diagnostic>) -> Retries {
    let mut retries = Retries::default();
    match &node.value {
        Value::Integer(count) => match u32::try_from(*count) {
            Ok(count) if i64::from(count) <= MAX_RETRIES => retries.count = count,
            _ => {
                diagnostics.push(Diagnostic::error("out-of-range", node.span.clone(), format!("`retries` must be from 0 to {MAX_RETRIES}")))
            }
        },
        Value::Table(_) => {
            let Some(mut reader) = TableReader::new(node, format!("[stage.{stage}.retries]"), diagnostics) else { return retries };
            reader.require("count");
            if let Some(count) = reader.integer("count", 0..=MAX_RETRIES) {
                retries.count = u32::try_from(count.value).unwrap_or_default();
            }
            let words = [("constant", Backoff::Constant), ("linear", Backoff::Linear), ("exponential", Backoff::Exponential)];
            if let Some(backoff) = reader.word("backoff", &words) {
                retries.backoff = backoff.value;
            }
            if let Some(delay) = reader.duration("delay") {
                retries.delay = delay.value;
                retries.max_delay = retries.max_delay.max(delay.value);
            }
            if let Some(limit) = reader.duration("max-delay") {
                if limit.value < retries.delay {
                    let message = "`max-delay` is shorter than `delay`";
                    reader.diagnostics.push(Diagnostic::error("contradiction", limit.span, message).hint("make it at least as long"));
                } else {
                    retries.max_delay = limit.value;
                }
            }
            if let Some(jitter) = reader.boolean("jitter") {
                retries.jitter = jitter.value;
            }
            reader.finish();
        }
        other => diagnostics.push(wrong_type(&node.span, "`retries`", "a number or a table", other)),
    }
    retries
}

pub(super) fn limits(node: &Node, stage: &str, diagnostics: &mut Vec<Diagnostic>) -> Limits {
    let mut limits = Limits::default();
    let Some(mut reader) = TableReader::new(node, format!("[stage.{stage}.limits]"), diagnostics) else { return limits };
    let mut size = |key: &'static str, smallest: u64, limit: &mut u64| {
        if let Some(Spanned { value, span }) = reader.size(key) {
            if value < smallest {
                reader.diagnostics.push(Diagnostic::error("out-of-range", span, format!("`{key}` must be at least {smallest} bytes")));
            } else {
                *limit = value;
            }
        }
    };
    // One page of WebAssembly memory; less than that and nothing can start.
    size("memory", 64 << 10, &mut limits.memory);
    size("log", 1 << 10, &mut limits.log);
    size("hostcall", 4 << 10, &mut limits.hostcall);
    size("component", 1 << 10, &mut limits.component);
    size("outputs", 0, &mut limits.outputs);
    size("disk", 0, &mut limits.disk);
    size("record", 0, &mut limits.record);
    let mut count = |key: &'static str, smallest: i64, limit: &mut u32| {
        if let Some(found) = reader.integer(key, smallest..=i64::from(u32::MAX)) {
            *limit = u32::try_from(found.value).unwrap_or(u32::MAX);
        }
    };
    count("handles", 16, &mut limits.handles);
    count("processes", 1, &mut limits.processes);
    if let Some(compile) = positive_duration(&mut reader, "compile") {
        limits.compile = compile;
    }
    reader.finish();
    limits
}

/// How long to keep an artifact, and the like: any positive duration.
pub(super) fn keep(reader: &mut TableReader<'_>) -> Option<Duration> {
    positive_duration(reader, "keep")
}
