//! Conditions: what they may name, and what they answer.

use std::collections::HashMap;

use event::{Blocked, FailureKind, Outcome};
use pipeline::bind::{Ended, Results};
use pipeline::plan::StageIndex;

use crate::fakes::{codes, good, stage};
use crate::rules::Nothing;

#[derive(Default)]
pub struct Done(pub HashMap<StageIndex, (Outcome, Vec<(String, String)>)>);

impl Results for Done {
    fn ended(&self, stage: StageIndex) -> Option<Ended<'_>> {
        self.0.get(&stage).map(|(outcome, outputs)| Ended { outcome, outputs })
    }
}

pub fn passed(outputs: &[(&str, &str)]) -> (Outcome, Vec<(String, String)>) {
    let outputs = outputs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    (Outcome::Passed { summary: String::new() }, outputs)
}

pub fn failed(soft: bool) -> Outcome {
    Outcome::Failed { kind: FailureKind::Failed, message: String::new(), soft, denial: None }
}

#[test]
fn conditions_of_the_file_alone() {
    for (condition, expected) in [
        ("true", true),
        ("git.branch == \"feature/x\"", true),
        ("git.branch.startsWith(\"release/\")", false),
        ("git.branch.matches(\"^feature/[a-z]+$\")", true),
        ("git.short == git.sha.size().string() || size(git.short) == 7", true),
        ("run.id == \"r1\" && pipeline.name == \"p\"", true),
        ("matrix.n > 1 && matrix.app in [\"web\", \"api\"]", true),
        ("matrix[\"n\"] == 2 ? true : false", true),
        ("[\"a\", \"b\"].exists(x, x == matrix.app)", false),
        ("has(input.environment) && input.environment != \"production\"", true),
        ("input[\"dry-run\"]", false),
        ("type(matrix.n) == int", true),
        ("\"ä\" != git.branch && input.count >= 2.5", true),
    ] {
        let text = stage(&format!("matrix = {{ n = [2], app = [\"web\"] }}\nwhen = '{condition}'"))
            + "[input.environment]\ntype = \"string\"\ndefault = \"staging\"\n[input.dry-run]\ntype = \"boolean\"\ndefault = false\n[input.count]\ntype = \"number\"\ndefault = 3\n";
        let plan = good(&text);
        let when = plan.stages[0].when.as_ref().unwrap();
        assert_eq!(when.evaluate(&Nothing), Ok(expected), "{condition}");
        assert_eq!(when.source(), condition);
    }
}

#[test]
fn conditions_that_can_not_be() {
    for (condition, expected) in [
        ("", "when-syntax"),
        ("git.branch ==", "when-syntax"),
        ("now() > 3", "when-name"),
        ("timestamp(\"2024-01-01T00:00:00Z\") > 3", "when-name"),
        ("duration(\"1s\")", "when-name"),
        ("optional.of(1).hasValue()", "when-name"),
        ("env.HOME == \"x\"", "when-name"),
        ("secret.token == \"x\"", "when-name"),
        ("stage", "when-name"),
        ("stage[git.branch].outcome == \"passed\"", "when-name"),
        ("stage.s.outcome == \"passed\"", "not-needed"),
        ("stage.other.outcome == \"passed\"", "when-name"),
        ("[1].all(x, [1].all(y, [1].all(z, true)))", "when-size"),
        ("git.branch > 3", "when-result"),
        ("1 + 1", "when-result"),
        ("git.branch.size()", "when-result"),
        ("x.y", "when-name"),
        ("[1].all(x, y == 1)", "when-name"),
    ] {
        let found = codes(&stage(&format!("when = '{condition}'")));
        assert_eq!(found.first().copied(), Some(expected), "{condition}: {found:?}");
    }
}

const BUILD: &str = "format = 1\nname = \"p\"\n[stage.build-image]\nuses = \"test\"\nrun-on = \"always\"\n[stage.many]\nuses = \"test\"\nmatrix.os = [\"a\", \"b\"]\n\
                     [stage.s]\nuses = \"test\"\nneeds = [\"build-image\", \"many\"]\nrun-on = \"always\"\n";

