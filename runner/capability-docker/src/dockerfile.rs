//! What a Dockerfile brings in, told before anything is built.
//!
//! A Dockerfile is a program of whoever wrote it, and its sources are its reach: `FROM`, `COPY --from`, `RUN --mount=from=`, `ADD` of a URL or a
//! repository, `# syntax=`. All of them are listed, also those of stages that are not built. What can't be told, or what two readers of
//! Dockerfiles could take for different things, is [`Trouble`]: guessing would let a source pass that nobody looked at.
//!
//! Deliberately absent: everything else that a Dockerfile says. Its other instructions run inside the build.

mod arguments;
pub mod cache;
mod lines;

use std::collections::BTreeSet;

pub use arguments::Arguments;
use lines::{Instruction, Lines};

use crate::reference::Reference;

/// Something that a build takes from outside of its context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Image(Reference),
    Url(String),
}

/// A source that can't be told, or that no build may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Counts from 1; 0 for an `ONBUILD` of a base image.
    pub line: usize,
    pub why: String,
}

/// A Dockerfile that was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Read {
    /// Each once, with the line where it first stands.
    pub sources: Vec<(usize, Source)>,
    /// Of those, what stages begin with: their `ONBUILD` is a part of the build.
    pub bases: Vec<Reference>,
    /// Here documents, which older engines read as instructions.
    pub documents: bool,
}

/// The one frontend whose language is known here.
const FRONTENDS: [&str; 2] = ["docker.io/docker/dockerfile", "docker.io/docker/dockerfile-upstream"];

const KNOWN: [&str; 18] = [
    "FROM",
    "RUN",
    "CMD",
    "LABEL",
    "MAINTAINER",
    "EXPOSE",
    "ENV",
    "ADD",
    "COPY",
    "ENTRYPOINT",
    "VOLUME",
    "USER",
    "WORKDIR",
    "ARG",
    "ONBUILD",
    "STOPSIGNAL",
    "HEALTHCHECK",
    "SHELL",
];

/// Reads a Dockerfile.
///
/// # Errors
/// The first thing that can't be told.
pub fn read(text: &str, build_args: &[(String, String)]) -> Result<Read, Trouble> {
    let lines = Lines::read(text)?;
    let mut reader = Reader { arguments: Arguments::new(build_args), ..Reader::default() };
    let syntax = build_args.iter().find(|(name, _)| name == "BUILDKIT_SYNTAX").map(|(_, value)| (1, value.clone()));
    for (line, frontend) in lines.syntax.iter().cloned().chain(syntax) {
        reader.frontend(line, &frontend)?;
    }
    for instruction in &lines.instructions {
        reader.instruction(instruction)?;
    }
    if reader.stages == 0 {
        return Err(Trouble { line: 1, why: "there is no `FROM`".to_owned() });
    }
    Ok(reader.read)
}

/// Reads the instructions that a base image brings along.
///
/// # Errors
/// The first thing that can't be told.
pub fn on_build(instructions: &[String]) -> Result<Vec<Source>, Trouble> {
    let mut reader = Reader { stages: 1, ..Reader::default() };
    for text in instructions {
        let lines = Lines::read(text).map_err(|trouble| Trouble { line: 0, ..trouble })?;
        for instruction in &lines.instructions {
            if matches!(instruction.name.as_str(), "FROM" | "ONBUILD" | "MAINTAINER") || instruction.documents {
                return Err(Trouble { line: 0, why: format!("`{text}` can't be a part of a base image") });
            }
            reader.instruction(&Instruction { line: 0, ..instruction.clone() })?;
        }
    }
    Ok(reader.read.sources.into_iter().map(|(_, source)| source).collect())
}

#[derive(Default)]
struct Reader {
    read: Read,
    arguments: Arguments,
    /// Names of stages so far, in lower case.
    names: BTreeSet<String>,
    stages: usize,
}

impl Reader {
    fn trouble<T>(&self, line: usize, why: impl Into<String>) -> Result<T, Trouble> {
        Err(Trouble { line, why: why.into() })
    }

    fn add(&mut self, line: usize, source: Source) {
        if !self.read.sources.iter().any(|(_, known)| *known == source) {
            self.read.sources.push((line, source));
        }
    }

    fn image(&mut self, line: usize, text: &str) -> Result<Reference, Trouble> {
        let reference = Reference::parse(text).map_err(|mistake| Trouble { line, why: mistake.to_string() })?;
        self.add(line, Source::Image(reference.clone()));
        Ok(reference)
    }

    fn frontend(&mut self, line: usize, text: &str) -> Result<(), Trouble> {
        let reference = self.image(line, text)?;
        if FRONTENDS.contains(&reference.repository().as_str()) {
            return Ok(());
        }
        self.trouble(line, format!("the frontend `{}` may read this file in a way of its own", reference.familiar()))
    }

    fn instruction(&mut self, instruction: &Instruction) -> Result<(), Trouble> {
        let line = instruction.line;
        self.read.documents |= instruction.documents;
        match instruction.name.as_str() {
            "FROM" => self.from(line, &instruction.rest),
            "ARG" if self.stages == 0 => {
                self.arguments.declare(&instruction.rest);
                Ok(())
            }
            "COPY" | "ADD" => self.copy(line, instruction),
            "RUN" => self.run(line, &instruction.rest),
            "ONBUILD" => {
                // a stage that begins with this one carries it out
                let (name, rest) = lines::split(&instruction.rest);
                if name == "ONBUILD" || name == "FROM" || instruction.documents {
                    return self.trouble(line, format!("`ONBUILD {name}` can't be told"));
                }
                self.instruction(&Instruction { line, name, rest, documents: false })
            }
            known if KNOWN.contains(&known) => Ok(()),
            other => self.trouble(line, format!("the instruction `{other}` is not known")),
        }
    }

