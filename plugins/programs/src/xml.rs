//! What the XML formats share: reading a document of any size with bounded memory, and saying where it breaks off.

use std::io::{self, BufRead};

use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event as Part};
use quick_xml::reader::Reader;

use crate::ReadError;

mod short_text;

use short_text::ShortText;

/// Elements deeper than this are no report.
const DEEPEST: usize = 256;

/// What a document consists of. An empty element is opened and closed.
pub enum Event<'a> {
    Open(Element<'a>),
    Text(&'a str),
    Close,
}

/// An element that is opened.
pub struct Element<'a>(BytesStart<'a>);

impl Element<'_> {
    /// Its name without a namespace.
    pub fn name(&self) -> String {
        self.0.local_name().as_ref().to_owned()
    }

    /// An attribute with its references resolved; an entity that XML does not know is shown as it is.
    pub fn attribute(&self, name: &str) -> Option<String> {
        let attribute = self.0.try_get_attribute(name).ok().flatten()?;
        let raw = attribute.value.clone();
        match attribute.normalized_value(XmlVersion::Implicit1_0) {
            Ok(value) => Some(value.into_owned()),
            Err(_) => Some(raw.into_owned()),
        }
    }

    /// An attribute that is a number.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.attribute(name)?.trim().parse().ok()
    }
}

/// Reads a document whose root is one of `roots`, and hands out what it consists of with the byte where that ends. A document that
/// is cut off, nested too deeply or has another root is an error. Long texts and attributes are cut.
pub fn read(input: impl BufRead, roots: &[&str], mut take: impl FnMut(Event<'_>, u64) -> Result<(), ReadError>) -> Result<(), ReadError> {
    let mut reader = Reader::from_reader(ShortText::new(input));
    let mut buffer = Vec::new();
    let (mut depth, mut seen) = (0_usize, false);
    // a script runner may print a line before the document; where no document follows, that was no XML
    let mut foreign = None;
    loop {
        buffer.clear();
        let part = match reader.read_event_into(&mut buffer) {
            Ok(part) => part,
            Err(quick_xml::Error::Io(error)) => return Err(ReadError::Io(io::Error::new(error.kind(), error.to_string()))),
            Err(error) => {
                let place = format!("byte {}", reader.error_position());
                let reason = error.to_string();
                let syntax = matches!(error, quick_xml::Error::Syntax(_));
                return Err(if syntax { ReadError::CutOff { place, reason } } else { ReadError::Malformed { place, reason } });
            }
        };
        let at = reader.buffer_position();
        let empty = matches!(part, Part::Empty(_));
        match part {
            Part::Start(element) | Part::Empty(element) => {
                let element = Element(element);
                if !seen && !roots.contains(&element.name().as_str()) {
                    let reason = format!("the root is `{}`, not {}", element.name(), either(roots));
                    return Err(ReadError::malformed(format_args!("byte {at}"), reason));
                }
                if depth >= DEEPEST {
                    return Err(ReadError::malformed(format_args!("byte {at}"), "elements are nested too deeply for a report"));
                }
                seen = true;
                take(Event::Open(element), at)?;
                if empty { take(Event::Close, at)? } else { depth += 1 }
            }
            Part::End(_) => {
                depth = depth.saturating_sub(1);
                take(Event::Close, at)?;
            }
            Part::Text(text) if !seen => {
                let text: String = text.xml10_content().trim().lines().next().unwrap_or_default().chars().take(60).collect();
                foreign = foreign.or(Some(text).filter(|text| !text.is_empty()));
            }
            Part::Text(text) => take(Event::Text(&text.xml10_content()), at)?,
            Part::CData(text) => take(Event::Text(&text.xml10_content()), at)?,
            Part::GeneralRef(reference) => {
                let resolved = match reference.resolve_char_ref() {
                    Ok(Some(c)) => c.to_string(),
                    Ok(None) => quick_xml::escape::resolve_xml_entity(&reference.xml10_content()).unwrap_or_default().to_owned(),
                    Err(_) => String::new(),
                };
                take(Event::Text(&resolved), at)?;
            }
            Part::Eof if depth > 0 => {
                return Err(ReadError::cut_off(format_args!("byte {at}"), format!("{depth} XML elements are still open")));
            }
            Part::Eof if !seen && foreign.is_some() => {
                let text = foreign.unwrap_or_default();
                return Err(ReadError::malformed("its beginning", format!("`{text}` is no XML")));
            }
            Part::Eof if !seen => return Err(ReadError::cut_off(format_args!("byte {at}"), format!("there is no {}", either(roots)))),
            Part::Eof => return Ok(()),
            Part::Decl(_) | Part::Comment(_) | Part::PI(_) | Part::DocType(_) => {}
        }
    }
}

/// `` `a` or `b` ``
fn either(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(xml: &str) -> Result<String, String> {
        let mut told = String::new();
        read(xml.as_bytes(), &["a", "b"], |event, _| {
            match event {
                Event::Open(element) => told.push_str(&format!("<{} {:?}", element.name(), element.attribute("x"))),
                Event::Text(text) => told.push_str(text),
                Event::Close => told.push('>'),
            }
            Ok(())
        })
        .map_err(|error| error.to_string())?;
        Ok(told)
    }

    #[test]
    fn what_a_document_consists_of() {
        let xml =
            "> shop@1.0.0 test\n<?xml version='1.0'?><!DOCTYPE a><n:a x='1 &lt; &#65;'>t&amp;<b/><![CDATA[<c>]]><d x='&no;'></d></n:a>";
        assert_eq!(told(xml).unwrap(), "<a Some(\"1 < A\")t&<b None><c><d Some(\"&no;\")>>");
    }

    #[test]
    fn what_is_no_document() {
        for (xml, expected) in [
            ("", "is cut off at byte 0: there is no `a` or `b`"),
            ("plain\ntext", "cannot be understood at its beginning: `plain` is no XML"),
            ("<html/>", "cannot be understood at byte 7: the root is `html`, not `a` or `b`"),
            ("<a><b>", "is cut off at byte 6: 2 XML elements are still open"),
            ("<a x='", "is cut off at byte"),
            ("<a></b>", "cannot be understood at byte"),
        ] {
            let error = told(xml).unwrap_err();
            assert!(error.starts_with(expected), "{xml}: {error}");
        }
        assert!(told(&"<a>".repeat(300)).unwrap_err().ends_with("nested too deeply for a report"));
    }

    #[test]
    fn a_huge_attribute_is_cut() {
        let told = told(&format!("<a x=\"{}\"/>", "&amp;".repeat(1_000_000))).unwrap();
        assert!(told.len() < 200_000, "{}", told.len());
    }
}
