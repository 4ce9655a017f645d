//! An image of layers: its configuration, its manifest, and the index of several (the OCI image specification, 1.1).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::base::BaseImage;
use crate::blob::{Blob, Descriptor, ForPlatform, media};
use crate::layer::Layer;
use crate::settings::{Platform, Settings};

/// An image for one platform, ready to be pushed.
#[derive(Debug, Clone)]
pub struct Image {
    pub platform: Platform,
    pub manifest: Blob,
    pub config: Blob,
    pub layers: Vec<Blob>,
}

impl Image {
    /// What a client that pulls it transfers.
    pub fn size(&self) -> u64 {
        self.layers.iter().chain([&self.config, &self.manifest]).map(|blob| blob.descriptor.size).sum()
    }

    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        self.layers.iter().chain([&self.config])
    }
}

/// Puts layers on a base, or on nothing.
pub fn assemble(
    settings: &Settings,
    platform: &Platform,
    base: Option<&BaseImage>,
    layers: &[Layer],
    annotations: &BTreeMap<String, String>,
    created: &str,
) -> Image {
    let mut config = base.map_or_else(|| json!({}), |base| base.config.clone());
    let mut annotations = annotations.clone();
    if let Some(base) = base {
        annotations.insert("org.opencontainers.image.base.digest".into(), base.digest.clone());
        annotations.extend(base.name.iter().map(|name| ("org.opencontainers.image.base.name".to_owned(), name.clone())));
    }
    let labels = annotations.iter().chain(&settings.labels);
    let fields = object(&mut config);
    fields.insert("created".into(), created.into());
    fields.insert("architecture".into(), platform.architecture.clone().into());
    fields.insert("os".into(), platform.os.clone().into());
    if let Some(variant) = &platform.variant {
        fields.insert("variant".into(), variant.clone().into());
    }
    run_config(settings, labels, child(fields, "config"));
    let rootfs = child(fields, "rootfs");
    rootfs.insert("type".into(), "layers".into());
    list(rootfs, "diff_ids").extend(layers.iter().map(|layer| Value::from(layer.diff_id.as_str())));
    list(fields, "history").extend(layers.iter().map(|layer| json!({ "created": created, "created_by": layer.made_by })));

    let config = Blob::of(media::CONFIG, config.to_string().into_bytes());
    let layers: Vec<Blob> =
        base.into_iter().flat_map(|base| base.layers.clone()).chain(layers.iter().map(|layer| layer.blob.clone())).collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media::MANIFEST,
        "config": config.descriptor,
        "layers": layers.iter().map(|layer| &layer.descriptor).collect::<Vec<_>>(),
        "annotations": annotations,
    });
    Image { platform: platform.clone(), manifest: Blob::of(media::MANIFEST, manifest.to_string().into_bytes()), config, layers }
}

/// What is started, how, and what is said of it.
fn run_config<'a>(settings: &Settings, labels: impl Iterator<Item = (&'a String, &'a String)>, config: &mut Map<String, Value>) {
    let text = [("User", &settings.user), ("WorkingDir", &settings.workdir)];
    for (name, value) in text.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        config.insert(name.into(), value.clone().into());
    }
    let words = [("Entrypoint", &settings.entrypoint), ("Cmd", &settings.cmd)];
    for (name, value) in words.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        config.insert(name.into(), value.clone().into());
    }
    // the base's arguments are for the base's program
    if settings.entrypoint.is_some() && settings.cmd.is_none() {
        config.remove("Cmd");
    }
    for (name, value) in &settings.env {
        let known = list(config, "Env");
        known.retain(|one| one.as_str().is_none_or(|one| one.split('=').next() != Some(name)));
        known.push(format!("{name}={value}").into());
    }
    for port in &settings.expose {
        let port = if port.contains('/') { port.clone() } else { format!("{port}/tcp") };
        child(config, "ExposedPorts").insert(port, json!({}));
    }
    for (name, value) in labels {
        child(config, "Labels").insert(name.clone(), value.clone().into());
    }
}

/// The index of images for several platforms.
pub fn index(manifests: &[(Platform, Descriptor)], annotations: &BTreeMap<String, String>) -> Blob {
    let manifests: Vec<Descriptor> = manifests
        .iter()
        .map(|(platform, descriptor)| {
            let Platform { os, architecture, variant } = platform.clone();
            Descriptor { platform: Some(ForPlatform { architecture, os, variant }), ..descriptor.clone() }
        })
        .collect();
    let index = json!({ "schemaVersion": 2, "mediaType": media::INDEX, "manifests": manifests, "annotations": annotations });
    Blob::of(media::INDEX, index.to_string().into_bytes())
}

/// The object that a value is; whatever else it was is gone.
fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(fields) => fields,
        _ => unreachable!("it has just been made one"),
    }
}

