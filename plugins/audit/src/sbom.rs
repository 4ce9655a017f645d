//! The bill of materials: CycloneDX 1.6, JSON (<https://cyclonedx.org/docs/1.6/json/>).
//!
//! The same lockfiles and advisories give the same bytes: no time, and a serial number that is a digest of the document (a
//! version 8 UUID, RFC 9562). A package version that stands in several places is one component. Deliberately absent: what only
//! the built artifact knows, such as which features or platforms were chosen.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::inventory::{Ecosystem, Lockfile, Origin, Package, StatedLicense};
use crate::license;
use crate::matching::Subjects;
use crate::purl;
use crate::settings::Settings;
use crate::severity::name;
use crate::verdict::{Ignored, Judged, audited};

/// The reference of the whole project.
const ROOT: &str = "project";

/// Writes the document. `project` names what was audited.
pub fn write(project: &str, lockfiles: &[Lockfile], subjects: &Subjects, judged: &[Judged], settings: &Settings) -> String {
    let mut components: BTreeMap<String, Value> = BTreeMap::new();
    let mut needs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let root: &mut BTreeSet<String> = &mut BTreeSet::new();
    for lockfile in lockfiles {
        for package in lockfile.packages.iter().filter(|package| audited(package, settings)) {
            let reference = reference(lockfile, package);
            let component = component(lockfile, package, &reference);
            if package.origin == Origin::Local {
                root.insert(reference.clone());
            }
            components.entry(reference.clone()).or_insert(component);
            let needed = package.dependencies.iter().map(|&index| &lockfile.packages[index]).filter(|package| audited(package, settings));
            needs.entry(reference).or_default().extend(needed.map(|package| self::reference(lockfile, package)));
        }
    }
    // What nothing leads to still belongs to the project.
    let reached: BTreeSet<&String> = needs.values().flatten().collect();
    root.extend(needs.keys().filter(|reference| !reached.contains(reference)).cloned());
    needs.insert(ROOT.into(), std::mem::take(root));

    let dependencies: Vec<Value> = needs.iter().map(|(reference, needed)| json!({ "ref": reference, "dependsOn": needed })).collect();
    let vulnerabilities: Vec<Value> = judged.iter().map(|one| vulnerability(lockfiles, subjects, one, settings)).collect();
    let body = json!({
        "version": 1,
        "metadata": {
            "component": { "type": "application", "bom-ref": ROOT, "name": project },
            "tools": { "components": [{ "type": "application", "name": "audit", "version": env!("CARGO_PKG_VERSION") }] },
        },
        "components": components.into_values().collect::<Vec<_>>(),
        "dependencies": dependencies,
        "vulnerabilities": vulnerabilities,
    });
    let digest = blake3::hash(body.to_string().as_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&digest.as_bytes()[..16]);
    let serial = uuid::Builder::from_custom_bytes(id).into_uuid();
    let mut document = Map::new();
    document.insert("$schema".into(), "http://cyclonedx.org/schema/bom-1.6.schema.json".into());
    document.insert("bomFormat".into(), "CycloneDX".into());
    document.insert("specVersion".into(), "1.6".into());
    document.insert("serialNumber".into(), format!("urn:uuid:{serial}").into());
    if let Value::Object(body) = body {
        document.extend(body);
    }
    let mut text = format!("{:#}", Value::Object(document));
    text.push('\n');
    text
}

/// A package URL names a third-party package everywhere; the project's own packages are told apart by their lockfile.
fn reference(lockfile: &Lockfile, package: &Package) -> String {
    match package.origin {
        Origin::Local => format!("{}#{}", lockfile.path, package.label()),
        _ => purl::of(lockfile.ecosystem, package),
    }
}

