//! What a person can do about a run that waits or did not pass: the commands, ready to be copied.

use event::{StageRef, Verdict};

use crate::model::{Run, Stage, State};
use crate::style::{Line, Role};
use crate::summary::label;

/// Stages that wait for their approval and are named; more are not.
const NAMED: usize = 5;

/// `runner approve RUN STAGE`.
pub fn approve(run: &str, stage: &StageRef) -> String {
    format!("runner approve {run} {}", quoted(stage.as_str()))
}

/// The three ways to go on from an effect in doubt.
pub fn decide(run: &str) -> String {
    format!("runner resume {run} --in-doubt retry|skip|fail")
}

/// How to go on once the run has ended; nothing if it passed.
pub fn onward(run: &Run) -> Vec<Line> {
    let Some((verdict, _)) = run.finished.filter(|_| !run.run.is_empty()) else { return Vec::new() };
    let id = &run.run;
    let line = |name: &str, command: &str| label(name).and(Role::Text, command);
    let also = |line: Line, command: &str| line.and(Role::Faint, " or ").and(Role::Text, command);
    let resume = format!("runner resume {id}");
    let show = format!("runner show {id}");
    match verdict {
        Verdict::Passed => Vec::new(),
        Verdict::Failed | Verdict::Denied | Verdict::TimedOut => vec![also(line("go on", &format!("{resume} --failed")), &show)],
        Verdict::Interrupted | Verdict::Terminated => vec![also(line("go on", &resume), &show)],
        Verdict::Waiting => {
            let asking: Vec<&Stage> = run.stages.iter().filter(|stage| matches!(stage.state, State::Asking(_))).collect();
            let mut lines: Vec<Line> = asking.iter().take(NAMED).map(|stage| line("approve", &approve(id, &stage.id)).whole()).collect();
            if asking.len() > NAMED {
                lines.push(line("", &format!("and {} more: {show}", asking.len() - NAMED)));
            }
            let in_doubt = run.stages.iter().any(|stage| matches!(stage.state, State::Suspended));
            lines.push(if in_doubt { line("decide", &decide(id)).whole() } else { also(line("go on", &resume), &show) });
            lines
        }
    }
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '=');
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_of_a_matrix_is_one_word_to_the_shell() {
        assert_eq!(approve("r1", &StageRef::new("deploy")), "runner approve r1 deploy");
        assert_eq!(approve("r1", &StageRef::new("deploy (region=eu)")), "runner approve r1 'deploy (region=eu)'");
        assert_eq!(approve("r1", &StageRef::new("deploy (who=o'neill)")), "runner approve r1 'deploy (who=o'\\''neill)'");
    }
}
