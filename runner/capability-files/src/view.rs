//! What a stage may see of a mount, and what of that it may write: a pure question about a path.

use pipeline::grant::MountRule;

use crate::path::{ROOT, within, within_any_case};

/// How far a stage's authority reaches at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// The runner's own: it does not exist for stages.
    Hidden,
    NotGranted,
    /// A directory on the way to something that is granted: it can be seen and listed, and shows only what leads on.
    Leading,
    Read,
    Write,
}

/// The rules of a mount.
#[derive(Debug)]
pub struct View {
    rules: Vec<MountRule>,
    hidden: Vec<String>,
    protected: Vec<String>,
}

impl View {
    pub fn new(rules: Vec<MountRule>, hidden: Vec<String>, protected: Vec<String>) -> Self {
        View { rules, hidden, protected }
    }

    /// Everything, for writing: the scratch folder.
    pub fn everything() -> Self {
        View::new(vec![MountRule { path: ROOT.to_owned(), writable: true }], Vec::new(), Vec::new())
    }

    pub fn rules(&self) -> &[MountRule] {
        &self.rules
    }

    /// Whether anything may be written anywhere.
    pub fn writable(&self) -> bool {
        self.rules.iter().any(|rule| rule.writable)
    }

    pub fn reach(&self, path: &str) -> Reach {
        if self.hidden.iter().any(|hidden| within_any_case(path, hidden)) {
            return Reach::Hidden;
        }
        match self.rules.iter().filter(|rule| within(path, &rule.path)).max_by_key(|rule| depth(&rule.path)) {
            Some(rule) if rule.writable => Reach::Write,
            Some(_) => Reach::Read,
            None if self.rules.iter().any(|rule| within(&rule.path, path)) => Reach::Leading,
            None => Reach::NotGranted,
        }
    }

    /// Whether `path`, or something below it, may be written.
    pub fn leads_or_is_writable(&self, path: &str) -> bool {
        self.reach(path) == Reach::Write || self.leads_to_writable(path)
    }

    /// Whether something below `path` may be written.
    pub fn leads_to_writable(&self, path: &str) -> bool {
        self.rules.iter().any(|rule| rule.writable && within(&rule.path, path))
    }

    /// The protected path that `path` is or lies below.
    pub fn protected(&self, path: &str) -> Option<&str> {
        self.protected.iter().map(String::as_str).find(|protected| within_any_case(path, protected))
    }

    /// The protected or hidden path that `path` holds.
    pub fn holds_protected(&self, path: &str) -> Option<&str> {
        self.protected.iter().chain(&self.hidden).map(String::as_str).find(|inner| within_any_case(inner, path))
    }

    /// The path below `path` that is granted for reading only, though `path` may be written.
    pub fn holds_read_only(&self, path: &str) -> Option<&str> {
        self.rules
            .iter()
            .filter(|rule| !rule.writable && rule.path != path)
            .map(|rule| rule.path.as_str())
            .find(|inner| within(inner, path))
    }
}

fn depth(path: &str) -> usize {
    if path == ROOT { 0 } else { path.len() }
}
