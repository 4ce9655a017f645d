//! `concurrency`: runs that take turns.

use crate::diagnostic::Diagnostic;
use crate::node::{Node, Spanned, TableReader, Value};
use crate::plan::OnBusy;

#[derive(Debug, Clone)]
pub struct Concurrency {
    /// Not yet interpolated.
    pub group: Spanned<String>,
    pub on_busy: OnBusy,
}

const ON_BUSY: [(&str, OnBusy); 3] = [("queue", OnBusy::Queue), ("cancel-older", OnBusy::CancelOlder), ("fail", OnBusy::Fail)];

impl Concurrency {
    /// A table, or the group's name alone.
    pub(super) fn read(node: &Node, diagnostics: &mut Vec<Diagnostic>) -> Option<Concurrency> {
        let concurrency = match &node.value {
            Value::String(group) => {
                Concurrency { group: Spanned { value: group.clone(), span: node.span.clone() }, on_busy: OnBusy::Queue }
            }
            _ => {
                let mut reader = TableReader::new(node, "`concurrency`", diagnostics)?;
                reader.require("group");
                let group = reader.string("group");
                let on_busy = reader.word("on-busy", &ON_BUSY).map_or(OnBusy::Queue, |word| word.value);
                reader.finish();
                Concurrency { group: group?, on_busy }
            }
        };
        if concurrency.group.value.trim().is_empty() {
            let message = "a group has a name";
            diagnostics.push(Diagnostic::error("bad-value", concurrency.group.span, message).hint("write `concurrency = \"deploy\"`"));
            return None;
        }
        Some(concurrency)
    }
}
