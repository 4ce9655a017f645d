//! The thin shell: files, requests, programs and the clock, in the order in which the pure steps ask for them.

mod image;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::civil::Date;
use runner_sdk::commands::Command;
use runner_sdk::report::Finding;
use runner_sdk::{Context, Failure, Outcome, Stage, commands, files, http, log, progress, report};
use serde_json::Value;

use crate::cargo_metadata;
use crate::inventory::{Ecosystem, Lockfile, Package};
use crate::lockfile::{Companions, Include, LockfileError};
use crate::matching::{self, Subjects, Vulnerability};
use crate::osv_api::{self, Reply, Transport, TransportError};
use crate::osv_export::Export;
use crate::settings::{Advisories, Settings};
use crate::verdict::{self, Evidence, audited};
use crate::{lockfile, sbom, search, severity};

/// How long `cargo metadata` may take.
const CARGO: Duration = Duration::from_secs(120);
const REQUEST: Duration = Duration::from_secs(30);
/// How many findings the log shows.
const SHOWN: usize = 200;
const LARGEST_REPLY: u64 = 64 << 20;

pub struct Audit;

impl Stage for Audit {
    type Settings = Settings;

    fn run(context: &Context, settings: Settings) -> Result<Outcome, Failure> {
        let advisories = settings.advisories().map_err(Failure::Misconfigured)?;
        settings.check_ignores().map_err(Failure::Misconfigured)?;
        let policy = settings.policy().map_err(Failure::Misconfigured)?;
        let image = settings.image().map_err(Failure::Misconfigured)?;
        let today = today()?;

        let mut lockfiles = Vec::new();
        if settings.audits_workspace() {
            lockfiles = read_lockfiles(&settings)?;
            complete_crates(context, &settings, &mut lockfiles)?;
        }
        let mut notes = Vec::new();
        if let Some(path) = image {
            let contents = image::read(path, &settings)?;
            lockfiles.extend(contents.lockfiles);
            notes = contents.notes;
        }
        let subjects = matching::subjects(&lockfiles, |package: &Package| audited(package, &settings));
        let (vulnerabilities, gaps) = match &advisories {
            Advisories::Export(path) => from_export(path, &subjects)?,
            Advisories::Service(url) => (from_service(url, &subjects)?, BTreeSet::new()),
        };
        let verdict = verdict::judge(
            Evidence { lockfiles: &lockfiles, subjects: &subjects, vulnerabilities, gaps, notes },
            &settings,
            policy.as_ref(),
            today,
        );

        if let Some(path) = &settings.sbom {
            let document = sbom::write(&context.pipeline, &lockfiles, &subjects, &verdict.judged, &settings);
            files::write(path, document)?;
            log::info(format_args!("wrote the bill of materials to {path}"));
        }
        show(&verdict.findings);
        for (name, value, unit) in &verdict.measures {
            report::measure(name, *value, unit);
        }
        report::add_findings(verdict.findings);
        if verdict.passed { Ok(Outcome::new(verdict.summary)) } else { Err(Failure::failed(verdict.summary)) }
    }
}

/// What counts is an error in the log; the reports have all of it.
fn show(findings: &[Finding]) {
    for finding in findings.iter().take(SHOWN) {
        let place = finding.location.as_ref().map_or_else(String::new, |at| format!("{}:{}: ", at.path, at.line));
        let help = if finding.help.is_empty() { String::new() } else { format!(". To mend it: {}", finding.help) };
        let line = format!("{place}{} {}: {}{help}", severity::name(finding.severity), finding.rule, finding.message);
        match finding.counted {
            true => log::error(line),
            false if finding.tool == "audit" => log::warn(line),
            false => log::info(line),
        }
    }
    if findings.len() > SHOWN {
        log::info(format_args!("… and {} more, all of them in the reports", findings.len() - SHOWN));
    }
}

