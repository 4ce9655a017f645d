//! Capabilities and plugins that look like the real ones from `pipeline`'s side, and one call that plans a file with them.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pipeline::build::PlanRequest;
use pipeline::compose::Files as Includes;
use pipeline::diagnostic::{Diagnostic, Severity, render};
use pipeline::facts::Facts;
use pipeline::grant::{Authority, Grant, GrantContext, GrantSchema, MountRule};
use pipeline::manifest::{Manifest, PluginError, PluginInfo, Plugins, Provenance};
use pipeline::node::{Node, TableReader, Value};
use pipeline::plan::Plan;
use pipeline::source::Sources;

/// A grant that remembers its text.
#[derive(Debug)]
pub struct FakeGrant {
    pub lines: Vec<String>,
    mounts: Vec<MountRule>,
}

impl Grant for FakeGrant {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn authority(&self) -> Vec<Authority> {
        self.lines.iter().map(|text| Authority { text: text.clone(), alarming: false }).collect()
    }

    fn mounts(&self) -> Vec<MountRule> {
        self.mounts.clone()
    }

    fn lends(&self) -> Option<&'static str> {
        self.lines.iter().any(|line| line.contains("https://cluster.example")).then_some("the runner's login")
    }
}

struct Files;
struct Http;
struct Commands;

fn rules<'a>(node: &'a Node, what: &str, diagnostics: &mut Vec<Diagnostic>) -> &'a [Node] {
    match &node.value {
        Value::Array(items) => items,
        other => {
            diagnostics.push(pipeline::node::wrong_type(&node.span, what, "an array of tables", other));
            &[]
        }
    }
}

impl GrantSchema for Files {
    fn name(&self) -> &'static str {
        "files"
    }
    fn summary(&self) -> &'static str {
        "Files of the workspace"
    }
    fn interfaces(&self) -> &'static [&'static str] {
        &[]
    }
    fn standard(&self) -> &'static [&'static str] {
        &["wasi:filesystem/"]
    }
    fn json_schema(&self) -> serde_json::Value {
        serde_json::json!({ "type": "array", "items": { "type": "object", "required": ["path"], "additionalProperties": false,
            "properties": { "path": { "type": "string" }, "access": { "enum": ["read", "write"] } } } })
    }
    fn example(&self) -> &'static str {
        r#"files = [{ path = ".", access = "read" }]"#
    }
    fn decode(&self, node: &Node, context: &GrantContext, diagnostics: &mut Vec<Diagnostic>) -> Option<Arc<dyn Grant>> {
        let mut grant = FakeGrant { lines: Vec::new(), mounts: Vec::new() };
        for rule in rules(node, "`files`", diagnostics) {
            let mut reader = TableReader::new(rule, format!("[stage.{}.grants] files", context.stage), diagnostics)?;
            let path = reader.require("path").and_then(|_| reader.string("path"));
            let writable = reader.word("access", &[("read", false), ("write", true)]).is_some_and(|word| word.value);
            reader.finish();
            let path = path?.value;
            grant.lines.push(format!("{} {path}", if writable { "write" } else { "read" }));
            grant.mounts.push(MountRule { path, writable });
        }
        Some(Arc::new(grant))
    }
}

impl GrantSchema for Http {
    fn name(&self) -> &'static str {
        "http"
    }
    fn summary(&self) -> &'static str {
        "HTTP requests to granted places"
    }
    fn interfaces(&self) -> &'static [&'static str] {
        &["runner:http/"]
    }
    fn standard(&self) -> &'static [&'static str] {
        &["wasi:http/"]
    }
    fn json_schema(&self) -> serde_json::Value {
        serde_json::json!({ "type": "array", "items": { "type": "object", "required": ["url"], "additionalProperties": false,
            "properties": { "url": { "type": "string" }, "methods": { "type": "array" }, "private": { "type": "boolean" } } } })
    }
    fn example(&self) -> &'static str {
        r#"http = [{ url = "https://api.example/**", methods = ["GET"] }]"#
    }
    fn decode(&self, node: &Node, context: &GrantContext, diagnostics: &mut Vec<Diagnostic>) -> Option<Arc<dyn Grant>> {
        let mut grant = FakeGrant { lines: Vec::new(), mounts: Vec::new() };
        for rule in rules(node, "`http`", diagnostics) {
            let mut reader = TableReader::new(rule, format!("[stage.{}.grants] http", context.stage), diagnostics)?;
            let url = reader.require("url").and_then(|_| reader.string("url"));
            let methods = reader.strings("methods").unwrap_or_default();
            reader.boolean("private");
            reader.finish();
            let methods: Vec<String> = methods.into_iter().map(|method| method.value).collect();
            grant.lines.push(format!("{} {}", methods.join(","), url?.value));
        }
        Some(Arc::new(grant))
    }
}

