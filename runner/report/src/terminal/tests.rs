use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use unicode_width::UnicodeWidthStr;

use super::*;
use crate::script::{self, Buffer, SECOND, START, play};

fn options(width: usize) -> Options {
    Options { color: false, unicode: true, width: Some(width), verbosity: Verbosity::Normal }
}

/// What has scrolled up and what is live, at one moment of the scripted run.
fn screen(events: &[Event], options: Options, seconds: u64) -> String {
    let terminal = Terminal::with(std::io::sink(), options, || Size { columns: 80, rows: 24 }, || 0);
    let mut state = State { run: Run::default(), pending: String::new(), open: HashMap::new(), over: false };
    for event in events {
        state.run.apply(event);
        terminal.shared.note(&mut state, event);
    }
    let size = Size { columns: options.width.unwrap() - 1, rows: 24 };
    let live = frame(&state.run, size, START + seconds * SECOND, terminal.shared.symbols);
    let live: String = live.iter().map(|line| line.render(options.color, options.unicode) + "\n").collect();
    format!("{}=== live ===\n{live}", state.pending)
}

#[test]
fn the_run_in_the_middle_and_at_its_end_at_three_widths() {
    for width in [40, 80, 120] {
        insta::assert_snapshot!(format!("middle_{width}"), screen(&script::first_half(), options(width), 45));
        insta::assert_snapshot!(format!("end_{width}"), screen(&script::whole(), options(width), 58));
    }
}

#[test]
fn a_stage_that_waits_for_its_turn_is_live() {
    let waiting = Kind::GroupWaiting {
        stage: Some(script::stage("deploy")),
        group: "production".to_owned(),
        holder: Some("0196-beef".to_owned()),
        holder_stage: None,
    };
    let text = screen(&[script::started_for(&["deploy", "docs"]), script::at(1.0, waiting)], options(120), 5);
    let (told, live) = text.split_once("=== live ===\n").unwrap();
    assert!(told.contains("push of main (trust: branch)") && told.contains("uncommitted changes"), "{told}");
    assert!(told.contains("deploy  waiting for group production, held by run 0196-beef"), "{told}");
    assert!(live.contains("4.0s") && live.contains("waiting for group production, held by run 0196-beef"), "{live}");
    assert!(live.contains("0/2 stages") && live.contains("1 waiting for a group"), "{live}");
}

/// The stage begins, and then its plugin turns out not to be in the store.
#[test]
fn a_plugin_is_compiled_until_it_is() {
    let (plugin, digest) = ("canary".to_owned(), "digest-of-canary".to_owned());
    let compiling = script::at(1.1, Kind::Compiling { plugin: plugin.clone(), digest: digest.clone() });
    let compiled = script::at(2.0, Kind::Compiled { plugin, digest });
    let mut events = vec![script::started_for(&["deploy"]), script::begin(1.0, "deploy", 1, "canary"), compiling];
    assert!(screen(&events, options(80), 3).contains("compiling canary"));
    events.push(compiled);
    let shown = screen(&events, options(80), 3);
    assert!(!shown.contains("compiling") && shown.contains("deploy"), "{shown}");
}

#[test]
fn colour_ascii_quiet_and_verbose() {
    insta::assert_snapshot!("color_80", screen(&script::whole(), Options { color: true, ..options(80) }, 58).replace('\u{1b}', "␛"));
    let ascii = screen(&script::whole(), Options { unicode: false, ..options(80) }, 58);
    assert!(ascii.is_ascii());
    insta::assert_snapshot!("ascii_80", ascii);
    insta::assert_snapshot!("quiet_80", screen(&script::whole(), Options { verbosity: Verbosity::Quiet, ..options(80) }, 58));
    insta::assert_snapshot!("verbose_80", screen(&script::whole(), Options { verbosity: Verbosity::Verbose, ..options(80) }, 58));
}

