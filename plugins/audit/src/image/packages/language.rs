//! What package managers of programming languages leave behind for each package that they installed.

use serde::Deserialize;
use serde_json::Value;

use super::{Installed, package};
use crate::inventory::Package;

/// `node_modules/…/package.json`. Without a name or a version it is no package, and npm could not have installed it.
pub fn node(json: &[u8]) -> Result<Option<Package>, String> {
    let json: Value = serde_json::from_slice(json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json)).map_err(|error| error.to_string())?;
    let text = |key: &str| json.get(key).and_then(Value::as_str).unwrap_or_default();
    let license = match (text("license"), json.get("license").and_then(|license| license.get("type")?.as_str())) {
        ("", Some(kind)) => kind,
        (license, _) => license,
    };
    let (name, version) = (text("name"), text("version"));
    Ok((!name.is_empty() && !version.is_empty()).then(|| package(name, version, license)))
}

/// `*.dist-info/METADATA`, `*.egg-info/PKG-INFO`: fields, then an empty line (core metadata specification).
pub fn python(text: &str) -> Result<Option<Package>, String> {
    let (mut name, mut version, mut license, mut expression) = ("", "", "", "");
    for (key, value) in text.lines().take_while(|line| !line.trim().is_empty()).filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        match key.to_ascii_lowercase().as_str() {
            "name" => name = value,
            "version" => version = value,
            // Some put the whole text there.
            "license" if value != "UNKNOWN" && value.len() < 100 => license = value,
            "license-expression" => expression = value,
            _ => {}
        }
    }
    if name.is_empty() || version.is_empty() {
        return Err("it has no name or no version".into());
    }
    Ok(Some(package(name, version, if expression.is_empty() { license } else { expression })))
}

/// `specifications/*.gemspec`, where RubyGems writes `# stub: NAME VERSION PLATFORM PATHS` before the code.
pub fn gem(text: &str) -> Result<Option<Package>, String> {
    let stub = text.lines().take(5).find_map(|line| line.strip_prefix("# stub: ")).ok_or("RubyGems' line `# stub:` is not in it")?;
    let mut words = stub.split(' ');
    match (words.next(), words.next()) {
        (Some(name), Some(version)) => Ok(Some(package(name, version, ""))),
        _ => Err("RubyGems' line `# stub:` has no version".into()),
    }
}

/// `vendor/composer/installed.json`, in Composer 1 a list, later a list in `packages`.
pub fn composer(json: &[u8]) -> Result<Installed, String> {
    #[derive(Deserialize)]
    struct Entry {
        name: String,
        version: String,
        #[serde(default)]
        license: Option<Vec<String>>,
    }
    let mut json: Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let list = if json.is_array() { json } else { json.get_mut("packages").map(Value::take).ok_or("it has no `packages`")? };
    let entries: Vec<Entry> = serde_json::from_value(list).map_err(|error| error.to_string())?;
    let packages =
        entries.iter().map(|entry| package(&entry.name, &entry.version, &entry.license.as_deref().unwrap_or_default().join(" OR ")));
    Ok(Installed { packages: packages.collect(), owns: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::StatedLicense;

    fn shown(package: Option<Package>) -> String {
        package.map_or_else(String::new, |package| match &package.license {
            StatedLicense::Text(license) => format!("{} {license}", package.label()),
            StatedLicense::Unknown => package.label(),
        })
    }

    #[test]
    fn each_language_says_what_is_installed() {
        assert_eq!(shown(node(br#"{"name": "@s/a", "version": "1.0.0", "license": "MIT"}"#).unwrap()), "@s/a 1.0.0 MIT");
        assert_eq!(shown(node(br#"{"name": "a", "version": "1.0.0", "license": {"type": "ISC"}}"#).unwrap()), "a 1.0.0 ISC");
        assert_eq!(shown(node(br#"{"type": "module"}"#).unwrap()), "");
        let metadata =
            "Metadata-Version: 2.4\nName: Jinja2\nVersion: 2.11.2\nLicense: UNKNOWN\nLicense-Expression: BSD-3-Clause\n\nName: no\n";
        assert_eq!(shown(python(metadata).unwrap()), "Jinja2 2.11.2 BSD-3-Clause");
        assert_eq!(shown(gem("# -*- encoding: utf-8 -*-\n# stub: rack 2.2.3 ruby lib\n\nGem::Specification.new\n").unwrap()), "rack 2.2.3");
        for json in [
            r#"{"packages": [{"name": "twig/twig", "version": "v2.14.0", "license": ["BSD-3-Clause"]}]}"#,
            r#"[{"name": "a/b", "version": "1"}]"#,
        ] {
            assert_eq!(composer(json.as_bytes()).unwrap().packages.len(), 1);
        }
        assert!(node(b"{").is_err() && python("x").is_err() && gem("Gem").is_err() && composer(b"{}").is_err());
    }
}
