//! Container images, made from bytes: what is found in them, what hides what, and what is refused.

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _, Write as _};

use plugin_audit::image::store::{Archive, Folder, Store};
use plugin_audit::image::{Contents, ImageError, Limits, Options, read};
use plugin_audit::inventory::Lockfile;
use plugin_audit::matching::{decide, join_all, subjects};
use plugin_audit::osv_export::Export;
use plugin_audit::settings::Settings;
use plugin_audit::verdict::{Evidence, Verdict, judge};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub const DEBIAN: &str = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\n";
/// What `docker save` of Docker 20.10 wrote; see `fixtures/README.md`.
const SAVED: &[u8] = include_bytes!("../../fixtures/image/saved.tar.gz");

/// An entry of a layer: a path and a content, or what the path ends with: `/` a folder, `=>TARGET` a hard link, `->TARGET` a symlink.
type Files<'a> = &'a [(&'a str, &'a str)];

/// An image's files, by their path.
type Image = BTreeMap<String, Vec<u8>>;

fn layer(files: Files<'_>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o644);
        let link = |mark: &str| path.split_once(mark);
        if let Some((path, target)) = link("=>") {
            header.set_entry_type(tar::EntryType::Link);
            builder.append_link(&mut header, path, target).unwrap();
        } else if let Some((path, target)) = link("->") {
            header.set_entry_type(tar::EntryType::Symlink);
            builder.append_link(&mut header, path, target).unwrap();
        } else if path.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
            builder.append_data(&mut header, path, &b""[..]).unwrap();
        } else {
            header.set_size(content.len() as u64);
            // The crate refuses to write what this must be able to read.
            let name = path.as_bytes();
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name);
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

fn archive(files: &Image) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, &content[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    // A frame that is skipped, and two that are not.
    let mut compressed = vec![0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    for part in bytes.chunks(bytes.len() / 2 + 1) {
        compressed.extend(ruzstd::encoding::compress_to_vec(part, ruzstd::encoding::CompressionLevel::Fastest));
    }
    compressed
}

fn config(layers: &[Vec<u8>]) -> Vec<u8> {
    let diffs: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", hex(layer))).collect();
    let mut history = vec![json!({ "created_by": "/bin/sh -c #(nop)  CMD [\"sh\"]", "empty_layer": true })];
    history.extend((1..=layers.len()).map(|number| json!({ "created_by": format!("/bin/sh -c step {number}") })));
    json!({ "os": "linux", "architecture": "amd64", "rootfs": { "type": "layers", "diff_ids": diffs }, "history": history })
        .to_string()
        .into_bytes()
}

/// The files of what `docker save` writes.
fn saved(layers: &[Vec<u8>]) -> Image {
    let config = config(layers);
    let name = format!("{}.json", hex(&config));
    let paths: Vec<String> = (0..layers.len()).map(|number| format!("{number}/layer.tar")).collect();
    let manifest = json!([{ "Config": name, "RepoTags": ["app:1"], "Layers": paths }]).to_string().into_bytes();
    let mut files: BTreeMap<String, Vec<u8>> = paths.into_iter().zip(layers.iter().cloned()).collect();
    files.extend([(name, config), ("manifest.json".to_owned(), manifest)]);
    files
}

/// The files of an OCI layout.
fn layout(layers: &[Vec<u8>], compress: fn(&[u8]) -> Vec<u8>) -> Image {
    let mut files = BTreeMap::new();
    let mut put = |kind: &str, bytes: Vec<u8>| {
        let hex = hex(&bytes);
        let descriptor =
            json!({ "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": format!("sha256:{hex}"), "size": bytes.len() });
        files.insert(format!("blobs/sha256/{hex}"), bytes);
        descriptor
    };
    let config = put("config.v1+json", config(layers));
    let layers: Vec<Value> = layers.iter().map(|layer| put("layer.v1.tar", compress(layer))).collect();
    let manifest = put("manifest.v1+json", json!({ "schemaVersion": 2, "config": config, "layers": layers }).to_string().into_bytes());
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] }).to_string().into_bytes();
    files.extend([("index.json".to_owned(), index), ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())]);
    files
}

fn read_store(store: &mut dyn Store, exclude: &[&str], limits: Limits) -> Result<Contents, ImageError> {
    let exclude: Vec<String> = exclude.iter().map(|&glob| glob.to_owned()).collect();
    read("app.tar", store, &Options { exclude: &exclude, limits }, &mut |_| {})
}

