//! Running again what failed, and only that: the command lines, and what becomes of the failures.
//!
//! How a test runner is told to run some tests only is known for two; for all others the pipeline file says it with a template.

use runner_programs::settings::program_name;
use runner_sdk::report::TestStatus;

use crate::case::{Case, Reading};
use crate::format::Format;
use crate::settings::Suite;

/// With more failures than this, something else than chance is at work.
const MOST: usize = 200;

/// Whether it is known how to run only some tests of this suite, without a template.
pub fn has_rule(suite: &Suite) -> bool {
    let program = suite.run.first().map(|program| program_name(program));
    match suite.format {
        Format::Libtest => program == Some("cargo") && test_subcommand(&suite.run).is_some(),
        Format::Node => program == Some("node"),
        Format::Jest => jest(&suite.run).is_some(),
        Format::Go => program == Some("go") && go_test(&suite.run).is_some(),
        Format::Junit | Format::Nextest | Format::Tap => false,
    }
}

/// Where Jest or Vitest stands in a command line that does not choose tests by itself: `npx jest`, `node node_modules/.bin/jest`.
fn jest(run: &[String]) -> Option<usize> {
    let chooses = |argument: &String| ["-t", "--testNamePattern"].contains(&argument.split('=').next().unwrap_or_default());
    let is_jest = |argument: &String| matches!(program_name(argument).trim_end_matches(".js"), "jest" | "vitest");
    run.iter().position(is_jest).filter(|_| !run.iter().any(chooses))
}

/// Where `test` stands in a command line of go that does not choose tests by itself.
fn go_test(run: &[String]) -> Option<usize> {
    let chooses = |argument: &String| ["-run", "--run"].contains(&argument.split('=').next().unwrap_or_default());
    run.iter().position(|argument| argument == "test").filter(|at| *at > 0 && !run.iter().any(chooses))
}

/// Where `test` stands among cargo's arguments.
fn test_subcommand(run: &[String]) -> Option<usize> {
    run.iter().take_while(|argument| *argument != "--").position(|argument| argument == "test" || argument == "t").filter(|at| *at > 0)
}

/// The command line of the first run. `cargo test` stops at the first binary with a failure, and `cargo nextest run` at the first
/// test; where failures are to be run again, the others must have had their turn as well.
pub fn first_run(suite: &Suite) -> Vec<String> {
    let mut run = suite.run.clone();
    let is_cargo = program_name(&run[0]) == "cargo";
    let subcommand = match run.windows(2).position(|words| words[0] == "nextest" && matches!(words[1].as_str(), "run" | "r")) {
        Some(at) => Some(at + 1),
        None => test_subcommand(&run).filter(|_| suite.format == Format::Libtest),
    };
    if suite.rerun > 0
        && is_cargo
        && let Some(at) = subcommand
        && !run.iter().any(|argument| argument == "--no-fail-fast")
    {
        run.insert(at + 1, "--no-fail-fast".into());
    }
    run
}

/// The command lines that run `failed` again, or why that cannot be done.
pub fn commands(suite: &Suite, failed: &[&Case]) -> Result<Vec<Vec<String>>, String> {
    if failed.len() > MOST {
        return Err(format!("{} tests failed, too many to be run again", failed.len()));
    }
    if let Some(nameless) =
        failed.iter().find(|case| case.parts.iter().any(|part| part.is_empty() || part.contains(", its name was not shown)")))
    {
        return Err(format!("the name of a test that failed is not known: {}", nameless.full_name()));
    }
    if let Some(template) = &suite.rerun_with {
        return Ok(vec![filled(template, failed)]);
    }
    Ok(match suite.format {
        Format::Libtest => cargo(suite, failed),
        Format::Node => {
            let mut run = suite.run.clone();
            // up to version 20 node compares the pattern with a test's own name and needs those around it to match as well; later
            // ones compare the whole name. What runs besides is not looked at
            let names = failed.iter().flat_map(|case| std::iter::once(case.parts.join(" ")).chain(case.parts.iter().cloned()));
            run.insert(1, format!("--test-name-pattern={}", pattern(names)));
            vec![run]
        }
        Format::Jest => {
            let mut run = suite.run.clone();
            let at = jest(&run).map_or(run.len(), |at| at + 1);
            // behind Vitest's subcommand
            let at = if run.get(at).is_some_and(|word| word == "run") { at + 1 } else { at };
            run.insert(at, format!("--testNamePattern={}", pattern(failed.iter().map(|case| case.parts.join(" ")))));
            vec![run]
        }
        Format::Go => {
            let mut run = suite.run.clone();
            let at = go_test(&run).map_or(run.len(), |at| at + 1);
            // go splits the expression at `/`, so that subtests of several tests cannot be named together: a test runs with all of its own
            run.insert(at, format!("-run={}", pattern(failed.iter().map(|case| case.parts[0].clone()))));
            vec![run]
        }
        Format::Junit | Format::Nextest | Format::Tap => Vec::new(),
    })
}

