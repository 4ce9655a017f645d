//! What a run said as events: `--format json`, read for tests.

use serde_json::Value;

use crate::Finished;

/// The events of a run.
pub struct Told {
    events: Vec<Value>,
    printed: String,
}

/// How a stage ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// `passed`, `failed`, `skipped`, `blocked` or `cancelled`.
    pub outcome: String,
    /// Of a failure: `failed`, `denied`, `limit`, …; empty otherwise.
    pub kind: String,
    /// The summary of a pass, the message of a failure.
    pub message: String,
    pub soft: bool,
    pub attempt: u64,
    pub outputs: Vec<(String, String)>,
}

/// A refused effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    pub effect: String,
    pub subject: String,
    pub code: String,
    pub reason: String,
    pub remedy: Option<String>,
}

/// One attempt of the guest `hostile`: its answer, and the denials that came before it.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// `ok …`, `refused …` or `error …`.
    pub answer: String,
    pub denials: Vec<Denial>,
}

impl Finished {
    /// The events; every line of stdout must be one.
    pub fn told(&self) -> Told {
        let short = |text: &str| text.lines().map(|line| line.chars().take(2_000).collect::<String>() + "\n").collect::<String>();
        let printed = format!("--- stdout\n{}\n--- stderr\n{}", short(&self.stdout), short(&self.stderr));
        Told { events: self.events(), printed }
    }
}

impl Told {
    /// All events of this kind.
    pub fn all<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.events.iter().filter(move |event| event["event"] == kind)
    }

    fn of<'a>(&'a self, kind: &'a str, stage: &'a str) -> impl Iterator<Item = &'a Value> {
        self.all(kind).filter(move |event| event["stage"] == stage)
    }

    /// Everything that the stage logged.
    pub fn log(&self, stage: &str) -> String {
        self.of("output", stage).filter_map(|event| event["bytes"].as_str()).collect()
    }

    pub fn denials(&self, stage: &str) -> Vec<Denial> {
        self.of("denied", stage).map(denial).collect()
    }

    /// How the stage ended.
    #[track_caller]
    pub fn ended(&self, stage: &str) -> Ended {
        let Some(event) = self.of("stage-finished", stage).last() else { panic!("stage {stage} never ended\n{}", self.printed) };
        let outcome = &event["outcome"];
        let message = ["summary", "message"].iter().find_map(|key| outcome[key].as_str());
        let outputs = event["outputs"].as_array().into_iter().flatten();
        Ended {
            outcome: text(&outcome["outcome"]),
            kind: text(&outcome["kind"]),
            message: message.map_or_else(|| outcome["why"].to_string(), str::to_owned),
            soft: outcome["soft"] == true,
            attempt: event["attempt"].as_u64().unwrap_or_default(),
            outputs: outputs.map(|pair| (text(&pair[0]), text(&pair[1]))).collect(),
        }
    }

    /// How long the stage took, in nanoseconds.
    pub fn nanos(&self, stage: &str) -> u64 {
        self.of("stage-finished", stage).last().and_then(|event| event["nanos"].as_u64()).unwrap_or_default()
    }

    /// When something first happened to the stage, in nanoseconds since 1970.
    pub fn at(&self, kind: &str, stage: &str) -> Option<u64> {
        self.of(kind, stage).next().and_then(|event| event["at"].as_u64())
    }

    /// The attempts of the stage that this session started; what a resumed run tells of earlier ones is not among them.
    pub fn started(&self, stage: &str) -> Vec<u64> {
        let since = self.all("run-resumed").next().and_then(|event| event["at"].as_u64()).unwrap_or_default();
        let started = self.of("stage-started", stage).filter(|event| event["at"].as_u64() >= Some(since));
        started.filter_map(|event| event["attempt"].as_u64()).collect()
    }

    pub fn verdict(&self) -> String {
        self.all("run-finished").last().map(|event| text(&event["verdict"])).unwrap_or_default()
    }

    /// The attempts of a stage that is the guest `hostile`.
    pub fn attempts(&self, stage: &str) -> Vec<Attempt> {
        // each attempt ends with a progress event; denials are told as they happen, the log in batches
        let (mut each, mut denials) = (Vec::new(), Vec::new());
        for event in self.events.iter().filter(|event| event["stage"] == stage) {
            match event["event"].as_str() {
                Some("denied") => denials.push(denial(event)),
                Some("progress") => each.push(std::mem::take(&mut denials)),
                _ => {}
            }
        }
        let log = self.log(stage);
        let answers = log.lines().filter_map(|line| line.strip_prefix("RESULT ")?.split_once(' '));
        answers.zip(each).map(|((_, answer), denials)| Attempt { answer: answer.to_owned(), denials }).collect()
    }

    /// Everything that was printed, for messages.
    pub fn printed(&self) -> &str {
        &self.printed
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn denial(event: &Value) -> Denial {
    let denial = &event["denial"];
    Denial {
        effect: text(&denial["effect"]),
        subject: text(&denial["subject"]),
        code: text(&denial["code"]),
        reason: text(&denial["reason"]),
        remedy: denial["remedy"].as_str().map(str::to_owned),
    }
}
