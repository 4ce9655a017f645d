//! The bill of materials.

use jiff::civil::date;
use plugin_audit::cargo_metadata::Metadata;
use plugin_audit::sbom::write;
use plugin_audit::settings::Settings;
use plugin_audit::verdict::{Evidence, judge};
use serde_json::{Value, json};

use crate::export::look_up;
use crate::lockfiles::{CARGO_V4, NPM_V2, NPM_V3, cargo, npm};

fn bill(lockfiles: &[plugin_audit::inventory::Lockfile], settings: Value) -> String {
    let settings: Settings = serde_json::from_value(settings).unwrap();
    let (subjects, vulnerabilities) = look_up(lockfiles);
    let verdict = judge(
        Evidence { lockfiles, subjects: &subjects, vulnerabilities, gaps: Default::default(), notes: Vec::new() },
        &settings,
        None,
        date(2026, 11, 21),
    );
    write("shop", lockfiles, &subjects, &verdict.judged, &settings)
}

fn both() -> Vec<plugin_audit::inventory::Lockfile> {
    let mut crates = cargo(CARGO_V4);
    Metadata::parse(include_bytes!("../../fixtures/cargo/v4/metadata.json")).unwrap().complete(&mut crates);
    vec![crates, npm(NPM_V3)]
}

#[test]
fn every_reference_leads_somewhere() {
    let ignore = json!({ "ignore": [{ "id": "RUSTSEC-2021-0003", "reason": "tests only", "expires": "2027-01-31" }] });
    let text = bill(&both(), ignore);
    // For the check against CycloneDX's own schema, which is not in this repository: see the README.
    if let Some(path) = std::env::var_os("AUDIT_SBOM") {
        std::fs::write(path, &text).unwrap();
    }
    let bom: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&bom["bomFormat"], &bom["specVersion"]), (&json!("CycloneDX"), &json!("1.6")));
    let references: Vec<&str> =
        bom["components"].as_array().unwrap().iter().map(|component| component["bom-ref"].as_str().unwrap()).collect();
    let mut unique = references.clone();
    unique.dedup();
    assert_eq!(unique.len(), references.len());
    assert_eq!(references.len(), 13 + 9 + 2 + 4);
    let known = |reference: &Value| reference == "project" || references.contains(&reference.as_str().unwrap());
    for dependency in bom["dependencies"].as_array().unwrap() {
        assert!(known(&dependency["ref"]), "{dependency}");
        assert!(dependency["dependsOn"].as_array().unwrap().iter().all(known), "{dependency}");
    }
    for vulnerability in bom["vulnerabilities"].as_array().unwrap() {
        assert!(vulnerability["affects"].as_array().unwrap().iter().all(|affected| known(&affected["ref"])), "{vulnerability}");
    }
    let component =
        |reference: &str| bom["components"].as_array().unwrap().iter().find(|component| component["bom-ref"] == reference).unwrap();
    assert_eq!(component("pkg:npm/qs@6.5.2")["licenses"], json!([{ "license": { "id": "BSD-3-Clause" } }]));
    assert_eq!(component("pkg:cargo/chrono@0.4.19")["licenses"], json!([{ "expression": "MIT OR Apache-2.0" }]));
    assert_eq!(component("pkg:npm/ansi-regex@5.0.0")["properties"][0]["name"], "cdx:npm:package:development");
    assert_eq!(component("pkg:npm/fsevents@2.3.2")["scope"], "optional");
    let ignored = bom["vulnerabilities"].as_array().unwrap().iter().find(|one| one["id"] == "RUSTSEC-2021-0003").unwrap();
    assert_eq!(ignored["analysis"]["detail"], "Ignored until 2027-01-31: tests only");
    assert_eq!(ignored["ratings"][0]["method"], "CVSSv31");
}

#[test]
fn the_same_input_gives_the_same_bytes_and_another_serial_number_otherwise() {
    let serial = |text: &str| serde_json::from_str::<Value>(text).unwrap()["serialNumber"].as_str().unwrap().to_owned();
    let one = bill(&both(), json!({}));
    assert_eq!(one, bill(&both(), json!({})));
    let number = serial(&one);
    assert!(number.starts_with("urn:uuid:") && number.as_bytes()[23] == b'8', "{number}");
    assert_ne!(number, serial(&bill(&[npm(NPM_V2)], json!({}))));
}
