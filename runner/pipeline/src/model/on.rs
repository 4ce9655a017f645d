//! `[on]`: which events there is anything to do for.

use globset::GlobBuilder;

use crate::diagnostic::Diagnostic;
use crate::facts::{EventKind, Facts};
use crate::model::shown;
use crate::node::{Node, Spanned, TableReader, Value, wrong_type};

/// Absent keys are events that there is nothing to do for.
#[derive(Debug, Clone, Default)]
pub struct On {
    pub push: Option<Push>,
    /// The branches that a pull request may want to be merged into; all of them if there are none.
    pub pull_request: Option<Vec<String>>,
    pub schedule: bool,
    pub manual: bool,
}

/// Names of branches and tags as globs: `*` does not cross `/`, `**` does. With neither, every push; with only one of them, only those.
#[derive(Debug, Clone, Default)]
pub struct Push {
    pub branches: Vec<String>,
    pub tags: Vec<String>,
}

impl On {
    pub(super) fn read(node: &Node, diagnostics: &mut Vec<Diagnostic>) -> Option<On> {
        let mut reader = TableReader::new(node, "[on]", diagnostics)?;
        let mut on = On::default();
        if let Some(node) = reader.take("push") {
            on.push = filtered(node, "push", reader.diagnostics).and_then(|node| {
                let Some(node) = node else { return Some(Push::default()) };
                let mut reader = TableReader::new(node, "[on] push", reader.diagnostics)?;
                let push = Push { branches: globs(&mut reader, "branches"), tags: globs(&mut reader, "tags") };
                reader.finish();
                Some(push)
            });
        }
        if let Some(node) = reader.take("pull-request") {
            on.pull_request = filtered(node, "pull-request", reader.diagnostics).and_then(|node| {
                let Some(node) = node else { return Some(Vec::new()) };
                let mut reader = TableReader::new(node, "[on] pull-request", reader.diagnostics)?;
                let into = globs(&mut reader, "into");
                reader.finish();
                Some(into)
            });
        }
        if let Some(node) = reader.take("schedule") {
            on.schedule = filtered(node, "schedule", reader.diagnostics).is_some_and(|node| {
                if let Some(mut reader) = node.and_then(|node| TableReader::new(node, "[on] schedule", reader.diagnostics)) {
                    if let Some(cron) = reader.string("cron") {
                        check_cron(&cron, reader.diagnostics);
                    }
                    if let Some(zone) = reader.string("timezone") {
                        check_zone(&zone, reader.diagnostics);
                    }
                    reader.finish();
                }
                true
            });
        }
        on.manual = reader.boolean("manual").is_some_and(|flag| flag.value);
        reader.finish();
        Some(on)
    }

    /// Whether there is anything to do for the event.
    pub fn fits(&self, facts: &Facts) -> bool {
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        match facts.event {
            EventKind::Push => self.push.as_ref().is_some_and(|push| match &facts.git_tag {
                _ if push.branches.is_empty() && push.tags.is_empty() => true,
                Some(tag) => matches(&push.tags, tag),
                None => matches(&push.branches, &name(&facts.git_branch)),
            }),
            EventKind::PullRequest => {
                self.pull_request.as_ref().is_some_and(|into| into.is_empty() || matches(into, &name(&facts.git_base)))
            }
            EventKind::Schedule => self.schedule,
            EventKind::Manual => self.manual,
        }
    }
}

/// Whether a name of a branch or tag fits one of the globs.
pub(crate) fn matches(globs: &[String], name: &str) -> bool {
    let fits =
        |glob: &String| GlobBuilder::new(glob).literal_separator(true).build().is_ok_and(|glob| glob.compile_matcher().is_match(name));
    globs.iter().any(fits)
}

/// `true` or a table, which is answered; `false` is the same as nothing.
fn filtered<'a>(node: &'a Node, key: &str, diagnostics: &mut Vec<Diagnostic>) -> Option<Option<&'a Node>> {
    match &node.value {
        Value::Boolean(true) => Some(None),
        Value::Boolean(false) => None,
        Value::Table(_) => Some(Some(node)),
        other => {
            diagnostics.push(wrong_type(&node.span, &format!("`{key}`"), "a boolean or a table", other));
            None
        }
    }
}

