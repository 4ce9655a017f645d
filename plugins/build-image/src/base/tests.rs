use std::fs;
use std::path::Path;

use serde_json::json;

use super::*;
use crate::blob::digest;

/// Writes an OCI layout with an image for each platform.
fn layout(folder: &Path, platforms: &[&str]) {
    fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
    let put = |media_type: &str, bytes: &[u8]| {
        let descriptor = Descriptor::of(media_type, bytes);
        fs::write(folder.join(name_of(&descriptor)), bytes).unwrap();
        descriptor
    };
    let mut manifests = Vec::new();
    for platform in platforms {
        let platform = Platform::parse(platform).unwrap();
        let layer = put(media::DOCKER_LAYER, format!("layer of {platform}").as_bytes());
        let config = json!({ "os": platform.os, "architecture": platform.architecture, "rootfs": { "diff_ids": [digest(b"tar")] } });
        let config = put(media::CONFIG, config.to_string().as_bytes());
        let manifest = json!({ "schemaVersion": 2, "mediaType": media::MANIFEST, "config": config, "layers": [layer] });
        manifests.push(put(media::MANIFEST, manifest.to_string().as_bytes()));
    }
    // as builders write it: an index of the platforms inside the index of the layout
    let inner = put(media::INDEX, json!({ "schemaVersion": 2, "manifests": manifests }).to_string().as_bytes());
    fs::write(folder.join("index.json"), json!({ "schemaVersion": 2, "manifests": [inner] }).to_string()).unwrap();
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

fn tarred(folder: &Path) -> PathBuf {
    let path = folder.with_extension("tar");
    let mut archive = tar::Builder::new(File::create(&path).unwrap());
    archive.append_dir_all(".", folder).unwrap();
    archive.finish().unwrap();
    path
}

fn find_in(path: &Path, platform: &str) -> Result<BaseImage, Failure> {
    let mut layout = Layout::open(&path.display().to_string())?;
    find(&mut layout, &Platform::parse(platform).unwrap())
}

#[test]
fn a_layout_is_a_folder_or_a_tar_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("layout");
    layout(&root, &["linux/amd64", "linux/arm64"]);
    for path in [tarred(&root), root] {
        let base = find_in(&path, "linux/arm64").unwrap();
        let mut text = String::new();
        base.layers[0].open(0).unwrap().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), base.layers[0].descriptor.media_type.as_str()), ("layer of linux/arm64", media::LAYER));
        assert_eq!(base.config["architecture"], "arm64");
    }
}

#[test]
fn what_is_no_image_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let check = |path: &Path, part: &str| match find_in(path, "linux/amd64") {
        Err(Failure::Misconfigured(why)) => assert!(why.contains(part), "{why}"),
        other => panic!("{part}: {other:?}"),
    };
    check(&path("nothing"), "there is no ");
    fs::write(path("text"), "x".repeat(2000)).unwrap();
    check(&path("text"), "neither a folder nor a tar");
    fs::create_dir(path("empty")).unwrap();
    check(&path("empty"), "there is no index.json in it");

    layout(&path("arm"), &["linux/arm64"]);
    check(&path("arm"), "is not for linux/amd64; it is for linux/arm64");

    layout(&path("broken"), &["linux/amd64"]);
    let layer = Descriptor::of(media::LAYER, b"layer of linux/amd64");
    fs::write(path("broken").join(name_of(&layer)), "layer of somebody else").unwrap();
    check(&path("broken"), &format!("the blob {} has 22 bytes", layer.digest));
    fs::remove_file(path("broken").join(name_of(&layer))).unwrap();
    check(&path("broken"), "there is no blobs/sha256/");

    let outside = json!({ "manifests": [{ "mediaType": media::MANIFEST, "digest": "sha256:../../../etc/passwd", "size": 1 }] });
    fs::write(path("broken").join("index.json"), outside.to_string()).unwrap();
    check(&path("broken"), "is neither a manifest nor an index");

    fs::create_dir(path("saved")).unwrap();
    fs::write(path("saved/manifest.json"), "[]").unwrap();
    check(&tarred(&path("saved")), "convert it");
}
