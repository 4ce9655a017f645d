//! The second layer for files: Landlock rules that say again what the mounts say.
//!
//! Should a path ever lead out of the root, it still leads out of the rules. Best effort: what the kernel does not know is left out
//! (`probe` reports the version), because the first layer does not depend on it. Rules bind to files, not to mounts, so what is
//! protected inside a writable folder is protected by its mount alone.

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, Scope,
};

use std::{
    io,
    path::{Path, PathBuf},
};

use super::error::{SetupError, Step};

/// The newest version whose rights were looked at for this list.
const KNOWN: ABI = ABI::V9;

/// The rules for a root that has been entered, ready to be put on each command.
pub(super) fn rules(writable: &[PathBuf]) -> Result<RulesetCreated, SetupError> {
    let make = |rules: Result<RulesetCreated, RulesetError>, path: &Path| {
        rules.map_err(|error| SetupError::refused(Step::Landlock, path, error.to_string()))
    };
    let slash = Path::new("/");
    let created = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))
        .and_then(|rules| rules.scope(Scope::from_all(KNOWN)))
        .and_then(Ruleset::create);
    let mut rules = add(make(created, slash)?, slash, AccessFs::from_read(KNOWN))?;
    for path in writable {
        let rights = if path.is_dir() { everything() } else { everything() & AccessFs::from_file(KNOWN) };
        rules = add(rules, path, rights)?;
    }
    add(rules, Path::new("/dev"), AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev)
}

/// Device nodes are made by nobody inside.
fn everything() -> BitFlags<AccessFs> {
    AccessFs::from_all(KNOWN) & !(AccessFs::MakeChar | AccessFs::MakeBlock)
}

fn add(rules: RulesetCreated, path: &Path, rights: BitFlags<AccessFs>) -> Result<RulesetCreated, SetupError> {
    let refused = |error: &dyn std::fmt::Display| SetupError::refused(Step::Landlock, path, error.to_string());
    let place = PathFd::new(path).map_err(|error| refused(&error))?;
    rules.add_rule(PathBeneath::new(place, rights)).map_err(|error| refused(&error))
}

/// Puts the rules on this process and all it starts. `own`: a writable folder that was mounted after the rules were made, and which they
/// therefore don't know.
pub(super) fn restrict_self(rules: &RulesetCreated, own: Option<&Path>) -> io::Result<()> {
    let mut rules = rules.try_clone()?;
    if let Some(path) = own {
        rules = add(rules, path, everything()).map_err(io::Error::other)?;
    }
    rules.restrict_self().map_err(io::Error::other)?;
    Ok(())
}