#[test]
fn a_run_that_waits_for_people_and_the_session_that_follows() {
    let waiting = script::waiting();
    let (end, before) = waiting.split_last().unwrap();
    insta::assert_snapshot!("asks_80", screen(before, options(80), 5));
    insta::assert_snapshot!("waiting_80", screen(&waiting, options(80), 5));
    insta::assert_snapshot!("resumed_80", screen(&script::resumed(), options(80), 3603));
    assert!(matches!(end.kind, Kind::RunFinished { .. }));
    let quiet = Options { verbosity: Verbosity::Quiet, ..options(80) };
    insta::assert_snapshot!("waiting_quiet_80", screen(&waiting, quiet, 5));
}

#[test]
fn a_message_of_several_lines_keeps_them() {
    let message = "`tags` must be a list\n --> pipeline.toml:12:8\n  |\n12| tags = 3\n  |        ^ a number\n";
    let events =
        [script::started(&["image"]), script::ended(1.0, "image", 1, 0.0, script::failed(event::FailureKind::Misconfigured, message))];
    let wanted = "✗ image    0.0ms  misconfigured: `tags` must be a list\n     --> pipeline.toml:12:8\n      |\n    12| tags = 3\n      |        ^ a number\n";
    let shown = screen(&events, options(80), 1);
    assert!(shown.contains(wanted), "{shown}");
}

/// A terminal of fixed size that understands what `paint` writes, and nothing else.
struct Emulator {
    columns: usize,
    lines: Vec<Vec<char>>,
    row: usize,
    column: usize,
}

impl Emulator {
    fn new(columns: usize) -> Emulator {
        Emulator { columns, lines: vec![vec![]], row: 0, column: 0 }
    }

    fn write(&mut self, text: &str) {
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            match c {
                '\u{1b}' => {
                    let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                    let (sequence, after) = rest.split_at(end + 1);
                    rest = after;
                    match sequence {
                        "[J" => {
                            self.lines.truncate(self.row + 1);
                            self.lines[self.row].truncate(self.column);
                        }
                        "[2K" => self.lines[self.row].clear(),
                        "[?2026h" | "[?2026l" => {}
                        up if up.ends_with('A') => {
                            let rows: usize = up[1..up.len() - 1].parse().unwrap();
                            self.row = self.row.checked_sub(rows).expect("the cursor stays on the screen");
                        }
                        other => panic!("{other:?} is not for this terminal"),
                    }
                }
                '\r' => self.column = 0,
                '\n' => {
                    self.row += 1;
                    self.column = 0;
                    if self.row == self.lines.len() {
                        self.lines.push(vec![]);
                    }
                }
                c => {
                    if self.column == self.columns {
                        self.write("\n");
                    }
                    let line = &mut self.lines[self.row];
                    line.resize(line.len().max(self.column + 1), ' ');
                    line[self.column] = c;
                    self.column += 1;
                }
            }
        }
    }

    fn text(&self) -> String {
        let lines: Vec<String> = self.lines.iter().map(|line| line.iter().collect::<String>().trim_end().to_owned()).collect();
        lines.join("\n")
    }
}

#[test]
fn frames_replace_each_other_and_lines_that_stay_scroll_above_them() {
    let mut emulator = Emulator::new(20);
    let frame = |lines: &[&str]| lines.iter().map(|line| line.to_string()).collect::<Vec<_>>();
    emulator.write(&paint(&[], 20, "", &frame(&["one running", "tail", "footer"])));
    assert_eq!(emulator.text(), "one running\ntail\nfooter\n");
    emulator.write(&paint(&[11, 4, 6], 20, "", &frame(&["two", "footer"])));
    assert_eq!(emulator.text(), "two\nfooter\n");
    emulator.write(&paint(&[3, 6], 20, "one ended and its line is longer than the screen\n", &frame(&["footer"])));
    assert_eq!(emulator.text(), "one ended and its li\nne is longer than th\ne screen\nfooter\n");
    emulator.write(&paint(&[6], 20, "two ended\n", &[]));
    assert_eq!(emulator.text(), "one ended and its li\nne is longer than th\ne screen\ntwo ended\n");
}