fn component(lockfile: &Lockfile, package: &Package, reference: &str) -> Value {
    let local = package.origin == Origin::Local;
    let mut component = Map::new();
    component.insert("type".into(), if local { "application" } else { "library" }.into());
    component.insert("bom-ref".into(), reference.into());
    match package.name.rsplit_once('/').filter(|_| package.name.starts_with('@')) {
        Some((scope, name)) => {
            component.insert("group".into(), scope.into());
            component.insert("name".into(), name.into());
        }
        None => {
            component.insert("name".into(), package.name.clone().into());
        }
    }
    if !package.version.is_empty() {
        component.insert("version".into(), package.version.clone().into());
    }
    if package.optional {
        component.insert("scope".into(), "optional".into());
    }
    let mut checksums = package.checksums.clone();
    checksums.sort();
    if !checksums.is_empty() {
        let hashes: Vec<Value> = checksums.iter().map(|checksum| json!({ "alg": checksum.algorithm, "content": checksum.hex })).collect();
        component.insert("hashes".into(), hashes.into());
    }
    if let StatedLicense::Text(text) = &package.license {
        component.insert("licenses".into(), json!([license_choice(text)]));
    }
    if !local {
        component.insert("purl".into(), purl::of(lockfile.ecosystem, package).into());
    }
    // The names are registered in CycloneDX's property taxonomy.
    let development = match lockfile.ecosystem {
        Ecosystem::Packagist => "cdx:composer:package:isDevRequirement",
        _ => "cdx:npm:package:development",
    };
    let marks = [(development, package.dev), ("cdx:npm:package:bundled", package.bundled)];
    let mut properties: Vec<Value> =
        marks.iter().filter(|(_, set)| *set).map(|(name, _)| json!({ "name": name, "value": "true" })).collect();
    if let Some(place) = &package.in_image {
        properties.push(json!({ "name": "runner:image:layer", "value": place.layer.digest }));
    }
    if !properties.is_empty() {
        component.insert("properties".into(), properties.into());
    }
    Value::Object(component)
}

/// One SPDX id is a licence, more are an expression, and everything else is a name.
fn license_choice(text: &str) -> Value {
    match license::parse(text) {
        Ok(_) if spdx::license_id(text).is_some() => json!({ "license": { "id": text } }),
        Ok(_) => match spdx::Expression::canonicalize(text) {
            Ok(canonical) => json!({ "expression": canonical.as_deref().unwrap_or(text) }),
            Err(_) => json!({ "license": { "name": text } }),
        },
        Err(_) => json!({ "license": { "name": text } }),
    }
}

fn vulnerability(lockfiles: &[Lockfile], subjects: &Subjects, judged: &Judged, settings: &Settings) -> Value {
    let subject = &subjects.list[judged.subject];
    let affects: BTreeSet<String> =
        subject.places.iter().map(|&(lockfile, package)| reference(&lockfiles[lockfile], &lockfiles[lockfile].packages[package])).collect();
    let told = &judged.vulnerability;
    let source = json!({ "name": "OSV", "url": told.url });
    let mut rating = json!({ "source": { "name": "OSV" }, "severity": name(judged.level) });
    if let (Some(score), Some(rating)) = (&told.score, rating.as_object_mut()) {
        rating.insert("score".into(), ((score.value * 10.0).round() / 10.0).into());
        rating.insert("method".into(), score.method.into());
        rating.insert("vector".into(), score.vector.clone().into());
    }
    let mut vulnerability = json!({
        "bom-ref": format!("{}#{}", told.id, affects.first().map_or("", String::as_str)),
        "id": told.id,
        "source": source,
        "ratings": [rating],
        "description": told.headline,
        "recommendation": told.remedy.describe(&subject.name),
        "advisories": [{ "url": told.url }],
        "affects": affects.iter().map(|reference| json!({ "ref": reference })).collect::<Vec<_>>(),
    });
    if let Some(object) = vulnerability.as_object_mut() {
        if !told.aliases.is_empty() {
            let alias =
                |id: &String| json!({ "id": id, "source": { "name": "OSV", "url": format!("https://osv.dev/vulnerability/{id}") } });
            object.insert("references".into(), told.aliases.iter().map(alias).collect::<Vec<_>>().into());
        }
        if let Ignored::Until(index) = judged.ignored {
            let ignore = &settings.ignore[index];
            let detail = format!("Ignored until {}: {}", ignore.expires, ignore.reason);
            object.insert("analysis".into(), json!({ "state": "in_triage", "detail": detail }));
        }
    }
    vulnerability
}
