//! The lines of TAP: results with their directives, plans, and the scalars of the YAML below a result.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Directive {
    Skip,
    Todo,
}

/// Whether it is ok, its name, and its directive with the reason.
pub(super) type TestLine = (bool, String, Option<(Directive, String)>);

/// `ok 1 - name # SKIP reason`
pub(super) fn result(line: &str) -> Option<TestLine> {
    let (ok, rest) = match line.strip_prefix("not ok") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix("ok")?),
    };
    if !(rest.is_empty() || rest.starts_with(' ')) {
        return None;
    }
    let rest = rest.trim_start();
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    // the number may be missing; a word right after `ok` that is none is no result of a test runner
    let rest = match digits {
        0 if !rest.is_empty() && !rest.starts_with("- ") => return None,
        digits => rest[digits..].trim_start(),
    };
    let rest = rest.strip_prefix("- ").unwrap_or(if rest == "-" { "" } else { rest });
    let (name, directive) = split_directive(rest);
    Some((ok, unescaped(name), directive))
}

fn split_directive(text: &str) -> (&str, Option<(Directive, String)>) {
    for (at, _) in text.match_indices('#') {
        let escaped = text[..at].bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
        if escaped || !(at == 0 || text[..at].ends_with(' ')) {
            continue;
        }
        let after = text[at + 1..].trim_start();
        let word: String = after.chars().take_while(char::is_ascii_alphabetic).collect();
        let directive = match word.to_ascii_lowercase().as_str() {
            "skip" | "skipped" => Directive::Skip,
            "todo" => Directive::Todo,
            _ => continue,
        };
        let reason = unescaped(after[word.len()..].trim_start_matches([':', ' ']));
        return (text[..at].trim_end(), Some((directive, reason)));
    }
    (text.trim_end(), None)
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => plain.extend(rest.next()),
            c => plain.push(c),
        }
    }
    plain
}

/// `1..9`, `1..0 # SKIP no database`
pub(super) fn plan(line: &str) -> Option<u64> {
    let rest = line.strip_prefix("1..")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let rest = &rest[digits.len()..];
    (rest.is_empty() || rest.starts_with(' ')).then(|| digits.parse().ok())?
}

/// A scalar without its quotes: `'it''s'`, `"say \"no\"\n"`.
pub(super) fn scalar(value: &str) -> String {
    if let Some(inner) = value.strip_prefix('\'').and_then(|inner| inner.strip_suffix('\'')) {
        return inner.replace("''", "'");
    }
    let Some(inner) = value.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')) else { return value.to_owned() };
    let mut plain = String::with_capacity(inner.len());
    let mut rest = inner.chars();
    while let Some(c) = rest.next() {
        match (c, if c == '\\' { rest.next() } else { None }) {
            ('\\', Some('n')) => plain.push('\n'),
            ('\\', Some('t')) => plain.push('\t'),
            ('\\', Some(escaped)) => plain.push(escaped),
            (c, _) => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results() {
        let skip = |reason: &str| Some((Directive::Skip, reason.to_owned()));
        let todo = |reason: &str| Some((Directive::Todo, reason.to_owned()));
        let cases = [
            ("ok 1 - adds up", Some((true, "adds up", None))),
            ("not ok 2 - adds up", Some((false, "adds up", None))),
            ("ok", Some((true, "", None))),
            ("ok 3", Some((true, "", None))),
            ("ok 3 named without a dash", Some((true, "named without a dash", None))),
            ("ok 4 - a \\# b \\\\ c", Some((true, "a # b \\ c", None))),
            ("ok 5 - x # SKIP no db", Some((true, "x", skip("no db")))),
            ("ok 5 - x # skipped: no db", Some((true, "x", skip("no db")))),
            ("not ok 6 - x # TODO", Some((false, "x", todo("")))),
            ("ok 7 - issue #12 # 3", Some((true, "issue #12 # 3", None))),
            ("okay then", None),
            ("ok then", None),
            ("not okay", None),
        ];
        for (line, expected) in cases {
            assert_eq!(result(line), expected.map(|(ok, name, directive)| (ok, name.to_owned(), directive)), "{line}");
        }
    }

    #[test]
    fn scalars() {
        for (text, plain) in [("'it''s'", "it's"), ("\"say \\\"no\\\"\\n\"", "say \"no\"\n"), ("plain", "plain"), ("'", "'"), ("\"", "\"")]
        {
            assert_eq!(scalar(text), plain, "{text}");
        }
    }
}