#[test]
fn conditions_on_other_stages() {
    let ask = |condition: &str, results: &dyn Results| {
        let plan = good(&format!("{BUILD}when = '{condition}'\n"));
        plan.stages[3].when.as_ref().unwrap().evaluate(results)
    };
    let done = |build: Outcome, outputs: &[(&str, &str)], first: Outcome, second: Outcome| {
        let (_, outputs) = passed(outputs);
        Done(HashMap::from([(0, (build, outputs)), (1, (first, Vec::new())), (2, (second, Vec::new()))]))
    };
    let fine = || passed(&[]).0;
    let outcome = "stage[\"build-image\"].outcome";
    for (build, word) in [
        (fine(), "passed"),
        (failed(false), "failed"),
        (failed(true), "soft-failed"),
        (Outcome::Skipped { why: Blocked::When("x".into()) }, "skipped"),
        (Outcome::Blocked { why: Blocked::NoneOf }, "blocked"),
        (Outcome::Cancelled { message: String::new() }, "cancelled"),
    ] {
        assert_eq!(ask(&format!("{outcome} == \"{word}\""), &done(build, &[], fine(), fine())), Ok(true), "{word}");
    }
    assert_eq!(ask("stage.many.outcome == \"failed\"", &done(fine(), &[], fine(), failed(false))), Ok(true), "the gravest counts");
    let output = "has(stage[\"build-image\"].outputs.v) && stage[\"build-image\"].outputs.v == \"1\"";
    assert_eq!(ask(output, &done(fine(), &[("v", "1")], fine(), fine())), Ok(true));
    assert_eq!(ask(output, &done(failed(false), &[], fine(), fine())), Ok(false));
    assert!(ask(output, &Nothing).unwrap_err().contains("has not ended"));
    let dynamic =
        "stage[\"build-image\"].outputs[\"v\"] == stage[\"build-image\"].outputs[git.branch] || has(stage[\"build-image\"].outputs.v)";
    assert!(ask(dynamic, &done(fine(), &[("v", "1")], fine(), fine())).is_ok(), "an error on one side of || does not count");
    assert_eq!(codes(&format!("{BUILD}when = 'stage.build.outcome == \"x\"'\n")), ["when-name"]);
    assert_eq!(codes(&format!("{BUILD}when = 'stage.many.outputs.v == \"x\"'\n")), ["ambiguous-output"]);
}

#[test]
fn a_condition_without_an_answer_says_why() {
    let text = "format = 1\nname = \"p\"\n[stage.a]\nuses = \"test\"\n[stage.s]\nuses = \"test\"\nneeds = [\"a\"]\nwhen = 'CONDITION'\n";
    let ask = |condition: &str| {
        let plan = good(&text.replace("CONDITION", condition));
        let done = Done(HashMap::from([(0, passed(&[("v", "1")]))]));
        plan.stages[1].when.as_ref().unwrap().evaluate(&done).unwrap_err()
    };
    assert_eq!(ask("stage.a.outputs.w == \"1\""), "there is no `w`");
    assert_eq!(ask("stage.a.outputs.v"), "the condition gives a text, not true or false");
    assert_eq!(ask("stage.a.outputs.v > 3"), "`>` can't be used on string and int");
}

#[test]
fn an_instance_sees_the_outputs_of_its_like() {
    let text = "format = 1\nname = \"p\"\n[stage.a]\nuses = \"test\"\nmatrix.os = [\"x\", \"y\"]\nwith.tags = [\"${matrix.os}\"]\n[stage.s]\nuses = \"test\"\nneeds = [\"a\"]\n\
                matrix.os = [\"x\", \"y\"]\nwhen = 'stage.a.outputs.v == matrix.os'\n";
    let plan = good(text);
    let done = Done(HashMap::from([(0, passed(&[("v", "x")])), (1, passed(&[("v", "z")]))]));
    let answers: Vec<bool> = plan.stages[2..].iter().map(|stage| stage.when.as_ref().unwrap().evaluate(&done).unwrap()).collect();
    assert_eq!(answers, [true, false]);
}
