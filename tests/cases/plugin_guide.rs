//! `plugins/README.md`, followed word for word in a folder outside of the checkout: its files are written, its commands are run.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::RUNNER;

struct Block {
    language: String,
    text: String,
}

/// The fenced blocks of a page, in order.
fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(language), None) => open = Some(Block { language: language.trim().to_owned(), text: String::new() }),
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some(mut block)) => {
                block.text.push_str(line);
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    blocks
}

/// `# todos/Cargo.toml` or `// todos/src/lib.rs`, in the first line.
fn file_name(block: &Block) -> Option<&str> {
    let first = block.text.lines().next()?;
    let name = first.strip_prefix("# ").or_else(|| first.strip_prefix("// "))?;
    (matches!(block.language.as_str(), "toml" | "rust") && !name.contains(' ')).then_some(name)
}

#[test]
fn the_plugin_guide_works_word_for_word() {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the checkout");
    let page = fs::read_to_string(checkout.join("plugins/README.md")).expect("the guide");
    let outside = tempfile::Builder::new().prefix("guide-").tempdir().expect("a folder outside of the checkout");
    let bin = Path::new(RUNNER).parent().expect("the runner is in a folder");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let (mut files, mut commands) = (0, 0);
    for block in blocks(&page) {
        if let Some(name) = file_name(&block) {
            let target = outside.path().join(name);
            fs::create_dir_all(target.parent().expect("a file is in a folder")).expect("a folder");
            fs::write(target, &block.text).expect("a file");
            files += 1;
        } else if block.language == "sh" {
            let mut shell = Command::new("bash");
            shell.args(["-euo", "pipefail", "-c", &block.text]).current_dir(outside.path()).stdin(Stdio::null());
            for (variable, _) in std::env::vars_os() {
                let text = variable.to_string_lossy();
                if text.starts_with("CARGO_") && text != "CARGO_HOME" && !text.starts_with("CARGO_NET_") {
                    shell.env_remove(&variable);
                }
            }
            shell.env("PATH", &path).env("RUNNER_CHECKOUT", &checkout).env("XDG_CACHE_HOME", outside.path().join(".cache"));
            let output = shell.output().expect("bash");
            let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            assert!(output.status.success(), "{}\n--- stdout\n{}\n--- stderr\n{}", block.text, said(&output.stdout), said(&output.stderr));
            commands += 1;
        }
    }
    assert!(files >= 5 && commands >= 5, "the guide has {files} files and {commands} command blocks: is it still read right?");
}
