use super::*;
use crate::script::{self, Broken, Buffer, play};

fn plain(events: &[Event], options: Options) -> String {
    let buffer = Buffer::default();
    play(&Plain::new(buffer.clone(), options), events);
    buffer.text()
}

#[test]
fn a_whole_run_as_a_ci_log() {
    let text = plain(&script::whole(), Options::default());
    assert!(!text.contains('\u{1b}') && !text.contains('\r'));
    insta::assert_snapshot!("normal", text);
}

#[test]
fn verbose_has_every_line_and_quiet_only_failures() {
    insta::assert_snapshot!("verbose", plain(&script::whole(), Options { verbosity: Verbosity::Verbose, ..Options::default() }));
    insta::assert_snapshot!("quiet", plain(&script::whole(), Options { verbosity: Verbosity::Quiet, ..Options::default() }));
}

#[test]
fn a_run_that_waits_for_people_and_the_session_that_follows() {
    let narrow = Options { width: Some(80), ..Options::default() };
    insta::assert_snapshot!("waiting", plain(&script::waiting(), narrow));
    insta::assert_snapshot!("resumed", plain(&script::resumed(), narrow));
}

#[test]
fn the_checkout_is_named_and_what_it_holds_beyond_its_commit() {
    let git = |branch: Option<&str>, dirty| event::GitFacts {
        branch: branch.map(str::to_owned),
        sha: Some("0123456789abcdef0123456789abcdef01234567".to_owned()),
        dirty,
    };
    let end = script::at(1.0, Kind::RunFinished { verdict: event::Verdict::Passed, nanos: script::SECOND });
    for (git, told) in [
        (git(Some("main"), Some(true)), "main 0123456, with uncommitted changes"),
        (git(Some("main"), Some(false)), "main 0123456"),
        (git(None, None), "0123456"),
    ] {
        let text = plain(&[script::started_on(&["a"], git), end.clone()], Options::default());
        assert!(text.contains(&format!("shop on {told}: 1 stage")), "{text}");
        assert!(text.contains(&format!("\ncheckout   {told}\n")), "{text}");
    }
    let unknown = event::GitFacts::default();
    assert!(!plain(&[script::started_on(&["a"], unknown), end], Options::default()).contains("checkout"));
}

#[test]
fn how_to_go_on_depends_on_how_the_run_ended() {
    let end = |verdict| {
        let events = [script::started(&["a"]), script::at(1.0, Kind::RunFinished { verdict, nanos: script::SECOND })];
        plain(&events, Options::default()).lines().last().unwrap().to_owned()
    };
    use event::Verdict::{Denied, Failed, Interrupted, Passed, Terminated, TimedOut};
    assert_eq!(end(Passed), "PASSED  shop in 1.0s");
    for verdict in [Failed, Denied, TimedOut] {
        assert_eq!(end(verdict), "go on      runner resume 0197-cafe --failed or runner show 0197-cafe");
    }
    for verdict in [Interrupted, Terminated] {
        assert_eq!(end(verdict), "go on      runner resume 0197-cafe or runner show 0197-cafe");
    }
}

#[test]
fn a_quiet_run_that_passes_is_one_line() {
    let events = [
        script::started(&["a"]),
        script::begin(0.0, "a", 1, "command"),
        script::ended(1.0, "a", 1, 1.0, script::passed("ok")),
        script::at(1.0, Kind::RunFinished { verdict: event::Verdict::Passed, nanos: script::SECOND }),
    ];
    assert_eq!(plain(&events, Options { verbosity: Verbosity::Quiet, ..Options::default() }), "PASSED  shop in 1.0s\n");
}

#[test]
fn a_pipe_whose_reader_has_gone_does_not_stop_the_run() {
    play(&Plain::new(Broken, Options::default()), &script::whole());
}

#[test]
fn what_a_run_is_for_and_whose_turn_it_is() {
    let deploy = || Some(script::stage("deploy"));
    let waits = |stage, holder: Option<&str>, holder_stage: Option<&str>| Kind::GroupWaiting {
        stage,
        group: "production".to_owned(),
        holder: holder.map(str::to_owned),
        holder_stage: holder_stage.map(str::to_owned),
    };
    let events = [
        script::started_for(&["deploy"]),
        script::at(0.0, waits(None, Some("0196-beef"), None)),
        script::at(1.0, waits(deploy(), Some("0196-beef"), Some("canary"))),
        script::at(2.0, waits(deploy(), None, None)),
        script::begin(3.0, "deploy", 1, "command"),
    ];
    let text = plain(&events, Options::default());
    let lines: Vec<&str> = text.lines().skip(1).map(|line| line.trim_start().split_once("  ").map_or(line, |(_, rest)| rest)).collect();
    let wanted = [
        "push of main (trust: branch), pipeline from stable (0123456789ab)",
        "waiting for group production, held by run 0196-beef",
        "[deploy] waiting for group production, held by stage canary of run 0196-beef",
        "[deploy] waiting for group production",
        "[deploy] started: command",
    ];
    assert_eq!(lines, wanted);
}
