//! XML as tests look at it: well-formed or a panic, then a flat list of elements.

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// An element with its attributes and the text directly in it.
#[derive(Debug, Clone, Default)]
pub struct Element {
    pub name: String,
    /// How many elements it is in.
    pub depth: usize,
    pub attributes: BTreeMap<String, String>,
    pub text: String,
}

/// All elements in the order in which they begin.
#[track_caller]
pub fn elements(xml: &str) -> Vec<Element> {
    let mut reader = Reader::from_str(xml);
    reader.config_mut().check_end_names = true;
    let (mut found, mut open): (Vec<Element>, Vec<usize>) = (Vec::new(), Vec::new());
    loop {
        match reader.read_event().unwrap_or_else(|error| panic!("not well-formed: {error}\n{xml}")) {
            Event::Start(start) => {
                open.push(found.len());
                found.push(element(&start, open.len() - 1));
            }
            Event::Empty(start) => found.push(element(&start, open.len())),
            Event::End(_) => {
                open.pop().expect("an element ends that was never begun");
            }
            Event::Text(text) => {
                if let Some(at) = open.last() {
                    found[*at].text.push_str(&text);
                }
            }
            Event::CData(text) => {
                if let Some(at) = open.last() {
                    found[*at].text.push_str(&text);
                }
            }
            Event::Eof => break,
            _ => {}
        }
    }
    assert!(open.is_empty(), "elements that never end\n{xml}");
    found
}

fn element(start: &BytesStart<'_>, depth: usize) -> Element {
    let attributes = start.attributes().map(|attribute| {
        let attribute = attribute.expect("a well-formed attribute");
        (attribute.key.as_ref().to_owned(), attribute.value.into_owned())
    });
    Element { name: start.name().as_ref().to_owned(), depth, attributes: attributes.collect(), text: String::new() }
}
