//! For the capabilities' own tests: a TOML snippet becomes a decoded grant and a setting, with no guest and no engine. Always compiled: a
//! feature for it would have `cargo test` and `cargo run` build everything above it in turns.

use std::sync::Arc;

use event::{Discard, StageRef};
use pipeline::diagnostic::Diagnostic;
use pipeline::grant::{Grant, GrantContext, GrantSchema};
use pipeline::node::Value;

use crate::boundary::Boundary;
use crate::clock::Clock;
use crate::ledger::MemoryLedger;
use crate::log::StageLog;
use crate::state::{Scratch, Setting};

/// A grant's context for a local plugin in a stage called `test`, with an empty host environment.
pub fn context() -> GrantContext {
    GrantContext { stage: "test".into(), trusted_plugin: true, secrets: Vec::new(), root: ".".into(), host_env: |_| None }
}

/// Decodes `text`, which is the TOML of a whole grant (`http = [...]` or `[commands] ...`), with the schema of its one key.
pub fn grant(schema: &dyn GrantSchema, text: &str) -> Result<Arc<dyn Grant>, Vec<Diagnostic>> {
    let root = pipeline::raw::tree(text).map_err(|(_, diagnostics)| diagnostics)?;
    let Value::Table(table) = &root.value else { unreachable!("a TOML document is a table") };
    let node = table.get(schema.name()).expect("the snippet has the capability's key");
    let mut diagnostics = Vec::new();
    let grant = schema.decode(node, &context(), &mut diagnostics);
    match grant {
        Some(grant) if diagnostics.is_empty() => Ok(grant),
        _ => Err(diagnostics),
    }
}

/// A setting with a workspace and a scratch folder below `folder`, the grant's mounts, `.runner` hidden, `.git` and `pipeline.toml`
/// protected.
pub fn setting(folder: &std::path::Path, grant: Option<&dyn Grant>) -> Arc<Setting> {
    let (workspace, scratch) = (folder.join("workspace"), folder.join("scratch"));
    for path in [&workspace, &scratch] {
        std::fs::create_dir_all(path).expect("the test's folder is writable");
    }
    let stage = StageRef::new("test");
    let log = StageLog::new(&folder.join("log"), stage.clone(), 1 << 20, Arc::new(Discard));
    Arc::new(Setting {
        run: "test-run".into(),
        pipeline: "test-pipeline".into(),
        stage,
        name: "test".into(),
        attempt: 1,
        workspace: Some(workspace),
        scratch: Scratch::new(scratch),
        mounts: grant.map(Grant::mounts).unwrap_or_default(),
        hidden: vec![".runner".into()],
        protected: vec![".git".into(), "pipeline.toml".into()],
        env: Vec::new(),
        secrets: Arc::default(),
        so_far: None,
        limits: pipeline::plan::Limits::default(),
        endpoints: crate::endpoint::Endpoints::default(),
        services: Vec::new(),
        caches: Vec::new(),
        prepared: crate::state::Prepared::default(),
        log: Arc::new(log),
    })
}

/// A boundary with its own in-memory ledger.
pub fn boundary() -> (Boundary, Arc<MemoryLedger>) {
    let ledger = Arc::new(MemoryLedger::default());
    let boundary = Boundary::new(StageRef::new("test"), 1, ledger.clone(), Arc::new(Discard), Clock::start());
    (boundary, ledger)
}
