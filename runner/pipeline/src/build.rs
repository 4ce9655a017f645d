//! Makes the plan: what each part of the file means together with the others, with the plugins and with the capabilities.
//!
//! Everything that can be looked at is, even when other parts are wrong: a stage whose plugin is unknown still has its references,
//! needs and grants checked. The price is care about consequences: what was reported once must not come back as another mistake.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use event::StageRef;

use crate::around;
use crate::bind::{Late, Unbound};
use crate::compose::{self, Files};
use crate::compose_file;
use crate::diagnostic::{Diagnostic, LineStarts, Severity, Span, did_you_mean};
use crate::expand::{Expander, Place};
use crate::facts::{Facts, Trust};
use crate::grant::GrantSchema;
use crate::graph::{Graph, Kind, list};
use crate::manifest::{Plugins, compile};
use crate::model::{self, Pipeline, shown};
use crate::node::Value;
use crate::plan::{ArtifactRule, CacheUse, Concurrency, Consume, Expansion, Plan, Service, Stage, StageIndex, WorkspaceMode};
use crate::recipe::{Plugin, Recipe};
use crate::source::Sources;
use crate::values::{MatrixValues, Own, Planning, Shared, Used};
use crate::when::{self, Instances};
use crate::{inputs, raw, requests};

/// A plan with more needs, counted between instances, is taken for a mistake.
const MAX_NEEDS: usize = 10_000_000;

pub struct PlanRequest<'a> {
    /// The pipeline file as it was named on the command line.
    pub file: &'a Path,
    /// Its folder: the workspace.
    pub root: &'a Path,
    pub text: &'a str,
    /// What it may include.
    pub files: &'a dyn Files,
    /// `--input name=value`, in order.
    pub inputs: &'a [(String, String)],
    /// For `check` and `plan` without all inputs: a missing one is no mistake, and what depends on it is not looked at. The plan is
    /// for reading then, not for running.
    pub inputs_may_miss: bool,
    pub facts: &'a Facts,
    pub schemas: &'a [Arc<dyn GrantSchema>],
    pub plugins: &'a dyn Plugins,
    /// A variable of the environment that the runner was started in, for the toolchains of grants.
    pub host_env: fn(&str) -> Option<String>,
}

/// A pipeline that can't be planned.
#[derive(Debug)]
pub struct Refused {
    /// The files that were read.
    pub sources: Sources,
    /// Every mistake and warning in them.
    pub diagnostics: Vec<Diagnostic>,
}

/// The plan and its warnings.
///
/// # Errors
/// Every mistake and warning of the file.
pub fn plan(request: &PlanRequest<'_>) -> Result<(Plan, Vec<Diagnostic>), Refused> {
    let mut sources = Sources::new(request.file, request.text);
    plan_sources(request, &mut sources).map_err(|diagnostics| Refused { sources, diagnostics })
}

