//! What of caches and services this machine's runner can't do, found before anything runs.
//!
//! `pipeline` knows what they are; where a stage's programs run and what can start a service is known to the capabilities.

use std::path::PathBuf;

use capability_commands::{CommandsGrant, Place, ServiceRoom};
use pipeline::diagnostic::Diagnostic;
use pipeline::plan::{CacheUse, Plan, PlannedGrant, Service, ServiceSource, Stage, WorkspaceMode};

/// The stage's `commands` grant.
pub fn commands(grants: &[PlannedGrant]) -> Option<&CommandsGrant> {
    grants.iter().find_map(|grant| grant.grant.as_any().downcast_ref())
}

/// Every mistake. `unconfined`: the user runs everything on the host, so that caches of the home folder are the user's own.
pub fn mistakes(plan: &Plan, unconfined: bool) -> Vec<Diagnostic> {
    let mut mistakes = Vec::new();
    for (index, service) in plan.services.iter().enumerate() {
        if plan.stages.iter().any(|stage| stage.services.contains(&index)) {
            mistakes.extend(of_service(service, plan));
        }
    }
    for stage in &plan.stages {
        mistakes.extend(mixed(stage, plan));
        mistakes.extend(stage.caches.iter().filter_map(|cache| of_cache(cache, stage, unconfined)));
    }
    // the instances of a matrix share their mistakes
    let mut told = Vec::new();
    mistakes.retain(|mistake| {
        let new = !told.contains(mistake);
        told.extend(new.then(|| mistake.clone()));
        new
    });
    mistakes
}

fn of_service(service: &Service, plan: &Plan) -> Vec<Diagnostic> {
    let mistake = |code, message: String| Diagnostic::error(code, service.span.clone(), message);
    let mut mistakes = Vec::new();
    let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let name = &service.name;
    if name.len() > 63 || !name.chars().all(label) || name.starts_with('-') || name.ends_with('-') || name == "localhost" {
        let message = format!("`{name}` can't be a host's name, by which the stage reaches the service");
        mistakes.push(mistake("bad-name", message).hint("use lower-case letters, digits and `-`"));
    }
    if !service.network.is_empty() {
        let message = "a service has no network but the stage's own yet".to_owned();
        mistakes.push(mistake("service-network", message).hint("remove `network`"));
    }
    if matches!(service.source, ServiceSource::Image(_)) {
        return mistakes;
    }
    if let Err(error) = ServiceRoom::new(service, PathBuf::new(), &plan.root) {
        mistakes.push(mistake("toolchain-missing", error.to_string()));
    }
    mistakes
}

/// Programs in containers can't reach into the jail that a service runs in.
fn mixed(stage: &Stage, plan: &Plan) -> Option<Diagnostic> {
    commands(&stage.grants)?.place.container()?;
    let services = stage.services.iter().map(|&index| &plan.services[index]);
    let service = services.into_iter().find(|service| matches!(service.source, ServiceSource::Command(_)))?;
    let message =
        format!("the programs of `{}` run in containers, which can't reach `{}`: it is a confined process", stage.name, service.name);
    let hint = "give the service an `image`, or run the stage's commands in = \"process\"";
    Some(Diagnostic::error("mixed-places", service.span.clone(), message).hint(hint))
}

fn of_cache(cache: &CacheUse, stage: &Stage, unconfined: bool) -> Option<Diagnostic> {
    let mistake = |message: String, hint: &str| Some(Diagnostic::error("cache-place", cache.span.clone(), message).hint(hint));
    let place = commands(&stage.grants).map(|grant| &grant.place);
    for path in &cache.paths {
        let name = &stage.name;
        match path.strip_prefix("~/") {
            Some(_) if unconfined => {}
            Some(_) if place == Some(&Place::Host) => {
                let message = format!("`{path}` would be the user's own: the commands of `{name}` run on the host");
                return mistake(message, "use in = \"process\", or keep a folder of the workspace");
            }
            Some(_) if place.is_none() => {
                let message = format!("nobody could use `{path}`: `{name}` has no `commands` grant, and so no home folder");
                return mistake(message, "grant it `commands`, or leave the cache out");
            }
            None if stage.workspace != WorkspaceMode::Private => {
                let message = format!("`{path}` lies in the workspace, and `{name}` has no copy of its own to put it in");
                return mistake(message, "grant `files = [{ path = \".\", access = \"write\" }]`, without workspace = \"shared\"");
            }
            _ => {}
        }
    }
    None
}
