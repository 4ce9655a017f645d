use super::*;
use crate::script::{self, Broken, Buffer, play};

fn log(events: &[Event], verbosity: Verbosity) -> String {
    let buffer = Buffer::default();
    play(&Gitlab::new(buffer.clone(), Options { verbosity, ..Options::default() }), events);
    buffer.text()
}

#[test]
fn a_whole_run() {
    insta::assert_snapshot!(log(&script::whole(), Verbosity::Normal).replace('\u{1b}', "ESC").replace('\r', "CR"));
}

#[test]
fn no_stage_opens_or_closes_a_section() {
    let text = log(&script::hostile(), Verbosity::Normal);
    assert_eq!((text.matches("\u{1b}[0Ksection_start:").count(), text.matches("\u{1b}[0Ksection_end:").count()), (1, 1));
    // two escapes and a carriage return for each mark, and no other
    assert_eq!((text.matches('\u{1b}').count(), text.matches('\r').count()), (4, 2));
    for verbosity in [Verbosity::Quiet, Verbosity::Verbose] {
        assert!(!log(&script::hostile(), verbosity).contains(['\u{1b}', '\r']));
    }
}

#[test]
fn a_long_log_keeps_its_end_and_says_where_the_rest_is() {
    let mut events = vec![script::started(&["a"]), script::begin(0.0, "a", 1, "command")];
    events.extend((0..3_000).map(|line| script::output(0.1, "a", &format!("line {line}\n"))));
    events.push(script::ended(1.0, "a", 1, 1.0, script::passed("")));
    let text = log(&events, Verbosity::Normal);
    assert!(text.contains("log of a: the last 1000 lines of .runner/runs/0197-cafe/a.log\n| line 2000\n"), "{text}");
    assert!(!text.contains("line 1999"), "{text}");
}

#[test]
fn a_pipe_whose_reader_has_gone_does_not_stop_the_run() {
    play(&Gitlab::new(Broken, Options::default()), &script::whole());
}
