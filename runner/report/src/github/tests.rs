use event::{Finding, Kind, Location, Severity};

use super::*;
use crate::script::{self, Broken, Buffer, play};

fn log(events: &[Event], verbosity: Verbosity) -> String {
    let buffer = Buffer::default();
    let options = Options { verbosity, ..Options::default() };
    let token = || Some("0123456789abcdef0123456789abcdef".to_owned());
    play(&Github::with(buffer.clone(), options, Sources::below("services/shop"), token), events);
    buffer.text()
}

const KNOWN: [&str; 14] = [
    "error",
    "warning",
    "notice",
    "group",
    "endgroup",
    "add-mask",
    "add-matcher",
    "add-path",
    "debug",
    "echo",
    "save-state",
    "set-env",
    "set-output",
    "stop-commands",
];

/// The commands that GitHub's runner obeys, by the rules of its `ActionCommand` and `ActionCommandManager`.
fn obeyed(log: &str) -> Vec<String> {
    let mut token: Option<String> = None;
    let mut obeyed = Vec::new();
    for line in log.split(['\r', '\n']) {
        let known = |name: &str| KNOWN.contains(&name.to_lowercase().as_str()) || token.as_deref() == Some(name);
        let newer = line.trim_start().strip_prefix("::").and_then(|rest| {
            let (info, data) = rest.split_once("::")?;
            Some((info.split(' ').next().unwrap_or_default(), data))
        });
        let older = line.find("##[").and_then(|at| {
            let (info, data) = line[at + 3..].split_once(']')?;
            Some((info.split(' ').next().unwrap_or_default(), data))
        });
        let Some((name, data)) = newer.filter(|(name, _)| known(name)).or(older.filter(|(name, _)| known(name))) else { continue };
        match &token {
            Some(wanted) if wanted == name => token = None,
            Some(_) => continue,
            None if name == "stop-commands" => token = Some(data.to_owned()),
            None => {}
        }
        obeyed.push(name.to_owned());
    }
    assert_eq!(token, None, "commands stay stopped");
    obeyed
}

#[test]
fn a_whole_run() {
    let text = log(&script::whole(), Verbosity::Normal);
    assert!(!text.contains('\u{1b}') && !text.contains('\r'));
    insta::assert_snapshot!(text);
}

#[test]
fn no_word_of_a_stage_is_obeyed() {
    let token = "0123456789abcdef0123456789abcdef";
    let all = ["group", "stop-commands", token, "endgroup", "error", "error", "error", "warning", "warning", "notice"];
    assert_eq!(obeyed(&log(&script::hostile(), Verbosity::Normal)), all);
    for verbosity in [Verbosity::Quiet, Verbosity::Verbose] {
        assert_eq!(obeyed(&log(&script::hostile(), verbosity)), all[4..], "{verbosity:?}");
    }
    // the test's own reader does read what is not disarmed
    assert_eq!(obeyed("  ::error::x\na ##[group]b\n::other::c"), ["error", "group"]);
}

#[test]
fn properties_and_data_are_escaped_each_by_its_own_rule() {
    assert_eq!(data("100% a:b,c\r\nd"), "100%25 a:b,c%0D%0Ad");
    assert_eq!(property("100% a:b,c\r\nd"), "100%25 a%3Ab%2Cc%0D%0Ad");
}

#[test]
fn of_more_than_ten_the_gravest_are_shown_and_the_others_counted() {
    let finding = |severity, line| Finding {
        severity,
        tool: "eslint".to_owned(),
        rule: "no-var".to_owned(),
        message: format!("line {line}"),
        location: Some(Location { path: "a.js".to_owned(), line, column: 0, end_line: line + 1, end_column: 0 }),
        help: String::new(),
        url: String::new(),
        counted: true,
    };
    let mut findings: Vec<Finding> = (1..=30).map(|line| finding(Severity::High, line)).collect();
    findings.extend([finding(Severity::Critical, 99), finding(Severity::Low, 50)]);
    let events = [
        script::started(&["a", "b"]),
        script::begin(0.0, "a", 1, "lint"),
        script::at(0.5, Kind::Findings { stage: script::stage("a"), findings }),
        script::ended(1.0, "a", 1, 1.0, script::failed(event::FailureKind::Failed, "31 findings")),
        script::ended(1.0, "b", 1, 1.0, script::failed(event::FailureKind::TimedOut, "its timeout of 1s passed")),
        script::at(1.0, Kind::RunFinished { verdict: event::Verdict::Failed, nanos: script::SECOND }),
    ];
    let text = log(&events, Verbosity::Quiet);
    let errors: Vec<&str> = text.lines().filter(|line| line.starts_with("::error ")).collect();
    assert_eq!(errors.len(), 10, "{text}");
    // a stage that could not do its work is an annotation itself, one that judged is explained by what it judged
    assert_eq!(errors[0], "::error file=services/shop/pipeline.toml,line=20,title=stage b timed out::timed out: its timeout of 1s passed");
    assert_eq!(errors[1], "::error file=services/shop/a.js,line=99,endLine=100,title=eslint no-var::line 99");
    assert!(text.contains("\nGitHub shows 10 errors of a step: 22 errors more are not annotated\n"), "{text}");
    assert_eq!(text.matches("::notice ").count(), 1);
}

#[test]
fn a_denial_that_the_stage_could_do_without_is_a_warning() {
    let run = |outcome| {
        let events = [
            script::started(&["notify"]),
            script::begin(0.0, "notify", 1, "notify"),
            script::at(0.5, Kind::Denied { stage: script::stage("notify"), denial: script::denial() }),
            script::at(0.6, Kind::Denied { stage: script::stage("notify"), denial: script::denial() }),
            script::ended(1.0, "notify", 1, 1.0, outcome),
            script::at(1.0, Kind::RunFinished { verdict: event::Verdict::Passed, nanos: script::SECOND }),
        ];
        obeyed(&log(&events, Verbosity::Normal))
    };
    assert_eq!(run(script::passed("")), ["warning"]);
    assert_eq!(run(script::failed(event::FailureKind::Denied, "no")), ["error"]);
}

#[test]
fn tokens_differ_and_a_log_that_can_not_be_guarded_is_left_out() {
    assert_ne!(random(), random());
    assert_eq!(random().map(|token| token.len()), Some(32));
    let buffer = Buffer::default();
    play(&Github::with(buffer.clone(), Options::default(), Sources::default(), || None), &script::hostile());
    assert!(!obeyed(&buffer.text()).contains(&"group".to_owned()), "{}", buffer.text());
}

#[test]
fn a_pipe_whose_reader_has_gone_does_not_stop_the_run() {
    play(&Github::new(Broken, Options::default(), Sources::default()), &script::whole());
}
