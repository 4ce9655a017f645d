//! What a journal is told and what it answers: the types that the rest of the runner thinks with. What stands on the disk has types of
//! its own (`format`), so that these may change and old runs stay readable.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use event::{Artifact, DenialRecord, Outcome, StageRef};

/// What a run was started with. Written once, before anything happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub run: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// The pipeline file as it was named on the command line.
    pub file: String,
    /// The folder of the pipeline file, absolute.
    pub root: PathBuf,
    /// The file's text: a run goes on with what it was started with.
    pub text: String,
    /// As given on the command line.
    pub inputs: Vec<(String, String)>,
    pub git_branch: Option<String>,
    pub git_sha: Option<String>,
    /// What else was known of the world when the run was planned, as JSON of the command line's own; empty in runs of before there was any.
    pub facts: String,
    /// What the pipeline file includes: path and text.
    pub included: Vec<(String, String)>,
    pub unconfined: bool,
    pub jobs: usize,
    pub fail_fast: bool,
    pub grace: Duration,
    pub only: Vec<String>,
    pub skip: Vec<String>,
    /// Of the stages' random sources and of the delays before retries.
    pub seed: [u8; 32],
    /// The runner's version.
    pub runner: String,
    /// The engine's configuration: guests are only deterministic under the same one.
    pub engine: String,
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    pub started: u64,
}

/// What an attempt was started with: enough to run its component again with no pipeline file at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    pub stage: StageRef,
    /// 1 is the first.
    pub attempt: u32,
    /// The stage's key in the pipeline file.
    pub name: String,
    /// As in the pipeline file.
    pub uses: String,
    /// BLAKE3 of the component, hex.
    pub plugin: String,
    /// The epoch of the attempt's clock: nanoseconds since 1970-01-01T00:00:00Z.
    pub epoch: u64,
    /// Everything else that the component was given, as JSON of the caller's: settings, environment, mounts, names of grants, limits.
    pub context: String,
}

/// How an attempt ended. Written before the attempt's folders are removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Nanoseconds since 1970.
    pub at: u64,
    pub outcome: Outcome,
    pub outputs: Vec<(String, String)>,
    pub artifacts: Vec<Artifact>,
    /// Whether the host cut the component off (time-out, cancelled, a limit of the log): then nothing says that the component itself had
    /// come to its end.
    pub cut_off: bool,
}

/// How an effect may be repeated after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    Read,
    Idempotent,
    Once,
}

/// BLAKE3 of what was asked, so that a replay finds out that it asks something else.
pub type Asked = [u8; 32];

/// Before the act.
#[derive(Debug)]
pub struct Intent<'a> {
    /// Counts from 0 within the attempt.
    pub position: u64,
    pub effect: &'a str,
    pub class: Class,
    /// What it is aimed at, for people.
    pub subject: &'a str,
    pub asked: Asked,
    /// The effect as JSON.
    pub request: &'a str,
    /// What was observed before it was decided, as JSON.
    pub seen: &'a str,
}

/// After the act.
#[derive(Debug)]
pub struct Reply<'a> {
    pub position: u64,
    /// The stage's clock when the guest got it, in nanoseconds since the attempt's epoch.
    pub clock: u64,
    /// JSON.
    pub body: &'a str,
    /// Whether losing it would leave the effect in doubt: it is committed at once.
    pub promptly: bool,
}

#[derive(Debug)]
pub struct Denied<'a> {
    pub position: u64,
    pub clock: u64,
    pub asked: Asked,
    pub denial: &'a DenialRecord,
}

/// What the world did by itself (bytes that arrived, a process that ended), or a read of something open, when the guest got to see it.
#[derive(Debug)]
pub struct Delivery<'a> {
    pub position: u64,
    pub clock: u64,
    /// `files.read`, `poll`, `commands.exit`.
    pub what: &'a str,
    /// For people; empty where there is nothing to say.
    pub subject: &'a str,
    pub asked: Asked,
    /// JSON.
    pub body: &'a str,
    /// Raw bytes that belong to it: what was read, what arrived.
    pub bytes: &'a Bytes,
    /// A secret is in the bytes: of them only the digest is kept.
    pub secret: bool,
}

/// One recorded position of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub position: u64,
    /// `files.open`, `poll`, …
    pub what: String,
    pub subject: String,
    pub asked: Asked,
    pub kind: RecordKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordKind {
    /// An effect that was allowed. Without an answer it is in doubt: it may have happened or not.
    Crossed {
        class: Class,
        /// JSON.
        request: String,
        /// JSON.
        seen: String,
        answer: Option<Answer>,
    },
    Denied {
        clock: u64,
        denial: DenialRecord,
    },
    Delivered(Answer),
    /// A wait that had begun (see [`Waiting`]) and whose end was never seen.
    Waiting,
}

/// What the guest was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub clock: u64,
    /// JSON.
    pub body: String,
    pub bytes: Payload,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// The very bytes; empty where there are none.
    Here(Bytes),
    /// More than the stage's `record` limit allowed: only what tells them apart was kept.
    Digest { length: u64, digest: [u8; 32] },
}

/// A wait that is about to begin, with the time at which it ends at the latest. Committed at once, so that a wait that is cut off goes on
/// from where it was.
#[derive(Debug)]
pub struct Waiting<'a> {
    pub position: u64,
    pub what: &'a str,
    pub asked: Asked,
    /// Nanoseconds since 1970; none if only the world ends it.
    pub until: Option<u64>,
}

/// What a person said about a stage that waits for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    pub stage: StageRef,
    pub approved: bool,
    /// Who.
    pub by: String,
    pub note: String,
    /// Nanoseconds since 1970.
    pub at: u64,
}

/// A process that worked on the run: the first is `exec`, every other one a `resume`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub number: u32,
    pub started: u64,
    /// The last thing that it recorded.
    pub last: u64,
    pub pid: u32,
    pub runner: String,
}

/// An attempt as history shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRow {
    pub begin: Begin,
    pub end: Option<End>,
    /// How many positions are recorded.
    pub records: u64,
}

/// A line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub stage: StageRef,
    pub attempt: u32,
    /// None of what has no place in a replay: a program's connection.
    pub position: Option<u64>,
    /// Nanoseconds since 1970.
    pub at: u64,
    /// Until the answer came; none if none came.
    pub took: Option<Duration>,
    pub what: String,
    pub subject: String,
    pub verdict: LineVerdict,
    /// Raw bytes that belong to it.
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineVerdict {
    Granted {
        class: Class,
        request: String,
    },
    Denied(DenialRecord),
    Delivered,
    Waiting,
    /// A confined program's, allowed or refused.
    Connection {
        command: Option<u32>,
        allowed: bool,
        reason: Option<String>,
        bytes_in: u64,
        bytes_out: u64,
    },
}