fn plan_sources(request: &PlanRequest<'_>, sources: &mut Sources) -> Result<(Plan, Vec<Diagnostic>), Vec<Diagnostic>> {
    let (root, mut diagnostics) = raw::read(request.text)?;
    let root = compose::include(root, sources, request.files, &mut diagnostics)?;
    let compose::Extended { root, unused, spans } = compose::extend(root, &mut diagnostics);
    for (key, template) in &unused {
        check_unused_template(key, template, &mut diagnostics);
    }
    let root = compose_file::expand(root, sources, request.files, &mut diagnostics)?;
    let pipeline = Pipeline::read(&root, &mut diagnostics);
    let inputs = inputs::resolve(&pipeline, request.inputs, request.inputs_may_miss, &mut diagnostics);
    let graph = Graph::new(&pipeline.stages, &mut diagnostics);
    graph.refuse_cycles(&mut diagnostics);
    let shared = Arc::new(Shared { pipeline: pipeline.name.clone(), inputs, facts: request.facts.clone() });
    let text: Arc<str> = Arc::clone(sources.text());
    let builder = Builder {
        request,
        pipeline: &pipeline,
        graph: &graph,
        layout: Layout::new(&pipeline.stages),
        constants: when::constants(&shared),
        shared: &shared,
        text: &text,
        sources: sources.clone(),
        lines: LineStarts::new(&text),
        used: RefCell::new(Used::default()),
        plugins: RefCell::new(HashMap::new()),
    };
    let services = builder.of_run(|values, diagnostics| around::services(&pipeline, values, &text, diagnostics), &mut diagnostics);
    let concurrency = builder.of_run(
        |values, diagnostics| {
            pipeline.concurrency.as_ref().and_then(|concurrency| around::concurrency(concurrency, values, &text, diagnostics))
        },
        &mut diagnostics,
    );
    builder.refuse_too_many_needs(&mut diagnostics);
    let grown = diagnostics.iter().any(|d| d.code == "too-many-needs");
    let stages = if grown { Vec::new() } else { builder.stages(&services, &mut diagnostics) };
    builder.warn_of_unused(&mut diagnostics);
    let mut seen = HashSet::new();
    diagnostics.retain(|d| {
        // what a template says wrong is wrong once, whichever stages say it after it
        let of_template = d.span.as_ref().is_some_and(|span| spans.contains(&(span.start, span.end)));
        seen.insert((d.code, d.span.clone(), if of_template { String::new() } else { d.message.clone() }))
    });
    if diagnostics.iter().any(|d| d.severity == Severity::Error) {
        return Err(diagnostics);
    }
    let plan = Plan {
        file: request.file.to_owned(),
        root: request.root.to_owned(),
        name: pipeline.name.clone(),
        digest: blake3::hash(text.as_bytes()).to_hex().to_string(),
        nothing_to_do: nothing_to_do(&pipeline, request.facts),
        concurrency,
        timeout: pipeline.timeout,
        inputs: shared.inputs.iter().filter(|i| i.given).filter_map(|i| Some((i.name.clone(), i.value.as_ref()?.text()))).collect(),
        secrets: pipeline.secrets.iter().map(|(_, secret)| secret.clone()).collect(),
        services,
        stages,
        tree: root,
        sources: std::mem::take(sources),
    };
    Ok((plan, diagnostics))
}

/// A template that no stage extends is still read, so that its mistakes are found before somebody does.
fn check_unused_template(key: &crate::node::Key, template: &crate::node::Node, diagnostics: &mut Vec<Diagnostic>) {
    let mut found = Vec::new();
    model::Stage::read(key, template, &mut found);
    found.retain(|d| d.code != "missing-key");
    diagnostics.extend(found);
    let message = format!("no stage extends the template `{}`", shown(&key.name));
    diagnostics
        .push(Diagnostic::warning("unused", key.span.clone(), message).hint(format!("extend it: `extends = [\"{}\"]`", shown(&key.name))));
}

/// A run that a person starts by hand is always meant; for any other, `[on]` decides.
fn nothing_to_do(pipeline: &Pipeline, facts: &Facts) -> Option<String> {
    let on = pipeline.on.as_ref().filter(|_| facts.event_given || facts.trust != Trust::Local)?;
    (!on.fits(facts)).then(|| format!("{} ({})", facts.subject(), facts.event))
}

/// Where the instances of each stage of the file stand in the plan.
struct Layout {
    ranges: Vec<Range<StageIndex>>,
    /// By matrix values; only for stages with a matrix.
    by_values: Vec<HashMap<Vec<String>, StageIndex>>,
}

impl Layout {
    fn new(stages: &[model::Stage]) -> Layout {
        let mut next = 0;
        let mut layout = Layout { ranges: Vec::with_capacity(stages.len()), by_values: Vec::with_capacity(stages.len()) };
        for stage in stages {
            let instances = &stage.matrix.instances;
            layout.ranges.push(next..next + instances.len());
            let texts = |values: &Vec<crate::scalar::Scalar>| values.iter().map(crate::scalar::Scalar::text).collect();
            let named = !stage.matrix.keys.is_empty();
            layout.by_values.push(if named { instances.iter().map(texts).zip(next..).collect() } else { HashMap::new() });
            next += instances.len();
        }
        layout
    }
}

struct Builder<'a> {
    request: &'a PlanRequest<'a>,
    pipeline: &'a Pipeline,
    graph: &'a Graph<'a>,
    layout: Layout,
    constants: Arc<when::Constants>,
    shared: &'a Arc<Shared>,
    text: &'a Arc<str>,
    sources: Sources,
    lines: LineStarts,
    used: RefCell<Used>,
    /// By `uses`.
    plugins: RefCell<HashMap<String, Option<Plugin>>>,
}

