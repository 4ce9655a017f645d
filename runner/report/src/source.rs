//! Paths as other systems count them: from the root of the repository, while findings and the pipeline file count from the workspace.

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

    /// None for a path that does not stay inside the workspace: no other system could find it.
    pub fn path(&self, path: &str) -> Option<String> {
        if path.starts_with('/') || path.contains('\0') {
            return None;
        }
        let mut names: Vec<&str> = Vec::new();
        for name in path.split('/').filter(|name| !matches!(*name, "" | ".")) {
            match name {
                ".." => drop(names.pop()?),
                name => names.push(name),
            }
        }
        (!names.is_empty()).then(|| self.below.clone() + &names.join("/"))
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
    fn paths_are_those_of_the_repository_and_never_leave_the_workspace() {
        for (below, path, wanted) in [
            ("", "src/main.rs", Some("src/main.rs")),
            (".", "./src//./main.rs", Some("src/main.rs")),
            ("ci/shop/", "src/../main.rs", Some("ci/shop/main.rs")),
            ("ci", "../main.rs", None),
            ("ci", "a/../../main.rs", None),
            ("", "/etc/passwd", None),
            ("", "", None),
            ("", "a/..", None),
            ("", "a\0b", None),
        ] {
            assert_eq!(Sources::below(below).path(path).as_deref(), wanted, "{below} {path}");
        }
        assert_eq!(Sources::below("ci").pipeline("../x/ci/shop.toml"), "ci/shop.toml");
        assert_eq!(Sources::default().pipeline(""), "pipeline.toml");
    }
}
