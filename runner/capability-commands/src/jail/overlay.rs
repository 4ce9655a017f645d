//! Whether folders can be laid over one another here, found out by doing it.
//!
//! Kernels before 5.11 refuse it to ordinary users, some file systems lack what it needs, and inside of a container the disk is often
//! an overlay already.

use std::path::Path;

use super::{
    handle::Jail,
    spec::{HOME, JailSpec, Overlay},
};

/// Tries it in `folder`, which is made. Somebody else removes it.
///
/// # Errors
/// The reason.
pub async fn can_overlay(warden: &Path, folder: &Path) -> Result<(), String> {
    let parts = ["lower", "upper", "work"].map(|name| folder.join(name));
    for part in &parts {
        std::fs::create_dir_all(part).map_err(|error| format!("{}: {error}", part.display()))?;
    }
    let [lower, upper, work] = parts;
    let mut spec = JailSpec::new(warden);
    spec.overlays.push(Overlay { lower, upper, work, inside: Path::new(HOME).join("overlay") });
    match Jail::start(spec).await {
        Ok(jail) => {
            jail.kill();
            jail.gone().await;
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    }
}
