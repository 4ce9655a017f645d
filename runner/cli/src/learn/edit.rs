//! Putting grants into the text of a pipeline file: everything else of it, comments too, stays as it is.

use std::io::Write;
use std::path::Path;

use toml_edit::{DocumentMut, InlineTable, Item, Table, TableLike, Value};

/// A pipeline file's text that grants are put into.
pub struct Edited(DocumentMut);

#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// Its stages were read before, so this is a stage of an included file, or of one that changed.
    #[error("`{0}` does not stand in the pipeline file itself")]
    NoStage(String),
    #[error(transparent)]
    Syntax(#[from] toml_edit::TomlError),
}

impl Edited {
    pub fn of(text: &str) -> Result<Edited, EditError> {
        Ok(Edited(text.parse()?))
    }

    /// Whether the file itself, and no included one, has this stage.
    pub fn has(&self, stage: &str) -> bool {
        self.0.get("stage").and_then(|stages| stages.get(stage)).is_some_and(Item::is_table_like)
    }

    /// Sets `[stage.<stage>.grants] <capability>` to what `value` says. Keys of a grant that `value` does not name stay.
    pub fn set(&mut self, stage: &str, capability: &str, value: &str) -> Result<(), EditError> {
        let mut parsed: DocumentMut = format!("value = {value}\n").parse()?;
        let missing = || EditError::NoStage(stage.to_owned());
        let value = parsed.remove("value").and_then(|item| item.into_value().ok()).ok_or_else(missing)?;
        let table = self.0.get_mut("stage").and_then(|stages| stages.get_mut(stage)).ok_or_else(missing)?;
        let inline = table.is_inline_table();
        let table = table.as_table_like_mut().ok_or_else(missing)?;
        if table.get("grants").is_none() {
            let empty = if inline { Item::Value(InlineTable::new().into()) } else { Item::Table(Table::new()) };
            table.insert("grants", empty);
        }
        let grants = table.get_mut("grants").and_then(Item::as_table_like_mut).ok_or_else(missing)?;
        match (grants.get_mut(capability).and_then(Item::as_table_like_mut), &value) {
            (Some(grant), Value::InlineTable(new)) => {
                for (key, value) in new {
                    replace(grant, key, value.clone());
                }
                if let Some(grant) = grants.get_mut(capability).and_then(Item::as_inline_table_mut) {
                    // a key that comes last has a space behind it, and may be last no more
                    grant.fmt();
                }
            }
            _ => replace(grants, capability, value),
        }
        Ok(())
    }

    pub fn text(&self) -> String {
        self.0.to_string()
    }
}

/// Sets a key. The comment behind its value stays.
fn replace(table: &mut dyn TableLike, key: &str, mut value: Value) {
    match table.get(key).and_then(Item::as_value) {
        Some(old) => *value.decor_mut() = old.decor().clone(),
        None => value.decor_mut().clear(),
    }
    match table.get_mut(key) {
        Some(item) => *item = Item::Value(value),
        None => drop(table.insert(key, Item::Value(value))),
    }
}

/// Puts `text` in the place of the file's, in one step: whoever reads it sees the old text or the new one.
pub fn replace_file(file: &Path, text: &str) -> std::io::Result<()> {
    // what a link leads to is written, not the link
    let file = file.canonicalize()?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let beside = file.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = (|| {
        let mut new = std::fs::OpenOptions::new().write(true).create_new(true).open(&beside)?;
        new.set_permissions(std::fs::metadata(&file)?.permissions())?;
        new.write_all(text.as_bytes())?;
        new.sync_all()?;
        std::fs::rename(&beside, &file)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(text: &str, sets: &[(&str, &str)]) -> String {
        let mut edited = Edited::of(text).expect("TOML");
        for (capability, value) in sets {
            edited.set("lint", capability, value).expect("the stage is there");
        }
        edited.text()
    }

    const FILES: (&str, &str) = ("files", "[{ path = \".\", access = \"read\" }]");
    const COMMANDS: (&str, &str) = ("commands", "{ in = \"process\", programs = [\"cargo\"] }");

    #[test]
    fn grants_stand_behind_their_stage() {
        let text = "# head\n[stage.lint]\nuses = \"lint\" # why\n[stage.lint.with]\ntools = []\n\n[stage.test]\nuses = \"test\"\n";
        insta::assert_snapshot!(edited(text, &[FILES, COMMANDS]), @r#"
        # head
        [stage.lint]
        uses = "lint" # why
        [stage.lint.with]
        tools = []

        [stage.lint.grants]
        files = [{ path = ".", access = "read" }]
        commands = { in = "process", programs = ["cargo"] }

        [stage.test]
        uses = "test"
        "#);
    }

    #[test]
    fn comments_and_other_keys_stay() {
        let text = "[stage.lint.grants] # all of it\nfiles = [] # nothing yet\ncommands = { in = \"process\", repeatable = true, programs = [\"x\"] } # two\n";
        insta::assert_snapshot!(edited(text, &[FILES, COMMANDS]), @r#"
        [stage.lint.grants] # all of it
        files = [{ path = ".", access = "read" }] # nothing yet
        commands = { in = "process", repeatable = true, programs = ["cargo"] } # two
        "#);
        let table = "[stage.lint.grants.commands]\n# where\nin = \"process\"\nprograms = [\"x\"] # which\n";
        insta::assert_snapshot!(edited(table, &[COMMANDS]), @r#"
        [stage.lint.grants.commands]
        # where
        in = "process"
        programs = ["cargo"] # which
        "#);
    }

    #[test]
    fn inline_stages_are_edited_in_place() {
        let text = "[stage]\nlint = { uses = \"lint\" }\n";
        let value: toml::Table = edited(text, &[FILES, COMMANDS]).parse().expect("TOML");
        assert_eq!(value["stage"]["lint"]["grants"]["commands"]["in"].as_str(), Some("process"));
    }

    #[test]
    fn a_stage_of_another_file_is_not_made_up() {
        let mut edited = Edited::of("[stage.test]\nuses = \"x\"\n").expect("TOML");
        assert!(!edited.has("lint"));
        assert!(matches!(edited.set("lint", FILES.0, FILES.1), Err(EditError::NoStage(_))));
    }

    #[test]
    fn a_file_is_replaced_with_its_permissions_and_through_links() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let (file, link) = (folder.path().join("real.toml"), folder.path().join("pipeline.toml"));
        std::fs::write(&file, "old").expect("a file");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("permissions");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        replace_file(&link, "new").expect("it is replaced");
        assert_eq!(std::fs::read_to_string(&file).expect("the file"), "new");
        assert_eq!(file.metadata().expect("the file").permissions().mode() & 0o777, 0o640);
        assert!(link.is_symlink() && std::fs::read_dir(folder.path()).expect("the folder").count() == 2);
    }
}
