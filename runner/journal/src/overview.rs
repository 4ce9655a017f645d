//! A run in one row of a table, read without loading what happened in it: a list of a hundred runs is a hundred of these.

use std::collections::BTreeMap;
use std::time::Duration;

use event::{Event, Kind, Outcome, StageRef, Verdict};
use rusqlite::OptionalExtension;

use crate::error::{At, Result};
use crate::model::Header;
use crate::query::Source;
use crate::reader::Reader;

/// What a list of runs shows of one.
#[derive(Debug, Clone)]
pub struct Overview {
    pub header: Header,
    /// The last thing that was recorded, in nanoseconds since 1970.
    pub last: u64,
    /// How and when it ended; none if it never did, or was taken up again and went on.
    pub finished: Option<(Verdict, u64)>,
    /// How long it was worked on, if it ended.
    pub took: Option<Duration>,
    /// How many stages were planned.
    pub stages: usize,
    /// Stages that have ended and did not begin again afterwards.
    pub outcomes: BTreeMap<StageRef, Outcome>,
    /// Stages that asked for approval and have not begun.
    pub unapproved: Vec<StageRef>,
    /// Effects of class once that were begun and never answered.
    pub in_doubt: Vec<InDoubt>,
}

/// An effect of which nobody knows whether it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InDoubt {
    pub stage: StageRef,
    pub attempt: u32,
    pub effect: String,
    pub subject: String,
}

impl Reader {
    /// The run in short.
    ///
    /// # Errors
    /// If the journal can't be read.
    pub fn overview(&self) -> Result<Overview> {
        let header = self.header().clone();
        self.read(|source| {
            // One moment: a run that goes on would be told from two.
            source.connection.execute_batch("BEGIN").at(source.path)?;
            let overview = read(source, header);
            let ended = source.connection.execute_batch("COMMIT").at(source.path);
            let overview = overview?;
            ended.map(|()| overview)
        })
    }
}

fn read(source: Source<'_>, header: Header) -> Result<Overview> {
    let Source { connection, path, .. } = source;
    let newest = "SELECT max(seq), max(at) FROM (SELECT * FROM (SELECT seq, at FROM record ORDER BY seq DESC LIMIT 1)
                  UNION ALL SELECT * FROM (SELECT seq, at FROM event ORDER BY seq DESC LIMIT 1))";
    let (last_seq, last): (Option<i64>, Option<i64>) = connection.query_row(newest, [], |row| Ok((row.get(0)?, row.get(1)?))).at(path)?;
    let finished: Option<(i64, String)> = connection
        .query_row("SELECT seq, json FROM event WHERE kind = 'run-finished' ORDER BY seq DESC LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()
        .at(path)?;
    let finished = match finished {
        Some((seq, json)) if Some(seq) == last_seq => match serde_json::from_str(&json).at(path)? {
            Event { at, kind: Kind::RunFinished { verdict, nanos } } => Some((verdict, at, Duration::from_nanos(nanos))),
            _ => None,
        },
        _ => None,
    };
    let first: Option<String> =
        connection.query_row("SELECT json FROM event ORDER BY seq LIMIT 1", [], |row| row.get(0)).optional().at(path)?;
    let stages = match first.map(|json| serde_json::from_str(&json)).transpose().at(path)? {
        Some(Event { kind: Kind::RunStarted { stages, .. }, .. }) => stages.len(),
        _ => 0,
    };
    Ok(Overview {
        last: last.map_or(header.started, |at| at as u64).max(header.started),
        header,
        finished: finished.map(|(verdict, at, _)| (verdict, at)),
        took: finished.map(|(_, _, took)| took),
        stages,
        outcomes: outcomes(source)?,
        unapproved: unapproved(source)?,
        in_doubt: in_doubt(source)?,
    })
}

fn outcomes(source: Source<'_>) -> Result<BTreeMap<StageRef, Outcome>> {
    let Source { connection, path, .. } = source;
    let mut outcomes = BTreeMap::new();
    // What happened inside stages is most of the events, and has a kind of its own in the table.
    let mut statement = connection
        .prepare_cached(
            "SELECT json FROM event WHERE kind = 'stage-started'
                 OR (kind IS NULL AND json_extract(json, '$.event') IN ('stage-finished', 'stage-reset')) ORDER BY seq",
        )
        .at(path)?;
    let mut rows = statement.query([]).at(path)?;
    while let Some(row) = rows.next().at(path)? {
        let json = row.get_ref(0).at(path)?.as_str().map_err(rusqlite::Error::from).at(path)?;
        match serde_json::from_str::<Event>(json).at(path)?.kind {
            Kind::StageFinished { stage, outcome, .. } => drop(outcomes.insert(stage, outcome)),
            Kind::StageStarted { stage, .. } | Kind::StageReset { stage } => drop(outcomes.remove(&stage)),
            _ => {}
        }
    }
    Ok(outcomes)
}

fn unapproved(source: Source<'_>) -> Result<Vec<StageRef>> {
    let sql = "SELECT stage FROM approval_asked WHERE stage NOT IN (SELECT stage FROM attempt)
                   AND stage NOT IN (SELECT stage FROM approval WHERE NOT approved) ORDER BY at, stage";
    let mut statement = source.connection.prepare_cached(sql).at(source.path)?;
    let stages = statement.query_map([], |row| Ok(StageRef::new(row.get_ref(0)?.as_str()?))).at(source.path)?;
    stages.collect::<rusqlite::Result<_>>().at(source.path)
}