#[test]
fn in_a_window_that_became_narrower_the_wrapped_frame_is_erased_too() {
    let mut emulator = Emulator::new(10);
    // Drawn as two lines when there were 20 columns; the terminal has rewrapped the first into two rows.
    emulator.write("a long lin\ne\nfooter\n");
    emulator.write(&paint(&[11, 6], 10, "", &["new".to_owned()]));
    assert_eq!(emulator.text(), "new\n");
}

#[test]
fn the_sink_draws_by_itself_and_leaves_the_summary_alone_on_the_screen() {
    let buffer = Buffer::default();
    let now = std::sync::Arc::new(AtomicU64::new(START + 45 * SECOND));
    let clock = now.clone();
    let terminal = Terminal::with(buffer.clone(), options(80), || Size { columns: 80, rows: 24 }, move || clock.load(Ordering::Relaxed));
    play(&terminal, &script::first_half());
    let patience = std::time::Instant::now();
    while !buffer.text().contains("2/9 stages") && patience.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(5));
        if buffer.text().contains("1/9 stages") {
            break;
        }
    }
    assert!(buffer.text().contains("1/9 stages"), "no frame was drawn: {}", buffer.text());
    now.store(START + 58 * SECOND, Ordering::Relaxed);
    play(&terminal, &script::second_half());
    let shown = {
        let mut emulator = Emulator::new(200);
        emulator.write(&buffer.text());
        emulator.text()
    };
    assert!(!shown.contains("1/9 stages"), "the frame is gone: {shown}");
    let last = "DENIED  shop in 57.2s: lint, test (app=backend), notify\n\
                go on      runner resume 0197-cafe --failed or runner show 0197-cafe";
    assert!(shown.trim_end().ends_with(last), "{shown}");
    let before = buffer.text().len();
    drop(terminal);
    let after = buffer.text();
    assert!(!after[before..].contains("stages"), "nothing is drawn after the end");
}

#[test]
fn a_run_that_breaks_off_leaves_no_frame_behind() {
    let buffer = Buffer::default();
    let terminal = Terminal::with(buffer.clone(), options(80), || Size { columns: 80, rows: 24 }, || START + SECOND);
    play(&terminal, &script::first_half());
    terminal.shared.draw();
    assert!(buffer.text().contains("1/9 stages"));
    drop(terminal);
    let mut emulator = Emulator::new(200);
    emulator.write(&buffer.text());
    assert!(!emulator.text().contains("1/9 stages"), "{}", emulator.text());
}

#[test]
fn a_terminal_that_has_gone_does_not_stop_the_run() {
    play(&Terminal::with(script::Broken, options(80), || Size { columns: 80, rows: 24 }, || START), &script::whole());
}

#[test]
#[allow(clippy::print_stdout)]
fn a_hundred_gigabytes_of_log_a_minute_are_taken_in() {
    let terminal = Terminal::with(std::io::sink(), options(80), || Size { columns: 80, rows: 24 }, || START);
    play(&terminal, &[script::started(&["build"]), script::begin(0.0, "build", 1, "command")]);
    let chunk = "a line of a log that is about as long as they usually are, give or take\n".repeat(900);
    let event = script::output(1.0, "build", &chunk);
    let clock = std::time::Instant::now();
    let rounds = 8_000;
    for _ in 0..rounds {
        terminal.emit(&event);
    }
    let rate = (chunk.len() * rounds) as f64 / clock.elapsed().as_secs_f64() / 1e9;
    println!("{rate:.1} GB/s");
    assert!(rate > 0.5, "{rate:.2} GB/s");
}

