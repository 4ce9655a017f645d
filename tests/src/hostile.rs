//! Projects whose stage is the guest `hostile`, and tables of what it tries.

use std::fmt::Write;

use crate::{Attempt, Finished, Project, guest};

/// What the guest tries (an inline table of its `tries`), how its answer begins, and the code of the denial that the user sees: empty for
/// none, `*` where it does not matter (a denial is told once, however often the same thing is tried).
pub type Case<'a> = (&'a str, &'a str, &'a str);

impl Project {
    /// With the guest as `hostile.wasm`.
    pub fn hostile(runner: &str) -> Project {
        let component = std::fs::read(guest("hostile")).expect("the guest is built");
        Project::new(runner).file("hostile.wasm", component)
    }

    /// With a pipeline of one stage, `try`, that tries all of this. `stage`: more lines of `[stage.try]`; `grants`: lines of
    /// `[stage.try.grants]`.
    pub fn tries(&self, stage: &str, grants: &str, tries: &[&str]) {
        let mut text =
            format!("format = 1\nname = \"tries\"\n\n[stage.try]\nuses = \"./hostile.wasm\"\n{stage}\n\n[stage.try.with]\ntries = [\n");
        for one in tries {
            writeln!(text, "  {one},").expect("writing to a string");
        }
        writeln!(text, "]\n\n[stage.try.grants]\n{grants}").expect("writing to a string");
        self.write("pipeline.toml", text);
    }

    /// `exec` with events.
    pub fn exec_json(&self) -> Finished {
        self.run(&["exec", "--format", "json"])
    }

    /// Tries all of this in one stage and answers with what came of it.
    #[track_caller]
    pub fn attempts(&self, stage: &str, grants: &str, tries: &[&str]) -> Vec<Attempt> {
        self.tries(stage, grants, tries);
        let told = self.exec_json().told();
        let attempts = told.attempts("try");
        assert_eq!(attempts.len(), tries.len(), "not everything was tried\n{}", told.printed());
        attempts
    }

    /// Tries every case in one stage and compares; all that differ are told at once. The answers are given back.
    #[track_caller]
    pub fn cases(&self, stage: &str, grants: &str, cases: &[Case<'_>]) -> Vec<Attempt> {
        let tries: Vec<&str> = cases.iter().map(|case| case.0).collect();
        let attempts = self.attempts(stage, grants, &tries);
        let mut wrong = String::new();
        for ((what, answer, code), attempt) in cases.iter().zip(&attempts) {
            let denied = match *code {
                "*" => true,
                "" => attempt.denials.is_empty(),
                code => attempt.denials.iter().any(|denial| denial.code == code),
            };
            if !attempt.answer.starts_with(answer) || !denied {
                let codes: Vec<&str> = attempt.denials.iter().map(|d| d.code.as_str()).collect();
                writeln!(wrong, "{what}\n  wanted {answer:?}, denied {code:?}\n  got    {:?}, denied {codes:?}", attempt.answer)
                    .expect("writing to a string");
            }
        }
        assert!(wrong.is_empty(), "grants: {grants}\n{wrong}");
        attempts
    }
}
