//! An assembled image on its way: to a registry, blobs first and names last, or into an archive (an OCI layout in a tar).

use std::collections::BTreeMap;
use std::io::{self, Write};

use runner_sdk::Failure;
use serde_json::json;
use tar::{Builder, EntryType, Header};

use crate::blob::{Blob, Descriptor, Place, media};
use crate::image::{Image, index};
use crate::reference::{Reference, Repository};
use crate::registry::{Arrived, Client, Error};

/// The images of a stage and the document that its names point at.
pub struct Whole {
    pub images: Vec<Image>,
    /// The manifest of the one image, or the index of several.
    pub top: Blob,
}

impl Whole {
    pub fn of(images: Vec<Image>, annotations: &BTreeMap<String, String>) -> Whole {
        let top = match &images[..] {
            [one] => one.manifest.clone(),
            several => {
                let manifests: Vec<_> = several.iter().map(|image| (image.platform.clone(), image.manifest.descriptor.clone())).collect();
                index(&manifests, annotations)
            }
        };
        Whole { images, top }
    }

    pub fn size(&self) -> u64 {
        self.images.iter().map(Image::size).sum()
    }

    fn documents(&self) -> impl Iterator<Item = &Blob> {
        self.images.iter().map(|image| &image.manifest)
    }
}

/// Pushes everything and gives it its names in one repository.
///
/// # Errors
/// If the registry does not take something.
pub fn push(client: &mut Client<'_>, whole: &Whole, repository: &Repository, names: &[&Reference]) -> Result<(), Error> {
    let (mut sent, mut had) = (0, 0);
    for blob in whole.images.iter().flat_map(Image::blobs) {
        match client.push_blob(repository, blob)? {
            Arrived::Sent => sent += blob.descriptor.size,
            Arrived::Known | Arrived::Mounted => had += 1,
        }
    }
    client.note(&format!("{repository}: {} sent, {had} blobs were there", bytes(sent)));
    if whole.images.len() > 1 {
        for manifest in whole.documents() {
            client.put_manifest(repository, &manifest.descriptor.digest, media::MANIFEST, content(manifest))?;
        }
    }
    let top = &whole.top;
    // without a tag, a registry may collect it as garbage; with one, it is found
    for name in names {
        client.put_manifest(repository, name.wanted(), &top.descriptor.media_type, content(top))?;
    }
    Ok(())
}

/// The bytes of a manifest or an index.
pub fn content(blob: &Blob) -> &[u8] {
    match &blob.place {
        Place::Memory(bytes) => bytes,
        Place::File(..) | Place::Registry(_) => unreachable!("documents are made in memory"),
    }
}

/// Writes an OCI layout: the same image, the same bytes. Blobs that are in a registry are fetched first.
///
/// # Errors
/// If a blob can't be had, or the archive can't be written.
pub fn archive(client: &mut Client<'_>, whole: &Whole, names: &[Reference], into: impl Write) -> Result<(), Failure> {
    let unwritable = |error: io::Error| Failure::errored(format_args!("archive: {error}"));
    let mut archive = Builder::new(into);
    add(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#).map_err(unwritable)?;
    // one entry for each name, as other tools write it
    let entry = |name: &Reference| {
        let mut descriptor = whole.top.descriptor.clone();
        descriptor.annotations.insert("org.opencontainers.image.ref.name".into(), name.tag.clone().unwrap_or_default());
        descriptor.annotations.insert("io.containerd.image.name".into(), name.to_string());
        descriptor
    };
    let manifests: Vec<Descriptor> = names.iter().map(entry).collect();
    let index = json!({ "schemaVersion": 2, "mediaType": media::INDEX, "manifests": manifests });
    add(&mut archive, "index.json", index.to_string().as_bytes()).map_err(unwritable)?;

    let mut blobs: BTreeMap<&str, &Blob> = BTreeMap::new();
    for blob in whole.images.iter().flat_map(Image::blobs).chain(whole.documents()).chain([&whole.top]) {
        blobs.insert(&blob.descriptor.digest, blob);
    }
    for (digest, blob) in blobs {
        let fetched = match &blob.place {
            Place::Registry(from) => Some(client.fetch(from, &blob.descriptor)?),
            Place::Memory(_) | Place::File(..) => None,
        };
        let open = fetched.as_ref().unwrap_or(blob).open(0).map_err(unwritable)?;
        let open = open.ok_or_else(|| Failure::errored(format_args!("archive: the bytes of {digest} are elsewhere")))?;
        let mut header = header(blob.descriptor.size);
        archive.append_data(&mut header, format!("blobs/{}", digest.replace(':', "/")), open).map_err(unwritable)?;
    }
    archive.into_inner().and_then(|mut into| into.flush()).map_err(unwritable)
}

fn add(archive: &mut Builder<impl Write>, name: &str, bytes: &[u8]) -> io::Result<()> {
    archive.append_data(&mut header(bytes.len() as u64), name, bytes)
}

fn header(size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

/// For people: `5.2 MB`.
pub fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.1} GB", count as f64 / 1e9),
    }
}
