//! The bill of materials to attach: CycloneDX as JSON, which the `audit` stage writes, of lockfiles or of an image. Deliberately absent: a second
//! reader of packages.

use runner_sdk::{Failure, files};
use serde_json::Value;

/// What it is called in a registry (<https://cyclonedx.org/specification/overview/>).
pub const MEDIA_TYPE: &str = "application/vnd.cyclonedx+json";

/// Reads it, and sees that it is one.
///
/// # Errors
/// If it is not there, or something else.
pub fn read(path: &str) -> Result<Vec<u8>, Failure> {
    let Some(bytes) = files::read_optional(path)? else {
        return Err(Failure::misconfigured(format_args!(
            "sbom: there is no {path} in the workspace; let an `audit` stage write it (`sbom = \"{path}\"`), keep it as an artifact, and `consume` that here"
        )));
    };
    check(&bytes).map_err(|why| Failure::misconfigured(format_args!("sbom: {path} is no CycloneDX document: {why}")))?;
    Ok(bytes)
}

fn check(bytes: &[u8]) -> Result<(), String> {
    let document: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    match document.get("bomFormat").and_then(Value::as_str) {
        Some("CycloneDX") => Ok(()),
        _ => Err("its `bomFormat` is not \"CycloneDX\"".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bill_of_materials_is_attached() {
        assert_eq!(check(br#"{ "bomFormat": "CycloneDX", "specVersion": "1.6" }"#), Ok(()));
        assert!(check(b"{}").unwrap_err().contains("bomFormat"));
        assert!(check(b"<bom/>").is_err());
        let folder = tempfile::tempdir().unwrap();
        let missing = read(&folder.path().join("sbom.json").display().to_string()).unwrap_err();
        assert!(matches!(missing, Failure::Misconfigured(why) if why.contains("let an `audit` stage write it")));
    }
}
