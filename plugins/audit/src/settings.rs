//! The stage's `with` table, and the checks that a JSON Schema cannot make.

use jiff::civil::Date;
use serde::Deserialize;

use crate::license::Policy;
use crate::severity::Level;

/// What is audited, against what, and what fails the stage.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// Lockfiles to audit, as globs relative to the workspace (`*` stays in a folder, `**/` crosses folders). Without it, every lockfile of the
    /// workspace outside node_modules, target and folders whose name starts with a dot.
    pub lockfiles: Option<Vec<String>>,
    /// Globs of what to leave out, in the same form. In an image they are relative to its root.
    pub exclude: Vec<String>,
    /// A container image to audit: what `docker save` wrote, or an OCI layout (a folder, or a tar of it), relative to the workspace. The
    /// workspace's own lockfiles are then audited only if `lockfiles` names them.
    pub image: Option<String>,
    /// How many GiB the layers of the image may unpack to. Default: 16, and a layer to no more than 200 times its compressed size.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub image_limit: Option<u64>,
    /// Whether packages that are needed for development only are audited. Default: true.
    pub include_dev: Option<bool>,
    /// Where advisories come from: the OSV service, or an offline export of it.
    pub osv: Osv,
    /// The least severity that fails the stage. Default: low, so that only notices (unmaintained packages) pass.
    pub fail_on: Option<Level>,
    /// The severity of an advisory that states none. Default: high.
    pub unscored: Option<Level>,
    /// Advisories that do not count until a date.
    pub ignore: Vec<Ignore>,
    /// Licences that packages may have. Without it, licences are not judged.
    pub licenses: Option<Licenses>,
    /// A file with the output of `cargo metadata --format-version 1`, for the licences of crates. Without it, and with a grant
    /// to run `cargo`, the stage asks cargo itself when it needs them.
    pub cargo_metadata: Option<String>,
    /// Where to write a CycloneDX 1.6 bill of materials (JSON), relative to the workspace, or below /scratch.
    pub sbom: Option<String>,
}

/// At most one of the two.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Osv {
    /// The service's base address. Default: https://api.osv.dev
    pub url: Option<String>,
    /// A folder of OSV records (*.json), or a zip archive of them, relative to the workspace.
    pub offline: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Ignore {
    /// The advisory's id or one of its aliases.
    pub id: String,
    /// Why it may be ignored.
    pub reason: String,
    /// The last day (UTC) on which it is ignored: YYYY-MM-DD.
    #[cfg_attr(test, schemars(with = "String", regex(pattern = r"^\d{4}-\d{2}-\d{2}$")))]
    pub expires: Date,
    /// Only for this package.
    #[serde(default)]
    pub package: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Licenses {
    /// SPDX license ids, with `WITH exception` where it belongs to them.
    pub allow: Vec<String>,
    /// Packages that may be used under another licence, or whose licence is stated nowhere.
    #[serde(default)]
    pub exceptions: Vec<LicenseException>,
    /// What a package does whose licence nobody can tell. Default: warn.
    #[serde(default)]
    pub unknown: Unknown,
}

#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LicenseException {
    pub package: String,
    /// The SPDX expression, or the very text, that the package states or should state.
    pub license: String,
    pub reason: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Unknown {
    #[default]
    Warn,
    Fail,
}

/// Where advisories come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advisories {
    Service(String),
    Export(String),
}

const SERVICE: &str = "https://api.osv.dev";

impl Settings {
    pub fn advisories(&self) -> Result<Advisories, String> {
        match (&self.osv.url, &self.osv.offline) {
            (Some(_), Some(_)) => Err("`osv` has both `url` and `offline`: take one out".into()),
            (None, Some(path)) if path.trim().is_empty() => Err("`osv.offline` is empty: name a folder or a zip archive".into()),
            (None, Some(path)) => Ok(Advisories::Export(path.clone())),
            (None, None) => Ok(Advisories::Service(SERVICE.into())),
            (Some(url), None) if url.starts_with("https://") || url.starts_with("http://") => Ok(Advisories::Service(url.clone())),
            (Some(url), None) => Err(format!("`osv.url` is `{url}`: it needs to start with https:// or http://")),
        }
    }

