//! Paths as other systems count them: from the root of the repository, while findings and the pipeline file count from the workspace.

use event::FileLine;

/// Where the workspace is inside its repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Empty, or with a `/` at its end.
    below: String,
}

impl Sources {
    /// `folder` is the workspace's, relative to the root of the repository; empty where they are the same.
    pub fn below(folder: &str) -> Self {
        let folder = folder.trim_matches('/');
        Sources { below: if folder.is_empty() || folder == "." { String::new() } else { format!("{folder}/") } }
    }

    /// None for a path that does not stay inside the repository: no other system could find it.
    pub fn path(&self, path: &str) -> Option<String> {
        if path.starts_with('/') || path.contains('\0') {
            return None;
        }
        let mut names: Vec<&str> = self.below.split('/').filter(|name| !name.is_empty()).collect();
        let above = names.len();
        let mut own = false;
        for name in path.split('/').filter(|name| !matches!(*name, "" | ".")) {
            own = true;
            match name {
                ".." => drop(names.pop()?),
                name => names.push(name),
            }
        }
        // the workspace itself, or what it stands in, is no file
        (own && !names.is_empty() && !(names.len() <= above && self.below.starts_with(&(names.join("/") + "/")))).then(|| names.join("/"))
    }

    /// The file and the line of a place in the pipeline; `file` is the pipeline file as it was named.
    pub fn line(&self, at: &FileLine, file: &str) -> Option<(String, u32)> {
        let file = at.file.as_ref().map_or_else(|| Some(self.pipeline(file)), |included| self.path(included))?;
        Some((file, at.line))
    }

    /// The pipeline file, which stands in the workspace's root, however it was named on the command line.
    pub fn pipeline(&self, file: &str) -> String {
        let name = file.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("pipeline.toml");
        self.below.clone() + name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_repository_and_never_leave_it() {
        for (below, path, wanted) in [
            ("", "src/main.rs", Some("src/main.rs")),
            (".", "./src//./main.rs", Some("src/main.rs")),
            ("ci/shop/", "src/../main.rs", Some("ci/shop/main.rs")),
            ("ci", "../main.rs", Some("main.rs")),
            ("ci/shop", "../../ci/common.toml", Some("ci/common.toml")),
            ("ci", "../../main.rs", None),
            ("", "a/../../main.rs", None),
            ("ci/shop", "..", None),
            ("ci/shop", "a/..", None),
            ("", "/etc/passwd", None),
            ("", "", None),
            ("", "a/..", None),
            ("", "a\0b", None),
        ] {
            assert_eq!(Sources::below(below).path(path).as_deref(), wanted, "{below} {path}");
        }
        assert_eq!(Sources::below("ci").pipeline("../x/ci/shop.toml"), "ci/shop.toml");
        assert_eq!(Sources::default().pipeline(""), "pipeline.toml");
        let at = |file: Option<&str>| Sources::below("ci").line(&FileLine { line: 3, file: file.map(str::to_owned) }, "ci/shop.toml");
        assert_eq!(at(None), Some(("ci/shop.toml".to_owned(), 3)));
        assert_eq!(at(Some("../common.toml")), Some(("common.toml".to_owned(), 3)));
    }
}
