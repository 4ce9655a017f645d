//! References in strings: `${…}`.
//!
//! ```text
//! string    = { text | "$${" | "${" value "}" }
//! value     = reference | "default(" reference "," literal ")"
//! reference = "input." name | "matrix." name | "stage." name ".outputs." name
//!           | "environment.name" | "environment." variable | "secret." name
//!           | "git.branch" | "git.sha" | "git.short" | "git.tag" | "git.base"
//!           | "run.id" | "pipeline.name" | "event" | "trust"
//! literal   = "'" … "'" | '"' … '"'          \' \" \\ stand for the character
//! ```
//!
//! `$${` is the text `${`; a `$` before anything else is itself. White space may stand around every part of a value.
//!
//! Here strings are only taken apart. What a reference stands for is [`crate::values`]' business, and where it may stand
//! [`crate::expand`]'s.

use crate::diagnostic::{Diagnostic, Span, did_you_mean};
use crate::literal::Literal;
use crate::model::shown;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Part {
    Text(String),
    Reference(Reference),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reference {
    pub source: Source,
    /// What stands in where there is no value.
    pub default: Option<String>,
    /// From `${` to `}`, in the file.
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Input(String),
    Matrix(String),
    Output {
        stage: String,
        output: String,
    },
    GitBranch,
    GitSha,
    GitShort,
    GitTag,
    GitBase,
    /// `name`, or a variable.
    Environment(String),
    Secret(String),
    Event,
    Trust,
    RunId,
    PipelineName,
}

impl Source {
    /// As written between the braces.
    pub fn path(&self) -> String {
        match self {
            Source::Input(name) => format!("input.{name}"),
            Source::Matrix(name) => format!("matrix.{name}"),
            Source::Output { stage, output } => format!("stage.{stage}.outputs.{output}"),
            Source::GitBranch => "git.branch".into(),
            Source::GitSha => "git.sha".into(),
            Source::GitShort => "git.short".into(),
            Source::GitTag => "git.tag".into(),
            Source::GitBase => "git.base".into(),
            Source::Environment(name) => format!("environment.{name}"),
            Source::Secret(name) => format!("secret.{name}"),
            Source::Event => "event".into(),
            Source::Trust => "trust".into(),
            Source::RunId => "run.id".into(),
            Source::PipelineName => "pipeline.name".into(),
        }
    }
}

pub(crate) const ROOTS: [&str; 10] = ["input", "matrix", "stage", "environment", "secret", "git", "run", "pipeline", "event", "trust"];

/// What git may know of a run.
pub(crate) const GIT: [&str; 5] = ["branch", "sha", "short", "tag", "base"];

/// Whether there is anything to replace; most strings are only text.
pub(crate) fn is_plain(value: &str) -> bool {
    !value.contains("${")
}

/// Takes the string `value`, which stands at `span` of the file, apart. Every mistake is pushed; `None` if there was one.
pub(crate) fn parse(value: &str, span: &Span, text: &str, diagnostics: &mut Vec<Diagnostic>) -> Option<Vec<Part>> {
    let literal = Literal::new(text, span, value);
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut at = 0;
    let mut good = true;
    while let Some(found) = value[at..].find('$') {
        let dollar = at + found;
        plain.push_str(&value[at..dollar]);
        let rest = &value[dollar..];
        if rest.starts_with("$${") {
            plain.push_str("${");
            at = dollar + 3;
        } else if rest.starts_with("${") {
            let mut cursor = Cursor { value, at: dollar + 2 };
            let read = cursor.value_and_brace();
            let (end, result) = match read {
                Ok(read) => (cursor.at, Ok(read)),
                Err(mistake) => (recover(value, dollar), Err(mistake)),
            };
            let place = literal.place(dollar..end);
            match result {
                Ok((source, default)) => {
                    if !plain.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut plain)));
                    }
                    parts.push(Part::Reference(Reference { source, default, span: place }));
                }
                Err(Mistake { code, message, hint }) => {
                    diagnostics.push(Diagnostic::error(code, place, message).hint(hint));
                    good = false;
                }
            }
            at = end;
        } else {
            plain.push('$');
            at = dollar + 1;
        }
    }
    plain.push_str(&value[at..]);
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    good.then_some(parts)
}

/// Where to go on after a mistake: behind the next `}`, or at the end.
fn recover(value: &str, from: usize) -> usize {
    value[from..].find('}').map_or(value.len(), |brace| from + brace + 1)
}

struct Mistake {
    code: &'static str,
    message: String,
    hint: String,
}

fn mistake<T>(message: impl Into<String>, hint: impl Into<String>) -> Result<T, Mistake> {
    Err(Mistake { code: "bad-reference", message: message.into(), hint: hint.into() })
}

