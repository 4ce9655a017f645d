//! What the file says of what stands around its stages: services in their order, caches and groups with their references filled in, the
//! secrets and variables of an environment.

use std::collections::HashSet;

use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::expand::{Expander, Place, Values};
use crate::facts::{Facts, Trust};
use crate::graph::list;
use crate::model::{self, Environment, Pipeline, on, shown};
use crate::node::{Key, Spanned, Value};
use crate::plan::{CacheUse, Concurrency, KeyPart, SecretUse, Service, ServiceSource};
use crate::scalar::Scalar;
use crate::values::Own;

/// The values of a stage of its own.
pub(crate) fn own(pipeline: &Pipeline, stage: &str, environment: Option<&Environment>, facts: &Facts) -> Own {
    let mut secrets: Vec<SecretUse> = Vec::new();
    let of_environment = environment.map(|environment| environment.secrets.as_slice()).unwrap_or_default();
    for (_, secret) in of_environment.iter().chain(&pipeline.secrets) {
        if !secrets.iter().any(|known| known.secret.name == secret.name) {
            let placeholder = placeholder(&facts.placeholder_seed, stage, &secret.name);
            secrets.push(SecretUse { secret: secret.clone(), placeholder, read: false });
        }
    }
    let environment = environment.map(|environment| {
        let name = ("name".to_owned(), Scalar::Text(environment.name.name.clone()));
        std::iter::once(name).chain(environment.vars.iter().cloned()).collect()
    });
    Own { environment, secrets }
}

/// Text that nobody writes by chance and that goes through URLs, headers and JSON as it is. It depends on the stage, so that one stage can't
/// use what stands for another's secret.
fn placeholder(seed: &[u8; 32], stage: &str, secret: &str) -> String {
    let mut hasher = blake3::Hasher::new_keyed(seed);
    for part in ["secret", stage, secret] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    format!("__secret-{secret}-{}__", &hasher.finalize().to_hex()[..32])
}

/// Why a stage that uses an environment, secrets or something that is `lent` to it may not run here. Nobody who wants in may bring their own pipeline, so this is asked of the
/// event alone.
pub(crate) fn refusal(environment: Option<&Environment>, uses_secrets: bool, lent: Option<&str>, facts: &Facts) -> Option<String> {
    if facts.trust == Trust::Fork {
        if uses_secrets {
            return Some("it uses secrets, and a pull request from a fork gets none".to_owned());
        }
        if let Some(lent) = lent {
            return Some(format!("it uses {lent}, which a pull request from a fork does not get"));
        }
    }
    let environment = environment.filter(|environment| !environment.branches.is_empty())?;
    let fits = facts.trust.is_merged() && facts.git_branch.as_ref().is_some_and(|branch| on::matches(&environment.branches, branch));
    (!fits).then(|| {
        let (name, branches) = (&environment.name.name, environment.branches.join(", "));
        format!("the environment `{name}` is for {branches}; this run is of {} ({})", facts.subject(), facts.trust)
    })
}

/// The services of the file, each with those before it that it needs.
pub(crate) fn services(pipeline: &Pipeline, values: &dyn Values, text: &str, diagnostics: &mut Vec<Diagnostic>) -> Vec<Service> {
    let names: Vec<&str> = pipeline.services.iter().map(|service| service.name.name.as_str()).collect();
    let mut services = Vec::with_capacity(names.len());
    for service in &pipeline.services {
        let needs = service.needs.iter().filter_map(|need| named(&names, need, "service", diagnostics)).collect();
        let mut env = Vec::with_capacity(service.env.len());
        for (key, node) in &service.env {
            let mut expander = Expander { text, values, diagnostics, late: false };
            let filled = match &node.value {
                Value::String(value) => expander.fill(value, &node.span, Place::Label("env")).map(|filled| filled.text),
                _ => Scalar::of(node).map(|value| value.text()),
            };
            env.extend(filled.map(|value| (key.name.clone(), value)));
        }
        // one without a source was told of, and keeps its place
        let mut source = service.source.clone().unwrap_or(ServiceSource::Command(Vec::new()));
        if let (ServiceSource::Image(image), Some(written)) = (&mut source, &service.image) {
            let mut expander = Expander { text, values, diagnostics, late: false };
            // whose program runs beside a stage is nothing that anybody outside may choose
            if let Some(filled) = expander.fill(&written.value, &written.span, Place::Authority("image")) {
                image.image = filled.text;
            }
        }
        services.push(Service {
            name: service.name.name.clone(),
            span: service.name.span.clone(),
            source,
            env,
            toolchains: service.toolchains.clone(),
            network: service.network.clone(),
            ready: service.ready.clone(),
            needs,
            optional: service.optional,
            grace: service.grace,
        });
    }
    refuse_circle(pipeline, &services, diagnostics);
    services
}

