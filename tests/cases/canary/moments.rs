//! When something spoke against a canary, and when its way back began: by the record that its run leaves.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use journal::{LineVerdict, Payload, Reader, RecordKind};
use serde_json::Value;

/// What the stage was told, or did.
#[derive(Debug)]
enum What {
    /// A number, and the request that was answered with it.
    Measured(f64, String),
    /// A Pod, as a watch tells of it.
    Pod(Value),
    /// Into this object; the Pods that it was to have, where they are said.
    Wrote(String, Option<u64>),
}

/// From when on, and until when, since 1970.
#[derive(Debug)]
struct Moment {
    began: Duration,
    ended: Duration,
    what: What,
}

pub struct History(Vec<Moment>);

/// `run`: its folder.
pub fn of(run: &Path) -> History {
    let reader = Reader::open(run).expect("a journal");
    let mut lines = Vec::new();
    reader.lines(None, &mut |line| lines.push(line)).expect("it can be read");
    let stage = &lines.first().expect("something is recorded").stage;
    let (_, _, record) = reader.record(stage, 1).expect("it can be read").expect("it has begun");
    let (mut request, mut moments) = (String::new(), Vec::new());
    for line in &lines {
        let Some(position) = line.position else { continue };
        let (body, bytes) = match record.at(position).expect("it can be read").map(|record| record.kind) {
            Some(RecordKind::Crossed { answer: Some(answer), .. } | RecordKind::Delivered(answer)) => {
                let bytes = if let Payload::Here(bytes) = answer.bytes { bytes.to_vec() } else { Vec::new() };
                (serde_json::from_str::<Value>(&answer.body).expect("JSON"), bytes)
            }
            _ => continue,
        };
        let asked = if let LineVerdict::Granted { request, .. } = &line.verdict { request.as_str() } else { "null" };
        let what = match line.what.as_str() {
            "http.request" => {
                asked.clone_into(&mut request);
                continue;
            }
            "http.body" => number(&bytes).map(|number| What::Measured(number, request.clone())),
            "kubernetes.event" => {
                let object = body["Ok"]["object"].as_str().and_then(|object| serde_json::from_str::<Value>(object).ok());
                object.filter(|object| object["kind"] == "Pod").map(What::Pod)
            }
            "kubernetes.patch" => {
                let asked: Value = serde_json::from_str(asked).expect("JSON");
                let name = asked["target"]["name"].as_str().unwrap_or_default().to_owned();
                Some(What::Wrote(name, asked["write"]["patch"]["patch"]["spec"]["replicas"].as_u64()))
            }
            _ => None,
        };
        let began = Duration::from_nanos(line.at);
        moments.extend(what.map(|what| Moment { began, ended: began + line.took.unwrap_or_default(), what }));
    }
    History(moments)
}

/// The one number that Prometheus answers with.
fn number(answer: &[u8]) -> Option<f64> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    pod["status"]["containerStatuses"].as_array().into_iter().flatten()
}

impl History {
    /// When a number of this query was told that is too large. `least`: so many observations, which are asked for next.
    pub fn above(&self, query: &str, limit: f64, least: Option<f64>) -> Option<Duration> {
        let measured = |moment: &Moment| match &moment.what {
            What::Measured(number, request) => Some((moment.ended, *number, request.clone())),
            _ => None,
        };
        let measured: Vec<(Duration, f64, String)> = self.0.iter().filter_map(measured).collect();
        measured.iter().enumerate().filter(|(_, (_, number, request))| request.contains(query) && *number > limit).find_map(
            |(at, (told, ..))| {
                let Some(least) = least else { return Some(*told) };
                let (told, observations, request) = measured.get(at + 1)?;
                (request.contains("increase") && *observations >= least).then_some(*told)
            },
        )
    }

    /// When so many crashes and one more were told of.
    pub fn crashes(&self, limit: u64) -> Option<Duration> {
        let mut crashes = BTreeMap::new();
        self.pods(|pod| {
            let count = containers(pod).map(|container| {
                let badly = |state: &str| container[state]["terminated"]["exitCode"].as_u64().is_some_and(|code| code != 0);
                let restarts = container["restartCount"].as_u64().unwrap_or_default().max(1);
                (if badly("lastState") { restarts } else { 0 }) + u64::from(badly("state"))
            });
            let most = crashes.entry(pod["metadata"]["name"].to_string()).or_insert(0);
            *most = count.sum::<u64>().max(*most);
            crashes.values().sum::<u64>() > limit
        })
    }

    /// When it was told that no waiting brings the image.
    pub fn no_image(&self) -> Option<Duration> {
        self.pods(|pod| containers(pod).any(|container| container["state"]["waiting"]["reason"] == "ImagePullBackOff"))
    }

    fn pods(&self, mut so: impl FnMut(&Value) -> bool) -> Option<Duration> {
        let moment = self.0.iter().find(|moment| if let What::Pod(pod) = &moment.what { so(pod) } else { false });
        moment.map(|moment| moment.ended)
    }

    /// When this Deployment had been asked for so many Pods, for the `nth` time.
    fn wrote(&self, deployment: &str, replicas: u64, nth: usize) -> Option<&Moment> {
        let same = |moment: &&Moment| matches!(&moment.what, What::Wrote(name, Some(wanted)) if name == deployment && *wanted == replicas);
        self.0.iter().filter(same).nth(nth)
    }

    /// When the canary's first Pods had been asked for.
    pub fn asked_for_pods(&self) -> Option<Duration> {
        self.wrote("api-canary", 1, 0).map(|moment| moment.ended)
    }

    /// When the first write of the way back went out: the way back is tried once at the beginning.
    pub fn back(&self, stable: u64) -> Option<Duration> {
        let first = [self.wrote("api-stable", stable, 1), self.wrote("api-canary", 0, 1)];
        first.into_iter().flatten().map(|moment| moment.began).min()
    }

    /// When the first write after this moment went out.
    pub fn wrote_after(&self, moment: Duration) -> Option<Duration> {
        let after = |one: &&Moment| one.began > moment && matches!(one.what, What::Wrote(..));
        self.0.iter().find(after).map(|one| one.began)
    }
}