fn today() -> Result<Date, Failure> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_secs()).ok());
    let timestamp = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    let timestamp = timestamp.ok_or_else(|| Failure::errored("the clock is not set: it is needed for the dates of ignores"))?;
    Ok(jiff::tz::TimeZone::UTC.to_datetime(timestamp).date())
}

fn read_lockfiles(settings: &Settings) -> Result<Vec<Lockfile>, Failure> {
    let paths = candidates(settings.lockfiles.as_deref())?;
    let chosen = search::choose(&paths, settings.lockfiles.as_deref(), &settings.exclude).map_err(Failure::Misconfigured)?;
    let mut lockfiles = Vec::with_capacity(chosen.len());
    let mut wrong = Vec::new();
    // What a lockfile includes follows it, so the list grows while it is read.
    let mut open: Vec<(String, Option<Included>)> = chosen.into_iter().map(|path| (path, None)).collect();
    let mut at = 0;
    while let Some((path, included)) = open.get(at).cloned() {
        progress::update(at as u64, open.len() as u64, format_args!("reading {path}"));
        at += 1;
        match read_one(&path, included.as_ref())? {
            Ok((lockfile, includes)) => {
                log::info(format_args!("{path}: {} packages", lockfile.packages.iter().filter(|package| package.is_third_party()).count()));
                for include in includes.into_iter().filter(|include| !search::is_excluded(&include.path, &settings.exclude)) {
                    if !open.iter().any(|(known, _)| *known == include.path) {
                        open.push((include.path, Some(Included { by: path.clone(), line: include.line })));
                    }
                }
                lockfiles.push(lockfile);
            }
            Err(error) => wrong.push(error.to_string()),
        }
    }
    for error in &wrong {
        log::error(error);
    }
    match wrong.len() {
        0 => Ok(lockfiles),
        1 => Err(Failure::errored(&wrong[0])),
        count => Err(Failure::errored(format_args!("{count} lockfiles cannot be read; the first: {}", wrong[0]))),
    }
}

/// Which line made a file part of the audit.
#[derive(Clone)]
struct Included {
    by: String,
    line: u32,
}

/// One lockfile and what it includes.
fn read_one(path: &str, included: Option<&Included>) -> Result<Result<(Lockfile, Vec<Include>), LockfileError>, Failure> {
    let bytes = match (files::read_optional(path)?, included) {
        (Some(bytes), _) => bytes,
        (None, Some(Included { by, line })) => {
            return Ok(Err(LockfileError {
                path: by.clone(),
                line: *line,
                what: format!("it includes {path}, which does not exist"),
                mend: "Mend the path, or take the line out".into(),
            }));
        }
        (None, None) => files::read(path)?,
    };
    let mut companions = Companions::new();
    for path in lockfile::companions(path, &bytes) {
        if let Some(text) = companion(&path)? {
            companions.insert(path, text);
        }
    }
    let read = match included {
        Some(_) => lockfile::read_included(path, &bytes),
        None => lockfile::read(path, &bytes, &companions),
    };
    Ok(read.and_then(|read| Ok((read, lockfile::includes(path, &bytes, included.is_some())?))))
}

