//! What is to be run, and what an exit means.

use runner_sdk::Failure;
use runner_sdk::commands::{Command, Exit};

use crate::settings::Settings;

/// One command of the stage.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// What failures and the summary call it.
    pub title: String,
    /// What the log says before it runs.
    pub shown: Vec<String>,
    /// The command.
    pub command: Command,
}

/// The longest title: an argument may be a program of many lines.
const LONGEST_TITLE: usize = 120;

/// The steps of a stage, in order.
///
/// # Errors
/// `Misconfigured` if there is nothing to run, or two ways to say what.
pub fn of(settings: &Settings) -> Result<Vec<Step>, Failure> {
    let commands = match (&settings.run, &settings.script) {
        (Some(run), None) => run.0.iter().map(|argv| from_argv("run", argv)).collect::<Result<Vec<_>, _>>()?,
        (None, Some(script)) => vec![from_script(settings, script)?],
        (Some(_), Some(_)) => return Err(Failure::misconfigured("`run` and `script` are both set: keep one of them")),
        (None, None) => return Err(Failure::misconfigured("nothing to run: set `run = [\"program\", \"argument\"]` or `script`")),
    };
    if commands.is_empty() {
        return Err(Failure::misconfigured("`run` is empty: name a program"));
    }
    Ok(commands.into_iter().map(|step| Step { command: configured(step.command, settings), ..step }).collect())
}

fn from_argv(setting: &str, argv: &[String]) -> Result<Step, Failure> {
    let command =
        Command::from_argv(argv).ok_or_else(|| Failure::misconfigured(format_args!("`{setting}` has an empty command: name a program")))?;
    let line = command.to_string();
    Ok(Step { title: title(&line), shown: vec![format!("$ {line}")], command })
}

/// The script is an argument, not standard input: a command in it that reads its input would eat the rest of the script.
fn from_script(settings: &Settings, script: &str) -> Result<Step, Failure> {
    if script.trim().is_empty() {
        return Err(Failure::misconfigured("`script` is empty: write at least one command"));
    }
    let shell = from_argv("shell", &settings.shell)?;
    let shown = script.trim().lines().map(|line| format!("$ {line}")).collect();
    Ok(Step { title: format!("script ({})", shell.title), shown, command: shell.command.arg("-c").arg(script) })
}

fn configured(command: Command, settings: &Settings) -> Command {
    let mut command = command.envs(&settings.env);
    if let Some(directory) = &settings.directory {
        command = command.dir(directory);
    }
    if let Some(timeout) = settings.timeout {
        command = command.timeout(timeout.0);
    }
    command
}

fn title(line: &str) -> String {
    let one_line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if one_line.chars().count() <= LONGEST_TITLE {
        return one_line;
    }
    one_line.chars().take(LONGEST_TITLE - 1).chain(['…']).collect()
}

impl Step {
    /// Why this exit does not count as success, if it does not.
    pub fn failure(&self, exit: &Exit, expected: &[u32]) -> Option<Failure> {
        match exit.code {
            Some(code) if !exit.timed_out && expected.contains(&code) => None,
            Some(_) if !exit.timed_out && expected != [0] => {
                let expected = expected.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
                Some(Failure::failed(format_args!("`{}`: {exit}, expected {expected}", self.title)))
            }
            Some(_) if !exit.timed_out => Some(Failure::failed(format_args!("`{}`: {exit}", self.title))),
            // Cut off or crashed: it did not come to an answer.
            _ => Some(Failure::errored(format_args!("`{}`: {exit}", self.title))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn settings(json: &str) -> Settings {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn commands_run_in_order_with_what_the_settings_say() {
        let settings = settings(
            r#"{ "run": [["cargo", "build", "--release"], ["./x", "a b"]], "env": { "A": "1" }, "directory": "shop", "timeout": "5m" }"#,
        );
        let configured = |command: Command| command.env("A", "1").dir("shop").timeout(Duration::from_secs(300));
        assert_eq!(
            of(&settings).unwrap(),
            [
                Step {
                    title: "cargo build --release".into(),
                    shown: vec!["$ cargo build --release".into()],
                    command: configured(Command::new("cargo").args(["build", "--release"])),
                },
                Step { title: "./x 'a b'".into(), shown: vec!["$ ./x 'a b'".into()], command: configured(Command::new("./x").arg("a b")) },
            ]
        );
    }

    #[test]
    fn a_script_is_one_argument_of_the_shell() {
        let script = "echo \"$A\"\ngit push";
        let steps = of(&settings(r#"{ "script": "echo \"$A\"\ngit push" }"#)).unwrap();
        assert_eq!(steps[0].command, Command::new("sh").args(["-eu", "-c", script]));
        assert_eq!(
            (steps[0].title.as_str(), &steps[0].shown[..]),
            ("script (sh -eu)", &["$ echo \"$A\"".to_owned(), "$ git push".into()][..])
        );

        let steps = of(&settings(r#"{ "script": "true", "shell": ["bash", "-euo", "pipefail"] }"#)).unwrap();
        assert_eq!(steps[0].command, Command::new("bash").args(["-euo", "pipefail", "-c", "true"]));
    }

    #[test]
    fn settings_with_nothing_or_too_much_to_run_say_what_to_mend() {
        for (json, text) in [
            ("{}", "nothing to run"),
            (r#"{ "run": [] }"#, "`run` is empty"),
            (r#"{ "run": [[]] }"#, "`run` has an empty command"),
            (r#"{ "run": ["a"], "script": "b" }"#, "keep one of them"),
            (r#"{ "script": " \n" }"#, "`script` is empty"),
            (r#"{ "script": "a", "shell": [] }"#, "`shell` has an empty command"),
        ] {
            assert!(matches!(of(&settings(json)), Err(Failure::Misconfigured(why)) if why.contains(text)), "{json}");
        }
    }

    #[test]
    fn an_exit_is_judged_by_the_expected_codes() {
        let step = &of(&settings(r#"{ "run": ["grep", "x"] }"#)).unwrap()[0];
        let exit = |code, signal, timed_out| Exit { code, signal, timed_out, duration: Duration::from_secs(2), stdout: None, stderr: None };
        for (exit, expected, failure) in [
            (exit(Some(0), None, false), &[0][..], None),
            (exit(Some(1), None, false), &[0, 1], None),
            (exit(Some(101), None, false), &[0], Some(Failure::failed("`grep x`: exit code 101"))),
            (exit(Some(0), None, false), &[1], Some(Failure::failed("`grep x`: exit code 0, expected 1"))),
            (exit(Some(2), None, false), &[0, 1], Some(Failure::failed("`grep x`: exit code 2, expected 0, 1"))),
            (exit(None, Some(9), false), &[0], Some(Failure::errored("`grep x`: killed by SIGKILL"))),
            (exit(Some(0), None, true), &[0], Some(Failure::errored("`grep x`: timed out after 2s"))),
        ] {
            assert_eq!(step.failure(&exit, expected), failure, "{exit:?} {expected:?}");
        }
    }

    #[test]
    fn a_long_command_line_is_shortened_and_stays_on_one_line() {
        let steps = of(&settings(&format!(r#"{{ "run": ["node", "-e", "a();\n{}"] }}"#, "ü".repeat(200)))).unwrap();
        assert_eq!(steps[0].title.chars().count(), LONGEST_TITLE);
        assert!(steps[0].title.starts_with("node -e 'a(); ü") && steps[0].title.ends_with("ü…"));
    }
}
