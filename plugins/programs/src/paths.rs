//! The workspace path behind a path that a tool printed.
//!
//! Tools print paths relative to where they ran, absolute paths of the place where they ran (which for a stage is `/workspace`,
//! and for a program on the host a folder that the stage does not know), and `file:` URLs. Reports want one form: relative to
//! the workspace, with `/`.

use std::collections::HashMap;

/// Where a stage sees its workspace, and where confined programs see it.
pub const WORKSPACE: &str = "/workspace";

/// Folders that hold other people's code: a path below one is never taken for a file of the workspace by its last segments.
const FOREIGN: [&str; 6] = ["node_modules", "site-packages", "registry", ".cargo", ".rustup", "dist-packages"];

/// Finds workspace paths for one program.
pub struct Paths<'a> {
    /// Whether a path relative to the workspace is there.
    exists: Box<dyn Fn(&str) -> bool + 'a>,
    /// Where the program ran, relative to the workspace; empty for the workspace itself.
    directory: String,
    /// The folder that stands for the workspace in absolute paths, once one path has shown it.
    root: Option<String>,
    known: HashMap<String, String>,
}

impl<'a> Paths<'a> {
    pub fn new(directory: Option<&str>, exists: impl Fn(&str) -> bool + 'a) -> Self {
        let directory = directory.unwrap_or_default();
        let directory = directory.strip_prefix(WORKSPACE).unwrap_or(directory);
        let directory = normalise(directory.trim_start_matches('/'));
        Self { exists: Box::new(exists), directory, root: None, known: HashMap::new() }
    }

    /// `printed` relative to the workspace, or as it is where it is no file of the workspace.
    pub fn relative(&mut self, printed: &str) -> String {
        if let Some(known) = self.known.get(printed) {
            return known.clone();
        }
        let found = self.inside(printed).unwrap_or_else(|| plain(printed));
        self.known.insert(printed.to_owned(), found.clone());
        found
    }

    /// `printed` relative to the workspace if a file of the workspace can be meant by it and is there.
    pub fn existing(&mut self, printed: &str) -> Option<String> {
        self.inside(printed).filter(|path| (self.exists)(path))
    }

    fn inside(&mut self, printed: &str) -> Option<String> {
        let path = plain(printed);
        if path.is_empty() || path.contains("://") || path.starts_with("node:") || path.starts_with('<') {
            return None;
        }
        if let Some(below) = path.strip_prefix(WORKSPACE).and_then(|rest| rest.strip_prefix('/')) {
            return Some(normalise(below));
        }
        if path.starts_with('/') || has_drive(&path) {
            return self.absolute(&path);
        }
        if !self.directory.is_empty() {
            let joined = normalise(&format!("{}/{path}", self.directory));
            // some tools print paths from the root of the project, wherever they run
            if (self.exists)(&joined) || !(self.exists)(&normalise(&path)) {
                return Some(joined);
            }
        }
        Some(normalise(&path))
    }

    fn absolute(&mut self, path: &str) -> Option<String> {
        if let Some(root) = &self.root
            && let Some(below) = path.strip_prefix(root.as_str())
        {
            return Some(normalise(below));
        }
        if ["/rustc/", "/usr/", "/nix/", "/opt/", "/proc/"].iter().any(|prefix| path.starts_with(prefix))
            || path.split('/').any(|segment| FOREIGN.contains(&segment))
        {
            return None;
        }
        // the longest end of it that names a file of the workspace, or of the folder where the program ran: go puts the name of a
        // module where others have a folder
        let ends = || path.match_indices('/').map(|(at, _)| &path[at + 1..]).filter(|end| !end.is_empty());
        let Some(below) = ends().find(|end| (self.exists)(&normalise(end))) else {
            let inside = ends().map(|end| normalise(&format!("{}/{end}", self.directory)));
            return inside.filter(|_| !self.directory.is_empty()).find(|path| (self.exists)(path));
        };
        self.root = Some(path[..path.len() - below.len()].to_owned());
        Some(normalise(below))
    }
}