/// `cargo test … -- --exact names`; documentation tests, whose names have spaces that rustdoc would split at, all together.
fn cargo(suite: &Suite, failed: &[&Case]) -> Vec<Vec<String>> {
    let run = first_run(suite);
    let (before, after) = match run.iter().position(|argument| argument == "--") {
        Some(at) => (&run[..at], &run[at + 1..]),
        None => (&run[..], &[][..]),
    };
    let mut commands = Vec::new();
    let names: Vec<String> = failed.iter().map(|case| case.name()).filter(|name| !name.contains(' ')).collect();
    if !names.is_empty() {
        let mut command = before.to_vec();
        command.push("--".into());
        command.extend(after.iter().filter(|argument| *argument != "--exact").cloned());
        command.push("--exact".into());
        command.extend(names);
        commands.push(command);
    }
    if failed.iter().any(|case| case.name().contains(' ')) {
        let mut command = before.to_vec();
        if !command.iter().any(|argument| argument == "--doc") {
            command.push("--doc".into());
        }
        if !after.is_empty() {
            command.push("--".into());
            command.extend(after.iter().cloned());
        }
        commands.push(command);
    }
    commands
}

/// One regular expression that matches each of `names` as a whole, and nothing else.
fn pattern(names: impl IntoIterator<Item = String>) -> String {
    let mut escaped: Vec<String> = Vec::new();
    for name in names {
        let mut text = String::with_capacity(name.len());
        for c in name.chars() {
            if r".*+?^${}()|[]\".contains(c) {
                text.push('\\');
            }
            text.push(c);
        }
        if !escaped.contains(&text) {
            escaped.push(text);
        }
    }
    format!("^(?:{})$", escaped.join("|"))
}

/// A template with the tests put in: `{names}` is one expression for all; an argument with `{name}`, `{class}` or `{file}` is
/// there once for each test, without repeating itself.
fn filled(template: &[String], failed: &[&Case]) -> Vec<String> {
    let mut command: Vec<String> = Vec::new();
    for argument in template {
        if ["{name}", "{class}", "{file}"].iter().any(|place| argument.contains(place)) {
            let mut given: Vec<String> = Vec::new();
            for case in failed {
                let put = replaced(argument, &[("{name}", &case.name()), ("{class}", &case.group), ("{file}", &case.file)]);
                if !given.contains(&put) {
                    given.push(put);
                }
            }
            command.extend(given);
        } else if argument.contains("{names}") {
            command.push(argument.replace("{names}", &pattern(failed.iter().map(|case| case.name()))));
        } else {
            command.push(argument.clone());
        }
    }
    command
}

/// All places at once, so that a test's name with `{class}` in it is not replaced in turn.
fn replaced(text: &str, places: &[(&str, &str)]) -> String {
    let mut put = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        put.push_str(&rest[..at]);
        match places.iter().find(|(place, _)| rest[at..].starts_with(place)) {
            Some((place, value)) => {
                put.push_str(value);
                rest = &rest[at + place.len()..];
            }
            None => {
                put.push('{');
                rest = &rest[at + 1..];
            }
        }
    }
    put + rest
}