    /// Whether lockfiles of the workspace are audited.
    pub fn audits_workspace(&self) -> bool {
        self.image.is_none() || self.lockfiles.is_some()
    }

    /// The path of the image to audit, checked.
    pub fn image(&self) -> Result<Option<&str>, String> {
        match (self.image.as_deref().map(str::trim), self.image_limit) {
            (Some(""), _) => Err("`image` is empty: name what `docker save` wrote, or an OCI layout".into()),
            (Some(_), Some(0)) => Err("`image-limit` is 0: no image unpacks to that".into()),
            (None, Some(_)) => Err("`image-limit` is set without `image`: take it out, or name the image".into()),
            (image, _) => Ok(image),
        }
    }

    pub fn include_dev(&self) -> bool {
        self.include_dev.unwrap_or(true)
    }

    pub fn fail_on(&self) -> Level {
        self.fail_on.unwrap_or(Level::Low)
    }

    pub fn unscored(&self) -> Level {
        self.unscored.unwrap_or(Level::High)
    }

    /// The licence list, read; `None` if licences are not judged.
    pub fn policy(&self) -> Result<Option<Policy>, String> {
        let Some(licenses) = &self.licenses else { return Ok(None) };
        let exceptions: Vec<_> = licenses
            .exceptions
            .iter()
            .map(|exception| (exception.package.clone(), exception.license.clone(), exception.reason.clone()))
            .collect();
        Policy::new(&licenses.allow, &exceptions).map(Some)
    }

    /// What is wrong with the ignores, if anything is.
    pub fn check_ignores(&self) -> Result<(), String> {
        for ignore in &self.ignore {
            let empty = [("id", Some(&ignore.id)), ("reason", Some(&ignore.reason)), ("package", ignore.package.as_ref())]
                .into_iter()
                .find(|(_, text)| text.is_some_and(|text| text.trim().is_empty()));
            if let Some((name, _)) = empty {
                return Err(format!("`ignore`: the entry for `{}` has an empty `{name}`", ignore.id));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_manifest_describes_the_settings() {
        runner_sdk::testing::schema_matches::<Settings>(include_str!("../plugin.toml"));
    }

    #[test]
    fn everything_has_a_default() {
        let settings: Settings = serde_json::from_value(json!({})).unwrap();
        assert_eq!(settings.advisories(), Ok(Advisories::Service(SERVICE.into())));
        assert_eq!((settings.include_dev(), settings.fail_on(), settings.unscored()), (true, Level::Low, Level::High));
        assert!(settings.policy().unwrap().is_none() && settings.image() == Ok(None) && settings.audits_workspace());
        let settings: Settings = serde_json::from_value(json!({ "image": "app.tar" })).unwrap();
        assert!(settings.image() == Ok(Some("app.tar")) && !settings.audits_workspace());
    }

    #[test]
    fn mistakes_are_named() {
        let settings = |value| serde_json::from_value::<Settings>(value);
        assert!(
            settings(json!({ "osv": { "url": "https://a", "offline": "b" } })).unwrap().advisories().unwrap_err().contains("take one out")
        );
        for wrong in [json!({ "image": " " }), json!({ "image": "a.tar", "image-limit": 0 }), json!({ "image-limit": 2 })] {
            assert!(settings(wrong.clone()).unwrap().image().unwrap_err().starts_with("`image"), "{wrong}");
        }
        assert!(settings(json!({ "osv": { "url": "api.osv.dev" } })).unwrap().advisories().unwrap_err().contains("https://"));
        let ignore = json!({ "ignore": [{ "id": "A", "reason": "", "expires": "2027-01-31" }] });
        assert_eq!(settings(ignore).unwrap().check_ignores().unwrap_err(), "`ignore`: the entry for `A` has an empty `reason`");
        for wrong in [
            json!({ "ignore": [{ "id": "A", "reason": "r" }] }),
            json!({ "ignore": [{ "id": "A", "expires": "2027-01-31" }] }),
            json!({ "ignore": [{ "id": "A", "reason": "r", "expires": "2027-02-30" }] }),
            json!({ "fail-on": "moderate" }),
            json!({ "failOn": "low" }),
        ] {
            assert!(settings(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
