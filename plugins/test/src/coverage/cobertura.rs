//! Cobertura's XML (`coverage-04.dtd`): classes with their file, methods and lines. Many tools write it, and not all write methods;
//! branches are numbers on a line (`condition-coverage="50% (1/2)"`), which of them was taken is not said.

use std::io::BufRead;

use runner_programs::ReadError;
use runner_programs::xml::{self, Element, Event};

use super::{Coverage, add};

/// The file and the method around a line.
#[derive(Default)]
struct Around {
    file: Option<String>,
    class: String,
    method: Option<String>,
    /// The names of the elements that are open, without their attributes.
    open: Vec<&'static str>,
}

pub fn read(coverage: &mut Coverage, input: impl BufRead) -> Result<(), ReadError> {
    let mut around = Around::default();
    let mut seen = false;
    let mut packages = false;
    xml::read(input, &["coverage"], |event, _| {
        match event {
            Event::Open(element) => {
                let name = element.name();
                packages |= name == "packages";
                around.open.push(match name.as_str() {
                    "class" => {
                        around.file = element.attribute("filename").filter(|file| !file.is_empty());
                        around.class = element.attribute("name").unwrap_or_default();
                        if let Some(file) = &around.file {
                            seen = true;
                            coverage.file(file);
                        }
                        "class"
                    }
                    "method" => {
                        let part = |name| element.attribute(name).unwrap_or_default();
                        let method = format!("{} {}{}", around.class, part("name"), part("signature"));
                        if let Some(file) = &around.file {
                            coverage.file(file).functions.entry(method.clone()).or_default();
                        }
                        around.method = Some(method);
                        "method"
                    }
                    "line" => {
                        line(coverage, &around, &element);
                        "line"
                    }
                    _ => "",
                });
            }
            Event::Text(_) => {}
            Event::Close => match around.open.pop() {
                Some("class") => around.file = None,
                Some("method") => around.method = None,
                _ => {}
            },
        }
        Ok(())
    })?;
    // an empty project has packages, and nothing in them
    match seen || packages {
        true => Ok(()),
        false => Err(ReadError::malformed("the end", "there is no `class` with a `filename` in it")),
    }
}

fn line(coverage: &mut Coverage, around: &Around, element: &Element<'_>) {
    let (Some(path), Some(number)) = (&around.file, element.number::<u32>("number")) else { return };
    let hits = element.number::<u64>("hits").unwrap_or(0);
    let file = coverage.file(path);
    if let Some(method) = &around.method {
        // a method was called if any of its lines was reached; the class lists its lines once more
        add(file.functions.entry(method.clone()).or_default(), hits);
        return;
    }
    add(file.lines.entry(number).or_default(), hits);
    let conditions = element.attribute("condition-coverage").and_then(|text| conditions(&text));
    let (taken, all) = conditions.unwrap_or((0, 0));
    for branch in 0..all {
        let key = (number, String::new(), branch.to_string());
        add(file.branches.entry(key).or_default(), u64::from(branch < taken));
    }
}

/// `50% (1/2)`
fn conditions(text: &str) -> Option<(u32, u32)> {
    // a line has a few; a report that says millions is wrong, and would fill the memory
    const MOST: u32 = 10_000;
    let (taken, all) = text.split_once('(')?.1.split_once(')')?.0.split_once('/')?;
    let (taken, all): (u32, u32) = (taken.trim().parse().ok()?, all.trim().parse().ok()?);
    Some((taken.min(MOST), all.min(MOST)))
}
