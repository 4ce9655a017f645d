//! The example stage, built for wasm32-wasip2: is it a component that carries its manifest and asks for nothing that it does not use?

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use wasmparser::{Parser, Payload};

#[derive(Default)]
struct Component {
    manifest: Option<Vec<u8>>,
    imports: BTreeSet<String>,
    exports: BTreeSet<String>,
}

fn build_example() -> Vec<u8> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("component");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "--target", "wasm32-wasip2", "--example", "greet", "--target-dir"]).arg(&target);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    // Flags for the machine that runs the test are not for the component.
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(variable);
    }
    let output = cargo.output().expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(target.join("wasm32-wasip2/debug/examples/greet.wasm")).expect("the component")
}

fn look_into(component: &[u8]) -> Component {
    let mut found = Component::default();
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(component) {
        match payload.expect("a well-formed component") {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::CustomSection(section) if section.name() == "runner:plugin" => {
                assert_eq!(found.manifest, None, "the manifest stands in the component once");
                found.manifest = Some(section.data().to_vec());
            }
            Payload::ComponentImportSection(section) if depth == 0 => {
                found.imports.extend(section.into_iter().map(|import| import.expect("an import").name.name.to_owned()));
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                found.exports.extend(section.into_iter().map(|export| export.expect("an export").name.name.to_owned()));
            }
            _ => {}
        }
    }
    found
}

#[test]
fn a_component_carries_its_manifest_and_imports_only_what_it_calls() {
    let component = look_into(&build_example());

    assert_eq!(component.manifest.as_deref(), Some(&include_bytes!("../examples/greet.toml")[..]));
    assert!(component.exports.contains("run"), "{:?}", component.exports);

    // Names without a colon are the types of `run`, which come from the two `types` interfaces; those hold no functions.
    let ours = component.imports.iter().map(String::as_str).filter(|name| name.contains(':') && !name.starts_with("wasi:"));
    let ours: Vec<&str> = ours.collect();
    assert_eq!(ours, ["runner:boundary/types@0.1.0", "runner:stage/log@0.1.0", "runner:stage/types@0.1.0"]);
    for unused in ["wasi:http", "wasi:sockets", "wasi:filesystem"] {
        assert!(!component.imports.iter().any(|name| name.starts_with(unused)), "{:?}", component.imports);
    }
}