fn read_bytes(bytes: Vec<u8>) -> Result<Contents, ImageError> {
    read_store(&mut Archive::index("app.tar", Cursor::new(bytes))?, &[], Limits::new(None))
}

fn read_layers(layers: &[Files<'_>]) -> Result<Contents, ImageError> {
    let layers: Vec<Vec<u8>> = layers.iter().map(|files| layer(files)).collect();
    read_bytes(archive(&saved(&layers)))
}

/// `name version @layer`, in the order of the lockfiles.
fn installed(lockfiles: &[Lockfile]) -> Vec<String> {
    let packages = lockfiles.iter().flat_map(|lockfile| &lockfile.packages);
    packages.map(|package| format!("{} @{}", package.label(), package.in_image.as_ref().map_or(0, |place| place.layer.number))).collect()
}

fn shown(layers: &[Files<'_>]) -> Vec<String> {
    installed(&read_layers(layers).unwrap().lockfiles)
}

fn package(name: &str, version: &str) -> String {
    format!("Package: {name}\nStatus: install ok installed\nVersion: {version}\n\n")
}

fn audit(contents: Contents, advisories: &[Value], settings: Value) -> Verdict {
    let settings: Settings = serde_json::from_value(settings).unwrap();
    let subjects = subjects(&contents.lockfiles, |_| true);
    let mut export = Export::about(&subjects.list);
    for advisory in advisories {
        export.add("record", advisory.to_string().as_bytes()).unwrap();
    }
    let vulnerabilities = subjects.list.iter().map(|subject| join_all(subject, decide(subject, export.find(subject)))).collect();
    let gaps = export.gaps(&subjects.list);
    judge(
        Evidence { lockfiles: &contents.lockfiles, subjects: &subjects, vulnerabilities, gaps, notes: contents.notes },
        &settings,
        None,
        jiff::civil::date(2026, 11, 22),
    )
}

fn advisory(id: &str, upstream: &[&str], ecosystem: &str, name: &str, fixed: &str) -> Value {
    json!({ "id": id, "modified": "2026-01-01T00:00:00Z", "upstream": upstream, "summary": "it breaks", "affected": [{
        "package": { "ecosystem": ecosystem, "name": name },
        "ranges": [{ "type": "ECOSYSTEM", "events": [{ "introduced": "0" }, { "fixed": fixed }] }] }] })
}

#[test]
fn a_finding_names_package_fix_and_layer() {
    let ssl = |version: &str| format!("Package: libssl3\nStatus: install ok installed\nSource: openssl\nVersion: {version}\n\n");
    let base = layer(&[("etc/os-release", DEBIAN), ("var/lib/dpkg/status", &(ssl("3.0.9-1") + &package("zlib1g", "1:1.2.13.dfsg-1")))]);
    let upper = layer(&[(
        "var/lib/dpkg/status",
        &(ssl("3.0.11-1~deb12u1") + &package("openssl", "3.0.11-1~deb12u1") + &package("zlib1g", "1:1.2.13.dfsg-1")),
    )]);
    let digest = hex(&upper);
    let contents = read_bytes(archive(&saved(&[base, upper]))).unwrap();
    let advisories = [
        advisory("DEBIAN-CVE-2023-5363", &["CVE-2023-5363"], "Debian:12", "openssl", "3.0.11-1~deb12u2"),
        advisory("DEBIAN-CVE-2023-0001", &["CVE-2023-0001"], "Debian:12", "openssl", "3.0.11-1~deb12u1"),
        advisory("DEBIAN-CVE-2023-0002", &["CVE-2023-0002"], "Debian:11", "zlib1g", "1:9"),
    ];
    let verdict = audit(contents.clone(), &advisories, json!({}));
    let findings: Vec<_> = verdict.findings.iter().filter(|finding| finding.counted).collect();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(
        findings[0].message,
        format!(
            "openssl 3.0.11-1~deb12u1 (installed: libssl3, openssl): it breaks (no severity stated, taken as high; also CVE-2023-5363); \
             in var/lib/dpkg/status, brought by layer 2 of 2, sha256:{digest} (RUN step 2)"
        )
    );
    assert_eq!(findings[0].help, "upgrade openssl to ≥ 3.0.11-1~deb12u2");
    assert_eq!(findings[0].location.as_ref().map(|at| (at.path.as_str(), at.line)), Some(("app.tar", 0)));
    assert_eq!(verdict.summary, "3 packages, 1 vulnerable (1 high)");
    let ignore = json!({ "ignore": [{ "id": "CVE-2023-5363", "reason": "not used", "expires": "2027-01-01" }] });
    assert!(audit(contents, &advisories, ignore).passed);
}

#[test]
fn a_package_is_the_layers_that_brought_this_version() {
    let (a, b, c) = (package("a", "1"), package("b", "1"), package("c", "1"));
    let found = shown(&[
        &[("./etc/", ""), ("./etc/os-release", DEBIAN), ("./var/lib/dpkg/status", &(a.clone() + &b + &c))],
        &[("var/lib/dpkg/status", &(a.clone() + &package("b", "2") + &package("d", "1")))],
        &[("var/lib/dpkg/status", &(a + &package("b", "2") + &package("d", "1") + &c))],
    ]);
    assert_eq!(found, ["a 1 @1", "b 2 @2", "d 1 @2", "c 1 @3"]);
}

#[test]
fn distroless_images_have_a_file_for_each_package() {
    let found = shown(&[
        &[
            ("etc/os-release", DEBIAN),
            ("var/lib/dpkg/status.d/base", "Package: base-files\nVersion: 12.4\n"),
            ("var/lib/dpkg/status.d/base.md5sums", ""),
        ],
        &[("var/lib/dpkg/status.d/ssl", "Package: libssl3\nVersion: 3.0\n"), ("var/lib/dpkg/status.d/.wh.base", "")],
    ]);
    assert_eq!(found, ["libssl3 3.0 @2"]);
}

#[test]
fn upper_layers_hide_what_is_below_them() {
    const A: &str = r#"{"name": "a", "version": "1.0.0"}"#;
    const B: &str = r#"{"name": "b", "version": "1.0.0"}"#;
    let base: Files<'_> = &[("app/node_modules/a/package.json", A), ("app/node_modules/b/package.json", B)];
    for (upper, expected) in [
        (&[("app/.wh.node_modules", "")] as Files<'_>, &[] as &[&str]),
        (&[("app/node_modules/a/.wh.package.json", "")], &["b 1.0.0 @1"]),
        // A whiteout takes away what is below its layer, whatever the order of the entries.
        (&[("app/node_modules/b/package.json", B), ("app/node_modules/.wh..wh..opq", "")], &["b 1.0.0 @2"]),
        (&[("app/node_modules/.wh..wh..opq", ""), ("app/node_modules/b/package.json", B)], &["b 1.0.0 @2"]),
        (&[(".wh..wh..opq", "")], &[]),
        // What takes the place of a folder hides it; a folder on a folder does not.
        (&[("app/node_modules->elsewhere", "")], &[]),
        (&[("app/node_modules", "a file")], &[]),
        (&[("app/node_modules/", ""), ("app/node_modules/a/", "")], &["a 1.0.0 @1", "b 1.0.0 @1"]),
        (&[("app/node_modules/a/package.json->elsewhere", "")], &["b 1.0.0 @1"]),
        (&[("app/node_modules/.wh..wh.plnk", ""), ("app/node_modulesX", "")], &["a 1.0.0 @1", "b 1.0.0 @1"]),
        // The same version, written again, is not brought again; another one is.
        (&[("app/node_modules/a/package.json", r#"{"version": "1.0.0", "name": "a"}"#)], &["a 1.0.0 @1", "b 1.0.0 @1"]),
        (&[("app/node_modules/a/package.json", r#"{"name": "a", "version": "1.0.1"}"#)], &["a 1.0.1 @2", "b 1.0.0 @1"]),
    ] {
        assert_eq!(shown(&[base, upper]), expected, "{upper:?}");
    }
}

#[test]
fn every_form_of_an_image_says_the_same() {
    let layers = [
        layer(&[("etc/os-release", "ID=alpine\nVERSION_ID=3.19.1\n"), ("lib/apk/db/installed", "P:busybox\nV:1.36.1-r15\no:busybox\n\n")]),
        layer(&[
            ("lib/apk/db/installed", "P:busybox\nV:1.36.1-r15\no:busybox\n\nP:libcrypto3\nV:3.1.4-r5\no:openssl\n\n"),
            ("big", &"x".repeat(300_000)),
        ]),
    ];
    let expected = ["busybox 1.36.1-r15 @1", "libcrypto3 3.1.4-r5 @2"];
    let plain: fn(&[u8]) -> Vec<u8> = <[u8]>::to_vec;
    for files in [saved(&layers), layout(&layers, plain), layout(&layers, gzip), layout(&layers, zstd)] {
        assert_eq!(installed(&read_bytes(archive(&files)).unwrap().lockfiles), expected);
        let folder = tempfile::tempdir().unwrap();
        for (path, bytes) in &files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let mut store = Folder::new(folder.path().to_str().unwrap());
        assert_eq!(installed(&read_store(&mut store, &[], Limits::new(None)).unwrap().lockfiles), expected);
    }
}

#[test]
fn what_docker_saved_is_read() {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(SAVED).read_to_end(&mut bytes).unwrap();
    let contents = read_bytes(bytes).unwrap();
    assert_eq!(installed(&contents.lockfiles), ["lodash 4.17.20 @2", "busybox 1.36.1-r15 @1", "musl 1.2.4_git20230717-r4 @1"]);
    let place = contents.lockfiles[0].packages[0].in_image.clone().unwrap();
    assert_eq!(place.layer.created_by, "COPY dir:d4509c8d6c0561f28bdfb6e20de0549366edc06e545fa80c1906ee76a708f8c5 in /app");
    assert_eq!(place.layer.digest, "sha256:1ad90c0c0e937e4fa25765d51a4bf97a42b9caaf7e91e7f82a8dc83be252ba0a");
    assert_eq!(place.image.as_ref(), "app.tar");
}

#[test]
fn languages_packages_are_found_and_the_distributions_own_left_to_it() {
    let six = "usr/lib/python3/dist-packages/six-1.16.0.egg-info/PKG-INFO";
    let found = shown(&[&[
        ("etc/os-release", DEBIAN),
        ("var/lib/dpkg/status", &package("python3-six", "1.16.0-4")),
        ("var/lib/dpkg/info/python3-six.list", &format!("/.\n/usr\n/{six}\n")),
        (six, "Name: six\nVersion: 1.16.0\n\n"),
        ("usr/local/lib/python3.11/site-packages/Jinja2-2.11.2.dist-info/METADATA", "Name: Jinja2\nVersion: 2.11.2\n\n"),
        ("usr/local/bundle/specifications/rack-2.2.3.gemspec", "# -*- encoding: utf-8 -*-\n# stub: rack 2.2.3 ruby lib\n"),
        ("srv/vendor/composer/installed.json", r#"{"packages": [{"name": "twig/twig", "version": "v2.14.0"}]}"#),
        ("srv/composer.lock", "not read"),
        ("app/node_modules/lodash/package.json", r#"{"name": "lodash", "version": "4.17.20"}"#),
        // What was left out of the image is not in it.
        (
            "app/package-lock.json",
            r#"{"name": "app", "lockfileVersion": 3, "packages": {"node_modules/dev": {"version": "1.0.0", "dev": true}}}"#,
        ),
        ("web/package-lock.json", r#"{"name": "web", "lockfileVersion": 3, "packages": {"node_modules/qs": {"version": "6.5.2"}}}"#),
        (
            "srv/Cargo.lock",
            "version = 4\n\n[[package]]\nname = \"time\"\nversion = \"0.1.43\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n",
        ),
    ]]);
    let expected = [
        "lodash 4.17.20 @1",
        "Jinja2 2.11.2 @1",
        "rack 2.2.3 @1",
        "twig/twig v2.14.0 @1",
        "python3-six 1.16.0-4 @1",
        "time 0.1.43 @1",
        "qs 6.5.2 @1",
    ];
    assert_eq!(found, expected);
}

#[test]
fn hard_links_lead_to_what_was_passed_over() {
    let lodash = r#"{"name": "lodash", "version": "4.17.20"}"#;
    let found = shown(&[&[
        (".store/v3/files/ab/cdef", lodash),
        ("app/node_modules/lodash/package.json=>.store/v3/files/ab/cdef", ""),
        ("web/node_modules/lodash/package.json=>app/node_modules/lodash/package.json", ""),
    ]]);
    assert_eq!(found, ["lodash 4.17.20 @1", "lodash 4.17.20 @1"]);
    let error = read_layers(&[&[("app/node_modules/a/package.json=>gone", "")]]).unwrap_err().to_string();
    assert!(error.contains("it is a link to gone, which its layer does not have"), "{error}");
}

#[test]
fn what_cannot_be_looked_up_is_said_once() {
    let list = package("a", "1") + &package("b", "1");
    for (files, part) in [
        (&[("var/lib/dpkg/status", list.as_str())] as Files<'_>, "there is no etc/os-release that says what its 2 packages are of"),
        (&[("usr/lib/os-release", "ID=kali\nVERSION_ID=2026.1\n"), ("var/lib/dpkg/status", &list)], "no advisories of kali 2026.1"),
        (&[("bin/sh", "")], "no package database and no lockfile"),
    ] {
        let verdict = audit(read_layers(&[files]).unwrap(), &[], json!({}));
        assert_eq!(verdict.findings.len(), 1, "{:?}", verdict.findings);
        assert!(verdict.findings[0].message.contains(part) && verdict.passed, "{}", verdict.findings[0].message);
    }
    let verdict = audit(read_layers(&[&[("etc/os-release", DEBIAN), ("var/lib/dpkg/status", &list)]]).unwrap(), &[], json!({}));
    assert!(verdict.findings[0].message.contains("no advisory about Debian:12 at all"), "{}", verdict.findings[0].message);
}

#[test]
fn all_platforms_of_an_index_are_read() {
    let mut files = BTreeMap::new();
    let mut manifests = Vec::new();
    for (architecture, version) in [("amd64", "1"), ("arm64", "2")] {
        let one = layout(&[layer(&[("etc/os-release", DEBIAN), ("var/lib/dpkg/status", &package("a", version))])], gzip);
        let mut index: Value = serde_json::from_slice(&one["index.json"]).unwrap();
        let mut descriptor = index["manifests"][0].take();
        descriptor["platform"] = json!({ "os": "linux", "architecture": architecture });
        manifests.push(descriptor);
        files.extend(one);
    }
    // Build attestations are no images, and their blobs need not be there.
    manifests.push(json!({ "digest": format!("sha256:{}", "0".repeat(64)), "platform": { "os": "unknown", "architecture": "unknown" } }));
    let inner = json!({ "schemaVersion": 2, "manifests": manifests }).to_string().into_bytes();
    let digest = hex(&inner);
    files.insert(format!("blobs/sha256/{digest}"), inner);
    files.insert("index.json".into(), json!({ "manifests": [{ "digest": format!("sha256:{digest}") }] }).to_string().into_bytes());
    let contents = read_bytes(archive(&files)).unwrap();
    let paths: Vec<_> = contents.lockfiles.iter().map(|lockfile| lockfile.path.as_str()).collect();
    assert_eq!(paths, ["app.tar (linux/amd64): dpkg", "app.tar (linux/arm64): dpkg"]);
    assert_eq!(installed(&contents.lockfiles), ["a 1 @1", "a 2 @1"]);
}

#[test]
fn what_is_no_image_is_refused_with_a_way_out() {
    let good = layer(&[("etc/os-release", DEBIAN), ("var/lib/dpkg/status", &package("a", "1"))]);
    let change = |files: &Image, edit: &dyn Fn(&mut Image)| {
        let mut files = files.clone();
        edit(&mut files);
        archive(&files)
    };
    let (saved_files, oci) = (saved(std::slice::from_ref(&good)), layout(std::slice::from_ref(&good), gzip));
    let blob = format!("blobs/sha256/{}", hex(&gzip(&good)));
    let whole = archive(&saved_files);
    let escaping = saved(&[layer(&[("var/../../etc/os-release", DEBIAN)])]);
    let link = saved(&[layer(&[("app/node_modules/a/package.json=>../../etc/passwd", "")])]);
    for (bytes, parts) in [
        (
            b"no archive at all, but long enough to look for a header in it".repeat(20),
            &["app.tar: it is no tar archive", "docker save"] as &[&str],
        ),
        (Vec::new(), &["app.tar: it is no tar archive that can be read: there is no file in it"]),
        (gzip(&whole), &["app.tar: it is compressed as a whole", "gunzip"]),
        (whole[..whole.len() / 2].to_vec(), &["app.tar: it is no tar archive that can be read: it ends in the middle"]),
        (
            archive(&BTreeMap::from([("a".to_owned(), b"b".to_vec())])),
            &["app.tar: manifest.json: there is neither this file nor an index.json"],
        ),
        (
            change(&saved_files, &|files| drop(files.remove("0/layer.tar"))),
            &["app.tar: 0/layer.tar: layer 1 of 1, sha256:", "is missing", "Save the image again"],
        ),
        (change(&oci, &|files| drop(files.remove(&blob))), &["is missing: it is named"]),
        (
            change(&saved_files, &|files| files.get_mut("0/layer.tar").unwrap()[700] ^= 1),
            &["layer 1 of 1, sha256:", "(RUN step 1): its content is not what its digest says"],
        ),
        (change(&oci, &|files| files.get_mut(&blob).unwrap().extend([0; 9])), &["app.tar: layer 1 of 1"]),
        (
            change(&oci, &|files| drop(files.insert(blob.clone(), zstd(&good)))),
            &["its content is not what its digest says: it should be sha256:"],
        ),
        (change(&oci, &|files| files.get_mut("index.json").unwrap().truncate(20)), &["app.tar: index.json: it cannot be read"]),
        (
            archive(&escaping),
            &[
                "app.tar: layer 1 of 1",
                "the path var/../../etc/os-release in it leads out of the image",
                "find out where the image comes from",
            ],
        ),
        (archive(&link), &["the path ../../etc/passwd in it leads out of the image"]),
        (archive(&saved(&[b"x".repeat(3000)])), &["it is no layer that can be read: there is no tar header at byte 0"]),
        (archive(&saved(&[b"\xfd7zXZ\0".repeat(100)])), &["it is compressed with xz", "Build the image with gzip"]),
        (
            archive(&saved(&[layer(&[("var/lib/dpkg/status", "Package: a\n")])])),
            &["app.tar: var/lib/dpkg/status: the paragraph at line 1", "exclude = [\"var/lib/dpkg/status\"]"],
        ),
        (
            archive(&saved(&[layer(&[("var/lib/rpm/Packages", "new kind")])])),
            &["app.tar: var/lib/rpm/Packages: it is no hash of Berkeley DB"],
        ),
        (archive(&saved(&[layer(&[("app/bun.lock", "")])])), &["app.tar: app/bun.lock: lockfiles of Bun are not supported"]),
    ] {
        let error = read_bytes(bytes).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{part:?} is not in: {error}");
        }
    }
    // What is left out is not judged.
    let odd = archive(&saved(&[layer(&[("app/bun.lock", ""), ("var/lib/rpm/Packages", "new kind"), ("app/Cargo.lock", "version = 4\n")])]));
    let mut store = Archive::index("app.tar", Cursor::new(odd)).unwrap();
    let contents = read_store(&mut store, &["app/bun.*", "var/lib/rpm/**"], Limits::new(None)).unwrap();
    assert_eq!(contents.lockfiles.len(), 1);
    // What a later layer replaces need not be readable.
    assert_eq!(shown(&[&[("var/lib/dpkg/status", "Package: a\n")], &[("var/lib/dpkg/status", &package("a", "1"))]]), ["a 1 @2"]);
}

/// A layer of 10 GiB: a file of zeros, in 10 MB of gzip.
fn bomb(path: &str) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path(path).unwrap();
    header.set_size(10 << 30);
    header.set_cksum();
    let mut bytes = gzip(header.as_bytes());
    let zeros = gzip(&vec![0; 1 << 20]);
    (0..10 << 10).for_each(|_| bytes.extend(&zeros));
    bytes
}

#[test]
fn a_zip_bomb_is_stopped() {
    for (path, limits, parts) in [
        ("data", Limits::new(None), ["unpack to 256 MiB and more, as a zip bomb does", "set `image-limit`"]),
        ("var/lib/dpkg/status", Limits::new(None), ["unpack to 256 MiB and more", "set `image-limit`"]),
        ("data", Limits { total: 64 << 20, ..Limits::new(Some(1)) }, ["the image unpacks to more than 0 GiB", "as many GiB"]),
    ] {
        let mut files = saved(&[b"replaced".to_vec()]);
        files.insert("0/layer.tar".into(), bomb(path));
        let mut store = Archive::index("app.tar", Cursor::new(archive(&files))).unwrap();
        let error = read_store(&mut store, &[], limits).unwrap_err().to_string();
        assert!(error.starts_with("app.tar: layer 1 of 1") && parts.iter().all(|part| error.contains(part)), "{error}");
    }
}
