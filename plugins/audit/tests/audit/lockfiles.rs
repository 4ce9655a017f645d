//! Each format is read as the tool means it.

use plugin_audit::inventory::{Lockfile, Origin, Package, StatedLicense};
use plugin_audit::lockfile::{Companions, read};
use proptest::prelude::*;

pub const NPM_V1: &str = include_str!("../../fixtures/npm/v1/package-lock.json");
pub const NPM_V2: &str = include_str!("../../fixtures/npm/v2/package-lock.json");
pub const NPM_V3: &str = include_str!("../../fixtures/npm/v3/package-lock.json");
const MANIFEST: &str = include_str!("../../fixtures/npm/package.json");
const SOURCES_V1: &str = include_str!("../../fixtures/npm/sources-v1/package-lock.json");
const SOURCES_V3: &str = include_str!("../../fixtures/npm/sources-v3/package-lock.json");
const CARGO_V1: &str = include_str!("../../fixtures/cargo/v1/Cargo.lock");
const CARGO_V2: &str = include_str!("../../fixtures/cargo/v2/Cargo.lock");
const CARGO_V3: &str = include_str!("../../fixtures/cargo/v3/Cargo.lock");
pub const CARGO_V4: &str = include_str!("../../fixtures/cargo/v4/Cargo.lock");

pub fn manifest(path: &str, text: &str) -> Companions {
    Companions::from([(path.to_owned(), text.to_owned())])
}

pub fn npm(text: &str) -> Lockfile {
    read("package-lock.json", text.as_bytes(), &manifest("package.json", MANIFEST)).unwrap()
}

pub fn cargo(text: &str) -> Lockfile {
    read("Cargo.lock", text.as_bytes(), &Companions::new()).unwrap()
}

/// `name version`, its shortest path and its marks, for each third-party package, sorted.
pub fn describe(lockfile: &Lockfile) -> Vec<String> {
    let paths = lockfile.shortest_paths();
    let mark = |set, name: &str| if set { format!(" {name}") } else { String::new() };
    let mut lines: Vec<String> = lockfile
        .packages
        .iter()
        .enumerate()
        .filter(|(_, package)| package.is_third_party())
        .map(|(index, package)| {
            let marks = [mark(package.dev, "dev"), mark(package.optional, "optional"), mark(package.bundled, "bundled")].concat();
            format!("{}:{marks}", paths.describe(index))
        })
        .collect();
    lines.sort();
    lines
}

pub fn find<'a>(lockfile: &'a Lockfile, name: &str, version: &str) -> &'a Package {
    lockfile.packages.iter().find(|package| package.name == name && package.version == version).unwrap()
}

const NPM: [&str; 9] = [
    "@shop/api → qs 6.5.2:",
    "@shop/ui → minimist 0.0.8:",
    "local-dir → ms 2.0.0:",
    "shop → ansi-regex 5.0.0: dev",
    "shop → fsevents 2.3.2: optional",
    "shop → lodash4 (lodash 4.17.20):",
    "shop → minimist 1.2.5:",
    "shop → mkdirp 0.5.5:",
    "shop → strip-ansi 6.0.0: dev",
];

#[test]
fn npms_three_versions_tell_the_same() {
    for text in [NPM_V1, NPM_V2, NPM_V3] {
        assert_eq!(describe(&npm(text)), NPM);
    }
}

#[test]
fn without_a_package_json_version_1_starts_from_what_nobody_requires() {
    let lockfile = read("package-lock.json", NPM_V1.as_bytes(), &Companions::new()).unwrap();
    let described = describe(&lockfile);
    assert!(described.contains(&"shop → strip-ansi 6.0.0 → ansi-regex 5.0.0: dev".to_owned()), "{described:?}");
    assert!(described.contains(&"shop → mkdirp 0.5.5 → minimist 1.2.5:".to_owned()), "{described:?}");
}

#[test]
fn findings_can_point_at_the_entry() {
    for (text, key) in [(NPM_V1, "\"lodash4\": {"), (NPM_V2, "\"node_modules/lodash4\": {"), (NPM_V3, "\"node_modules/lodash4\": {")] {
        let line = text.lines().position(|line| line.contains(key)).unwrap() + 1;
        assert_eq!(find(&npm(text), "lodash", "4.17.20").line as usize, line);
    }
    let atty = find(&cargo(CARGO_V4), "atty", "0.2.14").line as usize;
    assert_eq!(CARGO_V4.lines().nth(atty - 1), Some("[[package]]"));
    assert_eq!(CARGO_V4.lines().nth(atty), Some("name = \"atty\""));
}

