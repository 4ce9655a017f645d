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
    let layer = archive(&[("holder", PROGRAM, 0o555)]);
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
    archive(&[(&name, config.as_bytes(), 0o444), ("layer.tar", layer, 0o444), ("manifest.json", manifest.as_bytes(), 0o444)])
}

/// Of files that belong to root and were never changed. Name, content, and who may do what with it.
fn archive(files: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes, mode) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(*mode);
        // names are short and a vector takes everything
        archive.append_data(&mut header, name, *bytes).expect("written to memory");
    }
    archive.into_inner().expect("written to memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runners that bring it at the same time must bring the same image, wherever and whenever they were built.
    #[test]
    fn nothing_of_where_and_when_it_is_made_is_in_it() {
        let made = archive(&[("holder", b"x", 0o555)]);
        let mut archive = tar::Archive::new(made.as_slice());
        let entry = archive.entries().unwrap().next().unwrap().unwrap();
        let header = entry.header();
        assert_eq!((header.mode().unwrap(), header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0o555, 0, 0, 0));
        assert_eq!((header.username().unwrap(), header.groupname().unwrap()), (Some(""), Some("")));
        assert_eq!(crate::digest::hex(&made), "@TAR@");
    }

    #[test]
    fn the_program_is_small_and_needs_nothing() {
        assert!(PROGRAM.starts_with(b"\x7fELF") && PROGRAM.len() < 64 << 10, "{} bytes", PROGRAM.len());
        for needed in [b"ld-linux".as_slice(), b"libc.so", b"/home/", b".cargo", b".rustup"] {
            assert!(!PROGRAM.windows(needed.len()).any(|piece| piece == needed), "{:?}", String::from_utf8_lossy(needed));
        }
    }
}
