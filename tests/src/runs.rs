//! The runs that a project has had, and stages of the guest `hostile` that are cut off and go on.

use std::fmt::Write;
use std::path::PathBuf;

use crate::{Finished, Project, Running};

/// A stage that is the guest `hostile`. `lines`: more lines of its table; `tries`: what it tries, as inline tables.
pub fn stage(name: &str, lines: &str, tries: &[&str]) -> String {
    format!("[stage.{name}]\nuses = \"./hostile.wasm\"\n{lines}\nwith.tries = [{}]\n", tries.join(", "))
}

pub fn print(text: &str) -> String {
    format!("{{ do = \"print\", text = \"{text}\" }}")
}

pub fn sleep(millis: u64) -> String {
    format!("{{ do = \"sleep\", millis = {millis} }}")
}

pub fn output(name: &str, value: &str) -> String {
    format!("{{ do = \"output\", name = \"{name}\", value = \"{value}\" }}")
}

/// `op` of the guest's file attempts.
pub fn file(op: &str, path: &str, to: &str) -> String {
    format!("{{ do = \"files\", op = \"{op}\", path = \"{path}\", to = \"{to}\" }}")
}

impl Project {
    /// With the guest, and a pipeline of these stages.
    pub fn staged(self, stages: &[String]) -> Project {
        let component = std::fs::read(crate::guest("hostile")).expect("the guest is built");
        let mut text = String::from("format = 1\nname = \"durable\"\n\n");
        for one in stages {
            writeln!(text, "{one}").expect("writing to a string");
        }
        self.file("hostile.wasm", component).file("pipeline.toml", text)
    }

    /// The ids of its runs, oldest first.
    pub fn runs(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path().join(".runner/runs")).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// The id of its only run.
    #[track_caller]
    pub fn the_run(&self) -> String {
        let runs = self.runs();
        assert_eq!(runs.len(), 1, "{runs:?}");
        runs.into_iter().next().expect("one")
    }

    pub fn journal(&self) -> PathBuf {
        self.path().join(".runner/runs").join(self.the_run()).join("journal.sqlite3")
    }

    /// Starts `exec` with events.
    pub fn begin(&self) -> Running {
        self.start(&["exec", "--format", "json"])
    }

    /// `resume` with events, to its end.
    pub fn resume(&self, arguments: &[&str]) -> Finished {
        self.run(&[&["resume", "--format", "json"], arguments].concat())
    }

    /// `exec`, killed (`kill -9`) as soon as an event says this.
    #[track_caller]
    pub fn killed_when(&self, says: &str) {
        let running = self.begin();
        running.wait_until(says);
        running.kill().expect(137);
    }
}
