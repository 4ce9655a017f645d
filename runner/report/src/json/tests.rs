use super::*;
use crate::script::{self, Broken, Buffer, play};

#[test]
fn one_event_a_line_with_the_schema_first_and_every_event_readable_again() {
    let buffer = Buffer::default();
    play(&Json::new(buffer.clone()), &script::whole());
    let text = buffer.text();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some(r#"{"event":"schema","schema":1}"#));
    let events: Vec<Event> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), script::whole().len());
    let again = Buffer::default();
    play(&Json::new(again.clone()), &events);
    assert_eq!(again.text(), text);
    insta::assert_snapshot!(text);
}

#[test]
fn what_waits_and_what_is_resumed_is_readable_again() {
    for events in [script::waiting(), script::resumed()] {
        let buffer = Buffer::default();
        play(&Json::new(buffer.clone()), &events);
        let text = buffer.text();
        let read: Vec<Event> = text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
        let again = Buffer::default();
        play(&Json::new(again.clone()), &read);
        assert_eq!(again.text(), text);
    }
    let buffer = Buffer::default();
    play(&Json::new(buffer.clone()), &script::resumed());
    for wanted in [r#""event":"run-resumed""#, r#""session":2"#, r#""event":"stage-suspended""#, r#""verdict":"waiting""#] {
        assert!(buffer.text().contains(wanted), "{wanted}");
    }
}

#[test]
fn a_reader_is_never_behind() {
    let buffer = Buffer::default();
    let json = Json::new(buffer.clone());
    for (index, event) in script::whole().iter().enumerate() {
        json.emit(event);
        assert_eq!(buffer.text().lines().count(), index + 2);
    }
}

#[test]
fn a_pipe_whose_reader_has_gone_is_left_alone() {
    let json = Json::new(Broken);
    play(&json, &script::whole());
    assert!(json.state.lock().unwrap().out.broken());
}