    fn from(&mut self, line: usize, rest: &str) -> Result<(), Trouble> {
        let (flags, words) = flags(line, rest, &["platform"])?;
        drop(flags);
        let words: Vec<&str> = words.split_whitespace().collect();
        let (image, name) = match words.as_slice() {
            [image] => (*image, None),
            [image, word, name] if word.eq_ignore_ascii_case("as") => (*image, Some(name.to_lowercase())),
            _ => return self.trouble(line, "that is no `FROM image [AS name]`"),
        };
        let image = self.arguments.expand(image).map_err(|why| Trouble { line, why })?;
        if image != "scratch" && !self.names.contains(&image.to_lowercase()) {
            let reference = self.image(line, &image)?;
            if !self.read.bases.contains(&reference) {
                self.read.bases.push(reference);
            }
        }
        self.names.extend(name);
        self.stages += 1;
        Ok(())
    }

    /// What `--from` names: an earlier stage by its name or number, or an image.
    fn origin(&mut self, line: usize, from: &str) -> Result<(), Trouble> {
        if from.contains(['$', '"', '\'', '\\']) || from.is_empty() {
            return self.trouble(line, format!("what `from={from}` means can't be told before the build"));
        }
        let stage = from.parse::<usize>().is_ok_and(|index| index < self.stages) || self.names.contains(&from.to_lowercase());
        if from == "scratch" || stage {
            return Ok(());
        }
        self.image(line, from).map(drop)
    }

    fn copy(&mut self, line: usize, instruction: &Instruction) -> Result<(), Trouble> {
        let known = ["from", "chown", "chmod", "link", "parents", "exclude", "keep-git-dir", "checksum", "unpack"];
        let (flags, rest) = flags(line, &instruction.rest, &known)?;
        for (name, value) in &flags {
            if name == "from" {
                self.origin(line, value)?;
            }
        }
        if instruction.name == "COPY" {
            return Ok(());
        }
        let words: Vec<String> = match serde_json::from_str::<Vec<String>>(&rest) {
            Ok(words) => words,
            Err(_) if rest.contains(['"', '\'', '\\']) => {
                return self.trouble(line, "what an `ADD` with quotes adds can't be told; write its paths plainly, or as a JSON array");
            }
            Err(_) => rest.split_whitespace().map(str::to_owned).collect(),
        };
        let Some((_, sources)) = words.split_last() else { return Ok(()) };
        for source in sources.iter().filter(|source| !source.starts_with("<<")) {
            self.added(line, source)?;
        }
        Ok(())
    }

    /// A source of `ADD`: a path of the context, or something far away.
    fn added(&mut self, line: usize, source: &str) -> Result<(), Trouble> {
        let lower = source.to_lowercase();
        let far = ["http:", "https:", "git:", "ssh:", "git@", "github.com/"];
        if let Some((before, _)) = lower.split_once('$') {
            // a variable could make a URL of anything that does not already begin like a path
            let path = before.starts_with("./")
                || before.starts_with('/')
                || (before.contains('/') && !far.iter().any(|far| before.starts_with(far)));
            if !path || lower.contains(':') || lower.contains('@') {
                return self
                    .trouble(line, format!("whether `{source}` is a file or a URL can't be told before the build; begin it with `./`"));
            }
            return Ok(());
        }
        let remote = far.iter().any(|far| lower.starts_with(far)) || lower.contains("://") || (lower.contains('@') && lower.contains(':'));
        if remote {
            self.add(line, Source::Url(source.to_owned()));
        }
        Ok(())
    }

    fn run(&mut self, line: usize, rest: &str) -> Result<(), Trouble> {
        let (flags, _) = flags(line, rest, &["mount", "network", "security"])?;
        for (name, value) in &flags {
            match name.as_str() {
                "mount" => {
                    if value.contains(['"', '\'', '\\']) {
                        return self.trouble(line, "what a `--mount` with quotes means can't be told");
                    }
                    for (key, value) in value.split(',').filter_map(|part| part.split_once('=')) {
                        if key.trim().eq_ignore_ascii_case("from") {
                            self.origin(line, value)?;
                        }
                    }
                }
                "network" if value == "host" => return self.trouble(line, "no step of a build has the host's network"),
                "security" if value != "sandbox" => return self.trouble(line, "no step of a build leaves its sandbox"),
                _ => {}
            }
        }
        Ok(())
    }
}

type Flags = Vec<(String, String)>;

/// The flags at the beginning of an instruction, and the rest.
fn flags(line: usize, text: &str, known: &[&str]) -> Result<(Flags, String), Trouble> {
    let (mut flags, mut rest) = (Vec::new(), text.trim());
    while rest.starts_with("--") {
        let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        if word == "--" {
            break;
        }
        let (name, value) = word[2..].split_once('=').unwrap_or((&word[2..], ""));
        if word.contains(['"', '\'', '\\', '`']) && matches!(name, "from" | "mount" | "network" | "security") {
            return Err(Trouble { line, why: format!("what `{word}` means can't be told: write it without quotes and backslashes") });
        }
        if !known.contains(&name) {
            return Err(Trouble { line, why: format!("the flag `--{name}` is not known here") });
        }
        flags.push((name.to_owned(), value.to_owned()));
        rest = after.trim_start();
    }
    Ok((flags, rest.to_owned()))
}

#[cfg(test)]
mod tests;
