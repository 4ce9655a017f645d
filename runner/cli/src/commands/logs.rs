//! `logs`: what stages printed, as it was written; or as it comes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use capability::log::Recorded as Pieces;
use event::{StageRef, Stream};
use report::history::LogText;

use crate::args::{Global, LogStream, Logs};
use crate::error::{CliError, Ending};
use crate::history::{self, Recorded};
use crate::load;
use crate::style::Style;

/// How often a log that grows is looked at.
const PAUSE: Duration = Duration::from_millis(200);

pub fn run(args: &Logs, global: &Global, out: &mut dyn Write) -> Result<Ending, CliError> {
    let recorded = history::open(&args.run)?;
    let stages = args.stage.as_deref().map(|stage| recorded.pick(stage)).transpose()?;
    let mut printer = Printer {
        out,
        style: Style::new(load::color(global, &io::stdout())),
        stream: args.stream,
        clean: !args.raw && io::stdout().is_terminal(),
        headings: !args.raw && stages.as_ref().is_none_or(|stages| stages.len() > 1),
        read: HashMap::new(),
        last: None,
    };
    loop {
        // asked before the logs are read: what was printed last is then shown too
        let over = !args.follow || over(&recorded, stages.as_deref())?;
        let logs = logs(&recorded, stages.as_deref(), args)?;
        for (key, path) in &logs {
            printer.more(key, path).map_err(anyhow::Error::from)?;
        }
        if over {
            break;
        }
        printer.out.flush().map_err(anyhow::Error::from)?;
        std::thread::sleep(PAUSE);
    }
    Ok(Ending::Ok)
}

type Key = (StageRef, u32);

/// The logs that are meant, in the order in which their attempts began: the last attempt of each stage, or all that come while following.
fn logs(recorded: &Recorded, stages: Option<&[StageRef]>, args: &Logs) -> Result<Vec<(Key, PathBuf)>, CliError> {
    let folder = recorded.state.run_folder(&recorded.run).join("logs");
    let mut meant: Vec<Key> = Vec::new();
    let mut known = Vec::new();
    for attempt in recorded.attempts()? {
        let begin = attempt.begin;
        if stages.is_some_and(|stages| !stages.contains(&begin.stage)) {
            continue;
        }
        known.push(begin.attempt);
        if args.attempt.is_some_and(|wanted| wanted != begin.attempt) {
            continue;
        }
        if !args.follow {
            meant.retain(|(stage, _)| *stage != begin.stage);
        }
        meant.push((begin.stage, begin.attempt));
    }
    if let Some(wanted) = args.attempt
        && meant.is_empty()
        && !args.follow
    {
        known.sort_unstable();
        known.dedup();
        let known = known.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        let hint = if known.is_empty() { "none of its stages ran".to_owned() } else { format!("attempts: {known}") };
        return Err(CliError::usage(format!("run {} has no attempt {wanted} of what was named", recorded.run), hint));
    }
    let path = |(stage, attempt): &Key| folder.join(format!("{}.log", workspace::attempt_name(stage.as_str(), *attempt)));
    Ok(meant.into_iter().map(|key| (key.clone(), path(&key))).collect())
}

/// Whether nothing more will come.
fn over(recorded: &Recorded, stages: Option<&[StageRef]>) -> Result<bool, CliError> {
    if !recorded.running() {
        return Ok(true);
    }
    let Some(stages) = stages else { return Ok(false) };
    let overview = recorded.reader.overview().map_err(anyhow::Error::from)?;
    Ok(stages.iter().all(|stage| overview.outcomes.contains_key(stage)))
}

struct Printer<'a> {
    out: &'a mut dyn Write,
    style: Style,
    stream: Option<LogStream>,
    clean: bool,
    headings: bool,
    /// How much of each log was printed: bytes, or pieces where only one stream is wanted.
    read: HashMap<Key, u64>,
    last: Option<Key>,
}

impl Printer<'_> {
    /// Prints what is new in a log.
    fn more(&mut self, key: &Key, path: &Path) -> io::Result<()> {
        let before = self.read.get(key).copied().unwrap_or(0);
        let after = match self.stream {
            None => self.bytes(key, path, before)?,
            Some(stream) => self.pieces(key, path, before, stream)?,
        };
        self.read.insert(key.clone(), after);
        Ok(())
    }

    fn bytes(&mut self, key: &Key, path: &Path, before: u64) -> io::Result<u64> {
        // a stage that printed nothing has no log
        let mut log = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(before),
            other => other?,
        };
        let length = log.metadata()?.len();
        if length <= before {
            return Ok(before);
        }
        self.heading(key)?;
        log.seek(SeekFrom::Start(before))?;
        self.copy(&mut log.take(length - before))?;
        Ok(length)
    }

    fn pieces(&mut self, key: &Key, path: &Path, before: u64, wanted: LogStream) -> io::Result<u64> {
        let Some(mut pieces) = Pieces::open(path)? else { return Ok(before) };
        let mut count = 0;
        while let Some((stream, bytes)) = pieces.next_piece()? {
            count += 1;
            let fits = match stream {
                Stream::Stage => wanted == LogStream::Stage,
                Stream::Command(_) => wanted == LogStream::Command,
                Stream::Runner => wanted == LogStream::Runner,
            };
            if fits && count > before {
                self.heading(key)?;
                self.copy(&mut &bytes[..])?;
            }
        }
        Ok(count.max(before))
    }

    /// Logs hold whole lines, so nothing of one line is left for the next time.
    fn copy(&mut self, from: &mut dyn Read) -> io::Result<()> {
        if !self.clean {
            return io::copy(from, self.out).map(drop);
        }
        let mut clean = LogText::new(self.out);
        io::copy(from, &mut clean)?;
        clean.finish()
    }

    fn heading(&mut self, key: &Key) -> io::Result<()> {
        if !self.headings || self.last.as_ref() == Some(key) {
            return Ok(());
        }
        let (stage, attempt) = key;
        let attempt = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
        let before = if self.last.is_some() { "\n" } else { "" };
        self.last = Some(key.clone());
        writeln!(self.out, "{before}{}", self.style.strong(&format!("==> {}{attempt} <==", report::clean(stage.as_str()))))
    }
}
