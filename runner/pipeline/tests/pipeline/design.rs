//! A whole pipeline of a shop, with everything that the format has: no mistakes, and a plan that shows what it means.
//!
//! The capabilities and plugins are fakes with the shapes of the real ones: here only the format is looked at.

use std::any::Any;
use std::path::Path;
use std::sync::Arc;

use pipeline::build::PlanRequest;
use pipeline::compose::NoFiles;
use pipeline::diagnostic::{Diagnostic, render};
use pipeline::facts::{EventKind, Facts, Trust};
use pipeline::grant::{Authority, Grant, GrantContext, GrantSchema, MountRule};
use pipeline::manifest::{Manifest, PluginError, PluginInfo, Plugins, Provenance};
use pipeline::node::{Node, Value};
use pipeline::plan::Plan;

const SHOP: &str = include_str!("shop.toml");

/// Takes any grant, and shows it as it came out.
struct Free(&'static str, &'static [&'static str]);

#[derive(Debug)]
struct Shown(Vec<String>, bool);

impl Grant for Shown {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn authority(&self) -> Vec<Authority> {
        self.0.iter().map(|text| Authority { text: text.clone(), alarming: false }).collect()
    }
    fn mounts(&self) -> Vec<MountRule> {
        if self.1 { vec![MountRule { path: ".".into(), writable: true }] } else { Vec::new() }
    }
}

impl GrantSchema for Free {
    fn name(&self) -> &'static str {
        self.0
    }
    fn summary(&self) -> &'static str {
        "anything"
    }
    fn interfaces(&self) -> &'static [&'static str] {
        self.1
    }
    fn json_schema(&self) -> serde_json::Value {
        serde_json::json!({})
    }
    fn example(&self) -> &'static str {
        "x = {}"
    }
    fn decode(&self, node: &Node, _: &GrantContext, _: &mut Vec<Diagnostic>) -> Option<Arc<dyn Grant>> {
        let mut lines = Vec::new();
        strings(node, "", &mut lines);
        Some(Arc::new(Shown(lines, self.0 == "files")))
    }
}

fn strings(node: &Node, path: &str, lines: &mut Vec<String>) {
    match &node.value {
        Value::String(text) => lines.push(format!("{path}={text}")),
        Value::Array(items) => items.iter().for_each(|item| strings(item, path, lines)),
        Value::Table(table) => table.entries.iter().for_each(|(key, item)| strings(item, &format!("{path}.{}", key.name), lines)),
        _ => {}
    }
}

struct Everything;

impl Plugins for Everything {
    fn find(&self, uses: &str) -> Result<Arc<PluginInfo>, PluginError> {
        let requests: String = ["files", "commands", "http", "docker", "kubernetes"]
            .iter()
            .map(|name| format!("[request.{name}]\nrequired = false\nreason = \"works\"\n"))
            .collect();
        let manifest = format!(
            "manifest = 1\nname = \"{uses}\"\nversion = \"0.1.0\"\nsummary = \"of the shop\"\n{requests}[settings]\nschema = '{{ \"type\": \"object\" }}'\n"
        );
        let manifest = Manifest::parse(&manifest).expect("a manifest of the tests");
        Ok(Arc::new(PluginInfo {
            uses: uses.into(),
            provenance: Provenance::Bundled,
            digest: "d".repeat(64),
            manifest,
            imports: Vec::new(),
        }))
    }
    fn names(&self) -> Vec<String> {
        ["lint", "test", "build-image", "canary", "notify"].map(String::from).to_vec()
    }
}

fn planned(facts: &Facts, inputs: &[(String, String)]) -> (Plan, Vec<Diagnostic>) {
    let schemas: Vec<Arc<dyn GrantSchema>> = ["files", "commands", "http", "docker", "kubernetes"]
        .into_iter()
        .map(|name| Arc::new(Free(name, &[])) as Arc<dyn GrantSchema>)
        .collect();
    let request = PlanRequest {
        file: Path::new("pipeline.toml"),
        root: Path::new("."),
        text: SHOP,
        files: &NoFiles,
        inputs,
        inputs_may_miss: false,
        facts,
        schemas: &schemas,
        plugins: &Everything,
        host_env: |_| None,
    };
    pipeline::build::plan(&request).unwrap_or_else(|refused| panic!("{}", render(&refused.diagnostics, &refused.sources, false)))
}