#[test]
fn npm_entries_keep_licence_alias_and_digest() {
    let lockfile = npm(NPM_V3);
    let lodash = find(&lockfile, "lodash", "4.17.20");
    assert_eq!((lodash.alias.as_deref(), &lodash.license), (Some("lodash4"), &StatedLicense::Text("MIT".into())));
    assert_eq!((lodash.checksums[0].algorithm, &lodash.checksums[0].hex[..8]), ("SHA-512", "3e585d15"));
    assert_eq!(find(&lockfile, "qs", "6.5.2").license, StatedLicense::Text("BSD-3-Clause".into()));
    assert_eq!(find(&npm(NPM_V1), "lodash", "4.17.20").license, StatedLicense::Unknown);
}

#[test]
fn npm_packages_from_elsewhere_are_told_apart() {
    let git = Origin::Git { repository: "file:///home/dev/gitdep".into(), commit: "aa4747b364a1aa730d5480416d5c26bcec90dab6".into() };
    for (text, version) in [(SOURCES_V1, ""), (SOURCES_V3, "1.4.0")] {
        let lockfile = read("package-lock.json", text.as_bytes(), &Companions::new()).unwrap();
        let gitdep = lockfile.packages.iter().find(|package| package.name == "gitdep").unwrap();
        assert_eq!((&gitdep.origin, gitdep.version.as_str()), (&git, version));
        let bundled = find(&lockfile, "ms", "2.0.0");
        assert!(bundled.bundled && bundled.origin == Origin::Registry);
        let archive = lockfile.packages.iter().find(|package| package.name == "tardep").unwrap();
        assert_eq!(archive.origin, Origin::Archive("file:../tar/tardep-2.0.0.tgz".into()));
        assert!(describe(&lockfile).iter().any(|line| line.ends_with("→ ms 2.0.0: bundled")), "{:?}", describe(&lockfile));
    }
}

#[test]
fn workspace_members_and_links_are_the_projects_own() {
    for text in [NPM_V1, NPM_V2, NPM_V3] {
        let mut own: Vec<String> =
            npm(text).packages.iter().filter(|package| package.origin == Origin::Local).map(|package| package.name.clone()).collect();
        own.sort();
        assert_eq!(own, ["@shop/api", "@shop/ui", "local-dir", "shop"]);
    }
}

#[test]
fn cargos_versions_tell_the_same() {
    let expected = ["app → bitflags 1.3.2:", "app → bitflags 2.4.2:", "app → gitcrate 0.3.0:"];
    for text in [CARGO_V1, CARGO_V2, CARGO_V3] {
        let lockfile = cargo(text);
        assert_eq!(describe(&lockfile), expected);
        let bitflags = find(&lockfile, "bitflags", "1.3.2");
        assert_eq!((bitflags.checksums[0].algorithm, &bitflags.checksums[0].hex[..8]), ("SHA-256", "bef38d45"));
        let git = Origin::Git { repository: "file:///home/dev/gitcrate".into(), commit: "dd2f06c50ed686b5d509a8d09fba7679d2018f23".into() };
        assert_eq!(find(&lockfile, "gitcrate", "0.3.0").origin, git);
    }
}

#[test]
fn a_cargo_workspace_brings_its_members_paths() {
    let lockfile = cargo(CARGO_V4);
    let described = describe(&lockfile);
    assert!(described.contains(&"shop-core → atty 0.2.14:".to_owned()), "{described:?}");
    assert!(described.contains(&"shop-core → atty 0.2.14 → hermit-abi 0.1.19:".to_owned()), "{described:?}");
    assert_eq!(lockfile.packages.iter().filter(|package| package.origin == Origin::Local).count(), 2);
}

#[test]
fn two_sources_of_one_name_are_told_apart() {
    let text = r#"version = 4

[[package]]
name = "app"
version = "0.1.0"
dependencies = [
 "x 1.0.0 (registry+https://github.com/rust-lang/crates.io-index)",
 "x 1.0.0 (registry+https://crates.example.com/index)",
]

[[package]]
name = "x"
version = "1.0.0"
source = "registry+https://crates.example.com/index"

[[package]]
name = "x"
version = "1.0.0"
source = "registry+https://github.com/rust-lang/crates.io-index"
"#;
    let lockfile = cargo(text);
    assert_eq!(lockfile.packages[0].dependencies, [2, 1]);
    assert_eq!(lockfile.packages[1].origin, Origin::OtherRegistry("registry+https://crates.example.com/index".into()));
    assert_eq!(lockfile.packages[2].origin, Origin::Registry);
}

