//! Which files of a workspace are the lockfiles to audit.
//!
//! Pure: it is given the paths and answers with some of them. What it does not answer with is not audited, so everything that
//! looks like a lockfile and is not supported is an error here, with the setting that mends it.

use glob::{MatchOptions, Pattern};

use crate::lockfile::{Format, NAMES, beside};

/// `*` stays within a folder, as it does in a shell.
const OPTIONS: MatchOptions = MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

/// Folders that hold other projects' lockfiles, or none.
pub fn skips(folder_name: &str) -> bool {
    matches!(folder_name, "node_modules" | "target") || folder_name.starts_with('.')
}

/// Whether a text stands for more than itself.
pub fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Chooses from `paths` (relative to the workspace, with `/`). The error is about the settings.
pub fn choose(paths: &[String], lockfiles: Option<&[String]>, exclude: &[String]) -> Result<Vec<String>, String> {
    let exclude = exclude.iter().map(|glob| pattern("exclude", glob)).collect::<Result<Vec<_>, _>>()?;
    let included = |path: &str| !exclude.iter().any(|glob| glob.matches_with(path, OPTIONS));
    let mut chosen: Vec<String> = Vec::new();
    match lockfiles {
        Some([]) => return Err("`lockfiles` is an empty list: name the lockfiles, or leave it out to search for them".into()),
        Some(globs) => {
            for glob in globs {
                let compiled = pattern("lockfiles", glob)?;
                let before = chosen.len();
                let mut found = false;
                for path in paths.iter().filter(|path| compiled.matches_with(path, OPTIONS)) {
                    // A glob such as `**/*.lock` may meet what is no lockfile; a file named outright must be one.
                    let known = Format::of(path).is_some();
                    if !known && is_glob(glob) {
                        continue;
                    }
                    found = true;
                    if included(path) && !chosen.contains(path) {
                        chosen.push(path.clone());
                    }
                }
                if !found && chosen.len() == before {
                    return Err(format!("`lockfiles`: nothing in the workspace matches `{glob}`. Mend the path, or take it out"));
                }
            }
        }
        None => {
            chosen.extend(paths.iter().filter(|path| Format::of(path).is_some() && included(path)).cloned());
            let unsupported = chosen.iter().find_map(|path| match Format::of(path) {
                Some(Format::Unsupported(tool)) => Some((path, tool)),
                _ => None,
            });
            if let Some((path, tool)) = unsupported {
                return Err(format!(
                    "{path} is a lockfile of {tool}, which audit cannot read, so its packages would go unseen. List the lockfiles to audit in \
                     `lockfiles`, or leave this one out with `exclude = [\"{path}\"]`"
                ));
            }
        }
    }
    // A `go.sum` is read with the `go.mod` beside it, which is a lockfile only where it stands alone.
    let sums: Vec<String> = chosen.iter().filter(|path| Format::of(path) == Some(Format::GoSum)).cloned().collect();
    chosen.retain(|path| Format::of(path) != Some(Format::GoMod) || !sums.contains(&beside(path, "go.sum")));
    if chosen.is_empty() {
        return Err(format!("no {NAMES} found in the workspace. Grant the files, or name the lockfiles in `lockfiles`"));
    }
    chosen.sort();
    Ok(chosen)
}

/// Whether `exclude` leaves this path out. Globs that are none were an error of [`choose`].
pub fn is_excluded(path: &str, exclude: &[String]) -> bool {
    exclude.iter().filter_map(|glob| pattern("exclude", glob).ok()).any(|glob| glob.matches_with(path, OPTIONS))
}

fn pattern(setting: &str, glob: &str) -> Result<Pattern, String> {
    let relative = glob.strip_prefix("./").unwrap_or(glob);
    if relative.starts_with('/') || relative.split('/').any(|part| part == "..") {
        return Err(format!("`{setting}`: `{glob}` does not stay in the workspace. Paths are relative to it"));
    }
    Pattern::new(relative).map_err(|error| format!("`{setting}`: `{glob}` is no glob: {} at character {}", error.msg, error.pos))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATHS: [&str; 6] =
        ["Cargo.lock", "a.lock", "docs/notes.md", "web/app/package-lock.json", "web/package-lock.json", "web/package.json"];

    fn choose_from(paths: &[&str], lockfiles: Option<&[&str]>, exclude: &[&str]) -> Result<Vec<String>, String> {
        let own = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        choose(&own(paths), lockfiles.map(own).as_deref(), &own(exclude))
    }

    #[test]
    fn without_globs_every_lockfile_is_taken() {
        assert_eq!(choose_from(&PATHS, None, &[]).unwrap(), ["Cargo.lock", "web/app/package-lock.json", "web/package-lock.json"]);
        assert_eq!(choose_from(&PATHS, None, &["web/**"]).unwrap(), ["Cargo.lock"]);
    }

    #[test]
    fn globs_choose() {
        let both = ["web/app/package-lock.json", "web/package-lock.json"];
        assert_eq!(choose_from(&PATHS, Some(&["**/package-lock.json"]), &[]).unwrap(), both);
        assert_eq!(choose_from(&PATHS, Some(&["*/package-lock.json"]), &[]).unwrap(), both[1..]);
        assert_eq!(choose_from(&PATHS, Some(&["./Cargo.lock", "**/Cargo.lock"]), &[]).unwrap(), ["Cargo.lock"]);
        assert_eq!(choose_from(&PATHS, Some(&["*.lock"]), &[]).unwrap(), ["Cargo.lock"]);
        assert_eq!(choose_from(&PATHS, Some(&["a.lock"]), &[]).unwrap(), ["a.lock"]);
    }

    #[test]
    fn a_go_module_is_one_lockfile() {
        assert_eq!(choose_from(&["a/go.mod", "a/go.sum", "b/go.mod"], None, &[]).unwrap(), ["a/go.sum", "b/go.mod"]);
        assert_eq!(choose_from(&["a/go.mod", "a/go.sum"], Some(&["**/go.*"]), &[]).unwrap(), ["a/go.sum"]);
        assert_eq!(choose_from(&["a/go.mod", "a/go.sum"], Some(&["a/go.mod"]), &[]).unwrap(), ["a/go.mod"]);
    }

    #[test]
    fn nothing_is_passed_over_in_silence() {
        for (paths, lockfiles, part) in [
            (&["README.md"] as &[&str], None, "no package-lock.json"),
            (&["Cargo.lock", "web/bun.lock"], None, "web/bun.lock is a lockfile of Bun"),
            (&PATHS, Some(&["api/Cargo.lock"] as &[&str]), "nothing in the workspace matches `api/Cargo.lock`"),
            (&PATHS, Some(&["Cargo.lock", "**/poetry.lock"]), "matches `**/poetry.lock`"),
            (&PATHS, Some(&[]), "empty list"),
            (&PATHS, Some(&["../Cargo.lock"]), "does not stay in the workspace"),
            (&PATHS, Some(&["/workspace/Cargo.lock"]), "does not stay in the workspace"),
            (&PATHS, Some(&["[a"]), "is no glob"),
        ] {
            let error = choose_from(paths, lockfiles, &[]).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn other_projects_folders_are_skipped() {
        for (folder, skipped) in [("node_modules", true), ("target", true), (".git", true), ("web", false)] {
            assert_eq!(skips(folder), skipped, "{folder}");
        }
    }
}