fn child<'a>(fields: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    object(fields.entry(name).or_insert(Value::Null))
}

fn list<'a>(fields: &'a mut Map<String, Value>, name: &str) -> &'a mut Vec<Value> {
    let value = fields.entry(name).or_insert(Value::Null);
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    match value {
        Value::Array(list) => list,
        _ => unreachable!("it has just been made one"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Place;
    use crate::settings::tests::settings;

    fn layer(byte: char) -> Layer {
        let digest = format!("sha256:{}", byte.to_string().repeat(64));
        let blob = Blob { descriptor: Descriptor::new(media::LAYER, digest.clone(), 5), place: Place::Memory(Vec::new()) };
        Layer { blob, diff_id: digest, made_by: "build-image: a as /a".into() }
    }

    fn json_of(blob: &Blob) -> Value {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut blob.open(0).unwrap().unwrap(), &mut bytes).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn an_image_on_nothing_says_what_its_settings_say() {
        let settings = settings(json!({
            "entrypoint": ["/app"], "env": { "A": "1", "B": "2" }, "user": "65532", "workdir": "/srv", "expose": ["8080", "53/udp"],
            "labels": { "x": "y" },
        }));
        let annotations = BTreeMap::from([("org.opencontainers.image.revision".to_owned(), "0123".to_owned())]);
        let image = assemble(&settings, &Platform::usual(), None, &[layer('a')], &annotations, "1970-01-01T00:00:00Z");
        assert_eq!(
            json_of(&image.config),
            json!({
                "created": "1970-01-01T00:00:00Z", "architecture": "amd64", "os": "linux",
                "config": {
                    "User": "65532", "WorkingDir": "/srv", "Entrypoint": ["/app"], "Env": ["A=1", "B=2"],
                    "ExposedPorts": { "8080/tcp": {}, "53/udp": {} }, "Labels": { "org.opencontainers.image.revision": "0123", "x": "y" },
                },
                "rootfs": { "type": "layers", "diff_ids": [layer('a').diff_id] },
                "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "build-image: a as /a" }],
            })
        );
        let manifest = json_of(&image.manifest);
        assert_eq!(manifest["config"]["digest"], image.config.descriptor.digest);
        assert_eq!(manifest["layers"][0], json!({ "mediaType": media::LAYER, "digest": layer('a').diff_id, "size": 5 }));
        assert_eq!(manifest["annotations"]["org.opencontainers.image.revision"], "0123");
    }

    #[test]
    fn a_base_keeps_what_the_settings_do_not_change() {
        let base = BaseImage {
            config: json!({
                "architecture": "amd64", "os": "linux", "container": "kept",
                "config": { "Env": ["PATH=/bin", "A=0"], "Cmd": ["sh"], "StopSignal": "SIGINT", "Labels": { "base": "1" } },
                "rootfs": { "type": "layers", "diff_ids": ["sha256:base"] }, "history": [{ "created_by": "base" }],
            }),
            layers: vec![layer('b').blob],
            digest: "sha256:1234".into(),
            name: Some("docker.io/library/node:20".into()),
        };
        let settings = settings(json!({ "entrypoint": ["/app"], "env": { "A": "1" } }));
        let image = assemble(&settings, &Platform::usual(), Some(&base), &[layer('a')], &BTreeMap::new(), "1970-01-01T00:00:00Z");
        let config = json_of(&image.config);
        assert_eq!(config["config"]["Env"], json!(["PATH=/bin", "A=1"]));
        assert_eq!(config["config"].get("Cmd"), None);
        assert_eq!((&config["config"]["StopSignal"], &config["container"]), (&json!("SIGINT"), &json!("kept")));
        assert_eq!(config["config"]["Labels"]["base"], "1");
        assert_eq!(config["rootfs"]["diff_ids"], json!(["sha256:base", layer('a').diff_id]));
        assert_eq!(config["history"].as_array().unwrap().len(), 2);
        let manifest = json_of(&image.manifest);
        assert_eq!(manifest["layers"].as_array().unwrap().len(), 2);
        assert_eq!(manifest["annotations"]["org.opencontainers.image.base.name"], "docker.io/library/node:20");
    }

    #[test]
    fn an_index_names_the_platforms() {
        let arm = Platform::parse("linux/arm/v7").unwrap();
        let index = index(&[(Platform::usual(), layer('a').blob.descriptor), (arm, layer('b').blob.descriptor)], &BTreeMap::new());
        let index = json_of(&index);
        assert_eq!(index["manifests"][0]["platform"], json!({ "architecture": "amd64", "os": "linux" }));
        assert_eq!(index["manifests"][1]["platform"], json!({ "architecture": "arm", "os": "linux", "variant": "v7" }));
    }
}
