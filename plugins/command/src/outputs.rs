//! What becomes an output: a text, or a part of it.

use std::collections::BTreeMap;

use regex_lite::Regex;
use runner_sdk::Failure;
use runner_sdk::commands::Captured;

use crate::settings::{Output, Stream};

/// More than this is not read to look for an output in it.
const LARGEST_TEXT: u64 = 16 * 1024 * 1024;

/// What the last command printed, as far as it was captured.
#[derive(Debug, Default)]
pub struct Texts {
    /// Its standard output.
    pub stdout: Option<String>,
    /// Its standard error.
    pub stderr: Option<String>,
}

/// Whether an output is taken from this stream.
pub fn takes(outputs: &BTreeMap<String, Output>, stream: Stream) -> bool {
    outputs.values().any(|output| output.file.is_none() && output.from.unwrap_or_default() == stream)
}

/// Looks for mistakes in all outputs, so that they are found before hours of work.
///
/// # Errors
/// `Misconfigured`, with the output's name.
pub fn check(outputs: &BTreeMap<String, Output>) -> Result<(), Failure> {
    for (name, output) in outputs {
        if output.file.is_some() && output.from.is_some() {
            return Err(Failure::misconfigured(format_args!("output `{name}` has both `from` and `file`: keep one of them")));
        }
        pattern(name, output)?;
    }
    Ok(())
}

/// The text of a captured stream.
///
/// # Errors
/// `Failed` if it is too large, and what reading it may end in.
pub fn read(captured: &Captured) -> Result<String, Failure> {
    if captured.size > LARGEST_TEXT {
        let size = captured.size;
        return Err(Failure::failed(format_args!(
            "the last command printed {size} bytes, and outputs are looked for in {LARGEST_TEXT} at most: write the value to a file and use `file`"
        )));
    }
    Ok(captured.read_to_string()?)
}

/// An output's value. `file` is the content of the output's file, if it has one.
///
/// # Errors
/// `Failed` if the pattern matches nothing.
pub fn value(name: &str, output: &Output, texts: &Texts, file: Option<&str>) -> Result<String, Failure> {
    let (text, source) = match (&output.file, output.from.unwrap_or_default()) {
        (Some(path), _) => (file, path.as_str()),
        (None, Stream::Stdout) => (texts.stdout.as_deref(), "the last command's standard output"),
        (None, Stream::Stderr) => (texts.stderr.as_deref(), "the last command's standard error"),
    };
    let text = text.unwrap_or_default();
    let Some(pattern) = pattern(name, output)? else {
        return Ok(text.trim().to_owned());
    };
    let Some(found) = pattern.captures(text) else {
        return Err(Failure::failed(format_args!("output `{name}`: /{pattern}/ matches nothing in {source}")));
    };
    // A group that took no part in the match, as in `a|(b)`, is an empty value.
    let group = if pattern.captures_len() > 1 { found.get(1) } else { found.get(0) };
    Ok(group.map_or_else(String::new, |group| group.as_str().to_owned()))
}

fn pattern(name: &str, output: &Output) -> Result<Option<Regex>, Failure> {
    let Some(text) = &output.pattern else { return Ok(None) };
    let wrong =
        |why: &dyn std::fmt::Display| Failure::misconfigured(format_args!("output `{name}`: `pattern` is no regular expression: {why}"));
    Regex::new(text).map(Some).map_err(|error| wrong(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(json: &str) -> Output {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn an_output_is_a_trimmed_text_or_a_part_of_it() {
        let texts = Texts { stdout: Some("\n v1.2.3 \n".into()), stderr: Some("warning\npushed digest sha256:abc size 5".into()) };
        for (json, expected) in [
            ("{}", "v1.2.3"),
            (r#"{ "from": "stdout" }"#, "v1.2.3"),
            (r#"{ "from": "stderr", "pattern": "digest (\\S+)" }"#, "sha256:abc"),
            (r#"{ "pattern": "\\d+" }"#, "1"),
            (r#"{ "from": "stderr", "pattern": "(?m)^warning$|(x)" }"#, ""),
            (r#"{ "file": "VERSION" }"#, "from a file"),
            (r#"{ "file": "VERSION", "pattern": "a (.*)" }"#, "file"),
        ] {
            let output = output(json);
            check(&BTreeMap::from([("o".to_owned(), output.clone())])).unwrap();
            assert_eq!(value("o", &output, &texts, Some("from a file\n")).unwrap(), expected, "{json}");
        }
    }

    #[test]
    fn a_pattern_that_matches_nothing_fails_the_stage() {
        let failure = value("tag", &output(r#"{ "pattern": "tag (.*)" }"#), &Texts::default(), None).unwrap_err();
        assert_eq!(failure, Failure::failed("output `tag`: /tag (.*)/ matches nothing in the last command's standard output"));
    }

    #[test]
    fn mistakes_are_found_before_anything_runs() {
        for (json, text) in [
            (r#"{ "from": "stdout", "file": "x" }"#, "keep one of them"),
            (r#"{ "pattern": "(" }"#, "output `o`: `pattern` is no regular expression"),
        ] {
            let outputs = BTreeMap::from([("o".to_owned(), output(json))]);
            assert!(matches!(check(&outputs), Err(Failure::Misconfigured(why)) if why.contains(text)), "{json}");
        }
    }

    #[test]
    fn only_the_streams_that_are_asked_for_are_captured() {
        let outputs = |json| BTreeMap::from([("o".to_owned(), output(json))]);
        assert!(takes(&outputs("{}"), Stream::Stdout) && !takes(&outputs("{}"), Stream::Stderr));
        assert!(takes(&outputs(r#"{ "from": "stderr" }"#), Stream::Stderr));
        assert!(!takes(&outputs(r#"{ "file": "x" }"#), Stream::Stdout));
    }

    #[test]
    fn a_flood_is_not_read() {
        let captured = Captured { path: "/scratch/1".into(), size: LARGEST_TEXT + 1 };
        assert!(matches!(read(&captured), Err(Failure::Failed(why)) if why.contains("use `file`")));
    }
}