impl GrantSchema for Commands {
    fn name(&self) -> &'static str {
        "commands"
    }
    fn summary(&self) -> &'static str {
        "Programs"
    }
    fn interfaces(&self) -> &'static [&'static str] {
        &["runner:commands/"]
    }
    fn json_schema(&self) -> serde_json::Value {
        serde_json::json!({ "type": "object", "required": ["in"], "additionalProperties": false,
            "properties": { "in": { "type": "string" }, "programs": { "type": "array" } } })
    }
    fn example(&self) -> &'static str {
        r#"commands = { in = "process", programs = ["cargo"] }"#
    }
    fn decode(&self, node: &Node, context: &GrantContext, diagnostics: &mut Vec<Diagnostic>) -> Option<Arc<dyn Grant>> {
        let mut reader = TableReader::new(node, format!("[stage.{}.grants.commands]", context.stage), diagnostics)?;
        let place = reader.require("in").and_then(|_| reader.string("in"));
        let programs = reader.strings("programs").unwrap_or_default();
        reader.finish();
        let place = place?.value;
        let lines = programs.into_iter().map(|program| format!("run {} ({place})", program.value)).collect();
        Some(Arc::new(FakeGrant { lines, mounts: Vec::new() }))
    }
}

pub fn schemas() -> Vec<Arc<dyn GrantSchema>> {
    vec![Arc::new(Files), Arc::new(Http), Arc::new(Commands)]
}

const COMMAND: &str = r##"
manifest = 1
name = "command"
version = "0.1.0"
summary = "Runs what it is told"
[request.commands]
required = true
reason = "starts the program"
[request.files]
required = false
reason = "reads the workspace"
[settings]
schema = '''{
  "type": "object",
  "required": ["run"],
  "properties": {
    "run": { "type": "array", "items": { "type": "string" }, "minItems": 1, "description": "The program and its arguments" },
    "timeout": { "type": ["string", "null"], "pattern": "^[0-9]+(ms|s|m|h)$" },
    "count": { "type": "integer", "minimum": 1, "maximum": 10 },
    "verbose": { "type": "boolean" }
  },
  "additionalProperties": false
}'''
"##;

const TEST: &str = r##"
manifest = 1
name = "test"
version = "0.1.0"
summary = "Runs suites"
[request.http]
required = false
reason = "asks"
[settings]
schema = '''{
  "type": "object",
  "properties": {
    "suites": { "type": "array", "items": { "$ref": "#/$defs/suite" } },
    "on": { "enum": ["push", "merge", "schedule"] },
    "script": { "type": "string" },
    "tags": { "type": "array", "items": { "type": "string" }, "uniqueItems": true },
    "to": { "type": "array", "items": { "anyOf": [
      { "type": "object", "properties": { "kind": { "const": "mail" }, "address": { "type": "string" } }, "required": ["kind", "address"], "additionalProperties": false },
      { "type": "object", "properties": { "kind": { "const": "chat" }, "room": { "type": "integer" } }, "required": ["kind", "room"], "additionalProperties": false }
    ] } },
    "level": { "anyOf": [{ "type": "integer" }, { "type": "boolean" }] },
    "lines": { "anyOf": [
      { "anyOf": [
        { "type": "array", "items": { "type": "string" }, "minItems": 1 },
        { "type": "array", "items": { "type": "array", "items": { "type": "string" }, "minItems": 1 }, "minItems": 1 }
      ] },
      { "type": "null" }
    ] },
    "source": { "type": "object", "properties": { "file": { "type": "string" }, "text": { "type": "string" } }, "additionalProperties": false,
      "oneOf": [{ "required": ["file"] }, { "required": ["text"] }] }
  },
  "additionalProperties": false,
  "$defs": {
    "suite": {
      "type": "object",
      "required": ["run"],
      "properties": { "run": { "type": "array", "items": { "type": "string" } }, "format": { "enum": ["junit", "node", "libtest"] }, "retries": { "type": "integer" } },
      "additionalProperties": false
    }
  }
}'''
"##;

const STRANGE: &str = r##"
manifest = 1
name = "strange"
version = "0.1.0"
summary = "Imports what nobody has"
[request.teleport]
required = true
reason = "beams"
"##;

pub struct FakePlugins;

fn info(uses: &str, manifest: &str, imports: &[&str], provenance: Provenance) -> Arc<PluginInfo> {
    Arc::new(PluginInfo {
        uses: uses.into(),
        provenance,
        digest: "d".repeat(64),
        manifest: Manifest::parse(manifest).expect("a manifest of the tests"),
        imports: imports.iter().map(|import| (*import).to_owned()).collect(),
    })
}

