//! Compiled plugins on disk: made once, shared by runners, never trusted for being there.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use end_to_end::Project;
use tempfile::TempDir;

use crate::RUNNER;

/// A project whose compiled code is kept in a folder of its own.
fn project() -> (Project, TempDir) {
    let cache = tempfile::tempdir().expect("a temporary folder");
    let project = Project::hostile(RUNNER).env("XDG_CACHE_HOME", cache.path().to_str().expect("a path"));
    project.tries("", "", &["{ do = \"print\", text = \"it ran\" }"]);
    (project, cache)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) { found.extend(files(&entry.path())) } else { found.push(entry.path()) }
    }
    found.sort();
    found
}

/// Runs, and says whether the plugin was compiled.
#[track_caller]
fn compiled(project: &Project) -> bool {
    let told = project.exec_json().expect(0).told();
    assert!(told.log("try").contains("it ran"));
    told.all("compiling").next().is_some()
}

#[test]
fn a_plugin_is_compiled_once_and_its_code_is_the_owners_alone() {
    let (project, cache) = project();
    assert!(compiled(&project));
    assert!(!compiled(&project), "it was kept");
    for file in files(cache.path()) {
        let mode = std::fs::metadata(&file).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} can be reached by others: {mode:o}", file.display());
        let folder = file.parent().expect("a folder");
        let mode = std::fs::metadata(folder).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} can be reached by others: {mode:o}", folder.display());
    }
}

#[test]
fn code_that_was_changed_is_made_again_and_never_run() {
    let (project, cache) = project();
    assert!(compiled(&project));
    let code = || {
        let all = files(cache.path());
        all.into_iter().max_by_key(|file| std::fs::metadata(file).map_or(0, |meta| meta.len())).expect("code was kept")
    };
    let good = std::fs::read(code()).expect("it can be read");
    let (mut one_bit, mut shorter) = (good.clone(), good.clone());
    let middle = good.len() / 2;
    one_bit[middle] ^= 1;
    shorter.truncate(middle);
    for (what, bad) in [("one bit", one_bit), ("shorter", shorter), ("empty", Vec::new()), ("longer", [&good[..], b"x"].concat())] {
        std::fs::write(code(), bad).expect("written");
        assert!(compiled(&project), "{what}: the code was taken as it was");
        assert!(!compiled(&project), "{what}: it was not mended");
    }
    // a folder that others may write to is no place for code that is run
    let folder = code().parent().expect("a folder").to_owned();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).expect("permissions");
    let finished = project.exec();
    let mode = std::fs::metadata(&folder).expect("it is there").permissions().mode();
    assert!(finished.code != 0 || mode & 0o022 == 0, "the folder stays open to all: {mode:o}");
}

#[test]
fn several_runners_compile_the_same_plugin_at_once() {
    let (project, cache) = project();
    let running: Vec<_> = (0..4).map(|_| project.start(&["exec", "--format", "json"])).collect();
    for one in running {
        let told = one.finish().expect(0).told();
        assert!(told.log("try").contains("it ran"), "{}", told.printed());
    }
    assert!(!compiled(&project));
    let code = files(cache.path()).into_iter().filter(|file| std::fs::metadata(file).is_ok_and(|meta| meta.len() > 64 << 10)).count();
    assert_eq!(code, 1, "what was compiled in vain was left behind: {:?}", files(cache.path()));
}

#[test]
fn what_is_no_component_is_refused_before_anything_is_compiled() {
    let (project, store) = project();
    for (bytes, why) in [
        (&b"not wasm at all"[..], "not a WebAssembly component"),
        (&b"\0asm\x01\0\0\0"[..], "a core module"),
        (&b"\0asm\x0d\0\x01\0"[..], "no stage: it does not"),
    ] {
        project.write("broken.wasm", bytes);
        project.write("broken.toml", "format = 1\nname = \"broken\"\n[stage.only]\nuses = \"./broken.wasm\"\n");
        project.run(&["check", "broken.toml"]).expect(3).says(why);
        project.run(&["inspect", "broken.wasm"]).expect(2).says(why);
    }
    assert!(files(store.path()).is_empty(), "something was compiled");
}
