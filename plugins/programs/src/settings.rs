//! The settings that every program has.

use serde::Deserialize;

/// Where a program's results are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// In what it writes to its standard output
    #[default]
    Stdout,
    /// In what it writes to its standard error
    Stderr,
    /// In files that it leaves: a path relative to the workspace, or a pattern with `*`, `?` and `**`
    File(String),
}

/// The name of a program without its folder and its file extension: what a tool or suite without a `name` is called.
pub fn program_name(program: &str) -> &str {
    let name = program.trim_end_matches(['/', '\\']).rsplit(['/', '\\']).next().unwrap_or(program);
    name.strip_suffix(".exe").or_else(|| name.strip_suffix(".cmd")).unwrap_or(name)
}

/// What a command line is called in logs and reports: its program, and what the program was told to do where it does many
/// things: `cargo clippy`, `npx eslint`, `npm run lint`.
pub fn label(run: &[String]) -> String {
    const MANY: [&str; 12] = ["cargo", "npx", "npm", "pnpm", "yarn", "bun", "node", "python", "python3", "go", "uv", "bundle"];
    let Some((program, arguments)) = run.split_first() else { return String::new() };
    let program = program_name(program);
    if !MANY.contains(&program) {
        return program.to_owned();
    }
    let mut words = arguments.iter().map(String::as_str).filter(|argument| !argument.starts_with(['-', '+']));
    let mut label = program.to_owned();
    if let Some(first) = words.next() {
        label = format!("{label} {}", program_name(first));
        if matches!(first, "run" | "exec")
            && let Some(second) = words.next()
        {
            label = format!("{label} {}", program_name(second));
        }
    }
    label
}

/// Labels with a number behind those that were taken already: `npm test`, `npm test 2`.
pub fn unique(labels: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut unique: Vec<String> = Vec::new();
    for label in labels {
        let mut candidate = label.clone();
        let mut number = 2;
        while unique.contains(&candidate) {
            candidate = format!("{label} {number}");
            number += 1;
        }
        unique.push(candidate);
    }
    unique
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        let cases = [
            ("cargo +nightly clippy --all", "cargo clippy"),
            ("npx eslint . -f json", "npx eslint"),
            ("npm run lint", "npm run lint"),
            ("shellcheck -f gcc a.sh", "shellcheck"),
            ("node --test", "node"),
            ("node --test test/", "node test"),
            ("python3 -m pytest", "python3 pytest"),
            ("./bin/check x", "check"),
        ];
        for (run, expected) in cases {
            let run: Vec<String> = run.split(' ').map(str::to_owned).collect();
            assert_eq!(label(&run), expected);
        }
        assert_eq!(unique(["a", "b", "a", "a"].map(str::to_owned)), ["a", "b", "a 2", "a 3"]);
    }

    #[test]
    fn names() {
        for (program, name) in [("cargo", "cargo"), ("./bin/lint.exe", "lint"), ("/usr/bin/gcc", "gcc")] {
            assert_eq!(program_name(program), name);
        }
    }
}
