//! What is attached to an image in its registry: documents that refer to it (OCI 1.1), and signatures as cosign keeps them.
//!
//! A registry that knows referrers says so (`OCI-Subject`). For one that does not, the specification has an index under the tag
//! `sha256-<digest>`, which whoever attaches something keeps. A signature stands under `sha256-<digest>.sig`, beside those that were there.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::blob::{Blob, Descriptor, media};
use crate::reference::Repository;
use crate::registry::{Client, Error};

const SIGNED: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// A document about an image.
pub struct Document {
    /// Also of its bytes.
    pub artifact_type: &'static str,
    pub bytes: Vec<u8>,
    /// What it is called where somebody saves it.
    pub file: &'static str,
}

/// Attaches a document to a manifest of the repository; answers with the digest of what refers to it.
///
/// # Errors
/// If the registry does not take it.
pub fn document(
    client: &mut Client<'_>,
    repository: &Repository,
    subject: &Descriptor,
    document: Document,
    created: &str,
) -> Result<String, Error> {
    let Document { artifact_type, bytes, file } = document;
    let empty = Blob::of(media::EMPTY, b"{}".to_vec());
    let mut payload = Blob::of(artifact_type, bytes);
    payload.descriptor.annotations.insert("org.opencontainers.image.title".into(), file.into());
    for blob in [&empty, &payload] {
        client.push_blob(repository, blob)?;
    }
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media::MANIFEST,
        "artifactType": artifact_type,
        "config": empty.descriptor,
        "layers": [payload.descriptor],
        "subject": Descriptor::new(&subject.media_type, subject.digest.clone(), subject.size),
        "annotations": { "org.opencontainers.image.created": created },
    });
    let bytes = manifest.to_string().into_bytes();
    let mut descriptor = Descriptor::of(media::MANIFEST, &bytes);
    let referred = client.put_manifest(repository, &descriptor.digest, media::MANIFEST, &bytes)?;
    if !referred {
        descriptor.artifact_type = Some(artifact_type.into());
        refer(client, repository, subject, &descriptor)?;
    }
    Ok(descriptor.digest)
}

/// Keeps the index of referrers where the registry does not.
fn refer(client: &mut Client<'_>, repository: &Repository, subject: &Descriptor, descriptor: &Descriptor) -> Result<(), Error> {
    let tag = subject.digest.replace(':', "-");
    let known = match client.manifest(repository, &tag)? {
        Some(index) => index.json()?,
        None => Value::Null,
    };
    let mut manifests = known.get("manifests").and_then(Value::as_array).cloned().unwrap_or_default();
    manifests.retain(|one| one.get("digest").and_then(Value::as_str) != Some(&descriptor.digest));
    manifests.push(json!(descriptor));
    let index = json!({ "schemaVersion": 2, "mediaType": media::INDEX, "manifests": manifests });
    client.put_manifest(repository, &tag, media::INDEX, index.to_string().as_bytes())?;
    Ok(())
}

/// What cosign signs: which image of which repository. It verifies these very bytes.
pub fn payload(repository: &Repository, digest: &str) -> Vec<u8> {
    let critical = json!({
        "identity": { "docker-reference": repository.to_string() },
        "image": { "docker-manifest-digest": digest },
        "type": "cosign container image signature",
    });
    json!({ "critical": critical, "optional": null }).to_string().into_bytes()
}

/// Puts a signature beside those that the image has.
///
/// # Errors
/// If the registry does not take it.
pub fn signature(
    client: &mut Client<'_>,
    repository: &Repository,
    digest: &str,
    payload: Vec<u8>,
    signature: &[u8],
) -> Result<String, Error> {
    let tag = format!("{}.sig", digest.replace(':', "-"));
    let mut signed = Blob::of(SIGNED, payload);
    signed.descriptor.annotations.insert(SIGNATURE.into(), STANDARD.encode(signature));
    let mut layers = match client.manifest(repository, &tag)? {
        Some(manifest) => manifest.json()?.get("layers").and_then(Value::as_array).cloned().unwrap_or_default(),
        None => Vec::new(),
    };
    let layer = json!(signed.descriptor);
    if layers.contains(&layer) {
        return Ok(tag);
    }
    layers.push(layer);
    let ids: Vec<&Value> = layers.iter().filter_map(|layer| layer.get("digest")).collect();
    let config = json!({
        "architecture": "", "config": {}, "created": "0001-01-01T00:00:00Z",
        "history": ids.iter().map(|_| json!({ "created": "0001-01-01T00:00:00Z" })).collect::<Vec<_>>(),
        "os": "", "rootfs": { "type": "layers", "diff_ids": ids },
    });
    let config = Blob::of(media::CONFIG, config.to_string().into_bytes());
    for blob in [&signed, &config] {
        client.push_blob(repository, blob)?;
    }
    let manifest = json!({ "schemaVersion": 2, "mediaType": media::MANIFEST, "config": config.descriptor, "layers": layers });
    client.put_manifest(repository, &tag, media::MANIFEST, manifest.to_string().as_bytes())?;
    Ok(tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::Reference;

    #[test]
    fn the_payload_is_the_one_that_cosign_expects() {
        let repository = Reference::parse("ghcr.io/acme/shop").unwrap().repository;
        assert_eq!(
            String::from_utf8(payload(&repository, "sha256:12")).unwrap(),
            r#"{"critical":{"identity":{"docker-reference":"ghcr.io/acme/shop"},"image":{"docker-manifest-digest":"sha256:12"},"type":"cosign container image signature"},"optional":null}"#
        );
    }
}