fn has_drive(path: &str) -> bool {
    let bytes = path.as_bytes();
    bytes.len() > 2 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':' && bytes[2] == b'/'
}

/// `printed` without `file://` and its percent escapes, with `/`.
fn plain(printed: &str) -> String {
    match printed.strip_prefix("file://") {
        // file://host/path: the host says nothing here
        Some(rest) => decode(&rest[rest.find('/').unwrap_or(rest.len())..]),
        None => printed.replace('\\', "/"),
    }
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |offset: usize| bytes.get(at + offset).and_then(|byte| (*byte as char).to_digit(16));
        match (bytes[at], hex(1), hex(2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Without `.`, empty segments and `..` where they can be undone.
pub fn normalise(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." if segments.last().is_some_and(|last| *last != "..") => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    segments.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [&str; 4] = ["src/lib.rs", "backend/src/lib.rs", "backend/api/größe 1.js", "Cargo.toml"];

    fn exists(path: &str) -> bool {
        FILES.contains(&path)
    }

    #[test]
    fn at_the_workspace() {
        let mut paths = Paths::new(None, exists);
        let cases = [
            ("src/lib.rs", "src/lib.rs"),
            ("./src/lib.rs", "src/lib.rs"),
            ("src\\lib.rs", "src/lib.rs"),
            ("backend/../src/lib.rs", "src/lib.rs"),
            ("/workspace/src/new.rs", "src/new.rs"),
            ("/home/dev/shop/backend/src/lib.rs", "backend/src/lib.rs"),
            // the folder is known by now
            ("/home/dev/shop/docs/gone.md", "docs/gone.md"),
            ("file:///home/dev/shop/backend/api/gr%C3%B6%C3%9Fe%201.js", "backend/api/größe 1.js"),
            ("/usr/include/src/lib.rs", "/usr/include/src/lib.rs"),
            ("/rustc/abc/library/core/src/lib.rs", "/rustc/abc/library/core/src/lib.rs"),
            ("/home/dev/.cargo/registry/src/x/src/lib.rs", "/home/dev/.cargo/registry/src/x/src/lib.rs"),
            ("node:internal/test", "node:internal/test"),
        ];
        for (printed, expected) in cases {
            assert_eq!(paths.relative(printed), expected, "{printed}");
        }
    }

    #[test]
    fn in_a_folder() {
        let mut paths = Paths::new(Some("backend"), exists);
        assert_eq!(paths.relative("src/lib.rs"), "backend/src/lib.rs");
        assert_eq!(paths.relative("backend/src/lib.rs"), "backend/src/lib.rs");
        assert_eq!(paths.relative("../Cargo.toml"), "Cargo.toml");
        assert_eq!(paths.relative("src/new.rs"), "backend/src/new.rs");
        assert_eq!(paths.existing("/shop/api/größe 1.js").as_deref(), Some("backend/api/größe 1.js"));
        assert_eq!(paths.existing("/shop/api/gone.js"), None);
        assert_eq!(Paths::new(Some("/workspace/backend"), exists).relative("src/new.rs"), "backend/src/new.rs");
    }

    #[test]
    fn existing_files_only() {
        let mut paths = Paths::new(None, exists);
        assert_eq!(paths.existing("src/lib.rs").as_deref(), Some("src/lib.rs"));
        assert_eq!(paths.existing("src/new.rs"), None);
        assert_eq!(paths.existing(""), None);
    }

    proptest::proptest! {
        #[test]
        fn any_path_has_an_answer(printed in ".{0,60}", directory in ".{0,20}") {
            let mut paths = Paths::new(Some(&directory), exists);
            let _ = paths.relative(&printed);
            let _ = paths.relative(&format!("file://{printed}%C3%"));
        }
    }
}