impl Plugins for FakePlugins {
    fn find(&self, uses: &str) -> Result<Arc<PluginInfo>, PluginError> {
        let standard = ["wasi:filesystem/types@0.2.6", "wasi:cli/environment@0.2.6", "runner:stage/log@0.1.0"];
        match uses {
            "command" => Ok(info(uses, COMMAND, &["wasi:filesystem/types@0.2.6", "runner:commands/process@0.1.0"], Provenance::Bundled)),
            "test" => Ok(info(uses, TEST, &[standard[0], standard[1], standard[2], "runner:http/client@0.1.0"], Provenance::Bundled)),
            "silent" => Ok(info(
                uses,
                &TEST.replace("\"test\"", "\"silent\"").replace("[request.http]\nrequired = false\nreason = \"asks\"", ""),
                &["runner:http/client@0.1.0"],
                Provenance::Bundled,
            )),
            "strange" => {
                Ok(info(uses, STRANGE, &["wasi:io/streams@0.2.6", "wasi:cli/run@0.3.0", "acme:teleport/beam@1.0.0"], Provenance::Bundled))
            }
            "./my.wasm" => Ok(info(uses, TEST, &standard, Provenance::Local(PathBuf::from("my.wasm")))),
            _ if uses.starts_with("./") => {
                Err(PluginError { message: format!("there is no file {uses}"), hint: Some("build it first".into()) })
            }
            _ => Err(PluginError { message: format!("there is no plugin `{uses}`"), hint: None }),
        }
    }

    fn names(&self) -> Vec<String> {
        vec!["command".into(), "lint".into(), "test".into()]
    }
}

pub struct World {
    pub inputs: Vec<(String, String)>,
    pub inputs_may_miss: bool,
    pub facts: Facts,
    /// Files that can be included: path and text.
    pub files: Vec<(&'static str, &'static str)>,
}

impl Includes for World {
    fn read(&self, path: &str) -> Result<String, String> {
        let found = self.files.iter().find(|(known, _)| *known == path);
        found.map(|(_, text)| (*text).to_owned()).ok_or_else(|| "there is no such file".to_owned())
    }
}

impl Default for World {
    fn default() -> Self {
        let sha = "0123456789abcdef0123456789abcdef01234567";
        World {
            inputs: Vec::new(),
            inputs_may_miss: false,
            facts: Facts { run: "r1".into(), git_branch: Some("feature/x".into()), git_sha: Some(sha.into()), ..Facts::default() },
            files: Vec::new(),
        }
    }
}

impl World {
    pub fn plan(&self, text: &str) -> Result<(Plan, Vec<Diagnostic>), Vec<Diagnostic>> {
        self.plan_in(text, &mut Sources::default())
    }

    /// `sources`: becomes what was read, if there are mistakes.
    pub fn plan_in(&self, text: &str, sources: &mut Sources) -> Result<(Plan, Vec<Diagnostic>), Vec<Diagnostic>> {
        pipeline::build::plan(&PlanRequest {
            file: Path::new("pipeline.toml"),
            root: Path::new("."),
            text,
            files: self,
            inputs: &self.inputs,
            inputs_may_miss: self.inputs_may_miss,
            facts: &self.facts,
            schemas: &schemas(),
            plugins: &FakePlugins,
            host_env: |_| None,
        })
        .map_err(|refused| {
            *sources = refused.sources;
            refused.diagnostics
        })
    }

    /// The mistakes of a file and of what it includes, as they are printed.
    pub fn shown(&self, text: &str) -> String {
        let mut sources = Sources::new("pipeline.toml", text);
        let found = self.plan_in(text, &mut sources).err().unwrap_or_default();
        render(&found, &sources, false)
    }
}

pub fn plan(text: &str) -> Result<(Plan, Vec<Diagnostic>), Vec<Diagnostic>> {
    World::default().plan(text)
}

/// The plan of a file without mistakes.
#[track_caller]
pub fn good(text: &str) -> Plan {
    match plan(text) {
        Ok((plan, _)) => plan,
        Err(diagnostics) => panic!("{}", render(&diagnostics, &Sources::new("pipeline.toml", text), false)),
    }
}

/// Errors and warnings as they are printed.
pub fn shown(text: &str) -> String {
    let diagnostics = match plan(text) {
        Ok((_, warnings)) => warnings,
        Err(diagnostics) => diagnostics,
    };
    render(&diagnostics, &Sources::new("pipeline.toml", text), false)
}

/// The codes of the errors, in the order of their places.
pub fn codes(text: &str) -> Vec<&'static str> {
    let mut diagnostics = plan(text).err().unwrap_or_default();
    diagnostics.retain(|d| d.severity == Severity::Error);
    diagnostics.sort_by_key(|d| d.span.as_ref().map_or(0, |span| span.start));
    diagnostics.iter().map(|d| d.code).collect()
}

/// A file with one stage `s` of the plugin `test` (which asks for nothing), and these lines in `[stage.s]`.
pub fn stage(lines: &str) -> String {
    format!("format = 1\nname = \"p\"\n[stage.s]\nuses = \"test\"\n{lines}\n")
}