#[test]
fn old_npm_licence_shapes_are_read() {
    let license = |license: &str| {
        let text =
            format!(r#"{{ "lockfileVersion": 3, "packages": {{ "node_modules/x": {{ "version": "1.0.0", "license": {license} }} }} }}"#);
        read("package-lock.json", text.as_bytes(), &Companions::new()).unwrap().packages[0].license.clone()
    };
    assert_eq!(license(r#"{ "type": "MIT", "url": "https://example.com" }"#), StatedLicense::Text("MIT".into()));
    assert_eq!(license(r#"[{ "type": "MIT" }, { "type": "Apache-2.0" }]"#), StatedLicense::Text("(MIT OR Apache-2.0)".into()));
    assert_eq!(license(r#"" ""#), StatedLicense::Unknown);
    assert_eq!(license("null"), StatedLicense::Unknown);
}

#[test]
fn what_cannot_be_read_is_an_error_with_place_and_remedy() {
    let deep = format!("{{\"dependencies\":{}{}}}", "{\"a\":{\"dependencies\":".repeat(80), "{}".to_owned() + &"}}".repeat(80));
    for (path, text, place, part) in [
        ("package-lock.json", "", "package-lock.json:1: ", "EOF"),
        ("package-lock.json", "{\n \"lockfileVersion\": 3,\n \"packages\": {\n", "package-lock.json:", "EOF"),
        ("package-lock.json", "{ \"lockfileVersion\": 9 }", "package-lock.json: ", "lockfileVersion 9 is not supported, 1 to 3 are"),
        ("package-lock.json", "{ \"lockfileVersion\": \"three\" }", "package-lock.json: ", "is no number"),
        ("package-lock.json", "{ \"lockfileVersion\": 3 }", "package-lock.json: ", "has no `packages`"),
        (
            "a/package-lock.json",
            "{ \"lockfileVersion\": 3, \"packages\": {\n\n\"node_modules/x\": {\n\"version\": 1 } } }",
            "a/package-lock.json:4: ",
            "the entry `node_modules/x` cannot be read: invalid type: integer `1`, expected a string",
        ),
        (
            "package-lock.json",
            "{ \"lockfileVersion\": 3, \"packages\": { \"node_modules/x\": { \"link\": true } } }",
            "package-lock.json:1: ",
            "does not say where it leads",
        ),
        ("package-lock.json", &deep, "package-lock.json:1: ", "nested deeper than 64 levels"),
        ("Cargo.lock", "version = 5\n", "Cargo.lock:1: ", "lockfile version 5 is not supported, 1 to 4 are"),
        ("Cargo.lock", "version = 4\n\n[[package]]\nname = \"x\"\n", "Cargo.lock:3: ", "missing field `version`"),
        ("Cargo.lock", "version = 4\n[[package]\n", "Cargo.lock:2: ", "it is no Cargo.lock"),
        ("Cargo.lock", "version = 4\n[[package]]\nname = \"\"\nversion = \"1.0.0\"\n", "Cargo.lock:2: ", "empty name"),
    ] {
        let error = read(path, text.as_bytes(), &Companions::new()).unwrap_err().to_string();
        assert!(error.starts_with(place) && error.contains(part) && error.contains(". Write"), "{error}");
    }
}

#[test]
fn a_broken_package_json_is_named() {
    let error = read("web/package-lock.json", NPM_V1.as_bytes(), &manifest("web/package.json", "{\n,")).unwrap_err();
    assert_eq!((error.path.as_str(), error.line), ("web/package.json", 2));
}

pub fn mutated(text: &'static str) -> impl Strategy<Value = Vec<u8>> {
    (0..text.len(), 0..40usize, prop::collection::vec(any::<u8>(), 0..6)).prop_map(move |(at, cut, insert)| {
        let mut bytes = text.as_bytes().to_vec();
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, insert);
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_damage_makes_a_reader_panic(npm in prop_oneof![mutated(NPM_V1), mutated(NPM_V3), mutated(SOURCES_V3)], cargo in prop_oneof![mutated(CARGO_V1), mutated(CARGO_V4)]) {
        for lockfile in [read("package-lock.json", &npm, &Companions::new()), read("Cargo.lock", &cargo, &Companions::new())].into_iter().flatten() {
            let paths = lockfile.shortest_paths();
            (0..lockfile.packages.len()).for_each(|index| assert_ne!(paths.to(index).len(), 0));
        }
    }

    #[test]
    fn no_text_makes_a_reader_panic(text in "\\PC{0,200}") {
        let _ = read("package-lock.json", text.as_bytes(), &manifest("package.json", &text));
        let _ = read("Cargo.lock", text.as_bytes(), &Companions::new());
    }
}
