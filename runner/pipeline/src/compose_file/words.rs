//! A command that is written as one text, in its words, as compose splits it: quotes and backslashes as in a shell, and nothing else of one.

/// # Errors
/// What is wrong, and how to mend it.
pub(super) fn split(text: &str) -> Result<Vec<String>, (&'static str, &'static str)> {
    const SHELL: &str = "write it as a list, `[\"sh\", \"-c\", \"…\"]`, or put it in quotes";
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = text.chars();
    while let Some(next) = rest.next() {
        match next {
            '\'' => loop {
                let word = word.get_or_insert_default();
                match rest.next() {
                    Some('\'') => break,
                    Some(c) => word.push(c),
                    None => return Err(("a quote is not closed", SHELL)),
                }
            },
            '"' => loop {
                let word = word.get_or_insert_default();
                match rest.next() {
                    Some('"') => break,
                    Some('\\') => match rest.next() {
                        Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                        Some(c) => word.extend(['\\', c]),
                        None => return Err(("a quote is not closed", SHELL)),
                    },
                    Some(c) => word.push(c),
                    None => return Err(("a quote is not closed", SHELL)),
                }
            },
            '\\' => word.get_or_insert_default().push(rest.next().ok_or(("a backslash at the end", SHELL))?),
            ';' | '&' | '|' | '<' | '>' => return Err(("no shell reads it", SHELL)),
            c if c.is_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split() {
        for (text, words) in [
            ("redis-server --save '' --port 6379", &["redis-server", "--save", "", "--port", "6379"][..]),
            ("sh -c \"echo \\\"a b\\\" \\n\"", &["sh", "-c", "echo \"a b\" \\n"]),
            ("  a\\ b\n c'd'e ", &["a b", "cde"]),
            ("a #b", &["a", "#b"]),
            ("", &[]),
        ] {
            assert_eq!(split(text).unwrap(), words, "{text}");
        }
        for text in ["a 'b", "a \"b", "a \\", "a && b", "a > b"] {
            assert!(split(text).is_err(), "{text}");
        }
    }
}