fn refuse_circle(pipeline: &Pipeline, services: &[Service], diagnostics: &mut Vec<Diagnostic>) {
    let mut settled: HashSet<usize> = HashSet::new();
    loop {
        let before = settled.len();
        let ready = (0..services.len()).filter(|index| services[*index].needs.iter().all(|need| settled.contains(need)));
        settled.extend(ready.collect::<Vec<_>>());
        if settled.len() == services.len() {
            return;
        }
        if settled.len() == before {
            break;
        }
    }
    let open: Vec<usize> = (0..services.len()).filter(|index| !settled.contains(index)).collect();
    let names = list(open.iter().map(|index| services[*index].name.as_str()));
    if let Some(first) = open.first() {
        let span = pipeline.services[*first].name.span.clone();
        diagnostics
            .push(Diagnostic::error("cycle", span, format!("services wait for each other: {names}")).hint("remove one `needs` of them"));
    }
}

/// The services that a stage names and those that these need, the needed first.
pub(crate) fn services_of(stage: &model::Stage, services: &[Service], diagnostics: &mut Vec<Diagnostic>) -> Vec<usize> {
    let names: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
    let mut found: Vec<usize> = Vec::new();
    for name in &stage.services {
        if let Some(index) = named(&names, name, "service", diagnostics) {
            visit(index, services, &mut found, 0);
        }
    }
    found
}

fn visit(index: usize, services: &[Service], found: &mut Vec<usize>, depth: usize) {
    // a circle was told of
    if found.contains(&index) || depth > services.len() {
        return;
    }
    for need in &services[index].needs {
        visit(*need, services, found, depth + 1);
    }
    if !found.contains(&index) {
        found.push(index);
    }
}

/// The caches that a stage names, with the values of one instance.
pub(crate) fn caches(
    pipeline: &Pipeline,
    stage: &model::Stage,
    values: &dyn Values,
    text: &str,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<CacheUse> {
    let names: Vec<&str> = pipeline.caches.iter().map(|cache| cache.name.name.as_str()).collect();
    let mut found = Vec::with_capacity(stage.caches.len());
    for name in &stage.caches {
        let Some(index) = named(&names, name, "cache", diagnostics) else { continue };
        let cache = &pipeline.caches[index];
        let mut key = Vec::with_capacity(cache.key.len());
        for part in &cache.key {
            key.extend(match part {
                model::Part::Text(text_part) => known(text_part, "key", values, text, diagnostics).map(KeyPart::Text),
                model::Part::Files(globs) => {
                    Some(KeyPart::Files(globs.iter().filter_map(|glob| known(glob, "files", values, text, diagnostics)).collect()))
                }
            });
        }
        found.push(CacheUse { name: name.value.clone(), span: name.span.clone(), paths: cache.paths.clone(), key });
    }
    found
}

/// A group with its references filled in.
pub(crate) fn concurrency(
    concurrency: &model::Concurrency,
    values: &dyn Values,
    text: &str,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Concurrency> {
    let group = known(&concurrency.group, "group", values, text, diagnostics)?;
    Some(Concurrency { group, on_busy: concurrency.on_busy })
}

/// A text that has to be known before anything runs.
fn known(template: &Spanned<String>, key: &str, values: &dyn Values, text: &str, diagnostics: &mut Vec<Diagnostic>) -> Option<String> {
    let mut expander = Expander { text, values, diagnostics, late: false };
    let filled = expander.fill(&template.value, &template.span, Place::Label(key))?;
    if filled.late {
        let message = format!("`{key}` can't depend on another stage's output");
        diagnostics.push(Diagnostic::error("reference-here", template.span.clone(), message).hint("use what is known when the run starts"));
        return None;
    }
    Some(filled.text)
}

fn named(names: &[&str], name: &Spanned<String>, kind: &'static str, diagnostics: &mut Vec<Diagnostic>) -> Option<usize> {
    let found = names.iter().position(|known| *known == name.value);
    if found.is_none() {
        let hint = match did_you_mean(&name.value, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if names.is_empty() => format!("declare it: [{kind}.{}]", shown(&name.value)),
            None => format!("{kind}s: {}", list(names.iter().copied())),
        };
        let code = if kind == "cache" { "unknown-cache" } else { "unknown-service" };
        let message = format!("there is no {kind} `{}`", shown(&name.value));
        diagnostics.push(Diagnostic::error(code, name.span.clone(), message).hint(hint));
    }
    found
}

/// Which of several declared names nobody uses.
pub(crate) fn warn_of_unused<'a>(
    declared: impl Iterator<Item = (&'a Key, &'static str)>,
    used: &HashSet<String>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    for (key, kind) in declared {
        if !used.contains(&key.name) {
            diagnostics.push(
                Diagnostic::warning("unused", key.span.clone(), format!("no stage uses the {kind} `{}`", shown(&key.name)))
                    .hint("use it, or remove it"),
            );
        }
    }
}

/// Values for what belongs to no stage: no matrix, no environment, no outputs.
pub(crate) struct OfRun<'a> {
    pub planning: crate::values::Planning<'a>,
}

impl Values for OfRun<'_> {
    fn resolve(&self, reference: &crate::interpolate::Reference, diagnostics: &mut Vec<Diagnostic>) -> Option<crate::expand::Resolved> {
        if let crate::interpolate::Source::Output { .. } = reference.source {
            let message = "this belongs to no stage, so there are no outputs yet";
            diagnostics
                .push(Diagnostic::error("reference-here", reference.span.clone(), message).hint("use what is known when the run starts"));
            return None;
        }
        self.planning.resolve(reference, diagnostics)
    }
}