fn in_doubt(source: Source<'_>) -> Result<Vec<InDoubt>> {
    // Only the last attempts can have such effects, and only their last records.
    let sql = "SELECT stage, attempt.attempt, what, subject FROM attempt JOIN record ON record.attempt = attempt.id
               WHERE end IS NULL AND kind = 'once' AND clock IS NULL ORDER BY seq";
    let mut statement = source.connection.prepare_cached(sql).at(source.path)?;
    let found = statement
        .query_map([], |row| {
            let stage = StageRef::new(row.get_ref(0)?.as_str()?);
            Ok(InDoubt { stage, attempt: row.get(1)?, effect: row.get(2)?, subject: row.get(3)? })
        })
        .at(source.path)?;
    found.collect::<rusqlite::Result<_>>().at(source.path)
}

#[cfg(test)]
mod tests {
    use event::EventSink;

    use super::*;
    use crate::{Begin, Class, Intent, Journal, Reply};

    fn header(run: &str) -> Header {
        Header {
            run: run.to_owned(),
            pipeline: "shop".to_owned(),
            file: "pipeline.toml".to_owned(),
            root: "/shop".into(),
            text: "format = 1\n".to_owned(),
            inputs: Vec::new(),
            git_branch: Some("main".to_owned()),
            git_sha: None,
            facts: String::new(),
            included: Vec::new(),
            unconfined: false,
            jobs: 2,
            fail_fast: false,
            grace: Duration::from_secs(10),
            only: Vec::new(),
            skip: Vec::new(),
            seed: [7; 32],
            runner: "0.1.0".to_owned(),
            engine: "1".to_owned(),
            started: 1_000,
        }
    }

    fn planned(id: &str) -> event::PlannedStage {
        event::PlannedStage { id: StageRef::new(id), uses: "command".to_owned(), needs: Vec::new(), place: None }
    }

    fn at(at: u64, kind: Kind) -> Event {
        Event { at, kind }
    }

    fn started(stage: &str, attempt: u32) -> Kind {
        Kind::StageStarted { stage: StageRef::new(stage), attempt, plugin: "command".to_owned(), digest: "00".to_owned() }
    }

    fn ended(stage: &str, outcome: Outcome) -> Kind {
        Kind::StageFinished {
            stage: StageRef::new(stage),
            attempt: 1,
            outcome,
            nanos: 5,
            outputs: Vec::new(),
            artifacts: Vec::new(),
            log: String::new(),
        }
    }

    fn run_started() -> Kind {
        Kind::RunStarted {
            schema: event::SCHEMA,
            runner: "0.1.0".to_owned(),
            run: "r".to_owned(),
            pipeline: "shop".to_owned(),
            file: "pipeline.toml".to_owned(),
            jobs: 2,
            stages: vec![planned("lint"), planned("test")],
            git: None,
            trigger: None,
        }
    }

    #[test]
    fn a_run_that_goes_on_after_its_end_is_not_finished() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::create(folder.path(), &header("r")).unwrap();
        journal.emit(&at(1_000, run_started()));
        journal.emit(&at(1_100, started("lint", 1)));
        journal.emit(&at(1_200, ended("lint", Outcome::Passed { summary: String::new() })));
        let overview = Reader::open(folder.path()).unwrap();
        journal.flush().unwrap();
        let running = overview.overview().unwrap();
        assert_eq!((running.finished, running.stages, running.outcomes.len(), running.last), (None, 2, 1, 1_200));
        journal.emit(&at(1_900, Kind::RunFinished { verdict: Verdict::Failed, nanos: 900 }));
        journal.close().unwrap();
        let closed = Reader::open(folder.path()).unwrap().overview().unwrap();
        assert_eq!(closed.finished, Some((Verdict::Failed, 1_900)));
        let journal = Journal::resume(folder.path()).unwrap();
        journal.emit(&at(2_500, started("lint", 2)));
        journal.close().unwrap();
        let again = Reader::open(folder.path()).unwrap().overview().unwrap();
        assert_eq!((again.finished, again.outcomes.len(), again.last), (None, 0, 2_500));
    }

    #[test]
    fn an_unanswered_effect_and_an_unanswered_question_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::create(folder.path(), &header("r")).unwrap();
        journal.approval_asked(&StageRef::new("deploy"), 5).unwrap();
        let begin = Begin {
            stage: StageRef::new("test"),
            attempt: 1,
            name: "test".to_owned(),
            uses: "command".to_owned(),
            plugin: "00".to_owned(),
            epoch: 0,
            context: "{}".to_owned(),
        };
        let record = journal.begin(&begin, 1 << 20).unwrap();
        let intent = Intent {
            position: 0,
            effect: "commands.start",
            class: Class::Once,
            subject: "make deploy",
            asked: [0; 32],
            request: "{}",
            seen: "null",
        };
        record.intent(&intent).unwrap();
        let reader = Reader::open(folder.path()).unwrap();
        let overview = reader.overview().unwrap();
        assert_eq!(overview.unapproved, [StageRef::new("deploy")]);
        assert_eq!(overview.in_doubt.len(), 1);
        assert_eq!((&*overview.in_doubt[0].subject, overview.in_doubt[0].attempt), ("make deploy", 1));
        record.reply(&Reply { position: 0, clock: 1, body: "null", promptly: true }).unwrap();
        assert_eq!(reader.overview().unwrap().in_doubt, []);
    }
}
