//! `.dockerignore`, as Docker's own pattern matcher reads it.
//!
//! A pattern is relative to the context, whether it begins with `/` or not; one that fits a folder fits all below it; `!` takes back; the last one
//! that fits decides. `**` is any number of folders. That is not git's way, so no reader of `.gitignore` will do.

/// The patterns of one file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ignore {
    patterns: Vec<(bool, String)>,
}

impl Ignore {
    pub fn read(text: &str) -> Ignore {
        let lines = text.strip_prefix('\u{feff}').unwrap_or(text).lines().filter(|line| !line.starts_with('#'));
        let patterns = lines.filter_map(|line| {
            let line = line.trim();
            let (kept, pattern) = line.strip_prefix('!').map_or((false, line), |pattern| (true, pattern.trim()));
            let pattern = clean(pattern);
            (!pattern.is_empty()).then_some((kept, pattern))
        });
        Ignore { patterns: patterns.collect() }
    }

    /// Whether a path of the context is left out.
    pub fn leaves_out(&self, path: &str) -> bool {
        let mut out = false;
        for (kept, pattern) in &self.patterns {
            // what is as it is has nothing to look for
            if *kept == out && fits_or_above(pattern, path) {
                out = !kept;
            }
        }
        out
    }

    /// Whether something below a folder that is left out may be taken back.
    pub fn takes_back(&self) -> bool {
        self.patterns.iter().any(|(kept, _)| *kept)
    }
}

/// Without `.`, `..`, double slashes, and slashes at the ends.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn fits_or_above(pattern: &str, path: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    ends.into_iter().any(|end| fits(&pattern, &path[..end].chars().collect::<Vec<_>>(), &mut 20_000))
}

/// `left`: steps that may still be taken, so that no pattern takes for ever; a pattern that does fits nothing.
fn fits(pattern: &[char], text: &[char], left: &mut u32) -> bool {
    if *left == 0 {
        return false;
    }
    *left -= 1;
    let Some((first, rest)) = pattern.split_first() else { return text.is_empty() };
    match first {
        '*' if rest.first() == Some(&'*') => {
            let rest = &rest[1..];
            // `**/x` fits `x` as well
            let folders = rest.strip_prefix(&['/']).unwrap_or(rest);
            if rest.is_empty() {
                return true;
            }
            let begins = |at: usize| at == 0 || text[at - 1] == '/' || rest.first() != Some(&'/');
            (0..=text.len()).any(|at| begins(at) && fits(folders, &text[at..], left))
        }
        '*' => {
            let until = text.iter().position(|c| *c == '/').unwrap_or(text.len());
            (0..=until).any(|at| fits(rest, &text[at..], left))
        }
        '?' => matches!(text.split_first(), Some((c, more)) if *c != '/' && fits(rest, more, left)),
        '[' => match (class(rest), text.split_first()) {
            (Some((class, rest)), Some((c, more))) => *c != '/' && class.holds(*c) && fits(rest, more, left),
            _ => false,
        },
        '\\' => match (rest.split_first(), text.split_first()) {
            (Some((literal, rest)), Some((c, more))) => literal == c && fits(rest, more, left),
            _ => false,
        },
        literal => matches!(text.split_first(), Some((c, more)) if c == literal && fits(rest, more, left)),
    }
}

/// `[a-z]`, `[^a]`
struct Class {
    not: bool,
    ranges: Vec<(char, char)>,
}

impl Class {
    fn holds(&self, c: char) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != self.not
    }
}

fn class(pattern: &[char]) -> Option<(Class, &[char])> {
    let (not, mut rest) = match pattern.split_first() {
        Some(('^', rest)) => (true, rest),
        _ => (false, pattern),
    };
    let mut ranges = Vec::new();
    loop {
        let (low, more) = rest.split_first()?;
        rest = more;
        if *low == ']' && !ranges.is_empty() {
            return Some((Class { not, ranges }, rest));
        }
        match rest {
            ['-', high, more @ ..] if *high != ']' => {
                ranges.push((*low, *high));
                rest = more;
            }
            _ => ranges.push((*low, *low)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (text, path, out) in [
            ("node_modules", "node_modules/a/b", true),
            ("node_modules", "web/node_modules/a", false),
            ("**/node_modules", "web/node_modules/a", true),
            ("**/node_modules", "node_modules", true),
            ("**/node_modules", "my_node_modules", false),
            ("/target/", "target", true),
            ("./a/../b", "b", true),
            ("*.md", "README.md", true),
            ("*.md", "docs/x.md", false),
            ("**/*.md", "docs/x.md", true),
            ("*/x", "a/x", true),
            ("*/x", "a/b/x", false),
            ("a/**", "a/b/c", true),
            ("a/**/c", "a/c", true),
            ("a/**/c", "a/b/b/c", true),
            ("**", "anything/at/all", true),
            ("x?y", "xay", true),
            ("x?y", "x/y", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("\\*x", "*x", true),
            ("\\*x", "ax", false),
            ("*.md\n!README.md", "README.md", false),
            ("*.md\n!README.md\nREADME*", "README.md", true),
            ("docs\n!docs/keep", "docs/keep/x", false),
            ("docs\n!docs/keep", "docs/other", true),
            ("# *\n  \n", "a", false),
            ("!a", "a", false),
            (".git", ".git/config", true),
            ("", "a", false),
        ] {
            assert_eq!(Ignore::read(text).leaves_out(path), out, "{text:?} {path}");
        }
        let long = format!("{}b", "**/a".repeat(40));
        assert!(!Ignore::read(&long).leaves_out(&"a/".repeat(200)), "and soon");
    }
}
