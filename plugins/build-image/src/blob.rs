//! Content by its digest: what it is called, and where its bytes are.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::reference::{Repository, is_digest};

/// Media types of the OCI image specification, and Docker's that mean the same.
pub mod media {
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

    pub fn is_index(text: &str) -> bool {
        matches!(text, INDEX | DOCKER_INDEX)
    }

    pub fn is_manifest(text: &str) -> bool {
        matches!(text, MANIFEST | DOCKER_MANIFEST)
    }
}

/// The platform of a manifest in an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForPlatform {
    pub architecture: String,
    pub os: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// What points at a blob or a manifest. Fields in the order of the specification; what is empty is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: String,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<ForPlatform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    pub fn new(media_type: impl Into<String>, digest: String, size: u64) -> Descriptor {
        Descriptor { media_type: media_type.into(), digest, size, platform: None, artifact_type: None, annotations: BTreeMap::new() }
    }

    pub fn of(media_type: &str, bytes: &[u8]) -> Descriptor {
        Descriptor::new(media_type, digest(bytes), bytes.len() as u64)
    }

    /// Whether its digest is one, so that it may become a part of a URL or a path.
    pub fn is_sound(&self) -> bool {
        is_digest(&self.digest)
    }
}

/// Where bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Memory(Vec<u8>),
    /// In a file, from this byte on.
    File(PathBuf, u64),
    /// In another repository; fetched only if it can't be taken over there.
    Registry(Repository),
}

/// A blob that is to be pushed or archived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    pub descriptor: Descriptor,
    pub place: Place,
}

impl Blob {
    pub fn of(media_type: &str, bytes: Vec<u8>) -> Blob {
        Blob { descriptor: Descriptor::of(media_type, &bytes), place: Place::Memory(bytes) }
    }

    /// Its bytes, from `from` on; `None` if they are in a registry.
    ///
    /// # Errors
    /// If the file can't be read.
    pub fn open(&self, from: u64) -> io::Result<Option<Box<dyn Read>>> {
        let rest = self.descriptor.size.saturating_sub(from);
        match &self.place {
            Place::Memory(bytes) => Ok(Some(Box::new(Cursor::new(bytes.get(from as usize..).unwrap_or_default().to_vec())))),
            Place::File(path, offset) => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(offset + from))?;
                Ok(Some(Box::new(file.take(rest))))
            }
            Place::Registry(_) => Ok(None),
        }
    }
}

pub fn digest(bytes: &[u8]) -> String {
    named(Sha256::digest(bytes).into())
}

fn named(hash: [u8; 32]) -> String {
    use std::fmt::Write;
    hash.iter().fold(String::from("sha256:"), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Passes bytes on, and knows their digest and number.
pub struct Hashing<W> {
    inner: W,
    hash: Sha256,
    size: u64,
}

impl<W> Hashing<W> {
    pub fn new(inner: W) -> Self {
        Hashing { inner, hash: Sha256::new(), size: 0 }
    }

    pub fn finish(self) -> (W, String, u64) {
        (self.inner, named(self.hash.finalize().into()), self.size)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Copies to the end; answers with digest and size.
///
/// # Errors
/// Of either side.
pub fn copy(from: &mut dyn Read, to: impl Write) -> io::Result<(String, u64)> {
    let mut to = Hashing::new(to);
    let mut buffer = vec![0; 256 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => to.write_all(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    to.flush()?;
    let (_, digest, size) = to.finish();
    Ok((digest, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_and_descriptors_are_those_of_the_specification() {
        let empty = Descriptor::of(media::EMPTY, b"{}");
        assert_eq!(empty.digest, "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
        let text = serde_json::to_string(&empty).unwrap();
        assert_eq!(text, format!(r#"{{"mediaType":"{}","digest":"{}","size":2}}"#, media::EMPTY, empty.digest));
        assert!(empty.is_sound());
        assert!(!Descriptor { digest: "sha256:../../x".into(), ..empty }.is_sound());
    }

    #[test]
    fn bytes_are_read_from_where_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tar");
        std::fs::write(&path, b"....hello....").unwrap();
        let descriptor = Descriptor::of(media::LAYER, b"hello");
        for place in [Place::Memory(b"hello".to_vec()), Place::File(path, 4)] {
            let blob = Blob { descriptor: descriptor.clone(), place };
            let (mut text, mut rest) = (String::new(), String::new());
            blob.open(0).unwrap().unwrap().read_to_string(&mut text).unwrap();
            blob.open(3).unwrap().unwrap().read_to_string(&mut rest).unwrap();
            assert_eq!((text.as_str(), rest.as_str()), ("hello", "lo"));
        }
        assert_eq!(copy(&mut &b"hello"[..], io::sink()).unwrap(), (descriptor.digest, 5));
    }
}