struct Cursor<'a> {
    value: &'a str,
    at: usize,
}

impl Cursor<'_> {
    fn rest(&self) -> &str {
        &self.value[self.at..]
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn eat(&mut self, token: char) -> bool {
        self.space();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len_utf8();
        }
        found
    }

    /// Letters, digits, `-`, `_` and, between them, `.`.
    fn path(&mut self) -> String {
        self.space();
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))).unwrap_or(rest.len());
        let path = rest[..end].to_owned();
        self.at += end;
        path
    }

    fn value_and_brace(&mut self) -> Result<(Source, Option<String>), Mistake> {
        let path = self.path();
        let read = if path == "default" && self.eat('(') { self.default()? } else { (source(&path)?, None) };
        if !self.eat('}') {
            return match self.rest().chars().next() {
                None => mistake("`${` has no `}`", "close it, or write `$${` for the text `${`"),
                Some(c) => mistake(
                    format!("`{}` can't stand in a reference", shown(&c.to_string())),
                    "a reference is a name such as `${input.version}`; nothing is computed here",
                ),
            };
        }
        Ok(read)
    }

    fn default(&mut self) -> Result<(Source, Option<String>), Mistake> {
        const SHAPE: &str = "write `${default(stage.build.outputs.version, 'none')}`";
        let path = self.path();
        let source = source(&path)?;
        if !self.eat(',') {
            return mistake("`default` takes a reference and a text, with a comma between them", SHAPE);
        }
        self.space();
        let Some(quote) = self.rest().chars().next().filter(|c| matches!(c, '\'' | '"')) else {
            return mistake("the second part of `default` is a text in quotes", SHAPE);
        };
        self.at += 1;
        let mut literal = String::new();
        loop {
            let Some(c) = self.rest().chars().next() else {
                return mistake("a text in `default` has no closing quote", SHAPE);
            };
            self.at += c.len_utf8();
            match c {
                c if c == quote => break,
                '\\' => match self.rest().chars().next() {
                    Some(escaped @ ('\\' | '\'' | '"')) => {
                        literal.push(escaped);
                        self.at += 1;
                    }
                    _ => literal.push('\\'),
                },
                c => literal.push(c),
            }
        }
        if !self.eat(')') {
            return mistake("`default(` has no `)`", SHAPE);
        }
        Ok((source, Some(literal)))
    }
}

fn source(path: &str) -> Result<Source, Mistake> {
    let parts: Vec<&str> = path.split('.').collect();
    match *parts.as_slice() {
        ["input", name] if !name.is_empty() => Ok(Source::Input(name.into())),
        ["matrix", name] if !name.is_empty() => Ok(Source::Matrix(name.into())),
        ["stage", stage, "outputs", output] if !stage.is_empty() && !output.is_empty() => {
            Ok(Source::Output { stage: stage.into(), output: output.into() })
        }
        ["git", "branch"] => Ok(Source::GitBranch),
        ["git", "sha"] => Ok(Source::GitSha),
        ["git", "short"] => Ok(Source::GitShort),
        ["git", "tag"] => Ok(Source::GitTag),
        ["git", "base"] => Ok(Source::GitBase),
        ["environment", name] if !name.is_empty() => Ok(Source::Environment(name.into())),
        ["secret", name] if !name.is_empty() => Ok(Source::Secret(name.into())),
        ["event"] => Ok(Source::Event),
        ["trust"] => Ok(Source::Trust),
        ["run", "id"] => Ok(Source::RunId),
        ["pipeline", "name"] => Ok(Source::PipelineName),
        [""] => mistake("the reference is empty", "write `$${` for the text `${`"),
        ["input" | "matrix" | "environment" | "secret", ..] => {
            mistake(format!("`{path}` is not the name of a value"), format!("write `${{{}.name}}`", parts[0]))
        }
        ["stage", ..] => mistake(format!("`{path}` is not the name of an output"), "write `${stage.<name>.outputs.<output>}`"),
        ["git", ref field @ ..] => mistake(format!("`{path}` is not known"), near(field, &GIT, "git")),
        ["run", ref field @ ..] => mistake(format!("`{path}` is not known"), near(field, &["id"], "run")),
        ["pipeline", ref field @ ..] => mistake(format!("`{path}` is not known"), near(field, &["name"], "pipeline")),
        ["env", ..] => {
            mistake("the environment of the runner is not there for stages", "declare an input, and pass `--input name=\"$NAME\"`")
        }
        [word] => mistake(
            format!("`{path}` is not the name of a value"),
            format!("write `$${{{word}}}` for the text `${{{word}}}`, as for a shell's variable"),
        ),
        [root, ..] => {
            let hint = match did_you_mean(root, ROOTS) {
                Some(root) => format!("did you mean `{root}`?"),
                None => format!("references begin with one of {}", ROOTS.join(", ")),
            };
            mistake(format!("`{path}` is not known"), hint)
        }
        [] => mistake("the reference is empty", "write `$${` for the text `${`"),
    }
}

