//! Paths as text: what a path says before anybody looks at the disk.

/// The root of a mount, and of the workspace in grants.
pub const ROOT: &str = ".";

/// A path that was asked for, with `.` and `..` worked out as if no symbolic link were on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lexical {
    /// Relative to the mount, normalised, [`ROOT`] for the mount itself.
    pub path: String,
    /// Directories that the path enters and leaves again through `..`: whether they exist is told by the answer, so they have to be
    /// visible too.
    pub left: Vec<String>,
}

/// Why a path can't stay below its base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    Absolute,
    DotDot,
}

/// Joins `path` to `base` (normalised, relative to the mount). It must not leave `base`.
pub fn lexical(base: &str, path: &str) -> Result<Lexical, Outside> {
    if path.starts_with('/') {
        return Err(Outside::Absolute);
    }
    let mut names: Vec<&str> = Vec::new();
    let mut left = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                left.push(join(base, &names));
                if names.pop().is_none() {
                    return Err(Outside::DotDot);
                }
            }
            name => names.push(name),
        }
    }
    Ok(Lexical { path: join(base, &names), left })
}

/// `base` and names below it as one path.
pub fn join<S: AsRef<str>>(base: &str, names: &[S]) -> String {
    let mut path = String::with_capacity(base.len() + names.iter().map(|n| n.as_ref().len() + 1).sum::<usize>());
    if base != ROOT {
        path.push_str(base);
    }
    for name in names {
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(name.as_ref());
    }
    if path.is_empty() {
        path.push_str(ROOT);
    }
    path
}

/// Whether `path` is `ancestor` or lies below it.
pub fn within(path: &str, ancestor: &str) -> bool {
    if ancestor == ROOT {
        return true;
    }
    path.strip_prefix(ancestor).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// [`within`], with letters of either case taken for the same, so that a file system that does the same opens no side door to a protected
/// path.
pub fn within_any_case(path: &str, ancestor: &str) -> bool {
    if ancestor == ROOT {
        return true;
    }
    let mut path = path.chars().flat_map(char::to_lowercase);
    for wanted in ancestor.chars().flat_map(char::to_lowercase) {
        if path.next() != Some(wanted) {
            return false;
        }
    }
    matches!(path.next(), None | Some('/'))
}

/// The directory part and the last name of a path, and whether a slash follows it. The name is `None` where the path ends in nothing that
/// could be made or removed: `.`, `..` or nothing at all.
pub fn split(path: &str) -> (&str, Option<&str>, bool) {
    let trimmed = path.trim_end_matches('/');
    let slash = trimmed.len() < path.len();
    let (directory, name) = match trimmed.rfind('/') {
        Some(at) => (&trimmed[..at], &trimmed[at + 1..]),
        None => (ROOT, trimmed),
    };
    match name {
        "" | "." | ".." => (path, None, slash),
        name => (directory, Some(name), slash),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_worked_out_below_the_base() {
        let path = |base, path| lexical(base, path).map(|l| l.path);
        assert_eq!(path(".", "a//b/./c/").unwrap(), "a/b/c");
        assert_eq!(path(".", "").unwrap(), ".");
        assert_eq!(path(".", "a/..").unwrap(), ".");
        assert_eq!(path("x/y", "a/../b").unwrap(), "x/y/b");
        assert_eq!(path("x/y", ".").unwrap(), "x/y");
        assert_eq!(path("x/y", ".."), Err(Outside::DotDot));
        assert_eq!(path(".", "a/../../a"), Err(Outside::DotDot));
        assert_eq!(path(".", "/etc/passwd"), Err(Outside::Absolute));
        assert_eq!(lexical(".", "a/b/../../c").unwrap().left, ["a/b", "a"]);
    }

    #[test]
    fn within_ends_at_a_slash() {
        for (path, ancestor, yes) in
            [("a/b", "a", true), ("a", "a", true), ("ab", "a", false), ("a", "a/b", false), ("a", ".", true), ("A/b", "a", false)]
        {
            assert_eq!(within(path, ancestor), yes, "{path} in {ancestor}");
        }
        assert!(within_any_case(".GIT/Hooks", ".git"));
        assert!(within_any_case("Plugins/\u{212A}.wasm", "plugins/k.wasm"), "the Kelvin sign folds to k");
        assert!(!within_any_case(".github", ".git"));
    }

    #[test]
    fn the_last_name_is_split_off() {
        assert_eq!(split("a/b"), ("a", Some("b"), false));
        assert_eq!(split("a/b//"), ("a", Some("b"), true));
        assert_eq!(split("b"), (".", Some("b"), false));
        assert_eq!(split("a/.."), ("a/..", None, false));
        assert_eq!(split(""), ("", None, false));
    }
}