/// A file that says what the lockfile beside it leaves out, if there is one that may be read.
fn companion(path: &str) -> Result<Option<String>, Failure> {
    match files::read_optional(path) {
        Ok(bytes) => Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.denial().is_some() => {
            log::info(format_args!("{path} is not granted: the lockfile alone does not say all about the project's own dependencies"));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The files to choose from. Lockfiles that are all named outright need no search, and so no grant to list the workspace.
fn candidates(lockfiles: Option<&[String]>) -> Result<Vec<String>, Failure> {
    let mut paths = Vec::new();
    let searched = lockfiles.is_none_or(|globs| globs.iter().any(|glob| search::is_glob(glob)));
    if searched {
        walk(files::WORKSPACE.as_ref(), "", lockfiles.is_some(), &mut paths)?;
    }
    for path in lockfiles.into_iter().flatten().filter(|glob| !search::is_glob(glob)) {
        let path = path.strip_prefix("./").unwrap_or(path);
        if !paths.iter().any(|known| known == path) && look(path)?.is_some_and(|found| found.is_file()) {
            paths.push(path.to_owned());
        }
    }
    Ok(paths)
}

/// What is at a path, if anything is. A path that is not granted is a denial, not an absence.
fn look(path: &str) -> Result<Option<Metadata>, Failure> {
    let place = files::resolve(path);
    match std::fs::metadata(&place) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(files::Error { operation: "open", path: place, source }.into()),
    }
}

/// Collects all files below a folder as paths relative to the workspace. Links are not followed. With globs of the user's own,
/// hidden folders are searched too.
fn walk(folder: &Path, prefix: &str, everywhere: bool, paths: &mut Vec<String>) -> Result<(), Failure> {
    for entry in std::fs::read_dir(folder).map_err(|error| refused(folder, error))? {
        let entry = entry.map_err(|error| refused(folder, error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        let kind = entry.file_type().map_err(|error| refused(&entry.path(), error))?;
        let skipped = if everywhere { matches!(name.as_str(), "node_modules" | "target" | ".git") } else { search::skips(&name) };
        if kind.is_dir() && !skipped {
            match walk(&entry.path(), &path, everywhere, paths) {
                // What the grant leaves out is not the stage's to audit.
                Err(Failure::Denied(_)) => log::info(format_args!("{path} is not granted, so not searched")),
                other => other?,
            }
        } else if kind.is_file() {
            paths.push(path);
        }
    }
    Ok(())
}

fn refused(path: &Path, source: std::io::Error) -> Failure {
    files::Error { operation: "list", path: path.into(), source }.into()
}

/// Adds to the crates what only cargo knows, where it is needed and can be had.
fn complete_crates(context: &Context, settings: &Settings, lockfiles: &mut [Lockfile]) -> Result<(), Failure> {
    if let Some(path) = &settings.cargo_metadata {
        let metadata = cargo_metadata::Metadata::parse(&files::read(path)?).map_err(|what| {
            Failure::misconfigured(format_args!("`cargo-metadata`: {path} is no output of `cargo metadata --format-version 1`: {what}"))
        })?;
        lockfiles.iter_mut().filter(|lockfile| lockfile.ecosystem == Ecosystem::CratesIo).for_each(|lockfile| metadata.complete(lockfile));
        return Ok(());
    }
    let needed = settings.licenses.is_some() || settings.sbom.is_some() || !settings.include_dev();
    for lockfile in lockfiles.iter_mut().filter(|lockfile| needed && lockfile.ecosystem == Ecosystem::CratesIo) {
        if !context.granted("commands") {
            log::info(format_args!(
                "{}: licences and development dependencies of crates are not known. Grant `cargo` under `commands`, or set `cargo-metadata`",
                lockfile.path
            ));
            continue;
        }
        match run_cargo(&lockfile.path) {
            Ok(metadata) => metadata.complete(lockfile),
            Err(what) => log::warn(format_args!("{}: the licences of its crates are not known: {what}", lockfile.path)),
        }
    }
    Ok(())
}

fn run_cargo(lockfile: &str) -> Result<cargo_metadata::Metadata, String> {
    let folder = lockfile.rsplit_once('/').map_or(".", |(folder, _)| folder);
    let command = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        .dir(folder)
        .capture_stdout()
        .timeout(CARGO);
    let exit = command.run().map_err(|error: commands::Error| error.to_string())?;
    if !exit.success() {
        return Err(format!("{command}: {exit}"));
    }
    let output = exit.stdout.ok_or("cargo metadata wrote nothing")?.read().map_err(|error| error.to_string())?;
    cargo_metadata::Metadata::parse(&output).map_err(|what| format!("cargo metadata wrote what is no metadata: {what}"))
}

/// What applies to each subject, and the ecosystems that the export leaves out.
fn from_export(path: &str, subjects: &Subjects) -> Result<(Vec<Vec<Vulnerability>>, BTreeSet<Ecosystem>), Failure> {
    let mut export = Export::about(&subjects.list);
    let Some(found) = look(path)? else {
        return Err(Failure::misconfigured(format_args!("`osv.offline`: there is no {path} in the workspace")));
    };
    if found.is_dir() {
        add_folder(&mut export, &files::resolve(path), path)?;
    } else if path.ends_with(".zip") {
        export.add_zip(path, files::open(path)?).map_err(Failure::Errored)?;
    } else {
        return Err(Failure::misconfigured(format_args!("`osv.offline`: {path} is neither a folder of OSV records nor a .zip of them")));
    }
    if export.records() == 0 {
        return Err(Failure::misconfigured(format_args!("`osv.offline`: {path} holds no OSV record (*.json), so nothing could be found")));
    }
    let newest = export.newest().get(..10).unwrap_or("unknown");
    log::info(format_args!("{path}: {} advisories, the newest changed on {newest}", export.records()));
    let apply = |subject| matching::join_all(subject, matching::decide(subject, export.find(subject)));
    Ok((subjects.list.iter().map(apply).collect(), export.gaps(&subjects.list)))
}

/// Records may stand in folders of their own, as in the databases' repositories.
fn add_folder(export: &mut Export, folder: &Path, shown: &str) -> Result<(), Failure> {
    for path in files::list(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let shown = format!("{}/{name}", shown.trim_end_matches('/'));
        if files::is_dir(&path) {
            if !name.starts_with('.') {
                add_folder(export, &path, &shown)?;
            }
        } else if name.ends_with(".json") {
            export.add(&shown, &files::read(&path)?).map_err(Failure::Errored)?;
        }
    }
    Ok(())
}

fn from_service(url: &str, subjects: &Subjects) -> Result<Vec<Vec<Vulnerability>>, Failure> {
    if subjects.list.is_empty() {
        return Ok(Vec::new());
    }
    progress::update(0, 0, format_args!("asking {url} about {} packages", subjects.list.len()));
    let answer = osv_api::ask(&mut Http, url, &subjects.list).map_err(|error| match error {
        osv_api::Error::Transport { error: http::Error::Denied(denial), .. } => Failure::Denied(denial),
        osv_api::Error::Transport { url, error } => Failure::errored(format_args!("{url}: {error}")),
        osv_api::Error::Service(text) => Failure::Errored(text),
    })?;
    log::info(format_args!("{url}: {} advisories apply", answer.records.len()));
    if answer.without_details > 0 {
        log::warn(format_args!("{} advisories are known by their id only", answer.without_details));
    }
    let records: &BTreeMap<_, _> = &answer.records;
    let apply = |(subject, ids): (&matching::Subject, &Vec<String>)| {
        matching::join_all(subject, matching::accept(subject, ids.iter().filter_map(|id| records.get(id))))
    };
    Ok(subjects.list.iter().zip(&answer.ids).map(apply).collect())
}

struct Http;

impl Transport for Http {
    type Error = http::Error;

    fn send(&mut self, url: &str, body: Option<&Value>) -> Result<Reply, TransportError<http::Error>> {
        let request = match body {
            Some(body) => http::post(url).json(body),
            None => http::get(url),
        };
        let passing = |error: http::Error| match error {
            http::Error::Timeout | http::Error::Connect(_) | http::Error::Dns(_) | http::Error::Protocol(_) => {
                TransportError::Passing(error)
            }
            _ => TransportError::Lasting(error),
        };
        let response = request.timeout(REQUEST).max_body(LARGEST_REPLY).header("accept", "application/json").send().map_err(passing)?;
        let (status, retry_after) = (response.status(), response.header("retry-after").map(str::to_owned));
        Ok(Reply { status, retry_after, body: response.bytes().map_err(passing)? })
    }

    fn pause(&mut self, duration: Duration) {
        log::debug(format_args!("trying again in {duration:?}"));
        std::thread::sleep(duration);
    }
}
