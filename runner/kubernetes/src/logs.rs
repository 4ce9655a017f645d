//! What a container printed. A connection that breaks while the container runs is taken up again where it was.
//!
//! Every line is asked for with its time, because the API goes back to a moment and not to a place: what was read at that moment already is counted and
//! passed over.

use std::pin::Pin;
use std::time::Duration;

use admission::{Subresource, Target};
use futures::{AsyncBufRead, AsyncBufReadExt, TryStreamExt};
use http::Method;
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ask::{Call, Waits};
use crate::cluster::Cluster;
use crate::error::{ClusterError, chain};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// None: the only one, or the one that the Pod's annotation names.
    pub container: Option<String>,
    pub follow: bool,
    /// Of the container before the last restart.
    pub previous: bool,
    pub tail: Option<u32>,
    pub since: Duration,
    /// Lines begin with their times.
    pub timestamps: bool,
}

/// Lines of a log.
pub struct Log {
    cluster: Cluster,
    pod: Target,
    options: LogOptions,
    lines: Option<Pin<Box<dyn AsyncBufRead + Send>>>,
    /// Half a line, if the wait for the rest of it was given up.
    partial: Vec<u8>,
    last: Place,
    over: bool,
}

/// How far a log was read: the time of the last line, and how many lines of that time there were.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    time: String,
    lines: u32,
    /// How many of them have been passed over on the connection that is open now.
    #[serde(skip)]
    passed: u32,
}

impl Place {
    /// Whether a line is new.
    pub(crate) fn is_new(&mut self, time: &str) -> bool {
        match instant(time).cmp(&instant(&self.time)) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal if self.passed < self.lines => {
                self.passed += 1;
                false
            }
            std::cmp::Ordering::Equal => {
                (self.lines, self.passed) = (self.lines + 1, self.passed + 1);
                true
            }
            std::cmp::Ordering::Greater => {
                *self = Place { time: time.to_owned(), lines: 1, passed: 1 };
                true
            }
        }
    }
}

fn instant(time: &str) -> Option<jiff::Timestamp> {
    time.parse().ok()
}

impl Cluster {
    /// # Errors
    /// If the cluster does not give it, such as before the container has started.
    pub async fn logs(&self, pod: &Target, options: LogOptions) -> Result<Log, ClusterError> {
        self.logs_from(pod, options, Place::default()).await
    }

    /// Goes on behind a place of the same log.
    ///
    /// # Errors
    /// As [`Cluster::logs`].
    pub async fn logs_from(&self, pod: &Target, options: LogOptions, last: Place) -> Result<Log, ClusterError> {
        let mut log = Log { cluster: self.clone(), pod: pod.whole(), options, lines: None, partial: Vec::new(), last, over: false };
        log.open().await?;
        Ok(log)
    }
}

impl Log {
    /// Behind the line that was read last.
    pub fn place(&self) -> Place {
        self.last.clone()
    }

    /// The next line, with its line feed. None at the end. It may be given up and asked again.
    ///
    /// # Errors
    /// If the cluster could not be reached for as long as patience lasts.
    pub async fn line(&mut self) -> Result<Option<Vec<u8>>, ClusterError> {
        loop {
            if self.over {
                return Ok(None);
            }
            let Some(lines) = &mut self.lines else {
                self.open().await?;
                continue;
            };
            // what was read of a line stays, if this is given up here
            let ended = match lines.read_until(b'\n', &mut self.partial).await {
                Ok(0) => true,
                Ok(_) => !self.partial.ends_with(b"\n"),
                Err(_) => true,
            };
            if ended {
                self.lines = None;
                self.over = !(self.options.follow && still_runs(&self.cluster, &self.pod, self.options.container.as_deref()).await?);
                if !self.over {
                    tokio::time::sleep(self.cluster.patience.step).await;
                    continue;
                }
            }
            let line = std::mem::take(&mut self.partial);
            if let Some(line) = self.shown(line) {
                return Ok(Some(line));
            }
        }
    }

    fn shown(&mut self, line: Vec<u8>) -> Option<Vec<u8>> {
        if line.is_empty() {
            return None;
        }
        let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
        let time = std::str::from_utf8(&line[..end]).ok().filter(|time| instant(time).is_some());
        match time {
            // of the kubelet itself, such as that a log can't be read
            None => Some(line),
            Some(time) if !self.last.is_new(time) => None,
            Some(_) if self.options.timestamps => Some(line),
            Some(_) => Some(line[(end + 1).min(line.len())..].to_vec()),
        }
    }

    async fn open(&mut self) -> Result<(), ClusterError> {
        // half a line comes again, whole
        self.partial.clear();
        self.last.passed = 0;
        let doing = format!("reading the log of {}", self.pod);
        let unexpected = |why: String| ClusterError::Unexpected { doing: doing.clone(), why };
        let target = self.pod.clone().part(Subresource::Log).map_err(|error| unexpected(error.to_string()))?;
        let flag = |set: bool| if set { "true" } else { "" };
        let mut call = Call::new(Method::GET, doing.clone(), target.path())
            .query("container", self.options.container.clone().unwrap_or_default())
            .query("follow", flag(self.options.follow))
            .query("previous", flag(self.options.previous))
            .query("timestamps", "true");
        if self.last == Place::default() {
            let tail = self.options.tail.map(|lines| lines.to_string()).unwrap_or_default();
            call = call.query("tailLines", tail);
            if !self.options.since.is_zero() {
                let seconds = self.options.since.as_secs() + u64::from(self.options.since.subsec_nanos() > 0);
                call = call.query("sinceSeconds", seconds.to_string());
            }
        } else {
            call = call.query("sinceTime", &self.last.time);
        }
        let response = self.cluster.response(&call, &mut Waits::new(self.cluster.patience)).await?;
        let body = response.into_body().into_data_stream().map_err(|error| std::io::Error::other(chain(&error)));
        self.lines = Some(Box::pin(body.into_async_read()));
        Ok(())
    }
}

/// Whether the container whose log came to an end still runs, so that it was the connection that ended.
async fn still_runs(cluster: &Cluster, pod: &Target, container: Option<&str>) -> Result<bool, ClusterError> {
    match cluster.get(pod).await {
        Ok(pod) => Ok(runs(&pod, container)),
        Err(error) if error.is_missing() => Ok(false),
        Err(error) => Err(error),
    }
}

fn runs(pod: &Value, container: Option<&str>) -> bool {
    const LISTS: [&str; 2] = ["/status/containerStatuses", "/status/initContainerStatuses"];
    let statuses = LISTS.iter().filter_map(|list| pod.pointer(list)?.as_array()).flatten();
    let mut statuses = statuses.filter(|status| container.is_none_or(|name| status.get("name").and_then(Value::as_str) == Some(name)));
    statuses.any(|status| status.pointer("/state/running").is_some())
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("pod", &self.pod).field("options", &self.options).finish_non_exhaustive()
    }
}