#[test]
#[allow(clippy::print_stdout)]
fn ten_thousand_stages_cost_the_report_little() {
    let terminal = Terminal::with(std::io::sink(), options(80), || Size { columns: 80, rows: 24 }, || START);
    let ids: Vec<String> = (0..10_000).map(|stage| format!("stage-{stage}")).collect();
    let clock = std::time::Instant::now();
    play(&terminal, &[script::started(&ids.iter().map(String::as_str).collect::<Vec<_>>())]);
    for id in &ids {
        play(&terminal, &[script::begin(0.0, id, 1, "noop"), script::ended(0.0, id, 1, 0.0001, script::passed(""))]);
    }
    play(&terminal, &[script::at(1.0, Kind::RunFinished { verdict: event::Verdict::Passed, nanos: SECOND })]);
    println!("{:?} a stage", clock.elapsed() / 10_000);
    assert!(clock.elapsed() < Duration::from_secs(1), "{:?}", clock.elapsed());
}

/// Text as a hostile stage would choose it.
fn hostile() -> impl Strategy<Value = String> {
    "[a-z 日本é👩🏽\u{200d}\u{fe0f}\u{202e}\\x00-\\x1f\\x7f\u{1b}\\[\\]0-9;mHJ\\\\\u{9b}\n\r\t]{0,80}"
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever stages say, a line of the frame fits the terminal, the frame fits its rows, and nothing in it acts on the terminal;
    /// nothing in the lines that stay acts either, and only those that are to be copied are wider.
    #[test]
    fn no_stage_can_paint_the_terminal(
        names in proptest::collection::vec(hostile(), 1..8),
        texts in proptest::collection::vec(hostile(), 8),
        columns in 10usize..140,
        rows in 2usize..30,
        color in any::<bool>(),
        done in any::<u64>(),
        total in any::<u64>(),
    ) {
        let symbols = &UNICODE;
        let mut events = vec![script::started(&[])];
        for (index, name) in names.iter().enumerate() {
            let stage = StageRef::new(name);
            events.push(script::begin(0.0, name, 1 + index as u32 % 2, &texts[0]));
            events.push(script::output(0.1, name, &texts[1]));
            if index % 3 == 0 {
                events.push(script::at(0.2, Kind::Progress { stage: stage.clone(), done, total, message: texts[2].clone() }));
            }
            if index % 3 == 1 {
                events.push(script::at(0.2, Kind::CommandStarted { stage, command: 1, line: texts[3].clone(), place: String::new() }));
            }
        }
        events.push(script::at(0.3, Kind::Compiling { plugin: texts[4].clone(), digest: String::new() }));
        events.push(script::at(0.3, Kind::Stopping { reason: texts[5].clone() }));
        let mut run = Run::default();
        events.iter().for_each(|event| run.apply(event));
        let lines = frame(&run, Size { columns, rows }, START + SECOND, symbols);
        prop_assert!(lines.len() < rows.max(2), "{} lines in {rows} rows", lines.len());
        for line in &lines {
            let text = line.render(false, true);
            prop_assert!(UnicodeWidthStr::width(text.as_str()) <= columns, "{text:?}");
            prop_assert!(!text.chars().any(sanitize::acts), "{text:?}");
        }

        let options = Options { color, width: Some(columns), unicode: true, verbosity: Verbosity::Verbose };
        let outcome = script::failed(event::FailureKind::Crashed, &texts[6]);
        for name in &names {
            events.push(script::ended(2.0, name, 1, 1.0, outcome.clone()));
        }
        events.push(script::at(2.0, Kind::Warning { message: texts[7].clone() }));
        events.push(script::at(2.0, Kind::RunFinished { verdict: event::Verdict::Failed, nanos: 2 * SECOND }));
        let shown = screen(&events, options, 3);
        let own = ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[2m", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m", "\u{1b}[36m"];
        let bare = own.iter().fold(shown, |text, sequence| text.replace(sequence, ""));
        for line in bare.lines() {
            prop_assert!(!line.chars().any(sanitize::acts), "{line:?}");
        }
    }
}