/// Names of branches or tags.
pub(super) fn globs(reader: &mut TableReader<'_>, key: &'static str) -> Vec<String> {
    let mut globs = Vec::new();
    for glob in reader.strings(key).unwrap_or_default() {
        let problem = if glob.value.is_empty() || glob.value.contains("${") {
            Some("names stand here as they are, with `*` for any part of one".to_owned())
        } else {
            GlobBuilder::new(&glob.value).literal_separator(true).build().err().map(|error| error.kind().to_string())
        };
        match problem {
            Some(problem) => {
                let message = format!("`{}` is no name of a branch or tag", shown(&glob.value));
                reader.diagnostics.push(Diagnostic::error("bad-value", glob.span, message).hint(problem));
            }
            None => globs.push(glob.value),
        }
    }
    globs
}

/// The five fields of crontab(5). Who calls `runner` at that time reads it; here it is only checked.
fn check_cron(cron: &Spanned<String>, diagnostics: &mut Vec<Diagnostic>) {
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
    let fields: [(&str, u32, u32, &[&str]); 5] =
        [("minute", 0, 59, &[]), ("hour", 0, 23, &[]), ("day", 1, 31, &[]), ("month", 1, 12, &MONTHS), ("weekday", 0, 7, &DAYS)];
    let words: Vec<&str> = cron.value.split_whitespace().collect();
    let wrong =
        if words.len() == fields.len() {
            fields.iter().zip(&words).find(|((_, low, high, names), word)| !cron_field(word, *low, *high, names)).map(
                |((field, low, high, _), word)| format!("`{}` is no {field}: {low} to {high}, `*`, lists, ranges and steps", shown(word)),
            )
        } else {
            Some("minute, hour, day of month, month, day of week, with a space between each".to_owned())
        };
    if let Some(wrong) = wrong {
        let message = "this is no schedule in crontab's form";
        diagnostics.push(Diagnostic::error("bad-cron", cron.span.clone(), message).hint(format!("{wrong}; for example \"*/15 * * * *\"")));
    }
}

fn cron_field(word: &str, low: u32, high: u32, names: &[&str]) -> bool {
    let number = |text: &str| {
        let named = names.iter().position(|name| text.eq_ignore_ascii_case(name)).and_then(|at| u32::try_from(at).ok());
        named.map(|at| at + low).or_else(|| text.parse().ok()).filter(|number| (low..=high).contains(number))
    };
    word.split(',').all(|part| {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let good = range == "*"
            || match range.split_once('-') {
                Some((from, to)) => number(from).zip(number(to)).is_some_and(|(from, to)| from <= to),
                None => number(range).is_some(),
            };
        good && step.is_none_or(|step| step.parse::<u32>().is_ok_and(|step| (1..=high.max(1)).contains(&step)))
    })
}

/// A name of the time zone database, by its shape.
fn check_zone(zone: &Spanned<String>, diagnostics: &mut Vec<Diagnostic>) {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.chars().all(|c| c.is_ascii_alphanumeric() || "+-_".contains(c))
    };
    if !zone.value.split('/').all(part) || zone.value.split('/').count() > 3 {
        let message = format!("`{}` is no time zone", shown(&zone.value));
        diagnostics
            .push(Diagnostic::error("bad-value", zone.span.clone(), message).hint("write \"UTC\", or a name such as \"Europe/Berlin\""));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crontab_fields() {
        let good = |cron: &str| {
            let mut diagnostics = Vec::new();
            check_cron(&Spanned { value: cron.into(), span: 0..0 }, &mut diagnostics);
            diagnostics.is_empty()
        };
        for cron in ["*/15 * * * *", "0 4 1,15 * mon-fri", "5-10/2 0 * JAN 7", "0 0 * * 0"] {
            assert!(good(cron), "{cron}");
        }
        for cron in ["* * * *", "60 * * * *", "*/0 * * * *", "5-1 * * * *", "* * 0 * *", "x * * * *", "* * * * * *", "1,, * * * *"] {
            assert!(!good(cron), "{cron}");
        }
    }
}
