//! A plugin before anything of it runs: where it is, its digest, its manifest, what it imports.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use pipeline::manifest::{Manifest, PluginError, PluginInfo, Plugins, Provenance};
use wasmparser::{ComponentTypeRef, Encoding, Parser, Payload};

/// The custom section that holds `plugin.toml`.
pub const SECTION: &str = "runner:plugin";

/// The largest component that is looked at. `limits.component` is checked per stage.
const LARGEST: u64 = 1 << 30;

/// A component file and what can be read from it without compiling.
pub struct PluginFile {
    pub bytes: Cow<'static, [u8]>,
    pub info: Arc<PluginInfo>,
}

/// What a component file says of itself.
#[derive(Debug)]
pub struct Found {
    /// `plugin.toml`, as embedded.
    pub manifest: Option<String>,
    /// Names of the imported interfaces with their versions.
    pub imports: Vec<String>,
    pub exports: Vec<String>,
}

/// Reads the sections of a component. Runs nothing, compiles nothing.
pub fn read(bytes: &[u8]) -> Result<Found, String> {
    if !bytes.starts_with(b"\0asm") {
        return Err("not a WebAssembly component: it does not begin as one".into());
    }
    let mut found = Found { manifest: None, imports: Vec::new(), exports: Vec::new() };
    let mut depth = 0usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|e| format!("not a WebAssembly component: {e}"))? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err("a core module, not a component; build it for wasm32-wasip2".into());
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if section.name() == SECTION && found.manifest.is_none() => {
                let text = std::str::from_utf8(section.data()).map_err(|_| format!("its section `{SECTION}` is not UTF-8"))?;
                found.manifest = Some(text.to_owned());
            }
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    let import = import.map_err(|e| e.to_string())?;
                    // a type is a name for a shape; only interfaces and functions reach anything
                    if !matches!(import.ty, ComponentTypeRef::Type(_)) {
                        found.imports.push(import.name.name.to_owned());
                    }
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    found.exports.push(export.map_err(|e| e.to_string())?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Reads a local component, by its path as `uses` says it. What can't be read is said for people.
pub type Reader = Box<dyn Fn(&Path) -> Result<Vec<u8>, String> + Send + Sync>;

/// The plugins that a pipeline may name: bundled ones by name, local ones by path.
pub struct PluginFiles {
    bundled: BTreeMap<&'static str, &'static [u8]>,
    /// Local paths are relative to this folder.
    root: PathBuf,
    /// In the place of the folder's files.
    reader: Option<Reader>,
    found: Mutex<BTreeMap<String, Arc<PluginFile>>>,
}

impl PluginFiles {
    pub fn new(bundled: impl IntoIterator<Item = (&'static str, &'static [u8])>, root: &Path) -> Self {
        PluginFiles { bundled: bundled.into_iter().collect(), root: root.to_owned(), reader: None, found: Mutex::default() }
    }

    /// Local components come from elsewhere than the files that are there.
    #[must_use]
    pub fn reading(self, reader: Reader) -> Self {
        PluginFiles { reader: Some(reader), ..self }
    }

    /// The file that `uses` names, read once.
    pub fn get(&self, uses: &str) -> Result<Arc<PluginFile>, PluginError> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = found.get(uses) {
            return Ok(file.clone());
        }
        let file = Arc::new(self.load(uses)?);
        found.insert(uses.to_owned(), file.clone());
        Ok(file)
    }

    fn load(&self, uses: &str) -> Result<PluginFile, PluginError> {
        if !is_path(uses) {
            let bytes = *self.bundled.get(uses).ok_or_else(|| PluginError {
                message: format!("there is no bundled plugin `{uses}`"),
                hint: Some(format!("bundled: {}; a local one is a path such as \"./{uses}.wasm\"", self.names().join(", "))),
            })?;
            return describe(uses, Cow::Borrowed(bytes), Provenance::Bundled);
        }
        let path = self.root.join(uses);
        let error = |message: String, hint: &str| PluginError { message, hint: Some(hint.to_owned()) };
        if let Some(reader) = &self.reader {
            let bytes = reader(Path::new(uses)).map_err(|message| PluginError { message, hint: None })?;
            return describe(uses, Cow::Owned(bytes), Provenance::Local(path));
        }
        let meta = std::fs::metadata(&path)
            .map_err(|e| error(format!("{}: {e}", path.display()), "the path is relative to the pipeline file's folder"))?;
        if !meta.is_file() || meta.len() > LARGEST {
            return Err(error(format!("{} is not a component file", path.display()), "name a .wasm file built for wasm32-wasip2"));
        }
        let bytes = std::fs::read(&path).map_err(|e| error(format!("{}: {e}", path.display()), "make it readable"))?;
        describe(uses, Cow::Owned(bytes), Provenance::Local(path))
    }
}

/// Whether `uses` is a path rather than a bundled name.
pub fn is_path(uses: &str) -> bool {
    uses.starts_with("./") || uses.starts_with("../") || uses.starts_with('/')
}

fn describe(uses: &str, bytes: Cow<'static, [u8]>, provenance: Provenance) -> Result<PluginFile, PluginError> {
    let found = read(&bytes).map_err(|message| PluginError { message: format!("{uses}: {message}"), hint: None })?;
    if !found.exports.iter().any(|name| name == "run") {
        return Err(PluginError {
            message: format!("{uses} is a component, but no stage: it does not export `run`"),
            hint: Some("build it against the world `runner:stage/stage`; in Rust, with `runner_sdk::export!`".into()),
        });
    }
    let text = found.manifest.ok_or_else(|| PluginError {
        message: format!("{uses} has no manifest"),
        hint: Some(format!("embed plugin.toml as the custom section `{SECTION}`; in Rust, `runner_sdk::export!` does it")),
    })?;
    let manifest = Manifest::parse(&text).map_err(|mistakes| PluginError {
        message: format!("the manifest of {uses} can't be read: {}", mistakes.first().map(|m| m.message.clone()).unwrap_or_default()),
        hint: mistakes.first().and_then(|m| m.hint.clone()),
    })?;
    let digest = blake3::hash(&bytes).to_hex().to_string();
    let info = PluginInfo { uses: uses.to_owned(), provenance, digest, manifest, imports: found.imports };
    Ok(PluginFile { bytes, info: Arc::new(info) })
}

impl Plugins for PluginFiles {
    fn find(&self, uses: &str) -> Result<Arc<PluginInfo>, PluginError> {
        Ok(self.get(uses)?.info.clone())
    }

    fn names(&self) -> Vec<String> {
        self.bundled.keys().map(|name| (*name).to_owned()).collect()
    }
}