/// Marks as flaky what failed and passed in `again`, the re-run number `round`. What is not in `again`, or was skipped there,
/// stays as it is.
pub fn merge(cases: &mut [Case], again: &Reading, round: u32) {
    for case in cases.iter_mut().filter(|case| case.failed()) {
        let same: Vec<&Case> = again.cases.iter().filter(|other| case.is(other)).collect();
        let passed = same.iter().any(|other| matches!(other.status, TestStatus::Passed | TestStatus::Flaky));
        if passed && !same.iter().any(|other| other.failed()) {
            case.status = TestStatus::Flaky;
            case.message = format!("failed at first, passed when it was run again ({round}); the first failure was\n{}", case.message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suite(json: &str) -> Suite {
        serde_json::from_str(json).unwrap()
    }

    fn case(group: &str, name: &str) -> Case {
        let mut case = Case::new(group, "", TestStatus::Failed);
        case.parts = name.split(" > ").map(str::to_owned).collect();
        case
    }

    fn lines(suite: &Suite, cases: &[Case]) -> Vec<String> {
        let failed: Vec<&Case> = cases.iter().collect();
        commands(suite, &failed).unwrap().iter().map(|command| command.join(" ")).collect()
    }

    #[test]
    fn cargo_runs_only_what_failed() {
        let tests = [case("shop", "tests::a"), case("checkout", "b")];
        let doc = [case("shop (doc)", "src/lib.rs - total (line 11)")];
        let plain = suite(r#"{"run":["cargo","test","--workspace"],"format":"libtest","rerun":1}"#);
        assert_eq!(first_run(&plain).join(" "), "cargo test --no-fail-fast --workspace");
        assert_eq!(lines(&plain, &tests), ["cargo test --no-fail-fast --workspace -- --exact tests::a b"]);
        assert_eq!(lines(&plain, &doc), ["cargo test --no-fail-fast --workspace --doc"]);
        let options =
            suite(r#"{"run":["cargo","+nightly","t","--no-fail-fast","--","--exact","--nocapture"],"format":"libtest","rerun":1}"#);
        assert_eq!(first_run(&options), options.run);
        assert_eq!(lines(&options, &tests), ["cargo +nightly t --no-fail-fast -- --nocapture --exact tests::a b"]);
        let once = suite(r#"{"run":["cargo","test"],"format":"libtest"}"#);
        assert_eq!(first_run(&once), once.run);
    }

    #[test]
    fn node_runs_only_what_failed() {
        let node = suite(r#"{"run":["node","--test","test/"],"format":"node","rerun":1}"#);
        assert_eq!(
            lines(&node, &[case("", "cart > a (b)"), case("", "cart > c")]),
            [r"node --test-name-pattern=^(?:cart a \(b\)|cart|a \(b\)|cart c|c)$ --test test/"]
        );
    }

    #[test]
    fn jest_and_go_run_only_what_failed() {
        let jest = |run: &str| suite(&format!(r#"{{"run":{run},"format":"jest","rerun":1}}"#));
        let tests = [case("cart.test.js", "cart > a (b)"), case("cart.test.js", "c")];
        assert_eq!(lines(&jest(r#"["npx","jest","--json"]"#), &tests), [r"npx jest --testNamePattern=^(?:cart a \(b\)|c)$ --json"]);
        assert_eq!(
            lines(&jest(r#"["node_modules/.bin/vitest","run","--reporter=json"]"#), &tests[1..]),
            ["node_modules/.bin/vitest run --testNamePattern=^(?:c)$ --reporter=json"]
        );
        assert!(!has_rule(&jest(r#"["npx","jest","--json","-t","cart"]"#)) && !has_rule(&jest(r#"["npm","test"]"#)));
        let go = suite(r#"{"run":["go","test","-json","./..."],"format":"go","rerun":1}"#);
        let tests = [case("shop/cart", "TestTotal > with_tax"), case("shop/cart", "TestTotal > empty"), case("shop", "TestA")];
        assert_eq!(lines(&go, &tests), ["go test -run=^(?:TestTotal|TestA)$ -json ./..."]);
        let nextest = suite(r#"{"run":["cargo","nextest","run","-p","shop"],"format":"nextest","rerun":1,"rerun-with":["x"]}"#);
        assert_eq!(first_run(&nextest).join(" "), "cargo nextest run --no-fail-fast -p shop");
    }

    #[test]
    fn templates() {
        let mut tests = [case("shop.Cart", "adds [1]"), case("shop.Cart", "is {class}")];
        tests[0].file = "cart.py".into();
        let of = |template: &str| suite(&format!(r#"{{"run":["x"],"format":"junit","rerun":1,"rerun-with":{template}}}"#));
        let cases = [
            (r#"["npx","jest","-t","{names}"]"#, r"npx jest -t ^(?:adds \[1\]|is \{class\})$"),
            (r#"["x","--test={class}#{name}","{class}"]"#, "x --test=shop.Cart#adds [1] --test=shop.Cart#is {class} shop.Cart"),
            (r#"["pytest","--lf"]"#, "pytest --lf"),
            (r#"["x","{other}"]"#, "x {other}"),
        ];
        for (template, expected) in cases {
            assert_eq!(lines(&of(template), &tests), [expected]);
        }
    }

    #[test]
    fn what_cannot_be_run_again() {
        let node = suite(r#"{"run":["node","--test"],"format":"node","rerun":1}"#);
        let many: Vec<Case> = (0..201).map(|n| case("", &n.to_string())).collect();
        let failed: Vec<&Case> = many.iter().collect();
        assert_eq!(commands(&node, &failed), Err("201 tests failed, too many to be run again".into()));
        let nameless = case("", "(test 3, its name was not shown)");
        assert!(commands(&node, &[&nameless]).unwrap_err().contains("is not known"));
    }

    #[test]
    fn only_what_ran_again_and_passed_is_flaky() {
        let mut cases = [case("a", "x"), case("a", "y"), case("a", "z"), case("a", "w")];
        cases[0].message = "the reason".into();
        let mut again = Reading { cases: vec![case("a", "x"), case("a", "y"), case("", "z")], ..Reading::default() };
        again.cases[0].status = TestStatus::Passed;
        again.cases[2].status = TestStatus::Skipped;
        merge(&mut cases, &again, 1);
        assert_eq!(
            cases.each_ref().map(|case| case.status),
            [TestStatus::Flaky, TestStatus::Failed, TestStatus::Failed, TestStatus::Failed]
        );
        assert_eq!(cases[0].message, "failed at first, passed when it was run again (1); the first failure was\nthe reason");
    }
}
