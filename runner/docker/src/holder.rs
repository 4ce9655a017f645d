//! The image that a pod's holder is started from: one static program, made with this crate (`holder/`) and brought to the engine once.
//!
//! It is put together byte by byte, so that its id is the same wherever it is made: runners that bring it at the same time bring the same image.

use bytes::Bytes;

use crate::digest;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::image::Image;

const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/holder"));
const REPOSITORY: &str = "runner/holder";
/// What the sweep leaves in place: it belongs to no run.
const LABEL: &str = "dev.runner.image";

/// The image's id, once the engine has it.
pub(crate) async fn image(engine: &Engine) -> Result<String, EngineError> {
    let about = engine.about().await?;
    let ours = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    if about.os != "linux" || about.arch != ours {
        return Err(EngineError::Pod {
            what: "a network that a stage's containers share",
            why: format!("it takes an engine for linux/{ours}, and this one is for {}/{}", about.os, about.arch),
        });
    }
    let layer = archive(&[Entry { name: "holder", bytes: PROGRAM, mode: 0o555 }]);
    let diff_id = format!("sha256:{}", digest::hex(&layer));
    let reference = format!("{REPOSITORY}:{}", &digest::hex(PROGRAM)[..12]);
    // a name can be given to anything; what is in it can't be made up
    let is_ours = |image: &Image| image.layers == [diff_id.clone()] && image.entrypoint == ["/holder"];
    if let Some(image) = engine.image(&reference).await?.filter(is_ours) {
        return Ok(image.id);
    }
    let saved = Bytes::from(saved(&reference, &layer, &diff_id, ours));
    engine.load(futures::stream::iter([Ok(saved)])).await?;
    match engine.image(&reference).await?.filter(is_ours) {
        Some(image) => Ok(image.id),
        None => Err(EngineError::Pod {
            what: "a network that a stage's containers share",
            why: format!("the engine took the image {reference} and does not have it"),
        }),
    }
}

/// As `docker save` writes an image.
fn saved(reference: &str, layer: &[u8], diff_id: &str, architecture: &str) -> Vec<u8> {
    let config = serde_json::json!({
        "architecture": architecture,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": { "Entrypoint": ["/holder"], "Labels": { LABEL: "holder" } },
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        "history": [{ "created": "1970-01-01T00:00:00Z", "comment": "runner: holds the network of a pod" }],
    })
    .to_string();
    let name = format!("{}.json", digest::hex(config.as_bytes()));
    let manifest = serde_json::json!([{ "Config": name, "RepoTags": [reference], "Layers": ["layer.tar"] }]).to_string();
    archive(&[
        Entry { name: &name, bytes: config.as_bytes(), mode: 0o444 },
        Entry { name: "layer.tar", bytes: layer, mode: 0o444 },
        Entry { name: "manifest.json", bytes: manifest.as_bytes(), mode: 0o444 },
    ])
}

struct Entry<'a> {
    name: &'a str,
    bytes: &'a [u8],
    mode: u32,
}

/// A tar archive of files that belong to root and were never changed.
fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    const BLOCK: usize = 512;
    let mut made = Vec::new();
    for entry in entries {
        let mut header = [0u8; BLOCK];
        let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, entry.name);
        put(100, &format!("{:07o}", entry.mode));
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{:011o}", entry.bytes.len()));
        put(136, "00000000000");
        put(148, "        ");
        put(156, "0");
        put(257, "ustar\u{0}00");
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\u{0} ").as_bytes());
        made.extend_from_slice(&header);
        made.extend_from_slice(entry.bytes);
        made.resize(made.len().next_multiple_of(BLOCK), 0);
    }
    made.resize(made.len() + 2 * BLOCK, 0);
    made
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_archive_is_read_by_others() {
        let made = archive(&[Entry { name: "holder", bytes: PROGRAM, mode: 0o555 }, Entry { name: "x", bytes: b"y", mode: 0o444 }]);
        assert_eq!(made, archive(&[Entry { name: "holder", bytes: PROGRAM, mode: 0o555 }, Entry { name: "x", bytes: b"y", mode: 0o444 }]));
        let mut archive = tar::Archive::new(made.as_slice());
        let read: Vec<(String, u32, Vec<u8>)> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).unwrap();
                (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap(), bytes)
            })
            .collect();
        assert_eq!(read, [("holder".to_owned(), 0o555, PROGRAM.to_vec()), ("x".to_owned(), 0o444, b"y".to_vec())]);
    }

    #[test]
    fn the_program_is_small_and_needs_nothing() {
        assert!(PROGRAM.starts_with(b"\x7fELF") && PROGRAM.len() < 64 << 10, "{} bytes", PROGRAM.len());
        for needed in [b"ld-linux".as_slice(), b"libc.so", b"/home/", b".cargo", b".rustup"] {
            assert!(!PROGRAM.windows(needed.len()).any(|piece| piece == needed), "{:?}", String::from_utf8_lossy(needed));
        }
    }
}