fn near(field: &[&str], known: &[&'static str], root: &str) -> String {
    match field.first().and_then(|word| did_you_mean(word, known.iter().copied())) {
        Some(word) => format!("did you mean `{root}.{word}`?"),
        None => format!("there is {}", known.iter().map(|word| format!("`{root}.{word}`")).collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(value: &str) -> Result<Vec<String>, Vec<String>> {
        let mut diagnostics = Vec::new();
        let quoted = format!("'{value}'");
        let parts = parse(value, &(0..quoted.len()), &quoted, &mut diagnostics);
        assert_eq!(parts.is_none(), !diagnostics.is_empty());
        match parts {
            None => Err(diagnostics.into_iter().map(|d| format!("{}: {}", &quoted[d.span.unwrap()], d.message)).collect()),
            Some(parts) => Ok(parts
                .into_iter()
                .map(|part| match part {
                    Part::Text(text) => text,
                    Part::Reference(r) => format!("<{}|{}|{}>", r.source.path(), r.default.as_deref().unwrap_or("-"), &quoted[r.span]),
                })
                .collect()),
        }
    }

    #[test]
    fn what_is_a_reference_and_what_is_text() {
        let good: &[(&str, &[&str])] = &[
            ("", &[]),
            ("plain $5 $$ $HOME", &["plain $5 $$ $HOME"]),
            ("$${input.x}", &["${input.x}"]),
            ("$$${input.x}", &["$${input.x}"]),
            ("${input.x}", &["<input.x|-|${input.x}>"]),
            ("a-${ matrix.app }-b", &["a-", "<matrix.app|-|${ matrix.app }>", "-b"]),
            ("${git.sha}${git.short}", &["<git.sha|-|${git.sha}>", "<git.short|-|${git.short}>"]),
            ("${stage.build-x.outputs.a_b}", &["<stage.build-x.outputs.a_b|-|${stage.build-x.outputs.a_b}>"]),
            ("${default(git.branch, \"no}ne\")}!", &["<git.branch|no}ne|${default(git.branch, \"no}ne\")}>", "!"]),
            ("${default( git.branch , \"a\\\"\\\\b\" )}", &["<git.branch|a\"\\b|${default( git.branch , \"a\\\"\\\\b\" )}>"]),
            ("ä${run.id}", &["ä", "<run.id|-|${run.id}>"]),
            ("${pipeline.name}", &["<pipeline.name|-|${pipeline.name}>"]),
            ("${event}-${trust}", &["<event|-|${event}>", "-", "<trust|-|${trust}>"]),
            ("${environment.context}", &["<environment.context|-|${environment.context}>"]),
            ("${secret.token}", &["<secret.token|-|${secret.token}>"]),
        ];
        for (value, expected) in good {
            assert_eq!(parts(value).as_deref(), Ok(&expected.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()[..]), "{value}");
        }
    }

    #[test]
    fn every_mistake_is_reported_and_underlined() {
        let bad: &[(&str, &[&str])] = &[
            ("${", &["${: the reference is empty"]),
            ("${input.x", &["${input.x: `${` has no `}`"]),
            ("${}", &["${}: the reference is empty"]),
            ("${HOME} and ${USER}", &["${HOME}: `HOME` is not the name of a value", "${USER}: `USER` is not the name of a value"]),
            ("${input}", &["${input}: `input` is not the name of a value"]),
            ("${git.branhc}", &["${git.branhc}: `git.branhc` is not known"]),
            ("${stage.build.version}", &["${stage.build.version}: `stage.build.version` is not the name of an output"]),
            ("${input.a + 1}", &["${input.a + 1}: `+` can't stand in a reference"]),
            ("${secret.token.x}", &["${secret.token.x}: `secret.token.x` is not the name of a value"]),
            ("${default(git.sha)}", &["${default(git.sha)}: `default` takes a reference and a text, with a comma between them"]),
            ("${default(git.sha, 3)}", &["${default(git.sha, 3)}: the second part of `default` is a text in quotes"]),
            ("${default(git.sha, \"x)}", &["${default(git.sha, \"x)}: a text in `default` has no closing quote"]),
            ("${env.HOME}", &["${env.HOME}: the environment of the runner is not there for stages"]),
            ("${imput.x}", &["${imput.x}: `imput.x` is not known"]),
        ];
        for (value, expected) in bad {
            assert_eq!(parts(value), Err(expected.iter().map(|s| (*s).to_owned()).collect()), "{value}");
        }
    }
}
