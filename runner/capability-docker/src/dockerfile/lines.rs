//! Instructions of a Dockerfile: directives, comments, continued lines, here documents.

use super::Trouble;

/// One instruction on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// Where it begins; counts from 1.
    pub line: usize,
    /// In upper case.
    pub name: String,
    pub rest: String,
    /// Here documents follow it.
    pub documents: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lines {
    pub instructions: Vec<Instruction>,
    /// Whatever could be taken for a `syntax` directive, and where.
    pub syntax: Vec<(usize, String)>,
}

/// The name in upper case, and the rest.
pub fn split(text: &str) -> (String, String) {
    let text = text.trim();
    let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (name.to_uppercase(), rest.trim().to_owned())
}

/// `# name = value`, whichever way comments are written.
fn directive(line: &str) -> Option<(String, String)> {
    let text = line.trim_start();
    let text = text.strip_prefix('#').or_else(|| text.strip_prefix("//"))?;
    let (name, value) = text.split_once('=')?;
    let name = name.trim().to_lowercase();
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric());
    plain.then(|| (name, value.trim().to_owned()))
}

impl Lines {
    /// # Errors
    /// What readers of Dockerfiles do not agree on.
    pub fn read(text: &str) -> Result<Lines, Trouble> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let physical: Vec<&str> = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
        for (index, line) in physical.iter().enumerate() {
            if let Some(odd) = line.chars().find(|c| (c.is_control() && *c != '\t') || (c.is_whitespace() && !matches!(c, ' ' | '\t'))) {
                let why = format!("the character {} is read in more ways than one", odd.escape_unicode());
                return Err(Trouble { line: index + 1, why });
            }
        }
        let mut lines = Lines::default();
        let escape = lines.directives(&physical)?;
        let mut index = 0;
        while index < physical.len() {
            index = lines.instruction(&physical, index, escape)?;
        }
        Ok(lines)
    }

    /// Directives stand before everything else; whatever looks like one elsewhere is a comment to some.
    fn directives(&mut self, physical: &[&str]) -> Result<char, Trouble> {
        if physical.first().is_some_and(|first| first.trim_start().starts_with('{') || first.starts_with("#!")) {
            return Err(Trouble { line: 1, why: "the file begins like something else than a Dockerfile".to_owned() });
        }
        let (mut escape, mut top) = ('\\', true);
        for (index, line) in physical.iter().enumerate() {
            let Some((name, value)) = directive(line) else {
                top = false;
                if line.trim_start().starts_with("//") {
                    return Err(Trouble { line: index + 1, why: "`//` begins a comment to some readers alone".to_owned() });
                }
                // a frontend is asked for before the first instruction
                if !line.trim().is_empty() && !line.trim_start().starts_with('#') {
                    break;
                }
                continue;
            };
            match name.as_str() {
                "syntax" => self.syntax.push((index + 1, value)),
                "escape" if top && matches!(value.as_str(), "\\" | "`") => escape = value.chars().next().unwrap_or('\\'),
                "escape" => {
                    let why = "an `escape` directive stands at the top, and is a backslash or a backtick".to_owned();
                    return Err(Trouble { line: index + 1, why });
                }
                _ => {}
            }
        }
        Ok(escape)
    }

    /// Reads what begins at a line, and answers with the line after it.
    fn instruction(&mut self, physical: &[&str], start: usize, escape: char) -> Result<usize, Trouble> {
        let (mut index, mut text, mut continued) = (start, String::new(), false);
        while let Some(line) = physical.get(index) {
            index += 1;
            let bare = line.trim();
            // empty lines and comments between continued lines are no part of them
            if bare.is_empty() || bare.starts_with('#') {
                if continued {
                    continue;
                }
                return Ok(index);
            }
            let end = line.trim_end_matches([' ', '\t']);
            let Some(before) = end.strip_suffix(escape) else {
                text.push_str(line);
                continued = false;
                break;
            };
            if before.ends_with(escape) {
                return Err(Trouble {
                    line: index,
                    why: format!("whether a line that ends in `{escape}{escape}` goes on is read in two ways"),
                });
            }
            text.push_str(before);
            continued = true;
        }
        let _ = continued;
        let (name, rest) = split(&text);
        let line = start + 1;
        if name.is_empty() {
            return Ok(index);
        }
        let ends = if matches!(name.as_str(), "RUN" | "COPY" | "ADD" | "ONBUILD") { documents(&rest, line)? } else { Vec::new() };
        let with_documents = !ends.is_empty();
        for (end, tabs) in ends {
            loop {
                let Some(body) = physical.get(index) else {
                    return Err(Trouble { line, why: format!("the here document `{end}` has no end") });
                };
                index += 1;
                let body = if tabs { body.trim_start_matches('\t') } else { body };
                if body == end {
                    break;
                }
            }
        }
        self.instructions.push(Instruction { line, name, rest, documents: with_documents });
        Ok(index)
    }
}

/// The ends of the here documents that an instruction begins, and whether tabs before them do not count.
fn documents(rest: &str, line: usize) -> Result<Vec<(String, bool)>, Trouble> {
    let mut ends = Vec::new();
    for word in rest.split_whitespace() {
        let Some(at) = word.find("<<") else { continue };
        let (before, after) = (&word[..at], &word[at + 2..]);
        // `<<<` is a shell's here string, `$((1<<2))` its arithmetic
        if after.starts_with('<') || before.contains("$((") {
            continue;
        }
        let (tabs, name) = after.strip_prefix('-').map_or((false, after), |name| (true, name));
        let unquoted = ['"', '\''].iter().find_map(|quote| name.strip_prefix(*quote)?.strip_suffix(*quote)).unwrap_or(name);
        let plain = !unquoted.is_empty() && unquoted.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !plain || !before.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Trouble { line, why: format!("whether `{word}` begins a here document is read in more ways than one") });
        }
        ends.push((unquoted.to_owned(), tabs));
    }
    Ok(ends)
}
