//! What happened in a run, as data, and the sink that takes it.
//!
//! Everything that a person or a program learns about a run is one of these events: the terminal, plain logs, NDJSON, the
//! reports for other systems (`report`) and the journal are readers of the same stream. The crate is pure: no clock, no file, no printing.
//! A field is added freely; a field that changes its meaning raises [`SCHEMA`].

mod around;
mod finding;
mod origin;
mod stage;

pub use around::{CacheResult, ServiceState};
pub use finding::{Finding, Location, Severity, TestCase, TestStatus};
pub use origin::{FileLine, GitFacts, Place, Trigger};
pub use stage::{Artifact, Blocked, DenialRecord, FailureKind, Outcome, StageRef, Verdict};

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The effect in the denial of a connection: asked for by a program at a time that no component determines, so a replay never asks again.
pub const CONNECT: &str = "commands.connect";

/// The version of the event stream, first thing in the NDJSON report.
pub const SCHEMA: u32 = 1;

/// An event and when it happened, in nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    pub at: u64,
    #[serde(flatten)]
    pub kind: Kind,
}

/// A stage as the plan has it, for those who draw the run before it happens.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlannedStage {
    pub id: StageRef,
    pub uses: String,
    pub needs: Vec<StageRef>,
    /// None in what older runners wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// Where a piece of a stage's log came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// The component's own stdout, stderr and log messages.
    Stage,
    /// A command that the stage started, by its number.
    Command(u32),
    /// What the runner itself has to say in the stage's log: a retry, a limit, a denial.
    Runner,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Kind {
    RunStarted {
        schema: u32,
        runner: String,
        run: String,
        pipeline: String,
        file: String,
        jobs: usize,
        stages: Vec<PlannedStage>,
        /// What is known of the checkout; none outside of a repository, and in what older runners wrote.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        git: Option<GitFacts>,
        /// What set the run off; none in what older runners wrote.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trigger: Option<Trigger>,
    },
    /// First of a resumed session, in the place of `RunStarted`. What earlier sessions settled follows as the events that it was, without
    /// its output, and then what is new.
    RunResumed {
        schema: u32,
        runner: String,
        run: String,
        pipeline: String,
        file: String,
        jobs: usize,
        /// 1 was the first, so this is at least 2.
        session: u32,
        stages: Vec<PlannedStage>,
        /// How many stages earlier sessions settled.
        settled: usize,
    },
    /// A plugin is being compiled because it was not in the store; stages that use it wait.
    Compiling {
        plugin: String,
        digest: String,
    },
    /// The end of [`Kind::Compiling`], whatever came of it: the stages say what is wrong.
    Compiled {
        plugin: String,
        digest: String,
    },
    StageStarted {
        stage: StageRef,
        attempt: u32,
        plugin: String,
        digest: String,
    },
    /// A piece of the log: whole lines where they came as lines, never cut inside a UTF-8 sequence that was whole.
    Output {
        stage: StageRef,
        stream: Stream,
        #[serde(with = "text")]
        bytes: Arc<[u8]>,
    },
    Progress {
        stage: StageRef,
        done: u64,
        total: u64,
        message: String,
    },
    Findings {
        stage: StageRef,
        findings: Vec<Finding>,
    },
    Tests {
        stage: StageRef,
        tests: Vec<TestCase>,
    },
    Measured {
        stage: StageRef,
        name: String,
        value: f64,
        unit: String,
    },
    CommandStarted {
        stage: StageRef,
        command: u32,
        line: String,
        place: String,
    },
    CommandEnded {
        stage: StageRef,
        command: u32,
        result: String,
        nanos: u64,
    },
    /// A confined program's connection to the outside: when it has ended, or at once when it was refused.
    Connection {
        stage: StageRef,
        /// The command that asked for it, where that could be found out.
        command: Option<u32>,
        host: String,
        port: u16,
        allowed: bool,
        /// Why it was refused, or did not come about.
        reason: Option<String>,
        /// From the host.
        bytes_in: u64,
        bytes_out: u64,
        nanos: u64,
    },
    /// An effect was refused. The same denial is what the guest was told.
    Denied {
        stage: StageRef,
        denial: DenialRecord,
    },
    /// A cache was looked up before an attempt, or saved after it.
    Cache {
        stage: StageRef,
        attempt: u32,
        name: String,
        result: CacheResult,
        /// The first part of the key that no entry has; none after a hit.
        part: Option<String>,
        /// Of what was found or saved.
        bytes: u64,
        /// What it took.
        nanos: u64,
    },
    /// How one of the stage's services stands.
    Service {
        stage: StageRef,
        attempt: u32,
        service: String,
        state: ServiceState,
        /// What was started; what says that it is ready; why it is not. May have several lines.
        message: String,
        /// Since it was started.
        nanos: u64,
    },
    /// A resumed run does the stage again, as if it had never started; its attempts are numbered on from there.
    StageReset {
        stage: StageRef,
    },
    /// The stage is ready, and its environment wants approvals first. Again for each approval that is given and is not the last.
    /// Or it runs, and asks itself whether it may go on.
    ApprovalWaiting {
        stage: StageRef,
        /// Empty if the stage asks.
        environment: String,
        /// In the stage's own words, if it asks.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        question: Option<String>,
        /// How many it takes.
        count: u32,
        given: u32,
        /// When it counts as rejected, in nanoseconds since 1970-01-01T00:00:00Z.
        expires: Option<u64>,
    },
    /// A person approved or rejected.
    ApprovalGiven {
        stage: StageRef,
        approved: bool,
        by: String,
        note: String,
    },
    /// A stage, or with none the whole run, waits for its turn in a group. Again whenever another run is the one that it waits for.
    GroupWaiting {
        stage: Option<StageRef>,
        group: String,
        /// The run that has the group; none if nobody can tell.
        holder: Option<String>,
        /// The stage of that run; none if all of it has the group.
        holder_stage: Option<String>,
    },
    /// After a crash nobody knows whether an effect happened: the stage neither passed nor failed, and a person decides.
    StageSuspended {
        stage: StageRef,
        attempt: u32,
        effect: String,
        subject: String,
        message: String,
    },
    /// The attempt ended; another follows after `delay` nanoseconds.
    StageRetrying {
        stage: StageRef,
        attempt: u32,
        outcome: Outcome,
        delay: u64,
    },
    StageFinished {
        stage: StageRef,
        attempt: u32,
        outcome: Outcome,
        /// From the first attempt's start.
        nanos: u64,
        outputs: Vec<(String, String)>,
        artifacts: Vec<Artifact>,
        /// The whole log, as a path.
        log: String,
    },
    /// The run was asked to stop: a signal, the run's timeout, fail-fast.
    Stopping {
        reason: String,
    },
    /// Something the user should know that belongs to no stage.
    Warning {
        message: String,
    },
    RunFinished {
        verdict: Verdict,
        nanos: u64,
    },
}

/// Takes events. A sink never fails: one that cannot write says so once on its own and stops writing, the run goes on.
pub trait EventSink: Send + Sync {
    fn emit(&self, event: &Event);
}

/// Passes every event on to several sinks, in order.
#[derive(Default)]
pub struct Fanout(pub Vec<Box<dyn EventSink>>);

impl EventSink for Fanout {
    fn emit(&self, event: &Event) {
        for sink in &self.0 {
            sink.emit(event);
        }
    }
}

impl<T: EventSink + ?Sized> EventSink for Arc<T> {
    fn emit(&self, event: &Event) {
        (**self).emit(event);
    }
}

/// Forgets everything; for tests and for `plan`.
pub struct Discard;

impl EventSink for Discard {
    fn emit(&self, _: &Event) {}
}

/// Log bytes in JSON are text, with U+FFFD for what is not UTF-8; the log file keeps the bytes.
mod text {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &Arc<[u8]>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&String::from_utf8_lossy(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<[u8]>, D::Error> {
        Ok(Arc::from(String::deserialize(from)?.into_bytes()))
    }
}
