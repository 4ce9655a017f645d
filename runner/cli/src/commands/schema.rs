//! `schema`: the JSON Schema of pipeline files with the bundled plugins, for editors.

use std::io::Write;

use host::PluginFiles;
use pipeline::manifest::Plugins;

use crate::error::{CliError, Ending};
use crate::load;

pub fn run(out: &mut dyn Write) -> Result<Ending, CliError> {
    let folder = std::env::current_dir().map_err(anyhow::Error::from)?;
    let files = PluginFiles::new(bundled::PLUGINS.iter().copied(), &folder);
    let found = files.names().into_iter().map(|name| files.find(&name));
    let plugins = found.collect::<Result<Vec<_>, _>>().map_err(|e| CliError::Usage { message: e.message, hint: e.hint })?;
    let schema = pipeline::editor::schema(load::registry(false).schemas(), &plugins);
    writeln!(out, "{schema:#}").map_err(anyhow::Error::from)?;
    Ok(Ending::Ok)
}
