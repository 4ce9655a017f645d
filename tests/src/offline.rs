//! `replay` with as little around it as can be: no network, and of the project only what the runner keeps.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::{Finished, Project};

/// A replayed stage.
pub struct Replayed {
    pub finished: Finished,
    /// As it was recorded, and as the replay made it.
    pub recorded: Vec<u8>,
    pub made: Vec<u8>,
}

/// What goes before the runner's name so that it has no network; nothing where the machine does not let us.
fn without_network() -> &'static [&'static str] {
    static FOUND: OnceLock<&[&str]> = OnceLock::new();
    FOUND.get_or_init(|| {
        let ways: [&[&str]; 2] = [&["unshare", "--net"], &["unshare", "--net", "--map-root-user"]];
        let works = |way: &&&[&str]| {
            let tried = Command::new(way[0]).args(&way[1..]).arg("true").stderr(Stdio::null()).status();
            tried.is_ok_and(|status| status.success())
        };
        let found = ways.iter().find(works).copied().unwrap_or_default();
        if found.is_empty() {
            crate::skipped("replays keep their network: this user may not make namespaces");
        }
        found
    })
}

impl Project {
    /// `replay` of a stage of the only run, with events.
    pub fn replay(&self, stage: &str, arguments: &[&str]) -> Finished {
        let run = self.the_run();
        self.start_through(without_network(), &[&["replay", "--format", "json", &run, stage], arguments].concat()).finish()
    }

    /// A stage's first attempt, replayed, with both of its logs.
    #[track_caller]
    pub fn replayed(&self, stage: &str) -> Replayed {
        let made = tempfile::NamedTempFile::new().expect("a temporary file");
        let finished = self.replay(stage, &["--log", made.path().to_str().expect("a path")]);
        let recorded = std::fs::read(self.log(stage)).unwrap_or_default();
        Replayed { finished, recorded, made: std::fs::read(made.path()).expect("a log was made") }
    }

    /// The log of a stage's first attempt.
    pub fn log(&self, stage: &str) -> PathBuf {
        let folder = self.path().join(format!(".runner/runs/{}/logs", self.the_run()));
        // an id that is no file name, such as that of an instance of a matrix, is told apart by a piece of its digest
        let plain: String = stage.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' }).collect();
        if plain == stage {
            return folder.join(format!("{stage}.1.log"));
        }
        let begins = format!("{}-", plain.trim_end_matches('-'));
        let digest = |name: &str| name.strip_prefix(&begins)?.strip_suffix(".1.log").map(str::len);
        let mut logs = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let log = logs.find(|path| path.file_name().and_then(|name| name.to_str()).and_then(digest) == Some(8));
        // a stage that said nothing has none
        log.unwrap_or_else(|| folder.join(begins))
    }

    /// Removes everything but what the runner keeps, and `keep`.
    pub fn strip(&self, keep: &[&str]) {
        for entry in std::fs::read_dir(self.path()).expect("a folder").flatten() {
            let (name, path) = (entry.file_name(), entry.path());
            if name == ".runner" || keep.iter().any(|kept| name == **kept) {
                continue;
            }
            let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            removed.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
}

impl Replayed {
    /// What the replay came to: its last line of events.
    #[track_caller]
    pub fn verdict(&self) -> serde_json::Value {
        self.finished.events().pop().expect("a last line")
    }

    /// Fails unless the replay did the same, byte for byte. How many effects were recorded.
    #[track_caller]
    pub fn same(&self, result: &str) -> u64 {
        let verdict = self.verdict();
        let printed = format!("{verdict:#}\n--- stderr\n{}", self.finished.stderr);
        assert_eq!((self.finished.code, &verdict["result"]), (0, &result.into()), "{printed}");
        let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(4000)]).into_owned();
        assert!(
            self.recorded == self.made,
            "the logs differ: {} and {} bytes\n--- recorded\n{}\n--- made\n{}\n{printed}",
            self.recorded.len(),
            self.made.len(),
            text(&self.recorded),
            text(&self.made)
        );
        verdict["records"].as_u64().expect("a number")
    }
}
