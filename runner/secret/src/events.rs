//! The door through which events leave a run: nothing that is known to be secret passes it.

use std::sync::Arc;

use event::{Event, EventSink, Kind};

use crate::mask::Mask;

/// Hides secrets in every event, whoever made it. Pieces of logs were masked as streams, where a secret may come in two pieces.
pub struct MaskedSink<S> {
    mask: Arc<Mask>,
    inner: S,
}

impl<S: EventSink> MaskedSink<S> {
    pub fn new(mask: Arc<Mask>, inner: S) -> Self {
        MaskedSink { mask, inner }
    }
}

impl<S: EventSink> EventSink for MaskedSink<S> {
    fn emit(&self, event: &Event) {
        if self.mask.is_empty() || matches!(event.kind, Kind::Output { .. }) {
            return self.inner.emit(event);
        }
        match masked(&self.mask, event) {
            None => self.inner.emit(event),
            Some(event) => self.inner.emit(&event),
        }
    }
}

/// The event with its secrets hidden; `None` if it has none.
fn masked(mask: &Mask, event: &Event) -> Option<Event> {
    let text = serde_json::to_string(event).unwrap_or_default();
    if !mask.hides(text.as_bytes()) {
        return None;
    }
    let mut value = serde_json::from_str(&text).unwrap_or_default();
    mask.json(&mut value);
    let gone = |_| Event { at: event.at, kind: Kind::Warning { message: "an event held a secret and is not shown".to_owned() } };
    Some(serde_json::from_value(value).unwrap_or_else(gone))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use event::{DenialRecord, StageRef};

    use super::*;
    use crate::Value;

    #[derive(Default)]
    struct Kept(Mutex<Vec<Event>>);
    impl EventSink for Kept {
        fn emit(&self, event: &Event) {
            self.0.lock().unwrap().push(event.clone());
        }
    }

    #[test]
    fn a_secret_in_any_field_is_hidden() {
        let (mask, kept) = (Arc::new(Mask::default()), Arc::new(Kept::default()));
        mask.learn(&Value::new(b"pass\"word".to_vec()).unwrap());
        let sink = MaskedSink::new(mask, kept.clone());
        let denial = DenialRecord {
            effect: "http.request".into(),
            subject: "GET https://a.example/pass%22word".into(),
            code: "not-granted".into(),
            reason: "pass\"word is not granted".into(),
            remedy: None,
        };
        sink.emit(&Event { at: u64::MAX - 7, kind: Kind::Denied { stage: StageRef::new("s"), denial } });
        sink.emit(&Event { at: 3, kind: Kind::Warning { message: "nothing".into() } });
        let kept = kept.0.lock().unwrap();
        assert_eq!(kept[0].at, u64::MAX - 7);
        let Kind::Denied { denial, .. } = &kept[0].kind else { panic!("{:?}", kept[0]) };
        assert_eq!(denial.subject, "GET https://a.example/***********");
        assert_eq!(denial.reason, "********* is not granted");
        assert_eq!(denial.code, "not-granted");
        assert!(matches!(&kept[1].kind, Kind::Warning { message } if message == "nothing"));
    }
}
