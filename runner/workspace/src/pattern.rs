//! The globs of `artifacts`: `*`, `?`, `[a-z]` and `{a,b}` within one name, `**` for any number of names. What matches a directory takes all
//! that is in it.
//!
//! A glob is matched name by name, so that a walk can tell early that nothing below a directory can match.

use globset::{GlobBuilder, GlobMatcher};

#[derive(Debug)]
pub struct Pattern {
    pub text: String,
    segments: Vec<Segment>,
}

#[derive(Debug)]
enum Segment {
    Name(String),
    Glob(GlobMatcher),
    /// `**`
    Any,
}

/// How far a path has come through a pattern: one bit for each place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places(u64);

impl Pattern {
    /// # Errors
    /// Says what is wrong with it.
    pub fn new(text: &str) -> Result<Pattern, String> {
        if text.starts_with('/') || text.starts_with('~') {
            return Err("it must be relative to the workspace".to_owned());
        }
        let mut segments = Vec::new();
        for name in text.split('/') {
            match name {
                "" | "." => {}
                ".." => return Err("it must not hold `..`".to_owned()),
                "**" => segments.push(Segment::Any),
                name if name.contains("**") => return Err("`**` stands alone between slashes".to_owned()),
                name if name.contains(['*', '?', '[', ']', '{', '}', '\\']) => {
                    let glob = GlobBuilder::new(name).literal_separator(true).backslash_escape(true).build();
                    segments.push(Segment::Glob(glob.map_err(|error| error.kind().to_string())?.compile_matcher()));
                }
                name => segments.push(Segment::Name(name.to_owned())),
            }
        }
        if segments.len() > 60 {
            return Err("it has more than 60 names".to_owned());
        }
        Ok(Pattern { text: text.to_owned(), segments })
    }

    /// Before the first name.
    pub fn start(&self) -> Places {
        self.closed(1)
    }

    /// After one more name. A path that has matched keeps matching, whatever follows.
    pub fn step(&self, places: Places, name: &str) -> Places {
        let end = 1 << self.segments.len();
        let mut next = places.0 & end;
        for (at, segment) in self.segments.iter().enumerate().filter(|(at, _)| places.0 & (1 << at) != 0) {
            let matches = match segment {
                Segment::Any => {
                    next |= 1 << at;
                    continue;
                }
                Segment::Name(wanted) => wanted == name,
                Segment::Glob(glob) => glob.is_match(name),
            };
            if matches {
                next |= 1 << (at + 1);
            }
        }
        self.closed(next)
    }

    /// Whether the path so far matches.
    pub fn matches(&self, places: Places) -> bool {
        places.0 & (1 << self.segments.len()) != 0
    }

    /// The names at its start that are no globs.
    pub fn literal(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().map_while(|segment| match segment {
            Segment::Name(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// `**` also stands for no name at all.
    fn closed(&self, mut places: u64) -> Places {
        for (at, segment) in self.segments.iter().enumerate() {
            if places & (1 << at) != 0 && matches!(segment, Segment::Any) {
                places |= 1 << (at + 1);
            }
        }
        Places(places)
    }
}

impl Places {
    /// Whether nothing below can match.
    pub fn is_dead(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(pattern: &Pattern, path: &str) -> Places {
        path.split('/').fold(pattern.start(), |places, name| pattern.step(places, name))
    }

    #[test]
    fn what_matches() {
        for (glob, path, yes) in [
            ("dist", "dist", true),
            ("dist", "dist/a/b", true),
            ("dist/", "dist/a", true),
            ("./dist", "dist", true),
            ("dist", "distant", false),
            ("dist/**", "dist/a/b", true),
            ("dist/**", "dist", true),
            ("dist/*", "dist", false),
            ("dist/*", "dist/a/b", true),
            ("*.log", "a.log", true),
            ("*.log", ".log", true),
            ("*.log", "a/b.log", false),
            ("**/*.log", "b.log", true),
            ("**/*.log", "a/c/b.log", true),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/c/z", true),
            ("a/**/z", "a/b/c/y", false),
            ("**", "anything/at/all", true),
            ("app-{x86,arm}[0-9]?", "app-arm6v", true),
            ("app-{x86,arm}[0-9]?", "app-arm6", false),
            (r"\[id\].tsx", "[id].tsx", true),
        ] {
            let pattern = Pattern::new(glob).unwrap();
            assert_eq!(pattern.matches(places(&pattern, path)), yes, "{glob} {path}");
        }
    }

    #[test]
    fn a_walk_knows_where_nothing_can_match() {
        for (glob, directory, dead) in [
            ("dist/**", "src", true),
            ("*.log", "node_modules", true),
            ("**/*.log", "node_modules", false),
            ("a/*/c", "a/b", false),
            ("a/*/c", "a/b/d", true),
        ] {
            let pattern = Pattern::new(glob).unwrap();
            assert_eq!(places(&pattern, directory).is_dead(), dead, "{glob} {directory}");
        }
    }

    #[test]
    fn what_is_no_glob() {
        for glob in ["/etc/passwd", "~/x", "../x", "a/../b", "a**", "[a", "{a"] {
            assert!(Pattern::new(glob).is_err(), "{glob}");
        }
        assert!(Pattern::new(&"a/".repeat(100)).is_err());
    }
}
