//! What a file of an image says about installed packages: one reader for each kind of database.

mod apk;
mod dpkg;
mod language;
pub mod rpm;

use super::wanted::{Wanted, is_of_language};
use crate::inventory::{Origin, Package, StatedLicense};

/// What one file says.
#[derive(Clone, Debug, Default)]
pub struct Installed {
    pub packages: Vec<Package>,
    /// Files of these packages that tell of a language's packages. Who installed those is the distribution, which mends them in its own
    /// versions: the language's advisories would be wrong about them.
    pub owns: Vec<String>,
}

/// Reads a database, or the metadata of one package. The error says what is wrong with it.
pub fn read(wanted: Wanted, bytes: &[u8]) -> Result<Installed, String> {
    let one = |package: Option<Package>| Installed { packages: package.into_iter().collect(), owns: Vec::new() };
    match wanted {
        Wanted::Apk => apk::read(&text(bytes)),
        Wanted::Dpkg => dpkg::read(&text(bytes)),
        Wanted::DpkgFiles => Ok(Installed { owns: dpkg::files(&text(bytes)), ..Installed::default() }),
        Wanted::Rpm(database) => rpm::read(database, bytes),
        Wanted::RpmJournal => rpm::journal(bytes).map(|()| Installed::default()),
        Wanted::Node => language::node(bytes).map(one),
        Wanted::Python => language::python(&text(bytes)).map(one),
        Wanted::Gem => language::gem(&text(bytes)).map(one),
        Wanted::Composer => language::composer(bytes),
        Wanted::OsRelease | Wanted::Lockfile(_) | Wanted::Companion => Ok(Installed::default()),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn package(name: &str, version: &str, license: &str) -> Package {
    let mut package = Package::new(name, version, Origin::Registry, 0);
    if !license.trim().is_empty() {
        package.license = StatedLicense::Text(license.trim().to_owned());
    }
    package
}

/// Keeps of a list of files what matters.
fn owned(path: &str) -> Option<String> {
    let path = path.trim_start_matches("./").trim_start_matches('/');
    is_of_language(path).then(|| path.to_owned())
}