fn facts() -> Facts {
    Facts {
        run: "r1".into(),
        event: EventKind::Push,
        event_given: true,
        trust: Trust::Branch,
        git_branch: Some("main".into()),
        git_sha: Some("0123456789abcdef0123456789abcdef01234567".into()),
        ..Facts::default()
    }
}

#[test]
fn a_whole_pipeline_has_no_mistakes() {
    let (plan, warnings) = planned(&facts(), &[]);
    // its input is there for people who look at the example
    let warned: Vec<&str> = warnings.iter().map(|d| d.code).collect();
    assert!(warned.iter().all(|code| *code == "unused"), "{}", render(&warnings, &plan.sources, false));
    assert_eq!(plan.nothing_to_do, None);
    let mut shown = String::new();
    for stage in &plan.stages {
        shown.push_str(&format!("{} (needs {:?})\n", stage.id, stage.needs));
        shown.push_str(&format!("  timeout {:?}, services {:?}\n", stage.timeout, stage.services));
        for cache in &stage.caches {
            shown.push_str(&format!("  cache {}: {:?} by {:?}\n", cache.name, cache.paths, cache.key));
        }
        shown.push_str(&format!("  group {:?}\n", stage.concurrency));
        for grant in &stage.grants {
            for line in grant.grant.authority() {
                shown.push_str(&format!("  {}{}\n", grant.capability, line.text));
            }
        }
        shown.push_str(&format!("  with {}\n", stage.settings));
    }
    for used in plan.stages.iter().flat_map(|stage| &stage.secrets) {
        shown = shown.replace(&used.placeholder, &format!("<{}>", used.secret.name));
    }
    insta::assert_snapshot!("shop", shown);
}

#[test]
fn a_whole_pipeline_expanded() {
    let (plan, _) = planned(&facts(), &[]);
    let lines = plan.expanded();
    let text: String = lines.iter().map(|line| format!("{}\n", line.text)).collect();
    assert!(!text.contains("extends") && !text.contains("[template"), "{text}");
    let with_origin = |needle: &str| {
        let line = lines.iter().find(|line| line.text.starts_with(needle)).unwrap_or_else(|| panic!("{needle} is not in\n{text}"));
        let (_, number) = line.origin.as_deref().and_then(|origin| origin.rsplit_once(':')).expect("an origin");
        SHOP.lines().nth(number.parse::<usize>().unwrap() - 1).unwrap()
    };
    assert!(with_origin("timeout = \"10m\"").starts_with("timeout = \"10m\""), "of the template");
    // what is printed is a pipeline file, and means the same
    let again = PlanRequest {
        file: Path::new("pipeline.toml"),
        root: Path::new("."),
        text: &text,
        files: &NoFiles,
        inputs: &[],
        inputs_may_miss: false,
        facts: &facts(),
        schemas: &["files", "commands", "http", "docker", "kubernetes"].map(|name| Arc::new(Free(name, &[])) as Arc<dyn GrantSchema>),
        plugins: &Everything,
        host_env: |_| None,
    };
    let (again, _) =
        pipeline::build::plan(&again).unwrap_or_else(|refused| panic!("{}", render(&refused.diagnostics, &refused.sources, false)));
    let settings = |plan: &Plan| plan.stages.iter().map(|stage| (stage.id.clone(), stage.settings.to_string())).collect::<Vec<_>>();
    assert_eq!(settings(&again), settings(&plan));
    insta::assert_snapshot!(
        "shop-expanded",
        lines.iter().map(|line| format!("{:<90} {}\n", line.text, line.origin.as_deref().unwrap_or(""))).collect::<String>()
    );
}