/// One instance, completed.
struct Instance {
    bound: Arc<crate::plan::Bound>,
    late: bool,
    expansions: Vec<Expansion>,
    producers: HashMap<String, StageIndex>,
    secrets: Vec<crate::plan::SecretUse>,
    caches: Vec<CacheUse>,
    concurrency: Option<Concurrency>,
}

impl Builder<'_> {
    /// Completes something that belongs to no stage.
    fn of_run<T>(
        &self,
        complete: impl FnOnce(&dyn crate::expand::Values, &mut Vec<Diagnostic>) -> T,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> T {
        let (matrix, own, producers) = (MatrixValues::new(), Own::default(), RefCell::new(HashMap::new()));
        let nobody = |_: usize| None;
        let planning = Planning {
            shared: self.shared,
            graph: self.graph,
            stage: 0,
            matrix: &matrix,
            own: &own,
            producer: &nobody,
            used: &self.used,
            producers: &producers,
        };
        complete(&around::OfRun { planning }, diagnostics)
    }

    fn refuse_too_many_needs(&self, diagnostics: &mut Vec<Diagnostic>) {
        let mut total = 0usize;
        for (index, edges) in self.graph.edges.iter().enumerate() {
            let own = self.layout.ranges[index].len();
            total = edges.iter().fold(total, |total, edge| total.saturating_add(own.saturating_mul(self.layout.ranges[edge.to].len())));
            if total > MAX_NEEDS {
                let stage = &self.pipeline.stages[index];
                let message = format!("the stages have more than {MAX_NEEDS} needs, counting each instance's");
                diagnostics.push(
                    Diagnostic::error("too-many-needs", stage.span.clone(), message)
                        .hint("let a stage without a matrix stand between two with large ones"),
                );
                return;
            }
        }
    }

    fn stages(&self, services: &[Service], diagnostics: &mut Vec<Diagnostic>) -> Vec<Stage> {
        let mut stages = Vec::with_capacity(self.layout.ranges.last().map_or(0, |range| range.end));
        for (index, stage) in self.pipeline.stages.iter().enumerate() {
            let services = around::services_of(stage, services, diagnostics);
            self.stage(index, stage, &services, &mut stages, diagnostics);
        }
        stages
    }

    fn stage(&self, index: usize, stage: &model::Stage, services: &[usize], stages: &mut Vec<Stage>, diagnostics: &mut Vec<Diagnostic>) {
        let plugin = stage.uses.as_ref().and_then(|uses| self.plugin(uses, diagnostics));
        requests::refuse_unknown(stage, self.request.schemas, diagnostics);
        if let Some(plugin) = &plugin {
            requests::check(stage, &plugin.info, self.request.schemas, diagnostics);
        }
        let environment = stage.environment.as_ref().and_then(|name| self.pipeline.environment(name, diagnostics));
        let own = Arc::new(around::own(self.pipeline, &stage.name, environment, &self.shared.facts));
        let condition = stage.when.as_ref().and_then(|when| self.check_when(index, when, &own, diagnostics));
        let unchanged = self.unchanged(stage, diagnostics);
        let schema = |name: &str| self.request.schemas.iter().find(|schema| schema.name() == name).map(Arc::clone);
        let recipe = Arc::new(Recipe {
            stage: stage.name.clone(),
            span: stage.span.clone(),
            text: Arc::clone(self.text),
            env: stage.env.clone(),
            with: stage.with.clone(),
            grants: stage.grants.iter().filter_map(|(key, node)| Some((key.clone(), node.clone(), schema(&key.name)?))).collect(),
            plugin,
            secrets: own.secrets.clone(),
            root: self.request.root.to_owned(),
            host_env: self.request.host_env,
        });
        let place = self.place(stage);
        let range = self.layout.ranges[index].clone();
        let needs = self.indices(index, |kind| kind != Kind::Any);
        let needs_any = self.indices(index, |kind| kind == Kind::Any);
        let mut shared_instance: Option<Arc<Instance>> = None;
        for (position, values) in range.zip(&stage.matrix.instances) {
            let matrix: MatrixValues = stage.matrix.keys.iter().map(|key| key.name.clone()).zip(values.iter().cloned()).collect();
            let instance = match &shared_instance {
                Some(instance) => Arc::clone(instance),
                None => {
                    let (instance, varies) = self.instance(index, &recipe, &matrix, &own, diagnostics);
                    // One instance's mistakes are enough; the others would tell the same with other values.
                    let Some(instance) = instance else { return };
                    let instance = Arc::new(instance);
                    if !varies {
                        shared_instance = Some(Arc::clone(&instance));
                    }
                    instance
                }
            };
            let Some(plugin) = &recipe.plugin else { return };
            let Some(artifacts) = self.artifacts(index, stage, &matrix, &own, diagnostics) else { return };
            let trusted = plugin.info.provenance.trusted();
            let Some(workspace) = self.workspace(stage, &instance.bound.grants, trusted, diagnostics) else { return };
            let uses_secrets = !instance.secrets.is_empty();
            let lent = instance.bound.grants.iter().find_map(|grant| grant.grant.lends());
            let gate = when::Gate {
                unchanged: unchanged.clone(),
                refusal: around::refusal(environment, uses_secrets, lent, &self.shared.facts),
                environment: own.environment.clone(),
            };
            let when = match &condition {
                Some(checked) => Some(checked.condition(&self.constants, &matrix, self.referred(index, &checked.stages, &matrix), gate)),
                None => gate.alone(&self.constants),
            };
            if let (Some(when), Some(source)) = (&when, &stage.when)
                && !self.try_when(when, source, condition.as_ref(), diagnostics)
            {
                return;
            }
            let unbound = if instance.late {
                Unbound::Late(Box::new(Late {
                    recipe: Arc::clone(&recipe),
                    shared: Arc::clone(self.shared),
                    own: Arc::clone(&own),
                    matrix: matrix.clone(),
                    producers: instance.producers.clone(),
                }))
            } else {
                Unbound::Complete(Arc::clone(&instance.bound))
            };
            debug_assert!(position >= stages.len());
            stages.push(Stage {
                id: StageRef::new(&id(&stage.name, &matrix)),
                name: stage.name.clone(),
                place: place.clone(),
                matrix: matrix.iter().map(|(key, value)| (key.clone(), value.text())).collect(),
                plugin: Arc::clone(&plugin.info),
                needs: needs.clone(),
                needs_any: needs_any.clone(),
                when,
                run_on: stage.run_on,
                soft_fail: stage.soft_fail,
                environment: environment.map(|environment| environment.name.name.clone()),
                approval: environment.and_then(|environment| environment.approval),
                timeout: stage.timeout,
                retries: stage.retries,
                limits: stage.limits,
                workspace,
                artifacts,
                consumes: self.consumes(index, stage, &matrix),
                if_changed: stage.if_changed.clone(),
                secrets: instance.secrets.clone(),
                services: services.to_vec(),
                caches: instance.caches.clone(),
                concurrency: instance.concurrency.clone(),
                env: instance.bound.env.clone(),
                settings: instance.bound.settings.clone(),
                grants: instance.bound.grants.clone(),
                expansions: instance.expansions.clone(),
                unbound,
            });
        }
    }

    fn place(&self, stage: &model::Stage) -> event::Place {
        event::Place {
            at: self.line(&stage.span),
            grants: stage.grants_span.as_ref().map(|span| self.line(span)),
            grant: stage.grants.iter().map(|(key, _)| (key.name.clone(), self.line(&key.span))).collect(),
        }
    }

    /// With all line starts at hand: `Sources::place` counts from the start of the file each time.
    fn line(&self, span: &Span) -> event::FileLine {
        let (file, range) = self.sources.file_of(span.start);
        let line = self.lines.line(span.start) - self.lines.line(range.start) + 1;
        let main = self.sources.main();
        let included = (file != main).then(|| file.strip_prefix(main.parent().unwrap_or(Path::new(""))).unwrap_or(file));
        event::FileLine { line: u32::try_from(line).unwrap_or(u32::MAX), file: included.map(|file| file.to_string_lossy().into_owned()) }
    }

    /// An instance completed as far as it can be, and whether another one's would differ.
    fn instance(
        &self,
        index: usize,
        recipe: &Recipe,
        matrix: &MatrixValues,
        own: &Own,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> (Option<Instance>, bool) {
        let used = RefCell::new(Used::default());
        let producers = RefCell::new(HashMap::new());
        let producer = |stage: usize| self.matching(stage, matrix);
        let values = Planning {
            shared: self.shared,
            graph: self.graph,
            stage: index,
            matrix,
            own,
            producer: &producer,
            used: &used,
            producers: &producers,
        };
        let broken = self.pipeline.stages[index].matrix.broken;
        let before = diagnostics.len();
        let completed = recipe.complete(&values, diagnostics);
        let stage = &self.pipeline.stages[index];
        let caches = around::caches(self.pipeline, stage, &values, self.text, diagnostics);
        let concurrency =
            stage.concurrency.as_ref().and_then(|concurrency| around::concurrency(concurrency, &values, self.text, diagnostics));
        let used = used.into_inner();
        let producers = producers.into_inner();
        if broken && !used.matrix.is_empty() {
            // A matrix value that is only a stand-in must not be complained about.
            let consequence = |d: &Diagnostic| d.code == "bad-setting" || d.code == "unknown-reference" && d.message.contains("matrix");
            let mut index = 0;
            diagnostics.retain(|d| {
                index += 1;
                index <= before || !consequence(d)
            });
        }
        let varies = !used.matrix.is_empty() || !producers.is_empty();
        let instance = completed.bound.map(|bound| Instance {
            secrets: used_secrets(own, &used.secrets, &bound.grants),
            bound: Arc::new(bound),
            late: completed.late,
            expansions: completed.expansions,
            producers,
            caches,
            concurrency,
        });
        let mut all = self.used.borrow_mut();
        all.inputs.extend(used.inputs);
        all.matrix.extend(used.matrix);
        all.secrets.extend(used.secrets);
        all.secrets.extend(instance.iter().flat_map(|instance| instance.secrets.iter().map(|one| one.secret.name.clone())));
        (instance, varies)
    }

    fn plugin(&self, uses: &crate::node::Spanned<String>, diagnostics: &mut Vec<Diagnostic>) -> Option<Plugin> {
        if let Some(Some(plugin)) = self.plugins.borrow().get(&uses.value) {
            return Some(plugin.clone());
        }
        let found = match self.request.plugins.find(&uses.value) {
            Ok(info) => match compile(&info.manifest.schema) {
                Ok(validator) => Some(Plugin { info, validator: Arc::new(validator) }),
                Err(error) => {
                    let message = format!("the plugin `{}` has a schema that is none: {error}", shown(&uses.value));
                    diagnostics.push(Diagnostic::error("bad-plugin", uses.span.clone(), message).hint("its author has to mend that"));
                    None
                }
            },
            Err(error) => {
                let names = self.request.plugins.names();
                let is_name = !uses.value.contains(['/', '\\']) && !uses.value.ends_with(".wasm");
                let near = did_you_mean(&uses.value, names.iter().map(String::as_str)).filter(|near| is_name && *near != uses.value);
                let code = if is_name && !names.contains(&uses.value) { "unknown-plugin" } else { "bad-plugin" };
                let mut diagnostic = Diagnostic::error(code, uses.span.clone(), error.message);
                diagnostic.hint = match near {
                    Some(near) => Some(format!("did you mean `{near}`?")),
                    None => error.hint.or_else(|| {
                        is_name.then(|| {
                            format!("bundled plugins: {}; a file is written \"./my.wasm\"", list(names.iter().map(String::as_str)))
                        })
                    }),
                };
                diagnostics.push(diagnostic);
                None
            }
        };
        self.plugins.borrow_mut().insert(uses.value.clone(), found.clone());
        found
    }

    fn indices(&self, index: usize, kind: impl Fn(Kind) -> bool) -> Vec<StageIndex> {
        self.graph.edges[index].iter().filter(|edge| kind(edge.kind)).flat_map(|edge| self.layout.ranges[edge.to].clone()).collect()
    }

    /// The instance of `stage` that belongs to an instance with these values: the only one, or the one with the same values.
    fn matching(&self, stage: usize, matrix: &MatrixValues) -> Option<StageIndex> {
        let range = &self.layout.ranges[stage];
        if range.len() == 1 {
            return Some(range.start);
        }
        let keys = &self.pipeline.stages[stage].matrix.keys;
        let value = |key: &str| matrix.iter().find(|(name, _)| name == key).map(|(_, value)| value.text());
        let values: Vec<String> = keys.iter().map(|key| value(&key.name)).collect::<Option<_>>()?;
        self.layout.by_values[stage].get(&values).copied()
    }

    fn consumes(&self, index: usize, stage: &model::Stage, matrix: &MatrixValues) -> Vec<Consume> {
        let mut consumes = Vec::new();
        for consume in &stage.consumes {
            let Some(producer) = self.graph.position(&consume.stage).filter(|producer| *producer != index) else { continue };
            let range = match self.matching(producer, matrix) {
                Some(own) => own..own + 1,
                None => self.layout.ranges[producer].clone(),
            };
            consumes.extend(range.map(|stage| Consume { stage, artifact: consume.artifact.clone() }));
        }
        consumes
    }

    fn artifacts(
        &self,
        index: usize,
        stage: &model::Stage,
        matrix: &MatrixValues,
        own: &Own,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Option<Vec<ArtifactRule>> {
        let producers = RefCell::new(HashMap::new());
        let nobody = |stage: usize| self.matching(stage, matrix);
        let values = Planning {
            shared: self.shared,
            graph: self.graph,
            stage: index,
            matrix,
            own,
            producer: &nobody,
            used: &self.used,
            producers: &producers,
        };
        let mut good = true;
        let mut rules = Vec::with_capacity(stage.artifacts.len());
        for artifact in &stage.artifacts {
            let mut paths = Vec::with_capacity(artifact.paths.len());
            for node in &artifact.paths {
                let Value::String(text) = &node.value else { continue };
                let mut expander = Expander { text: self.text, values: &values, diagnostics, late: false };
                let filled = expander.fill(text, &node.span, Place::Path("paths"));
                match filled {
                    Some(filled) if filled.late && !producers.borrow().is_empty() => {
                        let message = "an artifact's path can't depend on another stage's output";
                        diagnostics.push(
                            Diagnostic::error("reference-here", node.span.clone(), message).hint("write a glob that fits all values"),
                        );
                        good = false;
                    }
                    Some(filled) => {
                        if filled.references && !is_inner_glob(&filled.text) {
                            let message = format!(
                                "with its references filled in, the path is `{}`, which is none of the workspace",
                                shown(&filled.text)
                            );
                            diagnostics.push(Diagnostic::error("bad-path", node.span.clone(), message));
                            good = false;
                        }
                        paths.push(filled.text);
                    }
                    None => good = false,
                }
            }
            rules.push(ArtifactRule { name: artifact.name.name.clone(), paths, on: artifact.on, keep: artifact.keep });
        }
        good.then_some(rules)
    }

    fn workspace(
        &self,
        stage: &model::Stage,
        grants: &[crate::plan::PlannedGrant],
        trusted: bool,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Option<WorkspaceMode> {
        let mounts: Vec<_> = grants.iter().flat_map(|grant| grant.grant.mounts()).collect();
        let writable = mounts.iter().any(|mount| mount.writable);
        let before = diagnostics.len();
        if let (true, Some(artifact)) = (!writable, stage.artifacts.first()) {
            let message = format!("`{}` can leave no artifact: nothing of the workspace is granted for writing", stage.name);
            diagnostics.push(Diagnostic::error("artifact-unwritable", artifact.name.span.clone(), message).hint(grant_hint(
                "grant the folder that it stands in, for writing",
                &stage.name,
                &fixed_part(artifact, true),
                "write",
            )));
        }
        if let (true, Some(consume)) = (mounts.is_empty(), stage.consumes.first()) {
            let message = format!("`{}` can't see what it consumes: nothing of the workspace is granted", stage.name);
            let from = self.pipeline.stages.iter().find(|other| other.name == consume.stage);
            let artifact = from.and_then(|from| from.artifacts.iter().find(|artifact| artifact.name.name == consume.artifact));
            let path = artifact.map_or_else(|| ".".to_owned(), |artifact| fixed_part(artifact, false));
            let hint = grant_hint("grant what is consumed, for reading", &stage.name, &path, "read");
            diagnostics.push(Diagnostic::error("consume-unreadable", consume.span.clone(), message).hint(hint));
        }
        if let Some(span) = &stage.shared {
            if !trusted {
                let message = "a shared workspace is for bundled and local plugins only";
                diagnostics.push(Diagnostic::error("shared-untrusted", span.clone(), message).hint("remove `workspace`"));
            }
            if !writable {
                let message = "a shared workspace is for writing, and nothing of it is granted for writing";
                diagnostics.push(
                    Diagnostic::error("shared-unwritable", span.clone(), message)
                        .hint("remove `workspace`, or grant what is to be written"),
                );
            }
            if let Some(consume) = stage.consumes.first() {
                let message = "a shared workspace is the checkout itself: other stages' artifacts are not put into it";
                diagnostics
                    .push(Diagnostic::error("shared-consumes", consume.span.clone(), message).hint("remove `workspace` or `consumes`"));
            }
        }
        if diagnostics.len() > before {
            return None;
        }
        Some(match (mounts.is_empty(), writable || !stage.consumes.is_empty(), &stage.shared) {
            (true, ..) => WorkspaceMode::None,
            (false, false, _) => WorkspaceMode::ReadOnly,
            (false, true, None) => WorkspaceMode::Private,
            (false, true, Some(_)) => WorkspaceMode::Shared,
        })
    }

    /// Nothing that the stage is about differs from the base: why it is skipped.
    fn unchanged(&self, stage: &model::Stage, diagnostics: &mut Vec<Diagnostic>) -> Option<String> {
        if stage.if_changed.is_empty() {
            return None;
        }
        match self.shared.facts.changed.any(&stage.if_changed) {
            Ok(true) => None,
            Ok(false) => Some(format!("nothing changed in {}", stage.if_changed.join(", "))),
            Err(message) => {
                diagnostics.push(Diagnostic::error("bad-path", stage.span.clone(), format!("`if-changed`: {message}")));
                None
            }
        }
    }

    fn check_when(
        &self,
        index: usize,
        source: &crate::node::Spanned<String>,
        of_stage: &Own,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Option<when::Checked> {
        let own = &self.pipeline.stages[index].matrix;
        let has_own_instance = |stage: usize| {
            let keys = &self.pipeline.stages[stage].matrix.keys;
            self.layout.ranges[stage].len() == 1
                || own.instances.first().is_some_and(|values| {
                    let matrix: MatrixValues = own.keys.iter().map(|key| key.name.clone()).zip(values.iter().cloned()).collect();
                    keys.iter().all(|key| matrix.iter().any(|(name, _)| *name == key.name)) && self.matching(stage, &matrix).is_some()
                })
        };
        let names = when::Names {
            shared: self.shared,
            graph: self.graph,
            stage: index,
            own: of_stage,
            text: self.text,
            has_own_instance: &has_own_instance,
        };
        when::check(source, &names, &mut self.used.borrow_mut(), diagnostics)
    }

    fn referred(&self, index: usize, names: &[String], matrix: &MatrixValues) -> HashMap<String, Instances> {
        let mut found = HashMap::with_capacity(names.len());
        for name in names {
            if let Some(stage) = self.graph.position(name).filter(|stage| *stage != index) {
                found.insert(name.clone(), Instances { all: self.layout.ranges[stage].clone(), own: self.matching(stage, matrix) });
            }
        }
        found
    }

    /// A condition that depends on no other stage has its answer already; whether it has one at all is known now.
    fn try_when(
        &self,
        when: &when::Condition,
        source: &crate::node::Spanned<String>,
        checked: Option<&when::Checked>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> bool {
        struct Nothing;
        impl crate::bind::Results for Nothing {
            fn ended(&self, _: StageIndex) -> Option<crate::bind::Ended<'_>> {
                None
            }
        }
        let decided =
            checked.is_some_and(|checked| checked.stages.is_empty()) && self.shared.inputs.iter().all(|input| input.value.is_some());
        if !decided {
            return true;
        }
        match when.try_out(&Nothing) {
            Ok(_) => true,
            Err(message) => {
                diagnostics.push(
                    Diagnostic::error("when-result", source.span.clone(), message)
                        .hint("a condition compares values: git.branch == \"main\""),
                );
                false
            }
        }
    }

    fn warn_of_unused(&self, diagnostics: &mut Vec<Diagnostic>) {
        // With mistakes in the file, what is unused may be so because of them.
        if diagnostics.iter().any(|d| d.severity == Severity::Error) {
            return;
        }
        let used = self.used.borrow();
        for input in &self.pipeline.inputs {
            if !used.inputs.contains(&input.name) {
                let message = format!("the input `{}` is never used", input.name);
                diagnostics.push(
                    Diagnostic::warning("unused", input.span.clone(), message)
                        .hint(format!("refer to it as `${{input.{}}}`, or remove it", input.name)),
                );
            }
        }
        let of_environments = self.pipeline.environments.iter().flat_map(|environment| &environment.secrets);
        let secrets = self.pipeline.secrets.iter().chain(of_environments).map(|(key, _)| (key, "secret"));
        around::warn_of_unused(secrets, &used.secrets, diagnostics);
        let stages = &self.pipeline.stages;
        let caches = stages.iter().flat_map(|stage| &stage.caches).map(|name| name.value.clone()).collect();
        around::warn_of_unused(self.pipeline.caches.iter().map(|cache| (&cache.name, "cache")), &caches, diagnostics);
        let needed = self.pipeline.services.iter().flat_map(|service| &service.needs);
        let services = stages.iter().flat_map(|stage| &stage.services).chain(needed).map(|name| name.value.clone()).collect();
        around::warn_of_unused(self.pipeline.services.iter().map(|service| (&service.name, "service")), &services, diagnostics);
        for environment in &self.pipeline.environments {
            let name = &environment.name.name;
            if !self.pipeline.stages.iter().any(|stage| stage.environment.as_ref().is_some_and(|used| used.value == *name)) {
                diagnostics.push(
                    Diagnostic::warning("unused", environment.name.span.clone(), format!("no stage works on the environment `{name}`"))
                        .hint(format!("say which does: `environment = \"{name}\"`")),
                );
            }
        }
        for (index, stage) in self.pipeline.stages.iter().enumerate() {
            for key in &stage.matrix.keys {
                if !used.matrix.contains(&(index, key.name.clone())) {
                    let message = format!("the matrix key `{}` is never used: its instances all do the same", key.name);
                    diagnostics.push(
                        Diagnostic::warning("unused", key.span.clone(), message).hint(format!("refer to it as `${{matrix.{}}}`", key.name)),
                    );
                }
            }
        }
    }
}

/// Those that the stage's text refers to, and those that its grants name.
fn used_secrets(own: &Own, referred: &HashSet<String>, grants: &[crate::plan::PlannedGrant]) -> Vec<crate::plan::SecretUse> {
    let granted: Vec<(String, bool)> = grants.iter().flat_map(|grant| grant.grant.secrets()).collect();
    let mut used = own.secrets.clone();
    used.retain_mut(|one| {
        let name = &one.secret.name;
        one.read = granted.iter().any(|(granted, read)| granted == name && *read);
        referred.contains(name) || granted.iter().any(|(granted, _)| granted == name)
    });
    used
}

fn is_inner_glob(path: &str) -> bool {
    !path.is_empty()
        && !path.starts_with(['/', '~'])
        && !path.contains(['\0', '\\'])
        && path.split('/').all(|part| part != "..")
        && globset::Glob::new(path).is_ok()
}

/// `test (app=backend, node=22)`
fn id(name: &str, matrix: &MatrixValues) -> String {
    if matrix.is_empty() {
        return name.to_owned();
    }
    let values: Vec<String> = matrix.iter().map(|(key, value)| format!("{key}={}", value.text())).collect();
    format!("{name} ({})", values.join(", "))
}

/// The lines that are missing, as they would stand in the file.
fn grant_hint(what: &str, stage: &str, path: &str, access: &str) -> String {
    format!("{what}, for example:\n\n[stage.{}.grants]\nfiles = [{{ path = \"{}\", access = \"{access}\" }}]", shown(stage), shown(path))
}

/// The names with which the artifact's first path begins, up to the first that only a run can tell. `folder`: without the file's own.
fn fixed_part(artifact: &model::Artifact, folder: bool) -> String {
    let Some(Value::String(path)) = artifact.paths.first().map(|node| &node.value) else { return ".".to_owned() };
    let names: Vec<&str> = path.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    let open = |name: &&str| name.contains(['*', '?', '[', '{', '$']);
    let fixed = names.iter().position(open).unwrap_or(if folder { names.len().saturating_sub(1) } else { names.len() });
    if fixed == 0 { ".".to_owned() } else { names[..fixed].join("/") }
}
