//! Format 1: the tables, and what stands in them as JSON.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use event::{Artifact, Outcome, StageRef};
use serde::{Deserialize, Serialize};

use crate::model;

pub const SCHEMA: &str = include_str!("v1.sql");

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Header {
    run: String,
    pipeline: String,
    file: String,
    root: Root,
    text: String,
    inputs: Vec<(String, String)>,
    git_branch: Option<String>,
    git_sha: Option<String>,
    #[serde(default)]
    facts: String,
    #[serde(default)]
    included: Vec<(String, String)>,
    unconfined: bool,
    jobs: usize,
    fail_fast: bool,
    grace_nanos: u64,
    only: Vec<String>,
    skip: Vec<String>,
    /// Hex.
    seed: String,
    runner: String,
    engine: String,
    started: u64,
}

/// Paths are bytes; nearly all are text too, and people read journals.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Root {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<&model::Header> for Header {
    fn from(header: &model::Header) -> Self {
        let root = header.root.clone().into_os_string();
        Header {
            run: header.run.clone(),
            pipeline: header.pipeline.clone(),
            file: header.file.clone(),
            root: root.into_string().map_or_else(|root| Root::Bytes(root.into_vec()), Root::Text),
            text: header.text.clone(),
            inputs: header.inputs.clone(),
            git_branch: header.git_branch.clone(),
            git_sha: header.git_sha.clone(),
            facts: header.facts.clone(),
            included: header.included.clone(),
            unconfined: header.unconfined,
            jobs: header.jobs,
            fail_fast: header.fail_fast,
            grace_nanos: u64::try_from(header.grace.as_nanos()).unwrap_or(u64::MAX),
            only: header.only.clone(),
            skip: header.skip.clone(),
            seed: blake3::Hash::from_bytes(header.seed).to_hex().to_string(),
            runner: header.runner.clone(),
            engine: header.engine.clone(),
            started: header.started,
        }
    }
}

impl TryFrom<Header> for model::Header {
    type Error = String;

    fn try_from(header: Header) -> Result<Self, String> {
        Ok(model::Header {
            run: header.run,
            pipeline: header.pipeline,
            file: header.file,
            root: match header.root {
                Root::Text(root) => PathBuf::from(root),
                Root::Bytes(root) => PathBuf::from(OsString::from_vec(root)),
            },
            text: header.text,
            inputs: header.inputs,
            git_branch: header.git_branch,
            git_sha: header.git_sha,
            facts: header.facts,
            included: header.included,
            unconfined: header.unconfined,
            jobs: header.jobs,
            fail_fast: header.fail_fast,
            grace: Duration::from_nanos(header.grace_nanos),
            only: header.only,
            skip: header.skip,
            seed: *blake3::Hash::from_hex(&header.seed).map_err(|error| format!("the seed in its header: {error}"))?.as_bytes(),
            runner: header.runner,
            engine: header.engine,
            started: header.started,
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Begin {
    stage: StageRef,
    attempt: u32,
    name: String,
    uses: String,
    plugin: String,
    epoch: u64,
    context: String,
}

impl From<&model::Begin> for Begin {
    fn from(begin: &model::Begin) -> Self {
        let model::Begin { stage, attempt, name, uses, plugin, epoch, context } = begin.clone();
        Begin { stage, attempt, name, uses, plugin, epoch, context }
    }
}

impl From<Begin> for model::Begin {
    fn from(begin: Begin) -> Self {
        let Begin { stage, attempt, name, uses, plugin, epoch, context } = begin;
        model::Begin { stage, attempt, name, uses, plugin, epoch, context }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct End {
    at: u64,
    outcome: Outcome,
    outputs: Vec<(String, String)>,
    artifacts: Vec<Artifact>,
    cut_off: bool,
}

impl From<&model::End> for End {
    fn from(end: &model::End) -> Self {
        let model::End { at, outcome, outputs, artifacts, cut_off } = end.clone();
        End { at, outcome, outputs, artifacts, cut_off }
    }
}

impl From<End> for model::End {
    fn from(end: End) -> Self {
        let End { at, outcome, outputs, artifacts, cut_off } = end;
        model::End { at, outcome, outputs, artifacts, cut_off }
    }
}
